"""Model classes of products: exposures, and the results of steps."""

from __future__ import annotations

from calbatch.models.model import DataModel

__all__ = [
    "AmiLgFitModel", "AmiLgModel", "AmiOIModel", "AsnModel", "CombinedSpecModel", "ContrastModel",
    "CubeModel", "GuiderCalModel", "GuiderRawModel", "IFUCubeModel", "IFUImageModel",
    "ImageModel", "Level1bModel", "MRSMultiSpecModel", "MRSSpecModel", "MultiCombinedSpecModel",
    "MultiExposureModel", "MultiSlitModel", "MultiSpecModel", "OpenWindowsModel",
    "OutlierIFUOutputModel", "QuadModel", "RampFitOutputModel", "RampModel",
    "SegmentationMapModel", "SlitDataModel", "SlitModel", "SossExtractModel", "SossWaveGridModel",
    "SpecModel", "SuperstripeRampModel", "TSOMultiSpecModel", "TSOSpecModel", "TrapsFilledModel",
    "WFSSCombinedSpecModel", "WFSSMultiCombinedSpecModel", "WFSSMultiSpecModel", "WFSSSpecModel",
]  # fmt: skip


class Level1bModel(DataModel):
    """A raw exposure: uncalibrated ramps, (integrations, groups, rows, columns)."""

    schema_url = "level1b.schema.yaml"


class RampModel(DataModel):
    """Ramps under calibration, with the DQ of pixels and of groups."""

    schema_url = "ramp.schema.yaml"


class SuperstripeRampModel(DataModel):
    """Ramps of superstripe readout before refpix; PIXELDQ has a plane for each stripe."""

    schema_url = "superstripe_ramp.schema.yaml"


class ImageModel(DataModel):
    """An image, (rows, columns), with errors, variances and DQ."""

    schema_url = "image.schema.yaml"


class IFUImageModel(DataModel):
    """An image of the slices of an integral-field unit."""

    schema_url = "ifuimage.schema.yaml"


class CubeModel(DataModel):
    """One image per integration, (integrations, rows, columns), with their times."""

    schema_url = "cube.schema.yaml"


class RampFitOutputModel(DataModel):
    """The optional results of ramp fitting, for each segment of a ramp."""

    schema_url = "rampfitoutput.schema.yaml"


class OpenWindowsModel(DataModel):
    """The end of each pixel's persistence window, in seconds since 1970; 0 without a window."""

    schema_url = "openwindows.schema.yaml"


class GuiderRawModel(DataModel):
    """Counts (DN) of a guide-star exposure, with the flags of its pixels and the guider's tables.

    ``data`` is (integrations, groups, rows, columns), ``dq`` (rows, columns).
    """

    schema_url = "guider_raw.schema.yaml"


class GuiderCalModel(DataModel):
    """Count rates (DN/s) of a guide-star exposure, with the guider's tables.

    ``data`` and ``err`` are (integrations, rows, columns), ``dq`` (rows, columns).
    """

    schema_url = "guider_cal.schema.yaml"


class QuadModel(DataModel):
    """Frames along two further axes, such as integrations and groups."""

    schema_url = "quad.schema.yaml"


class SegmentationMapModel(DataModel):
    """The number of the source to which each pixel belongs; 0 is the sky."""

    schema_url = "segmap.schema.yaml"


class SlitDataModel(DataModel):
    """Pixels of one slit, with no metadata of the exposure."""

    schema_url = "slitdata.schema.yaml"


class SlitModel(DataModel):
    """Pixels of one slit of an exposure: a spectrum in two dimensions, or one per integration."""

    schema_url = "slit.schema.yaml"


class SossExtractModel(DataModel):
    """Models of the traces and apertures of NIRISS SOSS, for each order."""

    schema_url = "sossextractmodel.schema.yaml"


class SossWaveGridModel(DataModel):
    """The wavelengths at which NIRISS SOSS spectra are extracted, in micrometers."""

    schema_url = "sosswavegrid.schema.yaml"


class TrapsFilledModel(DataModel):
    """Numbers of filled traps, (kinds, rows, columns)."""

    schema_url = "trapsfilled.schema.yaml"


class MultiSlitModel(DataModel):
    """The slits of an exposure, each with pixels and metadata of its own."""

    schema_url = "multislit.schema.yaml"


class OutlierIFUOutputModel(DataModel):
    """Intermediate results of outlier detection in integral-field exposures."""

    schema_url = "outlierifuoutput.schema.yaml"


class AmiLgFitModel(DataModel):
    """Fits of interferograms to images (AMI)."""

    schema_url = "amilgfitmodel.schema.yaml"


class AmiLgModel(DataModel):
    """A fitted model of interferograms (AMI), and its parameters."""

    schema_url = "amilg.schema.yaml"


class AmiOIModel(DataModel):
    """Observables of aperture-masking interferometry (AMI), as OIFITS tables."""

    schema_url = "amioi.schema.yaml"


class AsnModel(DataModel):
    """Members of an association."""

    schema_url = "asn.schema.yaml"


class CombinedSpecModel(DataModel):
    """A spectrum that was combined from several exposures."""

    schema_url = "combinedspec.schema.yaml"


class ContrastModel(DataModel):
    """Contrast of a coronagraphic image around a star."""

    schema_url = "contrast.schema.yaml"


class IFUCubeModel(DataModel):
    """A cube of an integral-field unit, (wavelengths, rows, columns)."""

    schema_url = "ifucube.schema.yaml"


class MRSSpecModel(DataModel):
    """An extracted spectrum of the MIRI MRS."""

    schema_url = "mrs_spec.schema.yaml"


class SpecModel(DataModel):
    """An extracted spectrum, and a description of its source."""

    schema_url = "spec.schema.yaml"


class TSOSpecModel(DataModel):
    """Extracted spectra of a time series, by integration."""

    schema_url = "tso_spec.schema.yaml"


class WFSSCombinedSpecModel(DataModel):
    """Combined slitless spectra, by source."""

    schema_url = "wfss_combinedspec.schema.yaml"


class WFSSSpecModel(DataModel):
    """Extracted slitless spectra, by source."""

    schema_url = "wfss_spec.schema.yaml"


class MRSMultiSpecModel(DataModel):
    """Extracted spectra of the MIRI MRS."""

    schema_url = "mrs_multispec.schema.yaml"


class MultiCombinedSpecModel(DataModel):
    """Spectra that were combined from several exposures."""

    schema_url = "multicombinedspec.schema.yaml"


class MultiExposureModel(DataModel):
    """The slits of one source, one from each exposure."""

    schema_url = "multiexposure.schema.yaml"


class MultiSpecModel(DataModel):
    """Extracted spectra of an exposure, such as one for each slit."""

    schema_url = "multispec.schema.yaml"


class TSOMultiSpecModel(DataModel):
    """Extracted spectra of a time series, such as one for each order."""

    schema_url = "tso_multispec.schema.yaml"


class WFSSMultiCombinedSpecModel(DataModel):
    """Combined slitless spectra, such as one table for each order."""

    schema_url = "wfss_multicombinedspec.schema.yaml"


class WFSSMultiSpecModel(DataModel):
    """Extracted slitless spectra, a table for each exposure and order."""

    schema_url = "wfss_multispec.schema.yaml"
