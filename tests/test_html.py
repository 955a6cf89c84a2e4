"""What notebooks show: read as XML, which forgives nothing; its texts and points looked at."""

import itertools
import math
import unicodedata
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import fastnn
from fastnn.history import History
from fastnn.html import network_html
from fastnn.models import Model

SVG = "{http://www.w3.org/2000/svg}"


def parsed(html):
    return ET.fromstring(html)


def shown(**settings):
    how = {"activation": "relu", "output": "softmax", "dtype": "float32", **settings}
    return parsed(network_html(how.pop("layer_sizes", (784, 128, 10)), **how))


def labels(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def rows(root):
    return {row.find("th").text: row.find("td").text for row in root.iter("tr")}


def curve(root):
    """Return the points of the line of losses, seen from its lower left, and the words with it."""
    (line,) = root.iter(f"{SVG}polyline")
    points = np.array([pair.split(",") for pair in line.get("points").split()], float)
    words = next(e.text for e in root.iter("div") if (e.text or "").startswith("loss: "))
    return points * [1, -1], words


def test_the_shape_of_a_network():
    root = shown(title="A title")
    assert root.find("div/b").text == "A title"
    assert root.find("div/b").tail == " 101,770 parameters, float32: 784-128-10"
    assert sorted(labels(root)) == sorted(
        ["784", "128", "10", "features", "relu", "softmax", "100,480", "1,290"]
    )
    assert root.find(f".//{SVG}title").text == "layers: 784 features, 128 relu, 10 softmax"
    heights = [float(box.get("height")) for box in root.iter(f"{SVG}rect")]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 3


@pytest.mark.parametrize(
    "sizes", [(1, 1), (5, 3), (10**9, 1, 10**9), (3,) * 7, (3,) * 8, (9,) * 99]
)
def test_all_of_it_is_inside_the_picture_and_nothing_overlaps(sizes):
    root = shown(layer_sizes=sizes, activation="logistic", output="identity")
    (svg,) = root.iter(f"{SVG}svg")
    _, _, width, height = map(float, svg.get("viewBox").split())
    boxes = [
        [float(rect.get(name)) for name in ("x", "y", "width", "height")]
        for rect in svg.iter(f"{SVG}rect")
    ]
    assert len(boxes) == (len(sizes) if len(sizes) <= 7 else 6)
    end = 0.0
    for x, y, box_width, box_height in boxes:
        assert end < x
        assert y > 0
        assert y + box_height < height
        end = x + box_width
    assert end < width
    for text in svg.iter(f"{SVG}text"):
        half = 4 * len(text.text)  # no character is wider than 8 pixels
        x, y = float(text.get("x")), float(text.get("y"))
        assert half <= x <= width - half
        assert 10 < y <= height
    expected = {f"{size:,}" for size in sizes} | {"features", "identity"}
    expected |= {"logistic"} if len(sizes) > 2 else set()
    expected |= {f"{len(sizes) - 6} more", "…"} if len(sizes) > 7 else set()
    counts = {f"{(a + 1) * b:,}" for a, b in itertools.pairwise(sizes)}
    assert set(labels(root)) == expected | counts


def test_the_line_of_losses():
    points, words = curve(shown(loss_curve=np.float32([1.0, 0.1, 0.01, 0.1])))
    assert words == "loss: 1 → 0.1 in 4 epochs, logarithmic scale"
    x, y = points.T
    np.testing.assert_allclose(np.diff(x), np.diff(x)[0], rtol=0.01)
    assert y[1] == y[3]
    np.testing.assert_allclose(y[0] - y[1], y[1] - y[2], rtol=0.01)
    assert y[0] > y[1] > y[2]
    assert ((x > 0) & (x < 240)).all()
    assert ((y < 0) & (y > -44)).all()


def test_losses_that_have_no_logarithm_or_no_place():
    points, words = curve(shown(loss_curve=[2.0, math.nan, 1.0, math.inf, 0.0]))
    assert words == "loss: 2 → 0 in 5 epochs"
    x, y = points.T
    np.testing.assert_allclose(np.diff(x), 117, rtol=0.01)  # two epochs each
    np.testing.assert_allclose(y[0] - y[1], y[1] - y[2], rtol=0.01)
    flat, _ = curve(shown(loss_curve=[0.5, 0.5]))
    assert flat[0, 1] == flat[1, 1]
    for none in ([], [1.0], [math.nan] * 3, [1.0, math.inf]):
        assert not list(shown(loss_curve=none).iter(f"{SVG}polyline"))


def test_a_long_curve_is_thinned_out():
    points, words = curve(shown(loss_curve=(1 / k for k in range(1, 10_001))))
    assert len(points) == 200
    assert words == "loss: 1 → 0.0001 in 10,000 epochs, logarithmic scale"
    assert points[0].tolist() == [3, -3]
    assert points[-1].tolist() == [237, -41]
    assert (np.diff(points[:, 0]) > 0).all()


HOSTILE = [
    "<script>alert(1)</script>", "</td></table></div><b>", "\"' onload='alert(1)'", "]]>", "&amp;",
    "\x00\x1b[31m\x7f", "\ud800", "\ufffe", "\u202eright to left", "two\nlines\tand\u2028more",
    "x" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_anything_else(text):
    plain = shown(facts={"a": "b"}, title="c")
    html = network_html(
        (784, 128, 10),
        activation=text, output=text, dtype=text, facts={text: text}, title=text,
    )  # fmt: skip
    html.encode()
    root = parsed(html)
    assert [e.tag for e in root.iter()] == [e.tag for e in plain.iter()]
    assert [sorted(e.attrib) for e in root.iter()] == [sorted(e.attrib) for e in plain.iter()]
    ((name, value),) = rows(root).items()
    assert name == value == root.find("div/b").text
    assert len(name) <= 100
    assert all(unicodedata.category(c)[0] != "C" and c not in "\n\t\u2028" for c in name)
    clean = " ".join(text.split())
    if clean.isprintable() and len(clean) <= 100:
        assert name == clean


def test_it_stands_alone():
    """No script, no style sheet, nothing fetched, no identifier, no colour but of the line."""
    html = network_html(
        (3, 4, 2), activation="tanh", output="softmax", dtype="float64", loss_curve=[2, 1]
    )
    root = parsed(html)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert not tags & {"script", "style", "link", "img", "image", "use", "a", "foreignObject"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not [n for n in names if n.startswith("on") or n in ("id", "class", "href", "src")]
    colors = {e.get(name) for e in root.iter() for name in ("fill", "stroke")}
    assert colors == {None, "none", "currentColor", "#3b8ed0"}
    assert "color:" not in html
    assert "url(" not in html


def test_facts():
    facts = {"rate": 0.123456, "n": 12345678, "none": None, "numpy": np.float64(1 / 3)}
    assert rows(shown(facts=facts)) == {
        "rate": "0.1235", "n": "12345678", "none": "None", "numpy": "0.3333",
    }  # fmt: skip
    assert not list(shown().iter("table"))


def a_model(history, **settings):
    network = fastnn.Network((4, 3, 12), activation="tanh")
    classes = np.array([f"<{letter}>" for letter in "abcdefghijkl"])
    engine = fastnn.get_engine("reference", threads=1)
    parameters = network.initialize(0, dtype="float64")
    return Model(network, parameters, classes, engine, history=history, settings=settings)


def test_a_model_shows_itself():
    history = History(
        loss=[2.0, 1.0, 0.5],
        seconds=[0.25, 0.5, 0.5],
        validation_loss=[2.5, 1.5, 1.75],
        validation_accuracy=[0.5, 0.75, 0.625],
        stopped="early",
        best_epoch=2,
    )
    optimizer = {"name": "Adam", "beta_1": 0.9}
    model = a_model(history, optimizer=optimizer, learning_rate=0.001, n_samples=600, seed=None)
    root = parsed(model._repr_html_())
    assert root.find("div/b").text == "Model"
    assert root.find("div/b").tail == " 63 parameters, float64: 4-3-12"
    assert rows(root) == {
        "epochs": "3, early; parameters of epoch 2",
        "loss": "1",
        "validation loss": "1.5",
        "validation accuracy": "0.75",
        "optimizer": "Adam",
        "learning rate": "0.001",
        "samples": "600",
        "seconds": "1.25",
        "classes": "<a>, <b>, <c>, <d>, <e>, <f>, <g>, <h>, <i>, <j>, ...",
    }
    assert curve(root)[1] == "loss: 2 → 0.5 in 3 epochs, logarithmic scale"
    assert {"tanh", "softmax"} <= set(labels(root))


def test_a_model_without_an_epoch_shows_itself():
    root = parsed(a_model(History(stopped="interrupted"))._repr_html_())
    assert set(rows(root)) == {"epochs", "classes"}
    assert rows(root)["epochs"] == "0, interrupted"


def estimator_part(estimator):
    """What stands below scikit-learn's diagram."""
    start = '<div style="font-size: 13px'
    of_both = estimator._repr_mimebundle_()["text/html"], estimator._repr_html_()
    one, other = (html[html.index(start) :] for html in of_both)
    assert one == other
    return parsed(one)


def test_a_fitted_classifier_shows_its_network_below_scikit_learns_diagram():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.choice(["<b>", "&amp;", "c"], 60)
    estimator = fastnn.MLPClassifier(
        (7, 5), max_iter=4, early_stopping=True, learning_rate="cosine", random_state=0
    )
    assert '<div style="font-size: 13px' not in estimator._repr_html_()
    estimator.fit(X, y)
    root = estimator_part(estimator)
    assert root.find("div/b").text == "MLPClassifier"
    assert root.find("div/b").tail == " 93 parameters, float64: 4-7-5-3"
    found = rows(root)
    assert list(found) == [
        "solver", "epochs", "loss", "best validation score", "validation loss", "learning rate",
        "batch size", "engine", "classes",
    ]  # fmt: skip
    assert found["epochs"] == "4"
    assert float(found["loss"]) == pytest.approx(estimator.loss_, rel=1e-3)
    assert float(found["validation loss"]) == pytest.approx(
        estimator.validation_loss_curve_[-1], rel=1e-3
    )
    assert found["learning rate"] == "0.001, cosine"
    assert found["classes"] == "&amp;, <b>, c"
    assert {"relu", "softmax"} <= set(labels(root))
    assert "in 4 epochs" in curve(root)[1]


def test_a_regressor_by_lbfgs_shows_itself():
    X = np.random.default_rng(0).normal(size=(60, 4))
    estimator = fastnn.MLPRegressor(solver="lbfgs", max_iter=200, tol=0.1, random_state=0)
    root = estimator_part(estimator.fit(X, X[:, 0]))
    assert list(rows(root)) == ["solver", "loss", "iterations", "engine"]
    assert {"relu", "identity"} <= set(labels(root))


def test_an_estimator_without_an_epoch_shows_its_network():
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    estimator = fastnn.MLPClassifier((7,), random_state=0)
    with pytest.raises(fastnn.InputError, match="y_val has the classes"):
        estimator.fit(X, y, X_val=X, y_val=y + 5)
    assert "loss" not in rows(estimator_part(estimator))
    assert rows(estimator_part(estimator))["epochs"] == "0"
