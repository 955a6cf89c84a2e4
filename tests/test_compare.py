"""Duels: equal work is checked before a time counts, and who is missing is named."""

import json

import numpy as np
import pytest

import fastnn
from fastnn import compare, peers

TINY = peers.Task("tiny", (6, 5, 3), 200, 50, calls=2)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(compare, "PAUSE", 0.0)


def test_engines_and_the_article_do_the_same_work():
    task = peers.Task("whole", (6, 5, 3), 200, 200, dtype="float64", epochs=3, rate=0.1)
    own, *others = compare.compare(task, peers=["reference", "article"], rounds=3, threads=1)
    assert own.peer == "fastnn"
    for result in (own, *others):
        assert result.problem is None
        assert result.disagreement < 1e-12
        assert len(result.seconds) == len(result.ratios) == 3
    assert own.ratios == [1.0] * 3
    assert own.quartiles() == (1.0, 1.0, 1.0)


def test_scikit_learn_does_the_same_work():
    for optimizer in ("sgd", "adam"):
        task = peers.Task("tiny", (6, 5, 3), 200, 50, optimizer=optimizer, epochs=2)
        _, found = compare.compare(task, peers=["scikit-learn"], rounds=1, threads=1)
        assert found.problem is None
        assert found.disagreement < 1e-5


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(compare.PEERS, "jax", "a_library_that_is_not_there")
    own, missing = compare.compare(TINY, peers=["jax"], rounds=1, threads=1)
    assert own.problem is None
    assert missing.problem == "not installed"
    assert "not installed" in compare.describe(missing)


def test_other_work_is_not_timed(monkeypatch):
    honest = compare._losses_of_the_reference
    monkeypatch.setattr(
        compare,
        "_losses_of_the_reference",
        lambda task, pool: [1.002 * loss for loss in honest(task, pool)],
    )
    (own,) = compare.compare(TINY, peers=[], rounds=1, threads=1)
    assert "off by 0.002" in own.problem
    assert own.seconds == []


def test_a_peer_that_fails_says_why():
    task = peers.Task("odd", (6, 5, 4, 3), 200, 200, dtype="float64")  # the article has 2 layers
    _, found = compare.compare(task, peers=["article"], rounds=1, threads=1)
    assert "ValueError" in found.problem


def test_unknown_peers_are_refused():
    with pytest.raises(fastnn.InputError, match="theano"):
        compare.compare(TINY, peers=["theano"])


def test_orders_are_whole_batches_of_every_sample_once():
    order = peers.Task("odd", (6, 3), 110, 25, epochs=2).order(0)
    assert order.shape == (2, 100)
    assert all(len(set(epoch)) == 100 for epoch in order.tolist())
    assert not np.array_equal(order[0], order[1])


def test_from_a_shell(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "TASKS", {"tiny": TINY})
    path = tmp_path / "figures.json"
    arguments = ["--peer", "reference", "--rounds", "2", "--threads", "1", "--json", str(path)]
    assert compare.main(arguments) == 0
    assert "times fastnn" in capsys.readouterr().out
    assert [row["peer"] for row in json.loads(path.read_text())] == ["fastnn", "reference"]
