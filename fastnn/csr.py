"""Samples without their zeros: the compressed form, and the two passes over a table that make it.

The first pass counts each row's non-zero values and finds the largest magnitude, which also tells
whether all are finite; the second copies the values out, with their columns. Both read the table
once, on all CPUs, each of which has its own rows.

Numbers are read as bits: a float is zero if no bit but its sign is set, and the bits of positive
floats are in the order of the floats, with infinities and NaN at the end. That makes both passes
the same for all dtypes, and lets the first become vector instructions.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.threads import resolve_threads

WIDEST_SHORT = 2**16  # columns that two bytes can number
PARTS = 8  # that a table is cut into for each thread: one that is held up leaves less behind
SMALL = 2**20  # values of a table that NumPy compresses as fast as compiled code is loaded
RUNS, RUN_ROWS = 16, 64  # that tell how non-zero values are spread over the columns


@dataclass(frozen=True, eq=False)
class CSR:
    """The values of samples, row after row, and their columns in ascending order.

    Attributes
    ----------
    starts : ndarray of int64, shape (n_samples + 1,)
        Row i has the values ``starts[i]`` to ``starts[i + 1]``.
    columns : ndarray of uint16, int32 or int64, shape (n_values,)
    values : ndarray, shape (n_values,)
        As in the table: not yet scaled. Zeros are allowed.
    n_features : int
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.integer]
    values: NDArray[Any]
    n_features: int

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """Size of the three arrays, in bytes."""
        return self.starts.nbytes + self.columns.nbytes + self.values.nbytes

    @cached_property
    def longest(self) -> int:
        """Number of values of the row that has most."""
        return int(np.diff(self.starts).max())

    @cached_property
    def values_per_row(self) -> NDArray[np.float64]:
        """How many values each column has in a row, on average over some of the rows."""
        n = self.n_samples
        runs = [(n * i // RUNS, min(n * i // RUNS + RUN_ROWS, n)) for i in range(RUNS)]
        if n <= RUNS * RUN_ROWS:
            runs = [(0, n)]
        parts = [self.columns[self.starts[first] : self.starts[last]] for first, last in runs]
        counts = np.bincount(np.concatenate(parts), minlength=self.n_features)
        return counts / sum(last - first for first, last in runs)

    def dense(self, which: Any) -> NDArray[Any]:
        """Return some of the rows as a table, shape (n_rows, n_features)."""
        rows = np.arange(self.n_samples)[which]
        first, counts = self.starts[rows], np.diff(self.starts)[rows]
        table = np.zeros((len(rows), self.n_features), self.values.dtype)
        ends = np.cumsum(counts)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + counts, counts)
        table[np.repeat(np.arange(len(rows)), counts), self.columns[places]] = self.values[places]
        return table


@dataclass(frozen=True, eq=False)
class Scan:
    """What one pass over a table found.

    Attributes
    ----------
    counts : ndarray of int64, shape (n_samples,)
        Non-zero values of each row.
    largest : float
        Largest magnitude; NaN or infinite if a value is.
    """

    counts: NDArray[np.int64]
    largest: float


def scan(table: NDArray[Any]) -> Scan:
    """Count the non-zero values of each row and find the largest magnitude.

    Parameters
    ----------
    table : ndarray, shape (n_samples, n_features)
        Floats or integers, contiguous.
    """
    n_samples, n_features = table.shape
    counts = np.empty(n_samples, np.int64)
    is_float = table.dtype.kind == "f"
    numbers = _as_bits(table) if is_float else table
    extremes: list[tuple[Any, Any]] = []

    def one_part(first: int, last: int) -> None:
        found = np.empty(2, numbers.dtype)
        kernel(_read_only(numbers[first:last]), n_features, mask, counts[first:last], found)
        extremes.append((found[0], found[1]))

    mask = _mask(table.dtype) if is_float else np.array(-1).astype(numbers.dtype)[()]
    kernel = _kernel("scan", numbers.dtype)
    _in_parts(one_part, n_samples, table.nbytes)
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if is_float:
        return Scan(counts, float(np.array(high).view(table.dtype)))
    return Scan(counts, float(max(abs(int(low)), abs(int(high)))))


def compress(table: NDArray[Any], counts: NDArray[np.int64]) -> CSR:
    """Copy the non-zero values out of a table.

    Parameters
    ----------
    table : ndarray, shape (n_samples, n_features)
        Floats or integers, contiguous.
    counts : ndarray of int64, shape (n_samples,)
        Non-zero values of each row, from ``scan``.
    """
    n_samples, n_features = table.shape
    starts = np.zeros(n_samples + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    if table.size < SMALL:
        nonzero = table != 0
        return CSR(starts, np.nonzero(nonzero)[1].astype(np.int32), table[nonzero], n_features)
    columns = np.empty(starts[-1], np.uint16 if n_features <= WIDEST_SHORT else np.int32)
    values = np.empty(starts[-1], table.dtype)
    bits, value_bits, mask = _as_bits(table), _as_bits(values), _mask(table.dtype)
    kernel = _kernel("compress", bits.dtype, columns.dtype)
    by_words = (
        bits.itemsize <= 2 and n_features * bits.itemsize % 8 == 0 and bits.ctypes.data % 8 == 0
    )

    def one_part(first: int, last: int) -> None:
        here = slice(starts[first], starts[last])
        rows = _read_only(bits[first:last])
        words = rows.view(np.uint64) if by_words else rows[:0].view(np.uint64)
        kernel(rows, words, n_features, mask, columns[here], value_bits[here])

    _in_parts(one_part, n_samples, table.nbytes)
    return CSR(starts, columns, values, n_features)


def _as_bits(numbers: NDArray[Any]) -> NDArray[Any]:
    return numbers.view(f"u{numbers.dtype.itemsize}")


def _mask(dtype: np.dtype[Any]) -> Any:
    """Return the bits of a number that tell whether it is zero: all, but a float's sign."""
    bits = 8 * dtype.itemsize
    return np.dtype(f"u{dtype.itemsize}").type(2 ** (bits - (dtype.kind == "f")) - 1)


def _read_only(numbers: NDArray[Any]) -> NDArray[Any]:
    view = numbers.reshape(-1).view()
    view.flags.writeable = False
    return view


def _in_parts(task: Callable[[int, int], None], n: int, n_bytes: int) -> None:
    """Run a task on all of n rows, cut into parts, on all CPUs that this process may use."""
    threads = resolve_threads(None) if n_bytes > 2**20 else 1
    parts = min(n, PARTS * threads) if threads > 1 else 1
    edges = [n * part // parts for part in range(parts + 1)]
    if threads == 1:
        task(0, n)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        rest = [pool.submit(task, *edges[i : i + 2]) for i in range(1, parts)]
        task(*edges[:2])
        for future in rest:
            if future.cancel():  # the calling thread is the last worker
                i = rest.index(future) + 1
                task(*edges[i : i + 2])
        for future in rest:
            if not future.cancelled():
                future.result()


# --- compiled ------------------------------------------------------------------------------------

_lock = threading.Lock()
_kernels: dict[tuple[str, ...], Any] = {}


def _kernel(name: str, *dtypes: np.dtype[Any]) -> Any:
    """Return a compiled pass for tables, and columns, of such dtypes."""
    key = (name, *(dtype.name for dtype in dtypes))
    with _lock:
        if key not in _kernels:
            _kernels[key] = _compile(name, *dtypes)
        return _kernels[key]


def warm_up(*dtypes: str) -> None:
    """Compile the passes for tables of such dtypes, or load what was kept of them."""
    for dtype in map(np.dtype, dtypes):
        table = np.zeros((1, 1), dtype)
        compress(table, scan(table).counts)


def _compile(name: str, dtype: np.dtype[Any], *others: np.dtype[Any]) -> Any:
    from numba import from_dtype, njit, types

    from fastnn.compiling import compile_and_keep

    number = from_dtype(dtype)
    outs = (types.int64, dtype) if name == "scan" else (*others, dtype)
    arrays = [
        types.Array(from_dtype(np.dtype(out)) if not isinstance(out, types.Type) else out, 1, "C")
        for out in outs
    ]
    sources = [types.Array(number, 1, "C", readonly=True)]
    if name == "compress":
        sources.append(types.Array(types.uint64, 1, "C", readonly=True))
    function = {"scan": _scan_rows, "compress": _compress_rows}[name]
    if name == "compress" and others[0] == np.uint16 and _has_packing():
        from fastnn.packing import compress_rows

        function = compress_rows
    entry, _ = compile_and_keep(
        lambda keep: njit(nogil=True, cache=keep, error_model="numpy")(function),
        (*sources, types.int64, number, *arrays),
        stacklevel=6,
    )
    return entry


def _scan_rows(numbers, n, mask, counts, extremes):  # type: ignore[no-untyped-def]
    """Count the non-zero numbers of rows of n; note the lowest and the highest of them all."""
    kind = numbers.dtype.type  # Numba would compute with eight bytes, and vectors of fewer numbers
    zero = kind(0)
    low = high = kind(numbers[0] & mask)
    for i in range(counts.size):
        row = numbers[i * n : (i + 1) * n]
        count = np.int32(0)
        for j in range(n):
            number = kind(row[j] & mask)
            count += np.int32(number != zero)
            low = min(low, number)
            high = max(high, number)
        counts[i] = count
    extremes[0] = low
    extremes[1] = high


def _compress_rows(numbers, words, n, mask, columns, values):  # type: ignore[no-untyped-def]
    """Copy the non-zero numbers of rows of n, and their columns.

    A number is written always, and counted if it is not zero: that needs no branch, which the CPU
    would often foresee wrong. Short numbers come in words of eight bytes, and a word of zeros is
    passed over. What comes after the end is another thread's, so the last rows go another way.
    """
    unsigned = np.uint64  # Numba looks whether other numbers are negative: twice the time
    place, one, width = unsigned(0), unsigned(1), unsigned(n)
    per_word = unsigned(numbers.size // max(words.size, 1))
    for i in range(unsigned(numbers.size) // width):
        begin = i * width
        if place + width > unsigned(columns.size):
            for j in range(width):
                if numbers[begin + j] & mask:
                    columns[place], values[place] = j, numbers[begin + j]
                    place += one
        elif words.size == 0:
            for j in range(width):
                number = numbers[begin + j]
                columns[place], values[place] = j, number
                place += unsigned(number & mask != 0)
        else:
            for first in range(unsigned(0), width, per_word):
                if words[(begin + first) // per_word]:
                    for j in range(first, first + per_word):
                        number = numbers[begin + j]
                        columns[place], values[place] = j, number
                        place += unsigned(number & mask != 0)


def _has_packing() -> bool:
    """Tell whether the CPU packs chosen numbers of a vector side by side in one instruction."""
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    return all(features.get(f"avx512{name}") for name in ("f", "bw", "vl", "vbmi2"))
