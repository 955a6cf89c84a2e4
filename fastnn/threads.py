"""How many threads to use, and BLAS limits that leave no trace.

NumPy's BLAS has one pool of threads for the whole process, so its limit is shared by all Python
threads. Entering and leaving it one by one would let the first to leave restore the full pool
under the feet of the others, and the last to leave restore a limit that was never the original.
Here the first user notes the original, the limit in force is the smallest that anyone inside asked
for, and the last one out restores the original. A limit that the caller has already set is never
raised.

The libraries are looked up once: to search the process for them takes 0.7 ms, to set their limit a
few microseconds.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index
from typing import Any

import numpy as np  # noqa: F401  # loads the BLAS that is looked up below
from threadpoolctl import ThreadpoolController

from fastnn.errors import InputError


def usable_cpus() -> int:
    """Count the CPUs that this process may use.

    The smallest of the CPU affinity, the cgroup's CPU quota, ``LOKY_MAX_CPU_COUNT`` (all three as
    joblib reads them) and ``OMP_NUM_THREADS``, which joblib sets in its workers.
    """
    # imported late: threads.py is needed by code that never asks for the default
    from joblib import cpu_count

    cpus: int = cpu_count()
    declared = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if declared.isdigit() and int(declared) > 0:
        cpus = min(cpus, int(declared))
    return cpus


def resolve_threads(threads: int | None) -> int:
    """Return ``threads``, checked, or the number of usable CPUs for None."""
    if threads is None:
        return usable_cpus()
    try:
        count = index(threads)
    except TypeError:
        count = 0
    if count < 1 or isinstance(threads, bool):
        raise InputError(f"threads is {threads!r}; expected a whole number of at least 1, or None")
    return count


class _BlasLimit:
    """What those inside asked for, and the thread counts to go back to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._libraries: list[Any] | None = None
        self._inside: dict[object, int] = {}
        self._original: list[int] = []

    def enter(self, user: object, threads: int) -> None:
        with self._lock:
            if self._libraries is None:
                self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            if not self._inside:
                self._original = [library.get_num_threads() for library in self._libraries]
            self._inside[user] = threads
            self._apply()

    def leave(self, user: object) -> None:
        """Undo ``enter``; does nothing for one who is not inside."""
        with self._lock:
            if user in self._inside:
                others = {key: value for key, value in self._inside.items() if key is not user}
                self._apply(others)
                self._inside = others  # last: an interrupt before it leaves this to be called again

    def _apply(self, inside: dict[object, int] | None = None) -> None:
        limits = (self._inside if inside is None else inside).values()
        for library, original in zip(self._libraries or (), self._original, strict=True):
            wanted = min([original, *limits])
            if library.get_num_threads() != wanted:
                library.set_num_threads(wanted)

    def after_fork_in_child(self) -> None:
        """Forget the parent's other threads: they do not exist in the child."""
        self._lock = threading.Lock()
        if self._inside:
            self._apply({})
            self._inside = {}


_blas_limit = _BlasLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_blas_limit.after_fork_in_child)


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Run the block with at most ``threads`` BLAS threads; restore the limits on every exit.

    While several Python threads are inside, the smallest limit holds for all of them.
    """
    user = object()
    try:
        _blas_limit.enter(user, threads)
        yield
    finally:
        try:
            _blas_limit.leave(user)
        except BaseException:  # Ctrl-C, of all moments now
            _blas_limit.leave(user)
            raise
