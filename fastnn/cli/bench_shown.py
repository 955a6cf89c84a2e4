"""How the results of ``fastnn bench`` look to people."""

from typing import Any

from fastnn.terminal import Bar, Terminal

# Upper over lower quartile from which a figure says more of what else ran than of the library.
UNSTEADY = 1.5
COLUMNS = ("batch", "library", "an epoch", "samples/s", "time / fastnn's")


def show(terminal: Terminal, report: dict[str, Any]) -> None:
    """Write what was measured on what, a table with bars, and what it means in words."""
    for line in [*_headlines(report), ""]:
        terminal.line(line)
    rows = report["results"]
    groups = [
        [row for row in rows if row["batch_size"] == size]
        for size in report["settings"]["batch_sizes"]
    ]
    terminal.bars(COLUMNS, [_bars(group) for group in groups])
    missing = [f"{name} is not installed: pip install {name}" for name in report["not_installed"]]
    for line in ["", *_remarks(rows), *missing, *_measured(report)]:
        terminal.line(line)


def _headlines(report: dict[str, Any]) -> list[str]:
    settings, machine = report["settings"], report["machine"]
    versions = machine["versions"]
    names = dict.fromkeys(("fastnn", *(peer.partition(" ")[0] for peer in settings["peers"])))
    threads = settings["threads"]
    return [
        f"{settings['data']}: {settings['n_samples']:,} samples, network "
        f"{'-'.join(map(str, settings['layer_sizes']))}, {settings['optimizer']}",
        f"{machine['cpu']['model']}, {threads} thread{'s' if threads > 1 else ''}",
        ", ".join(f"{name} {versions[name]}" for name in names if versions.get(name)),
    ]


def _bars(group: list[dict[str, Any]]) -> list[Bar]:
    """Return the rows of one batch size; the fastest has the longest bar."""
    speeds = [row["samples_per_second"] or 0.0 for row in group]
    bars = []
    for index, (row, speed) in enumerate(zip(group, speeds, strict=True)):
        batch = "" if index else str(row["batch_size"])
        if not speed:
            cells = (batch, row["peer"], "-", "-", "not timed")
        else:
            cells = (
                batch,
                row["peer"],
                _time(row["seconds_per_epoch"]),
                f"{speed:,.0f}",
                "" if row["peer"] == "fastnn" else _ratio(row["ratio"]),
            )
        bars.append(Bar(cells, speed / (max(speeds) or 1.0), row["peer"] == "fastnn"))
    return bars


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds < 1000 else f"{seconds:.0f} s"
    return f"{seconds * 1e6:.3g} us"


def _ratio(ratio: dict[str, float] | None) -> str:
    if ratio is None:
        return ""
    digits = 1 if ratio["median"] >= 0.995 else 2
    low, middle, high = (f"{ratio[k]:.{digits}f}" for k in ("lower", "median", "upper"))
    text = f"{middle}x ({low}-{high})"
    return text if ratio["median"] >= 1 else f"{text} faster"


def _remarks(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each library that is faster, that was not timed, or unsteadily."""
    faster: dict[str, list[str]] = {}
    problems: dict[str, list[str]] = {}
    unsteady: dict[str, list[str]] = {}
    for row in rows:
        size = str(row["batch_size"])
        if row["problem"] is not None:
            problems.setdefault(f"{row['peer']}: {row['problem']}", []).append(size)
        elif row["ratio"] is not None and row["ratio"]["median"] < 1:
            faster.setdefault(row["peer"], []).append(size)
        ratio = row["ratio"]
        if ratio is not None and ratio["upper"] > UNSTEADY * ratio["lower"]:
            unsteady.setdefault(row["peer"], []).append(size)
    lines = [
        f"{peer} is faster than fastnn here with batches of {_list(sizes)}."
        for peer, sizes in faster.items()
    ]
    lines += [
        f"Not timed with batches of {_list(sizes)}: {problem}"
        for problem, sizes in problems.items()
    ]
    lines += [
        f"{peer}, batches of {_list(sizes)}: times vary widely, do not rely on them."
        for peer, sizes in unsteady.items()
    ]
    if unsteady:
        lines.append("Was the machine busy? Measure again when nothing else runs.")
    return lines


def _list(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


def _measured(report: dict[str, Any]) -> list[str]:
    timed = [row for row in report["results"] if row["seconds"]]
    if not timed:
        return ["Nothing could be timed."]
    rounds = sorted({len(row["seconds"]) for row in timed})
    samples = sorted({row["n_samples"] * row["calls"] for row in timed})
    return [
        f"Medians and quartiles of {_range(rounds)} rounds of {_range(samples)} samples, taken in "
        "turn,",
        f"once the losses had been found equal. Measured in {report['seconds']:.0f} s.",
    ]


def _range(values: list[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"
