"""Where pictures are drawn and how they become files; their colours."""

import io
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.errors import InputError
from fastnn.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf", ".jpg")
DOTS_PER_INCH = 110
# Okabe and Ito's, which differ for colour-blind readers too
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"


def require_matplotlib() -> None:
    """Raise unless matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise InputError(
            "plots need matplotlib, which is not installed: pip install 'fastnn[plot]'"
        ) from error


def check(path: str | os.PathLike[str]) -> None:
    """Raise unless matplotlib is installed and can write this kind of file.

    Raises
    ------
    InputError
        If it is not, or cannot.
    """
    require_matplotlib()
    if Path(path).suffix.lower() not in ENDINGS:
        raise InputError(
            f"cannot plot to {os.fspath(path)}: expected a name ending in {', '.join(ENDINGS)}"
        )


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, whole or not at all; the ending decides the format."""
    write_atomically(path, rendered(figure, Path(path).suffix[1:].lower()))


def rendered(figure: "Figure", kind: str) -> bytes:
    """Return a figure as the content of a file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks
        figure.savefig(content, format=kind, dpi=DOTS_PER_INCH)
    return content.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure; sizes are in inches."""
    require_matplotlib()
    from fastnn.plot.picture import Picture

    return Picture(figsize=(width, height), layout="constrained")


def place(ax: "Axes | None", width: float, height: float) -> tuple["Axes", "Axes | Figure"]:
    """Return the axes to draw into, and what the caller gets: them, or a new figure."""
    if ax is not None:
        return ax, ax
    figure = new_figure(width, height)
    return figure.subplots(), figure


def legend_below(axes: "Axes", handles: Sequence[Any], columns: int) -> None:
    """Put the legend where it hides nothing."""
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.11),
        ncols=columns,
        frameon=False,
    )


def short_names(names: Iterable[Any], length: int) -> list[str]:
    """Return names of one line and at most ``length`` characters each."""
    lines = [" ".join(str(name).split()) for name in names]
    return [line if len(line) <= length else line[: length - 1] + "…" for line in lines]
