"""The parts of a model, and its file.

The file is safetensors: the arrays, and a JSON header with the network's shape, the class labels,
the input scaling and how it was trained.
"""

import os
from dataclasses import asdict
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.history import History, history_of
from fastnn.network import Network, Parameters, aligned_zeros, float_dtype
from fastnn.scaling import Scaling
from fastnn.tensor_file import Header, Kind, Tensors, read, reading, to_bytes

MODEL = Kind(
    "a model",
    "fastnn-model",
    1,
    frozenset({"network", "classes", "scale", "feature_names", "history", "settings"}),
)


class Parts(NamedTuple):
    """What a model is made of, but for the engine that it runs on; see ``Model``."""

    network: Network
    parameters: Parameters
    classes: NDArray[Any]
    scaling: Scaling
    feature_names: tuple[str, ...] | None
    history: History
    settings: dict[str, Any]


def model_bytes(parts: Parts) -> bytes:
    """Return the content of a model's file."""
    network, parameters, scaling = parts.network, parts.parameters, parts.scaling
    if not np.isfinite(parameters.vector).all():
        raise InputError("the model has parameters that are NaN or infinite; it was not saved")
    tensors: Tensors = {}
    for layer, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        tensors[f"weights.{layer}"], tensors[f"biases.{layer}"] = W, b
    if scaling.offset is not None and scaling.factor is not None:
        tensors["scaling.offset"] = scaling.offset
        tensors["scaling.factor"] = scaling.factor
    header = {
        "network": {
            "layer_sizes": list(network.layer_sizes),
            "activation": network.activation,
            "output": network.output,
        },
        "classes": parts.classes.tolist(),
        "scale": scaling.scale,
        "feature_names": parts.feature_names and list(parts.feature_names),
        "history": asdict(parts.history),
        "settings": parts.settings,
    }
    return to_bytes(MODEL, header, tensors)


def read_model(path: str | os.PathLike[str]) -> Parts:
    """Read and check the parts of a model; errors are those of ``fastnn.load``."""
    with reading(path, MODEL):
        return _parts(*read(path, MODEL))


def _parts(header: Header, tensors: Tensors) -> Parts:
    shape = header["network"]
    if not isinstance(shape, dict) or set(shape) != {"layer_sizes", "activation", "output"}:
        raise ValueError(f"its network is {shape!r:.80}")
    network = Network(shape.pop("layer_sizes"), **shape)
    if network.output != "softmax":
        raise ValueError(f"its output is {network.output!r}; a model of classes has 'softmax'")
    n_features, n_outputs = network.n_features, network.n_outputs
    scaling = _scaling(header["scale"], tensors, n_features)
    history = history_of(header["history"])
    names = header["feature_names"]
    if names is not None and not (
        isinstance(names, list) and len(names) == n_features and {type(n) for n in names} == {str}
    ):
        raise ValueError(f"it has feature names {names!r:.80} for {n_features} features")
    if not isinstance(header["settings"], dict):
        raise ValueError("its settings are not an object")
    return Parts(
        network=network,
        parameters=_parameters(network, tensors),
        classes=_classes(header["classes"], n_outputs),
        scaling=scaling,
        feature_names=None if names is None else tuple(names),
        history=history,
        settings=header["settings"],
    )


def _parameters(network: Network, tensors: Tensors) -> Parameters:
    layers = range(len(network.layer_sizes) - 1)
    expected = {f"{kind}.{layer}" for kind in ("weights", "biases") for layer in layers}
    if set(tensors) != expected:
        raise ValueError(f"it holds the arrays {sorted(tensors)!r:.200}")
    # the sizes are checked against arrays that exist before anything is allocated from them
    for layer in layers:
        shape = network.layer_sizes[layer : layer + 2]
        W, b = tensors[f"weights.{layer}"], tensors[f"biases.{layer}"]
        if W.shape != shape or b.shape != shape[1:]:
            raise ValueError(f"layer {layer} has arrays of shapes {W.shape} and {b.shape}")
    dtypes = {array.dtype for array in tensors.values()}
    if len(dtypes) != 1:
        raise ValueError("its arrays differ in dtype")
    vector = aligned_zeros(network.n_parameters, float_dtype(dtypes.pop()))
    parameters = Parameters(network.layer_sizes, vector)
    for layer in layers:
        parameters.weights[layer][...] = tensors[f"weights.{layer}"]
        parameters.biases[layer][...] = tensors[f"biases.{layer}"]
    if not np.isfinite(vector).all():
        raise ValueError("it has parameters that are NaN or infinite")
    return parameters


def _scaling(scale: Any, tensors: Tensors, n_features: int) -> Scaling:
    """Take the scaling's arrays out of ``tensors`` and check them."""
    if not (isinstance(scale, float) and isfinite(scale) and scale != 0):
        raise ValueError(f"its scale is {scale!r}")
    offset, factor = tensors.pop("scaling.offset", None), tensors.pop("scaling.factor", None)
    for array in (offset, factor):
        if array is not None and not (
            array.shape == (n_features,) and array.dtype == np.float64 and np.isfinite(array).all()
        ):
            raise ValueError("its input scaling does not fit the network")
    if (offset is None) != (factor is None):
        raise ValueError("its input scaling is not whole")
    return Scaling(scale, offset, factor)


def _classes(labels: Any, n_outputs: int) -> NDArray[Any]:
    kinds = {type(label) for label in labels} if isinstance(labels, list) else set()
    if len(kinds) != 1 or not kinds <= {int, str, bool}:
        raise ValueError(f"its class labels are {labels!r:.80}")
    is_large = kinds == {int} and min(labels) >= 0 and 2**63 <= max(labels) < 2**64
    classes = np.asarray(labels, np.uint64) if is_large else np.asarray(labels)
    if classes.dtype.kind not in "iuUb" or len(set(labels)) != len(labels):
        raise ValueError(f"its class labels are {labels!r:.80}")
    if len(labels) != n_outputs:
        raise ValueError(f"it has {len(labels)} class labels for {n_outputs} outputs")
    return classes
