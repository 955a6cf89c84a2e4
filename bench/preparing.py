"""``fastnn.prepare`` in a process of its own: peers for ``fastnn.compare``.

Besides the seconds of each later call, they tell those of the first after the engine's warm-up.
"""

import os
from collections.abc import Iterator
from time import perf_counter

import numpy as np

import fastnn
from fastnn.peers import Array, Peer, serve
from fastnn.tasks import Task


class Preparation:
    """Prepares the same samples again and again, and remembers how long it took at first."""

    def __init__(self, task: Task, threads: int, raw: bool = False) -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        self.X = (task.raw_samples() if raw else task.samples())[0]
        self.scale = 1 / 255 if raw else None
        fastnn.get_engine(threads=threads).warm_up()
        started = perf_counter()
        found = fastnn.prepare(self.X, scale=self.scale)
        self.first = perf_counter() - started
        assert found.compressed is not None
        assert np.array_equal(found.compressed.dense(slice(None)), self.X)

    def __call__(self, _order: Array, _rates: Array | None) -> Array:
        found = fastnn.prepare(self.X, scale=self.scale)
        return np.array([found.density, found.largest * found.scale])


def reference_peer(task: Task, _threads: int) -> Peer:
    """What NumPy finds."""
    X, _ = task.samples()
    return Peer(lambda _order, _rates: np.array([np.count_nonzero(X) / X.size, X.max()]))


def rounds(task: Task, peer: Peer) -> Iterator[dict[str, float]]:
    """Yield the seconds of one call, and those of the first."""
    order = task.order(0)
    while True:
        started = perf_counter()
        peer.train(order, None)
        seconds = perf_counter() - started
        yield {"seconds": seconds, "first": peer.train.first}  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve(
        {
            "fastnn": lambda task, threads: Peer(Preparation(task, threads)),
            "fastnn bytes": lambda task, threads: Peer(Preparation(task, threads, raw=True)),
            "reference": reference_peer,
        },
        rounds,
    )
