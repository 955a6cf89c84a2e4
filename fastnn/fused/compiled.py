"""The compiled entry for a tile, kept on disk between processes.

Numba's cache notices a change of the file that the cached function stands in, and of Numba, but not
of the other files here. So the entry closes over a hash of them all: what a function closes over
is part of the key under which Numba keeps it. The tile is closed over for the same reason.
"""

import hashlib
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import types

from fastnn.compiling import compile_and_keep
from fastnn.fused.program import make_entry
from fastnn.fused.tiles import Tile, host_has_fma

Entry = Callable[[int, int, int, np.floating], None]

_lock = threading.Lock()
_entries: dict[Tile, Any] = {}
_folders: dict[Tile, str] = {}  # of those entries that are kept


def get_entry(tile: Tile) -> Entry:
    """Return the compiled program for a tile: call it with (member, members, table, zero).

    ``table`` is the address of that of all arrays, and ``zero`` a number of the tile's dtype.
    """
    entry = _entries.get(tile)
    if entry is None:
        with _lock:
            if tile not in _entries:
                _entries[tile] = _compile(tile)
            entry = _entries[tile]
    return entry


def cache_folder(tile: Tile) -> str | None:
    """Return where the compiled program is kept, or None."""
    get_entry(tile)
    return _folders.get(tile)


def _compile(tile: Tile) -> Any:
    if not host_has_fma():
        warnings.warn(
            "this CPU has no fused multiply-add instruction: results are right, but training is "
            "very slow; engine='reference' will be faster",
            RuntimeWarning,
            stacklevel=2,
        )
    zero = getattr(types, tile.dtype)  # the precision, as a type that the signature shows
    signature = (types.int64, types.int64, types.int64, zero)
    entry, folder = compile_and_keep(
        lambda keep: make_entry(tile, source_hash(), keep=keep), signature
    )
    if folder is not None:
        _folders[tile] = folder
    return entry


@cache
def source_hash() -> str:
    """Return a hash of the sources that the kernels are compiled from."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
