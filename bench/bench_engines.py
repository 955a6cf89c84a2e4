"""How long do the four verbs take on 784-128-10? Each result is checked before it is timed."""

import numpy as np
import pytest

import fastnn

NETWORK = fastnn.Network((784, 128, 10))
N_SAMPLES = 4096
ENGINES = ["reference", "fused"]
REFERENCE = fastnn.get_engine("reference")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.random((N_SAMPLES, 784), dtype=np.float32)
    return X, rng.integers(0, 10, N_SAMPLES)


@pytest.fixture(params=ENGINES)
def engine(request):
    return fastnn.get_engine(request.param)


def in_double(parameters):
    return fastnn.Parameters(NETWORK.layer_sizes, parameters.vector.astype(np.float64))


def assert_close(found, expected):
    # a few hundred float32 terms in each sum: 1e-5 of the largest entry is far beyond rounding
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def describe(benchmark, engine, group, n_samples, flop):
    benchmark.group = group
    benchmark.extra_info.update(
        engine=engine.name, threads=engine.threads, n_samples=n_samples, flop=flop * n_samples
    )


# floating-point operations per sample
FORWARD_FLOP = 2 * (784 * 128 + 128 * 10)
# the weight gradients of both layers, and the input gradient of the second
GRADIENT_FLOP = 2 * FORWARD_FLOP + 2 * 128 * 10


@pytest.mark.parametrize("n_samples", [1, 128, N_SAMPLES])
def bench_predict(benchmark, engine, data, n_samples):
    X = data[0][:n_samples]
    parameters, prepared = NETWORK.initialize(0), fastnn.prepare(X)
    expected = REFERENCE.predict(NETWORK, in_double(parameters), X)
    assert_close(engine.predict(NETWORK, parameters, prepared), expected)
    describe(benchmark, engine, f"predict {n_samples}", n_samples, FORWARD_FLOP)
    benchmark(engine.predict, NETWORK, parameters, prepared)


@pytest.mark.parametrize("n_samples", [32, 128, N_SAMPLES])
def bench_gradient(benchmark, engine, data, n_samples):
    X, y = data[0][:n_samples], data[1][:n_samples]
    parameters, prepared = NETWORK.initialize(0), fastnn.prepare(X)
    _, expected = REFERENCE.gradient(NETWORK, in_double(parameters), X, y)
    assert_close(engine.gradient(NETWORK, parameters, prepared, y)[1], expected)
    describe(benchmark, engine, f"gradient {n_samples}", n_samples, GRADIENT_FLOP)
    benchmark(engine.gradient, NETWORK, parameters, prepared, y)


@pytest.mark.parametrize("optimizer", [fastnn.SGD(), fastnn.SGD(0.9), fastnn.Adam()], ids=repr)
@pytest.mark.parametrize("batch_size", [32, 128])
def bench_train(benchmark, engine, data, batch_size, optimizer):
    X, y = data
    prepared, order = fastnn.prepare(X), np.random.default_rng(0).permutation(N_SAMPLES)
    settings = {"batch_size": batch_size, "learning_rates": 1e-4}
    losses = []
    for start in (NETWORK.initialize(0), in_double(NETWORK.initialize(0))):
        runner = engine if start.dtype == np.float32 else REFERENCE
        state = optimizer.initialize(start)
        losses.append(runner.train(NETWORK, start, state, prepared, y, order, **settings))
    assert_close(*losses)
    parameters = NETWORK.initialize(0)
    state = optimizer.initialize(parameters)
    group = f"train {N_SAMPLES}, batch {batch_size}, {type(optimizer).__name__}"
    describe(benchmark, engine, group, N_SAMPLES, GRADIENT_FLOP)
    benchmark(engine.train, NETWORK, parameters, state, prepared, y, order, **settings)


def bench_prepare(benchmark, data):
    benchmark.group = f"prepare {N_SAMPLES} x 784"
    np.testing.assert_array_equal(fastnn.prepare(data[0]).values, data[0])
    benchmark(fastnn.prepare, data[0])
