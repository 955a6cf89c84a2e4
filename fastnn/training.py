"""``fit``: epochs of shuffled mini-batches on an engine, with validation and early stopping."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite, nan
from threading import Event
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn import __version__
from fastnn.callbacks import Callback, EarlyStopping, Epoch, print_epoch
from fastnn.checks import check_count, check_features, check_instance, check_sample_weight
from fastnn.engine import DEFAULT_ENGINE, Engine, get_engine
from fastnn.errors import DivergedError, InputError, TrainingInterrupted
from fastnn.inputs import Input, as_array, prepare
from fastnn.interrupts import stop_on_interrupt
from fastnn.labels import encode_labels, split_rows
from fastnn.models import Model, loss_and_accuracy
from fastnn.network import Network, Parameters, float_dtype
from fastnn.objective import Objective
from fastnn.optimizers import Adam, Optimizer
from fastnn.records import generator_from, is_number
from fastnn.scaling import Scaling, standardization
from fastnn.schedules import Schedule, get_schedule, learning_rates

DEFAULT_EPOCHS = 8
DEFAULT_BATCH_SIZE = 32
DEFAULT_SCHEDULE = "cosine"


def fit(
    network: Network,
    X: ArrayLike | Input,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    objective: Objective = Objective(),
    optimizer: Optimizer | None = None,
    epochs: int = DEFAULT_EPOCHS,
    batch_size: int = DEFAULT_BATCH_SIZE,
    learning_rate: float | None = None,
    schedule: str | Schedule = DEFAULT_SCHEDULE,
    validation: float | tuple[ArrayLike | Input, ArrayLike] | None = None,
    patience: int | None = None,
    tol: float = 1e-4,
    callbacks: Sequence[Callback] = (),
    parameters: Parameters | None = None,
    seed: int | np.random.Generator | None = None,
    scale: float | None = None,
    standardize: bool = False,
    feature_names: Sequence[str] | None = None,
    engine: str | Engine = DEFAULT_ENGINE,
    threads: int | None = None,
    dtype: DTypeLike = "float32",
    verbose: bool = False,
) -> Model:
    """Train a network with shuffled mini-batches.

    Parameters
    ----------
    network : Network
    X : array_like, sparse matrix or Input, shape (n_samples, n_features)
        Not changed.
    y : array_like, shape (n_samples,)
        Class labels: integers, booleans or strings.
    sample_weight : array_like, shape (n_samples,), optional
    classes : array_like, shape (n_outputs,), optional
        The label of each output; needed only if y lacks some.
    objective : Objective
        What is minimised.
    optimizer : SGD or Adam, default=Adam()
    epochs : int, default=8
    batch_size : int, default=32
    learning_rate : float, optional
        The highest rate of the schedule; None takes ``optimizer.default_rate``.
    schedule : str or callable, default="cosine"
        See ``fastnn.schedules``.
    validation : float or (X, y), optional
        A share of the samples to hold out, each class in proportion, or data of its own.
    patience : int, optional
        Stop when the validation loss has not fallen by ``tol`` for so many epochs, and keep the
        parameters of the best epoch.
    tol : float, default=1e-4
    callbacks : sequence of callable
        Each is called after every epoch with an ``Epoch``; one that returns True ends training.
    parameters : Parameters, optional
        Where to start; copied. None draws them from ``seed``.
    seed : int or numpy.random.Generator, optional
        Decides the start, the shuffles and the split. The same seed, engine, data and settings give
        the same model.
    scale : float, optional
        What one unit is worth where X holds integers, such as 1 / 255 for bytes of an image.
    standardize : bool, default=False
        Shift and scale each feature to mean 0 and variance 1 over the training samples.
    feature_names : sequence of str, optional
        Kept with the model.
    engine, threads
        See ``fastnn.get_engine``.
    dtype : {"float32", "float64"}, default="float32"
    verbose : bool, default=False
        Print a line per epoch.

    Returns
    -------
    model : Model

    Raises
    ------
    InputError
        If something does not fit; nothing was trained.
    DivergedError
        If the loss or a parameter stopped being finite; ``.model`` is the model as the last good
        batch left it, or the last good epoch where an update itself overflowed.
    TrainingInterrupted
        On Ctrl-C (it is a KeyboardInterrupt); ``.model`` is the model so far.

    Examples
    --------
    >>> import fastnn
    >>> data = fastnn.datasets.load("digits")
    >>> network = fastnn.Network((64, 32, 10))
    >>> model = fastnn.fit(network, data.X_train, data.y_train, scale=data.scale, seed=0)
    >>> loss, accuracy = model.evaluate(data.X_test, data.y_test)
    >>> accuracy > 0.9
    True
    """
    check_instance("network", network, Network)
    check_instance("objective", objective, Objective)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise InputError(f"optimizer is {optimizer!r:.80}; expected fastnn.SGD() or fastnn.Adam()")
    runner = get_engine(engine, threads=threads)
    recipe = _Recipe(
        optimizer=Adam() if optimizer is None else optimizer,
        objective=objective,
        epochs=check_count("epochs", epochs),
        batch_size=check_count("batch_size", batch_size),
        learning_rate=learning_rate,
        schedule=get_schedule(schedule),
    )
    early_stopping = None
    if patience is not None:
        patience = check_count("patience", patience)
        if validation is None:
            raise InputError("patience needs validation data: pass validation=0.1, for example")
        if not (is_number(tol) and isfinite(tol)):
            raise InputError(f"tol is {tol!r}; expected a finite number")
        early_stopping = EarlyStopping(patience, tol)
    if callable(callbacks):
        raise InputError("callbacks is a function; expected a sequence: callbacks=[function]")
    listeners: list[Callback] = [*callbacks]
    if verbose:
        listeners.append(print_epoch)
    if early_stopping is not None:
        listeners.append(early_stopping)
    names = _checked_names(feature_names, network.n_features)
    # streams of their own, so that what one draws does not shift the others
    start, shuffles, split = generator_from(seed).spawn(3)

    samples = _label_samples(network, X, y, classes, scale)
    rows, held_out = _hold_out(samples.labels, validation, split)
    scaling = Scaling(samples.X.scale)
    if standardize:
        scaling = standardization(samples.X, rows)
    data = _Data(
        samples=scaling.apply(samples.X, dtype),
        labels=samples.labels,
        weights=check_sample_weight(sample_weight, samples.X.n_samples),
        rows=rows,
        validation=None,
    )
    if held_out is not None:
        data.validation = data.samples.take(held_out), samples.labels[held_out]
    elif isinstance(validation, tuple):
        other = _label_samples(network, validation[0], validation[1], samples.classes, scale)
        data.validation = scaling.apply(other.X, dtype), other.labels

    model = Model(
        network=network,
        parameters=_starting_point(network, parameters, start, dtype),
        classes=samples.classes,
        engine=runner,
        scaling=scaling,
        feature_names=names,
        settings={
            **recipe.settings(),
            "patience": patience,
            "seed": int(seed) if isinstance(seed, int | np.integer) else None,
            "standardize": bool(standardize),
            "n_samples": len(rows),
            "n_validation": 0 if data.validation is None else data.validation[0].n_samples,
            "dtype": float_dtype(dtype).name,
            "engine": runner.name,
            "threads": runner.threads,
            "fastnn": __version__,
            "numpy": np.__version__,
        },
    )
    with stop_on_interrupt() as stop:
        try:
            _run_epochs(runner, recipe, data, model, listeners, shuffles, stop)
        except DivergedError as error:
            model.history.stopped = "diverged"
            error.model = model
            raise
        finally:
            if early_stopping is not None:
                early_stopping.restore(model.parameters)
                model.history.best_epoch = early_stopping.best_epoch
        if stop.is_set():
            model.history.stopped = "interrupted"
            raise TrainingInterrupted(model)
    return model


@dataclass(frozen=True)
class _Recipe:
    """How to train; checked."""

    optimizer: Optimizer
    objective: Objective
    epochs: int
    batch_size: int
    learning_rate: float | None
    schedule: Schedule

    @property
    def rate(self) -> float:
        rate = self.optimizer.default_rate if self.learning_rate is None else self.learning_rate
        if not (is_number(rate) and isfinite(rate) and rate > 0):
            raise InputError(f"learning_rate is {rate!r}; expected a finite number above 0")
        return float(rate)

    def settings(self) -> dict[str, Any]:
        return {
            "optimizer": {"name": type(self.optimizer).__name__, **asdict(self.optimizer)},
            "objective": asdict(self.objective),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.rate,
            "schedule": getattr(self.schedule, "__name__", "custom").replace("_", "-"),
        }


@dataclass(frozen=True)
class _Labelled:
    """Samples before any scaling, and the class index of each."""

    X: Input
    labels: NDArray[np.intp]
    classes: NDArray[Any]


@dataclass
class _Data:
    """What to train on: ``rows`` of ``samples``; validation data are kept apart."""

    samples: Input
    labels: NDArray[np.intp]
    weights: NDArray[np.float64] | None
    rows: NDArray[np.intp]
    validation: tuple[Input, NDArray[np.intp]] | None


def _label_samples(
    network: Network,
    X: ArrayLike | Input,
    y: ArrayLike,
    classes: ArrayLike | None,
    scale: float | None,
) -> _Labelled:
    """Check samples and labels against the network and each other."""
    samples = prepare(X, scale=scale)
    check_features(samples, network.n_features)
    labels, known = encode_labels(y, network.n_outputs, classes)
    if len(labels) != samples.n_samples:
        raise InputError(f"y has {len(labels)} labels for {samples.n_samples} samples in X")
    return _Labelled(samples, labels, known)


def _hold_out(
    labels: NDArray[np.intp],
    validation: float | tuple[ArrayLike | Input, ArrayLike] | None,
    generator: np.random.Generator,
) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """Return the rows to train on, and those to validate with if a share was asked for."""
    if validation is None or (isinstance(validation, tuple) and len(validation) == 2):
        return np.arange(len(labels)), None
    if not isinstance(validation, float | int | np.floating):
        raise InputError(
            f"validation is {validation!r:.80}; expected a share such as 0.1, or a tuple (X, y)"
        )
    return split_rows(labels, float(validation), generator)


def _checked_names(names: Sequence[str] | None, n_features: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    found = tuple(as_array("feature_names", names).tolist())
    if len(found) != n_features or not all(isinstance(name, str) for name in found):
        raise InputError(f"feature_names is {names!r:.80}; expected {n_features} strings")
    return found


def _starting_point(
    network: Network,
    parameters: Parameters | None,
    generator: np.random.Generator,
    dtype: DTypeLike,
) -> Parameters:
    dtype = float_dtype(dtype)
    if parameters is None:
        scheme = "he" if network.activation == "relu" else "glorot"
        return network.initialize(generator, dtype=dtype, scheme=scheme)
    if parameters.layer_sizes != network.layer_sizes or parameters.dtype != dtype:
        raise InputError(
            f"the starting parameters are {parameters!r}; expected layer sizes "
            f"{network.layer_sizes} and dtype {dtype}"
        )
    return parameters.copy()


def _run_epochs(
    engine: Engine,
    recipe: _Recipe,
    data: _Data,
    model: Model,
    callbacks: Sequence[Callback],
    shuffles: np.random.Generator,
    stop: Event,
) -> None:
    """Train ``model`` in place and fill its history, until the end or the first wish to stop."""
    history, parameters = model.history, model.parameters
    state = recipe.optimizer.initialize(parameters)
    n_batches = -(-len(data.rows) // recipe.batch_size)
    for number in range(1, recipe.epochs + 1):
        order = shuffles.permutation(data.rows)
        rates = learning_rates(
            recipe.schedule,
            recipe.rate,
            (number - 1) * n_batches,
            n_batches,
            recipe.epochs * n_batches,
        )
        before = parameters.vector.copy()
        started = perf_counter()
        try:
            losses = engine.train(
                model.network,
                parameters,
                state,
                data.samples,
                data.labels,
                order,
                batch_size=recipe.batch_size,
                learning_rates=rates,
                objective=recipe.objective,
                sample_weight=data.weights,
                stop=stop,
            )
            if not np.isfinite(parameters.vector).all():
                # the last update overflowed, and no loss came after it to say so
                raise DivergedError(len(losses), nan, losses)
        except DivergedError:
            if not np.isfinite(parameters.vector).all():
                parameters.vector[:] = before
            raise
        seconds = perf_counter() - started
        if len(losses) < n_batches:
            return
        history.seconds.append(seconds)
        history.loss.append(_mean_loss(losses, order, recipe.batch_size, data.weights))
        val_loss, val_accuracy = None, None
        if data.validation is not None:
            X_val, y_val = data.validation
            probabilities = engine.predict(model.network, parameters, X_val)
            val_loss, val_accuracy = loss_and_accuracy(probabilities, y_val)
            history.validation_loss.append(val_loss)
            history.validation_accuracy.append(val_accuracy)
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
        # every callback hears of every epoch, also of the one that ends training
        wishes = [callback(epoch) in (True, np.True_) for callback in callbacks]
        if any(wishes) and number < recipe.epochs:
            history.stopped = "early"
            return


def _mean_loss(
    losses: NDArray[np.float64],
    order: NDArray[np.intp],
    batch_size: int,
    weights: NDArray[np.float64] | None,
) -> float:
    """Return the mean of the batch losses, each weighted by the weights of its samples."""
    starts = np.arange(0, len(order), min(batch_size, len(order)))
    ones = np.ones(len(order)) if weights is None else weights[order]
    batch_weights = np.add.reduceat(ones, starts)
    total = batch_weights.sum()
    return float((losses * batch_weights).sum() / total) if total > 0 else 0.0
