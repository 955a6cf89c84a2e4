"""Proof, on this machine, that an engine computes what the reference does.

Every figure is an observed error divided by what rounding alone can explain; see ``bounds.py``. The
exact values come from float64 for float32, and from NumPy's extended precision for float64. Then
come the checks that allow no error: the same bits for any number of threads, and whether the first
layer skips the zeros of X or not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.bounds import UNIT_ROUNDOFF, away_from_kinks, g, gradient_bound, product_bound
from fastnn.engine import Engine, get_engine
from fastnn.errors import DivergedError, InputError
from fastnn.inputs import prepare
from fastnn.network import Network, Parameters
from fastnn.objective import Objective
from fastnn.optimizers import SGD, Adam, Optimizer
from fastnn.reference import ReferenceEngine, masks

Array = NDArray[Any]

DTYPES = ("float32", "float64")

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
DENSITY = {"dense": 0.7, "sparse": 0.1}  # share of the values that are not zero
PRODUCTS = ((1, 1, 1), (8, 784, 128), (5, 17, 33), (67, 129, 50), (300, 3, 15))  # rows, n, columns
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
THREADS = (1, 2, 3, 5)
STEPS = 30

# Largest errors in ULP; reasons in fused/elementary.py.
FUNCTION_ULP = {"exp": 1.25, "log": 1.0, "tanh": 3.0, "logistic": 2.5}
# Drift of a float32 trajectory from the float64 one, over that of the reference engine in float32:
# both are sums of the same number of roundings, which chance lets grow a little apart.
DRIFT = 8.0


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes
    ----------
    what : str
        Kernel, verb or promise.
    case : str
        Shape, dtype and settings.
    observed, bound : float
        The largest error found, relative to the place's own bound where that differs from place to
        place, and what it may be.
    """

    what: str
    case: str
    observed: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the error is within its bound; an error that is not a number is not."""
        return bool(self.observed <= self.bound)


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found."""

    engine: str
    checks: tuple[Check, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.ok)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as numbers and text, for JSON; what is no number becomes None."""
        return {
            "engine": self.engine,
            "ok": self.ok,
            "seconds": self.seconds,
            "checks": [
                {
                    **asdict(check),
                    "observed": check.observed if np.isfinite(check.observed) else None,
                    "ok": check.ok,
                }
                for check in self.checks
            ],
        }


def verify(
    engine: str | Engine = "fused",
    *,
    dtypes: Sequence[str] = DTYPES,
    threads: Sequence[int] = THREADS,
    seed: int = 0,
    on_check: Callable[[Check], None] | None = None,
) -> Verification:
    """Compare an engine with the reference, within proven error bounds.

    Parameters
    ----------
    engine : str or Engine, default="fused"
    dtypes : sequence of {"float32", "float64"}
    threads : sequence of int, default=(1, 2, 3, 5)
        Numbers of threads whose results must have the same bits, with zeros skipped and without;
        for engines given by name.
    seed : int, default=0
        Of the random problems.
    on_check : callable, optional
        Called with each ``Check`` as it is made.

    Returns
    -------
    verification : Verification
        ``.ok`` tells whether all is within bounds; ``.checks`` has each comparison.

    Raises
    ------
    InputError
        For an unknown engine or dtype.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.verify(dtypes=["float32"]).ok
    True
    """
    if not dtypes or not set(dtypes) <= set(DTYPES):
        raise InputError(f"dtypes is {dtypes!r}; expected some of {DTYPES}")
    started = perf_counter()
    runner = get_engine(engine)
    checks = []
    for check in _all_checks(runner, engine, dtypes, threads, seed):
        checks.append(check)
        if on_check is not None:
            on_check(check)
    return Verification(runner.name, tuple(checks), perf_counter() - started)


def _all_checks(
    engine: Engine, name: str | Engine, dtypes: Sequence[str], threads: Sequence[int], seed: int
) -> Iterator[Check]:
    for dtype in dtypes:
        if engine.name == "fused":
            yield from _check_kernels(dtype, np.random.default_rng(seed))
        for sizes, n_samples in SHAPES:
            yield from _check_gradient(engine, sizes, n_samples, dtype, seed)
        yield from _check_objective(engine, dtype, seed)
        yield from _check_gradient(engine, *SPARSE, dtype, seed, layout="sparse")
        for label, optimizer, rate in OPTIMIZERS:
            yield from _check_trajectory(engine, label, optimizer, rate, dtype, seed)
        if name == "fused":
            for label, optimizer, rate in OPTIMIZERS:
                yield _check_bits(label, optimizer, rate, dtype, threads, seed)
                yield _check_layouts(label, optimizer, rate, dtype, threads, seed)


# --- kernels -------------------------------------------------------------------------------------


def _check_kernels(dtype: str, rng: np.random.Generator) -> Iterator[Check]:
    # Numba comes with these; the reference needs none of it
    from fastnn.fused import probe
    from fastnn.fused.tiles import host_tile

    tile, u = host_tile(dtype), UNIT_ROUNDOFF[dtype]
    for name, limit in FUNCTION_ULP.items():
        x = _arguments(name, dtype, rng)
        yield Check(name, dtype, ulp_error(name, x, probe.apply(name, x)), limit)
    for rows, n, columns in PRODUCTS:
        case = f"{rows}x{n}x{columns} {dtype}"
        A, B = (rng.normal(size=shape).astype(dtype) for shape in ((rows, n), (n, columns)))
        b = rng.normal(size=columns).astype(dtype)
        found = probe.multiply(tile, A, B, b)
        exact = _exact(A) @ _exact(B) + _exact(b)
        yield Check("product", case, _share(found, exact, product_bound(A, B, u, b)), 1.0)
        D = rng.normal(size=(rows, columns)).astype(dtype)
        found = probe.correlate(tile, A, D)
        exact = _exact(A).T @ _exact(D)
        yield Check("weight gradient", case, _share(found, exact, product_bound(A.T, D, u)), 1.0)
    for rows, columns in ((1, 2), (16, 10), (35, 3), (50, 100)):
        Z = rng.normal(scale=5, size=(rows, columns)).astype(dtype)
        y, shares = rng.integers(0, columns, rows), rng.random(rows)
        yield Check("head", f"{rows}x{columns} {dtype}", _head_error(probe.head, Z, y, shares), 1.0)


def _head_error(head: Callable[..., Any], Z: Array, y: Array, shares: Array) -> float:
    """Return the errors of losses and slopes over their bounds."""
    u = UNIT_ROUNDOFF[Z.dtype.name]
    losses, delta = head(Z, y, shares)
    shifted = _exact(Z) - _exact(Z).max(axis=1, keepdims=True)
    E = np.exp(shifted)
    total = E.sum(axis=1, keepdims=True)
    rows = np.arange(len(Z))
    exact = np.log(total[:, 0]) - shifted[rows, y]
    P = E / total
    # exp within 2 ULP of a number that was rounded, the sum, the quotient, the difference
    relative = u * (np.abs(shifted) + 6) + g(Z.shape[1] + 1, u) + u * np.abs(shifted).max()
    slope = P.copy()
    slope[rows, y] -= 1
    bound = (P * relative + 3 * u * np.abs(slope)) * shares[:, None]
    loss_bound = (relative.max(axis=1) + 4 * u * (exact + np.abs(shifted[rows, y]) + 1)) * shares
    return _worst(
        _share(delta, slope * shares[:, None], bound), _share(losses, exact * shares, loss_bound)
    )


def _arguments(name: str, dtype: str, rng: np.random.Generator) -> Array:
    finfo = np.finfo(dtype)
    if name == "log":
        exponents = rng.uniform(np.log10(finfo.smallest_subnormal), np.log10(finfo.max), 200_000)
        with np.errstate(under="ignore"):
            x = (10.0 ** np.maximum(exponents, -323)).astype(dtype)
        return np.concatenate([x[x > 0], rng.uniform(0.5, 2, 200_000).astype(dtype)])
    span = np.log(float(finfo.max))
    wide = rng.uniform(-1.02 * span if name == "exp" else -span, 0.99 * span, 200_000)
    return np.concatenate([wide, rng.normal(size=200_000)]).astype(dtype)


def ulp_error(name: str, x: Array, found: Array) -> float:
    """Return the largest error of a function's values, in units in the last place.

    Parameters
    ----------
    name : {"exp", "log", "tanh", "logistic"}
    x, found : ndarray
        Arguments, and the values found for them. Where a value is denormal, the last place is that
        of the denormal numbers.
    """
    z = _exact(x)
    with np.errstate(under="ignore"):
        e = np.exp(-np.abs(z))
        functions: dict[str, Callable[[Array], Array]] = {
            "exp": np.exp,
            "log": np.log,
            "tanh": np.tanh,
            "logistic": lambda z: np.where(z >= 0, 1, e) / (1 + e),
        }
        exact = functions[name](z)
        finfo = np.finfo(x.dtype)
        magnitude = np.maximum(np.abs(exact).astype(np.float64), float(finfo.tiny))
        ulp = 2.0 ** (np.floor(np.log2(magnitude)) - finfo.nmant)
    return float((np.abs(_exact(found) - exact) / ulp).max())


def _exact(values: Array) -> Array:
    """Return numbers in a precision in which their products and sums are as good as exact."""
    return values.astype(np.float64 if values.dtype == np.float32 else np.longdouble)


def _share(found: Array, exact: Array, bound: Array) -> float:
    """Return the largest error relative to its bound; NaN if one is not a number."""
    tiny = np.finfo(np.float64).tiny
    return float((np.abs(found - exact) / np.maximum(bound, tiny)).max())


def _worst(*errors: float) -> float:
    """Return the largest error; NaN if one is not a number, which ``max`` would pass over."""
    return float(np.max(errors))


# --- verbs ---------------------------------------------------------------------------------------


def _problem(
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


def _check_gradient(
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
    network, parameters, X, y = _problem(
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
        "predict", case, _share(engine.predict(network, parameters, samples), P, P_bound), allowed
    )
    call: dict[str, Any] = {"objective": objective, "sample_weight": weights, "step": STEPS}
    loss, gradient = reference.gradient(network, exact, X, y, **call)
    found_loss, found = engine.gradient(network, parameters, samples, y, **call)
    errors = [_share(np.array(found_loss), np.array(loss), np.array(loss_bound))]
    for part, whole, bounds in (
        (Parameters(sizes, found).weights, Parameters(sizes, gradient).weights, dW_bounds),
        (Parameters(sizes, found).biases, Parameters(sizes, gradient).biases, db_bounds),
    ):
        for a, b, bound in zip(part, whole, bounds, strict=True):
            errors.append(_share(a, b, bound))
    yield Check("gradient", case, _worst(*errors), allowed)


def _check_objective(engine: Engine, dtype: str, seed: int) -> Iterator[Check]:
    sizes = (30, 40, 6)
    check = partial(_check_gradient, engine, dtype=dtype, seed=seed)
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
    yield _check_clipping(engine, dtype, seed)
    for output in ("softmax", "logistic"):
        yield _check_clipped_losses(engine, output, dtype, seed)
    for output, objective in EXTRAS:
        yield _check_train(engine, output, objective, dtype, seed)


def _check_clipping(engine: Engine, dtype: str, seed: int) -> Check:
    """Compare a clipped gradient with that which is not, scaled: which others have checked."""
    network, parameters, X, y = _problem((90, 60, 6), 60, dtype, seed)
    samples = prepare(X)
    _, whole = engine.gradient(network, parameters, samples, y)
    norm = np.sqrt(np.square(_exact(whole)).sum())
    if not np.isfinite(norm):
        return Check("clipping", dtype, float("nan"), 1.0)
    limit = float(norm) / 3
    _, clipped = engine.gradient(
        network, parameters, samples, y, objective=Objective(clip_norm=limit)
    )
    # the factor is rounded, and so is each product; the norm is summed in float64
    u = UNIT_ROUNDOFF[dtype]
    bound = (2 * u + g(whole.size, UNIT_ROUNDOFF["float64"])) * np.abs(whole) / 3
    error = _share(clipped, _exact(whole) * (limit / norm), bound)
    wide = Objective(clip_norm=9 * limit)  # changes nothing
    _, untouched = engine.gradient(network, parameters, samples, y, objective=wide)
    error = np.inf if _differing([[whole], [untouched]]) else error
    return Check("clipping", dtype, error, 1.0)


def _check_clipped_losses(engine: Engine, output: str, dtype: str, seed: int) -> Check:
    """Compare the loss where scikit-learn clips all probabilities: those here are 0 or 1."""
    network, parameters, X, y = _problem((30, 6), 60, dtype, seed, output=output)
    y = y if output == "softmax" else np.round(y)
    call: dict[str, Any] = {"objective": Objective(like_sklearn=True)}
    samples = prepare(X * X.dtype.type(1e6))
    found, _ = engine.gradient(network, parameters, samples, y, **call)
    exact, _ = ReferenceEngine(1).gradient(network, parameters, samples, y, **call)
    # of each output a logarithm and a sum
    bound = (2 * FUNCTION_ULP["log"] + 6) * UNIT_ROUNDOFF[dtype]
    return Check("clipped losses", f"{output} {dtype}", abs(found / exact - 1), bound)


def _check_train(engine: Engine, output: str, objective: Objective, dtype: str, seed: int) -> Check:
    """Count the numbers in which ``train`` differs from ``gradient`` and then ``update``."""
    network, whole, X, y = _problem((9, 21, 5), 300, dtype, seed, "tanh", output=output)
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
        differing = float(_differing(both)) if is_finite else np.nan
    except DivergedError:
        differing = np.nan
    return Check("train, by verbs", f"{output} {dtype}", differing, 0.0)


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
    network, parameters, X, y = _problem((30, 40, 6), 250, "float32", seed, density=density)
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


def _check_trajectory(
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
    usual = _worst(*(_drift(a, b) for a, b in zip(single, exact, strict=True)))
    limit = DRIFT * usual * UNIT_ROUNDOFF[dtype] / UNIT_ROUNDOFF["float32"]
    drift = _worst(*(_drift(a, b) for a, b in zip(found, exact, strict=True)))
    yield Check(f"{STEPS} steps", f"{label} {dtype}", drift, limit)


def _drift(found: Array, exact: Array) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _check_bits(
    label: str, optimizer: Optimizer, rate: float, dtype: str, threads: Sequence[int], seed: int
) -> Check:
    """Count the numbers that differ between teams of different size."""
    from fastnn.fused.engine import FusedEngine

    results = [
        _everything(FusedEngine(count, always=True), optimizer, rate, dtype, seed)
        for count in threads
    ]
    case = f"{label} {dtype}, threads " + ", ".join(map(str, threads))
    return Check("same bits", case, float(_differing(results)), 0.0)


def _check_layouts(
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
    return Check("same bits", case, float(_differing(results)), 0.0)


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
        network, parameters, X, y = _problem(sizes, n_samples, dtype, seed, density=density)
        samples = prepare(X, layout=layout)
        loss, gradient = engine.gradient(network, parameters, samples, y)
        found += [gradient, engine.predict(network, parameters, samples), np.array(loss)]
    for output, objective in EXTRAS:
        network, theta, X, y = _problem((9, 21, 5), 300, dtype, seed, "tanh", density, output)
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


def _differing(results: Sequence[Sequence[Array]]) -> int:
    """Count the numbers that differ from those of the first result; +0 and -0 do."""
    return sum(
        int(np.count_nonzero((a != b) | (np.signbit(a) != np.signbit(b))))
        for other in results[1:]
        for a, b in zip(results[0], other, strict=True)
    )
