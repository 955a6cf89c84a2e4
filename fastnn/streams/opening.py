"""What of a caller's X is read by windows: an npy file, or a memory map, that is too large."""

import mmap
import os
from math import prod
from operator import index
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fastnn.errors import InputError
from fastnn.formats import read_npy, read_npy_header
from fastnn.formats.content import is_gzip
from fastnn.inputs import Input
from fastnn.streams.reader import RowFile
from fastnn.streams.samples import FileSamples

# what is taken for X: arrays, sparse matrices, paths and memory maps
Samples: TypeAlias = ArrayLike | Input | FileSamples | os.PathLike[str]

MEMORY = 2**30  # bytes that samples may take in memory, unless something else is said
KEPT = "uint8 and other integers, float32 and float64"


def check_memory(memory: Any) -> int:
    """Return a number of bytes, of at least 0, as an int."""
    try:
        size = -1 if isinstance(memory, bool) else index(memory)
    except TypeError:
        size = -1
    if size < 0:
        raise InputError(f"memory is {memory!r:.40}; expected a number of bytes of at least 0")
    return size


def open_samples(X: Any, memory: int) -> Any:
    """Open samples that stand in a file.

    Parameters
    ----------
    X : str, path-like, numpy.memmap or anything else
        A path is one of an npy file.
    memory : int
        Bytes that the samples may take in memory.

    Returns
    -------
    FileSamples, ndarray, or X
        ``FileSamples`` if they are larger than ``memory``, an array with all of them if they are
        not; what is no path or memory map is returned as it is, as are memory maps that are not
        a table that stands in a file row by row, such as every other column of one.

    Raises
    ------
    InputError
        If the file does not hold a table of numbers, row by row.
    OSError
        If it cannot be read.
    """
    if isinstance(X, str | os.PathLike):
        path = Path(X)
        found = open_file(path, memory)
        if found is not None:
            return found
        values = read_npy(path)
        _check_shape(path, values.shape)
        return values.reshape(len(values), -1)
    if isinstance(X, np.memmap):
        found = _from_map(X)
        if found is None:
            return X
        return found if found.n_bytes > memory else found.read()
    return X


def open_file(path: Path, memory: int) -> FileSamples | None:
    """Open an npy file whose values are larger than ``memory``; None if they, or it, are not."""
    if is_gzip(path):
        return None
    header = read_npy_header(path)
    if header.n_bytes <= memory:
        return None
    _check_shape(path, header.shape)
    if not _is_kept(header.dtype):
        raise InputError(
            f"{path}: X has dtype {header.dtype}; expected {KEPT} in a file that is larger than "
            f"the memory for it, {memory} bytes: save it with X.astype(numpy.float32), for example"
        )
    if header.fortran_order and prod(header.shape[1:]) > 1:
        raise InputError(
            f"{path}: its values are stored column by column (in Fortran order), and it is larger "
            f"than the memory for it, {memory} bytes; save it row by row, "
            "numpy.save(path, numpy.ascontiguousarray(X)), or give more memory"
        )
    row_bytes = header.n_bytes // header.shape[0]
    file = RowFile(path, header.offset + header.n_bytes, header.offset, row_bytes)
    return FileSamples.of(file, header.dtype, header.shape)


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) < 2:
        raise InputError(f"{path}: X has shape {shape}; expected one row per sample")


def _is_kept(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8))


def _from_map(X: "np.memmap[Any, Any]") -> FileSamples | None:
    """Return the samples of a memory map; None unless they stand in its file row by row."""
    memory = getattr(X, "_mmap", None)  # None for what was computed from a map
    in_rows = X.ndim >= 2 and X.size > 0 and X.flags.c_contiguous and _is_kept(X.dtype)
    # what is written to a copy-on-write map is not in its file
    if memory is None or X.filename is None or X.mode == "c" or not in_rows:
        return None
    # a slice has inherited .offset, which still says where the whole map begins
    start = X.offset - X.offset % mmap.ALLOCATIONGRANULARITY
    inside = X.ctypes.data - np.frombuffer(memory, np.uint8).ctypes.data
    if not 0 <= inside <= len(memory) - X.nbytes:
        return None
    path = Path(X.filename)
    try:
        size = os.stat(path).st_size
    except OSError:  # removed, but still mapped
        return None
    if size < start + inside + X.nbytes:
        return None
    found = FileSamples.of(
        RowFile(path, size, start + inside, X.nbytes // len(X)), X.dtype, X.shape
    )
    # by now another file may have that name
    ends = np.unique([0, len(found.blocks) - 1])
    rows = found.labels_of(ends, np.asarray(X))
    is_same = (
        found.take(ends).read().tobytes() == rows.astype(rows.dtype.newbyteorder("=")).tobytes()
    )
    return found if is_same else None
