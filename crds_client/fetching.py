"""Downloads into a cache: several at a time, each file once, verified before it gets its name.

The process that holds the lock on ``.<name>.lock`` writes a file to ``.<name>.part`` beside its
final path. When a holder dies, the operating system releases the lock, and the next holder
continues the partial file. Only a file of the right size and SHA-1 is renamed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import filelock

from calbatch.crds_client.answers import FileInfo
from calbatch.crds_client.cache.layout import Cache, check_name
from calbatch.crds_client.errors import CrdsError, DownloadError, ReadOnlyCache, ServerError
from calbatch.crds_client.server.protocol import Patience
from calbatch.crds_client.server.transport import (
    Pace,
    RefusedError,
    TransientError,
    read_chunk,
    retry,
)
from calbatch.models.errors import format_count
from calbatch.models.threads import check_cancelled, map_in_daemons, pause

MOST_NAMED = 5
"""Maximum number of files that an error names."""

_CHUNK = 2**20
_POLL = 0.05
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the number of bytes received, and its size."""


class Source(Protocol):
    """A source of files."""

    def file_infos(self, names: Iterable[str]) -> dict[str, FileInfo]:
        """Return the sizes and checksums of the files that exist."""
        ...

    def open_file(self, name: str, offset: int) -> AbstractContextManager[tuple[int, IO[bytes]]]:
        """Open a file; yield the offset at which the content begins, and the content.

        Parameters
        ----------
        name : str
            The file.
        offset : int
            Where to begin, in bytes. A source may begin at 0 instead.

        Raises
        ------
        TransientError
            If another attempt may succeed.
        RefusedError
            If another attempt would fail, too.
        """
        ...


@dataclass
class FetchReport:
    """The result of fetching files.

    Attributes
    ----------
    paths : dict
        Path by name, of the files in the cache.
    fetched : dict
        Size by name, of the files fetched by this call.
    failed : dict
        Reason by name, of the others.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    fetched: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `DownloadError` if any file failed; the message names the first ones."""
        if self.failed:
            failed = sorted(self.failed.items())
            count = format_count(len(failed), "file")
            raise DownloadError(f"{count} could not be fetched: {_explain(failed)}")


def _explain(failed: Sequence[tuple[str, str]]) -> str:
    """Return the first names of files, with the reason of each or the one that all share."""
    reasons = {reason for _, reason in failed}
    if len(reasons) == 1:
        return f"{_name_first([name for name, _ in failed])}: {reasons.pop()}"
    shown = "; ".join(f"{name}: {reason}" for name, reason in failed[:MOST_NAMED])
    others = len(failed) - MOST_NAMED
    return f"{shown}; and {others} more" if others > 0 else shown


def _name_first(names: Sequence[str]) -> str:
    """Return the first names, and the number of the others."""
    shown, others = ", ".join(names[:MOST_NAMED]), len(names) - MOST_NAMED
    return f"{shown} and {others} more" if others > 0 else shown


class Fetcher:
    """Fetches files from a source into a cache.

    Parameters
    ----------
    cache : Cache
        The cache.
    source : Source
        The source of the files.
    workers : int
        Number of simultaneous downloads.
    patience : Patience, optional
        Time limits and retries; by default from the environment.
    """

    def __init__(
        self, cache: Cache, source: Source, workers: int = 8, patience: Patience | None = None
    ) -> None:
        self.cache = cache
        self.source = source
        self.workers = workers
        self.patience = patience or Patience.from_environment()

    def fetch(
        self, names: Iterable[str], progress: Progress | None = None, *, anew: bool = False
    ) -> FetchReport:
        """Fetch the files that are not in the cache, or all of them.

        Parameters
        ----------
        names : iterable of str
            References or rules.
        progress : callable, optional
            Called after every piece.
        anew : bool
            Fetch existing files, too. They are replaced only by verified ones.

        Raises
        ------
        ReadOnlyCache
            If the cache cannot be written to.
        DownloadError
            If the files do not fit on the disk.
        ServerError
            If the source cannot be reached.
        """
        report = FetchReport()
        wanted = self._select_missing(names, report, anew=anew)
        if not wanted:
            return report
        infos = self.source.file_infos(wanted)
        for name in wanted:
            if name not in infos:
                report.failed[name] = "not known to the server"
        available = [name for name in wanted if name in infos]
        self._prepare(available, infos)
        job = _Job(self, infos, progress or (lambda *_: None), report, anew)
        # Files that another process is fetching are skipped at first, and waited for at the end.
        for waiting in (False, True):
            done = map_in_daemons(functools.partial(job.run, waiting), available, self.workers)
            available = [name for name, ok in zip(available, done, strict=True) if not ok]
        return report

    def _select_missing(
        self, names: Iterable[str], report: FetchReport, *, anew: bool
    ) -> list[str]:
        wanted = []
        for name in dict.fromkeys(names):
            path = None if anew else self.cache.find(name)
            if path is None:
                wanted.append(check_name(name))
            else:
                report.paths[name] = path
        return wanted

    def _prepare(self, names: list[str], infos: dict[str, FileInfo]) -> None:
        if self.cache.read_only:
            raise ReadOnlyCache(read_only_message(self.cache, names))
        try:
            for folder in {self.cache.checked_new_path(name).parent for name in names}:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _writing_fault(self.cache, names, error) from None
        needed = sum(infos[name].size for name in names)
        free = shutil.disk_usage(self.cache.new_path(names[0]).parent).free if names else 0
        if needed > free:
            raise DownloadError(
                f"{self.cache}: {needed} bytes have to be fetched, but only {free} are free on "
                "the disk"
            )

    def obtain(self, name: str, info: FileInfo, progress: Progress) -> None:
        """Fetch one file, whose lock the caller holds.

        Raises
        ------
        DownloadError
            If it cannot be fetched completely, or is damaged.
        """
        final = self.cache.new_path(name)
        part = final.with_name(f".{name}.part")

        def attempt() -> None:
            self._receive(name, info, part, progress)
            _verify(part, info)

        try:
            retry(attempt, self.patience.attempts, self.patience.delay)
            check_cancelled()
            part.replace(final)
        except (TransientError, RefusedError) as error:
            raise DownloadError(str(error)) from None
        except OSError as error:
            if error.errno in _FULL:
                part.unlink(missing_ok=True)
            raise DownloadError(f"{final}: {error.strerror}") from None

    def _receive(self, name: str, info: FileInfo, part: Path, progress: Progress) -> None:
        with _open_part(part) as out:
            size = os.fstat(out.fileno()).st_size
            if size > info.size:
                size = 0
            if size == info.size and size:
                return
            with self.source.open_file(name, size) as (start, response):
                out.truncate(start)
                out.seek(start)
                received, pace = start, Pace(self.patience.timeout)
                while received <= info.size and (piece := read_chunk(response, _CHUNK)):
                    out.write(piece)
                    received += len(piece)
                    pace.add(len(piece))
                    progress(name, received, info.size)
            out.flush()
            os.fsync(out.fileno())


def _open_part(part: Path) -> IO[bytes]:
    """Open a partial file: a new one, or one to continue after its process died.

    In a shared cache others may place links there. A symbolic link, or a file with further hard
    links, is removed, because writing to it would change another file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(2):
        with contextlib.suppress(OSError):
            status = part.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                part.unlink()
        file = os.fdopen(os.open(part, flags, 0o666), "r+b")
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            return file
        file.close()
    raise OSError(errno.EEXIST, "another user's file is in its place", str(part))


@dataclass
class _Job:
    """The files of one call; several threads call `run`, each with its own files."""

    fetcher: Fetcher
    infos: dict[str, FileInfo]
    progress: Progress
    report: FetchReport
    anew: bool

    def run(self, waiting: bool, name: str) -> bool:
        """Fetch one file; return False if another process still has its lock."""
        try:
            with file_lock(self.fetcher.cache, name, waiting=waiting):
                return self._run_locked(name)
        except filelock.Timeout:
            return False
        except (CrdsError, OSError) as error:
            self.report.failed[name] = str(error)
            return True

    def _run_locked(self, name: str) -> bool:
        path = None if self.anew else self.fetcher.cache.find(name)
        if path is None:
            self.fetcher.obtain(name, self.infos[name], self.progress)
            path = self.fetcher.cache.locate(name)
            self.report.fetched[name] = self.infos[name].size
        self.report.paths[name] = path
        return True


@contextlib.contextmanager
def file_lock(cache: Cache, name: str, *, waiting: bool) -> Iterator[None]:
    """Hold a file's lock, which other processes and hosts respect.

    Parameters
    ----------
    cache : Cache
        The cache.
    name : str
        The file.
    waiting : bool
        True to wait for it as long as necessary.

    Raises
    ------
    filelock.Timeout
        If it is not free, and is not waited for.
    CancelledError
        If the work of this context is cancelled while it is waited for.
    """
    place = cache.new_path(name)
    lock = filelock.FileLock(place.with_name(f".{name}.lock"), timeout=0, thread_local=False)
    while True:
        try:
            lock.acquire()
            break
        except filelock.Timeout:
            if not waiting:
                raise
        pause(_POLL)
    try:
        yield
    finally:
        lock.release()


def file_sha1(path: Path) -> str:
    """Return a file's SHA-1 digest in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()


def find_damage(path: Path, info: FileInfo) -> str:
    """Return the difference of a file in size or SHA-1, in words; empty if there is none."""
    size = path.stat().st_size
    if size != info.size:
        return f"has {format_count(size, 'byte')}, not {info.size}"
    if info.sha1 and (actual := file_sha1(path)) != info.sha1:
        return f"has sha1 {actual}, not {info.sha1}"
    return ""


def _verify(part: Path, info: FileInfo) -> None:
    fault = find_damage(part, info)
    if fault:
        if part.stat().st_size >= info.size:
            part.unlink()  # damaged; a file that is too short can be continued
        raise TransientError(f"the received file {fault}")


def read_only_message(cache: Cache, names: Iterable[str]) -> str:
    """Return a message that names the first files that a read-only cache lacks, and a remedy."""
    return (
        f"{cache} is read-only and lacks {_name_first(sorted(names))}; set "
        "CALBATCH_CRDS_OVERLAY to a folder of your own for the missing files"
    )


def _writing_fault(cache: Cache, names: list[str], error: OSError) -> CrdsError:
    if error.errno in _READ_ONLY:
        return ReadOnlyCache(read_only_message(cache, names))
    return ServerError(f"{cache}: {error}")
