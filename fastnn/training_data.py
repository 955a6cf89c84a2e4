"""What ``fit`` trains on: samples and labels that fit each other, split and scaled."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import check_features, check_sample_weight
from fastnn.errors import InputError
from fastnn.inputs import Input, prepare
from fastnn.labels import encode_labels, index_dtype, split_rows
from fastnn.network import Network, float_dtype
from fastnn.scaling import Scaling, standardization
from fastnn.streams import FileSamples, open_samples

Samples: TypeAlias = ArrayLike | Input | FileSamples | PathLike[str]
Validation: TypeAlias = float | tuple[Samples, ArrayLike] | None
# what to watch: samples, and their class indices
Watched: TypeAlias = tuple[Input | FileSamples, NDArray[Any]]


class Window(NamedTuple):
    """What one call of ``engine.train`` is given."""

    samples: Input
    labels: NDArray[np.intp]
    order: NDArray[np.intp]
    weights: NDArray[np.float64] | None


@dataclass(frozen=True)
class TrainingData:
    """What to train on; validation data are kept apart.

    Attributes
    ----------
    samples : Input or FileSamples
        In memory: scaled, all of them. In a file: those to train on only, not yet scaled.
    labels : ndarray of int, shape (n_samples of ``samples``,)
        Class indices; in the smallest dtype where samples are in a file.
    classes : ndarray, shape (n_outputs,)
    rows : ndarray of intp, or None
        In memory: which samples to train on.
    weights : ndarray of float64, or None
        Like ``labels``.
    scaling : Scaling
    dtype : dtype
        Of the network's parameters.
    validation : (Input or FileSamples, ndarray of int) or None
        Like ``samples`` and ``labels``.
    """

    samples: Input | FileSamples
    labels: NDArray[Any]
    classes: NDArray[Any]
    rows: NDArray[np.intp] | None
    weights: NDArray[np.float64] | None
    scaling: Scaling
    dtype: np.dtype[np.floating]
    validation: Watched | None

    @property
    def n_samples(self) -> int:
        """How many samples are trained on."""
        return self.samples.n_samples if self.rows is None else len(self.rows)

    def windows(
        self, shuffles: np.random.Generator, batch_size: int
    ) -> Generator[Window, None, None]:
        """Yield the samples of an epoch, shuffled: whole batches, of which only the last is short.

        Samples in memory come at once, and are shuffled among all; ``fastnn.streams`` says how
        those in a file are.
        """
        if not isinstance(self.samples, FileSamples):
            yield Window(self.samples, self.labels, shuffles.permutation(self.rows), self.weights)
            return
        with closing(
            self.samples.inputs(
                self.scaling, self.dtype, batch_size=batch_size, generator=shuffles
            )
        ) as windows:
            for samples, rows in windows:
                labels = self.labels[rows].astype(np.intp)
                weights = None if self.weights is None else self.weights[rows]
                yield Window(samples, labels, shuffles.permutation(len(rows)), weights)
                del samples  # a converted copy, perhaps: not two at a time

    def watched(self) -> Generator[tuple[Input, NDArray[np.intp]], None, None]:
        """Yield the validation data, scaled; in a file, a window at a time."""
        if self.validation is None:
            return
        samples, labels = self.validation
        if not isinstance(samples, FileSamples):
            yield samples, labels
            return
        with closing(samples.inputs(self.scaling, self.dtype)) as windows:
            for part, rows in windows:
                yield part, labels[rows].astype(np.intp)

    def settings(self) -> dict[str, Any]:
        """Return what a model's record says of its data."""
        return {
            "standardize": self.scaling.offset is not None,
            "streamed": isinstance(self.samples, FileSamples),
            "n_samples": self.n_samples,
            "n_validation": 0 if self.validation is None else self.validation[0].n_samples,
        }


def prepare_training(
    network: Network,
    X: Samples,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None,
    classes: ArrayLike | None,
    scale: float | None,
    standardize: bool,
    validation: Validation,
    generator: np.random.Generator,
    dtype: DTypeLike,
    memory: int,
) -> TrainingData:
    """Check all of it, hold out validation data, and learn the scaling from what is left."""
    X = open_samples(X, memory)
    raw = X if isinstance(X, FileSamples) else prepare(X, scale=scale)
    _check_width(raw, network)
    labels, known = encode_labels(y, network.n_outputs, classes, dtype=_label_dtype(raw, network))
    _check_lengths(raw, labels)
    weights = check_sample_weight(sample_weight, raw.n_samples)
    share = _share(validation)
    samples: Input | FileSamples
    rows: NDArray[np.intp] | None = None
    watched: Watched | None = None
    if isinstance(raw, FileSamples):
        samples = raw
        unit = raw.scale_of(scale)
        if share is not None:
            with _about_validation():
                train, held_out = raw.split(share, generator)
            watched = raw.take(held_out), raw.labels_of(held_out, labels)
            samples, labels = raw.take(train), raw.labels_of(train, labels)
            weights = None if weights is None else raw.labels_of(train, weights)
        scaling = samples.standardization(unit) if standardize else Scaling(unit)
    else:
        rows, chosen = _hold_out(labels, share, generator)
        scaling = standardization(raw, rows) if standardize else Scaling(raw.scale)
        samples = scaling.apply(raw, dtype)
        watched = None if chosen is None else (samples.take(chosen), labels[chosen])
    if isinstance(validation, tuple):
        watched = _given(validation, network, known, scaling, dtype, memory)
    return TrainingData(
        samples, labels, known, rows, weights, scaling, float_dtype(dtype), watched
    )
