"""The contract, through one table of engines: what every engine must do with its arguments."""

import inspect
import threading

import numpy as np
import pytest
from cases import problem

import fastnn
from fastnn.engine import Engine
from fastnn.inputs import Input
from fastnn.optimizers import OptimizerState

ENGINES = ["reference", "fused"]
VERBS = ["warm_up", "predict", "gradient", "update", "train"]


@pytest.fixture(params=ENGINES)
def engine(request):
    return fastnn.get_engine(request.param, threads=1)


@pytest.fixture
def case():
    return problem((5, 7, 4), 20)


def train(engine, network, parameters, state, X, y, order, **changes):
    settings = {"batch_size": 6, "learning_rates": 0.1, **changes}
    return engine.train(network, parameters, state, X, y, order, **settings)


@pytest.mark.parametrize("verb", VERBS)
def test_engines_have_the_signatures_of_the_contract(engine, verb):
    found = inspect.signature(getattr(type(engine), verb)).parameters.values()
    wanted = inspect.signature(getattr(Engine, verb)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in found] == [
        (p.name, p.kind, p.default) for p in wanted
    ]


def test_what_is_only_read_may_be_read_only(engine, case):
    network, theta, X, y = case
    expected = engine.predict(network, theta, X)
    expected_loss, slopes = engine.gradient(network, theta, X, y)
    stepped, state = theta.copy(), fastnn.SGD().initialize(theta)
    engine.update(stepped, slopes, state, 0.1)
    moved = theta.copy()
    theta.vector.flags.writeable = slopes.flags.writeable = False
    np.testing.assert_array_equal(engine.predict(network, theta, X), expected)
    loss, found = engine.gradient(network, theta, X, y)
    assert loss == expected_loss
    np.testing.assert_array_equal(found, slopes)
    engine.update(moved, slopes, state, 0.1)
    np.testing.assert_array_equal(moved.vector, stepped.vector)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [
        fastnn.SGD(),
        fastnn.SGD(0.9),
        fastnn.SGD(0.9, nesterov=True),
        fastnn.Adam(),
        fastnn.Adam(weight_decay=0.1),
    ],
)
def test_train_is_gradient_then_update(engine, dtype, optimizer):
    network, fused, X, y = problem((5, 7, 4), 20, dtype=dtype)
    stepped, objective = fused.copy(), fastnn.Objective(0.1)
    weights = np.linspace(0, 1, 20)
    order = np.random.default_rng(1).integers(0, 20, 27)
    rates = np.linspace(0.1, 0.05, 5)
    fused_state = optimizer.initialize(fused)
    losses = train(
        engine, network, fused, fused_state, X, y, order,
        learning_rates=rates, objective=objective, sample_weight=weights,
    )  # fmt: skip
    state = optimizer.initialize(stepped)
    for i, rate in enumerate(rates):
        batch = order[6 * i : 6 * i + 6]
        loss, gradient = engine.gradient(
            network, stepped, X[batch], y[batch], objective=objective, sample_weight=weights[batch]
        )
        engine.update(stepped, gradient, state, rate)
        assert losses[i] == loss
    np.testing.assert_array_equal(fused.vector, stepped.vector)
    for moment, expected in zip(fused_state.moments, state.moments, strict=True):
        np.testing.assert_array_equal(moment, expected)
    assert fused_state.step == state.step == 5


def test_one_rate_stands_for_all(engine, case):
    network, parameters, X, y = case
    other = parameters.copy()
    sgd = fastnn.SGD()
    a = train(engine, network, parameters, sgd.initialize(parameters), X, y, range(20))
    b = train(
        engine, network, other, sgd.initialize(other), X, y, range(20), learning_rates=[0.1] * 4
    )
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(parameters.vector, other.vector)


def test_inputs_are_not_changed(engine, case):
    network, parameters, X, y = case
    X.flags.writeable = y.flags.writeable = False
    order = np.arange(20)
    order.flags.writeable = False
    train(engine, network, parameters, fastnn.Adam().initialize(parameters), X, y, order)


def test_an_empty_order_is_no_batches(engine, case):
    network, parameters, X, y = case
    before = parameters.copy()
    losses = train(engine, network, parameters, fastnn.SGD().initialize(parameters), X, y, [])
    assert losses.shape == (0,)
    np.testing.assert_array_equal(parameters.vector, before.vector)


def test_predict_writes_to_out_and_takes_many_blocks(engine):
    network, parameters, X, _ = problem((3, 4, 2), 9000, dtype="float32")
    out = np.full((9000, 2), np.nan, np.float32)
    assert engine.predict(network, parameters, X, out=out) is out
    # BLAS may round a row otherwise in a product of another size; probabilities are at most 1
    alone = engine.predict(network, parameters, X[-7:])
    assert np.abs(out[-7:] - alone).max() <= 32 * np.finfo(np.float32).eps
    assert np.isfinite(out).all()
    with pytest.raises(fastnn.InputError, match=r"out has shape \(9000, 3\)"):
        engine.predict(network, parameters, X, out=np.empty((9000, 3), np.float32))
    with pytest.raises(fastnn.InputError, match="float64"):
        engine.predict(network, parameters, X, out=np.empty((9000, 2)))
    with pytest.raises(fastnn.InputError, match="out is list"):
        engine.predict(network, parameters, X, out=[])
    out.flags.writeable = False
    with pytest.raises(fastnn.InputError, match="read-only"):
        engine.predict(network, parameters, X, out=out)


def test_every_kind_of_input_gives_the_same(engine):
    import scipy.sparse

    network, parameters, _, y = problem((5, 7, 4), 20)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 200, (20, 5)) * (rng.random((20, 5)) < 0.5)
    expected = engine.gradient(network, parameters, X / 1.0, y)[1]
    for same in (
        X.astype(np.uint8),
        X.astype(np.int64),
        X.astype(np.float32),
        X.tolist(),
        np.asfortranarray(X),
        scipy.sparse.csr_matrix(X),
        scipy.sparse.csc_array(X.astype(np.uint8)),
        scipy.sparse.coo_matrix(X),
        fastnn.prepare(X.astype(np.uint8)),
    ):
        np.testing.assert_array_equal(engine.gradient(network, parameters, same, y)[1], expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scaled_integer_enters_as_the_rounded_product(engine, dtype):
    network, parameters, _, y = problem((5, 7, 4), 20, dtype=dtype)
    X = np.random.default_rng(0).integers(0, 256, (20, 5)).astype(np.uint8)
    scaled = X.astype(dtype) * np.dtype(dtype).type(1 / 255)
    found = engine.gradient(network, parameters, fastnn.prepare(X, scale=1 / 255), y)[1]
    np.testing.assert_array_equal(found, engine.gradient(network, parameters, scaled, y)[1])


def test_stop_ends_between_batches(engine, case):
    network, parameters, X, y = case
    stop = threading.Event()
    stop.set()
    before, state = parameters.copy(), fastnn.Adam().initialize(parameters)
    assert len(train(engine, network, parameters, state, X, y, range(20), stop=stop)) == 0
    np.testing.assert_array_equal(parameters.vector, before.vector)
    assert state.step == 0


def test_a_loss_that_is_not_finite_stops_before_its_update(engine):
    network, parameters, X, y = problem((5, 7, 4), 20)
    X[12] = 1e200
    parameters.weights[0][:] *= 1e200
    expected, sgd = parameters.copy(), fastnn.SGD()
    good = train(engine, network, expected, sgd.initialize(expected), X, y, range(12),
                 learning_rates=1e-200)  # fmt: skip
    state = sgd.initialize(parameters)
    with pytest.raises(fastnn.DivergedError, match=r"batch 2.*smaller learning rate") as raised:
        train(engine, network, parameters, state, X, y, range(20), learning_rates=1e-200)
    assert raised.value.batch == 2
    assert not np.isfinite(raised.value.loss)
    np.testing.assert_array_equal(raised.value.losses, good)
    np.testing.assert_array_equal(parameters.vector, expected.vector)
    assert state.step == 2


BAD_CALLS = {
    "features": (lambda c: c.update(X=c["X"][:, :4]), "X has 4 features; the network expects 5"),
    "nan": (lambda c: c["X"].__setitem__((3, 2), np.nan), r"X\[3, 2\] is nan"),
    "infinity": (lambda c: c["X"].__setitem__((0, 4), -np.inf), r"X\[0, 4\] is -inf"),
    "one dimension": (lambda c: c.update(X=c["X"][0]), r"X has shape \(5,\).*reshape\(1, -1\)"),
    "no samples": (lambda c: c.update(X=c["X"][:0]), "at least one sample"),
    "text": (lambda c: c.update(X=[["a"] * 5] * 20), "X has dtype <U1; expected numbers"),
    "objects": (lambda c: c.update(X=[[None] * 5] * 20), "X"),
    "label too large": (lambda c: c["y"].__setitem__(7, 4), r"y\[7\] is 4; .*0\.\.3"),
    "negative label": (lambda c: c["y"].__setitem__(7, -1), r"y\[7\] is -1"),
    "float labels": (lambda c: c.update(y=c["y"] * 1.0), "y has dtype float64"),
    "few labels": (lambda c: c.update(y=c["y"][:5]), r"y has shape \(5,\)"),
    "order outside": (lambda c: c.update(order=[0, 20]), r"indices 0\.\.20"),
    "negative order": (lambda c: c.update(order=[-1]), "indices -1"),
    "float order": (lambda c: c.update(order=[0.0]), "row indices"),
    "batch size": (lambda c: c.update(batch_size=0), "batch_size is 0"),
    "half batch": (lambda c: c.update(batch_size=1.5), "batch_size is 1.5"),
    "rates": (lambda c: c.update(learning_rates=[0.1]), r"learning_rates has shape \(1,\)"),
    "nan rate": (lambda c: c.update(learning_rates=np.nan), "finite"),
    "few weights": (lambda c: c.update(sample_weight=[1]), r"sample_weight has shape \(1,\)"),
    "negative weight": (
        lambda c: c.update(sample_weight=[-1.0] + [1] * 19),
        r"sample_weight\[0\] is -1",
    ),
    "nan weight": (lambda c: c.update(sample_weight=[np.nan] * 20), "sample_weight"),
    "weight sum": (lambda c: c.update(sample_weight=[1e308] * 20), "sums to infinity"),
    "other network": (lambda c: c.update(network=fastnn.Network((5, 6, 4))), "layer sizes"),
    "ragged labels": (lambda c: c.update(y=[[1], [1, 2]]), "y is not an array"),
    "masked": (lambda c: c.update(X=np.ma.masked_array(c["X"], mask=False)), "masked array"),
    "no rates": (lambda c: c.update(learning_rates=None), "finite numbers"),
    "text rates": (
        lambda c: c.update(learning_rates="a"),
        "learning_rates has dtype <U1",
    ),
    "negative rate": (
        lambda c: c.update(learning_rates=[0.1, -1, 0.1, 0.1]),
        r"learning_rates\[1\] is -1.0",
    ),
    "an optimizer": (lambda c: c.update(optimizer_state=fastnn.Adam()), "OptimizerState"),
    "no moments": (
        lambda c: c.update(optimizer_state=OptimizerState(fastnn.Adam(), ())),
        "0 arrays; expected",
    ),
    "objective": (
        lambda c: c.update(objective=0.1),
        "objective is 0.1; expected a fastnn Objective",
    ),
    "sizes": (lambda c: c.update(network=(5, 7, 4)), "expected a fastnn Network"),
    "read-only": (
        lambda c: setattr(c["parameters"].vector.flags, "writeable", False),
        "parameters is read-only",
    ),
    "read-only state": (
        lambda c: setattr(c["optimizer_state"].moments[1].flags, "writeable", False),
        "v is read-only",
    ),
    "other state": (
        lambda c: c.update(
            optimizer_state=fastnn.Adam().initialize(fastnn.Network((5, 4)).initialize(0))
        ),
        "m has shape",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_say_what_is_wrong_and_change_nothing(engine, case, name):
    spoil, message = BAD_CALLS[name]
    network, parameters, X, y = case
    before = parameters.copy()
    call = {
        "network": network,
        "parameters": parameters,
        "optimizer_state": fastnn.Adam().initialize(parameters),
        "X": X,
        "y": y,
        "order": np.arange(20),
        "batch_size": 6,
        "learning_rates": 0.1,
        "sample_weight": None,
    }
    spoil(call)
    with pytest.raises(fastnn.InputError, match=message):
        engine.train(**call)
    np.testing.assert_array_equal(parameters.vector, before.vector)
    if isinstance(call["optimizer_state"], OptimizerState):
        assert call["optimizer_state"].step == 0
        assert not any(moment.any() for moment in call["optimizer_state"].moments)


def test_a_value_too_large_for_the_dtype_is_named(engine):
    network, parameters, X, _ = problem((5, 7, 4), 20, dtype="float32")
    X = X.astype(float)
    X[4, 3] = -1e300
    with pytest.raises(fastnn.InputError, match=r"X\[4, 3\] is 1e\+300.*float32"):
        engine.predict(network, parameters, X)


def test_update_checks_the_gradient(engine, case):
    _, parameters, _, _ = case
    state = fastnn.SGD().initialize(parameters)
    with pytest.raises(fastnn.InputError, match="gradient has shape"):
        engine.update(parameters, np.zeros(3), state, 0.1)
    with pytest.raises(fastnn.InputError, match="float32"):
        engine.update(parameters, np.zeros(parameters.vector.size, np.float32), state, 0.1)
    with pytest.raises(fastnn.InputError, match="gradient is list"):
        engine.update(parameters, [0.0] * parameters.vector.size, state, 0.1)


def test_get_engine_refuses_what_it_does_not_know():
    with pytest.raises(fastnn.InputError, match="expected one of"):
        fastnn.get_engine("fast")
    engine = fastnn.get_engine("reference", threads=1)
    assert fastnn.get_engine(engine) is engine
    with pytest.raises(fastnn.InputError, match="has 1 threads, not 2"):
        fastnn.get_engine(engine, threads=2)
    for threads in (0, -1, 1.5, "2", True):
        with pytest.raises(fastnn.InputError, match="threads is"):
            fastnn.get_engine("reference", threads=threads)


def test_a_prepared_input_is_taken_as_it_is(engine, case):
    network, parameters, X, y = case
    prepared = fastnn.prepare(X)
    assert isinstance(prepared, Input)
    assert fastnn.prepare(prepared) is prepared
    a = engine.gradient(network, parameters, prepared, y)[1]
    np.testing.assert_array_equal(a, engine.gradient(network, parameters, X, y)[1])
