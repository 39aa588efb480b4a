"""Every module that parses foreign data is listed, and a test damages the data of each."""

import ast
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from support.batches import calbatch as command

import calbatch
from calbatch.cluster.batch import liveness
from calbatch.cluster.folder import BatchFolder, find_registered, registry
from calbatch.models import datamodels

ROOT = Path(calbatch.__file__).parent
PARSERS = {
    "yaml.load", "yaml.safe_load", "yaml.parse", "yaml.compose", "json.loads", "json.load",
    "ast.parse", "ast.literal_eval", "configobj.ConfigObj", "sqlite3.connect", "fits.open",
    "np.load", "zlib.decompress", "zlib.decompressobj", "gzip.open", "gzip.GzipFile",
    "fits.Card.fromstring", "Card.fromstring", "fits.Header.fromstring", "cloudpickle.loads",
    "re2.compile", "base64.b64decode",
}  # fmt: skip

DAMAGED = "tests/damage: "
DOORS = {
    # Foreign data.
    "models/storage/files.py": DAMAGED + "every FITS file, compressed",
    "models/fits/cards.py": DAMAGED + "every FITS file",
    "models/fits/astropy_hdu.py": DAMAGED + "every FITS file",
    "models/_stored_fields.py": "tests/damage/test_doors.py",
    "models/asdf/asdf_tree.py": DAMAGED
    + "pars-jumpstep, and tests/models/fits/test_asdf_extension.py",
    "models/asdf/asdf_blocks.py": "tests/models/asdf/test_asdf_blocks.py",
    "models/fits/asdf_extension.py": "parses its own output, as YAML",
    "models/fits/decoded_copies.py": "tests/models/fits/test_decoded_copies.py",
    "models/storage/upload_permits.py": "tests/models/storage/test_upload_permits.py",
    "models/tiling/portable.py": "opens steps that a batch's own driver packed",
    "models/schema/source.py": "schemas are the software's, or the user's own",
    "crds_client/rules/literals.py": DAMAGED + "rules",
    "crds_client/rules/expressions.py": "tests/crds_client/rules/test_expressions.py",
    "crds_client/rules/versions.py": "tests/crds_client/rules/test_versions.py",
    "crds_client/rules/regular.py": "tests/crds_client/rules/test_regular.py",
    "crds_client/answers.py": "tests/crds_client/test_answers.py",
    "cluster/planning/checksum_memory.py": "tests/cluster/planning/test_checksum_memory.py",
    "cluster/planning/associations.py": "tests/cluster/planning/test_associations.py",
    # Files of batches, and files that users write.
    "calibrate/hooks/__init__.py": "tests/calibrate/test_hooks.py",
    "calibrate/parameters/cfg.py": DAMAGED + "cfg",
    "calibrate/simulate/truth.py": "the truth of simulated exposures, which no batch reads",
    "models/trees/tree_files.py": "tests/damage/test_damaged_trees.py",
    "models/statistics/product_statistics.py": "tests/models/statistics/test_product_statistics.py",
    "models/statistics/quick_look.py": "tests/models/statistics/test_quick_look.py",
    "cluster/batch/liveness.py": "tests/damage/test_doors.py",
    "cluster/owner.py": "tests/damage/test_doors.py",
    "cluster/folder.py": "tests/damage/test_doors.py",
    "cluster/sites/named_sites.py": "tests/cluster/sites/test_named_sites.py",
    "cluster/batch/rebuilding.py": "tests/cluster/test_rebuild.py",
    "cluster/ledger/salvage.py": "tests/cluster/test_rebuild.py",
    "cluster/ledger/header_rows.py": DAMAGED + "ledger",
    "cluster/ledger/queries.py": DAMAGED + "ledger",
    "cluster/ledger/records.py": DAMAGED + "ledger",
    "cluster/ledger/store.py": DAMAGED + "ledger",
    "cluster/ledger/view.py": DAMAGED + "ledger",
}
"""Modules that parse files, each with the test that damages them or the reason for having none."""


def callee(node):
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def modules_that_parse():
    """Return the modules that call a parser, relative to the package."""
    found = set()
    for folder in ("models", "crds_client", "calibrate", "cluster"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            calls = {callee(node) for node in ast.walk(ast.parse(path.read_text()))}
            if calls & PARSERS:
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_every_parsing_module_is_listed():
    assert modules_that_parse() - DOORS.keys() == set(), "add them to DOORS"


def test_every_listed_module_parses():
    assert DOORS.keys() - modules_that_parse() == set()
    named = {shown for shown in DOORS.values() if shown.startswith("tests/") and ":" not in shown}
    here = Path(__file__).parents[2]
    assert [name for name in named if not (here / name).is_file()] == []


NOT_A_DRIVER = [
    "", "{", "5", "null", "[]", "{}", '{"host": 1}', '{"host": "x", "pid": "y", "created": 0}',
    '{"host": "x", "pid": [], "created": 0}', '{"host": "x", "pid": 1, "created": "z"}',
    '{"host": "HOST", "pid": -5, "created": 0}', '{"host": "HOST", "pid": 1e999, "created": 1}',
    '{"host": "HOST", "pid": 99999999999999999999, "created": 0}', "[" * 100_000, "\xff\xfe",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_A_DRIVER, ids=range(len(NOT_A_DRIVER)))
def test_a_damaged_note_on_a_driver_means_that_none_is_alive(tmp_path, text):
    folder = BatchFolder(tmp_path, "20240101-000000-abcd")
    folder.make()
    here = text.replace("HOST", liveness.socket.gethostname())
    folder.pid.write_text(here, encoding="latin-1")
    batch = type("Row", (), {"beat": 0.0})
    assert liveness.is_driver_alive(folder, batch) is False


@pytest.mark.parametrize("text", ["", "\xff", "--help", "5; rm -rf /", "a" * 9999])
def test_a_damaged_note_on_a_job_names_none(tmp_path, text):
    folder = BatchFolder(tmp_path, "20240101-000000-abcd")
    folder.make()
    folder.job.write_text(text, encoding="latin-1")
    assert liveness.read_job(folder) is None
    folder.job.write_text("1234\n")
    assert liveness.read_job(folder) == "1234"


def test_a_pipe_in_place_of_a_note_is_not_waited_for(tmp_path):
    folder = BatchFolder(tmp_path, "20240101-000000-abcd")
    folder.make()
    for note in (folder.pid, folder.job):
        os.mkfifo(note)
    assert liveness.is_driver_alive(folder, type("Row", (), {"beat": 0.0})) is False
    assert liveness.read_job(folder) is None


NO_PLACES = [*NOT_A_DRIVER, '{"output": 5}', '{"output": "s3://a:b@c/"}']


@pytest.mark.parametrize("text", NO_PLACES, ids=range(len(NO_PLACES)))
def test_a_damaged_note_on_a_batch_is_ignored(tmp_path, monkeypatch, text):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "state"))
    folder = BatchFolder(tmp_path, "20240101-000000-abcd")
    folder.make()
    assert [found.name for found in find_registered()] == [folder.name]
    (registry() / f"{folder.name}.json").write_text(text, encoding="latin-1")
    assert list(find_registered()) == []
    completed = command("status")
    assert (completed.status, "Traceback" in completed.err) == (2, False)


def test_a_damaged_copy_of_a_table_is_read_from_the_reference_itself(tmp_path):
    table = np.array(
        [(0, 1, "DEAD", "")], [("BIT", "i4"), ("VALUE", "i4"), ("NAME", "S8"), ("D", "S2")]
    )
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((20, 20), "u4"), name="DQ")]
    names = dict(zip(table.dtype.names, ["BIT", "VALUE", "NAME", "DESCRIPTION"], strict=True))
    described = fits.BinTableHDU(table, name="DQ_DEF")
    for old, new in names.items():
        described.columns.change_name(old, new)
    fits.HDUList([*hdus, described]).writeto(tmp_path / "mask.fits")
    (tmp_path / "copy.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'")

    class Copies:
        def plain_file(self, path):
            return path

        def table_file(self, path, index):
            return tmp_path / "copy.npy"

    mask = datamodels.MaskModel(tmp_path / "mask.fits", copies=Copies())
    assert list(mask.dq_def["VALUE"]) == [1]
