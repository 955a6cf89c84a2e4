"""Seeded problems that several test modules use."""

import numpy as np

import fastnn


def problem(layer_sizes, n_samples, *, dtype="float64", activation="relu", seed=0):
    """Return (network, parameters with random biases, X, y)."""
    rng = np.random.default_rng([seed, *layer_sizes, n_samples])
    network = fastnn.Network(layer_sizes, activation=activation)
    parameters = network.initialize(rng, dtype=dtype)
    for b in parameters.biases:
        b[:] = rng.normal(size=b.shape)
    X = rng.normal(size=(n_samples, network.n_features)).astype(dtype)
    y = rng.integers(0, network.n_outputs, n_samples)
    return network, parameters, X, y


def as_lists(parameters):
    """Return (weights, biases) as the oracle takes them."""
    weights = [W.astype(float).tolist() for W in parameters.weights]
    return weights, [b.astype(float).tolist() for b in parameters.biases]
