"""One row of the table: what is computed, by whom, and how far from the truth it may be."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

Run = Callable[[], Any]


class Truth(NamedTuple):
    """Arrays in float64, and how far from each an engine's may be: arrays or numbers."""

    values: tuple[Any, ...]
    bounds: tuple[Any, ...]


class WrongResultError(AssertionError):
    """An engine's result is not within its bound, and is not worth timing."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is computed, by whom, and how far from the truth it may be.

    Attributes
    ----------
    name : str
        With the shape; the group in which the engines stand side by side.
    kernel : str
        What is timed, without the shape.
    makers : dict of callables
        Of each engine or library: returns ``run``, with a state of its own. The first call of
        ``run`` is checked, and may move the state; the calls that follow are timed.
    truth : callable
        Returns the ``Truth``.
    about : callable
        Returns what depends on the data: ``flop``, ``bytes`` and ``density``; of one call.
    reads : callable
        Turns what ``run`` returns into a tuple of arrays; not timed.
    mark : str
        The pytest marker that selects it.
    """

    name: str
    kernel: str
    makers: dict[str, Callable[[], Run]]
    truth: Callable[[], Truth]
    about: Callable[[], dict[str, Any]]
    shape: tuple[int, ...] = ()
    n_samples: int = 0
    layout: str = "dense"
    threads: int = 1
    reads: Callable[[Any], tuple[Any, ...]] = lambda found: found
    mark: str = "verbs"

    def check(self, engine: str, found: Any) -> None:
        """Raise ``WrongResultError`` unless every number is within its bound."""
        parts, truth = self.reads(found), self.truth()
        problem = None
        if len(parts) != len(truth.values):
            problem = f"{len(parts)} results, not {len(truth.values)}"
        for i, (part, value, bound) in enumerate(zip(parts, *truth, strict=False)):
            fault = fault_of(np.asarray(part, np.float64), np.asarray(value), np.asarray(bound))
            if fault and problem is None:
                problem = f"result {i} {fault}"
        if problem:
            raise WrongResultError(f"{self.name}, {engine}: wrong, and so not timed: {problem}")


def fault_of(found: Any, value: Any, bound: Any) -> str | None:
    """Say what is wrong with an array, if anything is."""
    if found.shape != value.shape:
        return f"has shape {found.shape}, not {value.shape}"
    error, limit = np.abs(found - value), np.broadcast_to(bound, value.shape)
    beyond = ~(error <= limit)  # also NaN
    if not beyond.any():
        return None
    worst = np.unravel_index(np.argmax(np.where(beyond, error - limit, -1)), error.shape)
    return (
        f"has {beyond.sum()} of {beyond.size} numbers beyond the bound; at "
        f"{[int(i) for i in worst]} the error is {error[worst]:.3g}, the bound {limit[worst]:.3g}"
    )


def once(make: Callable[[], Any]) -> Callable[[], Any]:
    """Make a truth or a problem when it is first needed, and keep it."""
    return cache(make)
