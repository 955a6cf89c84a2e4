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

# Samples of several epochs that one call of the engine may train: enough to share what a call takes
# between small epochs, and few enough for their indices to take no room.
AT_ONCE = 2**16


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
        estimator.n_iter_, is_over = 0, False
        with _interruptions() as stop:
            while not is_over and estimator.n_iter_ < epochs:
                count = 1 if once else self._undecided(epochs - estimator.n_iter_)
                with estimator._task() as task:
                    losses = self._train(count, first + estimator.n_iter_, stop)
                    for loss in losses:
                        self._note(loss)
                        self._judge()
                        estimator._optimizer.iteration_ends(estimator.t_)
                    if len(losses) < count:
                        raise KeyboardInterrupt
                is_over = self._is_over(task.stop, perf_counter() - started)
                is_over = is_over or once or stop.is_set()
            # the run of a schedule is meant to last that long
            if not is_over and estimator.learning_rate in OWN_RATES:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _undecided(self, left: int) -> int:
        """Return how many epochs one call may train, as nothing can end training before.

        Epochs without improvement are counted one by one, so it takes some until there are too many
        of them, however they go. Where somebody looks at each epoch, it is one.
        """
        estimator = self.estimator
        is_watched = (
            self.validation is not None
            or estimator.verbose
            or estimator.time_budget is not None
            or getattr(estimator, "_skl_callbacks", None)
        )
        n_samples = len(self.rows)
        if is_watched or estimator.learning_rate == "invscaling" or n_samples % self.batch_size:
            return 1
        patience = estimator.n_iter_no_change - estimator._no_improvement_count + 1
        return max(1, int(min(left, patience, AT_ONCE // n_samples)))

    def _train(self, count: int, first: int, stop: Event) -> list[float]:
        """Return each epoch's mean loss; of fewer than ``count`` if Ctrl-C came before their end.

        A run that diverged goes on, with parameters that are no numbers, to the end that
        scikit-learn gives it.
        """
        n_batches = len(self.batch_sizes)
        orders = [self._order() for _ in range(count)]
        try:
            losses = self.engine.train(
                self.network,
                self.parameters,
                self.estimator._optimizer.state,
                self.samples,
                self.targets,
                np.concatenate(orders),
                batch_size=self.batch_size,
                learning_rates=batch_rates(self.estimator, first, count, n_batches),
                objective=self.objective,
                sample_weight=self.sample_weight,
                stop=stop,
            )
        except DivergedError as error:
            self.parameters.vector[:] = nan
            losses = np.full(count * n_batches, nan)
            losses[: error.batch], losses[error.batch] = error.losses, error.loss
        whole = len(losses) // n_batches
        table = losses[: whole * n_batches].reshape(whole, n_batches)
        # one by one: so the sum's bits do not depend on how many epochs there are
        return [float(row @ self.batch_sizes) / len(self.rows) for row in table]

    def _order(self) -> NDArray[np.intp]:
        """Return the rows in the order of the next epoch: shuffled from that of the last one."""
        if self.estimator.shuffle:
            self.rows = self.rows[self.estimator._random_state.permutation(len(self.rows))]
        return self.rows

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
