"""The kernels one by one, for proofs: the same code as in a run, called from Python."""

from functools import cache
from math import inf
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from fastnn.fused import elementary
from fastnn.fused.dense import correlate_rows, multiply_rows, pack_rows
from fastnn.fused.head import loss_and_delta
from fastnn.fused.plan import ABREAST, CHUNK
from fastnn.fused.tiles import Tile, padded_stride
from fastnn.fused.vectors import address, span

Array = NDArray[Any]


def multiply(tile: Tile, A: Array, B: Array, start: Array, *, rectify: bool = False) -> Array:
    """Return start + A B, (rows, columns); negative numbers as 0 if ``rectify``."""
    n, columns = B.shape
    stride = padded_stride(columns, tile)
    out = np.full((len(A), stride), np.nan, A.dtype)
    panels = np.full((n + 1) * stride, np.nan, A.dtype)
    B = np.vstack([B, start])
    _multiply(tile)(
        row_addresses(A), n, row_addresses(B), panels, columns, rectify, out.reshape(-1), stride
    )
    return out[:, :columns]


def correlate(tile: Tile, A: Array, D: Array) -> Array:
    """Return A^T D: a weight gradient, in chunks of samples added in order."""
    height, columns = A.shape[1], D.shape[1]
    panels = np.full(CHUNK * padded_stride(columns, tile), np.nan, A.dtype)
    out = np.full((height, columns), np.nan, A.dtype)
    _correlate(tile)(
        A.reshape(-1), len(A), height, row_addresses(D), panels, columns, out.reshape(-1)
    )
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


def row_addresses(A: Array) -> Array:
    """Return the table of the addresses of a matrix's rows."""
    return A.ctypes.data + A.strides[0] * np.arange(len(A))


@cache
def _multiply(tile: Tile) -> Any:
    @njit
    def run(rows, n, B, panels, columns, rectify, out, stride):
        pack_rows(tile, address(B, 0), 0, n + 1, columns, address(panels, 0), n + 1)
        multiply_rows(
            tile, address(rows, 0), 0, rows.size, n, address(panels, 0), columns, rectify,
            address(out, 0), stride,
        )  # fmt: skip

    return run


@cache
def _correlate(tile: Tile) -> Any:
    @njit
    def run(A, n_samples, height, D, panels, columns, out):
        for chunk in range(0, n_samples, CHUNK):
            n = min(CHUNK, n_samples - chunk)
            pack_rows(tile, address(D, chunk), 0, n, columns, address(panels, 0), CHUNK)
            correlate_rows(
                tile, address(A, chunk * height), height, n, address(panels, 0), 0, height,
                columns, address(out, 0), columns, chunk > 0,
            )  # fmt: skip

    return run


@njit
def _head(Z, n_classes, y, shares, losses, scratch):
    for i in range(0, y.size, ABREAST):
        n = min(ABREAST, y.size - i)
        loss_and_delta(
            span(Z, i * n_classes, n * n_classes), n_classes, n, n_classes, scratch,
            span(y, i, n), span(shares, i, n), span(losses, i, n), 0.0, 0.0, inf,
        )  # fmt: skip


@cache
def _apply(name: str) -> Any:
    function = getattr(elementary, name)

    @njit
    def run(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return run
