"""The benchmarks' table: every engine agrees with float64, what is wrong is not timed."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent))  # last: bench is not installed, fastnn may be

from bench import timing
from bench.cases import CASES, STARTS, WrongResultError

ROOT = Path(__file__).parent.parent

# what writes half a gigabyte, or starts processes that compile, is left to the benchmarks
ROWS = [
    pytest.param(case, engine, id=f"{case.name}-{engine}")
    for case in [*CASES, *STARTS]
    for engine in case.makers
    if case.kernel != "memory bandwidth"
    and case.name not in ("start: cold, fit digits", "start: compilation alone")
]
FORWARD = next(case for case in CASES if case.name == "forward 784x128, 128 samples")
KERNELS = {
    "forward", "input gradient", "head",
    *(f"weight gradient, {name}"
      for name in ("stored", "SGD", "momentum", "Nesterov", "Adam", "AdamW")),
}  # fmt: skip


@pytest.mark.parametrize(("case", "engine"), ROWS)
def test_results_are_within_bounds(case, engine):
    case.check(engine, case.makers[engine]()())


def test_all_kernels_are_there():
    assert {case.kernel for case in CASES if case.mark == "kernels" and case.shape} == KERNELS
    sparse = {c.kernel for c in CASES if c.mark == "kernels" and c.layout == "sparse"}
    assert sparse == KERNELS - {"input gradient", "head"}


def test_names_are_groups():
    names = [case.name for case in [*CASES, *STARTS]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", [c for c in CASES if c.shape and c.mark == "kernels"],
                         ids=lambda case: case.name)  # fmt: skip
def test_small_mistakes_are_beyond_bounds(case):
    found = [np.array(part) for part in case.makers["reference"]()()]
    for i, part in enumerate(found):
        largest = np.unravel_index(np.abs(part).argmax(), part.shape)
        wrong = part.copy()
        wrong[largest] *= 1.001
        with pytest.raises(WrongResultError, match=f"{case.kernel}.*result {i} has 1 of"):
            case.check("planted", (*found[:i], wrong, *found[i + 1 :]))


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ((), "0 results"),
        ((np.zeros((2, 3)),), "shape"),
        ((np.full((128, 128), np.nan),), "16384 of 16384"),
    ],
)
def test_other_results_are_refused(found, problem):
    with pytest.raises(WrongResultError, match=problem):
        FORWARD.check("planted", found)


class Benchmark:
    """As much of the fixture as a refusal may touch."""

    stats = None

    def __init__(self):
        self.group, self.extra_info, self.calls = None, {}, 0

    def __call__(self, run):
        self.calls += 1
        run()


def shifted():
    run = FORWARD.makers["reference"]()
    (Z,) = run()
    return lambda: (Z - 0.01,)


def test_wrong_is_not_timed():
    planted = dataclasses.replace(FORWARD, makers={"fused": shifted})
    fixture = Benchmark()
    with pytest.raises(WrongResultError, match="forward 784x128.*fused: wrong, and so not timed"):
        timing.verify_and_time(fixture, planted, "fused")
    assert fixture.calls == 0


def test_right_is_timed():
    fixture = Benchmark()
    timing.verify_and_time(fixture, FORWARD, "fused")
    assert fixture.calls == 1


PLANTED = f"""
import dataclasses, sys
sys.path.append({str(ROOT)!r})
import pytest
from bench.cases import CASES
from bench.timing import verify_and_time

case = next(case for case in CASES if case.name == {FORWARD.name!r})

def wrong():
    run = case.makers["reference"]()
    return lambda: (run()[0] + 1,)

case = dataclasses.replace(case, makers=dict(case.makers, wrong=wrong))

@pytest.mark.parametrize("engine", list(case.makers))
def test_planted(benchmark, engine):
    verify_and_time(benchmark, case, engine)
"""


def test_record(tmp_path):
    """A session with a wrong kernel times the others, and its JSON has what others draw from it."""
    pytest.importorskip("pytest_benchmark")
    (tmp_path / "test_planted.py").write_text(PLANTED)
    (tmp_path / "conftest.py").write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\n"
        "from bench.conftest import pytest_benchmark_update_machine_info\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_planted.py",
         "--benchmark-max-time=0.01", "--benchmark-json=found.json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert "wrong: wrong, and so not timed: result 0 has 16384 of 16384" in done.stdout
    record = json.loads((tmp_path / "found.json").read_text())
    assert "folders" not in record["machine_info"]["fastnn"]
    assert record["machine_info"]["fastnn"]["cpu"]["usable_cpus"] >= 1
    assert [each["extra_info"]["engine"] for each in record["benchmarks"]] == ["fused", "reference"]
    for each in record["benchmarks"]:
        assert each["group"] == FORWARD.name
        info, median = each["extra_info"], each["stats"]["median"]
        assert info["kernel"] == "forward"
        assert (info["layout"], info["shape"], info["threads"]) == ("dense", [784, 128], 1)
        assert info["flop"] == 2 * 128 * 784 * 128
        assert info["bytes"] == 4 * (128 * 784 + 785 * 128 + 128 * 128)
        assert info["density"] == pytest.approx(1, abs=1e-3)
        assert info["n_samples"] == 128
        assert info["blas"]
        assert info["gflops"] == pytest.approx(info["flop"] / median / 1e9)
        assert info["samples_per_second"] == pytest.approx(128 / median)
