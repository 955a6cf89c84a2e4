"""The same training in fastnn and in other libraries, each as an expert of it would set it up.

Run as a process of its own by ``compare.py``, which says ``losses`` or ``round`` line by line and
gets one line of JSON for each. A round is ``calls`` times ``epochs`` epochs; data are in memory and
the first, untimed, one has compiled what there is to compile.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.network import Network, Parameters

Array = NDArray[Any]

# Adam's; smaller than usual, since libraries add it at different places of the formula.
EPSILON = 1e-12


@dataclass(frozen=True)
class Task:
    """What is trained on what; the samples are uniform random numbers without zeros.

    Attributes
    ----------
    name : str
    sizes : tuple of int
        Of the layers.
    n_samples, batch_size : int
    optimizer : {"sgd", "adam"}
        Plain SGD; Adam with its usual settings.
    rate : float
        The learning rate.
    dtype : {"float32", "float64"}
    epochs : int
        In one call: what a library can compile into one, it may.
    calls : int
        In one round.
    """

    name: str
    sizes: tuple[int, ...]
    n_samples: int
    batch_size: int
    optimizer: str = "sgd"
    rate: float = 1e-3
    dtype: str = "float32"
    epochs: int = 1
    calls: int = 1

    def peers(self) -> tuple[str, ...]:
        """Return the names of the peers that the task suits."""
        if self.dtype == "float64":
            return ("article",)
        if self.n_samples < 1000:  # scikit-learn spends its time on checks there
            return ("jax", "torch")
        return ("jax", "torch", "scikit-learn", "reference")

    def network(self) -> Network:
        """Return the network."""
        return Network(self.sizes)

    def start(self) -> Parameters:
        """Return the parameters to start from."""
        return self.network().initialize(0, dtype=self.dtype)

    def samples(self) -> tuple[Array, Array]:
        """Return X and y."""
        rng = np.random.default_rng(0)
        X = rng.random((self.n_samples, self.sizes[0]), dtype=np.dtype(self.dtype).type)
        return X, rng.integers(0, self.sizes[-1], self.n_samples)

    def order(self, call: int) -> Array:
        """Return the samples of one call, (epochs, n_samples); all batches are full."""
        rng = np.random.default_rng([1, call])
        whole = self.n_samples // self.batch_size * self.batch_size
        orders = [rng.permutation(self.n_samples)[:whole] for _ in range(self.epochs)]
        return np.stack(orders)


# A peer is a function of the task and the number of threads. It returns a function of an order
# that trains on it and returns the losses of its batches, or something that becomes them.
Train = Callable[[Array], Any]


def fastnn_peer(task: Task, threads: int, engine: str = "fused") -> Train:
    """Train with one of our engines."""
    from fastnn import SGD, Adam, get_engine, prepare

    network, parameters = task.network(), task.start()
    X, y = task.samples()
    samples, runner = prepare(X), get_engine(engine, threads=threads)
    optimizer = Adam(epsilon=EPSILON) if task.optimizer == "adam" else SGD()
    state = optimizer.initialize(parameters)

    def train(order: Array) -> Array:
        return runner.train(
            network, parameters, state, samples, y, order.reshape(-1),
            batch_size=task.batch_size, learning_rates=task.rate,
        )  # fmt: skip

    return train


def reference_peer(task: Task, threads: int) -> Train:
    """Train with the reference engine."""
    return fastnn_peer(task, threads, "reference")


def jax_peer(task: Task, threads: int) -> Train:
    """All batches of a call in one compiled ``lax.scan``; the parameters are donated."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # JAX counts the CPUs
    import jax
    import jax.numpy as jnp
    from jax import lax

    X, y = (jnp.asarray(part) for part in task.samples())
    start = task.start()
    theta = [(jnp.array(W), jnp.array(b)) for W, b in zip(start.weights, start.biases, strict=True)]

    def loss_of(theta: Any, rows: Any, labels: Any) -> Any:
        A = rows
        for W, b in theta[:-1]:
            A = jnp.maximum(A @ W + b, 0)
        W, b = theta[-1]
        log_p = jax.nn.log_softmax(A @ W + b)
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))

    gradient_of = jax.value_and_grad(loss_of)

    def sgd(carry: Any, batch: Any) -> Any:
        theta = carry
        loss, slope = gradient_of(theta, X[batch], y[batch])
        return jax.tree.map(lambda t, g: t - task.rate * g, theta, slope), loss

    def adam(carry: Any, batch: Any) -> Any:
        theta, m, v, t = carry
        loss, g = gradient_of(theta, X[batch], y[batch])
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = task.rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        theta = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), theta, m, v)
        return (theta, m, v, t), loss

    zeros = jax.tree.map(jnp.zeros_like, theta)
    step: Any = sgd
    carry: Any = theta
    if task.optimizer == "adam":
        step, carry = adam, (theta, zeros, jax.tree.map(jnp.zeros_like, theta), jnp.float32(0))
    run = jax.jit(lambda carry, batches: lax.scan(step, carry, batches), donate_argnums=0)

    def train(order: Array) -> Any:
        nonlocal carry
        carry, losses = run(carry, jnp.asarray(order.reshape(-1, task.batch_size)))
        return losses.block_until_ready()

    return train


def torch_peer(task: Task, threads: int) -> Train:
    """Eager; batches are indexed from one tensor; the fused Adam."""
    import torch

    torch.set_num_threads(threads)
    X, y = (torch.from_numpy(part) for part in task.samples())
    layers: list[Any] = []
    start = task.start()
    for W, b in zip(start.weights, start.biases, strict=True):
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer: Any
    if task.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), task.rate, eps=EPSILON, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), task.rate, fused=True)
    loss_of = torch.nn.functional.cross_entropy

    def train(order: Array) -> Any:
        losses = []
        for batch in torch.from_numpy(order).reshape(-1, task.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(X[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return train


def sklearn_peer(task: Task, threads: int) -> Train:
    """``partial_fit``, which is one epoch; the samples are put in order before."""
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    X, y = task.samples()
    model = MLPClassifier(
        task.sizes[1:-1],
        solver=task.optimizer,
        alpha=0,
        momentum=0,
        nesterovs_momentum=False,
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
    if task.optimizer == "adam":
        optimizer = model._optimizer
        optimizer.t = 0
        for moment in optimizer.ms + optimizer.vs:
            moment[...] = 0
    ordered: dict[int, list[tuple[Array, Array]]] = {}

    def train(order: Array) -> Array:
        if id(order) not in ordered:
            ordered[id(order)] = [(X[epoch], y[epoch]) for epoch in order]
        losses = []
        for rows, labels in ordered[id(order)]:
            model.partial_fit(rows, labels)
            losses.append(model.loss_)
        return np.array(losses)

    return train


def article_peer(task: Task, threads: int) -> Train:
    """Train as the tutorial does: full batch, samples as columns, one-hot labels, in NumPy.

    It sends all samples forward twice for each update, once for the loss and once for the gradient.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    rows, labels = task.samples()
    X = np.ascontiguousarray(rows.T)
    Y = np.ascontiguousarray(np.eye(task.sizes[-1])[labels].T)
    start = task.start()
    (W1, W2), (b1, b2) = ([W.T.copy() for W in start.weights],
                          [b.reshape(-1, 1).copy() for b in start.biases])  # fmt: skip

    def forward() -> tuple[Array, ...]:
        Z1 = W1 @ X + b1
        A1 = np.maximum(0, Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - np.max(Z2))
        return Z1, A1, E / np.sum(E, axis=0, keepdims=True)

    def train(order: Array) -> Array:
        losses = []
        for _ in range(len(order)):
            A2 = forward()[2]
            m = X.shape[1]
            losses.append(-np.sum(Y * np.log(A2)) / m)
            Z1, A1, A2 = forward()
            delta = A2 - Y
            dW2, db2 = delta @ A1.T / m, np.sum(delta, axis=1, keepdims=True) / m
            delta = (W2.T @ delta) * (Z1 > 0)
            dW1, db1 = delta @ X.T / m, np.sum(delta, axis=1, keepdims=True) / m
            for theta, slope in ((W1, dW1), (b1, db1), (W2, dW2), (b2, db2)):
                theta -= task.rate * slope
        return np.array(losses)

    return train


MAKERS: dict[str, Callable[[Task, int], Train]] = {
    "fastnn": fastnn_peer,
    "reference": reference_peer,
    "jax": jax_peer,
    "torch": torch_peer,
    "scikit-learn": sklearn_peer,
    "article": article_peer,
}


def main() -> None:
    """Answer requests from standard input."""
    name, threads, text = sys.argv[1:]
    fields = json.loads(text)
    task = Task(**{**fields, "sizes": tuple(fields["sizes"])})
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    train = MAKERS[name](task, int(threads))
    orders = [task.order(call) for call in range(min(task.calls, 3))]
    for request in sys.stdin:
        if request.strip() == "losses":
            losses = np.asarray(train(orders[0]), float).reshape(-1)
            for order in orders[1:]:  # warm: every order has been seen
                train(order)
            answer: dict[str, Any] = {"losses": losses.tolist()}
        else:
            started = perf_counter()
            for call in range(task.calls):
                train(orders[call % len(orders)])
            answer = {"seconds": perf_counter() - started}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
