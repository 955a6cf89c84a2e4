"""The readers of data files: what others write is read back, and what is wrong is refused."""

import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from files import IDX_TYPES, idx_bytes, lies, npy_bytes, npz_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.datasets import dump_svmlight_file

from fastnn import InputError
from fastnn.formats import read_labels, read_npz, read_table, sniff

# --- what others write --------------------------------------------------------------------------

FINITE = {"allow_nan": False, "allow_infinity": False}
SHAPES = npst.array_shapes(min_dims=1, max_dims=4, max_side=5)
reproducibly = settings(derandomize=True, deadline=None, max_examples=25)


def put(folder, name, content):
    path = folder / name
    path.unlink(missing_ok=True)  # many times faster than to overwrite it
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_same(actual, expected):
    """Compare values to the bit, NaN included; ``actual`` must be in native byte order."""
    expected = np.asarray(expected)
    assert actual.dtype == expected.dtype.newbyteorder("=")
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.astype(actual.dtype).tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@pytest.mark.parametrize("name", ["plain.idx3-ubyte", "gzip.idx3-ubyte.gz", "no-ending"])
@pytest.mark.parametrize("dtype", IDX_TYPES)
@given(st.data())
@reproducibly
def test_idx(folder, dtype, name, data):
    array = data.draw(npst.arrays(dtype, SHAPES, elements={"allow_nan": False}))
    content = idx_bytes(array)
    path = put(folder, name, gzip.compress(content) if name.endswith(".gz") else content)
    assert_same(read_table(path).X, array)


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "<i2", ">i4", "<u8", "<f2", ">f4", "<f8", "<U3", ">U3"]
)
@given(st.data())
@reproducibly
def test_npy(folder, dtype, data):
    text = {"alphabet": st.characters(codec="utf-8")} if "U" in dtype else None
    array = data.draw(npst.arrays(dtype, SHAPES, elements=text))
    for name, content in (("a.npy", array), ("fortran.npy", np.asfortranarray(array))):
        assert_same(read_table(put(folder, name, npy_bytes(content))).X, array)
    assert_same(read_table(put(folder, "a.npy.gz", gzip.compress(npy_bytes(array)))).X, array)


def test_npy_of_version_2(folder):
    path = folder / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.eye(3), version=(2, 0))
    assert_same(read_table(path).X, np.eye(3))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", ["Xy", ["X_train", "y_train", "X_test", "y_test"], ["x", "Y"]])
def test_npz(folder, save, names):
    generator = np.random.default_rng(1)
    arrays = {name: generator.normal(size=(4, 3, 2)) for name in names}
    path = put(folder, "a.npz", npz_bytes(save, **arrays, other=np.arange(3)))
    found = read_npz(path)
    assert [name.lower() for name in found] == [name.lower() for name in names]
    for actual, expected in zip(found.values(), arrays.values(), strict=True):
        assert_same(actual, expected)


@given(
    X=npst.arrays("f8", st.tuples(st.integers(1, 4), st.integers(1, 3)), elements=FINITE),
    separator=st.sampled_from(",;\t"),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    names=st.lists(
        st.text(st.characters(codec="utf-8", categories=["L", "P"]), min_size=1),
        min_size=3,
        max_size=3,
    ),
    compressed=st.booleans(),
)
@reproducibly
def test_csv_of_the_csv_module(folder, X, separator, line_end, encoding, names, compressed):
    names = [f"{name} {place}" for place, name in enumerate(names[: X.shape[1]])]
    labels = [f"class, {row % 2}" for row in range(len(X))]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(["label", *names])
    writer.writerows(
        [label, *map(repr, row)] for label, row in zip(labels, X.tolist(), strict=True)
    )
    content = file.getvalue().encode(encoding)
    path = put(folder, "a.csv", gzip.compress(content) if compressed else content)
    table = read_table(path)
    np.testing.assert_array_equal(table.X, X)
    assert table.y.tolist() == labels
    assert table.feature_names == tuple(names)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("numbers", [int, float])
def test_csv_of_pandas(folder, separator, numbers):
    frame = pd.DataFrame(
        {
            "wide, in cm": np.arange(6).astype(numbers) / (1 if numbers is int else 4),
            'the "b"\nof it': np.arange(6) - 3,
            "species": ["cat", "dog", "a, b", 'so "called"', "cat", "é; ü"],
        }
    )
    path = folder / "a.csv"
    frame.to_csv(path, sep=separator, index=False)
    table = read_table(path)
    np.testing.assert_array_equal(table.X, frame[frame.columns[:2]].to_numpy())
    assert table.X.dtype == (np.int32 if numbers is int else np.float64)
    assert table.y.tolist() == frame["species"].tolist()
    assert table.feature_names == tuple(frame.columns[:2])


COLUMNS = {
    "called like a label": ("Class,b\n0,1\n2,3\n", [[1], [3]], [0, 2], ["b"]),
    "the words": ("a,b\n\n1,x\n2,y\n", [[1], [2]], ["x", "y"], ["a"]),
    "a name before words": ("y,b\n0,1.5\n1,2\n", [[1.5], [2]], [0, 1], ["b"]),
    "whole floats are integers": ("label,b\n1.0,3.0\n2e0,-4\n", [[3], [-4]], [1, 2], ["b"]),
    "beyond int32": ("label,b\n1,2147483648\n2,0\n", [[2.0**31], [0.0]], [1, 2], ["b"]),
    "names with underscores": ("label,b\n1_0,1\n10,1\n", [[1], [1]], ["1_0", "10"], ["b"]),
    "a number as the label's name": (
        "a,b,label\n1,2,0\n3,4,label\n",
        [[1, 2], [3, 4]],
        ["0", "label"],
        ["a", "b"],
    ),
    "names of rows": (",b,label\n7,1,2\n8,3,4\n", [[1], [3]], [2, 4], ["b"]),
    "names of rows read back": ("Unnamed: 0,b,label\nr7,1,2\nr8,3,4\n", [[1], [3]], [2, 4], ["b"]),
    "quoted quotes": ('b,label\n1,"a ""b"""\n2,5"\n', [[1], [2]], ['a "b"', '5"'], ["b"]),
    "words as names of rows": (
        ',"b","c"\nMazda,1,x\n"Fiat, 128",3,y\n',
        [[1], [3]],
        ["x", "y"],
        ["b"],
    ),
    "numbers and words": ("label,b\n1,1\nx,1\n", [[1], [1]], ["1", "x"], ["b"]),
    "spaces, blank lines": (" label , b\n\n 1 , 2 \n\n3,4", [[2], [4]], [1, 3], ["b"]),
    "names with commas": ('"a, b, c";label\n1;2\n', [[1]], [2], ["a, b, c"]),
    "unquoted commas": ("x, cm;y, cm;class\n1;2;3\n", [[1, 2]], [3], ["x, cm", "y, cm"]),
    "lines in names": ('label;"b\nb"\n1;2\n', [[2]], [1], ["b\nb"]),
    "a wide header": (f"{'x' * 99_000};{'z' * 99_000};y\n1;2;3", [[1, 2]], [3], None),
}


@pytest.mark.parametrize(("text", "X", "y", "names"), COLUMNS.values(), ids=COLUMNS)
def test_csv_columns(folder, text, X, y, names):
    table = read_table(put(folder, "a.csv", text))
    np.testing.assert_array_equal(table.X, X)
    assert table.X.dtype == (np.int32 if np.asarray(X).dtype.kind == "i" else np.float64)
    assert table.y.tolist() == y
    assert names is None or table.feature_names == tuple(names)


def test_csv_with_a_named_label_column(folder):
    path = put(folder, "a.csv", "label,b,c\n1,2,3\n4,5,6\n")
    table = read_table(path, label_column="c")
    assert table.feature_names == ("label", "b")
    assert table.y.tolist() == [3, 6]
    with pytest.raises(InputError, match=r"a\.csv: 0 columns are called 'd'"):
        read_table(path, label_column="d")


def test_csv_columns_that_are_known_as_features(folder):
    path = put(folder, "a.csv", "x,y,kind\n1,2,a\n3,4,b\n")
    table = read_table(path, features=("x", "y"))
    assert table.feature_names == ("x", "y")
    assert table.y.tolist() == ["a", "b"]


def test_csv_for_a_model_that_knows_its_features(folder):
    """Other columns may hold anything, and labels are not looked at."""
    path = put(folder, "a.csv", "id,y,when,x,x2,label\nr0,1,,2,9,\nr1,3,monday,4,9,\n")
    table = read_table(path, features=("x", "y"), labelled=False)
    assert (table.feature_names, table.y) == (("y", "x"), None)
    assert table.select(("x", "y")).X.tolist() == [[2, 1], [4, 3]]
    with pytest.raises(InputError, match=r"a\.csv: sample 1 has no label"):
        read_table(path, features=("x", "y"))
    with pytest.raises(InputError, match="no column 'z', which the model needs"):
        read_table(path, features=("x", "z"), labelled=False)


def test_csv_without_labels(folder):
    for text in ("a,b\n1,2\n3,4\n", "a\n1\n3\n"):
        table = read_table(put(folder, "a.csv", text), labelled=False)
        assert table.y is None
        assert table.X[:, 0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\ufeff\n ", "the file is empty"),
        ("a,b,label\n", "it has a header and no samples"),
        ("1,2,3\n4,5,6\n", "its first line holds numbers; expected a header"),
        ("a,b\n1,2\n", "not clear which column holds the labels: a, b"),
        ("a,b\n", "it has a header and no samples"),
        ("a;b;c\n0,5;1,5;x\n", "it writes numbers with a comma; expected a point"),
        ("5.1,0.2,oak\n5.0,0.1,elm\n5.1,0.3,oak\n", "its first line is a sample"),
        ("a,a,label\n1,2,3\n", "2 columns are called 'a'; expected different names"),
        ("a,label\n1,x\n1,NaN\n", "sample 2 has no label: it is 'NaN'"),
        ('a,label\n1,x\n2,"y\n3,x\n', "not a CSV file: unexpected end of data"),
        ('a;label\n1;"x"\n2;"y"z\n', "not a CSV file: ';' expected after '\"'"),
        ("a,label\n" + "1,x\n" * 400_000 + f"1,{'y' * 199}\n", "far more than the others"),
        ("a,b,c\n1,x,y\n", "not clear which column"),
        ("y,label,c\n1,2,3\n", "not clear which column"),
        ("a,label\n1,2\n1,\n", "sample 2 has no label"),
        ("a,label\n1,2\n,2\n", "sample 2, column 'a' is empty; expected a number"),
        ("a,label\n1,2\nx,2\n", "sample 2, column 'a' is 'x'; expected a number"),
        ("a,label\n1,2\nnan,2\n", "sample 2, column 'a' is nan"),
        ("label,a\n1,-inf\n2,2\n", "sample 1, column 'a' is -inf"),
        (",label\n1,2\n2,3\n", "it has no columns of features"),
        ("a,label\n1_0,2\n", "sample 1, column 'a' is '1_0'; expected a number"),
        ("a,label\n1,2\n1,2,3\n", "sample 2 has 3 cells; the header names 2"),
        ("a,label\n1,2\n1\n", "sample 2 has 1 cells; the header names 2"),
        ("a,label\n1,2,3\n1,2,3\n", "the header names 2 columns; the rows have 3"),
    ],
)
def test_csv_that_is_wrong(folder, text, message):
    with pytest.raises(InputError) as caught:
        read_table(put(folder, "a.csv", text))
    assert str(caught.value).startswith(f"{folder / 'a.csv'}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("zero_based", [True, False])
@pytest.mark.parametrize("name", ["a.svm", "a.libsvm", "a.svmlight.gz", "no-ending"])
def test_svmlight(folder, zero_based, name):
    generator = np.random.default_rng(2)
    X = generator.normal(size=(7, 5)).round(3) * (generator.random((7, 5)) < 0.5)
    X[0, 0] = X[-1, -1] = 1.0
    y = np.array([1, -1, 1, 2, 2, -1, 1])
    file = io.BytesIO()
    dump_svmlight_file(X, y, file, zero_based=zero_based, comment="made\nhere")
    content = file.getvalue()
    table = read_table(put(folder, name, gzip.compress(content) if "gz" in name else content))
    # an index is a column: counted from 1, they leave the first one empty
    expected = X if zero_based else np.column_stack([np.zeros(7), X])
    np.testing.assert_array_equal(table.X.toarray(), expected)
    assert table.y.tolist() == y.tolist()
    assert table.widen(9).X.shape == (7, 9)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("y.npy", npy_bytes(np.array([3, 1], dtype=">i2")), [3, 1]),
        ("y-idx1-ubyte", idx_bytes(np.array([3, 1], dtype=np.uint8)), [3, 1]),
        ("y", idx_bytes(np.array([3, 1], dtype=np.uint8)), [3, 1]),
        ("y.txt", "3\n1\n\n", [3, 1]),
        ("y.txt", '\ufeff"a, b"\r\nc\x85\u2028d\r\n', ["a, b", "c\x85\u2028d"]),
        ("y.txt", "label\na\na\n", ["label", "a", "a"]),
        ("y.csv", "label\n3\n1\n", [3, 1]),
        ("y.csv", "3\n1\n", [3, 1]),
        ("y.csv", 'species\n"a, ""b"""\nc\nc\n', ['a, "b"', "c", "c"]),
        ("y.csv", "cat\ndog\ncat\n", ["cat", "dog", "cat"]),
        ("y.csv.gz", gzip.compress(b"label\n3\n1\n"), [3, 1]),
    ],
)
def test_labels(folder, name, content, expected):
    assert read_labels(put(folder, name, content)).tolist() == expected


def test_labels_in_two_dimensions_are_refused(folder):
    path = put(folder, "y.npy", npy_bytes(np.zeros((3, 1))))
    with pytest.raises(InputError, match=r"y\.npy: it has shape \(3, 1\); expected one label per"):
        read_labels(path)


def test_a_file_is_closed_after_reading(folder):
    path = put(folder, "a.csv.gz", gzip.compress(b"a,label\n1,2\n"))
    read_table(path)  # an open file that is collected warns, and warnings are errors
    sniff(put(folder, "no-ending", gzip.compress(b"a,label\n1,2\n")))


def test_a_name_decides_before_the_bytes(folder):
    for name, message in (("x-idx1-ubyte", "not an IDX file"), ("x.npz", "not a whole npz file")):
        with pytest.raises(InputError, match=message):
            read(put(folder, name, "label,b\n1,2\n"))


def test_a_folder_is_no_file(folder):
    for reader in (read_table, read_labels):
        with pytest.raises(InputError, match="it is a folder; expected a file"):
            reader(folder)


def test_a_device_is_no_file():
    with pytest.raises(InputError, match="it is a pipe or a device; expected a file"):
        read_table(Path(os.devnull))


@pytest.mark.parametrize(
    ("reader", "name"), [(read_table, "none.csv"), (read_npz, "none.npz"), (read_labels, "none")]
)
def test_what_is_not_there(folder, reader, name):
    with pytest.raises(FileNotFoundError, match=name):
        reader(folder / name)


# --- mutations ----------------------------------------------------------------------------------

ARRAYS = {"X": np.arange(12.0).reshape(4, 3) - 5, "y": np.array([0, 1, 1, 0])}
CSV = 'a,"b ""2""",label\n1.5,-2,cat\n3,"4e1",dog\n\n5,6,cat\n'
SVMLIGHT = "# made here\n1 0:1.5 2:-2e3\n-1 qid:1 1:3 # that was 3\n1 4:1\n"
VALID = {
    "a.idx2": idx_bytes(np.arange(12, dtype=np.int16).reshape(4, 3)),
    "a.npy": npy_bytes(ARRAYS["X"]),
    "text.npy": npy_bytes(np.array(["cat", "dog"])),
    "a.npz": npz_bytes(**ARRAYS),
    "compressed.npz": npz_bytes(np.savez_compressed, **ARRAYS),
    "a.idx1.gz": gzip.compress(idx_bytes(np.arange(40, dtype=np.uint8))),
    "a.csv": CSV.encode(),
    "a.csv.gz": gzip.compress(CSV.encode()),
    "a.svm": SVMLIGHT.encode(),
    "y.labels.csv": b"label\n1\n2\n1\n",
    "y.labels": b"cat\ndog\ncat\n",
}
CHECKED_SUMS = [name for name in VALID if name.endswith((".npz", ".gz"))]


def read(path):
    """Return everything a file holds, as one list."""
    if "labels" in path.name:
        return [read_labels(path)]
    if sniff(path) == "npz":
        return [array for _, array in sorted(read_npz(path).items())]
    table = read_table(path)
    X = table.X if isinstance(table.X, np.ndarray) else table.X.toarray()
    return [X] if table.y is None else [X, table.y]


def read_or_refuse(folder, name, content):
    """Return what a damaged file holds, or None if it is refused in the way it must be."""
    path = put(folder, name, content)
    try:
        return read(path)
    except InputError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return None


def check(folder, name, content):
    """Check that a damaged file is refused, or read as what it now says."""
    found = read_or_refuse(folder, name, content)
    if found is None:
        return
    if name in CHECKED_SUMS:
        original = read(put(folder, name, VALID[name]))
        # fewer where the damage renamed y
        for actual, expected in zip(found, original[: len(found)], strict=True):
            assert_same(actual, expected)
    elif name.endswith(".npy"):
        assert_same(found[0], np.load(io.BytesIO(content)))
    elif name.endswith(".idx2"):
        assert idx_bytes(found[0]) == content
    elif len(found) == 2:
        assert found[0].shape[0] == found[1].shape[0] > 0
        assert found[0].dtype in (np.int32, np.float64)


@pytest.mark.parametrize("name", VALID)
def test_every_truncation(folder, name):
    for size in range(len(VALID[name])):
        content = VALID[name][:size]
        if name in CHECKED_SUMS or name.endswith((".npy", ".idx2")):
            assert read_or_refuse(folder, name, content) is None, size
        check(folder, name, content)


@pytest.mark.parametrize("name", VALID)
def test_every_changed_byte(folder, name):
    valid = VALID[name]
    assert read(put(folder, name, valid))
    for place in range(len(valid)):
        likely = {valid[place] ^ 1 << bit for bit in (0, 1, 3, 5, 7)} | {0x00}
        for value in range(256) if place < 12 else likely:
            check(folder, name, valid[:place] + bytes([value]) + valid[place + 1 :])


@pytest.mark.parametrize("name", VALID)
def test_random_damage(folder, name):
    chance = random.Random(name)
    for trial in range(400):
        content = bytearray(VALID[name])
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(content) + 1)
            end = start + chance.choice([0, 1, 1, chance.randint(2, 20)])
            new = chance.choice([b"", chance.randbytes(1), chance.randbytes(8), content[start:end]])
            content[start:end] = new * chance.choice([1, 1, 2, 30])
        # without an ending the bytes decide what it is
        check(folder, name if trial % 2 else "damaged", bytes(content))


# --- lies ---------------------------------------------------------------------------------------

GUARDED = """
import contextlib, json, resource, sys, warnings
from pathlib import Path
import sklearn.datasets
from fastnn.formats import read_labels, read_npz, read_table

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 1200 * 2**20,) * 2)
warnings.simplefilter("error")
for path in map(Path, sys.argv[1:]):
    labels = "labels" in path.name
    reader = read_labels if labels else read_npz if path.suffix == ".npz" else read_table
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = peak()
    try:
        outcome = "read", repr(reader(path))[:100]
    except BaseException as error:
        outcome = type(error).__name__, str(error)
    print(json.dumps([path.name, *outcome, peak() - before]), flush=True)
"""
LIES = lies()


@pytest.fixture(scope="module")
def outcomes(folder):
    """Read every lie in a process of its own that may not have much memory."""
    paths = [str(put(folder, name, content)) for name, content in LIES.items()]
    command = [sys.executable, "-c", GUARDED, *paths]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = {name: rest for name, *rest in map(json.loads, run.stdout.splitlines())}
    assert found, run.stderr
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused_cheaply(outcomes, folder, name):
    assert name in outcomes, "the process ended before or in it"
    error, message, growth = outcomes[name]
    assert error == "InputError", message
    assert message.startswith(f"{folder / name}: ")
    assert message.isprintable()
    assert len(message) < 600 + len(str(folder))
    assert growth < 48 * 2**20 + 12 * len(LIES[name])


def test_npz_with_x_beside_a_test_part(folder):
    arrays = {"X": np.eye(3), "y": [0, 1, 2], "X_test": np.eye(3)[:1], "y_test": [0]}
    path = folder / "beside.npz"
    np.savez(path, **arrays)
    assert set(read_npz(path)) == {"X_train", "y_train", "X_test", "y_test"}


def test_a_pipe_is_no_npz(folder):
    os.mkfifo(folder / "pipe.npz")
    (folder / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipe.npz", "zero.npz"):
        with pytest.raises(InputError, match="it is a pipe or a device"):
            read_npz(folder / name)


def test_labels_of_different_lengths(folder):
    text = "A\n" * 300_000 + "other/unknown class\n"
    assert set(read_labels(put(folder, "a.txt", text)).tolist()) == {"A", "other/unknown class"}
    text = "0\n" * 300_000 + "1.0000000000000000000\n"
    assert read_labels(put(folder, "b.txt", text)).dtype.kind == "i"


def test_a_numeric_label_column_that_is_named(folder):
    """As pandas writes a Series without a name beside a table."""
    path = put(folder, "a.csv", "width,height,0\n1,2,0\n3,4,1\n")
    assert read_table(path, label_column="0").y.tolist() == [0, 1]
    with pytest.raises(InputError, match="0 columns are called 'nope'"):
        read_table(path, labelled=False, features=("width",), label_column="nope")


def test_ctrl_c_while_reading_is_not_the_files_fault(folder, monkeypatch):
    """NumPy makes a ValueError of whatever is raised in a converter."""
    original = np.loadtxt

    def loadtxt(*arguments, converters, **settings):
        def interrupted(cell):
            raise KeyboardInterrupt

        return original(*arguments, converters=dict.fromkeys(converters, interrupted), **settings)

    monkeypatch.setattr(np, "loadtxt", loadtxt)
    with pytest.raises(KeyboardInterrupt):
        read_table(put(folder, "a.csv", "a,label\n1,x\n2,y\n"))
