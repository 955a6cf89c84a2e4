"""Two loops that no change of fastnn touches: they tell how fast the machine is at the moment."""

from time import perf_counter
from typing import Any

import numpy as np
from numba import njit

SUMS = 20_000_000
BYTES = 64 * 2**20
REPEATS = 3


@njit
def _sums(n: int) -> float:
    x = 0.5
    for _ in range(n):  # each waits for the one before: the clock alone counts
        x = x * 0.999 + 0.001
    return x


class Calibration:
    """Takes the time of both loops."""

    def __init__(self) -> None:
        self._from, self._to = (np.ones(BYTES, np.uint8) for _ in range(2))
        _sums(1)

    def take(self) -> dict[str, float]:
        """Return the seconds of the best of a few repeats of each."""
        return {"compute": best(lambda: _sums(SUMS)),
                "memory": best(lambda: np.copyto(self._to, self._from))}  # fmt: skip


def best(work: Any) -> float:
    """Return the shortest of a few times."""
    times = []
    for _ in range(REPEATS):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return min(times)
