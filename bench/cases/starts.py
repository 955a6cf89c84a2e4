"""How long a process takes to its first result: cold, warm, and the parts of that.

Here ``run`` is good for one call, since a process starts once; benchmarks make it anew each round.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import verbs
from bench.cases.case import Case, Truth, once

ROOT = Path(__file__).parents[2]
IMPORT = "print('[]')"
# what ``verbs.fit_digits`` does, but by fastnn alone: to import the table takes time as well
FIT = f"""
import json, sys
import fastnn
data = fastnn.datasets.load("digits")
network = fastnn.Network((64, 32, 10))
model = fastnn.fit(
    network, data.X_train, data.y_train, optimizer=fastnn.SGD(), scale=data.scale,
    parameters=network.initialize(0), engine=sys.argv[1], **{verbs.SETTINGS!r},
)
print(json.dumps(model.history.loss))
"""
# one line says that it is ready, and after a line from outside the next that it has compiled
COMPILE = (
    """
import sys
from fastnn.fused.compiled import get_entry
from fastnn.fused.tiles import host_tile
tile = host_tile("float32")
print("ready", flush=True)
sys.stdin.readline()
entry = get_entry(tile)
print("compiled", sum(entry.stats.cache_misses.values()), flush=True)
sys.argv = ["", "fused"]
"""
    + FIT
)


def environment(cache: str | None) -> dict[str, str]:
    """Return this environment with the worktree's packages, and a cache of compiled code."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {} if cache is None else {"NUMBA_CACHE_DIR": cache}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **kept}


def process(program: str, *arguments: str, cold: bool = False) -> Any:
    """Return a function that runs a program to its end and returns the last line it prints."""
    cache = tempfile.mkdtemp() if cold else None
    line = [sys.executable, "-c", program, *arguments]

    def run() -> Any:
        try:
            done = subprocess.run(
                line, env=environment(cache), cwd=ROOT, capture_output=True, text=True, check=False
            )
        finally:
            if cache is not None:
                shutil.rmtree(cache)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return done.stdout.splitlines()[-1]

    return run


def compiling() -> Any:
    """Return a function that has a process, which has imported everything, compile."""
    cache = tempfile.mkdtemp()
    child = subprocess.Popen(
        [sys.executable, "-c", COMPILE], env=environment(cache), cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    child.stdout.readline()

    def run() -> Any:
        child.stdin.write("\n")
        child.stdin.flush()
        return child.stdout.readline(), child, cache

    return run


def after_compiling(found: Any) -> tuple[Any, ...]:
    """Return how many programs were compiled, and the losses of a fit with them."""
    said, child, cache = found
    line = child.communicate()[0].splitlines()[-1]
    shutil.rmtree(cache)
    return int(said.split()[1]), np.array(json.loads(line))


def losses(line: str) -> tuple[Any, ...]:
    """Return the losses that a process printed."""
    return (np.array(json.loads(line)),)


def start(name: str, makers: dict[str, Any], truth: Any, reads: Any = losses) -> Case:
    return Case(
        f"start: {name}", name, makers, truth, lambda: {"flop": 0.0, "bytes": 0.0, "density": 1.0},
        threads=verbs.THREADS, reads=reads, mark="starts",
    )  # fmt: skip


def cases() -> list[Case]:
    """Return the starts, from the shortest to the longest."""
    fitted = once(verbs.fit_truth)

    def compiled() -> Truth:
        return Truth((1, *fitted().values), (0, *fitted().bounds))

    warm = {name: partial(process, FIT, name) for name in verbs.ENGINES}
    return [
        start("import", {
            "fastnn": partial(process, "import fastnn\n" + IMPORT),
            "python": partial(process, IMPORT),
        }, lambda: Truth((np.zeros(0),), (0.0,))),
        start("warm, fit digits", warm, fitted),
        start("compilation alone", {"fused": compiling}, compiled, after_compiling),
        start("cold, fit digits", {"fused": partial(process, FIT, "fused", cold=True)}, fitted),
    ]  # fmt: skip
