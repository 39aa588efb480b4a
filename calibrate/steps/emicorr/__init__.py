"""Interference: subtract periodic signals that other electronics induce in MIRI's ramps.

Source: jwst 3.0.0 ``emicorr`` step.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.numbers import required_number
from calbatch.calibrate.parameters import Boolean, Choice, Float, InputFile, Integer, Items
from calbatch.calibrate.products import folder_of, publish_file
from calbatch.calibrate.step import SkipStep, Step, StepError
from calbatch.calibrate.steps._miri import as_miri_ramp
from calbatch.calibrate.steps.emicorr.clocks import (
    AFTER_RESET,
    AMPLIFIERS,
    SUBARRAY_CLOCKS,
    Clocks,
    Sampling,
    period_of,
)
from calbatch.calibrate.steps.emicorr.joint import WaveSetting, correct_jointly
from calbatch.calibrate.steps.emicorr.sequential import (
    LAST_READ,
    MeasuredWave,
    PhasingSetting,
    correct_sequentially,
    count_bins,
    count_integrations,
    measure_interference,
)
from calbatch.calibrate.steps.emicorr.waves import (
    FREQUENCIES,
    Interference,
    ReadoutKind,
    Wave,
    read_interference,
    write_waves,
)
from calbatch.calibrate.suffixes import product_name
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.graphs import delayed_value

PATTERNS = ("FAST", "FASTR1", "SLOW", "SLOWR1")
"""Readout patterns whose times are known."""
MIN_GROUPS = 3
RELIABLE_GROUPS = 10
"""Minimum number of groups for a reliable sequential fit."""
WAVES = "emi_ref_waves"
"""Suffix of the file of measured waves."""
MIN_READS = 4
"""Minimum number of reads of a row for either fit."""

log = logging.getLogger(__name__)


class EmiCorrStep(Step):
    """Subtract electromagnetic interference: periodic signals whose waves a reference lists.

    Amplitude and phase of each wave are fitted to the whole exposure.
    """

    reference_file_types = ("emicorr",)
    cal_step = "emicorr"
    writes_at_once = ("save_intermediate_results",)

    skip = Boolean(True, help="leave the exposure as it is and mark the step SKIPPED")
    algorithm = Choice(
        "joint", ("sequential", "joint"), help="fit ramps and waves together, or one by one"
    )
    nints_to_phase = Integer(
        None, none=True, low=1, help="number of integrations to measure (sequential only)"
    )
    nbins = Integer(None, none=True, low=1, help="number of phases to average (sequential only)")
    scale_reference = Boolean(
        True, help="scale the reference's waves to the measured amplitude (sequential only)"
    )
    onthefly_corr_freq = Items(
        Float(1.0, low=FREQUENCIES[0], high=FREQUENCIES[1], unit="Hz"),
        help="frequencies to correct without a reference",
    )
    use_n_cycles = Integer(
        3, none=True, low=1, help="number of periods to measure; None for all (sequential only)"
    )
    fit_ints_separately = Boolean(False, help="fit each integration by itself (joint only)")
    user_supplied_reffile = InputFile(help="as override_emicorr; deprecated in jwst")
    save_intermediate_results = Boolean(
        False, help="with onthefly_corr_freq: write the measured waves (_emi_ref_waves.asdf)"
    )

    def wanted_references(self, instrument: str | None = None) -> set[str]:
        """Return the reference types; none if a file gives the waves, or if they are measured."""
        given = self.user_supplied_reffile is not None or bool(self.onthefly_corr_freq)
        return set() if given else super().wanted_references(instrument)

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp minus its interference."""
        ramp = as_miri_ramp(exposure, "this interference")
        readpatt = str(ramp.meta.exposure.readpatt).upper()
        if readpatt not in PATTERNS:
            raise SkipStep(f"times are unknown for READPATT {readpatt}")
        path = None if self.onthefly_corr_freq else self._find_reference(ramp)
        if ramp.shape[1] < MIN_GROUPS:
            raise SkipStep(f"{ramp.shape[1]} groups are too few to fit interference")
        if ramp.shape[3] % AMPLIFIERS or ramp.shape[3] < MIN_READS * AMPLIFIERS:
            raise StepError(
                f"{ramp.path}: {self.name}: {ramp.shape[3]} columns must be a multiple of "
                f"{AMPLIFIERS}, and at least {MIN_READS * AMPLIFIERS}"
            )
        if path is None:
            return self._correct_without_reference(ramp, readpatt)
        return self._correct_with_reference(ramp, readpatt, path)

    def _correct_with_reference(self, ramp: RampModel, readpatt: str, path: str) -> RampModel:
        if self.save_intermediate_results:
            log.warning(
                "%s: save_intermediate_results has no effect without onthefly_corr_freq: the waves "
                "are those of the reference",
                self.name,
            )
        found = read_interference(path, ReadoutKind.of(ramp))
        sampling = _sampling_of(ramp, readpatt, found.clocks)
        if self.algorithm == "sequential":
            waves = [(wave.frequency, wave) for wave in found.waves]
            return self._correct_sequentially(ramp, sampling, waves)
        for wave in found.waves:
            setting = WaveSetting.of(sampling, wave)
            ramp = correct_jointly(ramp, setting, separately=self.fit_ints_separately)
        return ramp

    def _correct_without_reference(self, ramp: RampModel, readpatt: str) -> RampModel:
        subarray = ReadoutKind.of(ramp).case
        if subarray not in SUBARRAY_CLOCKS:
            raise SkipStep(f"times are unknown for SUBARRAY {subarray}")
        if self.algorithm == "joint":
            log.info("%s: without a reference, the algorithm is sequential", self.name)
        sampling = _sampling_of(ramp, readpatt, SUBARRAY_CLOCKS[subarray])
        waves = [(frequency, None) for frequency in self.onthefly_corr_freq]
        return self._correct_sequentially(ramp, sampling, waves)

    def _find_reference(self, ramp: RampModel) -> str:
        """Return the path of the reference, which is recorded even if the step is then skipped."""
        path: Any = self.user_supplied_reffile or self.get_reference_file(ramp, "emicorr")
        if isinstance(path, DataModel):
            raise ParameterError(f"{self.name}.override_emicorr: must be the path of an ASDF file")
        return str(path)

    def _correct_sequentially(
        self, ramp: RampModel, sampling: Sampling, waves: Sequence[tuple[float, Wave | None]]
    ) -> RampModel:
        """Correct each frequency in turn, with the reference's wave or, if None, a measured one."""
        if ramp.shape[1] < RELIABLE_GROUPS:
            log.warning(
                "%s: the sequential fit of %d groups is unreliable; use the joint one",
                self.name, ramp.shape[1],
            )  # fmt: skip
        size, start = (required_number(ramp, f"meta.subarray.{n}") for n in ("xsize", "xstart"))
        integrations = count_integrations(  # of the first frequency, and kept, as in jwst
            sampling, period_of(waves[0][0]), self.nints_to_phase, self.use_n_cycles
        )
        saved: dict[float, MeasuredWave] = {}
        for frequency, wave in waves:
            setting = PhasingSetting(
                sampling=sampling,
                frequency=frequency,
                wave=wave,
                integrations=integrations,
                bins=count_bins(period_of(frequency), self.nbins),
                scale=self.scale_reference,
                reaches_edge=int(size / AMPLIFIERS + start - 1) == LAST_READ,
            )
            measured = measure_interference(ramp, setting)
            if self.save_intermediate_results and wave is None:
                # Without that, waves are measured only when pixels are computed.
                saved[frequency] = measured = delayed_value(measured).compute()
            ramp = correct_sequentially(ramp, setting, measured)
        if saved:
            found = [Wave(frequency, each.means) for frequency, each in saved.items()]
            measured_waves = Interference(sampling.clocks, found)
            write = partial(write_waves, kind=ReadoutKind.of(ramp), measured=measured_waves)
            publish_file(self, self._waves_file(ramp), write)
        return ramp

    def _waves_file(self, ramp: RampModel) -> Path:
        """Return the path of the file of measured waves."""
        folder = folder_of(self.root, ramp)
        if not isinstance(folder, Path):
            raise StepError(
                f"{ramp.path}: {self.name}: save_intermediate_results needs a folder, but products "
                f"go to {folder}; set it to False"
            )
        source = self.root.output_file or (ramp.path.name if ramp.path else str(ramp.meta.filename))
        return folder / f"{product_name(Path(source).name, WAVES).removesuffix('.fits')}.asdf"


def _sampling_of(ramp: RampModel, readpatt: str, clocks: Clocks) -> Sampling:
    shape: Any = ramp.shape
    return Sampling(
        shape=shape,
        samples=int(required_number(ramp, "meta.exposure.nsamples", positive=True)),
        clocks=clocks,
        has_reset_frame=readpatt in AFTER_RESET,
    )
