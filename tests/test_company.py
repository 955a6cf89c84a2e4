"""The fused engine in company: other threads, other processes, Ctrl-C.

Whatever goes on around a run, its bits are those of a quiet run with one thread. What could hang
has a time limit, which only a hang can reach.
"""

import copy
import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from functools import cache, partial

import joblib
import numpy as np
import pytest
from cases import problem
from joblib.externals.loky import get_reusable_executor

import fastnn
from fastnn.fused import run
from fastnn.fused.engine import FusedEngine

LIMIT = 120  # seconds
SPAWN = multiprocessing.get_context("spawn")
SGD, ADAM = fastnn.SGD(), fastnn.Adam()
OPTIMIZERS = [SGD, fastnn.SGD(0.9), fastnn.SGD(0.9, nesterov=True), ADAM]
PAIR = partial(FusedEngine, 2, always=True)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
# the warning is about exactly what is tested: a fork while there are other threads
may_fork = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@cache
def case(seed):
    """Return a problem whose trainings are worth two threads; of another shape for each seed."""
    return problem((64, 40 + seed, 10), 1000, dtype="float32", seed=seed)


def trained(engine, task, optimizer=ADAM, *, batch_size=100, alpha=0.0):
    """Return all bits that come of a training, and of a prediction afterwards."""
    network, start, X, y = task
    parameters, order = start.copy(), np.random.default_rng(1).permutation(2 * len(y)) % len(y)
    state = optimizer.initialize(parameters)
    losses = engine.train(
        network, parameters, state, X, y, order,
        batch_size=batch_size, learning_rates=0.01, objective=fastnn.Objective(alpha),
    )  # fmt: skip
    results = losses, parameters.vector, *state.moments, engine.predict(network, parameters, X)
    return b"".join(result.tobytes() for result in results)


@cache
def quiet(seed):
    return trained(FusedEngine(1), case(seed))


def at_once(*jobs):
    """Run each job in a Python thread of its own, together; return what they return."""
    start, results = threading.Barrier(len(jobs)), [None] * len(jobs)

    def work(place, job):
        start.wait(LIMIT)
        results[place] = job()

    threads = [threading.Thread(target=work, args=job, daemon=True) for job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert not any(thread.is_alive() for thread in threads)
    return results


def alone(job, *args, copies=1):
    """Run a function in new processes, in their main threads, with every warning an error."""
    children = [SPAWN.Process(target=_in_child, args=(job, *args)) for _ in range(copies)]
    try:
        for child in children:
            child.start()
        for child in children:
            child.join(LIMIT + 10)
        assert [child.exitcode for child in children] == [0] * copies
    finally:
        for child in children:
            child.kill()
            child.join()


def _in_child(job, *args):
    warnings.simplefilter("error")
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    job(*args)


def team():
    """Return the threads of all engines."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("fastnn-")}


# --- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("make", [partial(fastnn.get_engine, "fused", threads=2), PAIR])
def test_four_threads_train_at_once(make, shared):
    one = make()
    engines = [one if shared else make() for _ in range(4)]

    def job(seed):
        return [trained(engines[seed], case(seed)) for _ in range(20)]

    found = at_once(*(partial(job, seed) for seed in range(4)))
    assert found == [[quiet(seed)] * 20 for seed in range(4)]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_an_engine_has_threads_of_its_own(copied):
    engine, before = FusedEngine(3, always=True), team()
    assert trained(engine, case(0)) == quiet(0)
    other = copied(engine)
    assert repr(other) == repr(engine) == "FusedEngine(threads=3)"
    assert len(team() - before) == 2
    assert trained(other, case(0)) == trained(engine, case(0)) == quiet(0)
    assert len(team() - before) == 4


def test_threads_end_with_their_engine():
    before = team()
    engine = FusedEngine(4, always=True)
    at_once(*[partial(trained, engine, case(0))] * 3)
    own = team() - before
    assert len(own) in (3, 6, 9)  # for each call that was under way at a time
    del engine
    gc.collect()
    for thread in own:
        thread.join(LIMIT)
    assert not any(thread.is_alive() for thread in own)


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="no clocks of threads")
def test_threads_without_work_take_no_time():
    before = team()
    engine = FusedEngine(3, always=True)
    trained(engine, case(0))
    clocks = [time.pthread_getcpuclockid(thread.ident) for thread in team() - before]
    assert len(clocks) == 2
    last, now, end = None, [], time.monotonic() + LIMIT
    while now != last and time.monotonic() < end:  # at first they are on their way home
        time.sleep(0.1)
        last, now = now, [time.clock_gettime(clock) for clock in clocks]
    assert now == last


def test_a_thousand_short_runs():
    alone(short_runs, 1000)


def short_runs(count):
    chance = np.random.default_rng(0)
    single, engines = FusedEngine(1), {}
    for number in range(count):
        sizes = tuple(chance.integers(1, 50, chance.integers(2, 5)).tolist())
        task = problem(sizes, int(chance.integers(1, 300)), dtype="float32", seed=number)
        optimizer = OPTIMIZERS[chance.integers(len(OPTIMIZERS))]
        settings = {
            "batch_size": int(chance.choice([7, 20, 128, 200, 1000])),
            "alpha": float(chance.choice([0, 0.1])),
        }
        threads = int(chance.integers(2, 9))
        if number % 3 == 0:  # others go on with threads that there are
            engines[threads] = FusedEngine(threads, always=True)
        engine = engines.setdefault(threads, FusedEngine(threads, always=True))
        expected = trained(single, task, optimizer, **settings)
        assert trained(engine, task, optimizer, **settings) == expected, (number, sizes, threads)


# --- processes -----------------------------------------------------------------------------------


def status_of_fork(job):
    """Return the exit status of a forked child: 0 if ``job()`` is true there."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIMIT)  # ends a child that hangs
            os._exit(0 if job() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def good_in_child(engine):
    """Train on an engine of the parent's, on a new one, and on both at once."""
    engines = [engine, PAIR()]
    good = all(trained(each, case(0)) == quiet(0) for each in engines)
    return (
        good and at_once(*(partial(trained, each, case(0)) for each in engines)) == [quiet(0)] * 2
    )


@needs_fork
@may_fork
def test_a_forked_child_trains_after_its_parent():
    engine, before = FusedEngine(3, always=True), team()
    assert trained(engine, case(0)) == quiet(0)
    assert len(team() - before) == 2
    assert status_of_fork(partial(good_in_child, engine)) == 0
    assert trained(engine, case(0)) == quiet(0)  # the parent's threads are still there


@needs_fork
@may_fork
@pytest.mark.parametrize("shared", [True, False])
def test_a_forked_child_trains_while_another_thread_of_its_parent_does(shared):
    engine, over, expected = PAIR(), threading.Event(), quiet(0)

    def busy():
        busy_engine, found = engine if shared else PAIR(), set()
        while not over.is_set():
            found.add(trained(busy_engine, case(1)))
        return found

    def fork():
        try:
            return [status_of_fork(partial(good_in_child, engine)) for _ in range(5)]
        finally:
            over.set()

    assert at_once(busy, fork) == [{quiet(1)}, [0] * 5]
    assert trained(engine, case(0)) == expected


@may_fork
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_processes_train(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"the platform has no {method}")
    engine = PAIR()
    assert trained(engine, case(0)) == quiet(0)
    with multiprocessing.get_context(method).Pool(2) as pool:
        jobs = [(engine, case(seed)) for seed in range(4)]
        found = pool.starmap_async(trained, jobs, chunksize=1).get(LIMIT)
    assert found == [quiet(seed) for seed in range(4)]


def test_joblib_workers_train():
    engine = PAIR()
    jobs = [joblib.delayed(trained)(engine, case(seed)) for seed in range(4)]
    try:
        found = joblib.Parallel(n_jobs=2, backend="loky", timeout=LIMIT)(jobs)
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
    assert found == [quiet(seed) for seed in range(4)]


def test_two_processes_train_at_the_same_time():
    alone(train_together, SPAWN.Barrier(2), quiet(0), copies=2)


def train_together(start, expected):
    engine = PAIR()
    engine.warm_up()
    start.wait(LIMIT)
    for _ in range(50):
        assert trained(engine, case(0)) == expected


# --- long runs that end early --------------------------------------------------------------------

BATCH = 500
N_BATCHES = 3000  # of 0.6 GFLOP each: many seconds


def long_run(optimizer=SGD, kind="float"):
    """Return what a training of many seconds takes, but for the engine."""
    network, parameters, X, y = problem((300, 300, 300, 10), 1000, dtype="float32")
    if kind == "bytes":  # converted window by window
        X = fastnn.prepare(np.clip(X * 50 + 128, 0, 255).astype(np.uint8), scale=1 / 255)
    order = np.random.default_rng(0).integers(0, 999, N_BATCHES * BATCH)
    return [network, parameters, optimizer.initialize(parameters), X, y, order]


def train(engine, long, **more):
    return engine.train(*long, batch_size=BATCH, learning_rates=0.01, **more)


def wait_for_first_batch(long):
    start = long[1].vector[:300].copy()
    while (long[1].vector[:300] == start).all():
        time.sleep(0.001)


def assert_ended_after_whole_batches(long, k, losses=None):
    """The first k batches, and nothing else, were trained, and nobody goes on with it."""
    _, parameters, state, X, _, order = long
    before = parameters.vector.copy()
    time.sleep(0.05)
    assert parameters.vector.tobytes() == before.tobytes()
    assert k == state.step
    assert 0 < k < N_BATCHES
    fresh = long_run(state.optimizer)
    fresh[3], fresh[5] = X, order[: k * BATCH]
    expected = train(FusedEngine(1), fresh)
    assert parameters.vector.tobytes() == fresh[1].vector.tobytes()
    for moment, other in zip(state.moments, fresh[2].moments, strict=True):
        assert moment.tobytes() == other.tobytes()
    assert losses is None or losses.tobytes() == expected.tobytes()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ctrl_c_ends_a_long_run_between_two_batches(threads, times):
    alone(interrupted, threads, times)


def interrupted(threads, times):
    engine, long = FusedEngine(threads, always=True), long_run(ADAM)
    engine.warm_up()

    def press():
        wait_for_first_batch(long)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.001)  # the batch takes longer

    presser = threading.Thread(target=press)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(engine, long)
        presser.join()
    except KeyboardInterrupt:  # the second was late
        presser.join()
    assert_ended_after_whole_batches(long, long[2].step)
    assert trained(engine, case(0)) == quiet(0)


@pytest.mark.parametrize("long", [False, True])
def test_ctrl_c_at_any_moment_leaves_the_engine_in_order(long):
    alone(interrupted_often, long)


def interrupted_often(long):
    if long:
        run.LONG_WORK = 0  # all runs are
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    expected, task = quiet(0), problem((5, 7, 4), 30, dtype="float32")
    chance = np.random.default_rng(0)
    for number in range(200):
        if number % 2 == 0:  # half of the time, threads are just being started
            engines = [FusedEngine(3, always=True)]
        timer = threading.Timer(chance.uniform(0, 0.004), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                trained(engines[-1], task)
                if number % 2:
                    engines.append(FusedEngine(3, always=True))
        except KeyboardInterrupt:
            timer.join()
        assert trained(engines[-1], case(0)) == expected
    del engines
    gc.collect()
    for thread in team():
        thread.join(LIMIT / 8)
        assert not thread.is_alive()
    assert cpus is None or os.sched_getaffinity(0) == cpus


@pytest.mark.parametrize("kind", ["float", "bytes"])
@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_an_event_set_by_another_thread_ends_a_long_run_between_two_batches(optimizer, kind):
    engine, long, stop = PAIR(), long_run(optimizer, kind), threading.Event()

    def end():
        wait_for_first_batch(long)
        stop.set()

    losses, _ = at_once(partial(train, engine, long, stop=stop), end)
    assert_ended_after_whole_batches(long, len(losses), losses)


@pytest.mark.parametrize("kind", ["float", "bytes"])
def test_an_event_that_is_set_already_lets_nothing_begin(kind):
    long, stop = long_run(ADAM, kind), threading.Event()
    before = long[1].vector.tobytes()
    stop.set()
    assert len(train(PAIR(), long, stop=stop)) == long[2].step == 0
    assert long[1].vector.tobytes() == before
    assert not any(moment.any() for moment in long[2].moments)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_long_run_that_diverges_ends_after_the_last_good_batch(threads):
    long, bad = long_run(ADAM), 37
    long[3][999] = 3e38  # in no batch but this one
    long[5][bad * BATCH + 17] = 999

    def diverge():
        with pytest.raises(fastnn.DivergedError) as raised:
            train(FusedEngine(threads, always=True), long)
        return raised.value

    (error,) = at_once(diverge)
    assert error.batch == bad
    assert not np.isfinite(error.loss)
    assert_ended_after_whole_batches(long, bad, error.losses)
