"""The tutorial's eight functions: its results, its shapes, its printed lines, its defects gone."""

import inspect

import article
import numpy as np
import pytest

import fastnn


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.random((30, 50)) * (rng.random((30, 50)) < 0.5)
    return X, np.eye(10)[:, rng.integers(0, 10, 50)]


def relative_difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_twenty_full_batch_steps_are_the_articles(data, capsys):
    X, Y = data
    np.random.seed(3)
    expected, losses = article.train(X, Y, 20)
    np.random.seed(3)
    seen = []
    found = fastnn.train(X, Y, epochs=20, callback=lambda epoch, loss: seen.append((epoch, loss)))
    assert list(found) == ["W1", "b1", "W2", "b2"]
    for name in expected:
        assert found[name].shape == expected[name].shape
        assert found[name].dtype == np.float64
        assert relative_difference(found[name], expected[name]) < 1e-12
    assert [epoch for epoch, _ in seen] == list(range(20))
    np.testing.assert_allclose([loss for _, loss in seen], losses, rtol=1e-12)
    assert capsys.readouterr().out == f"Epoch 0: Loss = {losses[0]:.4f}\n"


def test_the_steps_by_hand_are_the_articles_too(data):
    X, Y = data
    np.random.seed(3)
    expected, _ = article.train(X, Y, 20)
    np.random.seed(3)
    params = fastnn.initialize_parameters(30, 128, 10)
    for _ in range(20):
        A2, cache = fastnn.forward(X, params)
        grads = fastnn.backward(X, Y, params, cache)
        assert fastnn.update_params(params, grads) is params
    for name in expected:
        assert relative_difference(params[name], expected[name]) < 1e-12
    assert A2.shape == (10, 50)
    assert [part.shape for part in cache] == [(128, 50), (128, 50), (10, 50)]


def test_the_articles_signatures():
    def required(function):
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    empty = inspect.Parameter.empty
    assert required(fastnn.train) == [("X", empty), ("Y", empty), ("epochs", 1000)]
    assert required(fastnn.update_params) == [
        ("params", empty), ("grads", empty), ("learning_rate", 0.1)
    ]  # fmt: skip
    for name, arguments in {
        "initialize_parameters": "input_size hidden_size output_size",
        "relu": "Z",
        "softmax": "Z",
        "forward": "X params",
        "cross_entropy_loss": "A2 Y",
        "backward": "X Y params cache",
    }.items():
        assert [n for n, _ in required(getattr(fastnn, name))] == arguments.split()
    extras = [
        "hidden_size",
        "learning_rate",
        "batch_size",
        "seed",
        "engine",
        "dtype",
        "callback",
        "verbose",
    ]
    found = inspect.signature(fastnn.train).parameters
    assert [n for n, p in found.items() if p.kind is p.KEYWORD_ONLY] == extras


def test_it_prints_every_hundred_epochs(data, capsys):
    X, Y = data
    fastnn.train(X, Y, epochs=201, hidden_size=4, seed=0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Epoch 0", "Epoch 100", "Epoch 200"]
    assert all(len(line.split(" = ")[1]) == 6 for line in lines)
    fastnn.train(X, Y, epochs=1, hidden_size=4, seed=0, verbose=False)
    assert capsys.readouterr().out == ""


def test_a_seed_is_the_global_seed_without_touching_it(data):
    X, Y = data
    np.random.seed(5)
    expected = fastnn.train(X, Y, epochs=2, verbose=False)
    np.random.seed(6)
    before = np.random.get_state()[1].copy()
    found = fastnn.train(X, Y, epochs=2, seed=5, verbose=False)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_inputs_are_not_changed(data):
    X, Y = data
    X.flags.writeable = Y.flags.writeable = False
    fastnn.train(X, Y, epochs=2, batch_size=7, verbose=False, seed=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mini_batches_learn_faster(data, dtype):
    X, Y = data
    full = fastnn.train(X, Y, epochs=20, seed=0, verbose=False, dtype=dtype)
    mini = fastnn.train(X, Y, epochs=20, seed=0, verbose=False, dtype=dtype, batch_size=8)
    assert mini["W1"].dtype == dtype

    def loss(params):
        return fastnn.cross_entropy_loss(fastnn.forward(X, params)[0], Y)

    assert loss(mini) < loss(full) - 0.01


def test_softmax_keeps_a_column_far_below_the_others():
    P = fastnn.softmax(np.array([[0.0, -2000.0], [0.0, -2001.0]]))
    np.testing.assert_allclose(P.sum(axis=0), 1)
    np.testing.assert_allclose(P[:, 1], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


def test_the_loss_is_finite_wherever_it_should_be():
    Y = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fastnn.cross_entropy_loss(np.array([[1.0, 0.0], [0.0, 1.0]]), Y) == 0.0
    # true loss of the second sample: 800, whose probability rounds to 0
    P = fastnn.softmax(np.array([[800.0, 800.0], [0.0, 0.0]]))
    assert P[1, 1] == 0
    assert 300 < fastnn.cross_entropy_loss(P, Y) < 400


def test_backward_uses_the_cache(data):
    X, Y = data
    params = fastnn.initialize_parameters(30, 8, 10)
    _, cache = fastnn.forward(X, params)
    expected = article.gradients(X, Y, params)
    params["W1"] = None  # a second forward pass would need it
    found = fastnn.backward(X, Y, params, cache)
    for name in expected:
        assert relative_difference(found[name], expected[name]) < 1e-12


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X, Y: (X.T, Y), "samples are columns"),
        (lambda X, Y: (X, Y.argmax(axis=0)), "samples are columns"),
        (lambda X, Y: (X, Y * 2), "column 0 of Y is not one-hot"),
        (lambda X, Y: (X, np.where(np.arange(50) == 3, 0, Y)), "column 3 of Y is not one-hot"),
        (lambda X, Y: (X, np.where(np.arange(50) == 4, 1, Y)), "column 4 of Y is not one-hot"),
        (lambda X, Y: (np.where(np.arange(50) == 7, np.nan, X), Y), r"X\[0, 7\] is nan"),
        (lambda X, Y: (X[:0], Y), r"X has shape \(0, 50\)"),
        (lambda X, Y: (X[:, :0], Y[:, :0]), r"shape \(10, 0\)"),
        (lambda X, Y: (X, Y.astype(str)), "expected zeros and ones"),
    ],
)
def test_bad_input_is_explained(data, spoil, message):
    with pytest.raises(fastnn.InputError, match=message):
        fastnn.train(*spoil(*data), epochs=1)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("epochs", (-5, 0, "10", 1.5)),
        ("hidden_size", (-1, 0)),
        ("seed", (-1, "s")),
        ("batch_size", (0,)),
        ("learning_rate", (-1, float("inf"), "0.1")),
    ],
)
def test_bad_settings_are_explained_before_anything_is_drawn(data, name, values):
    before = np.random.get_state()[1].copy()
    for value in values:
        with pytest.raises(fastnn.InputError, match=f"{name} is {value!r}"):
            fastnn.train(*data, **{"epochs": 1, name: value})
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_batches_are_shuffled_and_a_short_one_counts_for_less(data):
    X, Y = data
    seen, orders = [], []
    engine = fastnn.get_engine("reference")
    original = type(engine).train

    class Spy(type(engine)):
        def train(self, *arguments, **settings):
            orders.append(np.array(arguments[5]))
            losses = original(self, *arguments, **settings)
            seen.append(losses)
            return losses

    told = []
    fastnn.train(
        X,
        Y,
        2,
        batch_size=40,
        seed=0,
        verbose=False,
        engine=Spy(1),
        callback=lambda epoch, loss: told.append(loss),
    )
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert (orders[0] != orders[1]).any()
    np.testing.assert_allclose(told, [(40 * a + 10 * b) / 50 for a, b in seen])


def test_the_learning_rate_is_the_one_given(data):
    X, Y = data
    start = fastnn.train(X, Y, 1, seed=0, learning_rate=0, verbose=False)
    _, cache = fastnn.forward(X, start)
    grads = fastnn.backward(X, Y, start, cache)
    expected = fastnn.update_params({k: v.copy() for k, v in start.items()}, grads, 0.7)
    found = fastnn.train(X, Y, 1, seed=0, learning_rate=0.7, verbose=False)
    for name in start:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-15)
        by_hand = start[name] - 0.7 * grads["d" + name]
        np.testing.assert_allclose(expected[name], by_hand, rtol=1e-14)


def test_nothing_is_drawn_but_the_start(data):
    """So that what a program draws from NumPy's global generator afterwards is as it was."""
    X, Y = data
    np.random.seed(0)
    fastnn.train(X, Y, 3, verbose=False)
    found = np.random.get_state()[1:3]
    np.random.seed(0)
    fastnn.initialize_parameters(30, 128, 10)
    expected = np.random.get_state()[1:3]
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


@pytest.mark.parametrize("epochs", [1, 3])
def test_infinite_parameters_are_not_returned(data, epochs):
    X, Y = data
    with pytest.raises(fastnn.DivergedError, match="diverged in epoch 0: an update overflowed"):
        fastnn.train(X, Y, epochs, learning_rate=1e39, dtype="float32", verbose=False, seed=0)


def test_the_loss_of_integers():
    A2 = np.array([[1, 0], [0, 1]])
    assert fastnn.cross_entropy_loss(A2, np.eye(2)) == 0
