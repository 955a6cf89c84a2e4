"""What a network is: its layer sizes and activations, and the numbers that it learns.

The numbers live outside the network, in one flat vector: for each layer the weights, row by row,
then the biases. ``Parameters`` gives that vector names; a gradient and an optimizer's moments have
the same layout.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.errors import InputError
from fastnn.records import generator_from

ACTIVATIONS = ("relu", "tanh", "logistic", "identity")
OUTPUTS = ("softmax", "logistic", "identity", "exp")
SCHEMES = ("he", "glorot")
DTYPES = ("float32", "float64")

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def float_dtype(dtype: DTypeLike) -> np.dtype[np.floating]:
    """Return ``dtype`` as float32 or float64; refuse any other."""
    with contextlib.suppress(TypeError):
        for known in DTYPES:
            if dtype is not None and np.dtype(dtype) == known:
                return np.dtype(known)
    raise InputError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")


def aligned_zeros(size: int, dtype: DTypeLike) -> NDArray[np.floating]:
    """Return a flat array of zeros that starts at a multiple of ``ALIGNMENT`` bytes."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)


@dataclass(frozen=True, init=False)
class Network:
    """The shape of a multilayer perceptron; immutable, holds no parameters.

    Parameters
    ----------
    layer_sizes : sequence of int
        Number of features, of units in each hidden layer, and of outputs: ``(784, 128, 10)``. Two
        sizes make a network without hidden layers.
    activation : {"relu", "tanh", "logistic", "identity"}, default="relu"
        Of the hidden layers.
    output : {"softmax", "logistic", "identity", "exp"}, default="softmax"
        What the last layer's values become. "softmax": probabilities of classes, of which one is
        right. "logistic": of each output for itself, for two classes (one output) or several labels
        at a time. "identity": numbers, with squared errors. "exp": numbers above 0, with the
        Poisson deviance.

    Raises
    ------
    InputError
        If there are fewer than two sizes, one is below 1, or a name is unknown.

    Examples
    --------
    >>> from fastnn import Network
    >>> network = Network((784, 128, 10))
    >>> network.n_parameters
    101770
    """

    layer_sizes: tuple[int, ...]
    activation: str
    output: str

    def __init__(
        self, layer_sizes: Sequence[int], *, activation: str = "relu", output: str = "softmax"
    ) -> None:
        try:
            sizes = tuple(index(size) for size in layer_sizes)
        except TypeError:
            sizes = ()
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(
                f"layer_sizes is {layer_sizes!r}; expected at least two whole numbers above 0, "
                "such as (784, 128, 10)"
            )
        if activation not in ACTIVATIONS:
            raise InputError(f"activation is {activation!r}; expected one of {ACTIVATIONS}")
        if output not in OUTPUTS:
            raise InputError(f"output is {output!r}; expected one of {OUTPUTS}")
        object.__setattr__(self, "layer_sizes", sizes)
        object.__setattr__(self, "activation", activation)
        object.__setattr__(self, "output", output)

    @property
    def n_features(self) -> int:
        """Number of inputs of the first layer."""
        return self.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the last layer: of a softmax, the classes."""
        return self.layer_sizes[-1]

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return count_parameters(self.layer_sizes)

    def initialize(
        self,
        seed_or_generator: int | np.random.Generator | None = None,
        *,
        dtype: DTypeLike = "float32",
        scheme: str = "he",
    ) -> "Parameters":
        """Draw starting parameters; the biases are zero.

        Parameters
        ----------
        seed_or_generator : int, numpy.random.Generator or None
            The same seed gives the same numbers, rounded to ``dtype``. None draws from the
            system's entropy.
        dtype : {"float32", "float64"}, default="float32"
        scheme : {"he", "glorot"}, default="he"
            "he": normal with variance 2 / fan_in, which keeps the variance of a ReLU network's
            values from layer to layer (He et al., 2015). "glorot": uniform within
            sqrt(6 / (fan_in + fan_out)), meant for tanh (Glorot and Bengio, 2010).

        Returns
        -------
        parameters : Parameters

        Raises
        ------
        InputError
            For an unknown dtype or scheme, a seed that NumPy refuses, or a network that does not
            fit into memory.
        """
        dtype = float_dtype(dtype)
        if scheme not in SCHEMES:
            raise InputError(f"scheme is {scheme!r}; expected one of {SCHEMES}")
        generator = generator_from(seed_or_generator)
        try:
            parameters = Parameters(self.layer_sizes, aligned_zeros(self.n_parameters, dtype))
        except (MemoryError, ValueError) as error:
            gigabytes = self.n_parameters * dtype.itemsize / 1e9
            raise InputError(
                f"a network of sizes {self.layer_sizes} has {self.n_parameters} parameters "
                f"({gigabytes:.3g} GB), more than there is memory for"
            ) from error
        for W in parameters.weights:
            fan_in, fan_out = W.shape
            # drawn in float64, so that both dtypes start from the same numbers
            if scheme == "he":
                W[...] = generator.normal(0.0, sqrt(2.0 / fan_in), W.shape)
            else:
                bound = sqrt(6.0 / (fan_in + fan_out))
                W[...] = generator.uniform(-bound, bound, W.shape)
        return parameters


def count_parameters(layer_sizes: Sequence[int]) -> int:
    """Return the number of weights and biases of a network."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(layer_sizes))


class Parameters:
    """One flat vector with a name for each of its parts.

    Parameters
    ----------
    layer_sizes : sequence of int
        As in ``Network.layer_sizes``.
    vector : array_like, shape (n_parameters,)
        float32 or float64. A contiguous array is used as it is, not copied, so a gradient can be
        looked at the same way: ``Parameters(network.layer_sizes, gradient).weights``.

    Attributes
    ----------
    weights : tuple of ndarray
        ``weights[l]`` is a view of shape (fan_in, fan_out).
    biases : tuple of ndarray
        ``biases[l]`` is a view of shape (fan_out,).

    Raises
    ------
    InputError
        If the vector has another length than the layer sizes ask for, or another dtype.
    """

    __slots__ = ("_vector", "biases", "layer_sizes", "weights")

    def __init__(self, layer_sizes: Sequence[int], vector: ArrayLike) -> None:
        self.layer_sizes = tuple(layer_sizes)
        self._vector: NDArray[np.floating] = np.ascontiguousarray(vector)
        float_dtype(self._vector.dtype)
        if self._vector.shape != (count_parameters(self.layer_sizes),):
            raise InputError(
                f"the parameter vector has shape {self._vector.shape}; a network of sizes "
                f"{self.layer_sizes} has ({count_parameters(self.layer_sizes)},)"
            )
        weights, biases, start = [], [], 0
        for fan_in, fan_out in pairwise(self.layer_sizes):
            middle, stop = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            weights.append(self.vector[start:middle].reshape(fan_in, fan_out))
            biases.append(self.vector[middle:stop])
            start = stop
        self.weights: tuple[NDArray[np.floating], ...] = tuple(weights)
        self.biases: tuple[NDArray[np.floating], ...] = tuple(biases)

    @property
    def vector(self) -> NDArray[np.floating]:
        """All parameters, flat; what is assigned is copied into it, so that the views stay."""
        return self._vector

    @vector.setter
    def vector(self, values: ArrayLike) -> None:
        self._vector[...] = values

    def __reduce__(self) -> tuple[Any, ...]:
        # copied slot by slot, the views would no longer be views
        return Parameters, (self.layer_sizes, self._vector)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """float32 or float64."""
        return self.vector.dtype

    def copy(self) -> "Parameters":
        """Return an independent copy."""
        vector = aligned_zeros(self.vector.size, self.dtype)
        vector[:] = self.vector
        return Parameters(self.layer_sizes, vector)

    def __repr__(self) -> str:
        return f"Parameters(layer_sizes={self.layer_sizes}, dtype={self.dtype.name})"
