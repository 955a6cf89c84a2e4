"""Checkpoints: a run that was broken off goes on to the same bits; another run does not."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import environment, report, run, start, succeed
from safetensors.numpy import load as load_tensors
from scipy.sparse import csr_matrix

import fastnn
from fastnn import files
from fastnn.checkpoints import NAME, Checkpoint
from fastnn.streams import samples as streams

NETWORK = fastnn.Network((4, 8, 3))
N = 240


@pytest.fixture(scope="module")
def blobs():
    """Three clouds of points that overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    return rng.normal(size=(N, 4)) + 2 * np.eye(3, 4)[y], y


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def fit(data, **settings):
    return fastnn.fit(NETWORK, *data, **{"seed": 0, "epochs": 6, "threads": 1, **settings})


class BrokenOffError(Exception):
    pass


def broken_off(data, epoch, how=BrokenOffError, **settings):
    """Train until a callback raises in some epoch, before that is saved."""

    def break_off(told):
        if told.number == epoch:
            raise how

    with pytest.raises(how):
        fit(data, callbacks=[break_off], **settings)


def results(model):
    """All of a model but the time that it took, to be compared bit by bit."""
    history = model.history
    return {
        "parameters": model.parameters.vector.tobytes(),
        "loss": history.loss,
        "validation_loss": history.validation_loss,
        "validation_accuracy": history.validation_accuracy,
        "ended": (history.stopped, history.best_epoch),
        "settings": {**model.settings, "threads": None},
    }


def content(folder):
    """Return the arrays and the header of a checkpoint, without what is of the clock."""
    whole = (folder / NAME).read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["fastnn"])
    del header["history"]["seconds"], header["digest"]
    return {name: array.tobytes() for name, array in load_tensors(whole).items()}, header


# --- the same bits --------------------------------------------------------------------------------

VARIANTS = {
    "adam": {},
    "adamw": {"optimizer": fastnn.Adam(weight_decay=0.01), "dtype": "float64"},
    "sgd": {"optimizer": fastnn.SGD(), "schedule": "one-cycle"},
    "momentum": {"optimizer": fastnn.SGD(0.9), "dtype": "float64", "batch_size": 7},
    "nesterov": {"optimizer": fastnn.SGD(0.9, nesterov=True), "standardize": True},
    "validation": {"validation": 0.25},
    "patience": {"validation": 0.25, "patience": 2, "tol": 10.0},
    "weights": {"sample_weight": np.linspace(0, 2, N), "objective": fastnn.Objective(0.1)},
    "reference": {"engine": "reference", "validation": 0.1},
    "start": {"parameters": NETWORK.initialize(7)},
}


@pytest.mark.parametrize("epoch", [2, 3, 6])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_that_was_broken_off_ends_with_the_same_bits(blobs, folder, tmp_path, name, epoch):
    settings = VARIANTS[name]
    if "patience" in settings:
        epoch = min(epoch, 3)  # in which it ends
    whole = fit(blobs, **settings)
    kept = fit(blobs, checkpoint=tmp_path / "whole", **settings)
    assert results(kept) == results(whole)
    broken_off(blobs, epoch, checkpoint=folder, **settings)
    assert len(content(folder)[1]["history"]["loss"]) == epoch - 1
    heard = []
    resumed = fit(
        blobs, checkpoint=folder, resume=True, **settings,
        callbacks=[lambda told: heard.append(told.number)],
    )  # fmt: skip
    assert results(resumed) == results(whole)
    assert heard == list(range(epoch, whole.history.epochs + 1))
    # moments, step, generators and early stopping too
    assert content(folder) == content(tmp_path / "whole")


def test_a_run_that_is_broken_off_in_every_epoch(blobs, folder):
    whole = fit(blobs, validation=0.2)
    for epoch in range(1, 7):
        broken_off(blobs, epoch, checkpoint=folder, resume=True, validation=0.2)
    assert results(fit(blobs, checkpoint=folder, resume=True, validation=0.2)) == results(whole)


@pytest.mark.parametrize("when", ["at the best", "one later", "two later", "in the last"])
def test_early_stopping_remembers_what_it_waited_for(blobs, folder, when):
    """The lowest loss is behind; to forget it, or the epochs since, would train for longer."""
    X, y = blobs
    few = X[:40], y[:40]  # which are soon learned by heart
    settings = {
        "validation": (X[40:], y[40:]), "patience": 4, "epochs": 40, "learning_rate": 0.05,
        "schedule": "constant",
    }  # fmt: skip
    whole = fit(few, **settings)
    best, last = whole.history.best_epoch, whole.history.epochs
    assert whole.history.stopped == "early"
    assert 1 < best <= last - 4
    epoch = {"at the best": best, "one later": best + 1, "two later": best + 2}.get(when, last)
    broken_off(few, epoch, checkpoint=folder, **settings)
    assert results(fit(few, checkpoint=folder, resume=True, **settings)) == results(whole)


@pytest.mark.parametrize(
    "bit_generator",
    [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64],
)
def test_generators_of_every_kind_go_on(blobs, folder, bit_generator):
    settings = {"validation": 0.2, "checkpoint": folder}
    whole = fit(blobs, validation=0.2, seed=np.random.Generator(bit_generator(5)))
    broken_off(blobs, 4, seed=np.random.Generator(bit_generator(5)), **settings)
    # what the generator of the second start would draw does not matter
    later = np.random.Generator(bit_generator(6))
    assert results(fit(blobs, seed=later, resume=True, **settings)) == results(whole)
    other = np.random.MT19937 if bit_generator is not np.random.MT19937 else np.random.PCG64
    with pytest.raises(fastnn.InputError, match="the seed's generator was .*, is "):
        fit(blobs, seed=np.random.Generator(other(5)), resume=True, **settings)


def test_without_a_seed_the_checkpoint_decides(blobs, folder, tmp_path):
    """The start, the shuffles, and which samples are held out."""
    settings = {"validation": 0.2, "seed": None, "checkpoint": folder}
    broken_off(blobs, 3, **settings)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / NAME).write_bytes((folder / NAME).read_bytes())
    first = fit(blobs, resume=True, **settings)
    second = fit(blobs, resume=True, **{**settings, "checkpoint": tmp_path / "again"})
    assert results(first) == results(second)
    assert results(fit(blobs, **{**settings, "checkpoint": None})) != results(first)


def test_any_number_of_threads_goes_on(folder):
    """Large enough that each thread has something to do."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(600, 64)).astype(np.float32), rng.integers(0, 10, 600)
    network = fastnn.Network((64, 96, 10))
    settings = {"epochs": 3, "batch_size": 128, "seed": 0}
    whole = fastnn.fit(network, *data, threads=1, **settings)

    def stop(told):
        return told.number == 2 and os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(fastnn.TrainingInterrupted):
        fastnn.fit(network, *data, threads=2, checkpoint=folder, callbacks=[stop], **settings)
    resumed = fastnn.fit(network, *data, threads=1, checkpoint=folder, resume=True, **settings)
    assert results(resumed) == results(whole)


@pytest.mark.parametrize("how", [dict, csr_matrix])
def test_sparse_samples(blobs, folder, how):
    X, y = np.where(np.abs(blobs[0]) > 1, blobs[0], 0), blobs[1]
    X = fastnn.prepare(X, layout="sparse") if how is dict else how(X)
    whole = fit((X, y))
    broken_off((X, y), 4, checkpoint=folder)
    assert results(fit((X, y), checkpoint=folder, resume=True)) == results(whole)


# --- samples in a file ----------------------------------------------------------------------------


@pytest.fixture
def in_file(blobs, tmp_path, monkeypatch):
    """Samples in a file, in blocks of 2 rows, and windows of 50."""
    monkeypatch.setattr(streams, "BLOCK_BYTES", 32)
    monkeypatch.setattr(streams, "WINDOW_BYTES", 800)
    np.save(tmp_path / "X.npy", blobs[0].astype(np.float32))
    return str(tmp_path / "X.npy"), blobs[1]


@pytest.mark.parametrize("settings", [{}, {"validation": 0.3, "standardize": True}])
def test_a_file_that_is_read_while_training(in_file, folder, settings):
    settings = {"memory": 0, "batch_size": 9, **settings}
    whole = fit(in_file, **settings)
    assert whole.settings["streamed"]
    broken_off(in_file, 4, checkpoint=folder, **settings)
    assert results(fit(in_file, checkpoint=folder, resume=True, **settings)) == results(whole)


def test_a_file_that_has_changed(in_file, folder):
    path, _ = in_file
    settings = {"memory": 0, "checkpoint": folder}
    broken_off(in_file, 4, **settings)
    times = os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns
    before = Path(path).read_bytes()
    X = np.load(path)
    X[0, 0] += 1  # in the first block, which is always compared
    np.save(path, X)
    os.utime(path, ns=times)
    with pytest.raises(fastnn.InputError, match=r"another run: the samples differ\. Resume with"):
        fit(in_file, resume=True, **settings)
    Path(path).write_bytes(before)
    os.utime(path, ns=(times[0], times[1] + 1))
    with pytest.raises(fastnn.InputError, match="the modification times of the samples' file"):
        fit(in_file, resume=True, **settings)
    with pytest.raises(fastnn.InputError, match="streamed was True, is False"):
        fit(in_file, resume=True, checkpoint=folder)
    os.utime(path, ns=times)
    assert fit(in_file, resume=True, **settings).history.stopped == "finished"


# --- what ends a run ------------------------------------------------------------------------------


def test_a_run_that_had_ended_returns_its_model_at_once(blobs, folder):
    whole = fit(blobs, checkpoint=folder)
    before = (folder / NAME).read_bytes()
    heard = []
    again = fit(blobs, checkpoint=folder, resume=True, callbacks=[heard.append])
    assert results(again) == results(whole)
    assert again.history.seconds == whole.history.seconds
    assert (heard, (folder / NAME).read_bytes()) == ([], before)


def test_a_run_that_a_callback_had_ended_has_ended(blobs, folder):
    whole = fit(blobs, checkpoint=folder, callbacks=[lambda told: told.number == 3])
    assert (whole.history.stopped, whole.history.epochs) == ("early", 3)
    assert results(fit(blobs, checkpoint=folder, resume=True)) == results(whole)


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_breaks_a_run_off_leaves_the_last_whole_epoch(blobs, folder, how):
    broken_off(blobs, 5, how, checkpoint=folder)
    assert results(fit(blobs, checkpoint=folder, resume=True)) == results(fit(blobs))


def test_ctrl_c_within_an_epoch_leaves_the_one_before(blobs, folder, monkeypatch):
    from fastnn.fused.engine import FusedEngine

    calls, original = [], FusedEngine.train

    def train(self, *arguments, **settings):
        calls.append(1)
        if len(calls) == 4:
            rates = settings["learning_rates"]
            settings["learning_rates"] = rates[:3]  # a part of the epoch, as if interrupted there
            half = {**settings, "stop": None}
            losses = original(self, *arguments[:5], arguments[5][: 3 * 32], **half)
            signal.raise_signal(signal.SIGINT)
            return losses
        return original(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(FusedEngine, "train", train)
        with pytest.raises(fastnn.TrainingInterrupted) as raised:
            fit(blobs, checkpoint=folder)
    assert raised.value.model.history.epochs == 3
    tensors, _ = content(folder)
    assert tensors["parameters"] != raised.value.model.parameters.vector.tobytes()
    assert results(fit(blobs, checkpoint=folder, resume=True)) == results(fit(blobs))


def test_a_run_that_diverges_leaves_the_last_whole_epoch(blobs, folder):
    settings = {
        "optimizer": fastnn.SGD(), "learning_rate": 0.05, "checkpoint": folder,
        "schedule": lambda progress: np.where(progress < 0.5, 1, 1e37),
    }  # fmt: skip
    for resume in (False, True):
        with pytest.raises(fastnn.DivergedError) as raised:
            fit(blobs, resume=resume, **settings)
        assert raised.value.epoch == 4
        assert len(content(folder)[1]["history"]["loss"]) == 3


def test_a_checkpoint_that_cannot_be_written_ends_the_run(blobs, folder, monkeypatch):
    """And leaves the one before, and the model."""
    broken_off(blobs, 3, checkpoint=folder)
    before = (folder / NAME).read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match=f"No space left on device: .*{NAME}") as raised:
            fit(blobs, checkpoint=folder, resume=True)
    model = raised.value.model
    assert (model.history.stopped, model.history.epochs) == ("failed", 3)
    assert (folder / NAME).read_bytes() == before
    assert os.listdir(folder) == [NAME]
    assert results(fit(blobs, checkpoint=folder, resume=True)) == results(fit(blobs))


# --- what is there when a run begins --------------------------------------------------------------


def test_where_nothing_was_saved_a_run_starts_afresh(blobs, folder):
    assert results(fit(blobs, checkpoint=folder / "a" / "b", resume=True)) == results(fit(blobs))
    assert os.listdir(folder / "a" / "b") == [NAME]


def test_without_resume_a_checkpoint_is_replaced_once_an_epoch_has_ended(blobs, folder):
    fit(blobs, checkpoint=folder)
    before = (folder / NAME).read_bytes()
    broken_off(blobs, 1, checkpoint=folder, seed=1)
    assert (folder / NAME).read_bytes() == before
    broken_off(blobs, 2, checkpoint=folder, seed=1)
    resumed = fit(blobs, checkpoint=folder, seed=1, resume=True)
    assert results(resumed) == results(fit(blobs, seed=1))


def test_what_a_killed_writer_has_left_is_removed(blobs, folder):
    """Killed between writing a temporary file and giving it the name."""
    broken_off(blobs, 4, checkpoint=folder)
    left = files._temporary(folder / NAME)
    left.write_bytes((folder / NAME).read_bytes()[:100])
    (folder / "model.safetensors").write_bytes(b"someone's")
    (folder / ".other.tmp").write_bytes(b"someone's")
    # a run that is refused touches nothing
    with pytest.raises(fastnn.InputError, match="seed was 0, is 1"):
        fit(blobs, checkpoint=folder, resume=True, seed=1)
    assert left.exists()
    assert results(fit(blobs, checkpoint=folder, resume=True)) == results(fit(blobs))
    assert set(os.listdir(folder)) == {NAME, "model.safetensors", ".other.tmp"}


def falling_to(rate):
    return lambda progress: np.where(progress < 0.9, 1, rate)


BEGUN = {
    "optimizer": fastnn.SGD(0.9), "validation": 0.2, "patience": 5, "schedule": falling_to(0.1),
    "sample_weight": np.linspace(0.5, 1, N), "classes": [0, 1, 2],
}  # fmt: skip
OTHERS = {
    "batch_size was 32, is 64": {"batch_size": 64},
    "epochs was 6, is 7": {"epochs": 7},
    "learning_rate was 0.04, is 0.05": {"learning_rate": 0.05},
    "objective.alpha was 0.0, is 0.5": {"objective": fastnn.Objective(0.5)},
    "optimizer.momentum was 0.9, is 0.8": {"optimizer": fastnn.SGD(0.8)},
    "schedule was <lambda>, is cosine": {"schedule": "cosine"},
    "the rates of the schedule differ": {"schedule": falling_to(0.2)},
    "seed was 0, is 3": {"seed": 3},
    "seed was 0, is None": {"seed": None},
    "dtype was float32, is float64": {"dtype": "float64"},
    "engine was fused, is reference": {"engine": "reference"},
    "patience was 5, is None; tol was 0.0001, is None": {"patience": None},
    "tol was 0.0001, is 0.0": {"tol": 0},
    "n_samples was 192, is 216; n_validation was 48, is 24; validation was 0.2, is 0.1": {
        "validation": 0.1
    },
    "standardize was False, is True": {"standardize": True},
    "the starting parameters differ": {"parameters": NETWORK.initialize(0)},
    "the sample weights differ": {"sample_weight": np.linspace(0.5, 1.1, N)},
    "the feature names differ": {"feature_names": ["a", "b", "c", "d"]},
}


@pytest.fixture(scope="module")
def begun(blobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    broken_off(blobs, 3, checkpoint=folder, **BEGUN)
    return folder


def refused(data, folder, message, network=NETWORK, **settings):
    """Resume what is another run, which must say why, and touch nothing."""
    before = (folder / NAME).read_bytes()
    defaults = {"seed": 0, "epochs": 6, "threads": 1}
    with pytest.raises(fastnn.InputError) as raised:
        fastnn.fit(network, *data, checkpoint=folder, resume=True, **{**defaults, **settings})
    assert str(raised.value).startswith(f"{folder / NAME} is of another run: {message}. Resume ")
    assert (folder / NAME).read_bytes() == before


@pytest.mark.parametrize("message", OTHERS)
def test_other_settings_are_named(blobs, begun, message):
    refused(blobs, begun, message, **{**BEGUN, **OTHERS[message]})


def test_other_data_are_named(blobs, begun):
    X, y = blobs
    refused((X + (np.arange(N) == N - 1)[:, None], y), begun, "the samples differ", **BEGUN)
    refused((X[:, ::-1], y), begun, "the samples differ", **BEGUN)
    swapped = y.copy()
    swapped[[0, np.argmax(y != y[0])]] = swapped[[np.argmax(y != y[0]), 0]]
    refused((X, swapped), begun, "the labels differ", **BEGUN)
    named = {**BEGUN, "classes": ["a", "b", "c"]}
    refused((X, np.array(["a", "b", "c"])[y]), begun, "the classes differ", **named)
    fewer = {**BEGUN, "sample_weight": None, "validation": 0.2}
    refused((X[1:], y[1:]), begun, "n_samples was 192, is 191", **fewer)
    integers = np.rint(X * 10).astype(int)
    refused((integers, y), begun, "scale was 1.0, is 0.1", **BEGUN, scale=0.1)


def test_several_differences_are_all_named(blobs, begun):
    message = "epochs was 6, is 8; batch_size was 32, is 16"
    refused(blobs, begun, message, **{**BEGUN, "epochs": 8, "batch_size": 16})


def test_another_network_is_named(blobs, begun):
    wider = fastnn.Network((4, 9, 3))
    refused(blobs, begun, "layer_sizes was [4, 8, 3], is [4, 9, 3]", wider, **BEGUN)
    tanh = fastnn.Network((4, 8, 3), activation="tanh")
    refused(blobs, begun, "activation was relu, is tanh", tanh, **BEGUN)


def test_other_versions_are_named(blobs, begun, monkeypatch):
    from fastnn import training

    monkeypatch.setattr(training, "__version__", "9.9")
    monkeypatch.setattr(training.np, "__version__", "9.8")
    message = f"fastnn was {fastnn.__version__}, is 9.9; numpy was "
    before = (begun / NAME).read_bytes()
    with pytest.raises(fastnn.InputError) as raised:
        fit(blobs, checkpoint=begun, resume=True, **BEGUN)
    assert message in str(raised.value)
    assert ", is 9.8. Resume" in str(raised.value)
    assert (begun / NAME).read_bytes() == before


def test_other_validation_data_are_named(blobs, folder):
    X, y = blobs
    broken_off(blobs, 3, checkpoint=folder, validation=(X[:50], y[:50]))
    refused(blobs, folder, "the validation samples differ", validation=(X[:50] + 1, y[:50]))
    other = (X[:50], (y[:50] + 1) % 3)
    refused(blobs, folder, "the validation labels differ", validation=other)
    message = "n_samples was 240, is 192; n_validation was 50, is 48; validation was given, is 0.2"
    refused(blobs, folder, message, validation=0.2)


# --- files that are not whole ---------------------------------------------------------------------


def damaged(blobs, path):
    before = path.read_bytes()
    with pytest.raises(fastnn.InputError, match=f"{NAME} is not a checkpoint of fastnn: "):
        fit(blobs, checkpoint=path.parent, resume=True)
    assert path.read_bytes() == before


@pytest.fixture
def path(blobs, folder):
    broken_off(blobs, 3, checkpoint=folder)
    return folder / NAME


def test_every_truncation_is_refused(blobs, path):
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 101), len(whole) - 1]:
        path.write_bytes(whole[:length])
        damaged(blobs, path)


def test_a_single_bit_that_has_changed_is_refused(blobs, path):
    """Or does not matter, such as a blank between two parts."""
    whole, expected = path.read_bytes(), results(fit(blobs))
    chance, n_refused = np.random.default_rng(0), 0
    for place in chance.integers(0, len(whole), 300):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << chance.integers(0, 8)
        path.write_bytes(spoiled)
        try:
            model = fit(blobs, checkpoint=path.parent, resume=True)
        except fastnn.InputError:
            n_refused += 1
        else:
            assert results(model) == expected
    assert n_refused > 290


def test_other_files_are_refused(blobs, path):
    fit(blobs).save(path)
    damaged(blobs, path)
    for other in (b"", b"text", b"\x80\x04K\x01.", os.urandom(1000)):
        path.write_bytes(other)
        damaged(blobs, path)
    path.unlink()
    path.mkdir()
    with pytest.raises(fastnn.InputError, match="it is there and is not a file"):
        fit(blobs, checkpoint=path.parent, resume=True)


def test_a_checkpoint_is_no_model(path):
    with pytest.raises(fastnn.InputError, match="is not a model of fastnn"):
        fastnn.load(path)


def test_folders_that_cannot_be(blobs, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "more"):
        with pytest.raises(fastnn.InputError, match=f"cannot write {folder}"):
            fit(blobs, checkpoint=folder)
    with pytest.raises(fastnn.InputError, match="checkpoint is 5; expected the path of a folder"):
        fit(blobs, checkpoint=5)
    with pytest.raises(fastnn.InputError, match="checkpoint is ''; expected the path of a folder"):
        fit(blobs, checkpoint="")
    with pytest.raises(fastnn.InputError, match="null"):
        fit(blobs, checkpoint="a\0b")
    with pytest.raises(fastnn.InputError, match="resume is the Checkpoint's own"):
        fit(blobs, checkpoint=Checkpoint(tmp_path / "own"), resume=True)
    with pytest.raises(fastnn.InputError, match="resume needs checkpoint, the folder"):
        fit(blobs, resume=True)


def test_a_callback_that_changes_folder(blobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def go_elsewhere(epoch):
        monkeypatch.chdir(tmp_path / "elsewhere")

    fit(blobs, checkpoint="run", callbacks=[go_elsewhere])
    assert (tmp_path / "run" / NAME).is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


# --- processes that are killed --------------------------------------------------------------------

# Forks a process for each line of its input, which trains, and waits for it on the next: so that
# nobody else is ever killed, and only one that was alive ends by the signal.
NURSERY = """
import json, os, signal, sys
import fastnn

data = fastnn.datasets.load("digits")
OPTIMIZERS = {"adam": fastnn.Adam(), "sgd": fastnn.SGD(), "momentum": fastnn.SGD(0.9)}

def die_at(name, call):
    calls, original = [], getattr(os, name)
    def deadly(*arguments):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    setattr(os, name, deadly)

def train(folder, optimizer, dtype, epochs, *death):
    if death:
        die_at(*death)
    model = fastnn.fit(
        fastnn.Network((64, 12, 10)), data.X_train, data.y_train, scale=data.scale, seed=3,
        optimizer=OPTIMIZERS[optimizer], dtype=dtype, epochs=epochs,
        validation=0.1, patience=epochs, checkpoint=folder, resume=True,
    )
    model.save(os.path.join(folder, "model"))

for dtype in ("float32", "float64"):
    fastnn.get_engine().warm_up(dtype)
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        train(*json.loads(line))
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Processes that train, and that may be killed."""

    def __init__(self, folder):
        env = {**environment(folder), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-c", NURSERY], env=env, cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.server.stdout.readline() == "ready\n"

    def train(self, *what, kill_after=None):
        """Train in a process of its own; return its exit status."""
        print(json.dumps(what), file=self.server.stdin, flush=True)
        child = int(self.server.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)  # at worst one that has ended, and was not waited for
        print(file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def close(self):
        self.server.stdin.close()
        self.server.wait(30)
        self.server.stdout.close()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory, kept_kernels):
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


@pytest.mark.parametrize("place", ["fsync 3", "fsync 4", "replace 2"])
def test_a_process_that_is_killed_while_it_writes(tmp_path, nursery, place):
    """Before the second file is flushed, after it has the name, and just before."""
    name, call = place.split()
    folder, what = tmp_path / "run", ("adam", "float32", 4)
    assert nursery.train(str(tmp_path / "whole"), *what) == 0
    assert nursery.train(str(folder), *what, name, int(call)) == -signal.SIGKILL
    assert epochs_in(folder) == (2 if place == "fsync 4" else 1)
    left = set(os.listdir(folder)) - {NAME}
    assert len(left) == (0 if place == "fsync 4" else 1)
    assert nursery.train(str(folder), *what) == 0
    assert content(folder) == content(tmp_path / "whole")
    assert set(os.listdir(folder)) == {NAME, "model"}


EPOCHS, KILLS = 120, 40


def epochs_in(folder):
    return len(content(folder)[1]["history"]["loss"]) if (folder / NAME).exists() else 0


@pytest.mark.parametrize(
    ("optimizer", "dtype"), [("adam", "float32"), ("sgd", "float64"), ("momentum", "float32")]
)
def test_processes_killed_at_random_moments_end_with_the_same_bits(
    tmp_path, nursery, optimizer, dtype
):
    """Run after run, each until it has ended, and so many kills in all, whatever the clock does."""
    chance = random.Random(f"{optimizer} {dtype}")
    whole = tmp_path / "whole"
    started = time.monotonic()
    assert nursery.train(str(whole), optimizer, dtype, EPOCHS) == 0
    longest = (time.monotonic() - started) / 4
    n_runs, n_kills = 0, 0  # of processes that were alive, in the midst of their run
    while n_kills < KILLS:
        folder, n_runs = tmp_path / f"run {n_runs}", n_runs + 1
        status = -signal.SIGKILL
        while status:
            before = epochs_in(folder) if folder.exists() else 0
            what = (str(folder), optimizer, dtype, EPOCHS)
            status = nursery.train(*what, kill_after=chance.uniform(0, longest))
            assert status in (0, -signal.SIGKILL)
            saved = epochs_in(folder)  # and what is there is whole
            if status:
                n_kills += 0 < saved < EPOCHS
                if saved == before:  # a machine that is busy must still get on
                    longest *= 1.1
        assert content(folder) == content(whole)
        models = [load_tensors((place / "model").read_bytes()) for place in (folder, whole)]
        assert {k: a.tobytes() for k, a in models[0].items()} == {
            k: a.tobytes() for k, a in models[1].items()
        }
        assert not [name for name in os.listdir(folder) if name.startswith(f".{NAME}")]


# --- the command line -----------------------------------------------------------------------------

LONG = ("train", "digits", "--hidden", "8", "--batch-size", "256", "--epochs", "700")
PIPE = 4096  # bytes, and twice as many are read ahead: room for 150 lines in all


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a pipe is set as Linux has it")
def test_the_command_line_killed_again_and_again(tmp_path, kept_kernels):
    """A process whose lines nobody reads cannot end: each is alive when it is killed."""
    whole = report(*LONG, "--output", "whole", cwd=tmp_path)
    chance, kept = random.Random(0), ("--checkpoint", "run", "--resume")
    reached = [0]
    for _ in range(3):
        process = start(*LONG, *kept, cwd=tmp_path)
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE)
        for _ in range(chance.randint(3, 40)):
            process.stdout.readline()
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        reached.append(epochs_in(tmp_path / "run"))
    assert reached == sorted(reached)
    assert 0 < reached[-1] < 600
    output = succeed(*LONG, *kept, "--output", "again", "--json", "again.json", cwd=tmp_path)
    lines = output.splitlines()
    assert lines[0] == f"going on after epoch {reached[-1]} of 700"
    assert lines[1].startswith("digits: 1438 samples to train on")
    assert lines[2].startswith(f"epoch {reached[-1] + 1}/700 ")
    again = json.loads((tmp_path / "again.json").read_text())
    clock = {"train_seconds", "output"}
    assert {k: v for k, v in again.items() if k not in clock} == {
        k: v for k, v in whole.items() if k not in clock
    }
    one, two = (load_tensors((tmp_path / name).read_bytes()) for name in ("whole", "again"))
    assert {k: a.tobytes() for k, a in one.items()} == {k: a.tobytes() for k, a in two.items()}


def test_the_command_line_says_what_it_does(tmp_path, kept_kernels):
    kept = ("train", "--epochs", "3", "--hidden", "8", "--checkpoint", "run")
    assert "going on" not in succeed(*kept, "--resume", cwd=tmp_path)
    assert succeed(*kept, "--resume", cwd=tmp_path).splitlines()[0] == (
        "the run had ended after epoch 3: nothing is left to train"
    )
    assert "epoch 1/3" in succeed(*kept, cwd=tmp_path)  # afresh
    result = run(*kept, "--resume", "--batch-size", "64", "--json", "-", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(
        f"Error: {tmp_path / 'run' / NAME} is of another run: batch_size was 32, is 64. Resume "
    )
    assert result.stderr.count("\n") == 1
    (tmp_path / "run" / NAME).write_bytes(b"")
    result = run(*kept, "--resume", cwd=tmp_path)
    whole_path = tmp_path / "run" / NAME
    assert f"Error: {whole_path} is not a checkpoint of fastnn: it is not" in result.stderr
    result = run("train", "--resume", cwd=tmp_path)
    assert result.returncode == 2
    assert "Error: --resume needs --checkpoint, the folder of the run" in result.stderr
    result = run(*kept, "--output", f"run/{NAME}", cwd=tmp_path)
    assert f"run/{NAME} is named twice" in result.stderr
