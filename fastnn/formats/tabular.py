"""CSV files with a header, and files of one label a line."""

import csv
import io
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastnn.formats.content import fail, read_bytes
from fastnn.formats.table import Table

LABEL_NAMES = ("label", "labels", "class", "target", "y")
ROW_NAMES = ("", "Unnamed: 0")  # what pandas writes above the names of rows, and reads them as
LONGEST_LABEL = 200  # characters
# An array of text gives every label the room of the longest one: bytes that any file's labels may
# take, and bytes per character of the file.
ROOM_OF_ANY = 256 * 2**20
ROOM_PER_CHARACTER = 32


def read_csv(
    path: Path,
    *,
    label_column: str | None = None,
    labelled: bool = True,
    features: Sequence[str] = (),
) -> Table:
    """Read a CSV file with a header line; the label column becomes y, the others X.

    Commas, semicolons and tabs separate; cells may be quoted. If all features are whole numbers,
    X holds integers. A first column without a name holds the names of the rows, as pandas and R
    write them, and is left out. So is, where ``features`` are named, any other column.
    """
    text = _text(path)
    header, delimiter = _header(path, text, labelled)
    _check_quotes(path, text, delimiter)
    wanted = frozenset(features)
    label = None
    if labelled or not wanted or label_column is not None:
        label = _label_position(path, text, header, delimiter, label_column, labelled, wanted)
    if wanted and not labelled:
        label = None
    taken = [
        place
        for place, name in enumerate(header)
        if place != label and (name in wanted if wanted else place > 0 or name not in ROW_NAMES)
    ]
    names = tuple(header[place] for place in taken)
    _check_names(path, names, features)
    codes: dict[str, int] = {}

    def encode(cell: str) -> float:
        return codes.setdefault(cell.strip(), len(codes))

    converters: dict[int | str, Callable[[str], float]] = {
        place: lambda ignored: 0.0 for place in set(range(len(header))).difference(taken)
    }
    if label is not None:
        converters[label] = encode
    cells = _cells(path, text, header, delimiter, converters)
    X = _as_integers(cells[:, taken])
    if label is None:
        return Table(X, None, names)
    for cell in codes:
        if cell.lower() in ("", "nan"):
            row = int(np.argmax(cells[:, label] == codes[cell]))
            fail(path, f"sample {row + 1} has no label" + (f": it is {cell!r}" if cell else ""))
    looks_so = header[label] in codes and all(_is_number(name) for name in names)
    if looks_so and label_column is None:
        fail(path, f"its first line is a sample: {header!r:.60}; expected a header with names")
    labels = _typed_labels(path, list(codes), len(cells), len(text.getvalue()))
    return Table(X, labels[cells[:, label].astype(np.intp)], names)


def _check_names(path: Path, names: tuple[str, ...], wanted: Sequence[str]) -> None:
    """Raise unless the names of features are different, and the wanted ones are there."""
    found = set(names)
    for name in wanted:
        if name not in found:
            fail(path, f"the data have no column {name!r}, which the model needs")
    if not names:
        fail(path, "it has no columns of features")
    if len(found) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        fail(path, f"{names.count(twice)} columns are called {twice!r}; expected different names")


def _text(path: Path) -> io.StringIO:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(path, f"not UTF-8 text ({error.reason} at byte {error.start})")
    if not text.strip():
        fail(path, "the file is empty")
    return io.StringIO(text, newline=None)


def _check_quotes(path: Path, text: io.StringIO, delimiter: str) -> None:
    """Raise where quotes break the rules: after one that nothing closes, NumPy sees one cell."""
    if '"' not in text.getvalue():
        return
    text.seek(0)
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        for _ in rows:
            pass
    except csv.Error as error:
        fail(path, f"not a CSV file: {error} (line {rows.line_num})")


def _after_header(text: io.StringIO, delimiter: str) -> io.StringIO:
    """Go to the line after the header, which may span lines inside quotes."""
    text.seek(0)
    next(_rows(text, delimiter))
    return text


def _rows(text: io.StringIO, delimiter: str) -> Iterator[list[str]]:
    # readline rather than iteration, so that the text can be used further from where this stops
    return csv.reader(iter(text.readline, ""), delimiter=delimiter)


def _delimiter(text: io.StringIO) -> str:
    """Return the separator that cuts the header and the row after it into the most cells."""

    def n_cells(delimiter: str) -> tuple[int, int]:
        text.seek(0)
        rows = (len(row) for row in _rows(text, delimiter) if row)
        try:
            header = next(rows, 0)
            return min(header, next(rows, header)), header
        except csv.Error:  # one huge cell
            return 0, 0

    best = max(",;\t", key=n_cells)
    text.seek(0)
    return best


def _header(path: Path, text: io.StringIO, labelled: bool) -> tuple[list[str], str]:
    delimiter = _delimiter(text)
    try:
        header = [name.strip() for name in next(_rows(text, delimiter))]
    except (csv.Error, StopIteration) as error:
        fail(path, f"not a CSV file ({error})")
    if len(header) < (2 if labelled else 1):
        fail(path, f"not a CSV file with a header: its first line holds {header!r:.60}")
    if all(_is_number(name) for name in header):
        fail(path, "its first line holds numbers; expected a header that names the columns")
    return header, delimiter


def _label_position(
    path: Path,
    text: io.StringIO,
    header: list[str],
    delimiter: str,
    label_column: str | None,
    labelled: bool,
    features: Collection[str],
) -> int | None:
    if label_column is not None:
        if header.count(label_column) != 1:
            fail(path, f"{header.count(label_column)} columns are called {label_column!r}")
        return header.index(label_column)
    others = [place for place, name in enumerate(header) if name and name not in features]
    named = [place for place in others if header[place].lower() in LABEL_NAMES]
    if len(named) == 1:
        return named[0]
    try:
        row = next((row for row in _rows(_after_header(text, delimiter), delimiter) if row), [])
    except csv.Error as error:
        fail(path, f"not a CSV file ({error})")
    if not row:
        fail(path, "it has a header and no samples")
    words = [place for place in others if place < len(row) and not _is_number(row[place])]
    if not named and len(words) == 1 and row[words[0]].strip():
        return words[0]
    if labelled:
        if any(not _is_number(cell) and _is_number(cell.replace(",", ".")) for cell in row):
            fail(path, "it writes numbers with a comma; expected a point, as in 0.5")
        fail(
            path,
            f"it is not clear which column holds the labels: {', '.join(header)[:200]}; call it "
            "'label', or name it with --label-column (label_column=...)",
        )
    return None


def _cells(
    path: Path,
    text: io.StringIO,
    header: list[str],
    delimiter: str,
    converters: dict[int | str, Callable[[str], float]],
) -> NDArray[np.float64]:
    """Return the cells below the header, as many to a row as it has names; all finite."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of no rows: said below
            cells = np.loadtxt(
                _after_header(text, delimiter),
                delimiter=delimiter,
                quotechar='"',
                comments=None,
                ndmin=2,
                converters=converters or None,
            )
    except ValueError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # came while in a converter
            raise error.__cause__ from None
        text.seek(0)
        _explain_csv(path, text, header, delimiter, converters, error)
    if not cells.size:
        fail(path, "it has a header and no samples")
    if cells.shape[1] != len(header):
        fail(path, f"the header names {len(header)} columns; the rows have {cells.shape[1]}")
    if not np.isfinite(cells).all():
        row, column = np.argwhere(~np.isfinite(cells))[0]
        fail(path, f"sample {row + 1}, column {header[column]!r} is {cells[row, column]}")
    return cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_000; NumPy does not, and it may well be a name


def _explain_csv(
    path: Path,
    text: io.StringIO,
    header: list[str],
    delimiter: str,
    set_aside: Collection[object],
    error: ValueError,
) -> NoReturn:
    """Find the cell that NumPy could not read, and say where it is."""
    try:
        for number, row in enumerate(_rows(text, delimiter)):
            if number == 0 or not row:
                continue
            if len(row) != len(header):
                fail(path, f"sample {number} has {len(row)} cells; the header names {len(header)}")
            for place, cell in enumerate(row):
                if place not in set_aside and not _is_number(cell):
                    shown = repr(cell)[:40] if cell.strip() else "empty"
                    fail(
                        path,
                        f"sample {number}, column {header[place]!r} is {shown}; expected a number: "
                        "fill in what is missing, and turn categories into numbers",
                    )
    except csv.Error as csv_error:
        fail(path, f"not a CSV file ({csv_error})")
    fail(path, f"not a CSV file of numbers ({error})")


def _as_integers(X: NDArray[np.float64]) -> NDArray[Any]:
    """Return whole numbers as int32, so that an image's bytes stay integers; else X itself."""
    is_whole = bool(((np.floor(X) == X) & (np.abs(X) < 2**31)).all())
    return X.astype(np.int32) if is_whole else X


def _typed_labels(path: Path, labels: list[str], n_samples: int, n_text: int) -> NDArray[Any]:
    """Return labels as integers if all are, else as text.

    ``n_samples`` of them are to be expected, from a file of ``n_text`` characters.
    """
    longest = max(labels, key=len)
    shown = f"the label {longest[:20]!r}... has {len(longest)} characters"
    if len(longest) > LONGEST_LABEL:
        fail(path, f"{shown}; expected at most {LONGEST_LABEL}")
    if not all(_is_number(label) for label in labels):
        room = np.dtype((np.str_, len(longest))).itemsize * n_samples
        if room > max(ROOM_OF_ANY, ROOM_PER_CHARACTER * n_text):
            fail(path, f"{shown}, far more than the others: all together take {room} bytes")
        return np.asarray(labels)
    numbers = [float(label) for label in labels]
    if all(number.is_integer() and abs(number) < 2**53 for number in numbers):
        return np.asarray([int(number) for number in numbers])
    return np.asarray(numbers)


def read_label_lines(path: Path) -> NDArray[Any]:
    """Read text with one label a line; a file called .csv may have a header."""
    text = _text(path)
    if path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
        labels = _only_column(path, text)
        # A label is seldom alone in its class: what does not come again names the column.
        if labels and not _is_number(labels[0]) and labels[0] not in labels[1:]:
            labels = labels[1:]
    else:
        labels = [line.strip().strip('"') for line in text]
        labels = [label for label in labels if label]
    if not labels:
        fail(path, "it holds no labels")
    return _typed_labels(path, labels, len(labels), len(text.getvalue()))


def _only_column(path: Path, text: io.StringIO) -> list[str]:
    """Return the cells of a CSV file with one column; blank lines are left out."""
    delimiter = _delimiter(text)
    cells = []
    try:
        for number, row in enumerate(_rows(text, delimiter)):
            if len(row) > 1:
                fail(path, f"row {number + 1} has {len(row)} cells; expected one label a line")
            cells += [cell.strip() for cell in row if cell.strip()]
    except csv.Error as error:
        fail(path, f"not a CSV file ({error})")
    return cells
