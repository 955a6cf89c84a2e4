"""Models that move: each program that takes one computes what the oracle does, within its bound.

The oracle is ``naive``: loops in double precision over samples that were scaled here, by hand.
PyTorch is not needed to run these tests: its layers are a few lines of NumPy, which a test
compares with the real ones where PyTorch is installed.
"""

import json
import sys

import naive
import numpy as np
import pytest
from cases import as_lists, problem
from command import run, succeed
from safetensors.numpy import load_file

import fastnn
from fastnn import bounds
from fastnn.models import Model
from fastnn.moving import from_torch, onnx_graphs, to_onnx, to_torch
from fastnn.network import Parameters
from fastnn.scaling import Scaling

DTYPES = ["float32", "float64"]
ACTIVATIONS = ["relu", "tanh", "logistic", "identity"]
SHAPES = [(6, 3), (6, 9, 2), (5, 4, 7, 6, 3, 4), (40, 20, 10)]


def a_model(sizes=(6, 9, 3), dtype="float32", *, activation="relu", classes=None, **settings):
    network, parameters, _, _ = problem(sizes, 1, dtype=dtype, activation=activation)
    classes = np.arange(sizes[-1]) if classes is None else np.asarray(classes)
    engine = fastnn.get_engine("reference", threads=1)
    return Model(network, parameters, classes, engine, **settings)


def samples(n, n_features, dtype="float32", seed=0):
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=(n, n_features)).astype(dtype)
    return generator.integers(0, 200 if dtype == "uint8" else 100, (n, n_features)).astype(dtype)


def standardizing(n_features, scale=1.0):
    generator = np.random.default_rng(1)
    offset = generator.normal(size=n_features) * 3
    return Scaling(scale, offset, generator.uniform(0.2, 2, n_features))


def seen(model, X):
    """What the network sees of X, as the documentation of ``Scaling`` has it."""
    dtype, scaling = model.parameters.dtype, model.scaling
    if scaling.offset is None:
        return X.astype(dtype) * dtype.type(scaling.scale)
    return ((X.astype(float) * scaling.scale - scaling.offset) * scaling.factor).astype(dtype)


def bound_of(weights, biases, X, activation, dtype):
    """Return which samples have a bound, and the bound for their probabilities."""
    u = bounds.UNIT_ROUNDOFF[np.dtype(dtype).name]
    how = {"activation": activation, "u": u}
    clear = bounds.away_from_kinks(weights, biases, X, **how)
    assert clear.mean() > 0.9
    y = np.zeros(clear.sum(), int)
    return clear, bounds.gradient_bound(weights, biases, X[clear], y, **how)[0]


def check_probabilities(found, model, X):
    """Compare probabilities with the oracle's, on samples as the network sees them."""
    parameters, activation = model.parameters, model.network.activation
    assert found.dtype == parameters.dtype
    X = seen(model, X)
    exact = np.array(
        naive.probabilities(*as_lists(parameters), X.astype(float).tolist(), activation)
    )
    clear, bound = bound_of(parameters.weights, parameters.biases, X, activation, parameters.dtype)
    assert (np.abs(found - exact)[clear] <= bound).all()
    assert (bound < 1e-3).all()  # or it would say nothing


# --- PyTorch --------------------------------------------------------------------------------------

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


SCALINGS = {
    "as they are": ("float", lambda n: Scaling()),
    "bytes": ("uint8", lambda n: Scaling(1 / 255)),
    "standardized": ("float", standardizing),
    "bytes, standardized": ("uint8", lambda n: standardizing(n, 1 / 100)),
}


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


# --- ONNX -----------------------------------------------------------------------------------------

onnx = pytest.importorskip("onnx", reason="an extra, which tox installs")
onnxruntime = pytest.importorskip("onnxruntime", reason="an extra, which tox installs")


def run_onnx(onnx_model, X):
    """Return the outputs by name, from the bytes of a model."""
    content = onnx_model if isinstance(onnx_model, bytes) else onnx_model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"X": X}), strict=True))


@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SHAPES)
def test_onnx_computes_the_network(sizes, activation, dtype, n):
    model = a_model(sizes, dtype, activation=activation)
    X = samples(n, sizes[0], dtype)
    found = run_onnx(model.to_onnx(), X)
    check_probabilities(found["probabilities"], model, X)
    check_probabilities(model.predict_proba(X), model, X)
    np.testing.assert_array_equal(found["label"], found["probabilities"].argmax(axis=1))


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_scales_as_the_model_does(dtype, scaling):
    kind, make = SCALINGS[scaling]
    model = a_model((6, 9, 3), dtype, activation="tanh", scaling=make(6))
    X = samples(50, 6, dtype if kind == "float" else kind)
    onnx_model = model.to_onnx()
    (value,) = onnx_model.graph.input
    assert value.name == "X"
    tensor = value.type.tensor_type
    assert onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) == X.dtype
    assert [d.dim_param or d.dim_value for d in tensor.shape.dim] == ["n_samples", 6]
    found = run_onnx(onnx_model, X)
    check_probabilities(found["probabilities"], model, X)
    assert found["label"].tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "float64"])
@pytest.mark.parametrize("scaling", [Scaling(1 / 50), standardizing(6, 1 / 50)])
def test_onnx_takes_x_in_the_dtype_asked_for(dtype, scaling):
    model = a_model(scaling=scaling)
    X = samples(50, 6, "int8")
    found = run_onnx(model.to_onnx(input_dtype=dtype), X.astype(dtype))
    check_probabilities(found["probabilities"], model, X)


@pytest.mark.parametrize(
    "classes",
    [
        ["red", "é", ""],
        np.array(["<b>", "a" * 300, "衣服"]),
        [-5, 7, 3],
        np.array([300, 20, 10], "int16"),
        np.array([2**63, 2**64 - 1, 0], "uint64"),
        np.array([2**62, 0, 1], "uint64"),
    ],
)
def test_onnx_has_labels_of_every_kind(classes):
    model = a_model((6, 3), classes=classes)
    X = 10 * samples(50, 6)
    label = run_onnx(model.to_onnx(), X)["label"]
    assert label.tolist() == model.predict(X).tolist()
    assert len(set(label.tolist())) == 3
    if model.classes.dtype.kind in "iu":
        assert label.dtype == (np.int64 if model.classes.max() < 2**63 else np.uint64)


def test_onnx_has_boolean_labels():
    model = a_model((6, 2), classes=[False, True])
    label = run_onnx(model.to_onnx(), samples(50, 6))["label"]
    assert label.dtype == bool
    assert label.tolist() == model.predict(samples(50, 6)).tolist()


def with_output(sizes, output, dtype="float64"):
    """Return a network with another output function, whether Network knows it yet or not."""
    model = a_model(sizes, dtype, activation="tanh")
    object.__setattr__(model.network, "output", output)
    X = samples(50, sizes[0], dtype)
    Z = [
        naive.forward(*as_lists(model.parameters), x, "tanh")[1][-1]
        for x in X.astype(float).tolist()
    ]
    return model.network, model.parameters, X, np.array(Z)


# A value here is a sum of 10 terms below 10: rounding takes less than 10 (10 + 10) u, a tenth of
# this. The exponential function multiplies that by its value.
CLOSE = {"float32": 1e-4, "float64": 2e-13}


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_of_two_classes_with_one_output(dtype):
    network, parameters, X, Z = with_output((6, 9, 1), "logistic", dtype)
    P = np.array([[1 - naive.logistic(z), naive.logistic(z)] for (z,) in Z.tolist()])
    found = run_onnx(to_onnx(network, parameters, classes=["no", "yes"]), X)
    np.testing.assert_allclose(found["probabilities"], P, rtol=0, atol=CLOSE[dtype])
    assert found["label"].tolist() == ["no" if p < 0.5 else "yes" for p in P[:, 1]]
    assert set(found["label"]) == {"no", "yes"}
    assert run_onnx(to_onnx(network, parameters), X)["label"].dtype == np.int64


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_of_several_labels_a_sample(dtype):
    network, parameters, X, Z = with_output((6, 9, 3), "logistic", dtype)
    P = np.array([[naive.logistic(z) for z in row] for row in Z.tolist()])
    found = run_onnx(to_onnx(network, parameters), X)
    np.testing.assert_allclose(found["probabilities"], P, rtol=0, atol=CLOSE[dtype])
    assert found["label"].dtype == np.int64
    np.testing.assert_array_equal(found["label"], P > 0.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize(("output", "function"), [("identity", np.positive), ("exp", np.exp)])
def test_onnx_of_a_regression(output, function, n_outputs, dtype):
    network, parameters, X, Z = with_output((6, 9, n_outputs), output, dtype)
    found = run_onnx(to_onnx(network, parameters), X)
    assert list(found) == ["values"]
    expected = function(Z)
    np.testing.assert_allclose(
        found["values"], expected, rtol=CLOSE[dtype] * (output == "exp"), atol=CLOSE[dtype]
    )


def test_onnx_files_are_for_programs_of_2022(tmp_path):
    path = tmp_path / "model.onnx"
    onnx_model = a_model().to_onnx(path)
    assert path.read_bytes() == onnx_model.SerializeToString()
    assert onnx.load(path) == onnx_model
    assert [(o.domain, o.version) for o in onnx_model.opset_import] == [("", 17)]
    assert onnx_model.ir_version == 8
    assert onnx_model.producer_name == "fastnn"
    path.write_bytes(b"before")
    model = a_model()
    model.parameters.vector[3] = np.inf
    with pytest.raises(fastnn.InputError, match="NaN or infinite"):
        model.to_onnx(path)
    assert path.read_bytes() == b"before"


def test_onnx_refuses(monkeypatch):
    network, parameters = a_model().network, a_model().parameters
    for classes in ([0, 1], [[0, 1, 2]], [0.5, 1, 2]):
        with pytest.raises(fastnn.InputError, match="expected 3 integers, booleans or strings"):
            to_onnx(network, parameters, classes=classes)
    for dtype in ("float16", "str", "nonsense", object):
        with pytest.raises(fastnn.InputError, match="input_dtype is .*expected one of float32"):
            to_onnx(network, parameters, input_dtype=dtype)
    monkeypatch.setattr(onnx_graphs, "LARGEST", parameters.vector.nbytes - 1)
    with pytest.raises(fastnn.InputError, match="more parameters than the 2 GB"):
        to_onnx(network, parameters)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(fastnn.InputError, match=r"pip install 'fastnn\[onnx\]'"):
        to_onnx(network, parameters)


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A folder with a saved model; and the model."""
    model = a_model(scaling=Scaling(1 / 255), classes=["a", "b", "c"])
    model.save(tmp_path / "model.safetensors")
    return tmp_path, model


def test_export_to_onnx(saved):
    folder, model = saved
    said = succeed("export", "model.safetensors", "moved.ONNX", cwd=folder)
    assert said == "moved.ONNX: ONNX; input X, outputs label and probabilities\n"
    X = samples(50, 6, "uint8")
    found = run_onnx((folder / "moved.ONNX").read_bytes(), X)
    check_probabilities(found["probabilities"], model, X)
    assert found["label"].tolist() == model.predict(X).tolist()


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
