"""Hooks that are commands: programs that look at what a step gets or makes.

As in stpipe, ``{0}`` in the command stands for a FITS file with the model, written for the command
alone; what the command does to that file changes nothing. Unlike there, no shell is involved: the
command is split into words, and each word is one argument, whatever characters it has.

Source of the behaviour: PyPI ``stpipe``, ``SystemCall``.
"""

from __future__ import annotations

import logging
import re
import shlex
import string
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.models.model import DataModel
from calbatch.models.saving import save

log = logging.getLogger(__name__)

_NUMBER = re.compile("[0-9]{0,3}")
_OPERATORS = frozenset("();<>|&")
_MOST_SHOWN = 4000  # characters of what a command writes

Piece = str | int
"""A part of a word: text, or the number of the model whose file takes its place."""


@dataclass(frozen=True)
class Command:
    """A command and its arguments.

    Attributes
    ----------
    text : str
        As the user wrote it.
    words : tuple of tuple
        Program and arguments, each in pieces.
    """

    text: str
    words: tuple[tuple[Piece, ...], ...]

    @classmethod
    def of(cls, text: str) -> Command:
        """Return the command that a text says.

        Raises
        ------
        ParameterError
            When quotes do not match, braces hold something else than a number, or the command
            needs a shell.
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
        """Write the models that the command names into files, and run it on them.

        Parameters
        ----------
        models : sequence of DataModel
            What ``{0}``, ``{1}``, ... stand for.
        name : str
            The step, for messages.

        Raises
        ------
        StepError
            When the command is not there, or ends with another status than 0.
        FileError
            When a file cannot be written.
        """
        wanted = {piece for word in self.words for piece in word if isinstance(piece, int)}
        beyond = [number for number in wanted if number >= len(models)]
        if beyond:
            raise StepError(
                f"{name}: command {self.text!r}: there is nothing for {{{beyond[0]}}}, as the step "
                f"has {len(models)} model(s)"
            )
        with tempfile.TemporaryDirectory(prefix="calbatch-hook-") as folder:
            # Names that owe nothing to the exposure: no header can choose what a program sees.
            paths = {number: Path(folder, f"model{number}.fits") for number in wanted}
            for number, path in paths.items():
                save([(models[number], path)], fsync=False, scheduler="sync")
            self._run(["".join(_fill(word, paths)) for word in self.words], name)

    def _run(self, words: Sequence[str], name: str) -> None:
        log.info("%s: running %s", name, shlex.join(words))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                status = subprocess.run(
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False
                ).returncode
            except (OSError, ValueError) as error:
                raise StepError(
                    f"{name}: command {self.text!r} cannot be run: {error}; a Python function is "
                    "written module:function"
                ) from error
            lines = {
                "standard output": _read_last_lines(out),
                "standard error": _read_last_lines(err),
            }
        for stream, said in lines.items():
            for line in said:
                log.info("%s: %s: %s", name, stream, line)
        if status:
            last = "".join(f": {line}" for line in lines["standard error"][-1:])
            how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
            raise StepError(f"{name}: command {self.text!r} {how}{last}")


def _require_no_shell(text: str) -> None:
    lexer = shlex.shlex(text, posix=False, punctuation_chars=True)  # this way quotes stay on
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # quotes that do not match: told of by those who split it for good
        return
    for word in words:
        unquoted = not any(quote in word for quote in "\"'")
        if set(word) <= _OPERATORS or (unquoted and ("$" in word or "`" in word)):
            raise ParameterError(
                f"command {text!r}: {word!r} means something to a shell, and none is involved; put "
                "what you want to do into a script, or write sh -c '...'"
            )


def _pieces(word: str, text: str, counter: Iterator[int]) -> Iterator[Piece]:
    wrong = ParameterError(
        f"command {text!r}: {{0}} stands for the model's file; write other braces twice: {{{{, }}}}"
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
    """Return the last lines that a command wrote, without what terminals would obey."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _MOST_SHOWN))
    text = file.read().decode("utf-8", "replace")
    lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.split("\n"))
    return [line.strip() for line in lines if line.strip()]
