"""The model classes of each reference type, and the one that fits a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from calbatch.models.classes import _reference_tables as tables
from calbatch.models.classes import _references as references
from calbatch.models.classes import _trees as trees
from calbatch.models.classes._references import ReferenceFileModel
from calbatch.models.fits.layout import Hdu, Layout
from calbatch.models.schema.meta import get_path
from calbatch.models.schema.spec import FieldSpec, load_schema
from calbatch.models.trees.tree_model import TreeModel

REFERENCES: dict[str, tuple[type[ReferenceFileModel], ...]] = {
    "abvegaoffset": (trees.ABVegaOffsetModel,),
    "apcorr": (
        tables.FgsImgApcorrModel, tables.MirImgApcorrModel, tables.MirLrsApcorrModel,
        tables.NisImgApcorrModel, tables.NisWfssApcorrModel, tables.NrcImgApcorrModel,
        tables.NrcWfssApcorrModel, tables.NrsFsApcorrModel, tables.NrsMosApcorrModel,
        trees.MirMrsApcorrModel, trees.NrsIfuApcorrModel,
    ),
    "area": (
        references.PixelAreaModel, tables.NirspecSlitAreaModel, tables.NirspecMosAreaModel,
        tables.NirspecIfuAreaModel,
    ),
    "barshadow": (references.BarshadowModel,),
    "bkg": (references.WfssBkgModel, references.SossBkgModel),
    "camera": (trees.CameraModel,),
    "chromcorr": (trees.ChromCorrModel,),
    "collimator": (trees.CollimatorModel,),
    "cubepar": (tables.MiriIFUCubeParsModel, tables.NirspecIFUCubeParsModel),
    "dark": (references.DarkModel, references.DarkMIRIModel),
    "disperser": (trees.DisperserModel,),
    "distortion": (trees.DistortionModel, trees.DistortionMRSModel),
    "emicorr": (trees.EmiModel,),
    "extract1d": (trees.Extract1dIFUModel, trees.Extract1dModel),
    "filteroffset": (trees.FilteroffsetModel,),
    "flat": (references.FlatModel,),
    "fore": (trees.FOREModel,),
    "fpa": (trees.FPAModel,),
    "fringe": (references.FringeModel,),
    "fringefreq": (tables.FringeFreqModel,),
    "gain": (references.GainModel,),
    "ifufore": (trees.IFUFOREModel,),
    "ifupost": (trees.IFUPostModel,),
    "ifuslicer": (trees.IFUSlicerModel,),
    "ipc": (references.IPCModel,),
    "lastframe": (references.LastFrameModel,),
    "linearity": (references.LinearityModel,),
    "mask": (references.MaskModel,),
    "mrsptcorr": (tables.MirMrsPtCorrModel,),
    "mrsxartcorr": (tables.MirMrsXArtCorrModel,),
    "msa": (trees.MSAModel,),
    "msaoper": (trees.MSAOperModel,),
    "nrm": (references.NRMModel,),
    "ote": (trees.OTEModel,),
    "pastasoss": (trees.PastasossModel,),
    "pathloss": (tables.MirLrsPathlossModel, references.PathlossModel),
    "persat": (references.PersistenceSatModel,),
    "photom": (
        tables.FgsImgPhotomModel, tables.MirImgPhotomModel, tables.MirLrsPhotomModel,
        tables.MirWfssPhotomModel, tables.MirMrsPhotomModel, tables.NisImgPhotomModel,
        tables.NisSossPhotomModel, tables.NisWfssPhotomModel, tables.NrcImgPhotomModel,
        tables.NrcWfssPhotomModel, tables.NrsFsPhotomModel, tables.NrsMosPhotomModel,
    ),
    "pictureframe": (references.PictureFrameModel,),
    "psfmask": (references.PsfMaskModel,),
    "readnoise": (references.ReadnoiseModel,),
    "refpix": (tables.IRS2Model,),
    "regions": (trees.RegionsModel,),
    "reset": (references.ResetModel,),
    "resol": (references.ResolutionModel, tables.MiriResolutionModel),
    "rscd": (references.RSCDModel,),
    "saturation": (references.SaturationModel,),
    "sirskernel": (trees.SIRSKernelModel,),
    "speckernel": (references.SpecKernelModel,),
    "specprofile": (references.SpecProfileModel,),
    "spectrace": (references.SpecTraceModel,),
    "specwcs": (
        tables.MiriLRSSpecwcsModel, trees.SpecwcsModel, trees.NIRCAMGrismModel,
        trees.NIRISSGrismModel, trees.MiriWFSSSpecwcsModel,
    ),
    "straymask": (references.StrayLightModel,),
    "superbias": (references.SuperBiasModel,),
    "throughput": (tables.ThroughputModel,),
    "trapdensity": (references.TrapDensityModel,),
    "trappars": (tables.TrapParsModel,),
    "tsophot": (trees.TsoPhotModel,),
    "wavecorr": (trees.WaveCorrModel,),
    "wavelengthrange": (trees.WavelengthrangeModel,),
    "wavemap": (references.WaveMapModel,),
    "wfssbkg": (references.WfssBkgModel,),
}  # fmt: skip
"""Model classes by CRDS reference type; the contents of a file decide between several."""


def choose_reference_class(
    reference_type: str, read_layout: Callable[[], Layout]
) -> type[ReferenceFileModel] | None:
    """Return the model class of a reference file in FITS, or None if there is none.

    Parameters
    ----------
    reference_type : str
        Reference type, such as ``dark``.
    read_layout : callable
        Returns the file's layout; it is called if the type alone does not decide.

    Returns
    -------
    class or None
        The class, among those of the file's INSTRUME, whose required arrays and whose tables the
        file has; of several, the one that DATAMODL names, else the one with the most columns. If
        it has those of none, the only class, or the one of any instrument.
    """
    classes = [c for c in REFERENCES.get(reference_type, ()) if not issubclass(c, TreeModel)]
    if not classes or (len(classes) == 1 and classes[0].instrument is None):
        return classes[0] if classes else None
    layout = read_layout()
    instrument, named = map(layout.hdus[0].keywords.bare_text, ("INSTRUME", "DATAMODL"))
    own = [cls for cls in classes if not instrument or cls.instrument in (None, instrument)]
    fitting = [cls for cls in own if _has_contents(layout, cls)]
    # With the only class, or that of any instrument, opening the file reports the missing parts.
    fallback = own[0] if own and (len(own) == 1 or own[0].instrument is None) else None
    return max(
        fitting, key=lambda cls: (cls.__name__ == named, _count_columns(cls)), default=fallback
    )


def choose_tree_class(
    reference_type: str, stored_as: str, tree: Mapping[str, Any]
) -> type[TreeModel] | None:
    """Return the model class of a reference file that holds a tree, or None if there is none.

    Parameters
    ----------
    reference_type : str
        Reference type, such as ``distortion``.
    stored_as : str
        The file's format: ``asdf`` or ``json``.
    tree : mapping
        The file's tree.

    Returns
    -------
    class or None
        The class of that format, among those of the file's instrument, that ``meta.model_type``
        names, else the one of whose parts the file has the most.
    """
    known = REFERENCES.get(reference_type, ())
    classes = [c for c in known if issubclass(c, TreeModel) and _format(c) == stored_as]
    instrument, named = (text_at(tree, p) for p in ("meta.instrument.name", "meta.model_type"))
    own = [c for c in classes if c.instrument in (None, instrument)] or classes[:1]
    return max(own, key=lambda c: (c.__name__ == named, _count_parts(tree, c)), default=None)


def text_at(tree: Mapping[str, Any], path: str) -> str:
    """Return the text at a dotted path of a tree; empty if there is none."""
    value = get_path(tree, path)
    return value if isinstance(value, str) else ""


def _format(cls: type[TreeModel]) -> str:
    return load_schema(cls.schema_url).stored_as


def _count_parts(tree: Mapping[str, Any], cls: type[TreeModel]) -> int:
    return len(tree.keys() & load_schema(cls.schema_url).parts.keys())


def _has_contents(layout: Layout, cls: type[ReferenceFileModel]) -> bool:
    """Return whether a file has all that a class requires, and anything of it or of an item."""
    schema = load_schema(cls.schema_url)
    specs = [*schema.fields.values()]
    for of_list in schema.lists.values():
        specs += of_list.item.fields.values()
    present = [spec for spec in specs if _is_as_specified(layout.find(spec.hdu), spec)]
    return bool(present) and all(spec in present for spec in specs if spec.required)


def _is_as_specified(hdu: Hdu | None, spec: FieldSpec) -> bool:
    if hdu is None or spec.is_table != (hdu.kind == "table"):
        return False
    if spec.columns is None:
        return spec.ndim in (None, len(hdu.shape))
    return {column.name.lower() for column in spec.columns} <= _column_names(hdu)


def _column_names(table: Hdu) -> set[str]:
    cards = table.keywords
    count = cards.integer("TFIELDS")
    return {cards.text(f"TTYPE{n}").strip().lower() for n in range(1, count + 1)}


def _count_columns(cls: type[ReferenceFileModel]) -> int:
    fields = load_schema(cls.schema_url).fields.values()
    return sum(len(spec.columns) for spec in fields if spec.columns is not None)
