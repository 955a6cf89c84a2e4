"""A trained network with everything that prediction needs."""

import os
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import check_features
from fastnn.engine import Engine, get_engine
from fastnn.errors import InputError
from fastnn.files import write_atomically
from fastnn.history import History
from fastnn.html import model_html
from fastnn.inputs import Input
from fastnn.labels import encode_labels, index_dtype
from fastnn.model_file import Parts, model_bytes, read_model
from fastnn.moving import to_onnx, to_torch
from fastnn.network import Network, Parameters
from fastnn.predictor import Predictor
from fastnn.scaling import Scaling
from fastnn.streams import WINDOW_BYTES, FileSamples, Samples, open_samples

if TYPE_CHECKING:
    import onnx


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

    def __post_init__(self) -> None:
        output, n_outputs = self.network.output, self.network.n_outputs
        if output != "softmax":
            raise InputError(
                f"the network's output is {output!r}; a Model has classes, and 'softmax': engines "
                "and fastnn.moving take other networks as they are"
            )
        if len(self.classes) != n_outputs:
            raise InputError(f"there are {len(self.classes)} classes for {n_outputs} outputs")

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
        parts = Parts(**{name: getattr(self, name) for name in Parts._fields})
        write_atomically(path, model_bytes(parts))

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
    return Model(engine=runs_on, **read_model(path)._asdict())
