"""Predictions with the same weights in each library: peers for ``fastnn.compare``.

A call predicts all samples of a task, ``batch_size`` at a time, and returns the probabilities. How
the samples are cut up is not timed.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn.models import Model
from fastnn.peers import Array, Peer, layers_of, serve, sklearn_model, torch_model
from fastnn.tasks import Task


def peer_of(predict: Callable[[Any], Any], parts: list[Any]) -> Peer:
    """Return a peer that calls a function for each part, whatever the order."""

    def train(_order: Array, _rates: Array | None) -> list[Any]:
        return [predict(part) for part in parts]

    return Peer(train)


def parts_of(task: Task) -> list[Array]:
    """Return the samples, ``batch_size`` at a time."""
    X, _ = task.samples()
    return np.split(X, len(X) // task.batch_size)


def model_of(task: Task, threads: int, engine: str = "fused") -> Model:
    """Return the model at the task's start."""
    classes = np.arange(task.sizes[-1])
    runs_on = fastnn.get_engine(engine, threads=threads)
    return Model(task.network(), task.start(), classes, runs_on)


def predictor_peer(task: Task, threads: int) -> Peer:
    """A predictor for as many samples as a call has."""
    return peer_of(model_of(task, threads).predictor(task.batch_size), _flat(task))


def _flat(task: Task) -> list[Array]:
    """Return single samples as vectors."""
    parts = parts_of(task)
    return [part[0] for part in parts] if task.batch_size == 1 else parts


def raw_peer(task: Task, threads: int) -> Peer:
    """``predict_proba`` on arrays."""
    return peer_of(model_of(task, threads).predict_proba, parts_of(task))


def prepared_peer(task: Task, threads: int) -> Peer:
    """``predict_proba`` on prepared samples."""
    parts = [fastnn.prepare(part) for part in parts_of(task)]
    return peer_of(model_of(task, threads).predict_proba, parts)


def reference_peer(task: Task, threads: int) -> Peer:
    """``predict_proba`` of the reference engine."""
    return peer_of(model_of(task, threads, "reference").predict_proba, parts_of(task))


def torch_peer(task: Task, threads: int) -> Peer:
    """A ``Sequential`` and softmax, in ``inference_mode``, on tensors."""
    import torch

    torch.set_num_threads(threads)
    model = torch_model(task.start()).eval()

    def predict(rows: Any) -> Any:
        with torch.inference_mode():
            return model(rows).softmax(dim=1)

    return peer_of(predict, [torch.from_numpy(part) for part in parts_of(task)])


def sklearn_peer(task: Task, threads: int) -> Peer:
    """``MLPClassifier.predict_proba``."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    return peer_of(sklearn_model(task, *task.samples()).predict_proba, parts_of(task))


def jax_peer(task: Task, threads: int) -> Peer:
    """A jitted function of arrays that JAX has; its results are waited for."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import jax
    import jax.numpy as jnp

    theta = [(jnp.asarray(W), jnp.asarray(b)) for W, b in layers_of(task.start())]

    @jax.jit
    def probabilities(theta: Any, A: Any) -> Any:
        for W, b in theta[:-1]:
            A = jnp.maximum(A @ W + b, 0)
        W, b = theta[-1]
        return jax.nn.softmax(A @ W + b)

    parts = [jnp.asarray(part) for part in parts_of(task)]
    return peer_of(lambda part: probabilities(theta, part).block_until_ready(), parts)


if __name__ == "__main__":
    serve(
        {
            "fastnn": predictor_peer,
            "fastnn array": raw_peer,
            "fastnn prepared": prepared_peer,
            "reference": reference_peer,
            "jax": jax_peer,
            "torch": torch_peer,
            "scikit-learn": sklearn_peer,
        }
    )
