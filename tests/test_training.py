"""``fit``: seeds, splits, schedules, early stopping, callbacks, interruption, divergence."""

import os
import signal
import threading

import numpy as np
import pytest

import fastnn
from fastnn import interrupts
from fastnn.labels import split_rows
from fastnn.schedules import SCHEDULES, learning_rates


@pytest.fixture(scope="module")
def blobs():
    """Three clouds of points, two of them close."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [200, 100, 60])
    X = rng.normal(size=(360, 4)) + np.array([[0, 0, 0, 0], [2, 2, 0, 0], [0, -3, 3, 0]])[y]
    shuffle = rng.permutation(360)
    return X[shuffle], y[shuffle]


NETWORK = fastnn.Network((4, 8, 3))
# The largest class has 56 % of the samples; the clouds overlap, and the best possible is near 0.95.
BETTER_THAN_CHANCE = 0.85


def fit(blobs, **settings):
    return fastnn.fit(NETWORK, *blobs, **{"seed": 0, "epochs": 3, "threads": 1, **settings})


def test_it_learns(blobs):
    model = fit(blobs, epochs=20, learning_rate=0.02)
    loss, accuracy = model.evaluate(*blobs)
    assert accuracy > BETTER_THAN_CHANCE
    assert loss < 0.4
    assert model.history.loss[-1] < model.history.loss[0]
    assert model.history.epochs == len(model.history.seconds) == 20
    assert model.history.stopped == "finished"


def test_fit_is_the_engine_on_the_seeds_orders(blobs):
    """The whole of ``fit``, written out."""
    X, y = blobs
    start, shuffles, _ = np.random.default_rng(5).spawn(3)
    parameters = NETWORK.initialize(start, dtype="float64")
    state, engine = fastnn.SGD(0.9).initialize(parameters), fastnn.get_engine(threads=1)
    losses = []
    for epoch in range(2):
        order = shuffles.permutation(360)
        rates = 0.05 * (1 - np.arange(epoch * 4, epoch * 4 + 4) / 8)
        found = engine.train(
            NETWORK, parameters, state, X, y, order, batch_size=100, learning_rates=rates
        )
        losses.append(found @ [100, 100, 100, 60] / 360)
    model = fit(
        blobs, seed=5, epochs=2, batch_size=100, learning_rate=0.05, schedule="linear",
        optimizer=fastnn.SGD(0.9), dtype="float64",
    )  # fmt: skip
    np.testing.assert_array_equal(model.parameters.vector, parameters.vector)
    np.testing.assert_allclose(model.history.loss, losses, rtol=1e-14)


def test_the_same_seed_gives_the_same_model_and_another_another(blobs):
    a, b, c = (fit(blobs, seed=seed).parameters.vector for seed in (1, np.int64(1), 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    np.testing.assert_array_equal(fit(blobs, seed=np.random.default_rng(1)).parameters.vector, a)


def test_inputs_and_starting_parameters_are_not_changed(blobs):
    X, y = blobs[0].copy(), blobs[1].copy()
    start = NETWORK.initialize(3)
    before = start.copy()
    X.flags.writeable = y.flags.writeable = start.vector.flags.writeable = False
    model = fit((X, y), parameters=start, standardize=True)
    np.testing.assert_array_equal(start.vector, before.vector)
    assert (model.parameters.vector != before.vector).any()


def test_a_held_out_share_is_not_trained_on(blobs):
    X, y = blobs
    model = fit(blobs, validation=0.25, epochs=4)
    history = model.history
    assert len(history.validation_loss) == len(history.validation_accuracy) == 4
    assert model.settings["n_samples"] == 270
    assert model.settings["n_validation"] == 90
    # which rows are held out does not depend on their values: spoil those and train again
    from fastnn.labels import split_rows

    rows, held_out = split_rows(y, 0.25, np.random.default_rng(0).spawn(3)[2])
    spoiled = X.copy()
    spoiled[held_out] = 1e3
    other = fit((spoiled, y), validation=0.25, epochs=4)
    np.testing.assert_array_equal(model.parameters.vector, other.parameters.vector)
    assert other.history.validation_loss != history.validation_loss
    expected = model.evaluate(X[held_out], y[held_out])
    found = (history.validation_loss[-1], history.validation_accuracy[-1])
    assert found == pytest.approx(expected, rel=1e-6)
    standardized = fit((spoiled, y), validation=0.25, standardize=True)
    np.testing.assert_allclose(standardized.scaling.offset, X[rows].mean(axis=0), atol=1e-12)


def test_given_validation_data(blobs):
    X, y = blobs
    model = fit(blobs, validation=(X[:50], y[:50]))
    assert model.history.validation_accuracy[-1] == model.evaluate(X[:50], y[:50])[1]
    with pytest.raises(fastnn.InputError, match="3 features"):
        fit(blobs, validation=(X[:50, :3], y[:50]))
    with pytest.raises(fastnn.InputError, match="49 labels for 50 samples"):
        fit(blobs, validation=(X[:50], y[:49]))
    with pytest.raises(fastnn.InputError, match="not one of the 3 classes"):
        fit(blobs, validation=(X[:50], y[:50] + 7))


def test_early_stopping_keeps_the_best_epoch(blobs):
    X, y = blobs
    wrong = (y + 1) % 3  # what is learned makes this loss grow
    seen = []
    model = fit(
        blobs,
        validation=(X, wrong),
        patience=2,
        epochs=50,
        callbacks=[lambda epoch: seen.append(epoch.parameters.vector.copy())],
    )
    history = model.history
    best = int(np.argmin(history.validation_loss))
    assert history.stopped == "early"
    assert history.best_epoch == best + 1
    assert history.epochs == best + 3 < 50
    np.testing.assert_array_equal(model.parameters.vector, seen[best])
    with pytest.raises(fastnn.InputError, match="patience needs validation data"):
        fit(blobs, patience=2)


def test_callbacks_hear_every_epoch_and_can_end_training(blobs):
    heard = []

    def listen(epoch):
        heard.append((epoch.number, epoch.epochs, epoch.loss, epoch.validation_loss))

    model = fit(blobs, epochs=9, callbacks=[lambda epoch: np.bool_(epoch.number == 4), listen])
    assert [number for number, *_ in heard] == [1, 2, 3, 4]
    assert [loss for _, _, loss, _ in heard] == model.history.loss
    assert {(epochs, loss) for _, epochs, _, loss in heard} == {(9, None)}
    assert model.history.stopped == "early"
    last = fit(blobs, callbacks=[lambda epoch: epoch.number == 3])
    assert last.history.stopped == "finished"


def test_an_epoch_tells_its_rate_and_seconds(blobs):
    rates = []
    model = fit(
        blobs, schedule="linear", learning_rate=0.1, batch_size=120,
        callbacks=[lambda epoch: rates.append(epoch.learning_rate)],
    )  # fmt: skip
    np.testing.assert_allclose(rates, 0.1 * (1 - np.array([2, 5, 8]) / 9))
    assert all(seconds > 0 for seconds in model.history.seconds)


def test_networks_without_relu_start_as_glorot_has_it():
    network = fastnn.Network((4, 300, 3), activation="tanh")
    X, y = np.zeros((3, 4)), [0, 1, 2]
    model = fastnn.fit(network, X, y, seed=0, epochs=1, learning_rate=1e-30)
    bound = np.sqrt(6 / 304)
    assert 0.98 * bound < np.abs(model.parameters.weights[0]).max() <= bound


def test_a_fall_below_tol_ends_training_but_is_kept(blobs):
    """Patience counts falls by ``tol``; the parameters are those of the lowest loss."""
    model = fit(blobs, validation=blobs, patience=2, tol=10.0, epochs=9)
    assert model.history.validation_loss == sorted(model.history.validation_loss)[::-1]
    # the first loss is below infinity by any tol
    assert (model.history.epochs, model.history.best_epoch) == (3, 3)
    patient = fit(blobs, validation=blobs, patience=2, tol=0, epochs=9)
    assert (patient.history.epochs, patient.history.best_epoch) == (9, 9)


def test_verbose_prints_a_line_per_epoch(blobs, capsys):
    fit(blobs, verbose=True, validation=0.1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("validation accuracy" in line for line in lines)
    fit(blobs)
    assert capsys.readouterr().out == ""


def test_labels_of_any_kind(blobs):
    X, y = blobs
    names = np.array(["oak", "ash", "elm"])[y]
    model = fit((X, names), epochs=20, learning_rate=0.02)
    assert model.classes.tolist() == ["ash", "elm", "oak"]
    assert (model.predict(X) == names).mean() > BETTER_THAN_CHANCE
    # the order of the outputs need not be sorted, and one may be without samples
    few = fit(
        (X[y < 2], names[y < 2]), classes=["oak", "elm", "ash"], epochs=20, learning_rate=0.02
    )
    assert few.predict_proba(X[:2]).shape == (2, 3)
    assert (few.predict(X[y < 2]) == names[y < 2]).mean() > BETTER_THAN_CHANCE
    assert few.evaluate(X[y < 2], names[y < 2])[1] > BETTER_THAN_CHANCE


def test_sample_weights_reach_the_engine(blobs):
    X, y = blobs
    weights = (y != 2).astype(float)
    model = fit(blobs, sample_weight=weights, epochs=20, learning_rate=0.02)
    assert (model.predict(X[y == 2]) == 2).mean() < 0.1
    ones = fit(blobs, sample_weight=np.ones(360))
    np.testing.assert_allclose(ones.parameters.vector, fit(blobs).parameters.vector, rtol=1e-5)
    assert fit(blobs, sample_weight=np.zeros(360)).history.loss == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"schedule": "cosinus"}, "schedule is 'cosinus'; expected one of"),
        ({"schedule": lambda progress: 1.0}, r"returned shape \(\)"),
        ({"validation": 1.5}, "1.5; expected a number in"),
        ({"validation": 0.1, "patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"engine": "fast"}, "engine is 'fast'"),
        ({"scale": 0.5}, "leave scale out"),
        ({"learning_rate": "0.1"}, "learning_rate is '0.1'"),
        ({"validation": "0.2"}, "validation is '0.2'; expected a share"),
        ({"validation": (1, 2, 3)}, "expected a share such as 0.1, or a tuple"),
        ({"optimizer": "adam"}, r"optimizer is 'adam'; expected fastnn.SGD\(\)"),
        ({"objective": 0.1}, "objective is 0.1"),
        ({"callbacks": print}, "callbacks is a function"),
        ({"validation": 0.1, "patience": 1, "tol": float("nan")}, "tol is nan"),
        ({"validation": 0.1, "patience": 1, "tol": -1}, "tol is -1; expected .* at least 0"),
        ({"validation": 0.001}, "validation data: 360 samples .* hold out none"),
        ({"callbacks": [5]}, "callbacks holds 5; expected functions"),
        ({"parameters": [1, 2]}, r"parameters is \[1, 2\]; expected a fastnn Parameters"),
        ({"engine": None}, "engine is None; expected one of"),
        ({"engine": 5}, "engine is 5; expected one of"),
        ({"schedule": ["cosine"]}, r"schedule is \['cosine'\]; expected one of"),
        ({"schedule": lambda p: 1 - 2 * p}, "schedule returned -0.* for progress 0.5"),
        ({"schedule": lambda p: np.where(p > 0.9, np.nan, 1)}, "schedule returned nan"),
        ({"schedule": lambda p: ["1"] * len(p)}, "returned shape .* and dtype <U1"),
        ({"seed": np.random.RandomState(0)}, "seed is a RandomState"),
        ({"epochs": True}, "epochs is True"),
        ({"epochs": 10**400}, "expected a whole number from 1 to 1000000000"),
        ({"learning_rate": 10**400}, "expected a finite number above 0"),
        ({"feature_names": "abcd"}, "feature_names is 'abcd'; expected a sequence"),
        ({"sample_weight": ["1"] * 360}, "sample_weight has dtype <U1; expected numbers"),
        ({"feature_names": ["a"]}, "feature_names is .*expected 4 strings"),
        ({"feature_names": [1, 2, 3, 4]}, "expected 4 strings"),
        ({"parameters": fastnn.Network((4, 7, 3)).initialize(0)}, "starting parameters"),
        ({"parameters": NETWORK.initialize(0, dtype="float64")}, "dtype float32"),
    ],
)
def test_bad_settings_are_named(blobs, settings, message):
    with pytest.raises(fastnn.InputError, match=message):
        fit(blobs, **settings)


def test_data_that_do_not_fit_are_named(blobs):
    X, y = blobs
    with pytest.raises(fastnn.InputError, match="X has 3 features; the network expects 4"):
        fit((X[:, :3], y))
    with pytest.raises(fastnn.InputError, match="359 labels for 360 samples"):
        fit((X, y[1:]))
    with pytest.raises(fastnn.InputError, match="4 different labels"):
        fit((X, np.append(y[1:], 3)))


def test_divergence_brings_the_last_good_model(blobs):
    with pytest.raises(fastnn.DivergedError) as raised:
        fit(blobs, optimizer=fastnn.SGD(), learning_rate=1e30, schedule="constant")
    model = raised.value.model
    assert model.history.stopped == "diverged"
    assert model.network == NETWORK
    assert np.isfinite(model.parameters.vector).all()


def test_an_update_that_overflows_is_not_a_finished_training(blobs):
    start = NETWORK.initialize(np.random.default_rng(0).spawn(3)[0])
    with pytest.raises(fastnn.DivergedError) as raised:
        fit(blobs, epochs=1, batch_size=360, optimizer=fastnn.SGD(), learning_rate=1e39)
    np.testing.assert_array_equal(raised.value.model.parameters.vector, start.vector)


def test_divergence_goes_back_to_the_best_epoch(blobs):
    best = []

    def listen(epoch):
        if epoch.number == 2:
            best.append(epoch.parameters.vector.copy())

    with pytest.raises(fastnn.DivergedError) as raised:
        fit(
            blobs,
            epochs=5,
            validation=blobs,
            patience=5,
            optimizer=fastnn.SGD(),
            callbacks=[listen],
            learning_rate=0.05,
            schedule=lambda progress: np.where(progress < 0.4, 1, 1e38),
        )
    assert raised.value.model.history.best_epoch == 2
    np.testing.assert_array_equal(raised.value.model.parameters.vector, best[0])


def interrupt_during_epoch(monkeypatch, epoch, times=1):
    """Send Ctrl-C to this process from inside the n-th call of the engine's train."""
    from fastnn.fused.engine import FusedEngine

    calls, original = [], FusedEngine.train

    def train(self, *arguments, **settings):
        calls.append(1)
        if len(calls) == epoch:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return original(self, *arguments, **settings)

    monkeypatch.setattr(FusedEngine, "train", train)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_ctrl_c_raises_with_the_model_so_far(blobs, monkeypatch, epoch):
    expected = [NETWORK.initialize(np.random.default_rng(0).spawn(3)[0]).vector]
    fit(blobs, callbacks=[lambda e: expected.append(e.parameters.vector.copy())])
    interrupt_during_epoch(monkeypatch, epoch)
    with pytest.raises(KeyboardInterrupt, match=f"after {epoch - 1} whole epochs") as raised:
        fit(blobs)
    assert isinstance(raised.value, fastnn.TrainingInterrupted)
    model = raised.value.model
    assert model.history.stopped == "interrupted"
    np.testing.assert_array_equal(model.parameters.vector, expected[epoch - 1])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_between_epochs_is_not_lost(blobs):
    with pytest.raises(fastnn.TrainingInterrupted, match="after 3 whole epochs"):
        fit(blobs, callbacks=[lambda e: e.number == 3 and signal.raise_signal(signal.SIGINT)])


def test_a_second_ctrl_c_does_not_wait(blobs, monkeypatch):
    interrupt_during_epoch(monkeypatch, 1, times=2)
    monkeypatch.setattr(interrupts, "ECHO", -1.0)
    with pytest.raises(KeyboardInterrupt) as raised:
        fit(blobs)
    assert not isinstance(raised.value, fastnn.TrainingInterrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_signals_at_once_are_one_ctrl_c(blobs, monkeypatch):
    interrupt_during_epoch(monkeypatch, 1, times=2)
    with pytest.raises(fastnn.TrainingInterrupted):
        fit(blobs)


def test_ctrl_c_within_its_own_handler():
    """The lock of an Event is taken in there, and may not be taken twice."""

    class Interrupted(type(threading.Condition())):
        def notify_all(self):
            os.kill(os.getpid(), signal.SIGINT)
            super().notify_all()

    with interrupts.stop_on_interrupt() as stop:
        stop._cond = Interrupted(threading.Lock())
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()


def test_blocks_within_each_other():
    """So that a program can protect what comes before and after the training too."""
    with interrupts.stop_on_interrupt() as outer:
        with interrupts.stop_on_interrupt() as inner:
            signal.raise_signal(signal.SIGINT)
            assert inner.is_set()
            assert not outer.is_set()
        signal.raise_signal(signal.SIGINT)  # the echo, between two blocks
        assert outer.is_set()
        with interrupts.stop_on_interrupt() as late:
            assert late.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_goes_back_to_the_best_epoch(blobs, monkeypatch):
    X, y = blobs
    seen = []
    interrupt_during_epoch(monkeypatch, 4)
    with pytest.raises(fastnn.TrainingInterrupted) as raised:
        fit(
            blobs,
            validation=(X, (y + 1) % 3),  # what is learned makes this loss grow
            patience=5,
            epochs=9,
            learning_rate=0.1,
            callbacks=[lambda epoch: seen.append(epoch.parameters.vector.copy())],
        )
    model = raised.value.model
    best = int(np.argmin(model.history.validation_loss))
    assert best < 2
    assert model.history.best_epoch == best + 1
    np.testing.assert_array_equal(model.parameters.vector, seen[best])


def test_a_handler_of_the_programs_own_is_left_alone(blobs, monkeypatch):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        interrupt_during_epoch(monkeypatch, 1)
        assert fit(blobs).history.stopped == "finished"
        assert heard == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_train_too(blobs):
    models = []
    threads = [threading.Thread(target=lambda: models.append(fit(blobs))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({model.parameters.vector.tobytes() for model in models}) == 1


# --- schedules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_within_0_and_the_rate(name):
    rates = learning_rates(SCHEDULES[name], 0.5, 0, 1000, 1000)
    assert rates.shape == (1000,)
    assert (rates >= 0).all()
    assert rates.max() == pytest.approx(0.5, rel=1e-4)
    parts = [
        learning_rates(SCHEDULES[name], 0.5, first, 100, 1000) for first in range(0, 1000, 100)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), rates)


def test_known_points_of_schedules():
    at = np.array([0.0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(SCHEDULES["linear"](at), [1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(SCHEDULES["cosine"](at)[[0, 2]], [1, 0.5])
    np.testing.assert_allclose(SCHEDULES["step"](at), [1, 1, 0.1, 0.01])
    np.testing.assert_allclose(SCHEDULES["one-cycle"](np.array([0.0, 0.3, 0.65])), [0.04, 1, 0.5])


def test_a_schedule_of_ones_own(blobs):
    own = fit(blobs, schedule=lambda progress: 1 - progress)
    named = fit(blobs, schedule="linear")
    np.testing.assert_array_equal(own.parameters.vector, named.parameters.vector)


def test_the_objective_reaches_the_engine(blobs):
    """One step on all samples, written out."""
    objective = fastnn.Objective(20.0)
    parameters = NETWORK.initialize(np.random.default_rng(0).spawn(3)[0], dtype="float64")
    _, gradient = fastnn.get_engine().gradient(NETWORK, parameters, *blobs, objective=objective)
    model = fit(
        blobs, objective=objective, epochs=1, batch_size=360, optimizer=fastnn.SGD(),
        learning_rate=0.1, schedule="constant", dtype="float64",
    )  # fmt: skip
    expected = parameters.vector - 0.1 * gradient
    np.testing.assert_allclose(model.parameters.vector, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [{"standardize": True}, {"scale": 1 / 7}, {"scale": 1 / 7, "standardize": True}, {}],
)
@pytest.mark.parametrize("given", [True, False])
def test_validation_data_are_scaled_as_the_models_own(blobs, settings, given):
    X, y = np.rint(blobs[0] * 10).astype(np.int8), blobs[1]
    if given:
        validation, held_out = (X[:50], y[:50]), slice(50)
    else:
        validation = 0.2
        _, held_out = split_rows(y, 0.2, np.random.default_rng(0).spawn(3)[2])
    model = fit((X, y), validation=validation, **settings)
    found = model.history.validation_loss[-1], model.history.validation_accuracy[-1]
    assert found == pytest.approx(model.evaluate(X[held_out], y[held_out]), rel=1e-6)


def test_raw_validation_data_go_with_prepared_samples(blobs):
    X, y = np.rint(blobs[0] * 10).astype(np.int8), blobs[1]
    prepared = fit((fastnn.prepare(X, scale=0.1), y), validation=(X, y))
    raw = fit((X, y), scale=0.1, validation=(X, y))
    assert prepared.history.validation_loss == raw.history.validation_loss


def test_the_loss_of_an_epoch_is_weighted(blobs):
    """At a rate that moves nothing, the mean over batches is the mean over all samples."""
    weights = np.random.default_rng(1).uniform(0, 3, 360)
    weights[:40] = 0
    parameters = NETWORK.initialize(0, dtype="float64")
    expected, _ = fastnn.get_engine().gradient(NETWORK, parameters, *blobs, sample_weight=weights)
    model = fit(
        blobs, parameters=parameters, sample_weight=weights, epochs=1, batch_size=50,
        optimizer=fastnn.SGD(), learning_rate=1e-300, dtype="float64", validation=blobs,
    )  # fmt: skip
    assert model.history.loss == pytest.approx([expected], rel=1e-12)


def test_what_a_callback_returns_ends_training_only_if_it_is_true_itself(blobs):
    returned = [1, 1.0, "end", np.ones(3), None, False, np.False_]
    for value in returned:
        model = fit(blobs, callbacks=[lambda epoch, value=value: value])
        assert (model.history.epochs, model.history.stopped) == (3, "finished")
    for value in (True, np.True_):
        model = fit(blobs, callbacks=[lambda epoch, value=value: value])
        assert (model.history.epochs, model.history.stopped) == (1, "early")


def test_moments_that_overflow_are_a_divergence(blobs):
    """Adam would stand still for ever, its steps divided by infinity."""
    X, y = blobs
    large = np.where(np.arange(4) == 1, X * 1e25, X).astype(np.float32)
    with pytest.raises(fastnn.DivergedError, match="in epoch 1: an update overflowed") as raised:
        fit((large, y), optimizer=fastnn.Adam(), batch_size=100)
    start = NETWORK.initialize(np.random.default_rng(0).spawn(3)[0])
    np.testing.assert_array_equal(raised.value.model.parameters.vector, start.vector)


def test_divergence_names_the_epoch_and_the_batch(blobs):
    with pytest.raises(fastnn.DivergedError) as raised:
        fit(
            blobs, epochs=4, batch_size=100, optimizer=fastnn.SGD(), learning_rate=0.05,
            schedule=lambda progress: np.where(progress < 0.5, 1, 1e37),
        )  # fmt: skip
    error = raised.value
    assert error.epoch == 3
    assert f"diverged in epoch 3: the loss of batch {error.batch} is {error.loss}" in str(error)


def test_labels_of_several_kinds_are_refused(blobs):
    X, _ = blobs
    for odd in (float("nan"), 1, None):
        with pytest.raises(fastnn.InputError, match="mixes labels of different kinds"):
            fastnn.fit(fastnn.Network((4, 3)), X, [odd, "a", "b"] * 120)


def test_an_engine_of_ones_own(blobs):
    """One that hands everything on by ``__getattr__`` is an engine too; a class is not."""

    class Timed:
        def __init__(self, engine):
            self.engine = engine

        def __getattr__(self, name):
            return getattr(self.engine, name)

    engine = Timed(fastnn.get_engine(threads=1))
    model = fastnn.fit(NETWORK, *blobs, seed=0, epochs=3, engine=engine)
    np.testing.assert_array_equal(model.parameters.vector, fit(blobs).parameters.vector)
    for odd in (Timed, type(fastnn.get_engine()), object()):
        with pytest.raises(fastnn.InputError, match="engine is"):
            fit(blobs, engine=odd)


def test_the_loss_of_an_epoch_with_huge_weights(blobs):
    huge = fit(blobs, sample_weight=np.full(360, 4e305))
    assert huge.history.loss == pytest.approx(fit(blobs).history.loss, rel=1e-3)
