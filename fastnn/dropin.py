"""The eight functions of the from-scratch tutorial, in its own calling shapes.

Here, and only here, samples are columns: X is (features, samples), Y one-hot (classes, samples),
and ``params`` a dict with W1 (hidden, features), b1 (hidden, 1), W2 (classes, hidden) and
b2 (classes, 1). ``train`` runs on an engine; the others are one formula each.

Where the tutorial's own code goes wrong, these do not: ``softmax`` subtracts each column's maximum
(one maximum for all turns a column far below it into 0/0), ``cross_entropy_loss`` stays finite
where a probability rounds to 0, and ``backward`` uses the cache instead of a second forward pass.
"""

from collections.abc import Callable
from math import isfinite
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import check_count, check_finite
from fastnn.console import print_line
from fastnn.engine import DEFAULT_ENGINE, get_engine
from fastnn.errors import DivergedError, InputError
from fastnn.inputs import Input, as_array, prepare, prepare_once
from fastnn.network import Network, Parameters, aligned_zeros, float_dtype
from fastnn.optimizers import SGD
from fastnn.records import is_number

Array: TypeAlias = NDArray[np.floating]
Params: TypeAlias = dict[str, Array]
Cache: TypeAlias = tuple[Array, Array, Array]

PRINT_EVERY = 100  # epochs


def initialize_parameters(input_size: int, hidden_size: int, output_size: int) -> Params:
    """Draw small normal weights (0.01 times a standard normal); the biases are zero.

    From NumPy's global generator, W1 before W2, so that ``np.random.seed`` decides them.

    Parameters
    ----------
    input_size, hidden_size, output_size : int

    Returns
    -------
    params : dict of ndarray
        ``W1`` (hidden, input), ``b1`` (hidden, 1), ``W2`` (output, hidden), ``b2`` (output, 1).
    """
    return _draw(np.random.randn, input_size, hidden_size, output_size)


def _draw(
    randn: Callable[[int, int], Array], input_size: int, hidden_size: int, output_size: int
) -> Params:
    return {
        "W1": randn(hidden_size, input_size) * 0.01,
        "b1": np.zeros((hidden_size, 1)),
        "W2": randn(output_size, hidden_size) * 0.01,
        "b2": np.zeros((output_size, 1)),
    }


def relu(Z: Array) -> Array:
    """Return max(0, z) for each element.

    Parameters
    ----------
    Z : array_like, any shape

    Returns
    -------
    A : ndarray, same shape
    """
    return np.maximum(0, Z)


def softmax(Z: Array) -> Array:
    """Return exp(z_k) / sum_j exp(z_j) for each column.

    Parameters
    ----------
    Z : ndarray, shape (classes, samples)

    Returns
    -------
    P : ndarray, shape (classes, samples)
        Each column sums to 1.
    """
    E = np.exp(Z - np.max(Z, axis=0, keepdims=True))
    return E / np.sum(E, axis=0, keepdims=True)


def forward(X: Array, params: Params) -> tuple[Array, Cache]:
    """Run the network forward.

    Parameters
    ----------
    X : ndarray, shape (features, samples)
    params : dict of ndarray
        As ``initialize_parameters`` gives them.

    Returns
    -------
    A2 : ndarray, shape (classes, samples)
        Class probabilities.
    cache : tuple
        ``(Z1, A1, Z2)``, for ``backward``.
    """
    Z1 = params["W1"] @ X + params["b1"]
    A1 = relu(Z1)
    Z2 = params["W2"] @ A1 + params["b2"]
    return softmax(Z2), (Z1, A1, Z2)


def cross_entropy_loss(A2: Array, Y: Array) -> float:
    """Return the mean cross-entropy, -sum(Y log A2) / samples.

    Parameters
    ----------
    A2 : ndarray, shape (classes, samples)
        Probabilities.
    Y : ndarray, shape (classes, samples)
        One-hot.

    Returns
    -------
    loss : float
        Finite also where a probability rounded to 0.
    """
    A2, Y = np.asarray(A2, dtype=np.result_type(A2, np.float32)), np.asarray(Y)
    says = Y != 0
    # a probability that rounded to zero counts as the smallest normal number
    likely = np.maximum(A2[says], np.finfo(A2.dtype).tiny)
    return float(-np.sum(Y[says] * np.log(likely)) / Y.shape[1])


def backward(X: Array, Y: Array, params: Params, cache: Cache) -> Params:
    """Return the gradient of the loss.

    Parameters
    ----------
    X : ndarray, shape (features, samples)
    Y : ndarray, shape (classes, samples)
    params : dict of ndarray
    cache : tuple
        ``(Z1, A1, Z2)`` as ``forward`` returned it for the same X and params.

    Returns
    -------
    grads : dict of ndarray
        ``dW1``, ``db1``, ``dW2``, ``db2``, shaped like the parameters.
    """
    Z1, A1, Z2 = cache
    n_samples = X.shape[1]
    delta = (softmax(Z2) - Y) / n_samples
    hidden_delta = (params["W2"].T @ delta) * (Z1 > 0)
    return {
        "dW1": hidden_delta @ X.T,
        "db1": hidden_delta.sum(axis=1, keepdims=True),
        "dW2": delta @ A1.T,
        "db2": delta.sum(axis=1, keepdims=True),
    }


def update_params(params: Params, grads: Params, learning_rate: float = 0.1) -> Params:
    """Subtract ``learning_rate`` times the gradient, in place.

    Parameters
    ----------
    params, grads : dict of ndarray
        As ``initialize_parameters`` and ``backward`` give them.
    learning_rate : float, default=0.1

    Returns
    -------
    params : dict of ndarray
        The one that was given.
    """
    for name in ("W1", "b1", "W2", "b2"):
        params[name] -= learning_rate * grads["d" + name]
    return params


def train(
    X: ArrayLike,
    Y: ArrayLike,
    epochs: int = 1000,
    *,
    hidden_size: int = 128,
    learning_rate: float = 0.1,
    batch_size: int | None = None,
    seed: int | None = None,
    engine: str = DEFAULT_ENGINE,
    dtype: DTypeLike = "float64",
    callback: Callable[[int, float], object] | None = None,
    verbose: bool = True,
) -> Params:
    """Train a network with one hidden layer by gradient descent.

    Parameters
    ----------
    X : array_like, shape (features, samples)
        Not changed.
    Y : array_like, shape (classes, samples)
        One-hot: each column holds a single 1. Not changed.
    epochs : int, default=1000
    hidden_size : int, default=128
    learning_rate : float, default=0.1
    batch_size : int, optional
        None takes all samples in one batch, as the tutorial does. Otherwise each epoch shuffles
        the samples into batches of this size.
    seed : int, optional
        None draws from NumPy's global generator, so that ``np.random.seed`` decides; a number
        draws what ``np.random.seed(seed)`` would give, and leaves the global generator alone.
    engine : str
        See ``fastnn.get_engine``.
    dtype : {"float64", "float32"}, default="float64"
    callback : callable, optional
        Called with the epoch (from 0) and its loss, after each epoch.
    verbose : bool, default=True
        Print ``Epoch 0: Loss = 2.3026`` every 100 epochs.

    Returns
    -------
    params : dict of ndarray
        ``W1``, ``b1``, ``W2``, ``b2``, of ``dtype``.

    Raises
    ------
    InputError
        If X and Y do not fit each other, or Y is not one-hot.
    DivergedError
        If the loss or a parameter stops being finite.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn
    >>> X = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    >>> Y = np.array([[1, 0, 0, 1], [0, 1, 1, 0]])
    >>> params = fastnn.train(X, Y, epochs=1, seed=0)
    Epoch 0: Loss = 0.6931
    """
    dtype = float_dtype(dtype)
    runner = get_engine(engine)
    samples, labels, n_classes = _samples_as_rows(X, Y, dtype)
    n_samples = samples.n_samples
    network = Network((samples.n_features, check_count("hidden_size", hidden_size), n_classes))
    epochs = check_count("epochs", epochs)
    full_batch = batch_size is None
    batch_size = n_samples if batch_size is None else check_count("batch_size", batch_size)
    if not (is_number(learning_rate) and isfinite(learning_rate) and learning_rate >= 0):
        raise InputError(
            f"learning_rate is {learning_rate!r:.80}; expected a finite number of at least 0"
        )
    try:
        generator = np.random if seed is None else np.random.RandomState(seed)
    except (TypeError, ValueError) as error:
        raise InputError(f"seed is {seed!r}: {error}") from error

    params = _draw(generator.randn, *network.layer_sizes)
    parameters = _to_parameters(params, network, dtype)
    optimizer_state = SGD().initialize(parameters)
    order = np.arange(n_samples)
    batch_sizes = np.diff([*range(0, n_samples, batch_size), n_samples])
    for epoch in range(epochs):
        if not full_batch:
            order = generator.permutation(n_samples)
        try:
            losses = runner.train(
                network,
                parameters,
                optimizer_state,
                samples,
                labels,
                order,
                batch_size=batch_size,
                learning_rates=learning_rate,
            )
            check_finite(parameters, optimizer_state, losses)
        except DivergedError as error:
            error.epoch = epoch
            raise
        loss = float(losses @ batch_sizes / n_samples)
        if verbose and epoch % PRINT_EVERY == 0:
            print_line(f"Epoch {epoch}: Loss = {loss:.4f}")
        if callback is not None:
            callback(epoch, loss)
    return _to_params(parameters)


def _samples_as_rows(
    X: ArrayLike, Y: ArrayLike, dtype: DTypeLike
) -> tuple[Input, NDArray[np.intp], int]:
    """Return samples as an engine takes them, their class indices, and the number of classes."""
    X, Y = as_array("X", X), as_array("Y", Y)
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1]:
        raise InputError(
            f"X has shape {X.shape} and Y {Y.shape}; expected (features, samples) and "
            "(classes, samples): samples are columns here"
        )
    if Y.dtype.kind not in "biuf" or 0 in Y.shape:
        raise InputError(f"Y has dtype {Y.dtype} and shape {Y.shape}; expected zeros and ones")
    one_hot = (np.count_nonzero(Y, axis=0) == 1) & (Y.max(axis=0) == 1)
    if not one_hot.all():
        column = int(np.argmin(one_hot))
        raise InputError(f"column {column} of Y is not one-hot; expected a single 1, else zeros")
    columns = prepare_once(X)  # here, where an error still names the caller's own indices
    return prepare(columns.astype(dtype).values.T), Y.argmax(axis=0), Y.shape[0]


def _to_parameters(params: Params, network: Network, dtype: DTypeLike) -> Parameters:
    parameters = Parameters(network.layer_sizes, aligned_zeros(network.n_parameters, dtype))
    for layer, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True), 1):
        W[...] = params[f"W{layer}"].T
        b[...] = params[f"b{layer}"][:, 0]
    return parameters


def _to_params(parameters: Parameters) -> Params:
    params: Params = {}
    for layer, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True), 1):
        params[f"W{layer}"] = np.ascontiguousarray(W.T)
        params[f"b{layer}"] = b.reshape(-1, 1).copy()
    return params
