"""Pictures of training runs: looked at through matplotlib's own objects, and read back as files."""

import struct
import sys
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


# --- what was learnt ------------------------------------------------------------------------------


class Known:
    """A fitted classifier as scikit-learn's are, which says what it is told."""

    def __init__(self, classes, probabilities):
        self.classes_ = np.asarray(classes)
        self.probabilities = np.asarray(probabilities)

    def predict_proba(self, X):
        return self.probabilities[: len(X)]

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def unsure(n=500, classes=("a", "b", "c")):
    """Return a classifier and samples on which it is too sure: it is right in 3 of 4 cases."""
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.full(len(classes), 0.7), n)
    is_right = generator.random(n) < 0.75
    codes = np.where(is_right, probabilities.argmax(axis=1), generator.integers(0, len(classes), n))
    return Known(classes, probabilities), np.zeros((n, 2)), np.asarray(classes)[codes]


def of_scikit_learn(X, y, **settings):
    network = pytest.importorskip("sklearn.neural_network")
    estimator = network.MLPClassifier((5,), max_iter=4, random_state=0, tol=0, **settings)
    with pytest.warns(UserWarning, match="optimization hasn't converged"):
        return estimator.fit(X, y)


def right_of(figure):
    """Return the axes that share another's x-axis and stand on its right, if any."""
    return [axes for axes in figure.axes if axes.yaxis.get_label_position() == "right"]


@pytest.mark.parametrize("what", ["model", "history"])
def test_curves_of_a_model(what):
    X, y = problem()
    network = fastnn.Network((X.shape[1], 8, 3))
    model = fastnn.fit(network, X, y, epochs=9, validation=0.2, patience=2, seed=0)
    history = model.history
    figure = plot.curves(model if what == "model" else history)
    axes = figure.axes[0]
    training, validation, best = axes.lines
    np.testing.assert_array_equal(training.get_xdata(), range(1, history.epochs + 1))
    np.testing.assert_array_equal(training.get_ydata(), history.loss)
    np.testing.assert_array_equal(validation.get_ydata(), history.validation_loss)
    assert set(best.get_xdata()) == {history.best_epoch}
    (right,) = right_of(figure)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), history.validation_accuracy)
    assert right.get_ylabel() == "validation accuracy"
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == ("loss (cross-entropy, nats)" if what == "model" else "loss")
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    best_name = f"best epoch: {history.best_epoch}"
    assert names == ["training loss", "validation loss", best_name, "validation accuracy"]
    styles = [(line.get_marker(), line.get_linestyle()) for line in (*axes.lines, *right.lines)]
    assert len(set(styles)) == 4  # who sees no colours can tell them apart


def test_curves_without_validation():
    X, y = problem()
    figure = plot.curves(trained(X, y, validation=None))
    assert len(figure.axes) == len(figure.axes[0].lines) == 1


@pytest.mark.parametrize("early_stopping", [False, True])
def test_curves_of_an_estimator(early_stopping):
    estimator = of_scikit_learn(*problem(), early_stopping=early_stopping)
    figure = plot.curves(estimator)
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), estimator.loss_curve_)
    scores = [axes.lines[0].get_ydata().tolist() for axes in right_of(figure)]
    assert scores == ([list(estimator.validation_scores_)] if early_stopping else [])


def test_curves_of_a_regressor_with_a_validation_loss():
    class Regressor:
        loss_curve_, validation_loss_curve_ = (3.0, 2.0), (4.0, 3.5)
        validation_scores_ = (0.1, 0.2)

    figure = plot.curves(Regressor())
    assert [line.get_ydata().tolist() for line in figure.axes[0].lines] == [[3, 2], [4, 3.5]]
    assert right_of(figure)[0].get_ylabel() == "validation score (R²)"
    assert figure.axes[0].get_ylabel() == "loss"


@pytest.mark.parametrize("n", [1, 7, 8, 20])
def test_weights_are_images_in_their_places(n):
    X, y = problem()
    model = trained(X, y)
    W = model.parameters.weights[0]
    figure = plot.weights(model, (4, 3), n=n)
    image = figure.axes[0].images[0]
    mosaic = image.get_array().filled(np.nan)
    shown = min(n, 8)
    columns = int(np.ceil(np.sqrt(shown)))
    places = np.zeros(mosaic.shape, bool)
    for unit in range(shown):
        row, column = 5 * (unit // columns), 4 * (unit % columns)
        place = np.s_[row : row + 4, column : column + 3]
        np.testing.assert_array_equal(mosaic[place], W[:, unit].reshape(4, 3))
        places[place] = True
    assert np.isnan(mosaic[~places]).all()
    assert image.get_clim() == (-np.abs(W[:, :shown]).max(), np.abs(W[:, :shown]).max())
    red, blue = image.cmap(1.0), image.cmap(0.0)
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]
    middle = np.array(image.cmap(0.5))
    assert (middle > 0.9).all()
    which = "all 8" if n >= 8 else f"the first {n} of 8"
    assert figure.axes[0].get_title() == f"weights of the first layer: {which} units"
    assert figure.axes[1].get_ylabel() == "weight"


def test_weights_of_an_estimator_are_square_unless_told_otherwise():
    X, y = problem(n_features=9)
    estimator = of_scikit_learn(X, y)
    mosaic = plot.weights(estimator).axes[0].images[0].get_array()
    np.testing.assert_array_equal(mosaic[:3, :3], estimator.coefs_[0][:, 0].reshape(3, 3))


def test_confusion_matrix_of_a_classifier():
    model, X, y = unsure()
    figure = plot.confusion_matrix(model, X, y)
    (axes,) = figure.axes
    classes, predicted = model.classes_.tolist(), model.predict(X)
    expected = {}
    for true, said in zip(y, predicted, strict=True):
        place = classes.index(said), classes.index(true)
        expected[place] = expected.get(place, 0) + 1
    assert {text.get_position(): int(text.get_text()) for text in axes.texts} == expected
    n_right = (y == predicted).sum()
    assert f"{n_right} of 500 samples are right ({n_right / 5:.1f}%)" in axes.get_title()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize("bins", [1, 5, 10, 20])
def test_calibration_curve(bins):
    model, X, y = unsure()
    figure = plot.calibration_curve(model, X, y, bins=bins)
    axes, above = figure.axes
    classes, found = model.classes_.tolist(), [[] for _ in range(bins)]
    for shares, label in zip(model.predict_proba(X).tolist(), y, strict=True):
        confidence = max(shares)
        inside = next(k for k in range(bins) if confidence <= (k + 1) / bins)
        found[inside].append((confidence, classes[shares.index(confidence)] == label))
    means = [np.mean(samples, axis=0) for samples in found if samples]
    line = next(line for line in axes.lines if line.get_label() == "this model")
    np.testing.assert_allclose(line.get_xydata(), means, rtol=1e-12)  # means of 500 numbers
    counts = [len(samples) for samples in found]
    assert [bar.get_height() for bar in above.patches] == counts
    np.testing.assert_allclose([bar.get_x() for bar in above.patches], np.arange(bins) / bins)
    assert texts(above) == [str(n) if n else "" for n in counts] * (bins <= 12)
    error = sum(n * abs(a - b) for n, (a, b) in zip(filter(None, counts), means, strict=True)) / 500
    assert axes.get_title() == f"calibration: expected error {error:.3f}"


def test_confidence_at_the_edge_of_a_bin_and_of_one_class_only():
    model = Known([3, 4], [[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]])
    for y in ([3, 3, 4], [4, 4, 3]):
        axes, above = plot.calibration_curve(model, np.zeros((3, 1)), y, bins=2).axes
        assert [bar.get_height() for bar in above.patches] == [1, 2]
        assert set(axes.lines[1].get_ydata()) == {float(y[0] == 3)}


def test_a_model_and_each_picture(monkeypatch, tmp_path):
    """Into new figures, without pyplot, which nothing here may import; and into given axes."""
    before = dict(mpl.rcParams)  # which imports pyplot, to find out a backend
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    X, y = problem(n_features=9)
    model = trained(X, y)
    drawings = {
        plot.curves: (model,),
        plot.weights: (model,),
        plot.confusion_matrix: (model, X, y),
        plot.calibration_curve: (model, X, y),
    }
    for draw, args in drawings.items():
        figure = draw(*args)
        assert figure._repr_png_().startswith(PNG)  # what a notebook shows
        plot.save(figure, tmp_path / "new.png")
        inside = [label for ax in figure.axes for label in (ax.title, ax.xaxis.label)]
        page = figure.bbox.padded(1)
        for text in inside:
            box = text.get_window_extent()
            assert not text.get_text() or page.contains(box.x0, box.y0)
            assert not text.get_text() or page.contains(box.x1, box.y1)
        ax = mpl.figure.Figure().subplots()
        assert draw(*args, ax=ax) is ax
        assert ax.has_data()
        assert ax.get_title() == figure.axes[0].get_title() != ""
    monkeypatch.undo()
    assert dict(mpl.rcParams) == before


def test_pictures_refuse():
    X, y = problem(n_features=10)
    model = trained(X, y)
    for wrong, says in [
        (lambda: plot.curves(3), "int has no loss curve; expected a fastnn.Model"),
        (lambda: plot.weights(Known("ab", [[0, 1]])), "Known has no weights"),
        (lambda: plot.weights(model), "10 features, which are no square image; give shape"),
        (lambda: plot.weights(model, (3, 3)), r"shape is \(3, 3\).* of 10 pixels"),
        (lambda: plot.weights(model, (-2, -5)), r"shape is \(-2, -5\)"),
        (lambda: plot.weights(model, (10,)), r"shape is \(10,\)"),
        (lambda: plot.weights(model, (2, 5), n=0), "n is 0; expected a whole number"),
        (lambda: plot.calibration_curve(model, X, y, bins=0), "bins is 0"),
        (lambda: plot.confusion_matrix(3, X, y), "int has no classes"),
        (lambda: plot.confusion_matrix(model, X, y[1:]), "119 labels for 120 samples"),
        (lambda: plot.calibration_curve(model, X, y[1:]), "119 labels for 120 samples"),
        (lambda: plot.confusion_matrix(model, X, y + 1), "is 3, which is not one of the 3"),
    ]:
        with pytest.raises(fastnn.InputError, match=says):
            wrong()


def test_without_matplotlib(monkeypatch):
    X, y = problem(n_features=9)
    model = trained(X, y)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw, args in [
        (plot.curves, (model,)),
        (plot.weights, (model,)),
        (plot.confusion_matrix, (model, X, y)),
        (plot.calibration_curve, (model, X, y)),
        (plot.training_report, (model, X, y)),
        (plot.check, ("run.png",)),
    ]:
        with pytest.raises(fastnn.InputError, match=r"pip install 'fastnn\[plot\]'"):
            draw(*args)


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


@pytest.mark.parametrize("shape", [4, (2.0, 8.0), ("a", "b"), (16,), (2, 9)])
def test_weights_in_a_shape_that_is_none(shape):
    network = fastnn.Network((16, 3))
    engine = fastnn.get_engine("reference", threads=1)
    model = fastnn.Model(network, network.initialize(0), np.arange(3), engine)
    with pytest.raises(fastnn.InputError, match=r"expected \(height, width\) of 16 pixels"):
        plot.weights(model, shape)
