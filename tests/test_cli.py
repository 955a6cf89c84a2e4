"""What the command line does when all is well."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from command import command_line, environment, report, run, run_on_screen, start, succeed
from files import idx_bytes

import fastnn
from fastnn.cli.program import cli
from fastnn.cli.train import train

pytestmark = pytest.mark.usefixtures("kept_kernels")

PROMISED = {
    "data", "layer_sizes", "settings", "engine", "threads", "epochs", "losses", "test_accuracy",
    "train_seconds", "versions",
}  # fmt: skip


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def choices(option):
    parameter = next(p for p in train.params if p.name == option)
    return set(parameter.type.choices)


# --- train ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with a model of the digits, and what training it reported."""
    folder = tmp_path_factory.mktemp("digits")
    output = succeed("train", "--output", "model.safetensors", "--json", "run.json", cwd=folder)
    return folder, output, json.loads((folder / "run.json").read_text())


def test_plain_train_needs_nothing(tmp_path):
    output = succeed("train", cwd=tmp_path)
    assert output.startswith(
        "digits: 1438 samples to train on (10% of them held out to watch), 359 to test with; "
        "network 64-128-10"
    )
    assert re.findall(r"^epoch (\d)/8  loss ", output, re.MULTILINE) == list("12345678")
    (accuracy,) = re.findall(r"^ test accuracy +([\d.]+)$", output, re.MULTILINE)
    assert 0.93 < float(accuracy) <= 1
    assert "\x1b" not in output
    assert not [line for line in output.splitlines() if line != line.rstrip()]
    assert not list((tmp_path / "home").iterdir())


def test_json_on_standard_output_is_all_there_is(tmp_path):
    result = run("train", "--epochs", "2", "--json", "-", cwd=tmp_path)
    assert result.returncode == 0
    found = json.loads(result.stdout)
    assert set(found) >= PROMISED
    assert (found["data"], found["layer_sizes"]) == ("digits", [64, 128, 10])
    assert found["epochs"] == len(found["losses"]) == len(found["validation_losses"]) == 2
    assert found["losses"][1] < found["losses"][0]
    assert found["train_seconds"] > 0
    assert found["engine"] == "fused"
    assert found["threads"] >= 1
    assert found["stopped"] == "finished"
    assert found["versions"]["fastnn"] == fastnn.__version__
    assert found["versions"]["numpy"] == np.__version__
    # what is for people went to standard error
    assert "test accuracy" in result.stderr
    assert "epoch 2/2" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_json_file_says_what_the_screen_says(digits):
    _, output, found = digits
    assert set(found) >= PROMISED
    assert f"{found['test_accuracy']:.4f}" in output
    assert f"{found['test_loss']:.4f}" in output
    assert all(f"loss {loss:.4f}  validation loss" in output for loss in found["losses"])
    assert "model saved to  model.safetensors" in output
    assert found["output"] == "model.safetensors"


def test_inputs_are_scaled_as_the_help_says(digits, table):
    """Bytes of images to 0..1; tables to mean 0 and variance 1, unless told otherwise."""
    images = fastnn.load(digits[0] / "model.safetensors").scaling
    assert (images.scale, images.offset) == (1 / 16, None)
    folder, _, _ = table
    numbers = fastnn.load(folder / "m.safetensors").scaling
    X = clusters(240)[0]
    np.testing.assert_allclose(numbers.offset, X.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(numbers.factor, 1 / X.std(axis=0), rtol=0.2)
    args = ("train.csv", "--no-standardize", "--epochs", "1", "--output", "raw.safetensors")
    succeed("train", *args, cwd=folder)
    assert fastnn.load(folder / "raw.safetensors").scaling.offset is None


def test_seed_decides(tmp_path):
    def losses(seed):
        return report("train", "--epochs", "1", "--seed", seed, cwd=tmp_path)["losses"]

    first = losses(5)
    assert losses(5) == first
    assert losses(6) != first


ADAM = {"name": "Adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-08, "weight_decay": 0.0}
OBJECTIVE = {
    "alpha": 0.0, "label_smoothing": 0.0, "dropout": 0.0, "dropout_seed": 0, "clip_norm": None,
    "like_sklearn": False,
}  # fmt: skip
VARIANTS = [
    # arguments, layer sizes, settings
    (
        "--optimizer sgd --schedule constant --hidden none --dtype float64 --threads 1",
        [64, 10],
        {"optimizer": {"name": "SGD", "momentum": 0.0, "nesterov": False}, "dtype": "float64"},
    ),
    (
        "--optimizer momentum --schedule linear --hidden 20 --hidden 30 --activation identity",
        [64, 20, 30, 10],
        {"optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": False}, "dtype": "float32"},
    ),
    (
        "--optimizer nesterov --momentum 0.8 --schedule step --hidden 20,30 --activation tanh",
        [64, 20, 30, 10],
        {"optimizer": {"name": "SGD", "momentum": 0.8, "nesterov": True}},
    ),
    (
        "--optimizer adam --schedule cosine --dtype float32 --alpha 0.001 --activation logistic",
        [64, 128, 10],
        {"optimizer": ADAM, "objective": {**OBJECTIVE, "alpha": 0.001}},
    ),
    (
        "--optimizer adamw --schedule one-cycle --hidden 9,8 --hidden 7 --activation relu",
        [64, 9, 8, 7, 10],
        {"optimizer": {**ADAM, "weight_decay": 0.01}},
    ),
    (
        "--dropout 0.25 --label-smoothing 0.1 --clip-norm 2 --seed 7 --optimizer adam",
        [64, 128, 10],
        {
            "objective": {
                "alpha": 0.0,
                "label_smoothing": 0.1,
                "dropout": 0.25,
                "dropout_seed": 7,
                "clip_norm": 2.0,
                "like_sklearn": False,
            }
        },
    ),
    (
        "--batch-size 7 --learning-rate 0.01 --validation 0 --no-standardize",
        [64, 128, 10],
        {"batch_size": 7, "learning_rate": 0.01, "n_validation": 0, "n_samples": 1438},
    ),
]


@pytest.mark.parametrize(("args", "layer_sizes", "settings"), VARIANTS, ids=range(len(VARIANTS)))
def test_every_option_takes_effect(tmp_path, args, layer_sizes, settings):
    words = args.split()
    found = report("train", "--epochs", "2", *words, cwd=tmp_path)
    assert found["layer_sizes"] == layer_sizes
    assert {key: found["settings"][key] for key in settings} == settings
    options = dict(zip(words[::2], words[1::2], strict=False))
    assert found["settings"]["schedule"] == options.get("--schedule", "cosine")
    assert found["activation"] == options.get("--activation", "relu")
    assert bool(found["validation_losses"]) == (options.get("--validation") != "0")
    assert found["test_accuracy"] > 0.15  # ten classes
    if "--learning-rate" not in options and "--momentum" not in options:
        rate, name = found["settings"]["learning_rate"], options["--optimizer"]
        help_text = next(p for p in train.params if p.name == "learning_rate").help
        assert re.search(rf"{rate:g} for [^,]*\b{name}\b", help_text)


@pytest.mark.parametrize("option", ["optimizer", "schedule", "activation", "dtype"])
def test_variants_leave_no_choice_out(option):
    tried = {
        word
        for args, _, _ in VARIANTS
        for name, word in zip(args.split(), args.split()[1:], strict=False)
        if name == f"--{option}"
    }
    assert tried == choices(option)


def test_patience_stops_early_and_keeps_the_best(tmp_path):
    args = ["--epochs", 80, "--patience", 2, "--schedule", "constant", "--learning-rate", 0.02]
    found = report("train", *args, cwd=tmp_path)
    assert found["stopped"] == "early"
    assert found["epochs"] == found["best_epoch"] + 2 < 80
    losses = found["validation_losses"]
    assert losses[found["best_epoch"] - 1] <= min(losses) + 1e-4


def test_test_fraction(tmp_path):
    output = succeed("train", "--epochs", "1", "--test-fraction", "0.5", cwd=tmp_path)
    n_train, n_test = map(int, re.findall(r"(\d+) samples to train on .*, (\d+) to", output)[0])
    assert n_train + n_test == 1797
    assert abs(n_train - n_test) < 10


def test_names_of_files_are_shown_as_they_are(tmp_path):
    """No markup, no emoji, no folding: the path can be copied from the screen."""
    folder = tmp_path / ("a long name " * 10).strip()
    folder.mkdir()
    name = f"{folder.name}/[bold]:bug: $x$.safetensors"
    output = succeed("train", "--epochs", "1", "--output", name, cwd=tmp_path)
    assert f" model saved to  {name}\n" in output
    assert (tmp_path / name).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="not every system has such names")
def test_name_that_is_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.safetensors")
    output = succeed("train", "--epochs", "1", "--output", name, "--json", "run.json", cwd=tmp_path)
    assert " model saved to  caf?.safetensors\n" in output
    assert json.loads((tmp_path / "run.json").read_text())["output"] == name
    fastnn.load(tmp_path / name)


def test_real_mnist(tmp_path, real_data):
    real_data = Path(real_data).resolve()
    args = ("--epochs", "1", "--hidden", "32", "--batch-size", "200", "--output", "m.safetensors")
    found = report("train", "mnist", *args, cwd=tmp_path, FASTNN_DATA=str(real_data))
    assert found["layer_sizes"] == [784, 32, 10]
    assert found["test_accuracy"] > 0.85
    tested = report("evaluate", "m.safetensors", real_data / "mnist", cwd=tmp_path)
    assert (tested["accuracy"], tested["n_samples"]) == (found["test_accuracy"], 10000)


# --- evaluate and predict -------------------------------------------------------------------------


def test_evaluate_repeats_the_test_of_training(digits):
    folder, _, found = digits
    tested = report("evaluate", "model.safetensors", "digits", cwd=folder)
    assert tested == {
        "model": "model.safetensors",
        "data": "digits",
        "accuracy": found["test_accuracy"],
        "loss": pytest.approx(found["test_loss"], rel=1e-6),
        "n_samples": 359,
    }
    output = succeed("evaluate", "model.safetensors", "digits", cwd=folder)
    assert re.search(rf"^ accuracy +{tested['accuracy']:.4f}$", output, re.MULTILINE)
    assert re.search(r"^ samples +359$", output, re.MULTILINE)


def test_predict_agrees_with_the_library(digits):
    folder, _, _ = digits
    model = fastnn.load(folder / "model.safetensors")
    X = fastnn.datasets.load("digits").X_test
    rows = rows_of(succeed("predict", "model.safetensors", "digits", cwd=folder))
    assert [row["prediction"] for row in rows] == [str(label) for label in model.predict(X)]
    assert list(rows[0]) == ["prediction", "probability"]

    output = succeed("predict", "model.safetensors", "digits", "--probabilities", cwd=folder)
    rows = rows_of(output)
    assert [row["prediction"] for row in rows] == [str(label) for label in model.predict(X)]
    shares = np.array([[float(row[f"probability of {k}"]) for k in range(10)] for row in rows])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(shares, model.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose([float(row["probability"]) for row in rows], shares.max(axis=1))


def clusters(n, seed=0):
    """Three classes of four numbers that a small network tells apart."""
    generator = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = generator.normal(size=(n, 4)).round(3)
    X[np.arange(n), y] += 4
    return X, y


NAMES = np.array(["no", "perhaps", "yes"])


def write_csv(path, X, y=None, order=(0, 1, 2, 3), extra=False):
    header = [f"x{i}" for i in order] + ["extra"] * extra + ["answer"] * (y is not None)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i, row in enumerate(X):
            cells = [row[k] for k in order] + [7] * extra
            writer.writerow([*cells, *([NAMES[y[i]]] if y is not None else [])])


def make_csv(folder, X, y, name):
    write_csv(folder / f"{name}.csv", X, y)
    return [f"{name}.csv"], X, NAMES[y]


def make_npz(folder, X, y, name):
    np.savez(folder / f"{name}.npz", X=X, y=y)
    return [f"{name}.npz"], X, y


def make_npy(folder, X, y, name):
    np.save(folder / f"{name}.npy", X)
    (folder / f"{name}.txt").write_text("\n".join(NAMES[y]))
    return [f"{name}.npy", "--labels", f"{name}.txt"], X, NAMES[y]


def make_idx(folder, X, y, name):
    images = np.clip(X * 20 + 100, 0, 255).astype(np.uint8).reshape(-1, 2, 2)
    (folder / f"{name}-idx3-ubyte").write_bytes(idx_bytes(images))
    (folder / f"{name}-idx1-ubyte").write_bytes(idx_bytes(y.astype(np.uint8)))
    labels = ["--labels", f"{name}-idx1-ubyte"]
    return [f"{name}-idx3-ubyte", *labels], images.reshape(-1, 4), y


def make_svmlight(folder, X, y, name):
    if name == "test":  # its samples lack the last feature, so that the file has three
        X = X * [1, 1, 1, 0]
    lines = [
        f"{label} " + " ".join(f"{k}:{x}" for k, x in enumerate(row) if x)
        for row, label in zip(X, y, strict=True)
    ]
    (folder / f"{name}.svm").write_text("\n".join(lines) + "\n")
    return [f"{name}.svm"], X, y


@pytest.mark.parametrize("make", [make_csv, make_npz, make_npy, make_idx, make_svmlight])
def test_files_of_every_format(tmp_path, make):
    args, _, _ = make(tmp_path, *clusters(240), "train")
    found = report("train", *args, "--epochs", 12, "--output", "m.safetensors", cwd=tmp_path)
    assert found["test_accuracy"] > 0.8

    args, X, y = make(tmp_path, *clusters(60, seed=1), "test")
    model = fastnn.load(tmp_path / "m.safetensors")
    loss, accuracy = model.evaluate(X, y)
    assert accuracy > 0.7
    rows = rows_of(succeed("predict", "m.safetensors", args[0], cwd=tmp_path))
    assert [row["prediction"] for row in rows] == [str(label) for label in model.predict(X)]

    if "--labels" in args:  # the others are evaluated below
        tested = report("evaluate", "m.safetensors", *args, cwd=tmp_path)
        assert (tested["accuracy"], tested["n_samples"]) == (accuracy, 60)
        assert tested["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with a model of a CSV file, and samples that it has not seen."""
    folder = tmp_path_factory.mktemp("table")
    write_csv(folder / "train.csv", *clusters(240))
    succeed("train", "train.csv", "--output", "m.safetensors", cwd=folder)
    return folder, *clusters(60, seed=1)


def test_columns_go_by_name(table):
    folder, X, y = table
    write_csv(folder / "same.csv", X, y)
    write_csv(folder / "other.csv", X, y, order=(2, 0, 3, 1), extra=True)
    write_csv(folder / "unlabelled.csv", X)
    same, other, unlabelled = (
        succeed("predict", "m.safetensors", f"{name}.csv", cwd=folder)
        for name in ("same", "other", "unlabelled")
    )
    assert {row["prediction"] for row in rows_of(same)} == set(NAMES)
    assert other == unlabelled == same
    assert report("evaluate", "m.safetensors", "other.csv", cwd=folder)["accuracy"] > 0.8


def test_label_column(table):
    folder, X, y = table
    rows = "\n".join(f"{a},{b},{label}" for (a, b), label in zip(X[:, :2], y, strict=True))
    (folder / "numbers.csv").write_text(f"p,q,kind\n{rows}\n")
    args = ("train", "numbers.csv", "--label-column", "kind")
    assert report(*args, cwd=folder)["layer_sizes"] == [2, 128, 3]


def test_files_with_a_test_part(tmp_path):
    (X, y), (X_test, y_test) = clusters(120), clusters(30, seed=1)
    np.savez(tmp_path / "parts.npz", X_train=X, y_train=y, X_test=X_test, y_test=y_test)
    found = report("train", "parts.npz", "--output", "m.safetensors", cwd=tmp_path)
    tested = report("evaluate", "m.safetensors", "parts.npz", cwd=tmp_path)
    assert (tested["accuracy"], tested["n_samples"]) == (found["test_accuracy"], 30)


def test_reader_of_a_pipe_may_leave(digits):
    folder, _, _ = digits
    predict = shlex.join(command_line("predict", "model.safetensors", "digits"))
    pipe = subprocess.run(
        f"{predict} | head -1",
        shell=True,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (pipe.stdout, pipe.stderr) == ("prediction,probability\n", "")


@pytest.mark.parametrize(
    ("args", "status"),
    [
        ("predict model.safetensors digits", 1),
        ("predict model.safetensors digits --probabilities", 1),
        ("train --epochs 1", 1),
        ("train --epochs 1 --json -", 1),
        # a file was asked for, and is written whoever listens: in `fastnn train ... | tee log`
        # Ctrl-C ends tee first
        ("train --epochs 1 --output kept.safetensors", 0),
    ],
)
def test_nobody_reads_the_output(digits, args, status):
    folder, _, _ = digits
    process = start(*args.split(), cwd=folder)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == status
    assert "Error" not in errors
    assert "Exception" not in errors
    if status == 0:
        fastnn.load(folder / "kept.safetensors")


# --- the screen -----------------------------------------------------------------------------------


def test_bar_on_a_terminal(tmp_path):
    status, screen = run_on_screen("train", "--epochs", "3", cwd=tmp_path)
    assert status == 0
    assert "━━━" in screen
    assert "3/3" in screen
    # without the codes that only move the cursor and colour, every line is alone on its row
    rows = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", row) for row in re.split(r"[\r\n]+", screen)]
    assert [row[:9] for row in rows if "epoch " in row] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert any(row.startswith("digits: 1438 samples") for row in rows)
    assert "\x1b[?25h" in screen[screen.rindex("\x1b[?25l") :]  # the cursor is back


def test_no_bar_and_no_codes_elsewhere(tmp_path):
    result = run("train", "--epochs", "2", cwd=tmp_path, TERM="xterm", FORCE_COLOR="1")
    assert result.stderr == ""
    assert "━" not in result.stdout
    result = run("train", "--epochs", "2", cwd=tmp_path, TERM="xterm", COLORTERM="truecolor")
    assert result.stderr == ""
    assert "\x1b" not in result.stdout


# --- help, completion, info -----------------------------------------------------------------------

COMMANDS = dict(cli.commands)
OPTIONS = [
    pytest.param(option, id=f"{name} {option.opts[0]}".strip())
    for name, command in {"": cli, **COMMANDS}.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_eager
]


def test_commands():
    assert set(COMMANDS) == {
        "train", "evaluate", "predict", "export", "info", "completion", "verify", "bench", "warmup",
    }  # fmt: skip
    assert {p.id for p in OPTIONS} >= {"train --output", "evaluate --json", "predict --debug"}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_help_and_a_default(option):
    context = click.Context(train)
    assert option.help
    names, described = option.get_help_record(context)
    assert option.opts[0] in names
    assert re.search(r"\[(default: [^\]]|no default)", described)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option(name):
    command = COMMANDS[name]
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert command.help
    for parameter in command.params:
        shown = parameter.opts[0] if isinstance(parameter, click.Option) else "Usage"
        assert shown in result.output


def test_help_in_a_shell(tmp_path):
    output = succeed("train", "--help", cwd=tmp_path)
    assert re.search(r"--hidden SIZES .*\[default: +128\]", output, re.DOTALL)
    assert "[default: 128]" in " ".join(output.split())
    assert succeed("--version", cwd=tmp_path) == f"fastnn, version {fastnn.__version__}\n"
    without_command = run(cwd=tmp_path)
    assert (without_command.returncode, without_command.stdout) == (2, "")
    assert "train" in without_command.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(tmp_path, shell):
    script = succeed("completion", shell, cwd=tmp_path)
    assert f"_FASTNN_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fastnn train fash", {"fashion-mnist"}),
        ("fastnn train --op", {"--optimizer"}),
        ("fastnn train --optimizer n", {"nesterov"}),
        ("fastnn evaluate m.safetensors di", {"digits"}),
        ("fastnn ev", {"evaluate"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, line, expected):
    words = line.split()
    position = words[-1] if shell == "fish" else str(len(words) - 1)
    variables = {
        "_FASTNN_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": position,
    }
    result = CliRunner().invoke(cli, [], prog_name="fastnn", env=variables)
    offered = set(re.split(r"[\s,]+", result.output))
    assert expected <= offered
    assert not {"digits", "mnist", "sgd", "--epochs"} - expected & offered


def test_completion_in_a_shell(tmp_path):
    words = {"COMP_WORDS": "fastnn train fash", "COMP_CWORD": "2"}
    output = succeed(cwd=tmp_path, _FASTNN_COMPLETE="bash_complete", **words)
    assert "plain,fashion-mnist" in output


def test_info(tmp_path):
    output = succeed("info", cwd=tmp_path)
    assert re.search(rf"^ fastnn +{re.escape(fastnn.__version__)}$", output, re.MULTILINE)
    assert re.search(rf"^ numpy +{re.escape(np.__version__)}$", output, re.MULTILINE)
    facts = json.loads(succeed("info", "--json", "-", cwd=tmp_path))
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["cpu"]["usable_cpus"] >= 1
    assert facts["blas"]
    assert facts["folders"]["data_cache"].startswith(str(tmp_path))
