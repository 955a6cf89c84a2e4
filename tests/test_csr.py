"""The compressed form of samples, and the two compiled passes that make it, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import csr, inputs

FLOATS = ["float32", "float64"]
DTYPES = [*FLOATS, *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]


@pytest.fixture
def compiled(monkeypatch):
    """Have compiled code go through tables of any size."""
    monkeypatch.setattr(csr, "SMALL", 0)
    monkeypatch.setattr(inputs, "LARGE", 0)


@pytest.fixture
def many_parts(monkeypatch):
    """Cut tables of any size into parts for three threads, as large ones are."""
    cut = csr._in_parts
    monkeypatch.setattr(csr, "resolve_threads", lambda _: 3)
    monkeypatch.setattr(csr, "_in_parts", lambda task, n, _: cut(task, n, 2**40))


def table(dtype, shape, density, seed=0):
    """Return a table with rows of zeros only and of none, -0.0, and the dtype's extremes."""
    rng = np.random.default_rng([seed, *shape])
    kind = np.dtype(dtype).kind
    if kind == "f":
        X = rng.normal(size=shape).astype(dtype)
        low, high = np.finfo(dtype).min, np.finfo(dtype).smallest_subnormal
    else:
        info = np.iinfo(dtype)
        low, high = info.min, info.max
        X = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
        X[X == 0] = 1
    X *= (rng.random(shape) < density).astype(dtype)
    X[rng.random(shape[0]) < 0.2] = 0
    X[rng.random(shape[0]) < 0.1] = 1
    X[0, 0], X[-1, -1] = low, high
    return X


def check(X):
    """Compare both passes with NumPy."""
    found = csr.scan(X)
    np.testing.assert_array_equal(found.counts, np.count_nonzero(X, axis=1))
    assert found.counts.dtype == np.int64
    assert found.largest == max(abs(float(X.min())), abs(float(X.max())))
    compressed = csr.compress(X, found.counts)
    rows, columns = np.nonzero(X)
    np.testing.assert_array_equal(compressed.columns, columns)
    assert compressed.values.dtype == X.dtype
    assert compressed.values.tobytes() == X[rows, columns].tobytes()
    np.testing.assert_array_equal(compressed.starts, np.searchsorted(rows, range(len(X) + 1)))
    assert (compressed.n_samples, compressed.n_features) == X.shape
    np.testing.assert_array_equal(compressed.dense(slice(None)), X)
    return compressed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 3, 8, 17, 64, 100])
def test_both_passes_find_what_numpy_finds(compiled, many_parts, dtype, n_features):
    for n_samples in (1, 2, 23, 50):
        for density in (0.0, 0.1, 0.6, 1.0):
            compressed = check(table(dtype, (n_samples, n_features), density))
            assert compressed.columns.dtype == np.uint16


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_numpy_finds_the_same_in_small_tables(dtype):
    for density in (0.0, 0.3, 1.0):
        assert check(table(dtype, (40, 24), density)).columns.dtype == np.int32


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    n_samples=st.integers(1, 40),
    n_features=st.integers(1, 70),
    density=st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]),
    seed=st.integers(0, 1000),
)
def test_any_shape(dtype, n_samples, n_features, density, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csr, "SMALL", 0)
        check(table(dtype, (n_samples, n_features), density, seed))


@pytest.mark.parametrize("n_features", [2**16, 2**16 + 1])
def test_columns_that_two_bytes_do_not_number(compiled, n_features):
    X = np.zeros((5, n_features), np.uint8)
    X[[0, 1, 4], [n_features - 1, 2**15, 0]] = 1
    columns = check(X).columns
    assert columns.dtype == ("uint16" if n_features == 2**16 else "int32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_table_in_parts_for_all_cpus(dtype):
    X = table(dtype, (csr.SMALL // 512 + 1, 512), 0.1)
    assert X.nbytes > 2**20
    check(X)
    samples = fastnn.prepare(X, layout="sparse")
    assert samples.density == np.count_nonzero(X) / X.size
    assert samples.compressed.columns.dtype == np.uint16


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_tables_that_do_not_begin_with_a_word(compiled, dtype):
    size = np.dtype(dtype).itemsize
    X = table(dtype, (20, 16), 0.3)
    for shift in (size, 2 * size, 8):
        room = np.zeros(X.nbytes + shift, np.uint8)
        view = room[shift:].view(dtype).reshape(X.shape)
        view[...] = X
        check(view)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_sign_of_zero_is_not_a_value(compiled, dtype):
    X = np.full((4, 5), -0.0, dtype)
    X[1, 2], X[2, 4] = -1, 2
    compressed = check(X)
    assert compressed.values.tolist() == [-1, 2]
    assert csr.scan(X).largest == 2
    assert csr.scan(np.full((3, 3), -0.0, dtype)).largest == 0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (17, 5), (29, 12)])
def test_what_is_not_finite_is_found_and_named(compiled, many_parts, dtype, bad, place):
    X = table(dtype, (30, 13), 0.5)
    X[place] = bad
    assert not np.isfinite(csr.scan(X).largest)
    for layout in ("auto", "dense", "sparse"):
        with pytest.raises(fastnn.InputError, match=rf"X\[{place[0]}, {place[1]}\] is -?(nan|inf)"):
            fastnn.prepare(X, layout=layout)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("n_features", [8, 13])
def test_nothing_beyond_a_part_is_written(monkeypatch, compiled, dtype, n_features):
    """Parts are compressed by several threads: what comes after a part's end is another's."""
    X = table(dtype, (24, n_features), 0.4)
    seen = []
    empty = np.empty

    def surrounded(n, kind):
        room = np.full(n + 64, 77, kind)
        seen.append(room)
        return room[32 : n + 32]

    def one_part(task, n, _):
        columns, values = seen
        edges = [0, 1, 5, 6, 17, n]
        total = csr.compress.starts[-1]
        done = np.zeros(total + 64, bool)
        for first, last in (edges[i : i + 2] for i in (3, 0, 4, 2, 1)):
            before = columns.copy(), values.copy()
            task(first, last)
            own = slice(csr.compress.starts[first] + 32, csr.compress.starts[last] + 32)
            done[own] = True
            outside = np.ones(total + 64, bool)
            outside[own] = False
            for old, new in zip(before, (columns, values), strict=True):
                np.testing.assert_array_equal(new[outside], old[outside])
        assert done[32:-32].all()

    counts = np.count_nonzero(X, axis=1)
    compress = csr.compress
    compress.starts = np.concatenate([[0], np.cumsum(counts)])
    monkeypatch.setattr(csr.np, "empty", surrounded)
    monkeypatch.setattr(csr, "_in_parts", one_part)
    found = compress(X, counts)
    monkeypatch.setattr(csr.np, "empty", empty)
    np.testing.assert_array_equal(found.dense(slice(None)), X)


def test_rows_are_read_by_any_index():
    X = table("float64", (30, 9), 0.3)
    found = csr.compress(X, csr.scan(X).counts)
    for which in (slice(3, 17, 2), [4, 4, 0], np.arange(30) % 3 == 0, slice(0, 0), np.array([29])):
        np.testing.assert_array_equal(found.dense(which), X[which])


def test_what_is_counted_of_the_rows_and_columns():
    X = table("float32", (50, 9), 0.3)
    X[3] = 1
    found = csr.compress(X, csr.scan(X).counts)
    assert found.longest == 9
    np.testing.assert_allclose(found.values_per_row, np.count_nonzero(X, axis=0) / 50)
    assert found.nbytes == found.starts.nbytes + found.columns.nbytes + found.values.nbytes
    empty = csr.CSR(np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0), 5)
    assert empty.longest == 0
    assert empty.values_per_row.tolist() == [0] * 5
    assert not empty.dense(slice(None)).any()


@pytest.mark.parametrize("n_samples", [1, 12, 13, 25, 101])
def test_values_per_row_are_those_of_some_rows(monkeypatch, n_samples):
    monkeypatch.setattr(csr, "RUNS", 4)
    monkeypatch.setattr(csr, "RUN_ROWS", 3)
    X = np.zeros((n_samples, 3), np.float32)
    X[:, 1], X[n_samples // 2 :, 2] = 1, 1
    found = csr.compress(X, csr.scan(X).counts).values_per_row
    assert found[:2].tolist() == [0, 1]
    # a quarter of the rows seen, at most, is on the wrong side
    assert found[2] == pytest.approx(X[:, 2].mean(), abs=0.0 if n_samples <= 12 else 0.25)


def test_tables_are_not_changed(compiled):
    X = table("float32", (30, 16), 0.3)
    before = X.copy()
    X.flags.writeable = False
    check(X)
    assert X.tobytes() == before.tobytes()
