"""One comparison, and what all of them are made with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

DENSITY = {"dense": 0.7, "sparse": 0.1}  # share of the values that are not zero

STEPS = 30  # of training; also those that a mask of dropout has behind it


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes
    ----------
    what : str
        Kernel, verb or promise.
    case : str
        Shape, dtype and settings.
    observed, bound : float
        The largest error found, relative to the place's own bound where that differs from place to
        place, and what it may be.
    """

    what: str
    case: str
    observed: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the error is within its bound; an error that is not a number is not."""
        return bool(self.observed <= self.bound)


def exactly(values: Array) -> Array:
    """Return numbers in a precision in which their products and sums are as good as exact."""
    return values.astype(np.float64 if values.dtype == np.float32 else np.longdouble)


def share(found: Array, exact: Array, bound: Array) -> float:
    """Return the largest error relative to its bound; NaN if one is not a number."""
    tiny = np.finfo(np.float64).tiny
    return float((np.abs(found - exact) / np.maximum(bound, tiny)).max())


def worst(*errors: float) -> float:
    """Return the largest error; NaN if one is not a number, which ``max`` would pass over."""
    return float(np.max(errors))


def count_differing(results: Sequence[Sequence[Array]]) -> int:
    """Count the numbers that differ from those of the first result; +0 and -0 do."""
    return sum(
        int(np.count_nonzero((a != b) | (np.signbit(a) != np.signbit(b))))
        for other in results[1:]
        for a, b in zip(results[0], other, strict=True)
    )
