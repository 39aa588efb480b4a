"""The models of reference files."""

from __future__ import annotations

from calbatch.models.model import DataModel


class ReferenceFileModel(DataModel):
    """A reference file."""

    schema_url = "reference.schema.yaml"


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
