"""``fastnn train``: data, a network, training, a test, and the files that were asked for."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from fastnn.cli.options import (
    DataType,
    HiddenType,
    ShareType,
    check_outputs,
    debug_option,
    json_option,
    label_column_option,
    labels_option,
    memory_option,
    threads_option,
)
from fastnn.cli.outcome import finish, tell_of_divergence, tell_of_failure
from fastnn.engine import DEFAULT_ENGINE, ENGINES
from fastnn.errors import DivergedError, InputError, ReadError, TrainingInterrupted
from fastnn.network import ACTIVATIONS, DTYPES
from fastnn.optimizers import SGD, Adam, Optimizer
from fastnn.schedules import SCHEDULES
from fastnn.terminal import INTERRUPTED, Terminal
from fastnn.training import DEFAULT_BATCH_SIZE, DEFAULT_EPOCHS, DEFAULT_SCHEDULE

if TYPE_CHECKING:
    from fastnn.datasets import Dataset
    from fastnn.history import History

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw")
MOMENTUM = 0.9
WEIGHT_DECAY = 0.01


@click.command()
@click.argument("data", type=DataType(), default="digits", metavar="[DATA]")
@labels_option
@label_column_option
@click.option(
    "--hidden",
    type=HiddenType(),
    multiple=True,
    default=("128",),
    show_default=True,
    help="Hidden layers: repeat it, or give a list such as 256,128; none for no hidden layer.",
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATIONS),
    default="relu",
    show_default=True,
    help="Activation of the hidden layers.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=DEFAULT_EPOCHS,
    show_default=True,
    help="Passes over the training samples.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    help="Samples in a mini-batch.",
)
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMIZERS),
    default="adam",
    show_default=True,
    help="How gradients move the parameters.",
)
@click.option(
    "--learning-rate",
    type=float,
    help=f"Highest rate of the schedule. [default: {Adam.default_rate:g} for adam and adamw, "
    f"{SGD().default_rate:g} for sgd, {SGD(MOMENTUM).default_rate:g} for momentum and nesterov]",
)
@click.option("--momentum", type=float, help=f"Of momentum and nesterov. [default: {MOMENTUM}]")
@click.option("--weight-decay", type=float, help=f"Of adamw. [default: {WEIGHT_DECAY}]")
@click.option(
    "--alpha",
    type=float,
    default=0.0,
    show_default=True,
    help="Strength of the L2 penalty on the weights.",
)
@click.option(
    "--dropout",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of the hidden layers' values that are dropped in each batch.",
)
@click.option(
    "--label-smoothing",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of a label that is spread over all classes.",
)
@click.option(
    "--clip-norm",
    type=float,
    help="Norm of the gradient above which it is scaled down. [default: not clipped]",
)
@click.option(
    "--schedule",
    type=click.Choice(tuple(SCHEDULES)),
    default=DEFAULT_SCHEDULE,
    show_default=True,
    help="How the learning rate changes over the run.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Decides the starting weights, the shuffles, the validation split and what is dropped.",
)
@memory_option
@threads_option
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default=DEFAULT_ENGINE,
    show_default=True,
    help="What computes: fused is compiled and fast, reference is NumPy.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Precision of the parameters.",
)
@click.option(
    "--standardize/--no-standardize",
    default=None,
    help="Give each feature mean 0 and variance 1. [default: for tables with values "
    "beyond -1..1; not for bytes of images, not for svmlight]",
)
@click.option(
    "--validation",
    type=ShareType(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the training samples held out to watch; 0 for none.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    help="Stop when the validation loss has not fallen for so many epochs, and keep the "
    "best. [default: do not stop]",
)
@click.option(
    "--test-fraction",
    type=ShareType(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the samples held out for testing, where the data have no test part.",
)
@click.option(
    "--output",
    type=click.Path(),
    metavar="MODEL.safetensors",
    help="Save the model. [default: not saved]",
)
@click.option(
    "--checkpoint",
    type=click.Path(),
    metavar="DIR",
    help="Keep the run in a folder, after each epoch, so that --resume can go on with it. "
    "[default: not kept]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the last whole epoch that is in --checkpoint; where nothing is, start afresh. "
    "The data and the other options must be the same, but for --threads. [default: start afresh, "
    "and replace what is there once the first epoch has ended]",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(),
    metavar="FILE.png",
    help="Draw loss, accuracy, confusion matrix and worst samples (needs matplotlib). "
    "[default: not drawn]",
)
@json_option
@debug_option
def train(
    data: str,
    labels: str | None,
    label_column: str | None,
    hidden: tuple[tuple[int, ...], ...],
    activation: str,
    optimizer: str,
    momentum: float | None,
    weight_decay: float | None,
    alpha: float,
    dropout: float,
    label_smoothing: float,
    clip_norm: float | None,
    engine: str,
    standardize: bool | None,
    validation: float,
    test_fraction: float,
    output: str | None,
    checkpoint: str | None,
    resume: bool,
    plot_path: str | None,
    json_path: str | None,
    **settings: Any,
) -> None:
    """Train a network on DATA and test it.

    DATA is digits (the default), mnist, fashion-mnist, or a path: .npz with X and y, .npy or IDX
    with --labels, CSV with a header, svmlight, or a folder with the four MNIST files. A .npy file
    may be larger than memory: see --memory.
    """
    from fastnn import datasets
    from fastnn.checkpoints import Checkpoint
    from fastnn.engine import get_engine
    from fastnn.interrupts import stop_on_interrupt
    from fastnn.network import Network
    from fastnn.objective import Objective
    from fastnn.training import fit

    terminal = Terminal(data_on_stdout=json_path == "-", go_on=any((output, plot_path, json_path)))
    if settings["patience"] is not None and not validation:
        raise click.UsageError("--patience needs samples to watch: a --validation above 0")
    if resume and checkpoint is None:
        raise click.UsageError("--resume needs --checkpoint, the folder of the run to go on with")
    method = _optimizer(optimizer, momentum, weight_decay)
    objective = Objective(
        alpha,
        label_smoothing,
        dropout,
        dropout_seed=settings["seed"] % 2**64,
        clip_norm=clip_norm,
    )
    runner = get_engine(engine, threads=settings["threads"])
    keeper = None
    taken = [data, labels]
    if checkpoint is not None:
        tell = partial(_tell_of_resuming, terminal, settings["epochs"])
        keeper = Checkpoint(checkpoint, resume=resume, on_resume=tell)
        taken.append(str(keeper.path))
    check_outputs(output, plot_path, json_path, inputs=taken)
    with terminal.download_bar() as report:
        dataset = datasets.load(
            data,
            labels=labels,
            label_column=label_column,
            test_fraction=test_fraction,
            memory=settings["memory"],
            report=report,
        )
    if standardize is None:
        standardize = wants_standardizing(dataset)
    _check_samples(dataset, None if standardize else settings["dtype"])
    sizes = (dataset.X_train.shape[1], *sum(hidden, ()), len(dataset.classes))
    network = Network(sizes, activation=activation)
    watched = f" ({validation:.0%} of them held out to watch)" if validation else ""
    headline = (
        f"{dataset.name}: {dataset.X_train.shape[0]} samples to train on{watched}, "
        f"{dataset.X_test.shape[0]} to test with; network {'-'.join(map(str, sizes))}"
    )
    with terminal.notice("compiling the kernels, which is done once and kept ...", after=2.0):
        runner.warm_up(settings["dtype"])
    interrupted = False
    with stop_on_interrupt():  # a signal that comes twice must not find a gap after training
        with terminal.epoch_bar(settings["epochs"], headline) as on_epoch:
            try:
                model = fit(
                    network,
                    dataset.X_train,
                    dataset.y_train,
                    classes=dataset.classes,
                    objective=objective,
                    optimizer=method,
                    validation=validation or None,
                    callbacks=[on_epoch],
                    scale=None if standardize else dataset.scale,
                    standardize=standardize,
                    feature_names=dataset.feature_names,
                    engine=engine,
                    checkpoint=keeper,
                    **settings,
                )
            except TrainingInterrupted as error:
                model, interrupted = error.model, True
            except DivergedError as error:
                error.model.settings.update(data=dataset.name, test_fraction=test_fraction)
                tell_of_divergence(terminal, error, dataset, output, json_path)
                raise click.exceptions.Exit(1) from error
            except (ReadError, OSError) as error:
                if getattr(error, "model", None) is None:
                    raise
                error.model.settings.update(data=dataset.name, test_fraction=test_fraction)  # type: ignore[union-attr]
                tell_of_failure(terminal, error, dataset, output, json_path)
                raise click.exceptions.Exit(2) from error
        model.settings.update(data=dataset.name, test_fraction=test_fraction)
        if interrupted:
            terminal.errors.print("Interrupted: training ended early, after the batch it was in.")
        with stop_on_interrupt() as again:  # another Ctrl-C, in haste, does not lose the model
            finish(terminal, model, dataset, output, plot_path, json_path)
        if again.is_set() and not interrupted:
            terminal.errors.print("Interrupted when training had ended: everything was written.")
    if interrupted or again.is_set():
        raise click.exceptions.Exit(INTERRUPTED)


def _tell_of_resuming(terminal: Terminal, epochs: int, history: "History") -> None:
    if history.epochs == epochs or history.stopped == "early":
        terminal.line(f"the run had ended after epoch {history.epochs}: nothing is left to train")
    else:
        terminal.line(f"going on after epoch {history.epochs} of {epochs}")


def _optimizer(name: str, momentum: float | None, weight_decay: float | None) -> Optimizer:
    if momentum is not None and name not in ("momentum", "nesterov"):
        raise click.UsageError(f"--momentum goes with momentum or nesterov, not with {name}")
    if weight_decay is not None and name != "adamw":
        raise click.UsageError(f"--weight-decay goes with adamw, not with {name}; see --alpha")
    if name == "sgd":
        return SGD()
    if name in ("momentum", "nesterov"):
        return SGD(MOMENTUM if momentum is None else momentum, nesterov=name == "nesterov")
    if name == "adam":
        return Adam()
    return Adam(weight_decay=WEIGHT_DECAY if weight_decay is None else weight_decay)


def wants_standardizing(dataset: "Dataset") -> bool:
    """Tell whether samples are a table of numbers that nobody has scaled yet."""
    from fastnn.inputs import is_sparse, prepare_once
    from fastnn.streams import FileSamples

    if dataset.scale is not None or is_sparse(dataset.X_train):
        return False
    if isinstance(dataset.X_train, FileSamples):
        return dataset.X_train.largest > 1
    return prepare_once(dataset.X_train).largest > 1


def _check_samples(dataset: "Dataset", dtype: str | None) -> None:
    """Raise now what training, or the test after it, would raise; say which samples it is about."""
    from fastnn.inputs import prepare_once
    from fastnn.streams import FileSamples

    for purpose, X in (("train on", dataset.X_train), ("test with", dataset.X_test)):
        if isinstance(X, FileSamples):
            X.check_finite()
            continue
        try:
            samples = prepare_once(X)
            if dtype is not None:
                samples.require_dtype(dtype)
        except InputError as error:
            raise InputError(f"{dataset.source}, the samples to {purpose}: {error}") from error
