"""Predictions, losses and gradients, against the reference and within proven bounds."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from fastnn.bounds import UNIT_ROUNDOFF, away_from_kinks, g, gradient_bound
from fastnn.dropout import masks
from fastnn.engine import Engine
from fastnn.inputs import prepare
from fastnn.network import Network, Parameters
from fastnn.objective import Objective
from fastnn.reference import ReferenceEngine
from fastnn.verification.check import (
    DENSITY,
    STEPS,
    Array,
    Check,
    count_differing,
    exactly,
    share,
    worst,
)
from fastnn.verification.kernels import FUNCTION_ULP

# (layer sizes, samples): the article's network, edges of every tile, one of everything, depth
SHAPES: tuple[tuple[tuple[int, ...], int], ...] = (
    ((784, 128, 10), 128),
    ((64, 10), 37),
    ((1, 1, 2), 1),
    ((7, 33, 17, 3), 300),
    ((20, 65, 31, 18, 9, 5), 129),
    ((3, 130, 1), 50),
)

SPARSE: tuple[tuple[int, ...], int] = ((200, 33, 6), 150)  # where zeros are skipped


def problem(
    sizes: tuple[int, ...],
    n_samples: int,
    dtype: str,
    seed: int,
    activation: str = "relu",
    density: float = DENSITY["dense"],
    output: str = "softmax",
) -> tuple[Network, Parameters, Array, Array]:
    """Return network, parameters, X, y; no pre-activation is within its error of the kink."""
    rng = np.random.default_rng([seed, n_samples, *sizes])
    network = Network(sizes, activation=activation, output=output)
    parameters = network.initialize(rng, dtype=dtype)
    for b in parameters.biases:
        b[:] = rng.normal(scale=0.5, size=b.shape)
    X = rng.normal(size=(4 * n_samples + 20, sizes[0])).astype(dtype)
    X *= rng.random(X.shape) < density
    clear = away_from_kinks(
        parameters.weights, parameters.biases, X, activation=activation, u=UNIT_ROUNDOFF[dtype]
    )
    X = np.ascontiguousarray(X[clear][:n_samples])
    if output == "softmax":
        return network, parameters, X, rng.integers(0, sizes[-1], len(X))
    return network, parameters, X, rng.random((len(X), sizes[-1])).astype(dtype)


def check_gradient(
    engine: Engine,
    sizes: tuple[int, ...],
    n_samples: int,
    dtype: str,
    seed: int,
    *,
    activation: str = "relu",
    output: str = "softmax",
    objective: Objective = Objective(),
    weighted: bool = False,
    layout: str = "dense",
) -> Iterator[Check]:
    """Compare predictions, and a loss with its gradient, each with its bound."""
    network, parameters, X, y = problem(
        sizes, n_samples, dtype, seed, activation, DENSITY[layout], output
    )
    samples = prepare(X, layout=layout)
    weights = np.random.default_rng(seed).random(len(X)) if weighted else None
    settings: dict[str, Any] = {
        "activation": activation, "output": output, "u": UNIT_ROUNDOFF[dtype],
    }  # fmt: skip
    P_bound, *_ = gradient_bound(parameters.weights, parameters.biases, X, y, **settings)
    _, loss_bound, dW_bounds, db_bounds = gradient_bound(
        parameters.weights, parameters.biases, X, y, sample_weight=weights,
        alpha=objective.alpha, label_smoothing=objective.label_smoothing,
        masks=masks(network, objective, STEPS, len(X)), **settings,
    )  # fmt: skip
    # in float64 the reference has errors of its own, as large as those that are looked for
    allowed = 1.0 if dtype == "float32" else 2.0
    reference = ReferenceEngine(1)
    exact = Parameters(sizes, parameters.vector.astype(np.float64))
    case = "-".join(map(str, sizes)) + f" x{len(X)} {dtype}"
    case += "" if activation == "relu" else f" {activation}"
    case += "" if output == "softmax" else f" to {output}"
    standard = {**asdict(Objective()), "dropout_seed": objective.dropout_seed}  # too long to show
    case += "".join(f" {k}={v}" for k, v in asdict(objective).items() if v != standard[k])
    case += (" weighted" if weighted else "") + ("" if layout == "dense" else f" {layout}")

    P = reference.predict(network, exact, X)
    yield Check(
        "predict",
        case,
        share(engine.predict(network, parameters, samples), P, P_bound),
        allowed,
    )
    call: dict[str, Any] = {"objective": objective, "sample_weight": weights, "step": STEPS}
    loss, gradient = reference.gradient(network, exact, X, y, **call)
    found_loss, found = engine.gradient(network, parameters, samples, y, **call)
    errors = [share(np.array(found_loss), np.array(loss), np.array(loss_bound))]
    for part, whole, bounds in (
        (Parameters(sizes, found).weights, Parameters(sizes, gradient).weights, dW_bounds),
        (Parameters(sizes, found).biases, Parameters(sizes, gradient).biases, db_bounds),
    ):
        for a, b, bound in zip(part, whole, bounds, strict=True):
            errors.append(share(a, b, bound))
    yield Check("gradient", case, worst(*errors), allowed)


def check_objective(engine: Engine, dtype: str, seed: int) -> Iterator[Check]:
    """Compare what a network and an objective may have besides their defaults, one by one."""
    sizes = (30, 40, 6)
    check = partial(check_gradient, engine, dtype=dtype, seed=seed)
    yield from check(sizes, 150, objective=Objective(0.1), weighted=True)
    for activation in ("tanh", "logistic", "identity"):
        yield from check(sizes, 60, activation=activation)
    for output in ("logistic", "identity", "exp"):
        yield from check(sizes, 60, output=output, weighted=True)
        yield from check((9, 14, 1), 30, output=output, activation="tanh")
    for output in ("softmax", "logistic"):
        yield from check(sizes, 60, output=output, objective=Objective(label_smoothing=0.1))
    for activation in ("tanh", "logistic", "identity"):
        dropout = Objective(dropout=0.3, dropout_seed=2**63 + 2 * seed + 1)
        yield from check((30, 41, 17, 6), 150, activation=activation, objective=dropout)


def check_clipping(engine: Engine, dtype: str, seed: int) -> Check:
    """Compare a clipped gradient with that which is not, scaled: which others have checked."""
    network, parameters, X, y = problem((90, 60, 6), 60, dtype, seed)
    samples = prepare(X)
    _, whole = engine.gradient(network, parameters, samples, y)
    norm = np.sqrt(np.square(exactly(whole)).sum())
    if not np.isfinite(norm):
        return Check("clipping", dtype, float("nan"), 1.0)
    limit = float(norm) / 3
    _, clipped = engine.gradient(
        network, parameters, samples, y, objective=Objective(clip_norm=limit)
    )
    # the factor is rounded, and so is each product; the norm is summed in float64
    u = UNIT_ROUNDOFF[dtype]
    bound = (2 * u + g(whole.size, UNIT_ROUNDOFF["float64"])) * np.abs(whole) / 3
    error = share(clipped, exactly(whole) * (limit / norm), bound)
    wide = Objective(clip_norm=9 * limit)  # changes nothing
    _, untouched = engine.gradient(network, parameters, samples, y, objective=wide)
    error = np.inf if count_differing([[whole], [untouched]]) else error
    return Check("clipping", dtype, error, 1.0)


def check_clipped_losses(engine: Engine, output: str, dtype: str, seed: int) -> Check:
    """Compare the loss where scikit-learn clips all probabilities: those here are 0 or 1."""
    network, parameters, X, y = problem((30, 6), 60, dtype, seed, output=output)
    y = y if output == "softmax" else np.round(y)
    call: dict[str, Any] = {"objective": Objective(like_sklearn=True)}
    samples = prepare(X * X.dtype.type(1e6))
    found, _ = engine.gradient(network, parameters, samples, y, **call)
    exact, _ = ReferenceEngine(1).gradient(network, parameters, samples, y, **call)
    # of each output a logarithm and a sum
    bound = (2 * FUNCTION_ULP["log"] + 6) * UNIT_ROUNDOFF[dtype]
    return Check("clipped losses", f"{output} {dtype}", abs(found / exact - 1), bound)
