"""Duels: equal work is checked before a time counts, and who is missing is named."""

from dataclasses import replace

import numpy as np
import pytest

import fastnn
from fastnn import compare, peers
from fastnn.tasks import TEXT_NONZEROS, text

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


def test_means_over_many_batches_show_other_work():
    losses = [1.0] * 400
    task = peers.Task("tiny", (6, 3), 400, 1, singly=100)
    assert compare._disagreement(task, [*losses[:200], *[1.01, 0.99] * 100], losses) < 1e-12
    assert compare._disagreement(task, [*losses[:200], *[1.01] * 200], losses) > 0.009
    assert compare._disagreement(task, [1.01, 0.99] * 200, losses) > 0.009
    firsts = replace(task, singly=20, means=False)
    assert compare._disagreement(firsts, [1.01, 0.99] * 200, losses) > 0.009


def test_text_has_rows_of_length_1_without_repeats():
    X, y = text(50, 2000, 4)
    assert X.has_canonical_format
    assert (X.getnnz(axis=1) == TEXT_NONZEROS).all()
    assert X.data.min() > 0
    assert X.multiply(X).sum(axis=1) == pytest.approx(1)
    assert set(y) <= set(range(4))


@pytest.mark.parametrize("peer", ["jax", "torch", "scikit-learn"])
def test_libraries_do_the_same_work_on_csr(peer):
    pytest.importorskip({"scikit-learn": "sklearn"}.get(peer, peer), reason=f"{peer} is not here")
    for optimizer in ("sgd", "adam"):
        task = peers.Task("text", (1000, 8, 3), 200, 50, data="text", optimizer=optimizer)
        _, found = compare.compare(task, peers=[peer], rounds=1, threads=1)
        assert found.problem is None
        assert found.disagreement < 1e-5


def test_processes_go_on_to_the_next_task():
    with compare.Workers(1, kept=True) as workers:
        for batch_size in (50, 100):
            task = replace(TINY, batch_size=batch_size)
            found = compare.compare(task, peers=["reference"], rounds=2, workers=workers)
            assert [result.problem for result in found] == [None, None]
            assert found[1].memory["peak"] > found[1].memory["start"] / 2 > 0


def test_energy_is_read_where_the_kernel_tells_it(tmp_path, monkeypatch):
    from fastnn import energy

    monkeypatch.setattr(energy, "PACKAGES", tmp_path)
    assert energy.joules() is None
    for n in range(2):
        (tmp_path / f"intel-rapl:{n}").mkdir()
        (tmp_path / f"intel-rapl:{n}" / "energy_uj").write_text("1500000\n")
    assert energy.joules() == 3.0
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("")
    assert energy.joules() is None
