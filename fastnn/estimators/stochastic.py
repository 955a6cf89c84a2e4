"""A fit with sgd or adam: epochs of an engine's ``train``, in scikit-learn's order of events."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import nan
from threading import Event
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastnn.console import print_line
from fastnn.engine import Engine
from fastnn.errors import DivergedError
from fastnn.estimators.rates import OWN_RATES, batch_rates, check_rates
from fastnn.estimators.validation import Validation
from fastnn.inputs import Input
from fastnn.interrupts import stop_on_interrupt
from fastnn.network import Network, Parameters
from fastnn.objective import Objective


class Training:
    """What a fit trains, on what, and the epochs of it."""

    def __init__(
        self,
        estimator: Any,
        engine: Engine,
        network: Network,
        parameters: Parameters,
        objective: Objective,
        samples: Input,
        targets: NDArray[Any],
        sample_weight: NDArray[Any] | None,
        rows: NDArray[np.intp],
        validation: Validation | None,
    ) -> None:
        self.estimator, self.engine = estimator, engine
        self.network, self.parameters, self.objective = network, parameters, objective
        self.samples, self.targets, self.sample_weight = samples, targets, sample_weight
        self.rows, self.validation = rows, validation
        self.batch_size = _batch_size(estimator.batch_size, len(rows))
        bounds = [*range(0, len(rows), self.batch_size), len(rows)]
        self.batch_sizes = np.diff(bounds)
        check_rates(estimator, len(self.batch_sizes))
        self.best: Parameters | None = None
        self.lowest = np.inf

    def run(self, epochs: int, first: int, *, once: bool) -> None:
        """Train for some epochs, or until a rule ends it.

        Parameters
        ----------
        epochs : int
        first : int
            Epochs that the schedule of the learning rate has behind it.
        once : bool
            One epoch only, which is no reason to warn.
        """
        estimator, started = self.estimator, perf_counter()
        order, shuffled = np.arange(len(self.rows)), estimator._random_state
        estimator.n_iter_ = 0
        with _interruptions() as stop:
            for epoch in range(epochs):
                if estimator.shuffle:
                    order = order[shuffled.permutation(len(order))]
                with estimator._task(epoch) as task:
                    loss = self._epoch(self.rows[order], first + epoch, stop)
                    if loss is None:
                        raise KeyboardInterrupt
                    self._note(loss)
                    self._judge()
                    estimator._optimizer.iteration_ends(estimator.t_)
                is_over = self._is_over(task.stop, perf_counter() - started)
                if once or is_over or stop.is_set():
                    break
                # the run of a schedule is meant to last that long
                if estimator.n_iter_ == epochs and estimator.learning_rate in OWN_RATES:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the "
                        "optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=2,
                    )

    def _epoch(self, order: NDArray[np.intp], epoch: int, stop: Event) -> float | None:
        """Return the mean of the batches' losses; None if Ctrl-C came before their end.

        A run that diverged goes on, with parameters that are no numbers, to the end that
        scikit-learn gives it.
        """
        n_batches = len(self.batch_sizes)
        try:
            losses = self.engine.train(
                self.network,
                self.parameters,
                self.estimator._optimizer.state,
                self.samples,
                self.targets,
                order,
                batch_size=self.batch_size,
                learning_rates=batch_rates(self.estimator, epoch, n_batches),
                objective=self.objective,
                sample_weight=self.sample_weight,
                stop=stop,
            )
        except DivergedError as error:
            self.parameters.vector[:] = nan
            is_last = error.batch == n_batches - 1
            return error.loss if is_last else nan
        if len(losses) < n_batches:
            return None
        return float(losses @ self.batch_sizes) / len(order)

    def _note(self, loss: float) -> None:
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.loss_ = loss
        estimator.t_ += len(self.rows)
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print_line(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")

    def _judge(self) -> None:
        """Count the epochs without improvement; remember the best parameters."""
        estimator, validation = self.estimator, self.validation
        if validation is not None:
            outputs = self.engine.predict(self.network, self.parameters, validation.samples)
            loss = validation.loss(estimator, outputs)
            estimator.validation_loss_curve_.append(loss)
            if estimator.restore_best_weights and loss < self.lowest:
                self.lowest, self.best = loss, self.parameters.copy()
        if not estimator.early_stopping or validation is None:
            loss, best = estimator.loss_, estimator.best_loss_
            self._count(loss > best - estimator.tol)
            if loss < best:
                estimator.best_loss_ = loss
            return
        score, best = validation.score(estimator, outputs), estimator.best_validation_score_
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print_line(f"Validation score: {score:f}")
        self._count(score < best + estimator.tol)
        if score > best:
            estimator.best_validation_score_ = score
            self.best = self.parameters.copy()

    def _count(self, is_no_better: bool) -> None:
        estimator = self.estimator
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if is_no_better else 0

    def _is_over(self, is_asked: bool, seconds: float) -> bool:
        """Tell whether a callback, the time or the lack of improvement ends training."""
        estimator = self.estimator
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            what = "Validation score" if estimator.early_stopping else "Training loss"
            message = (
                f"{what} did not improve more than tol={estimator.tol:f} for "
                f"{estimator.n_iter_no_change} consecutive epochs."
            )
            if estimator._optimizer.trigger_stopping(message, estimator.verbose):
                return True
            estimator._no_improvement_count = 0
        return is_asked or (estimator.time_budget is not None and seconds >= estimator.time_budget)


def _batch_size(wanted: int | str, n_samples: int) -> int:
    if isinstance(wanted, str):  # "auto"
        return min(200, n_samples)
    if wanted > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=2,
        )
    return min(int(wanted), n_samples)


@contextmanager
def _interruptions() -> Iterator[Event]:
    """End training at Ctrl-C with what was learned, and a warning."""
    try:
        with stop_on_interrupt() as stop:
            yield stop
            if stop.is_set():
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
