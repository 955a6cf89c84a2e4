"""To PyTorch and from there: its layers compute what the oracle does, within their bound.

PyTorch is not needed to run these tests: its layers are a few lines of NumPy, and where it is
installed, the real ones run as well.
"""

import json

import naive
import numpy as np
import pytest
from cases import as_lists
from command import run, succeed
from moved import (
    ACTIVATIONS,
    DTYPES,
    SCALINGS,
    SHAPES,
    a_model,
    bound_of,
    check_probabilities,
    samples,
)
from safetensors.numpy import load_file

import fastnn
from fastnn.models import Model
from fastnn.moving import from_torch, to_torch
from fastnn.network import Parameters
from fastnn.scaling import Scaling

PYTHON_ACTIVATIONS = {
    "relu": lambda Z: np.maximum(Z, 0),
    "tanh": np.tanh,
    "logistic": lambda Z: 1 / (1 + np.exp(-Z)),
    "identity": lambda Z: Z,
}


def sequential(state, X, activation):
    """What torch.nn.Sequential(Linear, Act, Linear, ...) does, and a softmax."""
    A = X
    for layer in range(0, len(state), 2):
        A = A if layer == 0 else PYTHON_ACTIVATIONS[activation](A)
        A = A @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
    E = np.exp(A - A.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def torch_sequential(state, X, activation):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra that tox does not install")
    kinds = {
        "relu": torch.nn.ReLU,
        "tanh": torch.nn.Tanh,
        "logistic": torch.nn.Sigmoid,
        "identity": torch.nn.Identity,
    }
    layers = []
    for layer in range(0, len(state), 2):
        fan_out, fan_in = state[f"{layer}.weight"].shape
        layers += [torch.nn.Linear(fan_in, fan_out), kinds[activation]()]
    network = torch.nn.Sequential(*layers[:-1]).to(torch.from_numpy(state["0.bias"]).dtype)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    with torch.no_grad():
        return network(torch.from_numpy(X)).softmax(dim=1).numpy()


@pytest.mark.parametrize("runs", [sequential, torch_sequential])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SHAPES)
def test_to_torch(sizes, activation, dtype, scaling, runs):
    """The folded network on raw samples is the network on scaled ones.

    The bound is that of the folded network on raw samples: rounding its weights moves a layer by
    at most u |X| |W|, as rounding X would, which the bound counts and these X do not need; for
    the bias it has one rounding to spare.
    """
    kind, make = SCALINGS[scaling]
    model = a_model(sizes, dtype, activation=activation, scaling=make(sizes[0]))
    X = samples(40, sizes[0], dtype if kind == "float" else kind)
    state = model.to_torch()
    found = runs(state, X.astype(dtype), activation)
    weights = [state[f"{2 * layer}.weight"].T for layer in range(len(sizes) - 1)]
    biases = [state[f"{2 * layer}.bias"] for layer in range(len(sizes) - 1)]
    clear, bound = bound_of(weights, biases, X.astype(dtype), activation, dtype)
    scaled = X * model.scaling.scale
    if model.scaling.offset is not None:
        scaled = (scaled - model.scaling.offset) * model.scaling.factor
    exact = naive.probabilities(
        *as_lists(model.parameters), scaled.astype(float).tolist(), activation
    )
    assert (np.abs(found - np.array(exact))[clear] <= bound).all()
    assert (bound < 1e-3).all()


def test_a_state_dict_is_laid_out_as_pytorchs():
    parameters = a_model((4, 3, 2)).parameters
    state = to_torch(parameters)
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [array.shape for array in state.values()] == [(3, 4), (3,), (2, 3), (2,)]
    assert all(array.flags.c_contiguous and array.dtype == "float32" for array in state.values())
    np.testing.assert_array_equal(state["2.weight"], parameters.weights[1].T)
    state["0.weight"][:] = state["0.bias"][:] = 0
    assert parameters.weights[0].all()
    assert parameters.biases[0].all()


def test_a_scaling_that_overflows_the_first_layer_is_refused():
    model = a_model(scaling=Scaling(1.0, np.zeros(6), np.full(6, 1e39)))
    with pytest.raises(fastnn.InputError, match="overflows float32; export to ONNX"):
        model.to_torch()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SHAPES)
def test_there_and_back(sizes, dtype):
    model = a_model(sizes, dtype, activation="tanh")
    network, parameters = from_torch(model.to_torch(), activation="tanh")
    assert network == model.network
    assert parameters.dtype == dtype
    assert parameters.vector.tobytes() == model.parameters.vector.tobytes()


class Tensor:
    """As far as it matters here, a tensor on another device that has a gradient."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return Cpu(self.array)


class Cpu(Tensor):
    def cpu(self):
        return self.array


NAMES = {
    "any order": ["2.bias", "10.weight", "0.weight", "2.weight", "10.bias", "0.bias"],
    "a prefix": [f"net.layers.{i}.{kind}" for i in (4, 3, 11) for kind in ("bias", "weight")],
    "a suffix": [f"block{i}.linear.{kind}" for i in (10, 9, 8) for kind in ("bias", "weight")],
    "words": [f"fc{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")],
}


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, Tensor])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_from_torch_takes_names_by_the_numbers_in_them(names, kind):
    """A list has no dtype but Python's, which is double."""
    model = a_model((6, 5, 4, 3), "float64", activation="logistic")
    arrays = model.to_torch()
    numbers = sorted({int("".join(filter(str.isdigit, name))) for name in names})
    state = {}
    for name in names:
        layer = numbers.index(int("".join(filter(str.isdigit, name))))
        state[name] = kind(arrays[f"{2 * layer}.{name.rpartition('.')[2]}"])
    network, parameters = from_torch(state, activation="logistic")
    assert network == model.network
    np.testing.assert_array_equal(parameters.vector, model.parameters.vector)


def test_one_layer_needs_no_number_and_no_bias():
    W = np.arange(6.0).reshape(2, 3)
    for name in ("weight", "classifier.weight"):
        network, parameters = from_torch({name: W})
        assert network.layer_sizes == (3, 2)
        np.testing.assert_array_equal(parameters.weights[0], W.T)
        np.testing.assert_array_equal(parameters.biases[0], [0, 0])


def ones(*shape):
    return np.ones(shape, "float32")


BAD_STATES = [
    ({}, "is empty"),
    ({"0.weight": ones(3)}, r"'0.weight' is of shape \(3,\); expected \(fan_out, n_features\)"),
    ({"0.bias": ones(3)}, "'0.weight' is missing"),
    ({"0.weight": ones(3, 4), "0.bias": ones(4)}, r"'0.bias' has shape \(4,\); expected \(3,\)"),
    (
        {"0.weight": ones(3, 4), "2.weight": ones(2, 4)},
        r"'2.weight' is of shape \(2, 4\); expected \(fan_out, 3\)",
    ),
    ({"0.weight": ones(3, 4), "1.weight": ones(3), "1.running_mean": ones(3)}, "running_mean"),
    ({"in.weight": ones(3, 4), "out.weight": ones(2, 3)}, "layers in, out is not clear"),
    ({"a.0.weight": ones(3, 4), "b.1.weight": ones(2, 3)}, "layers a.0, b.1 is not clear"),
    ({"0.weight": ones(3, 4), "0.bias": np.ones(3)}, "dtypes float32 and float64"),
    ({"0.weight": ones(3, 4).astype("float16")}, "'0.weight' has dtype float16"),
    ({"0.weight": [[1.0, 2.0], [3.0]]}, "'0.weight' is not an array of numbers"),
    ({"0.weight": ones(3, 4) * np.nan}, "'0.weight' has values that are NaN"),
    ({"0.weight": ones(0, 4)}, "expected at least two whole numbers above 0"),
]


@pytest.mark.parametrize(("state", "says"), BAD_STATES)
def test_from_torch_refuses(state, says):
    with pytest.raises(fastnn.InputError, match=says):
        from_torch(state)
    with pytest.raises(fastnn.InputError, match="activation is 'gelu'"):
        from_torch({"0.weight": ones(3, 4)}, activation="gelu")


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_torch_of_a_module(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra that tox does not install")
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)]
    module = torch.nn.Sequential(*layers).to(getattr(torch, dtype))
    X = samples(40, 6, dtype)
    model = Model(
        *fastnn.from_torch(dict(module.named_parameters()), activation="tanh"),
        np.arange(3),
        fastnn.get_engine("reference", threads=1),
    )
    with torch.no_grad():
        found = module(torch.from_numpy(X)).softmax(dim=1).numpy()
    check_probabilities(found, model, X)
    check_probabilities(model.predict_proba(X), model, X)
    with pytest.raises(fastnn.InputError, match=r"'0.weight' is not an array.*BFloat16"):
        from_torch(module.bfloat16().state_dict())


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A folder with a saved model; and the model."""
    model = a_model(scaling=Scaling(1 / 255), classes=["a", "b", "c"])
    model.save(tmp_path / "model.safetensors")
    return tmp_path, model


def test_export_to_safetensors(saved):
    folder, model = saved
    said = succeed("export", "model.safetensors", "moved.safetensors", cwd=folder)
    assert said == (
        "moved.safetensors: a state dict for PyTorch: 0.weight, 0.bias, 2.weight, 2.bias\n"
    )
    found, expected = load_file(folder / "moved.safetensors"), model.to_torch()
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    content = (folder / "moved.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("model.safetensors", "moved.pt"), "expected a name ending in .onnx, .safetensors"),
        (("model.safetensors", "-"), "expected a name ending in .onnx, .safetensors"),
        (("model.safetensors", "model.safetensors"), "is named twice"),
        (("model.safetensors", "nowhere/moved.onnx"), "cannot write nowhere/moved.onnx"),
        (("nowhere.safetensors", "moved.onnx"), "nowhere.safetensors: No such file"),
        (("model.safetensors",), "Missing argument 'FILE'"),
    ],
)
def test_export_refuses(saved, args, says):
    folder, _ = saved
    before = (folder / "model.safetensors").read_bytes()
    result = run("export", *args, cwd=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert {path.name for path in folder.iterdir()} == {"home", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == before


def test_parameters_of_a_state_dict_can_be_saved(tmp_path):
    network, parameters = from_torch(a_model().to_torch())
    assert isinstance(parameters, Parameters)
    model = Model(network, parameters, np.arange(3), fastnn.get_engine("reference"))
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(fastnn.load(tmp_path / "m").parameters.vector, parameters.vector)


@pytest.mark.parametrize("given", [None, [1, 2], "0.weight"])
def test_from_torch_of_what_is_no_mapping(given):
    with pytest.raises(fastnn.InputError, match="expected a mapping of names to arrays"):
        fastnn.from_torch(given)
