"""Backpropagation, written down: the engine that specifies what every other engine computes.

A multilayer perceptron turns a row of features into class probabilities by alternating two steps:
a linear map, and a simple function applied to each value. With the samples of a batch as the rows
of A_0 (m samples), layer l computes ::

    Z_l = A_{l-1} W_l + b_l            (m, fan_in) @ (fan_in, fan_out) + (fan_out,)
    A_l = activation(Z_l)              for hidden layers
    P   = softmax(Z_L)                 for the last one: each row sums to 1

Training lowers the mean cross-entropy: the average, over the batch, of -log of the probability
that the network gives to the right class. For one sample with last values z and right class y, ::

    p_j = exp(z_j) / sum_k exp(z_k)
    loss = -log p_y = log(sum_k exp(z_k)) - z_y
    d loss / d z_j = p_j - [j = y]     what the network said, minus what it should have said

since the derivative of log sum_k exp(z_k) is p_j, and that of -z_y is -1 where j = y. The batch's
loss is a mean, so each row of that slope, called ``delta``, is multiplied by the sample's share in
the mean: 1/m, or with sample weights w_i / sum(w).

Other outputs have the loss that belongs to them, so that the slope is the same, what was said minus
what should have been: ``objective.py`` lists them.

The chain rule carries ``delta`` back through the layers. Where Z_l = A_{l-1} W_l + b_l, ::

    dW_l = A_{l-1}^T delta_l      a weight's slope: what came in, times the slope of what went out
    db_l = sum of delta_l         over the samples
    delta_{l-1} = (delta_l W_l^T) * activation'(Z_{l-1})

An L2 penalty, if there is one, adds its own slope to each dW. Dropout (``dropout.py``) multiplies
the hidden A_l, and on the way back their delta_l, by 0 or by 1 / (1 - dropout). Then the optimizer
moves all parameters a little against the slope: plainly, with momentum, or with Adam's step sizes.
The code below is those lines in NumPy, with two cares: exponentials never overflow, and a batch
whose sample weights sum to zero moves nothing.

What callers pass in is checked in ``checks.py``; ``objective.py`` and ``optimizers.py`` hold the
settings.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf, isfinite, sqrt
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.special import xlogy

from fastnn.checks import (
    check_count,
    check_layout,
    check_learning_rates,
    check_objective,
    check_order,
    check_out,
    check_sample_weight,
    check_samples,
    check_state,
    check_step,
    check_targets,
)
from fastnn.dropout import masks
from fastnn.errors import DivergedError
from fastnn.inputs import Input
from fastnn.network import Network, Parameters
from fastnn.objective import Objective
from fastnn.optimizers import SGD, OptimizerState
from fastnn.threads import blas_threads, resolve_threads

Array = NDArray[np.floating]

# Samples that predict takes at a time: bounds the memory for activations. BLAS may round the last
# bits of a row otherwise in a block of another size.
PREDICTION_BLOCK = 4096


# --- the functions between the linear maps ------------------------------------------------------


def relu(Z: Array) -> Array:
    """Return max(0, z)."""
    return np.maximum(Z, 0)


def logistic(Z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), arranged so that exp never sees a positive number."""
    E = np.exp(-np.abs(Z))
    return np.where(Z >= 0, 1, E) / (1 + E)


def identity(Z: Array) -> Array:
    """Return z itself."""
    return Z


ACTIVATION: dict[str, Callable[[Array], Array]] = {
    "relu": relu,
    "tanh": np.tanh,
    "logistic": logistic,
    "identity": identity,
}

# The derivative of each, expressed through its own output A, so that Z need not be kept.
DERIVATIVE: dict[str, Callable[[Array], Array]] = {
    "relu": lambda A: (A > 0).astype(A.dtype),  # 0 at the kink
    "tanh": lambda A: 1 - A * A,
    "logistic": lambda A: A * (1 - A),
    "identity": np.ones_like,
}


def softmax(Z: Array) -> Array:
    """Return exp(z_j) / sum_k exp(z_k) for each row."""
    E = np.exp(below_zero(Z))
    return E / E.sum(axis=1, keepdims=True)


def cross_entropy(Z: Array, T: Array) -> Array:
    """Return -sum_j t_j log softmax(Z)_j for each row, shape (m,).

    Taken from the logits rather than from the probability, which may have rounded to zero.
    """
    shifted = below_zero(Z)
    losses: Array = np.log(np.exp(shifted).sum(axis=1)) - product_or_zero(T, shifted).sum(axis=1)
    return losses


def binary_cross_entropy(Z: Array, T: Array) -> Array:
    """Return -t log p - (1 - t) log(1 - p) with p = logistic(z), summed over each row."""
    losses: Array = (np.maximum(Z, 0) - T * Z + np.log1p(np.exp(-np.abs(Z)))).sum(axis=1)
    return losses


def half_squared_error(Z: Array, T: Array) -> Array:
    """Return (z - t)^2 / 2, summed over each row."""
    losses: Array = np.square(Z - T).sum(axis=1) / 2
    return losses


def half_poisson_deviance(Z: Array, T: Array) -> Array:
    """Return t log(t / p) - t + p with p = exp(z), summed over each row."""
    losses: Array = (xlogy(T, T) - T * Z - T + np.exp(Z)).sum(axis=1)
    return losses


def product_or_zero(T: Array, Z: Array) -> Array:
    """Return t z, and 0 where t is: also where z is infinite."""
    return np.where(T == 0, 0, T * Z)


def below_zero(Z: Array) -> Array:
    """Subtract each row's maximum: neither function above changes, and exp cannot overflow."""
    return Z - Z.max(axis=1, keepdims=True)


OUTPUT: dict[str, Callable[[Array], Array]] = {
    "softmax": softmax,
    "logistic": logistic,
    "identity": identity,
    "exp": np.exp,
}

LOSS: dict[str, Callable[[Array, Array], Array]] = {
    "softmax": cross_entropy,
    "logistic": binary_cross_entropy,
    "identity": half_squared_error,
    "exp": half_poisson_deviance,
}


def loss_like_sklearn(output: str, Z: Array, T: Array) -> Array:
    """Return each row's loss as scikit-learn 1.9 reports it; see ``Objective.like_sklearn``."""
    P, eps = OUTPUT[output](Z), np.finfo(Z.dtype).eps
    clipped = np.clip(P, eps, 1 - eps)
    if output == "softmax":
        losses: Array = -xlogy(T, clipped).sum(axis=1)
    elif output == "logistic":
        losses = -(xlogy(T, clipped) + xlogy(1 - T, 1 - clipped)).sum(axis=1)
    elif output == "identity":
        losses = np.square(P - T).mean(axis=1) / 2
    else:
        losses = half_poisson_deviance(Z, T)
    return losses


def targets(network: Network, y: NDArray[Any], objective: Objective, dtype: DTypeLike) -> Array:
    """Return what each output should have been, shape (m, n_outputs).

    Of class indices, rows of zeros with a 1 at the class; then smoothed.
    """
    T: Array = y
    if network.output == "softmax":
        T = np.zeros((len(y), network.n_outputs), dtype)
        T[np.arange(len(y)), y] = 1
    s = objective.label_smoothing
    if s:
        n_classes = 2 if network.output == "logistic" else network.n_outputs
        T = ((1 - s) * T + s / n_classes).astype(dtype)
    return T


# --- one pass forward, one pass back ------------------------------------------------------------


def forward(
    network: Network, parameters: Parameters, X: Array, masks: Sequence[Array] = ()
) -> tuple[list[Array], Array]:
    """Return each layer's input [A_0 .. A_{L-1}], and the logits Z_L of shape (m, n_outputs).

    ``masks`` has one array for each hidden layer, where there is dropout.
    """
    activation = ACTIVATION[network.activation]
    *hidden, last = zip(parameters.weights, parameters.biases, strict=True)
    inputs = [X]
    for layer, (W, b) in enumerate(hidden):
        A = activation(inputs[-1] @ W + b)
        inputs.append(A * masks[layer] if masks else A)
    W, b = last
    return inputs, inputs[-1] @ W + b


def backward(
    network: Network,
    parameters: Parameters,
    inputs: list[Array],
    delta: Array,
    gradient: Parameters,
    masks: Sequence[Array] = (),
) -> None:
    """Carry the slope ``delta`` of the loss by the logits back; fill ``gradient``."""
    derivative = DERIVATIVE[network.activation]
    for layer in reversed(range(len(inputs))):  # counted from 0: A is A_{l-1} above
        A, W = inputs[layer], parameters.weights[layer]
        gradient.weights[layer][...] = A.T @ delta
        gradient.biases[layer][...] = delta.sum(axis=0)
        if layer > 0 and masks:
            kept = masks[layer - 1]
            undropped = np.divide(A, kept, out=np.zeros_like(A), where=kept > 0)
            delta = (delta @ W.T) * kept * derivative(undropped)
        elif layer > 0:
            delta = (delta @ W.T) * derivative(A)


def loss_and_gradient(
    network: Network,
    parameters: Parameters,
    X: Array,
    y: NDArray[Any],
    sample_weight: NDArray[np.float64] | None,
    objective: Objective,
    step: int,
) -> tuple[float, Array]:
    """Return the objective over one batch and its gradient, a flat vector like the parameters.

    y holds class indices, shape (m,), or the targets of other outputs than the softmax, shape
    (m, n_outputs); ``step`` updates were made before.
    """
    w = np.ones(len(y)) if sample_weight is None else sample_weight
    total = float(w.sum())
    gradient = Parameters(network.layer_sizes, np.zeros_like(parameters.vector))
    if total == 0:
        return 0.0, gradient.vector

    dropped = [M.astype(X.dtype) for M in masks(network, objective, step, len(y))]
    inputs, logits = forward(network, parameters, X, dropped)
    T = targets(network, y, objective, logits.dtype)
    share = w / total  # of each sample in the mean; float64
    if objective.like_sklearn:
        losses = loss_like_sklearn(network.output, logits, T)
    else:
        losses = LOSS[network.output](logits, T)
    loss = float((share * losses).sum())

    delta = OUTPUT[network.output](logits) - T
    delta *= share.astype(delta.dtype)[:, np.newaxis]
    backward(network, parameters, inputs, delta, gradient, dropped)

    if objective.alpha > 0:
        for W, dW in zip(parameters.weights, gradient.weights, strict=True):
            squares = float(np.square(W, dtype=np.float64).sum())
            loss += objective.alpha * squares / (2 * total)
            dW += (objective.alpha / total) * W
    if objective.clip_norm is not None:
        norm = sqrt(np.square(gradient.vector, dtype=np.float64).sum())
        if objective.clip_norm < norm < inf:  # one that overflows is left alone, to be seen
            gradient.vector[...] *= gradient.dtype.type(objective.clip_norm / norm)
    return loss, gradient.vector


# --- one step of an optimizer -------------------------------------------------------------------


def step(theta: Array, gradient: Array, state: OptimizerState, rate: float) -> None:
    """Move the flat parameters ``theta`` and the optimizer's moments, in place."""
    state.step += 1
    optimizer = state.optimizer
    if isinstance(optimizer, SGD):
        if not optimizer.momentum:
            theta -= rate * gradient
            return
        (velocity,) = state.moments
        velocity[...] = optimizer.momentum * velocity - rate * gradient
        theta += optimizer.momentum * velocity - rate * gradient if optimizer.nesterov else velocity
        return
    # Adam: m and v are running means of the gradient and its square. Both start at zero, which
    # makes them too small by the factors 1 - beta^t; the rate carries that correction.
    m, v = state.moments
    beta_1, beta_2, t = optimizer.beta_1, optimizer.beta_2, state.step
    m[...] = beta_1 * m + (1 - beta_1) * gradient
    v[...] = beta_2 * v + (1 - beta_2) * gradient**2
    corrected_rate = rate * sqrt(1 - beta_2**t) / (1 - beta_1**t)
    theta -= rate * optimizer.weight_decay * theta
    theta -= corrected_rate * m / (np.sqrt(v) + optimizer.epsilon)


# --- the four verbs -----------------------------------------------------------------------------


class ReferenceEngine:
    """The contract of ``engine.Engine`` in NumPy; its BLAS uses at most ``threads`` threads.

    The limit is in force inside the four verbs only, and is as it was on every exit.
    """

    name = "reference"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = resolve_threads(threads)

    def __repr__(self) -> str:
        return f"ReferenceEngine(threads={self.threads})"

    def warm_up(self, dtype: DTypeLike = "float32") -> None:
        """Do nothing: NumPy is ready."""

    def predict(
        self,
        network: Network,
        parameters: Parameters,
        X: ArrayLike | Input,
        *,
        out: Array | None = None,
    ) -> Array:
        """Return what the network puts out; see ``Engine.predict``."""
        samples = check_samples(network, parameters, X)
        shape = (samples.n_samples, network.n_outputs)
        if out is None:
            out = np.empty(shape, parameters.dtype)
        check_out(out, shape, parameters)
        with _numerics(self.threads):
            for start in range(0, samples.n_samples, PREDICTION_BLOCK):
                block = slice(start, start + PREDICTION_BLOCK)
                _, logits = forward(network, parameters, samples.rows(block, parameters.dtype))
                out[block] = OUTPUT[network.output](logits)
        return out

    def gradient(
        self,
        network: Network,
        parameters: Parameters,
        X: ArrayLike | Input,
        y: ArrayLike,
        *,
        objective: Objective = Objective(),
        sample_weight: ArrayLike | None = None,
        step: int = 0,
    ) -> tuple[float, Array]:
        """Return the loss over all rows of X, and its gradient; see ``Engine.gradient``."""
        samples = check_samples(network, parameters, X)
        labels = check_targets(y, samples.n_samples, network, parameters.dtype)
        weights = check_sample_weight(sample_weight, samples.n_samples)
        check_objective(objective, network)
        with _numerics(self.threads):
            rows = samples.rows(slice(None), parameters.dtype)
            return loss_and_gradient(
                network, parameters, rows, labels, weights, objective, check_step(step)
            )

    def update(
        self,
        parameters: Parameters,
        gradient: Array,
        optimizer_state: OptimizerState,
        learning_rate: float,
    ) -> None:
        """Move the parameters by one step, in place; see ``Engine.update``."""
        check_layout("gradient", gradient, parameters)
        check_state(optimizer_state, parameters)
        (rate,) = check_learning_rates(learning_rate, 1)
        with _numerics(self.threads):
            step(parameters.vector, gradient, optimizer_state, float(rate))

    def train(
        self,
        network: Network,
        parameters: Parameters,
        optimizer_state: OptimizerState,
        X: ArrayLike | Input,
        y: ArrayLike,
        order: ArrayLike,
        *,
        batch_size: int,
        learning_rates: ArrayLike,
        objective: Objective = Objective(),
        sample_weight: ArrayLike | None = None,
        stop: Event | None = None,
    ) -> NDArray[np.float64]:
        """Train on the mini-batches that ``order`` spells out, in place; see ``Engine.train``."""
        samples = check_samples(network, parameters, X)
        labels = check_targets(y, samples.n_samples, network, parameters.dtype)
        weights = check_sample_weight(sample_weight, samples.n_samples)
        check_objective(objective, network)
        indices = check_order(order, samples.n_samples)
        batch_size = check_count("batch_size", batch_size)
        n_batches = -(-len(indices) // batch_size)
        rates = check_learning_rates(learning_rates, n_batches)
        check_state(optimizer_state, parameters)

        losses = np.empty(n_batches)
        with _numerics(self.threads):
            for i in range(n_batches):
                if stop is not None and stop.is_set():
                    return losses[:i]
                batch = indices[i * batch_size : (i + 1) * batch_size]
                w = None if weights is None else weights[batch]
                rows = samples.rows(batch, parameters.dtype)
                loss, gradient = loss_and_gradient(
                    network, parameters, rows, labels[batch], w, objective, optimizer_state.step
                )
                if not isfinite(loss):
                    raise DivergedError(i, loss, losses[:i].copy())
                losses[i] = loss
                if w is None or w.any():
                    step(parameters.vector, gradient, optimizer_state, float(rates[i]))
        return losses


@contextmanager
def _numerics(threads: int) -> Iterator[None]:
    """Inside a verb: limit BLAS; ``DivergedError`` tells of overflow, not NumPy's warnings."""
    with blas_threads(threads), np.errstate(over="ignore", invalid="ignore"):
        yield
