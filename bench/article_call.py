"""Whole calls of ``fastnn.train``, and of the tutorial's own code: peers for ``fastnn.compare``."""

import os

import numpy as np

import fastnn
from fastnn.peers import MAKERS, Array, Peer, serve
from fastnn.tasks import Task


def train_peer(task: Task, threads: int) -> Peer:
    """Call ``fastnn.train`` as the tutorial would; the samples are columns already."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    rows, labels = task.samples()
    X = np.ascontiguousarray(rows.T)
    Y = np.ascontiguousarray(np.eye(task.sizes[-1])[labels].T)

    def train(order: Array, _rates: Array | None) -> Array:
        losses: list[float] = []
        fastnn.train(
            X, Y, epochs=len(order), hidden_size=task.sizes[1], learning_rate=task.rate, seed=0,
            dtype=task.dtype, verbose=False, callback=lambda _, loss: losses.append(loss),
        )  # fmt: skip
        return np.array(losses)

    return Peer(train)


if __name__ == "__main__":
    serve({**MAKERS, "fastnn": train_peer})
