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


class WrongResult(AssertionError):
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
        """Raise ``WrongResult`` unless every number is within its bound."""
        parts, truth = self.reads(found), self.truth()
        if len(parts) != len(truth.values):
            raise WrongResult(f"{self.name}, {engine}: {len(parts)} results, not {len(truth[0])}")
        for i, (part, value, bound) in enumerate(zip(parts, *truth, strict=True)):
            part = np.asarray(part, np.float64)
            if part.shape != np.shape(value):
                shapes = f"has shape {part.shape}, not {np.shape(value)}"
                raise WrongResult(f"{self.name}, {engine}: result {i} {shapes}")
            error = np.abs(part - value)
            within = error <= bound  # not of NaN
            if not within.all():
                excess = np.divide(error, bound, where=np.asarray(bound) > 0,
                                   out=np.full(error.shape, np.inf))  # fmt: skip
                excess = np.where(within, 0, excess)
                worst = np.unravel_index(np.nanargmax(excess), error.shape)
                limit = np.broadcast_to(bound, error.shape)[worst]
                raise WrongResult(
                    f"{self.name}, {engine}: not timed, since the result is wrong: "
                    f"{(~within).sum()} of {error.size} numbers of result {i} are beyond the "
                    f"bound; at {[int(j) for j in worst]} error {error[worst]:.3g}, bound "
                    f"{limit:.3g}"
                )


def once(make: Callable[[], Any]) -> Callable[[], Any]:
    """Make a truth or a problem when it is first needed, and keep it."""
    return cache(make)
