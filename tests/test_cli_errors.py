"""What the command line does when something is wrong: one line, a status, and nothing lost."""

import fcntl
import gzip
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile

import numpy as np
import pytest
from command import (
    at_startup,
    command_line,
    environment,
    listing,
    on_import,
    run,
    start,
    succeed,
    wait_for_line,
    with_matplotlib,
)
from files import idx_bytes, mnist_like
from safetensors.numpy import load, save

import fastnn

pytestmark = pytest.mark.usefixtures("kept_kernels")

MODEL = "model.safetensors"
FOREVER = ("train", "--epochs", "1000000")
ASKED = ("--output", MODEL, "--json", "run.json")


# --- files ----------------------------------------------------------------------------------------


def put(folder, name, content):
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def write_data(folder):
    """Fill a folder with files that are wrong, each in its own way, and a few good ones."""
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(60, 4)), np.arange(60) % 3
    nan, inf = X.copy(), X.copy()
    nan[7, 2], inf[9, 1] = np.nan, -np.inf
    arrays = {
        "good": {"X": X, "y": y},
        "nan": {"X": nan, "y": y},
        "inf": {"X": inf, "y": y},
        "nan_train": {"X_train": nan, "y_train": y, "X_test": X[:9], "y_test": y[:9]},
        "nan_test": {"X_train": X, "y_train": y, "X_test": nan[:9], "y_test": y[:9]},
        "huge": {"X": X * 1e200, "y": y},
        "no_labels": {"X": X},
        "no_samples": {"X": X[:0], "y": y[:0]},
        "regression": {"X": X, "y": X[:, 0]},
        "tiny": {"X": X[:3], "y": y[:3]},
        "new_class": {"X_train": X, "y_train": y, "X_test": X, "y_test": y + 1},
    }
    for name, parts in arrays.items():
        np.savez(folder / f"{name}.npz", **parts)
    np.save(folder / "X.npy", X)
    np.save(folder / "y50.npy", y[:50])
    put(folder, "half_X.npy", (folder / "X.npy").read_bytes()[:900])
    put(folder, "empty.csv", "")
    put(folder, "word.csv", "a,b,label\n1,2,x\n1,two,y\n")
    put(folder, "which.csv", "a,b,c\n1,2,3\n4,5,6\n")
    put(folder, "bad.svm", "1 1:2\nhello there\n")
    put(folder, "random.bin", bytes(range(256)) * 4)
    put(folder, "letter.txt", "Dear reader!\nThese are no data.\n")
    images = idx_bytes(np.arange(500, dtype=np.uint8).reshape(20, 5, 5))
    put(folder, "short-idx3-ubyte", images[:-7])
    put(folder, "magic-idx3-ubyte", b"\0\1\7\3" + images[4:])
    put(folder, "short-idx3-ubyte.gz", gzip.compress(images)[:-20])
    put(folder, "bomb.csv.gz", gzip.compress(bytes(40_000_000)))
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with good and bad files, and a model that no failing run may touch."""
    folder = tmp_path_factory.mktemp("place")
    write_data(folder)
    succeed("train", "--epochs", "1", "--output", MODEL, cwd=folder)
    write_models(folder)
    return folder


def refused(place, *args, status=2, **env):
    """Run a command that must fail and leave everything as it was; return its one error line."""
    before = listing(place)
    # nothing is computed, and with one thread BLAS starts sooner
    result = run(*args, cwd=place, OPENBLAS_NUM_THREADS="1", **env)
    assert "Traceback" not in result.stderr
    assert (result.returncode, result.stdout) == (status, ""), result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    assert "defect in fastnn" not in result.stderr
    assert listing(place) == before
    return result.stderr


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("mnits", "'mnits'; expected digits, mnist, fashion-mnist"),
        ("nowhere.csv", "nowhere.csv: No such file"),
        ("folder", "train-images-idx3-ubyte"),
        ("/dev/null", "/dev/null"),
        ("digits more", "unexpected extra argument (more)"),
        ("digits --labels y50.npy", "digits has labels of its own"),
        ("nan.npz", "nan.npz: X[7, 2] is nan"),
        ("inf.npz", " is -inf; expected finite numbers"),
        ("nan_train.npz", "nan_train.npz (train): X[7, 2] is nan; expected"),
        ("nan_test.npz", "nan_test.npz (test): X[7, 2] is nan; expected"),
        ("huge.npz --no-standardize", "too large for float32"),
        ("no_labels.npz", "--labels"),
        ("no_samples.npz", "no_samples.npz"),
        ("regression.npz", "y[0] is 0.12"),
        ("tiny.npz", "too few"),
        ("new_class.npz", "is 3, which is not one of the 3 classes 0, 1, 2"),
        ("half_X.npy --labels y50.npy", "half_X.npy"),
        ("X.npy", "--labels"),
        ("X.npy --labels y50.npy", "50 labels for 60 samples"),
        ("X.npy --labels nowhere", "nowhere: No such file"),
        ("X.npy --labels X.npy", "expected one label per sample"),
        ("good.npz --label-column a", "only CSV files have a label column"),
        ("empty.csv", "the file is empty"),
        ("word.csv", "sample 2, column 'b' is 'two'"),
        ("which.csv", "--label-column"),
        ("bad.svm", "not an svmlight file"),
        ("random.bin", "random.bin: not a format"),
        ("letter.txt", "letter.txt: not a CSV file"),
        ("short-idx3-ubyte", "(20, 5, 5), 500 bytes of values; it has 493"),
        ("magic-idx3-ubyte", "expected two zero bytes"),
        ("short-idx3-ubyte.gz", "truncated"),
        ("bomb.csv.gz", "expands to more than"),
    ],
)
def test_bad_data(place, args, says):
    assert says in refused(place, "train", *args.split(), "--output", MODEL, "--json", "new.json")


@pytest.mark.parametrize("name", ["[bold]:bug:.csv", "two\nlines.csv", "\x1b[31mred.csv"])
def test_odd_names_of_files(place, name):
    """They are shown as they are, but for what would change the line or the terminal."""
    line = refused(place, "train", name)
    assert line.split(": ", 1)[1].startswith(name.replace("\n", " ").replace("\x1b", "?"))
    assert "\x1b" not in line


def test_data_that_cannot_be_downloaded(place):
    nowhere = "http://127.0.0.1:9"  # the port of "discard", where nobody listens
    line = refused(place, "train", "mnist", "--output", MODEL, https_proxy=nowhere)
    assert "could not be downloaded" in line
    assert "FASTNN_DATA=DIR" in line


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--epochz 3", "--epochz"),
        ("--epoch 3", "--epochs"),
        ("--epochs 0", "0 is not in the range x>=1"),
        ("--epochs many", "'many' is not a valid integer"),
        ("--batch-size 0", "--batch-size"),
        ("--hidden 0", "'0' is not a list of layer sizes"),
        ("--hidden 10,none", "'10,none' is not a list of layer sizes"),
        ("--hidden 99999999999", "more than there is memory for"),
        ("--learning-rate 0", "expected a finite number above 0"),
        ("--learning-rate nan", "expected a finite number above 0"),
        ("--alpha -1", "alpha is -1.0"),
        ("--dropout 1", "dropout is 1.0"),
        ("--label-smoothing -0.5", "label_smoothing is -0.5"),
        ("--clip-norm 0", "clip_norm is 0.0"),
        ("--momentum 0.5", "--momentum goes with momentum or nesterov, not with adam"),
        ("--optimizer momentum --momentum 1.5", "momentum is 1.5"),
        ("--weight-decay 1", "--weight-decay goes with adamw"),
        ("--patience 3 --validation 0", "--patience needs"),
        ("--validation nan", "nan is not a number"),
        ("--test-fraction nan", "nan is not a number"),
        ("--plot -", "only --json can be -"),
        ("--validation 0.0001", "too few to hold out a share of 0.0001"),
        ("--test-fraction 0", "0<x<1"),
        ("--optimizer Adam", "'sgd', 'momentum', 'nesterov', 'adam', 'adamw'"),
        ("--threads 0", "--threads"),
        ("--resume", "--resume needs --checkpoint"),
        ("--checkpoint good.npz", "cannot write good.npz"),
    ],
)
def test_bad_options(place, args, says):
    # the people's half of the output goes to standard error, and must be silent too
    args = ("--epochs", "1", *args.split(), "--output", MODEL, "--json", "-")
    assert says in refused(place, "train", *args)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("trian", "No such command 'trian'"),
        ("--verbose", "--verbose"),
        ("evaluate", "Missing argument 'MODEL'"),
        (f"evaluate {MODEL}", "Missing argument 'DATA'"),
        ("train --json", "'--json' requires an argument"),
        ("completion powershell", "'bash', 'zsh', 'fish'"),
        ("info --json nowhere/info.json", "cannot write nowhere/info.json"),
    ],
)
def test_bad_commands(place, args, says):
    assert says in refused(place, *args.split())


@pytest.mark.parametrize(
    "args",
    ["train nowhere.csv --debug", "--debug train --epochz 3", "predict --debug nowhere digits"],
)
def test_debug_shows_the_traceback(place, args):
    result = run(*args.split(), cwd=place)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.stderr.splitlines()[-1].startswith("Error: ")


# --- outputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "path", "says"),
    [
        ("--output", "folder", "it is there and is not a file"),
        ("--output", "nowhere/new.safetensors", "No such file or directory"),
        ("--output", "good.npz/new.safetensors", "Not a directory"),
        ("--output", "/dev/null", "it is there and is not a file"),
        ("--output", "loop", "it is there and is not a file"),
        ("--plot", "nowhere/new.png", "No such file or directory"),
        ("--json", "folder", "it is there and is not a file"),
    ],
)
def test_outputs_are_tried_before_training(place, option, path, says):
    # a million epochs would not end in time
    line = refused(place, "train", "--epochs", "1000000", option, path)
    assert f"cannot write {path}: {says}" in line


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--output", ""), "does not end in a file's name"),
        (("--output", "new/"), "does not end in a file's name"),
        (("--output", "m" * 300), "File name too long"),
        (("--plot", "new.xyz"), "expected a name ending in .png, .svg, .pdf, .jpg"),
        (("--plot", "new"), "expected a name ending in"),
        (("--output", "new.png", "--plot", "./new.png"), "./new.png is named twice"),
        (("--output", "new", "--json", "folder/../new"), "is named twice"),
        (("good.npz", "--output", "good.npz"), "good.npz is named twice"),
        (("X.npy", "--labels", "y50.npy", "--json", "y50.npy"), "y50.npy is named twice"),
    ],
)
def test_outputs_that_would_destroy_or_mislead(place, args, says):
    assert says in refused(place, "train", *args)


def test_model_is_not_overwritten_by_its_report(place):
    line = refused(place, "evaluate", MODEL, "digits", "--json", MODEL)
    assert f"{MODEL} is named twice" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(place):
    folder = place / "folder"
    folder.chmod(0o500)
    try:
        line = refused(place, "train", "--output", "folder/new.safetensors")
    finally:
        folder.chmod(0o700)
    assert "cannot write folder/new.safetensors: Permission denied" in line


def test_plot_without_matplotlib(place, tmp_path):
    action = "raise ImportError('none here')"
    env = on_import(tmp_path, "matplotlib", action)
    line = refused(place, "train", "--plot", "new.png", "--output", MODEL, **env)
    assert "matplotlib, which is not installed: pip install 'fastnn[plot]'" in line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_full_disk(place):
    with open("/dev/full", "w") as full:
        for args in (("predict", MODEL, "digits"), ("train", "--epochs", "1", "--json", "-")):
            result = run(*args, cwd=place, stdout=full)
            assert result.returncode == 2
            assert result.stderr.endswith("Error: No space left on device\n")
            assert "Exception" not in result.stderr


def test_links_and_permissions_are_kept(tmp_path):
    (tmp_path / "target.json").write_text("old")
    (tmp_path / "target.json").chmod(0o600)
    (tmp_path / "link.json").symlink_to("target.json")
    succeed("train", "--epochs", "1", "--json", "link.json", "--output", MODEL, cwd=tmp_path)
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "target.json").read_text())["epochs"] == 1
    assert (tmp_path / "target.json").stat().st_mode & 0o777 == 0o600
    plain = tmp_path / "plain"
    plain.write_text("")
    assert (tmp_path / MODEL).stat().st_mode == plain.stat().st_mode


# --- models ---------------------------------------------------------------------------------------


def write_models(folder):
    """Write models that are wrong, each in its own way, from the good one."""
    content = (folder / MODEL).read_bytes()
    tensors = load(content)
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["fastnn"])

    def write(name, changes=(), arrays=(), header_text=None):
        text = json.dumps({**header, **dict(changes)}) if header_text is None else header_text
        kept = {k: array for k, array in {**tensors, **dict(arrays)}.items() if array is not None}
        put(folder, f"{name}.st", save(kept, {"fastnn": text}))

    broken = tensors["weights.0"].copy()
    broken[3, 4] = np.nan
    write("nan", arrays={"weights.0": broken})
    write("shape", arrays={"weights.0": tensors["weights.0"][1:].copy()})
    write("more", arrays={"weights.2": tensors["weights.0"]})
    write("less", arrays={"biases.0": None})
    write("version", {"version": 99})
    write("extra_key", {"surprise": 1})
    write("classes", {"classes": [0, 1, 2]})
    write("activation", {"network": {**header["network"], "activation": "gelu"}})
    write("huge", {"network": {**header["network"], "layer_sizes": [10**9, 10**9, 10]}})
    write("deep", header_text="[" * 100_000)
    put(folder, "no_header.st", save(tensors))
    put(folder, "truncated.st", content[:-100])
    put(folder, "empty.st", b"")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    put(folder, "torch.pt", zipped.getvalue())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nan.st", "NaN or infinite"),
        ("shape.st", "shapes (63, 128)"),
        ("more.st", "weights.2"),
        ("less.st", "holds the arrays"),
        ("version.st", "format version 99"),
        ("extra_key.st", "surprise"),
        ("classes.st", "3 class labels for 10 outputs"),
        ("activation.st", "'gelu'"),
        ("huge.st", "huge.st is not a model"),
        ("deep.st", "deep.st is not a model"),
        ("no_header.st", "does not speak of fastnn"),
        ("truncated.st", "not a whole safetensors file"),
        ("empty.st", "not a whole safetensors file"),
        ("torch.pt", "torch.pt is not a model of fastnn"),
        ("good.npz", "good.npz is not a model of fastnn"),
        ("nowhere.st", "nowhere.st: No such file"),
        ("folder", "folder: it is a folder"),
    ],
)
def test_bad_models(place, name, says):
    assert says in refused(place, "evaluate", name, "digits", "--json", "new.json")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("predict nan.st digits", "NaN or infinite"),
        (f"predict {MODEL} good.npz", "good.npz has 4 features; the model expects 64"),
        (f"evaluate {MODEL} good.npz", "good.npz has 4 features; the model expects 64"),
        (f"predict {MODEL} nowhere.csv", "nowhere.csv: No such file"),
        (f"predict {MODEL} half_X.npy", "half_X.npy"),
        (f"evaluate {MODEL} X.npy", "X.npy has 4 features; the model expects 64"),
        (f"evaluate {MODEL} digits --labels y50.npy", "digits has labels of its own"),
        (f"evaluate {MODEL} digits --json folder", "cannot write folder"),
    ],
)
def test_bad_data_for_a_model(place, args, says):
    assert says in refused(place, *args.split())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    rows = "".join(f"{k % 5},{k % 3},{k % 2},{'ab'[k % 2]}\n" for k in range(40))
    put(folder, "train.csv", "p,q,r,label\n" + rows)
    succeed("train", "train.csv", "--epochs", "1", "--output", MODEL, cwd=folder)
    put(folder, "missing.csv", "p,r,label\n1,2,a\n")
    put(folder, "nan.csv", "p,q,r,label\n1,2,3,a\n1,nan,3,b\n")
    put(folder, "class.csv", "p,q,r,label\n1,2,3,c\n")
    return folder


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("missing.csv", "no column 'q', which the model needs"),
        ("nan.csv", "sample 2, column 'q' is nan"),
        ("class.csv", "y[0] is 'c', which is not one of the 2 classes a, b"),
    ],
)
def test_bad_tables_for_a_model(table, data, says):
    assert says in refused(table, "evaluate", MODEL, data, "--json", "new.json")


# --- what may not cost the model ------------------------------------------------------------------


def full(folder, *args, stream):
    """Run a command one of whose streams goes to a full disk."""
    with open("/dev/full", "w") as disk:
        return run(*args, cwd=folder, **{stream: disk})


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="not every system has /dev/full")


@ON_LINUX
def test_the_screen_goes_to_a_full_disk(tmp_path):
    result = full(tmp_path, "train", "--epochs", "2", *ASKED, stream="stdout")
    assert result.stderr == (
        "Error: standard output failed (No space left on device); going on without it\n"
    )
    assert result.returncode == 0
    assert fastnn.load(tmp_path / MODEL).history.epochs == 2
    assert json.loads((tmp_path / "run.json").read_text())["output"] == MODEL


@ON_LINUX
def test_errors_go_to_a_full_disk(tmp_path):
    args = ("train", "--epochs", "2", "--output", MODEL, "--json", "-")
    result = full(tmp_path, *args, stream="stderr")
    assert result.returncode == 0
    assert json.loads(result.stdout)["epochs"] == fastnn.load(tmp_path / MODEL).history.epochs == 2


@ON_LINUX
@pytest.mark.parametrize("args", [("train", "--epochs", "1"), ("train", "--json", "-")])
def test_results_that_cannot_be_written_are_an_error(tmp_path, args):
    result = full(tmp_path, *args, stream="stdout")
    assert result.returncode == 2
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_that_the_screen_cannot_show(tmp_path):
    (tmp_path / "数.csv").write_text("a,label\n" + "1,é\n2,e\n" * 20)
    args = ("train", "数.csv", "--epochs", "30", "--output", MODEL)
    shown = succeed(*args, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert "\\u6570.csv: 32 samples to train on" in shown
    result = subprocess.run(
        command_line("predict", MODEL, "数.csv"),
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONIOENCODING="ascii"),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert "é," in result.stdout.decode("utf-8")


@pytest.mark.parametrize("command", ["train --json -", f"predict {MODEL} digits", "info --json -"])
def test_closed_standard_output(place, command):
    line = " ".join(command_line(*command.split()))
    result = subprocess.run(
        ["sh", "-c", f"{line} >&-"],
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("Error: standard output is closed")


def test_a_terminal_that_is_closed(tmp_path):
    """Its processes get SIGHUP, and everything that they write to it fails."""
    screen, terminal = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command_line(*FOREVER, *ASKED),
        cwd=tmp_path,
        env=environment(tmp_path, TERM="xterm"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=take_terminal,
    )
    try:
        os.close(terminal)
        while b"epoch 1/" not in os.read(screen, 4096):
            pass
        os.close(screen)
        assert process.wait(60) == 130
    finally:
        process.kill()
    check_interrupted(tmp_path, whole_epochs=True)


FULL_FOR_THE_MODEL = """
import os

replace = os.replace

def full(source, target):
    if str(target).endswith(".safetensors"):
        raise OSError(28, "No space left on device")
    replace(source, target)

os.replace = full
"""


def test_no_room_for_the_model(tmp_path):
    """The other files may be on another disk."""
    env = at_startup(tmp_path, FULL_FOR_THE_MODEL)
    result = run("train", "--epochs", "2", *ASKED, cwd=tmp_path, **env)
    assert result.returncode == 2
    assert result.stderr == f"Error: {MODEL}: No space left on device\n"
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["output"] is None
    assert found["test_accuracy"] > 0.5
    assert set(listing(tmp_path)) == {"run.json"}


def test_results_are_written_before_they_are_shown(place, tmp_path):
    result = full(place, "evaluate", MODEL, "digits", "--json", str(tmp_path / "e.json"),
                  stream="stdout")  # fmt: skip
    assert result.returncode == 0
    assert json.loads((tmp_path / "e.json").read_text())["n_samples"] == 359


def test_samples_to_test_with_that_overflow(tmp_path):
    """A feature that is constant in training is not scaled, and may be anything later."""
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    X[:, 3] = 1
    far = X[:5].copy()
    far[:, 3] = 1e39
    np.savez(tmp_path / "far.npz", X_train=X, y_train=y, X_test=far, y_test=y[:5])
    args = ("train", "far.npz", "--epochs", "2", "--standardize")
    result = run(*args, *ASKED, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: far.npz, the samples to test with: X[0, 3] is so far")
    assert result.stderr.endswith(f"training has ended, the model is saved to {MODEL}\n")
    found = json.loads((tmp_path / "run.json").read_text())
    assert (found["test_accuracy"], found["output"]) == (None, MODEL)
    assert fastnn.load(tmp_path / MODEL).history.epochs == 2


def test_predictions_that_overflow_are_an_error(place, tmp_path):
    np.save(place / "large.npy", np.full((3, 64), 200, np.uint8))
    model = fastnn.load(place / MODEL)
    model.parameters.weights[0][:] = 1e38
    model.parameters.weights[1][:] = 1e38
    model.save(place / "large.safetensors")
    says = "large.npy: X[0] is so large that the network overflows float32"
    assert says in refused(place, "predict", "large.safetensors", "large.npy")


def test_outputs_may_not_replace_data_in_a_folder(tmp_path):
    mnist_like(tmp_path / "mn")
    before = listing(tmp_path)
    for option in ("--output", "--json"):
        name = next(path.name for path in (tmp_path / "mn").iterdir())
        result = run("train", "mn", option, f"mn/{name}", cwd=tmp_path)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert "is named twice" in result.stderr
    assert listing(tmp_path) == before


def test_a_terminal_of_no_width(place):
    assert "nowhere.csv: No such file" in refused(place, "train", "nowhere.csv", COLUMNS="0")


# --- a run that diverges --------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["1e30", "1e39"])  # the parameters overflow with the second
def test_diverging(place, rate):
    args = ("train", "--optimizer", "sgd", "--learning-rate", rate, "--output", MODEL)
    line = refused(place, *args, "--plot", "new.png", status=1)
    assert "Try a smaller learning rate" in line
    assert line.endswith("The model was not saved.\n")


def test_diverging_late_keeps_the_model_beside(tmp_path):
    """The file asked for may be a better model, from before."""
    np.savez(tmp_path / "a.npz", X=np.eye(60), y=np.arange(60) % 3)
    (tmp_path / MODEL).write_bytes(b"old")
    # with all samples in one batch, the penalty turns each weight W into about -2 W
    args = "train a.npz --optimizer sgd --learning-rate 0.1 --schedule constant --alpha 1290"
    result = run(*args.split(), "--epochs=500", "--batch-size=100", *ASKED, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.endswith("The model so far is in model-diverged.safetensors.\n")
    found = json.loads((tmp_path / "run.json").read_text())
    model = fastnn.load(tmp_path / found["output"])
    assert found["epochs"] == model.history.epochs > 0
    assert (tmp_path / MODEL).read_bytes() == b"old"


def test_diverging_is_reported(place, tmp_path):
    args = ("--optimizer", "sgd", "--learning-rate", "1e30")
    result = run("train", *args, "--json", "-", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    found = json.loads(result.stdout)
    assert (found["stopped"], found["epochs"], found["test_accuracy"]) == ("diverged", 0, None)


# --- Ctrl-C ---------------------------------------------------------------------------------------


def ended(process):
    """Return the exit status and the errors of a process, once it has ended."""
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()  # nothing of a failed test may go on running
    assert "Traceback" not in errors
    return process.returncode, errors


def check_interrupted(folder, *, whole_epochs):
    found = json.loads((folder / "run.json").read_text())
    model = fastnn.load(folder / MODEL)
    assert found["stopped"] == model.history.stopped == "interrupted"
    assert found["epochs"] == model.history.epochs == len(found["losses"])
    assert bool(found["epochs"]) == whole_epochs
    assert {MODEL, "run.json"} <= set(listing(folder)) <= {MODEL, "run.json", "new.png"}
    return found


def test_interrupt_saves_what_was_asked_for(tmp_path):
    process = start(*FOREVER, *ASKED, cwd=tmp_path)
    wait_for_line(process.stdout, "epoch 1/")
    process.send_signal(signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == "Interrupted: training ended early, after the batch it was in.\n"
    assert f" model saved to  {MODEL}\n" in output
    found = check_interrupted(tmp_path, whole_epochs=True)
    assert found["epochs"] < 100_000
    # the model is as good as its report says
    tested = succeed("evaluate", MODEL, "digits", cwd=tmp_path)
    assert f"{found['test_accuracy']:.4f}" in tested


def test_interrupt_in_the_first_epoch(tmp_path):
    env = at_startup(
        tmp_path,
        """
import os, signal

install = signal.signal

def interrupt_at_once(number, handler):
    before = install(number, handler)
    if number == signal.SIGINT:
        signal.signal = install
        os.kill(os.getpid(), signal.SIGINT)
    return before

signal.signal = interrupt_at_once
""",
    )
    env |= with_matplotlib(tmp_path)
    process = start(*FOREVER, *ASKED, "--plot", "new.png", cwd=tmp_path, **env)
    status, errors = ended(process)
    assert (status, errors.startswith("Interrupted: ")) == (130, True)
    check_interrupted(tmp_path, whole_epochs=False)
    assert (tmp_path / "new.png").stat().st_size > 10_000


def test_second_interrupt_does_not_lose_the_model(tmp_path):
    """It comes while the first one is being served: the model saved, tested, drawn."""
    env = on_import(tmp_path, "matplotlib.figure", "os.kill(os.getpid(), signal.SIGINT)")
    env |= with_matplotlib(tmp_path)
    process = start(*FOREVER, *ASKED, "--plot", "new.png", cwd=tmp_path, **env)
    wait_for_line(process.stdout, "epoch 1/")
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    check_interrupted(tmp_path, whole_epochs=True)
    assert (tmp_path / "new.png").exists()


def test_interrupt_twice_at_once(tmp_path):
    """A terminal and a wrapper may both send it: it is one Ctrl-C."""
    process = start(*FOREVER, "--hidden", "500,500", *ASKED, cwd=tmp_path)
    wait_for_line(process.stdout, "epoch 1/")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    status, errors = ended(process)
    assert (status, errors.startswith("Interrupted: ")) == (130, True)
    check_interrupted(tmp_path, whole_epochs=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("in_background", [False, True])
def test_other_signals_save_too(tmp_path, number, in_background):
    before = signal.getsignal(signal.SIGINT)
    if in_background:  # where a script starts it with &, Ctrl-C is ignored
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(*FOREVER, *ASKED, cwd=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for_line(process.stdout, "epoch 1/")
    if in_background:
        process.send_signal(signal.SIGINT)
        wait_for_line(process.stdout, "epoch ")
    process.send_signal(number)
    assert ended(process)[0] == 130
    check_interrupted(tmp_path, whole_epochs=True)


def test_interrupt_after_training(tmp_path):
    env = on_import(tmp_path, "matplotlib.figure", "os.kill(os.getpid(), signal.SIGINT)")
    env |= with_matplotlib(tmp_path)
    result = run(
        "train",
        "--epochs",
        "1",
        *ASKED,
        "--plot",
        "new.png",
        cwd=tmp_path,
        **env,
    )
    assert result.returncode == 130
    assert result.stderr == "Interrupted when training had ended: everything was written.\n"
    assert json.loads((tmp_path / "run.json").read_text())["stopped"] == "finished"
    fastnn.load(tmp_path / MODEL)


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("train", "click"),
        ("train", "numpy"),
        ("train", "rich.console"),
        ("train", "joblib"),
        (f"predict {MODEL} digits", "fastnn.datasets"),
    ],
)
def test_interrupt_before_training_is_quiet(place, tmp_path, command, module):
    env = on_import(tmp_path, module, "os.kill(os.getpid(), signal.SIGINT)")
    before = listing(place)
    process = start(*command.split(), cwd=place, **env)
    status, errors = ended(process)
    assert (status, errors.strip()) == (130, "Interrupted.")
    assert listing(place) == before
