"""`calbatch refs` against a server on loopback, and offline."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest
from astropy.io import fits
from support.crds_server import CONTEXT, HEADER, CrdsServer, make_cache

from calbatch.cluster.cli.app import main

OLD = "jwst_0001.pmap"
FLAT, OLD_FLAT = "jwst_miri_flat_0002.fits", "jwst_miri_flat_0001.fits"


class Done(NamedTuple):
    """The result of a command."""

    returncode: int
    stdout: str
    stderr: str


class Setting:
    """The environment of a user: an empty cache, a server and some exposures."""

    def __init__(self, folder, server, monkeypatch):
        self.folder, self.server, self.monkeypatch = folder, server, monkeypatch
        self.cache = folder / "cache"
        for name in list(os.environ):
            if name.startswith(("CRDS_", "CALBATCH_", "STPIPE_")):
                monkeypatch.delenv(name)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "0")
        self.set(CRDS_PATH=self.cache, CRDS_CONTEXT=CONTEXT, CRDS_SERVER_URL=server.url)

    def set(self, **variables):
        for name, value in variables.items():
            self.monkeypatch.setenv(name, str(value))

    def offline(self):
        self.monkeypatch.delenv("CRDS_SERVER_URL")

    def exposure(self, name, **keywords):
        path = self.folder / name
        fits.PrimaryHDU(header=fits.Header({**HEADER, **keywords})).writeto(path)
        return str(path)

    def run(self, *arguments):
        """Run the command line, and require that an error takes one line."""
        self.monkeypatch.setattr(sys, "argv", ["calbatch", "refs", *map(str, arguments)])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code, out.getvalue(), err.getvalue())

    def cached_files(self):
        return {p.name for p in self.cache.rglob("jwst_*") if not p.name.endswith("map")}


@pytest.fixture(autouse=True)
def _signals_as_before():
    """Restore the signal handlers that the command line replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def user(tmp_path, monkeypatch):
    with CrdsServer(make_cache(tmp_path / "served")) as server:
        yield Setting(tmp_path, server, monkeypatch)


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_bestrefs_as_json(user):
    files = [
        user.exposure("a.fits"),
        user.exposure("b.fits", DETECTOR="NONE"),
        user.exposure("c.fits", INSTRUME="NIRCAM"),
    ]
    user.cache.mkdir()
    done = user.run("bestrefs", "--json", *files)
    good, missed, unknown = lines(done)
    assert good == {
        "file": files[0],
        "context": CONTEXT,
        "references": {"dark": "N/A", "flat": FLAT},
        "why": {},
    }
    assert missed["references"] == {"dark": "N/A", "flat": None}
    assert list(missed["why"]) == ["flat"]
    assert "NONE" in missed["why"]["flat"]
    assert unknown["references"] == {}
    assert "nircam" in unknown["why"][""].lower()
    assert done.returncode == 1  # c.fits has no references


def test_bestrefs_as_a_table(user):
    user.cache.mkdir()
    done = user.run("bestrefs", user.exposure("a.fits"))
    assert done.returncode == 0
    assert CONTEXT in done.stdout
    assert re.search(rf"a\.fits.*flat.*{FLAT}", done.stdout)


def test_a_missing_reference_is_a_valid_answer(user):
    user.cache.mkdir()
    done = user.run("bestrefs", user.exposure("b.fits", DETECTOR="NONE"))
    assert done.returncode == 0
    assert "not found" in done.stdout


def test_sync_makes_the_cache_and_fetches_references_of_exposures(user):
    files = [user.exposure("a.fits"), user.exposure("b.fits", DETECTOR="A")]
    done = user.run("sync", *files)
    assert done.returncode == 0, done.stderr
    assert user.cached_files() == {FLAT}
    assert user.server.asked[FLAT] == 1
    assert "fetched 1 of 1 file" in done.stderr
    assert "1 of 1 file in" in done.stdout
    assert user.run("sync", *files).returncode == 0
    assert user.server.asked[FLAT] == 1
    user.offline()
    assert user.run("sync", *files).returncode == 0


def test_sync_of_a_pipeline_takes_only_its_types(user):
    file = user.exposure("a.fits")
    assert user.run("sync", "--pipeline", "superbias", file).returncode == 0
    assert user.cached_files() == set()
    assert user.run("sync", "--pipeline", "flat_field", file).returncode == 0
    assert user.cached_files() == {FLAT}


def test_sync_of_a_whole_context(user):
    done = user.run("sync", "--context", OLD)
    assert done.returncode == 0
    assert user.cached_files() == {f"jwst_miri_flat_{n:04}.fits" for n in range(6)}
    assert not (user.cache / "mappings" / "jwst" / CONTEXT).exists()


def test_sync_of_an_instrument(user):
    assert user.run("sync", "--instrument", "MIRI").returncode == 0
    assert len(user.cached_files()) == 6


def test_sync_of_names(user):
    done = user.run("sync", "--files", FLAT, "jwst_miri_flat_0009.fits")
    assert done.returncode == 1
    assert user.cached_files() == {FLAT}
    assert "jwst_miri_flat_0009.fits: not known to the server" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--files"], ["nothing.fits"], ["--files", "../x"]])
def test_a_wrong_request_fetches_nothing(user, arguments):
    done = user.run("sync", *arguments)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert user.cached_files() == set()


def test_offline_sync_lists_everything_missing_with_the_command_that_fetches_it(user):
    files = [user.exposure("a.fits"), user.exposure("b.fits", DETECTOR="B")]
    user.cache.mkdir()
    assert user.run("bestrefs", *files).returncode == 0  # fetches the rules
    user.offline()
    done = user.run("sync", *files)
    assert done.returncode == 1
    command = done.stderr.strip().splitlines()[-1].split()
    assert command[:4] == ["calbatch", "refs", "sync", "--files"]
    assert set(command[4:]) == {FLAT, "jwst_miri_flat_0005.fits"}
    user.set(CRDS_SERVER_URL=user.server.url)
    assert user.run(*command[2:]).returncode == 0
    assert user.cached_files() == set(command[4:])


def test_an_unreachable_server_means_offline(user):
    assert user.run("sync", "--files", FLAT).returncode == 0
    user.server.http.shutdown()
    user.server.http.server_close()
    done = user.run("sync", "--files", FLAT, OLD_FLAT)
    assert done.returncode == 1
    assert OLD_FLAT in done.stderr


def test_verify_and_repair(user):
    assert user.run("sync", "--context", CONTEXT).returncode == 0
    assert user.run("verify").returncode == 0
    (bad,) = user.cache.rglob(FLAT)
    content = bytearray(bad.read_bytes())
    content[1000] ^= 1
    bad.write_bytes(content)
    (short,) = user.cache.rglob(OLD_FLAT)
    os.truncate(short, 10)
    rules = user.cache / "mappings" / "jwst" / CONTEXT  # no context can be loaded without it
    rules.write_text(rules.read_text().replace("MIRI", "MARI"))
    done = user.run("verify")
    assert done.returncode == 1
    assert {FLAT, OLD_FLAT, CONTEXT} <= set(re.findall(r"jwst_\w+\.\w+", done.stdout))
    assert "3 wrong" in done.stdout
    repaired = user.run("verify", "--repair")
    assert repaired.returncode == 0
    assert "3 of 3 files repaired" in repaired.stdout
    assert user.run("verify").returncode == 0


def test_verify_uses_the_last_known_checksums_when_offline(user):
    assert user.run("sync", "--context", CONTEXT).returncode == 0
    (bad,) = user.cache.rglob(FLAT)
    os.truncate(bad, 10)
    user.offline()
    assert user.run("verify").returncode == 1
    done = user.run("verify", "--repair")
    assert done.returncode == 1
    assert "without a server" in done.stdout


def test_verify_lists_files_that_cannot_be_verified(user):
    assert user.run("sync", "--files", FLAT).returncode == 0
    (cached_files,) = user.cache.rglob(FLAT)
    (cached_files.parent / "jwst_miri_flat_mine.fits").write_bytes(b"mine")
    done = user.run("verify")
    assert done.returncode == 0
    assert "1 file cannot be verified" in done.stdout


def test_diff_of_contexts(user):
    files = [user.exposure("a.fits"), user.exposure("b.fits", DETECTOR="B")]
    user.cache.mkdir()
    done = user.run("diff", OLD, CONTEXT, *files, "--json")
    assert done.returncode == 0
    assert lines(done) == [{"file": files[0], "type": "flat", OLD: OLD_FLAT, CONTEXT: FLAT}]
    shown = user.run("diff", OLD, CONTEXT, *files)
    assert "1 of 2 exposures with other references" in shown.stdout
    assert re.search(rf"{OLD_FLAT}.*{FLAT}", shown.stdout)


def test_diff_with_a_bad_file(user, tmp_path):
    (tmp_path / "bad.fits").write_bytes(b"no FITS")
    user.cache.mkdir()
    done = user.run("diff", OLD, CONTEXT, user.exposure("a.fits"), tmp_path / "bad.fits")
    assert done.returncode == 1
    assert "bad.fits" in done.stderr


def test_info(user):
    user.cache.mkdir()
    (found,) = lines(user.run("info", "--json"))
    assert found["context"] == CONTEXT
    assert found["mode"] == "auto"
    assert found["cache"] == str(user.cache)
    text = user.run("info").stdout
    assert CONTEXT in text
    assert "as requested" in text


def test_refs_commands_run_in_their_own_process(user):
    user.cache.mkdir()
    program = "from calbatch.cluster.cli.app import main; main()"
    command = [sys.executable, "-c", program, "refs", "info", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["server"] == user.server.url


def test_refs_commands_without_a_cache_are_refused(user):
    done = user.run("info")
    assert done.returncode == 2
    assert str(user.cache) in done.stderr
    user.monkeypatch.delenv("CRDS_PATH")
    done = user.run("info")
    assert done.returncode == 2
    assert "CRDS_PATH" in done.stderr


def test_a_flat_cache_is_read_and_filled_as_such(user):
    (user.cache / "config" / "jwst").mkdir(parents=True)
    (user.cache / "config" / "jwst" / "ref_cache_subdir_mode").write_text("flat")
    assert user.run("sync", user.exposure("a.fits")).returncode == 0
    assert (user.cache / "references" / "jwst" / FLAT).is_file()
    user.offline()
    assert user.run("sync", user.exposure("b.fits")).returncode == 0


def test_an_error_on_a_read_only_cache_names_the_remedy(user):
    file = user.exposure("a.fits")
    user.cache.mkdir()
    assert user.run("bestrefs", file).returncode == 0
    user.set(CRDS_READONLY_CACHE=1)
    done = user.run("sync", file)
    assert done.returncode == 2
    assert "read-only" in done.stderr
    assert FLAT in done.stderr
    assert "CALBATCH_CRDS_OVERLAY" in done.stderr
    user.set(CALBATCH_CRDS_OVERLAY=user.folder / "own")
    assert user.run("sync", file).returncode == 0
    assert user.cached_files() == set()
    assert {p.name for p in (user.folder / "own").rglob("*.fits")} == {FLAT}
