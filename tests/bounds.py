"""Running error bounds for one gradient: how far rounding alone can carry it from the exact one.

For a product, |fl(A B) - A B| <= g_k |A| |B| with g_k = k u / (1 - k u), k the inner dimension and
u the unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.5). The
functions here carry such bounds through the layers to first order, in float64; ``SLACK`` covers
what first order leaves out. Two implementations that are each within the bound differ by at most
twice that.

The derivative of the ReLU jumps at 0, so a pre-activation within its own error of 0 has no bound:
``gradient_bound`` asserts that the given data have none.
"""

import numpy as np

SLACK = 1.05
FUNCTION_ULPS = 8  # of exp, log and tanh as the C and NumPy libraries compute them: a few ULP

DERIVATIVES = {
    "relu": lambda A: (A > 0).astype(float),
    "tanh": lambda A: 1 - A * A,
    "logistic": lambda A: A * (1 - A),
    "identity": np.ones_like,
}
FUNCTIONS = {
    "relu": lambda Z: np.maximum(Z, 0),
    "tanh": np.tanh,
    "logistic": lambda Z: 1 / (1 + np.exp(-Z)),
    "identity": lambda Z: Z,
}


def g(k, u):
    return k * u / (1 - k * u)


def gradient_bound(weights, biases, X, y, *, activation, u, sample_weight=None, alpha=0.0):
    """Return bounds for (probabilities, loss, dW, db): the last two a list of arrays per layer."""
    f, df = FUNCTIONS[activation], DERIVATIVES[activation]
    w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
    share = (w / w.sum())[:, None]

    A, error = np.asarray(X, float), np.abs(np.asarray(X, float)) * u
    inputs = []
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        inputs.append((A, error))
        size = np.abs(A) @ np.abs(W) + np.abs(b)
        error = g(len(W) + 1, u) * size + error @ np.abs(W)
        Z = A @ W + b
        if layer < len(weights) - 1:
            if activation == "relu":
                assert (np.abs(Z) > error).all(), "a pre-activation is too close to the kink"
            A = f(Z)
            error = error + FUNCTION_ULPS * u * np.maximum(np.abs(A), np.abs(Z))

    shifted = Z - Z.max(axis=1, keepdims=True)
    E = np.exp(shifted)
    P = E / E.sum(axis=1, keepdims=True)
    n_classes = P.shape[1]
    # the largest error of a logit moves every quotient by twice that, relatively
    relative = (
        2 * error.max(axis=1, keepdims=True)
        + u * (np.abs(shifted) + 2 * FUNCTION_ULPS)
        + g(n_classes + 1, u)
    )
    P_error = P * relative
    rows = np.arange(len(y))
    losses = np.log(E.sum(axis=1)) - shifted[rows, y]
    loss_errors = relative.max(axis=1) + 4 * u * (losses + np.abs(shifted[rows, y]) + 1)
    squares = sum((W * W).sum() for W in weights)
    loss_bound = (share[:, 0] * loss_errors).sum() + g(len(y) + 2, u) * (share[:, 0] @ losses)
    loss_bound += alpha * squares / w.sum() * g(sum(W.size for W in weights), u)

    delta = P.copy()
    delta[rows, y] -= 1
    error = (P_error + 4 * u * np.abs(delta)) * share
    delta = delta * share
    dW_bounds, db_bounds = [], []
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
            through = np.abs(delta) @ W.T
            error = error @ W.T + g(delta.shape[1], u) * through
            slope = np.abs(df(A))
            slope_error = 0.0 if activation in ("relu", "identity") else 2 * A_error + 4 * u
            error = error * slope + through * slope_error + u * through * slope
            delta = (delta @ weights[layer].T) * df(A)
    return SLACK * P_error, SLACK * loss_bound, dW_bounds, db_bounds
