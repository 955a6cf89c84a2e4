"""Data sets by name, and files of one's own, as training and test samples."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.download import Report
from fastnn.errors import InputError, ReadError
from fastnn.formats import Table, read_idx, read_labels, read_npz, read_table, sniff
from fastnn.inputs import is_sparse, prepare_once
from fastnn.labels import as_labels, compact, distinct, encode_labels, split_rows
from fastnn.named_data import NAMES, PARTS, find_folder, in_folder, read_digits
from fastnn.records import generator_from, is_number
from fastnn.streams import FileSamples, check_memory, open_file

# A few values far out in an otherwise empty table are a typing mistake, or an attempt to have a
# network of that width allocated.
WIDTH_OF_ANY = 2**16  # features
WIDTH_PER_VALUE = 64

TEST_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to train on and samples to test with.

    Attributes
    ----------
    name : str
        Its name, or the file's.
    X_train, X_test : ndarray, csr_matrix of SciPy or FileSamples, shape (n_samples, n_features)
        As stored: bytes of an image are uint8, see ``scale``. ``FileSamples``, which ``fit`` and
        models read by windows, if ``load`` was told of a limit and the file is beyond it.
    y_train, y_test : ndarray, shape (n_samples,)
        Integers, booleans or strings.
    classes : ndarray
        The different labels, sorted.
    scale : float or None
        For integers: what one unit is worth, so that inputs lie in 0..1.
    image_shape : tuple of int or None
        (height, width) where a sample is an image.
    feature_names : tuple of str or None
    source : str
        Where it was found.
    """

    name: str
    X_train: Any
    y_train: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]
    classes: NDArray[Any]
    scale: float | None
    image_shape: tuple[int, ...] | None
    feature_names: tuple[str, ...] | None
    source: str

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}: {self.X_train.shape[0]} samples to train on, "
            f"{self.X_test.shape[0]} to test with, {self.X_train.shape[1]} features, "
            f"{len(self.classes)} classes)"
        )


def load(
    data: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    label_column: str | None = None,
    test_fraction: float = TEST_FRACTION,
    seed: int = 0,
    memory: int | None = None,
    report: Report | None = None,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    data : str or path-like
        "digits" (8 x 8 images that come with scikit-learn), "mnist" or "fashion-mnist"; or a path:
        ``.npz`` with X and y (and optionally a test part: X_train, y_train, X_test, y_test),
        ``.npy`` or IDX with ``labels``, CSV, svmlight, or a folder with the four MNIST-like files.
    labels : path-like, optional
        The labels of a file that has none.
    label_column : str, optional
        Of a CSV file.
    test_fraction : float, default=0.2
        Share of the samples held out for testing where the data have no test part; each class in
        proportion. Of a file that is not loaded, blocks of rows.
    seed : int, default=0
        Decides which samples are held out.
    memory : int, optional
        Bytes that the samples of an npy file may take in memory: one with more is not loaded. None
        loads all.
    report : callable, optional
        Told of a download's progress: (file, bytes so far, bytes in all or 0).

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    InputError
        If the data cannot be had, or are not what they should be.
    OSError
        If a file cannot be read.

    Notes
    -----
    "mnist" and "fashion-mnist" are looked for in the folder that the environment variable
    ``FASTNN_DATA`` names (``$FASTNN_DATA/mnist/``), in the user's cache, in Debian's package
    ``dataset-fashion-mnist``, and are then downloaded into the cache.
    """
    name = os.fspath(data)
    if not (is_number(test_fraction) and 0 < test_fraction < 1):
        raise InputError(f"test_fraction is {test_fraction!r}; expected a number in (0, 1)")
    if not name:
        raise InputError(f"the name of the data is empty; expected {_known()}")
    if name in NAMES:
        if labels is not None or label_column is not None:
            raise InputError(f"{name} has labels of its own; leave out the labels")
        if name == "digits":
            return _digits(test_fraction, seed)
        folder = find_folder(name, report)
        return _from_folder(folder, name)
    path = Path(name)
    if not path.exists():
        if path.suffix or os.sep in name:
            raise FileNotFoundError(2, "No such file", name)
        raise InputError(f"there is no data set or file called {name!r}; expected {_known()}")
    if path.is_dir():
        if labels is not None or label_column is not None:
            raise InputError(f"the folder {name} has labels of its own; leave out the labels")
        return _from_folder(path, path.name)
    if sniff(path) == "npz":
        arrays = read_npz(path)
        if "X_train" in arrays:
            if labels is not None or label_column is not None:
                raise InputError(f"{name} has labels of its own; leave out the labels")
            return _with_test_part(arrays, path)
    table = read_samples(path, labels=labels, label_column=label_column, memory=memory)
    if table.y is None:
        raise InputError(f"{name} has no labels; name a file that has, with --labels (labels=...)")
    if isinstance(table.X, FileSamples):
        return _split_file(path.name, table.X, table.y, test_fraction, seed)
    return _split(path.name, table, test_fraction, seed, str(path))


def read_samples(
    path: Path,
    *,
    labels: str | os.PathLike[str] | None = None,
    label_column: str | None = None,
    labelled: bool = True,
    features: Sequence[str] = (),
    memory: int | None = None,
) -> Table:
    """Read all samples of one file, without splitting them.

    Parameters
    ----------
    path : Path
    labels, label_column
        As in ``load``.
    labelled : bool, default=True
        Whether a CSV file must have a label column.
    features : sequence of str
        Columns of a CSV file that are features, whatever they are called.
    memory : int, optional
        As in ``load``.

    Returns
    -------
    table : Table
        X as stored, or FileSamples; y is None if there are no labels.

    Raises
    ------
    InputError
        If the file is not what it should be, or does not have what was asked for.
    OSError
        If it cannot be read.
    """
    kind, large = sniff(path), None
    if kind == "npy" and memory is not None and label_column is None:
        large = open_file(path, check_memory(memory))
    if large is not None:
        table = Table(large)
    elif kind == "npz":
        if label_column is not None:
            raise InputError(f"{path}: only CSV files have a label column; this is npz")
        arrays = read_npz(path)
        X, y = ("X", "y") if "X" in arrays else ("X_test", "y_test")
        if X not in arrays:
            raise InputError(f"{path}: it holds X_train alone; expected X or X_test")
        table = Table(arrays[X], arrays.get(y))
    else:
        table = read_table(
            path,
            label_column=label_column,
            labelled=labelled and labels is None,
            features=features,
        )
    if labels is not None:
        if table.y is not None:
            raise InputError(f"{path} has labels of its own; leave out the labels")
        table = Table(table.X, read_labels(Path(labels)), table.feature_names)
    return table


def _known() -> str:
    return ", ".join(NAMES) + ", or the path of a file"


# --- named data ---------------------------------------------------------------------------------


def _digits(test_fraction: float, seed: int) -> Dataset:
    cells = read_digits()
    X = np.ascontiguousarray(cells[:, :-1]).reshape(-1, 8, 8)
    table = Table(X, cells[:, -1].astype(np.int64))
    return _split("digits", table, test_fraction, seed, "scikit-learn")


def _from_folder(folder: Path, name: str) -> Dataset:
    arrays = {}
    for (file, _), key in zip(PARTS, ("X_train", "y_train", "X_test", "y_test"), strict=True):
        path = in_folder(folder, file)
        if path is None:
            raise InputError(f"the folder {folder} has no {file}; expected the four MNIST files")
        arrays[key] = read_idx(path)
    return _with_test_part(arrays, folder, name)


# --- what a data set must be --------------------------------------------------------------------


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the file's name before what is wrong with its content."""
    try:
        yield
    except ReadError:  # it has the name
        raise
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _with_test_part(arrays: dict[str, NDArray[Any]], path: Path, name: str = "") -> Dataset:
    missing = [key for key in ("X_train", "y_train", "X_test", "y_test") if key not in arrays]
    if missing:
        raise InputError(f"{path}: {missing[0]} is missing")
    X_train, shape = flatten_images(arrays["X_train"], path)
    X_test, _ = flatten_images(arrays["X_test"], path)
    with naming(str(path)):
        y_train, y_test = as_labels(arrays["y_train"]), as_labels(arrays["y_test"])
    for part, X, y in (("train", X_train, y_train), ("test", X_test, y_test)):
        with naming(f"{path} ({part})"):
            _check_fit(X, y)
    if X_train.shape[1] != X_test.shape[1]:
        raise InputError(
            f"{path}: {X_train.shape[1]} features to train on, {X_test.shape[1]} to test with"
        )
    classes = _classes(y_train, path)
    with naming(f"{path} (test)"):  # here, rather than after the training
        encode_labels(y_test, len(classes), classes)
    scale = _byte_scale(X_train)
    return Dataset(
        name or path.name, X_train, y_train, X_test, y_test, classes, scale, shape, None, str(path)
    )


def _split(name: str, table: Table, test_fraction: float, seed: int, source: str) -> Dataset:
    path = Path(source)
    X, shape = flatten_images(table.X, path)
    with naming(source):
        y = as_labels(table.y if table.y is not None else ())
    with naming(source):  # here, where the rows still have the file's numbers
        _check_fit(X, y)
    classes = _classes(y, path)
    with naming(source):
        train, test = split_rows(y, test_fraction, generator_from(seed))
    return Dataset(
        name,
        X[train],
        y[train],
        X[test],
        y[test],
        classes,
        _byte_scale(X[train]),
        shape,
        table.feature_names,
        source,
    )


def _split_file(
    name: str, X: FileSamples, y: NDArray[Any], test_fraction: float, seed: int
) -> Dataset:
    with naming(str(X.path)):
        y = as_labels(y)
        if len(y) != X.n_samples:
            raise InputError(f"{len(y)} labels for {X.n_samples} samples")
    classes, y = _classes(y, X.path), compact(y)
    train, test = X.split(test_fraction, generator_from(seed))
    X_train, X_test = X.take(train), X.take(test)
    return Dataset(
        name,
        X_train,
        X.labels_of(train, y),
        X_test,
        X.labels_of(test, y),
        classes,
        _byte_scale(X_train),
        flatten_images(X, X.path)[1],
        None,
        str(X.path),
    )


def flatten_images(X: Any, path: Path) -> tuple[Any, tuple[int, ...] | None]:
    """Return X as a table, and what shape its samples had.

    Parameters
    ----------
    X : ndarray (n_samples, ...), scipy.sparse.csr_matrix or FileSamples
    path : Path
        Named in errors.

    Returns
    -------
    X : ndarray, scipy.sparse.csr_matrix or FileSamples, shape (n_samples, n_features)
    image_shape : tuple of int or None
        (height, width) if X held images.

    Raises
    ------
    InputError
        If X does not hold samples of numbers.
    """
    if is_sparse(X):
        return X, None
    if isinstance(X, FileSamples):
        return X, _image_shape(X.file_shape[1:])
    if X.ndim < 2:
        raise InputError(f"{path}: X has shape {X.shape}; expected one row per sample")
    if 0 in X.shape:
        raise InputError(f"{path}: X has shape {X.shape}: it holds no samples")
    if X.dtype.kind not in "biuf":
        raise InputError(f"{path}: X has dtype {X.dtype}; expected numbers")
    if X.ndim == 2:
        return X, None
    return X.reshape(len(X), -1), _image_shape(X.shape[1:])


def _image_shape(sample_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    image = tuple(size for size in sample_shape if size > 1)
    return image if len(sample_shape) > 1 and len(image) == 2 else None


def _check_fit(X: Any, y: NDArray[Any]) -> None:
    prepare_once(X)
    if is_sparse(X) and X.shape[1] > max(WIDTH_OF_ANY, WIDTH_PER_VALUE * X.nnz):
        raise InputError(
            f"it names feature {X.shape[1] - 1} and holds no more than {X.nnz} values; expected "
            "indices in proportion"
        )
    if X.shape[0] != len(y):
        raise InputError(f"{len(y)} labels for {X.shape[0]} samples")


def _classes(y: NDArray[Any], path: Path) -> NDArray[Any]:
    classes = distinct(y)
    if len(classes) < 2:
        raise InputError(f"{path}: every label is {classes[0]}; expected at least two classes")
    if len(classes) > 1000 and len(classes) > len(y) // 2:
        raise InputError(
            f"{path}: {len(classes)} different labels in {len(y)} samples; expected classes"
        )
    return classes


def _byte_scale(X: Any) -> float | None:
    """Bytes are taken as the levels of an image: their maximum becomes 1."""
    if is_sparse(X) or X.dtype != np.uint8:
        return None
    highest = X.highest_byte() if isinstance(X, FileSamples) else int(X.max())
    return 1.0 / max(highest, 1)
