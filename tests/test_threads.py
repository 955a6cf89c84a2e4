import os
import random
import threading
import time

import numpy as np
import pytest
from cases import problem
from threadpoolctl import threadpool_info, threadpool_limits

import fastnn
from fastnn.threads import blas_threads, resolve_threads, usable_cpus


def blas_now():
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert pools, "NumPy's BLAS must be visible to threadpoolctl for these tests to mean anything"
    return [(pool["filepath"], pool["num_threads"]) for pool in pools]


def counts():
    return {count for _, count in blas_now()}


@pytest.fixture(autouse=True)
def two_blas_threads():
    """Start from a limit of 2, which every machine can have, so that changes show."""
    before = blas_now()
    with threadpool_limits(2, user_api="blas"):
        yield
        assert counts() == {2}
    assert blas_now() == before


def test_the_limit_holds_inside_and_is_gone_outside():
    with blas_threads(1):
        assert counts() == {1}
    assert counts() == {2}


def test_an_exception_restores_the_limit():
    with pytest.raises(RuntimeError, match="inside"), blas_threads(1):
        raise RuntimeError("inside")
    assert counts() == {2}


def test_overlapping_users_share_the_smallest_limit():
    outer, inner = blas_threads(2), blas_threads(1)
    outer.__enter__()
    inner.__enter__()
    assert counts() == {1}
    outer.__exit__(None, None, None)  # not the order of a nest: as two threads may leave
    assert counts() == {1}
    inner.__exit__(None, None, None)
    assert counts() == {2}


def test_three_users_who_leave_in_any_order():
    users = {limit: blas_threads(limit) for limit in (1, 2, 3)}
    for user in users.values():
        user.__enter__()
    users[1].__exit__(None, None, None)
    assert counts() == {2}
    users[3].__exit__(None, None, None)
    users[2].__exit__(None, None, None)
    assert counts() == {2}


def test_a_limit_that_is_set_already_is_not_raised():
    with threadpool_limits(1, user_api="blas"):
        with blas_threads(2):
            assert counts() == {1}
        assert counts() == {1}


def test_ctrl_c_in_the_middle_of_leaving_does_not_leave_the_limit(monkeypatch):
    from fastnn.threads import _blas_limit

    original, calls = type(_blas_limit)._apply, []

    def interrupted(self, inside=None):
        calls.append(1)
        if len(calls) == 2:  # the first call is that of entering
            raise KeyboardInterrupt
        original(self, inside)

    monkeypatch.setattr(type(_blas_limit), "_apply", interrupted)
    with pytest.raises(KeyboardInterrupt), blas_threads(1):
        assert counts() == {1}
    assert counts() == {2}


def test_every_verb_runs_under_the_limit_and_restores_it(monkeypatch):
    from fastnn import reference

    seen = []
    for name in ("forward", "step"):
        original = getattr(reference, name)

        def spy(*arguments, original=original):
            seen.append(counts())
            return original(*arguments)

        monkeypatch.setattr(reference, name, spy)
    network, parameters, X, y = problem((5, 7, 4), 8)
    engine = fastnn.get_engine("reference", threads=1)
    state = fastnn.SGD().initialize(parameters)
    engine.predict(network, parameters, X)
    _, gradient = engine.gradient(network, parameters, X, y)
    engine.update(parameters, gradient, state, 0.1)
    engine.train(network, parameters, state, X, y, range(8), batch_size=8, learning_rates=0.1)
    assert seen == [{1}] * 5
    X[0, 0] = np.nan
    with pytest.raises(fastnn.InputError):
        engine.predict(network, parameters, X)
    assert counts() == {2}


def test_a_diverging_run_restores_the_limit():
    network, parameters, X, y = problem((5, 7, 4), 8)
    parameters.vector[:] = 1e300
    state = fastnn.SGD().initialize(parameters)
    with pytest.raises(fastnn.DivergedError):
        fastnn.get_engine("reference", threads=1).train(
            network, parameters, state, X * 1e200, y, range(8), batch_size=8, learning_rates=0.1
        )
    assert counts() == {2}


def test_several_python_threads_inside_at_once_leave_no_trace():
    network, parameters, X, y = problem((20, 30, 5), 64)
    expected = fastnn.get_engine("reference", threads=1).gradient(network, parameters, X, y)[1]
    failures = []

    def work(seed):
        chance = random.Random(seed)
        engine = fastnn.get_engine("reference", threads=1 + seed % 2)
        try:
            for _ in range(30):
                _, gradient = engine.gradient(network, parameters, X, y)
                np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)
                if chance.random() < 0.2:
                    with pytest.raises(fastnn.InputError):
                        engine.gradient(network, parameters, X, y[:3])
                time.sleep(chance.random() / 1000)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert counts() == {2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
# the warning is about exactly what is tested: a fork while another thread is inside
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_is_inside_starts_clean():
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with blas_threads(1):
            inside.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    child = os.fork()
    if child == 0:
        try:
            good = counts() == {2}
            with blas_threads(1):
                good = good and counts() == {1}
            os._exit(0 if good and counts() == {2} else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    leave.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_default_is_what_the_process_may_use(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cpus = usable_cpus()
    assert 1 <= cpus <= os.cpu_count()
    assert fastnn.get_engine("reference").threads == cpus
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cpus() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "10000,2")
    assert usable_cpus() == cpus
    for nonsense in ("", "many", "0", "-3"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert usable_cpus() == cpus


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the platform has no affinity")
def test_the_default_follows_the_affinity(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_numpy_integers_are_thread_counts():
    assert resolve_threads(np.int64(3)) == 3
