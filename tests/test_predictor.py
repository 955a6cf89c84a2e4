"""``Model.predictor``: what ``predict_proba`` says, to the last bit, or in the same words."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from cases import problem

import fastnn
from fastnn.fused.engine import FusedEngine
from fastnn.models import Model
from fastnn.scaling import Scaling, standardization

DTYPES = ["float32", "float64"]


def a_model(dtype="float32", *, engine=None, sizes=(30, 17, 4), activation="relu", **settings):
    network, theta, _, _ = problem(sizes, 1, dtype=dtype, activation=activation)
    classes = np.array(["a", "b", "c", "d", "e"][: sizes[-1]])
    engine = FusedEngine(1) if engine is None else engine
    return Model(network, theta, classes, engine, **settings)


def samples(n=50, n_features=30, density=0.5):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, n_features)) * (rng.random((n, n_features)) < density)


def assert_same(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.tobytes() == expected.tobytes()


@pytest.fixture(params=["fused", "reference"])
def engine(request):
    return fastnn.get_engine(request.param, threads=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_sample_at_a_time(engine, dtype):
    model = a_model(dtype, engine=engine)
    predictor = model.predictor()
    for density in (0.0, 0.1, 1.0):
        for kind in DTYPES:
            for x in samples(4, density=density).astype(kind):
                expected = model.predict_proba(x.reshape(1, -1))
                for same in (x, x.reshape(1, -1), x.tolist(), [x.tolist()], pd.DataFrame([x])):
                    assert_same(predictor(same), expected)
                    assert predictor.predict(same).tolist() == model.predict([x]).tolist()


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("sizes", [(30, 4), (30, 150, 5), (30, 7, 9, 3), (300, 20, 2), (1, 1, 1)])
def test_every_network(sizes, activation):
    for dtype in DTYPES:
        model = a_model(dtype, sizes=sizes, activation=activation)
        predictor, X = model.predictor(3), samples(3, sizes[0]).astype(dtype)
        for n in (1, 3, 2):
            assert_same(predictor(X[:n]), model.predict_proba(X[:n]))


@pytest.mark.parametrize("n_samples", [2, 97, 500])
@pytest.mark.parametrize("dtype", DTYPES)
def test_some_samples_at_a_time(engine, dtype, n_samples):
    model, X = a_model(dtype, engine=engine), samples(n_samples)
    predictor = model.predictor(n_samples)
    for n in (n_samples, 1, n_samples // 2, n_samples - 1, n_samples):
        if engine.name == "fused":  # BLAS may round a row otherwise in a product of another size
            assert_same(predictor(X[:n]), model.predict_proba(X)[:n])
        for odd in (X[:n], X[:n].astype(dtype)[::-1], np.asfortranarray(X[:n].astype("float32"))):
            assert_same(predictor(odd), model.predict_proba(odd))


@pytest.mark.parametrize("threads", [2, 3])
def test_samples_by_several_threads(threads):
    """Work for more than one thread, with fewer samples now and then."""
    model = a_model(sizes=(40, 500, 200, 5), engine=FusedEngine(threads))
    X, predictor = samples(1000, 40).astype(np.float32), model.predictor(1000)
    assert predictor._predict._members > 1
    expected = model.predict_proba(X)
    for n in (1000, 1, 500, 97, 1000):
        for _ in range(3):
            assert_same(predictor(X[:n]), expected[:n])
    bad = X.copy()
    bad[700, 3] = np.nan
    with pytest.raises(fastnn.InputError, match=r"X\[700, 3\] is nan"):
        predictor(bad)
    assert_same(predictor(X), expected)


def misaligned(X):
    room = np.zeros(X.nbytes + 1, np.uint8)[1:]
    moved = room.view(X.dtype).reshape(X.shape)
    moved[...] = X
    return moved


@pytest.mark.parametrize(
    "laid_out",
    [
        np.ascontiguousarray,
        np.asfortranarray,
        misaligned,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X[::-1].copy()[::-1],
        lambda X: X.astype(X.dtype.newbyteorder()),
    ],
    ids=["in place", "by columns", "misaligned", "every other", "backwards", "swapped bytes"],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_however_they_lie(laid_out, dtype):
    """Some are read in place, some copied; what is read leaves nothing behind."""
    model, X = a_model(dtype), samples(40).astype(dtype)
    predictor, expected, given = model.predictor(40), model.predict_proba(X), laid_out(X)
    assert_same(predictor(given), expected)
    assert_same(predictor(X[0]), expected[:1])
    assert_same(predictor(X[5:25].astype("float64")), expected[5:25])
    assert_same(np.ascontiguousarray(given, dtype), X)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64, bool])
def test_integers_with_a_scale(engine, kind):
    X = np.random.default_rng(0).integers(0, 120, (20, 30)).astype(kind)
    for dtype in DTYPES:
        model = a_model(dtype, engine=engine, scaling=Scaling(1 / 255))
        predictor = model.predictor(20)
        assert_same(predictor(X), model.predict_proba(X))
        for same in (X[3], X[3].tolist()):
            assert_same(predictor(same), model.predict_proba(X[3:4]))
        with pytest.raises(
            fastnn.InputError, match=r"X has dtype float64; the model takes integers"
        ):
            predictor(X / 255)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64, bool, object, np.float16])
def test_other_numbers_for_a_model_without_a_scale(engine, kind):
    X = np.random.default_rng(0).integers(0, 9, (5, 30)).astype(kind)
    model = a_model(engine=engine)
    predictor = model.predictor(5)
    assert_same(predictor(X), model.predict_proba(X))
    assert_same(predictor(X[0]), model.predict_proba(X[:1]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_standardised_samples(engine, dtype):
    X = samples(20) * 3 + 1
    scaling = standardization(fastnn.prepare(X), np.arange(20))
    model = a_model(dtype, engine=engine, scaling=scaling)
    predictor = model.predictor(20)
    for same in (X, X.astype(dtype), X[3], X[3].astype(dtype)):
        assert_same(predictor(same), model.predict_proba(np.atleast_2d(same)))


def test_more_samples_than_it_was_made_for(engine):
    predictor = a_model(engine=engine).predictor(4)
    with pytest.raises(
        fastnn.InputError, match=r"X has 5 samples; .*at most 4: model.predictor.n_samples=5"
    ):
        predictor(samples(5))
    assert predictor(samples(4)).shape == (4, 4)


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, "2", None])
def test_a_number_of_samples_that_is_none(n_samples):
    with pytest.raises(fastnn.InputError, match="n_samples is"):
        a_model().predictor(n_samples)


def one_wrong(value, dtype=float):
    X = samples(2).astype(dtype)
    X[1, 7] = value
    return X


def too_large(value):
    X = samples(2).astype(np.float32)
    X[1] = value
    return X


@pytest.mark.parametrize(
    "X",
    [
        samples(2, 29),
        samples(2, 29).astype(np.float32),
        samples(1, 31)[0],
        samples(1, 31)[0].astype(np.float32),
        np.ones((2, 2, 30)),
        np.ones(()),
        np.ones((0, 30)),
        np.ones((0, 30), np.float32),
        np.ones(0, np.float32),
        one_wrong(np.nan),
        one_wrong(np.inf, np.float32),
        one_wrong(-np.inf),
        one_wrong(1e300),
        one_wrong(np.nan, np.float32)[1],
        too_large(3e38),
        too_large(-3e38)[1],
        np.ones((2, 30), complex),
        np.array([["a"] * 30]),
        np.array([[None] * 30]),
        [[1.0], [1.0, 2.0]],
        np.ma.masked_array(samples(2), mask=samples(2) > 0),
        np.ma.masked_array(samples(1)[0], mask=False),
        None,
    ],
    ids=range(23),
)
def test_what_is_refused_is_refused_in_the_same_words(engine, X):
    model = a_model(engine=engine)
    predictor, good = model.predictor(2), samples(2)
    expected = predictor(good)
    rows = X.reshape(1, -1) if getattr(X, "shape", None) == (30,) else X
    with pytest.raises(fastnn.InputError) as from_model:
        model.predict_proba(rows)
    for call in (predictor, predictor.predict):
        with pytest.raises(fastnn.InputError) as raised:
            call(X)
        assert str(raised.value) == str(from_model.value)
    assert_same(predictor(good), expected)


def test_a_scale_that_overflows_is_refused_in_the_same_words(engine):
    model = a_model(engine=engine, scaling=Scaling(1e38))
    X = np.zeros((1, 30), np.uint8)
    X[0, 3] = 7
    for call in (model.predict_proba, model.predictor()):
        with pytest.raises(fastnn.InputError, match=r"X\[0, 3\] is 7e\+38"):
            call(X)


def test_sparse_and_prepared_samples_are_taken_too(engine):
    X = samples(3).astype(np.float32)
    model = a_model(engine=engine)
    predictor = model.predictor(3)
    for same in (scipy.sparse.csr_matrix(X), scipy.sparse.coo_array(X), fastnn.prepare(X)):
        assert_same(predictor(same), model.predict_proba(same))
    assert_same(predictor(scipy.sparse.coo_array(X[0])), model.predict_proba(X[:1]))
    with pytest.raises(fastnn.InputError, match="X has 3 samples"):
        model.predictor(2)(scipy.sparse.csr_matrix(X))


def test_training_on_does_not_change_it(engine):
    model, X = a_model(engine=engine), samples(3).astype(np.float32)
    predictor = model.predictor(3)
    expected = predictor(X)
    overflows, masked = too_large(3e38), np.ma.masked_array(X)
    model.parameters.vector[:] = np.random.default_rng(9).normal(size=model.parameters.vector.size)
    assert not np.array_equal(model.predict_proba(X), expected)
    for same in (X, X.astype(float), X.tolist(), scipy.sparse.csr_matrix(X)):
        assert_same(predictor(same), expected)
    assert_same(predictor(X[0]), expected[:1])
    for bad in (overflows, masked):
        with pytest.raises(fastnn.InputError):
            predictor(bad)
    assert_same(predictor(X), expected)


def test_what_it_returns_is_the_callers(engine):
    model, X = a_model(engine=engine), samples(2).astype(np.float32)
    predictor = model.predictor(2)
    for given in (X, X[0]):
        first = predictor(given)
        kept = first.copy()
        second = predictor(-given)
        assert not np.shares_memory(first, second)
        assert_same(first, kept)
        first[:] = np.nan
        assert_same(predictor(given), kept)


def test_several_predictors_of_a_model():
    model, X = a_model(), samples(10).astype(np.float32)
    expected = model.predict_proba(X)
    predictors = [model.predictor(n) for n in (1, 10, 10)]
    for i in range(10):
        assert_same(predictors[i % 3](X[i]), expected[i : i + 1])


def test_classes_and_what_it_is(engine):
    model, X = a_model(engine=engine), samples(6)
    predictor = model.predictor(6)
    assert predictor.predict(X).tolist() == model.predict(X).tolist()
    assert predictor.predict(X).dtype == model.classes.dtype
    assert repr(predictor) == "Predictor(n_features=30, n_samples=6)"
    X.flags.writeable = False
    assert predictor(X).shape == (6, 4)
