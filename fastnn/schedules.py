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
    """Return the schedule of a name; a callable is returned as it is."""
    if callable(schedule):
        return schedule
    if schedule not in SCHEDULES:
        raise InputError(
            f"schedule is {schedule!r}; expected one of {tuple(SCHEDULES)}, "
            "or a function of progress"
        )
    return SCHEDULES[schedule]


def learning_rates(
    schedule: str | Schedule, rate: float, first_batch: int, n_batches: int, n_total: int
) -> Factors:
    """Return the rates of ``n_batches`` batches from ``first_batch`` on, of ``n_total`` in all."""
    progress = np.arange(first_batch, first_batch + n_batches) / n_total
    factors = np.asarray(get_schedule(schedule)(progress), dtype=np.float64)
    if factors.shape != progress.shape:
        raise InputError(
            f"the schedule returned shape {factors.shape} for {progress.shape}: "
            "expected one factor per batch"
        )
    return rate * factors
