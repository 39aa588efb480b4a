"""Transforms, tables and other objects of ASDF files, made and stored by the asdf package.

It and the packages that know the objects, asdf-astropy and gwcs, are imported when an object is
asked for. The rest of calbatch does not need them.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import Any

from calbatch.models.asdf.asdf_file import read_content
from calbatch.models.asdf.asdf_writer import make_asdf
from calbatch.models.asdf.tagged import TaggedValue
from calbatch.models.errors import FileError, ModelError, ValidationError, explain_errors

_NAME = "value"
_INSTALL = "install calbatch[transforms], or asdf-astropy and gwcs"


def make_object(path: str | os.PathLike[str], name: str, value: TaggedValue) -> Any:
    """Return the object that a tagged value stands for, such as a transform.

    Parameters
    ----------
    path : path
        The file, for messages.
    name : str
        The value's place in the file, for messages.
    value : TaggedValue
        The value.

    Raises
    ------
    FileError
        If a package is missing that the object needs, or the value is damaged.
    """
    where = f"{name} is a {value.kind} ({value.tag})"
    asdf = _import_asdf(path, where)
    with explain_errors(path, f"{where}, which asdf cannot read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions, and about what is reported below
        content = io.BytesIO(make_asdf({_NAME: value}))
        with asdf.open(content, lazy_load=False, memmap=False) as file:
            made = file[_NAME]
    if isinstance(made, asdf.tagged.Tagged):
        raise FileError(
            path, f"{where}, which no installed package knows: {_INSTALL}{_more(value)}"
        )
    return made


def _import_asdf(path: str | os.PathLike[str], where: str) -> Any:
    try:
        import asdf.tagged
        import asdf_astropy  # noqa: F401 - asdf finds it by its entry points
    except ImportError as error:
        raise FileError(path, f"{where}, for which {error.name} is needed: {_INSTALL}") from error
    return asdf


def _more(value: TaggedValue) -> str:
    return "; stdatamodels has the transforms of jwst_pipeline" if "jwst" in value.tag else ""


def store_object(where: str, value: Any) -> Any:
    """Return an object, such as a transform or a table, as the tagged value that stands for it.

    Parameters
    ----------
    where : str
        The object's place, for messages.
    value : Any
        The object.

    Returns
    -------
    TaggedValue or TaggedText
        The value to be written.

    Raises
    ------
    ValidationError
        If no installed package can store the object.
    """
    asdf = _import_asdf("", f"{where} = {type(value).__name__}")
    content = io.BytesIO()
    try:
        asdf.AsdfFile({_NAME: value}).write_to(content)
        found = read_content(where, content.getvalue())[_NAME]
    except ModelError:
        raise
    except Exception as error:  # the converters of other packages may raise anything
        kind = type(value).__name__
        raise ValidationError(f"{where}: asdf cannot store this {kind}: {error}") from error
    return found
