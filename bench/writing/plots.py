"""The plots: one function each, from the raw measurements to a figure, or None without data."""

import math
from collections.abc import Callable
from typing import Any

from bench.writing import numbers
from bench.writing.drawing import (
    THEMES,
    Theme,
    figure,
    legend_above,
    log_axis,
    png,
    tick_count,
    tick_seconds,
)
from bench.writing.numbers import Raw, library
from bench.writing.roofline import roofline

MOST_ROWS = 12  # of the first plot of the report


def draw(raw: Raw) -> dict[str, bytes]:
    """Return the PNG files by name; a plot that has no data is left out."""
    import matplotlib as mpl

    files = {}
    for name, plot in PLOTS.items():
        for theme in THEMES:
            with mpl.rc_context(theme.settings()):
                drawn = plot(raw, theme)
                if drawn is not None:
                    files[f"{name}-{theme.name}.png"] = png(drawn)
    return files


def hero(raw: Raw, theme: Theme) -> Any:
    """Ratios of the headline's cells."""
    return _ratios(raw, theme, headline(raw)[:MOST_ROWS], own=False)


def epoch(raw: Raw, theme: Theme) -> Any:
    """Ratios of every cell."""
    return _ratios(raw, theme, numbers.cells(raw, "epoch"), own=True)


def headline(raw: Raw) -> list[Raw]:
    """Return the cells that the headline shows: the marked ones, or the first where none is."""
    found = numbers.cells(raw, "epoch")
    return [cell for cell in found if cell.get("headline")] or found[:MOST_ROWS]


def _ratios(raw: Raw, theme: Theme, cells: list[Raw], own: bool) -> Any:
    """Draw a row a cell, a point a peer with its quartiles; peers lie beside each other."""
    names = [p for p in numbers.peers(cells) if own or library(p) != numbers.OWN]
    found = [(row, numbers.duel(raw, "epoch", cell, name))
             for row, cell in enumerate(cells) for name in names]  # fmt: skip
    found = [(row, duel) for row, duel in found if duel.ratio is not None]
    if not found:
        return None
    drawn = figure(1.3 + 0.42 * len(cells))
    axes = drawn.subplots()
    shown = set()
    for row, duel in found:
        low, middle, high = duel.ratio
        style = theme.style(duel.peer) | {"linestyle": "none"}
        style["label"] = None if duel.peer in shown else duel.peer
        shown.add(duel.peer)
        y = row + 0.6 * ((names.index(duel.peer) + 0.5) / len(names) - 0.5)
        axes.plot([low, high], [y, y], color=style["color"], linewidth=1.6, zorder=2)
        axes.plot(middle, y, **style)
    for row in range(0, len(cells), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=theme.quiet, alpha=0.12, linewidth=0)
    ends = [value for _, duel in found for value in duel.ratio]
    log_axis(axes, "x", [1.0, *ends], lambda value: f"{value:g}x")
    axes.axvline(1, color=theme.colour(numbers.OWN), linewidth=2, zorder=1, label="fastnn")
    axes.set_yticks(range(len(cells)), [short(cell["name"], 38) for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time over fastnn's: right of the line fastnn is faster, left of it slower")
    legend_above(drawn, [axes])
    return drawn


def batch(raw: Raw, theme: Theme) -> Any:
    """Draw the ratio against the batch size: MNIST, SGD, two threads."""
    cells = [cell for cell in numbers.cells(raw, "epoch")
             if cell.get("group") == "MNIST" and cell.get("threads") == 2
             and (cell.get("task") or {}).get("optimizer") == "sgd"]  # fmt: skip
    lines: dict[str, dict[int, numbers.Ratio]] = {}
    for cell in cells:
        for name in numbers.peers([cell]):
            ratio = numbers.duel(raw, "epoch", cell, name).ratio
            # a cell of another network has the same batch size: the first one counts
            if ratio is not None:
                lines.setdefault(name, {}).setdefault(cell["task"]["batch_size"], ratio)
    sizes = sorted({size for line in lines.values() for size in line})
    if len(sizes) < 2:
        return None
    drawn = figure(4.6)
    axes = drawn.subplots()
    for name, line in lines.items():
        x = sorted(line)
        axes.plot(x, [line[size].middle for size in x], **theme.style(name))
        axes.vlines(x, [line[s].low for s in x], [line[s].high for s in x], theme.colour(name))
    axes.axhline(1, color=theme.colour(numbers.OWN), linewidth=2, label="fastnn", zorder=1)
    log_axis(axes, "x", sizes, lambda value: f"{value:g}")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    ends = [value for line in lines.values() for ratio in line.values() for value in ratio]
    log_axis(axes, "y", [1.0, *ends], lambda value: f"{value:g}x")
    axes.set_xlabel("batch size")
    axes.set_ylabel("time over fastnn's")
    legend_above(drawn, [axes])
    return drawn


def reach(raw: Raw, theme: Theme) -> Any:
    """Draw a point a seed; a cross where the goal was missed."""
    cells = [c for c in numbers.cells(raw, "reach")
             if any(numbers.times(r) for r in c.get("results") or [])]  # fmt: skip
    if not cells:
        return None
    names = [numbers.OWN, *numbers.peers(cells)]
    drawn = figure(0.9 + math.ceil(len(cells) / 2) * (0.9 + 0.36 * len(names)))
    grid = drawn.subplots(math.ceil(len(cells) / 2), min(2, len(cells)), sharex=True, sharey=True,
                          squeeze=False)  # fmt: skip
    everything = [s for c in cells for r in c["results"] for s in numbers.times(r)]
    for axes, cell in zip(grid.flat, cells, strict=False):
        for row, name in enumerate(names):
            one = numbers.result(cell, name)
            details = one.get("details") or []
            for n, value in enumerate(numbers.times(one)):
                missed = n < len(details) and (details[n] or {}).get("missed")
                axes.plot(value, row, "x" if missed else "o", color=theme.colour(name),
                          markersize=8, alpha=1 if missed else 0.55, markeredgewidth=1.6,
                          markerfacecolor=theme.colour(name), linestyle="none")  # fmt: skip
            mean = numbers.middle("reach", numbers.times(one))
            if mean:
                axes.plot([mean, mean], [row - 0.35, row + 0.35], color=theme.ink, linewidth=2)
        axes.set_title(cell["name"])
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        log_axis(axes, "x", everything, tick_seconds)
    for axes in list(grid.flat)[len(cells) :]:
        axes.set_axis_off()
    drawn.supxlabel("time to the goal: a point is a seed, a bar the mean, a cross a miss",
                    fontsize=11.5)  # fmt: skip
    return drawn


def scaling(raw: Raw, theme: Theme) -> Any:
    """Draw a panel a sweep and a line a peer, with the exponents in the legends."""
    found = sweeps(raw)
    if not found:
        return None
    rows = math.ceil(len(found) / 2)
    drawn = figure(0.7 + 3.0 * rows, 9.6)
    grid = drawn.subplots(rows, min(2, len(found)), squeeze=False)
    for axes, (sweep, lines) in zip(grid.flat, found.items(), strict=False):
        for name, (x, y) in lines.items():
            axes.plot(x, y, **theme.style(name))
        marks = sorted({value for x, _ in lines.values() for value in x})
        log_axis(axes, "x", marks, tick_count)
        if len(marks) <= 6:
            axes.set_xticks(marks, map(tick_count, marks))
        log_axis(axes, "y", [v for _, y in lines.values() for v in y], tick_seconds)
        axes.set_xlabel(sweep)
        fits = [numbers.tell_exponent(numbers.exponent(*line)) for line in lines.values()]
        handles = axes.get_legend_handles_labels()[0]
        axes.legend(handles, fits, title="exponent", fontsize=10, title_fontsize=10,
                    loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)  # fmt: skip
    for axes in list(grid.flat)[len(found) :]:
        axes.set_axis_off()
    legend_above(drawn, list(grid.flat))
    return drawn


def sweeps(raw: Raw) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Return by sweep and peer the x and the median seconds, in the order of x."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    for cell in numbers.cells(raw, "scaling"):
        if not cell.get("sweep") or not cell.get("x"):
            continue
        for one in cell.get("results") or []:
            value = numbers.middle("scaling", numbers.times(one))
            if value:
                line = found.setdefault(cell["sweep"], {}).setdefault(one["peer"], {})
                line[cell["x"]] = value
    return {
        sweep: {name: (sorted(line), [line[x] for x in sorted(line)])
                for name, line in lines.items()}
        for sweep, lines in found.items()
    }  # fmt: skip


def predict(raw: Raw, theme: Theme) -> Any:
    """Draw the time a sample takes against the number of samples in a call."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for cell in numbers.cells(raw, "predict"):
        for one in cell.get("results") or []:
            value = numbers.middle("predict", numbers.times(one))
            if value and cell.get("x"):
                lines.setdefault(one["peer"], []).append((cell["x"], value / cell["x"]))
    if not lines:
        return None
    drawn = figure(4.8)
    axes = drawn.subplots()
    for name, line in lines.items():
        axes.plot(*zip(*sorted(line), strict=True), **theme.style(name))
    everything = [pair for line in lines.values() for pair in line]
    log_axis(axes, "x", [x for x, _ in everything], tick_count)
    log_axis(axes, "y", [y for _, y in everything], tick_seconds)
    axes.set_xlabel("samples in a call")
    axes.set_ylabel("time for each sample")
    legend_above(drawn, [axes])
    return drawn


def start(raw: Raw, theme: Theme) -> Any:
    """Draw a bar a peer, a panel a cell."""
    return _bars(theme, [
        (cell["name"], [(r["peer"], 0.0, numbers.middle("start", numbers.times(r)))
                        for r in cell.get("results") or [] if numbers.times(r)])
        for cell in numbers.cells(raw, "start")
    ], numbers.tell_seconds)  # fmt: skip


def memory(raw: Raw, theme: Theme) -> Any:
    """Draw what processes have before training, paler, and what training adds."""
    cells = [cell for cell in numbers.cells(raw, "epoch")
             if any(r.get("memory") for r in cell.get("results") or [])]  # fmt: skip
    if len(cells) > 4:  # from all parts of the list
        cells = [cells[n * (len(cells) - 1) // 3] for n in range(4)]
    return _bars(theme, [
        (cell["name"], [(r["peer"], r["memory"]["start"], r["memory"]["peak"])
                        for r in cell["results"] if r.get("memory")])
        for cell in cells
    ], numbers.tell_bytes)  # fmt: skip


def _bars(theme: Theme, panels: list[tuple[str, list[Any]]], tell: Callable[..., str]) -> Any:
    panels = [(name, bars) for name, bars in panels if bars]
    if not panels:
        return None
    rows = math.ceil(len(panels) / 2)
    most = max(len(bars) for _, bars in panels)
    drawn = figure(rows * (0.75 + 0.36 * most), 9.4)
    grid = drawn.subplots(rows, min(2, len(panels)), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (name, bars) in zip(grid.flat, panels, strict=False):
        axes.set_axis_on()
        longest = max(high for _, _, high in bars)
        for row, (peer, low, high) in enumerate(bars):
            hatch = "" if peer == library(peer) else "///"
            look = {"color": theme.colour(peer), "hatch": hatch, "edgecolor": theme.back}
            axes.barh(row, low, 0.68, **look | {"alpha": 0.4})
            axes.barh(row, max(high - low, 0), 0.68, left=low, **look)
            axes.text(high + 0.015 * longest, row, tell(high), va="center", fontsize=10.5)
        axes.set_yticks(range(len(bars)), [peer for peer, _, _ in bars])
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_xlim(0, 1.24 * longest)
        axes.set_title(short(name, 40))
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return drawn


def noise(raw: Raw, theme: Theme) -> Any:
    """Draw the unchanging kernels' times through the run, over their medians."""
    taken = [one for one in raw.get("calibration") or [] if one.get("at") is not None]
    if not taken:
        return None
    drawn = figure(4.4)
    axes = drawn.subplots()
    for kind, peer in (("compute", "jax"), ("memory", "fastnn")):
        kept = [(one["at"] / 60, one[kind]) for one in taken if one.get(kind)]
        if kept:
            centre = sorted(value for _, value in kept)[len(kept) // 2]
            x, y = zip(*kept, strict=True)
            style = theme.style(peer) | {"label": kind, "markersize": 5, "linewidth": 1.2}
            axes.plot(x, [value / centre for value in y], **style)
    spans: dict[str, list[float]] = {}
    for one in taken:
        spans.setdefault(str(one.get("during")), []).append(one["at"] / 60)
    for n, times in enumerate(spans.values()):
        if n % 2 == 0:
            axes.axvspan(min(times), max(times), color=theme.quiet, alpha=0.13, linewidth=0)
    top = axes.secondary_xaxis("top")
    top.set_xticks([(min(t) + max(t)) / 2 for t in spans.values()], list(spans), rotation=30,
                   ha="left", fontsize=10.5)  # fmt: skip
    top.tick_params(length=0)
    axes.set_xlabel("minutes since the start")
    axes.set_ylabel("time over its median")
    axes.axhline(1, color=theme.quiet, linewidth=1)
    legend_above(drawn, [axes])
    return drawn


def short(text: str, length: int) -> str:
    """Cut a text that is too long for its place."""
    return text if len(text) <= length else text[: length - 1] + "…"


PLOTS: dict[str, Callable[[Raw, Theme], Any]] = {
    "hero": hero, "epoch": epoch, "batch": batch, "reach": reach, "roofline": roofline,
    "scaling": scaling, "start": start, "predict": predict, "memory": memory, "noise": noise,
}  # fmt: skip
