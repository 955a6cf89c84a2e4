"""The pages drawn from all questions: where fastnn loses, memory and energy, and the noise."""

import statistics

from bench.writing import numbers
from bench.writing.numbers import OWN, Duel, Raw, library, plain, tell_bytes, tell_ratio
from bench.writing.roofline import benchmarks
from bench.writing.tables import page, picture, table


def losses(raw: Raw, drawn: set[str]) -> str:
    """Where do we lose, and to whom?"""
    lost, ties, problems, measured = sort_out(raw)
    others = [duel for duel in lost if library(duel.peer) != OWN]
    own = [duel for duel in lost if library(duel.peer) == OWN]
    parts = [verdict(raw) + "\n"]
    parts += [
        f"## Lost to {name}\n\n" + _table(d for d in others if library(d.peer) == name)
        for name in sorted({library(duel.peer) for duel in others})
    ]
    if slower_kernels(raw):
        parts.append("## Kernels slower than the reference engine\n\n" + table(
            ["benchmark", "fused", "reference"], slower_kernels(raw)))  # fmt: skip
    if ties:
        parts.append(
            "## Ties\n\nNot slower in the median, but 1 lies within the quartiles.\n\n"
            + _table(ties)
        )
    if own:
        parts.append("## Our own layouts\n\nWhere another way to hand fastnn the data is faster "
                     "than its default.\n\n" + _table(own))  # fmt: skip
    if problems:
        rows = [[d.question, plain(d.cell.get("name")), d.peer, plain(d.problem)] for d in problems]
        parts.append("## What was not counted\n\n"
                     + table(["question", "task", "peer", "why"], rows))  # fmt: skip
    parts.append(f"{len(measured)} comparisons were made in all.\n")
    return page("Where do we lose, and to whom?", *parts)


def sort_out(raw: Raw) -> tuple[list[Duel], list[Duel], list[Duel], list[Duel]]:
    """Return what was lost (worst first), ties, what has a problem, and all that was measured."""
    found = list(numbers.duels(raw))
    measured = sorted((d for d in found if d.ratio), key=lambda d: d.ratio.middle)
    lost = [duel for duel in measured if duel.ratio.middle < 1]
    ties = [d for d in measured if d.ratio.middle >= 1 >= d.ratio.low and library(d.peer) != OWN]
    return lost, ties, [d for d in found if d.problem], measured


def verdict(raw: Raw) -> str:
    """Return in a sentence how much was lost, or what came closest."""
    lost, _, _, measured = sort_out(raw)
    others = [duel for duel in measured if library(duel.peer) != OWN]
    if not others:
        return "Nothing was compared in this run."
    worst, count = others[0], sum(library(duel.peer) != OWN for duel in lost)
    name = f"{worst.peer} in “{plain(worst.cell.get('name'))}”"
    told = f"{name}, at {tell_ratio(worst)} fastnn's time."
    who = f"of {len(others)} comparisons another library or the reference was faster"
    return (
        f"In {count} {who}; the worst is {told}"
        if count
        else (f"In none {who}; the closest is {told}")
    )


def slower_kernels(raw: Raw) -> list[list[str]]:
    """Return the benchmarks in which the NumPy reference beats the fused engine."""
    medians: dict[tuple[str, ...], dict[str, float]] = {}
    for one in benchmarks(raw):
        key = (plain(one.get("group") or one.get("name")), plain(one.get("threads")))
        of_group = medians.setdefault(key, {})
        name = str(one.get("engine"))
        of_group[name] = min(one["median"], of_group.get(name, one["median"]))
    return [
        [group, numbers.tell_seconds(found["fused"]), numbers.tell_seconds(found["reference"])]
        for (group, _), found in medians.items()
        if {"fused", "reference"} <= set(found) and found["fused"] > found["reference"]
    ]


def _table(duels: object) -> str:
    rows = [
        [
            duel.question,
            plain(duel.cell.get("name")),
            duel.peer,
            tell_ratio(duel, quartiles=True),
            "1x lies within the quartiles" if duel.ratio.low <= 1 <= duel.ratio.high else "",
        ]
        for duel in duels
    ]
    return table(["question", "task", "peer", "its time over fastnn's", ""], rows)


def memory(raw: Raw, drawn: set[str]) -> str:
    """How much memory, and energy?"""
    rows = [
        [plain(cell.get("name")), one["peer"], tell_bytes(told["start"]),
         tell_bytes(told["peak"]), tell_bytes(told["peak"] - told["start"])]
        for cell in numbers.cells(raw, "epoch") for one in cell.get("results") or []
        if (told := one.get("memory"))
    ]  # fmt: skip
    text = (
        "Resident memory of a process of its own: after imports and data, at its peak, and what "
        "training added. In the plot the paler part of a bar is there before training.\n"
    )
    header = ["task", "", "before training", "peak", "added by training"]
    return page(
        "How much memory?", picture("memory", "Peak memory by library", drawn),
        text if rows else "Memory was not measured in this run.\n", table(header, rows),
        "## Energy\n\n" + energy(raw),
    )  # fmt: skip


def energy(raw: Raw) -> str:
    """Return joules a round where they were measured, or why not."""
    rows = []
    for question in numbers.QUESTIONS:
        for cell in numbers.cells(raw, question):
            for one in cell.get("results") or []:
                joules = [value for value in one.get("joules") or [] if value is not None]
                if joules:
                    told = f"{statistics.median(joules):.3g} J"
                    rows.append([question, plain(cell.get("name")), one["peer"], told])
    source = f"Source: {raw.get('energy') or 'not known'}.\n"
    if not rows:
        return f"Energy was not measured. {source}"
    return f"{source}\n" + table(["question", "task", "", "energy of a round"], rows)


def noise(raw: Raw, drawn: set[str]) -> str:
    """How steady was the machine?"""
    during = [name for name in numbers.QUESTIONS if numbers.calibration(raw, "compute", name)
              or numbers.calibration(raw, "memory", name)]  # fmt: skip
    rows = []
    for name in [*during, None]:
        taken = [numbers.calibration(raw, kind, name) for kind in ("compute", "memory")]
        spreads = [f"{numbers.relative_iqr(values):.1%}" if values else "" for values in taken]
        worst = [f"{max(v) / min(v):.2f}" if v else "" for v in taken]
        mark = numbers.DAGGER if name and numbers.restless(raw, name) else ""
        rows.append([f"{name or 'the whole run'}{mark}", str(max(map(len, taken))),
                     spreads[0], spreads[1], worst[0], worst[1]])  # fmt: skip
    header = ["during", "times taken", "compute, IQR / median", "memory, IQR / median",
              "compute, longest / shortest", "memory, longest / shortest"]  # fmt: skip
    text = (
        "Two kernels that never change, a compute loop and a memory copy, were timed again and "
        "again through the run. What they vary by, no other figure can be more certain than; "
        "ratios suffer less, since the peers' rounds are interleaved.\n"
    )
    return page(
        "How steady was the machine?", text,
        picture("noise", "Times of unchanging kernels through the run", drawn),
        table(header, rows) if during else "No calibration in this run.\n", doubtful(raw) + "\n",
    )  # fmt: skip


def doubtful(raw: Raw) -> str:
    """Return in a sentence how steady it was, and how many ratios are uncertain."""
    measured = [duel for duel in numbers.duels(raw) if duel.ratio]
    spreads = {kind: numbers.calibration(raw, kind) for kind in ("compute", "memory")}
    told = " and ".join(f"{kind} by {numbers.relative_iqr(values):.1%}"
                        for kind, values in spreads.items() if values)  # fmt: skip
    count = sum(duel.doubtful for duel in measured)
    told = told or "not taken"
    return (f"Unchanging kernels varied (interquartile range over median): {told}; "
            f"{count} of {len(measured)} ratios are marked {numbers.DAGGER} as uncertain."
            )  # fmt: skip


PAGES = {"memory": memory, "losses": losses, "noise": noise}
