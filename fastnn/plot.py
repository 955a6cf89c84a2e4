"""Pictures of a training run; needs matplotlib (``pip install 'fastnn[plot]'``).

Figures are made without pyplot, so nothing global changes and no window opens.
"""

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.errors import InputError
from fastnn.files import write_atomically
from fastnn.history import History
from fastnn.labels import encode_labels
from fastnn.models import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf", ".jpg")
MOST_CLASSES = 30  # whose names and counts a confusion matrix shows
MOST_MARKERS = 40  # on a curve
MATRIX_POINTS = 320  # about the width of the confusion matrix
NAME_LENGTH = 18  # of a class beside the confusion matrix, in characters
TITLE_LENGTH = 12  # of a class above an image
WORST = (4, 6)  # rows and columns of samples


def check(path: str | os.PathLike[str]) -> None:
    """Raise unless matplotlib is installed and can write this kind of file.

    Raises
    ------
    InputError
        If it is not, or cannot.
    """
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise InputError(
            "plots need matplotlib, which is not installed: pip install 'fastnn[plot]'"
        ) from error
    if Path(path).suffix.lower() not in ENDINGS:
        raise InputError(
            f"cannot plot to {os.fspath(path)}: expected a name ending in {', '.join(ENDINGS)}"
        )


def training_report(
    model: Model,
    X: ArrayLike,
    y: ArrayLike,
    *,
    image_shape: tuple[int, ...] | None = None,
    title: str = "",
) -> "Figure":
    """Draw how a model was trained and where it errs.

    Parameters
    ----------
    model : Model
    X, y : array_like
        Samples that it was not trained on, and their labels.
    image_shape : tuple of int, optional
        (height, width) where samples are images: the worst-classified ones are shown.
    title : str

    Returns
    -------
    figure : matplotlib.figure.Figure
        Loss curves, accuracy curve, confusion matrix, and the samples whose right class got the
        least probability.
    """
    from matplotlib.figure import Figure

    probabilities = model.predict_proba(X)
    labels, _ = encode_labels(y, model.network.n_outputs, model.classes)
    figure = Figure(figsize=(12, 10), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(2, 3), squeeze=False)[:, 0]
    loss_axes, accuracy_axes = top.subplots(1, 2)
    _loss_curves(loss_axes, model.history)
    _accuracy_curve(accuracy_axes, model.history, probabilities, labels)
    if image_shape is None:
        _confusion(bottom.subplots(), model, probabilities, labels)
    else:
        left, right = bottom.subfigures(1, 2, squeeze=False)[0]
        _confusion(left.subplots(), model, probabilities, labels)
        _worst(right, model, np.asarray(X), probabilities, labels, image_shape)
    if title:
        figure.suptitle(title, parse_math=False)
    return figure


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, whole or not at all; the ending decides the format."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks
        figure.savefig(content, format=Path(path).suffix[1:].lower(), dpi=110)
    write_atomically(path, content.getvalue())


def _epoch_axis(axes: "Axes", n_epochs: int) -> tuple[range, str]:
    """Prepare the x-axis; return the epochs and how to mark them."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_xlim(0.5, max(n_epochs, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if not n_epochs:
        axes.annotate("no whole epoch", (0.5, 0.5), xycoords="axes fraction", ha="center")
    return range(1, n_epochs + 1), "o" if n_epochs <= MOST_MARKERS else ""


def _loss_curves(axes: "Axes", history: History) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    epochs, marker = _epoch_axis(axes, history.epochs)
    axes.plot(epochs, history.loss, marker=marker, label="training")
    if history.validation_loss:
        axes.plot(epochs, history.validation_loss, marker=marker, label="validation")
    if history.loss and min(history.loss + history.validation_loss) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("loss (mean cross-entropy)")
    axes.legend()


def _accuracy_curve(
    axes: "Axes",
    history: History,
    probabilities: NDArray[np.floating],
    labels: NDArray[np.intp],
) -> None:
    epochs, marker = _epoch_axis(axes, history.epochs)
    if history.validation_accuracy:
        axes.plot(
            epochs, history.validation_accuracy, marker=marker, color="C1", label="validation"
        )
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    axes.axhline(accuracy, color="C2", linestyle="--", label=f"test: {accuracy:.4f}")
    axes.set_title("accuracy")
    axes.legend()


def _confusion(
    axes: "Axes", model: Model, probabilities: NDArray[np.floating], labels: NDArray[np.intp]
) -> None:
    n_classes = len(model.classes)
    matrix = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
    # errors are few: colour by the share of a row, counts as text
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_title("confusion matrix (rows: true class)")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if n_classes > MOST_CLASSES:
        axes.set_xlabel("predicted (classes in sorted order, from 0)")
        return
    names = _short_names(model.classes, NAME_LENGTH)
    rotation = 90 if n_classes * max(map(len, names)) > 50 else 0
    axes.set_xticks(range(n_classes), names, rotation=rotation, parse_math=False)
    axes.set_yticks(range(n_classes), names, parse_math=False)
    # a digit is about 0.6 of the font's size wide; half a digit of space between two cells
    widest = 0.6 * (len(str(matrix.max())) + 0.5)
    fontsize = min(8.0, MATRIX_POINTS / n_classes / widest)
    for row, column in np.argwhere(matrix > 0):
        axes.text(
            column,
            row,
            str(matrix[row, column]),
            ha="center",
            va="center",
            fontsize=fontsize,
            color="white" if shares[row, column] > 0.3 else "black",
        )


def _short_names(classes: NDArray[Any], length: int) -> list[str]:
    names = [" ".join(str(label).split()) for label in classes]
    return [name if len(name) <= length else name[: length - 1] + "…" for name in names]


def _worst(
    figure: Any,
    model: Model,
    X: NDArray[Any],
    probabilities: NDArray[np.floating],
    labels: NDArray[np.intp],
    image_shape: tuple[int, ...],
) -> None:
    right = probabilities[np.arange(len(labels)), labels]
    predicted = probabilities.argmax(axis=1)
    order = np.argsort(right, kind="stable")[: WORST[0] * WORST[1]]
    names = _short_names(model.classes, TITLE_LENGTH)
    longest = max(map(len, names))
    between, fontsize = (", not ", 9) if longest < 5 else (",\nnot ", 9 if longest < 10 else 7)
    axes = figure.subplots(*WORST)
    for ax in axes.flat:
        ax.axis("off")
    for ax, i in zip(axes.flat, order, strict=False):
        ax.imshow(X[i].reshape(image_shape), cmap="gray_r")
        title = names[labels[i]]
        if labels[i] != predicted[i]:
            title += between + names[predicted[i]]
        ax.set_title(title, fontsize=fontsize, parse_math=False)
    figure.suptitle("least probable right answers (true, not predicted)")
