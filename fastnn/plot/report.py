"""One picture of a run: how the model was trained, and where it errs."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.history import History
from fastnn.labels import encode_labels
from fastnn.models import Model
from fastnn.plot.classes import draw_confusion
from fastnn.plot.figures import ORANGE, new_figure, short_names
from fastnn.plot.progress import draw_losses, draw_scores, epoch_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE_LENGTH = 12  # of a class above an image
WORST = (4, 6)  # rows and columns of samples


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
    probabilities = model.predict_proba(X)
    labels, _ = encode_labels(y, model.network.n_outputs, model.classes)
    predicted = probabilities.argmax(axis=1)
    figure = new_figure(12, 10)
    top, bottom = figure.subfigures(2, 1, height_ratios=(2, 3), squeeze=False)[:, 0]
    loss_axes, accuracy_axes = top.subplots(1, 2)
    _loss_curves(loss_axes, model.history)
    _accuracy_curve(accuracy_axes, model.history, float((predicted == labels).mean()))
    if image_shape is None:
        _confusion(bottom.subplots(), model, predicted, labels)
    else:
        left, right = bottom.subfigures(1, 2, squeeze=False)[0]
        _confusion(left.subplots(), model, predicted, labels)
        _worst(right, model, np.asarray(X), probabilities, labels, image_shape)
    if title:
        figure.suptitle(title, parse_math=False)
    return figure


def _loss_curves(axes: "Axes", history: History) -> None:
    draw_losses(axes, history.loss, history.validation_loss)
    axes.set_title("loss (mean cross-entropy)")
    axes.legend()


def _accuracy_curve(axes: "Axes", history: History, accuracy: float) -> None:
    epoch_axis(axes, history.epochs)
    if history.validation_accuracy:
        draw_scores(axes, history.validation_accuracy, "validation")
    axes.axhline(accuracy, color=ORANGE, linestyle="--", label=f"test: {accuracy:.4f}")
    axes.set_title("accuracy")
    axes.legend()


def _confusion(
    axes: "Axes", model: Model, predicted: NDArray[np.intp], labels: NDArray[np.intp]
) -> None:
    draw_confusion(axes, model.classes, labels, predicted)
    axes.set_title("confusion matrix (rows: true class)")


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
    names = short_names(model.classes, TITLE_LENGTH)
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
