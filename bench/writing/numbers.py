"""Ratios, spreads and fits of what was measured, and how they are written."""

import math
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Raw = dict[str, Any]

SHAKY = 1.5  # quartiles of a ratio further apart than this get a dagger
RESTLESS = 0.2  # and so does all of a question whose calibration spread more
DAGGER = "†"
OWN = "fastnn"
QUESTIONS = {
    "epoch": "How fast is an epoch?",
    "reach": "How long to 97 % and 98 % on MNIST?",
    "roofline": "How close to the machine's limit?",
    "scaling": "How does cost grow?",
    "start": "What does start-up cost, cold and warm?",
    "predict": "What does a prediction cost?",
}


class Ratio(NamedTuple):
    """How many times longer a peer took: quartiles, and the middle."""

    low: float
    middle: float
    high: float

    @property
    def spread(self) -> float:
        """The upper quartile over the lower one."""
        return self.high / self.low if self.low > 0 else math.inf


class Duel(NamedTuple):
    """One peer's result in one cell, beside fastnn's."""

    question: str
    cell: Raw
    peer: str
    ratio: Ratio | None
    problem: str | None
    restless: bool  # the machine was, meanwhile

    @property
    def doubtful(self) -> bool:
        """Whether the figure gets a dagger."""
        return self.ratio is not None and (self.restless or self.ratio.spread > SHAKY)


def library(peer: str) -> str:
    """Return whose variant a peer is: "torch" for "torch compile"."""
    return OWN if peer.startswith(OWN) else peer.removesuffix(" compile").split(" ")[0]


def cells(raw: Raw, question: str) -> list[Raw]:
    """Return the cells of a question; none if it was not measured."""
    return ((raw.get("questions") or {}).get(question) or {}).get("cells") or []


def result(cell: Raw, peer: str = OWN) -> Raw:
    """Return what a peer did in a cell; an empty record if it was not asked."""
    found = (one for one in cell.get("results") or [] if one.get("peer") == peer)
    return next(found, {})


def times(one: Raw) -> list[float]:
    """Return the seconds of a result; none where it had a problem."""
    if one.get("problem"):
        return []
    return [value for value in one.get("seconds") or [] if value and value > 0]


def peers(found: list[Raw]) -> list[str]:
    """Return the peers of some cells in the order in which they first appear, without fastnn."""
    names = [one["peer"] for cell in found for one in cell.get("results") or []]
    return [name for name in dict.fromkeys(names) if name != OWN]


def middle(question: str, seconds: list[float]) -> float | None:
    """Return the median, or the mean of seeds, which are no repetitions."""
    if not seconds:
        return None
    return statistics.mean(seconds) if question == "reach" else statistics.median(seconds)


def ratio(question: str, own: list[float], other: list[float]) -> Ratio | None:
    """Return quartiles of the rounds' ratios, and their median; for seeds the ratio of means."""
    n = min(len(own), len(other))
    if not n:
        return None
    low, centre, high = np.percentile(np.divide(other[:n], own[:n]), [25, 50, 75])
    if question == "reach":
        centre = statistics.mean(other) / statistics.mean(own)
    return Ratio(float(low), float(centre), float(high))


def duel(raw: Raw, question: str, cell: Raw, peer: str) -> Duel:
    """Return how a peer did beside fastnn, or what kept it from doing so."""
    own, other = result(cell), result(cell, peer)
    found = ratio(question, times(own), times(other))
    problem = other.get("problem") or (own.get("problem") and f"fastnn: {own['problem']}")
    if found is None and other and not problem:
        problem = "not measured"
    return Duel(question, cell, peer, found, problem, restless(raw, question))


def duels(raw: Raw, question: str | None = None) -> Iterator[Duel]:
    """Go through all cells and their peers, of one question or of all."""
    for name in QUESTIONS if question is None else (question,):
        for cell in cells(raw, name):
            for peer in peers([cell]):
                yield duel(raw, name, cell, peer)


def relative_iqr(values: list[float]) -> float:
    """Return the interquartile range over the median; 0 for fewer than two values."""
    kept = [value for value in values if value]
    if len(kept) < 2:
        return 0.0
    low, centre, high = np.percentile(kept, [25, 50, 75])
    return float((high - low) / centre)


def calibration(raw: Raw, kind: str, question: str | None = None) -> list[float]:
    """Return the seconds of the unchanging kernel, during one question or throughout."""
    taken = raw.get("calibration") or []
    kept = (one for one in taken if question is None or one.get("during") == question)
    return [one[kind] for one in kept if one.get(kind)]


def restless(raw: Raw, question: str) -> bool:
    """Tell whether the machine was too unsteady during a question to believe its figures."""
    kinds = ("compute", "memory")
    return any(relative_iqr(calibration(raw, kind, question)) > RESTLESS for kind in kinds)


def exponent(x: list[float], y: list[float]) -> tuple[float, float] | None:
    """Fit y = c x^k by least squares on logarithms; return k and its standard error.

    With two points the error is unknown: NaN.
    """
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a and b and a > 0 and b > 0]
    if len({a for a, _ in pairs}) < 2:
        return None
    a, b = np.log(np.array(pairs, float)).T
    a = a - a.mean()
    slope = float(a @ b / (a @ a))
    left = b - b.mean() - slope * a
    n = len(pairs)
    error = math.sqrt(float(left @ left) / (n - 2) / float(a @ a)) if n > 2 else math.nan
    return slope, error


def tell_exponent(fit: tuple[float, float] | None) -> str:
    """Write an exponent with its standard error."""
    if fit is None:
        return ""
    return f"{fit[0]:.2f}" if math.isnan(fit[1]) else f"{fit[0]:.2f} ± {fit[1]:.2f}"


def tell_seconds(value: float | None) -> str:
    """Write a time with three digits."""
    if not value:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= 0.9995 * size:
            return f"{three(value / size)} {unit}"
    return f"{three(value / 1e-9)} ns"


def three(value: float) -> str:
    """Write a number with three digits and never an exponent."""
    if value <= 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value * 1.0005)))}f}"


def tell_ratio(found: Duel, *, quartiles: bool = False) -> str:
    """Write a ratio, with its quartiles if asked for and a dagger if doubtful, or its problem."""
    if found.ratio is None:
        return plain(found.problem)
    low, centre, high = found.ratio
    text = f"{times_as_long(centre)}{DAGGER if found.doubtful else ''}"
    return f"{text} ({low:.2f} to {high:.2f})" if quartiles else text


def times_as_long(value: float) -> str:
    """Write a ratio; two decimals while they mean something."""
    return f"{value:.2f}x" if value < 99.995 else f"{value:,.0f}x"


def tell_bytes(value: float | None) -> str:
    """Write a size in MB."""
    return "" if value is None else f"{value / 1e6:,.0f} MB"


def plain(text: Any) -> str:
    """Write a text into a cell of a table: one line, no bars, not too long."""
    words = " ".join(str(text or "").split()).replace("|", "/")
    return words if len(words) <= 100 else words[:99] + "…"


def samples_per_second(cell: Raw) -> str:
    """Return fastnn's rate in a cell with a task."""
    task, seconds = cell.get("task") or {}, times(result(cell))
    if not seconds or not task.get("n_samples"):
        return ""
    n = task["n_samples"] * (task.get("epochs") or 1) * (task.get("calls") or 1)
    return f"{float(f'{n / statistics.median(seconds):.3g}'):,.0f}"
