"""An estimator's ``_optimizer``: scikit-learn's rules for the learning rate, fastnn's moments.

The rules (when "adaptive" divides the rate, when "invscaling" lowers it, when training stops) are
inherited; the moments are those of the engine, which makes the steps.
"""

from math import sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from fastnn import schedules
from fastnn.network import Parameters
from fastnn.optimizers import SGD, Adam, OptimizerState

OWN_RATES = ("constant", "invscaling", "adaptive")  # scikit-learn's names


class EngineSGD(SGDOptimizer):  # type: ignore[misc]
    """scikit-learn's optimizer for ``solver="sgd"``, its velocities in an engine's state."""

    def __init__(self, estimator: Any, parameters: Parameters) -> None:
        super().__init__(
            [],
            estimator.learning_rate_init,
            estimator.learning_rate,
            estimator.momentum,
            estimator.nesterovs_momentum,
            estimator.power_t,
        )
        nesterov = self.nesterov and self.momentum > 0  # without momentum it changes nothing
        self.state: OptimizerState = SGD(self.momentum, nesterov).initialize(parameters)

    def rate(self) -> float:
        """Return the rate of the next epoch."""
        return float(self.learning_rate)


class EngineAdam(AdamOptimizer):  # type: ignore[misc]
    """scikit-learn's optimizer for ``solver="adam"``, its moments in an engine's state."""

    def __init__(self, estimator: Any, parameters: Parameters) -> None:
        betas = estimator.beta_1, estimator.beta_2
        super().__init__([], estimator.learning_rate_init, *betas, estimator.epsilon)
        optimizer = Adam(*betas, self.epsilon, estimator.weight_decay)
        self.state: OptimizerState = optimizer.initialize(parameters)

    def rate(self) -> float:
        """Return the rate of the next epoch, before the bias correction."""
        return float(self.learning_rate_init)

    def iteration_ends(self, time_step: int) -> None:
        """Say the rate as scikit-learn does: with the correction of the last step."""
        self.t = t = self.state.step
        if t:
            correction = sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
            self.learning_rate = self.learning_rate_init * correction


EngineOptimizer: TypeAlias = EngineSGD | EngineAdam


def make_optimizer(estimator: Any, parameters: Parameters) -> EngineOptimizer:
    """Return an optimizer at its start, for the solver of an estimator."""
    kind = EngineSGD if estimator.solver == "sgd" else EngineAdam
    return kind(estimator, parameters)


def batch_rates(
    estimator: Any, first: int, count: int, n_batches: int
) -> float | NDArray[np.float64]:
    """Return the learning rates of the batches of ``count`` epochs; ``first`` counts from 0.

    A schedule runs over ``max_iter`` epochs; later ones (of ``partial_fit``) are as the last.
    """
    named = estimator.learning_rate
    if named in OWN_RATES:
        return estimator._optimizer.rate()
    schedule = schedules.get_schedule(named)
    begin = min(first, estimator.max_iter - 1) * n_batches
    total = estimator.max_iter * n_batches
    rates = schedules.learning_rates(
        schedule, estimator.learning_rate_init, begin, count * n_batches, total
    )
    if estimator.solver == "sgd":
        estimator._optimizer.learning_rate = float(rates[-1])
    return rates


def check_rates(estimator: Any, n_batches: int) -> None:
    """Ask a schedule for factors along the whole run, before it begins."""
    named = estimator.learning_rate
    if named not in OWN_RATES:
        schedules.check_schedule(schedules.get_schedule(named), estimator.max_iter * n_batches)
