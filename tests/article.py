"""The tutorial's network, as its text describes it: an oracle that imports nothing from fastnn.

Samples are columns. Full-batch gradient descent on 2 layers, float64.
"""

import numpy as np


def start(input_size, hidden_size, output_size):
    W1 = np.random.randn(hidden_size, input_size) * 0.01
    W2 = np.random.randn(output_size, hidden_size) * 0.01
    return {
        "W1": W1,
        "b1": np.zeros((hidden_size, 1)),
        "W2": W2,
        "b2": np.zeros((output_size, 1)),
    }


def probabilities(X, params):
    Z1 = params["W1"] @ X + params["b1"]
    A1 = np.maximum(0, Z1)
    Z2 = params["W2"] @ A1 + params["b2"]
    E = np.exp(Z2 - np.max(Z2))
    return E / E.sum(axis=0), (Z1, A1, Z2)


def gradients(X, Y, params):
    m = X.shape[1]
    A2, (Z1, A1, _) = probabilities(X, params)
    dZ2 = A2 - Y
    dZ1 = params["W2"].T @ dZ2 * (Z1 > 0)
    return {
        "dW1": dZ1 @ X.T / m,
        "db1": dZ1.sum(axis=1, keepdims=True) / m,
        "dW2": dZ2 @ A1.T / m,
        "db2": dZ2.sum(axis=1, keepdims=True) / m,
    }


def train(X, Y, epochs, *, hidden_size=128, learning_rate=0.1):
    """Return (params, losses)."""
    params = start(X.shape[0], hidden_size, Y.shape[0])
    losses = []
    for _ in range(epochs):
        A2, _ = probabilities(X, params)
        losses.append(-np.sum(Y * np.log(A2)) / X.shape[1])
        grads = gradients(X, Y, params)
        for name in params:
            params[name] = params[name] - learning_rate * grads["d" + name]
    return params, losses
