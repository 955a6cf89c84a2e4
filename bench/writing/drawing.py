"""What all plots share: two themes, a colour for each library, and PNG files."""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.writing.numbers import library

WIDTH = 8.4  # inches; GitHub shows about 900 points
DPI = 110
# Okabe and Ito's palette, made darker for white and lighter for black; the order is the legend's
MARKERS = {
    "fastnn": "o", "reference": "X", "jax": "s", "torch": "D", "scikit-learn": "^", "article": "v",
    "fastnn bytes": "p", "fastnn dense": "h", "fastnn sparse": "d",
}  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """Colours on one background."""

    name: str
    back: str
    ink: str
    quiet: str
    colours: dict[str, str]

    def settings(self) -> dict[str, Any]:
        """Return matplotlib's settings."""
        inks = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
        return dict.fromkeys(inks, self.ink) | {
            "figure.facecolor": self.back, "axes.facecolor": self.back,
            "savefig.facecolor": self.back, "axes.edgecolor": self.quiet,
            "grid.color": self.quiet, "grid.alpha": 0.35,
            "axes.grid": True, "axes.axisbelow": True, "font.size": 11.5, "axes.titlesize": 12.5,
            "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
            "font.family": "DejaVu Sans", "grid.linewidth": 0.8, "axes.titlelocation": "left",
        }  # fmt: skip

    def colour(self, peer: str) -> str:
        """Return the colour of a peer's library."""
        return self.colours.get(library(peer), self.ink)

    def style(self, peer: str) -> dict[str, Any]:
        """Return how a peer's line and points look: dashed and hollow for a variant."""
        plain = peer == library(peer)
        marker = MARKERS.get(peer) or MARKERS.get(library(peer), "P")
        return {
            "color": self.colour(peer), "marker": marker,
            "markersize": 6.5, "markeredgewidth": 1.5, "linewidth": 1.8, "label": peer,
            "markerfacecolor": self.colour(peer) if plain else self.back,
            "linestyle": "-" if plain else "--", "zorder": 4 if library(peer) == "fastnn" else 3,
        }  # fmt: skip


THEMES = (
    Theme("light", "#ffffff", "#1f2328", "#8c959f", {
        "fastnn": "#c84c00", "reference": "#6e7781", "jax": "#0067a5", "torch": "#b0458a",
        "scikit-learn": "#00805c", "article": "#a87400",
    }),
    Theme("dark", "#0d1117", "#e6edf3", "#6e7681", {
        "fastnn": "#ff9150", "reference": "#a5aeb8", "jax": "#5db7f0", "torch": "#e899c6",
        "scikit-learn": "#33c79d", "article": "#f0c24b",
    }),
)  # fmt: skip


def figure(height: float, width: float = WIDTH) -> Any:
    """Return a figure that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def png(drawn: Any) -> bytes:
    """Return a figure as a PNG with the same bytes each time; few colours make a small file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = io.BytesIO()
    pixels.quantize(128, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def tick_seconds(value: float) -> str:
    """Write a round time without needless zeros."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if value >= 0.999 * size:
            return f"{value / size:g} {unit}"
    return f"{value / 1e-9:g} ns"


def tick_count(value: float) -> str:
    """Write a count: 60k for 60000."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= 10 * size or (value >= size and value % (size / 10) == 0):
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def log_ticks(axis: Any, limits: tuple[float, float], text: Any) -> None:
    """Mark a logarithmic axis at few round numbers, written in full."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = limits
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        marks = [a * 10.0**e for e in range(-12, 16) for a in steps if low <= a * 10.0**e <= high]
        if len(marks) <= 7:
            break
    axis.set_major_locator(FixedLocator(marks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def log_axis(axes: Any, which: str, values: list[float], text: Any) -> None:
    """Make an axis logarithmic and as long as its values need."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.05, 1.08)
    limits = low / room, high * room
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(*limits)
    log_ticks(getattr(axes, f"{which}axis"), limits, text)


def legend_above(drawn: Any, axes: Any) -> None:
    """Put one legend above the plots: it covers no data there."""
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    columns = len(handles) if len(handles) <= 5 else math.ceil(len(handles) / 2)
    drawn.legend(
        handles.values(), handles.keys(), loc="outside upper left",
        ncols=columns, columnspacing=1.4, handletextpad=0.5,
    )  # fmt: skip
