"""The kernels one by one, for proofs: the same code as in a run, called from Python."""

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from fastnn.fused import elementary
from fastnn.fused.dense import correlate_rows, multiply_rows
from fastnn.fused.head import loss_and_delta
from fastnn.fused.plan import ABREAST, CHUNK
from fastnn.fused.tiles import Tile, padded_stride
from fastnn.fused.vectors import address, span

Array = NDArray[Any]


def multiply(tile: Tile, A: Array, B: Array, start: Array, *, rectify: bool = False) -> Array:
    """Return start + A B, (rows, columns); negative numbers as 0 if ``rectify``."""
    stride = padded_stride(B.shape[1], tile)
    out = np.full((len(A), stride), np.nan, A.dtype)
    _multiply(tile)(_row_addresses(A), A.shape[1], B, start, rectify, out.reshape(-1), stride)
    return out[:, : B.shape[1]]


def correlate(tile: Tile, A: Array, D: Array) -> Array:
    """Return A^T D: a weight gradient, in chunks of samples added in order."""
    stride = padded_stride(D.shape[1], tile)
    padded = np.full((len(D), stride), np.nan, A.dtype)
    padded[:, : D.shape[1]] = D
    out = np.full((A.shape[1], D.shape[1]), np.nan, A.dtype)
    rows = _row_addresses(A)
    _correlate(tile)(rows, padded.reshape(-1), stride, A.shape[1], D.shape[1], out.reshape(-1))
    return out


def head(Z: Array, y: ArrayLike, shares: ArrayLike) -> tuple[Array, Array]:
    """Return each sample's part of the loss, and the slope of the loss by each logit."""
    delta, losses = Z.copy(), np.full(len(Z), np.nan)
    scratch = np.full(ABREAST * (Z.shape[1] + 2), np.nan, Z.dtype)
    labels, parts = np.asarray(y, np.int64), np.asarray(shares, np.float64)
    _head(delta.reshape(-1), Z.shape[1], labels, parts, losses, scratch)
    return losses, delta


def apply(name: str, x: Array) -> Array:
    """Return exp, log, tanh or logistic of each number."""
    out = np.empty_like(x)
    _apply(name)(x, out)
    return out


def _row_addresses(A: Array) -> Array:
    return A.ctypes.data + A.strides[0] * np.arange(len(A))


@cache
def _multiply(tile: Tile) -> Any:
    @njit
    def run(rows, n, B, start, rectify, out, stride):
        columns = B.shape[1]
        multiply_rows(
            tile, address(rows, 0), 0, rows.size, n, address(B.reshape(-1), 0), columns, columns,
            address(start, 0), rectify, address(out, 0), stride,
        )  # fmt: skip

    return run


@cache
def _correlate(tile: Tile) -> Any:
    @njit
    def run(rows, D, stride, n, columns, out):
        for chunk in range(0, rows.size, CHUNK):
            correlate_rows(
                tile, address(rows, chunk), min(CHUNK, rows.size - chunk),
                address(D, chunk * stride), stride, 0, n, columns, address(out, 0), columns,
                chunk > 0,
            )  # fmt: skip

    return run


@njit
def _head(Z, n_classes, y, shares, losses, scratch):
    for i in range(0, y.size, ABREAST):
        n = min(ABREAST, y.size - i)
        loss_and_delta(
            span(Z, i * n_classes, n * n_classes), n_classes, n, n_classes, scratch,
            span(y, i, n), span(shares, i, n), span(losses, i, n),
        )  # fmt: skip


@cache
def _apply(name: str) -> Any:
    function = getattr(elementary, name)

    @njit
    def run(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return run
