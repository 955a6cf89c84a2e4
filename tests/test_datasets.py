"""Data sets by name and by path: where they are found, how they are split, what is refused."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from files import MNIST_FILES, idx_bytes, mnist_like, npy_bytes, npz_bytes

from fastnn import InputError, named_data
from fastnn.datasets import load, read_samples
from fastnn.inputs import prepare
from fastnn.named_data import cache_folder

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def one_line(caught):
    """Return the message of an error that must be one line."""
    message = str(caught.value)
    assert message.isprintable()
    return message


# --- where named data are found -----------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Name the folders that are searched, in their order, and forbid downloads."""

    def no_download(file, mirrors, folder, report):
        raise InputError("downloads are forbidden here")

    monkeypatch.setattr(named_data, "fetch", no_download)
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(named_data.DEBIAN_FOLDERS, "fashion-mnist", tmp_path / "debian")
    name = "fashion-mnist"
    return [tmp_path / "data" / name, cache_folder() / name, tmp_path / "debian"]


@pytest.mark.parametrize("compress", [gzip.compress, None])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_places_are_searched_in_order(places, first, compress):
    for level, place in enumerate(places[first:]):
        mnist_like(place, level=100 + level, compress=compress)
    data = load("fashion-mnist")
    assert data.source == str(places[first])
    assert data.X_train[0, 0] == 100


def test_an_incomplete_folder_is_passed_over(places):
    for place in places[:2]:
        mnist_like(place, level=1)
        (place / f"{MNIST_FILES[2]}.gz").unlink()
    mnist_like(places[2], level=2)
    assert load("fashion-mnist").source == str(places[2])


def test_plain_and_gzip_files_may_be_mixed(places):
    parts = mnist_like(places[0])
    path = places[0] / f"{MNIST_FILES[1]}.gz"
    path.unlink()
    path.with_suffix("").write_bytes(idx_bytes(parts[1]))
    data = load("fashion-mnist")
    for actual, expected in zip(
        (data.X_train, data.y_train, data.X_test, data.y_test), parts, strict=True
    ):
        np.testing.assert_array_equal(actual, expected.reshape(actual.shape))


def test_what_is_nowhere_says_where_it_was_looked_for(places):
    with pytest.raises(InputError) as caught:
        load("fashion-mnist")
    message = one_line(caught)
    assert all(str(place) in message for place in places)
    assert "downloads are forbidden here" in message
    assert "Put its four files into a folder DIR/fashion-mnist and set FASTNN_DATA=DIR" in message


def test_debians_folder_is_not_mnist(places):
    mnist_like(places[2])
    with pytest.raises(InputError, match="mnist was not found"):
        load("mnist")


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"\0" + content])
def test_a_damaged_file_is_named(places, damage):
    mnist_like(places[0])
    path = places[0] / f"{MNIST_FILES[0]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        load("fashion-mnist")
    assert one_line(caught).startswith(f"{path}: ")


def test_digits_do_not_import_scikit_learn():
    code = "import sys, fastnn; fastnn.datasets.load('digits'); print('sklearn' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_digits():
    from sklearn.datasets import load_digits

    data = load("digits")
    X, y = np.vstack([data.X_train, data.X_test]), np.concatenate([data.y_train, data.y_test])
    expected = load_digits()
    order, expected_order = np.lexsort((y, *X.T)), np.lexsort((expected.target, *expected.data.T))
    np.testing.assert_array_equal(X[order], expected.data[expected_order])
    np.testing.assert_array_equal(y[order], expected.target[expected_order])
    assert (data.image_shape, data.scale, data.classes.tolist()) == ((8, 8), 1 / 16, [*range(10)])
    assert data.X_train.dtype == np.uint8


def test_mnist(real_data):
    data = load("mnist")
    assert data.source == str(Path(real_data) / "mnist")
    assert (data.X_train.shape, data.X_test.shape) == ((60000, 784), (10000, 784))
    assert (data.y_train.shape, data.y_test.shape) == ((60000,), (10000,))
    sums = [int(part.sum(dtype=np.int64)) for part in (data.X_train, data.y_train)]
    assert sums == [1567298545, 267236]
    sums = [int(part.sum(dtype=np.int64)) for part in (data.X_test, data.y_test)]
    assert sums == [264923200, 44434]
    assert (data.image_shape, data.scale) == ((28, 28), 1 / 255)
    assert data.classes.tolist() == [*range(10)]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_of_debian():
    data = load("fashion-mnist")
    assert data.source == str(DEBIAN)
    assert (data.X_train.shape, data.X_test.shape) == ((60000, 784), (10000, 784))
    assert np.bincount(data.y_train).tolist() == [6000] * 10
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    assert int(data.X_train.sum(dtype=np.int64)) == 3431114169


# --- the split ----------------------------------------------------------------------------------


def npz(folder, y, name="a.npz", **arrays):
    """Write samples whose only feature is the row number."""
    path = folder / name
    X = np.arange(len(y), dtype=np.float64)[:, None]
    path.write_bytes(npz_bytes(**{"X": X, "y": np.asarray(y)} | arrays))
    return path


Y = ["a"] * 50 + ["b"] * 30 + ["c"] * 7 + ["only"]


def test_the_split_is_complete_disjoint_and_stratified(tmp_path):
    data = load(npz(tmp_path, Y))
    rows = np.concatenate([data.X_train, data.X_test])[:, 0].astype(int)
    assert sorted(rows) == [*range(len(Y))]
    assert [Y[row] for row in rows] == [*data.y_train, *data.y_test]
    names, counts = np.unique(data.y_test, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {"a": 10, "b": 6, "c": 2}
    assert "only" in data.y_train
    assert data.classes.tolist() == ["a", "b", "c", "only"]


def test_the_split_depends_on_the_seed_and_the_fraction_alone(tmp_path):
    path = npz(tmp_path, Y)
    test = load(path).X_test
    np.testing.assert_array_equal(load(path, seed=0, test_fraction=0.2).X_test, test)
    assert not np.array_equal(load(path, seed=1).X_test, test)
    assert len(load(path, test_fraction=0.5).X_test) == 25 + 15 + 4


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2, float("nan")])
def test_a_bad_fraction_is_refused(tmp_path, fraction):
    with pytest.raises(InputError, match=r"test_fraction is .*expected a number in"):
        load(npz(tmp_path, Y), test_fraction=fraction)


# --- what is refused ----------------------------------------------------------------------------

X = np.arange(12.0).reshape(6, 2)
PARTS = {"X_train": X, "y_train": [0, 1, 2] * 2, "X_test": X[:2], "y_test": [0, 1]}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X}, "has no labels; name a file that has, with --labels"),
        ({"X": X, "y": [0, 1, 0, 1, 0]}, "5 labels for 6 samples"),
        ({"X": X, "y": [3] * 6}, "every label is 3; expected at least two classes"),
        ({"X": X, "y": [0, 0, 0, 1.5, 1, 1]}, "y[3] is 1.5; expected class labels"),
        ({"X": X, "y": [0, 0, 0, np.nan, 1, 1]}, "y[3] is nan; expected class labels"),
        ({"X": np.where(X == 4, np.inf, X), "y": [0, 1] * 3}, "X[2, 0] is inf"),
        ({"X": X, "y": [[0], [1]] * 3}, "y has shape (6, 1); expected (n_samples,)"),
        (
            {"X": X, "y": [0, 1, 2, 3, 4, 5]},
            "6 samples in 6 classes are too few to hold out",
        ),
        ({"X": X[:1], "y": [0]}, "every label is 0; expected at least two classes"),
        ({"X": np.arange(3000.0)[:, None], "y": np.arange(3000)}, "3000 different labels in 3000"),
        ({"X": X[:, 0], "y": [0, 1] * 3}, "X has shape (6,); expected one row per sample"),
        ({"X": X[:0], "y": [0]}, "declares shape (0, 2)"),
        ({"X": X.astype(str), "y": [0, 1] * 3}, "expected numbers"),
        (PARTS | {"y_train": [0, 1, 2]}, "(train): 3 labels for 6 samples"),
        (PARTS | {"y_test": [0]}, "(test): 1 labels for 2 samples"),
        (PARTS | {"X_test": [[0, 1], [2, np.nan]]}, "(test): X[1, 1] is nan"),
        (PARTS | {"X_test": X[:2, :1]}, "2 features to train on, 1 to test with"),
        (PARTS | {"y_test": [0, 7]}, "(test): y[1] is 7, which is not one of the 3 classes"),
        (PARTS | {"y_test": [0.5, 1]}, "y[0] is 0.5; expected class labels"),
        (PARTS | {"y_train": [1] * 6, "y_test": [1, 1]}, "every label is 1"),
        ({"X_train": X, "y_train": [0, 1] * 3}, "X_test is missing"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(**arrays))
    with pytest.raises(InputError) as caught:
        load(path)
    assert one_line(caught).startswith(str(path))
    assert message in one_line(caught)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("cifar", InputError, "no data set or file called 'cifar'; expected digits, mnist, fash"),
        ("MNIST", InputError, "no data set or file called 'MNIST'"),
        ("none.npz", FileNotFoundError, "none.npz"),
        ("none/none", FileNotFoundError, "none/none"),
        ("nul\0", InputError, "no data set or file called"),
    ],
)
def test_names_that_are_none(name, error, message):
    with pytest.raises(error) as caught:
        load(name)
    assert message in one_line(caught)


def test_a_folder_without_the_four_files_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert one_line(caught).startswith(f"the folder {tmp_path} has no train-images")


# --- files of one's own -------------------------------------------------------------------------


def test_a_folder_of_ones_own(tmp_path):
    parts = mnist_like(tmp_path / "mine")
    data = load(tmp_path / "mine")
    assert (data.name, data.image_shape, data.scale) == ("mine", (3, 2), 1 / parts[0].max())
    np.testing.assert_array_equal(data.y_test, parts[3])


@pytest.mark.parametrize("image", [(3, 2), (3, 2, 1), (1, 3, 2)])
def test_a_pair_of_npy(tmp_path, image):
    images = np.arange(120, dtype=np.uint8).reshape(20, *image)
    (tmp_path / "X.npy").write_bytes(npy_bytes(np.asfortranarray(images)))
    (tmp_path / "y.npy").write_bytes(npy_bytes(np.arange(20) % 2 == 0))
    data = load(tmp_path / "X.npy", labels=tmp_path / "y.npy")
    assert (data.image_shape, data.scale) == ((3, 2), 1 / data.X_train.max())
    rows = np.concatenate([data.X_train, data.X_test])
    np.testing.assert_array_equal(rows[np.argsort(rows[:, 0])], images.reshape(20, 6))
    assert data.classes.tolist() == [False, True]


def test_labels_from_another_file(tmp_path):
    (tmp_path / "X.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "y.csv").write_text("label\ncat\ndog\n")
    table = read_samples(tmp_path / "X.csv", labels=tmp_path / "y.csv")
    assert (table.y.tolist(), table.feature_names) == (["cat", "dog"], ("a", "b"))


def test_labels_may_not_come_twice(tmp_path):
    (tmp_path / "y.txt").write_text("0\n1\n")
    (tmp_path / "a.csv").write_text("a,label\n1,2\n3,4\n")
    (tmp_path / "a.svm").write_text("1 1:2\n2 1:3\n")
    mnist_like(tmp_path / "folder")
    split = tmp_path / "split.npz"
    split.write_bytes(npz_bytes(**PARTS))
    whole = npz(tmp_path, [0, 1])
    for data in ("digits", whole, split, tmp_path / "a.csv", tmp_path / "a.svm", split.parent):
        with pytest.raises(InputError, match="has labels of its own; leave out the labels"):
            load(data, labels=tmp_path / "y.txt")


def test_only_csv_has_label_columns(tmp_path):
    (tmp_path / "a.svm").write_text("1 1:2\n2 1:3\n")
    (tmp_path / "X.npy").write_bytes(npy_bytes(X))
    for path in (npz(tmp_path, [0, 1]), tmp_path / "a.svm", tmp_path / "X.npy"):
        with pytest.raises(InputError, match=rf"{path}: only CSV files have a label column"):
            load(path, label_column="y")


def test_samples_to_test_with(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(**PARTS))
    assert read_samples(path).y.tolist() == [0, 1]
    path.write_bytes(npz_bytes(X_train=X, y_train=[0, 1] * 3))
    with pytest.raises(InputError, match="it holds X_train alone"):
        read_samples(path)


def test_digits_are_split_by_the_seed():
    first, second = load("digits", seed=0), load("digits", seed=1)
    assert not np.array_equal(first.y_test, second.y_test)
    np.testing.assert_array_equal(first.X_test, load("digits").X_test)


@pytest.mark.parametrize(
    "content", ["1 1:1 999999999:1\n0 1:1\n", "1 2147483647:1\n0 1:1\n", "1 70000:1\n0 1:1\n" * 9]
)
def test_a_few_values_do_not_ask_for_a_wide_network(tmp_path, content):
    path = tmp_path / "far.svm"
    path.write_text(content)
    with pytest.raises(InputError, match=r"far\.svm: it names feature \d+ and holds no more than"):
        load(path)


def test_small_tables_are_split(tmp_path):
    """Six samples of each of twenty classes: a tenth of each is less than one."""
    y = np.repeat(np.arange(20), 6)
    data = load(npz(tmp_path, y), test_fraction=0.1)
    assert len(data.y_test) == len(set(data.y_test.tolist())) == 12


def test_objects_show_themselves_in_one_line():
    data = load("digits")
    assert repr(data) == (
        "Dataset('digits': 1438 samples to train on, 359 to test with, 64 features, 10 classes)"
    )
    assert repr(prepare(data.X_train[:9, :3])).startswith("Input(9 samples, 3 features, uint8, sc")
