"""NumPy's npy and npz, read without ``numpy.load``: that allocates what a header declares."""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from math import prod
from os import fstat
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.formats.content import (
    MOST_EXPANSION,
    SMALL_EXPANSION,
    fail,
    read_bytes,
    require_file,
)

MOST_DIMENSIONS = 8


class NpyHeader(NamedTuple):
    """What an npy file declares, and where its values begin, in bytes."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def n_bytes(self) -> int:
        """Bytes of values."""
        return prod(self.shape) * self.dtype.itemsize


def read_npy(path: Path) -> NDArray[Any]:
    """Read an array from an npy file."""
    content = read_bytes(path)
    return _parse_npy(io.BytesIO(content), len(content), path, "it")


def read_npy_header(path: Path) -> NpyHeader:
    """Read what a plain npy file declares; its shape must fit the file's size exactly.

    Raises
    ------
    InputError
        If it is not an npy file, or is compressed.
    OSError
        If it cannot be read.
    """
    require_file(path)
    with path.open("rb") as file:
        return _parse_header(file, fstat(file.fileno()).st_size, path, "it")


def _parse_header(file: IO[bytes], size: int, path: Path, name: str) -> NpyHeader:
    """Read the header of an npy file of ``size`` bytes; the declared shape must fit them."""
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
        fail(path, f"{name} is not an npy array ({str(error) or type(error).__name__:.100})")
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        fail(path, f"{name} has dtype {dtype}; expected numbers (or text, for labels)")
    shape = tuple(int(size) for size in shape)  # True passes for 1 in a header
    if min(shape, default=1) < 1:
        fail(path, f"{name} declares shape {shape}; expected at least one value")
    found = size - file.tell()
    if len(shape) > MOST_DIMENSIONS or prod(shape) * dtype.itemsize != found:
        fail(path, f"{name} declares shape {shape} of {dtype}; it has {found} bytes of values")
    return NpyHeader(shape, fortran_order, dtype, file.tell())


def _parse_npy(file: IO[bytes], size: int, path: Path, name: str) -> NDArray[Any]:
    """Read an npy file of ``size`` bytes; the declared shape must fit them exactly."""
    shape, fortran_order, dtype, offset = _parse_header(file, size, path, name)
    content = bytearray(size - offset)
    view = memoryview(content)
    while view:
        n_read = file.readinto(view)  # type: ignore[attr-defined]
        if not n_read:
            fail(path, f"{name} is truncated")
        view = view[n_read:]
    if not _is_valid(content, dtype):
        fail(path, f"{name} holds bytes that are no values of dtype {dtype}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _is_valid(content: bytearray, dtype: np.dtype[Any]) -> bool:
    """Tell whether bytes are values of ``dtype``: NumPy takes any, and breaks later on some."""
    if dtype.kind == "b":
        return max(content) <= 1
    if dtype.kind == "U":
        points = np.frombuffer(content, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        return not ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any()
    return True


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays X and y, or X_train, y_train, X_test and y_test, from an npz file.

    Returns
    -------
    arrays : dict of ndarray
        Under the names above; X and y beside a test part become X_train and y_train. Upper and
        lower case are not told apart in the file.
    """
    require_file(path)
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = [entry.filename for entry in archive.infolist()]
                arrays = _members(archive, path)
        except InputError:
            raise
        except (
            zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError,
            RuntimeError, ValueError, OverflowError,
        ) as error:  # fmt: skip
            fail(path, f"not a whole npz file ({error})")
    if "X_test" in arrays and "X" in arrays and "X_train" not in arrays:
        for name in {"X", "y"} & set(arrays):
            arrays[f"{name}_train"] = arrays.pop(name)
    if not {"X", "X_train"} & set(arrays):
        shown = ", ".join(name.removesuffix(".npy") for name in names[:8]) or "nothing"
        fail(path, f"it holds {shown:.200}; expected X and y, or X_train, y_train, X_test, y_test")
    return arrays


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays that have one of the names that are wanted."""
    wanted = {
        name.lower() + ".npy": name for name in ("X", "y", "X_train", "y_train", "X_test", "y_test")
    }
    most = max(MOST_EXPANSION * path.stat().st_size, SMALL_EXPANSION)
    arrays: dict[str, NDArray[Any]] = {}
    for entry in archive.infolist():
        name = wanted.get(entry.filename.lower())
        if name is None:
            continue
        if name in arrays:
            fail(path, f"it holds {name} twice")
        # what NumPy writes; others, such as LZMA, allocate what their own headers ask for
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            fail(path, f"{name} is compressed in a way that NumPy does not write")
        if entry.file_size > most:
            fail(
                path,
                f"{name} expands to {entry.file_size} bytes, suspiciously much for its size; if it "
                "is right, save it with numpy.savez, which does not compress",
            )
        with archive.open(entry) as file:
            arrays[name] = _parse_npy(file, entry.file_size, path, name)
    return arrays
