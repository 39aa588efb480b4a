"""Suffixes of the names of exposures and products."""

from __future__ import annotations

import re

_PRODUCTS = """
    ami ami-oi aminorm aminorm-oi blot bsub bsubints c1d cal calints cat crf crfints dark fitopt
    i2d mbsub median openwindows phot psfalign psfstack psfsub ramp rate rateints s2d s3d snr uncal
    wfscmb whtlt x1d x1dints
""".split()  # noqa: SIM905 - such a long list would be less readable
"""Kinds of products, including those that calbatch alone makes."""

_STEPS = """
    adaptive_trace_model align_refs ami_analyze ami_normalize assign_mtwcs assign_wcs bkg_subtract
    clean_flicker_noise combine_1d cube_build dark_current dq_init emicorr engdblog extract_1d
    extract_2d firstframe flat_field fringe gain_scale group_scale guider_cds hlsp imprint ipc
    jump klip lastframe linearity master_background outlier_detection pathloss persistence photom
    picture_frame ramp_fit refpix resample resample_spec reset residual_fringe rscd saturation
    skymatch source_catalog spectral_leak srctype stackrefs straylight superbias targ_centroid
    tweakreg wfscombine white_light
""".split()  # noqa: SIM905 - such a long list would be less readable
"""Steps of all stages: a step that runs alone names its product after itself."""

_CLASSES = """
    adaptivetracemodelstep alignrefsstep ami3pipeline amianalyzestep aminormalizestep
    assignmtwcsstep assignwcsstep backgroundstep badpixselfcalstep barshadowstep
    chargemigrationstep cleanflickernoisestep combine1dstep coron3pipeline cubebuildstep
    darkcurrentstep darkpipeline detector1pipeline dqinitstep emicorrstep extract1dstep
    extract2dstep firstframestep flatfieldstep fringestep gainscalestep groupscalestep
    guidercdsstep guiderpipeline hlspstep image2pipeline image3pipeline imprintstep ipcstep
    jumpstep klipstep lastframestep linearitystep masterbackgroundmosstep masterbackgroundstep
    msaflagopenstep outlierdetectionstep pathlossstep persistencestep photomstep pictureframestep
    pixelreplacestep rampfitstep refpixstep resamplespecstep resamplestep resetstep
    residualfringestep rscdstep saturationstep skymatchstep sourcecatalogstep sourcetypestep
    spec2nrslamp spec2pipeline spec3pipeline spectralleakstep stackrefsstep straylightstep
    superbiasstep targcentroidstep tso3pipeline tsophotometrystep tweakregstep wavecorrstep
    wfscombinestep wfsscontamstep whitelightstep
""".split()  # noqa: SIM905 - such a long list would be less readable
"""Classes of steps and pipelines in lower case, used by old versions of jwst."""

KNOWN_SUFFIXES = frozenset([*_PRODUCTS, *_STEPS, *_CLASSES])
"""Suffixes that a product's own suffix replaces: those of jwst 3.0.0 and of calbatch."""

_EXTENSION = re.compile(r"(?:\.fits)?(?:\.gz|\.fz)?", re.IGNORECASE)
_LONGEST_FIRST = "|".join(map(re.escape, sorted(KNOWN_SUFFIXES, key=len, reverse=True)))
_NAME = re.compile(
    rf"(?P<stem>.+?)(?:(?P<separator>[_-])(?:{_LONGEST_FIRST}))?", re.IGNORECASE | re.DOTALL
)


def strip_extension(name: str) -> str:
    """Return a file name without ``.fits``, ``.fits.gz`` or ``.fits.fz``, in any case."""
    for start in (i for i, letter in enumerate(name) if letter == "."):
        if start > 0 and _EXTENSION.fullmatch(name, start):
            return name[:start]
    return name


def product_name(source: str, suffix: str) -> str:
    """Return a product's file name: the input's name with another suffix.

    Parameters
    ----------
    source : str
        The input's file name, e.g. ``a_uncal.fits`` or ``a-uncal.FITS.gz``.
    suffix : str
        The product's suffix, e.g. ``rate``. It follows the same ``_`` or ``-`` as the input's
        suffix if that is a known one, and ``_`` otherwise.
    """
    plain = strip_extension(source)
    match = _NAME.fullmatch(plain)
    stem, separator = (match["stem"], match["separator"]) if match else (plain, None)
    return f"{stem}{separator or '_'}{suffix}.fits"
