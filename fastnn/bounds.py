"""Running error bounds for one gradient: how far rounding alone can carry it from the exact one.

For a product, |fl(A B) - A B| <= g_k |A| |B| with g_k = k u / (1 - k u), k the inner dimension and
u the unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.5). The
functions here carry such bounds through the layers to first order, in float64; ``SLACK`` covers
what first order leaves out. Two implementations that are each within the bound differ by at most
twice that.

The derivative of the ReLU jumps at 0, so a pre-activation within its own error of 0 has no bound:
``away_from_kinks`` tells which samples have none, and ``gradient_bound`` refuses the others.

Nothing here is imported from the rest of fastnn, which it is there to check.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
SLACK = 1.05
FUNCTION_ULPS = 8  # of exp, log and tanh, NumPy's and ours: a few ULP

DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "relu": lambda A: (A > 0).astype(float),
    "tanh": lambda A: 1 - A * A,
    "logistic": lambda A: A * (1 - A),
    "identity": np.ones_like,
}
FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda Z: np.maximum(Z, 0),
    "tanh": np.tanh,
    "logistic": lambda Z: 1 / (1 + np.exp(-Z)),
    "identity": lambda Z: Z,
}


def g(k: int, u: float) -> float:
    """Return g_k = k u / (1 - k u)."""
    return k * u / (1 - k * u)


def product_bound(A: Any, B: Any, u: float, start: Any = 0.0) -> Array:
    """Return the bound for start + A B as one chain of roundings each, or as chunks of chains."""
    A, B = np.abs(np.asarray(A, float)), np.abs(np.asarray(B, float))
    bound: Array = g(A.shape[1] + 1, u) * (A @ B + np.abs(start))
    return bound


def away_from_kinks(
    weights: Sequence[Any], biases: Sequence[Any], X: Any, *, activation: str, u: float
) -> NDArray[np.bool_]:
    """Tell for each sample whether no pre-activation is within its error of the ReLU's kink."""
    clear = np.ones(len(X), bool)
    if activation != "relu":
        return clear
    for Z, error in _pre_activations(weights, biases, X, activation, u):
        clear &= (np.abs(Z) > error).all(axis=1)
    return clear


def _pre_activations(
    weights: Sequence[Any], biases: Sequence[Any], X: Any, activation: str, u: float
) -> Any:
    """Yield the hidden layers' Z and the errors that they may have."""
    A, error = np.asarray(X, float), np.abs(np.asarray(X, float)) * u
    for W, b in list(zip(weights, biases, strict=True))[:-1]:
        W, b = np.asarray(W, float), np.asarray(b, float)
        size = np.abs(A) @ np.abs(W) + np.abs(b)
        error = g(len(W) + 1, u) * size + error @ np.abs(W)
        Z = A @ W + b
        yield Z, error
        A = FUNCTIONS[activation](Z)
        error = error + FUNCTION_ULPS * u * np.maximum(np.abs(A), np.abs(Z))


def gradient_bound(
    weights: Sequence[Any],
    biases: Sequence[Any],
    X: Any,
    y: Any,
    *,
    activation: str,
    u: float,
    sample_weight: Any = None,
    alpha: float = 0.0,
    output: str = "softmax",
    label_smoothing: float = 0.0,
    masks: Sequence[Any] = (),
) -> tuple[Array, float, list[Array], list[Array]]:
    """Return bounds for (outputs, loss, dW, db): the last two a list of arrays per layer.

    ``masks`` are the factors of dropout, one array for each hidden layer. The outputs are those
    with dropout then.
    """
    weights = [np.asarray(W, float) for W in weights]
    biases = [np.asarray(b, float) for b in biases]
    X = np.asarray(X, float)
    if not away_from_kinks(weights, biases, X, activation=activation, u=u).all():
        raise ValueError("a pre-activation is too close to the kink")
    if masks and activation == "relu":
        raise ValueError("where the kinks are with dropout is not known here")
    f, df = FUNCTIONS[activation], DERIVATIVES[activation]
    w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
    share = (w / w.sum())[:, None]

    A, error = np.asarray(X, float), np.abs(np.asarray(X, float)) * u
    inputs = []
    slopes = []  # of the hidden layers' A by their Z, and the errors of those
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        inputs.append((A, error))
        size = np.abs(A) @ np.abs(W) + np.abs(b)
        error = g(len(W) + 1, u) * size + error @ np.abs(W)
        Z = A @ W + b
        if layer < len(weights) - 1:
            A = f(Z)
            error = error + FUNCTION_ULPS * u * np.maximum(np.abs(A), np.abs(Z))
            slope = df(A)
            # with dropout A was multiplied, and divided again for its slope
            known = error + (2 * u * np.abs(A) if masks else 0.0)
            straight = activation in ("relu", "identity")
            slope_error = np.zeros_like(A) if straight else 2 * known + 4 * u
            if masks:
                M = np.asarray(masks[layer], float)
                A, error = A * M, (error + 2 * u * np.abs(A)) * M
                slope, slope_error = slope * M, (slope_error + 2 * u * np.abs(slope)) * M
            slopes.append((slope, slope_error))

    T = _targets(y, Z, output, label_smoothing)
    P, P_error, losses, loss_errors = OUTPUT_BOUNDS[output](Z, error, T, u)
    if label_smoothing:
        loss_errors = loss_errors + 4 * u * (np.abs(Z).max(axis=1) * Z.shape[1] + losses)
    squares = sum((W * W).sum() for W in weights)
    loss_bound = (share[:, 0] * loss_errors).sum() + g(len(y) + 2, u) * (share[:, 0] @ losses)
    loss_bound += alpha * squares / w.sum() * g(sum(W.size for W in weights), u)

    delta = P - T
    error = (P_error + 4 * u * (np.abs(delta) + (np.abs(T) if label_smoothing else 0.0))) * share
    delta = delta * share
    dW_bounds: list[Array] = []
    db_bounds: list[Array] = []
    for layer in reversed(range(len(weights))):
        A, A_error = inputs[layer]
        W = np.abs(weights[layer])
        size = np.abs(A).T @ np.abs(delta)
        penalty = 4 * u * alpha * W / w.sum()
        dW = np.abs(A).T @ error + A_error.T @ np.abs(delta) + g(len(y), u) * size
        dW_bounds.insert(0, SLACK * (dW + penalty + 2 * u * size))
        db = error.sum(axis=0) + g(len(y), u) * np.abs(delta).sum(axis=0)
        db_bounds.insert(0, SLACK * db)
        if layer:
            slope, slope_error = slopes[layer - 1]
            through = np.abs(delta) @ W.T
            error = error @ W.T + g(delta.shape[1], u) * through
            error = error * np.abs(slope) + through * (slope_error + u * np.abs(slope))
            delta = (delta @ weights[layer].T) * slope
    return SLACK * P_error, SLACK * loss_bound, dW_bounds, db_bounds


def _targets(y: Any, Z: Array, output: str, smoothing: float) -> Array:
    """Return what each output should have been."""
    if output == "softmax":
        T, n_classes = np.eye(Z.shape[1])[np.asarray(y)], Z.shape[1]
    else:
        T, n_classes = np.asarray(y, float).reshape(Z.shape), 2
    return T if not smoothing else (1 - smoothing) * T + smoothing / n_classes


# The functions below return, for logits Z with errors and targets T, what the network puts out and
# its errors, and the losses and theirs.


def _softmax_bounds(Z: Array, error: Array, T: Array, u: float) -> tuple[Array, ...]:
    shifted = Z - Z.max(axis=1, keepdims=True)
    E = np.exp(shifted)
    P = E / E.sum(axis=1, keepdims=True)
    # the largest error of a logit moves every quotient by twice that, relatively
    relative = (
        2 * error.max(axis=1, keepdims=True)
        + u * (np.abs(shifted) + 2 * FUNCTION_ULPS)
        + g(P.shape[1] + 1, u)
    )
    right = (T * shifted).sum(axis=1)
    losses = np.log(E.sum(axis=1)) - right
    loss_errors = relative.max(axis=1) + 4 * u * (losses + np.abs(right) + 1)
    return P, P * relative, losses, loss_errors


def _logistic_bounds(Z: Array, error: Array, T: Array, u: float) -> tuple[Array, ...]:
    E = np.exp(-np.abs(Z))
    P = np.where(Z >= 0, 1, E) / (1 + E)
    # the slope by z is p (1 - p), and exp's argument was rounded
    P_error = P * (1 - P) * (error + u * np.abs(Z)) + 2 * FUNCTION_ULPS * u * P
    of_one, of_zero = np.maximum(-Z, 0) + np.log1p(E), np.maximum(Z, 0) + np.log1p(E)
    terms = T * of_one + (1 - T) * of_zero
    # in one way of writing it, max(z, 0) - t z cancels
    term_errors = np.abs(P - T) * error + u * (3 * np.abs(Z) + 2 * FUNCTION_ULPS * (terms + E))
    losses = terms.sum(axis=1)
    return P, P_error, losses, term_errors.sum(axis=1) + g(Z.shape[1] + 1, u) * losses


def _identity_bounds(Z: Array, error: Array, T: Array, u: float) -> tuple[Array, ...]:
    D = np.abs(Z - T)
    losses = (D * D).sum(axis=1) / 2
    term_errors = D * (error + u * D) + error * error
    return Z, error, losses, term_errors.sum(axis=1) + g(Z.shape[1] + 3, u) * losses


def _exp_bounds(Z: Array, error: Array, T: Array, u: float) -> tuple[Array, ...]:
    P = np.exp(Z)
    P_error = P * (np.expm1(error) + u * (np.abs(Z) + FUNCTION_ULPS))
    constants = T * np.log(np.where(T > 0, T, 1))
    sizes = np.abs(constants) + np.abs(T * Z) + T + P
    losses = (constants - T * Z - T + P).sum(axis=1)
    term_errors = P_error + T * error + (FUNCTION_ULPS * u + g(Z.shape[1] + 1, u)) * sizes
    return P, P_error, losses, term_errors.sum(axis=1)


OUTPUT_BOUNDS: dict[str, Callable[[Array, Array, Array, float], tuple[Array, ...]]] = {
    "softmax": _softmax_bounds,
    "logistic": _logistic_bounds,
    "identity": _identity_bounds,
    "exp": _exp_bounds,
}
