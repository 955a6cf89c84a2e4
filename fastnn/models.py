"""A trained network with everything that prediction needs, and its file.

The file is safetensors: the arrays, and a JSON header with the network's shape, the class labels,
the input scaling and how it was trained. Nothing in it is executed on loading.
"""

import json
import os
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn import __version__
from fastnn.checks import check_features
from fastnn.engine import Engine, get_engine
from fastnn.errors import InputError
from fastnn.files import write_atomically
from fastnn.formats.content import require_file
from fastnn.html import model_html
from fastnn.inputs import Input
from fastnn.labels import encode_labels, index_dtype
from fastnn.moving import to_onnx, to_torch
from fastnn.network import Network, Parameters, aligned_zeros, float_dtype
from fastnn.predictor import Predictor
from fastnn.scaling import Scaling
from fastnn.streams import WINDOW_BYTES, FileSamples, Samples, open_samples

if TYPE_CHECKING:
    import onnx

FORMAT = "fastnn-model"
VERSION = 1
STOPPED = ("finished", "early", "interrupted", "diverged", "failed")


@dataclass
class History:
    """What happened in training, one entry per finished epoch.

    Attributes
    ----------
    loss : list of float
        Mean of the batch losses, each weighted by its samples' weights; penalty included.
    seconds : list of float
        Time spent in training; validation is not in it.
    validation_loss, validation_accuracy : list of float
        Empty without validation data.
    stopped : str
        Why training ended: "finished", "early" (by a callback, early stopping among them),
        "interrupted", "diverged" or "failed" (the samples' file could not be read).
    best_epoch : int or None
        With ``patience``: the epoch, counted from 1, whose parameters the model has.
    """

    loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    stopped: str = "finished"
    best_epoch: int | None = None

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.loss)


@dataclass(eq=False)
class Model:
    """A trained network; made by ``fastnn.fit``, brought back by ``fastnn.load``.

    Attributes
    ----------
    network : Network
    parameters : Parameters
    classes : ndarray, shape (n_outputs,)
        The label of each output.
    engine : Engine
        What predictions run on.
    scaling : Scaling
        Applied to every X.
    feature_names : tuple of str or None
    history : History
    settings : dict
        How it was trained.
    """

    network: Network
    parameters: Parameters
    classes: NDArray[Any]
    engine: Engine
    scaling: Scaling = field(default_factory=Scaling)
    feature_names: tuple[str, ...] | None = None
    history: History = field(default_factory=History)
    settings: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.network.layer_sizes))
        return (
            f"Model({sizes}, {self.parameters.dtype}, epochs={self.history.epochs}, "
            f"{self.history.stopped})"
        )

    def _repr_html_(self) -> str:
        return model_html(self)

    def predict_proba(self, X: Samples) -> NDArray[np.floating]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array_like, Input, path or memmap, shape (n_samples, n_features)
            As in training: not yet scaled. A path is one of an ``.npy`` file.

        Returns
        -------
        probabilities : ndarray, shape (n_samples, n_outputs)
            Columns in the order of ``classes``.

        Raises
        ------
        InputError
            If X does not fit the model, or a sample is so large that the network overflows.
        """
        X = open_samples(X, WINDOW_BYTES)
        with closing(self._windows(X)) as windows:
            if not isinstance(X, FileSamples):
                return next(windows)[0]
            result = np.empty((X.n_samples, self.network.n_outputs), self.parameters.dtype)
            for probabilities, rows in windows:
                result[rows] = probabilities
        return result

    def predict_windows(self, X: Samples) -> Generator[NDArray[np.floating], None, None]:
        """Yield what ``predict_proba`` returns for some samples after another, in their order.

        At once where X is in memory; a window at a time where it is a file, so that neither X nor
        the result need fit into memory. Errors are as there.
        """
        with closing(self._windows(open_samples(X, WINDOW_BYTES))) as windows:
            for probabilities, _ in windows:
                yield probabilities

    def _windows(
        self, X: Any
    ) -> Generator[tuple[NDArray[np.floating], slice | NDArray[np.intp]], None, None]:
        """Yield probabilities, and which samples they are of."""
        if not isinstance(X, FileSamples):
            samples = self.scaling.apply(X, self.parameters.dtype, once=True)
            check_features(samples, self.network.n_features)
            yield self._probabilities(samples), slice(None)
            return
        X.check_features(self.network.n_features)
        with closing(X.inputs(self.scaling, self.parameters.dtype)) as windows:
            for samples, rows in windows:
                with X.naming(rows):
                    probabilities = self._probabilities(samples)
                del samples  # a converted copy, perhaps: not two at a time
                yield probabilities, rows

    def _probabilities(self, samples: Input) -> NDArray[np.floating]:
        probabilities = self.engine.predict(self.network, self.parameters, samples)
        overflowed = ~np.isfinite(probabilities).all(axis=1)
        if overflowed.any():
            raise InputError(
                f"X[{int(np.argmax(overflowed))}] is so large that the network overflows "
                f"{self.parameters.dtype}; expected samples like those of training"
            )
        return probabilities

    def predictor(self, n_samples: int = 1) -> Predictor:
        """Return a function for many predictions of a few samples each, with everything allocated.

        Parameters
        ----------
        n_samples : int, default=1
            The most samples that it will be called with at a time.

        Returns
        -------
        predictor : Predictor
            ``predictor(x)`` returns what ``predict_proba`` does, to the last bit, and takes one
            sample of shape (n_features,) too; ``predictor.predict(x)`` returns classes.

        Examples
        --------
        >>> import fastnn
        >>> data = fastnn.datasets.load("digits")
        >>> network = fastnn.Network((64, 32, 10))
        >>> model = fastnn.fit(network, data.X_train, data.y_train, scale=data.scale, epochs=1)
        >>> predictor = model.predictor()
        >>> predictor(data.X_test[0]).shape
        (1, 10)
        """
        return Predictor(self, n_samples)

    def predict(self, X: Samples) -> NDArray[Any]:
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : array_like, Input, path or memmap, shape (n_samples, n_features)
            As in training: not yet scaled. A path is one of an ``.npy`` file.

        Returns
        -------
        labels : ndarray, shape (n_samples,)
            Of the kind that ``fit`` was given.

        Raises
        ------
        InputError
            As ``predict_proba``.
        """
        with closing(self._windows(open_samples(X, WINDOW_BYTES))) as windows:
            return np.concatenate([self.classes[part.argmax(axis=1)] for part, _ in windows])

    def evaluate(self, X: Samples, y: ArrayLike) -> tuple[float, float]:
        """Test the model on labelled samples.

        Parameters
        ----------
        X : array_like, Input, path or memmap, shape (n_samples, n_features)
            As in training: not yet scaled. A path is one of an ``.npy`` file.
        y : array_like, shape (n_samples,)

        Returns
        -------
        loss : float
            Mean cross-entropy, without penalty.
        accuracy : float
            Share of samples whose class is the most probable one.

        Raises
        ------
        InputError
            As ``predict_proba``, or if y does not fit.
        """
        X = open_samples(X, WINDOW_BYTES)
        n_outputs, dtype = self.network.n_outputs, np.dtype(np.intp)
        if isinstance(X, FileSamples):
            dtype = index_dtype(n_outputs)
        labels, _ = encode_labels(y, n_outputs, self.classes, dtype=dtype)
        if isinstance(X, FileSamples) and len(labels) != X.n_samples:
            raise InputError(f"y has {len(labels)} labels for {X.n_samples} samples")
        with closing(self._windows(X)) as windows:
            return mean_loss_and_accuracy((part, labels[rows]) for part, rows in windows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, whole or not at all.

        Raises
        ------
        InputError
            If a parameter is not finite.
        OSError
            If the file cannot be written; what was there before is untouched.
        """
        write_atomically(path, _to_bytes(self))

    def to_torch(self) -> dict[str, NDArray[np.floating]]:
        """Return the parameters as the state dict of a ``torch.nn.Sequential``, as arrays.

        It takes X as the model does, not yet scaled, and returns logits; see
        ``fastnn.moving.to_torch`` for how to load it. PyTorch need not be installed.

        Returns
        -------
        state : dict of str to ndarray
            "0.weight" of shape (fan_out, fan_in), "0.bias", "2.weight", ...

        Raises
        ------
        InputError
            If the scaling, folded into the first layer, overflows its dtype.
        """
        return to_torch(self.parameters, self.scaling)

    def to_onnx(
        self, path: str | os.PathLike[str] | None = None, *, input_dtype: DTypeLike | None = None
    ) -> "onnx.ModelProto":
        """Return the model as an ONNX model, and write it to a file where a path is given.

        Its input is "X", as the model takes it, not yet scaled; its outputs are "label" and
        "probabilities": see ``fastnn.moving.to_onnx``.

        Parameters
        ----------
        path : path-like, optional
            Written whole or not at all.
        input_dtype : dtype, optional
            Of X. By default uint8 where the model has a scale for integers, otherwise that of the
            parameters.

        Returns
        -------
        onnx_model : onnx.ModelProto

        Raises
        ------
        InputError
            If onnx is not installed (``pip install 'fastnn[onnx]'``), or the model does not fit.
        OSError
            If the file cannot be written; what was there before is untouched.
        """
        onnx_model = to_onnx(
            self.network,
            self.parameters,
            classes=self.classes,
            scaling=self.scaling,
            input_dtype=input_dtype,
        )
        if path is not None:
            write_atomically(path, onnx_model.SerializeToString())
        return onnx_model


def loss_and_accuracy(
    probabilities: NDArray[np.floating], labels: NDArray[Any]
) -> tuple[float, float]:
    """Return the mean cross-entropy and the share of samples whose class is the most probable.

    A probability that rounded to zero (or is NaN: the sample overflowed, and counts as wrong) is
    taken for the smallest normal number, so that one sample does not make the mean infinite.
    """
    if len(labels) != len(probabilities):
        raise InputError(f"y has {len(labels)} labels for {len(probabilities)} samples")
    right = probabilities[np.arange(len(labels)), labels]
    loss = -np.log(np.fmax(right, np.finfo(right.dtype).tiny)).mean(dtype=np.float64)
    accuracy = ((probabilities.argmax(axis=1) == labels) & np.isfinite(right)).mean()
    return float(loss), float(accuracy)


def mean_loss_and_accuracy(
    windows: Iterable[tuple[NDArray[np.floating], NDArray[Any]]],
) -> tuple[float, float]:
    """Return ``loss_and_accuracy`` over windows of (probabilities, labels)."""
    sizes, results = [], []
    for probabilities, labels in windows:
        results.append(loss_and_accuracy(probabilities, labels))
        sizes.append(len(labels))
    if len(sizes) == 1:  # as it is, without another rounding
        return results[0]
    loss, accuracy = np.average(results, axis=0, weights=sizes)
    return float(loss), float(accuracy)


# --- the file -----------------------------------------------------------------------------------


def _to_bytes(model: Model) -> bytes:
    from safetensors.numpy import save

    if not np.isfinite(model.parameters.vector).all():
        raise InputError("the model has parameters that are NaN or infinite; it was not saved")
    tensors: dict[str, NDArray[Any]] = {}
    for layer, (W, b) in enumerate(
        zip(model.parameters.weights, model.parameters.biases, strict=True)
    ):
        tensors[f"weights.{layer}"], tensors[f"biases.{layer}"] = W, b
    if model.scaling.offset is not None and model.scaling.factor is not None:
        tensors["scaling.offset"] = model.scaling.offset
        tensors["scaling.factor"] = model.scaling.factor
    header = {
        "format": FORMAT,
        "version": VERSION,
        "fastnn": __version__,
        "network": {
            "layer_sizes": list(model.network.layer_sizes),
            "activation": model.network.activation,
            "output": model.network.output,
        },
        "classes": model.classes.tolist(),
        "scale": model.scaling.scale,
        "feature_names": model.feature_names and list(model.feature_names),
        "history": asdict(model.history),
        "settings": model.settings,
    }
    return bytes(save(tensors, {"fastnn": json.dumps(header, allow_nan=False)}))


def load(
    path: str | os.PathLike[str], *, engine: str | None = None, threads: int | None = None
) -> Model:
    """Read a model that ``Model.save`` wrote; for data, see ``fastnn.datasets.load``.

    Parameters
    ----------
    path : path-like
    engine, threads : optional
        What predictions run on; see ``fastnn.get_engine``.

    Returns
    -------
    model : Model

    Raises
    ------
    InputError
        If the file is not a whole, consistent model of a version that this fastnn knows.
    OSError
        If the file cannot be read.
    """
    runs_on = get_engine(threads=threads) if engine is None else get_engine(engine, threads=threads)
    require_file(Path(path))
    try:
        header, tensors = _read(Path(path))
        return _from_parts(header, tensors, runs_on)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        detail = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{os.fspath(path)} is not a model of fastnn: {detail}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    with path.open("rb"):  # a clear OSError before the library's own
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            dtypes = {file.get_slice(name).get_dtype() for name in names}
            if not dtypes <= {"F32", "F64"}:
                raise ValueError(f"it holds arrays of types {sorted(dtypes)}")
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"it is not a whole safetensors file ({error})") from error
    if set(metadata) != {"fastnn"}:
        raise ValueError("its header does not speak of fastnn")
    header = json.loads(
        metadata["fastnn"], parse_constant=_refuse_constant, parse_float=_finite_float
    )
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("its header does not speak of fastnn")
    if type(header["version"]) is not int or header["version"] != VERSION:
        raise ValueError(
            f"it has format version {header['version']!r}; this fastnn {__version__} reads version "
            f"{VERSION}: install the fastnn that wrote it ({header.get('fastnn')!r})"
        )
    return header, tensors


def _refuse_constant(name: str) -> float:
    raise ValueError(f"its header holds {name}")


def _finite_float(digits: str) -> float:
    number = float(digits)
    return number if isfinite(number) else _refuse_constant(digits)


HEADER_KEYS = {
    "format", "version", "fastnn", "network", "classes", "scale", "feature_names", "history",
    "settings",
}  # fmt: skip


def _from_parts(header: dict[str, Any], tensors: dict[str, NDArray[Any]], engine: Engine) -> Model:
    if set(header) != HEADER_KEYS:
        raise ValueError(f"its header has the keys {sorted(header)}")
    shape = header["network"]
    if not isinstance(shape, dict) or set(shape) != {"layer_sizes", "activation", "output"}:
        raise ValueError(f"its network is {shape!r:.80}")
    network = Network(shape.pop("layer_sizes"), **shape)
    n_features, n_outputs = network.n_features, network.n_outputs
    scaling = _scaling(header["scale"], tensors, n_features)
    history = _history(header["history"])
    names = header["feature_names"]
    if names is not None and not (
        isinstance(names, list) and len(names) == n_features and {type(n) for n in names} == {str}
    ):
        raise ValueError(f"it has feature names {names!r:.80} for {n_features} features")
    if not isinstance(header["settings"], dict):
        raise ValueError("its settings are not an object")
    return Model(
        network=network,
        parameters=_parameters(network, tensors),
        classes=_classes(header["classes"], n_outputs),
        engine=engine,
        scaling=scaling,
        feature_names=None if names is None else tuple(names),
        history=history,
        settings=header["settings"],
    )


def _parameters(network: Network, tensors: dict[str, NDArray[Any]]) -> Parameters:
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


def _scaling(scale: Any, tensors: dict[str, NDArray[Any]], n_features: int) -> Scaling:
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


def _history(record: Any) -> History:
    if not isinstance(record, dict) or set(record) != {f.name for f in fields(History)}:
        raise ValueError(f"its history is {record!r:.80}")
    history = History(**record)
    curves = (
        history.loss,
        history.seconds,
        history.validation_loss,
        history.validation_accuracy,
    )
    for curve in curves:
        if not isinstance(curve, list) or not {type(value) for value in curve} <= {float, int}:
            raise ValueError(f"its history holds {curve!r:.80}")
    if {len(curve) for curve in curves if curve} - {history.epochs}:
        raise ValueError("its history has curves of different lengths")
    best = history.best_epoch
    if history.stopped not in STOPPED or not (
        best is None or (type(best) is int and 1 <= best <= history.epochs)
    ):
        raise ValueError("its history does not say how training ended")
    return history


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
