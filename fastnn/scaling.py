"""How raw samples become what the network sees: a scale for integers, or standardised features.

A model remembers its scaling, so that prediction treats samples as training did.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.errors import InputError
from fastnn.inputs import Input, is_sparse, prepare

BLOCK = 4096  # samples: bounds the memory for float64 copies


@dataclass(frozen=True, eq=False)
class Scaling:
    """Applied to every X that a model is given.

    Attributes
    ----------
    scale : float or None
        What one unit of an integer is worth; floating-point values are taken as already scaled.
    offset, factor : ndarray of float64, shape (n_features,), or None
        Standardisation: the network sees ``(x - offset) * factor``.
    """

    scale: float | None = None
    offset: NDArray[np.float64] | None = None
    factor: NDArray[np.float64] | None = None

    def apply(self, X: Any, dtype: DTypeLike) -> Input:
        """Return X as the network sees it, prepared."""
        samples = X if isinstance(X, Input) else self._prepare(X)
        if self.scale is not None and samples.scale not in (None, self.scale):
            raise InputError(
                f"X was prepared with scale {samples.scale}; the model's is {self.scale}"
            )
        if self.offset is None or self.factor is None:
            return samples.astype(dtype)
        if samples.n_features != len(self.offset):
            raise InputError(
                f"X has {samples.n_features} features; the model expects {len(self.offset)}"
            )
        result = np.empty((samples.n_samples, samples.n_features), dtype)
        for start in range(0, samples.n_samples, BLOCK):
            block = slice(start, start + BLOCK)
            with np.errstate(over="ignore"):  # prepare says where it is
                result[block] = (samples.rows(block, np.float64) - self.offset) * self.factor
        return prepare(result)

    def _prepare(self, X: Any) -> Input:
        values = X if is_sparse(X) else np.asarray(X)
        return prepare(values, scale=self.scale if values.dtype.kind in "iub" else None)


def standardization(samples: Input, rows: NDArray[np.intp]) -> Scaling:
    """Return the scaling that gives each feature mean 0 and variance 1 over ``rows``.

    A feature that is constant there keeps its spread and loses its mean.

    Raises
    ------
    InputError
        If X is sparse, or a feature's values are so large that its variance overflows.
    """
    if is_sparse(samples.values):
        raise InputError("sparse X cannot be standardised: its zeros would become numbers")
    # relative to one sample, so that a constant feature gives zeros, not rounding noise
    origin = samples.rows(rows[:1], np.float64)[0]
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    with np.errstate(over="ignore", invalid="ignore"):  # said below
        total = sum(_from_origin(samples, block, origin).sum(axis=0) for block in blocks)
        shift = total / len(rows)
        squares = sum(
            np.square(_from_origin(samples, block, origin) - shift).sum(axis=0) for block in blocks
        )
    if not np.isfinite(squares).all():
        feature = int(np.argmin(np.isfinite(squares)))
        raise InputError(
            f"feature {feature} of X has values too large to standardise; scale it down first"
        )
    spread = np.sqrt(squares / len(rows))
    return Scaling(None, origin + shift, 1 / np.where(spread > 0, spread, 1.0))


def _from_origin(
    samples: Input, rows: NDArray[np.intp], origin: NDArray[np.float64]
) -> NDArray[np.float64]:
    return samples.rows(rows, np.float64) - origin
