"""The report of bench.sparse on made-up results: what falls short, fails or is absent is said."""

import json
import sys
from pathlib import Path

import pytest

from fastnn import compare
from fastnn.compare import Result
from fastnn.machine import describe
from fastnn.tasks import TEXT_NONZEROS, Task, text

sys.path.append(str(Path(__file__).parent.parent))  # last: bench is not installed, fastnn may be

from bench import sparse
from bench.tasks import FIGURES, PREPARE_LIMITS, REACH


def made_up(task, peer, factor, problem=None):
    return Result(task, peer, [factor, 1.1 * factor, factor], [], 0.0, problem, [{}] * 3)


def everything(factor):
    found = {
        name: [
            made_up(task.name, peer, factor if n else 1.0)
            for task, peers in figure.tasks
            for n, peer in enumerate(("fastnn", *peers))
        ]
        for name, figure in FIGURES.items()
    }
    prepared = [Result("prepare", peer, [0.1], [], 0.0, None, [{"first": 0.1}])
                for peer in PREPARE_LIMITS]  # fmt: skip
    return {**found, "prepare": {"results": prepared, "bytes": {"fastnn": 10}}}


@pytest.mark.parametrize(("factor", "short"), [(100.0, 3), (1.5, 19)])
def test_what_falls_short_is_shown(factor, short):
    page = sparse.report(everything(factor), describe())
    # even at 100: the bytes are prepared too slowly, and torch is no slower than raw and prepared
    assert page.count(sparse.SHORT) == short


def test_absent_data_are_named(monkeypatch):
    monkeypatch.setattr(sparse, "absent", lambda task: f"{task.data} is absent")
    figure = FIGURES["fashion"]
    (task, peers), = figure.tasks  # fmt: skip
    found = sparse.measure(task, peers, 1)
    assert "fashion-mnist is absent" in sparse.table(figure, found)
    assert "not measured" in sparse.table(figure, found)


def test_every_figure_is_kept():
    kept = json.loads(sparse.as_json(everything(2.0), {}))
    assert set(kept["figures"]) == set(sparse.NAMES)


def test_means_over_many_batches_show_other_work():
    losses = [1.0] * 400
    task = Task("tiny", (6, 3), 400, 1, singly=100)
    assert compare._disagreement(task, [*losses[:200], *[1.01, 0.99] * 100], losses) < 1e-12
    assert compare._disagreement(task, [*losses[:200], *[1.01] * 200], losses) > 0.009
    assert compare._disagreement(task, [1.01, 0.99] * 200, losses) > 0.009
    assert compare._disagreement(REACH, [1.01, 0.99] * 200, losses) > 0.009


def test_text_has_rows_of_length_1_without_repeats():
    X, y = text(50, 2000, 4)
    assert X.has_canonical_format
    assert (X.getnnz(axis=1) == TEXT_NONZEROS).all()
    assert X.data.min() > 0
    assert X.multiply(X).sum(axis=1) == pytest.approx(1)
    assert set(y) <= set(range(4))
