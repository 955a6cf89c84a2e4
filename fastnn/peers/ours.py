"""Training with our own engines."""

from typing import Any

from fastnn.network import Parameters
from fastnn.peers.peer import Array, Peer, layers_of
from fastnn.tasks import Task


def fastnn_peer(
    task: Task, threads: int, engine: str = "fused", layout: str = "auto", raw: bool = False
) -> Peer:
    """Train with one of our engines, on bytes if ``raw``."""
    from fastnn import Objective, get_engine, prepare

    network, runner = task.network(), get_engine(engine, threads=threads)
    X, y = task.raw_samples() if raw else task.samples()
    objective = Objective(alpha=task.alpha)
    optimizer = task.make_optimizer()
    samples: Any
    parameters: Any
    state: Any

    def restart(start: Parameters) -> None:
        nonlocal samples, parameters, state
        samples = prepare(X, scale=1 / 255 if raw else None, layout=layout)
        parameters, state = start, optimizer.initialize(start)

    def train(order: Array, rates: Array | None) -> Array:
        return runner.train(
            network, parameters, state, samples, y, order.reshape(-1), objective=objective,
            batch_size=task.batch_size, learning_rates=task.rate if rates is None else rates,
        )  # fmt: skip

    restart(task.start())
    return Peer(train, restart, lambda: layers_of(parameters))


def reference_peer(task: Task, threads: int) -> Peer:
    """Train with the reference engine."""
    return fastnn_peer(task, threads, "reference")


def dense_peer(task: Task, threads: int) -> Peer:
    """Train without skipping zeros."""
    return fastnn_peer(task, threads, layout="dense")


def bytes_peer(task: Task, threads: int) -> Peer:
    """Train on the bytes of images."""
    return fastnn_peer(task, threads, raw=True)
