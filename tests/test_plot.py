"""Pictures of training runs: looked at through matplotlib's own objects, and read back as files."""

import struct
import zlib

import numpy as np
import pytest
from command import succeed, with_matplotlib

import fastnn
from fastnn import plot
from fastnn.history import History

pytestmark = pytest.mark.usefixtures("kept_kernels")

mpl = pytest.importorskip("matplotlib")
image = pytest.importorskip("matplotlib.image")

PARTS = ["loss (mean cross-entropy)", "accuracy", "confusion matrix (rows: true class)"]
PNG = b"\x89PNG\r\n\x1a\n"


def problem(n_classes=3, n_features=12, n=120):
    generator = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    X = generator.normal(size=(n, n_features)).astype(np.float32)
    X[np.arange(n), y % n_features] += 3
    return X, y


def trained(X, y, *, epochs=2, validation=0.2):
    network = fastnn.Network((X.shape[1], 8, len(np.unique(y))))
    return fastnn.fit(network, X, y, epochs=epochs, validation=validation, seed=0)


def drawn(figure):
    """Lay the figure out, as saving it does; return its axes by title, images under "images"."""
    figure.draw_without_rendering()
    axes = {axes.get_title(): axes for axes in figure.axes if axes.get_title() in PARTS}
    axes["images"] = [ax for ax in figure.axes if ax.get_title() not in PARTS and ax.images]
    return axes


def report_of(X, y, *, image_shape=None, title="", **how):
    model = trained(X, y, **how)
    figure = plot.training_report(model, X, y, image_shape=image_shape, title=title)
    return model, drawn(figure)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def overlaps(artists):
    """Return pairs of texts that overlap on a page that has been drawn."""
    boxes = [(artist, artist.get_window_extent()) for artist in artists]
    return [
        (a.get_text(), b.get_text())
        for i, (a, one) in enumerate(boxes)
        for b, other in boxes[i + 1 :]
        if one.padded(-1).overlaps(other.padded(-1))
    ]


# --- the parts ------------------------------------------------------------------------------------


def test_tables_have_three_parts():
    _, axes = report_of(*problem())
    assert set(axes) == {*PARTS, "images"}
    assert axes["images"] == []


def test_images_have_four_parts():
    X, y = problem()
    model, axes = report_of(X, y, image_shape=(4, 3))
    assert set(axes) == {*PARTS, "images"}
    probabilities = model.predict_proba(X)
    worst = np.argsort(probabilities[np.arange(len(y)), y], kind="stable")
    assert len(axes["images"]) == 24
    for ax, i in zip(axes["images"], worst, strict=False):
        np.testing.assert_array_equal(ax.images[0].get_array(), X[i].reshape(4, 3))
        said = probabilities[i].argmax()
        assert ax.get_title() == (f"{y[i]}" if said == y[i] else f"{y[i]}, not {said}")


def test_curves_show_the_history():
    model, axes = report_of(*problem(), epochs=4)
    training, validation = axes[PARTS[0]].lines
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(training.get_ydata(), model.history.loss)
    np.testing.assert_array_equal(validation.get_ydata(), model.history.validation_loss)
    accuracy, test = axes[PARTS[1]].lines
    np.testing.assert_array_equal(accuracy.get_ydata(), model.history.validation_accuracy)
    assert test.get_ydata()[0] == model.evaluate(*problem())[1]


def test_confusion_matrix_counts():
    X, y = problem()
    y = np.where(y == 2, 0, y)  # unequal classes
    model, axes = report_of(X, y)
    expected = np.zeros((2, 2), dtype=int)
    for true, said in zip(y, model.predict(X), strict=True):
        expected[true, said] += 1
    found = np.zeros((2, 2), dtype=int)
    for text in axes[PARTS[2]].texts:
        column, row = map(int, text.get_position())
        found[row, column] = int(text.get_text())
    np.testing.assert_array_equal(found, expected)


# --- odd runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", [None, 0.2])
def test_one_epoch(validation):
    _, axes = report_of(*problem(), epochs=1, validation=validation)
    for part in PARTS[:2]:
        low, high = axes[part].get_xlim()
        shown = [x for x in axes[part].get_xticks() if low <= x <= high]
        assert shown == [1]


def test_without_validation():
    _, axes = report_of(*problem(), validation=None, epochs=3)
    assert len(axes[PARTS[0]].lines) == 1
    assert len(axes[PARTS[1]].lines) == 1  # the test
    assert axes[PARTS[1]].get_xlim() == (0.5, 3.5)


def test_interrupted_before_the_first_epoch_ended():
    X, y = problem()
    model = trained(X, y)
    model.history = History(stopped="interrupted")
    axes = drawn(plot.training_report(model, X, y, image_shape=(4, 3)))
    assert texts(axes[PARTS[0]]) == texts(axes[PARTS[1]]) == ["no whole epoch"]
    assert len(axes["images"]) == 24


def test_many_epochs_are_not_marked_one_by_one():
    X, y = problem()
    model = trained(X, y)
    model.history = History(loss=[1 / k for k in range(1, 301)], seconds=[0.1] * 300)
    axes = drawn(plot.training_report(model, X, y))
    assert axes[PARTS[0]].lines[0].get_marker() == ""


def test_a_loss_of_zero_has_no_logarithm():
    X, y = problem()
    model = trained(X, y)
    model.history = History(loss=[1.0, 0.0], seconds=[0.1] * 2)
    assert drawn(plot.training_report(model, X, y))[PARTS[0]].get_yscale() == "linear"


def test_few_samples():
    X, y = problem(n_classes=2, n=6)
    _, axes = report_of(X, y, image_shape=(4, 3), validation=None)
    assert len(axes["images"]) == 6


@pytest.mark.parametrize("n_classes", [2, 10, 30])
def test_counts_fit_into_their_cells(n_classes):
    X, y = problem(n_classes, n=20 * n_classes)
    model = trained(X, y, epochs=1)
    X, y = np.tile(X, (500, 1)), np.tile(y, 500)  # counts of up to four digits
    axes = drawn(plot.training_report(model, X, y))[PARTS[2]]
    assert len(axes.texts) > n_classes
    assert not overlaps(axes.texts)
    assert not overlaps(axes.get_xticklabels())
    assert not overlaps(axes.get_yticklabels())


def test_very_many_classes_go_without_names_and_counts():
    _, axes = report_of(*problem(n_classes=50, n=400))
    confusion = axes[PARTS[2]]
    assert texts(confusion) == []
    assert "from 0" in confusion.get_xlabel()


LABELS = ["Ankle boot", "x" * 300, "$5-$10", "$\\frac{$", "two\nlines"]


def test_odd_labels():
    """Long ones are cut, and nothing in them is taken for a formula."""
    X, codes = problem(n_classes=len(LABELS))
    y = np.array(LABELS)[codes]
    _, axes = report_of(X, y, image_shape=(4, 3), title="$\\frac{$")
    shown = {label.get_text() for label in axes[PARTS[2]].get_yticklabels()}
    assert shown == {"Ankle boot", "x" * 17 + "…", "$5-$10", "$\\frac{$", "two lines"}
    assert not overlaps(axes[PARTS[2]].get_xticklabels())
    titles = [ax.title for ax in axes["images"]]
    for row in range(4):
        assert not overlaps(titles[6 * row : 6 * row + 6])


def test_labels_in_a_script_that_the_font_lacks(tmp_path):
    """They are boxes in the picture, but no reason to warn on the screen: warnings are errors."""
    X, codes = problem()
    y = np.array(["衣服", "鞋子", "包"])[codes]
    plot.save(plot.training_report(trained(X, y), X, y), tmp_path / "run.png")
    assert picture(tmp_path / "run.png").shape == (1100, 1320, 4)


# --- files ----------------------------------------------------------------------------------------


def picture(path):
    """Read a PNG file; check the sums of its chunks by hand."""
    content = path.read_bytes()
    assert content.startswith(PNG)
    assert content.endswith(b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
    return image.imread(path)


def test_png(tmp_path):
    X, y = problem()
    plot.save(plot.training_report(trained(X, y), X, y), tmp_path / "run.PNG")
    pixels = picture(tmp_path / "run.PNG")
    assert pixels.shape == (1100, 1320, 4)
    assert 0.02 < (pixels[..., :3].min(axis=2) < 0.9).mean() < 0.9  # neither blank nor black
    assert [path.name for path in tmp_path.iterdir()] == ["run.PNG"]


@pytest.mark.parametrize(
    ("ending", "beginning"), [(".svg", b"<?xml"), (".pdf", b"%PDF-"), (".jpg", b"\xff\xd8\xff")]
)
def test_other_formats(tmp_path, ending, beginning):
    X, y = problem()
    path = tmp_path / f"run{ending}"
    plot.save(plot.training_report(trained(X, y), X, y), path)
    assert path.read_bytes().startswith(beginning)
    if ending == ".svg":
        assert path.read_text().rstrip().endswith("</svg>")


def test_check_refuses_what_cannot_be_drawn():
    plot.check("run.png")
    for name in ("run", "run.xyz", "png", ".png"):
        with pytest.raises(fastnn.InputError, match="expected a name ending in .png, .svg"):
            plot.check(name)


def test_nothing_global_is_changed():
    before = dict(mpl.rcParams)
    report_of(*problem())
    assert dict(mpl.rcParams) == before


def test_train_draws_the_digits(tmp_path):
    args = ("--epochs", "2", "--plot", "run.png")
    output = succeed("train", *args, cwd=tmp_path, **with_matplotlib(tmp_path))
    assert " plot saved to  run.png\n" in output
    pixels = picture(tmp_path / "run.png")
    assert pixels.shape == (1100, 1320, 4)
    # the images of digits are in the lower right quarter
    quarter = pixels[620:, 680:, :3]
    assert 0.05 < (quarter.max(axis=2) < 0.5).mean() < 0.5
