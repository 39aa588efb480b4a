"""Model classes of reference files that hold tables."""

from __future__ import annotations

from calbatch.models.classes._references import ReferenceFileModel

__all__ = [
    "FgsImgApcorrModel", "FgsImgPhotomModel", "FringeFreqModel", "IRS2Model", "MirImgApcorrModel",
    "MirImgPhotomModel", "MirLrsApcorrModel", "MirLrsPathlossModel", "MirLrsPhotomModel",
    "MirMrsPhotomModel", "MirMrsPtCorrModel", "MirMrsXArtCorrModel", "MirWfssPhotomModel",
    "MiriIFUCubeParsModel", "MiriLRSSpecwcsModel", "MiriResolutionModel", "NirspecFlatModel",
    "NirspecIFUCubeParsModel", "NirspecIfuAreaModel", "NirspecMosAreaModel", "NirspecSlitAreaModel",
    "NisImgApcorrModel", "NisImgPhotomModel", "NisSossPhotomModel", "NisWfssApcorrModel",
    "NisWfssPhotomModel", "NrcImgApcorrModel", "NrcImgPhotomModel", "NrcWfssApcorrModel",
    "NrcWfssPhotomModel", "NrsFsApcorrModel", "NrsFsPhotomModel", "NrsMosApcorrModel",
    "NrsMosPhotomModel", "SpecTraceSingleModel", "ThroughputModel", "TrapParsModel",
]  # fmt: skip


class FgsImgPhotomModel(ReferenceFileModel):
    """Flux calibration of FGS images."""

    schema_url = "fgsimg_photom.schema.yaml"
    instrument = "FGS"


class MirImgPhotomModel(ReferenceFileModel):
    """Flux calibration of MIRI images."""

    schema_url = "mirimg_photom.schema.yaml"
    instrument = "MIRI"


class MirLrsPhotomModel(ReferenceFileModel):
    """Flux calibration of the MIRI LRS; cells of its table are arrays."""

    schema_url = "mirlrs_photom.schema.yaml"
    instrument = "MIRI"


class MirWfssPhotomModel(ReferenceFileModel):
    """Flux calibration of slitless spectra of MIRI."""

    schema_url = "mirwfss_photom.schema.yaml"
    instrument = "MIRI"


class NisImgPhotomModel(ReferenceFileModel):
    """Flux calibration of NIRISS images."""

    schema_url = "nisimg_photom.schema.yaml"
    instrument = "NIRISS"


class NisSossPhotomModel(ReferenceFileModel):
    """Flux calibration of NIRISS SOSS."""

    schema_url = "nissoss_photom.schema.yaml"
    instrument = "NIRISS"


class NisWfssPhotomModel(ReferenceFileModel):
    """Flux calibration of slitless spectra of NIRISS."""

    schema_url = "wfss_photom.schema.yaml"
    instrument = "NIRISS"


class NrcImgPhotomModel(ReferenceFileModel):
    """Flux calibration of NIRCam images."""

    schema_url = "nrcimg_photom.schema.yaml"
    instrument = "NIRCAM"


class NrcWfssPhotomModel(ReferenceFileModel):
    """Flux calibration of slitless spectra of NIRCam."""

    schema_url = "wfss_photom.schema.yaml"
    instrument = "NIRCAM"


class NrsFsPhotomModel(ReferenceFileModel):
    """Flux calibration of NIRSpec's fixed slits."""

    schema_url = "nrsfs_photom.schema.yaml"
    instrument = "NIRSPEC"


class NrsMosPhotomModel(ReferenceFileModel):
    """Flux calibration of NIRSpec's micro-shutters and IFU."""

    schema_url = "nrsmos_photom.schema.yaml"
    instrument = "NIRSPEC"


class FgsImgApcorrModel(ReferenceFileModel):
    """Aperture corrections of FGS images."""

    schema_url = "fgsimg_apcorr.schema.yaml"
    instrument = "FGS"


class MirImgApcorrModel(ReferenceFileModel):
    """Aperture corrections of MIRI images."""

    schema_url = "mirimg_apcorr.schema.yaml"
    instrument = "MIRI"


class MirLrsApcorrModel(ReferenceFileModel):
    """Aperture corrections of the MIRI LRS."""

    schema_url = "mirlrs_apcorr.schema.yaml"
    instrument = "MIRI"


class NisImgApcorrModel(ReferenceFileModel):
    """Aperture corrections of NIRISS images."""

    schema_url = "nirimg_apcorr.schema.yaml"
    instrument = "NIRISS"


class NisWfssApcorrModel(ReferenceFileModel):
    """Aperture corrections of slitless spectra of NIRISS."""

    schema_url = "wfss_apcorr.schema.yaml"
    instrument = "NIRISS"


class NrcImgApcorrModel(ReferenceFileModel):
    """Aperture corrections of NIRCam images."""

    schema_url = "nirimg_apcorr.schema.yaml"
    instrument = "NIRCAM"


class NrcWfssApcorrModel(ReferenceFileModel):
    """Aperture corrections of slitless spectra of NIRCam."""

    schema_url = "wfss_apcorr.schema.yaml"
    instrument = "NIRCAM"


class NrsFsApcorrModel(ReferenceFileModel):
    """Aperture corrections of NIRSpec's fixed slits."""

    schema_url = "nrsfs_apcorr.schema.yaml"
    instrument = "NIRSPEC"


class NrsMosApcorrModel(ReferenceFileModel):
    """Aperture corrections of NIRSpec's micro-shutters."""

    schema_url = "nrsmos_apcorr.schema.yaml"
    instrument = "NIRSPEC"


class NirspecSlitAreaModel(ReferenceFileModel):
    """Pixel areas of NIRSpec's fixed slits."""

    schema_url = "nirspec_area_slit.schema.yaml"
    instrument = "NIRSPEC"


class NirspecMosAreaModel(ReferenceFileModel):
    """Pixel areas of NIRSpec's micro-shutters."""

    schema_url = "nirspec_area_mos.schema.yaml"
    instrument = "NIRSPEC"


class NirspecIfuAreaModel(ReferenceFileModel):
    """Pixel areas of the slices of NIRSpec's IFU."""

    schema_url = "nirspec_area_ifu.schema.yaml"
    instrument = "NIRSPEC"


class FringeFreqModel(ReferenceFileModel):
    """Frequencies of the residual fringes of the MIRI MRS."""

    schema_url = "fringefreq.schema.yaml"
    instrument = "MIRI"


class IRS2Model(ReferenceFileModel):
    """Weights of the reference pixels in IRS2 readout of NIRSpec."""

    schema_url = "irs2.schema.yaml"
    instrument = "NIRSPEC"


class MirLrsPathlossModel(ReferenceFileModel):
    """Path losses at the slit of the MIRI LRS."""

    schema_url = "mirlrs_pathloss.schema.yaml"
    instrument = "MIRI"


class MirMrsPhotomModel(ReferenceFileModel):
    """Flux calibration of the MIRI MRS, (rows, columns), and its change with time."""

    schema_url = "mirmrs_photom.schema.yaml"
    instrument = "MIRI"


class MirMrsPtCorrModel(ReferenceFileModel):
    """Corrections of MIRI MRS spectra for point sources."""

    schema_url = "mrsptcorr.schema.yaml"
    instrument = "MIRI"


class MirMrsXArtCorrModel(ReferenceFileModel):
    """Cross artifacts of the MIRI MRS."""

    schema_url = "mrsxartcorr.schema.yaml"
    instrument = "MIRI"


class MiriIFUCubeParsModel(ReferenceFileModel):
    """Parameters of the cubes of the MIRI MRS."""

    schema_url = "miri_ifucubepars.schema.yaml"
    instrument = "MIRI"


class MiriLRSSpecwcsModel(ReferenceFileModel):
    """Positions and wavelengths of the spectra of the MIRI LRS."""

    schema_url = "specwcs_miri_lrs.schema.yaml"
    instrument = "MIRI"


class MiriResolutionModel(ReferenceFileModel):
    """Spectral resolution of the MIRI MRS, and sizes of its PSF."""

    schema_url = "miri_resolution.schema.yaml"
    instrument = "MIRI"


class NirspecFlatModel(ReferenceFileModel):
    """A flat field of NIRSpec: images at some wavelengths, and the fast variation."""

    schema_url = "nirspec_flat.schema.yaml"
    instrument = "NIRSPEC"


class NirspecIFUCubeParsModel(ReferenceFileModel):
    """Parameters of the cubes of the NIRSpec IFU."""

    schema_url = "nirspec_ifucubepars.schema.yaml"
    instrument = "NIRSPEC"


class SpecTraceSingleModel(ReferenceFileModel):
    """The trace of one order of NIRISS SOSS."""

    schema_url = "spectracesingle.schema.yaml"
    instrument = "NIRISS"


class ThroughputModel(ReferenceFileModel):
    """Throughput of a filter."""

    schema_url = "throughput.schema.yaml"


class TrapParsModel(ReferenceFileModel):
    """Parameters of the traps that cause persistence."""

    schema_url = "trappars.schema.yaml"
