"""IDX: the format of the MNIST files.

Two zero bytes, a type, the number of dimensions, each dimension as a big-endian 32-bit number, then
the values, big-endian too (http://yann.lecun.com/exdb/mnist, as first published).
"""

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.formats.content import fail, read_bytes

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 8


def read_idx(path: Path) -> NDArray[Any]:
    """Read an array in the IDX format of the MNIST files, plain or gzip."""
    return parse_idx(read_bytes(path), path)


def parse_idx(content: bytearray, path: Path) -> NDArray[Any]:
    """Return the array in the bytes of an IDX file; ``path`` names it in errors."""
    magic = bytes(content[:4])
    if len(magic) < 4:
        fail(path, f"not an IDX file: it has {len(magic)} bytes")
    if magic[:2] != b"\0\0":
        fail(path, f"not an IDX file: it starts with {magic!r}, expected two zero bytes")
    if magic[2] not in TYPES:
        fail(path, f"IDX type {magic[2]:#04x} is unknown")
    if not 1 <= magic[3] <= MOST_DIMENSIONS:
        fail(path, f"it declares {magic[3]} dimensions; expected 1 to {MOST_DIMENSIONS}")
    start = 4 + 4 * magic[3]
    if len(content) < start:
        fail(path, "truncated within its header")
    shape = struct.unpack(f">{magic[3]}I", content[4:start])
    if 0 in shape:
        fail(path, f"it declares shape {shape}; expected at least one value")
    dtype = np.dtype(TYPES[magic[2]])
    expected, found = prod(shape) * dtype.itemsize, len(content) - start
    if expected != found:
        fail(path, f"it declares shape {shape}, {expected} bytes of values; it has {found}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
