"""The model classes of each reference type, and the one that fits a file."""

from __future__ import annotations

from collections.abc import Callable

from calbatch.models.classes import _reference_tables as tables
from calbatch.models.classes import _references as references
from calbatch.models.classes._references import ReferenceFileModel
from calbatch.models.fits.layout import Hdu, Layout
from calbatch.models.schema.spec import FieldSpec, load_schema

REFERENCES: dict[str, tuple[type[ReferenceFileModel], ...]] = {
    "apcorr": (
        tables.FgsImgApcorrModel, tables.MirImgApcorrModel, tables.MirLrsApcorrModel,
        tables.NisImgApcorrModel, tables.NisWfssApcorrModel, tables.NrcImgApcorrModel,
        tables.NrcWfssApcorrModel, tables.NrsFsApcorrModel, tables.NrsMosApcorrModel,
    ),
    "area": (
        references.PixelAreaModel, tables.NirspecSlitAreaModel, tables.NirspecMosAreaModel,
        tables.NirspecIfuAreaModel,
    ),
    "barshadow": (references.BarshadowModel,),
    "bkg": (references.WfssBkgModel, references.SossBkgModel),
    "cubepar": (tables.MiriIFUCubeParsModel, tables.NirspecIFUCubeParsModel),
    "dark": (references.DarkModel, references.DarkMIRIModel),
    "flat": (references.FlatModel,),
    "fringe": (references.FringeModel,),
    "fringefreq": (tables.FringeFreqModel,),
    "gain": (references.GainModel,),
    "ipc": (references.IPCModel,),
    "lastframe": (references.LastFrameModel,),
    "linearity": (references.LinearityModel,),
    "mask": (references.MaskModel,),
    "mrsptcorr": (tables.MirMrsPtCorrModel,),
    "mrsxartcorr": (tables.MirMrsXArtCorrModel,),
    "nrm": (references.NRMModel,),
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
    "reset": (references.ResetModel,),
    "resol": (references.ResolutionModel, tables.MiriResolutionModel),
    "rscd": (references.RSCDModel,),
    "saturation": (references.SaturationModel,),
    "speckernel": (references.SpecKernelModel,),
    "specprofile": (references.SpecProfileModel,),
    "spectrace": (references.SpecTraceModel,),
    "specwcs": (tables.MiriLRSSpecwcsModel,),
    "straymask": (references.StrayLightModel,),
    "superbias": (references.SuperBiasModel,),
    "throughput": (tables.ThroughputModel,),
    "trapdensity": (references.TrapDensityModel,),
    "trappars": (tables.TrapParsModel,),
    "wavemap": (references.WaveMapModel,),
    "wfssbkg": (references.WfssBkgModel,),
}  # fmt: skip
"""Model classes by CRDS reference type; the contents of a file decide between several."""


def choose_reference_class(
    reference_type: str, read_layout: Callable[[], Layout]
) -> type[ReferenceFileModel] | None:
    """Return the model class of a reference file, or None if there is none.

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
    classes = REFERENCES.get(reference_type, ())
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
