"""The page of each question that was measured."""

from typing import Any

from bench.writing import numbers
from bench.writing.numbers import Raw, plain, tell_ratio, tell_seconds
from bench.writing.plots import sweeps
from bench.writing.roofline import benchmarks, kernels, share
from bench.writing.tables import NOT_MEASURED, page, picture, table, warning

RATIOS = (
    "For the others the tables say how many times longer than fastnn they took: the median over "
    "the rounds, and the quartiles in brackets. Above 1x fastnn is faster.\n"
)


def about(raw: Raw, question: str) -> str:
    """Return what the measurer says of a question, and the warning if there is one."""
    asked = (raw.get("questions") or {}).get(question)
    if not asked:
        return NOT_MEASURED
    text = f"{asked['about']}\n\n" if asked.get("about") else ""
    return (text + warning(raw, question)).rstrip() + "\n" if text or warning(raw, question) else ""


def own_time(question: str, cell: Raw) -> str:
    """Return fastnn's time in a cell, or its problem."""
    one = numbers.result(cell)
    seconds = numbers.middle(question, numbers.times(one))
    return tell_seconds(seconds) or plain(one.get("problem") or "not measured")


def ratio_table(raw: Raw, question: str, cells: list[Raw], *, rate: bool = False) -> str:
    """Return a row a cell: fastnn's time, and each peer's ratio with quartiles."""
    names = numbers.peers(cells)
    rows = []
    for cell in cells:
        row = [plain(cell.get("name")), own_time(question, cell)]
        row += [numbers.samples_per_second(cell)] if rate else []
        duels = [numbers.duel(raw, question, cell, name) for name in names]
        rows.append(row + [tell_ratio(duel, quartiles=True) for duel in duels])
    return table(["task", "fastnn", *(["samples/s"] if rate else []), *names], rows)


def epoch(raw: Raw, drawn: set[str]) -> str:
    """How fast is an epoch?"""
    cells = numbers.cells(raw, "epoch")
    groups = dict.fromkeys(cell.get("group") for cell in cells)
    parts = [
        f"## {group or 'others'}\n\n"
        + ratio_table(raw, "epoch", [c for c in cells if c.get("group") == group], rate=True)
        for group in groups
    ]
    alt = "Each library's time over fastnn's in every task, with quartiles"
    return page(
        numbers.QUESTIONS["epoch"], about(raw, "epoch"), picture("epoch", alt, drawn), RATIOS,
        picture("batch", "Time over fastnn's against the batch size on MNIST", drawn), *parts,
    )  # fmt: skip


def reach(raw: Raw, drawn: set[str]) -> str:
    """How long to 97 % and 98 %?"""
    parts = []
    for cell in numbers.cells(raw, "reach"):
        rows = [_reach_row(raw, cell, one) for one in cell.get("results") or []]
        header = ["", "mean time", "epochs", "seeds that missed", "over fastnn", "settings"]
        parts.append(f"## {cell.get('name')}\n\n" + table(header, rows))
    told = (
        "Times are means over the seeds, and the ratio is that of the means, with the quartiles of "
        "the seeds' ratios in brackets. A seed that missed the goal counts with all its epochs, so "
        "its time is a lower bound.\n"
    )
    return page(
        numbers.QUESTIONS["reach"], about(raw, "reach"),
        picture("reach", "Time to the goal for each seed and library", drawn), told, *parts,
    )  # fmt: skip


def _reach_row(raw: Raw, cell: Raw, one: Raw) -> list[str]:
    details = [told or {} for told in one.get("details") or []]
    epochs = [told["epochs"] for told in details if told.get("epochs")]
    missed = sum(bool(told.get("missed")) for told in details)
    settings = (cell.get("settings") or {}).get(one["peer"]) or {}
    ratio = "" if one["peer"] == numbers.OWN else tell_ratio(
        numbers.duel(raw, "reach", cell, one["peer"]), quartiles=True)  # fmt: skip
    return [
        one["peer"],
        tell_seconds(numbers.middle("reach", numbers.times(one))) or plain(one.get("problem")),
        f"{min(epochs)} to {max(epochs)}" if epochs else "",
        f"{missed} of {len(details)}" if details else "", ratio,
        plain(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())),
    ]  # fmt: skip


def roofline(raw: Raw, drawn: set[str]) -> str:
    """How close to the machine's limit?"""

    def percent(one: Raw | None) -> str:
        part = share(raw, one)
        return "" if part is None else f"{part:.0%}"

    rows = [
        [str(n), plain(one.get("kernel")), plain(one.get("layout")), plain(one.get("shape")),
         str(one.get("threads") or ""), f"{one['flop'] / one['bytes']:.2g}",
         f"{one['flop'] / one['median'] / 1e9:.3g}", percent(one), percent(reference)]
        for n, (one, reference) in enumerate(kernels(raw), 1)
    ]  # fmt: skip
    header = ["", "kernel", "layout", "shape", "threads", "flop/byte", "GFLOP/s",
              "share of the limit", "reference's share"]  # fmt: skip
    told = (
        "The limit of a kernel is the smaller of two: the peak of the cores, and the memory's "
        "bandwidth times its flop for each byte. A kernel whose data stay in a cache can be above "
        "the memory's line.\n"
    )
    alt = "GFLOP/s of each kernel against flop per byte, under the machine's limits"
    return page(
        numbers.QUESTIONS["roofline"], about(raw, "roofline"),
        picture("roofline", alt, drawn), told, table(header, rows), _all_benchmarks(raw),
    )  # fmt: skip


def _all_benchmarks(raw: Raw) -> str:
    """Return every benchmark, the engines side by side."""
    found = benchmarks(raw)
    engines = list(dict.fromkeys(str(one.get("engine")) for one in found))
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for one in found:
        keys = (one.get("group") or one.get("name"), one.get("layout"), one.get("threads"))
        time = f"{tell_seconds(one['median'])} ± {tell_seconds(one.get('iqr')) or '0 s'}"
        rows.setdefault(tuple(map(plain, keys)), {})[str(one.get("engine"))] = time
    text = table(
        ["benchmark", "layout", "threads", *engines],
        [[*key, *(row.get(engine, "") for engine in engines)] for key, row in rows.items()],
    )
    title = "## Every benchmark\n\nMedians and interquartile ranges.\n\n"
    return title + text if text else ""


def scaling(raw: Raw, drawn: set[str]) -> str:
    """How does cost grow?"""
    found = sweeps(raw)
    names = list(dict.fromkeys(name for lines in found.values() for name in lines))
    rows = []
    for sweep, lines in found.items():
        fits = {name: numbers.exponent(*line) for name, line in lines.items()}
        rows.append([sweep, *(numbers.tell_exponent(fits.get(name)) for name in names)])
    parts = [
        f"## {sweep}\n\n"
        + ratio_table(raw, "scaling", [c for c in numbers.cells(raw, "scaling")
                                       if c.get("sweep") == sweep])
        for sweep in found
    ]  # fmt: skip
    told = (
        "Exponents k of time = c x^k, fitted by least squares to the logarithms of the medians, "
        "with the standard error where there are more than two points. With 1, twice as much takes "
        "twice as long; below 1, larger tasks are handled more efficiently.\n"
    )
    alt = "Time against samples, features, width, depth, batch size and threads"
    return page(
        numbers.QUESTIONS["scaling"], about(raw, "scaling"), picture("scaling", alt, drawn),
        told, table(["exponent of", *names], rows), RATIOS if parts else "", *parts,
    )  # fmt: skip


def start(raw: Raw, drawn: set[str]) -> str:
    """What does start-up cost?"""
    return page(
        numbers.QUESTIONS["start"], about(raw, "start"),
        picture("start", "Seconds of fresh processes, by library", drawn), RATIOS,
        ratio_table(raw, "start", numbers.cells(raw, "start")),
        "## Times\n\n" + times_table("start", raw),
    )  # fmt: skip


def predict(raw: Raw, drawn: set[str]) -> str:
    """What does a prediction cost?"""
    alt = "Time for each sample against the samples in a call"
    return page(
        numbers.QUESTIONS["predict"], about(raw, "predict"), picture("predict", alt, drawn),
        RATIOS, ratio_table(raw, "predict", numbers.cells(raw, "predict")),
        "## Times of a call\n\n" + times_table("predict", raw),
    )  # fmt: skip


def times_table(question: str, raw: Raw) -> str:
    """Return the times themselves, of all peers."""
    cells = numbers.cells(raw, question)
    names = [numbers.OWN, *numbers.peers(cells)]

    def told(cell: Raw, name: str) -> Any:
        one = numbers.result(cell, name)
        value = numbers.middle(question, numbers.times(one))
        return tell_seconds(value) or plain(one.get("problem"))

    return table(
        ["", *names], [[plain(c.get("name")), *(told(c, n) for n in names)] for c in cells]
    )


PAGES = {
    "epoch": epoch, "reach": reach, "roofline": roofline, "scaling": scaling, "start": start,
    "predict": predict,
}  # fmt: skip
