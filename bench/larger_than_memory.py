"""What does it cost to train on a file that is read by windows: speed, memory, and accuracy?

``python -m bench.larger_than_memory --folder DIR`` makes up images of 784 bytes in DIR and trains
one epoch on as many as fit in memory, and one on all of them from the file; then it trains on the
real MNIST (in ``FASTNN_DATA``), shuffled whole, by windows, and by windows of a file that is sorted
by class. ``--write`` writes ``reports/larger_than_memory.md`` and the figures behind it as JSON.
Nothing else should run meanwhile.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter
from typing import Any

import numpy as np

import fastnn
from fastnn.console import print_line
from fastnn.files import write_atomically
from fastnn.machine import describe
from fastnn.streams import samples as streams

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "larger_than_memory.md"
RAW = ROOT / "reports" / "larger_than_memory.json"

ROWS = 8_100_000  # as infinite MNIST has
IN_MEMORY = 1_000_000  # rows, at most, of the run that holds them
FEATURES, CLASSES = 784, 10
ZEROS = 0.81  # share of the values, as in MNIST
ROUNDS = 3
STEP = 20_000  # rows that are made, or read, at a time
SEEDS = (0, 1, 2)
WINDOWS = 24  # of the real data, at least: 47 MB in windows of 2 MB


# --- made-up data -------------------------------------------------------------------------------


def make(folder: Path, n_rows: int) -> None:
    """Write X.npy and y.npy: each class has pixels of its own that are often lit."""
    rng = np.random.default_rng(0)
    lit = np.clip(rng.gamma(0.4, (1 - ZEROS) / 0.4, (CLASSES, FEATURES)), 0, 0.95)
    lit *= (1 - ZEROS) / lit.mean()
    y = rng.integers(0, CLASSES, n_rows).astype(np.uint8)
    np.save(folder / "y.npy", y)
    header = {"descr": "|u1", "fortran_order": False, "shape": (n_rows, FEATURES)}
    with (folder / "X.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_rows, STEP):
            here = y[start : start + STEP]
            shape = (len(here), FEATURES)
            values = rng.integers(1, 256, shape, dtype=np.uint8)
            values *= rng.random(shape, dtype=np.float32) < lit[here]
            file.write(values.tobytes())


def cache(path: Path) -> None:
    """Read a file, so that as much of it as fits is in the page cache."""
    with path.open("rb") as file:
        while file.read(2**22):
            pass


# --- speed and memory ---------------------------------------------------------------------------


def anonymous_memory() -> int:
    """Return what this process has of its own in memory, in bytes (RssAnon)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


class Peak:
    """The largest ``anonymous_memory`` while a block runs, asked every few milliseconds."""

    def __enter__(self) -> "Peak":
        self.bytes, self._done = 0, Event()
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, anonymous_memory())


def one_epoch(folder: Path, n_in_memory: int) -> dict[str, Any]:
    """Train one epoch: on so many rows held in memory, or on all from the file for 0."""
    with Peak() as peak:
        y = np.load(folder / "y.npy")
        X: Any = folder / "X.npy"
        if n_in_memory:
            y = y[:n_in_memory]
            X = np.array(np.load(X, mmap_mode="r")[:n_in_memory])
        fastnn.get_engine().warm_up()
        started = perf_counter()
        model = fastnn.fit(
            fastnn.Network((FEATURES, 128, CLASSES)), X, y, epochs=1, batch_size=128, seed=0,
            scale=1 / 255, memory=0,
        )  # fmt: skip
        whole = perf_counter() - started
    seconds = model.history.seconds[0]
    return {
        "rows": len(y),
        "rows_per_second": len(y) / seconds,
        "rows_per_second_of_fit": len(y) / whole,
        "peak_anonymous_MB": peak.bytes / 1e6,
        "loss": model.history.loss[0],
        "streamed": model.settings["streamed"],
    }


def in_child(folder: Path, n_in_memory: int) -> dict[str, Any]:
    """Return ``one_epoch`` of a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "bench.larger_than_memory", "--folder", str(folder)]
    command += ["--child", str(n_in_memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def speed(parent: Path | None, n_rows: int) -> dict[str, Any]:
    """Make up the data, and train from memory and from the file."""
    with TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        make(folder, n_rows)
        in_child(folder, min(n_rows, STEP))  # compiles, if that is still to do
        cache(folder / "X.npy")
        # in turn, so that a busy machine slows both
        rounds = [
            {"memory": in_child(folder, min(n_rows, IN_MEMORY)), "file": in_child(folder, 0)}
            for _ in range(ROUNDS)
        ]
    ratios = [
        pair["file"]["rows_per_second"] / pair["memory"]["rows_per_second"] for pair in rounds
    ]
    return {"rounds": rounds, "ratio": statistics.median(ratios)}


# --- the quality of the shuffle -----------------------------------------------------------------


def shuffles() -> dict[str, list[float]]:
    """Return test accuracies on the real MNIST, one a seed, for each way of shuffling."""
    data = fastnn.datasets.load("mnist")
    by_class = np.argsort(data.y_train, kind="stable")
    before = streams.WINDOW_BYTES, streams.BLOCK_BYTES
    size = data.X_train.nbytes // WINDOWS
    # blocks in proportion: a window has as many of them as one of 32 MiB
    streams.WINDOW_BYTES, streams.BLOCK_BYTES = size, size * before[1] // before[0]
    try:
        with TemporaryDirectory() as name:
            paths = Path(name, "file.npy"), Path(name, "sorted.npy")
            np.save(paths[0], data.X_train)
            np.save(paths[1], data.X_train[by_class])
            y_sorted = data.y_train[by_class]
            ways = {
                "all rows, in memory": (data.X_train, data.y_train),
                f"{WINDOWS} windows of the file": (paths[0], data.y_train),
                f"{WINDOWS} windows of the file sorted by class": (paths[1], y_sorted),
            }
            return {way: [accuracy(data, X, y, s) for s in SEEDS] for way, (X, y) in ways.items()}
    finally:
        streams.WINDOW_BYTES, streams.BLOCK_BYTES = before


def accuracy(data: "fastnn.datasets.Dataset", X: Any, y: Any, seed: int) -> float:
    """Train with the defaults and return the test accuracy."""
    network = fastnn.Network((FEATURES, 128, CLASSES))
    model = fastnn.fit(network, X, y, seed=seed, scale=data.scale, memory=0)
    return model.evaluate(data.X_test, data.y_test)[1]


# --- the report ---------------------------------------------------------------------------------


def speed_table(result: dict[str, Any]) -> str:
    """Return the Markdown table of speed and memory."""
    lines = ["| samples | rows | rows per second | peak RssAnon |", "|---|---|---|---|"]
    for key, name in (("memory", "in memory"), ("file", "read from the file")):
        rows = [pair[key] for pair in result["rounds"]]
        rate = statistics.median(row["rows_per_second"] for row in rows)
        peak = max(row["peak_anonymous_MB"] for row in rows)
        lines.append(f"| {name} | {rows[0]['rows']:,} | {rate:,.0f} | {peak:.0f} MB |")
    ratio = f"Ratio of the rates, median of {ROUNDS} rounds: {result['ratio']:.2f}."
    return "\n".join([*lines, "", ratio])


def shuffle_table(result: dict[str, list[float]]) -> str:
    """Return the Markdown table of accuracies."""
    lines = ["| shuffled | test accuracy, mean | each seed |", "|---|---|---|"]
    for way, found in result.items():
        each = ", ".join(f"{value:.2%}" for value in found)
        lines.append(f"| {way} | {statistics.mean(found):.2%} | {each} |")
    return "\n".join(lines)


def report(result: dict[str, Any]) -> str:
    """Return the page."""
    machine = result["machine"]
    return f"""# What does it cost to train on a file larger than memory?

Generated by `python -m bench.larger_than_memory --write`; do not edit. fastnn
{fastnn.__version__}, Python {platform.python_version()}, NumPy {machine["versions"]["numpy"]},
{machine["cpu"]["model"]}, {machine["cpu"]["usable_cpus"]} CPUs.

## Speed and memory

One epoch of 784-128-10 at batch size 128 on made-up images, {ZEROS:.0%} zeros, each run in a
process of its own. The file was read once before, so that as much of it as fits is cached. RssAnon
is what the process has of its own: imports, compiled code, labels, buffers; the highest is shown.

{speed_table(result["speed"])}

## Does the shuffle do?

MNIST with the defaults of `fastnn.fit`, {len(SEEDS)} seeds. The windows are made small, so that
there are as many of them, and as many blocks in each, as for a file of {WINDOWS * 32} MiB.

{shuffle_table(result["shuffles"])}
"""


def main() -> None:
    """Measure, print, and write if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--folder", type=Path, help="where the made-up file is put for a while")
    parser.add_argument("--only", choices=("speed", "shuffles"))
    parser.add_argument("--write", action="store_true", help="write the report")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print_line(json.dumps(one_epoch(arguments.folder, arguments.child)))
        return
    machine = describe()
    del machine["folders"]  # nobody else's business
    result: dict[str, Any] = {"machine": machine}
    if arguments.only != "shuffles":
        result["speed"] = speed(arguments.folder, arguments.rows)
        print_line(speed_table(result["speed"]))
    if arguments.only != "speed":
        result["shuffles"] = shuffles()
        print_line(shuffle_table(result["shuffles"]))
    if arguments.write:
        if arguments.only:
            parser.error("--write needs both parts: leave out --only")
        write_atomically(RAW, (json.dumps(result, indent=1) + "\n").encode())
        write_atomically(REPORT, report(result).encode())


if __name__ == "__main__":
    main()
