"""How many threads to use, and BLAS limits that leave no trace.

NumPy's BLAS has one pool of threads for the whole process, so its limit is shared by all Python
threads. Entering and leaving it one by one would let the first to leave restore the full pool
under the feet of the others, and the last to leave restore a limit that was never the original.
Here the first user notes the original, the limit in force is the smallest that anyone inside asked
for, and the last one out restores the original.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index

from threadpoolctl import threadpool_limits

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
    """The limits asked for by all who are inside, and the original limits to go back to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[int] = []
        self._original: threadpool_limits | None = None

    def enter(self, threads: int) -> None:
        with self._lock:
            self._inside.append(threads)
            try:
                limit = threadpool_limits(limits=min(self._inside), user_api="blas")
            except BaseException:
                self._inside.remove(threads)
                raise
            if self._original is None:
                self._original = limit

    def leave(self, threads: int) -> None:
        with self._lock:
            self._inside.remove(threads)
            if self._inside:
                threadpool_limits(limits=min(self._inside), user_api="blas")
            elif self._original is not None:
                self._original.restore_original_limits()
                self._original = None

    def after_fork_in_child(self) -> None:
        """Forget the parent's other threads: they do not exist in the child."""
        self._lock = threading.Lock()
        self._inside = []
        if self._original is not None:
            self._original.restore_original_limits()
            self._original = None


_blas_limit = _BlasLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_blas_limit.after_fork_in_child)


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Run the block with at most ``threads`` BLAS threads; restore the limits on every exit.

    While several Python threads are inside, the smallest limit holds for all of them.
    """
    _blas_limit.enter(threads)
    try:
        yield
    finally:
        _blas_limit.leave(threads)
