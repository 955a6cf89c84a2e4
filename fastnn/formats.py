"""Files of samples, read strictly: IDX, npy, npz, CSV and svmlight, plain or gzip.

A file is not believed. Sizes that a header declares are compared with the bytes that are there
before anything is allocated, what gzip and zip may expand to is bounded, and nothing is unpickled.
Whatever is wrong with a file becomes one ``InputError`` that names it.
"""

import csv
import gzip
import io
import lzma
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import InputError

MOST_EXPANSION = 200  # times its compressed size; handwritten digits expand 5 times
SMALL_EXPANSION = 16 * 2**20  # bytes that any compressed file may expand to
MOST_DIMENSIONS = 8

# What a small svmlight file may claim: more features than it has bytes are a typing mistake, or an
# attempt to have a network of that size allocated.
MOST_FEATURES_OF_SMALL_FILE = 2**20

LABEL_NAMES = ("label", "labels", "class", "target", "y")

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, eq=False)
class Table:
    """What a file holds: samples, and their labels if it has them.

    Attributes
    ----------
    X : ndarray (n_samples, ...) or scipy.sparse.csr_matrix (n_samples, n_features)
    y : ndarray, shape (n_samples,), or None
    feature_names : tuple of str or None
    """

    X: Any
    y: NDArray[Any] | None = None
    feature_names: tuple[str, ...] | None = None


def _fail(path: Path, what: str) -> NoReturn:
    raise InputError(f"{path}: {what}")


# --- which format -------------------------------------------------------------------------------


def sniff(path: Path) -> str:
    """Return "idx", "npy", "npz", "csv" or "svmlight": by the file's name, else by its bytes."""
    name = path.name.lower().removesuffix(".gz")
    for ending, found in {
        ".npy": "npy",
        ".npz": "npz",
        ".csv": "csv",
        ".tsv": "csv",
        ".svm": "svmlight",
        ".svmlight": "svmlight",
        ".libsvm": "svmlight",
    }.items():
        if name.endswith(ending):
            return found
    if re.search(r"idx\d", name):
        return "idx"
    with _open(path) as file:
        try:
            start = file.read(4096)
        except (OSError, EOFError, zlib.error) as error:
            _fail(path, f"damaged gzip data ({error})")
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PK"):
        return "npz"
    if start[:2] == b"\0\0" and len(start) >= 4 and start[2] in IDX_TYPES:
        return "idx"
    if not start:
        _fail(path, "the file is empty")
    if b"\0" in start:
        _fail(path, "not a format that fastnn reads: expected IDX, npy, npz, CSV or svmlight")
    lines = start.decode("utf-8", "replace").splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    return "svmlight" if re.match(r"\S+(\s+qid:\d+)?\s+\d+:\S", first) else "csv"


def read_table(path: Path, *, label_column: str | None = None, labelled: bool = True) -> Table:
    """Read samples from a file of any format but npz.

    Parameters
    ----------
    path : Path
    label_column : str, optional
        Of a CSV file; None takes the column that is called like a label, or the only one that
        does not hold numbers.
    labelled : bool, default=True
        Whether a CSV file must have a label column.
    """
    found = sniff(path)
    if label_column is not None and found != "csv":
        raise InputError(f"{path}: only CSV files have a label column; this is {found}")
    if found == "idx":
        return Table(read_idx(path))
    if found == "npy":
        return Table(read_npy(path))
    if found == "svmlight":
        return read_svmlight(path)
    if found == "csv":
        return read_csv(path, label_column=label_column, labelled=labelled)
    raise InputError(f"{path}: an npz file does not fit here; expected IDX, npy, CSV or svmlight")


# --- bytes --------------------------------------------------------------------------------------


def _open(path: Path) -> IO[bytes]:
    """Open a file; one that starts like gzip is expanded, whatever its name."""
    if path.is_dir():
        _fail(path, "it is a folder; expected a file")
    file = path.open("rb")
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if is_gzip else file


def read_bytes(path: Path, *, most: int | None = None) -> bytearray:
    """Return a file's content, expanded if it is gzip.

    Parameters
    ----------
    path : Path
    most : int, optional
        What the content may expand to, in bytes; None allows what real data can reach.
    """
    with _open(path) as file:
        if most is None:
            compressed = path.stat().st_size
            is_gzip = isinstance(file, gzip.GzipFile)
            most = max(MOST_EXPANSION * compressed, SMALL_EXPANSION) if is_gzip else compressed
        content = bytearray()
        try:
            while chunk := file.read(2**20):
                content += chunk
                if len(content) > most:
                    _fail(path, f"the content is larger than {most} bytes, more than it should be")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            _fail(path, f"damaged or truncated gzip data ({error})")
    return content


# --- IDX ----------------------------------------------------------------------------------------


def read_idx(path: Path) -> NDArray[Any]:
    """Read an array in the IDX format of the MNIST files, plain or gzip."""
    return parse_idx(read_bytes(path), path)


def parse_idx(content: bytearray, path: Path) -> NDArray[Any]:
    """Return the array in the bytes of an IDX file; ``path`` names it in errors."""
    magic = bytes(content[:4])
    if len(magic) < 4 or magic[:2] != b"\0\0":
        _fail(path, f"not an IDX file: it starts with {magic!r}, expected two zero bytes")
    if magic[2] not in IDX_TYPES:
        _fail(path, f"IDX type {magic[2]:#04x} is unknown")
    if not 1 <= magic[3] <= MOST_DIMENSIONS:
        _fail(path, f"it declares {magic[3]} dimensions; expected 1 to {MOST_DIMENSIONS}")
    start = 4 + 4 * magic[3]
    if len(content) < start:
        _fail(path, "truncated within its header")
    shape = struct.unpack(f">{magic[3]}I", content[4:start])
    dtype = np.dtype(IDX_TYPES[magic[2]])
    expected, found = prod(shape) * dtype.itemsize, len(content) - start
    if expected != found:
        _fail(path, f"it declares shape {shape}, {expected} bytes of values; it has {found}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


# --- npy and npz --------------------------------------------------------------------------------


def read_npy(path: Path) -> NDArray[Any]:
    """Read an array from an npy file."""
    with _open(path) as file:
        if isinstance(file, gzip.GzipFile):
            content = read_bytes(path)
            return _parse_npy(io.BytesIO(content), len(content), path, path.name)
        return _parse_npy(file, path.stat().st_size, path, path.name)


def _parse_npy(file: IO[bytes], size: int, path: Path, name: str) -> NDArray[Any]:
    """Read an npy file of ``size`` bytes; the declared shape must fit them exactly."""
    headers: dict[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        if version not in headers:
            _fail(path, f"{name} has npy format version {version}; expected 1.0 or 2.0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers of Python 2, which are read all right
            shape, fortran_order, dtype = headers[version](file)
    except InputError:
        raise
    except Exception as error:  # the parser of a foreign header may raise anything
        _fail(path, f"{name} is not an npy array ({str(error).splitlines()[0]:.100})")
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        _fail(path, f"{name} has dtype {dtype}; expected numbers (or text, for labels)")
    expected, found = prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or len(shape) > MOST_DIMENSIONS or expected != found:
        _fail(path, f"{name} declares shape {shape}, {expected} bytes of values; it has {found}")
    content = bytearray(expected)
    view = memoryview(content)
    while view:
        n_read = file.readinto(view)  # type: ignore[attr-defined]
        if not n_read:
            _fail(path, f"{name} is truncated")
        view = view[n_read:]
    try:
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    except ValueError as error:
        _fail(path, f"{name} declares shape {shape} ({error})")
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays X and y, or X_train, y_train, X_test and y_test, from an npz file.

    Returns
    -------
    arrays : dict of ndarray
        Under the names above; upper and lower case are not told apart in the file.
    """
    wanted = {
        name.lower() + ".npy": name for name in ("X", "y", "X_train", "y_train", "X_test", "y_test")
    }
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist()]
            for entry in archive.infolist():
                name = wanted.get(entry.filename.lower())
                if name is None:
                    continue
                most = max(MOST_EXPANSION * path.stat().st_size, SMALL_EXPANSION)
                if entry.file_size > most:
                    _fail(path, f"{name} expands to {entry.file_size} bytes, more than it should")
                with archive.open(entry) as file:
                    arrays[name] = _parse_npy(file, entry.file_size, path, name)
    except InputError:
        raise
    except FileNotFoundError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
        NotImplementedError, RuntimeError, ValueError, OverflowError,
    ) as error:  # fmt: skip
        _fail(path, f"not a whole npz file ({error})")
    if not {"X", "X_train"} & set(arrays):
        shown = ", ".join(name.removesuffix(".npy") for name in names[:8]) or "nothing"
        _fail(path, f"it holds {shown}; expected X and y, or X_train, y_train, X_test, y_test")
    return arrays


# --- CSV ----------------------------------------------------------------------------------------


def read_csv(path: Path, *, label_column: str | None = None, labelled: bool = True) -> Table:
    """Read a CSV file with a header line; the label column becomes y, the others X.

    Commas, semicolons and tabs separate; cells may be quoted. If all features are whole numbers,
    X holds integers.
    """
    text = _text(path)
    header, delimiter = _header(path, text)
    label = _label_position(path, text, header, delimiter, label_column, labelled)
    codes: dict[str, int] = {}

    def encode(cell: str) -> float:
        return codes.setdefault(cell.strip(), len(codes))

    text.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of no rows: said below
            cells = np.loadtxt(
                _without_header(text),
                delimiter=delimiter,
                quotechar='"',
                comments=None,
                ndmin=2,
                converters=None if label is None else {label: encode},
            )
    except ValueError as error:
        text.seek(0)
        _explain_csv(path, text, header, delimiter, label, error)
    if not cells.size:
        _fail(path, "it has a header and no samples")
    if cells.shape[1] != len(header):
        _fail(path, f"the header names {len(header)} columns; the rows have {cells.shape[1]}")
    if label is None:
        return Table(_as_integers(cells), None, tuple(header))
    if "" in codes:
        row = int(np.argmax(cells[:, label] == codes[""]))
        _fail(path, f"sample {row + 1} has no label")
    y = _typed_labels(list(codes))[cells[:, label].astype(np.intp)]
    X = np.delete(cells, label, axis=1)
    names = tuple(name for place, name in enumerate(header) if place != label)
    return Table(_as_integers(X), y, names)


def _text(path: Path) -> io.StringIO:
    content = read_bytes(path)
    if not content.strip():
        _fail(path, "the file is empty")
    try:
        return io.StringIO(content.decode("utf-8-sig"), newline=None)
    except UnicodeDecodeError as error:
        _fail(path, f"not UTF-8 text ({error.reason} at byte {error.start})")


def _without_header(text: io.StringIO) -> io.StringIO:
    """Skip the header, which may span lines inside quotes."""
    _rows(text, ",").__next__()
    return text


def _rows(text: io.StringIO, delimiter: str) -> Any:
    # readline rather than iteration, so that the text can be used further from where this stops
    return csv.reader(iter(text.readline, ""), delimiter=delimiter)


def _header(path: Path, text: io.StringIO) -> tuple[list[str], str]:
    line = text.readline()
    delimiter = max(",;\t", key=line.count)
    text.seek(0)
    try:
        header = [name.strip() for name in next(_rows(text, delimiter))]
    except (csv.Error, StopIteration) as error:
        _fail(path, f"not a CSV file ({error})")
    if len(header) < 2:
        _fail(path, f"not a CSV file with a header: its first line is {line.strip()!r:.60}")
    if all(_is_number(name) for name in header):
        _fail(path, "its first line holds numbers; expected a header that names the columns")
    return header, delimiter


def _label_position(
    path: Path,
    text: io.StringIO,
    header: list[str],
    delimiter: str,
    label_column: str | None,
    labelled: bool,
) -> int | None:
    if label_column is not None:
        if header.count(label_column) != 1:
            _fail(path, f"{header.count(label_column)} columns are called {label_column!r}")
        return header.index(label_column)
    named = [place for place, name in enumerate(header) if name.lower() in LABEL_NAMES]
    if len(named) == 1:
        return named[0]
    try:
        row = next(_rows(text, delimiter), [])
    except csv.Error as error:
        _fail(path, f"not a CSV file ({error})")
    words = [place for place, cell in enumerate(row[: len(header)]) if not _is_number(cell)]
    if not named and len(words) == 1 and row[words[0]].strip():
        return words[0]
    if not labelled:
        return None
    _fail(
        path,
        f"it is not clear which column holds the labels: {', '.join(header)[:200]}; call it "
        "'label', or name it with --label-column (label_column=...)",
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _explain_csv(
    path: Path,
    text: io.StringIO,
    header: list[str],
    delimiter: str,
    label: int | None,
    error: ValueError,
) -> NoReturn:
    """Find the cell that NumPy could not read, and say where it is."""
    try:
        for number, row in enumerate(_rows(text, delimiter)):
            if number == 0 or not row:
                continue
            if len(row) != len(header):
                _fail(path, f"sample {number} has {len(row)} cells; the header names {len(header)}")
            for place, cell in enumerate(row):
                if place != label and not _is_number(cell):
                    shown = repr(cell)[:40] if cell.strip() else "empty"
                    _fail(
                        path,
                        f"sample {number}, column {header[place]!r} is {shown}; expected a number: "
                        "fill in what is missing, and turn categories into numbers",
                    )
    except csv.Error as csv_error:
        _fail(path, f"not a CSV file ({csv_error})")
    _fail(path, f"not a CSV file of numbers ({error})")


def _as_integers(X: NDArray[np.float64]) -> NDArray[Any]:
    """Return whole numbers as int32, so that an image's bytes stay integers; else X itself."""
    is_whole = bool(((np.floor(X) == X) & (np.abs(X) < 2**31)).all())
    return X.astype(np.int32) if is_whole else X


def _typed_labels(labels: list[str]) -> NDArray[Any]:
    """Return labels as integers if all are, else as text."""
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return np.asarray(labels)
    if all(number.is_integer() and abs(number) < 2**53 for number in numbers):
        return np.asarray([int(number) for number in numbers])
    return np.asarray(numbers)


# --- svmlight -----------------------------------------------------------------------------------


def read_svmlight(path: Path) -> Table:
    """Read a file of ``label index:value ...`` lines into CSR; indices from 0 or 1."""
    from sklearn.datasets import load_svmlight_file

    content = read_bytes(path)
    try:
        X, y = load_svmlight_file(io.BytesIO(content))
    except (ValueError, OverflowError, TypeError, IndexError) as error:
        _fail(path, f"not an svmlight file ({error})")
    if not X.shape[0] or not X.shape[1]:
        _fail(path, "it holds no samples")
    if X.shape[1] > max(MOST_FEATURES_OF_SMALL_FILE, len(content)):
        _fail(path, f"it names feature {X.shape[1] - 1}, in a file of {len(content)} bytes")
    return Table(X, y)


def read_labels(path: Path) -> NDArray[Any]:
    """Read labels from IDX, npy, or text with one label a line (a header is allowed in .csv)."""
    found = sniff(path)
    if found == "idx":
        labels = read_idx(path)
    elif found == "npy":
        labels = read_npy(path)
    elif found == "csv":
        lines = [line.strip().strip('"') for line in _text(path).getvalue().splitlines()]
        if path.name.lower().removesuffix(".gz").endswith(".csv") and not _is_number(lines[0]):
            lines = lines[1:]
        lines = [line for line in lines if line]
        if not lines:
            _fail(path, "it holds no labels")
        labels = _typed_labels(lines)
    else:
        _fail(path, f"labels in {found} format are not read; expected IDX, npy or text")
    if labels.ndim != 1:
        _fail(path, f"it has shape {labels.shape}; expected one label per sample")
    return labels
