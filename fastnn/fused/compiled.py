"""The compiled entry for a tile, kept on disk between processes.

Numba's cache notices a change of the file that the cached function stands in, and of Numba, but not
of the other files here. So the entry closes over a hash of them all: what a function closes over
is part of the key under which Numba keeps it. The tile is closed over for the same reason.

Where nothing can be kept, or what was kept cannot be read, the kernels are compiled in memory, with
a warning: slower to start, and otherwise the same.
"""

import hashlib
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core.errors import NumbaError

from fastnn.fused.plan import Arrays, empty_arrays
from fastnn.fused.program import make_entry
from fastnn.fused.tiles import Tile, host_has_fma

Entry = Callable[[int, int, Arrays], None]

_lock = threading.Lock()
_entries: dict[Tile, Any] = {}
_folders: dict[Tile, str] = {}  # of those entries that are kept


def get_entry(tile: Tile) -> Entry:
    """Return the compiled program for a tile: call it with (member, members, arrays)."""
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
    arrays = numba.typeof(empty_arrays(tile))  # type: ignore[no-untyped-call]
    signature = (types.int64, types.int64, arrays)
    try:
        entry = make_entry(tile, source_hash(), keep=True)
    except RuntimeError as error:  # no folder can be written to
        _warn(f"compiled kernels cannot be kept ({error})")
    else:
        try:
            entry.compile(signature)
            if signature not in entry.overloads:  # Numba trusts the index as to what is in a file
                raise ValueError("the file holds another program")
            _folders[tile] = entry.stats.cache_path
            entry.disable_compile()  # another type of array is a mistake, and not worth 10 seconds
            return entry
        except NumbaError:  # in the kernels themselves
            raise
        except Exception as error:  # whatever unpickling or linking a damaged file comes to
            _warn(
                f"compiled kernels could not be read from or written to {entry.stats.cache_path} "
                f"({type(error).__name__}: {error}); delete that folder if this comes again"
            )
            if signature in entry.overloads:
                return entry  # compiled, but not kept
    entry = make_entry(tile, source_hash(), keep=False)
    entry.compile(signature)
    entry.disable_compile()
    return entry


@cache
def source_hash() -> str:
    """Return a hash of the sources that the kernels are compiled from."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _warn(problem: str) -> None:
    warnings.warn(
        f"fastnn: {problem}. They were compiled in memory, which takes some seconds at every "
        "start; set NUMBA_CACHE_DIR to a folder that can be written to keep them",
        RuntimeWarning,
        stacklevel=5,
    )
