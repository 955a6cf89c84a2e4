"""How far rounding may carry what ``fastnn/bounds.py`` has no bound for: head, steps, epochs."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastnn.bounds import FUNCTION_ULPS, SLACK, UNIT_ROUNDOFF, g
from fastnn.network import Parameters
from fastnn.optimizers import Adam, OptimizerState

U = UNIT_ROUNDOFF["float32"]


class Head(NamedTuple):
    """What becomes of logits: each sample's part of the loss, and the slope by each logit."""

    losses: Any
    delta: Any


def head(Z: Any, y: Any, share: float) -> tuple[Head, Head]:
    """Return the head's results in float64 and their bounds, logits being exact."""
    Z, rows = np.asarray(Z, float), np.arange(len(y))
    shifted = Z - Z.max(axis=1, keepdims=True)
    E = np.exp(shifted)
    P = E / E.sum(axis=1, keepdims=True)
    # as in ``gradient_bound``, for logits without error
    relative = U * (np.abs(shifted) + 2 * FUNCTION_ULPS) + g(Z.shape[1] + 1, U)
    losses = np.log(E.sum(axis=1)) - shifted[rows, y]
    loss_errors = relative.max(axis=1) + 4 * U * (losses + np.abs(shifted[rows, y]) + 1)
    error = P * relative
    delta = P.copy()
    delta[rows, y] -= 1
    bound = SLACK * share * (error + 4 * U * np.abs(delta))
    return Head(share * losses, share * delta), Head(SLACK * share * loss_errors, bound)


def step_bound(
    theta: Any, gradient: Any, error: Any, state: OptimizerState, rate: float
) -> tuple[Any, ...]:
    """Return bounds for the parameters and moments after a step; all given as before it.

    First order in ``error``, the gradient's own bound. The constants count the roundings of each
    formula, and those of the settings.
    """
    size, optimizer = np.abs(theta), state.optimizer
    if not isinstance(optimizer, Adam):
        pull = rate * np.abs(gradient)
        if not optimizer.momentum:
            return (SLACK * (rate * error + 3 * U * (size + pull)),)
        kept = optimizer.momentum * np.abs(state.moments[0])
        velocity = rate * error + 4 * U * (kept + pull)
        ahead = velocity
        if optimizer.nesterov:
            ahead = optimizer.momentum * velocity + rate * error
        moved = ahead + 6 * U * (size + kept + 2 * pull)
        return SLACK * moved, SLACK * velocity
    m, v = (np.asarray(moment, float) for moment in state.moments)
    b1, b2, t = optimizer.beta_1, optimizer.beta_2, state.step + 1
    m_error = (1 - b1) * error + 4 * U * (b1 * np.abs(m) + (1 - b1) * np.abs(gradient))
    v_error = (1 - b2) * (2 * np.abs(gradient) + error) * error
    m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
    v_error = v_error + 6 * U * v
    root = np.sqrt(v) + optimizer.epsilon
    corrected = rate * np.sqrt(1 - b2**t) / (1 - b1**t)
    # the root is concave: its error is at most that of the number, over the root itself
    root_error = v_error / np.maximum(np.sqrt(v), 1e-30)
    quotient = m_error / root + np.abs(m) / root * (root_error / root + 6 * U)
    decay = rate * optimizer.weight_decay
    moved = corrected * quotient + 4 * U * size * (1 + decay)
    return SLACK * moved, SLACK * m_error, SLACK * v_error


def drift(loss_bound: float, gradient: Any, error: Any, rate: float, n_batches: int) -> Any:
    """Return how far the losses of plain SGD's batches may drift, one after another.

    The error of a gradient moves the parameters, by the rate times as much, and so the next loss by
    the gradient times that. To first order, and as if every batch were like the first: errors add
    up, and the loss surface neither damps nor amplifies them.
    """
    a_step = rate * float(np.abs(gradient) @ error)
    return SLACK * (loss_bound + a_step * np.arange(n_batches))


def flat(layer_sizes: tuple[int, ...], dW: Any, db: Any) -> Any:
    """Return bounds per layer in the layout of the parameters' vector."""
    vector = np.zeros(sum((a + 1) * b for a, b in pairwise(layer_sizes)))
    parts = Parameters(layer_sizes, vector)
    for part, bound in zip(parts.weights + parts.biases, [*dW, *db], strict=True):
        part[...] = bound
    return parts.vector
