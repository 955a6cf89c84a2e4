"""Many steps of training: how far they drift, and where no bit may differ."""

from collections.abc import Iterator, Sequence

import numpy as np

from fastnn.bounds import UNIT_ROUNDOFF
from fastnn.engine import Engine
from fastnn.errors import DivergedError
from fastnn.inputs import prepare
from fastnn.network import Parameters
from fastnn.objective import Objective
from fastnn.optimizers import SGD, Adam, Optimizer
from fastnn.reference import ReferenceEngine
from fastnn.verification.check import DENSITY, STEPS, Array, Check, count_differing, worst
from fastnn.verification.gradients import problem

OPTIMIZERS: tuple[tuple[str, Optimizer, float], ...] = (
    ("sgd", SGD(), 0.1),
    ("momentum", SGD(0.9), 0.02),
    ("nesterov", SGD(0.9, nesterov=True), 0.02),
    ("adam", Adam(), 1e-3),
    ("adamw", Adam(weight_decay=0.1), 1e-3),
)

# What else a training may have, for the proof that the bits are the same
EXTRAS: tuple[tuple[str, Objective], ...] = (
    ("softmax", Objective(0.1, label_smoothing=0.1, clip_norm=0.5)),
    ("logistic", Objective(dropout=0.3, dropout_seed=1)),
    ("identity", Objective(clip_norm=0.5)),
    ("exp", Objective(0.1, dropout=0.3)),
)

# Drift of a float32 trajectory from the float64 one, over that of the reference engine in float32:
# both are sums of the same number of roundings, which chance lets grow a little apart.
DRIFT = 8.0


def check_trajectory(
    engine: Engine, label: str, optimizer: Optimizer, rate: float, dtype: str, seed: int
) -> Iterator[Check]:
    """Compare what k steps of training come to.

    There is no proven bound, since every step magnifies the errors of those before. So in float32
    the drift from float64 is held against the reference's own, and in float64 against as much less
    as rounding is finer there.
    """
    exact = _train(ReferenceEngine(1), optimizer, rate, "float64", seed)
    found = _train(engine, optimizer, rate, dtype, seed)
    single = _train(ReferenceEngine(1), optimizer, rate, "float32", seed)
    usual = worst(*(_drift(a, b) for a, b in zip(single, exact, strict=True)))
    limit = DRIFT * usual * UNIT_ROUNDOFF[dtype] / UNIT_ROUNDOFF["float32"]
    drift = worst(*(_drift(a, b) for a, b in zip(found, exact, strict=True)))
    yield Check(f"{STEPS} steps", f"{label} {dtype}", drift, limit)


def _train(
    engine: Engine,
    optimizer: Optimizer,
    rate: float,
    dtype: str,
    seed: int,
    *,
    layout: str = "dense",
    density: float = DENSITY["dense"],
) -> tuple[Array, ...]:
    """Return all that training leaves: parameters, moments and losses (NaN where it diverges)."""
    network, parameters, X, y = problem((30, 40, 6), 250, "float32", seed, density=density)
    theta = Parameters(network.layer_sizes, parameters.vector.astype(dtype))
    state = optimizer.initialize(theta)
    order = np.random.default_rng(seed).integers(0, len(X), 47 * STEPS - 5)
    try:
        losses = engine.train(
            network, theta, state, prepare(X, layout=layout), y, order,
            batch_size=47, learning_rates=rate,
        )  # fmt: skip
    except DivergedError:
        losses = np.full(STEPS, np.nan)
    return theta.vector, *state.moments, losses


def _drift(found: Array, exact: Array) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def check_train(engine: Engine, output: str, objective: Objective, dtype: str, seed: int) -> Check:
    """Count the numbers in which ``train`` differs from ``gradient`` and then ``update``."""
    network, whole, X, y = problem((9, 21, 5), 300, dtype, seed, "tanh", output=output)
    samples, parts, adam, rate = prepare(X), whole.copy(), Adam(), 1e-3
    state, other = adam.initialize(whole), adam.initialize(parts)
    results = []
    try:
        losses = engine.train(
            network, whole, state, samples, y, np.arange(len(X)), batch_size=140,
            learning_rates=rate, objective=objective,
        )  # fmt: skip
        for i, start in enumerate(range(0, len(X), 140)):
            batch = np.arange(start, min(start + 140, len(X)))
            loss, gradient = engine.gradient(
                network, parts, samples.take(batch), y[batch], objective=objective, step=i
            )
            engine.update(parts, gradient, other, rate)
            results.append(loss)
        both = [
            [whole.vector, *state.moments, losses],
            [parts.vector, *other.moments, np.array(results)],
        ]
        is_finite = all(np.isfinite(numbers).all() for found in both for numbers in found)
        differing = float(count_differing(both)) if is_finite else np.nan
    except DivergedError:
        differing = np.nan
    return Check("train, by verbs", f"{output} {dtype}", differing, 0.0)


def check_bits(
    label: str, optimizer: Optimizer, rate: float, dtype: str, threads: Sequence[int], seed: int
) -> Check:
    """Count the numbers that differ between teams of different size."""
    from fastnn.fused.engine import FusedEngine

    results = [
        _everything(FusedEngine(count, always=True), optimizer, rate, dtype, seed)
        for count in threads
    ]
    case = f"{label} {dtype}, threads " + ", ".join(map(str, threads))
    return Check("same bits", case, float(count_differing(results)), 0.0)


def check_layouts(
    label: str, optimizer: Optimizer, rate: float, dtype: str, threads: Sequence[int], seed: int
) -> Check:
    """Count the numbers that differ where zeros are skipped, by teams of different size."""
    from fastnn.fused.engine import FusedEngine

    density = DENSITY["sparse"]
    results = [
        _everything(
            FusedEngine(count, always=True), optimizer, rate, dtype, seed,
            layout=layout, density=density,
        )
        for layout, count in (("dense", 1), *(("sparse", count) for count in threads))
    ]  # fmt: skip
    case = f"{label} {dtype}, dense and sparse"
    return Check("same bits", case, float(count_differing(results)), 0.0)


def _everything(
    engine: Engine,
    optimizer: Optimizer,
    rate: float,
    dtype: str,
    seed: int,
    *,
    layout: str = "dense",
    density: float = DENSITY["dense"],
) -> list[Array]:
    """Return what comes of training, and of the other verbs on two problems."""
    found = [*_train(engine, optimizer, rate, dtype, seed, layout=layout, density=density)]
    for sizes, n_samples in ((7, 33, 3), 300), ((30, 40, 6), 600):
        network, parameters, X, y = problem(sizes, n_samples, dtype, seed, density=density)
        samples = prepare(X, layout=layout)
        loss, gradient = engine.gradient(network, parameters, samples, y)
        found += [gradient, engine.predict(network, parameters, samples), np.array(loss)]
    for output, objective in EXTRAS:
        network, theta, X, y = problem((9, 21, 5), 300, dtype, seed, "tanh", density, output)
        state = optimizer.initialize(theta)
        try:
            losses = engine.train(
                network, theta, state, prepare(X, layout=layout), y, np.arange(300),
                batch_size=140, learning_rates=rate, objective=objective,
            )  # fmt: skip
        except DivergedError:
            losses = np.full(3, np.nan)
        found += [theta.vector, *state.moments, losses]
    return found
