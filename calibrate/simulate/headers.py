"""Headers and tables of a raw exposure, with the keywords of jwst's schema (stdatamodels 6.0)."""

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.readout_plan import BLOCK, NORMAL, ReadoutPlan
from calbatch.calibrate.simulate.reference_parts import exposure_type, wheels
from calbatch.calibrate.simulate.spec import SimulationSpec
from calbatch.calibrate.simulate.write import Card

FIRST_EXPOSURE = datetime(2023, 6, 1, 3, 20)  # noqa: DTZ001 - UTC by definition of the keywords
MJD_ZERO = datetime(1858, 11, 17)  # noqa: DTZ001
PROGRAM = "01234"
RA, DEC = 82.25, -69.5  # degrees: the Large Magellanic Cloud, the observatory's calibration field

INTEGRATION_TIMES = [
    ("integration_number", "i4"),
    ("int_start_MJD_UTC", "f8"),
    ("int_mid_MJD_UTC", "f8"),
    ("int_end_MJD_UTC", "f8"),
    ("int_start_BJD_TDB", "f8"),
    ("int_mid_BJD_TDB", "f8"),
    ("int_end_BJD_TDB", "f8"),
]
GROUP_TIMES = [
    ("integration_number", "i4"),
    ("group_number", "i2"),
    ("end_day", "i2"),
    ("end_milliseconds", "i4"),
    ("end_submilliseconds", "i2"),
    ("group_end_time", "S26"),
    ("number_of_columns", "i2"),
    ("number_of_rows", "i2"),
    ("number_of_gaps", "i2"),
    ("completion_code_number", "i2"),
    ("completion_code_text", "S36"),
    ("bary_end_time", "f8"),
    ("helio_end_time", "f8"),
]


def exposure_name(spec: SimulationSpec, observation: int, exposure: int) -> str:
    """Return the stem of the names of an exposure's files, as in the archive."""
    return f"jw{PROGRAM}{observation:03d}001_02101_{exposure:05d}_{spec.detector.lower()}"


class Schedule:
    """Start and end times of an exposure, its integrations and its groups."""

    def __init__(self, readout: ReadoutPlan, exposure: int) -> None:
        self.readout = readout
        self.integration_time = readout.total_frames * readout.frame_time
        self.step = self.integration_time + readout.frame_time  # a reset frame between integrations
        self.duration = readout.nints * self.step
        self.start = FIRST_EXPOSURE + timedelta(seconds=round(exposure * (self.duration + 60), 3))

    def at(self, seconds: float) -> datetime:
        """Return the time a number of seconds after the start of the exposure."""
        return self.start + timedelta(seconds=seconds)

    def integrations(self) -> NDArray[np.void]:
        """Return the INT_TIMES table."""
        table = np.zeros(self.readout.nints, dtype=INTEGRATION_TIMES)
        for number in range(self.readout.nints):
            start = number * self.step
            ends = (start, start + self.integration_time / 2, start + self.integration_time)
            days = [modified_julian_date(self.at(seconds)) for seconds in ends]
            table[number] = (number + 1, *days, *(day + 0.003 for day in days))
        return table

    def groups(self) -> NDArray[np.void]:
        """Return the GROUP table."""
        readout = self.readout
        table = np.zeros(readout.nints * readout.ngroups, dtype=GROUP_TIMES)
        for index in range(len(table)):
            integration, group = divmod(index, readout.ngroups)
            frames = group * (readout.nframes + readout.groupgap) + readout.nframes
            end = self.at(integration * self.step + frames * readout.frame_time)
            day = modified_julian_date(end)
            since = end - end.replace(hour=0, minute=0, second=0, microsecond=0)
            milliseconds, microseconds = divmod(int(since / timedelta(microseconds=1)), 1000)
            table[index] = (
                integration + 1, group + 1, (end - datetime(2000, 1, 1)).days % 32768,  # noqa: DTZ001
                milliseconds, microseconds, end.isoformat().encode(), readout.frame.ncols,
                readout.frame.nrows, 0, 0, b"Normal Completion", day + 0.003, day + 0.003,
            )  # fmt: skip
        return table


def modified_julian_date(time: datetime) -> float:
    """Return a time as a modified Julian date."""
    return (time - MJD_ZERO) / timedelta(days=1)


def primary_cards(
    spec: SimulationSpec, readout: ReadoutPlan, observation: int, exposure: int
) -> list[Card]:
    """Return the primary header of an exposure, in the order of the core schema."""
    schedule = Schedule(readout, exposure)
    return [
        ("ORIGIN", "STSCI", "Organization responsible for creating file"),
        ("TIMESYS", "UTC", "principal time system for time-related keywords"),
        ("TIMEUNIT", "s", "Default unit applicable to all time values"),
        ("SDP_VER", "SIMULATED", "Data processing (DP) Software Version"),
        ("DATAMODL", "Level1bModel", "Type of data model"),
        ("TELESCOP", "JWST", "Telescope used to acquire the data"),
        ("TITLE", "Simulated exposures", "Proposal title"),
        *_observation_cards(schedule, observation, exposure),
        *_instrument_cards(spec, readout),
        *_exposure_cards(spec, readout, schedule, exposure),
        *_subarray_cards(readout),
        ("TARG_RA", RA, "Target RA at mid time of exposure"),
        ("TARG_DEC", DEC, "Target Dec at mid time of exposure"),
        ("SRCTYAPT", "UNKNOWN", "Source type selected in APT"),
    ]


def _observation_cards(schedule: Schedule, observation: int, exposure: int) -> list[Card]:
    start, end = schedule.start, schedule.at(schedule.duration)
    return [
        ("DATE-OBS", f"{start:%Y-%m-%d}", "[yyyy-mm-dd] UTC date at start of exposure"),
        ("TIME-OBS", _clock(start), "[hh:mm:ss.sss] UTC time at start of exposure"),
        ("DATE-BEG", f"{start:%Y-%m-%d}T{_clock(start)}", "Date-time start of exposure"),
        ("DATE-END", f"{end:%Y-%m-%d}T{_clock(end)}", "Date-time end of exposure"),
        ("OBS_ID", f"V{PROGRAM}{observation:03d}001P0000000002101", "Programmatic observation ID"),
        ("VISIT_ID", f"{PROGRAM}{observation:03d}001", "Visit identifier"),
        ("PROGRAM", PROGRAM, "Program number"),
        ("OBSERVTN", f"{observation:03d}", "Observation number"),
        ("VISIT", "001", "Visit number"),
        ("VISITGRP", "02", "Visit group identifier"),
        ("SEQ_ID", "1", "Parallel sequence identifier"),
        ("ACT_ID", "01", "Activity identifier"),
        ("EXPOSURE", str(exposure), "Exposure request number"),
        ("TSOVISIT", False, "Time Series Observation visit indicator"),
    ]


def _instrument_cards(spec: SimulationSpec, readout: ReadoutPlan) -> list[Card]:
    detector = readout.detector
    cards: list[Card] = [
        ("INSTRUME", detector.instrument, "Instrument used to acquire the data"),
        ("DETECTOR", detector.name, "Name of detector used to acquire the data"),
    ]
    if detector.instrument == "NIRCAM":
        cards.append(("MODULE", detector.name[3], "NIRCam module: A, B, or MULTIPLE"))
    return cards + [
        (key, value, "Setting used to acquire the data") for key, value in wheels(spec).items()
    ]


def _exposure_cards(
    spec: SimulationSpec, readout: ReadoutPlan, schedule: Schedule, exposure: int
) -> list[Card]:
    start, end = schedule.start, schedule.at(schedule.duration)
    times = (start, start + (end - start) / 2, end)
    start_day, middle_day, end_day = (modified_julian_date(time) for time in times)
    effective = schedule.integration_time - (readout.nframes - 1) / 2 * readout.frame_time
    return [
        ("EXPCOUNT", 1, "Running count of exposures in visit"),
        ("EXP_TYPE", exposure_type(spec), "Type of data in the exposure"),
        ("EXPSTART", start_day, "[d] exposure start time in MJD"),
        ("EXPMID", middle_day, "[d] exposure mid time in MJD"),
        ("EXPEND", end_day, "[d] exposure end time in MJD"),
        ("READPATT", readout.readpatt, "Readout pattern"),
        ("NINTS", readout.nints, "Number of integrations in exposure"),
        ("NGROUPS", readout.ngroups, "Number of groups in integration"),
        ("NFRAMES", readout.nframes, "Number of frames per group"),
        ("FRMDIVSR", readout.nframes, "Divisor applied to frame-averaged groups"),
        ("GROUPGAP", readout.groupgap, "Number of frames dropped between groups"),
        ("DRPFRMS1", 0, "Frames dropped prior to first integration"),
        ("DRPFRMS3", 0, "Frames dropped between integrations"),
        ("NSAMPLES", 9 if "SLOW" in readout.readpatt else 1, "Number of A/D samples per pixel"),
        ("TSAMPLE", 10.0, "[us] Time between samples"),
        ("TFRAME", readout.frame_time, "[s] Time between frames"),
        ("TGROUP", readout.group_time, "[s] Time between groups"),
        ("EFFINTTM", effective, "[s] Effective integration time"),
        ("EFFEXPTM", effective * readout.nints, "[s] Effective exposure time"),
        ("XPOSURE", effective * readout.nints, "[s] Effective exposure time"),
        ("TELAPSE", schedule.duration, "[s] Total elapsed exposure time"),
        ("DURATION", schedule.duration, "[s] Total duration of exposure"),
        ("NRSTSTRT", 1, "Number of resets at start of exposure"),
        ("NRESETS", 1, "Number of resets between integrations"),
        ("ZEROFRAM", readout.zero_frame, "Zero frame was downlinked separately"),
        ("SCA_NUM", readout.detector.sca, "Sensor Chip Assembly number"),
        ("NOUTPUTS", readout.noutputs, "Number of output amplifiers"),
        *_interleaving_cards(readout),
        ("PATT_NUM", exposure, "Position number in primary pattern"),
    ]


def _interleaving_cards(readout: ReadoutPlan) -> list[Card]:
    if not readout.is_interleaved:
        return []
    return [
        ("NRS_NORM", NORMAL, "Number of normal pixels in a row"),
        ("NRS_REF", BLOCK, "Number of reference pixels in a row"),
    ]


def _subarray_cards(readout: ReadoutPlan) -> list[Card]:
    detector, frame = readout.detector, readout.frame
    return [
        ("SUBARRAY", readout.subarray, "Subarray used"),
        ("SUBSTRT1", frame.col + 1, "Starting pixel in axis 1 direction"),
        ("SUBSTRT2", frame.row + 1, "Starting pixel in axis 2 direction"),
        ("SUBSIZE1", frame.ncols, "Number of pixels in axis 1 direction"),
        ("SUBSIZE2", frame.nrows, "Number of pixels in axis 2 direction"),
        ("FASTAXIS", detector.fastaxis, "Fast readout axis direction"),
        ("SLOWAXIS", detector.slowaxis, "Slow readout axis direction"),
        *(readout.stripes.cards() if readout.stripes else ()),
    ]


def science_cards() -> list[Card]:
    """Return the cards of the SCI extension."""
    return [
        ("BUNIT", "DN", "physical units of the array values"),
        ("RADESYS", "ICRS", "Name of the coordinate reference frame"),
        ("RA_REF", RA, "[deg] RA of the reference point"),
        ("DEC_REF", DEC, "[deg] Dec of the reference point"),
        ("ROLL_REF", 30.0, "[deg] V3 roll angle at the reference"),
        ("V2_REF", 0.0, "[arcsec] V2 of the reference point"),
        ("V3_REF", -500.0, "[arcsec] V3 of the reference point"),
        ("VPARITY", -1, "Sense of rotation, Ideal xy to V2V3"),
        ("V3I_YANG", 0.0, "[deg] Angle from V3 axis to Ideal y axis"),
    ]


def _clock(time: datetime) -> str:
    """Return the time of day to the millisecond."""
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"
