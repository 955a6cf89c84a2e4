"""How much of what the machine can do the kernels do: shares, and the roofline plot."""

from typing import Any

from bench.writing.drawing import Theme, figure, log_axis
from bench.writing.numbers import Raw

MOST_POINTS = 24  # that the plot shows; the table shows all
# where a point's number may stand, in points of the page, best first
PLACES = [(0, 11), (0, -11), (12, 0), (-12, 0), (11, 10), (-11, 10), (11, -10), (-11, -10),
          (0, 22), (0, -22), (24, 0), (-24, 0)]  # fmt: skip


def benchmarks(raw: Raw) -> list[Raw]:
    """Return all benchmarks that have a time."""
    asked = (raw.get("questions") or {}).get("roofline") or {}
    return [one for one in asked.get("benchmarks") or [] if one.get("median")]


def roofs(raw: Raw) -> dict[str, tuple[float, float]]:
    """Return peak (flop/s) and bandwidth (bytes/s) by thread count, where both are known."""
    told = ((raw.get("questions") or {}).get("roofline") or {}).get("roofs") or {}
    peak, bandwidth = told.get("peak_flops") or {}, told.get("bandwidth") or {}
    return {n: (peak[n], bandwidth[n]) for n in sorted(peak, key=int) if n in bandwidth}


def share(raw: Raw, one: Raw | None) -> float | None:
    """Return a benchmark's part of min(peak, bandwidth x intensity)."""
    found = roofs(raw).get(str((one or {}).get("threads")))
    if one is None or found is None or not one.get("flop") or not one.get("bytes"):
        return None
    limit = min(found[0], found[1] * one["flop"] / one["bytes"])
    return one["flop"] / one["median"] / limit


def kernels(raw: Raw) -> list[tuple[Raw, Raw | None]]:
    """Return the fused kernels whose work is known, each with its reference; numbered from 1."""
    found = [one for one in benchmarks(raw) if one.get("flop") and one.get("bytes")]

    def reference(one: Raw) -> Raw | None:
        key = one.get("group"), one.get("shape")
        same = (other for other in found if other.get("engine") == "reference"
                and (other.get("group"), other.get("shape")) == key)  # fmt: skip
        return next(same, None)

    return [(one, reference(one)) for one in found
            if one.get("engine") == "fused" and one.get("kernel")]  # fmt: skip


def roofline(raw: Raw, theme: Theme) -> Any:
    """Draw GFLOP/s against flop a byte under the roofs; numbers are explained at the side."""
    pairs, known = kernels(raw)[:MOST_POINTS], roofs(raw)
    if not pairs or not known:
        return None
    drawn = figure(5.6, 9.6)
    axes = drawn.subplots()
    points = [(one["flop"] / one["bytes"], one["flop"] / one["median"] / 1e9) for one, _ in pairs]
    others = [(o["flop"] / o["bytes"], o["flop"] / o["median"] / 1e9) for _, o in pairs if o]
    ridges = [peak / bandwidth for peak, bandwidth in known.values()]
    x = [value for value, _ in points + others] + [r * f for r in ridges for f in (0.3, 3)]
    ends = min(x) / 1.2, max(x) * 1.2
    heights = [value for _, value in points + others]
    for style, (threads, (peak, bandwidth)) in zip(("--", "-", ":", "-."), known.items(),
                                                   strict=False):  # fmt: skip
        line = [min(peak, bandwidth * at) / 1e9 for at in (ends[0], peak / bandwidth, ends[1])]
        heights += line
        label = f"limit, {threads} thread{'s' * (threads != '1')}"
        axes.plot((ends[0], peak / bandwidth, ends[1]), line, style, color=theme.ink, linewidth=2,
                  label=label)  # fmt: skip
    log_axis(axes, "x", list(ends), lambda value: f"{value:g}")
    log_axis(axes, "y", heights, lambda value: f"{value:g}")
    for name, marks in (("fastnn", points), ("reference", others)):
        if marks:
            look = theme.style(name) | {"linestyle": "none"}
            look |= {"label": "fused"} if name == "fastnn" else {"markerfacecolor": theme.back}
            axes.plot(*zip(*marks, strict=True), **look)
    axes.set_xlabel("flop for each byte of memory traffic")
    axes.set_ylabel("GFLOP/s")
    _numbers(drawn, axes, theme, points, others)
    handles, labels = axes.get_legend_handles_labels()
    names = [f"{n}  {_name(one)}" for n, (one, _) in enumerate(pairs, 1)]
    axes.legend(handles, labels, loc="lower right", fontsize=10)
    drawn.text(1.0, 0.5, "\n".join(names), fontsize=9.5 if len(names) < 20 else 8, va="center",
               linespacing=1.45, in_layout=False)  # fmt: skip
    return _widen(drawn)


def _name(one: Raw) -> str:
    text = str(one["kernel"])
    text += f", {one['layout']}" if one.get("layout") not in (None, "dense") else ""
    text += f" ({one['threads']})" if one.get("threads") else ""
    return text if len(text) <= 30 else text[:29] + "…"


def _widen(drawn: Any) -> Any:
    """Make room for the names at the right."""
    drawn.get_layout_engine().set(rect=(0, 0, 0.71, 1))
    for text in drawn.texts:
        text.set_x(0.725)
    return drawn


def _numbers(drawn: Any, axes: Any, theme: Theme, points: list[Any], others: list[Any]) -> None:
    """Write each point's number where it covers neither points nor other numbers."""
    drawn.get_layout_engine().set(rect=(0, 0, 0.71, 1))
    drawn.draw_without_rendering()
    scale = 72 / drawn.dpi
    taken = [tuple(scale * axes.transData.transform(point)) for point in points + others]
    for number, point in enumerate(points, 1):
        x, y = scale * axes.transData.transform(point)

        def room(place: tuple[int, int], x: float = x, y: float = y) -> float:
            return min((x + place[0] - a) ** 2 + (y + place[1] - b) ** 2 for a, b in taken)

        free = [place for place in PLACES if room(place) > 100]
        place = free[0] if free else max(PLACES, key=room)
        taken.append((x + place[0], y + place[1]))
        axes.annotate(str(number), point, place, textcoords="offset points", ha="center",
                      va="center", fontsize=10, color=theme.ink, zorder=6,
                      bbox={"facecolor": theme.back, "edgecolor": "none", "pad": 0.6})  # fmt: skip
