"""``fit``: what it is given is checked, and becomes a run of ``epochs.py``."""

import os
from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastnn import __version__
from fastnn.callbacks import Callback, EarlyStopping, print_epoch
from fastnn.checkpoints import Checkpoint, Progress
from fastnn.checks import check_count, check_instance
from fastnn.engine import DEFAULT_ENGINE, Engine, get_engine
from fastnn.epochs import Recipe, run_epochs
from fastnn.errors import DivergedError, InputError, ReadError, TrainingInterrupted
from fastnn.fingerprint import GIVEN, fingerprint
from fastnn.inputs import as_array
from fastnn.interrupts import stop_on_interrupt
from fastnn.models import Model
from fastnn.network import Network, Parameters, float_dtype
from fastnn.objective import Objective
from fastnn.optimizers import Adam, Optimizer
from fastnn.records import generator_from, is_number
from fastnn.schedules import Schedule, check_schedule, get_schedule
from fastnn.streams import MEMORY, Samples, check_memory
from fastnn.training_data import Validation, prepare_training

DEFAULT_EPOCHS = 8
DEFAULT_BATCH_SIZE = 32
DEFAULT_SCHEDULE = "cosine"


def fit(
    network: Network,
    X: Samples,
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
    validation: Validation = None,
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
    memory: int = MEMORY,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: bool = False,
    verbose: bool = False,
) -> Model:
    """Train a network with shuffled mini-batches.

    Parameters
    ----------
    network : Network
    X : array_like, sparse matrix, Input, path or memmap, shape (n_samples, n_features)
        Not changed. A path is one of an ``.npy`` file; see ``memory``.
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
        A share of the samples to hold out, each class in proportion (of a file that is read while
        training, blocks of rows at random), or data of its own.
    patience : int, optional
        Stop when the validation loss has not fallen by ``tol`` for so many epochs, and keep the
        parameters of the epoch with the lowest.
    tol : float, default=1e-4
        By how much the loss has to fall below the lowest so far to count; at least 0.
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
    memory : int, default=2**30
        Bytes that the samples of a file may take in memory: a path or a memory map with more is
        read while training, again in each epoch; one with less is loaded. ``fastnn.streams`` says
        how samples are shuffled then.
    checkpoint : path, optional
        A folder in which the run is kept as its last whole epoch left it, in one file that is
        written after each epoch, flushed to the disk, and replaced in one step. Or a
        ``fastnn.checkpoints.Checkpoint``, which has a ``resume`` of its own.
    resume : bool, default=False
        Go on from the checkpoint: a run that was killed at any moment ends with the same bits as
        one that was not (of parameters and losses; fused engine, any number of threads). Where
        nothing was saved, and without ``resume``, it starts afresh, and what another run has saved
        is replaced once the first epoch has ended. A run that had ended returns its model at once.
        With a seed of None, or a generator, the checkpoint decides. Other data or settings, but
        for ``threads``, are an InputError that names what differs; callbacks cannot be compared,
        and of a file that is read while training only a part is (see ``fastnn.fingerprint``). A
        callback hears of an epoch again if the run was killed before that was saved.
    verbose : bool, default=False
        Print a line per epoch.

    Returns
    -------
    model : Model

    Raises
    ------
    InputError
        If something does not fit, or the checkpoint is damaged or of another run; nothing was
        trained or written.
    DivergedError
        If the loss or a parameter stopped being finite; ``.model`` is the model as the last good
        batch left it, or the last good epoch where an update itself overflowed.
    ReadError, OSError
        If a file of samples cannot be read to its end, or holds what is no number, or a checkpoint
        cannot be written; ``.model`` is the model as the last good batch left it, None if training
        had not begun.
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
    if network.output != "softmax":
        raise InputError(
            f"the network's output is {network.output!r}; fit trains classifiers, with 'softmax': "
            "fastnn.MLPRegressor and MLPClassifier have the other outputs"
        )
    runner = get_engine(engine, threads=threads)
    recipe = _checked_recipe(
        optimizer, objective, epochs, batch_size, learning_rate, get_schedule(schedule)
    )
    listeners, early_stopping = _listeners(callbacks, verbose, validation, patience, tol)
    names = _checked_names(feature_names, network.n_features)
    # streams of their own, so that what one draws does not shift the others
    start, shuffles, split = generator_from(seed).spawn(3)
    keeper = _keeper(checkpoint, resume)
    if keeper is not None:
        keeper.take_split(split)
    data = prepare_training(
        network,
        X,
        y,
        sample_weight=sample_weight,
        classes=classes,
        scale=scale,
        standardize=standardize,
        validation=validation,
        generator=split,
        dtype=dtype,
        memory=check_memory(memory),
    )
    n_batches = -(-data.n_samples // recipe.batch_size)
    factors = check_schedule(recipe.schedule, recipe.epochs * n_batches)
    model = Model(
        network=network,
        parameters=_starting_point(network, parameters, start, dtype),
        classes=data.classes,
        engine=runner,
        scaling=data.scaling,
        feature_names=names,
        settings={
            **recipe.settings(),
            **data.settings(),
            "patience": None if patience is None else int(patience),
            "seed": int(seed) if isinstance(seed, int | np.integer) else None,
            "dtype": float_dtype(dtype).name,
            "engine": runner.name,
            "threads": runner.threads,
            "fastnn": __version__,
            "numpy": np.__version__,
        },
    )
    state = recipe.optimizer.initialize(model.parameters)
    progress = Progress(model, state, shuffles, early_stopping)
    if keeper is not None:
        further = {
            "validation": GIVEN
            if isinstance(validation, tuple)
            else validation and float(validation),
            "tol": early_stopping and float(early_stopping.tol),
        }
        more = {
            "rates of the schedule": factors,
            "starting parameters": parameters and parameters.vector,
        }
        keeper.begin(progress, fingerprint(model, data, further, more))
    with stop_on_interrupt() as stop:
        try:
            run_epochs(recipe, data, progress, listeners, keeper, stop)
        except DivergedError as error:
            model.history.stopped = "diverged"
            error.model = model
            raise
        except (ReadError, OSError) as error:
            model.history.stopped = "failed"
            error.model = model  # type: ignore[union-attr]  # an OSError has no such attribute yet
            raise
        finally:
            if early_stopping is not None:
                early_stopping.restore(model.parameters)
                model.history.best_epoch = early_stopping.best_epoch
        if stop.is_set():
            model.history.stopped = "interrupted"
            raise TrainingInterrupted(model)
    return model


def _checked_recipe(
    optimizer: Optimizer | None,
    objective: Objective,
    epochs: int,
    batch_size: int,
    learning_rate: float | None,
    schedule: Schedule,
) -> "Recipe":
    check_instance("objective", objective, Objective)
    optimizer = Adam() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"optimizer is {optimizer!r:.80}; expected fastnn.SGD() or fastnn.Adam()")
    rate = optimizer.default_rate if learning_rate is None else learning_rate
    if not (is_number(rate) and isfinite(rate) and rate > 0):
        raise InputError(f"learning_rate is {rate!r:.40}; expected a finite number above 0")
    return Recipe(
        optimizer=optimizer,
        objective=objective,
        epochs=check_count("epochs", epochs),
        batch_size=check_count("batch_size", batch_size),
        rate=float(rate),
        schedule=schedule,
    )


def _listeners(
    callbacks: Sequence[Callback],
    verbose: bool,
    validation: object,
    patience: int | None,
    tol: float,
) -> tuple[list[Callback], EarlyStopping | None]:
    """Return all that hears of each epoch, and early stopping if it is among them."""
    if callable(callbacks):
        raise InputError("callbacks is a function; expected a sequence: callbacks=[function]")
    odd = next((callback for callback in callbacks if not callable(callback)), None)
    if odd is not None:
        raise InputError(f"callbacks holds {odd!r:.80}; expected functions")
    listeners = [*callbacks, print_epoch] if verbose else [*callbacks]
    if patience is None:
        return listeners, None
    if validation is None:
        raise InputError("patience needs validation data: pass validation=0.1, for example")
    if not (is_number(tol) and isfinite(tol) and tol >= 0):
        raise InputError(f"tol is {tol!r}; expected a finite number of at least 0")
    early_stopping = EarlyStopping(check_count("patience", patience), tol)
    return [*listeners, early_stopping], early_stopping


def _keeper(
    checkpoint: str | os.PathLike[str] | Checkpoint | None, resume: bool
) -> Checkpoint | None:
    if checkpoint is None and resume:
        raise InputError("resume needs checkpoint, the folder of the run to go on with")
    if isinstance(checkpoint, Checkpoint) and resume:
        raise InputError("resume is the Checkpoint's own: Checkpoint(folder, resume=True)")
    if checkpoint is None or isinstance(checkpoint, Checkpoint):
        return checkpoint
    return Checkpoint(checkpoint, resume=resume)


def _checked_names(names: Sequence[str] | None, n_features: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str):
        raise InputError(f"feature_names is {names!r:.80}; expected a sequence of strings")
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
    check_instance("parameters", parameters, Parameters)
    if parameters.layer_sizes != network.layer_sizes or parameters.dtype != dtype:
        raise InputError(
            f"the starting parameters are {parameters!r}; expected layer sizes "
            f"{network.layer_sizes} and dtype {dtype}"
        )
    return parameters.copy()
