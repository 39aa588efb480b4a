"""Signatures of formats other than FITS, for messages that name the format."""

from calbatch.models.errors import FileError, format_count

_FITS_START = b"SIMPLE  ="

_KNOWN = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"#ASDF", "is an ASDF file, not FITS"),
    (b"SDF ", "is a damaged ASDF file, not FITS"),
    (b"\x89HDF", "is an HDF5 file, not FITS"),
    (b"PK\x03\x04", "is a zip archive, not FITS: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first (only gzip is read directly)"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it first (only gzip is read directly)"),
    (b"(\xb5/\xfd", "is compressed with zstd: unpack it first (only gzip is read directly)"),
    (b"\x1f\x9d", "is compressed with compress: unpack it first (only gzip is read directly)"),
    (b"XTENSION=", "begins with an extension: the primary header is missing"),
    (b"<", "is a web page or XML, not FITS: perhaps the response of a failed download"),
    (b"{", "is JSON, not FITS: perhaps the response of a failed download"),
)


def check_signature(path: str, start: bytes) -> None:
    """Raise an error if a file does not begin with the signature of FITS.

    Parameters
    ----------
    path : str
        The file, for the message.
    start : bytes
        The file's first few hundred bytes.

    Raises
    ------
    FileError
        If it does not; the message names the format that the file seems to have.
    """
    if start.startswith(_FITS_START):
        return
    if start and not start.strip(b"\0"):
        raise FileError(path, "is filled with zeros: perhaps by an incomplete transfer")
    if len(start) < len(_FITS_START) and _FITS_START.startswith(start):
        raise FileError(path, f"truncated: only {format_count(len(start), 'byte')}")
    text = start.lstrip()
    for magic, message in _KNOWN:
        if text.startswith(magic):
            raise FileError(path, message)
    raise FileError(path, f"is not FITS: it begins with {start[:16]!r} instead of SIMPLE")
