"""The reference engine against per-sample loops, and against central differences."""

import naive
import numpy as np
import pytest
from cases import as_lists, problem
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn.bounds import UNIT_ROUNDOFF, gradient_bound
from fastnn.network import ACTIVATIONS
from fastnn.reference import logistic

SHAPES = [(3, 2), (5, 7, 4), (4, 6, 5, 3), (2, 3, 4, 3, 2), (1, 1), (1, 1, 1)]


def assert_within_bounds(network, parameters, X, y, *, sample_weight=None, alpha=0.0):
    """Compare predict and gradient with the oracle, entry by entry, by the error bound."""
    engine = fastnn.get_engine("reference")
    weights, biases = as_lists(parameters)
    u = UNIT_ROUNDOFF[parameters.dtype.name]
    # the oracle rounds too, in float64
    both = 2 if parameters.dtype == np.float64 else 1 + 1e-6
    P_bound, loss_bound, dW_bounds, db_bounds = gradient_bound(
        [W.astype(float) for W in parameters.weights],
        [b.astype(float) for b in parameters.biases],
        X,
        y,
        activation=network.activation,
        u=u,
        sample_weight=sample_weight,
        alpha=alpha,
    )
    P = engine.predict(network, parameters, X)
    assert P.dtype == parameters.dtype
    expected = naive.probabilities(weights, biases, X.astype(float).tolist(), network.activation)
    assert (np.abs(P - np.asarray(expected)) <= both * P_bound).all()

    loss, gradient = engine.gradient(
        network,
        parameters,
        X,
        y,
        objective=fastnn.Objective(alpha),
        sample_weight=sample_weight,
    )
    expected_loss, dW, db = naive.loss_and_gradient(
        weights,
        biases,
        X.astype(float).tolist(),
        y.tolist(),
        activation=network.activation,
        alpha=alpha,
        sample_weight=None if sample_weight is None else list(sample_weight),
    )
    assert isinstance(loss, float)
    assert abs(loss - expected_loss) <= both * loss_bound
    assert gradient.dtype == parameters.dtype
    found = fastnn.Parameters(network.layer_sizes, gradient)
    for layer in range(len(found.weights)):
        assert (np.abs(found.weights[layer] - dW[layer]) <= both * dW_bounds[layer]).all()
        assert (np.abs(found.biases[layer] - db[layer]) <= both * db_bounds[layer]).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer_sizes", SHAPES)
def test_predict_and_gradient_equal_the_oracle(layer_sizes, dtype, activation):
    case = problem(layer_sizes, 9, dtype=dtype, activation=activation)
    assert_within_bounds(*case)
    assert_within_bounds(*case, sample_weight=np.arange(9) % 4, alpha=0.3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bound_is_sharp_enough_to_see_one_missing_term(dtype):
    network, parameters, X, y = problem((5, 7, 4), 9, dtype=dtype)
    engine = fastnn.get_engine("reference")
    _, loss_bound, dW_bounds, db_bounds = gradient_bound(
        [W.astype(float) for W in parameters.weights],
        [b.astype(float) for b in parameters.biases],
        X,
        y,
        activation="relu",
        u=UNIT_ROUNDOFF[dtype],
    )
    loss, gradient = engine.gradient(network, parameters, X, y)
    missing = np.ones(9)
    missing[3] = 0
    # the ninth part of the mean without one sample's term
    less_loss, less = engine.gradient(network, parameters, X, y, sample_weight=missing)
    whole = fastnn.Parameters(network.layer_sizes, gradient)
    part = fastnn.Parameters(network.layer_sizes, less * np.dtype(dtype).type(8 / 9))
    assert abs(loss - less_loss * 8 / 9) > loss_bound
    assert (np.abs(whole.weights[1] - part.weights[1]) > dW_bounds[1]).any(axis=0).all()
    assert (np.abs(whole.biases[1] - part.biases[1]) > db_bounds[1]).all()


def test_the_logistic_function_keeps_small_values_and_does_not_overflow():
    Z = np.array([-100, -88, -20, 0, 20, 1e4], np.float32)
    with np.errstate(over="raise"):
        found = logistic(Z)
    expected = [naive.logistic(float(z)) for z in Z]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=np.finfo(np.float32).tiny)


@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_the_penalty_is_summed_in_double_precision(engine):
    network = fastnn.Network((3000, 40))
    parameters = network.initialize(0)
    parameters.weights[0][:] = np.float32(0.1)
    X = np.zeros((1, 3000), np.float32)
    loss, _ = fastnn.get_engine(engine).gradient(
        network, parameters, X, [0], objective=fastnn.Objective(2.0)
    )
    squares = 120_000 * float(np.float32(0.1)) ** 2
    assert loss == pytest.approx(np.log(40) + squares, rel=1e-8)


@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_the_penalty_of_weights_whose_squares_overflow_float32(engine):
    network = fastnn.Network((1, 2))
    parameters = network.initialize(0)
    parameters.vector[:] = np.float32(1e20), 0, 0, 0
    loss, _ = fastnn.get_engine(engine).gradient(
        network, parameters, np.zeros((1, 1), np.float32), [0], objective=fastnn.Objective(1e-30)
    )
    assert loss == pytest.approx(np.log(2) + float(np.float32(1e20)) ** 2 * 1e-30 / 2, rel=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5), (6, 5, 4)])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_gradient_equals_central_differences(hidden, activation, alpha):
    network, parameters, X, y = problem((4, *hidden, 3), 8, activation=activation)
    engine, objective = fastnn.get_engine("reference"), fastnn.Objective(alpha)
    sample_weight = np.linspace(0.0, 2.0, 8)

    def loss_at(vector):
        moved = fastnn.Parameters(network.layer_sizes, vector)
        return engine.gradient(
            network, moved, X, y, objective=objective, sample_weight=sample_weight
        )[0]

    _, gradient = engine.gradient(
        network, parameters, X, y, objective=objective, sample_weight=sample_weight
    )
    # truncation grows like h^2, rounding like u / h: their sum is least near h = u^(1/3)
    h = 6e-6
    differences = np.empty_like(gradient)
    for i in range(len(gradient)):
        step = np.zeros_like(gradient)
        step[i] = h
        upper = loss_at(parameters.vector + step)
        differences[i] = (upper - loss_at(parameters.vector - step)) / (2 * h)
    np.testing.assert_allclose(gradient, differences, rtol=1e-7, atol=1e-8)


OPTIMIZERS = {
    "sgd": (fastnn.SGD(), {"name": "sgd", "momentum": 0.0, "nesterov": False}),
    "momentum": (fastnn.SGD(0.9), {"name": "sgd", "momentum": 0.9, "nesterov": False}),
    "nesterov": (
        fastnn.SGD(0.8, nesterov=True),
        {"name": "sgd", "momentum": 0.8, "nesterov": True},
    ),
    "adam": (
        fastnn.Adam(),
        {"name": "adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    ),
    "adamw": (
        fastnn.Adam(0.8, 0.99, 1e-6, 0.1),
        {"name": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6, "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layer_sizes", [(3, 2), (5, 7, 4), (4, 6, 5, 3)])
def test_train_equals_the_oracle(name, layer_sizes):
    optimizer, oracle_settings = OPTIMIZERS[name]
    network, parameters, X, y = problem(layer_sizes, 10)
    sample_weight = np.array([1.0, 2, 0, 0, 0, 3, 1, 1, 1, 0.5])
    order = np.array([9, 8, 7, 2, 3, 4, 0, 1, 5, 6, 6, 0, 3, 1])  # the second batch weighs nothing
    rates = np.linspace(0.05, 0.01, 5)
    weights, biases, losses = naive.train(
        *as_lists(parameters),
        X.tolist(),
        y.tolist(),
        order.tolist(),
        batch_size=3,
        learning_rates=rates.tolist(),
        optimizer=oracle_settings,
        alpha=0.1,
        sample_weight=sample_weight.tolist(),
    )
    state = optimizer.initialize(parameters)
    found = fastnn.get_engine("reference").train(
        network,
        parameters,
        state,
        X,
        y,
        order,
        batch_size=3,
        learning_rates=rates,
        objective=fastnn.Objective(0.1),
        sample_weight=sample_weight,
    )
    # a trajectory has no bound from rounding alone (Adam divides by small numbers); in float64,
    # five steps of these problems stay far below this
    np.testing.assert_allclose(found, losses, rtol=1e-10, atol=1e-12)
    theta = naive.flatten(weights, biases)
    np.testing.assert_allclose(parameters.vector, theta, rtol=1e-9, atol=1e-11)
    assert found[1] == 0.0
    assert state.step == 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e30, -1e30, 1e4, 1e-30])
def test_extreme_logits_give_the_exact_limits(dtype, size):
    network = fastnn.Network((1, 3))
    parameters = network.initialize(0, dtype=dtype)
    parameters.weights[0][:] = [[1.0, 0.0, -1.0]]
    parameters.biases[0][:] = 0
    X = np.array([[size], [size]], dtype=dtype)
    loss, gradient = fastnn.get_engine("reference").gradient(network, parameters, X, [0, 2])
    P = fastnn.get_engine("reference").predict(network, parameters, X)
    right, wrong = (0, 2) if size > 0 else (2, 0)
    if abs(size) > 1:
        assert P[0].tolist() == [float(right == k) for k in range(3)]
        assert loss == pytest.approx(abs(size), rel=1e-6)  # (0 + 2 |size|) / 2
        db = fastnn.Parameters((1, 3), gradient).biases[0]
        assert db[right] == 0.5
        assert db[wrong] == -0.5
    else:
        np.testing.assert_allclose(P, 1 / 3, rtol=1e-6)
        assert loss == pytest.approx(np.log(3), rel=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_sample_one_class_and_a_ragged_batch(dtype):
    assert_within_bounds(*problem((5, 7, 4), 1, dtype=dtype))
    network, parameters, X, _ = problem((5, 7, 4), 6, dtype=dtype)
    assert_within_bounds(network, parameters, X, np.full(6, 2))
    state = fastnn.SGD().initialize(parameters)
    losses = fastnn.get_engine("reference").train(
        network, parameters, state, X, [0] * 6, range(6), batch_size=4, learning_rates=0.1
    )
    assert losses.shape == (2,)
    assert state.step == 2


def test_weights_that_sum_to_zero_move_nothing():
    network, parameters, X, y = problem((5, 7, 4), 6)
    engine = fastnn.get_engine("reference")
    loss, gradient = engine.gradient(
        network, parameters, X, y, sample_weight=np.zeros(6), objective=fastnn.Objective(1.0)
    )
    assert loss == 0.0
    assert not gradient.any()
    before, state = parameters.copy(), fastnn.Adam(weight_decay=0.1).initialize(parameters)
    losses = engine.train(
        network,
        parameters,
        state,
        X,
        y,
        range(6),
        batch_size=3,
        learning_rates=0.1,
        sample_weight=np.zeros(6),
    )
    assert losses.tolist() == [0.0, 0.0]
    assert state.step == 0
    np.testing.assert_array_equal(parameters.vector, before.vector)


def test_a_weight_of_two_equals_a_sample_given_twice():
    network, parameters, X, y = problem((5, 7, 4), 6)
    engine = fastnn.get_engine("reference")
    loss, gradient = engine.gradient(network, parameters, X, y, sample_weight=[2, 1, 1, 1, 1, 0])
    rows = [0, 0, 1, 2, 3, 4]
    expected_loss, expected = engine.gradient(network, parameters, X[rows], y[rows])
    assert loss == pytest.approx(expected_loss, rel=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


magnitudes = st.sampled_from([1e-300, 1e-40, 1e-8, 1.0, 1e4, 1e12])


@settings(max_examples=60, deadline=None)
@given(
    layer_sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    n_samples=st.integers(1, 12),
    dtype=st.sampled_from(["float32", "float64"]),
    activation=st.sampled_from(ACTIVATIONS),
    magnitude=magnitudes,
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_and_size_gives_probabilities_and_a_finite_gradient(
    layer_sizes, n_samples, dtype, activation, magnitude, seed
):
    network, parameters, X, y = problem(
        layer_sizes, n_samples, dtype=dtype, activation=activation, seed=seed
    )
    X = (X.astype(float) * magnitude).astype(dtype)
    engine = fastnn.get_engine("reference")
    P = engine.predict(network, parameters, X)
    assert P.shape == (n_samples, layer_sizes[-1])
    assert (P >= 0).all()
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=16 * 9 * np.finfo(dtype).eps)
    loss, gradient = engine.gradient(network, parameters, X, y)
    assert np.isfinite(loss)
    assert loss >= 0
    assert np.isfinite(gradient).all()
    # the bias gradient of the last layer is a mean of P - onehot: its entries sum to zero
    db = fastnn.Parameters(layer_sizes, gradient).biases[-1]
    assert abs(float(db.sum())) <= 100 * np.finfo(dtype).eps


@settings(max_examples=40, deadline=None)
@given(
    layer_sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    n_samples=st.integers(1, 8),
    activation=st.sampled_from(["tanh", "logistic", "identity"]),
    alpha=st.sampled_from([0.0, 1e-3, 10.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_equals_the_oracle(layer_sizes, n_samples, activation, alpha, seed):
    case = problem(layer_sizes, n_samples, activation=activation, seed=seed)
    assert_within_bounds(*case, alpha=alpha)
