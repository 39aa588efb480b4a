"""The scratch folder: files in it are uploaded when they are complete."""

from __future__ import annotations

import os
import re
import tempfile
from functools import cache
from pathlib import Path


def scratch_folder() -> Path:
    """Return the folder for files that will be uploaded.

    This is ``CALBATCH_SCRATCH_DIR``, or the system's folder for temporary files. All processes that
    write parts of one file must share it.
    """
    return Path(os.environ.get("CALBATCH_SCRATCH_DIR") or tempfile.gettempdir()).absolute()


@cache
def clear_scratch(host: str) -> None:
    """Remove the unfinished files that dead processes of this host left in the scratch folder."""
    unfinished = re.compile(rf"\..+[.-]{re.escape(host)}-(\d+)-[0-9a-f]{{32}}\.part")
    for path in scratch_folder().glob(".*.part"):
        match = unfinished.fullmatch(path.name)
        if match and path.lstat().st_uid == os.getuid() and not _is_alive(int(match[1])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True
