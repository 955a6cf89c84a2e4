"""What a checkpoint holds of an estimator: a record for JSON, and arrays; and the way back."""

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer

from fastnn.estimators.kept import Kept, pack
from fastnn.estimators.rates import make_optimizer

# fitted attributes that are numbers, names or lists of numbers
PLAIN = (
    "n_features_in_", "n_outputs_", "n_layers_", "out_activation_", "n_iter_", "t_", "loss_",
    "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_",
    "validation_loss_curve_", "_no_improvement_count",
)  # fmt: skip


def take(estimator: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the state of an estimator that is being trained, or was, with sgd or adam."""
    optimizer = estimator._optimizer
    state: dict[str, Any] = {
        "classifier": is_classifier(estimator),
        "activation": estimator.activation,
        "solver": estimator.solver,
        "loss": estimator.loss,
        "step": optimizer.state.step,
        "learning_rate": float(optimizer.learning_rate),
        "plain": {name: _told(getattr(estimator, name)) for name in PLAIN},
        "feature_names": None,
    }
    if hasattr(estimator, "feature_names_in_"):
        state["feature_names"] = list(estimator.feature_names_in_)
    if is_classifier(estimator):
        classes = estimator.classes_
        kind = estimator._label_binarizer.y_type_
        state["classes"] = {"dtype": classes.dtype.str, "labels": classes.tolist(), "kind": kind}
    tensors: dict[str, NDArray[Any]] = {}
    for layer, W in enumerate(estimator.coefs_):
        tensors[f"weights.{layer}"] = np.ascontiguousarray(W)
        tensors[f"biases.{layer}"] = np.ascontiguousarray(estimator.intercepts_[layer])
    for name, moment in zip(
        optimizer.state.optimizer.moment_names, optimizer.state.moments, strict=True
    ):
        tensors[f"moments.{name}"] = np.ascontiguousarray(moment)
    return state, tensors


def restore(estimator: Any, state: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> None:
    """Give an estimator the state that ``take`` took; changes nothing if that does not fit.

    Raises
    ------
    ValueError, KeyError, TypeError
    """
    if state["classifier"] != is_classifier(estimator):
        raise ValueError("one is a classifier, the other a regressor")
    for name in ("activation", "solver", "loss"):
        found = getattr(estimator, name)
        if state[name] != found:
            raise ValueError(f"it was trained with {name}={state[name]!r}, not {found!r}")
    plain = {name: _meant(state["plain"][name]) for name in PLAIN}
    arrays = _layers(plain, tensors)
    found = {**plain, **_names(state, plain)}
    if state["classifier"]:
        found.update(_classes(state["classes"], plain["n_outputs_"]))
    half = len(arrays) // 2
    found["coefs_"], found["intercepts_"] = arrays[:half], arrays[half:]
    found["_best_coefs"] = [W.copy() for W in arrays[:half]]
    found["_best_intercepts"] = [b.copy() for b in arrays[half:]]
    found["_kept"] = Kept()

    parameters = pack(estimator.activation, plain["out_activation_"], arrays[0].dtype, arrays)[1]
    optimizer = make_optimizer(estimator, parameters)
    names = optimizer.state.optimizer.moment_names
    for name, moment in zip(names, optimizer.state.moments, strict=True):
        given = tensors[f"moments.{name}"]
        if given.shape != moment.shape or given.dtype != moment.dtype:
            raise ValueError(f"its {name} does not fit the weights")
        moment[:] = given
    optimizer.state.step = int(state["step"])
    optimizer.learning_rate = float(state["learning_rate"])
    vars(estimator).pop("feature_names_in_", None)
    for name, value in {**found, "_optimizer": optimizer}.items():
        setattr(estimator, name, value)


def _told(value: Any) -> Any:
    """Return a value with words for numbers that JSON does not have."""
    if isinstance(value, list):
        return [_told(part) for part in value]
    if isinstance(value, np.generic):  # scikit-learn's, of float32
        value = value.item()
    return str(float(value)) if isinstance(value, float) and not isfinite(value) else value


def _meant(value: Any) -> Any:
    if isinstance(value, list):
        return [_meant(part) for part in value]
    return float(value) if isinstance(value, str) and value in ("nan", "inf", "-inf") else value


def _layers(plain: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return weights, then biases, once they fit each other."""
    if type(plain["n_layers_"]) is not int or plain["n_layers_"] < 2:
        raise ValueError(f"it has {plain['n_layers_']!r} layers")
    layers = range(plain["n_layers_"] - 1)
    arrays = [tensors[f"{kind}.{layer}"] for kind in ("weights", "biases") for layer in layers]
    weights, biases = arrays[: len(layers)], arrays[len(layers) :]
    width = plain["n_features_in_"]
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        if W.ndim != 2 or len(W) != width or b.shape != W.shape[1:]:
            raise ValueError(f"layer {layer} has arrays of shapes {W.shape} and {b.shape}")
        width = len(b)
    if width != plain["n_outputs_"] or not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("its weights are not those of a network, or not finite")
    return arrays


def _names(state: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    names = state["feature_names"]
    if names is None:
        return {}
    strings = isinstance(names, list) and all(type(name) is str for name in names)
    if not strings or len(names) != plain["n_features_in_"]:
        raise ValueError(f"it has the names {names!r:.80} for {plain['n_features_in_']} features")
    return {"feature_names_in_": np.array(names, dtype=object)}


def _classes(record: dict[str, Any], n_outputs: int) -> dict[str, Any]:
    if not isinstance(record["kind"], str) or not isinstance(record["dtype"], str):
        raise ValueError("its classes are not told")
    dtype = np.dtype(record["dtype"])
    if dtype.kind not in "biufUO":
        raise ValueError(f"its classes have dtype {dtype}")
    classes = np.array(record["labels"], dtype=dtype)
    is_multilabel = record["kind"].startswith("multilabel")
    binarizer = LabelBinarizer().fit(np.eye(n_outputs, dtype=int) if is_multilabel else classes)
    fitting = {n_outputs} if n_outputs > 1 else {1, 2}
    if binarizer.y_type_ != record["kind"] or len(classes) not in fitting:
        raise ValueError(f"it has {len(classes)} classes for {n_outputs} outputs")
    binarizer.classes_ = classes
    return {"classes_": classes, "_label_binarizer": binarizer}
