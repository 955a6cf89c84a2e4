"""Training as the tutorial does."""

import numpy as np

from fastnn.peers.peer import Array, Peer, layers_of
from fastnn.tasks import Task


def article_peer(task: Task, threads: int) -> Peer:
    """Train as the tutorial does: full batch, samples as columns, one-hot labels, in NumPy.

    It sends all samples forward twice for each update, once for the loss and once for the gradient.
    Each call starts anew, as the tutorial's ``train`` does.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    rows, labels = task.samples()
    X = np.ascontiguousarray(rows.T)
    Y = np.ascontiguousarray(np.eye(task.sizes[-1])[labels].T)
    (W1, b1), (W2, b2) = layers_of(task.start())
    start = W1.T, b1.reshape(-1, 1), W2.T, b2.reshape(-1, 1)

    def forward(W1: Array, b1: Array, W2: Array, b2: Array) -> tuple[Array, ...]:
        Z1 = W1 @ X + b1
        A1 = np.maximum(0, Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - np.max(Z2))
        return Z1, A1, E / np.sum(E, axis=0, keepdims=True)

    def train(order: Array, rates: Array | None) -> Array:
        theta = [part.copy() for part in start]
        losses = []
        m = X.shape[1]
        for _ in range(len(order)):
            A2 = forward(*theta)[2]
            losses.append(-np.sum(Y * np.log(A2)) / m)
            Z1, A1, A2 = forward(*theta)
            delta = A2 - Y
            dW2, db2 = delta @ A1.T / m, np.sum(delta, axis=1, keepdims=True) / m
            delta = (theta[2].T @ delta) * (Z1 > 0)
            dW1, db1 = delta @ X.T / m, np.sum(delta, axis=1, keepdims=True) / m
            for part, slope in zip(theta, (dW1, db1, dW2, db2), strict=True):
                part -= task.rate * slope
        return np.array(losses)

    return Peer(train)
