"""Optimizers: their hyper-parameters, and the flat arrays that they carry from step to step.

The update formulas stand in ``reference.py``. The default rates come from a small grid on MNIST,
judged by held-out training samples (``reports/accuracy.md``): Adam's lies among the best of it,
those of SGD somewhat below the best, away from where it diverges on data that are scaled otherwise.
A state holds no view into a network: its arrays have the layout of ``Parameters.vector``, so a step
is one loop and a checkpoint a few arrays.
"""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.network import Parameters, aligned_zeros
from fastnn.records import as_python_floats


@dataclass
class OptimizerState:
    """What an optimizer remembers between steps; belongs to the caller, updated in place.

    Attributes
    ----------
    optimizer : SGD or Adam
    moments : tuple of ndarray
        Flat arrays in the layout of ``Parameters.vector``, named by ``optimizer.moment_names``.
    step : int
        Number of updates made.
    """

    optimizer: "Optimizer"
    moments: tuple[NDArray[np.floating], ...]
    step: int = 0

    def copy(self) -> "OptimizerState":
        """Return an independent copy."""
        return OptimizerState(
            self.optimizer, tuple(_aligned_copy(m) for m in self.moments), self.step
        )


def _initial_state(optimizer: "Optimizer", parameters: Parameters) -> OptimizerState:
    size, dtype = parameters.vector.size, parameters.dtype
    moments = tuple(aligned_zeros(size, dtype) for _ in optimizer.moment_names)
    return OptimizerState(optimizer, moments)


def _aligned_copy(moment: NDArray[np.floating]) -> NDArray[np.floating]:
    copy = aligned_zeros(moment.size, moment.dtype)
    copy[:] = moment
    return copy


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise InputError(f"{name} is {value!r}; expected a number in [0, 1)")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with momentum if wanted.

    ::

        velocity = momentum * velocity - rate * gradient
        theta    = theta + velocity                                     (momentum)
        theta    = theta + momentum * velocity - rate * gradient        (nesterov)

    as in scikit-learn. Without momentum it is ``theta - rate * gradient`` and has no state.

    Parameters
    ----------
    momentum : float, default=0.0
        In [0, 1].
    nesterov : bool, default=False
        Look ahead along the velocity; needs ``momentum > 0``.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        as_python_floats(self, "momentum")
        object.__setattr__(self, "nesterov", bool(self.nesterov))
        if not 0 <= self.momentum <= 1:
            raise InputError(f"momentum is {self.momentum!r}; expected a number in [0, 1]")
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov=True needs a momentum above 0, such as 0.9")

    @property
    def default_rate(self) -> float:
        """What ``fit`` takes where no learning rate is given."""
        return 0.04 if self.momentum else 0.2

    @property
    def moment_names(self) -> tuple[str, ...]:
        """Names of the arrays in the state."""
        return ("velocity",) if self.momentum else ()

    def initialize(self, parameters: Parameters) -> OptimizerState:
        """Return the state before the first step: all moments zero.

        Parameters
        ----------
        parameters : Parameters
            Decides the layout and the dtype; not kept.

        Returns
        -------
        state : OptimizerState
        """
        return _initial_state(self, parameters)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015), and AdamW (Loshchilov and Hutter, 2019) with weight decay.

    ::

        m     = beta_1 m + (1 - beta_1) gradient
        v     = beta_2 v + (1 - beta_2) gradient^2
        rate' = rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)              (t counts from 1)
        theta = theta - rate * weight_decay * theta - rate' * m / (sqrt(v) + epsilon)

    The bias correction is in the rate and epsilon outside the root, as in scikit-learn. The decay
    is decoupled from the gradient and acts on all parameters, as in the paper.

    Parameters
    ----------
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of the moments, in [0, 1).
    epsilon : float, default=1e-8
        Above 0.
    weight_decay : float, default=0.0
        At least 0.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    moment_names: ClassVar[tuple[str, ...]] = ("m", "v")
    default_rate: ClassVar[float] = 0.002

    def __post_init__(self) -> None:
        as_python_floats(self, "beta_1", "beta_2", "epsilon", "weight_decay")
        _check_fraction("beta_1", self.beta_1)
        _check_fraction("beta_2", self.beta_2)
        if not (isfinite(self.epsilon) and self.epsilon > 0):
            raise InputError(f"epsilon is {self.epsilon!r}; expected a finite number above 0")
        if not (isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(
                f"weight_decay is {self.weight_decay!r}; expected a finite number of at least 0"
            )

    def initialize(self, parameters: Parameters) -> OptimizerState:
        """Return the state before the first step: all moments zero.

        Parameters
        ----------
        parameters : Parameters
            Decides the layout and the dtype; not kept.

        Returns
        -------
        state : OptimizerState

        Raises
        ------
        InputError
            If epsilon is 0 in the parameters' dtype.
        """
        if parameters.dtype.type(self.epsilon) == 0:
            raise InputError(f"epsilon is {self.epsilon}, which is 0 in {parameters.dtype}")
        return _initial_state(self, parameters)


Optimizer: TypeAlias = SGD | Adam
