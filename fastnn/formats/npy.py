"""NumPy's npy and npz, read without ``numpy.load``: that allocates what a header declares."""

import io
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.formats.content import MOST_EXPANSION, SMALL_EXPANSION, fail, read_bytes

MOST_DIMENSIONS = 8


def read_npy(path: Path) -> NDArray[Any]:
    """Read an array from an npy file."""
    content = read_bytes(path)
    return _parse_npy(io.BytesIO(content), len(content), path, path.name)


def _parse_npy(file: IO[bytes], size: int, path: Path, name: str) -> NDArray[Any]:
    """Read an npy file of ``size`` bytes; the declared shape must fit them exactly."""
    headers: dict[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        if version not in headers:
            fail(path, f"{name} has npy format version {version}; expected 1.0 or 2.0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers of Python 2, which are read all right
            shape, fortran_order, dtype = headers[version](file)
    except InputError:
        raise
    except Exception as error:  # the parser of a foreign header may raise anything
        fail(path, f"{name} is not an npy array ({str(error).splitlines()[0]:.100})")
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        fail(path, f"{name} has dtype {dtype}; expected numbers (or text, for labels)")
    expected, found = prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or len(shape) > MOST_DIMENSIONS or expected != found:
        fail(path, f"{name} declares shape {shape}, {expected} bytes of values; it has {found}")
    content = bytearray(expected)
    view = memoryview(content)
    while view:
        n_read = file.readinto(view)  # type: ignore[attr-defined]
        if not n_read:
            fail(path, f"{name} is truncated")
        view = view[n_read:]
    try:
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    except ValueError as error:
        fail(path, f"{name} declares shape {shape} ({error})")
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays X and y, or X_train, y_train, X_test and y_test, from an npz file.

    Returns
    -------
    arrays : dict of ndarray
        Under the names above; upper and lower case are not told apart in the file.
    """
    wanted = {
        name.lower() + ".npy": name for name in ("X", "y", "X_train", "y_train", "X_test", "y_test")
    }
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist()]
            for entry in archive.infolist():
                name = wanted.get(entry.filename.lower())
                if name is None:
                    continue
                most = max(MOST_EXPANSION * path.stat().st_size, SMALL_EXPANSION)
                if entry.file_size > most:
                    fail(path, f"{name} expands to {entry.file_size} bytes, more than it should")
                with archive.open(entry) as file:
                    arrays[name] = _parse_npy(file, entry.file_size, path, name)
    except InputError:
        raise
    except FileNotFoundError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
        NotImplementedError, RuntimeError, ValueError, OverflowError,
    ) as error:  # fmt: skip
        fail(path, f"not a whole npz file ({error})")
    if not {"X", "X_train"} & set(arrays):
        shown = ", ".join(name.removesuffix(".npy") for name in names[:8]) or "nothing"
        fail(path, f"it holds {shown}; expected X and y, or X_train, y_train, X_test, y_test")
    return arrays
