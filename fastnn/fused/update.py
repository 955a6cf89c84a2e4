"""One step of an optimizer on a run of consecutive numbers; the formulas of ``reference.py``.

The weight gradient of a few rows of W is one run of numbers, still in the first cache when it is
used. Written so, an optimizer is one loop, whether the run is eight rows or all parameters.
"""

from math import sqrt
from typing import NamedTuple

from fastnn.fused.plan import ADAM, GRADIENT, NESTEROV, PLAIN
from fastnn.fused.vectors import fma, hot, inner, span


class Step(NamedTuple):
    """The numbers of one update, in the precision of the parameters."""

    optimizer: int
    rate: float  # with Adam's bias correction
    decay: float
    momentum: float
    beta_1: float
    rest_1: float  # 1 - beta_1
    beta_2: float
    rest_2: float
    epsilon: float
    tiny: float  # the smallest normal number
    none: float  # 0


@inner
def step_of(run, theta, rate, t):
    """Return the numbers of update number ``t`` (from 1); ``theta`` gives the precision."""
    corrected = rate
    if run.optimizer == ADAM:
        corrected = rate * sqrt(1.0 - run.beta_2**t) / (1.0 - run.beta_1**t)
    real = theta.dtype.type
    return Step(
        run.optimizer,
        real(corrected),
        real(rate * run.weight_decay),
        real(run.momentum),
        real(run.beta_1),
        real(1.0 - run.beta_1),
        real(run.beta_2),
        real(1.0 - run.beta_2),
        real(run.epsilon),
        real(run.tiny),
        real(0.0),
    )


@inner
def update(step, theta, moment_1, moment_2, gradient):
    """Move ``theta`` and the moments by the gradient; all have the same length.

    Moments of weights without gradient fade, and would stay among the denormal numbers for a long
    time, with which CPUs are slow (an epoch of MNIST with Adam took half as long again): there they
    become 0, which moves no weight of any size.
    """
    n = theta.size
    if step.optimizer == PLAIN:
        for i in range(n):
            theta[i] = fma(-step.rate, gradient[i], theta[i])
    elif step.optimizer == ADAM:
        for i in range(n):
            g = gradient[i]
            m = normal(step, fma(step.beta_1, moment_1[i], step.rest_1 * g))
            v = normal(step, fma(step.beta_2, moment_2[i], step.rest_2 * (g * g)))
            moment_1[i] = m
            moment_2[i] = v
            decayed = fma(-step.decay, theta[i], theta[i])
            theta[i] = decayed - step.rate * m / (sqrt(v) + step.epsilon)
    else:
        for i in range(n):
            pull = step.rate * gradient[i]
            velocity = normal(step, fma(step.momentum, moment_1[i], -pull))
            moment_1[i] = velocity
            ahead = fma(step.momentum, velocity, -pull)
            theta[i] += ahead if step.optimizer == NESTEROV else velocity


@hot
def normal(step, x):
    """Return x, or 0 for a denormal number; NaN stays."""
    return step.none if abs(x) < step.tiny else x


@hot
def use(step, a, first, gradient, penalty):
    """Add ``penalty`` times the parameters to their gradient, and move them or keep it.

    It is kept where it is the result, or has to be whole before it is clipped.
    """
    if penalty > 0:
        theta = span(a.parameters, first, gradient.size)
        add_multiple(gradient, a.parameters.dtype.type(penalty), theta)
    if a.run[0].mode == GRADIENT or a.run[0].clip_norm > 0:
        copy(span(a.result, first, gradient.size), gradient)
    else:
        move(step, a, first, gradient)


@inner
def add_multiple(gradient, factor, theta):
    """Gradient += factor * theta."""
    for i in range(gradient.size):
        gradient[i] = fma(factor, theta[i], gradient[i])


@inner
def copy(target, source):
    """Copy numbers, also onto themselves."""
    for i in range(target.size):
        target[i] = source[i]


@hot
def move(step, a, first, gradient):
    """Update the parameters from ``first`` on, as many as the gradient has."""
    n = gradient.size
    one = 0 if step.optimizer == PLAIN else n
    two = n if step.optimizer == ADAM else 0
    moment_1, moment_2 = span(a.moment_1, first, one), span(a.moment_2, first, two)
    update(step, span(a.parameters, first, n), moment_1, moment_2, gradient)
