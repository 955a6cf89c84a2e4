"""Training until enough test samples are right: peers for ``fastnn.compare``; a round is a seed.

All start from the same weights and take the same batches at the same rates. After each epoch NumPy
tests the weights, which is not timed.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from time import perf_counter
from typing import Any

import numpy as np

import fastnn
from bench.tasks import GOAL
from fastnn.console import print_line
from fastnn.peers import MAKERS, Array, Peer, fastnn_peer, serve
from fastnn.tasks import Task

HELD_OUT = 10_000
GRID = tuple(product((8, 16, 32), (0.1, 0.2, 0.3), (5, 7, 10)))


def accuracy(weights: list[tuple[Array, Array]], X: Array, y: Array) -> float:
    """Return the share of samples whose most probable class is the right one."""
    A = X
    for W, b in weights[:-1]:
        A = np.maximum(A @ W + b, 0)
    W, b = weights[-1]
    return float(((A @ W + b).argmax(axis=1) == y).mean())


def test_samples(task: Task) -> tuple[Array, Array]:
    """Return X and y of the test part."""
    data = fastnn.datasets.load(task.data)
    return data.X_test.astype(task.dtype) / np.float32(255), data.y_test


def run(task: Task, peer: Peer, seed: int, X: Array, y: Array) -> dict[str, float]:
    """Train one seed; return the seconds, epochs and accuracy at which the goal was met."""
    assert peer.restart is not None
    assert peer.weights is not None
    start = task.start(seed)
    started = perf_counter()
    peer.restart(start)
    seconds = perf_counter() - started
    for epoch in range(task.horizon):
        call = seed * task.horizon + epoch
        order, rates = task.order(call), task.rates(call)
        started = perf_counter()
        peer.train(order, rates)
        seconds += perf_counter() - started
        right = accuracy(peer.weights(), X, y)
        if right >= GOAL:
            return {"seconds": seconds, "epochs": epoch + 1, "accuracy": right}
    raise RuntimeError(f"seed {seed}: {right:.2%} after {task.horizon} epochs, not {GOAL:.0%}")


def rounds(task: Task, peer: Peer) -> Iterator[dict[str, float]]:
    """Yield what came of one seed after the other; ``losses`` has compiled."""
    X, y = test_samples(task)
    for seed in count():
        yield run(task, peer, seed, X, y)


def tune(task: Task, seeds: tuple[int, ...] = (0, 1)) -> None:
    """Print, for a small grid, what came of it on training samples that are held out."""
    X, y = task.samples()
    X, y = X[-HELD_OUT:], y[-HELD_OUT:]
    for batch_size, rate, horizon in GRID:
        chosen = replace(
            task, batch_size=batch_size, rate=rate, horizon=horizon, n_samples=60_000 - HELD_OUT
        )
        peer = fastnn_peer(chosen, 2)
        found: list[Any] = []
        for seed in seeds:
            try:
                found.append(run(chosen, peer, seed, X, y))
            except RuntimeError as error:
                found.append(str(error))
        print_line(f"batch {batch_size}, rate {rate}, {horizon} epochs: {found}")


if __name__ == "__main__":
    serve(MAKERS, rounds)
