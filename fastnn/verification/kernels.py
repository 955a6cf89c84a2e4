"""Kernels one by one, against the same formula in a higher precision."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn.bounds import UNIT_ROUNDOFF, g, product_bound
from fastnn.verification.check import Array, Check, exactly, share, worst

PRODUCTS = ((1, 1, 1), (8, 784, 128), (5, 17, 33), (67, 129, 50), (300, 3, 15))  # rows, n, columns

# Largest errors in ULP; reasons in fused/elementary.py.
FUNCTION_ULP = {"exp": 1.25, "log": 1.0, "tanh": 3.0, "logistic": 2.5}


def check_kernels(dtype: str, rng: np.random.Generator) -> Iterator[Check]:
    """Compare functions, products, weight gradients and the softmax's head."""
    # Numba comes with these; the reference needs none of it
    from fastnn.fused import probe
    from fastnn.fused.tiles import host_tile

    tile, u = host_tile(dtype), UNIT_ROUNDOFF[dtype]
    for name, limit in FUNCTION_ULP.items():
        x = _arguments(name, dtype, rng)
        yield Check(name, dtype, ulp_error(name, x, probe.apply(name, x)), limit)
    for rows, n, columns in PRODUCTS:
        case = f"{rows}x{n}x{columns} {dtype}"
        A, B = (rng.normal(size=shape).astype(dtype) for shape in ((rows, n), (n, columns)))
        b = rng.normal(size=columns).astype(dtype)
        found = probe.multiply(tile, A, B, b)
        exact = exactly(A) @ exactly(B) + exactly(b)
        yield Check("product", case, share(found, exact, product_bound(A, B, u, b)), 1.0)
        D = rng.normal(size=(rows, columns)).astype(dtype)
        found = probe.correlate(tile, A, D)
        exact = exactly(A).T @ exactly(D)
        yield Check("weight gradient", case, share(found, exact, product_bound(A.T, D, u)), 1.0)
    for rows, columns in ((1, 2), (16, 10), (35, 3), (50, 100)):
        Z = rng.normal(scale=5, size=(rows, columns)).astype(dtype)
        y, shares = rng.integers(0, columns, rows), rng.random(rows)
        yield Check("head", f"{rows}x{columns} {dtype}", _head_error(probe.head, Z, y, shares), 1.0)


def _head_error(head: Callable[..., Any], Z: Array, y: Array, shares: Array) -> float:
    """Return the errors of losses and slopes over their bounds."""
    u = UNIT_ROUNDOFF[Z.dtype.name]
    losses, delta = head(Z, y, shares)
    shifted = exactly(Z) - exactly(Z).max(axis=1, keepdims=True)
    E = np.exp(shifted)
    total = E.sum(axis=1, keepdims=True)
    rows = np.arange(len(Z))
    exact = np.log(total[:, 0]) - shifted[rows, y]
    P = E / total
    # exp within 2 ULP of a number that was rounded, the sum, the quotient, the difference
    relative = u * (np.abs(shifted) + 6) + g(Z.shape[1] + 1, u) + u * np.abs(shifted).max()
    slope = P.copy()
    slope[rows, y] -= 1
    bound = (P * relative + 3 * u * np.abs(slope)) * shares[:, None]
    loss_bound = (relative.max(axis=1) + 4 * u * (exact + np.abs(shifted[rows, y]) + 1)) * shares
    return worst(
        share(delta, slope * shares[:, None], bound),
        share(losses, exact * shares, loss_bound),
    )


def _arguments(name: str, dtype: str, rng: np.random.Generator) -> Array:
    finfo = np.finfo(dtype)
    if name == "log":
        exponents = rng.uniform(np.log10(finfo.smallest_subnormal), np.log10(finfo.max), 200_000)
        with np.errstate(under="ignore"):
            x = (10.0 ** np.maximum(exponents, -323)).astype(dtype)
        return np.concatenate([x[x > 0], rng.uniform(0.5, 2, 200_000).astype(dtype)])
    span = np.log(float(finfo.max))
    wide = rng.uniform(-1.02 * span if name == "exp" else -span, 0.99 * span, 200_000)
    return np.concatenate([wide, rng.normal(size=200_000)]).astype(dtype)


def ulp_error(name: str, x: Array, found: Array) -> float:
    """Return the largest error of a function's values, in units in the last place.

    Parameters
    ----------
    name : {"exp", "log", "tanh", "logistic"}
    x, found : ndarray
        Arguments, and the values found for them. Where a value is denormal, the last place is that
        of the denormal numbers.
    """
    z = exactly(x)
    with np.errstate(under="ignore"):
        e = np.exp(-np.abs(z))
        functions: dict[str, Callable[[Array], Array]] = {
            "exp": np.exp,
            "log": np.log,
            "tanh": np.tanh,
            "logistic": lambda z: np.where(z >= 0, 1, e) / (1 + e),
        }
        exact = functions[name](z)
        finfo = np.finfo(x.dtype)
        magnitude = np.maximum(np.abs(exact).astype(np.float64), float(finfo.tiny))
        ulp = 2.0 ** (np.floor(np.log2(magnitude)) - finfo.nmant)
    return float((np.abs(exactly(found) - exact) / ulp).max())
