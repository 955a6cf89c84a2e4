"""The epochs of ``fit``: shuffled mini-batches, validation, and who hears of each."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from threading import Event
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.callbacks import Callback, Epoch
from fastnn.checkpoints import Checkpoint, Progress
from fastnn.checks import check_finite
from fastnn.errors import DivergedError
from fastnn.models import mean_loss_and_accuracy
from fastnn.objective import Objective
from fastnn.optimizers import Optimizer
from fastnn.schedules import Schedule, learning_rates
from fastnn.training_data import TrainingData, Window


@dataclass(frozen=True)
class Recipe:
    """How to train; checked."""

    optimizer: Optimizer
    objective: Objective
    epochs: int
    batch_size: int
    rate: float
    schedule: Schedule

    def settings(self) -> dict[str, Any]:
        """Return everything as a model's settings have it."""
        return {
            "optimizer": {"name": type(self.optimizer).__name__, **asdict(self.optimizer)},
            "objective": asdict(self.objective),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.rate,
            "schedule": getattr(self.schedule, "__name__", "custom").replace("_", "-"),
        }


def run_epochs(
    recipe: Recipe,
    data: TrainingData,
    progress: Progress,
    callbacks: Sequence[Callback],
    keeper: Checkpoint | None,
    stop: Event,
) -> None:
    """Train in place and fill the history, until the end or the first wish to stop."""
    model = progress.model
    history, parameters = model.history, model.parameters
    n_batches = -(-data.n_samples // recipe.batch_size)
    if history.stopped == "early":  # so the run ended that is gone on with
        return
    for number in range(history.epochs + 1, recipe.epochs + 1):
        rates = learning_rates(
            recipe.schedule,
            recipe.rate,
            (number - 1) * n_batches,
            n_batches,
            recipe.epochs * n_batches,
        )
        started = perf_counter()
        try:
            losses, weights = _run_epoch(recipe, data, progress, rates, stop)
        except DivergedError as error:
            error.epoch = number
            raise
        seconds = perf_counter() - started
        if len(losses) < n_batches:
            return
        val_loss, val_accuracy = None, None
        if data.validation is not None:
            with closing(data.watched()) as windows:
                val_loss, val_accuracy = mean_loss_and_accuracy(
                    (model.engine.predict(model.network, parameters, X_val), y_val)
                    for X_val, y_val in windows
                )
            history.validation_loss.append(val_loss)
            history.validation_accuracy.append(val_accuracy)
        # only now: where validation fails, the curves stay of one length
        history.seconds.append(seconds)
        history.loss.append(_mean_loss(losses, weights))
        epoch = Epoch(
            number,
            recipe.epochs,
            history.loss[-1],
            val_loss,
            val_accuracy,
            float(rates[-1]),
            seconds,
            parameters,
        )
        # every callback hears of every epoch, also of the one that ends training; what is not
        # True itself, such as a number or an array that a callback returns, is no wish to end
        wishes = [callback(epoch) for callback in callbacks]
        wants_end = any(isinstance(wish, bool | np.bool_) and bool(wish) for wish in wishes)
        if wants_end and number < recipe.epochs:
            history.stopped = "early"
        if keeper is not None:
            keeper.save(progress)
        if history.stopped == "early":
            return


def _run_epoch(
    recipe: Recipe,
    data: TrainingData,
    progress: Progress,
    rates: NDArray[np.float64],
    stop: Event,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Train on one epoch; return the loss and the weight of each batch, fewer if it was stopped."""
    losses, weights, done = np.empty(len(rates)), np.empty(len(rates)), 0
    with closing(data.windows(progress.shuffles, recipe.batch_size)) as windows:
        for window in windows:
            n_batches = -(-len(window.order) // recipe.batch_size)
            here = slice(done, done + n_batches)
            try:
                found = _run_window(recipe, window, progress, rates[here], stop)
            except DivergedError as error:
                error.losses = np.concatenate([losses[:done], error.losses])
                error.batch = None if error.batch is None else done + error.batch
                raise
            losses[done : done + len(found)] = found
            weights[here] = _batch_weights(window, recipe.batch_size)
            done += len(found)
            if len(found) < n_batches:
                break
            del window  # the buffer that it lies in is needed for another
    return losses[:done], weights[:done]


def _run_window(
    recipe: Recipe,
    window: Window,
    progress: Progress,
    rates: NDArray[np.float64],
    stop: Event,
) -> NDArray[np.float64]:
    """Train on the batches of one window; if it diverges, leave finite parameters behind."""
    model, state = progress.model, progress.state
    parameters = model.parameters
    before = parameters.vector.copy()
    try:
        losses = model.engine.train(
            model.network,
            parameters,
            state,
            window.samples,
            window.labels,
            window.order,
            batch_size=recipe.batch_size,
            learning_rates=rates,
            objective=recipe.objective,
            sample_weight=window.weights,
            stop=stop,
        )
        check_finite(parameters, state, losses)
    except DivergedError as error:
        if error.batch is None or not np.isfinite(parameters.vector).all():
            parameters.vector[:] = before
        raise
    return losses


def _batch_weights(window: Window, batch_size: int) -> NDArray[np.float64]:
    """Return the sum of the weights of each batch's samples."""
    n_samples = len(window.order)
    starts = np.arange(0, n_samples, min(batch_size, n_samples))
    ones = np.ones(n_samples) if window.weights is None else window.weights[window.order]
    sums: NDArray[np.float64] = np.add.reduceat(ones, starts)
    return sums


def _mean_loss(losses: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the mean of the batch losses, each weighted by the weights of its samples."""
    total = weights.sum()
    return float(losses @ (weights / total)) if total > 0 else 0.0
