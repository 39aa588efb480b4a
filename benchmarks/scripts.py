"""Small scripts in this folder that run in their own processes and print JSON."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processes import reap

HERE = Path(__file__).parent


def run_script(
    script: str, output: Path, *arguments: str | Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run a script and return its JSON output.

    Its first argument is a folder for products, which is emptied before and removed afterwards.
    """
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    command = [sys.executable, HERE / script, output, *arguments]
    try:
        done = subprocess.run(
            [str(part) for part in command], env={**os.environ, **environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(output, ignore_errors=True)
        reap()
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
