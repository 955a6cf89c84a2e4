"""What ``fit`` trains on: samples and labels that fit each other, split and scaled."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import check_features
from fastnn.errors import InputError
from fastnn.inputs import Input, prepare
from fastnn.labels import encode_labels, split_rows
from fastnn.network import Network
from fastnn.scaling import Scaling, standardization


@dataclass(frozen=True)
class Labelled:
    """Samples before any scaling, and the class index of each."""

    X: Input
    labels: NDArray[np.intp]
    classes: NDArray[Any]
    scale: float | None


@dataclass
class TrainingData:
    """What to train on: ``rows`` of ``samples``; validation data are kept apart."""

    samples: Input
    labels: NDArray[np.intp]
    rows: NDArray[np.intp]
    scaling: Scaling
    validation: tuple[Input, NDArray[np.intp]] | None = None
    weights: NDArray[np.float64] | None = None

    def settings(self) -> dict[str, Any]:
        """Return what a model's record says of its data."""
        return {
            "standardize": self.scaling.offset is not None,
            "n_samples": len(self.rows),
            "n_validation": 0 if self.validation is None else self.validation[0].n_samples,
        }


def label_samples(
    network: Network,
    X: ArrayLike | Input,
    y: ArrayLike,
    classes: ArrayLike | None,
    scale: float | None,
) -> Labelled:
    """Check samples and labels against the network and each other."""
    samples = prepare(X, scale=scale)
    check_features(samples, network.n_features)
    labels, known = encode_labels(y, network.n_outputs, classes)
    if len(labels) != samples.n_samples:
        raise InputError(f"y has {len(labels)} labels for {samples.n_samples} samples in X")
    return Labelled(samples, labels, known, scale)


def split_and_scale(
    network: Network,
    labelled: Labelled,
    validation: float | tuple[ArrayLike | Input, ArrayLike] | None,
    generator: np.random.Generator,
    standardize: bool,
    dtype: DTypeLike,
) -> TrainingData:
    """Hold out validation data, and learn the scaling from what is left."""
    labels = labelled.labels
    rows, held_out = _hold_out(labels, validation, generator)
    scaling = standardization(labelled.X, rows) if standardize else Scaling(labelled.X.scale)
    data = TrainingData(scaling.apply(labelled.X, dtype), labels, rows, scaling)
    if held_out is not None:
        data.validation = data.samples.take(held_out), labels[held_out]
    elif isinstance(validation, tuple):
        other = label_samples(network, *validation, labelled.classes, labelled.scale)
        data.validation = scaling.apply(other.X, dtype), other.labels
    return data


def _hold_out(
    labels: NDArray[np.intp],
    validation: float | tuple[ArrayLike | Input, ArrayLike] | None,
    generator: np.random.Generator,
) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """Return the rows to train on, and those to validate with if a share was asked for."""
    if validation is None or (isinstance(validation, tuple) and len(validation) == 2):
        return np.arange(len(labels)), None
    if not isinstance(validation, float | int | np.floating):
        raise InputError(
            f"validation is {validation!r:.80}; expected a share such as 0.1, or a tuple (X, y)"
        )
    return split_rows(labels, float(validation), generator)
