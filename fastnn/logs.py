"""Callbacks for the estimators: a CSV file, TensorBoard, a checkpoint after each epoch.

They follow scikit-learn's protocol: ``estimator.set_callbacks(CSVLog("log.csv"))``. One object may
serve several fits, those of clones in other processes among them, so each fit has a name of its
own: the id of the outermost fit and the numbers of the tasks down to this one.
"""

import csv
import io
import os
import secrets
from pathlib import Path
from time import time
from typing import Any

import numpy as np

from fastnn.errors import InputError
from fastnn.files import check_writable, write_atomically
from fastnn.tensor_file import Kind, read, reading, to_bytes

COLUMNS = (
    "run", "epoch", "loss", "validation_loss", "validation_score", "learning_rate", "time",
)  # fmt: skip
ESTIMATOR = Kind("a checkpoint of this estimator", "fastnn-estimator", 1, frozenset({"state"}))


class EpochCallback:
    """What the callbacks here have in common: they look at the estimator after each epoch."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Get ready for a fit."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Note what the epoch came to; the end of the whole fit is no epoch."""
        if context.task_name == "epoch":
            self.note(estimator, run_name(context.parent))

    def note(self, estimator: Any, run: str) -> None:
        """Note what an epoch came to."""
        raise NotImplementedError

    def teardown(self, estimator: Any, context: Any) -> None:
        """Come to an end of a fit."""


def run_name(context: Any) -> str:
    """Return a name for the fit that a context is the root of."""
    path: list[str] = []
    node = context
    while node.parent is not None:
        path.insert(0, str(node.task_id))
        node = node.parent
    return "-".join([context.root_uuid.hex[:8], *path])


def measures(estimator: Any) -> dict[str, float]:
    """Return what is known of the last epoch."""
    known = {"loss": estimator.loss_curve_[-1]}
    for name, curve in (
        ("validation_loss", estimator.validation_loss_curve_),
        ("validation_score", estimator.validation_scores_),
    ):
        if curve:
            known[name] = curve[-1]
    known["learning_rate"] = float(estimator._optimizer.learning_rate)
    return known


class CSVLog(EpochCallback):
    """Add a line to a CSV file after each epoch.

    The columns are run (a name for the fit), epoch (counted from 1), loss, validation_loss,
    validation_score, learning_rate (of the last step; of Adam with its bias correction) and time
    (seconds since 1970). What is not known stays empty. Later fits add their lines to the same
    file.

    Parameters
    ----------
    path : path-like

    Examples
    --------
    >>> import csv, os, tempfile
    >>> import fastnn
    >>> from fastnn.logs import CSVLog
    >>> data = fastnn.datasets.load("digits")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "log.csv")
    ...     model = fastnn.MLPClassifier(max_iter=3, tol=1.0, n_iter_no_change=1)
    ...     model = model.set_callbacks(CSVLog(path)).fit(data.X_train / 16, data.y_train)
    ...     with open(path) as file:
    ...         [row["epoch"] for row in csv.DictReader(file)]
    ['1', '2', '3']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin the file with its header, if it is not there yet."""
        path = Path(self.path)
        check_writable(path)
        if path.exists():
            if not path.stat().st_size:
                _add(path, COLUMNS)
            return
        begun = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.tmp")
        _add(begun, COLUMNS)
        try:
            os.link(begun, path)  # whole, and only if no other process was faster
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            _add(path, COLUMNS)
        finally:
            begun.unlink()

    def note(self, estimator: Any, run: str) -> None:
        """Add a line."""
        known = {"run": run, "epoch": estimator.n_iter_, "time": time(), **measures(estimator)}
        _add(self.path, [known.get(name, "") for name in COLUMNS])


def _add(path: str | os.PathLike[str], values: Any) -> None:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    with open(path, "a", newline="", encoding="utf-8") as file:
        file.write(line.getvalue())  # whole, also where other processes write too


class TensorBoard(EpochCallback):
    """Write loss, validation loss and score, and learning rate for TensorBoard.

    Needs tensorboardX: ``python -m pip install 'fastnn[tensorboard]'``.

    Parameters
    ----------
    logdir : path-like
        Each fit gets a folder in it.

    Raises
    ------
    InputError
        If tensorboardX is not installed.
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        _summary_writer()
        self.logdir = logdir
        self._writers: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_writers": {}}  # open files stay in their process

    def note(self, estimator: Any, run: str) -> None:
        """Add a point to each curve."""
        if run not in self._writers:
            self._writers[run] = _summary_writer()(os.path.join(self.logdir, run))
        for name, value in measures(estimator).items():
            self._writers[run].add_scalar(name, value, estimator.n_iter_)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Close the files of this fit."""
        writer = self._writers.pop(run_name(context), None)
        if writer is not None:
            writer.close()


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard needs tensorboardX: python -m pip install 'fastnn[tensorboard]'"
        ) from error
    return SummaryWriter


class Checkpoint(EpochCallback):
    """Save the weights after each epoch: the file is always a whole one.

    A safetensors file with the weights, the optimizer's moments and what is known of the training;
    nothing in it is executed on loading. ``Checkpoint.load`` brings it back. Weights that are not
    finite, of a run that diverged, are not written over good ones. For one fit at a time: several
    write over each other.

    Parameters
    ----------
    path : path-like
    every : int, default=1
        Epochs from one file to the next.

    Examples
    --------
    >>> import os, tempfile, warnings
    >>> import fastnn
    >>> from fastnn.logs import Checkpoint
    >>> data = fastnn.datasets.load("digits")
    >>> model = fastnn.MLPClassifier(max_iter=3, tol=1.0, n_iter_no_change=1, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(os.path.join(folder, "model.safetensors"))
    ...     model = model.set_callbacks(checkpoint).fit(data.X_train / 16, data.y_train)
    ...     again = Checkpoint.load(checkpoint.path, fastnn.MLPClassifier())
    >>> bool((again.predict(data.X_test / 16) == model.predict(data.X_test / 16)).all())
    True
    """

    def __init__(self, path: str | os.PathLike[str], *, every: int = 1) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InputError(f"every is {every!r}; expected a whole number of at least 1")
        self.path, self.every = path, every

    def setup(self, estimator: Any, context: Any) -> None:
        """Find out now whether the file can be written."""
        check_writable(self.path)

    def note(self, estimator: Any, run: str) -> None:
        """Write the file."""
        from fastnn.estimators.state import take

        is_finite = all(np.isfinite(W).all() for W in estimator.coefs_ + estimator.intercepts_)
        if estimator.n_iter_ % self.every == 0 and is_finite:
            state, tensors = take(estimator)
            write_atomically(self.path, to_bytes(ESTIMATOR, {"state": state}, tensors))

    @staticmethod
    def load(path: str | os.PathLike[str], estimator: Any) -> Any:
        """Give an estimator what a checkpoint holds; it predicts and trains on from there.

        Parameters
        ----------
        path : path-like
        estimator : MLPClassifier or MLPRegressor
            Of the kind and with the settings that were trained; changed in place. With
            ``warm_start=True`` its ``fit`` goes on from these weights, and ``partial_fit`` from the
            optimizer's moments too.

        Returns
        -------
        estimator : MLPClassifier or MLPRegressor

        Raises
        ------
        InputError
            If the file is not a whole checkpoint, or is one of another kind of estimator.
        OSError
            If the file cannot be read.
        """
        from fastnn.estimators.state import restore

        with reading(path, ESTIMATOR):
            header, tensors = read(path, ESTIMATOR)
            restore(estimator, header["state"], tensors)
        return estimator
