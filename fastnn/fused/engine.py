"""The contract of ``engine.Engine`` on compiled code: checks, windows of samples, errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import (
    check_count,
    check_instance,
    check_labels,
    check_layout,
    check_learning_rates,
    check_order,
    check_out,
    check_sample_weight,
    check_samples,
    check_state,
)
from fastnn.errors import DivergedError
from fastnn.fused.plan import GRADIENT, PREDICT, TRAIN, UPDATE, plain, writable
from fastnn.fused.run import Run, Runner
from fastnn.fused.tiles import Tile
from fastnn.inputs import Input
from fastnn.network import Network, Parameters, float_dtype
from fastnn.objective import Objective
from fastnn.optimizers import OptimizerState
from fastnn.threads import resolve_threads

Array = NDArray[np.floating]

# Samples that are converted at a time, where X is not already what compiled code reads.
WINDOW = 8192


class FusedEngine:
    """The contract of ``engine.Engine``, compiled; at most ``threads`` threads.

    The same call gives the same bits for any number of threads and on any CPU, as long as the
    version of fastnn is the same; small work is done by fewer threads.
    """

    name = "fused"

    def __init__(
        self, threads: int | None = None, *, tile: Tile | None = None, always: bool = False
    ) -> None:
        self.threads = resolve_threads(threads)
        # for proofs: kernels other than those that fit the CPU, and all threads for any work
        self._tile, self._always = tile, always
        self._runner = Runner(self.threads, tile, always)

    def __repr__(self) -> str:
        return f"FusedEngine(threads={self.threads})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.threads, self._tile, self._always)  # threads stay in their process

    def warm_up(self, dtype: DTypeLike = "float32") -> None:
        """Compile the kernels, or load what was kept of them."""
        self._runner.entry(float_dtype(dtype))

    def predict(
        self,
        network: Network,
        parameters: Parameters,
        X: ArrayLike | Input,
        *,
        out: Array | None = None,
    ) -> Array:
        """Return class probabilities; see ``Engine.predict``."""
        samples = check_samples(network, parameters, X)
        shape = (samples.n_samples, network.n_outputs)
        if out is None:
            out = np.empty(shape, parameters.dtype)
        check_out(out, shape, parameters)
        theta, done = writable(parameters.vector), 0
        everyone = np.arange(samples.n_samples)
        for X_part, chosen in _parts(samples, everyone, WINDOW, parameters.dtype):
            here = slice(done, done + len(chosen))
            with _writable(out[here]) as (result,):
                self._runner.run(
                    Run(PREDICT, network, theta, X=X_part, n_samples=len(chosen), result=result)
                )
            done += len(chosen)
        return out

    def gradient(
        self,
        network: Network,
        parameters: Parameters,
        X: ArrayLike | Input,
        y: ArrayLike,
        *,
        objective: Objective = Objective(),
        sample_weight: ArrayLike | None = None,
    ) -> tuple[float, Array]:
        """Return the loss over all rows of X, and its gradient; see ``Engine.gradient``."""
        samples = check_samples(network, parameters, X)
        labels = check_labels(y, samples.n_samples, network.n_outputs)
        weights = check_sample_weight(sample_weight, samples.n_samples)
        check_instance("objective", objective, Objective)
        gradient = np.zeros_like(parameters.vector)
        run = Run(
            GRADIENT,
            network,
            writable(parameters.vector),
            X=plain(samples.rows(slice(None), parameters.dtype)),
            y=labels,
            order=np.arange(samples.n_samples),
            weights=weights,
            batch_size=samples.n_samples,
            rates=np.zeros(1),
            objective=objective,
            result=gradient,
        )
        self._runner.run(run)
        return float(run.losses[0]), gradient

    def update(
        self,
        parameters: Parameters,
        gradient: Array,
        optimizer_state: OptimizerState,
        learning_rate: float,
    ) -> None:
        """Move the parameters by one step, in place; see ``Engine.update``."""
        check_layout("gradient", gradient, parameters)
        check_state(optimizer_state, parameters)
        rates = check_learning_rates(learning_rate, 1)
        with _writable(parameters.vector, *optimizer_state.moments) as (theta, *moments):
            run = Run(
                UPDATE,
                Network((1, 1)),  # the parameters are just a run of numbers here
                theta,
                moments=moments,
                optimizer=optimizer_state.optimizer,
                step=optimizer_state.step,
                rates=rates,
                result=writable(gradient),
            )
            self._runner.run(run)
            optimizer_state.step += 1

    def train(
        self,
        network: Network,
        parameters: Parameters,
        optimizer_state: OptimizerState,
        X: ArrayLike | Input,
        y: ArrayLike,
        order: ArrayLike,
        *,
        batch_size: int,
        learning_rates: ArrayLike,
        objective: Objective = Objective(),
        sample_weight: ArrayLike | None = None,
        stop: Event | None = None,
    ) -> NDArray[np.float64]:
        """Train on the mini-batches that ``order`` spells out, in place; see ``Engine.train``."""
        samples = check_samples(network, parameters, X)
        labels = check_labels(y, samples.n_samples, network.n_outputs)
        weights = check_sample_weight(sample_weight, samples.n_samples)
        check_instance("objective", objective, Objective)
        indices = check_order(order, samples.n_samples)
        batch_size = check_count("batch_size", batch_size)
        n_batches = -(-len(indices) // batch_size)
        rates = check_learning_rates(learning_rates, n_batches)
        check_state(optimizer_state, parameters)

        losses, done = np.empty(n_batches), 0
        with _writable(parameters.vector, *optimizer_state.moments) as (theta, *moments):
            for X_part, chosen in _parts(samples, indices, batch_size, parameters.dtype):
                if stop is not None and stop.is_set():
                    break
                whole = X_part is samples.values
                run = Run(
                    TRAIN,
                    network,
                    theta,
                    moments=moments,
                    optimizer=optimizer_state.optimizer,
                    step=optimizer_state.step,
                    X=X_part,
                    y=labels if whole else labels[chosen],
                    order=chosen if whole else np.arange(len(chosen)),
                    weights=weights if whole or weights is None else weights[chosen],
                    batch_size=batch_size,
                    rates=rates[done : done + -(-len(chosen) // batch_size)],
                    objective=objective,
                )
                try:
                    self._runner.run(run, stop)
                finally:  # also on Ctrl-C: so far the parameters have moved
                    losses[done : done + run.batches] = run.losses[: run.batches]
                    done += run.batches
                    optimizer_state.step += run.steps
                if run.diverged:
                    raise DivergedError(done, float(run.losses[run.batches]), losses[:done].copy())
                if run.batches < len(run.losses):
                    break
        return losses[:done]


def _restore(threads: int, tile: Tile | None, always: bool) -> FusedEngine:
    return FusedEngine(threads, tile=tile, always=always)


def _parts(
    samples: Input, indices: NDArray[np.intp], batch_size: int, dtype: np.dtype[np.floating]
) -> Iterator[tuple[Array, NDArray[np.intp]]]:
    """Yield X, and which samples to take, in the order given.

    Once, with X as it is, where compiled code can read it. Otherwise some batches at a time, with
    the rows of X copied out in that order.
    """
    if not indices.size:
        return
    values = samples.values
    if values.dtype == dtype and isinstance(values, np.ndarray) and values.flags.aligned:
        yield values, indices
        return
    window = max(1, WINDOW // batch_size) * batch_size
    for start in range(0, len(indices), window):
        chosen = indices[start : start + window]
        yield plain(samples.rows(chosen, dtype)), chosen


@contextmanager
def _writable(*arrays: Array) -> Iterator[list[Array]]:
    """Lend arrays as compiled code writes them; what had to be copied is copied back."""
    lent = [plain(array) for array in arrays]
    try:
        yield lent
    finally:
        for array, used in zip(arrays, lent, strict=True):
            if used is not array:
                array[...] = used
