import dataclasses

import numpy as np
import pytest

import fastnn
from fastnn.network import ALIGNMENT


def test_a_network_is_an_immutable_value():
    network = fastnn.Network([784, 128, 10])
    assert network == fastnn.Network((784, 128, 10), activation="relu", output="softmax")
    assert hash(network) == hash(fastnn.Network((784, 128, 10)))
    assert (network.n_features, network.n_outputs, network.n_parameters) == (784, 10, 101770)
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.layer_sizes = (1, 2)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (3, -1, 2), (3, 2.5), "32", 7, None, (3, "4")])
def test_bad_sizes_are_named(sizes):
    with pytest.raises(fastnn.InputError, match="layer_sizes is .*whole numbers above 0"):
        fastnn.Network(sizes)


def test_unknown_names_are_refused():
    with pytest.raises(fastnn.InputError, match="activation is 'swish'; expected one of"):
        fastnn.Network((2, 2), activation="swish")
    with pytest.raises(fastnn.InputError, match="output is 'sigmoid'"):
        fastnn.Network((2, 2), output="sigmoid")
    with pytest.raises(fastnn.InputError, match="scheme is 'zeros'"):
        fastnn.Network((2, 2)).initialize(0, scheme="zeros")
    for dtype in ("float16", "int32", "nonsense", ">f4", None, object):
        with pytest.raises(fastnn.InputError, match="expected 'float32' or 'float64'"):
            fastnn.Network((2, 2)).initialize(0, dtype=dtype)
    for seed in (-1, 1.5, "seed"):
        with pytest.raises(fastnn.InputError, match="seed is"):
            fastnn.Network((2, 2)).initialize(seed)


def test_the_vector_holds_each_layers_weights_then_biases():
    parameters = fastnn.Parameters((2, 3, 1), np.arange(13.0))
    np.testing.assert_array_equal(parameters.weights[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(parameters.biases[0], [6, 7, 8])
    np.testing.assert_array_equal(parameters.weights[1], [[9], [10], [11]])
    np.testing.assert_array_equal(parameters.biases[1], [12])


def test_views_and_vector_are_the_same_memory_and_a_copy_is_not():
    parameters = fastnn.Network((2, 3, 1)).initialize(0)
    other = parameters.copy()
    parameters.weights[1][2, 0] = 42
    parameters.vector[6] = 43
    assert parameters.vector[11] == 42
    assert parameters.biases[0][0] == 43
    assert other.vector[11] != 42
    assert other.vector.ctypes.data % ALIGNMENT == 0
    assert parameters.vector.ctypes.data % ALIGNMENT == 0


def test_a_vector_of_another_size_or_kind_is_refused():
    with pytest.raises(fastnn.InputError, match=r"shape \(12,\).*\(13,\)"):
        fastnn.Parameters((2, 3, 1), np.zeros(12))
    with pytest.raises(fastnn.InputError, match="float32"):
        fastnn.Parameters((2, 3, 1), np.zeros(13, int))


def test_the_same_seed_gives_the_same_numbers_in_both_dtypes():
    network = fastnn.Network((20, 30, 4))
    double = network.initialize(7, dtype="float64")
    single = network.initialize(np.random.default_rng(7), dtype=np.float32)
    np.testing.assert_array_equal(single.vector, double.vector.astype(np.float32))
    assert single.dtype == np.float32
    assert (network.initialize(8).vector != single.vector).any()
    assert not single.biases[0].any()


def test_schemes_have_their_variance():
    network = fastnn.Network((400, 300, 100))
    for W in network.initialize(0, scheme="he").weights:
        assert W.var() == pytest.approx(2 / W.shape[0], rel=0.05)
    for W in network.initialize(0, scheme="glorot").weights:
        bound = np.sqrt(6 / sum(W.shape))
        assert 0.99 * bound < np.abs(W).max() <= bound
        assert W.var() == pytest.approx(2 / sum(W.shape), rel=0.05)


def test_a_network_beyond_memory_is_refused_in_words():
    with pytest.raises(fastnn.InputError, match="more than there is memory for"):
        fastnn.Network((2**40, 2**20)).initialize(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastnn.SGD(momentum=1.5), "momentum is 1.5"),
        (lambda: fastnn.SGD(momentum=-0.1), "momentum is -0.1"),
        (lambda: fastnn.SGD("a"), "momentum is 'a'; expected a number"),
        (
            lambda: fastnn.Adam(epsilon=1e-60).initialize(fastnn.Network((2, 2)).initialize(0)),
            "0 in float32",
        ),
        (lambda: fastnn.SGD(nesterov=True), "nesterov=True needs a momentum"),
        (lambda: fastnn.Adam(beta_1=1.0), "beta_1 is 1.0"),
        (lambda: fastnn.Adam(beta_2=float("nan")), "beta_2 is nan"),
        (lambda: fastnn.Adam(epsilon=0.0), "epsilon is 0.0"),
        (lambda: fastnn.Adam(weight_decay=-1.0), "weight_decay is -1.0"),
        (lambda: fastnn.Objective(alpha=-1.0), "alpha is -1.0"),
        (lambda: fastnn.Objective(alpha=float("inf")), "alpha is inf"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(fastnn.InputError, match=message):
        make()


def test_numpy_scalars_do_not_lift_float32():
    network = fastnn.Network((3, 2))
    a, b = network.initialize(0), network.initialize(0)
    engine, gradient = fastnn.get_engine("reference"), np.full(8, 0.3, np.float32)
    for optimizer, parameters in (
        (fastnn.Adam(np.float64(0.9), np.float64(0.999)), a),
        (fastnn.Adam(0.9, 0.999), b),
    ):
        engine.update(parameters, gradient, optimizer.initialize(parameters), np.float64(0.1))
    np.testing.assert_array_equal(a.vector, b.vector)


def test_a_state_copies_independently():
    parameters = fastnn.Network((3, 2)).initialize(0)
    state = fastnn.Adam().initialize(parameters)
    state.step = 5
    other = state.copy()
    state.moments[0][:] = 1
    state.step = 6
    assert not other.moments[0].any()
    assert other.step == 5
