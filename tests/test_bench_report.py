"""The report on made-up measurements: losses, problems, noise and gaps are all said."""

import copy
import json
import math
import random
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # last: bench is not installed, fastnn may be

from bench import writing
from bench.writing import comparing, numbers, pages

PEERS = {"reference": 2.4, "jax": 1.35, "torch": 3.1, "torch compile": 1.9, "scikit-learn": 2.7}
MNIST = {"sizes": [784, 128, 10], "n_samples": 60000, "batch_size": 128, "optimizer": "sgd",
         "dtype": "float32", "epochs": 1, "calls": 1, "data": "mnist"}  # fmt: skip


def result(rng, peer, seconds, rounds=9, **more):
    taken = [seconds * math.exp(rng.gauss(0, 0.03)) for _ in range(rounds)]
    return {"peer": peer, "seconds": taken, "problem": None, "disagreement": 1e-6,
            "details": [{}] * rounds, "memory": None, "joules": None, **more}  # fmt: skip


def cell(rng, name, seconds, factors, group=None, **more):
    results = [result(rng, "fastnn", seconds)]
    results += [result(rng, peer, factor * seconds) for peer, factor in factors.items()]
    return {"name": name, "group": group, "x": None, "sweep": None, "threads": 2, "rounds": 9,
            "task": None, "results": results, **more}  # fmt: skip


def epoch(rng):
    found = []
    for optimizer in ("SGD", "Adam"):
        for n, batch in enumerate((8, 32, 128, 512, 2048)):
            slower = {peer: f ** (1.6 - 0.35 * n) for peer, f in PEERS.items()}
            task = {**MNIST, "batch_size": batch, "optimizer": optimizer.lower()}
            found.append(cell(rng, f"MNIST, batch {batch}, {optimizer}", 0.9 / (n + 1) ** 0.8,
                              slower | {"fastnn dense": 1.7, "fastnn bytes": 0.94}, "MNIST",
                              task=task, headline=batch in (32, 128, 512)))  # fmt: skip
    for group, seconds in (("Fashion-MNIST", 0.4), ("tabular", 0.03), ("text", 0.2),
                           ("deep", 2.0), ("tiny", 2e-4)):  # fmt: skip
        found += [
            cell(rng, f"{group}, batch {batch}", seconds, PEERS, group,
                 task={**MNIST, "batch_size": batch}, headline=batch == 200)
            for batch in (32, 200)
        ]  # fmt: skip
    for one in found:
        for n, of_peer in enumerate(one["results"]):
            start = (2 + n) * 100_000_000
            of_peer["memory"] = {"start": start, "peak": start + (3 + 4 * n) * 10**7}
    missing = found[-1]["results"][-1]
    missing.update(seconds=[], problem="not installed", details=[], memory=None)
    found[-2]["results"][2].update(seconds=[], problem="its losses are off by 0.1", details=[])
    return found


def reach(rng):
    found = []
    for goal in ("97 %", "98 %"):
        for how in ("same schedule", "each with its best"):
            one = cell(rng, f"{goal}, {how}", 1.1, {"torch": 2.2, "scikit-learn": 3.0, "jax": 1.4})
            one["settings"] = {r["peer"]: {"batch_size": 32, "rate": 0.002, "horizon": 8}
                               for r in one["results"]}  # fmt: skip
            for r in one["results"]:
                r["details"] = [{"seconds": s, "epochs": rng.randint(3, 6), "accuracy": 0.98}
                                for s in r["seconds"]]  # fmt: skip
            one["results"][2]["details"][0]["missed"] = True
            found.append(one)
    return found


def roofline():
    flops = {"forward 784 x 128": 19.0, "gradient 784 x 128": 17.0, "softmax": 0.9,
             "update, SGD": 0.17, "update, Adam": 0.6, "predict 1": 0.5, "train, batch 32": 14.0,
             "train, batch 128": 18.0}  # fmt: skip
    found = []
    for n, (kernel, intensity) in enumerate(flops.items()):
        for engine, share in (("fused", 0.8 - 0.05 * n), ("reference", 0.4)):
            limit = min(60e9, 10e9 * intensity)
            flop = 2e6 * (n + 1)
            seconds = flop / (share * limit)
            found.append({"name": f"bench_{kernel}[{engine}]", "group": kernel, "kernel": kernel,
                          "engine": engine, "layout": "dense", "shape": "4096 x 784", "flop": flop,
                          "bytes": flop / intensity, "threads": 1, "median": seconds,
                          "iqr": seconds / 50, "gflops": flop / seconds / 1e9})  # fmt: skip
    found.append({"name": "bench_prepare", "group": "prepare", "kernel": None, "engine": "fused",
                  "layout": None, "shape": None, "flop": None, "bytes": None, "threads": 2,
                  "median": 1e-3, "iqr": 1e-5, "gflops": None})  # fmt: skip
    roofs = {"peak_flops": {"1": 60e9, "2": 115e9}, "bandwidth": {"1": 10e9, "2": 14e9}}
    return {"about": "", "seconds": 60.0, "cells": [], "benchmarks": found, "roofs": roofs}


def scaling(rng):
    sweeps = {"samples": (1000, 3000, 10000, 30000, 60000), "features": (64, 256, 1024, 4096),
              "width": (16, 64, 256, 1024), "depth": (1, 2, 4, 8), "batch size": (8, 32, 128, 512),
              "threads": (1, 2)}  # fmt: skip
    power = {"batch size": -0.4, "threads": -0.8}
    return [
        cell(rng, f"{sweep} {x}", 0.1 * (x / xs[0]) ** power.get(sweep, 0.95), PEERS, sweep,
             x=x, sweep=sweep)
        for sweep, xs in sweeps.items() for x in xs
    ]  # fmt: skip


def made_up():
    rng = random.Random(0)
    starts = [cell(rng, name, seconds, {"jax": 6, "torch": 9, "scikit-learn": 8})
              for name, seconds in (("import", 0.02), ("first training, warm", 0.5),
                                    ("first training, cold", 12.0))]  # fmt: skip
    predicts = [cell(rng, f"{n} samples a call", 2e-6 + 4e-7 * n,
                     {"jax": 1.2 + 20 / n, "torch": 1.3 + 10 / n, "scikit-learn": 1.6 + 80 / n,
                      "reference": 1.5 + 9 / n}, x=n)
                for n in (1, 10, 100, 1000, 10000, 100000)]  # fmt: skip
    of_cells = {"epoch": epoch(rng), "reach": reach(rng), "scaling": scaling(rng),
                "start": starts, "predict": predicts}  # fmt: skip
    questions = {name: {"about": f"About {name}.", "seconds": 300.0, "cells": found}
                 for name, found in of_cells.items()} | {"roofline": roofline()}  # fmt: skip
    calibration = [
        {"at": 40.0 * n, "during": name, "compute": 0.05 * math.exp(rng.gauss(0, 0.01)),
         "memory": 0.03 * (1 + n % 3 / 5 if name == "predict" else math.exp(rng.gauss(0, 0.02)))}
        for n, name in enumerate(name for name in numbers.QUESTIONS for _ in range(9))
    ]  # fmt: skip
    machine = {"versions": {"python": "3.11.7", "numba": "0.68.1"}, "platform": "Linux-6.18",
               "cpu": {"model": "Intel(R) Xeon(R) Processor", "cpus": 2, "usable_cpus": 2},
               "blas": [{"internal_api": "openblas", "version": "0.3.31", "num_threads": 2}],
               "environment": {}}  # fmt: skip
    return {"schema": 1, "mode": "full", "commit": "abc123", "dirty": True, "seconds": 2100.0,
            "date": "2026-11-24T18:00:00+00:00", "fastnn": "0.1.0", "machine": machine,
            "peers": {"numpy": "2.4.6", "torch": "2.13.0", "jax": "0.10.2", "flax": None},
            "energy": "not exposed by this kernel", "calibration": calibration,
            "questions": questions}  # fmt: skip


@pytest.fixture(scope="module")
def raw():
    return made_up()


@pytest.fixture(scope="module")
def report(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "accuracy.md").write_text("# How accurate?\n")
    readme = folder / "project.md"
    readme.write_text("a\n<!-- headline: generated by bench/report.py -->\nleft over\n"
                      "<!-- end of headline -->\nb\n")  # fmt: skip
    writing.write(raw, folder, readme)
    return folder


def test_every_question_has_a_page_and_every_link_a_file(report):
    pages_of = {path.stem for path in report.glob("*.md")} - {"project", "README", "accuracy"}
    assert pages_of == {*numbers.QUESTIONS, "memory", "losses", "noise"}
    for path in report.glob("*.md"):
        links = re.findall(r'(?:\]\(|src="|srcset=")([^)"]+)', path.read_text())
        missing = [link for link in links if not (report / link).exists()]
        assert not missing or path.name == "project.md"
    assert "accuracy.md" in (report / "README.md").read_text()
    assert "larger_than_memory.md" not in (report / "README.md").read_text()


def test_pngs_come_in_pairs_and_are_small(report):
    from PIL import Image

    files = sorted((report / "plots").iterdir())
    assert len(files) == 2 * len(writing.plots.PLOTS)
    for path in files:
        assert path.stat().st_size < 120 * 1024
        back = Image.open(path).convert("RGB").getpixel((0, 0))
        assert back == ((255, 255, 255) if "-light" in path.name else (13, 17, 23))


def test_the_project_quotes_the_headline(report, raw):
    text = (report / "project.md").read_text()
    assert text.startswith("a\n<!-- headline")
    assert text.endswith("<!-- end of headline -->\nb\n")
    assert "left over" not in text
    assert writing.front.headline(raw) in text
    assert writing.front.headline(raw) in (report / "README.md").read_text()


def test_a_readme_without_markers_is_refused(tmp_path):
    (tmp_path / "project.md").write_text("nothing")
    with pytest.raises(ValueError, match="headline"):
        writing.project.fill("headline", "table", by="report", path=tmp_path / "project.md")


def test_the_readme_has_a_place_for_the_headline():
    text = writing.project.README.read_text()
    assert text.count("<!-- headline: generated by bench/report.py -->") == 1
    assert text.count("<!-- end of headline -->") == 1


def test_raw_measurements_are_kept(report, raw):
    assert json.loads((report / "report.json").read_text()) == raw


def test_losses_are_told(raw, report):
    text = (report / "losses.md").read_text()
    assert "In none of" in text
    assert "Our own layouts" in text
    assert "fastnn bytes" in text
    assert "not installed" in text
    assert "its losses are off by 0.1" in text
    worse = copy.deepcopy(raw)
    beaten = worse["questions"]["epoch"]["cells"][0]
    beaten["results"][2]["seconds"] = [s / 2 for s in beaten["results"][0]["seconds"]]
    text = writing.losses.losses(worse, set())
    assert "In 1 of" in text
    assert "## Lost to jax" in text
    assert "0.50x (0.50 to 0.50)" in text


def test_a_peer_that_computes_something_else_does_not_count(raw):
    cell = copy.deepcopy(raw["questions"]["epoch"]["cells"][0])
    cell["results"][1].update(problem="its losses are off by 0.1")  # its seconds are still there
    found = numbers.duel(raw, "epoch", cell, "reference")
    assert (found.ratio, found.problem) == (None, "its losses are off by 0.1")


def test_a_kernel_slower_than_the_reference_is_told(raw):
    worse = copy.deepcopy(raw)
    worse["questions"]["roofline"]["benchmarks"][0]["median"] = 1.0
    assert "Kernels slower than the reference" not in writing.losses.losses(raw, set())
    assert "Kernels slower than the reference" in writing.losses.losses(worse, set())


def test_uncertain_figures_get_a_dagger_and_a_warning(raw, report):
    assert "**Warning:**" in (report / "predict.md").read_text()
    assert numbers.DAGGER in (report / "predict.md").read_text()
    assert "**Warning:**" not in (report / "epoch.md").read_text()
    cell = copy.deepcopy(raw["questions"]["epoch"]["cells"][0])
    cell["results"][1]["seconds"] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    duel = numbers.duel(raw, "epoch", cell, "reference")
    assert duel.doubtful
    assert numbers.tell_ratio(duel).endswith("x" + numbers.DAGGER)


def test_misses_are_counted(report):
    assert (report / "reach.md").read_text().count("| 1 of 9 |") == 4


def test_ratios_are_medians_over_rounds_and_of_means_over_seeds():
    own, other = [1.0, 2.0, 4.0], [2.0, 6.0, 4.0]
    assert numbers.ratio("epoch", own, other) == (1.5, 2.0, 2.5)
    assert numbers.ratio("reach", own, other).middle == 12 / 7


def test_exponents():
    slope, error = numbers.exponent([1, 10, 100], [2, 20, 200])
    assert slope == pytest.approx(1)
    assert error == pytest.approx(0, abs=1e-12)
    assert math.isnan(numbers.exponent([1, 2], [1, 4])[1])
    assert numbers.exponent([1, 1], [1, 4]) is None
    # y = 1, 1, 2, 0 log-decades: slope 0 exactly, residual variance 1 over a sum of squares of 5
    x, y = [1, 10, 100, 1000], [10, 1, 100, 10]
    assert numbers.exponent(x, y) == pytest.approx((0.2, math.sqrt(1.8 / 2 / 5)))


@pytest.mark.parametrize(("value", "told"), [
    (12.345, "12.3 s"), (0.9996, "1.00 s"), (0.0012, "1.20 ms"), (9.996e-6, "10.0 µs"),
    (3e-9, "3.00 ns"), (1234.0, "1,234 s"), (None, ""), (0, ""),
])  # fmt: skip
def test_times_are_written_with_three_digits(value, told):
    assert numbers.tell_seconds(value) == told


@pytest.mark.parametrize("cut", ["everything", "questions", "results", "seconds", "quick", "Nones"])
def test_partial_measurements_are_written(raw, cut, tmp_path, monkeypatch):
    part = copy.deepcopy(raw)
    every = [c for q in part["questions"].values() for c in q["cells"]]
    if cut == "everything":
        part = {}
    elif cut == "questions":
        part["questions"] = {"epoch": {"about": None, "cells": []}, "start": None}
    elif cut == "results":
        for cell in every:
            cell["results"] = []
    elif cut == "seconds":
        for one in [r for cell in every for r in cell["results"]]:
            one.update(seconds=[], problem="not installed", details=None, memory=None)
    elif cut == "quick":
        part["mode"] = "quick"
        for one in [r for cell in every for r in cell["results"]]:
            one.update(seconds=one["seconds"][:3], details=one["details"][:3])
    else:
        part.update(peers=None, machine=None, calibration=None, seconds=None, energy=None)
        part["questions"]["roofline"].update(roofs=None, benchmarks=None)
        for cell in every:
            cell.update(x=None, sweep=None, task=None, group=None, settings=None)
    if cut in ("quick", "Nones"):  # each plot takes its time
        few = ("batch", "reach", "roofline", "noise")
        monkeypatch.setattr(writing.plots, "PLOTS", {n: writing.plots.PLOTS[n] for n in few})
    writing.write(part, tmp_path)
    for change in (comparing.changes(raw, part), comparing.changes(part, raw)):
        assert all(one.kind for one in change)
    assert comparing.describe_changes(raw, part)
    assert pages.PAGES.keys() == numbers.QUESTIONS.keys()


def test_nothing_changed_between_a_run_and_itself(raw):
    assert {one.kind for one in comparing.changes(raw, raw)} == {"same"}


def changed(raw, factor, compute=1.0):
    new = copy.deepcopy(raw)
    for one in new["calibration"]:
        one["compute"] *= compute
    own = new["questions"]["epoch"]["cells"][0]["results"][0]
    own["seconds"] = [factor * seconds for seconds in own["seconds"]]
    return new, new["questions"]["epoch"]["cells"][0]["name"]


def test_a_slower_cell_is_found_and_others_are_not(raw):
    new, name = changed(raw, 1.5)
    found = [one for one in comparing.changes(raw, new) if one.kind != "same"]
    assert {(one.kind, one.cell) for one in found} == {("slower", name)}
    assert all(one.change == pytest.approx(1.5) for one in found)
    assert len(found) == 1 + 7  # its seconds, and the ratio of each peer
    assert "slower: 8" in comparing.describe_changes(raw, new)
    back = {one.kind for one in comparing.changes(new, raw)}
    assert back == {"same", "faster"}


def test_a_slower_machine_is_no_slower_program(raw):
    new = copy.deepcopy(raw)
    for one in new["calibration"]:
        one["compute"] *= 1.5
    for question in new["questions"].values():
        for one in [r for cell in question["cells"] for r in cell["results"]]:
            one["seconds"] = [1.5 * seconds for seconds in one["seconds"]]
    for one in new["questions"]["roofline"]["benchmarks"]:
        one["median"] *= 1.5
    assert {one.kind for one in comparing.changes(raw, new)} == {"same"}


def test_what_appears_fails_or_runs_elsewhere_is_told(raw):
    new = copy.deepcopy(raw)
    del new["questions"]["start"]
    new["questions"]["epoch"]["cells"][0]["results"][1].update(seconds=[], problem="is wrong")
    new["machine"]["cpu"]["model"], new["peers"]["jax"] = "another", "0.11"
    kinds = {one.kind for one in comparing.changes(raw, new)}
    assert kinds == {"same", "disappeared", "newly wrong"}
    text = comparing.describe_changes(raw, new)
    assert "CPU differs" in text
    assert "version of jax differs: 0.10.2 -> 0.11" in text
    assert {one.kind for one in comparing.changes(new, raw)} == {"same", "appeared", "mended"}
