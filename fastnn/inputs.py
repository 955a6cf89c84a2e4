"""What engines accept: samples, labels, sample weights, an order of rows.

Everything a caller hands to an engine passes through here once, so that engines run on checked
numbers and both refuse the same things in the same words.
"""

from dataclasses import dataclass, replace
from operator import index
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.errors import InputError
from fastnn.network import float_dtype

# integers that float32 holds exactly, and that are worth keeping small in memory
SMALL_INTEGERS = ("int8", "uint8", "int16", "uint16")

RowIndex: TypeAlias = NDArray[np.intp] | slice


@dataclass(frozen=True, eq=False)
class Input:
    """Checked samples, ready for any engine; made by ``prepare``.

    Attributes
    ----------
    values : ndarray or scipy.sparse.csr_matrix, shape (n_samples, n_features)
        float32, float64, or small integers; finite.
    scale : float or None
        For integers: the engine sees ``fl(v * scale)``.
    density : float
        Share of values that are not zero.
    largest : float
        Largest magnitude of ``values``.
    """

    values: Any
    scale: float | None
    density: float
    largest: float

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    def rows(self, which: RowIndex, dtype: DTypeLike) -> NDArray[np.floating]:
        """Return the rows ``which`` as a dense array of ``dtype``, integers scaled."""
        dtype = float_dtype(dtype)
        part = self.values[which]
        if is_sparse(part):
            part = part.toarray()
        part = part.astype(dtype, copy=False)
        if self.scale is not None and self.scale != 1.0:
            part = part * dtype.type(self.scale)
        result: NDArray[np.floating] = part
        return result

    def take(self, which: RowIndex) -> "Input":
        """Return some of the rows as an input of their own."""
        return prepare(self.values[which], scale=self.scale)

    def astype(self, dtype: DTypeLike) -> "Input":
        """Return the same samples with floating-point values as ``dtype``; integers stay."""
        dtype = float_dtype(dtype)
        if self.scale is not None:
            return self
        self.require_dtype(dtype)
        return replace(self, values=self.values.astype(dtype, copy=False))

    def require_dtype(self, dtype: DTypeLike) -> None:
        """Raise if a value would overflow to infinity in ``dtype``."""
        limit = float(np.finfo(np.dtype(dtype)).max)
        if self.largest > limit:
            data = self.values.data if is_sparse(self.values) else self.values
            where = _position(self.values, np.abs(data) > limit)
            raise InputError(
                f"{where} is {self.largest:.3g} in magnitude, too large for {np.dtype(dtype).name} "
                f"(at most {limit:.3g}); scale the feature or use dtype='float64'"
            )


def is_sparse(X: Any) -> bool:
    """Tell whether X is one of SciPy's sparse matrices or arrays, without importing SciPy."""
    return type(X).__module__.startswith("scipy.sparse") and hasattr(X, "tocsr")


def prepare(X: Any, *, scale: float | None = None, dtype: DTypeLike | None = None) -> Input:
    """Check samples and turn them, once, into what engines run on.

    Parameters
    ----------
    X : array_like or scipy.sparse matrix, shape (n_samples, n_features), or Input
        Numbers, finite. float32, float64 and integers of one or two bytes are kept (and not
        copied where they are already in place); other numbers become float64, sparse matrices CSR.
        An ``Input`` is returned as it is.
    scale : float, optional
        For integers: what one unit is worth, such as 1 / 255 for bytes of an image.
    dtype : {"float32", "float64"}, optional
        Convert floating-point values now rather than batch by batch.

    Returns
    -------
    Input
        Accepted by engines wherever X is.

    Raises
    ------
    InputError
        If X is not a table of finite numbers; the message says where it is not.
    """
    if isinstance(X, Input):
        if scale is not None and scale != X.scale:
            raise InputError(f"X was prepared with scale {X.scale}, not {scale}")
        return X if dtype is None else X.astype(dtype)
    values, data = _sparse_values(X) if is_sparse(X) else _dense_values(X)
    if values.ndim != 2:
        hint = "one sample is X.reshape(1, -1)" if values.ndim == 1 else "X.reshape(len(X), -1)"
        raise InputError(f"X has shape {values.shape}; expected (n_samples, n_features): {hint}")
    if 0 in values.shape:
        raise InputError(f"X has shape {values.shape}; expected at least one sample and feature")
    is_integer = data.dtype.kind in "iu"
    if scale is not None:
        if not is_integer:
            raise InputError(f"scale is for integers; X is {data.dtype}: leave scale out")
        if not (np.isfinite(scale) and scale != 0):
            raise InputError(f"scale is {scale!r}; expected a finite number other than 0")
    largest = _largest_magnitude(values, data)
    density = float(np.count_nonzero(data)) / (values.shape[0] * values.shape[1])
    if is_integer:
        if data.dtype.name in SMALL_INTEGERS:
            return Input(values, 1.0 if scale is None else float(scale), density, largest)
        values = values.astype(np.float64)
        if scale is not None:
            values, largest = values * scale, largest * abs(scale)
    prepared = Input(values, None, density, largest)
    return prepared if dtype is None else prepared.astype(dtype)


def _dense_values(X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        values = np.asarray(X)
        if values.dtype.kind == "O":
            values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"X is not a table of numbers: {error}") from error
    values = _number_array(values, "X")
    values = np.ascontiguousarray(values) if values.ndim else values
    return values, values


def _sparse_values(X: Any) -> tuple[Any, NDArray[Any]]:
    values = X.tocsr()
    if not values.has_canonical_format:
        values = values.copy()
        values.sum_duplicates()
    data = _number_array(values.data, "X")
    if data.dtype != values.data.dtype:
        values = values.astype(data.dtype)
    return values, values.data


def _number_array(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return ``values`` in a dtype that ``Input`` keeps."""
    kind = values.dtype.kind
    if kind == "b":
        return values.astype(np.uint8)
    if kind not in "iuf":
        raise InputError(f"{name} has dtype {values.dtype}; expected numbers")
    if kind == "f" and values.dtype.name not in ("float32", "float64"):
        return values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _largest_magnitude(values: Any, data: NDArray[Any]) -> float:
    if not data.size:
        return 0.0
    largest = float(max(abs(float(data.min())), abs(float(data.max()))))
    if not np.isfinite(largest):
        bad = ~np.isfinite(data)
        count = int(np.count_nonzero(bad))
        more = f" ({count} values in all are NaN or infinite)" if count > 1 else ""
        raise InputError(
            f"{_position(values, bad)} is {data[bad].flat[0]}{more}; "
            "expected finite numbers: remove or impute such samples"
        )
    return largest


def _position(values: Any, bad: NDArray[np.bool_]) -> str:
    """Name the place of the first True in ``bad``, which masks a table or a CSR's data."""
    if is_sparse(values):
        place = int(np.argmax(bad))
        row = int(np.searchsorted(values.indptr, place, side="right")) - 1
        column = int(values.indices[place])
    else:
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
    return f"X[{row}, {column}]"


def check_features(X: Input, n_features: int) -> None:
    """Raise unless X has as many features as the network."""
    if X.n_features != n_features:
        raise InputError(f"X has {X.n_features} features; the network expects {n_features}")


def check_labels(y: ArrayLike, n_samples: int, n_classes: int) -> NDArray[np.intp]:
    """Return class indices, shape (n_samples,), each in [0, n_classes)."""
    labels = np.asarray(y)
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"y has dtype {labels.dtype}; engines take class indices 0..{n_classes - 1} as integers"
        )
    if labels.shape != (n_samples,):
        raise InputError(f"y has shape {labels.shape}; expected ({n_samples},), one per sample")
    if labels.size:
        outside = (labels < 0) | (labels >= n_classes)
        if outside.any():
            first = int(np.argmax(outside))
            raise InputError(
                f"y[{first}] is {labels[first]}; expected class indices 0..{n_classes - 1}"
            )
    return labels.astype(np.intp, copy=False)


def check_sample_weight(
    sample_weight: ArrayLike | None, n_samples: int
) -> NDArray[np.float64] | None:
    """Return weights as float64, shape (n_samples,), finite and at least 0; None stays None."""
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_weight does not hold numbers: {error}") from error
    if weights.shape != (n_samples,):
        raise InputError(
            f"sample_weight has shape {weights.shape}; expected ({n_samples},), one per sample"
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"sample_weight[{first}] is {weights[first]}; expected finite numbers of at least 0"
        )
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        raise InputError("sample_weight sums to infinity; scale it down")
    return weights


def check_order(order: ArrayLike, n_samples: int) -> NDArray[np.intp]:
    """Return row indices as a flat array, each in [0, n_samples)."""
    indices = np.asarray(order)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        raise InputError(
            f"order has shape {indices.shape} and dtype {indices.dtype}; "
            "expected a flat sequence of row indices"
        )
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= n_samples:
            raise InputError(
                f"order holds indices {low}..{high}; expected indices 0..{n_samples - 1}"
            )
    return indices.astype(np.intp, copy=False)


def check_count(name: str, value: int) -> int:
    """Return a count (of epochs, of samples in a batch) as an int of at least 1."""
    try:
        count = index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"{name} is {value!r}; expected a whole number of at least 1")
    return count


def check_learning_rates(rates: ArrayLike, n_batches: int) -> NDArray[np.float64]:
    """Return one rate per batch; a single number stands for all."""
    values = np.asarray(rates, dtype=np.float64)
    if values.shape not in ((), (n_batches,)):
        raise InputError(
            f"learning_rates has shape {values.shape}; expected a number or ({n_batches},), "
            "one per batch"
        )
    if not (np.isfinite(values) & (values >= 0)).all():
        raise InputError("learning_rates must be finite and at least 0")
    return np.broadcast_to(values, (n_batches,))
