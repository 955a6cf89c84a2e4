"""What is minimised: everything that shapes the loss or its gradient stands in one record."""

from dataclasses import dataclass
from math import isfinite

from fastnn.errors import InputError
from fastnn.records import as_python_floats


@dataclass(frozen=True)
class Objective:
    """Mean cross-entropy plus an L2 penalty on the weights.

    For sample losses ``l_i`` with sample weights ``w_i`` (1 where none are given)::

        loss = sum(w_i l_i) / sum(w_i) + alpha |W|^2 / (2 sum(w_i))

    summed over the batch; ``|W|^2`` is the sum of squares of all weights, biases left out. This is
    scikit-learn's convention.

    Parameters
    ----------
    alpha : float, default=0.0
        Strength of the penalty, at least 0.

    Raises
    ------
    InputError
        If alpha is not a finite number of at least 0.
    """

    alpha: float = 0.0

    def __post_init__(self) -> None:
        as_python_floats(self, "alpha")
        if not (isfinite(self.alpha) and self.alpha >= 0):
            raise InputError(f"alpha is {self.alpha!r}; expected a finite number of at least 0")
