"""Model classes of files that hold a tree, in ASDF or JSON."""

from __future__ import annotations

from calbatch.models.classes._references import ReferenceFileModel
from calbatch.models.trees.tree_model import TreeModel

__all__ = [
    "ABVegaOffsetModel", "AssociationModel", "CameraModel", "ChromCorrModel", "CollimatorModel",
    "DisperserModel", "DistortionMRSModel", "DistortionModel", "EmiModel", "Extract1dIFUModel",
    "Extract1dModel", "FOREModel", "FPAModel", "FilteroffsetModel", "IFUFOREModel", "IFUPostModel",
    "IFUSlicerModel", "MSAModel", "MSAOperModel", "MirMrsApcorrModel", "MiriWFSSSpecwcsModel",
    "NIRCAMGrismModel", "NIRISSGrismModel", "NrsIfuApcorrModel", "OTEModel", "PastasossModel",
    "RegionsModel", "SIRSKernelModel", "SpecwcsModel", "TsoPhotModel", "WaveCorrModel",
    "WavelengthrangeModel",
]  # fmt: skip


class TreeReferenceModel(TreeModel, ReferenceFileModel):
    """A reference file that holds a tree."""

    schema_url = "tree.schema.yaml"


class ABVegaOffsetModel(TreeReferenceModel):
    """Offsets from AB to Vega magnitudes."""

    schema_url = "abvegaoffset.schema.yaml"


class AssociationModel(TreeModel):
    """Exposures that are calibrated together, and their products."""

    schema_url = "association.schema.yaml"


class CameraModel(TreeReferenceModel):
    """From the camera of NIRSpec to the wheel of gratings."""

    schema_url = "transform.schema.yaml"
    instrument = "NIRSPEC"


class ChromCorrModel(TreeReferenceModel):
    """Chromatic correction of NIRSpec's fore-optics."""

    schema_url = "transform.schema.yaml"
    instrument = "NIRSPEC"


class CollimatorModel(TreeReferenceModel):
    """Through the collimator of NIRSpec."""

    schema_url = "transform.schema.yaml"
    instrument = "NIRSPEC"


class DisperserModel(TreeReferenceModel):
    """A disperser of NIRSpec."""

    schema_url = "disperser.schema.yaml"
    instrument = "NIRSPEC"


class DistortionMRSModel(TreeReferenceModel):
    """From pixels of the MIRI MRS to positions in slices, and on to the sky."""

    schema_url = "distortion_mrs.schema.yaml"
    instrument = "MIRI"


class DistortionModel(TreeReferenceModel):
    """From pixels to positions in the telescope's field."""

    schema_url = "transform.schema.yaml"


class EmiModel(TreeReferenceModel):
    """Waves of electromagnetic interference in MIRI."""

    schema_url = "emi.schema.yaml"
    instrument = "MIRI"


class Extract1dIFUModel(TreeReferenceModel):
    """Apertures for the extraction of spectra from IFU cubes."""

    schema_url = "extract1difu.schema.yaml"


class Extract1dModel(TreeReferenceModel):
    """Apertures for the extraction of spectra, in JSON."""

    schema_url = "extract1d.schema.yaml"


class FOREModel(TreeReferenceModel):
    """From the MSA to the filter wheel of NIRSpec."""

    schema_url = "transform.schema.yaml"
    instrument = "NIRSPEC"


class FPAModel(TreeReferenceModel):
    """From the focal plane to the detectors of NIRSpec."""

    schema_url = "fpa.schema.yaml"
    instrument = "NIRSPEC"


class FilteroffsetModel(TreeReferenceModel):
    """Shifts of the image, by filter."""

    schema_url = "filteroffset.schema.yaml"


class IFUFOREModel(TreeReferenceModel):
    """From the MSA to the IFU slicer of NIRSpec."""

    schema_url = "transform.schema.yaml"
    instrument = "NIRSPEC"


class IFUPostModel(TreeReferenceModel):
    """From the slices of the NIRSpec IFU to the plane of the MSA."""

    schema_url = "ifupost.schema.yaml"
    instrument = "NIRSPEC"


class IFUSlicerModel(TreeReferenceModel):
    """Positions and sizes of the slices of the NIRSpec IFU."""

    schema_url = "ifuslicer.schema.yaml"
    instrument = "NIRSPEC"


class MSAModel(TreeReferenceModel):
    """Positions and sizes of the shutters and slits of NIRSpec's MSA."""

    schema_url = "msa.schema.yaml"
    instrument = "NIRSPEC"


class MSAOperModel(TreeReferenceModel):
    """Shutters of NIRSpec's MSA that fail, in JSON."""

    schema_url = "msaoper.schema.yaml"
    instrument = "NIRSPEC"


class MirMrsApcorrModel(TreeReferenceModel):
    """Aperture corrections of the MIRI MRS."""

    schema_url = "mirmrs_apcorr.schema.yaml"
    instrument = "MIRI"


class MiriWFSSSpecwcsModel(TreeReferenceModel):
    """Dispersion of slitless spectra of MIRI."""

    schema_url = "specwcs_miri_wfss.schema.yaml"
    instrument = "MIRI"


class NIRCAMGrismModel(TreeReferenceModel):
    """Dispersion of the grisms and of the DHS of NIRCam."""

    schema_url = "specwcs_nircam_grism.schema.yaml"
    instrument = "NIRCAM"


class NIRISSGrismModel(TreeReferenceModel):
    """Dispersion of the grisms of NIRISS."""

    schema_url = "specwcs_niriss_grism.schema.yaml"
    instrument = "NIRISS"


class NrsIfuApcorrModel(TreeReferenceModel):
    """Aperture corrections of the NIRSpec IFU."""

    schema_url = "nrsifu_apcorr.schema.yaml"
    instrument = "NIRSPEC"


class OTEModel(TreeReferenceModel):
    """From the filter wheel to the optical telescope element."""

    schema_url = "transform.schema.yaml"
    instrument = "NIRSPEC"


class PastasossModel(TreeReferenceModel):
    """Traces, wavelengths and throughputs of NIRISS SOSS."""

    schema_url = "pastasoss.schema.yaml"
    instrument = "NIRISS"


class RegionsModel(TreeReferenceModel):
    """The slice that each pixel belongs to."""

    schema_url = "regions.schema.yaml"


class SIRSKernelModel(TreeReferenceModel):
    """Kernels of the correction by side reference pixels, by detector."""

    schema_url = "sirs_kernel.schema.yaml"


class SpecwcsModel(TreeReferenceModel):
    """From pixels to wavelengths, by slice of the MIRI MRS."""

    schema_url = "specwcs.schema.yaml"


class TsoPhotModel(TreeReferenceModel):
    """Apertures for photometry of time series."""

    schema_url = "tsophot.schema.yaml"


class WaveCorrModel(TreeReferenceModel):
    """Shifts of wavelength for sources that are not in the middle of their slit."""

    schema_url = "wavecorr.schema.yaml"
    instrument = "NIRSPEC"


class WavelengthrangeModel(TreeReferenceModel):
    """Ranges of wavelength to be extracted."""

    schema_url = "wavelengthrange.schema.yaml"
