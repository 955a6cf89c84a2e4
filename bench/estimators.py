"""How much faster are the estimators than scikit-learn's, with the same settings and result?

``python -m bench.estimators`` lets both do the same in turn, in one process, and prints how many
times as long scikit-learn's took: the median of the rounds' ratios, and their quartiles. First the
results are compared. ``--write`` writes ``reports/estimators.md``, the figures behind it as JSON,
and the table in README.md. MNIST is looked for in ``FASTNN_DATA``. Nothing else should run
meanwhile.
"""

import argparse
import json
import platform
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import sklearn
import sklearn.neural_network
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

import fastnn
from bench import readme
from fastnn.console import print_line
from fastnn.files import write_atomically
from fastnn.machine import describe

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "estimators.md"
RAW = ROOT / "reports" / "estimators.json"

ROUNDS = 5
EPOCHS = 3
FITS = 10  # of the 200 that a grid search may have, a round
CALLS = 1000
CLASSES = {"fastnn": fastnn.MLPClassifier, "scikit-learn": sklearn.neural_network.MLPClassifier}
# Over a few epochs losses in float64 agree so well, relatively. In float32 roundings grow faster:
# both are held against float64, and fastnn's may be off by so many times scikit-learn's error.
AGREEMENT = 1e-12
DRIFT = 5


class Task(NamedTuple):
    """What both do: ``prepare`` returns, for a class, a function to be timed."""

    name: str
    prepare: Callable[[type], Callable[[], None]]
    check: Callable[[], None]


def fitting(name: str, X: Any, y: Any, fits: int = 1, **settings: Any) -> Task:
    """Return the task of fitting, with several seeds if there are several fits."""

    def prepare(kind: type) -> Callable[[], None]:
        def run() -> None:
            for seed in range(fits):
                kind(random_state=seed, **settings).fit(X, y)

        return run

    def check() -> None:
        few = {**settings, "max_iter": EPOCHS, "random_state": 0}
        ours, theirs = (np.array(kind(**few).fit(X, y).loss_curve_) for kind in CLASSES.values())
        if X.dtype == np.float64:
            np.testing.assert_allclose(ours, theirs, rtol=AGREEMENT)
            return
        exact = np.array(CLASSES["scikit-learn"](**few).fit(X.astype(float), y).loss_curve_)
        off, usual = np.abs(ours - exact).max(), np.abs(theirs - exact).max()
        if not off <= DRIFT * usual + np.finfo(X.dtype).eps:
            raise AssertionError(f"losses are off by {off:.3g}, scikit-learn's by {usual:.3g}")

    return Task(f"{name}, {X.dtype}", prepare, check)


def predicting(X: Any, y: Any) -> Task:
    """Return the task of predicting single rows, one call each."""
    fitted = {kind: kind(max_iter=EPOCHS, random_state=0).fit(X, y) for kind in CLASSES.values()}

    def prepare(kind: type) -> Callable[[], None]:
        predict = fitted[kind].predict

        def run() -> None:
            for i in range(CALLS):
                predict(X[i : i + 1])

        return run

    def check() -> None:
        ours, theirs = (model.predict(X) for model in fitted.values())
        if (ours != theirs).mean() > 1e-3:  # roundings decide where two classes are as probable
            raise AssertionError("the predictions differ")

    return Task(f"predict one row ({X.shape[1]} features), {X.dtype}", prepare, check)


def tasks() -> Iterator[Task]:
    """Yield what is measured."""
    mnist = fastnn.datasets.load("mnist")
    for dtype in ("float32", "float64"):
        X = (mnist.X_train * np.float64(mnist.scale)).astype(dtype)
        yield fitting("MNIST, the defaults", X, mnist.y_train, max_iter=EPOCHS)
        table, labels = make_classification(
            100_000, 50, n_informative=20, n_classes=5, random_state=0
        )
        yield fitting(
            "table of 100,000 x 50, (100, 100) hidden", table.astype(dtype), labels,
            hidden_layer_sizes=(100, 100), max_iter=EPOCHS,
        )  # fmt: skip
        small, labels = make_classification(1000, 20, n_informative=10, random_state=0)
        yield fitting("1000 x 20, whole fits", small.astype(dtype), labels, fits=FITS)
        yield predicting(X[:10_000], mnist.y_train[:10_000])
        yield predicting(small.astype(dtype), labels)


def measure(task: Task, rounds: int) -> dict[str, Any]:
    """Check, then time both in turn."""
    task.check()
    runs = {name: task.prepare(kind) for name, kind in CLASSES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in sorted(runs, reverse=bool(turn % 2)):
            started = perf_counter()
            runs[name]()
            if turn:  # the first is a warm-up
                seconds[name].append(perf_counter() - started)
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
    return {"name": task.name, "seconds": seconds, "ratio": middle, "quartiles": [low, high]}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = ["| task | fastnn | scikit-learn | ratio | quartiles |", "|---|---|---|---|---|"]
    for row in rows:
        calls = CALLS if row["name"].startswith("predict") else 1
        ours, theirs = (
            duration(statistics.median(found) / calls) for found in row["seconds"].values()
        )
        low, high = row["quartiles"]
        lines.append(
            f"| {row['name']} | {ours} | {theirs} | {row['ratio']:.1f} | {low:.1f} to {high:.1f} |"
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a duration with three digits."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def report(result: dict[str, Any]) -> str:
    """Return the page."""
    machine, n_rounds = result["machine"], len(result["rows"][0]["seconds"]["fastnn"])
    return f"""# How much faster are the estimators than scikit-learn's?

Generated by `python -m bench.estimators --write`; do not edit. fastnn {fastnn.__version__},
scikit-learn {sklearn.__version__}, Python {platform.python_version()}, NumPy
{machine["versions"]["numpy"]}, {machine["cpu"]["model"]}, {machine["cpu"]["usable_cpus"]} CPUs.

`MLPClassifier` of both, with the same settings: scikit-learn's defaults but for what is named, and
{EPOCHS} epochs of MNIST and of the large table; {FITS} fits with {FITS} seeds of the small one,
each until it ends by itself. First the losses of {EPOCHS} epochs are compared: in float64 they
agree within {AGREEMENT:g}, relatively; in float32 both are held against those. `ratio` is
scikit-learn's time over fastnn's, the median of {n_rounds} rounds
in which both take turns.

{table(result["rows"])}
"""


def main() -> None:
    """Measure, print, and write if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="tasks whose name has this text")
    parser.add_argument("--write", action="store_true", help="write the report")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write needs all tasks: leave out --only")
    warnings.simplefilter("ignore", ConvergenceWarning)  # a few epochs are meant to be few
    machine = describe()
    del machine["folders"]  # nobody else's business
    rows = []
    for task in tasks():
        if arguments.only in task.name:
            rows.append(measure(task, arguments.rounds))
            print_line(table(rows[-1:]).splitlines()[-1])
    if arguments.write:
        result = {"machine": machine, "rows": rows}
        write_atomically(RAW, (json.dumps(result, indent=1) + "\n").encode())
        write_atomically(REPORT, report(result).encode())
        readme.fill("estimators", table(rows))


if __name__ == "__main__":
    main()
