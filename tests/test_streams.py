"""Samples in files larger than memory: windows, shuffles, splits, and files that change or lie."""

import os
import pickle
import signal
import threading

import numpy as np
import pytest

import fastnn
from fastnn import models
from fastnn.errors import ReadError
from fastnn.fused.engine import FusedEngine
from fastnn.labels import compact, distinct, encode_labels, index_dtype
from fastnn.streams import FileSamples, open_samples
from fastnn.streams import samples as streams
from fastnn.streams.reader import RowFile
from tests import files

NETWORK = fastnn.Network((6, 8, 3))
N = 1003  # samples: prime-ish, so that no block, batch or window divides it


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Blocks of 5 rows of 6 bytes, windows of about 200 such rows."""
    monkeypatch.setattr(streams, "BLOCK_BYTES", 30)
    monkeypatch.setattr(streams, "WINDOW_BYTES", 1200)
    monkeypatch.setattr(models, "WINDOW_BYTES", 1200)


@pytest.fixture
def bytes_file(tmp_path):
    """A file sorted by class; the first two bytes of each row are its number."""
    rng = np.random.default_rng(0)
    y = np.arange(N) * 3 // N
    X = rng.integers(0, 120, (N, 6)).astype(np.uint8) + (y[:, None] * 40).astype(np.uint8)
    X[:, 0], X[:, 1] = np.arange(N) // 256, np.arange(N) % 256
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy", X, y


def fit(path, y, **settings):
    defaults = {"seed": 0, "epochs": 2, "threads": 1, "scale": 1 / 255, "memory": 0}
    return fastnn.fit(NETWORK, path, y, **{**defaults, **settings})


def number_of(samples, which):
    """Return which rows of ``bytes_file`` some samples are."""
    values = samples.values[which].astype(int)
    return values[:, 0] * 256 + values[:, 1]


class Spy(FusedEngine):
    """Notes which rows it is given to train on, and can do something before a call."""

    def __init__(self, before=lambda call: None):
        super().__init__(1)
        self.calls, self.rows, self.before = 0, [], before

    def train(self, network, parameters, state, X, y, order, **settings):
        self.calls += 1
        self.before(self.calls)
        self.rows.append(number_of(X, order))
        return super().train(network, parameters, state, X, y, order, **settings)


def open_files():
    return len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.fixture
def leaves_nothing():
    """Neither files nor threads of a reader may be left, whatever happened."""
    fastnn.get_engine().warm_up()
    before = open_files()
    yield
    assert not [t.name for t in threading.enumerate() if "reader" in t.name]
    assert open_files()[0] <= before[0]


# --- windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 32, 100, 150, 400, 5000])
@pytest.mark.parametrize("seed", [None, 3])
def test_every_row_comes_once_and_windows_are_whole_batches(bytes_file, batch_size, seed):
    path, X, _ = bytes_file
    samples = open_samples(path, 0)
    generator = None if seed is None else np.random.default_rng(seed)
    rows, sizes = [], []
    for values, which in samples.windows(batch_size=batch_size, generator=generator):
        np.testing.assert_array_equal(values, X[which])
        rows.append(which)
        sizes.append(len(which))
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(N))
    assert all(size % batch_size == 0 for size in sizes[:-1])
    most = max(200 // batch_size, 1) * batch_size
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= batch_size or batch_size > 200  # none is a mere rest
    if seed is None:
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(N))
    else:  # each from everywhere: a file sorted by class is no trouble
        for which in rows[:-1] if batch_size < 100 else []:
            assert np.ptp(which) > N / 2


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", ">u4", "<i8", "<f4", ">f4", "<f8", ">f8"])
def test_every_kind_of_values(tmp_path, dtype):
    X = (np.random.default_rng(0).normal(size=(70, 3, 2)) * 50 + 60).clip(0, 200).astype(dtype)
    np.save(tmp_path / "X.npy", X)
    samples = open_samples(str(tmp_path / "X.npy"), 0)
    assert samples.shape == (70, 6)
    found = samples.read()
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, X.reshape(70, 6))
    part = samples.take(np.array([0, 3, 69]))
    np.testing.assert_array_equal(part.read(), X.reshape(70, 6)[[0, 3, 69]])
    whole = open_samples(tmp_path / "X.npy", X.nbytes)
    assert isinstance(whole, np.ndarray)
    np.testing.assert_array_equal(whole, X.reshape(70, 6))


def test_a_window_stays_as_it_is_while_it_is_used(bytes_file, monkeypatch):
    """The other buffer is poisoned before each read, and has time to be read in full."""
    path, X, _ = bytes_file
    real, filled = RowFile._fill, threading.Semaphore(0)

    def fill(self, file, buffer, runs):
        buffer[:] = 0xAA
        result = real(self, file, buffer, runs)
        filled.release()
        return result

    monkeypatch.setattr(RowFile, "_fill", fill)
    windows = open_samples(path, 0).windows(generator=np.random.default_rng(0))
    for number, (values, rows) in enumerate(windows):
        for _ in range({0: 2, 5: 0}.get(number, 1)):
            assert filled.acquire(timeout=10)  # the next window has been read
        np.testing.assert_array_equal(values, X[rows])
    assert number == 5


def test_a_read_may_be_short(bytes_file, monkeypatch):
    path, X, _ = bytes_file
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda f, views, at: real(f, [views[0][:7]], at))
    np.testing.assert_array_equal(open_samples(path, 0).read(), X)


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [32, 500])
def test_an_epoch_has_each_sample_once_in_whole_batches(bytes_file, batch_size):
    path, _, y = bytes_file
    spy = Spy()
    model = fit(path, y, engine=spy, threads=None, batch_size=batch_size, epochs=2)
    per_epoch = len(spy.rows) // 2
    assert per_epoch == (6 if batch_size == 32 else 3)
    epochs = [np.concatenate(spy.rows[:per_epoch]), np.concatenate(spy.rows[per_epoch:])]
    for rows in epochs:
        np.testing.assert_array_equal(np.sort(rows), np.arange(N))
    assert (epochs[0] != epochs[1]).any()
    assert all(len(rows) % batch_size == 0 for rows in spy.rows[: per_epoch - 1])
    assert model.settings["streamed"] is True
    assert model.settings["n_samples"] == N


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_it_is_the_engine_on_the_same_batches(bytes_file, monkeypatch, weighted, standardize):
    """All windows, one after another, are one call of ``train`` on an array."""
    path, X, y = bytes_file
    weights = np.random.default_rng(1).random(N) if weighted else None
    start = NETWORK.initialize(4)
    spy = Spy()  # the shuffles are the seed's, whatever else is set
    fit(path, y, engine=spy, threads=None, epochs=1)
    if standardize:  # a window is as large once it is converted to float32
        monkeypatch.setattr(streams, "WINDOW_BYTES", 4 * streams.WINDOW_BYTES)
    model = fit(
        path, y, parameters=start, epochs=1, learning_rate=0.01, schedule="linear",
        sample_weight=weights, standardize=standardize,
    )  # fmt: skip
    parameters = start.copy()
    state, rates = fastnn.Adam().initialize(parameters), 0.01 * (1 - np.arange(32) / 32)
    losses = fastnn.get_engine(threads=1).train(
        NETWORK, parameters, state, model.scaling.apply(X, "float32"), y,
        np.concatenate(spy.rows), batch_size=32, learning_rates=rates, sample_weight=weights,
    )  # fmt: skip
    np.testing.assert_array_equal(model.parameters.vector, parameters.vector)
    order = np.concatenate(spy.rows)
    ones = np.ones(N) if weights is None else weights
    sums = np.add.reduceat(ones[order], np.arange(0, N, 32))
    assert model.history.loss == [pytest.approx(losses @ sums / sums.sum(), rel=1e-12)]


def test_one_window_is_shuffled_as_documented(bytes_file, monkeypatch):
    path, X, y = bytes_file
    monkeypatch.setattr(streams, "WINDOW_BYTES", 2**20)
    model = fit(path, y, seed=7, epochs=2, batch_size=50, schedule="constant")
    start, shuffles, _ = np.random.default_rng(7).spawn(3)
    parameters = NETWORK.initialize(start)
    state, engine = fastnn.Adam().initialize(parameters), fastnn.get_engine(threads=1)
    samples = fastnn.prepare(X, scale=1 / 255)
    for _ in range(2):
        blocks = shuffles.permutation(-(-N // 5))
        rows = np.concatenate([np.arange(N)[5 * b : 5 * b + 5] for b in blocks])
        order = rows[shuffles.permutation(N)]
        engine.train(
            NETWORK, parameters, state, samples, y, order, batch_size=50, learning_rates=0.002
        )
    assert fastnn.Adam.default_rate == 0.002
    np.testing.assert_array_equal(model.parameters.vector, parameters.vector)


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(bytes_file):
    path, _, y = bytes_file
    one = fit(path, y, seed=3, validation=0.1)
    two = fit(path, y, seed=3, validation=0.1, threads=None, engine=FusedEngine(2, always=True))
    other = fit(path, y, seed=4, validation=0.1)
    np.testing.assert_array_equal(one.parameters.vector, two.parameters.vector)
    assert one.history.validation_loss == two.history.validation_loss
    assert (one.parameters.vector != other.parameters.vector).any()


def test_a_file_that_fits_is_trained_like_an_array(bytes_file):
    path, X, y = bytes_file
    expected = fit(X, y, validation=0.1)
    for samples in (path, str(path), np.load(path, mmap_mode="r")):
        model = fit(samples, y, validation=0.1, memory=X.nbytes)
        np.testing.assert_array_equal(model.parameters.vector, expected.parameters.vector)
        assert model.settings == expected.settings


def test_it_learns_from_a_sorted_file(bytes_file):
    path, X, y = bytes_file
    model, in_memory = (fit(data, y, epochs=20, learning_rate=0.01) for data in (path, X))
    assert in_memory.evaluate(X, y)[1] > 0.8  # the classes overlap; chance is 0.33
    assert model.evaluate(X, y)[1] > in_memory.evaluate(X, y)[1] - 0.02


def test_a_share_is_held_out_by_blocks(bytes_file):
    path, X, y = bytes_file
    spy = Spy()
    model = fit(path, y, engine=spy, threads=None, validation=0.2, epochs=1)
    trained = np.sort(np.concatenate(spy.rows))
    held_out = np.setdiff1d(np.arange(N), trained)
    assert len(trained) == len(np.unique(trained)) == model.settings["n_samples"]
    assert len(held_out) == model.settings["n_validation"]
    assert abs(len(held_out) - 0.2 * N) <= 5
    for block in np.unique(held_out // 5):  # whole blocks
        assert set(range(5 * block, min(5 * block + 5, N))) <= set(held_out.tolist())
    found = model.history.validation_loss[-1], model.history.validation_accuracy[-1]
    assert found == pytest.approx(model.evaluate(X[held_out], y[held_out]), rel=1e-9)
    weights = np.ones(N)
    weights[held_out] = 1e6  # labels and weights stay with their samples
    other = fit(path, y, validation=0.2, epochs=1, sample_weight=weights)
    np.testing.assert_array_equal(other.parameters.vector, model.parameters.vector)


def test_given_validation_data_may_be_a_file(bytes_file):
    path, X, y = bytes_file
    models = [
        fit(path, y, validation=(samples, y)) for samples in (path, X, np.load(path, mmap_mode="r"))
    ]
    for model in models:
        assert model.history.validation_loss == pytest.approx(models[1].history.validation_loss)
        assert model.history.validation_accuracy == models[1].history.validation_accuracy
    in_memory = fit(X, y, validation=(path, y))
    assert in_memory.history.validation_loss[-1] == pytest.approx(in_memory.evaluate(X, y)[0])
    with pytest.raises(fastnn.InputError, match=r"validation data: y has 3 labels for 1003"):
        fit(path, y, validation=(path, y[:3]))


def test_standardization(tmp_path):
    X = np.random.default_rng(0).normal(7, 3, size=(N, 6)).astype(">f8")
    X[:, 2] = 5.0
    y = np.arange(N) % 3
    np.save(tmp_path / "X.npy", X)
    model = fit(tmp_path / "X.npy", y, scale=None, standardize=True)
    np.testing.assert_allclose(model.scaling.offset, X.mean(axis=0), rtol=1e-12)
    spread = X.std(axis=0)
    spread[2] = 1
    np.testing.assert_allclose(model.scaling.factor, 1 / spread, rtol=1e-12)
    spoiled = X.copy()  # what is held out teaches nothing
    _, held_out = open_samples(tmp_path / "X.npy", 0).split(
        0.3, np.random.default_rng(0).spawn(3)[2]
    )
    size = open_samples(tmp_path / "X.npy", 0).block_rows
    spoiled[np.isin(np.arange(N) // size, held_out)] = 1e4
    fits = []
    for values in (X, spoiled):
        np.save(tmp_path / "X.npy", values)
        fits.append(fit(tmp_path / "X.npy", y, scale=None, standardize=True, validation=0.3))
    np.testing.assert_array_equal(fits[0].scaling.offset, fits[1].scaling.offset)
    np.testing.assert_array_equal(fits[0].parameters.vector, fits[1].parameters.vector)


def test_predictions_from_a_file_are_those_from_an_array(bytes_file):
    path, X, y = bytes_file
    model = fit(X, y)
    for samples in (path, str(path), np.load(path, mmap_mode="r"), open_samples(path, 0)):
        np.testing.assert_array_equal(model.predict_proba(samples), model.predict_proba(X))
        np.testing.assert_array_equal(model.predict(samples), model.predict(X))
        loss, accuracy = model.evaluate(samples, y)
        assert (loss, accuracy) == pytest.approx(model.evaluate(X, y), rel=1e-12)
        with pytest.raises(fastnn.InputError, match="1002 labels for 1003 samples"):
            model.evaluate(samples, y[1:])
    parts = list(model.predict_windows(path))
    assert len(parts) > 3
    np.testing.assert_array_equal(np.concatenate(parts), model.predict_proba(X))


def test_early_stopping_callbacks_and_interruption(bytes_file, leaves_nothing):
    path, _, y = bytes_file
    model = fit(path, y, validation=0.2, patience=1, tol=10, epochs=9)
    assert (model.history.stopped, model.history.epochs) == ("early", 2)
    seen = []
    model = fit(path, y, callbacks=[lambda epoch: seen.append(epoch.number) or epoch.number == 2])
    assert seen == [1, 2]
    spy = Spy(lambda call: os.kill(os.getpid(), signal.SIGINT) if call == 3 else None)
    with pytest.raises(fastnn.TrainingInterrupted) as raised:
        fit(path, y, engine=spy, threads=None)
    assert raised.value.model.history.stopped == "interrupted"
    assert raised.value.model.history.epochs == 0
    assert spy.calls == 3


def test_divergence_counts_the_batches_of_the_epoch(tmp_path):
    X = np.random.default_rng(0).normal(size=(N, 6))
    X[600:] *= 1e30
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(fastnn.DivergedError) as raised:
        fit(tmp_path / "X.npy", np.arange(N) % 3, scale=None, learning_rate=1e30, batch_size=3)
    error = raised.value
    assert len(error.losses) == (error.batch if error.batch is not None else len(error.losses))
    assert np.isfinite(error.model.parameters.vector).all()


# --- files that change, and files that lie ------------------------------------------------------


def truncate(path, size=300):
    os.truncate(path, size)


def test_a_file_cut_short_between_epochs(bytes_file, leaves_nothing):
    path, _, y = bytes_file
    kept = []

    def after(epoch):
        kept.append(epoch.parameters.vector.copy())
        truncate(path)

    with pytest.raises(ReadError, match=r"X\.npy: it has 300 bytes now and had 6146") as raised:
        fit(path, y, callbacks=[after])
    model = raised.value.model
    assert (model.history.stopped, model.history.epochs) == ("failed", 1)
    np.testing.assert_array_equal(model.parameters.vector, kept[0])
    assert pickle.loads(pickle.dumps(raised.value)).model.history == model.history


def test_a_file_cut_short_within_an_epoch(bytes_file, leaves_nothing, tmp_path):
    path, _, y = bytes_file
    start = NETWORK.initialize(0)
    spy = Spy(lambda call: truncate(path) if call == 2 else None)
    message = r"X\.npy: rows \d+\.\.\d+ are not there: it ends at byte \d+, and had 6146"
    with pytest.raises(ReadError, match=message) as raised:
        fit(path, y, engine=spy, threads=None, parameters=start)
    model = raised.value.model
    assert 2 <= spy.calls <= 3  # a window may have been read ahead
    assert (model.history.stopped, model.history.epochs) == ("failed", 0)
    assert (model.parameters.vector != start.vector).any()
    assert np.isfinite(model.parameters.vector).all()
    model.save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").history.stopped == "failed"


def test_a_file_cut_short_before_validation(bytes_file, leaves_nothing, tmp_path):
    path, _, y = bytes_file
    counting = Spy(lambda call: None)
    fit(path, y, engine=counting, threads=None, validation=0.2, epochs=1)
    spy = Spy(lambda call: truncate(path) if call == counting.calls else None)
    with pytest.raises(ReadError) as raised:
        fit(path, y, engine=spy, threads=None, validation=0.2, epochs=3)
    model = raised.value.model
    assert spy.calls == counting.calls
    assert (model.history.stopped, model.history.epochs) == ("failed", 0)
    model.save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").history == model.history


@pytest.mark.parametrize("change", ["grown", "removed", "unreadable"])
def test_a_file_that_fails_in_another_way(bytes_file, monkeypatch, leaves_nothing, change):
    path, _, y = bytes_file

    def after(_epoch):
        if change == "grown":
            with path.open("ab") as file:
                file.write(bytes(6))
        elif change == "removed":
            path.unlink()
        else:

            def preadv(*_args):
                raise OSError(5, "Input/output error")

            monkeypatch.setattr(os, "preadv", preadv)

    kind = ReadError if change == "grown" else OSError
    with pytest.raises(kind) as raised:
        fit(path, y, callbacks=[after])
    assert raised.value.model.history.stopped == "failed"
    assert raised.value.model.history.epochs == 1
    if change != "grown":
        assert raised.value.filename == str(path)


def test_nothing_is_left_of_a_reader_that_is_given_up(bytes_file, leaves_nothing):
    path, _, y = bytes_file

    def fail(_epoch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(path, y, callbacks=[fail])
    with pytest.raises(ZeroDivisionError):
        fit(path, y, engine=Spy(lambda call: 1 // (2 - call)), threads=None)
    windows = open_samples(path, 0).windows()
    next(windows)
    assert [t for t in threading.enumerate() if "reader" in t.name]
    windows.close()
    model = fit(path, y)
    predictions = model.predict_windows(path)
    next(predictions)
    predictions.close()


@pytest.mark.parametrize("dtype", ["<f4", ">f8"])
@pytest.mark.parametrize("standardize", [False, True])
def test_an_error_names_the_row_of_the_file(tmp_path, dtype, standardize, leaves_nothing):
    X = np.random.default_rng(0).normal(size=(N, 6)).astype(dtype)
    y = np.arange(N) % 3
    path = tmp_path / "X.npy"
    np.save(path, X)
    model = fit(path, y, scale=None)
    X[777, 4] = np.nan
    np.save(path, X)
    message = r"X\.npy: X\[777, 4\] is nan; expected finite numbers"
    with pytest.raises(ReadError, match=message) as raised:
        fit(path, y, scale=None, standardize=standardize)
    assert (raised.value.model is None) == standardize  # found before training, or in it
    for call in (model.predict, model.predict_proba, lambda path: model.evaluate(path, y)):
        with pytest.raises(ReadError, match=message):
            call(path)
    part = open_samples(path, 0)
    part = part.take(np.arange(100, len(part.blocks)))
    with pytest.raises(ReadError, match=message):
        part.check_finite()


def test_a_value_too_large_is_named_by_the_row_of_the_file(tmp_path):
    X = np.random.default_rng(0).normal(size=(N, 6))
    y, path = np.arange(N) % 3, tmp_path / "X.npy"
    np.save(path, X)
    model, standardized = fit(path, y, scale=None), fit(path, y, scale=None, standardize=True)
    X[555, 2] = 1e39
    np.save(path, X)
    for found in (model, standardized):
        with pytest.raises(ReadError, match=r"X\.npy: X\[555, 2\]"):
            found.predict(path)
    X[:] = 0
    X[555, 2] = 1e30
    np.save(path, X)
    model.parameters.weights[0][:] = 1e30
    with pytest.raises(ReadError, match=r"X\.npy: X\[555\] is so large that the network overflows"):
        model.predict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (files.npy_header("|u1", "(100000000000, 784)"), r"declares shape \(100000000000, 784\)"),
        (files.npy_header("|u1", "(0, 784)"), "expected at least one value"),
        (files.npy_header("|u1", "(3, 2)", bytes(7)), "it has 7 bytes of values"),
        (files.npy_bytes(np.zeros(9)), r"X has shape \(9,\); expected one row per sample"),
        (files.npy_bytes(np.zeros((3, 2), "f2")), r"dtype float16; expected .*X\.astype"),
        (files.npy_bytes(np.zeros((3, 2), bool)), r"dtype bool; expected"),
        (files.npy_bytes(np.zeros((3, 2), "U2")), r"dtype <U2; expected"),
        (files.npy_bytes(np.zeros((3, 2), order="F")), "in Fortran order.*ascontiguousarray"),
        (b"a,b\n1,2\n", "it is not an npy array"),
        (b"", "it is not an npy array"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(tmp_path, content, message):
    path = tmp_path / "X.npy"
    path.write_bytes(content)
    with pytest.raises(fastnn.InputError, match=message):
        open_samples(path, 0)


def test_one_column_in_fortran_order_is_in_order(tmp_path):
    np.save(tmp_path / "X.npy", np.asfortranarray(np.arange(9.0).reshape(9, 1)))
    assert open_samples(tmp_path / "X.npy", 0).read().ravel().tolist() == list(range(9))


@pytest.mark.parametrize("memory", [-1, 1.5, True, "1G", None])
def test_memory_is_a_number_of_bytes(bytes_file, memory):
    path, _, y = bytes_file
    with pytest.raises(fastnn.InputError, match="memory is .*; expected a number of bytes"):
        fit(path, y, memory=memory)


def test_what_does_not_fit_is_refused_before_training(bytes_file):
    path, _, y = bytes_file
    with pytest.raises(fastnn.InputError, match=r"X\.npy has 6 features; the network expects 5"):
        fastnn.fit(fastnn.Network((5, 3)), path, y, memory=0)
    with pytest.raises(fastnn.InputError, match="1002 labels for 1003 samples"):
        fit(path, y[1:])
    with pytest.raises(fastnn.InputError, match="scale is 'a'; expected a finite number"):
        fit(path, y, scale="a")
    with pytest.raises(fastnn.InputError, match=r"validation data: .* 1\.5; expected a number"):
        fit(path, y, validation=1.5)
    with pytest.raises(FileNotFoundError):
        fit(path.parent / "absent.npy", y)


# --- memory maps --------------------------------------------------------------------------------


def test_a_slice_of_a_map_is_read_from_where_it_is(bytes_file):
    path, X, _ = bytes_file
    whole = np.load(path, mmap_mode="r")
    for part in (slice(None), slice(10, 400), slice(999, 1000)):
        samples = open_samples(whole[part], 0)
        assert isinstance(samples, FileSamples)
        np.testing.assert_array_equal(samples.read(), X[part])
    np.testing.assert_array_equal(open_samples(whole[5:][7:], 0).read(), X[12:])
    offset = np.memmap(path, np.uint8, "r", offset=128 + 6 * 100, shape=(50, 6))[3:]
    np.testing.assert_array_equal(open_samples(offset, 0).read(), X[103:150])
    folded = np.load(path, mmap_mode="r")[:1000].reshape(1000, 3, 2)
    assert open_samples(folded, 0).shape == (1000, 6)


def test_a_map_far_into_a_file(tmp_path):
    """Beyond the granularity of maps, where the map itself does not begin at the file's start."""
    X = np.random.default_rng(0).integers(0, 255, (40_000, 6)).astype(np.uint8)
    X.tofile(tmp_path / "raw")
    found = np.memmap(tmp_path / "raw", np.uint8, "r", offset=6 * 20_000, shape=(20_000, 6))
    np.testing.assert_array_equal(open_samples(found[1000:], 0).read(), X[21_000:])


def test_maps_that_do_not_stand_in_a_file_row_by_row_stay_as_they_are(bytes_file, tmp_path):
    path, X, _ = bytes_file
    whole = np.load(path, mmap_mode="r")
    changed = np.load(path, mmap_mode="c")
    changed[0] = 9  # not in the file
    np.save(tmp_path / "F.npy", np.asfortranarray(X))
    for odd in (
        whole[:, ::2], whole[::2], whole[0], whole[:0], whole + 1, changed, whole.T,
        whole.astype(np.float16), np.load(tmp_path / "F.npy", mmap_mode="r"), X, [[1, 2]],
    ):  # fmt: skip
        assert open_samples(odd, 0) is odd
    path.rename(tmp_path / "elsewhere.npy")
    assert open_samples(whole, 0) is whole  # mapped, but no longer there
    np.save(path, X + 1)
    assert open_samples(whole, 0) is whole  # another file by now
    np.save(path, X[:5])
    assert open_samples(whole, 0) is whole


def test_a_map_that_was_written_to_is_read_as_it_is_now(bytes_file):
    path, _, y = bytes_file
    written = np.load(path, mmap_mode="r+")
    written[500] = 77
    np.testing.assert_array_equal(open_samples(written, 0).read(), written)
    assert fit(written, y).settings["streamed"]


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [[3, 1, 1], [-1, 5], [0], [70_000, 1], [2**63], ["b", "a", "b"], [True, False]],
)
def test_distinct_is_unique(labels):
    for array in (np.asarray(labels), compact(np.asarray(labels))):
        found = distinct(array)
        np.testing.assert_array_equal(found, np.unique(labels))
        assert found.dtype == array.dtype


def test_labels_are_kept_small(monkeypatch):
    from fastnn import labels

    monkeypatch.setattr(labels, "BLOCK", 7)
    y = np.random.default_rng(0).integers(-5, 200, 100)
    assert compact(y).dtype == np.int16
    assert compact(y + 5).dtype == np.uint8
    np.testing.assert_array_equal(compact(y), y)
    assert [index_dtype(n) for n in (2, 256, 257)] == [np.uint8, np.uint8, np.uint16]
    known = np.unique(y)
    codes, classes = encode_labels(y, len(known), dtype=np.uint8)
    np.testing.assert_array_equal(classes[codes], y)
    assert codes.dtype == np.uint8
    y[93] = 1000
    with pytest.raises(fastnn.InputError, match=r"y\[93\] is 1000"):
        encode_labels(y, len(known), known)
    with pytest.raises(fastnn.InputError, match=r"y\[93\] is '1000'"):
        encode_labels(y.astype(str), len(known), known)
