"""Learning-rate schedules: how the rate changes over a run.

A schedule is a function of the progress of the run: an array of numbers in [0, 1), one per batch,
0 for the first batch. It returns the factors by which the learning rate is multiplied, so that
``learning_rate`` is the highest rate of every schedule here.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.inputs import as_array

Factors: TypeAlias = NDArray[np.float64]
Schedule: TypeAlias = Callable[[Factors], Factors]

WARM_UP = 0.3  # share of a one-cycle run in which the rate rises
START = 0.04  # of the highest rate, where one-cycle begins


def constant(progress: Factors) -> Factors:
    """Keep the rate."""
    return np.ones_like(progress)


def linear(progress: Factors) -> Factors:
    """Fall in a straight line to 0."""
    return 1 - progress


def cosine(progress: Factors) -> Factors:
    """Fall along half a cosine to 0 (Loshchilov and Hutter, 2017, without restarts)."""
    return (1 + np.cos(np.pi * progress)) / 2


def step(progress: Factors) -> Factors:
    """Divide the rate by 10 after half of the run, and again after three quarters."""
    return np.where(progress < 0.5, 1.0, np.where(progress < 0.75, 0.1, 0.01))


def one_cycle(progress: Factors) -> Factors:
    """Rise from 4 % to the full rate over 30 % of the run, then fall to 0 (Smith, 2018).

    Both ways along half a cosine.
    """
    rising = START + (1 - START) * (1 - np.cos(np.pi * progress / WARM_UP)) / 2
    falling = (1 + np.cos(np.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2
    return np.where(progress < WARM_UP, rising, falling)


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "step": step,
    "one-cycle": one_cycle,
}


def get_schedule(schedule: str | Schedule) -> Schedule:
    """Return the schedule of a name; a callable is returned as it is.

    Parameters
    ----------
    schedule : {"constant", "linear", "cosine", "step", "one-cycle"} or callable

    Returns
    -------
    schedule : callable

    Raises
    ------
    InputError
        For a name that is not in the list.
    """
    if callable(schedule):
        return schedule
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise InputError(
            f"schedule is {schedule!r}; expected one of {tuple(SCHEDULES)}, "
            "or a function of progress"
        )
    return SCHEDULES[schedule]


def learning_rates(
    schedule: Schedule, rate: float, first_batch: int, n_batches: int, n_total: int
) -> Factors:
    """Return the rates of some batches of a run.

    Parameters
    ----------
    schedule : callable
    rate : float
        The highest.
    first_batch, n_batches, n_total : int
        ``n_batches`` from ``first_batch`` on, of ``n_total`` in all.

    Returns
    -------
    rates : ndarray of float64, shape (n_batches,)

    Raises
    ------
    InputError
        If the schedule does not give a finite factor of at least 0 for each batch.
    """
    progress = np.arange(first_batch, first_batch + n_batches) / n_total
    factors = as_array("what the schedule returned", schedule(progress))
    if factors.shape != progress.shape or factors.dtype.kind not in "iuf":
        raise InputError(
            f"the schedule returned shape {factors.shape} and dtype {factors.dtype} for shape "
            f"{progress.shape}: expected one factor per batch"
        )
    bad = ~(np.isfinite(factors) & (factors >= 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"the schedule returned {factors[first]} for progress {progress[first]:.3g}; expected "
            "finite factors of at least 0"
        )
    rates: Factors = rate * factors.astype(np.float64)
    return rates


def check_schedule(schedule: Schedule, n_total: int) -> Factors:
    """Ask a schedule for factors along the whole run, at most 10,000 of them, before it begins."""
    n_asked = min(n_total, 10_000)
    return learning_rates(schedule, 1.0, 0, n_asked, n_asked)
