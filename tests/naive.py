"""A multilayer perceptron in plain Python, written to be read and to be compared against.

Everything is a float or a list of floats, and the samples are taken one at a time. Names:

    X, y        samples, shape (n_samples, n_features), and their class indices, (n_samples,)
    weights     weights[l] is the matrix W of layer l, shape (fan_in, fan_out)
    biases      biases[l] is the vector b of layer l, shape (fan_out,)
    A, Z        of one sample: A[l], (fan_in,), enters layer l, and Z[l], (fan_out,), leaves it
    logits      the last of Z, shape (n_classes,)
    delta       derivative of the loss with respect to one Z[l], shape (fan_out,)
    dW, db      derivatives of the loss with respect to weights and biases, of the same shapes
    theta       all parameters in one list: for each layer W row by row, then b

The layers are l = 0 .. L-1. All but the last are hidden; the last gives the logits. L may be 1.
No function changes its arguments, except `add_sample_gradient`, which says so.
"""

import math


def logistic(z):
    """1 / (1 + exp(-z)), arranged so that exp never receives a positive number."""
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    return math.exp(z) / (1.0 + math.exp(z))


# The activation functions of the hidden layers, and their derivatives, for one number z.
ACTIVATIONS = {
    "relu": lambda z: max(0.0, z),
    "tanh": lambda z: math.tanh(z),
    "logistic": lambda z: logistic(z),
    "identity": lambda z: z,
}
DERIVATIVES = {
    "relu": lambda z: 1.0 if z > 0.0 else 0.0,
    "tanh": lambda z: 1.0 - math.tanh(z) ** 2,
    "logistic": lambda z: logistic(z) * (1.0 - logistic(z)),
    "identity": lambda z: 1.0,
}


def layer_output(W, b, a):
    """z[j] = b[j] + sum_i a[i] W[i][j]: a is (fan_in,), z is (fan_out,)."""
    return [b[j] + sum(a[i] * W[i][j] for i in range(len(a))) for j in range(len(b))]


def forward(weights, biases, x, activation):
    """Send one sample x, shape (n_features,), through the L layers; returns (A, Z).

    A[0] = x, Z[l] = b + A[l] W, A[l + 1] = activation(Z[l]). Both hold L vectors; Z[-1] = logits.
    """
    A, Z = [x], []
    for W, b in zip(weights, biases, strict=True):
        if Z:
            A.append([ACTIVATIONS[activation](z) for z in Z[-1]])
        Z.append(layer_output(W, b, A[-1]))
    return A, Z


def softmax(logits):
    """p[j] = exp(z[j] - max z) / sum_i exp(z[i] - max z), shape (n_classes,)."""
    largest = max(logits)
    exponentials = [math.exp(z - largest) for z in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def probabilities(weights, biases, X, activation):
    """The softmax of every sample's logits, shape (n_samples, n_classes)."""
    all_logits = [forward(weights, biases, x, activation)[1][-1] for x in X]
    return [softmax(logits) for logits in all_logits]


def sample_loss(logits, k):
    """-log softmax(z)[k], a number, as log(sum_j exp(z[j] - max z)) - (z[k] - max z)."""
    largest = max(logits)
    return math.log(sum(math.exp(z - largest) for z in logits)) - (logits[k] - largest)


def output_delta(logits, k, share):
    """delta[j] = (p[j] - [j == k]) * share, where share = w_i / sum(w); shape (n_classes,)."""
    p = softmax(logits)
    target = [1.0 if j == k else 0.0 for j in range(len(p))]
    return [(p[j] - target[j]) * share for j in range(len(p))]


def previous_delta(W, delta, z, activation):
    """previous[i] = (sum_j W[i][j] delta[j]) * activation'(z[i]), for the layer of z, (fan_in,)."""
    slopes = [DERIVATIVES[activation](z_i) for z_i in z]
    sums = [sum(W[i][j] * delta[j] for j in range(len(delta))) for i in range(len(z))]
    return [sums[i] * slopes[i] for i in range(len(z))]


def add_sample_gradient(dW, db, weights, A, Z, k, share, activation):
    """Backpropagate one sample of class k, adding its part to dW and db in place.

    From the last layer to the first: dW[l][i][j] += A[l][i] delta[j]; db[l][j] += delta[j].
    """
    delta = output_delta(Z[-1], k, share)
    for layer in reversed(range(len(weights))):
        for j in range(len(delta)):
            for i in range(len(A[layer])):
                dW[layer][i][j] += A[layer][i] * delta[j]
            db[layer][j] += delta[j]
        if layer > 0:
            delta = previous_delta(weights[layer], delta, Z[layer - 1], activation)


def sum_of_squares(weights):
    """The sum of W[i][j]^2 over all layers; biases are not included."""
    return sum(value * value for W in weights for row in W for value in row)


def loss_and_gradient(weights, biases, X, y, *, activation="relu", alpha=0.0, sample_weight=None):
    """The loss of a batch and its gradient, (loss, dW, db).

    loss = sum_i w_i loss_i / sum_i w_i + alpha * sum_of_squares(weights) / (2 sum_i w_i)

    Without sample_weight, shape (n_samples,), every w_i is 1. The penalty adds
    alpha * W / sum_i w_i to dW. When sum_i w_i is 0, the loss and the gradient are 0.
    """
    w = [1.0] * len(X) if sample_weight is None else sample_weight
    total = sum(w)
    dW = [[[0.0 for _ in row] for row in W] for W in weights]
    db = [[0.0 for _ in b] for b in biases]
    if total == 0.0:
        return 0.0, dW, db

    weighted_losses = 0.0
    for x, k, w_i in zip(X, y, w, strict=True):
        A, Z = forward(weights, biases, x, activation)
        weighted_losses += w_i * sample_loss(Z[-1], k)
        add_sample_gradient(dW, db, weights, A, Z, k, w_i / total, activation)
    loss = weighted_losses / total + alpha * sum_of_squares(weights) / (2.0 * total)

    for layer, W in enumerate(weights):
        for i, row in enumerate(W):
            for j, value in enumerate(row):
                dW[layer][i][j] += alpha * value / total
    return loss, dW, db


def flatten(weights, biases):
    """theta: for each layer first W row by row, then b. It flattens (dW, db) just as well."""
    theta = []
    for W, b in zip(weights, biases, strict=True):
        theta.extend(value for row in W for value in row)
        theta.extend(b)
    return theta


def unflatten(theta, layer_sizes):
    """The inverse of `flatten`; layer_sizes = [n_features, hidden sizes ..., n_classes]."""
    values = iter(theta)
    weights, biases = [], []
    for fan_in, fan_out in zip(layer_sizes[:-1], layer_sizes[1:], strict=True):
        weights.append([[next(values) for _ in range(fan_out)] for _ in range(fan_in)])
        biases.append([next(values) for _ in range(fan_out)])
    return weights, biases


def sgd_step(theta, gradient, velocity, rate, *, momentum, nesterov):
    """One step of gradient descent, (theta, velocity); the velocity u starts as zeros.

    u     = momentum * u - rate * g
    theta = theta + u                               without nesterov
    theta = theta + momentum * u - rate * g         with nesterov, u being the new one
    """
    new_theta, new_velocity = [], []
    for p, g, u in zip(theta, gradient, velocity, strict=True):
        new_u = momentum * u - rate * g
        step = momentum * new_u - rate * g if nesterov else new_u
        new_theta.append(p + step)
        new_velocity.append(new_u)
    return new_theta, new_velocity


def adam_step(theta, gradient, state, rate, *, beta_1, beta_2, epsilon, weight_decay):
    """One step of Adam with decoupled weight decay, (theta, state).

    The state is {"t": t, "m": m, "v": v}: a count, and two lists the shape of theta, all from 0.

    t      = t + 1
    m      = beta_1 m + (1 - beta_1) g
    v      = beta_2 v + (1 - beta_2) g^2
    rate_t = rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)
    theta  = theta - rate * weight_decay * theta    biases included
    theta  = theta - rate_t * m / (sqrt(v) + epsilon)
    """
    t = state["t"] + 1
    m = [beta_1 * m_i + (1.0 - beta_1) * g for m_i, g in zip(state["m"], gradient, strict=True)]
    v = [beta_2 * v_i + (1.0 - beta_2) * g * g for v_i, g in zip(state["v"], gradient, strict=True)]
    rate_t = rate * math.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
    new_theta = []
    for p, m_i, v_i in zip(theta, m, v, strict=True):
        decayed = p - rate * weight_decay * p
        new_theta.append(decayed - rate_t * m_i / (math.sqrt(v_i) + epsilon))
    return new_theta, {"t": t, "m": m, "v": v}


def train(
    weights,
    biases,
    X,
    y,
    order,
    *,
    batch_size,
    learning_rates,
    optimizer,
    activation="relu",
    alpha=0.0,
    sample_weight=None,
):
    """Train on consecutive slices of `order`, sample indices; returns (weights, biases, losses).

    Each batch has one entry in learning_rates and one in losses: the loss before its update.
    The optimizer is {"name": "sgd", "momentum": ..., "nesterov": ...} or
    {"name": "adam", "beta_1": ..., "beta_2": ..., "epsilon": ..., "weight_decay": ...}.
    A batch whose weights sum to 0 has loss 0 and moves neither parameters nor state.
    """
    layer_sizes = [len(weights[0])] + [len(b) for b in biases]
    all_w = [1.0] * len(X) if sample_weight is None else sample_weight
    theta = flatten(weights, biases)
    zeros = [0.0] * len(theta)
    step = {"sgd": sgd_step, "adam": adam_step}[optimizer["name"]]
    state = {"sgd": zeros, "adam": {"t": 0, "m": zeros, "v": zeros}}[optimizer["name"]]
    settings = {key: value for key, value in optimizer.items() if key != "name"}

    losses = []
    for start, rate in zip(range(0, len(order), batch_size), learning_rates, strict=True):
        batch = order[start : start + batch_size]
        rows, classes, w = [X[i] for i in batch], [y[i] for i in batch], [all_w[i] for i in batch]
        weights, biases = unflatten(theta, layer_sizes)
        loss, dW, db = loss_and_gradient(
            weights, biases, rows, classes, activation=activation, alpha=alpha, sample_weight=w
        )
        losses.append(loss)
        if sum(w) != 0.0:
            theta, state = step(theta, flatten(dW, db), state, rate, **settings)
    weights, biases = unflatten(theta, layer_sizes)
    return weights, biases, losses
