"""``verify`` finds nothing wrong with the engines, and finds what is wrong with broken ones."""

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from command import environment, run, succeed

import fastnn
from fastnn.errors import DivergedError
from fastnn.reference import ReferenceEngine
from fastnn.terminal import Terminal
from fastnn.verification import DTYPES, OPTIMIZERS, Check

PACKAGE = Path(fastnn.__file__).parent
TIMEOUT = 600  # seconds; to compile takes about 15, and longer on a busy machine
FUNCTIONS = {"exp", "log", "tanh", "logistic"}
KERNELS = FUNCTIONS | {"product", "weight gradient", "head"}
VERBS = {
    "predict", "gradient", "clipping", "clipped losses", "train, by verbs", "30 steps",
}  # fmt: skip
ALL = {label for label, _, _ in OPTIMIZERS}


@pytest.fixture(scope="module")
def verified():
    seen = []
    return fastnn.verify(dtypes=["float32"], on_check=seen.append), seen


def test_fused_engine(verified):
    found, seen = verified
    assert found.ok
    assert found.failures == ()
    assert (found.engine, found.checks) == ("fused", tuple(seen))
    assert {check.what for check in found.checks} == KERNELS | VERBS | {"same bits"}
    for check in found.checks:
        assert check.ok
        assert 0 <= check.observed <= check.bound < np.inf
        assert "float32" in check.case
    assert found.seconds > 0


def test_every_check_is_a_case_of_its_own(verified):
    cases = [(check.what, check.case) for check in verified[0].checks]
    assert len(set(cases)) == len(cases)


def test_as_dict_is_json(verified):
    found, _ = verified
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (told["engine"], told["ok"], told["seconds"]) == ("fused", True, found.seconds)
    for check, line in zip(found.checks, told["checks"], strict=True):
        assert line == {
            "what": check.what, "case": check.case, "observed": check.observed,
            "bound": check.bound, "ok": True,
        }  # fmt: skip


def test_reference_engine():
    found = fastnn.verify("reference")
    assert found.ok
    assert found.engine == "reference"
    assert {check.what for check in found.checks} == VERBS
    assert {check.case.split()[-1] for check in found.checks} >= set(DTYPES)


def test_seed_makes_other_problems():
    one, other = (
        [check.observed for check in fastnn.verify("reference", seed=seed).checks]
        for seed in (0, 1)
    )
    assert one != other


@pytest.mark.parametrize("dtypes", [["float16"], ["float32", "f8"], [], "float32"])
def test_unknown_dtype(dtypes):
    with pytest.raises(fastnn.InputError, match=r"expected .*float32.*float64"):
        fastnn.verify(dtypes=dtypes)


def test_the_layout_without_zeros_is_among_what_is_checked(verified):
    cases = [(check.what, check.case) for check in verified[0].checks]
    assert {what for what, case in cases if case.endswith(" sparse")} == {
        "predict", "gradient", "same bits",
    }  # fmt: skip
    assert {case.split()[0] for what, case in cases if case.endswith("dense and sparse")} == ALL


def test_an_engine_that_is_wrong_without_zeros_only():
    engine = ReferenceEngine(1)
    verb = engine.gradient

    def broken(network, parameters, X, *args, **options):
        loss, gradient = verb(network, parameters, X, *args, **options)
        if X.layout == "sparse":
            gradient[0] += 1
        return loss, gradient

    engine.gradient = broken
    found = fastnn.verify(engine, dtypes=["float32"])
    assert [(check.what, check.case.split()[-1]) for check in found.failures] == [
        ("gradient", "sparse")
    ]


def test_unknown_engine():
    with pytest.raises(fastnn.InputError, match="expected one of .*reference.*fused"):
        fastnn.verify("quantum")


# --- the command ----------------------------------------------------------------------------------


def test_json_on_standard_output_is_all_there_is(tmp_path, verified):
    result = run("verify", "--dtype", "float32", "--json", "-", cwd=tmp_path)
    assert result.returncode == 0
    told = json.loads(result.stdout)
    assert told["ok"]
    # not the same errors: the child's BLAS, without our environment, may be another one
    assert [(line["what"], line["case"]) for line in told["checks"]] == [
        (check.what, check.case) for check in verified[0].checks
    ]
    assert "all within bounds" in result.stderr


def test_table(tmp_path):
    output = succeed("verify", "--dtype", "float32", "--json", "found.json", cwd=tmp_path)
    checks = json.loads((tmp_path / "found.json").read_text())["checks"]
    rows = [
        [check["what"], check["case"], f"{check['observed']:.3g}", f"{check['bound']:.3g}"]
        for check in checks
    ]
    cells = [re.split(r" {2,}", line.strip()) for line in output.splitlines()]
    assert [row for row in cells if len(row) == 4] == rows
    assert {row[0] for row in rows} >= KERNELS
    assert re.search(rf"^{len(checks)} checks in \d+ s: all within bounds$", output, re.M)


def test_table_of_the_reference(tmp_path):
    output = succeed("verify", "--engine", "reference", "--seed", "3", cwd=tmp_path)
    cells = [re.split(r" {2,}", line.strip()) for line in output.splitlines()]
    assert {row[0] for row in cells if len(row) == 4} == VERBS
    assert all(dtype in output for dtype in DTYPES)


def test_table_marks_what_is_out_of_bounds(capsys):
    case = "30-40-6 x150 float32 alpha=0.1 weighted"
    errors = (1e-5, 1.0, 1.001, np.inf, np.nan)
    Terminal().checks([Check("gradient", case, error, 1.0) for error in errors])
    rows = [line for line in capsys.readouterr().out.splitlines() if case in line]
    marked = [line.rstrip().endswith("out of bounds") for line in rows]
    assert marked == [False, False, True, True, True]


# --- numbers that are none ------------------------------------------------------------------------


def one_is_nan(values):
    values = np.array(values)
    values.flat[-1] = np.nan
    return values


def in_predictions(engine):
    verb = engine.predict
    engine.predict = lambda *args: one_is_nan(verb(*args))


def in_the_loss(engine):
    verb = engine.gradient
    engine.gradient = lambda *args, **options: (np.nan, verb(*args, **options)[1])


def in_the_gradient(engine):
    verb = engine.gradient

    def broken(*args, **options):
        loss, gradient = verb(*args, **options)
        return loss, one_is_nan(gradient)

    engine.gradient = broken


def in_the_losses(engine):
    verb = engine.train
    engine.train = lambda *args, **options: one_is_nan(verb(*args, **options))


def in_a_moment(engine):
    verb = engine.train

    def broken(network, parameters, state, *args, **options):
        losses = verb(network, parameters, state, *args, **options)
        for moment in state.moments[-1:]:
            moment[-1] = np.nan
        return losses

    engine.train = broken


def in_a_batch(engine):
    def diverge(*args, **options):
        raise DivergedError(1, np.nan, np.ones(1))

    engine.train = diverge


@pytest.mark.parametrize(
    ("place", "what", "optimizers"),
    [
        (in_predictions, {"predict"}, set()),
        (in_the_loss, {"gradient", "clipped losses", "train, by verbs"}, set()),
        (in_the_gradient, {"gradient", "clipping", "train, by verbs"}, set()),
        (in_the_losses, {"30 steps", "train, by verbs"}, ALL),
        (in_a_moment, {"30 steps", "train, by verbs"}, ALL - {"sgd"}),
        (in_a_batch, {"30 steps", "train, by verbs"}, ALL),
    ],
)
def test_nan_anywhere_is_out_of_bounds(place, what, optimizers):
    engine = ReferenceEngine(1)
    place(engine)
    found = fastnn.verify(engine, dtypes=["float32"])
    assert not found.ok
    assert {check.what for check in found.failures} == what
    assert len(found.failures) == sum(
        check.what in what
        and (check.what != "30 steps" or not optimizers or check.case.split()[0] in optimizers)
        for check in found.checks
    )
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert {line["observed"] for line in told["checks"] if not line["ok"]} == {None}


# --- faults in the kernels ------------------------------------------------------------------------

# name: file of the kernels, its text, the faulty text, what must fail, the optimizers in which
FAULTS = {
    "all batches of a call drop the same units": (
        "program.py",
        "updates = run.step + steps",
        "updates = run.step",
        {"train, by verbs"},
        set(),
    ),
    "small gradients are scaled up": (
        "weights.py",
        "clips = limit < norm and norm < inf",
        "clips = norm < inf",
        {"clipping"},
        set(),
    ),
    "a bias is left out": (
        "weights.py",
        "if first < last:\n        table",
        "if first > last:\n        table",
        {"predict", "gradient", "30 steps", "same bits"},
        ALL,
    ),
    "one lane too few at the edge": (
        "tiles.py",
        "emit.load_vectors(source, vectors, mask)",
        "emit.load_vectors(source, vectors, emit.mask(builder.sub(last, INT64(1))))",
        {
            "clipped losses",
            "product",
            "weight gradient",
            "predict",
            "gradient",
            "30 steps",
            "same bits",
        },
        ALL,
    ),
    "a sum ends before its last term": (
        "tiles.py",
        "chains = loop(builder, n, chains, add)\n            before",
        "chains = loop(builder, builder.sub(n, INT64(1)), chains, add)\n            before",
        {"weight gradient", "gradient", "30 steps", "same bits"},
        ALL,
    ),
    "the bias gradient lacks the last sample": (
        "weights.py",
        "correlate_rows(tile, one, ZERO, n, D",
        "correlate_rows(tile, one, ZERO, n - 1, D",
        {"gradient", "30 steps"},
        ALL,
    ),
    "the ReLU's slope is 1 everywhere": (
        "head.py",
        "delta[i] = delta[i] if A[i] > zero else zero",
        "delta[i] = delta[i]",
        {"gradient", "30 steps"},
        ALL,
    ),
    "Adam's epsilon is inside the root": (
        "update.py",
        "(sqrt(v) + step.epsilon)",
        "sqrt(v + step.epsilon)",
        {"30 steps"},
        {"adam", "adamw"},
    ),
    "the momentum has the wrong sign": (
        "update.py",
        "fma(step.momentum, moment_1[i], -pull)",
        "fma(-step.momentum, moment_1[i], -pull)",
        {"30 steps"},
        {"momentum", "nesterov"},
    ),
    "values sorted by column are those of the sample's first": (
        "sparse.py",
        "view(pair + x.itemsize, ONE, x[k])[0] = x[k]",
        "view(pair + x.itemsize, ONE, x[k])[0] = x[0]",
        {"gradient", "same bits"},
        ALL,
    ),
    "columns that a batch did not touch rest, whatever the optimizer": (
        "sparse.py",
        "elif ends and not straight:",
        "elif ends and not straight and False:",
        {"same bits"},
        ALL,  # plain SGD with a penalty or clipping moves them too
    ),
    "several threads leave out some rows": (
        "weights.py",
        "after = min(k + tile.block, last)",
        "after = min(k + (2 if members == 1 else 1) * tile.height, last)",
        {"same bits"},
        ALL,
    ),
}


def verify_faulty(folder, file, text, faulty):
    """Verify a copy of the package in which a text is replaced; return status and results."""
    shutil.copytree(PACKAGE, folder / "fastnn", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "fastnn" / "fused" / file
    source = path.read_text()
    assert source.count(text) == 1
    path.write_text(source.replace(text, faulty))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    process = subprocess.run(
        [sys.executable, "-m", "fastnn", "verify", "--dtype", "float32", "--json", "found.json"],
        cwd=elsewhere,
        # one thread, but for the checks that ask for several
        env=environment(
            elsewhere,
            PYTHONPATH=str(folder),
            NUMBA_CACHE_DIR=str(folder / "cache"),
            OMP_NUM_THREADS="1",
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (elsewhere / "found.json").exists(), process.stderr
    return process, json.loads((elsewhere / "found.json").read_text())


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Futures of what ``fastnn verify`` says of each fault; two run at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(verify_faulty, tmp_path_factory.mktemp("faulty"), *fault[:3])
            for name, fault in FAULTS.items()
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(verdicts, name):
    process, found = verdicts[name].result()
    *_, expected, optimizers = FAULTS[name]
    wrong = [check for check in found["checks"] if not check["ok"]]
    assert {check["what"] for check in wrong} == expected
    in_training = {"30 steps", "same bits"}
    assert {c["case"].split()[0] for c in wrong if c["what"] in in_training} == optimizers
    assert process.returncode == 1
    assert not found["ok"]
    assert f"\n{len(wrong)} of {len(found['checks'])} checks are out of bounds" in process.stdout
