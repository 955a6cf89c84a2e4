"""Compiling ahead for one signature, and keeping what was compiled between processes.

Where nothing can be kept, or what was kept cannot be read, functions are compiled in memory, with a
warning: slower to start, and otherwise the same.
"""

import warnings
from collections.abc import Callable
from typing import Any

from numba.core.errors import NumbaError


def compile_and_keep(
    make: Callable[[bool], Any], signature: tuple[Any, ...], *, stacklevel: int = 3
) -> tuple[Any, str | None]:
    """Compile a function for a signature, or load what was kept of it.

    Parameters
    ----------
    make : callable
        Of one flag, whether to keep: returns the dispatcher, made with ``cache=flag``.
    signature : tuple of Numba types
    stacklevel : int, default=3
        Whose line a warning names.

    Returns
    -------
    entry : dispatcher
        Compiled, and for this signature only.
    folder : str or None
        Where it is kept.
    """
    try:
        entry = make(True)
    except RuntimeError as error:  # no folder can be written to
        _warn(f"compiled kernels cannot be kept ({error})", stacklevel)
    else:
        try:
            entry.compile(signature)
            if signature not in entry.overloads:  # Numba trusts the index as to what is in a file
                raise ValueError("the file holds another program")
            entry.disable_compile()  # another type of array is a mistake, and not worth 10 seconds
            return entry, entry.stats.cache_path
        except NumbaError:  # in the kernels themselves
            raise
        except Exception as error:  # whatever unpickling or linking a damaged file comes to
            _warn(
                f"compiled kernels could not be read from or written to {entry.stats.cache_path} "
                f"({type(error).__name__}: {error}); delete that folder if this comes again",
                stacklevel,
            )
            if signature in entry.overloads:
                return entry, None  # compiled, but not kept
    entry = make(False)
    entry.compile(signature)
    entry.disable_compile()
    return entry, None


def _warn(problem: str, stacklevel: int) -> None:
    warnings.warn(
        f"fastnn: {problem}. They were compiled in memory, which takes some seconds at every "
        "start; set NUMBA_CACHE_DIR to a folder that can be written to keep them",
        RuntimeWarning,
        stacklevel=stacklevel + 2,
    )
