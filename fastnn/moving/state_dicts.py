"""PyTorch's state dicts of a ``Sequential``, as arrays: PyTorch need not be installed."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.network import Network, Parameters, aligned_zeros
from fastnn.scaling import Scaling


def to_torch(
    parameters: Parameters, scaling: Scaling | None = None
) -> dict[str, NDArray[np.floating]]:
    """Return parameters as the state dict of a ``torch.nn.Sequential``, as arrays.

    The scaling is folded into the first layer (in float64, then rounded), so that the PyTorch
    network takes X as it was before: ``(X s - o) f W + b`` is ``X (s f W) + (b - (o f) W)``. Its
    logits agree with the model's to rounding, in which the size of the unscaled X counts: features
    that are far from 0 compared with their spread lose digits. The folded bias is subtracted again.

    Parameters
    ----------
    parameters : Parameters
    scaling : Scaling, optional
        What the model does to X first.

    Returns
    -------
    state : dict of str to ndarray
        "0.weight", "0.bias", "2.weight", ...: of ``Sequential(Linear, Act, Linear, ..., Linear)``.
        Weights have shape (fan_out, fan_in), as PyTorch's; the dtype is that of the parameters.
        What the network returns is logits: the output function is not part of the state.

    Raises
    ------
    InputError
        If the folded first layer overflows the dtype.

    Examples
    --------
    >>> from fastnn import Network
    >>> from fastnn.moving import to_torch
    >>> state = to_torch(Network((4, 3, 2)).initialize(0))
    >>> {name: array.shape for name, array in state.items()}
    {'0.weight': (3, 4), '0.bias': (3,), '2.weight': (2, 3), '2.bias': (2,)}

    With PyTorch installed::

        network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        probabilities = network(X).softmax(dim=1)
    """
    layers = list(zip(parameters.weights, parameters.biases, strict=True))
    if scaling is not None:
        layers[0] = _folded(*layers[0], scaling)
    state = {}
    for layer, (W, b) in enumerate(layers):
        state[f"{2 * layer}.weight"] = W.T.copy()
        state[f"{2 * layer}.bias"] = b.copy()
    return state


def _folded(W: Any, b: Any, scaling: Scaling) -> tuple[Any, Any]:
    """Return the first layer for samples that have not been scaled."""
    folded_W, folded_b = W.astype(np.float64), b.astype(np.float64)
    if scaling.offset is not None and scaling.factor is not None:
        folded_b -= (scaling.offset * scaling.factor) @ folded_W
        folded_W *= scaling.factor[:, None]
    folded_W *= scaling.scale
    with np.errstate(over="ignore"):  # said below
        folded_W, folded_b = folded_W.astype(W.dtype), folded_b.astype(b.dtype)
    if not (np.isfinite(folded_W).all() and np.isfinite(folded_b).all()):
        raise InputError(
            f"the scaling of X does not fit into the first layer: it overflows {W.dtype}; "
            "export to ONNX, or train with dtype='float64'"
        )
    return folded_W, folded_b


def from_torch(
    state_dict: Mapping[str, Any], *, activation: str = "relu", output: str = "softmax"
) -> tuple[Network, Parameters]:
    """Return the network and the parameters of a PyTorch state dict.

    Parameters
    ----------
    state_dict : mapping of str to array_like or tensor
        Weights (fan_out, fan_in) and biases (fan_out,) of linear layers that follow each other, all
        float32 or all float64. The names end in ".weight" and ".bias", and are the same but for the
        numbers in them, which tell the order of the layers: "0.weight", "net.layers.2.bias",
        "fc1.weight". A layer without a bias gets one of zeros.
    activation, output : str, optional
        As in ``Network``: a state dict does not tell what stands between its layers.

    Returns
    -------
    network : Network
    parameters : Parameters
        A copy.

    Raises
    ------
    InputError
        If the arrays are not those of a chain of linear layers.

    Examples
    --------
    >>> import fastnn
    >>> import numpy as np
    >>> state = {"0.weight": np.ones((3, 4), "float32"), "2.weight": np.ones((2, 3), "float32")}
    >>> network, parameters = fastnn.from_torch(state, activation="tanh")
    >>> network.layer_sizes
    (4, 3, 2)

    A model that predicts and can be saved:

    >>> model = fastnn.Model(network, parameters, np.array(["no", "yes"]), fastnn.get_engine())
    """
    if not isinstance(state_dict, Mapping):
        raise InputError(
            f"state_dict is {type(state_dict).__name__}; expected a mapping of names to arrays, "
            "such as module.state_dict()"
        )
    layers = _layers({name: _array(name, value) for name, value in state_dict.items()})
    sizes = [layers[0][0].shape[1], *(len(W) for W, _ in layers)]
    network = Network(sizes, activation=activation, output=output)
    vector = aligned_zeros(network.n_parameters, layers[0][0].dtype)
    parameters = Parameters(network.layer_sizes, vector)
    for layer, (W, b) in enumerate(layers):
        parameters.weights[layer][...] = W.T
        parameters.biases[layer][...] = b
    return network, parameters


def _array(name: str, value: Any) -> NDArray[np.floating]:
    """Return a parameter or tensor of any device as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # bfloat16, for one
        raise InputError(f"{name!r} is not an array of numbers: {error}") from error
    if array.dtype not in (np.float32, np.float64):
        raise InputError(f"{name!r} has dtype {array.dtype}; expected float32 or float64")
    if not np.isfinite(array).all():
        raise InputError(f"{name!r} has values that are NaN or infinite")
    return array


def _layers(arrays: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return (weight, bias) of each layer, in their order; all shapes and dtypes fit."""
    found: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        layer, _, kind = f".{name}".rpartition(".")
        if kind not in ("weight", "bias"):
            raise InputError(f"{name!r} is neither a weight nor a bias of a linear layer")
        found.setdefault(layer, {})[kind] = array
    if not found:
        raise InputError("the state dict is empty; expected weights and biases of linear layers")
    names = sorted(found, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
    patterns = sorted({re.sub(r"\d+", "#", name) for name in names})
    if len(patterns) > 1 or (len(names) > 1 and "#" not in patterns[0]):
        raise InputError(
            f"the order of the layers {', '.join(name[1:] for name in names)} is not clear; "
            "expected names that differ in a number only, such as 0.weight and 2.weight"
        )
    layers: list[tuple[Any, Any]] = []
    for name in names:
        W = found[name].get("weight")
        if W is None or W.ndim != 2 or (layers and W.shape[1] != len(layers[-1][0])):
            shape = "missing" if W is None else f"of shape {W.shape}"
            before = len(layers[-1][0]) if layers else "n_features"
            raise InputError(
                f"{f'{name}.weight'[1:]!r} is {shape}; expected (fan_out, {before}), of a linear "
                "layer on the one before it"
            )
        b = found[name].get("bias", np.zeros(len(W), W.dtype))
        if b.shape != W.shape[:1]:
            raise InputError(f"{f'{name}.bias'[1:]!r} has shape {b.shape}; expected ({len(W)},)")
        layers.append((W, b))
    dtypes = {array.dtype.name for array in arrays.values()}
    if len(dtypes) > 1:
        raise InputError(f"the arrays have dtypes {' and '.join(sorted(dtypes))}; expected one")
    return layers
