"""The contract of ``engine.Engine`` on compiled code: checks, and errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import (
    check_count,
    check_layout,
    check_learning_rates,
    check_objective,
    check_order,
    check_out,
    check_sample_weight,
    check_samples,
    check_state,
    check_step,
    check_targets,
)
from fastnn.errors import DivergedError
from fastnn.fused.plan import GRADIENT, PREDICT, TRAIN, UPDATE, plain
from fastnn.fused.predictor import FusedPredictor
from fastnn.fused.run import Run, Runner
from fastnn.fused.tiles import Tile
from fastnn.inputs import Input
from fastnn.network import Network, Parameters, float_dtype
from fastnn.objective import Objective
from fastnn.optimizers import OptimizerState
from fastnn.threads import resolve_threads

Array = NDArray[np.floating]


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

    def predictor(self, network: Network, parameters: Parameters, n_samples: int) -> FusedPredictor:
        """Return a function that predicts with everything allocated; see ``FusedPredictor``."""
        return FusedPredictor(self._runner, self.threads, network, parameters, n_samples)

    def predict(
        self,
        network: Network,
        parameters: Parameters,
        X: ArrayLike | Input,
        *,
        out: Array | None = None,
    ) -> Array:
        """Return what the network puts out; see ``Engine.predict``."""
        samples = check_samples(network, parameters, X)
        shape = (samples.n_samples, network.n_outputs)
        if out is None:
            out = np.empty(shape, parameters.dtype)
        check_out(out, shape, parameters)
        theta, n_samples = plain(parameters.vector), samples.n_samples
        with _writable(out) as (result,):
            self._runner.run(
                Run(PREDICT, network, theta, X=samples, n_samples=n_samples, result=result)
            )
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
        step: int = 0,
    ) -> tuple[float, Array]:
        """Return the loss over all rows of X, and its gradient; see ``Engine.gradient``."""
        samples = check_samples(network, parameters, X, once=False)
        labels = check_targets(y, samples.n_samples, network, parameters.dtype)
        weights = check_sample_weight(sample_weight, samples.n_samples)
        check_objective(objective, network)
        gradient = np.zeros_like(parameters.vector)
        run = Run(
            GRADIENT,
            network,
            plain(parameters.vector),
            X=samples,
            y=labels,
            order=np.arange(samples.n_samples),
            weights=weights,
            batch_size=samples.n_samples,
            rates=np.zeros(1),
            step=check_step(step),
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
                result=plain(gradient),
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
        samples = check_samples(network, parameters, X, once=False)
        labels = check_targets(y, samples.n_samples, network, parameters.dtype)
        weights = check_sample_weight(sample_weight, samples.n_samples)
        check_objective(objective, network)
        indices = check_order(order, samples.n_samples)
        batch_size = check_count("batch_size", batch_size)
        n_batches = -(-len(indices) // batch_size)
        rates = check_learning_rates(learning_rates, n_batches)
        check_state(optimizer_state, parameters)

        if stop is not None and stop.is_set():
            return np.empty(0)
        with _writable(parameters.vector, *optimizer_state.moments) as (theta, *moments):
            run = Run(
                TRAIN,
                network,
                theta,
                moments=moments,
                optimizer=optimizer_state.optimizer,
                step=optimizer_state.step,
                X=samples,
                y=labels,
                order=indices,
                weights=weights,
                batch_size=batch_size,
                rates=rates,
                objective=objective,
            )
            try:
                self._runner.run(run, stop)
            finally:  # also on Ctrl-C: so far the parameters have moved
                optimizer_state.step += run.steps
        losses = run.losses[: run.batches]
        if run.diverged:
            raise DivergedError(run.batches, float(run.losses[run.batches]), losses)
        return losses


def _restore(threads: int, tile: Tile | None, always: bool) -> FusedEngine:
    return FusedEngine(threads, tile=tile, always=always)


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
