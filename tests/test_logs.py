"""The estimators and scikit-learn's callbacks, and the callbacks of fastnn."""

import csv
import os
import pickle
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn.neural_network
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.callback import FitCallback, ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import fastnn
from fastnn.logs import Checkpoint, CSVLog, TensorBoard
from fastnn.reference import ReferenceEngine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 150
X = np.random.RandomState(0).randn(N, 5)
Y = np.array(["no", "yes", "perhaps"])[np.digitize(X[:, 0] + X[:, 1], [-0.5, 1])]
NUMBERS = X[:, 0] * X[:, 1]
SETTINGS = {"hidden_layer_sizes": (6, 4), "batch_size": 30, "max_iter": 4, "random_state": 0}


def classifier(**more):
    return fastnn.MLPClassifier(**{**SETTINGS, **more})


class Recording:
    """Notes what it is told, and asks for the end after some epochs."""

    def __init__(self, last=99):
        self.last, self.seen, self.fitted = last, [], []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.seen.append(("begin", context.task_name, context.task_id))
        assert len(X) == len(y) == N
        assert metadata is None or len(metadata["sample_weight"]) == N

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.seen.append(("end", context.task_name, context.task_id))
        if context.task_name == "epoch":
            assert fitted_estimator.loss_curve_[-1] == estimator.loss_
            self.fitted.append((fitted_estimator, estimator.predict_proba(X)))
            self.score = fitted_estimator.score(X, y)
            return estimator.n_iter_ == self.last
        return None


def test_the_order_of_events():
    callback = Recording()
    assert isinstance(callback, FitCallback)
    model = classifier(max_iter=2).set_callbacks(callback).fit(X, Y, sample_weight=np.ones(N))
    assert callback.seen == [
        "setup", ("begin", "fit", 0),
        ("begin", "epoch", 0), ("end", "epoch", 0), ("begin", "epoch", 1), ("end", "epoch", 1),
        ("end", "fit", 0), "teardown",
    ]  # fmt: skip
    assert callback.score == model.score(X, Y)
    for fitted, probabilities in callback.fitted:  # training goes on without them
        np.testing.assert_array_equal(fitted.predict_proba(X), probabilities)
        assert pickle.loads(pickle.dumps(fitted._given)).X is None  # the data stay where they are
    model.partial_fit(X, Y)
    assert len(callback.seen) == 8  # partial_fit is one epoch, of which the caller knows
    lbfgs = Recording()
    classifier(solver="lbfgs").set_callbacks(lbfgs).fit(X, Y)
    assert lbfgs.seen == ["setup", ("begin", "fit", 0), ("end", "fit", 0), "teardown"]


def test_a_callback_ends_training(recwarn):
    model = classifier().set_callbacks(Recording(last=2), Recording()).fit(X, Y)
    assert model.n_iter_ == 2
    assert not recwarn.list  # it was wanted
    np.testing.assert_array_equal(model.loss_curve_, classifier(max_iter=2).fit(X, Y).loss_curve_)


@pytest.mark.parametrize("last", [2, 4])
def test_ctrl_c_between_epochs(last):
    """Also after the last one: who pressed it is told that it was heard."""

    class Pressing(Recording):
        def on_fit_task_end(self, estimator, context):
            if estimator.n_iter_ == last and context.task_name == "epoch":
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(UserWarning, match="^Training interrupted by user"):
        model = classifier().set_callbacks(Pressing()).fit(X, Y)
    assert model.loss_curve_ == classifier(max_iter=last).fit(X, Y).loss_curve_


class PressedInTheThirdEpoch(ReferenceEngine):
    calls = 0

    def train(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().train(*args, **kwargs)


def test_an_epoch_that_does_not_end_is_none(tmp_path):
    model = classifier(engine=PressedInTheThirdEpoch()).set_callbacks(CSVLog(tmp_path / "log.csv"))
    with pytest.warns(UserWarning, match="^Training interrupted by user"):
        model.fit(X, Y)
    assert [row["epoch"] for row in rows(tmp_path / "log.csv")] == ["1", "2"]


def test_a_callback_that_fails():
    class Failing(Recording):
        def on_fit_task_end(self, estimator, context):
            raise OSError("disk full")

    callback = Failing()
    model = classifier().set_callbacks(callback)
    with pytest.raises(OSError, match="disk full"):
        model.fit(X, Y)
    assert callback.seen[-1] == "teardown"
    assert model.set_callbacks().fit(X, Y).n_iter_ == 4


def test_scikit_learns_callbacks(capsys):
    monitor = ScoringMonitor(scoring="accuracy")
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = classifier(early_stopping=True).set_callbacks(monitor, ProgressBar()).fit(frame, Y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == model.n_iter_
    assert max(scores) >= model.score(frame, Y) >= min(scores)
    assert "MLPClassifier" in capsys.readouterr().out


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_log(tmp_path):
    path = tmp_path / "log.csv"
    callback = CSVLog(path)
    first = classifier().set_callbacks(callback).fit(X, Y)
    second = classifier(early_stopping=True, learning_rate="cosine", solver="sgd")
    second.set_callbacks(callback).fit(X, Y)
    found = rows(path)
    runs = list(dict.fromkeys(row["run"] for row in found))
    assert len(runs) == 2
    for run, model in zip(runs, (first, second), strict=True):
        own = [row for row in found if row["run"] == run]
        assert [int(row["epoch"]) for row in own] == [1, 2, 3, 4]
        assert [float(row["loss"]) for row in own] == model.loss_curve_
    assert {row["validation_score"] for row in found if row["run"] == runs[0]} == {""}
    own = [row for row in found if row["run"] == runs[1]]
    assert [float(row["validation_score"]) for row in own] == second.validation_scores_
    assert [float(row["validation_loss"]) for row in own] == second.validation_loss_curve_
    last = 0.001 * (1 + np.cos(np.pi * 19 / 20)) / 2  # 135 samples: 5 batches an epoch
    assert float(own[-1]["learning_rate"]) == pytest.approx(last)
    assert float(own[0]["time"]) <= float(own[-1]["time"])


def test_clones_in_other_processes_share_a_log(tmp_path):
    path = tmp_path / "log.csv"
    model = classifier().set_callbacks(CSVLog(path))
    GridSearchCV(model, {"alpha": [1e-4, 1e-2]}, cv=2, n_jobs=2).fit(X, Y)
    found = rows(path)
    assert len({row["run"] for row in found}) == 5  # with the last fit, on all samples
    assert len(found) == 5 * 4
    assert {float(row["loss"]) > 0 for row in found} == {True}


def test_tensorboard(tmp_path):
    board = pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    callback = TensorBoard(tmp_path)
    model = classifier(early_stopping=True).set_callbacks(callback).fit(X, Y)
    (folder,) = tmp_path.iterdir()
    (file,) = folder.iterdir()
    records = board.record_writer.RecordWriter  # the format: length, crc, data, crc
    assert records is not None
    events, content = [], file.read_bytes()
    while content:
        length = int.from_bytes(content[:8], "little")
        events.append(board.proto.event_pb2.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    points = [
        (value.tag, event.step, value.simple_value)
        for event in events
        for value in event.summary.value
    ]
    for name, curve in (
        ("loss", model.loss_curve_),
        ("validation_loss", model.validation_loss_curve_),
        ("validation_score", model.validation_scores_),
    ):
        found = [(step, value) for tag, step, value in points if tag == name]
        assert [step for step, _ in found] == [1, 2, 3, 4]
        np.testing.assert_allclose([value for _, value in found], curve, rtol=1e-6)
    assert not pickle.loads(pickle.dumps(callback))._writers


def test_tensorboard_that_is_not_installed():
    code = (
        "import sys; sys.modules['tensorboardX'] = None\n"
        "from fastnn.logs import TensorBoard\n"
        "try: TensorBoard('x')\n"
        "except ValueError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == (
        "TensorBoard needs tensorboardX: python -m pip install 'fastnn[tensorboard]'"
    )


# --- checkpoints ----------------------------------------------------------------------------------

MAKES = {
    "strings": (fastnn.MLPClassifier, Y, {}),
    "objects": (fastnn.MLPClassifier, Y.astype(object), {}),
    "binary": (fastnn.MLPClassifier, X[:, 0] > 0, {}),
    "one class": (fastnn.MLPClassifier, np.zeros(N, int), {}),
    "labels": (fastnn.MLPClassifier, (X[:, :3] > 0).astype(int), {}),
    "numbers": (fastnn.MLPRegressor, NUMBERS, {}),
    "vectors": (fastnn.MLPRegressor, X[:, :2], {}),
    "counts": (fastnn.MLPRegressor, np.abs(NUMBERS), {"loss": "poisson"}),
}


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", MAKES)
def test_a_checkpoint_brings_everything_back(target, dtype, solver, tmp_path):
    kind, y, own = MAKES[target]
    path = tmp_path / "model.safetensors"
    model = kind(**SETTINGS, **own, dtype=dtype, solver=solver, warm_start=True)
    frame = pd.DataFrame(X, columns=list("abcde"))
    model.set_callbacks(Checkpoint(path)).fit(frame, y)
    again = Checkpoint.load(path, clone(model).set_callbacks())
    for table in (frame, frame[:1]):
        np.testing.assert_array_equal(again.predict(table), model.predict(table))
        assert again.predict(table).dtype == model.predict(table).dtype
    assert again.loss_curve_ == model.loss_curve_
    assert again.feature_names_in_.tolist() == list("abcde")
    model.set_callbacks()
    for _ in range(2):  # the moments came back too
        model.partial_fit(frame, y)
        again.partial_fit(frame, y)
    assert again.loss_curve_ == model.loss_curve_
    assert again.fit(frame, y).loss_curve_ == model.fit(frame, y).loss_curve_
    for W, V in zip(again.coefs_, model.coefs_, strict=True):
        np.testing.assert_array_equal(W, V)


def test_a_checkpoint_of_each_so_many_epochs(tmp_path):
    path = tmp_path / "model.safetensors"
    seen = []

    class Watching(Checkpoint):
        def note(self, estimator, run):
            super().note(estimator, run)
            if path.exists():
                seen.append(len(Checkpoint.load(path, classifier()).loss_curve_))

    classifier(max_iter=7).set_callbacks(Watching(path, every=3)).fit(X, Y)
    assert seen == [3, 3, 3, 6, 6]
    for bad in (0, True, 1.5):
        with pytest.raises(fastnn.InputError, match="expected a whole number"):
            Checkpoint(path, every=bad)
    with pytest.raises(fastnn.InputError, match="cannot write"):
        classifier().set_callbacks(Checkpoint(tmp_path / "none" / "x")).fit(X, Y)


def test_a_run_that_diverges_leaves_the_good_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    settings = {**SETTINGS, "activation": "identity", "solver": "sgd", "max_iter": 30}
    model = fastnn.MLPRegressor(**settings, learning_rate_init=0.05)
    with pytest.raises(ValueError, match="non-finite"):
        model.set_callbacks(Checkpoint(path)).fit(X * 3, NUMBERS)
    again = Checkpoint.load(path, clone(model).set_callbacks())
    assert np.isfinite(again.predict(X)).all()
    finite = np.isfinite(model.loss_curve_)
    assert 0 < len(again.loss_curve_) <= finite.sum() < 30


def test_scores_that_are_no_numbers(tmp_path):
    path = tmp_path / "model.safetensors"
    model = classifier(early_stopping=True, scoring=lambda model, X, y: float("nan"))
    again = Checkpoint.load(path, clone(model.set_callbacks(Checkpoint(path)).fit(X, Y)))
    assert np.isnan(again.validation_scores_).all()
    assert again.best_validation_score_ == -np.inf


def test_files_that_are_no_checkpoint_of_this(tmp_path):
    path = tmp_path / "model.safetensors"
    classifier().set_callbacks(Checkpoint(path)).fit(X, Y)
    whole = path.read_bytes()
    for estimator, message in (
        (fastnn.MLPRegressor(**SETTINGS), "one is a classifier, the other a regressor"),
        (classifier(activation="tanh"), "trained with activation='relu', not 'tanh'"),
        (classifier(solver="sgd"), "trained with solver='adam', not 'sgd'"),
    ):
        with pytest.raises(fastnn.InputError, match=message):
            Checkpoint.load(path, estimator)
        assert not hasattr(estimator, "coefs_")
    with pytest.raises(FileNotFoundError):
        Checkpoint.load(tmp_path / "none", classifier())
    tensors = load_file(path)
    for content in (b"", whole[:-5], whole[:40], b"x" * 200):
        path.write_bytes(content)
        with pytest.raises(fastnn.InputError, match="is not a checkpoint of this"):
            Checkpoint.load(path, classifier())
    for metadata in (None, {"fastnn": "{}"}, {"fastnn": "[1]"}, {"fastnn": "x"}):
        save_file(tensors, path, metadata)
        with pytest.raises(fastnn.InputError, match="is not a checkpoint of this"):
            Checkpoint.load(path, classifier())
    for old, new in (
        (b'\\"n_outputs_\\": 3', b'\\"n_outputs_\\": 4'),
        (b'\\"n_features_in_\\": 5', b'\\"n_features_in_\\": 6'),
        (b'\\"n_layers_\\": 4', b'\\"n_layers_\\": 9'),
        (b'\\"n_layers_\\": 4', b'\\"n_layers_\\": 0'),
        (b'\\"step\\": 20', b'\\"stop\\": 20'),
        (b'\\"yes\\"', b'\\"no\\" '),
        (b'\\"multiclass\\"', b'\\"monoclass \\"'[:14]),
        (b'\\"dtype\\": \\"<U7\\"', b'\\"dtype\\": \\"<M8\\"'),
    ):
        assert whole.count(old) == 1, old
        path.write_bytes(whole.replace(old, new))
        model = classifier()
        with pytest.raises(fastnn.InputError, match="is not a checkpoint of this"):
            Checkpoint.load(path, model)
        assert not hasattr(model, "coefs_")


def test_checkpoint_of_float32_numbers_that_began_in_scikit_learn(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    call = {"hidden_layer_sizes": (5,), "max_iter": 3, "warm_start": True, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        begun = sklearn.neural_network.MLPRegressor(**call).fit(X, X[:, 0])
    model = fastnn.MLPRegressor.from_sklearn(begun, learning_rate="cosine")
    path = tmp_path / "kept.safetensors"
    model.set_callbacks(Checkpoint(path)).fit(X, X[:, 0])
    back = fastnn.MLPRegressor(hidden_layer_sizes=(5,), random_state=0)
    Checkpoint.load(path, back)
    assert back.loss_curve_ == [float(loss) for loss in model.loss_curve_]


def test_checkpoint_of_another_loss_and_of_nameless_features(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    frame, y = pd.DataFrame(X, columns=list("abc")), np.exp(X[:, 0])
    call = {"hidden_layer_sizes": (5,), "max_iter": 3, "learning_rate": "cosine"}
    path = tmp_path / "kept.safetensors"
    fastnn.MLPRegressor("poisson", **call).set_callbacks(Checkpoint(path)).fit(X, y)
    with pytest.raises(fastnn.InputError, match="trained with loss='poisson', not 'squared_error'"):
        Checkpoint.load(path, fastnn.MLPRegressor(**call))
    named = fastnn.MLPRegressor("poisson", **call).fit(frame, y)
    Checkpoint.load(path, named)
    assert not hasattr(named, "feature_names_in_")
    named.predict(X)  # without a warning


def test_csv_log_in_an_empty_file_and_in_no_folder(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    call = {"hidden_layer_sizes": (5,), "max_iter": 2, "learning_rate": "cosine"}
    path = tmp_path / "log.csv"
    path.touch()
    fastnn.MLPClassifier(**call).set_callbacks(CSVLog(path)).fit(X, y)
    with path.open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    nowhere = tmp_path / "missing" / "log.csv"
    with pytest.raises(fastnn.InputError, match=re.escape(str(nowhere.parent))):
        fastnn.MLPClassifier(**call).set_callbacks(CSVLog(nowhere)).fit(X, y)
