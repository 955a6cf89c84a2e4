"""Class labels as callers have them (numbers, strings), and the class indices that engines take."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.errors import InputError
from fastnn.inputs import as_array
from fastnn.records import is_number

BLOCK = 2**18  # labels that are looked at together
MOST_CODES = 2**16  # integers below it are counted rather than sorted


def as_labels(y: ArrayLike) -> NDArray[Any]:
    """Return labels as a flat array of integers, booleans or strings."""
    labels = as_array("y", y)
    if labels.ndim != 1:
        hint = "; one-hot labels are y.argmax(axis=1)" if labels.ndim == 2 else ""
        raise InputError(
            f"y has shape {labels.shape}; expected (n_samples,), one label per sample{hint}"
        )
    if not labels.size:
        raise InputError("y is empty; expected one label per sample")
    if labels.dtype.kind in "OT":
        labels = _one_kind(labels.tolist())
    elif labels.dtype.kind == "U" and isinstance(y, list | tuple):
        labels = _one_kind(y)  # NumPy has turned numbers, NaN among them, into text
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.floor(labels)) & (np.abs(labels) < 2**53)
        if not whole.all():
            first = int(np.argmin(whole))
            raise InputError(
                f"y[{first}] is {labels[first]}; expected class labels (integers or strings): "
                "fastnn classifies, it does not do regression yet"
            )
        return labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        raise InputError(f"y has dtype {labels.dtype}; expected integers or strings")
    return labels


def _one_kind(labels: Sequence[Any]) -> NDArray[Any]:
    """Return Python objects as an array of strings or of numbers."""
    if all(isinstance(label, str) for label in labels):
        return np.asarray(labels)
    if all(is_number(label) or isinstance(label, bool) for label in labels):
        return as_array("y", labels)
    odd = next(label for label in labels if not isinstance(label, str))
    raise InputError(
        f"y mixes labels of different kinds, such as {odd!r}; expected all integers or all strings"
    )


def distinct(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the different labels, sorted: ``np.unique`` without sorting millions of small ones."""
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= MOST_CODES:
        return np.unique(labels)
    occurs = np.zeros(int(labels.max()) + 1, np.bool_)
    for start in range(0, len(labels), BLOCK):  # an index array takes 8 bytes a label
        occurs[labels[start : start + BLOCK]] = True
    return np.flatnonzero(occurs).astype(labels.dtype)


def compact(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels in the smallest dtype that holds them: integers often come 8 bytes each."""
    if labels.dtype.kind not in "iu":
        return labels
    low, high = np.min_scalar_type(labels.min()), np.min_scalar_type(labels.max())
    return labels.astype(np.promote_types(low, high), copy=False)


def encode_labels(
    y: ArrayLike,
    n_classes: int,
    classes: ArrayLike | None = None,
    *,
    dtype: DTypeLike = np.intp,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return class indices and the label of each class.

    Parameters
    ----------
    y : array_like, shape (n_samples,)
        Integers, booleans or strings.
    n_classes : int
        Number of outputs of the network.
    classes : array_like, shape (n_classes,), optional
        The labels in the order of the outputs. Without it, integers in [0, n_classes) are indices
        already, and other labels are numbered in sorted order; then all must occur.
    dtype : dtype, default=numpy.intp
        Of the indices; ``index_dtype`` gives the smallest.

    Returns
    -------
    indices : ndarray of dtype, shape (n_samples,)
    classes : ndarray, shape (n_classes,)

    Raises
    ------
    InputError
        If the labels do not fit the classes.
    """
    labels = as_labels(y)
    if classes is None:
        is_index = labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < n_classes
        known = np.arange(n_classes) if is_index else distinct(labels)
        if len(known) != n_classes:
            raise InputError(
                f"y has {len(known)} different labels; the network has {n_classes} outputs"
            )
    else:
        known = as_labels(classes)
        if len(known) != n_classes or len(np.unique(known)) != n_classes:
            raise InputError(f"classes must hold {n_classes} different labels, one per output")
    # the same classes are often numbers in one file and text in another
    as_text = (labels.dtype.kind == "U") != (known.dtype.kind == "U")
    compared = known.astype(str) if as_text else known
    sorter = np.argsort(compared, kind="stable")
    indices = np.empty(len(labels), dtype)
    for start in range(0, len(labels), BLOCK):  # what is made on the way takes 8 bytes a label
        block = labels[start : start + BLOCK]
        block = block.astype(str) if as_text else block
        position = np.searchsorted(compared, block, sorter=sorter)
        found = sorter[np.minimum(position, n_classes - 1)]
        unknown = compared[found] != block
        if unknown.any():
            first = int(np.argmax(unknown))
            raise InputError(
                f"y[{start + first}] is {block[first].item()!r}, which is not one of the "
                f"{n_classes} classes {_shortened(known)}"
            )
        indices[start : start + BLOCK] = found
    return indices, known


def index_dtype(n_classes: int) -> np.dtype[Any]:
    """Return the smallest dtype that holds class indices."""
    return np.min_scalar_type(n_classes - 1)


def _shortened(classes: NDArray[Any], most: int = 10) -> str:
    shown = [str(label) for label in classes[:most].tolist()]
    return ", ".join(shown) + (", ..." if len(classes) > most else "")


def split_rows(
    labels: NDArray[Any], fraction: float, generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split row numbers in two, each class in proportion.

    Parameters
    ----------
    labels : ndarray, shape (n_samples,)
    fraction : float
        Share of the second part, in (0, 1).
    generator : numpy.random.Generator

    Returns
    -------
    first, second : ndarray of intp
        Sorted row numbers. A class with a single sample is in the first part.

    Raises
    ------
    InputError
        If the fraction is out of range, or no class has a sample to spare.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the share to hold out is {fraction!r}; expected a number in (0, 1)")
    _, codes = np.unique(labels, return_inverse=True)
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    counts = np.bincount(codes)
    # whole samples of each class, then one more where the rest is largest, up to the share of all
    n_chosen = np.floor(fraction * counts).astype(np.intp)
    rest = fraction * counts - n_chosen
    missing = round(fraction * len(labels)) - int(n_chosen.sum())
    rest[n_chosen >= counts - 1] = -1  # keeps its last sample
    by_rest = np.lexsort((generator.random(len(rest)), -rest))  # equal ones in any order
    n_chosen[by_rest[: max(missing, 0)]] += 1
    n_chosen = np.minimum(n_chosen, counts - 1)
    starts = np.cumsum(counts) - counts
    second = np.sort(
        np.concatenate([by_class[i : i + n] for i, n in zip(starts, n_chosen, strict=True)])
    )
    if not second.size:
        raise InputError(
            f"{len(labels)} samples in {len(counts)} classes are too few to hold out a share of "
            f"{fraction:g}; give more samples or a larger share"
        )
    first = np.setdiff1d(np.arange(len(labels)), second, assume_unique=True)
    return first, second
