"""How long do the four verbs take on 784-128-10? Each result is checked before it is timed."""

import numpy as np
import pytest

import fastnn

NETWORK = fastnn.Network((784, 128, 10))
N_SAMPLES = 4096
ENGINES = ["reference"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.random((N_SAMPLES, 784), dtype=np.float32)
    return X, rng.integers(0, 10, N_SAMPLES)


@pytest.fixture(params=ENGINES)
def engine(request):
    return fastnn.get_engine(request.param)


def check(engine, X, y):
    """Hold the engine's gradient against float64 before any of its work is timed."""
    single = NETWORK.initialize(0)
    double = fastnn.Parameters(NETWORK.layer_sizes, single.vector.astype(np.float64))
    reference = fastnn.get_engine("reference")
    _, found = engine.gradient(NETWORK, single, X[:256], y[:256])
    _, expected = reference.gradient(NETWORK, double, X[:256].astype(np.float64), y[:256])
    # a few hundred terms of float32 in each sum: 1e-5 of the largest entry is far beyond rounding
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def describe(benchmark, engine, group, n_samples, flop_per_sample):
    benchmark.group = group
    benchmark.extra_info.update(
        engine=engine.name, threads=engine.threads, n_samples=n_samples, flop=flop_per_sample
    )


FORWARD_FLOP = 2 * (784 * 128 + 128 * 10)
# the weight gradients of both layers, and the input gradient of the second
GRADIENT_FLOP = 2 * FORWARD_FLOP + 2 * 128 * 10


@pytest.mark.parametrize("n_samples", [1, 128, N_SAMPLES])
def bench_predict(benchmark, engine, data, n_samples):
    X, y = data
    check(engine, X, y)
    parameters, prepared = NETWORK.initialize(0), fastnn.prepare(X[:n_samples])
    describe(benchmark, engine, f"predict {n_samples}", n_samples, FORWARD_FLOP)
    benchmark(engine.predict, NETWORK, parameters, prepared)


@pytest.mark.parametrize("n_samples", [32, 128, N_SAMPLES])
def bench_gradient(benchmark, engine, data, n_samples):
    X, y = data
    check(engine, X, y)
    parameters, prepared = NETWORK.initialize(0), fastnn.prepare(X[:n_samples])
    describe(benchmark, engine, f"gradient {n_samples}", n_samples, GRADIENT_FLOP)
    benchmark(engine.gradient, NETWORK, parameters, prepared, y[:n_samples])


@pytest.mark.parametrize("optimizer", [fastnn.SGD(), fastnn.SGD(0.9), fastnn.Adam()], ids=repr)
@pytest.mark.parametrize("batch_size", [32, 128])
def bench_train(benchmark, engine, data, batch_size, optimizer):
    X, y = data
    check(engine, X, y)
    parameters, prepared = NETWORK.initialize(0), fastnn.prepare(X)
    state, order = optimizer.initialize(parameters), np.random.default_rng(0).permutation(N_SAMPLES)
    group = f"train {N_SAMPLES}, batch {batch_size}, {type(optimizer).__name__}"
    describe(benchmark, engine, group, N_SAMPLES, GRADIENT_FLOP)
    benchmark(
        engine.train,
        NETWORK,
        parameters,
        state,
        prepared,
        y,
        order,
        batch_size=batch_size,
        learning_rates=1e-4,
    )


def bench_prepare(benchmark, data):
    benchmark.group = f"prepare {N_SAMPLES} x 784"
    benchmark(fastnn.prepare, data[0])
