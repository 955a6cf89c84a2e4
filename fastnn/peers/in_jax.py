"""Training with JAX: all batches of a call in one compiled ``lax.scan``, parameters donated.

On CSR it gathers the rows of the first layer's W that a sample names, sums them, and plain SGD adds
to those rows only: to differentiate by W itself would fill an array as large as W for every batch.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.network import Parameters
from fastnn.peers.peer import Array, Peer, layers_of
from fastnn.tasks import EPSILON, Task

Step = Callable[[Any, Any], tuple[Any, Any]]


def jax_peer(task: Task, threads: int) -> Peer:
    """Scan over the batches of a call."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # JAX counts the CPUs
    import jax
    import jax.numpy as jnp
    from jax import lax

    if task.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    X, y = task.samples()
    samples = _rows_of_csr(X) if task.is_sparse else jnp.asarray(X)
    if task.optimizer == "adam":
        step = _adam(task, samples, jnp.asarray(y))
    else:
        step = (_sgd_on_rows if task.is_sparse else _sgd)(task, samples, jnp.asarray(y))
    run = jax.jit(lambda carry, steps: lax.scan(step, carry, steps), donate_argnums=0)
    carry: Any

    def restart(start: Parameters) -> None:
        nonlocal carry
        theta = [(jnp.array(W), jnp.array(b)) for W, b in layers_of(start)]
        carry = (theta,)
        if task.optimizer == "adam":
            zeros = (jax.tree.map(jnp.zeros_like, theta) for _ in range(2))
            carry = (theta, *zeros, jnp.zeros((), task.dtype))

    def train(order: Array, rates: Array | None) -> Any:
        nonlocal carry
        batches = jnp.asarray(order.reshape(-1, task.batch_size))
        carry, losses = run(carry, (batches, None if rates is None else jnp.asarray(rates)))
        return losses.block_until_ready()

    restart(task.start())
    return Peer(train, restart, lambda: [(np.asarray(W), np.asarray(b)) for W, b in carry[0]])


def _rows_of_csr(X: Any) -> tuple[Any, Any]:
    """Return columns and values, (n_samples, nonzeros of a row); all rows have as many."""
    import jax.numpy as jnp

    shape = (X.shape[0], -1)
    return jnp.asarray(X.indices.reshape(shape)), jnp.asarray(X.data.reshape(shape))


def _first_layer(theta: Any, samples: Any, batch: Any) -> Any:
    """Return the logits' or first hidden layer's Z of a batch."""
    import jax.numpy as jnp

    W, b = theta[0]
    if not isinstance(samples, tuple):
        return samples[batch] @ W + b
    columns, values = samples
    return jnp.einsum("nk,nkh->nh", values[batch], W[columns[batch]]) + b


def _loss(Z: Any, rest: Any, labels: Any) -> Any:
    """Return the mean cross-entropy, from the Z of the first layer on."""
    import jax
    import jax.numpy as jnp

    for W, b in rest:
        Z = jnp.maximum(Z, 0) @ W + b
    log_p = jax.nn.log_softmax(Z)
    return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=1))


def _gradient(samples: Any, y: Any) -> Any:
    import jax

    return jax.value_and_grad(
        lambda theta, batch: _loss(_first_layer(theta, samples, batch), theta[1:], y[batch])
    )


def _sgd(task: Task, samples: Any, y: Any) -> Step:
    import jax

    gradient_of = _gradient(samples, y)

    def step(carry: Any, at: Any) -> Any:
        (theta,), (batch, rate) = carry, at
        rate = task.rate if rate is None else rate
        loss, slope = gradient_of(theta, batch)
        return (jax.tree.map(lambda t, g: t - rate * g, theta, slope),), loss

    return step


def _sgd_on_rows(task: Task, samples: Any, y: Any) -> Step:
    """Differentiate by the first layer's Z, and add to the rows of W that the batch names."""
    import jax

    columns, values = samples
    gradient_of = jax.value_and_grad(_loss, argnums=(0, 1))

    def step(carry: Any, at: Any) -> Any:
        (theta,), (batch, rate) = carry, at
        rate = task.rate if rate is None else rate
        Z = _first_layer(theta, samples, batch)
        loss, (delta, slope) = gradient_of(Z, theta[1:], y[batch])
        W, b = theta[0]
        W = W.at[columns[batch]].add(-rate * values[batch][:, :, None] * delta[:, None, :])
        rest = jax.tree.map(lambda t, g: t - rate * g, theta[1:], slope)
        return ([(W, b - rate * delta.sum(axis=0)), *rest],), loss

    return step


def _adam(task: Task, samples: Any, y: Any) -> Step:
    import jax
    import jax.numpy as jnp

    gradient_of = _gradient(samples, y)

    def step(carry: Any, at: Any) -> Any:
        (theta, m, v, t), (batch, rate) = carry, at
        loss, g = gradient_of(theta, batch)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = (task.rate if rate is None else rate) * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        theta = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), theta, m, v)
        return (theta, m, v, t), loss

    return step
