"""The first layer without the zeros of X: the same bits as with them, whatever X is like."""

import threading

import hypothesis
import numpy as np
import pytest
import scipy.sparse
from cases import problem
from hypothesis import strategies as st
from test_fused import OPTIMIZERS, TILES, check_gradient

import fastnn
from fastnn import csr
from fastnn.fused import plan, run
from fastnn.fused.engine import FusedEngine
from fastnn.fused.tiles import host_tile

SGD = fastnn.SGD()
DTYPES = ["float32", "float64"]
THREADS = (1, 2, 3, 5)
INTEGERS = ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
DENSITIES = {"thin": 0.02, "thick": 0.3}  # on both sides of ``run.THIN``


def table(n_samples, n_features, density, dtype="float32", seed=0):
    """Return samples with rows and columns of nothing but zeros, and some zeros that are -0.0."""
    rng = np.random.default_rng([seed, n_samples, n_features])
    X = rng.normal(size=(n_samples, n_features)).astype(dtype)
    X *= rng.random(X.shape) < density  # of negative numbers, that leaves -0.0
    X[rng.random(n_samples) < 0.2] = 0
    if n_features > 1:
        X[:, rng.random(n_features) < 0.2] = 0
    return X


def outcome(engine, X, sizes, *, dtype="float32", activation="relu", optimizer=SGD,
            alpha=0.0, weights=None, batch_size=50, passes=2):  # fmt: skip
    """Return all numbers that an engine's verbs give for these samples."""
    n = fastnn.prepare(X).n_samples
    network, theta, _, y = problem(sizes, n, dtype=dtype, activation=activation)
    call = {"objective": fastnn.Objective(alpha), "sample_weight": weights}
    P = engine.predict(network, theta, X)
    loss, gradient = engine.gradient(network, theta, X, y, **call)
    state, rng = optimizer.initialize(theta), np.random.default_rng(1)
    order = np.concatenate([rng.permutation(n) for _ in range(passes)])
    call |= {"batch_size": batch_size, "learning_rates": 1e-2}
    losses = engine.train(network, theta, state, X, y, order, **call)
    return [P, np.array(loss), gradient, losses, theta.vector, *state.moments]


def assert_same_bits(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert np.isfinite(a).all()
        assert a.tobytes() == b.tobytes(), np.argwhere(a != b)[:5]


def assert_layouts_agree(X, sizes, *, given=None, threads=(1, 3), **settings):
    """Compare what comes of samples, or of others ``given`` for them, with that of the table X."""
    expected = outcome(FusedEngine(1), fastnn.prepare(X, layout="dense"), sizes, **settings)
    samples = fastnn.prepare(X if given is None else given, layout="sparse")
    assert (samples.layout, samples.density) == ("sparse", np.count_nonzero(X) / X.size)
    for count in threads:
        found = outcome(FusedEngine(count, always=True), samples, sizes, **settings)
        assert_same_bits(found, expected)


# --- the same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("batch_size", [1, 7, 128, 129, 300, 600])
def test_batches_of_every_size_with_every_optimizer(batch_size, optimizer, dtype):
    n = 2 * batch_size + 3 if batch_size < 300 else batch_size + 150
    weights = np.random.default_rng(0).random(n) * (np.arange(n) % 3 > 0)
    for kind, density in DENSITIES.items():
        alpha = 0.1 if kind == "thick" else 0.0
        for settings in ({"alpha": 0.0}, {"alpha": 0.1}) if batch_size == 129 else ({},):
            assert_layouts_agree(
                table(n, 45, density, dtype), (45, 17, 3),
                threads=THREADS if batch_size in (7, 300) else (1, 2), dtype=dtype,
                optimizer=optimizer, batch_size=batch_size,
                **({"alpha": alpha, "weights": weights} | settings),
            )  # fmt: skip


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_every_activation(activation):
    for dtype in DTYPES:
        X = table(150, 30, 0.2, dtype)
        for sizes in ((30, 20, 9, 3), (30, 4)):
            assert_layouts_agree(X, sizes, dtype=dtype, activation=activation)


@pytest.mark.parametrize("fan_out", [1, 3, 10, 16, 100, 128, 129, 200])
def test_strips_of_every_width(fan_out):
    for dtype in DTYPES:
        for n, batch_size, density in ((140, 140, 0.3), (450, 400, 0.02), (20, 3, 0.5)):
            for sizes in ((23, fan_out, 3), (23, fan_out)):
                X = table(n, 23, density, dtype)
                assert_layouts_agree(X, sizes, dtype=dtype, threads=(3,), batch_size=batch_size)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_other_tiles_and_vector_widths(tile):
    if tile == host_tile(tile.dtype):
        tile = tile._replace(height=tile.height // 2)
    for fan_out, n, density in ((5, 70, 0.3), (150, 300, 0.02), (150, 300, 0.3)):
        X, sizes = table(n, 31, density, tile.dtype), (31, fan_out, 3)
        for optimizer in (fastnn.SGD(), fastnn.Adam()):
            settings = {"dtype": tile.dtype, "batch_size": 200, "optimizer": optimizer}
            expected = outcome(FusedEngine(1), X, sizes, **settings)
            engine = FusedEngine(2, tile=tile, always=True)
            for layout in ("sparse", "dense"):
                samples = fastnn.prepare(X, layout=layout)
                assert_same_bits(outcome(engine, samples, sizes, **settings), expected)


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("n_features", [1, 2, 7, 64])
def test_all_zeros_no_zeros_and_hardly_any_columns(n_features, density):
    X = np.random.default_rng(0).normal(size=(140, n_features)).astype(np.float32)
    X *= np.random.default_rng(1).random(X.shape) < density
    for optimizer in (fastnn.SGD(), fastnn.Adam()):
        for batch_size in (60, 140):
            settings = {"optimizer": optimizer, "batch_size": batch_size}
            assert_layouts_agree(X, (n_features, 12, 3), threads=THREADS, **settings)


def test_batches_without_weight_and_rows_without_values():
    X = table(160, 20, 0.2)
    X[::2] = 0
    weights = np.ones(160)
    order = np.random.default_rng(1).permutation(160)  # the order of ``outcome``
    weights[order[40:80]] = weights[order[120:]] = 0
    for optimizer in OPTIMIZERS:
        for batch_size in (20, 40, 160):
            assert_layouts_agree(
                X, (20, 11, 3), optimizer=optimizer, weights=weights, batch_size=batch_size
            )


@pytest.mark.parametrize("n_features", [20_000, 70_000])
def test_columns_by_the_ten_thousand(monkeypatch, n_features):
    monkeypatch.setattr(csr, "SMALL", 0)
    rng = np.random.default_rng(0)
    X = scipy.sparse.random(
        140, n_features, density=30 / n_features, random_state=rng, dtype=np.float32, format="csr"
    )
    dense = X.toarray()
    columns = fastnn.prepare(dense, layout="sparse").compressed.columns
    assert columns.dtype == ("uint16" if n_features < 2**16 else "int32")
    for optimizer in (fastnn.SGD(), fastnn.Adam()):
        for given in (None, X):
            settings = {"optimizer": optimizer, "batch_size": 70, "passes": 1}
            assert_layouts_agree(dense, (n_features, 5, 3), given=given, **settings)


@pytest.mark.parametrize("n_features", [2**16, 2**16 + 1])
def test_the_last_column_that_two_bytes_can_number(monkeypatch, n_features):
    monkeypatch.setattr(csr, "SMALL", 0)
    X = np.zeros((6, n_features), np.float32)
    X[:, [0, 2**15 - 1, 2**15, n_features - 1]] = np.random.default_rng(0).normal(size=(6, 4))
    assert_layouts_agree(X, (n_features, 3), threads=(1, 2, 3), batch_size=4)


@pytest.mark.parametrize("small", [0, 2**40])
@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_enter_as_the_rounded_product(monkeypatch, kind, small):
    monkeypatch.setattr(csr, "SMALL", small)
    rng = np.random.default_rng(0)
    X = np.zeros((80, 24), kind)
    info = np.iinfo(kind) if kind != "bool" else None
    low, high = (0, 1) if info is None else (info.min, info.max)
    chosen = rng.random(X.shape) < 0.3
    X[chosen] = rng.integers(low, high, chosen.sum(), dtype=kind, endpoint=True)
    X[0, 0], X[0, 1] = low, high
    if high > 2**60:  # just above halfway between two of float32: not so after float64
        X[1, 2] = 2**60 + 2**36 + 1
    scale = 1 / 255 if high < 2**20 else 0.9 / high
    for dtype in DTYPES:
        real = np.dtype(dtype).type
        seen = X.astype(dtype) * real(scale)
        settings = {"dtype": dtype, "optimizer": fastnn.Adam()}
        expected = outcome(FusedEngine(1), seen, (24, 9, 3), **settings)
        for given in (X, scipy.sparse.csr_matrix(X)):
            for layout in ("dense", "sparse"):
                samples = fastnn.prepare(given, scale=scale, layout=layout)
                engine = FusedEngine(2, always=True)
                assert_same_bits(outcome(engine, samples, (24, 9, 3), **settings), expected)
                P = engine.predict(*problem((24, 9, 3), 80, dtype=dtype)[:2], samples.take([1, 0]))
                assert P.tobytes() == expected[0][[1, 0]].tobytes()


def with_explicit_zeros(X):
    """Return CSR with 0.0 and -0.0 among its values."""
    sparse = scipy.sparse.csr_matrix(np.where(X == 0, 1, X))
    kept = np.random.default_rng(0).random(X.size) < 0.5
    sparse.data = X.reshape(-1).copy()
    sparse.data[kept & (sparse.data == 0)] *= -1
    assert np.signbit(sparse.data[sparse.data == 0]).any()
    return sparse


def shuffled(X):
    """Return CSR whose rows are not in the order of columns, with each value in two parts."""
    rows, columns = np.nonzero(X)
    which = np.random.default_rng(0).permutation(2 * len(rows)) % len(rows)
    coo = scipy.sparse.coo_matrix((X[rows, columns][which] / 2, (rows[which], columns[which])))
    coo.resize(X.shape)
    order = np.argsort(coo.row, kind="stable")
    starts = np.searchsorted(coo.row[order], np.arange(len(X) + 1))
    found = scipy.sparse.csr_matrix((coo.data[order], coo.col[order], starts), shape=X.shape)
    assert not found.has_sorted_indices
    return found


def with_long_indices(X):
    sparse = scipy.sparse.csr_array(X)
    sparse.indices, sparse.indptr = sparse.indices.astype(np.int64), sparse.indptr.astype(np.int64)
    return sparse


KINDS = {
    "csr_matrix": scipy.sparse.csr_matrix,
    "csr_array": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_array,
    "explicit zeros": with_explicit_zeros,
    "unsorted, in parts": shuffled,
    "int64 indices": with_long_indices,
    "double": lambda X: X.astype(np.float64),
    "double csr": lambda X: scipy.sparse.csr_matrix(X.astype(np.float64)),
    "fortran": np.asfortranarray,
    "lists": lambda X: X.astype(np.float64).tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_however_the_samples_are_given(kind):
    X = table(150, 30, 0.2)
    given = KINDS[kind](X)
    expected = outcome(FusedEngine(1), X, (30, 17, 3), optimizer=fastnn.Adam())
    for layout in ("sparse", "dense", "auto"):
        for count in (1, 3):
            samples = fastnn.prepare(given, layout=layout)
            engine = FusedEngine(count, always=True)
            found = outcome(engine, samples, (30, 17, 3), optimizer=fastnn.Adam())
            assert_same_bits(found, expected)
    found = outcome(FusedEngine(2), given, (30, 17, 3), optimizer=fastnn.Adam())
    assert_same_bits(found, expected)


def test_the_arrays_of_csr_are_the_matrix():
    X = scipy.sparse.csr_matrix(table(150, 30, 0.2))
    arrays = (X.data, X.indices.astype(np.uint16), X.indptr.astype(np.int64))
    samples = fastnn.prepare(arrays, n_features=30, layout="sparse")
    expected = outcome(FusedEngine(1), X, (30, 17, 3))
    assert_same_bits(outcome(FusedEngine(2), samples, (30, 17, 3)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_double_samples_are_rounded_first(dtype):
    X = np.random.default_rng(0).normal(size=(150, 30))  # too exact for float32
    X *= np.random.default_rng(1).random(X.shape) < 0.2
    X[0, 0] = 1e-300  # zero in float32
    expected = outcome(FusedEngine(1), X.astype(dtype), (30, 17, 3), dtype=dtype)
    for given in (X, scipy.sparse.csc_array(X)):
        for layout in ("dense", "sparse"):
            samples = fastnn.prepare(given, layout=layout)
            for same in (samples, samples.astype(dtype)):
                found = outcome(FusedEngine(2, always=True), same, (30, 17, 3), dtype=dtype)
                assert_same_bits(found, expected)


def test_products_too_small_to_be_numbers():
    """A sum that is -0.0 halfway is +0.0 after the next zero, which the other layout skips."""
    X = table(140, 20, 0.3)
    X *= np.float32(1e-38)
    X[::3] *= np.float32(1e-6)
    for batch_size in (10, 140):
        assert_layouts_agree(X, (20, 9, 3), batch_size=batch_size, optimizer=fastnn.SGD(0.9))


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    sizes=st.lists(st.integers(1, 150), min_size=2, max_size=4),
    n=st.integers(1, 300),
    batch_size=st.integers(1, 300),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    optimizer=st.sampled_from(OPTIMIZERS),
    dtype=st.sampled_from(DTYPES),
    alpha=st.sampled_from([0.0, 0.3]),
    threads=st.integers(1, 4),
)
def test_any_shape_and_density(sizes, n, batch_size, density, optimizer, dtype, alpha, threads):
    assert_layouts_agree(
        table(n, sizes[0], density, dtype), sizes, threads=(threads,), dtype=dtype,
        optimizer=optimizer, alpha=alpha, batch_size=batch_size, passes=1,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_samples", [1, 4, 5, 97, 300])
def test_predictions_by_panels_and_by_lists(monkeypatch, n_samples, dtype):
    for n_features, density in ((40, 0.05), (40, 0.9), (3, 0.5), (600, 0.1)):
        X = table(n_samples, n_features, density, dtype)
        network, theta, _, _ = problem((n_features, 33, 5), 1, dtype=dtype)
        found = []
        for few, below in ((0, 0.0), (10**9, 2.0), (run.FEW_SAMPLES, run.DENSITY_OF_LISTS)):
            monkeypatch.setattr(run, "FEW_SAMPLES", few)
            monkeypatch.setattr(run, "DENSITY_OF_LISTS", below)
            for layout in ("dense", "sparse"):
                for samples in (X, X.astype(np.float64), scipy.sparse.csr_matrix(X)):
                    engine = FusedEngine(2, always=True)
                    given = fastnn.prepare(samples, layout=layout)
                    found.append(engine.predict(network, theta, given).tobytes())
        assert len(set(found)) == 1


# --- right ---------------------------------------------------------------------------------------


class InLayout:
    """An engine whose every X is prepared in one layout."""

    def __init__(self, engine, layout):
        self._engine, self._layout = engine, layout

    def _prepared(self, X):
        prepared = fastnn.prepare(X, layout=self._layout)
        assert prepared.layout == self._layout
        return prepared

    def predict(self, network, theta, X):
        return self._engine.predict(network, theta, self._prepared(X))

    def gradient(self, network, theta, X, y, **call):
        return self._engine.gradient(network, theta, self._prepared(X), y, **call)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_predictions_and_gradients_are_within_the_error_bounds(dtype, alpha):
    for sizes, n, density in (
        ((45, 17, 3), 300, 0.02),
        ((45, 130, 20, 3), 300, 0.3),
        ((200, 9), 129, 0.1),
        ((1, 5, 2), 40, 0.5),
    ):
        network, theta, _, y = problem(sizes, n, dtype=dtype)
        X, weights = table(n, sizes[0], density, dtype), np.linspace(0, 1, n)
        for threads in (1, 3):
            engine = InLayout(FusedEngine(threads, always=True), "sparse")
            check_gradient(network, theta, X, y, alpha=alpha, weights=weights, engine=engine)


# --- what is left behind -------------------------------------------------------------------------


def several(engine, seed=0):
    """Return what comes of runs of several kinds, one after another on the same engine."""
    found = []
    for density, batch_size, optimizer in (
        (0.3, 300, fastnn.SGD()),
        (0.02, 300, fastnn.SGD()),
        (0.02, 600, fastnn.SGD()),
        (0.3, 50, fastnn.Adam()),
        (0.02, 600, fastnn.Adam()),
    ):
        samples = fastnn.prepare(table(650, 40, density, seed=seed), layout="sparse")
        settings = {"optimizer": optimizer, "batch_size": batch_size}
        found += outcome(engine, samples, (40, 21, 3), **settings)
    return found


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_the_workspace_held_before_makes_no_difference(monkeypatch, poison):
    expected = several(FusedEngine(1))

    def poisoned(n, dtype):
        dtype = np.dtype(dtype)
        return np.full(n, poison if dtype.kind == "f" else np.iinfo(dtype).min // 2, dtype)

    monkeypatch.setattr(plan, "scratch", poisoned)
    for engine in (FusedEngine(1), FusedEngine(3, always=True)):
        assert_same_bits(several(engine), expected)


def test_a_used_workspace_makes_no_difference():
    engines = [FusedEngine(1), FusedEngine(3, always=True)]
    expected = {seed: several(FusedEngine(1), seed) for seed in (0, 1)}
    for seed in (0, 1, 0, 0, 1):
        for engine in engines:
            assert_same_bits(several(engine, seed), expected[seed])


def test_other_samples_in_turn_on_one_engine():
    """The plan is the same for all of them: equally many values in the longest row."""
    tables = [table(200, 30, 0.2, seed=seed) for seed in range(4)]
    for X in tables:
        X[0] = 1
    engine = FusedEngine(2, always=True)
    for optimizer in (fastnn.SGD(), fastnn.Adam()):
        settings = {"optimizer": optimizer, "batch_size": 150}
        expected = [outcome(FusedEngine(1), X, (30, 9, 3), **settings) for X in tables]
        for i in (0, 1, 2, 3, 0, 2, 1, 1, 3):
            samples = fastnn.prepare(tables[i], layout="sparse")
            assert_same_bits(outcome(engine, samples, (30, 9, 3), **settings), expected[i])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("batch_size", [50, 300, 600])
def test_after_a_loss_that_is_not_finite_all_is_as_before(batch_size, optimizer, threads):
    """In a batch of several groups, the gradient is under way when the loss turns out to be bad."""
    n = 4 * batch_size
    network, theta, _, y = problem((30, 9, 3), n, dtype="float32")
    X = table(n, 30, 0.3)
    X[3 * batch_size - 1] = 1
    bad = X.copy()  # with as many values in the longest row: the plan is the same
    bad[3 * batch_size - 1] = 3e38
    engine = FusedEngine(threads, always=True)

    def train(X, order):
        copy, state = theta.copy(), optimizer.initialize(theta)
        error = None
        try:
            losses = engine.train(
                network, copy, state, fastnn.prepare(X, layout="sparse"), y, order,
                batch_size=batch_size, learning_rates=1e-2,
            )  # fmt: skip
        except fastnn.DivergedError as raised:
            error, losses = raised, raised.losses
        return error, [losses, copy.vector, *state.moments], state.step

    order = np.arange(n)
    _, before, _ = train(X, order[: 2 * batch_size])
    _, whole, _ = train(X, order)
    for _ in range(2):
        error, found, step = train(bad, order)
        assert error.batch == step == 2
        assert_same_bits(found, before)
        error, found, step = train(X, order)
        assert error is None
        assert step == 4
        assert_same_bits(found, whole)


def test_a_stop_ends_after_a_whole_batch(monkeypatch):
    monkeypatch.setattr(run, "LONG_WORK", 0.0)  # as long runs do, wait where a stop is seen
    network, theta, _, y = problem((30, 9, 3), 300, dtype="float32")
    samples = fastnn.prepare(table(300, 30, 0.2), layout="sparse")
    order = np.random.default_rng(0).integers(0, 300, 2_000_000)
    engine, adam, copy = FusedEngine(2, always=True), fastnn.Adam(), theta.copy()
    call = {"batch_size": 150, "learning_rates": 1e-3}
    stop, state = threading.Event(), adam.initialize(theta)
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    losses = engine.train(network, theta, state, samples, y, order, stop=stop, **call)
    timer.join()
    assert 0 < len(losses) < 2_000_000 // 150
    assert state.step == len(losses)
    again = adam.initialize(copy)
    order = order[: 150 * len(losses)]
    expected = FusedEngine(1).train(network, copy, again, samples, y, order, **call)
    assert_same_bits(
        [losses, theta.vector, *state.moments], [expected, copy.vector, *again.moments]
    )
    assert len(engine.train(network, theta, state, samples, y, order, stop=stop, **call)) == 0


def test_training_in_parts():
    X = fastnn.prepare(table(300, 30, 0.1), layout="sparse")
    network, whole, _, y = problem((30, 23, 4), 300, dtype="float32")
    parts, order = whole.copy(), np.random.default_rng(0).permutation(300)
    engine, adam = FusedEngine(2, always=True), fastnn.Adam()
    state, other = adam.initialize(whole), adam.initialize(parts)
    call = {"batch_size": 25, "learning_rates": 1e-2}
    engine.train(network, whole, state, X, y, order, **call)
    for piece in (order[:75], order[75:100], order[100:]):
        engine.train(network, parts, other, X, y, piece, **call)
    assert_same_bits([parts.vector, *other.moments], [whole.vector, *state.moments])


def test_what_takes_rows_takes_the_same_in_every_layout():
    X = table(20, 12, 0.3)
    reference = fastnn.get_engine("reference", threads=1)
    expected = outcome(reference, X, (12, 5, 3))
    for layout in ("dense", "sparse"):
        for given in (X, scipy.sparse.csr_matrix(X)):
            samples = fastnn.prepare(given, layout=layout)
            assert_same_bits(outcome(reference, samples, (12, 5, 3)), expected)
