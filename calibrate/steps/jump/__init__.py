"""Jump: flag cosmic-ray hits by the difference between successive groups.

Source: jwst 3.0.0 ``jump`` step and stcal 1.20 ``detect_jumps_data``, the two-point difference
method (Anderson & Gordon 2011, PASP 123, 1237) run in one process.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.numbers import required_number
from calbatch.calibrate.parameters import Boolean, Float, Integer, Text
from calbatch.calibrate.step import SkipStep, Step, log_once
from calbatch.calibrate.steps._miri import search_flags
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.jump.emission import find_emission
from calbatch.calibrate.steps.jump.events import (
    LargeEvents,
    emission_rules,
    shower_rules,
    snowball_rules,
)
from calbatch.calibrate.steps.jump.flags import (
    EXCLUDED,
    JUMP,
    Ramps,
    Search,
    flag_after,
    flag_jumps,
)
from calbatch.calibrate.steps.jump.marks import mark_flags
from calbatch.calibrate.steps.jump.rules import (
    CLIPPING,
    MIN_GROUPS,
    NOT_SEARCHED,
    JumpRules,
    choose_method,
    gather_gain,
    is_true_nowhere,
    make_search,
    median_gain,
    number_differences,
    true_everywhere,
    unusable_groups,
)
from calbatch.calibrate.steps.jump.showers import count_emission_bytes, find_showers, mark_showers
from calbatch.calibrate.steps.jump.snowballs import count_packed_bytes, find_snowballs, pack_bits
from calbatch.models import dq
from calbatch.models.arrays import DeferredMetadata
from calbatch.models.datamodels import RampModel
from calbatch.models.fits.readers import Reader
from calbatch.models.jit import for_kernel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import CORE, REGION, Reduction, Region

Array = npt.NDArray[Any]


BLOCK = 65536
"""Differences per kernel call, which fit into the processor's own caches."""
MIN_COLUMNS = 64
"""Minimum number of columns per kernel call."""
MIN_CLIPPED_COLUMNS = 512
"""The same for sigma clipping, which sorts few pixels: long rows of memory are read faster."""

FIRST_ROWS, FIRST_COLUMNS, BAND_ROWS = 4, 128, 256
"""Rows and columns of the first region that decisions for the whole frame examine, and rows of the
others."""

RATES = "meta.exposure.primary_cosmic_rays", "meta.exposure.extended_emission_events"
EVENTS = "events"
MAX_AMPLITUDE = 6.0
"""Largest amplitude of a shower, electron/s: stcal's default, which jwst always uses."""


# -- arithmetic --------------------------------------------------------------------------------


def _search(ramps: Ramps, search: Search, flags: Array) -> Array:
    """Flag jumps and their neighbours in ``flags``; return the number of jumps in each row."""
    counts = np.zeros(flags.shape[2], np.int64)
    populations = int(search.population.max(initial=0)) + 1
    blocks = -(-flags.shape[3] * max(1, search.population.size) // BLOCK)
    least = MIN_CLIPPED_COLUMNS if search.clipping else MIN_COLUMNS
    width = max(least, -(-flags.shape[3] // blocks))
    low, high = np.empty((2, populations, width))
    flag_jumps(ramps, search, low, high, flags, counts)
    return counts


def _ramps(*arrays: Array) -> Ramps:
    return Ramps(*map(for_kernel, arrays))


def fully_flagged_groups(
    data: Array, groupdq: Array, *, gain: Array, readnoise: Array, rules: JumpRules, unusable: Array
) -> Array:
    """Return the groups in which clipping flags every pixel, (integrations, groups).

    If all pixels of a group are JUMP_DET or DO_NOT_USE, the cause is not cosmic rays. Groups that
    are unusable in all pixels do not count. For arguments see `find_jumps`.
    """
    if choose_method(unusable, rules) != CLIPPING:
        return np.zeros_like(unusable)
    ramps = _ramps(data, groupdq, gain, readnoise)
    flags = ramps.groupdq.copy()
    _search(ramps, make_search(CLIPPING, unusable, None, rules._replace(neighbours=False)), flags)
    flagged = (flags | groupdq) & np.uint8(dq.JUMP_DET | dq.DO_NOT_USE)
    return np.all(flagged, axis=(2, 3)) & ~unusable


def find_jumps(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    *,
    gain: Array,
    readnoise: Array,
    rules: JumpRules,
    unusable: Array,
    fully_flagged: Array | None,
    median_gain: float | None,
) -> tuple[Array, Array, Array]:
    """Flag jumps, their neighbours and the groups after them.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns). SATURATED and DO_NOT_USE
        samples are ignored.
    pixeldq, gain, readnoise : ndarray
        Flags, gain (electron/DN), and noise of the difference of two frames (DN), (rows, columns).
    rules : Rules
        The step's parameters.
    unusable : ndarray
        True for groups that are DO_NOT_USE in the whole frame, (integrations, groups).
    fully_flagged : ndarray or None
        Result of `fully_flagged_groups` for the whole frame; None means no group.
    median_gain : float or None
        Median gain of the whole frame; None if no groups after jumps are flagged.

    Returns
    -------
    groupdq : ndarray
        Flags with JUMP_DET added, and removed from SATURATED and DO_NOT_USE samples.
    pixeldq : ndarray
        Flags with NO_GAIN_VALUE and DO_NOT_USE added where the gain is not positive.
    counts : ndarray
        int64, (rows, 3): jumps in the row, without neighbours; usable groups of the frame in all
        integrations; 1 if these were enough to search, else 0.
    """
    method = choose_method(unusable, rules)
    flags = np.array(groupdq, order="C")
    counts = np.zeros(data.shape[2], np.int64)
    if method == NOT_SEARCHED:
        flags[(flags & JUMP != 0) & (flags & EXCLUDED != 0)] ^= JUMP
    else:
        search = make_search(method, unusable, fully_flagged, rules)
        for i, g in np.argwhere(search.clear):
            flags[i, g][flags[i, g] == JUMP] = 0
        ramps = _ramps(data, groupdq, gain, readnoise)
        counts = _search(ramps, search, flags)
        if median_gain is not None:
            limits, groups_after = zip(*rules.after, strict=True)
            electrons = np.array(limits, np.float32) * np.float32(median_gain)
            each = number_differences(np.zeros(unusable.shape, bool))
            flag_after(ramps, each, electrons.astype(float), np.array(groups_after), flags)
    dead = ~(gain > 0) * np.uint32(dq.NO_GAIN_VALUE | dq.DO_NOT_USE)
    rest = np.full_like(counts, np.sum(~unusable)), np.full_like(counts, method != NOT_SEARCHED)
    return flags, pixeldq | dead, np.stack([counts, *rest], axis=1)


def event_rates(
    counts: Mapping[str, Array], *, group_time: float, pixels: int, integrations: int
) -> dict[str, float]:
    """Return the header values for jumps per 1000 pixels per second, and for large events.

    As in jwst, jumps flagged in the input count, and an exposure with too few usable groups to
    search has -99 jumps.
    """
    rows = counts["jump"]
    jumps, groups, searched = int(rows[:, 0].sum()), int(rows[0, 1]), bool(rows[0, 2])
    events = 0
    if EVENTS in counts:
        events, groups = map(int, counts[EVENTS][0])
    intervals = groups - integrations
    if intervals < 1:
        return {}
    per_second = group_time * intervals * pixels
    return {
        RATES[0]: 1000 * (jumps if searched else -99) / per_second,
        RATES[1]: 1e6 * events / per_second,
    }


# -- the step ----------------------------------------------------------------------------------


class JumpStep(LargeEvents, Step):
    """Flag cosmic-ray hits by the difference between successive groups."""

    reference_file_types = ["gain", "readnoise"]
    cal_step = "jump"

    rejection_threshold = Float(
        4.0, low=0, unit="sigma", help="threshold for pixels with four or more usable differences"
    )
    three_group_rejection_threshold = Float(
        6.0, low=0, unit="sigma", help="threshold for pixels with two usable differences"
    )
    four_group_rejection_threshold = Float(
        5.0, low=0, unit="sigma", help="threshold for pixels with three usable differences"
    )
    min_diffs_single_pass = Integer(
        10, help="number of differences from which all jumps are found in a single pass"
    )
    flag_4_neighbors = Boolean(True, help="also flag the four neighbours of a jump")
    max_jump_to_flag_neighbors = Float(
        1000.0, unit="sigma", help="largest jump whose neighbours are flagged"
    )
    min_jump_to_flag_neighbors = Float(
        10.0, unit="sigma", help="smallest jump whose neighbours are flagged"
    )
    after_jump_flag_dn1 = Float(0.0, unit="DN", help="smallest jump after which groups are flagged")
    after_jump_flag_time1 = Float(0.0, unit="s", help="duration of the flags after such a jump")
    after_jump_flag_dn2 = Float(0.0, unit="DN", help="a second such limit")
    after_jump_flag_time2 = Float(0.0, unit="s", help="duration for the second limit")
    minimum_sigclip_groups = Integer(
        100, help="number of integrations (or groups) from which sigma clipping is used"
    )
    only_use_ints = Boolean(
        True, help="sigma clipping compares each group across integrations, not all groups"
    )
    minimum_groups = Integer(3, help="no effect, as in jwst: the minimum is always 3 usable groups")
    maximum_cores = Text("1", none=True, help="no effect: tiles and exposures run in parallel")

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its jumps flagged."""
        return self._flag(as_ramp(exposure))

    def _flag(self, exposure: RampModel) -> RampModel:
        integrations, groups = exposure.shape[:2]
        if groups <= 2:
            raise SkipStep(f"too few groups to find jumps: {groups}")
        self._note_parameters()
        rules = self._rules(exposure)
        gain = self.open_reference(exposure, "gain")
        noise = self.open_reference(exposure, "readnoise")
        arguments: dict[str, Any] = {
            "gain": gain.rows("data"),
            "readnoise": noise.rows("data"),
            "rules": rules,
        }
        bands = _bands(exposure)
        arguments["unusable"] = search_flags(
            exposure, unusable_groups, true_everywhere, bands, until=is_true_nowhere
        )
        fully_flagged = median = None
        if rules.clip_groups <= integrations * (1 if rules.clip_integrations else groups):
            fully_flagged = search_flags(
                exposure, fully_flagged_groups, true_everywhere, bands, until=is_true_nowhere,
                **arguments,
            )  # fmt: skip
        if any(count > 0 for _, count in rules.after):
            median = gain.reduce(gather_gain, median_gain)
        result = exposure.map_tiles(
            find_jumps, ("groupdq", "pixeldq"), radius=int(rules.neighbours), row_counts=("jump",),
            fully_flagged=fully_flagged, median_gain=median, **arguments,
        )  # fmt: skip
        if self.expand_large_events:
            result = self._flag_snowballs(result, arguments["unusable"])
        if self.find_showers:
            result = self._flag_showers(result, arguments["gain"], arguments["readnoise"])
        rates = partial(
            event_rates,
            group_time=exposure.meta.exposure.group_time,
            pixels=exposure.frame[0] * exposure.frame[1],
            integrations=integrations,
        )
        result.defer_meta(DeferredMetadata(rates, RATES))
        return result

    def _flag_snowballs(self, exposure: RampModel, unusable: Reduction) -> RampModel:
        events = exposure.decide(
            pack_bits,
            partial(find_snowballs, rules=snowball_rules(self, read_group_time(exposure))),
            frame_bytes=count_packed_bytes(exposure.shape),
            unusable=unusable,
        )
        return exposure.map_tiles(
            mark_flags, ("groupdq",), row_counts=(EVENTS,), events=events,
            region=REGION,
        )  # fmt: skip

    def _flag_showers(self, exposure: RampModel, gain: Reader, readnoise: Reader) -> RampModel:
        seconds = read_group_time(exposure)
        frames = required_number(exposure, "meta.exposure.nframes", positive=True)
        emission = emission_rules(self, float(frames), self.minimum_sigclip_groups)
        events = exposure.decide(
            find_emission,
            partial(find_showers, rules=shower_rules(self, seconds)),
            frame_bytes=count_emission_bytes(exposure.shape),
            radius=emission.ring.shape[0] // 2,
            gain=gain, readnoise=readnoise, rules=emission, region=REGION, core=CORE,
        )  # fmt: skip
        return exposure.map_tiles(
            mark_showers, ("groupdq",), row_counts=(EVENTS,), events=events,
            region=REGION, gain=gain, max_change=MAX_AMPLITUDE * seconds,
        )  # fmt: skip

    def _note_parameters(self) -> None:
        """Note parameters without effect."""
        if self.maximum_cores not in ("1", None):
            log_once(
                f"{self.name}: maximum_cores has no effect: tiles and exposures run in parallel"
            )
        if self.minimum_groups != MIN_GROUPS:
            log_once(f"{self.name}: minimum_groups has no effect, as in jwst: it is always 3")
        if self.find_showers:
            log_once(f"{self.name}: max_shower_amplitude has no effect, as in jwst: it is always 6")

    def _rules(self, exposure: RampModel) -> JumpRules:
        frames = required_number(exposure, "meta.exposure.nframes", positive=True)
        seconds = read_group_time(exposure)
        return JumpRules(
            threshold=self.rejection_threshold,
            three_differences=self.four_group_rejection_threshold,
            two_differences=self.three_group_rejection_threshold,
            frames=float(frames),
            neighbours=self.flag_4_neighbors,
            min_neighbours=self.min_jump_to_flag_neighbors,
            max_neighbours=self.max_jump_to_flag_neighbors,
            after=(
                (self.after_jump_flag_dn1, int(self.after_jump_flag_time1 // seconds)),
                (self.after_jump_flag_dn2, int(self.after_jump_flag_time2 // seconds)),
            ),
            single_pass=self.min_diffs_single_pass,
            clip_groups=self.minimum_sigclip_groups,
            clip_integrations=self.only_use_ints,
        )


def read_group_time(exposure: RampModel) -> float:
    """Return the time between groups in seconds.

    Raises
    ------
    StepError
        If the exposure does not state it.
    """
    return required_number(exposure, "meta.exposure.group_time", positive=True)


def _bands(exposure: RampModel) -> list[Region]:
    """Return a few pixels in the middle, which nearly always suffice, and bands of the frame."""
    rows, cols = exposure.frame
    left = max(0, cols - FIRST_COLUMNS) // 2
    middle = Region(
        (rows // 2, min(rows // 2 + FIRST_ROWS, rows)), (left, min(left + FIRST_COLUMNS, cols))
    )
    bands = [(row, min(row + BAND_ROWS, rows)) for row in range(0, rows, BAND_ROWS)]
    return [middle, *(Region(band, (0, cols)) for band in bands)]
