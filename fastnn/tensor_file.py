"""Arrays and a JSON header in one safetensors file; nothing in it is executed on reading."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from fastnn import __version__
from fastnn.errors import InputError
from fastnn.formats.content import require_file

Header: TypeAlias = dict[str, Any]
Tensors: TypeAlias = dict[str, NDArray[Any]]


class Kind(NamedTuple):
    """A kind of file: its name in errors, its format and version, and the keys of its header.

    ``advice`` is what to do where a file is none of it.
    """

    noun: str
    format: str
    version: int
    keys: frozenset[str]
    advice: str = ""


def to_bytes(kind: Kind, header: Header, tensors: Tensors) -> bytes:
    """Return a file's content; raise ValueError if the header holds a number that is not finite."""
    from safetensors.numpy import save

    about = {"format": kind.format, "version": kind.version, "fastnn": __version__}
    return bytes(save(tensors, {"fastnn": json.dumps({**about, **header}, allow_nan=False)}))


@contextmanager
def reading(path: str | os.PathLike[str], kind: Kind) -> Iterator[None]:
    """Turn whatever is found wrong with a file into an error that names it."""
    require_file(Path(path))
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        detail = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        advice = f"; {kind.advice}" if kind.advice else ""
        message = f"{os.fspath(path)} is not {kind.noun} of fastnn: {detail}{advice}"
        raise InputError(message) from error


def read(path: str | os.PathLike[str], kind: Kind) -> tuple[Header, Tensors]:
    """Return the header, with the keys of its kind, and the arrays, of float32 or float64.

    Raises
    ------
    ValueError, KeyError, TypeError, RecursionError
        If that is not what the file holds; to be used within ``reading``.
    OSError
        If it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):  # a clear OSError before the library's own
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            dtypes = {file.get_slice(name).get_dtype() for name in names}
            if not dtypes <= {"F32", "F64"}:
                raise ValueError(f"it holds arrays of types {sorted(dtypes)}")
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"it is not a whole safetensors file ({error})") from error
    if set(metadata) != {"fastnn"}:
        raise ValueError("its header does not speak of fastnn")
    return _header(metadata["fastnn"], kind), tensors


def _header(text: str, kind: Kind) -> Header:
    header = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
    if not isinstance(header, dict) or header.get("format") != kind.format:
        raise ValueError("its header does not speak of fastnn")
    if type(header["version"]) is not int or header["version"] != kind.version:
        raise ValueError(
            f"it has format version {header['version']!r}; this fastnn {__version__} reads version "
            f"{kind.version}: install the fastnn that wrote it ({header.get('fastnn')!r})"
        )
    if set(header) != {"format", "version", "fastnn"} | kind.keys:
        raise ValueError(f"its header has the keys {sorted(header)}")
    return {key: header[key] for key in header if key in kind.keys}


def _refuse_constant(name: str) -> float:
    raise ValueError(f"its header holds {name}")


def _finite_float(digits: str) -> float:
    number = float(digits)
    return number if isfinite(number) else _refuse_constant(digits)
