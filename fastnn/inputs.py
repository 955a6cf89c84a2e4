"""What an X is: dense or sparse, floating-point or integers with a scale; checked once.

Samples from anywhere pass through ``prepare``, so that engines run on checked numbers and all
refuse the same things in the same words. What else a call of an engine takes is checked in
``checks.py``.

``prepare`` also counts the zeros, and chooses how the fused engine goes through the first layer:
``dense``, value by value, or ``sparse``, from non-zero value to non-zero value. The results are the
same to the last bit. Per non-zero value the second way costs ``COST_OF_NONZERO`` times as much as
the first does per value: it fetches a row of the weights from farther away, and sorts the values of
each batch by their columns. Per row it costs as much as ``COST_OF_ROW`` more values. Measured on
made-up samples of 784 features, 30 to 50 % of them not zero, and on Fashion-MNIST, with 128 and 512
hidden units and batches of 32 to 512, on a CPU with AVX-512; narrower layers gain less. So it pays
where ::

    COST_OF_NONZERO * non-zero values + COST_OF_ROW * rows < values
"""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.csr import CSR, compress, scan
from fastnn.errors import InputError
from fastnn.network import float_dtype
from fastnn.records import is_number

RowIndex: TypeAlias = NDArray[np.intp] | slice

LAYOUTS = ("auto", "dense", "sparse")
COST_OF_NONZERO = 3.3
COST_OF_ROW = 16.0

# Values of a table from which on compiled code goes through it, on all CPUs: to load that takes as
# long as NumPy takes for some millions.
LARGE = 2**20


@dataclass(frozen=True, eq=False)
class Input:
    """Checked samples, ready for any engine; made by ``prepare``.

    Attributes
    ----------
    values : ndarray or scipy.sparse.csr_matrix, shape (n_samples, n_features)
        float32, float64, or integers; finite. As given, where that was possible without a copy.
    scale : float
        The engine sees ``fl(v * scale)``: v and scale rounded to its dtype, then multiplied there.
        1 for floating-point values.
    density : float
        Share of values that are not zero.
    largest : float
        Largest magnitude of ``values``.
    layout : {"dense", "sparse"}
        How the fused engine takes them: value by value, or without the zeros.
    compressed : CSR or None
        The values without zeros; of dense values only where the layout is sparse.
    """

    values: Any
    scale: float
    density: float
    largest: float
    layout: str = "dense"
    compressed: CSR | None = None

    def __repr__(self) -> str:
        return (
            f"Input({self.n_samples} samples, {self.n_features} features, {self.values.dtype}, "
            f"scale={self.scale:.6g}, density={self.density:.2g}, layout={self.layout})"
        )

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return bool(self.values.dtype.kind in "iu")

    def rows(self, which: RowIndex, dtype: DTypeLike) -> NDArray[np.floating]:
        """Return the rows ``which`` as a dense array of ``dtype``, scaled."""
        dtype = float_dtype(dtype)
        part = self.values[which]
        if is_sparse(part):
            part = part.toarray()
        part = part.astype(dtype, copy=False)
        if self.scale != 1.0:
            part = part * dtype.type(self.scale)
        result: NDArray[np.floating] = part
        return result

    def take(self, which: RowIndex) -> "Input":
        """Return some of the rows as an input of their own."""
        return replace(prepare(self.values[which], layout=self.layout), scale=self.scale)

    def astype(self, dtype: DTypeLike) -> "Input":
        """Return the same samples with floating-point values as ``dtype``; integers stay."""
        dtype = float_dtype(dtype)
        self.require_dtype(dtype)
        if self.is_integer or self.values.dtype == dtype:
            return self
        if is_sparse(self.values):
            return replace(self, **_csr_fields(self.values.astype(dtype)))
        if self.compressed is not None:  # the zeros are nobody's concern any more
            kept = self.compressed
            return replace(self, compressed=replace(kept, values=kept.values.astype(dtype)))
        return replace(self, values=self.values.astype(dtype))

    def require_dtype(self, dtype: DTypeLike) -> None:
        """Raise if a value would overflow to infinity in ``dtype``."""
        if self.values.dtype == dtype:
            return
        limit = float(np.finfo(float_dtype(dtype)).max)
        if self.largest > limit / max(abs(self.scale), 1.0):
            data = self.values.data if is_sparse(self.values) else self.values
            place = np.abs(data.astype(np.float64)) == self.largest
            raise InputError(
                f"{_position(self.values, place)} is {self.largest * abs(self.scale):.3g} in "
                f"magnitude, too large for {np.dtype(dtype).name} (at most {limit:.3g}); "
                "scale the feature or use dtype='float64'"
            )


def is_sparse(X: Any) -> bool:
    """Tell whether X is one of SciPy's sparse matrices or arrays, without importing SciPy."""
    is_scipys = any(kind.__module__.startswith("scipy.sparse") for kind in type(X).__mro__)
    return is_scipys and hasattr(X, "tocsr")


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return ``value`` as an array; raise an error that says ``name`` if it cannot be one."""
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array; remove or fill in what is masked")
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} is not an array of numbers: {error}") from error


def prepare(
    X: Any,
    *,
    scale: float | None = None,
    dtype: DTypeLike | None = None,
    layout: str = "auto",
    n_features: int | None = None,
) -> Input:
    """Check samples and turn them, once, into what engines run on.

    Parameters
    ----------
    X : array_like or scipy.sparse matrix, shape (n_samples, n_features), or Input
        Numbers, finite. float32, float64 and integers are kept (and not copied where they are
        already in place); other numbers become float64, sparse matrices CSR. An ``Input`` is
        returned as it is. With ``n_features``: the three arrays of CSR, (values, columns, starts).
    scale : float, optional
        For integers: what one unit is worth, such as 1 / 255 for bytes of an image.
    dtype : {"float32", "float64"}, optional
        Convert floating-point values now rather than batch by batch.
    layout : {"auto", "dense", "sparse"}, default="auto"
        Whether the fused engine is to skip zeros: where that is faster, never, or always. The
        results have the same bits.
    n_features : int, optional
        Number of columns of CSR arrays.

    Returns
    -------
    Input
        Accepted by engines wherever X is.

    Raises
    ------
    InputError
        If X is not a table of finite numbers; the message says where it is not.

    Examples
    --------
    >>> import fastnn
    >>> X = [[0, 0, 3], [1, 0, 0]]
    >>> fastnn.prepare(X, scale=1 / 3, layout="sparse")
    Input(2 samples, 3 features, int64, scale=0.333333, density=0.33, layout=sparse)
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout is {layout!r:.40}; expected one of {LAYOUTS}")
    if n_features is not None:
        X = _from_arrays(X, n_features)
    if isinstance(X, Input):
        if scale is not None and scale != X.scale:
            raise InputError(f"X was prepared with scale {X.scale:g}, not {scale!r}")
        X = X if dtype is None else X.astype(dtype)
        return X if layout in ("auto", X.layout) else _with_layout(X, layout)
    values, data = _sparse_values(X) if is_sparse(X) else _dense_values(X)
    if values.ndim != 2:
        hint = {0: "", 1: ": one sample is X.reshape(1, -1)"}
        raise InputError(
            f"X has shape {values.shape}; expected (n_samples, n_features)"
            + hint.get(values.ndim, ": X.reshape(len(X), -1)")
        )
    if 0 in values.shape:
        raise InputError(f"X has shape {values.shape}; expected at least one sample and feature")
    if scale is not None:
        if data.dtype.kind not in "iu":
            raise InputError(f"scale is for integers; X is {data.dtype}: leave scale out")
        if not (is_number(scale) and np.isfinite(scale) and scale != 0):
            raise InputError(f"scale is {scale!r}; expected a finite number other than 0")
    largest, counts = _magnitude_and_counts(values, data)
    density = float(counts.sum()) / (values.shape[0] * values.shape[1])
    prepared = Input(values, 1.0 if scale is None else float(scale), density, largest)
    if is_sparse(values):
        prepared = replace(prepared, **_csr_fields(values))
    chosen = faster_layout(values.shape, density) if layout == "auto" else layout
    prepared = _with_layout(prepared, chosen, counts)
    return prepared if dtype is None else prepared.astype(dtype)


def prepare_once(X: Any, *, scale: float | None = None) -> Input:
    """Return samples prepared for a single pass, which a table is not worth compressing for."""
    stays = not is_sparse(X) and not isinstance(X, Input)
    return prepare(X, scale=scale, layout="dense" if stays else "auto")


def faster_layout(shape: tuple[int, int], density: float) -> str:
    """Return "sparse" where to skip zeros is expected to be faster, else "dense"."""
    n_samples, n_features = shape
    sparse = n_samples * (COST_OF_NONZERO * density * n_features + COST_OF_ROW)
    return "sparse" if sparse < n_samples * n_features else "dense"


def _with_layout(X: Input, layout: str, counts: NDArray[np.int64] | None = None) -> Input:
    if layout == "sparse" and X.compressed is None:
        table = X.values
        if counts is None:
            counts = _magnitude_and_counts(table, table)[1]
        return replace(X, layout=layout, compressed=compress(table, counts))
    return replace(X, layout=layout)


def _csr_fields(values: Any) -> dict[str, Any]:
    """Return the fields of an ``Input`` that a SciPy matrix fills."""
    starts = values.indptr.astype(np.int64, copy=False)
    return {
        "values": values,
        "compressed": CSR(starts, values.indices, values.data, values.shape[1]),
    }


def _from_arrays(arrays: Any, n_features: int) -> Any:
    """Return a SciPy matrix of (values, columns, starts)."""
    from scipy.sparse import csr_matrix

    if not (isinstance(arrays, tuple) and len(arrays) == 3):
        raise InputError(
            f"n_features goes with X=(values, columns, starts), the arrays of CSR; X is "
            f"{type(arrays).__name__}"
        )
    if not (is_number(n_features) and 0 < n_features < 2**31 and n_features == int(n_features)):
        raise InputError(
            f"n_features is {n_features!r:.40}; expected a whole number from 1 to {2**31 - 1}"
        )
    values, columns, starts = (as_array("X", part) for part in arrays)
    for name, part in (("columns", columns), ("starts", starts)):
        if part.ndim != 1 or part.dtype.kind not in "iu":
            raise InputError(
                f"X has {name} of shape {part.shape} and dtype {part.dtype}; expected a flat array "
                "of integers"
            )
    if values.ndim != 1 or not starts.size:
        raise InputError(
            f"X has values of shape {values.shape} and starts of shape {starts.shape}; expected "
            "flat arrays, with one start more than there are samples"
        )
    try:
        return csr_matrix((values, columns, starts), shape=(len(starts) - 1, int(n_features)))
    except (ValueError, TypeError) as error:
        raise InputError(f"X is not a valid sparse matrix: {error}") from error


def _dense_values(X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    values = as_array("X", X)
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"X is not a table of numbers: {error}") from error
    values = _number_array(values)
    values = np.ascontiguousarray(values) if values.ndim else values
    return values, values


def _sparse_values(X: Any) -> tuple[Any, NDArray[Any]]:
    if hasattr(X, "check_format"):
        try:  # SciPy's own code reads beyond its arrays where the indices are wrong
            X.check_format(full_check=True)
        except (ValueError, TypeError) as error:
            raise InputError(f"X is not a valid sparse matrix: {error}") from error
    if X.dtype == np.float16:  # SciPy lets it be, and cannot compute with it
        X = X.astype(np.float32)
    values = X.tocsr()
    if not values.has_canonical_format:
        values = values.copy()
        values.sum_duplicates()
    data = _number_array(values.data)
    if data.dtype != values.data.dtype:
        values = values.astype(data.dtype)
    return values, values.data


def _number_array(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values`` in a dtype that ``Input`` keeps."""
    kind = values.dtype.kind
    if kind == "b":
        return values.astype(np.uint8)
    if kind not in "iuf":
        raise InputError(f"X has dtype {values.dtype}; expected numbers")
    if kind == "f" and values.dtype.name not in ("float32", "float64"):
        with np.errstate(over="ignore"):  # becomes an infinity, which is refused
            return values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _magnitude_and_counts(
    values: Any, data: NDArray[Any]
) -> tuple[float, NDArray[np.int64] | NDArray[np.intp]]:
    """Return the largest magnitude, and the non-zero values of each row: of CSR, those of all.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    counts: NDArray[Any]
    if not data.size:
        return 0.0, np.zeros(1, np.intp)
    if is_sparse(values):
        largest, counts = _magnitude(data), np.array([np.count_nonzero(data)])
    elif data.size >= LARGE:
        found = scan(data)
        largest, counts = found.largest, found.counts
    else:
        largest, counts = _magnitude(data), np.count_nonzero(data, axis=1)
    if not np.isfinite(largest):
        bad = ~np.isfinite(data)
        count = int(np.count_nonzero(bad))
        more = f" ({count} values in all are NaN or infinite)" if count > 1 else ""
        raise InputError(
            f"{_position(values, bad)} is {data[bad].flat[0]}{more}; "
            "expected finite numbers: remove or impute such samples"
        )
    return largest, counts


def _magnitude(data: NDArray[Any]) -> float:
    return max(abs(float(data.min())), abs(float(data.max())))


def _position(values: Any, bad: NDArray[np.bool_]) -> str:
    """Name the place of the first True in ``bad``, which masks a table or a CSR's data."""
    if is_sparse(values):
        place = int(np.argmax(bad))
        row = int(np.searchsorted(values.indptr, place, side="right")) - 1
        column = int(values.indices[place])
    else:
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
    return f"X[{row}, {column}]"
