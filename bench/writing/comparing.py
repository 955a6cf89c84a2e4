"""What changed between two runs beyond their noise."""

import math
import statistics
from typing import Any, NamedTuple

import numpy as np

from bench.writing import numbers
from bench.writing.numbers import Raw

LEAST = 0.03  # nobody believes a change of 3 % between two runs


class Change(NamedTuple):
    """One figure, then and now."""

    kind: str  # slower, faster, same, appeared, disappeared, newly wrong, mended
    question: str
    cell: str
    what: str
    old: float | None
    new: float | None
    change: float | None  # of what counts: above 1, fastnn became slower
    noise: float | None  # up to this, a change is no change


class Figure(NamedTuple):
    """A median, and the standard error of its logarithm; or what went wrong."""

    value: float | None
    error: float
    problem: str | None


def log_error(seconds: list[float]) -> float:
    """Estimate the standard error of the logarithm of a median from quartiles.

    For normal noise the deviation is IQR / 1.349, and a median's standard error 1.253 times
    deviation / sqrt(n).
    """
    if len(seconds) < 2:
        return 0.0
    low, high = np.percentile(np.log(seconds), [25, 75])
    return float(1.253 * (high - low) / 1.349 / math.sqrt(len(seconds)))


def figures(raw: Raw) -> dict[tuple[str, str, str], Figure]:
    """Return every figure of a run by question, cell and what it is."""
    found: dict[tuple[str, str, str], Figure] = {}
    for question in numbers.QUESTIONS:
        for cell in numbers.cells(raw, question):
            own = numbers.result(cell)
            key = question, str(cell.get("name")), "seconds"
            seconds = numbers.times(own)
            found[key] = Figure(
                numbers.middle(question, seconds), log_error(seconds), own.get("problem")
            )
            for peer in numbers.peers([cell]):
                other = numbers.times(numbers.result(cell, peer))
                ratio = numbers.ratio(question, seconds, other)
                pairs = list(zip(seconds, other, strict=False))
                found[(*key[:2], f"{peer} / fastnn")] = Figure(
                    ratio and ratio.middle,
                    log_error([b / a for a, b in pairs]),
                    numbers.result(cell, peer).get("problem"),
                )
    asked = (raw.get("questions") or {}).get("roofline") or {}
    for one in asked.get("benchmarks") or []:
        if one.get("engine") == "fused" and one.get("median"):
            name = f"{one.get('name')}, {one.get('threads')} threads"
            # the number of rounds is not kept: the whole deviation stands for the error
            error = (one.get("iqr") or 0) / 1.349 / one["median"]
            found["roofline", name, "seconds"] = Figure(one["median"], error, None)
    return found


def drift(raw: Raw) -> tuple[float | None, float]:
    """Return the median of the compute calibration, and how far it spread, as a deviation."""
    taken = numbers.calibration(raw, "compute")
    if not taken:
        return None, 0.0
    return statistics.median(taken), numbers.relative_iqr(taken) / 1.349


def changes(old: Raw, new: Raw) -> list[Change]:
    """Compare all figures of two runs; what changed most comes first.

    Seconds of fastnn are divided by the median compute calibration of their run, so that a slower
    machine is no slower program. Ratios need no such thing: both sides ran on the same machine.
    A change of a logarithm is beyond noise when it exceeds twice the root of the summed squares of
    both figures' standard errors (from quartiles, see ``log_error``) and, for seconds, of both
    runs' calibration deviations (IQR / 1.349), and is never less than ``LEAST``.
    """
    before, after = figures(old), figures(new)
    (old_speed, old_drift), (new_speed, new_drift) = drift(old), drift(new)
    slowed = math.log(new_speed / old_speed) if old_speed and new_speed else 0.0
    found = []
    for key in {**before, **after}:
        then, now = before.get(key), after.get(key)
        is_seconds = key[2] == "seconds"
        drifts = math.hypot(old_drift, new_drift) if is_seconds else 0.0
        found.append(_change(key, then, now, slowed if is_seconds else None, drifts))
    return sorted(found, key=lambda one: -abs(math.log(one.change or 1.0)))


def _change(
    key: tuple[str, str, str], then: Figure | None, now: Figure | None,
    slowed: float | None, drifts: float,
) -> Change:  # fmt: skip
    """Judge one figure; ``slowed`` is None for a ratio, which falls when fastnn gets slower."""
    values = then and then.value, now and now.value
    if then is None or now is None:
        return Change("appeared" if then is None else "disappeared", *key, *values, None, None)
    if then.value is None or now.value is None:
        was, now_is = then.value is None, now.value is None
        kind = "same" if was and now_is else "newly wrong" if now_is else "mended"
        return Change(kind, *key, *values, None, None)
    moved = math.log(now.value / then.value)
    moved = -moved if slowed is None else moved - slowed
    noise = max(2 * math.hypot(then.error, now.error, drifts), math.log1p(LEAST))
    kind = "same" if abs(moved) <= noise else "slower" if moved > 0 else "faster"
    return Change(kind, *key, *values, math.exp(moved), math.exp(noise))


def describe_changes(old: Raw, new: Raw) -> str:
    """Return what changed beyond noise as text, with a warning where runs are not alike."""
    found = changes(old, new)
    lines = [f"{old.get('commit', '?')} -> {new.get('commit', '?')}", *differences(old, new), ""]
    told = {
        "slower": "slower", "faster": "faster", "newly wrong": "newly wrong or failing",
        "mended": "no longer failing", "appeared": "appeared", "disappeared": "disappeared",
    }  # fmt: skip
    for kind, title in told.items():
        of_kind = [one for one in found if one.kind == kind]
        if of_kind:
            lines += [f"{title}: {len(of_kind)}", *map(_line, of_kind), ""]
    same = sum(one.kind == "same" for one in found)
    return "\n".join([*lines, f"within noise: {same} of {len(found)} figures"])


def _line(one: Change) -> str:
    tell = numbers.tell_seconds if one.what == "seconds" else _tell_ratio
    text = f"  {one.question}: {one.cell}: {one.what} {tell(one.old) or '-'} -> "
    text += tell(one.new) or "-"
    if one.change is None:
        return text
    how = "after calibration" if one.what == "seconds" else "beside it"
    return f"{text}  (fastnn's time x{one.change:.2f} {how}, noise up to x{one.noise:.2f})"


def _tell_ratio(value: float | None) -> str:
    return "" if value is None else numbers.times_as_long(value)


def differences(old: Raw, new: Raw) -> list[str]:
    """Return warnings about what makes two runs hard to compare."""

    def told(raw: Raw) -> dict[str, Any]:
        machine = raw.get("machine") or {}
        cpu = machine.get("cpu") or {}
        facts = {"mode": raw.get("mode"), "CPU": cpu.get("model"), "CPUs": cpu.get("usable_cpus")}
        facts |= {f"version of {k}": v for k, v in (machine.get("versions") or {}).items()}
        return facts | {f"version of {k}": v for k, v in (raw.get("peers") or {}).items()}

    one, other = told(old), told(new)
    return [
        f"warning: {name} differs: {one.get(name)} -> {other.get(name)}"
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    ]
