"""Duels with other libraries: the same training in each, timed in turn.

Every library runs in a process of its own, with its own threads, and gets the same starting
weights, samples and order of batches. Before any time counts, the losses of its batches must agree
with the reference engine's. Then the processes train in turn, round after round, and the figure is
the median over the rounds of the *ratio* of two times of the same round: a machine that is slow for
a while is slow for all.

``fastnn bench`` and ``python -m bench.report`` run it from a shell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import inf
from time import monotonic, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.energy import joules
from fastnn.errors import InputError
from fastnn.tasks import Task
from fastnn.workers import Workers

# What has to be installed for each. "fastnn dense" and the like are variants of fastnn.
PEERS: dict[str, str | None] = {
    "fastnn": None,
    "reference": None,
    "jax": "jax",
    "torch": "torch",
    "scikit-learn": "sklearn",
    "article": None,
}
# Seconds between two processes: OpenBLAS's threads spin for a tenth of a second after their work,
# which made whoever came next twice as slow.
PAUSE = 0.2
LEAST_ROUNDS = 3  # however little time there is: a median and quartiles need them


@dataclass(frozen=True)
class Result:
    """What one peer took for one task.

    Attributes
    ----------
    task, peer : str
    seconds : list of float
        Of each round.
    ratios : list of float
        These over fastnn's own, round by round.
    disagreement : float
        Largest relative difference of a batch's loss from the reference engine's.
    problem : str or None
        Why there are no times.
    details : list of dict
        What else the peer told of each round.
    memory : dict or None
        Bytes that the process had at "start", with libraries and samples loaded, and at its "peak".
    joules : list of float
        Of each round, the whole processor's; empty where the kernel does not tell.
    """

    task: str
    peer: str
    seconds: list[float]
    ratios: list[float]
    disagreement: float | None
    problem: str | None = None
    details: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, int] | None = None
    joules: list[float] = field(default_factory=list)

    def quartiles(self) -> tuple[float, float, float]:
        """Return the lower quartile, the median and the upper quartile of the ratios."""
        low, middle, high = np.percentile(self.ratios, [25, 50, 75])
        return float(low), float(middle), float(high)


def compare(
    task: Task,
    *,
    peers: Sequence[str] | None = None,
    rounds: int = 9,
    threads: int = 2,
    workers: Workers | None = None,
    until: float = inf,
    report: Callable[[str, int], None] = lambda peer, round_: None,
) -> list[Result]:
    """Let fastnn and its peers train in turn.

    Parameters
    ----------
    task : Task
    peers : sequence of str, optional
        Names from ``PEERS``; None takes those that the task suits.
    rounds : int
    threads : int
        For each of them.
    workers : Workers, optional
        Processes to use, and to leave running for the next task; None starts fresh ones.
    until : float
        Of ``time.monotonic``: after ``LEAST_ROUNDS``, no round begins that is not likely to have
        ended then.
    report : callable
        Told of each step before it: the peer, and the round; 0 is its start and check.

    Returns
    -------
    results : list of Result
        fastnn first. A peer that is not installed, fails or disagrees has a ``problem`` instead of
        times.
    """
    names = [
        "fastnn",
        *(name for name in (task.peers() if peers is None else peers) if name != "fastnn"),
    ]
    unknown = {name for name in names if _library(name) not in PEERS}
    if unknown:
        raise InputError(f"peers has {sorted(unknown)}; expected some of {tuple(PEERS)}")
    pool = Workers(threads) if workers is None else workers
    results = {name: Result(task.name, name, [], [], None) for name in names}
    try:
        expected = _losses_of_the_reference(task, pool)
        for name in names:
            report(name, 0)
            results[name] = _prepared(results[name], pool, task, expected)
        longest = 0.0
        for round_ in range(1, rounds + 1):
            started = monotonic()
            if round_ > LEAST_ROUNDS and started + longest > until:
                break
            for name in names:
                if results[name].problem is None:
                    report(name, round_)
                    results[name] = _after_a_round(results[name], pool)
            if round_ > 1:  # which warms up
                longest = max(longest, monotonic() - started)
        for name in names:
            if results[name].problem is None:
                results[name] = replace(results[name], memory=_memory(results[name], pool))
    finally:
        if workers is None:
            pool.close()
    own = results["fastnn"].seconds
    return [
        replace(result, ratios=[a / b for a, b in zip(result.seconds, own, strict=False)])
        for result in results.values()
    ]


def _prepared(result: Result, pool: Workers, task: Task, expected: list[float]) -> Result:
    """Return the result of a peer that is ready, or with the problem that it is not."""
    needed = PEERS[_library(result.peer)]
    if needed is not None and find_spec(needed) is None:
        return replace(result, problem="not installed")
    told = pool.ask(result.peer, "task", task=task)
    if "error" in told:
        return replace(result, problem=told["error"])
    ready = replace(result, memory={"start": told["before"], "peak": 0})
    checked = _checked(ready, pool.ask(result.peer, "losses"), task, expected)
    if checked.problem is not None:
        pool.drop(result.peer)
    return checked


def _after_a_round(result: Result, pool: Workers) -> Result:
    """Return the result with another round, or with the problem that came up."""
    sleep(PAUSE)
    before = joules()
    told = pool.ask(result.peer, "round")
    after = joules()
    if "error" in told:
        return replace(result, seconds=[], problem=told["error"])
    result.seconds.append(told.pop("seconds"))
    result.details.append(told)
    if before is not None and after is not None:
        result.joules.append(after - before)
    return result


def _memory(result: Result, pool: Workers) -> dict[str, int] | None:
    told = pool.ask(result.peer, "memory")
    if "error" in told or result.memory is None:
        return None
    return {"start": result.memory["start"], "peak": told["peak"]}


def _library(peer: str) -> str:
    return peer.partition(" ")[0]


def _checked(result: Result, found: dict[str, Any], task: Task, expected: list[float]) -> Result:
    """Return the result with what its losses are off by, and a problem if that is too much."""
    if "error" in found:
        return replace(result, problem=found["error"])
    off = _disagreement(task, found["losses"], expected)
    problem = None if off <= task.agreement else f"its losses are off by {off:.2g}"
    return replace(result, disagreement=off, problem=problem)


def _losses_of_the_reference(task: Task, pool: Workers) -> list[float]:
    """Return what the losses must be."""
    found = pool.ask("reference", "task", task=task)
    if "error" not in found:
        found = pool.ask("reference", "losses")
    if "error" in found:
        raise RuntimeError(f"the reference engine failed: {found['error']}")
    if not pool.kept:
        pool.drop("reference")
    losses: list[float] = found["losses"]
    return losses


def _disagreement(task: Task, found: list[float], expected: list[float]) -> float:
    """Return the largest difference; scikit-learn tells the mean of each epoch only."""
    a, b = np.array(found), np.array(expected)
    b = b.reshape(len(a), -1).mean(axis=1)
    if task.singly is not None and len(a) > task.singly:
        n = task.singly
        a, b = (_with_means(a, n), _with_means(b, n)) if task.means else (a[:n], b[:n])
    difference = np.abs(a - b)
    return float(np.max(difference if task.absolute else difference / np.abs(b)))


def _with_means(losses: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the first ``n`` losses, and the mean of each further ``n``."""
    further = range(n, len(losses), n)
    return np.array([*losses[:n], *(losses[first : first + n].mean() for first in further)])


def describe(result: Result) -> str:
    """Return one line about a result."""
    if result.problem is not None:
        return f"{result.peer:<12}  {result.problem}"
    low, middle, high = result.quartiles()
    return (
        f"{result.peer:<12}  {np.median(result.seconds):.4g} s, "
        f"{middle:.2f} times fastnn ({low:.2f} to {high:.2f})"
    )
