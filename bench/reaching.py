"""Training until enough test samples are right: peers for ``fastnn.compare``; a round is a seed.

All start from the same weights and take the same batches at the same rates. After each epoch NumPy
tests the weights, which is not timed. A round tells of every goal; what misses one has the time of
all its epochs.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from time import perf_counter
from typing import Any

import numpy as np

import fastnn
from fastnn.peers import MAKERS, Array, Peer, fastnn_peer, serve
from fastnn.tasks import Task

GOALS = (0.97, 0.98)
HELD_OUT = 10_000
GRID = tuple(product((32, 128), (0.2, 0.4), (6, 10)))  # batch sizes, rates, horizons
TUNING_SEEDS = (100, 101)  # not those that are measured


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


def run(task: Task, peer: Peer, seed: int, X: Array, y: Array) -> dict[str, Any]:
    """Train one seed; return for each goal the seconds, epochs and accuracy at which it was met."""
    assert peer.restart is not None
    assert peer.weights is not None
    start = task.start(seed)
    started = perf_counter()
    peer.restart(start)
    seconds = perf_counter() - started
    goals: dict[str, Any] = {}
    for epoch in range(task.horizon):
        call = seed * task.horizon + epoch
        order, rates = task.order(call), task.rates(call)
        if peer.arrange is not None:
            peer.arrange(order)
        started = perf_counter()
        peer.train(order, rates)
        seconds += perf_counter() - started
        right = accuracy(peer.weights(), X, y)
        told = {"seconds": seconds, "epochs": epoch + 1, "accuracy": right}
        for goal in GOALS:
            if right >= goal:
                goals.setdefault(str(goal), told)
        if len(goals) == len(GOALS):
            break
    missed = {str(goal): {**told, "missed": True} for goal in GOALS}
    return {"seconds": seconds, "goals": {**missed, **goals}}


def rounds(task: Task, peer: Peer) -> Iterator[dict[str, Any]]:
    """Yield what came of one seed after the other; ``losses`` has compiled."""
    X, y = test_samples(task)
    for seed in count():
        yield run(task, peer, seed, X, y)


def tune(task: Task, threads: int) -> dict[tuple[int, float, int], dict[str, float]]:
    """Return for each setting of the grid the epochs that each goal took on held-out samples.

    Means over seeds, infinite where one missed it. That is the same for every library, since each
    computes the same; how long an epoch takes is not, so that each gets the setting that is best
    for it.
    """
    X, y = task.samples()
    X, y = X[-HELD_OUT:], y[-HELD_OUT:]
    found = {}
    for batch_size, rate, horizon in GRID:
        chosen = replace(
            task, batch_size=batch_size, rate=rate, horizon=horizon,
            n_samples=task.n_samples - HELD_OUT,
        )  # fmt: skip
        peer = fastnn_peer(chosen, threads)
        runs = [run(chosen, peer, seed, X, y)["goals"] for seed in TUNING_SEEDS]
        found[batch_size, rate, horizon] = {
            str(goal): float(np.mean([epochs_to(told[str(goal)]) for told in runs]))
            for goal in GOALS
        }
    return found


def epochs_to(told: dict[str, Any]) -> float:
    """Return the epochs that a goal took, infinite if it was missed."""
    return float("inf") if told.get("missed") else told["epochs"]


if __name__ == "__main__":
    serve(MAKERS, rounds)
