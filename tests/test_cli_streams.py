"""The command line on files that are larger than the memory for them."""

import json
import os

import click
import numpy as np
import pytest
from command import report, run, start, succeed, wait_for_line

import fastnn
from fastnn.cli.options import SizeType

SMALL = ("--memory", "100K")
N = 3000


@pytest.fixture
def place(tmp_path, kept_kernels):
    """A folder with images of 8 x 8 bytes sorted by class, a float table, and labels of both."""
    rng = np.random.default_rng(0)
    y = np.arange(N) // 1000
    means = rng.integers(0, 256, (3, 64))
    X = np.clip(means[y] * 0.5 + rng.normal(0, 60, (N, 64)), 0, 255).astype(np.uint8)
    np.save(tmp_path / "X.npy", X.reshape(N, 8, 8))
    np.save(tmp_path / "table.npy", X / 7.0)
    np.save(tmp_path / "y.npy", y)
    return tmp_path


def train(*args):
    return ("train", *args, "--labels", "y.npy", "--epochs", "2", *SMALL)


def test_a_large_file_is_trained_tested_saved_and_drawn(place):
    pytest.importorskip("matplotlib")
    output = succeed(
        *train("X.npy"), "--output", "m", "--plot", "p.png", "--json", "j.json", cwd=place,
        MPLCONFIGDIR=str(place),
    )  # fmt: skip
    found = json.loads((place / "j.json").read_text())
    settings = found["settings"]
    assert settings["streamed"] is True
    n_trained = settings["n_samples"] + settings["n_validation"]
    assert f"{n_trained} samples to train on" in output
    assert f"{N - n_trained} to test with" in output
    assert abs(n_trained - 0.8 * N) <= 64  # whole blocks
    assert found["test_accuracy"] > 0.9
    assert (place / "p.png").stat().st_size > 10_000
    model = fastnn.load(place / "m")
    assert model.scaling.scale == 1 / np.load(place / "X.npy").max()
    assert model.classes.tolist() == [0, 1, 2]


def test_evaluate_and_predict_give_the_same_by_windows(place):
    succeed(*train("X.npy"), "--output", "m", cwd=place)
    asked = ("evaluate", "m", "X.npy", "--labels", "y.npy")
    small, whole = (report(*asked, *memory, cwd=place) for memory in (SMALL, ()))
    assert small.pop("loss") == pytest.approx(whole.pop("loss"), rel=1e-12)
    assert small == whole
    asked = ("predict", "m", "X.npy", "--probabilities")
    assert succeed(*asked, *SMALL, cwd=place) == succeed(*asked, cwd=place)


def test_a_table_of_floats_is_standardised(place):
    found = report(*train("table.npy"), "--output", "m", cwd=place)
    assert found["settings"]["standardize"] is found["settings"]["streamed"] is True
    assert found["test_accuracy"] > 0.9
    np.save(place / "table.npy", np.load(place / "table.npy") / 100)
    assert report(*train("table.npy"), cwd=place)["settings"]["standardize"] is False


def test_what_is_no_number_is_found_before_training(place):
    X = np.load(place / "table.npy")
    X[2345, 6] = np.nan
    np.save(place / "table.npy", X)
    result = run(*train("table.npy"), "--output", "m", cwd=place)
    assert result.returncode == 2
    says = "Error: table.npy: X[2345, 6] is nan; expected finite numbers"
    assert result.stderr.startswith(says)
    assert result.stderr.count("\n") == 1
    assert not (place / "m").exists()


@pytest.mark.parametrize("output", [("--output", "m"), ()])
def test_a_file_cut_short_leaves_the_model_so_far(place, output):
    args = ("train", "X.npy", "--labels", "y.npy", "--epochs", "100000", *SMALL, *output)
    process = start(*args, "--json", "j.json", cwd=place)
    wait_for_line(process.stdout, "epoch 1/")
    os.truncate(place / "X.npy", 5000)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("Error: X.npy: ")
    assert errors.count("\n") == 1
    found = json.loads((place / "j.json").read_text())
    assert (found["stopped"], found["test_accuracy"]) == ("failed", None)
    if output:
        assert errors.endswith("the model so far is saved to m.\n")
        model = fastnn.load(place / "m")
        assert model.history.stopped == "failed"
        assert model.history.epochs == found["epochs"] >= 1
        assert model.settings["data"] == "X.npy"
    else:
        assert errors.endswith("the model so far was not saved.\n")


def test_a_file_that_is_gone(place):
    process = start(*train("X.npy"), "--epochs", "100000", "--output", "m", cwd=place)
    wait_for_line(process.stdout, "epoch 1/")
    (place / "X.npy").unlink()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("Error: X.npy: No such file or directory. Training ended in epoch ")
    assert fastnn.load(place / "m").history.stopped == "failed"


def test_labels_that_do_not_fit(place):
    np.save(place / "y.npy", np.arange(7))
    result = run(*train("X.npy"), cwd=place)
    assert (result.returncode, result.stderr) == (2, "Error: X.npy: 7 labels for 3000 samples\n")


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("100", 100), ("512M", 2**29), ("4g", 2**32), ("1 KiB", 1024), ("2TB", 2**41)],
)
def test_sizes(text, size):
    assert SizeType().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1X", "1GG", "1" * 99, "nan"])
def test_what_is_no_size(text):
    with pytest.raises(click.BadParameter, match="is not a size such as 512M"):
        SizeType().convert(text, None, None)
