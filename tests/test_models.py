"""Models and their files: what comes back, what is refused, what survives a failure."""

import contextlib
import copy
import errno
import json
import multiprocessing
import os
import pickle
import stat
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import fastnn
from fastnn import files
from fastnn.models import loss_and_accuracy

rng = np.random.default_rng(0)
X = rng.integers(0, 256, (60, 5)).astype(np.uint8)
LABELS = np.array(["red", "green", "blue"])[rng.integers(0, 3, 60)]


def fitted(**settings):
    network = fastnn.Network((5, 6, 3), activation="tanh")
    return fastnn.fit(network, X, LABELS, **{"epochs": 2, "seed": 0, "scale": 1 / 255, **settings})


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    fitted().save(path)
    return path


def parts(path):
    """Return the tensors and the JSON header of a model file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return load_tensors(content), json.loads(metadata["fastnn"])


def rewrite(path, tensors, header):
    path.write_bytes(save_tensors(tensors, {"fastnn": json.dumps(header)}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scale": None, "standardize": True},
        {"validation": 0.2, "patience": 1},
        {"feature_names": ["a", "b", "c", "d", "é"], "optimizer": fastnn.SGD(0.9)},
    ],
)
def test_a_model_comes_back_whole(tmp_path, dtype, settings):
    model = fitted(dtype=dtype, **settings)
    path = tmp_path / "model.safetensors"
    model.save(path)
    other = fastnn.load(path)
    assert other.network == model.network
    assert other.parameters.dtype == dtype
    np.testing.assert_array_equal(other.parameters.vector, model.parameters.vector)
    np.testing.assert_array_equal(other.classes, model.classes)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert other.feature_names == model.feature_names
    assert other.history == model.history
    assert other.settings == model.settings


@pytest.mark.parametrize("labels", [[3, 5, 9], [True, False], ["a", "é", ""]])
def test_labels_of_every_kind_come_back(tmp_path, labels):
    y = np.array(labels)[np.arange(60) % len(labels)]
    model = fastnn.fit(fastnn.Network((5, len(labels))), X, y, epochs=1, seed=0)
    model.save(tmp_path / "m")
    other = fastnn.load(tmp_path / "m")
    assert other.classes.dtype.kind == model.classes.dtype.kind
    assert other.predict(X).tolist() == model.predict(X).tolist()


def test_a_model_keeps_its_scale_however_it_was_declared():
    model = fitted()
    expected = model.predict_proba(X)
    scaled = X.astype(np.float32) * np.float32(1 / 255)
    for same in (X.astype(np.int64), fastnn.prepare(X, scale=1 / 255), fastnn.prepare(scaled)):
        np.testing.assert_array_equal(model.predict_proba(same), expected)
    with pytest.raises(fastnn.InputError, match="takes integers, each unit worth 0.0039"):
        model.predict(scaled)
    network = model.network
    other = fastnn.fit(network, fastnn.prepare(X, scale=1 / 255), LABELS, epochs=2, seed=0)
    np.testing.assert_array_equal(other.predict_proba(X), expected)
    both = fitted(standardize=True, epochs=30)
    assert both.evaluate(X, LABELS)[0] < 1.2


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_of_a_model_are_whole(duplicate):
    model = fitted()
    other = duplicate(model)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    parameters = duplicate(model.parameters)
    assert all(np.shares_memory(parameters.vector, W) for W in parameters.weights)
    parameters.vector *= 2
    np.testing.assert_array_equal(parameters.weights[1].ravel(), parameters.vector[36:54])


def _diverge(_):
    network = fastnn.Network((5, 3))  # no ReLU, whose death could end the growth
    fastnn.fit(network, X, LABELS, optimizer=fastnn.SGD(), learning_rate=1e38, schedule="constant")


def test_errors_leave_worker_processes():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(fastnn.DivergedError, match="smaller learning rate") as raised:
            pool.submit(_diverge, None).result()
        assert raised.value.model.history.stopped == "diverged"
    interrupted = pickle.loads(pickle.dumps(fastnn.TrainingInterrupted(fitted())))
    assert interrupted.model.history.epochs == 2


def test_settings_with_numpy_numbers_are_saved(tmp_path):
    model = fitted(
        scale=np.float32(1 / 255),
        validation=np.float32(0.2),
        patience=np.int64(2),
        epochs=np.int64(2),
        learning_rate=np.float32(0.01),
        seed=np.int64(3),
        optimizer=fastnn.SGD(np.float32(0.5), nesterov=np.True_),
    )
    model.save(tmp_path / "m")
    assert fastnn.load(tmp_path / "m").settings == model.settings


def test_evaluate_and_what_does_not_fit():
    model = fitted()
    P = model.predict_proba(X)
    index = {label: k for k, label in enumerate(model.classes)}
    right = P[np.arange(60), [index[label] for label in LABELS]]
    loss, accuracy = model.evaluate(X, LABELS)
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-6)
    assert accuracy == (model.predict(X) == LABELS).mean()
    with pytest.raises(fastnn.InputError, match="X has 4 features; the network expects 5"):
        model.predict(X[:, :4])
    with pytest.raises(fastnn.InputError, match="59 labels for 60 samples"):
        model.evaluate(X, LABELS[1:])
    with pytest.raises(fastnn.InputError, match="'black', which is not one of"):
        model.evaluate(X, ["black"] * 60)


def test_a_probability_of_zero_does_not_make_the_mean_infinite():
    model = fitted(scale=None, epochs=1)
    model.parameters.biases[-1][:] = [1e4, 0, 0]
    loss, _ = model.evaluate(X, LABELS)
    assert 0 < loss < 100


def test_a_sample_that_overflows_is_never_right():
    model = fastnn.fit(fastnn.Network((5, 3)), X, LABELS, epochs=1, seed=0)
    large = X.astype(np.float32)
    large[3] = np.float32(3e38)
    large[4] = np.float32(-3e38)
    for call in (model.predict, model.predict_proba, lambda x: model.evaluate(x, LABELS)):
        with pytest.raises(fastnn.InputError, match=r"X\[3\] is so large that the network overf"):
            call(large)
    loss, accuracy = loss_and_accuracy(np.full((4, 2), np.nan, np.float32), np.zeros(4, np.intp))
    assert loss == pytest.approx(-np.log(np.finfo(np.float32).tiny), rel=1e-6)
    assert accuracy == 0


def spoil_header(change):
    return lambda tensors, header: change(header)


def spoil_tensor(name, value):
    return lambda tensors, header: tensors.__setitem__(name, value)


REFUSED = {
    "version": (spoil_header(lambda h: h.update(version=2)), "format version 2.*reads version 1"),
    "no version": (spoil_header(lambda h: h.pop("version")), "'version' is missing"),
    "format": (spoil_header(lambda h: h.update(format="other")), "does not speak of fastnn"),
    "extra key": (spoil_header(lambda h: h.update(run="rm")), "has the keys"),
    "missing key": (spoil_header(lambda h: h.pop("classes")), "has the keys"),
    "activation": (spoil_header(lambda h: h["network"].update(activation="x")), "activation is"),
    "output": (spoil_header(lambda h: h["network"].update(output="exp")), "its output is 'exp'"),
    "sizes": (spoil_header(lambda h: h["network"].update(layer_sizes=[5, 7, 3])), "layer 0"),
    "huge sizes": (
        spoil_header(lambda h: h["network"].update(layer_sizes=[2**40, 2**40, 3])),
        "layer 0",
    ),
    "depth": (spoil_header(lambda h: h["network"].update(layer_sizes=[5, 3])), "it holds the"),
    "text sizes": (spoil_header(lambda h: h["network"].update(layer_sizes="563")), "layer_sizes"),
    "few classes": (spoil_header(lambda h: h.update(classes=["a", "b"])), "2 class labels"),
    "same classes": (spoil_header(lambda h: h.update(classes=["a", "a", "b"])), "class labels"),
    "mixed classes": (spoil_header(lambda h: h.update(classes=["a", 1, 2])), "class labels"),
    "nested classes": (spoil_header(lambda h: h.update(classes=[[1], [2], [3]])), "class labels"),
    "huge classes": (spoil_header(lambda h: h.update(classes=[2**70, 1, 2])), "class labels"),
    "no classes": (spoil_header(lambda h: h.update(classes=None)), "not a model"),
    "scale": (spoil_header(lambda h: h.update(scale="1")), "scale is '1'"),
    "infinite scale": (spoil_header(lambda h: h.update(scale=1e999)), "Infinity"),
    "long scale": (spoil_header(lambda h: h.update(scale=10**400)), "scale is 1000"),
    "text names": (spoil_header(lambda h: h.update(feature_names="abcde")), "feature names"),
    "no history": (spoil_header(lambda h: h.update(history=None)), "history is None"),
    "names": (spoil_header(lambda h: h.update(feature_names=["a"])), "feature names"),
    "settings": (spoil_header(lambda h: h.update(settings=[])), "settings"),
    "history": (spoil_header(lambda h: h["history"].update(x=1)), "history|unexpected"),
    "history type": (spoil_header(lambda h: h["history"].update(loss="abc")), "history"),
    "nan": (spoil_tensor("biases.0", np.full(6, np.nan, np.float32)), "NaN or infinite"),
    "shape": (spoil_tensor("weights.0", np.zeros((5, 7), np.float32)), "layer 0 has arrays"),
    "dtype": (spoil_tensor("biases.0", np.zeros(6)), "differ in dtype"),
    "integers": (spoil_tensor("biases.0", np.zeros(6, np.int32)), "arrays of types"),
    "extra array": (spoil_tensor("weights.9", np.zeros((1, 1), np.float32)), "holds the arrays"),
    "half scaling": (spoil_tensor("scaling.offset", np.zeros(5)), "scaling is not whole"),
    "scaling": (spoil_tensor("scaling.offset", np.zeros(4)), "does not fit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused(saved, name):
    change, message = REFUSED[name]
    tensors, header = parts(saved)
    change(tensors, header)
    rewrite(saved, tensors, header)
    with pytest.raises(fastnn.InputError, match=message) as raised:
        fastnn.load(saved)
    assert str(saved) in str(raised.value)


def test_every_truncation_is_refused(saved):
    content = saved.read_bytes()
    for length in [*range(0, 300, 7), *range(300, len(content), 97), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(fastnn.InputError, match="not a model"):
            fastnn.load(saved)


def test_random_damage_never_gives_another_error(saved):
    content, chance = saved.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        for place in chance.integers(0, len(content), chance.integers(1, 4)):
            damaged[place] = chance.integers(0, 256)
        saved.write_bytes(damaged)
        with contextlib.suppress(fastnn.InputError):
            assert np.isfinite(fastnn.load(saved).parameters.vector).all()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(FileNotFoundError):
        fastnn.load(path)
    with pytest.raises(fastnn.InputError, match="it is a folder"):
        fastnn.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(fastnn.InputError, match="a pipe or a device"):
        fastnn.load(tmp_path / "pipe")
    for content in (b"", b"\x80\x04K\x01.", b"text", os.urandom(1000), b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(fastnn.InputError, match="not a model"):
            fastnn.load(path)
    path.write_bytes(save_tensors({"a": np.zeros(3)}))
    with pytest.raises(fastnn.InputError, match="does not speak of fastnn"):
        fastnn.load(path)
    path.write_bytes(save_tensors({"a": np.zeros(3)}, {"fastnn": "[" * 100_000}))
    with pytest.raises(fastnn.InputError, match="not a model"):
        fastnn.load(path)


def test_an_infinity_written_as_a_number_is_refused(saved):
    tensors, header = parts(saved)
    text = json.dumps({**header, "scale": 12345}).replace("12345", "1e999")
    saved.write_bytes(save_tensors(tensors, {"fastnn": text}))
    with pytest.raises(fastnn.InputError, match="its header holds 1e999"):
        fastnn.load(saved)


def test_a_file_that_was_there_keeps_its_permissions(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"")
    path.chmod(0o604)
    files.write_atomically(path, b"1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_missing_folder_is_named_as_the_caller_named_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/m'$"):
        fitted().save(tmp_path / "no" / "m")


def test_a_model_that_is_not_finite_is_not_saved(tmp_path):
    model = fitted()
    model.parameters.vector[3] = np.inf
    with pytest.raises(fastnn.InputError, match="NaN or infinite; it was not saved"):
        model.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


# --- writing ------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, name, fail)
            with pytest.raises(OSError, match="No space left"):
                fitted(seed=1).save(saved)
        assert saved.read_bytes() == before
        assert list(saved.parent.iterdir()) == [saved]


def test_the_order_of_an_atomic_write(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def spy(*arguments, name=name, original=original):
            kind = ""
            if name == "fsync":
                is_folder = stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
                kind = " folder" if is_folder else " file"
            done.append(name + kind)
            return original(*arguments)

        monkeypatch.setattr(files.os, name, spy)
    files.write_atomically(tmp_path / "x", b"content")
    assert done == ["fsync file", "replace", "fsync folder"]
    assert (tmp_path / "x").read_bytes() == b"content"


def test_new_files_follow_the_umask_and_links_are_followed(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "x", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640
    (tmp_path / "link").symlink_to("x")
    files.write_atomically(tmp_path / "link", b"2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "x").read_bytes() == b"2"


def test_outputs_are_checked_before_the_work(tmp_path):
    files.check_writable(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    (tmp_path / "old").write_bytes(b"1")
    files.check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"1"
    for path in (tmp_path, tmp_path / "no" / "x", tmp_path / "old" / "x", "/dev/null"):
        with pytest.raises(fastnn.InputError, match=f"cannot write {path}"):
            files.check_writable(path)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted().save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_of_a_file(tmp_path):
    path = tmp_path / ("x" * 255)
    fitted().save(path)
    assert fastnn.load(path).history.epochs == 2


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*model'"):
        fitted().save(tmp_path / "model")


def test_threads_of_a_loaded_model(saved):
    assert fastnn.load(saved, threads=1).engine.threads == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "abc"}, "class labels"),
        ({"version": True}, "format version True"),
        ({"version": 1.0}, "format version 1.0"),
        ({"network": None}, "its network is None"),
        ({"network": {"layer_sizes": [5, 6, 3]}}, "its network is"),
    ],
)
def test_a_header_of_wrong_kinds_is_refused(saved, change, message):
    tensors, header = parts(saved)
    saved.write_bytes(save_tensors(tensors, {"fastnn": json.dumps({**header, **change})}))
    with pytest.raises(fastnn.InputError, match=message):
        fastnn.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"best_epoch": 0},
        {"best_epoch": 3},
        {"best_epoch": True},
        {"seconds": [1.0]},
        {"stopped": "sometimes"},
        {"stopped": ["failed"]},
    ],
)
def test_a_history_that_contradicts_itself_is_refused(saved, change):
    tensors, header = parts(saved)
    header["history"].update(change)
    saved.write_bytes(save_tensors(tensors, {"fastnn": json.dumps(header)}))
    with pytest.raises(fastnn.InputError, match="its history"):
        fastnn.load(saved)


def test_a_model_shows_itself_in_one_line():
    assert repr(fitted()) == "Model(5-6-3, float32, epochs=2, finished)"


def test_labels_on_both_sides_of_the_signed_integers(tmp_path):
    """NumPy makes floats of such a list, which would merge labels."""
    ids = np.array([3, 2**63 + 5, 2**63 + 6], np.uint64)
    model = fastnn.fit(fastnn.Network((5, 3)), X, ids[np.arange(60) % 3], epochs=1)
    model.save(tmp_path / "x")
    np.testing.assert_array_equal(fastnn.load(tmp_path / "x").classes, ids)


def test_a_model_has_a_class_for_each_output_of_a_softmax():
    engine = fastnn.get_engine("reference", threads=1)
    for output, classes, message in (
        ("logistic", ["no"], "output is 'logistic'; a Model has classes"),
        ("softmax", ["no", "yes"], "2 classes for 1 outputs"),
    ):
        network = fastnn.Network((4, 1), output=output)
        with pytest.raises(fastnn.InputError, match=message):
            fastnn.Model(network, network.initialize(0), np.array(classes), engine)
