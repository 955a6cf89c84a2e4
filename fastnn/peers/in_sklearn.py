"""Training with scikit-learn's ``MLPClassifier``."""

from typing import Any

import numpy as np

from fastnn.network import Parameters
from fastnn.peers.peer import Array, Peer
from fastnn.tasks import EPSILON, Task


def sklearn_peer(task: Task, threads: int) -> Peer:
    """``partial_fit``, which is one epoch; the samples are put in order before, untimed.

    It shuffles on its own, so the order can only be given so.
    Its rate is constant within an epoch.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    X, y = task.samples()
    model: Any
    ordered: dict[int, list[tuple[Any, Array]]] = {}

    def restart(start: Parameters) -> None:
        nonlocal model
        model = sklearn_model(task, X, y, start)

    def arrange(order: Array) -> None:
        if task.calls == 1:
            ordered.clear()
        ordered[id(order)] = [(X[epoch], y[epoch]) for epoch in order]

    def train(order: Array, rates: Array | None) -> Array:
        if id(order) not in ordered:
            arrange(order)
        losses = []
        for n, (rows, labels) in enumerate(ordered[id(order)]):
            if rates is not None:
                rate = float(rates.reshape(len(order), -1)[n, 0])
                model._optimizer.learning_rate_init = model._optimizer.learning_rate = rate
            model.partial_fit(rows, labels)
            losses.append(model.loss_)
        return np.array(losses)

    restart(task.start())
    return Peer(
        train,
        restart,
        lambda: list(zip(model.coefs_, model.intercepts_, strict=True)),
        arrange,
    )


def sklearn_model(task: Task, X: Any, y: Array, start: Parameters | None = None) -> Any:
    """Return an ``MLPClassifier`` at the start of a task."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        task.sizes[1:-1],
        solver=task.optimizer,
        alpha=task.alpha,
        momentum=task.momentum,
        nesterovs_momentum=task.momentum > 0,
        batch_size=task.batch_size,
        learning_rate_init=task.rate,
        epsilon=EPSILON,
        shuffle=False,
    )
    classes, start = np.arange(task.sizes[-1]), start or task.start()
    few = X[: task.batch_size], y[: task.batch_size]
    model.partial_fit(*few, classes=classes)  # makes the arrays that are then filled
    for part, values in zip(model.coefs_ + model.intercepts_, start.weights + start.biases,
                            strict=True):  # fmt: skip
        part[...] = values
    optimizer = model._optimizer
    optimizer.t = 0
    of_adam = task.optimizer == "adam"
    for moment in optimizer.ms + optimizer.vs if of_adam else optimizer.velocities:
        moment[...] = 0
    return model
