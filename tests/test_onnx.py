"""ONNX models: ONNX Runtime computes with them what the oracle does, within the bound."""

import sys

import naive
import numpy as np
import pytest
from cases import as_lists
from command import succeed
from moved import (
    ACTIVATIONS,
    DTYPES,
    SCALINGS,
    SHAPES,
    a_model,
    check_probabilities,
    samples,
    standardizing,
)
from sklearn.exceptions import NotFittedError

import fastnn
from fastnn.moving import onnx_graphs, to_onnx
from fastnn.scaling import Scaling

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
    """Return a network with another output function."""
    model = a_model(sizes, dtype, activation="tanh")
    network = fastnn.Network(sizes, activation="tanh", output=output)
    X = samples(50, sizes[0], dtype)
    Z = [
        naive.forward(*as_lists(model.parameters), x, "tanh")[1][-1]
        for x in X.astype(float).tolist()
    ]
    return network, model.parameters, X, np.array(Z)


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


def test_export_to_onnx(tmp_path):
    folder, model = tmp_path, a_model(scaling=Scaling(1 / 255), classes=["a", "b", "c"])
    model.save(folder / "model.safetensors")
    said = succeed("export", "model.safetensors", "moved.ONNX", cwd=folder)
    assert said == "moved.ONNX: ONNX; input X, outputs label and probabilities\n"
    X = samples(50, 6, "uint8")
    found = run_onnx((folder / "moved.ONNX").read_bytes(), X)
    check_probabilities(found["probabilities"], model, X)
    assert found["label"].tolist() == model.predict(X).tolist()


# --- estimators ----------------------------------------------------------------------------------

SHORT = {"max_iter": 50, "learning_rate": "cosine", "random_state": 0}
RNG = np.random.default_rng(0)
X_SMALL = RNG.normal(size=(80, 5))
TARGETS = {
    "two": np.where(X_SMALL[:, 0] > 0, "yes", "no"),
    "three": np.array(["a", "b", "c"], dtype=object)[np.digitize(X_SMALL[:, 0], [-0.5, 0.5])],
    "numbers": np.digitize(X_SMALL[:, 0], [-0.5, 0.5]) + 10,
    "labels": (X_SMALL[:, :3] > 0).astype(int),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("targets", TARGETS)
def test_onnx_of_a_classifier(targets, dtype):
    X, y = X_SMALL.astype(dtype), TARGETS[targets]
    model = fastnn.MLPClassifier((6, 4), activation="tanh", **SHORT).fit(X, y)
    found = run_onnx(model.to_onnx(), X)
    expected = model.predict_proba(X)
    assert found["probabilities"].dtype == dtype
    np.testing.assert_allclose(found["probabilities"], expected, atol=CLOSE[dtype])
    assert (np.abs(expected - 0.5) > CLOSE[dtype]).all()  # so that the labels are the same
    assert found["label"].tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_onnx_of_a_regressor(loss, tmp_path):
    y = np.exp(X_SMALL[:, 0])
    model = fastnn.MLPRegressor(loss, hidden_layer_sizes=(6,), **SHORT).fit(X_SMALL, y)
    path = tmp_path / "model.onnx"
    model.to_onnx(path, input_dtype="float32")
    X = X_SMALL.astype(np.float32)
    values = run_onnx(path.read_bytes(), X)["values"]
    assert values.shape == (80, 1)
    np.testing.assert_allclose(values[:, 0], model.predict(X.astype(float)), rtol=1e-10)


def test_state_dict_of_an_estimator():
    y = np.c_[X_SMALL[:, 0] - 1, X_SMALL[:, 1] * 2]
    model = fastnn.MLPRegressor(hidden_layer_sizes=(6, 4), activation="tanh", **SHORT)
    state = model.fit(X_SMALL, y).to_torch()
    A = X_SMALL
    for layer in (0, 2, 4):
        Z = A @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        A = np.tanh(Z)
    np.testing.assert_allclose(Z, model.predict(X_SMALL), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("way", ["to_onnx", "to_torch"])
def test_an_estimator_that_is_not_fitted_does_not_move(way):
    with pytest.raises(NotFittedError):
        getattr(fastnn.MLPClassifier(), way)()


def test_input_of_another_byte_order_is_meant_as_its_type():
    found = run_onnx(a_model().to_onnx(input_dtype=">f4"), samples(3, 6))
    assert found["probabilities"].shape == (3, 3)
