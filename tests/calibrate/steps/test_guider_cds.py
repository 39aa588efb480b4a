"""Rates of guide-star exposures: agreement with jwst, and the cases in which jwst fails."""

from itertools import cycle

import numpy as np
import pytest
from jwst.dq_init import DQInitStep as JwstDQInit
from jwst.flatfield import FlatFieldStep as JwstFlatField
from jwst.guider_cds import GuiderCdsStep as JwstGuiderCds
from stdatamodels.jwst import datamodels as jwst_models
from support.detector_steps import assert_same, jwst_result, reference_file
from support.guide_stars import CORNER, READS, SHAPE, guide_star, guide_star_references
from support.step_contract import StepContract

from calbatch.calibrate import registry
from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.pipelines.guider import GuiderPipeline
from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps.guider_cds import GuiderCdsStep
from calbatch.models import datamodels

FIELDS = ("data", "err", "dq")
JWST = {"dq_init": JwstDQInit, "guider_cds": JwstGuiderCds, "flat_field": JwstFlatField}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def of_value(path, value, shape=(40, 60), origin=(1, 1)):
    """Write a reference of one value, to be used as gain or read noise."""
    array = np.full(shape, value, "f4") if np.isscalar(value) else value
    return reference_file(path, {"SCI": array}, origin=origin, INSTRUME="FGS")


def rates(path, tmp_path, **references):
    """Run the step with constant references except those given."""
    for kind, value in (("gain", 2.0), ("readnoise", 12.0)):
        name = tmp_path / f"{kind}_constant.fits"
        references.setdefault(kind, name if name.exists() else of_value(name, value))
    return GuiderCdsStep(**{f"override_{k}": v for k, v in references.items()})(path)


def jwst_rates(path, **references):
    model = jwst_models.GuiderRawModel(str(path))
    overrides = {f"override_{k}": v for k, v in references.items()}
    with np.errstate(all="ignore"):
        return jwst_result(JwstGuiderCds, model, **overrides)


@pytest.mark.agreement
class TestAgreementWithJwst:
    # with and without an inverted flat, in turn
    @pytest.mark.parametrize(("kind", "inverse"), [*zip(READS, cycle([False, True]))])
    def test_each_step_for_every_type(self, tmp_path, rng, kind, inverse):
        path = guide_star(tmp_path / "a_uncal.fits", rng, kind, tables=False)
        references = guide_star_references(tmp_path, rng)
        references["flat_field"]["inverse"] = inverse
        pipeline = GuiderPipeline()
        pipeline.configure(references, "test")
        ours, theirs = datamodels.open(path), jwst_models.GuiderRawModel(str(path))
        for name, step in pipeline.steps().items():
            spectra = ("fflat", "sflat", "dflat") if name == "flat_field" else ()
            others = {f"override_{kind}": "N/A" for kind in spectra}
            ours = step(ours)
            with np.errstate(all="ignore"):
                theirs = jwst_result(JWST[name], theirs, **references[name], **others)
            assert_same(ours, theirs, FIELDS)
            assert ours.meta.bunit_data == theirs.meta.bunit_data

    @pytest.mark.parametrize("counts", [(3, 5), (2, 7), (1, 12)])
    def test_any_number_of_groups_of_fine_guiding(self, tmp_path, rng, counts):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_FINEGUIDE", counts=counts, tables=False)
        references = guide_star_references(tmp_path, rng)["guider_cds"]
        given = {kind.removeprefix("override_"): p for kind, p in references.items()}
        assert_same(rates(path, tmp_path, **given), jwst_rates(path, **given), FIELDS)

    @pytest.mark.parametrize(("kind", "counts"), [("FGS_ACQ1", (2, 4)), ("FGS_ID-IMAGE", (4, 3))])
    def test_further_groups_and_integrations_do_not_count(self, tmp_path, rng, kind, counts):
        path = guide_star(tmp_path / "a.fits", rng, kind, counts=counts, tables=False)
        references = guide_star_references(tmp_path, rng)["guider_cds"]
        given = {kind.removeprefix("override_"): p for kind, p in references.items()}
        assert_same(rates(path, tmp_path, **given), jwst_rates(path, **given), FIELDS)

    def test_a_stack_of_another_shape_uses_the_mean_of_each_reference(self, tmp_path, rng):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_ID-STACK", tables=False)
        given = {
            kind: of_value(tmp_path / f"{kind}.fits", rng.uniform(1, 9, (9, 70)).astype("f4"))
            for kind in ("gain", "readnoise")
        }
        ours, theirs = rates(path, tmp_path, **given), jwst_rates(path, **given)
        np.testing.assert_array_equal(np.asarray(ours.data), theirs.data)
        # jwst adds the reference up in single precision
        np.testing.assert_allclose(np.asarray(ours.err), theirs.err, rtol=1e-5)


class TestWhereJwstFails:
    def test_one_integration_is_identified_without_rejecting_cosmic_rays(
        self, tmp_path, rng, caplog
    ):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_ID-IMAGE", counts=(1, 2), tables=False)
        raw = np.asarray(datamodels.open(path).data).astype("f4")
        result = rates(path, tmp_path)
        wanted = (raw[:, 1] - raw[:, 0]) / np.float32(0.364)
        np.testing.assert_array_equal(np.asarray(result.data), wanted)
        assert "cosmic rays are not rejected" in caplog.text

    def test_a_stack_of_the_shape_of_a_reference_elsewhere_uses_the_mean(self, tmp_path, rng):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_ID-STACK", tables=False)
        noise = rng.uniform(5, 15, SHAPE).astype("f4")
        elsewhere = of_value(tmp_path / "noise.fits", noise, origin=(500, 600))
        found = rates(path, tmp_path, readnoise=elsewhere)
        constant = of_value(tmp_path / "mean.fits", float(noise.mean()))
        wanted = rates(path, tmp_path, readnoise=constant)
        # the means are rounded differently
        np.testing.assert_allclose(np.asarray(found.err), np.asarray(wanted.err), rtol=1e-6)

    def test_the_mean_leaves_out_pixels_that_are_nan(self, tmp_path, rng):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_ID-STACK", tables=False)
        noise = np.full((9, 70), 12, "f4")
        noise[3, 4:9] = np.nan
        small = of_value(tmp_path / "noise.fits", noise)
        found, wanted = rates(path, tmp_path, readnoise=small), rates(path, tmp_path)
        np.testing.assert_array_equal(np.asarray(found.err), np.asarray(wanted.err))

    def test_a_reference_with_only_nan_has_no_mean(self, tmp_path, rng):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_ID-STACK", tables=False)
        empty = of_value(tmp_path / "noise.fits", np.full((9, 70), np.nan, "f4"))
        with pytest.raises(ReferenceFileError, match=r"noise\.fits: has only NaN"):
            rates(path, tmp_path, readnoise=empty)

    def test_other_types_need_a_reference_that_covers_them(self, tmp_path, rng):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_ACQ1", tables=False)
        small = of_value(tmp_path / "noise.fits", 12.0, shape=(9, 70))
        with pytest.raises(ReferenceFileError, match="does not cover the exposure"):
            rates(path, tmp_path, readnoise=small)

    @pytest.mark.parametrize(
        ("kind", "counts", "message"),
        [
            ("FGS_ACQ2", (2, 1), "FGS_ACQ2 needs at least 2 groups .* but has 1: one read"),
            ("FGS_ID-IMAGE", (2, 1), "FGS_ID-IMAGE needs at least 2 groups"),
            ("FGS_FINEGUIDE", (1, 4), "at least 5 groups .* first 4 and the last 4 are the same"),
        ],
    )
    def test_a_difference_needs_two_reads(self, tmp_path, rng, kind, counts, message):
        path = guide_star(tmp_path / "a.fits", rng, kind, counts=counts, tables=False)
        with pytest.raises(StepError, match=rf"a\.fits: .*{message}"):
            rates(path, tmp_path)

    @pytest.mark.parametrize(("value", "message"), [(0.0, "TGROUP must be positive"),
                                                    (None, "the header lacks TGROUP")])  # fmt: skip
    def test_the_group_time_must_be_known(self, tmp_path, rng, value, message):
        path = guide_star(tmp_path / "a.fits", rng, "FGS_TRACK", tables=False, TGROUP=value)
        with pytest.raises(StepError, match=message):
            rates(path, tmp_path)


def test_no_reference_skips(tmp_path, rng):
    path = guide_star(tmp_path / "a.fits", rng, "FGS_TRACK", tables=False)
    result = rates(path, tmp_path, gain="N/A")
    assert result.meta.cal_step.guider_cds == "SKIPPED"
    np.testing.assert_array_equal(np.asarray(result.data), np.asarray(datamodels.open(path).data))


def test_other_exposures_are_rejected(tmp_path, rng):
    path = guide_star(tmp_path / "a.fits", rng, "FGS_IMAGE", counts=(1, 2))
    with pytest.raises(StepError, match=r"EXP_TYPE is FGS_IMAGE, .* only guide stars .* detector1"):
        rates(path, tmp_path)


class ContractOfGuideStars(StepContract):
    """The contract of steps, for exposures of guide stars."""

    name = "guider_cds"
    kind = "FGS_FINEGUIDE"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def files(cls, tmp_path_factory):
        folder, rng = tmp_path_factory.mktemp("contract"), np.random.default_rng(2)
        cls.path = guide_star(folder / "a_uncal.fits", rng, cls.kind, shape=(32, 32))
        given = guide_star_references(folder, rng, (32, 32), CORNER)
        cls.overrides = {k: v for each in given.values() for k, v in each.items()}

    def inputs(self):
        return [datamodels.GuiderRawModel(self.path)]

    def references(self):
        kinds = registry.find(self.name).reference_file_types
        return {f"override_{kind}": self.overrides[f"override_{kind}"] for kind in kinds}


class TestContract(ContractOfGuideStars):
    pass


class TestContractOfIdentification(ContractOfGuideStars):
    kind = "FGS_ID-IMAGE"


class TestContractOfFlags(ContractOfGuideStars):
    name = "dq_init"


class TestContractOfTheFlat(ContractOfGuideStars):
    name = "flat_field"

    def inputs(self):
        rates = self.path.with_name("a_guider_cds.fits")
        if not rates.exists():
            given = {n: self.overrides[n] for n in ("override_gain", "override_readnoise")}
            GuiderCdsStep(**given)(self.path).save(rates)
        return [datamodels.GuiderCalModel(rates)]


def test_columns_of_the_schemas_are_those_of_jwst():
    theirs = jwst_models.GuiderCalModel()
    for cls in (datamodels.GuiderRawModel, datamodels.GuiderCalModel):
        schema = cls((1, 1, 2, 2) if cls is datamodels.GuiderRawModel else (1, 2, 2)).schema
        tables = {name: spec.dtype for name, spec in schema.fields.items() if spec.is_table}
        assert len(tables) == 5
        for name, dtype in tables.items():
            assert dtype == theirs.get_dtype(name), name
