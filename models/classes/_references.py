"""Model classes of reference files that hold arrays."""

from __future__ import annotations

from typing import ClassVar

from calbatch.models.model import DataModel

__all__ = [
    "BarshadowModel", "DarkMIRIModel", "DarkModel", "DarkNirspecModel", "FlatModel",
    "FringeModel", "GainModel", "IPCModel", "LastFrameModel", "LinearityModel", "MaskModel",
    "NRMModel", "NirspecQuadFlatModel", "PathlossModel", "PersistenceSatModel",
    "PictureFrameModel", "PixelAreaModel", "PsfMaskModel", "RSCDModel", "ReadnoiseModel",
    "ReferenceCubeModel", "ReferenceFileModel", "ReferenceImageModel", "ReferenceQuadModel",
    "ResetModel", "ResolutionModel", "SaturationModel", "SossBkgModel", "SpecKernelModel",
    "SpecProfileModel", "SpecProfileSingleModel", "SpecPsfModel", "SpecTraceModel",
    "StrayLightModel", "SuperBiasModel", "TrapDensityModel", "WaveMapModel", "WaveMapSingleModel",
    "WfssBkgModel",
]  # fmt: skip


class ReferenceFileModel(DataModel):
    """A reference file."""

    schema_url = "reference.schema.yaml"
    instrument: ClassVar[str | None] = None
    """The instrument whose files have the class; None for any."""


class DarkModel(ReferenceFileModel):
    """A dark ramp, (groups, rows, columns)."""

    schema_url = "dark.schema.yaml"


class DarkMIRIModel(ReferenceFileModel):
    """Dark ramps of MIRI, (integrations, groups, rows, columns)."""

    schema_url = "dark_miri.schema.yaml"


class FlatModel(ReferenceFileModel):
    """A flat field."""

    schema_url = "flat.schema.yaml"


class GainModel(ReferenceFileModel):
    """The gain of each pixel, in electrons per count."""

    schema_url = "gain.schema.yaml"


class IPCModel(ReferenceFileModel):
    """The kernel of inter-pixel capacitance."""

    schema_url = "ipc.schema.yaml"


class LinearityModel(ReferenceFileModel):
    """Coefficients of the linearity correction, (terms, rows, columns)."""

    schema_url = "linearity.schema.yaml"


class MaskModel(ReferenceFileModel):
    """The bad-pixel mask."""

    schema_url = "mask.schema.yaml"


class PictureFrameModel(ReferenceFileModel):
    """The rate of NIRSpec's thermal picture frame."""

    schema_url = "pictureframe.schema.yaml"


class ReadnoiseModel(ReferenceFileModel):
    """Noise of the difference of two reads (correlated double sampling), in counts."""

    schema_url = "readnoise.schema.yaml"


class ResetModel(ReferenceFileModel):
    """The reset anomaly, (integrations, groups, rows, columns)."""

    schema_url = "reset.schema.yaml"


class RSCDModel(ReferenceFileModel):
    """Numbers of groups to exclude after a reset of MIRI, by subarray and readout pattern."""

    schema_url = "rscd.schema.yaml"


class SaturationModel(ReferenceFileModel):
    """The counts at which pixels saturate."""

    schema_url = "saturation.schema.yaml"


class SuperBiasModel(ReferenceFileModel):
    """The bias frame."""

    schema_url = "superbias.schema.yaml"


class BarshadowModel(ReferenceFileModel):
    """Shadows of the bars between NIRSpec micro-shutters."""

    schema_url = "barshadow.schema.yaml"


class DarkNirspecModel(DarkModel):
    """A dark ramp of NIRSpec, with its rate."""

    schema_url = "dark_nirspec.schema.yaml"


class FringeModel(ReferenceFileModel):
    """Fringes of the MIRI MRS."""

    schema_url = "fringe.schema.yaml"


class LastFrameModel(ReferenceFileModel):
    """The offset of the last frame of an integration of MIRI."""

    schema_url = "lastframe.schema.yaml"


class NRMModel(ReferenceFileModel):
    """The non-redundant mask of NIRISS."""

    schema_url = "nrm.schema.yaml"


class PersistenceSatModel(ReferenceFileModel):
    """The counts at which the traps of pixels are full."""

    schema_url = "persat.schema.yaml"


class PixelAreaModel(ReferenceFileModel):
    """The area of each pixel, relative to the nominal one."""

    schema_url = "pixelarea.schema.yaml"


class PsfMaskModel(ReferenceFileModel):
    """The part of a coronagraphic image to which the PSF is fitted."""

    schema_url = "psfmask.schema.yaml"


class ReferenceImageModel(ReferenceFileModel):
    """A reference of images."""

    schema_url = "referenceimage.schema.yaml"


class ReferenceCubeModel(ReferenceFileModel):
    """A reference of cubes."""

    schema_url = "referencecube.schema.yaml"


class ReferenceQuadModel(ReferenceFileModel):
    """A reference of four dimensions."""

    schema_url = "referencequad.schema.yaml"


class ResolutionModel(ReferenceFileModel):
    """The resolution, in any number of dimensions."""

    schema_url = "resolution.schema.yaml"


class SossBkgModel(ReferenceFileModel):
    """Templates of the background of NIRISS SOSS, (templates, rows, columns)."""

    schema_url = "sossbkg.schema.yaml"


class SpecKernelModel(ReferenceFileModel):
    """Kernels of the spectral resolution of NIRISS SOSS."""

    schema_url = "speckernel.schema.yaml"


class SpecProfileSingleModel(ReferenceFileModel):
    """The spatial profile of one order of NIRISS SOSS."""

    schema_url = "specprofilesingle.schema.yaml"


class StrayLightModel(ReferenceFileModel):
    """The slices of the MIRI MRS, and the gaps between them."""

    schema_url = "straylight.schema.yaml"


class TrapDensityModel(ReferenceFileModel):
    """The density of the traps that cause persistence."""

    schema_url = "trapdensity.schema.yaml"


class WaveMapSingleModel(ReferenceFileModel):
    """The wavelengths of one order of NIRISS SOSS."""

    schema_url = "wavemapsingle.schema.yaml"


class WfssBkgModel(ReferenceFileModel):
    """The background of slitless spectra."""

    schema_url = "wfssbkg.schema.yaml"


class NirspecQuadFlatModel(ReferenceFileModel):
    """Flat fields of the quadrants of the micro-shutters of NIRSpec."""

    schema_url = "nirspec_quad_flat.schema.yaml"
    instrument = "NIRSPEC"


class PathlossModel(ReferenceFileModel):
    """Light that is lost at apertures, for point sources and uniform ones."""

    schema_url = "pathloss_apertures.schema.yaml"


class SpecProfileModel(ReferenceFileModel):
    """The spatial profiles of the orders of NIRISS SOSS."""

    schema_url = "specprofile.schema.yaml"
    instrument = "NIRISS"


class SpecPsfModel(ReferenceFileModel):
    """Point-spread functions of spectra, by aperture."""

    schema_url = "specpsf.schema.yaml"


class SpecTraceModel(ReferenceFileModel):
    """The traces of the orders of NIRISS SOSS."""

    schema_url = "spectrace.schema.yaml"
    instrument = "NIRISS"


class WaveMapModel(ReferenceFileModel):
    """The wavelengths of the orders of NIRISS SOSS."""

    schema_url = "wavemap.schema.yaml"
    instrument = "NIRISS"
