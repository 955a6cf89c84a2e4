"""The fused engine against the reference, and against itself: other tiles, threads, splits."""

import numpy as np
import pytest
import scipy.sparse
from cases import problem
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fastnn
from fastnn.bounds import UNIT_ROUNDOFF, away_from_kinks, gradient_bound
from fastnn.fused import compiled, plan, probe, run
from fastnn.fused.dense import DEPTH
from fastnn.fused.engine import FusedEngine
from fastnn.fused.tiles import Tile, host_tile
from fastnn.verification import FUNCTION_ULP, ulp_error

REFERENCE = fastnn.get_engine("reference", threads=1)
OPTIMIZERS = [
    fastnn.SGD(),
    fastnn.SGD(0.9),
    fastnn.SGD(0.9, nesterov=True),
    fastnn.Adam(),
    fastnn.Adam(weight_decay=0.1),
]
# builds for CPUs with vectors of 16, 32 and 64 bytes; LLVM splits those that this one lacks
TILES = [
    Tile("float32", 4, 4, 2),
    Tile("float32", 8, 6, 2),
    Tile("float32", 16, 8, 2),
    Tile("float64", 4, 4, 3),
]
SHAPES = [((5, 7, 4), 20), ((17, 33, 50, 3), 300), ((40, 19), 131), ((1, 1, 1), 3)]
SHAPES.append(((2 * DEPTH + 3, 20, 2), 10))  # sums in more than one part


def everything(engine, dtype, optimizer, shapes=SHAPES, **changes):
    """Return all numbers that an engine's verbs give on some problems."""
    found = []
    for sizes, n in shapes:
        network, theta, X, y = problem(sizes, n, dtype=dtype)
        weights = np.linspace(0, 1, n)
        call = {"objective": fastnn.Objective(0.1), "sample_weight": weights}
        loss, gradient = engine.gradient(network, theta, X, y, **call)
        found += [np.array(loss), gradient, engine.predict(network, theta, X)]
        state = optimizer.initialize(theta)
        order = np.random.default_rng(n).integers(0, n, 2 * n + 3)
        call |= {"batch_size": max(n // 2, 1), "learning_rates": 1e-2, **changes}
        found += [engine.train(network, theta, state, X, y, order, **call), theta.vector]
        found += state.moments
    return found


def assert_same_bits(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
        assert not np.signbit(a[a == 0]).any() or a.ndim == 1  # zeros of a forward pass are +0


# --- the same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_other_tiles_and_vector_widths_give_the_same_bits(tile):
    if tile == host_tile(tile.dtype):
        tile = tile._replace(height=tile.height // 2)
    for optimizer in OPTIMIZERS:
        expected = everything(FusedEngine(1), tile.dtype, optimizer)
        found = everything(FusedEngine(2, tile=tile, always=True), tile.dtype, optimizer)
        assert_same_bits(found, expected)


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_any_number_of_threads_gives_the_same_bits(threads, optimizer):
    for dtype in ("float32", "float64"):
        expected = everything(FusedEngine(1), dtype, optimizer)
        found = everything(FusedEngine(threads, always=True), dtype, optimizer)
        assert_same_bits(found, expected)


def test_every_split_of_a_batch_gives_the_same_bits(monkeypatch):
    shapes = [((9, 20, 5), 1400)]
    expected = everything(FusedEngine(1), "float32", fastnn.Adam(), shapes)
    for group, many in ((128, 0), (512, 0), (1024, 0), (512, 1 << 30)):
        monkeypatch.setattr(run, "GROUP", group)
        monkeypatch.setattr(run, "MANY_GRADIENTS", many)
        for threads in (1, 3):
            engine = FusedEngine(threads, always=True)
            assert_same_bits(everything(engine, "float32", fastnn.Adam(), shapes), expected)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_the_workspace_held_before_makes_no_difference(monkeypatch, poison):
    expected = everything(FusedEngine(1), "float32", fastnn.Adam())

    def poisoned(n, dtype):
        dtype = np.dtype(dtype)
        return np.full(n, poison if dtype.kind == "f" else np.iinfo(dtype).min // 2, dtype)

    monkeypatch.setattr(plan, "scratch", poisoned)
    for engine in (FusedEngine(1), FusedEngine(3, always=True)):
        assert_same_bits(everything(engine, "float32", fastnn.Adam()), expected)


def test_a_used_workspace_makes_no_difference():
    engine = FusedEngine(2, always=True)
    expected = everything(engine, "float32", fastnn.SGD())
    for _ in range(2):
        assert_same_bits(everything(engine, "float32", fastnn.SGD()), expected)


def test_training_in_parts_gives_the_same_bits():
    network, whole, X, y = problem((11, 23, 4), 200, dtype="float32")
    parts, order = whole.copy(), np.random.default_rng(0).permutation(200)
    engine, adam = FusedEngine(2, always=True), fastnn.Adam()
    state, other = adam.initialize(whole), adam.initialize(parts)
    engine.train(network, whole, state, X, y, order, batch_size=25, learning_rates=1e-2)
    for piece in (order[:75], order[75:100], order[100:]):
        engine.train(network, parts, other, X, y, piece, batch_size=25, learning_rates=1e-2)
    np.testing.assert_array_equal(parts.vector, whole.vector)
    assert state.step == other.step == 8


@pytest.mark.parametrize("kind", ["bytes", "csr", "double"])
def test_samples_converted_on_the_way_give_the_bits_of_the_converted_whole(kind):
    rng = np.random.default_rng(0)
    network, theta, _, y = problem((11, 23, 4), 200, dtype="float32")
    X = rng.integers(0, 256, (200, 11)) * (rng.random((200, 11)) < 0.5)
    given = {
        "bytes": fastnn.prepare(X.astype(np.uint8), scale=1 / 255, layout="dense"),
        "csr": fastnn.prepare(scipy.sparse.csr_matrix(X.astype(np.float32)), layout="dense"),
        "double": fastnn.prepare(X * 1.0, layout="dense"),
    }[kind]
    dense = X.astype(np.float32) * np.float32(1 / 255 if kind == "bytes" else 1)
    results = []
    for samples, batch_size in ((dense, 16), (given, 16), (dense, 150), (given, 150)):
        copy, engine = theta.copy(), FusedEngine(2, always=True)
        state = fastnn.Adam().initialize(copy)
        order = np.random.default_rng(1).permutation(200)
        losses = engine.train(
            network, copy, state, samples, y, order, batch_size=batch_size, learning_rates=1e-2,
            sample_weight=np.linspace(0.5, 1, 200),
        )  # fmt: skip
        results.append([losses, copy.vector, engine.predict(network, copy, samples)])
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[3], results[2])


def test_a_loss_that_is_not_finite_is_found_where_samples_are_converted():
    network, theta, X, y = problem((5, 7, 4), 60)
    X = X.astype(np.float32)
    X[40] = 1e38
    theta.weights[0][:] *= 1e280
    state = fastnn.SGD().initialize(theta)
    with pytest.raises(fastnn.DivergedError) as raised:
        FusedEngine(2).train(
            network, theta, state, X, y, np.arange(60), batch_size=6, learning_rates=0.0
        )
    assert raised.value.batch == 6
    assert state.step == len(raised.value.losses) == 6


@pytest.mark.parametrize("optimizer", [fastnn.Adam(), fastnn.SGD(0.9)], ids=repr)
def test_moments_fade_to_zero_and_not_through_denormal_numbers(optimizer):
    _, theta, _, _ = problem((3, 2), 1, dtype="float32")
    state, engine = optimizer.initialize(theta), FusedEngine(1)
    for moment in state.moments:
        moment[:] = np.finfo(np.float32).tiny
    before = theta.vector.copy()
    engine.update(theta, np.zeros_like(theta.vector), state, 1e-3)
    assert not any(moment.any() for moment in state.moments)
    np.testing.assert_array_equal(theta.vector, before)


def test_nobody_is_still_inside_when_a_run_returns():
    # batches without weight have no meeting: the last one must not let member 0 go alone
    network, theta, X, y = problem((5, 7, 4), 20)
    engine, state = FusedEngine(3, always=True), fastnn.SGD().initialize(theta)
    weights, order = np.ones(20), np.arange(20)
    weights[19] = 0
    for _ in range(300):
        settings = {"batch_size": 1, "learning_rates": 0.01, "sample_weight": weights}
        losses = engine.train(network, theta, state, X, y, order, **settings)
        assert losses[19] == 0
        assert (losses[:19] > 0).all()
        order[:19] = np.roll(order[:19], 1)  # in place: who is late would see it
    assert state.step == 300 * 19


# --- right ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [*TILES, host_tile("float32")], ids=str)
def test_tiles_of_every_size_at_every_edge(tile):
    # whole numbers: every sum is exact, so nothing may be left out, doubled or moved
    rng = np.random.default_rng(0)
    n = DEPTH + 1
    most_rows, most_columns = 2 * tile.height + 3, 2 * tile.lanes * tile.vectors + 2
    A = rng.integers(-8, 9, (most_rows, n)).astype(tile.dtype)
    B = rng.integers(-8, 9, (n, most_columns)).astype(tile.dtype)
    b = rng.integers(-8, 9, most_columns).astype(tile.dtype)
    for rows in range(1, most_rows + 1):
        for columns in {*range(1, 2 * tile.lanes + 2), most_columns, most_columns - 1}:
            part = np.ascontiguousarray(B[:, :columns])
            found = probe.multiply(tile, A[:rows], part, b[:columns])
            np.testing.assert_array_equal(found, A[:rows] @ part + b[:columns])
            found = probe.multiply(tile, A[:rows], part, b[:columns], rectify=True)
            np.testing.assert_array_equal(found, np.maximum(A[:rows] @ part + b[:columns], 0))
    D = rng.integers(-8, 9, (260, most_columns)).astype(tile.dtype)
    A = rng.integers(-8, 9, (260, most_rows)).astype(tile.dtype)
    for n in (1, 2, 128, 129, 260):
        for rows in range(1, most_rows + 1):
            columns = 1 + (7 * rows + n) % most_columns
            a, d = np.ascontiguousarray(A[:n, :rows]), D[:n, :columns]
            np.testing.assert_array_equal(probe.correlate(tile, a, d), a.T @ d)


def check_gradient(network, theta, X, y, *, alpha=0.0, weights=None, engine=None):
    """Compare predict and gradient with the reference in float64, within the error bounds."""
    dtype, u = theta.dtype.name, UNIT_ROUNDOFF[theta.dtype.name]
    clear = away_from_kinks(theta.weights, theta.biases, X, activation=network.activation, u=u)
    X, y = X[clear], y[clear]
    weights = None if weights is None else weights[clear]
    if not len(X) or (weights is not None and not weights.any()):
        return
    P_bound, loss_bound, dW_bounds, db_bounds = gradient_bound(
        theta.weights, theta.biases, X, y, activation=network.activation, u=u,
        sample_weight=weights, alpha=alpha,
    )  # fmt: skip
    allowed = 1.0 if dtype == "float32" else 2.0  # in float64 the reference has errors too
    # what the bounds leave out: denormal numbers keep few digits, and the sum of the weights, by
    # which loss and gradient are divided, has rounding errors of its own
    underflow = len(X) * float(np.finfo(dtype).tiny)
    of_total = 0.0 if weights is None else len(X) * UNIT_ROUNDOFF["float64"]
    exact = fastnn.Parameters(network.layer_sizes, theta.vector.astype(float))
    call = {"objective": fastnn.Objective(alpha), "sample_weight": weights}
    engine = FusedEngine(2, always=True) if engine is None else engine
    P = REFERENCE.predict(network, exact, X)
    assert (np.abs(engine.predict(network, theta, X) - P) <= allowed * P_bound + underflow).all()
    loss, gradient = REFERENCE.gradient(network, exact, X, y, **call)
    found_loss, found = engine.gradient(network, theta, X, y, **call)
    assert abs(found_loss - loss) <= allowed * (loss_bound + of_total * abs(loss)) + underflow
    found = fastnn.Parameters(network.layer_sizes, found)
    gradient = fastnn.Parameters(network.layer_sizes, gradient)
    pairs = zip(
        (*found.weights, *found.biases), (*gradient.weights, *gradient.biases),
        (*dW_bounds, *db_bounds), strict=True,
    )  # fmt: skip
    for a, b, bound in pairs:
        assert (np.abs(a - b) <= allowed * (bound + of_total * np.abs(b)) + underflow).all()


@settings(max_examples=60, deadline=None)
@example(  # probabilities that are denormal; a gradient of weight decay alone
    sizes=[1, 48, 1, 48], n=262, dtype="float32", activation="relu", alpha=0.0, weighted=False,
    seed=75,
)  # fmt: skip
@example(
    sizes=[1, 1, 1, 1], n=262, dtype="float64", activation="relu", alpha=0.3, weighted=True,
    seed=75,
)  # fmt: skip
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=5),
    n=st.integers(1, 300),
    dtype=st.sampled_from(["float32", "float64"]),
    activation=st.sampled_from(["relu", "relu", "relu", "tanh", "logistic", "identity"]),
    alpha=st.sampled_from([0.0, 0.3]),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_predictions_and_gradients_are_within_the_error_bounds(
    sizes, n, dtype, activation, alpha, weighted, seed
):
    network, theta, X, y = problem(sizes, n, dtype=dtype, activation=activation, seed=seed)
    X *= np.random.default_rng(seed).random(X.shape) < 0.6
    weights = np.random.default_rng(seed).random(n) if weighted else None
    check_gradient(network, theta, X, y, alpha=alpha, weights=weights)


@pytest.mark.parametrize(
    ("sizes", "n"),
    [
        ((4097, 33, 3), 5),
        ((3, 4097, 2), 9),
        ((2, 1025, 1025, 3), 4),
        ((784, 128, 10), 1),
        ((8, 16, 4), 5000),
        ((2, *[6] * 20, 3), 30),
        ((12, 1000), 40),
    ],
    ids=str,
)
def test_wide_deep_and_long(sizes, n):
    network, theta, X, y = problem(sizes, n, dtype="float32")
    check_gradient(network, theta, X, y)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_updates_are_those_of_the_reference(optimizer):
    rng = np.random.default_rng(0)
    for dtype, tolerance in (("float32", 2e-6), ("float64", 1e-14)):
        _, theta, _, _ = problem((7, 9, 3), 5, dtype=dtype)
        other = theta.copy()
        state, expected = optimizer.initialize(theta), optimizer.initialize(other)
        for t in range(1, 6):
            gradient = rng.normal(size=theta.vector.size).astype(dtype)
            FusedEngine(2, always=True).update(theta, gradient, state, 0.01)
            REFERENCE.update(other, gradient, expected, 0.01)
            assert state.step == expected.step == t
            # a few roundings of numbers of size 1 or less per step
            assert np.abs(theta.vector - other.vector).max() <= tolerance * t
            for a, b in zip(state.moments, expected.moments, strict=True):
                assert np.abs(a - b).max() <= tolerance * t


def head_case(logits, y, dtype):
    """Return a network whose logits are those given, for X of ones and zeros: its rows are W."""
    logits = np.array(logits, dtype)
    network = fastnn.Network(logits.shape)
    vector = np.concatenate([logits.ravel(), np.zeros(logits.shape[1], dtype)])
    return network, fastnn.Parameters(network.layer_sizes, vector), np.eye(len(logits)), y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "logits",
    [
        [[1e30, -1e30, 0], [-1e30, -1e30, 1e30]],
        [[0, 1e-40, -1e-40], [1e-45, 0, 0]],
        [[88, 0, -88], [-104, 0, 87]],
        [[700, -700, 0], [-750, 0, 10]],
        [[5, 5, 5], [-1e-30, 0, 1e-30]],
    ],
    ids=str,
)
def test_extreme_logits_are_taken_as_in_the_reference(dtype, logits):
    network, theta, X, y = head_case(logits, np.array([0, 1]), dtype)
    X = X.astype(dtype)
    for engine in (FusedEngine(1), FusedEngine(2, always=True)):
        found, expected = (e.predict(network, theta, X) for e in (engine, REFERENCE))
        tiny, u = np.finfo(dtype).tiny, UNIT_ROUNDOFF[dtype]
        assert (np.abs(found - expected) <= 16 * u * expected + tiny).all()
        loss, gradient = engine.gradient(network, theta, X, y)
        expected_loss, expected_gradient = REFERENCE.gradient(network, theta, X, y)
        assert loss == pytest.approx(expected_loss, rel=16 * u, abs=float(tiny))
        assert (np.abs(gradient - expected_gradient) <= 16 * u).all()


def test_a_class_of_probability_zero_has_a_finite_loss():
    network, theta, X, _ = head_case([[200.0, 0.0], [0.0, 300.0]], None, "float32")
    loss, gradient = FusedEngine(1).gradient(network, theta, X.astype("float32"), [1, 0])
    assert loss == 250.0
    np.testing.assert_array_equal(gradient[:4], [0.5, -0.5, -0.5, 0.5])


@pytest.mark.parametrize("name", FUNCTION_ULP)
def test_functions_are_within_their_bounds_over_all_of_float32(name):
    every = np.arange(0, 2**32, 61, dtype=np.uint32).view(np.float32)
    x = every[np.isfinite(every)]
    if name == "log":
        x = x[x > 0]
    elif name == "exp":
        x = x[x < 88.72]  # beyond, e^x is infinite
    assert ulp_error(name, x, probe.apply(name, x)) <= FUNCTION_ULP[name]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_at_their_limits(dtype):
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan], dtype)
    inf, nan = np.inf, np.nan
    for name, expected in {
        "exp": [1, 1, inf, 0, nan],
        "log": [-inf, -inf, inf, nan, nan],
        "tanh": [0, 0, 1, -1, nan],
        "logistic": [0.5, 0.5, 1, 0, nan],
    }.items():
        np.testing.assert_array_equal(probe.apply(name, x), np.array(expected, dtype))
    assert np.isnan(probe.apply("log", np.array([-1], dtype)))
    assert probe.apply("exp", np.array([1e5], dtype)) == inf


# --- compiled once -------------------------------------------------------------------------------


def test_nothing_compiles_anew_for_shapes_depths_or_arrays_of_another_kind():
    entry = compiled.get_entry(host_tile("float32"))
    assert len(entry.signatures) == 1
    for sizes, n in (((3, 2), 4), ((3, 4, 5, 6, 2), 1), ((300, 2), 700)):
        network, theta, X, y = problem(sizes, n, dtype="float32")
        X.flags.writeable = y.flags.writeable = False
        order = np.arange(n, dtype=np.int32)
        state = fastnn.Adam().initialize(theta)
        for samples in (X, X[::-1], np.asfortranarray(X), unaligned(X)):
            FusedEngine(1).train(
                network, theta, state, samples, y, order, batch_size=3, learning_rates=1e-3
            )
    assert len(entry.signatures) == 1


def unaligned(array):
    """Return a copy that does not begin where numbers of its kind should."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def test_arrays_that_lie_oddly_in_memory_are_updated_in_place():
    network, theta, X, y = problem((5, 7, 4), 20, dtype="float32")
    adam, engine = fastnn.Adam(), FusedEngine(1)
    odd = fastnn.Parameters(network.layer_sizes, unaligned(theta.vector))
    state, odd_state = adam.initialize(theta), adam.initialize(theta)
    spread = np.zeros((theta.vector.size, 2), np.float32)
    odd_state.moments = (spread[:, 0], unaligned(odd_state.moments[1]))
    for parameters, s in ((theta, state), (odd, odd_state)):
        engine.train(network, parameters, s, X, y, np.arange(20), batch_size=6, learning_rates=1e-2)
        engine.update(parameters, theta.vector[::-1], s, 0.0)
    np.testing.assert_array_equal(odd.vector, theta.vector)
    for a, b in zip(odd_state.moments, state.moments, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not spread[:, 1].any()
