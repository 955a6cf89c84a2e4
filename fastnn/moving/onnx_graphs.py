"""Networks as ONNX models: what happens to X first, the layers, and what the last one means."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastnn import __version__
from fastnn.errors import InputError
from fastnn.network import Network, Parameters
from fastnn.scaling import Scaling

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8  # of 2022: what is deployed reads them
LARGEST = 2**31 - 2**20  # bytes: what protobuf takes, with room for all but the arrays
INPUT_DTYPES = (
    "float32", "float64", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
ACTIVATION_NODES = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "Identity"}


def to_onnx(
    network: Network,
    parameters: Parameters,
    *,
    classes: ArrayLike | None = None,
    scaling: Scaling | None = None,
    input_dtype: DTypeLike | None = None,
) -> "onnx.ModelProto":
    """Return a network as an ONNX model.

    Its input "X" has shape (n_samples, n_features), any number of samples, and is not yet scaled:
    the scaling is part of the graph, computed as the model computes it. Its outputs are

    - "label", shape (n_samples,): the most probable class; and "probabilities", shape (n_samples,
      n_classes). With the output "logistic" and more than one unit, any of which may be on, both
      are matrices (n_samples, n_outputs), and a label is 1 where its probability is above 1/2.
    - "values", shape (n_samples, n_outputs), where the network does regression.

    Parameters
    ----------
    network : Network
    parameters : Parameters
    classes : array_like, shape (n_classes,), optional
        Integers, booleans or strings: the label of each output. By default 0, 1, ...
    scaling : Scaling, optional
        What the model does to X first.
    input_dtype : dtype, optional
        Of X: floating-point, integers or booleans. By default uint8 where the scaling has a
        scale for integers, otherwise that of the parameters.

    Returns
    -------
    onnx_model : onnx.ModelProto
        Checked by ``onnx.checker``; ``.SerializeToString()`` returns its bytes.

    Raises
    ------
    InputError
        If onnx is not installed, the classes or ``input_dtype`` do not fit, or the parameters are
        not finite or more than the 2 GB that an ONNX file can hold.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            "ONNX needs onnx, which is not installed: pip install 'fastnn[onnx]'"
        ) from error
    if parameters.vector.nbytes > LARGEST:
        raise InputError("the network has more parameters than the 2 GB that ONNX can hold")
    if not np.isfinite(parameters.vector).all():
        raise InputError("the model has parameters that are NaN or infinite")
    dtype, scaling = parameters.dtype, scaling or Scaling()
    graph = _Graph()
    X_dtype = _input_dtype(input_dtype, scaling, dtype)
    A = _scaled(graph, X_dtype, scaling, dtype)
    for layer, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        if layer:
            A = graph.node(ACTIVATION_NODES[network.activation], A)
        A = graph.node("Gemm", A, graph.constant(f"W{layer}", W), graph.constant(f"b{layer}", b))
    outputs = OUTPUT_NODES[network.output](_Last(graph, A, network.n_outputs, dtype, classes))
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "fastnn",
            [_value("X", X_dtype, network.n_features)],
            [_value(*output) for output in outputs],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fastnn",
        producer_version=__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _input_dtype(asked: DTypeLike | None, scaling: Scaling, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if asked is None:
        return dtype if scaling.scale == 1.0 else np.dtype(np.uint8)
    try:
        found = np.dtype(asked).newbyteorder("=")
    except TypeError:
        found = np.dtype(object)
    if found.name not in INPUT_DTYPES:
        raise InputError(f"input_dtype is {asked!r}; expected one of {', '.join(INPUT_DTYPES)}")
    return found


class _Graph:
    """Nodes and constants, each named as it is added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        from onnx.helper import make_node

        name = f"{operator.lower()}_{len(self.nodes)}" if name is None else name
        self.nodes.append(make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: ArrayLike) -> str:
        from onnx.numpy_helper import from_array

        array = np.asarray(values)
        self.constants.append(
            from_array(array.astype(object) if array.dtype.kind == "U" else array, name)
        )
        return name

    def cast(self, value: str, dtype: DTypeLike, name: str | None = None) -> str:
        return self.node("Cast", value, to=_tensor_type(dtype), name=name)


def _tensor_type(dtype: DTypeLike) -> int:
    from onnx.helper import np_dtype_to_tensor_dtype

    dtype = np.dtype(dtype)
    return int(np_dtype_to_tensor_dtype(np.dtype(object) if dtype.kind == "U" else dtype))


def _value(name: str, dtype: DTypeLike, *columns: int) -> Any:
    """Describe an input or output of any number of samples."""
    from onnx.helper import make_tensor_value_info

    return make_tensor_value_info(name, _tensor_type(dtype), ["n_samples", *columns])


def _scaled(graph: _Graph, X_dtype: Any, scaling: Scaling, dtype: np.dtype[Any]) -> str:
    """Add what ``Scaling.apply`` does, in the precision in which it does it."""
    offset, factor = scaling.offset, scaling.factor
    inside = dtype if offset is None else np.dtype(np.float64)
    A = "X" if X_dtype == inside else graph.cast("X", inside)
    if scaling.scale != 1.0:
        A = graph.node("Mul", A, graph.constant("scale", inside.type(scaling.scale)))
    if offset is not None and factor is not None:
        A = graph.node("Sub", A, graph.constant("offset", offset))
        A = graph.node("Mul", A, graph.constant("factor", factor))
    return A if inside == dtype else graph.cast(A, dtype)


@dataclass(frozen=True)
class _Last:
    """The last layer's values in a graph, and what they become outputs with."""

    graph: _Graph
    Z: str
    n_outputs: int
    dtype: np.dtype[Any]
    classes: ArrayLike | None

    def label(self, index: str, n_classes: int) -> tuple[str, Any]:
        """Add the classes of indices of shape (n_samples,)."""
        classes = np.arange(n_classes) if self.classes is None else np.asarray(self.classes)
        if classes.shape != (n_classes,) or classes.dtype.kind not in "biuU":
            raise InputError(
                f"classes have shape {classes.shape} and dtype {classes.dtype}; expected "
                f"{n_classes} integers, booleans or strings"
            )
        if classes.dtype.kind in "iu" and classes.max() < 2**63:
            classes = classes.astype(np.int64)
        self.graph.node("Gather", self.graph.constant("classes", classes), index, name="label")
        return "label", classes.dtype


Outputs = list[tuple[Any, ...]]


def _softmax(last: _Last) -> Outputs:
    last.graph.node("Softmax", last.Z, axis=1, name="probabilities")
    index = last.graph.node("ArgMax", "probabilities", axis=1, keepdims=0)
    return [last.label(index, last.n_outputs), ("probabilities", last.dtype, last.n_outputs)]


def _logistic(last: _Last) -> Outputs:
    graph, several = last.graph, last.n_outputs > 1
    P = graph.node("Sigmoid", last.Z, name="probabilities" if several else None)
    is_on = graph.node("Greater", P, graph.constant("half", last.dtype.type(0.5)))
    if several:
        graph.cast(is_on, np.int64, name="label")
        return [
            ("label", np.int64, last.n_outputs),
            ("probabilities", last.dtype, last.n_outputs),
        ]
    other = graph.node("Sub", graph.constant("one", last.dtype.type(1)), P)
    graph.node("Concat", other, P, axis=1, name="probabilities")
    flat = graph.node("Squeeze", graph.cast(is_on, np.int64), graph.constant("columns", [1]))
    return [last.label(flat, 2), ("probabilities", last.dtype, 2)]


def _values(operator: str) -> Callable[[_Last], Outputs]:
    def add(last: _Last) -> Outputs:
        last.graph.node(operator, last.Z, name="values")
        return [("values", last.dtype, last.n_outputs)]

    return add


# by the name of a network's output
OUTPUT_NODES: dict[str, Callable[[_Last], Outputs]] = {
    "softmax": _softmax,
    "logistic": _logistic,
    "identity": _values("Identity"),
    "exp": _values("Exp"),
}
