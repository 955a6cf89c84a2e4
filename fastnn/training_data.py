"""What ``fit`` trains on: samples and labels that fit each other, split and scaled."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import check_features, check_sample_weight
from fastnn.errors import InputError
from fastnn.inputs import Input, prepare
from fastnn.labels import encode_labels, split_rows
from fastnn.network import Network
from fastnn.scaling import Scaling, standardization

Validation: TypeAlias = float | tuple[ArrayLike | Input, ArrayLike] | None


@dataclass(frozen=True)
class TrainingData:
    """What to train on: ``rows`` of ``samples``; validation data are kept apart."""

    samples: Input
    labels: NDArray[np.intp]
    classes: NDArray[Any]
    rows: NDArray[np.intp]
    weights: NDArray[np.float64] | None
    scaling: Scaling
    validation: tuple[Input, NDArray[np.intp]] | None

    def settings(self) -> dict[str, Any]:
        """Return what a model's record says of its data."""
        return {
            "standardize": self.scaling.offset is not None,
            "n_samples": len(self.rows),
            "n_validation": 0 if self.validation is None else self.validation[0].n_samples,
        }


def prepare_training(
    network: Network,
    X: ArrayLike | Input,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None,
    classes: ArrayLike | None,
    scale: float | None,
    standardize: bool,
    validation: Validation,
    generator: np.random.Generator,
    dtype: DTypeLike,
) -> TrainingData:
    """Check all of it, hold out validation data, and learn the scaling from what is left."""
    raw = prepare(X, scale=scale)
    check_features(raw, network.n_features)
    labels, known = encode_labels(y, network.n_outputs, classes)
    _check_lengths(raw, labels)
    weights = check_sample_weight(sample_weight, raw.n_samples)
    rows, held_out = _hold_out(labels, validation, generator)
    scaling = standardization(raw, rows) if standardize else Scaling(raw.scale)
    samples = scaling.apply(raw, dtype)
    watched = None
    if held_out is not None:
        watched = samples.take(held_out), labels[held_out]
    elif isinstance(validation, tuple):
        try:
            X_val = scaling.apply(validation[0], dtype)
            check_features(X_val, network.n_features)
            y_val, _ = encode_labels(validation[1], network.n_outputs, known)
            _check_lengths(X_val, y_val)
        except InputError as error:
            raise InputError(f"validation data: {error}") from error
        watched = X_val, y_val
    return TrainingData(samples, labels, known, rows, weights, scaling, watched)


def _check_lengths(samples: Input, labels: NDArray[np.intp]) -> None:
    if len(labels) != samples.n_samples:
        raise InputError(f"y has {len(labels)} labels for {samples.n_samples} samples in X")


def _hold_out(
    labels: NDArray[np.intp], validation: Validation, generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """Return the rows to train on, and those to validate with if a share was asked for."""
    if validation is None or (isinstance(validation, tuple) and len(validation) == 2):
        return np.arange(len(labels)), None
    if not isinstance(validation, float | int | np.floating):
        raise InputError(
            f"validation is {validation!r:.80}; expected a share such as 0.1, or a tuple (X, y)"
        )
    try:
        return split_rows(labels, float(validation), generator)
    except InputError as error:
        raise InputError(
            f"validation data: {error}; or hold out none: --validation 0 (validation=None)"
        ) from error
