"""Seeded samples: uniform ones without zeros, and mostly zeros, as MNIST's are."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

import fastnn
from bench.cases.rounding import U
from fastnn.bounds import away_from_kinks

DENSITY = 0.19  # of MNIST
SIZES = (784, 128, 10)
N_CLASSES = 10


class Problem(NamedTuple):
    """A network that starts, and what it is trained on."""

    network: Any
    parameters: Any
    X: Any
    y: Any

    def first(self, n: int) -> "Problem":
        """Return the same with the first n samples."""
        return self._replace(X=self.X[:n], y=self.y[:n])

    def in_double(self) -> Any:
        """Return the parameters in float64."""
        return fastnn.Parameters(self.network.layer_sizes, self.parameters.vector.astype(float))


def samples(n: int, n_features: int, layout: str) -> Any:
    """Return float32 samples; of the sparse, columns at the edges are empty more often."""
    rng = np.random.default_rng([n, n_features, layout == "sparse"])
    X = rng.random((n, n_features), dtype=np.float32)
    if layout == "sparse":
        chance = 4 * DENSITY * np.sin(np.linspace(0, np.pi, n_features)) ** 6  # mean 1.25 DENSITY
        X[rng.random(X.shape) >= chance * (16 / 20)] = 0
    return X


@cache
def problem(n: int, layout: str = "dense") -> Problem:
    """Return n samples for 784-128-10, none of which is at the ReLU's kink, which has no bound."""
    network = fastnn.Network(SIZES)
    parameters = network.initialize(0)
    rng = np.random.default_rng(1)
    for b in parameters.biases:  # a bias of zero that is left out would not show
        b[...] = rng.normal(0, 0.1, b.shape)
    X = samples(n + n // 2 + 16, SIZES[0], layout)
    clear = away_from_kinks(
        parameters.weights, parameters.biases, X, activation="relu", u=U
    )  # fmt: skip
    X = np.ascontiguousarray(X[clear][:n])
    if len(X) < n:
        raise ValueError(f"only {len(X)} of {n} samples are away from the kinks")
    return Problem(network, parameters, X, rng.integers(0, N_CLASSES, n))
