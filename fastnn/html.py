"""What a notebook shows of a network: its shape, and how it was trained, as a piece of HTML.

It stands alone: no script, no style sheet, no name that could meet another's. Lines and texts take
the colour of the text around them, so that it can be read on light and on dark ground. It is
well-formed XML too.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from math import isfinite, log
from typing import Any, NamedTuple

from fastnn.network import count_parameters

MOST_BOXES = 7  # layers that are drawn; of more, the first and the last ones
MOST_CHARACTERS = 100  # of a text
MOST_CLASSES = 10  # that are named
MOST_POINTS = 200  # on the line of losses

# pixels
BOX_HEIGHTS = (30, 96)
GAP = 78  # between two boxes; it has the number of weights in it
CHARACTER = 8  # at most, in the sizes
LINE = (240, 44)
MARGIN = 3

LINE_COLOR = "#3b8ed0"  # seen on white and on black
SETTINGS = (
    "optimizer", "learning_rate", "schedule", "batch_size", "n_samples", "seed", "engine",
)  # fmt: skip


def network_html(
    layer_sizes: Sequence[int],
    *,
    activation: str,
    output: str,
    dtype: Any,
    facts: Mapping[str, Any] | None = None,
    loss_curve: Iterable[float] = (),
    title: str = "Network",
) -> str:
    """Return a network and how it was trained as a piece of HTML, for ``_repr_html_``.

    Parameters
    ----------
    layer_sizes : sequence of int
        Number of features, of units in each hidden layer, and of outputs: at least two.
    activation : str
        Of the hidden layers; written below them.
    output : str
        The output function; written below the last layer.
    dtype : dtype or str
        Of the parameters.
    facts : mapping of str to object, optional
        How it was trained: a row of a table each, in their order. Numbers that are not whole are
        rounded to four digits; what is long is cut off.
    loss_curve : iterable of float, optional
        One value an epoch. Its axis is logarithmic where all values are above 0; values that are
        not finite are left out.
    title : str, default="Network"

    Returns
    -------
    html : str
        One ``div``. Every text is escaped: class labels, for one, may be anything.

    Examples
    --------
    >>> from fastnn.html import network_html
    >>> html = network_html(
    ...     (784, 128, 10), activation="relu", output="softmax", dtype="float32",
    ...     facts={"classes": "<b>"}, loss_curve=[0.9, 0.3],
    ... )
    >>> "101,770 parameters" in html, "&lt;b&gt;" in html
    (True, True)
    """
    sizes = [int(size) for size in layer_sizes]
    heading = f"{count_parameters(sizes):,} parameters, {dtype}: {'-'.join(map(str, sizes))}"
    return (
        '<div style="font-size: 13px; line-height: 1.4">'
        f"<div><b>{_text(title)}</b> {_text(heading)}</div>"
        f"{_shape(sizes, activation, output)}{_losses(loss_curve)}{_table(facts or {})}</div>"
    )


def model_html(model: Any) -> str:
    """Return what a notebook shows of a ``fastnn.Model``; see ``network_html``."""
    history, settings = model.history, model.settings
    epochs = f"{history.epochs}, {history.stopped}"
    if history.best_epoch is not None:
        epochs += f"; parameters of epoch {history.best_epoch}"
    facts: dict[str, Any] = {"epochs": epochs}
    at = -1 if history.best_epoch is None else history.best_epoch - 1
    for name in ("loss", "validation_loss", "validation_accuracy"):
        curve = getattr(history, name)
        if curve:
            facts[name] = curve[at]
    for name in SETTINGS:
        value = settings.get(name)
        if value is not None:
            facts[name] = value.get("name", value) if isinstance(value, dict) else value
    if history.seconds:
        facts["seconds"] = sum(history.seconds)
    facts["classes"] = _names(model.classes)
    return network_html(
        model.network.layer_sizes,
        activation=model.network.activation,
        output=model.network.output,
        dtype=model.parameters.dtype,
        facts={name.removeprefix("n_").replace("_", " "): fact for name, fact in facts.items()},
        loss_curve=history.loss,
        title="Model",
    )


def estimator_html(estimator: Any) -> str:
    """Return what a notebook shows of a fitted estimator of fastnn's; see ``network_html``."""
    weights = estimator.coefs_
    facts = {"solver": estimator.solver, "epochs": estimator.n_iter_}
    if hasattr(estimator, "loss_"):  # not where training ended before its first epoch did
        facts["loss"] = estimator.loss_
    if getattr(estimator, "best_validation_score_", None) is not None:
        facts["best validation score"] = estimator.best_validation_score_
    if getattr(estimator, "validation_loss_curve_", None):
        facts["validation loss"] = estimator.validation_loss_curve_[-1]
    if estimator.solver == "lbfgs":
        facts["iterations"] = facts.pop("epochs")
    else:
        rate = estimator.learning_rate
        name = rate if isinstance(rate, str) else getattr(rate, "__name__", "custom")
        facts["learning rate"] = f"{estimator.learning_rate_init:g}, {name}"
        facts["batch size"] = estimator.batch_size
    facts["engine"] = getattr(estimator.engine, "name", estimator.engine)
    if hasattr(estimator, "classes_"):
        facts["classes"] = _names(estimator.classes_)
    return network_html(
        [len(W) for W in weights] + [weights[-1].shape[1]],
        activation=estimator.activation,
        output=estimator.out_activation_,
        dtype=weights[0].dtype,
        facts=facts,
        loss_curve=getattr(estimator, "loss_curve_", ()),
        title=type(estimator).__name__,
    )


def _names(classes: Any) -> str:
    """Return the first labels of an array."""
    labels = [str(label) for label in classes[:MOST_CLASSES].tolist()]
    return ", ".join([*labels, "..."] if len(classes) > MOST_CLASSES else labels)


def _text(value: Any) -> str:
    """Return a value as one line of text that cannot be taken for HTML."""
    line = " ".join((f"{value:.4g}" if isinstance(value, float) else str(value)).split())
    line = line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"
    # control characters are not allowed in XML; some of those that are turn a line around
    return escape("".join(c if c.isprintable() else "\ufffd" for c in line))


class _Box(NamedTuple):
    """A layer: its place in a picture (the middle of its left side is x, 0) and its texts."""

    layer: int
    x: float
    width: float
    height: float
    size: int
    name: str


def _boxes(sizes: Sequence[int], activation: str, output: str) -> list[_Box]:
    layers = list(range(len(sizes)))
    if len(layers) > MOST_BOXES:
        some = MOST_BOXES // 2
        layers = layers[:some] + layers[-some:]
    largest = log(max(sizes) + 1)
    low, high = BOX_HEIGHTS
    boxes, x = [], float(MARGIN)
    for layer in layers:
        is_last = layer == len(sizes) - 1
        name = output if is_last else activation if layer else "features"
        width = max(64, CHARACTER * max(len(f"{sizes[layer]:,}"), len(name)) + 12)
        height = low + (high - low) * log(sizes[layer] + 1) / largest
        boxes.append(_Box(layer, x, width, height, sizes[layer], name))
        x += width + GAP
    return boxes


def _shape(sizes: Sequence[int], activation: str, output: str) -> str:
    """Return the layers as boxes, the larger the higher, and the numbers of weights between."""
    boxes = _boxes(sizes, activation, output)
    width, height = boxes[-1].x + boxes[-1].width + MARGIN, BOX_HEIGHTS[1] + 2 * MARGIN + 18
    middle = MARGIN + BOX_HEIGHTS[1] / 2
    parts = []
    for box in boxes:
        top, center = middle - box.height / 2, box.x + box.width / 2
        parts.append(
            f'<rect x="{box.x:g}" y="{top:.4g}" width="{box.width:g}" height="{box.height:.4g}" '
            'rx="5" fill="currentColor" fill-opacity="0.1" stroke="currentColor" '
            'stroke-opacity="0.6"/>'
            f"{_label(center, middle + 5, f'{box.size:,}', bold=True)}"
            f"{_label(center, height - 4, box.name)}"
        )
    for left, right in pairwise(boxes):
        between = left.x + left.width + GAP / 2
        if right.layer > left.layer + 1:
            parts.append(_label(between, middle - 3, "…", bold=True))
            parts.append(_label(between, middle + 14, f"{right.layer - left.layer - 1} more"))
        else:
            parts.append(_weights(left, right, middle))
            parts.append(
                _label(between, middle + 4, f"{(left.size + 1) * right.size:,}", small=True)
            )
    names = ", ".join(f"{box.size:,} {box.name}" for box in boxes)
    return _svg(width, height, f"layers: {names}", "".join(parts))


def _weights(left: _Box, right: _Box, middle: float) -> str:
    """Return the area between two boxes."""
    x, y, end, half = left.x + left.width, left.height / 2, right.x, right.height / 2
    corners = ((x, -y), (end, -half), (end, half), (x, y))
    points = " ".join(f"{at:.5g},{middle + up:.5g}" for at, up in corners)
    return f'<polygon points="{points}" fill="currentColor" fill-opacity="0.05"/>'


def _losses(curve: Iterable[float]) -> str:
    """Return the losses as a line, and its ends in words."""
    values = [float(value) for value in curve]
    n_epochs = len(values)
    points = [(epoch, value) for epoch, value in enumerate(values) if isfinite(value)]
    if len(points) < 2:
        return ""
    first, last = points[0][1], points[-1][1]
    is_log = min(value for _, value in points) > 0
    if is_log:
        points = [(epoch, log(value)) for epoch, value in points]
    if len(points) > MOST_POINTS:
        step = (len(points) - 1) / (MOST_POINTS - 1)
        points = [points[round(k * step)] for k in range(MOST_POINTS)]
    (width, height), low = LINE, min(value for _, value in points)
    spread = max(value for _, value in points) - low or 1.0
    line = " ".join(
        f"{MARGIN + epoch / (n_epochs - 1) * (width - 2 * MARGIN):.4g},"
        f"{MARGIN + (1 - (value - low) / spread) * (height - 2 * MARGIN):.4g}"
        for epoch, value in points
    )
    words = f"loss: {first:.4g} → {last:.4g} in {n_epochs:,} epochs"
    return "<div>{}{}</div>".format(
        _svg(
            width, height, words,
            f'<polyline points="{line}" fill="none" stroke="{LINE_COLOR}" stroke-width="1.5"/>',
        ),
        f"<div>{_text(words + (', logarithmic scale' if is_log else ''))}</div>",
    )  # fmt: skip


def _table(facts: Mapping[str, Any]) -> str:
    cell = "text-align: left; padding: 1px 12px 1px 0; border: 0; overflow-wrap: anywhere"
    rows = "".join(
        f'<tr><th style="{cell}; font-weight: normal; opacity: 0.7">{_text(name)}</th>'
        f'<td style="{cell}">{_text(value)}</td></tr>'
        for name, value in facts.items()
    )
    style = "border-collapse: collapse; border: 0; margin: 6px 0 0 0; font-size: inherit"
    return f'<table style="{style}"><tbody>{rows}</tbody></table>' if rows else ""


def _label(x: float, y: float, text: str, *, bold: bool = False, small: bool = False) -> str:
    more = ' font-weight="bold"' if bold else ' fill-opacity="0.75"'
    return (
        f'<text x="{x:.5g}" y="{y:.5g}" text-anchor="middle" fill="currentColor" '
        f'font-size="{11 if small else 12}"{more}>{_text(text)}</text>'
    )


def _svg(width: float, height: float, title: str, content: str) -> str:
    """Return a picture that becomes narrower where there is no room for it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" style="display: block; max-width: 100%; '
        f'height: auto; margin: 6px 0 0 0"><title>{_text(title)}</title>{content}</svg>'
    )
