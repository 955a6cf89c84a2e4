"""How right a classifier is on labelled samples, and whether it knows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.checks import check_count
from fastnn.errors import InputError
from fastnn.labels import encode_labels
from fastnn.models import Model
from fastnn.plot.figures import BLUE, legend_below, place, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 30  # whose names and counts a confusion matrix shows
MATRIX_POINTS = 320  # about the width of the confusion matrix
NAME_LENGTH = 18  # of a class beside the confusion matrix, in characters
COUNTS_HEIGHT, COUNTS_GAP = 1.1, 0.1  # inches: of the histogram above a calibration curve
MOST_COUNTS = 12  # bins of a calibration curve that say how many samples they have


def confusion_matrix(
    model: Any, X: Any, y: ArrayLike, *, ax: "Axes | None" = None
) -> "Axes | Figure":
    """Draw how many samples of each class were taken for which.

    Parameters
    ----------
    model : Model, or fitted classifier with ``predict`` and ``classes_``
    X : array_like, shape (n_samples, n_features)
        As ``model.predict`` takes it.
    y : array_like, shape (n_samples,)
        The right labels.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    drawn : matplotlib.figure.Figure or matplotlib.axes.Axes
        A new figure; or ``ax``, where it was given. A row is a true class; colour is the share of
        its samples, on a scale of square roots, so that few errors are seen too.

    Raises
    ------
    InputError
        If X or y does not fit the model, or matplotlib is not installed.
    """
    classes = _classes(model)
    labels, _ = encode_labels(y, len(classes), classes)
    predicted, _ = encode_labels(model.predict(X), len(classes), classes)
    _check_lengths(labels, predicted)
    axes, drawn = place(ax, 6, 6.2)
    draw_confusion(axes, classes, labels, predicted)
    right, total = int((labels == predicted).sum()), len(labels)
    axes.set_title(f"confusion matrix: {right} of {total} samples are right ({right / total:.1%})")
    return drawn


def draw_confusion(
    axes: "Axes", classes: NDArray[Any], labels: NDArray[np.intp], predicted: NDArray[np.intp]
) -> None:
    """Draw a confusion matrix of class indices."""
    from sklearn.metrics import confusion_matrix as count

    n_classes = len(classes)
    matrix = count(labels, predicted, labels=np.arange(n_classes))
    # errors are few: colour by the share of a row, counts as text
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if n_classes > MOST_CLASSES:
        axes.set_xlabel("predicted class (in sorted order, from 0)")
        return
    names = short_names(classes, NAME_LENGTH)
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


def calibration_curve(
    model: Any, X: Any, y: ArrayLike, *, bins: int = 10, ax: "Axes | None" = None
) -> "Axes | Figure":
    """Draw a reliability diagram: how often the model is right when it is so sure.

    A model's confidence is the probability that it gives the class which it predicts. Samples are
    sorted into bins of equal width by it; a point is a bin's mean confidence and the share of its
    samples that are right. The expected calibration error is the mean distance of the two, each bin
    weighted by its samples (Guo et al., On Calibration of Modern Neural Networks, 2017).

    Parameters
    ----------
    model : Model, or fitted classifier with ``predict_proba`` and ``classes_``
    X : array_like, shape (n_samples, n_features)
        As ``model.predict_proba`` takes it.
    y : array_like, shape (n_samples,)
        The right labels.
    bins : int, default=10
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    drawn : matplotlib.figure.Figure or matplotlib.axes.Axes
        A new figure; or ``ax``, where it was given. Above it, the histogram of the confidences.

    Raises
    ------
    InputError
        If X, y or bins does not fit, or matplotlib is not installed.
    """
    bins, classes = check_count("bins", bins), _classes(model)
    labels, _ = encode_labels(y, len(classes), classes)
    probabilities = np.asarray(model.predict_proba(X), np.float64)
    predicted = probabilities.argmax(axis=1)
    _check_lengths(labels, predicted)
    axes, drawn = place(ax, 5.5, 7)
    _draw_calibration(axes, probabilities.max(axis=1), predicted == labels, bins)
    return drawn


def _draw_calibration(
    axes: "Axes", confidence: NDArray[np.float64], is_right: NDArray[np.bool_], bins: int
) -> None:
    from mpl_toolkits.axes_grid1 import make_axes_locatable
    from sklearn.calibration import calibration_curve as points

    accuracy, mean_confidence = points(is_right.astype(int), confidence, n_bins=bins, pos_label=1)
    # in which bin each sample is: as points() has it, the upper edge belongs to a bin
    edges = np.linspace(0, 1, bins + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=bins)
    error = float(counts[counts > 0] @ np.abs(accuracy - mean_confidence)) / len(confidence)
    perfect = axes.plot([0, 1], [0, 1], color="0.3", linestyle="--", label="perfectly calibrated")
    found = axes.plot(mean_confidence, accuracy, "o-", color=BLUE, label="this model")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.set_xlabel("confidence: probability of the predicted class")
    axes.set_ylabel("accuracy: share of samples that are right")
    legend_below(axes, [*found, *perfect], columns=2)
    # a title of the axes below, which the layout knows of, at the place of one of those above
    axes.set_title(
        f"calibration: expected error {error:.3f}", pad=72 * (COUNTS_HEIGHT + COUNTS_GAP) + 6
    )
    above = make_axes_locatable(axes).append_axes("top", COUNTS_HEIGHT, pad=COUNTS_GAP, sharex=axes)
    _draw_counts(above, edges, counts)


def _draw_counts(axes: "Axes", edges: NDArray[np.float64], counts: NDArray[np.intp]) -> None:
    """Draw a histogram; bins of very different heights are seen on a logarithmic axis."""
    bars = axes.bar(edges[:-1], counts, edges[1], align="edge", color="0.8", edgecolor="0.5")
    if len(counts) <= MOST_COUNTS:
        names = [str(count) if count else "" for count in counts]
        axes.bar_label(bars, names, color="0.3", fontsize=8, padding=1)
    axes.set_yscale("log")
    axes.set_ylim(0.6, 5 * counts.max())
    axes.set_ylabel("samples")
    axes.tick_params(labelbottom=False)


def _classes(model: Any) -> NDArray[Any]:
    if isinstance(model, Model):
        return model.classes
    if not hasattr(model, "classes_"):
        raise InputError(
            f"{type(model).__name__} has no classes; expected a fastnn.Model, or a fitted "
            "classifier with classes_"
        )
    return np.asarray(model.classes_)


def _check_lengths(labels: NDArray[Any], predicted: NDArray[Any]) -> None:
    if len(labels) != len(predicted):
        raise InputError(f"y has {len(labels)} labels for {len(predicted)} samples")
