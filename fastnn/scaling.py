"""How raw samples become what the network sees: a scale for integers, or standardised features.

A model remembers its scaling, so that prediction treats samples as training did.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.errors import InputError
from fastnn.inputs import Input, as_array, is_sparse, prepare, prepare_once
from fastnn.network import float_dtype

BLOCK = 4096  # samples: bounds the memory for float64 copies


@dataclass(frozen=True, eq=False)
class Scaling:
    """Applied to every X that a model is given.

    Attributes
    ----------
    scale : float
        What one unit of an integer is worth. Where it is not 1, X must hold integers, or be an
        ``Input`` that was prepared with the same scale or from floating-point values: those are
        taken as already scaled.
    offset, factor : ndarray of float64, shape (n_features,), or None
        Standardisation, after the scale: the network sees ``(x - offset) * factor``.
    """

    scale: float = 1.0
    offset: NDArray[np.float64] | None = None
    factor: NDArray[np.float64] | None = None

    def apply(self, X: Any, dtype: DTypeLike, *, once: bool = False) -> Input:
        """Return X as the network sees it, prepared for many passes or for one."""
        samples = X if isinstance(X, Input) else self._prepare(X, once)
        if samples.is_integer and samples.scale != self.scale:
            raise InputError(
                f"X was prepared with scale {samples.scale:g}; the model's is {self.scale:g}"
            )
        if self.offset is None or self.factor is None:
            return samples.astype(dtype)
        if samples.n_features != len(self.offset):
            raise InputError(
                f"X has {samples.n_features} features; the model expects {len(self.offset)}"
            )
        result = np.empty((samples.n_samples, samples.n_features), float_dtype(dtype))
        with np.errstate(over="ignore"):  # said below
            for start in range(0, samples.n_samples, BLOCK):
                block = slice(start, start + BLOCK)
                result[block] = (samples.rows(block, np.float64) - self.offset) * self.factor
        if not np.isfinite(result).all():
            row, column = np.argwhere(~np.isfinite(result))[0]
            raise InputError(
                f"X[{row}, {column}] is so far from the samples of training that standardised it "
                f"overflows {result.dtype}"
            )
        return prepare_once(result)

    def _prepare(self, X: Any, once: bool) -> Input:
        prepared = prepare_once if once else prepare
        if self.scale == 1.0:
            return prepared(X)
        values = X if is_sparse(X) else as_array("X", X)
        if values.dtype.kind not in "iub":
            raise InputError(
                f"X has dtype {values.dtype}; the model takes integers, each unit worth "
                f"{self.scale:g}. Samples that are scaled already are given as fastnn.prepare(X)"
            )
        return prepared(values, scale=self.scale)


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

    def blocks() -> Iterator[NDArray[np.floating]]:
        for start in range(0, len(rows), BLOCK):
            yield samples.rows(rows[start : start + BLOCK], np.float64)

    return standardization_of(blocks, len(rows), samples.scale)


def standardization_of(
    blocks: Callable[[], Iterable[NDArray[np.floating]]], n_samples: int, scale: float
) -> Scaling:
    """Return the scaling that gives each feature mean 0 and variance 1.

    Parameters
    ----------
    blocks : callable
        Gives the samples in float64, scaled, some rows at a time; called twice, for the mean and
        for the variance.
    n_samples : int
    scale : float
        Kept in the result: what one unit of an integer is worth.

    Returns
    -------
    scaling : Scaling

    Raises
    ------
    InputError
        If a feature's values are so large that its variance overflows.
    """
    # relative to one sample, so that a constant feature gives zeros, not rounding noise
    origin: Any = None
    total: Any = 0.0
    squares: Any = 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # said below
        for block in blocks():
            if origin is None:
                origin = block[0].copy()
            total = total + (block - origin).sum(axis=0)
        shift = total / n_samples
        for block in blocks():
            squares = squares + np.square(block - origin - shift).sum(axis=0)
    if not np.isfinite(squares).all():
        feature = int(np.argmin(np.isfinite(squares)))
        raise InputError(
            f"feature {feature} of X has values too large to standardise; scale it down first"
        )
    spread = np.sqrt(squares / n_samples)
    return Scaling(scale, origin + shift, 1 / np.where(spread > 0, spread, 1.0))
