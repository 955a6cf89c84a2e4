"""What ``prepare``, labels and splits accept; what engines do with it is in test_contract.py."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastnn
from fastnn.inputs import Input, faster_layout
from fastnn.labels import as_labels, encode_labels, split_rows
from fastnn.scaling import Scaling, standardization


@pytest.mark.parametrize(
    ("X", "dtype"),
    [
        (np.ones((2, 3), np.float32), "float32"),
        (np.ones((2, 3), np.float16), "float32"),
        (np.ones((2, 3), np.longdouble), "float64"),
        (np.ones((2, 3), ">f4"), "float32"),
        (np.ones((2, 3), bool), "uint8"),
        (np.ones((2, 3), np.int16), "int16"),
        (np.ones((2, 3), np.int32), "int32"),
        (np.ones((2, 3), object), "float64"),
        ([[1, 2, 3], [4, 5, 6]], "int64"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4], "c": [True, False]}), "float64"),
        (scipy.sparse.csr_matrix(np.ones((2, 3))), "float64"),
        (scipy.sparse.coo_array(np.ones((2, 3), np.float32)), "float32"),
    ],
)
def test_the_dtype_that_is_kept(X, dtype):
    prepared = fastnn.prepare(X)
    assert prepared.values.dtype == dtype
    assert prepared.values.dtype.isnative
    assert (prepared.n_samples, prepared.n_features) == (2, 3)
    assert prepared.is_integer == (prepared.values.dtype.kind in "iu")
    assert prepared.scale == 1.0


def test_an_array_in_place_is_not_copied():
    X = np.ones((4, 3), np.float32)
    assert np.shares_memory(fastnn.prepare(X).values, X)
    assert np.shares_memory(fastnn.prepare(X).rows(slice(None), "float32"), X)


def test_density_and_largest_are_measured():
    X = np.array([[0.0, -3.0, 0.0], [0.0, 2.0, 1.0]])
    for same in (X, scipy.sparse.csr_matrix(X)):
        prepared = fastnn.prepare(same)
        assert prepared.density == 0.5
        assert prepared.largest == 3.0
    assert fastnn.prepare(scipy.sparse.csr_matrix((3, 4))).density == 0.0


def test_sparse_duplicates_are_summed_without_changing_the_input():
    X = scipy.sparse.csr_matrix(([1.0, 2.0], [1, 1], [0, 2]), shape=(1, 3))
    np.testing.assert_array_equal(fastnn.prepare(X).rows(slice(None), "float64"), [[0, 3, 0]])
    assert X.nnz == 2


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0, np.nan], [np.inf, 0]], r"X\[0, 1\] is nan \(2 values in all"),
        (scipy.sparse.csr_matrix([[0, 1.0], [0, np.inf]]), r"X\[1, 1\] is inf"),
        (np.ones(3), r"reshape\(1, -1\)"),
        (np.ones((2, 2, 2)), r"reshape\(len\(X\), -1\)"),
        (np.ones(()), "expected"),
        (np.ones((0, 3)), "at least one"),
        (np.ones((3, 0)), "at least one"),
        (np.ones((2, 2), complex), "complex128"),
        (np.array([["a", "b"]]), "expected numbers"),
        (np.array([["a", 1]], object), "not a table of numbers"),
        ([[1, 2], [3]], "X is not an array of numbers"),
        ([[10**400]], "too large|too big"),
        (np.ma.masked_array(np.ones((2, 2)), mask=np.eye(2)), "masked array"),
        (np.full((1, 2), np.longdouble(10) ** 4000), r"X\[0, 0\] is inf"),
        (None, "X"),
        ("text", "X"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "not a table of numbers: .*'x'"),
    ],
)
def test_what_is_not_a_table_of_finite_numbers_is_refused(X, message):
    with pytest.raises(fastnn.InputError, match=message):
        fastnn.prepare(X)


def test_a_scale_is_for_integers():
    with pytest.raises(fastnn.InputError, match="X is float64: leave scale out"):
        fastnn.prepare(np.ones((2, 2)), scale=0.5)
    for scale in (0, np.nan, np.inf, "1", True):
        with pytest.raises(fastnn.InputError, match="scale is"):
            fastnn.prepare(np.ones((2, 2), np.uint8), scale=scale)
    wide = fastnn.prepare(np.full((2, 2), 10, np.int64), scale=0.5)
    np.testing.assert_array_equal(wide.rows(slice(None), "float32"), 5)
    with pytest.raises(fastnn.InputError, match=r"prepared with scale 0.25, not 0.5"):
        fastnn.prepare(fastnn.prepare(np.ones((2, 2), np.uint8), scale=0.25), scale=0.5)


def test_conversion_now_or_later_is_the_same():
    X = np.random.default_rng(0).normal(size=(5, 3))
    now, later = fastnn.prepare(X, dtype="float32"), fastnn.prepare(X)
    assert now.values.dtype == np.float32
    every = slice(None)
    np.testing.assert_array_equal(now.rows(every, "float32"), later.rows(every, "float32"))
    with pytest.raises(fastnn.InputError, match="too large for float32"):
        fastnn.prepare(X * 1e300, dtype="float32")


@settings(max_examples=100, deadline=None)
@given(
    X=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
    )
)
def test_any_array_is_either_prepared_whole_or_refused(X):
    is_good = X.ndim == 2 and X.size and bool(np.isfinite(X).all())
    try:
        prepared = fastnn.prepare(X)
    except fastnn.InputError:
        assert not is_good
    else:
        assert is_good
        assert isinstance(prepared, Input)
        np.testing.assert_array_equal(prepared.rows(slice(None), "float64"), X.astype(float))


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "n_classes", "indices", "classes"),
    [
        ([0, 2, 0], 3, [0, 2, 0], [0, 1, 2]),
        ([5, 7, 5], 2, [0, 1, 0], [5, 7]),
        ([-1, 1], 2, [0, 1], [-1, 1]),
        ([1.0, 0.0], 2, [1, 0], [0, 1]),
        (["b", "a", "b"], 2, [1, 0, 1], ["a", "b"]),
        ([True, False], 2, [1, 0], [False, True]),
        (np.array(["b", "a"], object), 2, [1, 0], ["a", "b"]),
        (np.array([7, 5], object), 2, [1, 0], [5, 7]),
        (pd.Series(["b", "a"]), 2, [1, 0], ["a", "b"]),
        (pd.Series(["b", "a"], dtype="category"), 2, [1, 0], ["a", "b"]),
    ],
)
def test_labels_become_indices(y, n_classes, indices, classes):
    found, known = encode_labels(y, n_classes)
    assert found.tolist() == indices
    assert known.tolist() == classes


def test_given_classes_decide_the_order():
    indices, classes = encode_labels(["a", "c", "a"], 3, ["c", "b", "a"])
    assert indices.tolist() == [2, 0, 2]
    assert classes.tolist() == ["c", "b", "a"]
    indices, _ = encode_labels(["7", "5"], 2, [5, 7])  # numbers that were read as text
    assert indices.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "n_classes", "classes", "message"),
    [
        ([0.5, 1.0], 2, None, r"y\[0\] is 0.5; .*regression"),
        ([np.nan, 1.0], 2, None, r"y\[0\] is nan"),
        ([[0], [1]], 2, None, r"y has shape \(2, 1\)"),
        ([], 2, None, "y is empty"),
        ([1j], 2, None, "complex"),
        ([b"a"], 1, None, "dtype .*S1; expected integers or strings"),
        ([[1], [1, 2]], 2, None, "y is not an array"),
        (np.array(["a", 1], object), 2, None, "mixes labels"),
        ([3, 4, 5], 2, None, "3 different labels; the network has 2 outputs"),
        (["a", "d"], 2, ["a", "b"], r"y\[1\] is 'd', which is not one of the 2 classes a, b"),
        ([0, 1], 2, [0, 0], "2 different labels"),
        ([0, 1], 2, [0, 1, 2], "2 different labels"),
    ],
)
def test_labels_that_do_not_fit_are_named(y, n_classes, classes, message):
    with pytest.raises(fastnn.InputError, match=message):
        encode_labels(y, n_classes, classes)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_a_split_is_disjoint_complete_and_in_proportion(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    try:
        first, second = split_rows(labels, fraction, np.random.default_rng(seed))
    except fastnn.InputError:
        assert round(fraction * sum(counts)) == 0 or max(counts) == 1
        return
    spare = [count - 1 for count in counts]
    if all(fraction * count < count - 1 for count in counts):  # the classes have it to spare
        assert len(second) == round(fraction * sum(counts))
    assert len(second) <= sum(spare)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for k, count in enumerate(counts):
        n_second = int((labels[second] == k).sum())
        assert n_second < count  # every class is learned
        assert abs(n_second - fraction * count) <= 1 or n_second == count - 1
    again = split_rows(labels, fraction, np.random.default_rng(seed))
    np.testing.assert_array_equal(again[1], second)


def test_classes_of_one_sample_do_not_take_anothers_place():
    labels = np.array([0] * 10 + [*range(1, 21)])
    _, second = split_rows(labels, 0.2, np.random.default_rng(0))
    assert labels[second].tolist() == [0, 0, 0]


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2, np.nan])
def test_a_fraction_outside_is_refused(fraction):
    with pytest.raises(fastnn.InputError, match="share to hold out"):
        split_rows(np.zeros(9), fraction, np.random.default_rng(0))


def test_as_labels_keeps_integers_exact():
    assert as_labels([2**62 + 1]).tolist() == [2**62 + 1]


# --- scaling ------------------------------------------------------------------------------------


def test_standardised_features_have_mean_0_and_variance_1_over_the_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9000, 3)) * [1e-6, 1, 1e6] + [1e3, 0, -1e6]
    X[:, 1] = 0.1  # constant, not exact in binary: its sum is not 4500 times it
    rows = np.arange(0, 9000, 2)
    scaling = standardization(fastnn.prepare(X), rows)
    found = scaling.apply(X, "float64").rows(rows, "float64")
    # the offset 1e3 rounds by 1e3 u, which the factor 1e6 makes 1.1e-7
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1.2e-7)
    np.testing.assert_allclose(found.std(axis=0), [1, 0, 1], rtol=1e-6, atol=1e-9)
    with pytest.raises(fastnn.InputError, match="X has 2 features; the model expects 3"):
        scaling.apply(X[:, :2], "float64")


def test_sparse_input_is_not_standardised():
    X = fastnn.prepare(scipy.sparse.csr_matrix(np.eye(3)))
    with pytest.raises(fastnn.InputError, match="sparse X cannot be standardised"):
        standardization(X, np.arange(3))


def test_integers_of_every_width_enter_as_the_same_rounded_product():
    X = np.arange(256).reshape(1, -1)
    for dtype in ("float32", "float64"):
        expected = X.astype(dtype) * np.dtype(dtype).type(1 / 255)
        for kind in (np.uint8, np.int16, np.int64):
            prepared = fastnn.prepare(X.astype(kind), scale=1 / 255)
            np.testing.assert_array_equal(prepared.rows(slice(None), dtype), expected)


def test_a_scale_that_overflows_is_named():
    prepared = fastnn.prepare(np.array([[0, 7]], np.uint8), scale=1e38)
    prepared.require_dtype("float64")
    with pytest.raises(fastnn.InputError, match=r"X\[0, 1\] is 7e\+38 .*too large for float32"):
        prepared.require_dtype("float32")


def test_a_scale_applies_to_integers_and_floats_must_be_declared():
    scaling = Scaling(0.5)
    every = slice(None)
    fours = np.full((2, 2), 4)
    for X in (fours.astype(np.uint8), fours, fours.tolist(), fastnn.prepare(fours / 2)):
        np.testing.assert_array_equal(scaling.apply(X, "float32").rows(every, "float32"), 2)
    for X in (fours / 1, fours.astype(object), pd.DataFrame({"a": [4, 4], "b": [4.0, 4]})):
        with pytest.raises(fastnn.InputError, match=r"takes integers, .*fastnn.prepare\(X\)"):
            scaling.apply(X, "float32")
    for other in (scaling, Scaling()):
        with pytest.raises(fastnn.InputError, match="prepared with scale 0.25; the model's is"):
            other.apply(fastnn.prepare(fours, scale=0.25), "float32")


def test_standardising_comes_after_the_scale():
    X = np.random.default_rng(0).integers(0, 256, (50, 3)).astype(np.uint8)
    scaling = standardization(fastnn.prepare(X, scale=1 / 255), np.arange(50))
    found = scaling.apply(X, "float64").rows(slice(None), "float64")
    np.testing.assert_allclose(found.std(axis=0), 1)
    with pytest.raises(fastnn.InputError, match="takes integers"):
        scaling.apply(X / 255, "float64")


def test_what_overflows_in_standardising_is_named():
    X = np.array([[0.0, 1e200], [1.0, -1e200]])
    with pytest.raises(fastnn.InputError, match="feature 1 of X has values too large"):
        standardization(fastnn.prepare(X), np.arange(2))
    scaling = standardization(fastnn.prepare(np.array([[0.0, 0], [1, 1e-30]])), np.arange(2))
    with pytest.raises(fastnn.InputError, match=r"X\[0, 1\] is so far .*overflows float32"):
        scaling.apply([[0.0, 1e10]], "float32")


@pytest.mark.parametrize("place", ["indices", "indptr"])
def test_a_corrupt_sparse_matrix_is_refused(place):
    """SciPy would read beyond its arrays, and the process end."""
    X = scipy.sparse.csr_matrix(np.eye(5))
    getattr(X, place)[2] = 10**6
    with pytest.raises(fastnn.InputError, match="X is not a valid sparse matrix"):
        fastnn.prepare(X)


def test_kinds_of_sparse_matrices_of_ones_own():
    class Mine(scipy.sparse.csr_matrix):
        pass

    assert fastnn.prepare(Mine(np.eye(3))).density == pytest.approx(1 / 3)


def test_equal_classes_take_turns():
    """Which classes give one more is up to the seed, not to their order."""
    labels = np.repeat(np.arange(10), 3)
    chosen = [
        set(labels[split_rows(labels, 0.1, np.random.default_rng(seed))[1]].tolist())
        for seed in range(40)
    ]
    assert all(len(classes) == 3 for classes in chosen)
    assert set.union(*chosen) == set(range(10))


# --- layouts and compressed arrays --------------------------------------------------------------


def mostly_zeros(shape=(40, 60), density=0.05, dtype=np.float32):
    rng = np.random.default_rng(0)
    return (rng.integers(1, 100, shape) * (rng.random(shape) < density)).astype(dtype)


def test_the_layout_that_is_expected_to_be_faster():
    assert faster_layout((10, 1000), 0.01) == "sparse"
    assert faster_layout((10, 1000), 0.9) == "dense"
    assert faster_layout((10, 2), 0.0) == "dense"
    for shape, density in (((40, 60), 0.01), ((40, 60), 0.9), ((5, 3), 0.1), ((5, 400), 0.2)):
        X = mostly_zeros(shape, density)
        for same in (X, scipy.sparse.csr_matrix(X)):
            prepared = fastnn.prepare(same)
            assert prepared.layout == faster_layout(shape, prepared.density)
            compressed = prepared.layout == "sparse" or same is not X
            assert (prepared.compressed is not None) == compressed


@pytest.mark.parametrize("layout", ["Sparse", "csr", "", None, 1, ["dense"], "x" * 1000])
def test_an_unknown_layout_is_named(layout):
    with pytest.raises(
        fastnn.InputError, match=r"layout is .*expected one of .*'sparse'"
    ) as raised:
        fastnn.prepare(np.eye(3), layout=layout)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("sparse", [False, True])
def test_a_layout_is_kept_until_another_is_asked_for(sparse):
    X = mostly_zeros()
    given = scipy.sparse.csr_matrix(X) if sparse else X
    auto = fastnn.prepare(given)
    assert fastnn.prepare(auto) is auto
    for layout, other in (("dense", "sparse"), ("sparse", "dense")):
        one = fastnn.prepare(given, layout=layout)
        assert one.layout == layout
        assert fastnn.prepare(one) is one
        assert fastnn.prepare(one, layout=layout) is one
        two = fastnn.prepare(one, layout=other)
        assert (one.layout, two.layout) == (layout, other)
        assert two.values is one.values
        for prepared in (one, two, fastnn.prepare(two, layout=layout)):
            if prepared.layout == "sparse":
                np.testing.assert_array_equal(prepared.compressed.dense(slice(None)), X)
            np.testing.assert_array_equal(prepared.rows(slice(None), "float32"), X)


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_some_rows_and_another_dtype_keep_layout_and_values(layout, dtype, kind):
    X = mostly_zeros(dtype=dtype)
    scale = None if np.dtype(dtype).kind == "f" else 1 / 7
    given = scipy.sparse.csr_matrix(X) if kind == "csr" else X
    prepared = fastnn.prepare(given, scale=scale, layout=layout)
    expected = prepared.rows(slice(None), "float32")
    for which in ([3, 1, 1], slice(5, 20), np.arange(40) % 2 == 0):
        for part in (prepared.take(which), prepared.astype("float32").take(which)):
            assert (part.layout, part.scale) == (layout, prepared.scale)
            np.testing.assert_array_equal(part.rows(slice(None), "float32"), expected[which])
            if layout == "sparse":
                np.testing.assert_array_equal(part.compressed.dense(slice(None)), X[which])
    for other in ("float32", "float64"):
        changed = prepared.astype(other)
        assert (changed.layout, changed.scale) == (layout, prepared.scale)
        np.testing.assert_array_equal(changed.rows(slice(None), "float32"), expected)
        if layout == "sparse":
            np.testing.assert_array_equal(changed.compressed.dense(slice(None)), X)
            assert changed.compressed.values.dtype == (dtype if scale else other)
    now = fastnn.prepare(given, scale=scale, layout=layout, dtype="float32")
    np.testing.assert_array_equal(now.rows(slice(None), "float32"), expected)


def test_a_prepared_input_says_what_it_is():
    X = mostly_zeros((10, 60), dtype=np.uint8)
    for layout in ("dense", "sparse"):
        told = repr(fastnn.prepare(X, scale=0.5, layout=layout))
        assert told.startswith("Input(10 samples, 60 features, uint8, scale=0.5, density=0.")
        assert told.endswith(f", layout={layout})")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("index", [np.uint16, np.int32, np.int64, list])
def test_the_three_arrays_of_csr(dtype, index):
    X = mostly_zeros(dtype=dtype)
    whole = scipy.sparse.csr_matrix(X)
    parts = (whole.data, whole.indices, whole.indptr)
    if index is list:
        arrays = (whole.data, whole.indices.tolist(), whole.indptr.tolist())
    else:
        arrays = (whole.data, *(part.astype(index) for part in parts[1:]))
    for n_features in (60, 60.0, np.int64(60), 75):
        for layout in ("auto", "dense", "sparse"):
            prepared = fastnn.prepare(arrays, n_features=n_features, layout=layout)
            assert (prepared.n_samples, prepared.n_features) == (40, n_features)
            found = prepared.rows(slice(None), "float64")
            np.testing.assert_array_equal(found[:, :60], X)
            assert not found[:, 60:].any()
    np.testing.assert_array_equal(whole.toarray(), X)


def test_the_three_arrays_may_have_rows_in_any_order_of_columns():
    arrays = ([1.0, 2, 4, 8], [2, 0, 1, 1], [0, 2, 2, 4])
    found = fastnn.prepare(arrays, n_features=3).rows(slice(None), "float32")
    np.testing.assert_array_equal(found, [[2, 0, 1], [0, 0, 0], [0, 12, 0]])


GOOD_ARRAYS = ([1.0, 2.0, 3.0], [0, 2, 1], [0, 2, 3])


@pytest.mark.parametrize(
    ("place", "part", "message"),
    [
        (0, [1.0, 2.0], "not a valid sparse matrix"),
        (0, [[1.0, 2.0, 3.0]], "flat arrays"),
        (0, [1.0, np.nan, 3.0], r"X\[0, 2\] is nan"),
        (0, ["a", "b", "c"], "X|dtype|numbers"),
        (1, [0, 1], "not a valid sparse matrix"),
        (1, [0, 3, 1], "not a valid sparse matrix"),
        (1, [0, -1, 1], "not a valid sparse matrix"),
        (1, [0.0, 2.0, 1.0], "columns of shape .3,. and dtype float64; .*integers"),
        (1, [[0, 2, 1]], "columns of shape"),
        (2, [0, 2, 4], "not a valid sparse matrix"),
        (2, [0, 2, 1], "not a valid sparse matrix"),
        (2, [0, 4, 3], "not a valid sparse matrix"),
        (2, [1, 2, 3], "not a valid sparse matrix"),
        (2, [-1, 2, 3], "not a valid sparse matrix"),
        (2, [0.0, 2.0, 3.0], "starts of shape"),
        (2, np.zeros((1, 3), int), "starts of shape"),
        (2, np.zeros(0, int), "one start more"),
        (2, [0], "X"),
    ],
)
def test_arrays_that_are_not_csr_are_refused(place, part, message):
    arrays = [*GOOD_ARRAYS]
    arrays[place] = part
    with pytest.raises(fastnn.InputError, match=message):
        fastnn.prepare(tuple(arrays), n_features=3)


@pytest.mark.parametrize(
    "n_features", [0, -1, 1.5, "3", np.nan, np.inf, -np.inf, True, [3], 10**30], ids=repr
)
def test_a_number_of_features_that_is_none(n_features):
    with pytest.raises(fastnn.InputError, match="n_features is .*whole number"):
        fastnn.prepare(GOOD_ARRAYS, n_features=n_features)


@pytest.mark.parametrize(
    "X", [np.eye(3), GOOD_ARRAYS[:2], [*GOOD_ARRAYS], fastnn.prepare(np.eye(3))]
)
def test_a_number_of_features_goes_with_three_arrays(X):
    with pytest.raises(fastnn.InputError, match=r"n_features goes with X=.values, columns, starts"):
        fastnn.prepare(X, n_features=3)


def test_three_arrays_need_a_number_of_features():
    whole = scipy.sparse.csr_matrix(mostly_zeros())
    with pytest.raises(fastnn.InputError, match="X"):
        fastnn.prepare((whole.data, whole.indices, whole.indptr))


def test_half_precision_in_a_sparse_matrix():
    """SciPy lets it be stored, and cannot add it up."""
    X = scipy.sparse.csr_matrix(
        (np.array([1, 2, 4], np.float16), np.array([1, 0, 0]), np.array([0, 3])), shape=(1, 3)
    )
    prepared = fastnn.prepare(X)
    assert prepared.values.dtype == np.float32
    np.testing.assert_array_equal(prepared.rows(slice(None), "float32"), [[6, 1, 0]])
