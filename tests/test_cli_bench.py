"""``fastnn bench``: what it measures, says and refuses; no assertion is about a time."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command import report, run, run_on_screen, start

import fastnn
from fastnn import compare
from fastnn.cli import bench, bench_data
from fastnn.cli.program import cli
from fastnn.named_data import local_folder
from fastnn.tasks import Task, saved

pytestmark = pytest.mark.usefixtures("kept_kernels")

FAST = ("bench", "--seconds", "0", "--threads", "1")
ONE = (*FAST, "--peer", "reference", "--hidden", "5", "--batch-size", "16")
# processes of processes must find this fastnn
HERE = {"PYTHONPATH": str(Path(fastnn.__file__).parent.parent)}


@pytest.fixture
def own(tmp_path):
    """A folder with the same samples in files of three formats, and the samples."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = (rng.normal(size=(90, 4)) + 3 * y[:, None]).astype(np.float32)
    np.savez(tmp_path / "own.npz", X=X, y=y)
    names = np.array(["a", "b", "c"])[y]
    rows = [f"{','.join(map(str, row))},{name}" for row, name in zip(X, names, strict=True)]
    (tmp_path / "own.csv").write_text("\n".join(["p,q,r,s,kind", *rows]) + "\n")
    lines = [f"{k} 1:{row[0]:.4f} 4:{row[3]:.4f}" for row, k in zip(X, y, strict=True)]
    (tmp_path / "own.svm").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def in_process(monkeypatch):
    """Run the command here, where it can be changed; return (exit status, output, JSON)."""
    monkeypatch.setattr(compare, "PAUSE", 0.0)
    monkeypatch.setenv("PYTHONPATH", HERE["PYTHONPATH"])

    def run_here(path, *args):
        arguments = [*args, "--json", str(path)]
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
        return result.return_value, result.output, json.loads(path.read_text())

    return run_here


def test_own_data_in_numbers(own):
    args = (*FAST, "--data", "own.npz", "--hidden", "7,6", "--peer", "scikit-learn")
    found = report(*args, "--optimizer", "adam", cwd=own, **HERE)
    assert set(found) == {"machine", "settings", "not_installed", "seconds", "results"}
    assert "folders" not in found["machine"]
    assert found["machine"]["versions"]["scikit-learn"]
    settings = found["settings"]
    assert (settings["data"], settings["n_samples"]) == ("own.npz", 72)
    assert settings["layer_sizes"] == [4, 7, 6, 3]
    assert settings["batch_sizes"] == [32]  # 128 are not there
    assert settings["optimizer"] == "adam"
    assert [row["peer"] for row in found["results"]] == ["fastnn", "scikit-learn"]
    for row in found["results"]:
        assert row["problem"] is None
        assert row["disagreement"] < 1e-3
        assert len(row["seconds"]) == len(row["ratios"]) == compare.LEAST_ROUNDS
        assert row["ratio"]["lower"] <= row["ratio"]["median"] <= row["ratio"]["upper"]
        assert row["samples_per_second"] > 0
        assert row["n_samples"] == 32


def test_own_data_for_people(own):
    result = run(*ONE, "--data", "own.csv", "--label-column", "kind", cwd=own, **HERE)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("own.csv: 72 samples, network 4-5-3, sgd\n")
    assert re.search(r"^ +16  fastnn .* +[█▏▎▍▌▋▊▉]+ *$", result.stdout, re.MULTILINE)
    assert re.search(r"reference .*\dx \(\S+-\S+\)", result.stdout)
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_on_a_terminal(own):
    status, shown = run_on_screen(*ONE, "--data", "own.npz", cwd=own, **HERE)
    assert status == 0
    assert "batch 16: reference, round 2" in shown
    assert "samples/s" in shown


def test_sparse_samples_stay_sparse(own, in_process):
    args = ("--data", str(own / "own.svm"), "--peer", "torch")
    status, output, found = in_process(own / "run.json", *ONE, *args)
    assert status == 0
    rows = {row["peer"]: row for row in found["results"]}
    assert found["settings"]["sparse"] is True
    assert rows["reference"]["problem"] is None
    assert "sparse" in rows["torch"]["problem"]
    assert "Not timed with batches of 16: torch: is not given sparse samples" in output


def test_samples_are_scaled_as_train_scales_them(own):
    data = bench_data.store(fastnn.datasets.load(own / "own.npz"), str(own))
    X, y = saved(data.where)
    assert X.dtype == np.float32
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(X.std(axis=0), 1, rtol=1e-5)
    assert set(y) == {0, 1, 2}
    sparse = bench_data.store(fastnn.datasets.load(own / "own.svm"), str(own))
    assert sparse.is_sparse
    assert Task("", (5, 3), 50, 25, data=sparse.where).samples()[0].shape == (50, sparse.n_features)
    images = bench_data.store(fastnn.datasets.load("digits"), str(own))
    assert saved(images.where)[0].max() == 1


def test_no_more_rows_than_fit(own, monkeypatch):
    monkeypatch.setattr(bench_data, "LIMIT", 20 * 4 * 4)
    for name in ("own.npz", "own.svm"):
        data = bench_data.store(fastnn.datasets.load(own / name), str(own))
        assert (data.n_samples, data.n_usable) == (72, 20)


def test_without_mnist_images_are_made_up(tmp_path, in_process, monkeypatch):
    assert local_folder("mnist") is None
    monkeypatch.setattr(bench_data, "N_IMAGES", 3000)
    status, output, found = in_process(tmp_path / "run.json", *ONE)
    assert status == 0
    assert output.startswith("made-up images")
    assert found["settings"]["layer_sizes"] == [784, 5, 10]
    X, _ = Task("", (784, 10), 200, 50, data="images").samples()
    assert 0.18 < np.count_nonzero(X) / X.size < 0.2


def test_mnist_is_the_default(tmp_path, real_data):
    assert bench_data.default_data(str(tmp_path)).name == "mnist"


def test_other_work_is_not_timed(own, in_process, monkeypatch):
    honest = compare._losses_of_the_reference
    monkeypatch.setattr(
        compare,
        "_losses_of_the_reference",
        lambda task, threads: [1.002 * loss for loss in honest(task, threads)],
    )
    status, output, found = in_process(own / "run.json", *ONE, "--data", str(own / "own.npz"))
    assert status == 1
    assert "fastnn: its losses are off by 0.002" in output
    assert "Nothing could be timed." in output
    assert all(row["seconds"] == [] and row["ratio"] is None for row in found["results"])


def test_peers_that_are_not_installed_are_named(own, in_process, monkeypatch):
    for name in bench.LIBRARIES:
        monkeypatch.setitem(compare.PEERS, name, "a_library_that_is_not_there")
    args = (*FAST, "--data", str(own / "own.npz"))
    status, output, found = in_process(own / "run.json", *args)
    assert status == 0
    assert found["not_installed"] == list(bench.LIBRARIES)
    for name in bench.LIBRARIES:
        assert f"{name} is not installed: pip install {name}" in output
    assert [row["peer"] for row in found["results"]] == ["fastnn"]


def test_faster_libraries_are_said_to_be(own, in_process, monkeypatch, capsys):
    _, _, found = in_process(own / "run.json", *ONE, "--data", str(own / "own.npz"))
    found["results"][1]["ratio"] = {"lower": 0.7, "median": 0.8, "upper": 0.9}
    for columns in (50, 80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        bench.show(bench.Terminal(), found)
        output = capsys.readouterr().out
        assert "0.80x (0.70-0.90) faster" in output
        assert "reference is faster than fastnn here with batches of 16." in output
        assert ("█" in output) == (columns > 70)
        assert "vary widely" not in output
    found["results"][1]["ratio"]["upper"] = 1.2  # as on a busy machine
    bench.show(bench.Terminal(), found)
    assert "reference, batches of 16: times vary widely" in capsys.readouterr().out


def test_a_round_is_what_it_was_meant_to_be(monkeypatch):
    """Whole batches round the samples down, which must not add a second epoch."""
    clock = iter(range(100))
    monkeypatch.setattr(bench, "perf_counter", lambda: float(next(clock)))
    settings = {"layer_sizes": (4, 3), "optimizer": "sgd", "threads": 1}
    data = bench_data.BenchData("made up", "images", 10_000, 10_000, 4, 3)
    task = bench._task(data, settings, 300, 2.5)  # few: 1800 samples in 1 s
    assert (task.n_samples, task.calls) == (4500, 1)
    task = bench._task(data, settings, 300, 2.4)
    assert (task.n_samples, task.calls) == (4200, 1)
    task = bench._task(data, settings, 300, 22.0)
    assert (task.n_samples, task.calls) == (9900, 4)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--data none.npz", "none.npz: No such file"),
        ("--data own.csv --label-column colour", "colour"),
        ("--peer theano", "theano"),
        ("--peer fastnn", "'fastnn' is not one of"),
        ("--labels y.npy", "go with --data"),
        ("--data own.npz --batch-size 1000", "--batch-size is 1000; own.npz has 72 samples"),
        ("--hidden 0", "layer sizes"),
        ("--seconds nan --data own.npz", "--seconds"),
        ("--json nowhere/run.json", "nowhere"),
        ("--data own.npz --json own.npz", "named twice"),
    ],
)
def test_refusals_are_one_line(own, args, says):
    result = run("bench", *args.split(), cwd=own, **HERE)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


def test_two_classes_are_other_work_in_scikit_learn(own):
    data = bench_data.BenchData("two", "images", 100, 100, 4, 2)
    assert "two classes" in data.unsuited("scikit-learn")
    assert data.unsuited("torch") is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for children in /proc")
def test_interrupt_leaves_nothing_behind(own):
    temporary = own / "temporary"
    temporary.mkdir()
    args = (*ONE, "--data", "own.npz", "--json", "run.json", "--seconds", "600")
    process = start(*args, cwd=own, TMPDIR=str(temporary), **HERE)
    while not (children := _children(process.pid)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors.strip()) == (130, "", "Interrupted.")
    assert not [child for child in children if os.path.exists(f"/proc/{child}")]
    assert not list(temporary.iterdir())
    assert not (own / "run.json").exists()


def _children(pid):
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]
