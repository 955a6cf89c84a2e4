"""How training went, epoch by epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn.errors import InputError
from fastnn.history import History
from fastnn.models import Model
from fastnn.plot.figures import BLUE, GREEN, ORANGE, legend_below, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_MARKERS = 40  # on a curve


class _Curves(NamedTuple):
    """What there is to draw; one value an epoch."""

    loss: Sequence[float]
    validation_loss: Sequence[float]
    scores: Sequence[float]
    loss_name: str
    score_name: str
    best_epoch: int | None = None


def curves(model: Any, *, ax: "Axes | None" = None) -> "Axes | Figure":
    """Draw the loss of training, and the loss and the score of validation, over the epochs.

    Parameters
    ----------
    model : Model, History, or fitted estimator with ``loss_curve_``
        ``validation_loss_curve_`` and ``validation_scores_`` of an estimator are drawn if there.
    ax : matplotlib.axes.Axes, optional
        The score has an axis of its own, on the right of it.

    Returns
    -------
    drawn : matplotlib.figure.Figure or matplotlib.axes.Axes
        A new figure; or ``ax``, where it was given.

    Raises
    ------
    InputError
        If there is no loss curve, or matplotlib is not installed.
    """
    found = _curves_of(model)
    axes, drawn = place(ax, 7, 4.5)
    draw_losses(axes, found.loss, found.validation_loss)
    axes.set_title("loss and validation, epoch by epoch" if found.scores else "loss of each epoch")
    axes.set_ylabel(found.loss_name)
    if found.best_epoch is not None:
        label = f"best epoch: {found.best_epoch}"
        axes.axvline(found.best_epoch, color="0.4", linestyle=":", label=label)
    lines = axes.get_legend_handles_labels()[0]
    if found.scores:
        right = axes.twinx()
        lines += draw_scores(right, found.scores, found.score_name)
        right.set_ylabel(found.score_name, color=GREEN)
        right.tick_params(axis="y", colors=GREEN)
    legend_below(axes, lines, columns=4)
    return drawn


def _curves_of(model: Any) -> _Curves:
    history = model.history if isinstance(model, Model) else model
    is_classifier = isinstance(model, Model) or hasattr(model, "classes_")
    loss_name = "loss (cross-entropy, nats)" if is_classifier else "loss"
    if isinstance(history, History):
        return _Curves(
            history.loss,
            history.validation_loss,
            history.validation_accuracy,
            loss_name,
            "validation accuracy",
            history.best_epoch,
        )
    if not hasattr(model, "loss_curve_"):
        raise InputError(
            f"{type(model).__name__} has no loss curve; expected a fastnn.Model, its history, or "
            "a fitted estimator with loss_curve_"
        )
    return _Curves(
        model.loss_curve_,
        _or_empty(model, "validation_loss_curve_"),
        _or_empty(model, "validation_scores_"),
        loss_name,
        "validation accuracy" if is_classifier else "validation score (R²)",
    )


def _or_empty(estimator: Any, name: str) -> Sequence[float]:
    """Return an attribute that is None, or missing, where there was no validation."""
    values = getattr(estimator, name, None)
    return () if values is None else values


def epoch_axis(axes: "Axes", n_epochs: int) -> None:
    """Prepare the x-axis."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_xlim(0.5, max(n_epochs, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if not n_epochs:
        axes.annotate("no whole epoch", (0.5, 0.5), xycoords="axes fraction", ha="center")


def draw_losses(axes: "Axes", loss: Sequence[float], validation_loss: Sequence[float]) -> None:
    """Draw one or two curves of losses, on a logarithmic axis where they have logarithms."""
    from matplotlib.ticker import LogLocator, NullFormatter

    epoch_axis(axes, len(loss))
    _plot(axes, loss, "o-", BLUE, "training loss")
    if len(validation_loss):
        _plot(axes, validation_loss, "s--", ORANGE, "validation loss")
    if len(loss) and min(*loss, *validation_loss, float("inf")) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def draw_scores(axes: "Axes", scores: Sequence[float], label: str) -> list[Any]:
    """Draw a curve of accuracies or other scores; return its line."""
    return _plot(axes, scores, "^-.", GREEN, label)


def _plot(axes: "Axes", values: Sequence[float], style: str, color: str, label: str) -> list[Any]:
    """Draw one value an epoch; lines differ in more than their colour."""
    marker, linestyle = style[0], style[1:]
    marker = marker if len(values) <= MOST_MARKERS else ""
    epochs = range(1, len(values) + 1)
    return axes.plot(
        epochs, values, marker=marker, linestyle=linestyle, color=color, markersize=5, label=label
    )
