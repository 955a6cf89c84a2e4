"""The estimators against scikit-learn's own: curves, errors, its checks, and its own tests."""

import copy
import os
import pickle
import re
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
import sklearn.neural_network as theirs
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastnn
from fastnn.reference import ReferenceEngine
from fastnn.threads import usable_cpus

# few epochs are enough here, and both sides say that they are few
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAIRS = {
    "classifier": (fastnn.MLPClassifier, theirs.MLPClassifier),
    "regressor": (fastnn.MLPRegressor, theirs.MLPRegressor),
}
N, F = 230, 7


def samples():
    return np.random.RandomState(0).randn(N, F)


def targets(name):
    """Return the kind of estimator, its own settings, and y."""
    X, draw = samples(), np.random.RandomState(1)
    return {
        "binary": ("classifier", {}, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)),
        "strings": ("classifier", {}, np.array(list("abc"))[np.digitize(X[:, 0], [-0.5, 0.5])]),
        "labels": ("classifier", {}, (X[:, :3] + X[:, 3:6] > 0).astype(int)),
        "numbers": ("regressor", {}, X[:, 0] * X[:, 1] + X[:, 2]),
        "vectors": ("regressor", {}, X[:, :2] * X[:, 1:3]),
        "counts": ("regressor", {"loss": "poisson"}, draw.poisson(np.exp(X[:, 0] / 2))),
    }[name]


TARGETS = ("binary", "strings", "labels", "numbers", "vectors", "counts")


def both(target, *, engine="fused", **settings):
    """Return an estimator of each library with the same settings, and y."""
    kind, own, y = targets(target)
    ours, other = PAIRS[kind]
    settings = {
        "hidden_layer_sizes": (9, 5), "batch_size": 50, "max_iter": 4, "random_state": 3,
        "learning_rate_init": 0.01, **own, **settings,
    }  # fmt: skip
    return ours(**settings, engine=engine), other(**settings), y


def assert_curves_agree(ours, other, dtype="float64"):
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=tolerance)
    assert (ours.n_iter_, ours.t_) == (other.n_iter_, other.t_)
    if other.validation_scores_ is None:
        assert ours.validation_scores_ is None
        assert ours.best_loss_ == pytest.approx(other.best_loss_, rel=tolerance)
    else:
        np.testing.assert_allclose(
            ours.validation_scores_, other.validation_scores_, rtol=1e-9 + 10 * tolerance
        )
    for W, V in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert W.dtype == V.dtype == dtype
        # Adam divides small by small: an entry may lose more digits than the loss
        np.testing.assert_allclose(W, V, rtol=1e4 * tolerance, atol=10 * tolerance)


# --- the same runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_curves(engine, target, solver, dtype):
    ours, other, y = both(target, engine=engine, solver=solver)
    X = samples().astype(dtype)
    assert_curves_agree(ours.fit(X, y), other.fit(X, y), dtype)
    found, expected = ours.predict(X), other.predict(X)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    else:
        assert (found == expected).mean() > 0.99  # a probability may be as near to 0.5 as that


VARIANTS = {
    "tanh": {"activation": "tanh"},
    "logistic": {"activation": "logistic"},
    "identity": {"activation": "identity"},
    "in order": {"shuffle": False},
    "plain steps": {"solver": "sgd", "momentum": 0},
    "heavy ball": {"solver": "sgd", "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1,
                 "max_iter": 40},
    "adaptive, not for adam": {"learning_rate": "adaptive"},
    "penalty": {"alpha": 0.5},
    "one batch": {"batch_size": N},
    "more than there are": {"batch_size": 2 * N},
    "default batch": {"batch_size": "auto"},
    "early stopping": {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 2, "tol": 0.01},
    "stops": {"tol": 0.5, "n_iter_no_change": 2, "max_iter": 30},
    "whole batches": {"batch_size": 46, "max_iter": 12},
    "stops after whole batches": {"batch_size": 46, "tol": 0.5, "n_iter_no_change": 2,
                                  "max_iter": 30},
    "adaptive, whole batches": {"batch_size": 46, "solver": "sgd", "learning_rate": "adaptive",
                                "tol": 0.1, "n_iter_no_change": 1, "max_iter": 40},
    "betas": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "one layer": {"hidden_layer_sizes": 8},
    "random state": {"random_state": np.random.RandomState(5)},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
@pytest.mark.parametrize("target", ["binary", "strings", "numbers"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_curves_of_all_settings(variant, target):
    ours, other, y = both(target, **copy.deepcopy(VARIANTS[variant]))
    other = clone(other)  # a random state of its own
    X = samples()
    ours.fit(X, y)
    other.fit(X, y)
    assert_curves_agree(ours, other)
    assert ours._no_improvement_count == other._no_improvement_count
    assert ours._optimizer.learning_rate == pytest.approx(other._optimizer.learning_rate, rel=1e-12)
    assert ours.score(X, y) == pytest.approx(other.score(X, y), abs=1e-9)
    if variant in ("adaptive", "stops"):
        assert ours.n_iter_ < ours.max_iter or variant == "adaptive"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_weights_of_samples(target, early_stopping):
    weights = np.random.RandomState(2).rand(N) * 3
    ours, other, y = both(target, early_stopping=early_stopping)
    X = samples()
    ours.fit(X, y, sample_weight=weights)
    other.fit(X, y, sample_weight=weights)
    assert_curves_agree(ours, other)


@pytest.mark.parametrize("target", ["binary", "strings"])
@pytest.mark.parametrize("container", ["csr_matrix", "csr_array", "csc_matrix", "csc_array"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_samples(container, target, early_stopping):
    X = samples()
    X[np.random.RandomState(3).rand(N, F) < 0.7] = 0
    S = getattr(scipy.sparse, container)(X)
    ours, other, y = both(target, early_stopping=early_stopping)
    assert_curves_agree(ours.fit(S, y), other.fit(X, y))
    np.testing.assert_allclose(ours.predict_proba(S), other.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(S), ours.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_lbfgs(engine, target):
    ours, other, y = both(target, engine=engine, solver="lbfgs", max_iter=10)
    X = samples()
    ours.fit(X, y)
    other.fit(X, y)
    assert ours.loss_ == pytest.approx(other.loss_, rel=1e-7)
    assert ours.n_iter_ == other.n_iter_
    # in float32 each iteration multiplies what was rounded otherwise: so fewer of them
    ours.set_params(max_iter=3).fit(X.astype("f4"), y)
    other.set_params(max_iter=3).fit(X.astype("f4"), y)
    assert ours.loss_ == pytest.approx(other.loss_, rel=1e-4)
    assert ours.coefs_[0].dtype == other.coefs_[0].dtype


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("target", ["binary", "strings", "labels"])
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_probabilities_are_clipped_in_the_loss(engine, target, solver):
    """Outputs so far from 0 that probabilities are 0 and 1.

    In between, where 1 - p has lost most of its digits, a p that is rounded otherwise shows.
    """
    X = samples() * 1e8
    ours, other, y = both(target, engine=engine, solver=solver, max_iter=1, batch_size=N)
    ours.fit(X, y)
    other.fit(X, y)
    if solver == "adam":
        losses, expected = ours.loss_curve_, other.loss_curve_
    else:
        losses, expected = [ours.loss_], [other.loss_]
    np.testing.assert_allclose(losses, expected, rtol=1e-12 if solver == "adam" else 1e-7)
    free = clone(ours).set_params(label_smoothing=1e-300, solver="adam").fit(X, y)
    if solver == "adam":
        assert free.loss_ > 2 * expected[0]  # what it would be without the clip


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("target", ["binary", "strings", "numbers"])
def test_training_on(target, solver):
    """With ``warm_start`` and ``partial_fit``, in turn, over a pickle."""
    X = samples()
    for calls in ("ff", "pp", "fpf", "ppfp"):
        ours, other, y = both(target, solver=solver, warm_start=True, max_iter=2)
        more = {"classes": np.unique(y)} if hasattr(ours, "predict_proba") else {}
        for call in calls:
            ours = pickle.loads(pickle.dumps(ours))
            for model in (ours, other):
                if call == "f":
                    model.fit(X, y)
                else:
                    model.partial_fit(X, y, **more)
        assert_curves_agree(ours, other)


def test_weights_that_the_user_sets():
    X = samples()
    ours, other, y = both("numbers", solver="sgd", warm_start=True)
    for model in (ours, other):
        model.fit(X, y)
        model.coefs_[0] = np.asfortranarray(model.coefs_[0] * 0.5)
        model.intercepts_[1][:] = 0.25
    np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=1e-9)
    np.testing.assert_allclose(ours.predict(X[:2]), other.predict(X[:2]), rtol=1e-9)
    assert_curves_agree(ours.fit(X, y), other.fit(X, y))


def test_the_best_weights_of_an_earlier_call_stay():
    """Where training on finds nothing better; scikit-learn trains them further, in place."""
    X = samples()
    ours, _, y = both("binary", early_stopping=True, warm_start=True, max_iter=30)
    before = ours.fit(X, y).predict_proba(X)
    ours.set_params(solver="sgd", learning_rate_init=3.0, max_iter=2).fit(X, 1 - y)
    np.testing.assert_array_equal(ours.predict_proba(X), before)
    assert max(ours.validation_scores_[-2:]) <= ours.best_validation_score_


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:Got `batch_size`:UserWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(("batch_size", "rate"), [(50, 0.3), (46, 0.15), (N, 0.3)])
def test_divergence_ends_as_there(early_stopping, batch_size, rate):
    X = samples()
    settings = {"solver": "sgd", "activation": "identity", "batch_size": batch_size}
    settings["learning_rate_init"] = rate
    ours, other, y = both("numbers", max_iter=20, early_stopping=early_stopping, **settings)
    for model in (ours, other):
        if early_stopping:
            model.fit(X, y)
        else:
            with pytest.raises(ValueError, match="^Solver produced non-finite parameter weights"):
                model.fit(X, y)
    assert ours.n_iter_ == other.n_iter_ == len(ours.loss_curve_)
    assert np.isnan(other.loss_curve_[-1])
    assert np.isnan(ours.loss_curve_[-1])
    finite = np.isfinite(other.loss_curve_)
    assert finite.sum() >= (1 if batch_size == 50 else 3)
    np.testing.assert_array_equal(np.isfinite(ours.loss_curve_), finite)
    # what is rounded otherwise grows with the loss
    found, expected = (np.array(model.loss_curve_)[finite] for model in (ours, other))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    if early_stopping:
        assert np.isfinite(ours.predict(X)).all()
        assert np.isnan(ours.validation_scores_[-1])


class Interrupted(ReferenceEngine):
    """An engine whose third epoch is one too many."""

    def train(self, *args, **kwargs):
        self.epochs = getattr(self, "epochs", 0) + 1
        if self.epochs == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().train(*args, **kwargs)


def test_ctrl_c_keeps_what_was_learned():
    ours, other, y = both("binary", engine=Interrupted())
    with pytest.warns(UserWarning, match="^Training interrupted by user"):
        ours.fit(samples(), y)
    assert_curves_agree(ours, other.set_params(max_iter=2).fit(samples(), y))


class InterruptedLater(ReferenceEngine):
    """An engine that Ctrl-C reaches in its eighth batch: five are an epoch."""

    def train(self, network, parameters, state, X, y, order, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        kwargs["stop"] = None
        return super().train(network, parameters, state, X, y, order[: 7 * 46], **kwargs)


def test_ctrl_c_among_epochs_of_one_call():
    ours, other, y = both("binary", engine=InterruptedLater(), batch_size=46)
    with pytest.warns(UserWarning, match="^Training interrupted by user"):
        ours.fit(samples(), y)
    assert ours.n_iter_ == 1
    np.testing.assert_allclose(
        ours.loss_curve_, other.set_params(max_iter=1).fit(samples(), y).loss_curve_, rtol=1e-12
    )
    assert ours._optimizer.state.step == 7


def test_errors_and_warnings_are_those_of_scikit_learn():
    X, y = samples(), targets("binary")[2]
    bad = X.copy()
    bad[3, 2] = np.nan
    cases = [
        lambda model: model.predict(X),
        lambda model: model.set_params(hidden_layer_sizes=(3, 0)).fit(X, y),
        lambda model: model.set_params(early_stopping=True).partial_fit(X, y, classes=[0, 1]),
        lambda model: model.set_params(early_stopping=True, validation_fraction=0.001).fit(X, y),
        lambda model: model.fit(bad, y),
        lambda model: model.fit(X, y[:-1]),
        lambda model: model.set_params(tol=-1).fit(X, y),
        lambda model: model.fit(X, y).predict(bad),
        lambda model: model.fit(X, y).predict(bad[3:4]),
        lambda model: model.fit(X, y).predict(X[:, :3]),
        lambda model: model.fit(X, y).predict(X[0]),
        lambda model: model.fit(X, y).predict_proba(X[:0]),
        lambda model: model.fit(pd.DataFrame(X, columns=list("abcdefg")), y).predict(
            pd.DataFrame(X, columns=list("gbcdefa"))
        ),
    ]
    for case in cases:
        messages = []
        for model in both("binary", max_iter=1)[:2]:
            with pytest.raises((ValueError, NotFittedError)) as caught:
                case(model)
            messages.append((type(caught.value).__name__, str(caught.value)))
        assert messages[0] == messages[1]
    named = pd.DataFrame(X, columns=list("abcdefg"))
    for rows in (X, X[:1]):
        for model in both("binary", max_iter=1)[:2]:
            with pytest.warns(UserWarning, match="X does not have valid feature names"):
                model.fit(named, y).predict(rows)


def test_convergence_is_warned_of():
    for model in both("binary")[:2]:
        with pytest.warns(ConvergenceWarning, match=r"^Stochastic Optimizer: Maximum iterations"):
            model.fit(samples(), targets("binary")[2])


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_the_same_words(early_stopping, learning_rate, capsys):
    printed = []
    for model in both(
        "binary", solver="sgd", tol=0.3, n_iter_no_change=2, max_iter=40, verbose=True,
        early_stopping=early_stopping, learning_rate=learning_rate,
    )[:2]:  # fmt: skip
        model.fit(samples(), targets("binary")[2])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "Stopping" in printed[0] or "Setting learning rate" in printed[0]


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_predictions(engine, target, dtype):
    """Of few and of many rows, of any kind, in the dtype that NumPy would compute in."""
    ours, other, y = both(target, engine=engine)
    X = samples()
    ours.fit(X.astype(dtype), y)
    other = ours.to_sklearn()
    methods = ["predict"]
    if hasattr(other, "predict_proba"):
        methods += ["predict_proba", "predict_log_proba"]
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    for n in (1, 8, 9, N):
        rows = X[-n:]
        kinds = [rows, rows.astype("f4"), np.asfortranarray(rows), rows[::-1], rows.tolist(),
                 rows.astype(">f8"), rows.astype(int), scipy.sparse.csr_matrix(rows)]  # fmt: skip
        for kind in kinds:
            for method in methods:
                found, expected = getattr(ours, method)(kind), getattr(other, method)(kind)
                assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
                if expected.dtype.kind == "f":
                    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
                else:
                    assert (found != expected).mean() <= 0.01
    # NaN and Infinity are found in few rows and in many, not turned into numbers
    for n in (1, N):
        rows = X[-n:].copy()
        rows[-1, -1] = np.inf
        with pytest.raises(ValueError, match="Input X contains infinity"):
            ours.predict(rows)


def test_changed_weights_are_noticed():
    X = samples()
    ours, _, y = both("strings")
    ours.fit(X, y)
    x = X[:1]
    for change in (
        lambda: ours.coefs_[0].__setitem__((0, 0), ours.coefs_[0][0, 0] + 1),
        lambda: ours.intercepts_[-1].__imul__(-3),
        lambda: ours.coefs_.__setitem__(1, ours.coefs_[1] * 2),
        lambda: ours.coefs_[0].__setitem__(slice(None), ours.coefs_[0][::-1].copy()),
        lambda: ours.set_params(activation="tanh"),
        lambda: ours.set_params(engine="reference"),
        lambda: ours.partial_fit(X, y),
        lambda: ours.fit(X, y),
    ):
        before = ours.predict_proba(x)
        change()
        expected = ours.to_sklearn().predict_proba(x)
        for _ in range(2):
            np.testing.assert_allclose(ours.predict_proba(x), expected, rtol=1e-9)
        # fit from the same random state, on other activations: all of them change something
        assert np.abs(before - expected).max() > 1e-9 or ours.engine == "reference"


def test_rows_that_threads_predict_at_a_time():
    X = samples()
    ours, _, y = both("strings")
    ours.fit(X, y)
    expected = ours.predict_proba(X)
    found = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(ours.predict_proba)(X[i : i + 1]) for i in list(range(N)) * 4
    )
    np.testing.assert_allclose(np.concatenate(found), np.tile(expected, (4, 1)), rtol=1e-12)


# --- company --------------------------------------------------------------------------------------


@parametrize_with_checks([fastnn.MLPClassifier(max_iter=100), fastnn.MLPRegressor(max_iter=100)])
def test_scikit_learns_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a check that warns of something is no failure there
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


def test_scikit_learns_own_tests(tmp_path):
    """Its test module for its own classes, with nothing but the import changed."""
    path = Path(theirs.__file__).parent / "tests" / "test_mlp.py"
    line = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
    text = path.read_text()
    assert text.count(line) == 1
    copied = tmp_path / "test_theirs.py"
    copied.write_text(text.replace(line, "from fastnn import MLPClassifier, MLPRegressor"))
    command = [sys.executable, "-m", "pytest", "-p", "sklearn.conftest", "-p", "no:cacheprovider",
               "-q", f"--rootdir={tmp_path}", str(copied)]  # fmt: skip
    paths = [str(Path(fastnn.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": ""},
    )
    assert run.returncode == 0, run.stdout[-3000:]
    summary = re.search(r"(\d+) passed(.*)", run.stdout)
    assert int(summary[1]) >= 50
    assert "skipped" not in summary[2]


@pytest.mark.parametrize("kind", PAIRS)
def test_the_same_surface(kind):
    ours, other = PAIRS[kind]
    assert get_tags(ours()) == get_tags(other())
    settings, known = ours().get_params(), other().get_params()
    assert {name: settings[name] for name in known} == known
    public = {name for name in dir(other) if not name.startswith("_")}
    assert public <= {name for name in dir(ours) if not name.startswith("_")}
    X, y = samples(), targets("binary")[2]
    for solver in ("lbfgs", "adam"):
        fitted = {
            name: value
            for name, value in vars(other(solver=solver, max_iter=1).fit(X, y)).items()
            if name.endswith("_")
        }
        mine = vars(ours(solver=solver, max_iter=1).fit(X, y))
        assert fitted.keys() <= mine.keys()
        kinds = {name: type(value) for name, value in fitted.items() if "loss_" not in name}
        assert {name: type(mine[name]) for name in kinds} == kinds
    for name in [*settings, *(name for name in mine if name.endswith("_"))]:
        assert re.search(rf"^    (beta_1, )?{name}(, beta_2)? : ", ours.__doc__, re.MULTILINE), name
    for solver in ("adam", "lbfgs"):  # that of its regressor has it always
        models = ours(solver=solver), other(solver=solver)
        assert hasattr(models[0], "partial_fit") == hasattr(models[1], "partial_fit")


def threads_of(estimator, X, y):
    return estimator._kept.engine(estimator.engine, estimator.n_threads).threads


def test_grid_search_does_not_oversubscribe(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # joblib leaves what the user set
    ours, _, y = both("binary", max_iter=1)
    search = GridSearchCV(
        ours, {"alpha": [1e-4, 1e-2]}, scoring=threads_of, cv=2, n_jobs=2, error_score="raise"
    )
    search.fit(samples(), y)
    assert set(search.cv_results_["mean_test_score"]) == {max(1, usable_cpus() // 2)}


@pytest.mark.parametrize("target", ["strings", "numbers"])
def test_grid_search_finds_what_it_finds_there(target):
    ours, other, y = both(target)
    X = samples()
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(3,), (12,)]}
    found = GridSearchCV(ours, grid, cv=3, n_jobs=2).fit(X, y)
    expected = GridSearchCV(other, grid, cv=3).fit(X, y)
    assert found.best_params_ == expected.best_params_
    np.testing.assert_allclose(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"], rtol=1e-7
    )


def test_pipelines_and_calibration():
    X = samples() * 50 + 3
    ours, other, y = both("strings", max_iter=20)
    found = make_pipeline(StandardScaler(), ours).fit(X, y)
    expected = make_pipeline(StandardScaler(), other).fit(X, y)
    assert_curves_agree(found[-1], expected[-1])
    ours, other = (CalibratedClassifierCV(clone(m), cv=3).fit(X / 50, y) for m in (ours, other))
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), rtol=1e-6)


def test_metadata_routing():
    X, y = samples(), targets("binary")[2]
    weights = np.random.RandomState(2).rand(N)
    with sklearn.config_context(enable_metadata_routing=True):
        model = both("binary")[0].set_fit_request(sample_weight=True, X_val=True, y_val=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = make_pipeline(scaler, model)
        pipe.set_params(transform_input=["X_val"])
        pipe.fit(X * 9, y, sample_weight=weights, X_val=X[:50] * 9, y_val=y[:50])
        routed = pipe[-1]
    scaler = StandardScaler().fit(X * 9)
    direct = clone(model).fit(
        scaler.transform(X * 9), y, weights, X_val=scaler.transform(X[:50] * 9), y_val=y[:50]
    )
    assert routed.loss_curve_ == direct.loss_curve_
    assert routed.validation_loss_curve_ == direct.validation_loss_curve_
    proba = routed.predict_proba(scaler.transform(X[:50] * 9))
    assert routed.validation_loss_curve_[-1] == pytest.approx(log_loss(y[:50], proba), rel=1e-9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    if library == "polars":
        frames = pytest.importorskip("polars", reason="polars is not installed")
    else:
        frames = pd
    ours, other, y = both("strings", early_stopping=True)
    X = samples()
    frame = frames.DataFrame({name: X[:, i] for i, name in enumerate("abcdefg")})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of names that are missing in scoring
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours.fit(frame, frames.Series("label", y) if library == "polars" else pd.Series(y))
        assert_curves_agree(ours, other.fit(X, y))
        assert ours.feature_names_in_.tolist() == list("abcdefg")
        assert (ours.predict(frame) == other.predict(X)).all()


@pytest.mark.parametrize("target", TARGETS)
def test_pickle_joblib_and_copies(target, tmp_path):
    ours, _, y = both(target)
    X = samples()
    ours.fit(X, y)
    ours.predict(X[:1])  # what it keeps for this stays in the process
    joblib.dump(ours, tmp_path / "model.joblib")
    for same in (
        pickle.loads(pickle.dumps(ours)),
        joblib.load(tmp_path / "model.joblib"),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
        copy.deepcopy(ours),
        copy.copy(ours),
    ):
        for rows in (X, X[:1]):
            assert (same.predict(rows) == ours.predict(rows)).all()
    assert "MLP" in ours._repr_html_()
    assert not hasattr(clone(ours), "coefs_")
    assert clone(ours).fit(X, y).loss_curve_ == ours.loss_curve_


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("target", TARGETS)
def test_exchange_with_scikit_learn(target, solver):
    ours, other, y = both(target, solver=solver, learning_rate="adaptive")
    X = samples()
    ours.fit(X, y)
    other.fit(X, y)
    back = type(ours).from_sklearn(other, n_threads=1)
    assert back.n_threads == 1
    there = ours.to_sklearn()
    assert type(there) is type(other)
    for mine, other_s in ((ours, there), (back, other)):
        found, expected = mine.predict(X), other_s.predict(X)
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-9)
        else:
            assert (found == expected).all()
        assert mine.coefs_[0] is not other_s.coefs_[0]
        if solver != "lbfgs":  # moments and the rate came along
            for _ in range(3):
                mine.partial_fit(X, y)
                other_s.partial_fit(X, y)
            assert_curves_agree(mine, other_s)
    with pytest.raises(fastnn.InputError, match="expected sklearn.neural_network.MLP"):
        type(ours).from_sklearn(StandardScaler())
    untrained = type(ours).from_sklearn(type(other)(max_iter=7))
    assert untrained.max_iter == 7
    assert not hasattr(untrained, "coefs_")
    assert type(ours)(learning_rate="cosine").to_sklearn().learning_rate == "constant"


def test_exchange_after_another_solver():
    X = samples()
    for first, then in (("sgd", "lbfgs"), ("adam", "lbfgs"), ("sgd", "adam")):
        ours, other, y = both("strings", solver=first)
        for model in (ours, other):
            model.fit(X, y).set_params(solver=then, hidden_layer_sizes=(5,)).fit(X, y)
        assert (ours.to_sklearn().predict(X) == ours.predict(X)).all()
        assert (type(ours).from_sklearn(other).predict(X) == other.predict(X)).all()
    with pytest.raises(fastnn.InputError, match="estimator is fastnn.MLPClassifier; expected skl"):
        type(ours).from_sklearn(ours)


def test_first_predictions_of_an_unpickled_model_by_many_threads():
    ours, _, y = both("strings", solver="adam")
    X = samples()
    expected = ours.fit(X, y).predict(X[:8])
    content = pickle.dumps(ours)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(30):
            model, together = pickle.loads(content), Barrier(8)

            def one(i, model=model, together=together):
                together.wait()
                return model.predict(X[i : i + 1])[0]

            assert list(pool.map(one, range(8))) == expected.tolist()
