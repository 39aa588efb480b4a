"""Modes: the cost of steps and readouts other than the defaults, side by side with jwst."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from inputs import Inputs, load_or_simulate
from processes import Run
from setting import Setting
from speed import Series
from tables import Table

from calbatch.calibrate.simulate import Noise, SimulationSpec, Sky

MB = 2**20
GOAL, MINIMUM = 20.0, 10.0
"""Ratios of jwst's cost of a further exposure to calbatch's: wanted, and not acceptable below."""
MEMORY_GOAL = 1 / 3


@dataclass(frozen=True)
class Case:
    """One kind of exposure, and the steps that it needs.

    Attributes
    ----------
    name : str
        Title in the table.
    spec : SimulationSpec
        The exposures.
    steps : mapping
        Parameters by step.
    tiny : mapping
        Fields of the spec that ``--quick`` replaces.
    counts : (int, int)
        Numbers of exposures in short and long batches of calbatch. jwst's are 2 and 4.
    goal, minimum : float
        Ratios to jwst, see `GOAL` and `MINIMUM`.
    """

    name: str
    spec: SimulationSpec
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    counts: tuple[int, int] = (2, 8)
    goal: float = GOAL
    minimum: float = MINIMUM

    @property
    def options(self) -> list[str]:
        """The parameters as options of calbatch."""
        return [
            f"--{step}.{name}={value}"
            for step, values in self.steps.items()
            for name, value in values.items()
        ]


WINDOW = {"subarray": "GENERIC", "shape": (64, 64), "corner": (1, 1), "full_references": False}
CASES = (
    Case(
        "NIRCam 2048 x 2048, 1 x 10, snowballs",
        SimulationSpec(sky=Sky(stars=1200), noise=Noise(snowballs=0.005)),
        {"jump": {"expand_large_events": True}},
        WINDOW,
    ),
    Case(
        "NIRCam 2048 x 2048, 1 x 10, 1/f cleaning",
        SimulationSpec(sky=Sky(stars=1200)),
        {"clean_flicker_noise": {"skip": False}},
        WINDOW,
    ),
    Case(
        "MIRI 1024 x 1032, FASTR1 3 x 40, emicorr and showers",
        SimulationSpec(
            "MIRIMAGE", nints=3, ngroups=40, sky=Sky(stars=300),
            noise=Noise(interference=20.0, showers=0.002),
        ),
        {"emicorr": {"skip": False}, "jump": {"find_showers": True}},
        WINDOW | {"ngroups": 14},
        counts=(2, 6),
    ),
    Case(
        "NIRSpec 3200 x 2048, NRSIRS2RAPID 1 x 20",
        SimulationSpec("NRS1", readpatt="NRSIRS2RAPID", ngroups=20, sky=Sky(stars=300)),
        tiny={"ngroups": 3},
        counts=(2, 6),
        goal=10.0,
        minimum=8.0,
    ),
    Case(
        "NIRISS SOSS SUBSTRIP256, 40 x 8",
        SimulationSpec(
            "NIS", "SUBSTRIP256", nints=40, ngroups=8, exposure_type="NIS_SOSS",
            full_references=False, sky=Sky(stars=100),
        ),
        tiny=WINDOW | {"nints": 3},
        counts=(2, 4),
    ),
    Case(
        "NIRSpec BOTS 32 x 2048, 500 x 10",
        SimulationSpec(
            "NRS1", "SUB2048", nints=500, ngroups=10, exposure_type="NRS_BRIGHTOBJ",
            full_references=False, sky=Sky(stars=20),
        ),
        tiny=WINDOW | {"nints": 20},
        counts=(2, 4),
    ),
)  # fmt: skip
JWST_COUNTS = 2, 4
COLUMNS = ["case", "program", "wall s each", "CPU s each", "peak MB"]


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    costs = Table("Cost of a further exposure by mode, two cores", COLUMNS)
    ratios = Table(
        "jwst's cost over calbatch's by mode",
        ["case", "wall", "CPU", "minimum", "goal", "memory"],
        gains=["wall", "CPU"],
    )
    for case in CASES:
        try:
            _measure_case(setting, case, costs, ratios)
        except SystemExit as failure:
            costs.notes.append(f"{case.name}: not measured: {failure}")
        for name in ("products", _folder_name(setting, case)):  # memory is too small for all cases
            shutil.rmtree(setting.cache / name, ignore_errors=True)
    costs.notes += [
        "Slopes between short and long batches from exec to exit: two processes of jwst, two",
        "workers of calbatch, which has compiled its kernels before. Inputs and products are in",
        "memory. The peak is the sampled sum of proportional set sizes in the long batch.",
    ]
    if setting.quick:
        costs.notes.append("Exposures are tiny (--quick): the numbers say nothing about the modes.")
    ratios.notes = [f"Memory is calbatch's over jwst's; the goal is {MEMORY_GOAL:.2f}."]
    return [costs, ratios]


def _measure_case(setting: Setting, case: Case, costs: Table, ratios: Table) -> None:
    """Measure both programs, in turn, and add their rows."""
    counts = (1, 2) if setting.quick else case.counts
    jwst_counts = (1, 2) if setting.quick else JWST_COUNTS
    inputs = _load_case(setting, case, max(*counts, *jwst_counts))
    programs = [_ours(setting, case, inputs, counts)]
    if setting.jwst_repeats:
        programs.append(_theirs(setting, case, inputs, jwst_counts))
    programs[0].batch(programs[0].few)  # compiles kernels
    for _ in range(setting.repeats):
        for size in ("few", "many"):
            for program in programs:
                program.measure(getattr(program, size))
    rows = [
        [case.name, one.name, one.slope("wall"), one.slope("cpu"), _peak(one)] for one in programs
    ]
    costs.rows += rows
    if len(rows) == 2:
        wall, cpu, memory = (
            theirs / ours for ours, theirs in zip(*(r[2:] for r in rows), strict=True)
        )
        ratios.rows.append([case.name, wall, cpu, case.minimum, case.goal, 1 / memory])


def _load_case(setting: Setting, case: Case, count: int) -> Inputs:
    spec = replace(case.spec, **case.tiny) if setting.quick else case.spec
    return load_or_simulate(setting.cache, _folder_name(setting, case), spec, count)


def _folder_name(setting: Setting, case: Case) -> str:
    return re.sub(r"\W+", "-", case.name) + ("-tiny" if setting.quick else "")


def _ours(setting: Setting, case: Case, inputs: Inputs, counts: tuple[int, int]) -> Series:
    output = setting.cache / "products"

    def batch(count: int) -> Run:
        command = setting.calbatch("detector1", count, output, *case.options, inputs=inputs)
        return setting.run([command], output, 2 * count, inputs=inputs, memory=True)

    return Series("calbatch", *counts, batch)


def _theirs(setting: Setting, case: Case, inputs: Inputs, counts: tuple[int, int]) -> Series:
    output = setting.cache / "products"

    def batch(count: int) -> Run:
        commands = setting.jwst(count, output, inputs=inputs, steps=case.steps)
        return setting.run(commands, output, 2 * count, inputs=inputs, memory=True)

    return Series("jwst", *counts, batch)


def _peak(series: Series) -> float:
    """Return the memory of the long batch in MB, in which all cores are busy."""
    return series.median(series.many, "peak") / MB
