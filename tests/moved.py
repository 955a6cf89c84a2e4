"""Models that move, and the bound for what a program may make of them.

The oracle is ``naive``: loops in double precision over samples that were scaled here, by hand.
"""

import naive
import numpy as np
from cases import as_lists, problem

import fastnn
from fastnn import bounds
from fastnn.models import Model
from fastnn.scaling import Scaling

DTYPES = ["float32", "float64"]
ACTIVATIONS = ["relu", "tanh", "logistic", "identity"]
SHAPES = [(6, 3), (6, 9, 2), (5, 4, 7, 6, 3, 4), (40, 20, 10)]


def a_model(sizes=(6, 9, 3), dtype="float32", *, activation="relu", classes=None, **settings):
    network, parameters, _, _ = problem(sizes, 1, dtype=dtype, activation=activation)
    classes = np.arange(sizes[-1]) if classes is None else np.asarray(classes)
    engine = fastnn.get_engine("reference", threads=1)
    return Model(network, parameters, classes, engine, **settings)


def samples(n, n_features, dtype="float32", seed=0):
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=(n, n_features)).astype(dtype)
    return generator.integers(0, 200 if dtype == "uint8" else 100, (n, n_features)).astype(dtype)


def standardizing(n_features, scale=1.0):
    generator = np.random.default_rng(1)
    offset = generator.normal(size=n_features) * 3
    return Scaling(scale, offset, generator.uniform(0.2, 2, n_features))


def seen(model, X):
    """What the network sees of X, as the documentation of ``Scaling`` has it."""
    dtype, scaling = model.parameters.dtype, model.scaling
    if scaling.offset is None:
        return X.astype(dtype) * dtype.type(scaling.scale)
    return ((X.astype(float) * scaling.scale - scaling.offset) * scaling.factor).astype(dtype)


def bound_of(weights, biases, X, activation, dtype):
    """Return which samples have a bound, and the bound for their probabilities."""
    u = bounds.UNIT_ROUNDOFF[np.dtype(dtype).name]
    how = {"activation": activation, "u": u}
    clear = bounds.away_from_kinks(weights, biases, X, **how)
    assert clear.mean() > 0.9
    y = np.zeros(clear.sum(), int)
    return clear, bounds.gradient_bound(weights, biases, X[clear], y, **how)[0]


def check_probabilities(found, model, X):
    """Compare probabilities with the oracle's, on samples as the network sees them."""
    parameters, activation = model.parameters, model.network.activation
    assert found.dtype == parameters.dtype
    X = seen(model, X)
    exact = np.array(
        naive.probabilities(*as_lists(parameters), X.astype(float).tolist(), activation)
    )
    clear, bound = bound_of(parameters.weights, parameters.biases, X, activation, parameters.dtype)
    assert (np.abs(found - exact)[clear] <= bound).all()
    assert (bound < 1e-3).all()  # or it would say nothing


SCALINGS = {
    "as they are": ("float", lambda n: Scaling()),
    "bytes": ("uint8", lambda n: Scaling(1 / 255)),
    "standardized": ("float", standardizing),
    "bytes, standardized": ("uint8", lambda n: standardizing(n, 1 / 100)),
}
