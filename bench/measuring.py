"""How each question of the report is measured; see ``grid.py`` for what it is measured on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

import fastnn
from bench import grid, reaching
from bench.grid import Cell
from fastnn.compare import Result, compare, describe
from fastnn.console import print_line
from fastnn.tasks import Task
from fastnn.workers import Workers

ROOT = Path(__file__).parent.parent
ABOUT = {
    "roofline": "Each kernel by itself, one thread, beside loops that do nothing but FMAs and "
    "nothing but copies: the pytest-benchmark suite in `bench/`, run just before.",
    "epoch": "One round of training, the same batches for all: "
    + "; ".join(f"{name}: {text}" for name, text in grid.ABOUT.items())
    + ". Cells that would run long have fewer rows than the data, for all alike; `--all` takes the "
    "whole grid.",
    "reach": "Training time until that share of MNIST's test samples is right, looked at after "
    "each epoch: 784-128-10, plain SGD, cosine schedule by epochs. Once all on one schedule; once "
    "each with the setting of a small grid that was fastest for it, chosen on 10,000 training "
    "samples that were held out.",
    "scaling": "A table through 128-256-10 at batch 128, 4096 rows; one thing at a time is varied.",
    "start": "Fresh processes, from their start to their end.",
    "predict": "Probabilities of images through 784-128-10, by calls of so many samples. `fastnn` "
    "is `model.predictor()`; `array` and `prepared` are `model.predict_proba`.",
}
SCHEDULED = Task(
    "MNIST to the goals", (784, 128, 10), 60_000, 32, rate=0.4, data="mnist", schedule="cosine",
    horizon=8, rate_per_epoch=True, singly=20, means=False, module="bench.reaching",
)  # fmt: skip
REACHERS = ("jax", "torch", "scikit-learn")


def plan(name: str, mode: str) -> tuple[str, list[Cell]]:
    """Return what a question is about, and its cells."""
    quick = mode == "quick"
    cells: dict[str, Any] = {
        "epoch": lambda: grid.few() if quick else grid.subset() if mode == "full"
        else grid.whole_grid(),
        "scaling": lambda: grid.sweeps(quick=quick),
        "predict": lambda: grid.predictions(quick=quick),
    }  # fmt: skip
    return ABOUT[name], cells.get(name, list)()


def answer(name: str, mode: str, cells: list[Cell], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a question's cells, or what else its page needs, as they are measured."""
    if name == "roofline":
        yield suite(mode)
    elif name == "reach":
        yield from reach(mode)
    elif name == "start":
        yield {"cells": starts(mode)}
    elif name == "epoch":  # fresh processes, so that their memory is the task's
        for cell in cells:
            yield {"cells": [duel(cell, rounds)]}
    else:
        pools = {n: Workers(n, kept=True) for n in {cell.threads for cell in cells}}
        try:
            for cell in cells:
                yield {"cells": [duel(cell, rounds, pools[cell.threads])]}
        finally:
            for pool in pools.values():
                pool.close()


def duel(cell: Cell, rounds: int, pool: Workers | None = None) -> dict[str, Any]:
    """Let the peers of a cell run in turn."""
    task, missing = cell.task, absent(cell.task)
    if missing is not None:
        results = [Result(task.name, "fastnn", [], [], None, missing)]
    else:
        results = compare(
            task, peers=cell.peers, rounds=rounds, threads=cell.threads, workers=pool
        )  # fmt: skip
    for result in results:
        print_line(f"  {task.name}: {describe(result)}")
    return as_cell(cell, results, rounds)


def as_cell(cell: Cell, results: list[Result], rounds: int) -> dict[str, Any]:
    """Return what is kept of a cell; of predictions the seconds of one call."""
    calls = cell.task.n_samples // cell.task.batch_size if cell.group == "predict" else 1
    told = [asdict(result) for result in results]
    for result in told:
        result["seconds"] = [value / calls for value in result["seconds"]]
        result["joules"] = result["joules"] or None
    return {
        "name": cell.task.name,
        "group": cell.group,
        "x": cell.x,
        "sweep": cell.sweep,
        "threads": cell.threads,
        "rounds": rounds,
        "headline": cell.headline,
        "task": asdict(cell.task),
        "results": told,
    }


def absent(task: Task) -> str | None:
    """Return why a task's data cannot be had, or None."""
    if task.data in ("uniform", "table", "images", "text"):
        return None
    try:
        fastnn.datasets.load(task.data)
    except (fastnn.InputError, OSError) as error:
        return f"{task.data} is absent: {error}"
    return None


# --- how long to a goal -------------------------------------------------------------------------


def reach(mode: str) -> Iterator[dict[str, Any]]:
    """Yield the cells of both goals: all on one schedule, then each with its best."""
    seeds, peers = (2, REACHERS[:1]) if mode == "quick" else (10, REACHERS)
    task = SCHEDULED
    if absent(task) is not None:
        yield {"cells": [duel(Cell("reach", task), seeds)]}
        return
    results = compare(task, peers=peers, rounds=seeds, threads=2)
    same = {name: settings(task) for name in ("fastnn", *peers)}
    yield {"cells": by_goal("same schedule", task, results, same, seeds)}
    if mode == "quick":
        return
    epochs = reaching.tune(task, 2)
    paces = {n: pace(task, n, peers) for n in {batch for batch, _, _ in epochs}}
    chosen = {
        name: min(epochs, key=lambda point: cost(epochs[point], paces[point[0]][name]))
        for name in ("fastnn", *peers)
    }
    found = [best_of(task, name, chosen[name], seeds) for name in chosen]
    used = {name: dict(zip(("batch_size", "rate", "horizon"), point, strict=True))
            for name, point in chosen.items()}  # fmt: skip
    yield {"cells": by_goal("each with its best", task, found, used, seeds)}


def settings(task: Task) -> dict[str, Any]:
    """Return what the grid varies."""
    return {"batch_size": task.batch_size, "rate": task.rate, "horizon": task.horizon}


def cost(epochs: dict[str, float], seconds: float) -> tuple[float, float]:
    """Return the time to the last goal, then to the first."""
    return epochs[str(reaching.GOALS[1])] * seconds, epochs[str(reaching.GOALS[0])] * seconds


def pace(task: Task, batch_size: int, peers: tuple[str, ...]) -> dict[str, float]:
    """Return the seconds of an epoch of each peer."""
    task = replace(task, batch_size=batch_size, n_samples=20_480, module="fastnn.peers")
    return {
        result.peer: float(np.median(result.seconds)) if result.seconds else float("inf")
        for result in compare(task, peers=peers, rounds=3, threads=2)
    }


def best_of(task: Task, name: str, point: tuple[int, float, int], seeds: int) -> Result:
    """Let one peer train with its own setting, fastnn beside it at the same time of day."""
    batch_size, rate, horizon = point
    task = replace(task, batch_size=batch_size, rate=rate, horizon=horizon)
    peers = () if name == "fastnn" else (name,)
    return compare(task, peers=peers, rounds=seeds, threads=2)[-1]


def by_goal(
    how: str, task: Task, results: list[Result], used: dict[str, Any], seeds: int
) -> list[dict[str, Any]]:
    """Return a cell for each goal."""
    cells = []
    for goal in reaching.GOALS:
        named = replace(task, name=f"{goal * 100:.0f} %, {how}")
        of_goal = []
        for result in results:
            told = [details["goals"][str(goal)] for details in result.details]
            seconds = [seed["seconds"] for seed in told] if result.seconds else []
            of_goal.append(replace(result, seconds=seconds, details=told))
            print_line(f"  {named.name}: {result.peer} {np.mean(seconds or [np.nan]):.3g} s")
        cells.append({**as_cell(Cell("reach", named), of_goal, seeds), "settings": used})
    return cells


# --- starts -------------------------------------------------------------------------------------

_DIGITS = (
    "from sklearn.datasets import load_digits; X, y = load_digits(return_X_y=True); "
    "X = (X / 16).astype('float32'); "
)
_TORCH = _DIGITS + (
    "import torch; torch.set_num_threads(2); X, y = torch.from_numpy(X), torch.from_numpy(y); "
    "m = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)); "
    "o = torch.optim.Adam(m.parameters(), fused=True)\n"
    "for i in torch.randperm(len(X)).split(32):\n"
    "    o.zero_grad(); torch.nn.functional.cross_entropy(m(X[i]), y[i]).backward(); o.step()"
)
_JAX = _DIGITS + (
    "import jax, jax.numpy as jnp; k = jax.random.key(0); X, y = jnp.asarray(X), jnp.asarray(y)\n"
    "p = [jax.random.normal(k, (64, 128)) / 8, jnp.zeros(128), "
    "jax.random.normal(k, (128, 10)) / 11, jnp.zeros(10)]\n"
    "def loss(p, i):\n"
    "    Z = jnp.maximum(X[i] @ p[0] + p[1], 0) @ p[2] + p[3]\n"
    "    return -jnp.take_along_axis(jax.nn.log_softmax(Z), y[i][:, None], 1).mean()\n"
    "def step(p, i):\n"
    "    return jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(loss)(p, i)), 0\n"
    "order = jax.random.permutation(k, len(X))[:1792].reshape(-1, 32)\n"
    "jax.block_until_ready(jax.jit(lambda p: jax.lax.scan(step, p, order))(p))"
)
_FASTNN = (
    "import fastnn; d = fastnn.datasets.load('digits'); fastnn.fit(fastnn.Network((64, 128, 10)), "
    "d.X_train, d.y_train, scale=d.scale, epochs=1, seed=0"
)
_SKLEARN = _DIGITS + (
    "from sklearn.neural_network import MLPClassifier; "
    "MLPClassifier((128,), batch_size=32).partial_fit(X, y, classes=range(10))"
)
STARTS = {
    "import": {
        "fastnn": "import fastnn.fused.engine",
        "reference": "import fastnn.reference",
        "jax": "import jax.numpy",
        "torch": "import torch",
        "scikit-learn": "import sklearn.neural_network",
    },
    "import and one epoch of the digits, warm": {
        "fastnn": _FASTNN + ")",
        "reference": _FASTNN + ", engine='reference')",
        "jax": _JAX,
        "torch": _TORCH,
        "scikit-learn": _SKLEARN,
    },
}


def starts(mode: str) -> list[dict[str, Any]]:
    """Time fresh processes in turn, and one with no compiled kernels on disk."""
    rounds = 1 if mode == "quick" else 9
    cells = []
    for name, programs in STARTS.items():
        times: dict[str, Any] = {peer: [] for peer in programs}
        problems: dict[str, str] = {}
        for _ in range(rounds + 1):
            for peer, program in programs.items():
                if peer not in problems:
                    seconds, problem = time_program(program)
                    times[peer].append(seconds)
                    if problem is not None:
                        problems[peer] = problem
        results = [Result(name, peer, [] if peer in problems else times[peer][1:], [], None,
                          problems.get(peer)) for peer in programs]  # fmt: skip
        cells.append(as_cell(Cell("start", Task(name, (64, 128, 10), 1437, 32)), results, rounds))
    with TemporaryDirectory() as folder:
        seconds, problem = time_program(_FASTNN + ")", NUMBA_CACHE_DIR=folder)
    cold = "the same, cold: kernels are compiled"
    result = Result(cold, "fastnn", [] if problem else [seconds], [], None, problem)
    cells.append(as_cell(Cell("start", Task(cold, (64, 128, 10), 1437, 32)), [result], 1))
    for cell in cells:
        for told in cell["results"]:
            print_line(
                f"  {cell['name']}: {told['peer']} {np.median(told['seconds'] or [0]):.3g} s"
            )
    return cells


def time_program(program: str, **variables: str) -> tuple[float, str | None]:
    """Return the seconds that a program takes, and what it died of."""
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **variables},
    )  # fmt: skip
    problem = None
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        problem = "not installed" if "ModuleNotFoundError" in problem else problem
    return perf_counter() - started, problem


# --- kernels ------------------------------------------------------------------------------------


def suite(mode: str) -> dict[str, Any]:
    """Run the pytest-benchmark suite; return its benchmarks, and the roofs among them."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "suite.json")
        marked = "kernels" if mode == "quick" else "not starts"
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "bench", "-q", "-m", marked,
                f"--benchmark-json={path}", "--benchmark-warmup=off", "--benchmark-min-rounds=9",
                f"--benchmark-max-time={0.05 if mode == 'quick' else 0.2}",
            ],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if not path.exists():
            raise RuntimeError(f"the suite of benchmarks failed:\n{done.stdout[-2000:]}")
        found = json.loads(path.read_text())["benchmarks"]
    for line in done.stdout.splitlines():
        if line.startswith("FAILED"):
            print_line("  " + line)
    benchmarks = [
        {"name": one["name"], "group": one["group"], "median": one["stats"]["median"],
         "iqr": one["stats"]["iqr"], **one["extra_info"]}
        for one in found
    ]  # fmt: skip
    roofs: dict[str, dict[str, float]] = {"peak_flops": {}, "bandwidth": {}}
    for one in benchmarks:
        if one.get("engine") == "machine":
            kind, count = (
                ("peak_flops", "flop") if one["kernel"] == "FMA peak" else ("bandwidth", "bytes")
            )
            roofs[kind][str(one["threads"])] = one[count] / one["median"]
    return {"benchmarks": benchmarks, "roofs": roofs, "failed": done.returncode != 0}
