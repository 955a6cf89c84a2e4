"""``fastnn bench``: how fast fastnn is on this machine, and how fast the libraries are."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from math import isfinite
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any

import click

from fastnn.cli.bench_data import BenchData, default_data, store
from fastnn.cli.bench_shown import show
from fastnn.cli.options import (
    DataType,
    HiddenType,
    ShareType,
    check_outputs,
    debug_option,
    json_option,
    label_column_option,
    labels_option,
    threads_option,
    write_json,
)
from fastnn.compare import PEERS, Result, compare
from fastnn.errors import InputError
from fastnn.peers import MAKERS
from fastnn.tasks import Task
from fastnn.terminal import Terminal

BATCH_SIZES = (32, 128, 512)
OWN_BATCH_SIZES = (32, 128)
LIBRARIES = ("torch", "jax", "scikit-learn")  # also what pip calls them
UNASKED = ("fastnn", "fastnn bytes", "article")  # its own side, and what suits few tasks
RATES = {"sgd": 1e-3, "adam": 3e-5}  # small: no duel is to diverge
SECONDS = 120
MOST_ROUNDS = 25
# of the reference engine; the slowest library takes about twice as long
ROUND = 0.5
FEW = 2048  # samples that it is timed with
SINGLY = 100  # batches whose losses are compared one by one


@click.command()
@click.option(
    "--data",
    type=DataType(),
    metavar="DATA",
    help="Samples of your own, or a named data set; as for train. [default: mnist where it is on "
    "this machine, else made-up images like it]",
)
@labels_option
@label_column_option
@click.option(
    "--hidden",
    type=HiddenType(),
    multiple=True,
    default=("128",),
    show_default=True,
    help="Hidden layers: repeat it, or give a list such as 256,128; none for no hidden layer.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(min=1),
    multiple=True,
    help="Samples in a mini-batch; may be repeated. [default: 32, 128 and 512; 32 and 128 with "
    "--data]",
)
@click.option(
    "--optimizer",
    type=click.Choice(tuple(RATES)),
    default="sgd",
    show_default=True,
    help="How gradients move the parameters.",
)
@threads_option
@click.option(
    "--peer",
    "peers",
    type=click.Choice([name for name in MAKERS if name not in UNASKED]),
    multiple=True,
    help="What to compare with; may be repeated. [default: torch, jax and scikit-learn, those "
    "that are installed]",
)
@click.option(
    "--seconds",
    type=ShareType(0, 86400),
    default=SECONDS,
    show_default=True,
    help="How long to measure; three rounds are made in any case.",
)
@json_option
@debug_option
def bench(
    data: str | None,
    labels: str | None,
    label_column: str | None,
    hidden: tuple[tuple[int, ...], ...],
    batch_sizes: tuple[int, ...],
    optimizer: str,
    threads: int | None,
    peers: tuple[str, ...],
    seconds: float,
    json_path: str | None,
) -> int:
    """Compare fastnn with the libraries that are installed, on this machine.

    Each trains the same network on the same samples in a process of its own. The losses must agree
    before a time counts; then they train in turn, and a ratio is the median over these rounds.
    """
    from fastnn.engine import get_engine
    from fastnn.threads import resolve_threads

    terminal = Terminal(data_on_stdout=json_path == "-", go_on=json_path is not None)
    if data is None and (labels is not None or label_column is not None):
        raise click.UsageError("--labels and --label-column go with --data")
    check_outputs(None, None, json_path, inputs=(data, labels))
    threads = resolve_threads(threads)
    names = tuple(dict.fromkeys(peers)) or tuple(name for name in LIBRARIES if _installed(name))
    with TemporaryDirectory(prefix="fastnn-bench-") as folder:
        samples = _load(terminal, data, labels, label_column, folder)
        wanted = _batch_sizes(samples, batch_sizes, own=data is not None)
        with terminal.notice("compiling the kernels, which is done once and kept ...", after=2.0):
            get_engine("fused", threads=threads).warm_up("float32")
        started = monotonic()
        settings = {
            "data": samples.name,
            "n_samples": samples.n_samples,
            "layer_sizes": samples.sizes(sum(hidden, ())),
            "sparse": samples.is_sparse,
            "batch_sizes": wanted,
            "optimizer": optimizer,
            "dtype": "float32",
            "threads": threads,
            "peers": names,
            "seconds": seconds,
        }
        with terminal.time_bar(seconds) as tell:
            duels = _measure(samples, settings, tell)
    machine = _machine()
    missing = [name for name in LIBRARIES if not _installed(name)]
    rows = [_row(task, result, samples) for task, results in duels for result in results]
    report = {
        "machine": machine,
        "settings": settings,
        "not_installed": missing,
        "seconds": round(monotonic() - started, 3),
        "results": rows,
    }
    write_json(json_path, report)
    show(terminal, report)
    return 1 if any(r["peer"] == "fastnn" and r["problem"] is not None for r in rows) else 0


def _installed(peer: str) -> bool:
    needed = PEERS[peer.partition(" ")[0]]
    return needed is None or find_spec(needed) is not None


def _load(
    terminal: Terminal,
    data: str | None,
    labels: str | None,
    label_column: str | None,
    folder: str,
) -> BenchData:
    from fastnn import datasets
    from fastnn.streams import MEMORY

    if data is None:
        return default_data(folder)
    with terminal.download_bar() as report:
        dataset = datasets.load(
            data, labels=labels, label_column=label_column, memory=MEMORY, report=report
        )
    return store(dataset, folder)


def _batch_sizes(samples: BenchData, asked: Sequence[int], *, own: bool) -> tuple[int, ...]:
    """Return the batch sizes to measure; by default, those that the samples suffice for."""
    n = samples.n_usable
    if asked:
        if max(asked) > n:
            raise InputError(
                f"--batch-size is {max(asked)}; {samples.name} has {n} samples to measure with: "
                "expected no more than that"
            )
        return tuple(dict.fromkeys(asked))
    usual = OWN_BATCH_SIZES if own else BATCH_SIZES
    return tuple(size for size in usual if size <= n) or (n,)


def _measure(
    samples: BenchData, settings: dict[str, Any], tell: Callable[[str], None]
) -> list[tuple[Task, list[Result]]]:
    """Return the tasks and what was measured; each task has its share of the time."""
    end = monotonic() + settings["seconds"]
    unsuited = {peer: samples.unsuited(peer) for peer in settings["peers"]}
    peers = [peer for peer, reason in unsuited.items() if reason is None]
    sizes = settings["batch_sizes"]
    a_round = min(ROUND, settings["seconds"] / (20 * len(sizes) * (1 + len(peers))))
    duels = []
    for index, batch_size in enumerate(sizes):
        now = monotonic()
        task = _task(samples, settings, batch_size, a_round)
        results = compare(
            task,
            peers=peers,
            rounds=MOST_ROUNDS,
            threads=settings["threads"],
            until=now + (end - now) / (len(sizes) - index),
            report=lambda peer, round_, task=task: tell(  # type: ignore[misc]
                f"{task.name}: {peer}, " + (f"round {round_}" if round_ else "starting")
            ),
        )
        results += [
            Result(task.name, peer, [], [], None, problem=reason)
            for peer, reason in unsuited.items()
            if reason is not None
        ]
        duels.append((task, results))
    return duels


def _task(samples: BenchData, settings: dict[str, Any], batch_size: int, a_round: float) -> Task:
    """Return a task in which the reference engine takes about ``a_round`` seconds for a round."""

    def task(n_samples: int, calls: int = 1) -> Task:
        adam = settings["optimizer"] == "adam"
        return Task(
            f"batch {batch_size}",
            settings["layer_sizes"],
            n_samples // batch_size * batch_size,
            batch_size,
            optimizer=settings["optimizer"],
            rate=RATES[settings["optimizer"]],
            calls=calls,
            data=samples.where,
            singly=SINGLY,
            means=not adam,
        )

    few = task(min(samples.n_usable, max(FEW, batch_size)))
    peer = MAKERS["reference"](few, settings["threads"])
    order = few.order(0)
    times = []
    for _ in range(4):  # the first warms up; the shortest is the least disturbed
        started = perf_counter()
        peer.train(order, None)
        times.append(perf_counter() - started)
    n = int(a_round / min(times) * few.n_samples)  # samples of a round
    chosen = task(min(max(n, batch_size), samples.n_usable))
    return task(chosen.n_samples, max(1, round(n / chosen.n_samples)))


def _row(task: Task, result: Result, samples: BenchData) -> dict[str, Any]:
    """Return a result for the JSON object, with what follows from its rounds."""
    import numpy as np

    row = asdict(result)
    if row["disagreement"] is not None and not isfinite(row["disagreement"]):
        row["disagreement"] = None
    row |= {"batch_size": task.batch_size, "n_samples": task.n_samples, "calls": task.calls}
    row |= {"samples_per_second": None, "seconds_per_epoch": None, "ratio": None}
    if result.seconds:
        speed = task.n_samples * task.calls / float(np.median(result.seconds))
        row |= {"samples_per_second": speed, "seconds_per_epoch": samples.n_samples / speed}
    if result.ratios:
        row["ratio"] = dict(zip(("lower", "median", "upper"), result.quartiles(), strict=True))
    return row


def _machine() -> dict[str, Any]:
    from fastnn.machine import describe, versions

    found = {key: value for key, value in describe().items() if key != "folders"}
    return found | {"versions": found["versions"] | versions(LIBRARIES)}
