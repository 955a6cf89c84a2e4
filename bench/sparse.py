"""What does it bring to skip the zeros of X, next to other libraries?

``python -m bench.sparse`` measures the figures of ``bench/tasks.py``, each in one interleaved run;
``--write`` writes ``reports/sparse.md`` and the figures behind it as JSON. The real MNIST is looked
for in ``FASTNN_DATA``. Nothing else should run meanwhile.
"""

import argparse
import json
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from bench import reaching
from bench.comparison import seconds
from bench.tasks import FIGURES, PREPARE, PREPARE_LIMITS, PROCESSES, REACH, Figure, Target
from fastnn.compare import Result, compare, describe
from fastnn.console import print_line
from fastnn.files import write_atomically
from fastnn.machine import describe as describe_machine
from fastnn.machine import versions
from fastnn.tasks import Task

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "sparse.md"
RAW = ROOT / "reports" / "sparse.json"
NAMES = (*FIGURES, "prepare")
SHORT = "**falls short**"

# --- measuring ----------------------------------------------------------------------------------


def cut(task: Task, epochs: int | None, samples: int | None) -> Task:
    """Return a smaller task, to try the programs out."""
    if epochs is not None and task.module == "bench.article_call":
        task = replace(task, epochs=epochs)
    if samples is None or samples >= task.n_samples:
        return task
    batch_size = samples if task.batch_size == task.n_samples else task.batch_size
    return replace(task, n_samples=samples, batch_size=batch_size)


def absent(task: Task) -> str | None:
    """Return why a task's data cannot be had, or None."""
    if task.data in ("uniform", "text"):
        return None
    try:
        fastnn.datasets.load(task.data)
    except (fastnn.InputError, OSError) as error:
        print_line(str(error))
        return f"{task.data} is absent"
    return None


def measure(task: Task, peers: tuple[str, ...], rounds: int) -> list[Result]:
    """Let the peers of a task run in turn; all have the same problem where data are absent."""
    problem = absent(task)
    if problem is not None:
        found = [Result(task.name, name, [], [], None, problem) for name in ("fastnn", *peers)]
    else:
        found = compare(task, peers=peers, rounds=rounds)
    for result in found:
        print_line(f"{task.name}: {describe(result)}")
    return found


def measure_prepare(task: Task, rounds: int) -> dict[str, Any]:
    """Prepare MNIST in fresh processes; return the results and the compressed forms' bytes."""
    results: list[Result] = []
    for _ in range(PROCESSES):
        results += measure(task, ("fastnn bytes",), rounds)
    if results[0].problem is not None:
        return {"results": results, "bytes": {}}
    X, (raw, _) = task.samples()[0], task.raw_samples()
    forms = {"fastnn": fastnn.prepare(X), "fastnn bytes": fastnn.prepare(raw, scale=1 / 255)}
    sizes = {name: X.compressed.nbytes for name, X in forms.items() if X.compressed is not None}
    return {"results": results, "bytes": sizes}


# --- the report ---------------------------------------------------------------------------------


def row(figure: Figure, target: Target | None, base: Result, result: Result) -> str:
    """Return a line: the two times, their ratio with quartiles, the target and whether it is met.

    Medians of the rounds' ratios; the ratio of the means where the figure is one of means.
    """
    aim = "" if target is None else f"{target.factor:g}"
    problem = base.problem or result.problem
    if problem is not None:
        missed = "" if target is None else "not measured"
        return (
            f"| {result.task} | {result.peer} | {base.peer} | {problem} | | | | {aim} | {missed} |"
        )
    ratios = np.divide(result.seconds, base.seconds)
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    average = statistics.mean if figure.mean else statistics.median
    times = average(result.seconds), average(base.seconds)
    ratio = times[0] / times[1] if figure.mean else middle
    met = "" if target is None else "met" if ratio >= target.factor else SHORT
    return (
        f"| {result.task} | {result.peer} | {base.peer} | {seconds(times[0])} "
        f"| {seconds(times[1])} | {ratio:.2f} | {low:.2f} to {high:.2f} | {aim} | {met} |"
    )


def table(figure: Figure, results: list[Result]) -> str:
    """Return the Markdown table of a figure: first what was aimed at, then the rest."""
    found = {(result.task, result.peer): result for result in results}
    lines = [
        "| task | peer | over | peer's time | time | ratio | quartiles | target | |",
        "|" + "---|" * 9,
    ]
    aimed = {(target.task, target.peer) for target in figure.targets}
    for target in figure.targets:
        if (target.task, target.peer) in found:
            base, peer = found[target.task, target.base], found[target.task, target.peer]
            lines.append(row(figure, target, base, peer))
    for (task, name), result in found.items():
        if name != "fastnn" and (task, name) not in aimed:
            lines.append(row(figure, None, found[task, "fastnn"], result))
    return "\n".join(lines)


def reached(results: list[Result]) -> str:
    """Return after how many epochs the goal was reached, seed by seed, where that was told."""
    lines = [
        f"- {result.peer}: {', '.join(str(told['epochs']) for told in result.details)} epochs"
        for result in results
        if result.details and "epochs" in result.details[0]
    ]
    return "\n".join(["", *lines]) if lines else ""


def prepare_table(found: dict[str, Any]) -> str:
    """Return the Markdown table of ``prepare``: medians, and the slowest first call."""
    lines = [
        "| samples | first call | slowest first call | later calls | at most | | compressed |",
        "|" + "---|" * 7,
    ]
    for peer, limit in PREPARE_LIMITS.items():
        of_peer = [result for result in found["results"] if result.peer == peer]
        name = {"fastnn": "float32", "fastnn bytes": "uint8 with scale"}[peer]
        problem = next((result.problem for result in of_peer if result.problem), None)
        if problem is not None:
            lines.append(f"| {name} | {problem} | | | {limit} s | not measured | |")
            continue
        firsts = [result.details[0]["first"] for result in of_peer]
        first = statistics.median(firsts)
        later = statistics.median(value for result in of_peer for value in result.seconds)
        met = "met" if max(first, later) <= limit else SHORT
        size = found["bytes"].get(peer)
        told = "not compressed" if size is None else f"{size:,} bytes"
        lines.append(
            f"| {name} | {seconds(first)} | {seconds(max(firsts))} | {seconds(later)} "
            f"| {seconds(limit)} | {met} | {told} |"
        )
    return "\n".join(lines)


def report(found: dict[str, Any], machine: dict[str, Any]) -> str:
    """Return the page."""
    installed = versions(("numpy", "numba", "jax", "torch", "scikit-learn"))
    told = ", ".join(f"{name} {v or 'not installed'}" for name, v in installed.items())
    parts = [
        f"## {name}\n\n{figure.about}\n\n{table(figure, found[name])}{reached(found[name])}\n"
        for name, figure in FIGURES.items()
    ]
    return f"""# What does it bring to skip zeros?

Generated by `python -m bench.sparse --write`; do not edit. {machine["cpu"]["model"]},
{machine["cpu"]["usable_cpus"]} CPUs, {machine["platform"]}; {told}.

Each library runs in a process of its own with 2 threads, and its results were checked against the
reference engine's before it was timed: same weights, same batches. Rounds are interleaved. Times
are medians, ratios the median over the rounds of how many times longer a peer took, unless it says
means.

{chr(10).join(parts)}
## prepare

`fastnn.prepare` on the 60,000 training samples of MNIST, medians of {PROCESSES} fresh processes;
the first call comes after the engine's warm-up.

{prepare_table(found["prepare"])}
"""


def as_json(found: dict[str, Any], machine: dict[str, Any]) -> bytes:
    """Return every figure."""
    raw: dict[str, Any] = {"fastnn": fastnn.__version__, "machine": machine}
    raw["versions"] = versions(("numpy", "numba", "jax", "torch", "scikit-learn"))
    text = json.dumps({**raw, "figures": found}, indent=1, default=asdict)
    return (text + "\n").encode()


def main() -> None:
    """Measure, print, and write if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--epochs", type=int, help="of the article's figure, to try it out")
    parser.add_argument("--samples", type=int, help="at most, to try the program out")
    parser.add_argument("--tune", action="store_true", help="try settings for accuracy, no more")
    parser.add_argument("--write", action="store_true", help="write the report")
    options = parser.parse_args()
    whole = (tuple(options.only), options.epochs, options.samples) == (NAMES, None, None)
    if options.write and not whole:
        parser.error("--write needs the whole: leave out --only, --epochs and --samples")
    if options.tune:
        reaching.tune(REACH)
        return
    found: dict[str, Any] = {}
    for name in options.only:
        if name == "prepare":
            found[name] = measure_prepare(cut(PREPARE, None, options.samples), options.rounds)
            print_line(prepare_table(found[name]))
            continue
        found[name] = []
        for task, peers in FIGURES[name].tasks:
            smaller = cut(task, options.epochs, options.samples)
            rounds = FIGURES[name].rounds or options.rounds
            found[name] += measure(smaller, peers, rounds)
        print_line(table(FIGURES[name], found[name]) + reached(found[name]))
    if options.write:
        machine = describe_machine()
        del machine["folders"]  # nobody else's business
        write_atomically(RAW, as_json(found, machine))
        write_atomically(REPORT, report(found, machine).encode())


if __name__ == "__main__":
    main()
