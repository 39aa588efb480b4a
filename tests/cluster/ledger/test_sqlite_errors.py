"""Errors of SQLite as errors of the ledger."""

import sqlite3
import stat

import pytest

from calbatch.cluster.ledger.schema import DamagedLedgerError, LedgerError
from calbatch.cluster.ledger.sqlite_errors import (
    batch_folders,
    decoding,
    ensure_private_folder,
    is_temporary,
    make_damage_error,
    make_error,
    require_contents,
)

BATCH = "20240131-120000-abcd"


def error_of(code, cls=sqlite3.OperationalError):
    error = cls("went wrong")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "temporary", "damage"),
    [
        (sqlite3.SQLITE_FULL, True, False),
        (sqlite3.SQLITE_BUSY, True, False),
        (sqlite3.SQLITE_IOERR_WRITE, True, False),
        (sqlite3.SQLITE_READONLY, True, False),
        (sqlite3.SQLITE_NOMEM, False, False),
        (sqlite3.SQLITE_CORRUPT, False, True),
        (sqlite3.SQLITE_NOTADB, False, True),
        (sqlite3.SQLITE_ERROR, False, True),
    ],
)
def test_errors_are_temporary_or_damage_or_neither(tmp_path, code, temporary, damage):
    error = error_of(code)
    assert is_temporary(error) is temporary
    made = make_error(tmp_path / "ledger.sqlite", error)
    assert isinstance(made, DamagedLedgerError) is damage
    assert "went wrong" in str(made)


def test_misuse_of_the_database_is_no_damage(tmp_path):
    for error in (sqlite3.ProgrammingError("closed"), sqlite3.InterfaceError("misuse")):
        assert type(make_error(tmp_path, error)) is LedgerError


@pytest.mark.parametrize(
    ("folder", "argument"), [("out put/.calbatch", "'{}/out put'"), ("state", "OUTPUT")]
)
def test_damage_comes_with_the_command_that_repairs_it(tmp_path, folder, argument):
    error = make_damage_error(tmp_path / folder / "ledger.sqlite", "malformed")
    assert f"`calbatch rebuild {argument.format(tmp_path)}` sets it aside" in str(error)
    assert "(malformed)" in str(error)


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_ledger_is_damaged_if_there_are_batches(tmp_path, content):
    path = tmp_path / "ledger.sqlite"
    if content is not None:
        path.write_bytes(content)
    require_contents(path)
    (tmp_path / "something").mkdir()
    require_contents(path)
    (tmp_path / BATCH).mkdir()
    with pytest.raises(DamagedLedgerError, match="although there are batches"):
        require_contents(path)
    path.write_bytes(b"contents")
    require_contents(path)


def test_batches_are_found_by_the_names_of_their_folders(tmp_path):
    (tmp_path / BATCH).mkdir()
    (tmp_path / "20240131-120000-abcdefg").mkdir()
    (tmp_path / "20240131-120001-abcd").write_bytes(b"")
    assert list(batch_folders(tmp_path)) == [tmp_path / BATCH]


def test_values_that_cannot_be_decoded_are_damage(tmp_path):
    for error in (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        with pytest.raises(DamagedLedgerError, match=error.__name__), decoding(tmp_path):
            raise error("odd")
    with pytest.raises(OSError, match="disk"), decoding(tmp_path):
        raise OSError("disk")


def test_a_private_folder_is_created_or_accepted(tmp_path):
    folder = tmp_path / "state"
    assert ensure_private_folder(folder) == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert ensure_private_folder(folder) == folder


def test_a_folder_that_others_could_have_prepared_is_refused(tmp_path):
    folder = tmp_path / "state"
    folder.symlink_to(tmp_path)
    with pytest.raises(LedgerError, match="choose another"):
        ensure_private_folder(folder, "choose another")


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LedgerError, match="cannot write to"):
        ensure_private_folder(tmp_path / "file" / "state")
