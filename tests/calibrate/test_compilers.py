"""Processes share the parts of a compilation, and take each when it can be compiled."""

import shutil

import pytest
from support.compiling import PIPELINE, run_python, start_python
from support.simulated import small_exposure
from support.waiting import eventually

from calbatch.calibrate import compilers, warm

ORDER = """
parts = ("", "saturation", "linearity")
sys.stdout.buffer.write(pack(Order("kind", step, path, references, parts)))
"""


@pytest.fixture
def shared(tmp_path):
    """The folder of processes that compile, with the claims of others."""
    folder = tmp_path / "shared"
    folder.mkdir()
    for claimed in ("saturation", warm.ALWAYS):
        (folder / f"claimed-kind-{claimed}").touch()
    return folder


def test_a_process_compiles_what_no_other_has_claimed(shared, tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    (shared / "order-0").write_bytes(run_python(PIPELINE + ORDER, exposure, tmp_path))
    (shared / "settled").touch()
    kernels = tmp_path / "kernels"
    before = {path.name for path in kernels.rglob("*.nbi")}
    with start_python(compilers.PROGRAM, exposure, tmp_path, shared) as process:
        assert process.wait() == 0
    compiled = {path.name for path in kernels.rglob("*.nbi")} - before
    assert any("linearize" in name for name in compiled)
    assert not any("flag_integrations" in name for name in compiled)
    assert {path.name for path in shared.glob("done-*")} == {"done-kind-linearity"}


@pytest.mark.ci
def test_the_newest_order_counts(shared, tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    (shared / f"claimed-kind-{warm.ALWAYS}").unlink()
    unknown = PIPELINE + "references = None\n" + ORDER
    (shared / "order-0").write_bytes(run_python(unknown, exposure, tmp_path))
    with start_python(compilers.PROGRAM, exposure, tmp_path, shared) as process:
        eventually((shared / f"done-kind-{warm.ALWAYS}").exists, state=process.poll)
        assert not list(shared.glob("claimed-kind-linearity"))  # its reference is not chosen
        (shared / "part").write_bytes(run_python(PIPELINE + ORDER, exposure, tmp_path))
        (shared / "part").rename(shared / "order-1")
        (shared / "settled").touch()
        assert process.wait() == 0
    assert (shared / "done-kind-linearity").exists()


@pytest.mark.ci
def test_a_process_that_waits_for_references_reads_no_header_again(shared, tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    (shared / f"claimed-kind-{warm.ALWAYS}").unlink()
    copy = tmp_path / "copy_uncal.fits"
    shutil.copy(exposure.path, copy)
    waiting = f"{PIPELINE}references, path = None, Path({str(copy)!r})\n{ORDER}"
    (shared / "order-0").write_bytes(run_python(waiting, exposure, tmp_path))
    with start_python(compilers.PROGRAM, exposure, tmp_path, shared) as process:
        eventually((shared / f"done-kind-{warm.ALWAYS}").exists, state=process.poll)
        copy.unlink()
        (shared / "settled").touch()
        assert process.wait() == 0
