"""What ``fit`` trains on: samples and labels that fit each other, split and scaled."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.checks import check_features, check_sample_weight
from fastnn.errors import InputError
from fastnn.inputs import Input, prepare
from fastnn.labels import encode_labels, index_dtype, split_rows
from fastnn.network import Network, float_dtype
from fastnn.scaling import Scaling, standardization
from fastnn.streams import FileSamples, Samples, open_samples

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
            rows = np.arange(self.n_samples) if self.rows is None else self.rows
            yield Window(self.samples, self.labels, shuffles.permutation(rows), self.weights)
            return
        with closing(
            self.samples.inputs(
                self.scaling, self.dtype, batch_size=batch_size, generator=shuffles, once=False
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
    labels, known = encode_labels(y, network.n_outputs, classes, dtype=_code(raw, network))
    _check_lengths(raw, labels)
    weights = check_sample_weight(sample_weight, raw.n_samples)
    share = _share(validation)
    if isinstance(raw, FileSamples):
        part = _in_file(raw, labels, weights, share, generator, raw.scale_of(scale), standardize)
    else:
        part = _in_memory(raw, labels, weights, share, generator, dtype, standardize)
    if isinstance(validation, tuple):
        watched = _given(validation, network, known, part.scaling, dtype, memory)
        part = part._replace(validation=watched)
    return TrainingData(classes=known, dtype=float_dtype(dtype), **part._asdict())


class _Part(NamedTuple):
    """What is left to train on, and what was held out; see ``TrainingData``."""

    samples: Input | FileSamples
    labels: NDArray[Any]
    rows: NDArray[np.intp] | None
    weights: NDArray[np.float64] | None
    scaling: Scaling
    validation: Watched | None


def _in_memory(
    raw: Input,
    labels: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
    share: float | None,
    generator: np.random.Generator,
    dtype: DTypeLike,
    standardize: bool,
) -> _Part:
    rows, held_out = np.arange(len(labels)), None
    if share is not None:
        with _about_validation():
            rows, held_out = split_rows(labels, share, generator)
    scaling = standardization(raw, rows) if standardize else Scaling(raw.scale)
    samples = scaling.apply(raw, dtype)
    watched = None if held_out is None else (samples.take(held_out), labels[held_out])
    return _Part(samples, labels, rows, weights, scaling, watched)


def _in_file(
    raw: FileSamples,
    labels: NDArray[Any],
    weights: NDArray[np.float64] | None,
    share: float | None,
    generator: np.random.Generator,
    scale: float,
    standardize: bool,
) -> _Part:
    samples, watched = raw, None
    if share is not None:
        with _about_validation():
            chosen, held_out = raw.split(share, generator)
        watched = raw.take(held_out), raw.labels_of(held_out, labels)
        samples, labels = raw.take(chosen), raw.labels_of(chosen, labels)
        weights = None if weights is None else raw.labels_of(chosen, weights)
    scaling = samples.standardization(scale) if standardize else Scaling(scale)
    return _Part(samples, labels, None, weights, scaling, watched)


def _given(
    validation: tuple[Samples, ArrayLike],
    network: Network,
    classes: NDArray[Any],
    scaling: Scaling,
    dtype: DTypeLike,
    memory: int,
) -> Watched:
    """Return validation data of their own, checked."""
    try:
        X = open_samples(validation[0], memory)
        if isinstance(X, FileSamples):
            X.scale_of(None if scaling.scale == 1.0 else scaling.scale)
        else:
            X = scaling.apply(X, dtype)
        _check_width(X, network)
        y, _ = encode_labels(validation[1], network.n_outputs, classes, dtype=_code(X, network))
        _check_lengths(X, y)
    except InputError as error:
        raise InputError(f"validation data: {error}") from error
    return X, y


def _code(samples: Input | FileSamples, network: Network) -> DTypeLike:
    """Return a dtype for class indices: what engines take, or the smallest for a large file."""
    return index_dtype(network.n_outputs) if isinstance(samples, FileSamples) else np.intp


def _check_width(samples: Input | FileSamples, network: Network) -> None:
    if isinstance(samples, FileSamples):
        samples.check_features(network.n_features)
    else:
        check_features(samples, network.n_features)


def _check_lengths(samples: Input | FileSamples, labels: NDArray[Any]) -> None:
    if len(labels) != samples.n_samples:
        raise InputError(f"y has {len(labels)} labels for {samples.n_samples} samples in X")


def _share(validation: Validation) -> float | None:
    """Return the share of the samples to hold out, if one was asked for."""
    if validation is None or (isinstance(validation, tuple) and len(validation) == 2):
        return None
    if not isinstance(validation, float | int | np.floating):
        raise InputError(
            f"validation is {validation!r:.80}; expected a share such as 0.1, or a tuple (X, y)"
        )
    return float(validation)


@contextmanager
def _about_validation() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(
            f"validation data: {error}; or hold out none: --validation 0 (validation=None)"
        ) from error
