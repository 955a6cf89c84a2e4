"""The same training in fastnn and in other libraries, each as an expert of it would set it up.

Run as a process of its own by ``compare.py``, which says ``losses`` or ``round`` line by line and
gets one line of JSON for each. A round is ``calls`` times ``epochs`` epochs; data are in memory and
the first, untimed, one has compiled what there is to compile.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.network import Parameters
from fastnn.tasks import EPSILON, Task

Array = NDArray[Any]


class Peer(NamedTuple):
    """What a library does with a task, once all is loaded.

    Attributes
    ----------
    train : callable
        Of an order and the learning rates (None for those that are constant): trains on it, and
        returns the losses of its batches, or something that becomes them.
    restart : callable or None
        Of the parameters to start from: forgets what was learnt. What a library does once to the
        samples, it does again.
    weights : callable or None
        Returns (W, b) of each layer, as in ``Parameters``.
    """

    train: Callable[[Array, Array | None], Any]
    restart: Callable[[Parameters], None] | None = None
    weights: Callable[[], list[tuple[Array, Array]]] | None = None


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


def layers_of(parameters: Parameters) -> list[tuple[Array, Array]]:
    """Return (W, b) of each layer."""
    return list(zip(parameters.weights, parameters.biases, strict=True))


def reference_peer(task: Task, threads: int) -> Peer:
    """Train with the reference engine."""
    return fastnn_peer(task, threads, "reference")


def dense_peer(task: Task, threads: int) -> Peer:
    """Train without skipping zeros."""
    return fastnn_peer(task, threads, layout="dense")


def bytes_peer(task: Task, threads: int) -> Peer:
    """Train on the bytes of images."""
    return fastnn_peer(task, threads, raw=True)


def jax_peer(task: Task, threads: int) -> Peer:
    """All batches of a call in one compiled ``lax.scan``; the parameters are donated."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # JAX counts the CPUs
    import jax
    import jax.numpy as jnp
    from jax import lax

    X, y = (jnp.asarray(part) for part in task.samples())

    def loss_of(theta: Any, rows: Any, labels: Any) -> Any:
        A = rows
        for W, b in theta[:-1]:
            A = jnp.maximum(A @ W + b, 0)
        W, b = theta[-1]
        log_p = jax.nn.log_softmax(A @ W + b)
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    gradient_of = jax.value_and_grad(loss_of)

    def sgd(carry: Any, step: Any) -> Any:
        (theta,), (batch, rate) = carry, step
        rate = task.rate if rate is None else rate
        loss, slope = gradient_of(theta, X[batch], y[batch])
        return (jax.tree.map(lambda t, g: t - rate * g, theta, slope),), loss

    def adam(carry: Any, step: Any) -> Any:
        (theta, m, v, t), (batch, rate) = carry, step
        loss, g = gradient_of(theta, X[batch], y[batch])
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = (task.rate if rate is None else rate) * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        theta = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), theta, m, v)
        return (theta, m, v, t), loss

    step = adam if task.optimizer == "adam" else sgd
    run = jax.jit(lambda carry, steps: lax.scan(step, carry, steps), donate_argnums=0)
    carry: Any

    def restart(start: Parameters) -> None:
        nonlocal carry
        theta = [(jnp.array(W), jnp.array(b)) for W, b in layers_of(start)]
        carry = (theta,)
        if task.optimizer == "adam":
            zeros = (jax.tree.map(jnp.zeros_like, theta) for _ in range(2))
            carry = (theta, *zeros, jnp.float32(0))

    def train(order: Array, rates: Array | None) -> Any:
        nonlocal carry
        batches = jnp.asarray(order.reshape(-1, task.batch_size))
        carry, losses = run(carry, (batches, None if rates is None else jnp.asarray(rates)))
        return losses.block_until_ready()

    restart(task.start())
    return Peer(train, restart, lambda: [(np.asarray(W), np.asarray(b)) for W, b in carry[0]])


def torch_peer(task: Task, threads: int) -> Peer:
    """Eager; batches are indexed from one tensor; the fused Adam."""
    import torch

    torch.set_num_threads(threads)
    X, y = (torch.from_numpy(part) for part in task.samples())
    loss_of = torch.nn.functional.cross_entropy
    model: Any
    optimizer: Any

    def restart(start: Parameters) -> None:
        nonlocal model, optimizer
        model = torch_model(start)
        if task.optimizer == "adam":
            optimizer = torch.optim.Adam(model.parameters(), task.rate, eps=EPSILON, fused=True)
        else:
            optimizer = torch.optim.SGD(model.parameters(), task.rate, fused=True)

    def train(order: Array, rates: Array | None) -> Any:
        losses = []
        for step, batch in enumerate(torch.from_numpy(order).reshape(-1, task.batch_size)):
            if rates is not None:
                optimizer.param_groups[0]["lr"] = float(rates[step])
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(X[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def weights() -> list[tuple[Array, Array]]:
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy())
                for layer in model[::2]]  # fmt: skip

    restart(task.start())
    return Peer(train, restart, weights)


def torch_model(start: Parameters) -> Any:
    """Return a ``Sequential`` of linear layers with ReLU between them."""
    import torch

    layers: list[Any] = []
    for W, b in layers_of(start):
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def sklearn_peer(task: Task, threads: int) -> Peer:
    """``partial_fit``, which is one epoch; the samples are put in order before."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    X, y = task.samples()
    model = sklearn_model(task, X, y)
    ordered: dict[int, list[tuple[Any, Array]]] = {}

    def train(order: Array, rates: Array | None) -> Array:
        if id(order) not in ordered:
            ordered[id(order)] = [(X[epoch], y[epoch]) for epoch in order]
        losses = []
        for rows, labels in ordered[id(order)]:
            model.partial_fit(rows, labels)
            losses.append(model.loss_)
        return np.array(losses)

    return Peer(train)


def sklearn_model(task: Task, X: Any, y: Array) -> Any:
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
    classes, start = np.arange(task.sizes[-1]), task.start()
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


Makers = dict[str, Callable[[Task, int], Peer]]
Rounds = Callable[[Task, Peer], Iterator[dict[str, float]]]
MAKERS: Makers = {
    "fastnn": fastnn_peer,
    "fastnn dense": dense_peer,
    "fastnn bytes": bytes_peer,
    "reference": reference_peer,
    "jax": jax_peer,
    "torch": torch_peer,
    "scikit-learn": sklearn_peer,
    "article": article_peer,
}


def whole_rounds(task: Task, peer: Peer) -> Iterator[dict[str, float]]:
    """Yield the seconds that ``task.calls`` calls take, again and again; first untimed."""
    calls = [(task.order(call), task.rates(call)) for call in range(min(task.calls, 3))]
    for order, rates in calls:  # warm: every order has been seen
        peer.train(order, rates)
    while True:
        started = perf_counter()
        for call in range(task.calls):
            peer.train(*calls[call % len(calls)])
        yield {"seconds": perf_counter() - started}


def serve(makers: Makers, rounds_of: Rounds = whole_rounds) -> None:
    """Answer requests from standard input.

    Parameters
    ----------
    makers : dict
        The peers that there are.
    rounds_of : callable
        Of the task and the peer: yields what is told of one round after the other, the seconds that
        count among it.
    """
    name, threads, text = sys.argv[1:]
    fields = json.loads(text)
    task = Task(**{**fields, "sizes": tuple(fields["sizes"])})
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    peer = makers[name](task, int(threads))
    rounds = rounds_of(task, peer)
    for request in sys.stdin:
        if request.strip() == "losses":
            losses = np.asarray(peer.train(task.order(0), task.rates(0)), float)
            answer: dict[str, Any] = {"losses": losses.reshape(-1).tolist()}
        else:
            answer = next(rounds)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(MAKERS)
