"""Command hooks: programs that inspect a step's input or result.

As in stpipe, ``{0}`` in the command stands for a temporary FITS file of the model; changes to that
file are discarded. Unlike in stpipe, no shell is involved: the command is split into words, and
each word is one argument, regardless of its characters.

The behaviour follows PyPI ``stpipe``, ``SystemCall``.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.models.model import DataModel
from calbatch.models.saving import save
from calbatch.models.temporary import open_process_folder

log = logging.getLogger(__name__)

_NUMBER = re.compile("[0-9]{0,3}")
_OPERATORS = frozenset("();<>|&")
_MAX_OUTPUT = 4000  # bytes of a command's output that are logged
_SUPERVISOR = str(Path(__file__).with_name("_supervisor.py"))

Piece = str | int
"""A part of a word: text, or the number of a model whose file name replaces it."""


@dataclass(frozen=True)
class Command:
    """A command and its arguments.

    Attributes
    ----------
    text : str
        The command as the user wrote it.
    words : tuple of tuple
        Program and arguments, each as a tuple of pieces.
    """

    text: str
    words: tuple[tuple[Piece, ...], ...]

    @classmethod
    def of(cls, text: str) -> Command:
        """Return the command for a text.

        Raises
        ------
        ParameterError
            If quotes do not match, braces contain anything but a number, or the command needs a
            shell.
        """
        _require_no_shell(text)
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ParameterError(f"command {text!r}: {error}") from None
        if not words:
            raise ParameterError("a command must not be empty")
        counter = iter(range(len(text)))
        return cls(text, tuple(tuple(_pieces(word, text, counter)) for word in words))

    def run(self, models: Sequence[DataModel], name: str) -> None:
        """Write the models that the command names to files, and run it on them.

        Parameters
        ----------
        models : sequence of DataModel
            The models for ``{0}``, ``{1}``, ...
        name : str
            The step's name, for messages.

        Raises
        ------
        StepError
            If the command is not found, or exits with a status other than 0.
        FileError
            If a file cannot be written.
        """
        numbers = {piece for word in self.words for piece in word if isinstance(piece, int)}
        beyond = [number for number in numbers if number >= len(models)]
        if beyond:
            raise StepError(
                f"{name}: command {self.text!r}: no model for {{{beyond[0]}}}: the step has "
                f"{len(models)} model(s)"
            )
        with open_process_folder("hooks") as folder:
            # Names are independent of the exposure: no header can choose a program's arguments.
            paths = {number: folder / f"model{number}.fits" for number in numbers}
            for number, path in paths.items():
                save([(models[number], path)], fsync=False, scheduler="sync")
            self._run(["".join(_fill(word, paths)) for word in self.words], name)

    def _run(self, words: Sequence[str], name: str) -> None:
        log.info("%s: running %s", name, shlex.join(words))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                status = _supervise(words, out, err)
            except (OSError, ValueError) as error:
                raise StepError(
                    f"{name}: command {self.text!r} cannot be run: {error}; write Python "
                    "functions as module:function"
                ) from error
            lines = {
                "standard output": _read_last_lines(out),
                "standard error": _read_last_lines(err),
            }
        for stream, written in lines.items():
            for line in written:
                log.info("%s: %s: %s", name, stream, line)
        if status:
            last = "".join(f": {line}" for line in lines["standard error"][-1:])
            how = f"exited with status {status}" if status > 0 else f"killed by signal {-status}"
            raise StepError(f"{name}: command {self.text!r} {how}{last}")


def _supervise(words: Sequence[str], out: IO[bytes], err: IO[bytes]) -> int:
    """Run a command that ends, with all of its processes, when this process ends.

    Returns its status: that with which it exited, or minus the number of the signal that ended it.

    Raises
    ------
    OSError
        If the command cannot be run.
    ValueError
        If a word contains a null character.
    """
    read, write = os.pipe()
    with os.fdopen(read, "rb") as report:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", _SUPERVISOR, str(write), *words],
                stdin=subprocess.PIPE, stdout=out, stderr=err,
                pass_fds=[write], start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(write)
        with process:  # closes the pipe in any case, and waits
            kind, _, text = report.read().decode().partition(" ")
    if kind == "status":
        return int(text)
    raise OSError(text or "its supervising process was killed")


def _require_no_shell(text: str) -> None:
    lexer = shlex.shlex(text, posix=False, punctuation_chars=True)  # keeps quotes
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # unmatched quotes: `Command.of` reports them
        return
    for word in words:
        unquoted = not any(quote in word for quote in "\"'")
        if set(word) <= _OPERATORS or (unquoted and ("$" in word or "`" in word)):
            raise ParameterError(
                f"command {text!r}: {word!r} is shell syntax, but commands run without a shell: "
                "use a script, or sh -c '...'"
            )


def _pieces(word: str, text: str, counter: Iterator[int]) -> Iterator[Piece]:
    wrong = ParameterError(
        f"command {text!r}: {{0}} stands for the model's file; double any other braces: {{{{, }}}}"
    )
    try:
        parts = list(string.Formatter().parse(word))
    except ValueError:
        raise wrong from None
    for literal, field, spec, conversion in parts:
        if literal:
            yield literal
        if field is None:
            continue
        if spec or conversion or not _NUMBER.fullmatch(field):
            raise wrong
        yield int(field) if field else next(counter)


def _fill(word: Sequence[Piece], paths: dict[int, Path]) -> Iterator[str]:
    for piece in word:
        yield piece if isinstance(piece, str) else str(paths[piece])


def _read_last_lines(file: IO[Any]) -> list[str]:
    """Return the last lines of a command's output, without control characters."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _MAX_OUTPUT))
    text = file.read().decode("utf-8", "replace")
    lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.split("\n"))
    return [line.strip() for line in lines if line.strip()]
