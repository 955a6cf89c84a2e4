"""Files of samples, read strictly: IDX, npy, npz, CSV and svmlight, plain or gzip.

A file is not believed. Sizes that a header declares are compared with the bytes that are there
before anything is allocated, what gzip and zip may expand to is bounded, and nothing is unpickled.
Whatever is wrong with a file becomes one ``InputError`` that names it.
"""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastnn.errors import InputError
from fastnn.formats import idx
from fastnn.formats.content import fail, open_bytes
from fastnn.formats.idx import read_idx
from fastnn.formats.npy import NpyHeader, read_npy, read_npy_header, read_npz
from fastnn.formats.svmlight import read_svmlight
from fastnn.formats.table import Table
from fastnn.formats.tabular import read_csv, read_label_lines

__all__ = [
    "NpyHeader", "Table", "read_idx", "read_labels", "read_npy", "read_npy_header", "read_npz",
    "read_table", "sniff",
]  # fmt: skip


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
    if re.search(r"idx\d-ubyte$", name):
        return "idx"
    with open_bytes(path) as file:
        try:
            start = file.read(4096)
        except (OSError, EOFError, zlib.error) as error:
            fail(path, f"damaged gzip data ({error})")
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PK"):
        return "npz"
    if start[:2] == b"\0\0" and len(start) >= 4 and start[2] in idx.TYPES:
        return "idx"
    if not start:
        fail(path, "the file is empty")
    if b"\0" in start:
        fail(path, "not a format that fastnn reads: expected IDX, npy, npz, CSV or svmlight")
    lines = start.decode("utf-8", "replace").splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    return "svmlight" if re.match(r"\S+(\s+qid:\d+)?\s+\d+:\S", first) else "csv"


def read_table(
    path: Path,
    *,
    label_column: str | None = None,
    labelled: bool = True,
    features: Sequence[str] = (),
) -> Table:
    """Read samples from a file of any format but npz.

    Parameters
    ----------
    path : Path
    label_column : str, optional
        Of a CSV file; None takes the column that is called like a label, or the only one that
        does not hold numbers.
    labelled : bool, default=True
        Whether a CSV file must have a label column.
    features : sequence of str
        Columns of a CSV file that are features, whatever they are called.
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
        return read_csv(path, label_column=label_column, labelled=labelled, features=features)
    raise InputError(f"{path}: an npz file does not fit here; expected IDX, npy, CSV or svmlight")


def read_labels(path: Path) -> NDArray[Any]:
    """Read labels from IDX, npy, or text with one label a line (a header is allowed in .csv)."""
    found = sniff(path)
    if found == "idx":
        labels = read_idx(path)
    elif found == "npy":
        labels = read_npy(path)
    elif found == "csv":
        labels = read_label_lines(path)
    else:
        fail(path, f"labels in {found} format are not read; expected IDX, npy or text")
    if labels.ndim != 1:
        fail(path, f"it has shape {labels.shape}; expected one label per sample")
    return labels
