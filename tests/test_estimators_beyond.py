"""What the estimators do beyond scikit-learn's, each against an oracle or a property of its own."""

import numpy as np
import pandas as pd
import pytest
import sklearn.neural_network as theirs
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score
from sklearn.utils import compute_sample_weight

import fastnn
from fastnn.reference import ReferenceEngine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, F = 240, 6
BATCH = 40
X = np.random.RandomState(0).randn(N, F)
Y = np.digitize(X[:, 0] + X[:, 1], [-0.5, 1.5])  # three classes of different sizes
LABELS = (X[:, :3] > 0).astype(int)
NUMBERS = X[:, 0] * X[:, 1]
SETTINGS = {"hidden_layer_sizes": (8,), "batch_size": BATCH, "max_iter": 3, "random_state": 0}


def classifier(**more):
    return fastnn.MLPClassifier(**{**SETTINGS, **more})


def regressor(**more):
    return fastnn.MLPRegressor(**{**SETTINGS, **more})


class Spy(ReferenceEngine):
    """The reference, which remembers what it was asked to do."""

    def __init__(self):
        super().__init__(1)
        self.calls = []

    def train(self, network, parameters, state, *args, **kwargs):
        self.calls.append({"optimizer": state.optimizer, **kwargs})
        return super().train(network, parameters, state, *args, **kwargs)


# --- the loss and the steps -----------------------------------------------------------------------


def test_class_weight():
    labels = np.array(["red", "green", "blue"])[Y]
    given = {"red": 2.0, "green": 0.5, "blue": 1.0}
    for class_weight in ("balanced", given):
        for solver in ("adam", "lbfgs"):
            weights = compute_sample_weight(class_weight, labels)
            settings = {"solver": solver, "hidden_layer_sizes": (8,), "random_state": 0}
            found = classifier(class_weight=class_weight, **settings).fit(X, labels)
            expected = theirs.MLPClassifier(**SETTINGS | settings).fit(X, labels, weights)
            assert found.loss_ == pytest.approx(expected.loss_, rel=1e-9)
            twice = classifier(class_weight=class_weight, **settings).fit(X, labels, weights)
            squared = theirs.MLPClassifier(**SETTINGS | settings).fit(X, labels, weights**2)
            assert twice.loss_ == pytest.approx(squared.loss_, rel=1e-9)
    part = classifier(class_weight=given).partial_fit(X, labels, classes=np.unique(labels))
    whole = theirs.MLPClassifier(**SETTINGS)
    whole.partial_fit(X, labels, compute_sample_weight(given, labels), np.unique(labels))
    assert part.loss_ == pytest.approx(whole.loss_, rel=1e-12)
    with pytest.raises(fastnn.InputError, match="'balanced' needs all labels at once"):
        classifier(class_weight="balanced").partial_fit(X, labels, classes=np.unique(labels))


@pytest.mark.parametrize("target", ["classes", "binary", "labels"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_label_smoothing(target, solver):
    """The first loss, worked out from the probabilities before any step."""
    y = {"classes": Y, "binary": Y > 0, "labels": LABELS}[target]
    s, alpha = 0.2, 0.3
    settings = {"batch_size": N, "max_iter": 1, "alpha": alpha}
    start = classifier(**settings, learning_rate_init=1e-300).fit(X, y)
    P = start._forward_pass_fast(X)
    if target == "classes":
        T = (1 - s) * np.eye(3)[y] + s / 3
        losses = -(T * np.log(P)).sum(axis=1)
    else:
        T = (1 - s) * np.reshape(y, P.shape) + s / 2
        losses = -(T * np.log(P) + (1 - T) * np.log(1 - P)).sum(axis=1)
    expected = losses.mean() + alpha * sum((W**2).sum() for W in start.coefs_) / (2 * N)
    losses = []

    class Watched(fastnn.MLPClassifier):
        """Keeps the first loss that lbfgs asks for."""

        def _loss_grad_lbfgs(self, *args):
            found = super()._loss_grad_lbfgs(*args)
            losses.append(found[0])
            return found

    model = Watched(**{**SETTINGS, **settings}, solver=solver, label_smoothing=s).fit(X, y)
    found = losses[0] if solver == "lbfgs" else model.loss_
    assert found == pytest.approx(expected, rel=1e-12)


def test_dropout():
    spy = Spy()
    model = classifier(dropout=0.5, engine=spy).fit(X, Y)
    for call in spy.calls:
        assert call["objective"].dropout == 0.5
    again = classifier(dropout=0.5).fit(X, Y)
    np.testing.assert_allclose(again.loss_curve_, model.loss_curve_, rtol=1e-12)
    other = classifier(dropout=0.5, random_state=1, engine=(other_spy := Spy()))
    other.fit(X, Y)
    seeds = {call["objective"].dropout_seed for call in spy.calls + other_spy.calls}
    assert len(seeds) == 2
    # predictions drop nothing, and the first weights are those without dropout
    plain = classifier(learning_rate_init=1e-300, max_iter=1).fit(X, Y)
    dropped = classifier(learning_rate_init=1e-300, max_iter=1, dropout=0.5).fit(X, Y)
    np.testing.assert_array_equal(dropped.predict_proba(X), plain.predict_proba(X))
    assert abs(dropped.loss_ - plain.loss_) > 1e-3


@pytest.mark.parametrize("make", [classifier, regressor])
def test_weight_decay(make):
    """One step of AdamW is one of Adam less rate * decay * weights (Loshchilov and Hutter)."""
    rate, decay = 0.01, 0.3
    settings = {"batch_size": N, "max_iter": 1, "learning_rate_init": rate}
    start = make(batch_size=N, max_iter=1, learning_rate_init=1e-300).fit(X, Y)
    plain, decayed = make(**settings).fit(X, Y), make(**settings, weight_decay=decay).fit(X, Y)
    for name in ("coefs_", "intercepts_"):
        for W0, W, V in zip(*(getattr(m, name) for m in (start, plain, decayed)), strict=True):
            np.testing.assert_allclose(V, W - rate * decay * W0, rtol=1e-12, atol=1e-15)


def test_clip_norm():
    """A plain step is as long as the rate times the norm that is left."""
    settings = {"solver": "sgd", "momentum": 0, "batch_size": N, "max_iter": 1}
    start = regressor(**settings, learning_rate_init=1e-300).fit(X, 100 * NUMBERS)

    def step(**more):
        model = regressor(**settings, learning_rate_init=0.5, **more).fit(X, 100 * NUMBERS)
        pairs = zip(model.coefs_ + model.intercepts_, start.coefs_ + start.intercepts_, strict=True)
        return np.concatenate([(W - V).ravel() for W, V in pairs]) / -0.5

    whole = step()
    norm = np.linalg.norm(whole)
    np.testing.assert_allclose(step(clip_norm=norm / 7), whole / 7, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(step(clip_norm=norm * 2), whole)


def cosine(progress):
    return (1 + np.cos(np.pi * progress)) / 2


def one_cycle(progress):
    rising = 0.04 + 0.96 * (1 - np.cos(np.pi * progress / 0.3)) / 2
    return np.where(progress < 0.3, rising, (1 + np.cos(np.pi * (progress - 0.3) / 0.7)) / 2)


def thirds(progress):
    return 1.0 / (1 + np.floor(3 * progress))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        ("linear", lambda progress: 1 - progress),
        ("cosine", cosine),
        ("one-cycle", one_cycle),
        ("step", lambda p: np.where(p < 0.5, 1, np.where(p < 0.75, 0.1, 0.01))),
        (thirds, thirds),
    ],
)
def test_schedules(schedule, formula, solver):
    spy, n_batches = Spy(), N // BATCH
    settings = {"solver": solver, "learning_rate": schedule, "learning_rate_init": 0.02}
    classifier(**settings, engine=spy).fit(X, Y)
    expected = 0.02 * formula(np.arange(3 * n_batches) / (3 * n_batches))
    found = np.concatenate([call["learning_rates"] for call in spy.calls])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # calls of partial_fit are epochs of the same run; what comes after it is as its last epoch
    spy.calls.clear()
    model = classifier(**settings, engine=spy)
    for _ in range(4):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    found = np.concatenate([call["learning_rates"] for call in spy.calls])
    np.testing.assert_allclose(found, [*expected, *expected[-n_batches:]], rtol=1e-12)
    if solver == "sgd":
        assert model._optimizer.learning_rate == expected[-1]


def test_the_end_of_a_schedule_is_no_surprise(recwarn):
    assert classifier(learning_rate="cosine").fit(X, Y).n_iter_ == 3
    assert not recwarn.list


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive", "invscaling", "cosine"])
def test_epochs_that_one_call_trains(solver, learning_rate, capsys):
    """Where nobody looks at each of them: with the same bits, and the same end."""
    settings = {
        "solver": solver, "learning_rate": learning_rate, "max_iter": 60, "tol": 0.003,
        "n_iter_no_change": 4, "learning_rate_init": 0.02, "dropout": 0.1,
    }  # fmt: skip
    spy, watched_spy = Spy(), Spy()
    model = classifier(**settings, engine=spy).fit(X, Y)
    watched = classifier(**settings, engine=watched_spy, verbose=True).fit(X, Y)
    assert len(watched_spy.calls) == watched.n_iter_
    assert capsys.readouterr().out.count("Iteration") == watched.n_iter_
    assert model.loss_curve_ == watched.loss_curve_
    assert model._no_improvement_count == watched._no_improvement_count
    for W, V in zip(model.coefs_, watched.coefs_, strict=True):
        np.testing.assert_array_equal(W, V)
    if learning_rate == "invscaling":
        assert len(spy.calls) == model.n_iter_
    else:
        assert len(spy.calls) <= model.n_iter_ // 2
    if learning_rate == "constant":
        assert model.n_iter_ < 60  # the end came when it was due


def test_a_schedule_that_is_none():
    for bad in (lambda progress: -progress, lambda progress: progress[:-1], "cosinus"):
        spy = Spy()
        with pytest.raises(ValueError, match="schedule returned|'learning_rate' parameter"):
            classifier(learning_rate=bad, engine=spy).fit(X, Y)
        assert not spy.calls


def test_dtype():
    single = classifier(dtype="float32").fit(X, Y)
    np.testing.assert_array_equal(
        single.predict_proba(X), classifier().fit(X.astype("f4"), Y).predict_proba(X.astype("f4"))
    )
    assert single.coefs_[0].dtype == single.predict_proba(X).dtype == np.float32
    assert single.predict_proba(X[:1]).dtype == np.float32
    double = classifier(dtype="float64").fit(X.astype("f4"), Y)
    assert double.coefs_[0].dtype == double.predict_proba(X.astype("f4")[:2]).dtype == np.float64


def test_engine_and_threads():
    one, two = (classifier(n_threads=n).fit(X, Y) for n in (1, 2))
    assert (one._kept._engine.threads, two._kept._engine.threads) == (1, 2)
    assert one.loss_curve_ == two.loss_curve_
    spy = Spy()
    slow = classifier(engine=spy).fit(X, Y)
    assert spy.calls
    np.testing.assert_allclose(slow.loss_curve_, one.loss_curve_, rtol=1e-12)


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_data_of_the_user(early_stopping):
    train, held_out = slice(0, 200), slice(200, N)
    model = classifier(early_stopping=early_stopping, max_iter=6)
    w = np.linspace(0.5, 2, N - 200)
    model.fit(X[train], Y[train], X_val=X[held_out], y_val=Y[held_out], sample_weight_val=w)
    assert model.t_ == 6 * 200  # nothing of X was held out
    free = classifier(max_iter=6).fit(X[train], Y[train])
    assert model.loss_curve_ == free.loss_curve_
    P = free.predict_proba(X[held_out])
    expected = log_loss(Y[held_out], P, sample_weight=w)
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    if early_stopping:
        score = free.score(X[held_out], Y[held_out], sample_weight=w)
        assert model.validation_scores_[-1] == pytest.approx(score)
    else:
        assert model.validation_scores_ is None
    assert free.validation_loss_curve_ is None


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_validation_loss_of_numbers(loss):
    y = np.abs(NUMBERS)
    model = regressor(loss=loss).fit(X, y, X_val=X[:50], y_val=y[:50])
    p, t = model.predict(X[:50]), y[:50]
    if loss == "poisson":
        expected = np.mean(t * np.log(t / p) - t + p)
    else:
        expected = mean_squared_error(t, p) / 2
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    assert len(model.validation_loss_curve_) == 3


def test_validation_data_may_lack_a_class_but_have_no_other():
    for warm_start in (False, True):
        model = classifier(early_stopping=True, warm_start=warm_start)
        model.fit(X, Y, X_val=X[Y < 2], y_val=Y[Y < 2])
        with pytest.raises(fastnn.InputError, match=r"y_val has the classes \[9\]"):
            model.fit(X, Y, X_val=X, y_val=np.where(Y == 2, 9, Y))


def test_what_is_refused():
    cases = [
        (classifier(), {"X_val": X}, "go together"),
        (classifier(), {"sample_weight_val": Y}, "goes with X_val"),
        (classifier(solver="lbfgs"), {"X_val": X, "y_val": Y}, "X_val is for solver='sgd'"),
        (classifier(solver="lbfgs", dropout=0.5), {}, "dropout is for"),
        (classifier(solver="lbfgs", clip_norm=1.0), {}, "clip_norm is for"),
        (classifier(solver="lbfgs", time_budget=1.0), {}, "time_budget is for"),
        (classifier(solver="sgd", weight_decay=0.1), {}, "weight_decay is for solver='adam'"),
        (classifier(restore_best_weights=True), {}, "needs X_val and y_val"),
        (classifier(), {"X_val": X[:, :2], "y_val": Y}, "X has 2 features"),
        (classifier(), {"X_val": X, "y_val": Y[:9]}, "inconsistent numbers of samples"),
        (classifier(dropout=1.0), {}, "'dropout' parameter"),
        (classifier(time_budget=0.0), {}, "'time_budget' parameter"),
        (classifier(scoring="nonsense"), {}, "'scoring' parameter"),
        (classifier(engine="magic"), {}, "'engine' parameter"),
        (classifier(), {"sample_weight": -np.ones(N)}, r"sample_weight\[0\] is -1"),
        (regressor(loss="poisson"), {}, "numbers from 0"),
    ]
    for model, more, message in cases:
        y = NUMBERS if isinstance(model, fastnn.MLPRegressor) else Y
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, **more)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc_ovr", lambda m, X, y: -m.loss_])
@pytest.mark.parametrize("frame", [False, True])
def test_scoring(scoring, frame):
    model = classifier(early_stopping=True, scoring=scoring, max_iter=8, learning_rate_init=0.05)
    table = pd.DataFrame(X, columns=list("abcdef")) if frame else X
    model.fit(table, Y, X_val=table[:60], y_val=Y[:60])
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    P = model.predict_proba(table[:60])  # of the weights of the best score
    if scoring == "neg_log_loss":
        assert model.best_validation_score_ == pytest.approx(-log_loss(Y[:60], P), rel=1e-9)
    elif scoring == "roc_auc_ovr":
        expected = roc_auc_score(Y[:60], P, multi_class="ovr")
        assert model.best_validation_score_ == pytest.approx(expected)
    else:
        assert model.validation_scores_ == [-loss for loss in model.loss_curve_]


def test_restoring_the_best_weights():
    """Of the lowest validation loss; labels at random, so that it rises soon."""
    y = np.random.RandomState(1).randint(0, 3, N)
    settings = {"max_iter": 25, "learning_rate_init": 0.05, "hidden_layer_sizes": (40,)}
    data = {"X": X[:120], "y": y[:120], "X_val": X[120:], "y_val": y[120:]}
    last = classifier(**settings).fit(**data)
    best = classifier(**settings, restore_best_weights=True).fit(**data)
    curve = best.validation_loss_curve_
    assert curve == last.validation_loss_curve_
    assert min(curve) < 0.9 * curve[-1]
    for model, expected in ((best, min(curve)), (last, curve[-1])):
        found = log_loss(y[120:], model.predict_proba(X[120:]))
        assert found == pytest.approx(expected, rel=1e-9)


def test_time_budget(recwarn):
    model = classifier(time_budget=1e-9, max_iter=50).fit(X, Y)
    assert model.n_iter_ == 1
    assert not recwarn.list
    assert classifier(time_budget=1e9).fit(X, Y).n_iter_ == 3


def test_everything_at_once_equals_the_reference():
    settings = {
        "dropout": 0.2, "label_smoothing": 0.1, "weight_decay": 0.01, "clip_norm": 0.5,
        "learning_rate": "one-cycle", "class_weight": "balanced", "early_stopping": True,
        "scoring": "neg_log_loss", "alpha": 0.1,
    }  # fmt: skip
    found, expected = (classifier(**settings, engine=e).fit(X, Y) for e in ("fused", "reference"))
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(found.validation_scores_, expected.validation_scores_, rtol=1e-11)


def test_class_weight_of_some_classes_in_parts():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 4)), np.repeat(["aa", "b", "ccc"], 30)
    names = ["aa", "b", "ccc"]
    call = {"hidden_layer_sizes": (5,), "batch_size": 30, "random_state": 0}
    some = fastnn.MLPClassifier(class_weight={"aa": 3.0}, **call)
    some.partial_fit(X[30:], y[30:], classes=names).partial_fit(X, y)
    plain = fastnn.MLPClassifier(**call)
    plain.partial_fit(X[30:], y[30:], classes=names)
    plain.partial_fit(X, y, sample_weight=np.where(y == "aa", 3.0, 1.0))
    assert some.loss_curve_ == plain.loss_curve_
    wrong = fastnn.MLPClassifier(class_weight={"a": 3.0}, **call)
    with pytest.raises(ValueError, match="not in class_weight"):
        wrong.fit(X, y)
