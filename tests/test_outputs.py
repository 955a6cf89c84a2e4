"""Outputs besides the softmax, smoothing, dropout and clipping, in both engines."""

import math

import naive
import numpy as np
import pytest
from cases import as_lists
from numba import njit
from sklearn.neural_network._base import LOSS_FUNCTIONS

import fastnn
from fastnn import Objective
from fastnn.bounds import UNIT_ROUNDOFF, away_from_kinks, gradient_bound
from fastnn.dropout import mask, masks
from fastnn.fused import run
from fastnn.fused.engine import FusedEngine
from fastnn.fused.philox import put_random_bits
from fastnn.fused.vectors import address

OUTPUTS = ("softmax", "logistic", "identity", "exp")
DTYPES = ("float32", "float64")
REFERENCE = fastnn.get_engine("reference", threads=1)
FUSED = FusedEngine(3, always=True)
ENGINES = {"reference": REFERENCE, "fused": FUSED}
STEP = 7

# what each output is, and the loss of one of its numbers, from their definitions
DEFINITIONS = {
    "logistic": (
        naive.logistic,
        lambda p, t: -t * math.log(p) - (1 - t) * math.log(1 - p),
    ),
    "identity": (lambda z: z, lambda p, t: (p - t) ** 2 / 2),
    "exp": (math.exp, lambda p, t: (t * math.log(t / p) if t else 0.0) - t + p),
}


def problem(output, sizes=(6, 11, 9, 3), n=40, *, activation="tanh", dtype="float64"):
    """Return (network, parameters, X, y) with targets that fit the output, some at its limits."""
    rng = np.random.default_rng([n, *sizes, OUTPUTS.index(output)])
    network = fastnn.Network(sizes, activation=activation, output=output)
    parameters = network.initialize(rng, dtype=dtype, scheme="glorot")
    for b in parameters.biases:
        b[:] = rng.normal(scale=0.3, size=b.shape)
    X = rng.normal(size=(3 * n, sizes[0])).astype(dtype)
    clear = away_from_kinks(
        parameters.weights, parameters.biases, X, activation=activation, u=UNIT_ROUNDOFF[dtype]
    )
    X = np.ascontiguousarray(X[clear][:n])
    if output == "softmax":
        return network, parameters, X, rng.integers(0, sizes[-1], n)
    y = rng.random((n, sizes[-1])).astype(dtype)
    if output != "identity":
        y[:4] = 0
        y[4:8] = 1
    return network, parameters, X, y if output != "identity" else 5 * y - 2


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("output", DEFINITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_and_losses_are_what_their_definitions_say(output, engine, dtype):
    network, parameters, X, y = problem(output, dtype=dtype)
    w = np.linspace(0, 2, len(X))
    P_bound, loss_bound, *_ = gradient_bound(
        parameters.weights, parameters.biases, X, y,
        activation="tanh", output=output, u=UNIT_ROUNDOFF[dtype], sample_weight=w,
    )  # fmt: skip
    function, loss_of = DEFINITIONS[output]
    weights, biases = as_lists(parameters)
    P = [
        [function(z) for z in naive.forward(weights, biases, x, "tanh")[1][-1]]
        for x in X.astype(float).tolist()
    ]
    losses = [
        sum(loss_of(p, t) for p, t in zip(row, targets, strict=True))
        for row, targets in zip(P, y.astype(float).tolist(), strict=True)
    ]
    both = 2 if dtype == "float64" else 1 + 1e-6  # the oracle rounds too, in float64
    found = engine.predict(network, parameters, X)
    assert (np.abs(found - P) <= both * P_bound).all()
    loss, _ = engine.gradient(network, parameters, X, y, sample_weight=w)
    assert abs(loss - (w @ losses) / w.sum()) <= both * loss_bound


CHANGES = {
    "alpha": {"alpha": 0.3},
    "smoothing": {"label_smoothing": 0.2},
    "dropout": {"dropout": 0.4, "dropout_seed": 2**64 - 1},
}
CASES = [
    (output, change)
    for output in OUTPUTS
    for change in CHANGES
    if change != "smoothing" or output in ("softmax", "logistic")
]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(("output", "change"), CASES)
def test_gradient_equals_central_differences(engine, output, change):
    network, parameters, X, y = problem(output, (4, 5, 6, 3), 12)
    call = {
        "objective": Objective(**CHANGES[change]),
        "sample_weight": np.linspace(0, 1, 12),
        "step": STEP,
    }
    _, gradient = engine.gradient(network, parameters, X, y, **call)
    h, differences = 6e-6, np.empty_like(gradient)
    for i in range(gradient.size):
        sides = []
        for step in (h, -h):
            moved = parameters.copy()
            moved.vector[i] += step
            sides.append(engine.gradient(network, moved, X, y, **call)[0])
        differences[i] = (sides[0] - sides[1]) / (2 * h)
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize(("output", "change"), [(o, c) for o, c in CASES if c != "alpha"])
def test_engines_agree_within_the_bounds(dtype, layout, output, change):
    objective, u = Objective(0.1, **CHANGES[change]), UNIT_ROUNDOFF[dtype]
    for sizes, n, activation in (
        ((5, 4), 30, "tanh"), ((7, 33, 20, 2), 300, "logistic"), ((3, 18, 1), 129, "tanh"),
    ):  # fmt: skip
        if output == "softmax" and sizes[-1] == 1:
            continue
        network, parameters, X, y = problem(output, sizes, n, activation=activation, dtype=dtype)
        exact = fastnn.Parameters(sizes, parameters.vector.astype(float))
        w = np.linspace(0.1, 1, n)
        _, loss_bound, dW_bounds, db_bounds = gradient_bound(
            parameters.weights, parameters.biases, X, y, activation=activation, output=output,
            u=u, sample_weight=w, alpha=0.1, label_smoothing=objective.label_smoothing,
            masks=masks(network, objective, STEP, n),
        )  # fmt: skip
        call = {"objective": objective, "sample_weight": w, "step": STEP}
        loss, gradient = REFERENCE.gradient(network, exact, X, y, **call)
        samples = fastnn.prepare(X, layout=layout)
        found_loss, found = FUSED.gradient(network, parameters, samples, y, **call)
        assert abs(found_loss - loss) <= 2 * loss_bound
        found, gradient = (fastnn.Parameters(sizes, g) for g in (found, gradient))
        for layer in range(len(sizes) - 1):
            for a, b, bound in (
                (found.weights[layer], gradient.weights[layer], dW_bounds[layer]),
                (found.biases[layer], gradient.biases[layer], db_bounds[layer]),
            ):
                assert (np.abs(a - b) <= 2 * bound).all()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_losses_like_scikit_learns(output, engine, dtype):
    # a network that passes its input on: so these are the logits. From 40 on probabilities are
    # clipped; between 5 and 40 those of scikit-learn have few digits left, and the losses too
    k = 3
    Z = np.array([[0, 1, -2], [5, -5, 0.5], [40, -40, 0], [-60, 60, 50]], dtype)
    if output == "exp":
        Z = np.clip(Z, -5, 5)  # nothing is clipped there
    network = fastnn.Network((k, k), output=output)
    parameters = network.initialize(0, dtype=dtype)
    parameters.vector[:] = np.r_[np.eye(k).ravel(), np.zeros(k)]
    P = engine.predict(network, parameters, Z)
    name = {
        "softmax": "log_loss", "logistic": "binary_log_loss", "identity": "squared_error",
        "exp": "poisson",
    }[output]  # fmt: skip
    w = np.array([1.0, 0.5, 2.0, 1.5])
    for classes in ([0, 1, 2, 0], [2, 0, 0, 1], [1, 1, 1, 2]):
        T = np.eye(k, dtype=dtype)[classes]
        y = classes if output == "softmax" else T
        loss, _ = engine.gradient(
            network, parameters, Z, y, objective=Objective(like_sklearn=True), sample_weight=w
        )
        expected = LOSS_FUNCTIONS[name](T if dtype == "float32" else T.astype(bool), P, w)
        assert loss == pytest.approx(expected, rel=float(40 * np.finfo(dtype).eps))


def test_gradients_do_not_know_of_clipped_probabilities():
    for output in OUTPUTS:
        network, parameters, X, y = problem(output)
        for engine in ENGINES.values():
            _, usual = engine.gradient(network, parameters, X, y)
            _, clipped = engine.gradient(
                network, parameters, X, y, objective=Objective(like_sklearn=True)
            )
            np.testing.assert_array_equal(usual, clipped)


# --- dropout -------------------------------------------------------------------------------------


@njit
def random_bits(block, layer, step, seed, out):
    put_random_bits(block, layer, step, seed, address(out, 0))


def test_random_bits_are_philoxs():
    out = np.zeros(4, np.int64)
    random_bits(0, 0, 0, 0, out)
    # the published answer for a counter and a key of zeros (Random123, kat_vectors)
    assert [f"{word:016x}" for word in out.view(np.uint64)] == [
        "16554d9eca36314c", "db20fe9d672d0fdc", "d7e772cee186176b", "7e68b68aec7ba23b",
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    for block, layer, step, seed in rng.integers(1, 2**62, (50, 4)):
        random_bits(block, layer, step, seed, out)
        philox = np.random.Philox(
            key=np.array([seed, 0], np.uint64),
            counter=np.array([block - 1, 0, layer, step], np.uint64),
        )
        np.testing.assert_array_equal(out.view(np.uint64), philox.random_raw(4))


def test_a_mask_drops_its_share_and_keeps_the_mean():
    for dropout in (0.1, 0.5, 0.9):
        M = mask(Objective(dropout=dropout), 0, 0, (500, 201))
        assert set(np.unique(M)) == {0, 1 / (1 - dropout)}
        deviation = math.sqrt(dropout * (1 - dropout) / M.size)
        assert abs((M == 0).mean() - dropout) < 5 * deviation


def test_masks_of_other_steps_layers_and_seeds_are_others():
    objective, shape = Objective(dropout=0.5), (64, 64)
    first = mask(objective, 0, 0, shape)
    others = [
        mask(objective, 1, 0, shape),
        mask(objective, 0, 1, shape),
        mask(Objective(dropout=0.5, dropout_seed=1), 0, 0, shape),
    ]
    for other in others:
        assert abs((first == other).mean() - 0.5) < 5 * math.sqrt(0.25 / first.size)


def test_a_samples_mask_does_not_depend_on_those_after_it():
    objective = Objective(dropout=0.5)
    np.testing.assert_array_equal(
        mask(objective, 3, 1, (10, 13)), mask(objective, 3, 1, (99, 13))[:10]
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_dropped_units_have_no_part_in_loss_and_gradient(activation):
    network, parameters, X, y = problem("softmax", (4, 6, 3), 1, activation=activation)
    objective = Objective(dropout=0.5)
    (M,) = masks(network, objective, STEP, 1)
    dropped = M[0] == 0
    assert 0 < dropped.sum() < 6
    for engine in ENGINES.values():
        loss, gradient = engine.gradient(network, parameters, X, y, objective=objective, step=STEP)
        (dW1, dW2), (db1, _) = (
            getattr(fastnn.Parameters(network.layer_sizes, gradient), name)
            for name in ("weights", "biases")
        )
        assert not dW1[:, dropped].any()
        assert not db1[dropped].any()
        assert not dW2[dropped].any()
        assert dW2[~dropped].any(axis=1).sum() == (~dropped).sum() or activation == "relu"
        # as a network of the others only, whose outputs count twice
        less = fastnn.Network((4, int((~dropped).sum()), 3), activation=activation)
        W1, W2 = parameters.weights
        theta = [W1[:, ~dropped], parameters.biases[0][~dropped], 2 * W2[~dropped]]
        parts = [part.ravel() for part in (*theta, parameters.biases[1])]
        kept = fastnn.Parameters(less.layer_sizes, np.concatenate(parts))
        assert loss == pytest.approx(engine.gradient(less, kept, X, y)[0], rel=1e-13)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    "objective",
    [Objective(0.1, dropout=0.5), Objective(clip_norm=0.3), Objective(0.1, clip_norm=1e-3)],
    ids=["dropout", "clip", "clip all"],
)
@pytest.mark.parametrize("optimizer", [fastnn.SGD(), fastnn.SGD(0.9), fastnn.Adam()], ids=repr)
def test_train_is_gradient_then_update(engine, objective, optimizer):
    for output in OUTPUTS:
        network, whole, X, y = problem(output, n=50)
        parts, order = whole.copy(), np.random.default_rng(0).permutation(50)
        state, other = optimizer.initialize(whole), optimizer.initialize(parts)
        losses = engine.train(
            network, whole, state, X, y, order,
            batch_size=20, learning_rates=0.01, objective=objective,
        )  # fmt: skip
        for i in range(3):
            batch = order[20 * i : 20 * i + 20]
            loss, gradient = engine.gradient(
                network, parts, X[batch], y[batch], objective=objective, step=i
            )
            engine.update(parts, gradient, other, 0.01)
            assert loss == losses[i]
        np.testing.assert_array_equal(whole.vector, parts.vector)


def test_predictions_drop_nothing():
    network, parameters, X, y = problem("softmax")
    for engine in ENGINES.values():
        before = engine.predict(network, parameters, X)
        engine.gradient(network, parameters, X, y, objective=Objective(dropout=0.9))
        np.testing.assert_array_equal(engine.predict(network, parameters, X), before)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_splits_give_the_same_bits(monkeypatch, output, dtype):
    results = []
    for group, many, threads in ((512, 0, 1), (128, 0, 3), (512, 1 << 30, 1), (512, 1 << 30, 3)):
        monkeypatch.setattr(run, "GROUP", group)
        monkeypatch.setattr(run, "MANY_GRADIENTS", many)
        for layout in ("dense", "sparse"):
            for extra in ({}, {"clip_norm": 0.1}):
                network, theta, X, y = problem(output, (9, 20, 5), 700, dtype=dtype)
                losses = FusedEngine(threads, always=True).train(
                    network, theta, fastnn.SGD().initialize(theta),
                    fastnn.prepare(X, layout=layout), y, np.arange(700), batch_size=600,
                    learning_rates=0.01, objective=Objective(0.1, dropout=0.3, **extra),
                )  # fmt: skip
                results.append((bool(extra), losses, theta.vector))
    for clips in (False, True):
        (_, losses, vector), *others = [result for result in results if result[0] == clips]
        for _, other_losses, other in others:
            np.testing.assert_array_equal(other_losses, losses)
            np.testing.assert_array_equal(other, vector)


# --- clipping and smoothing ----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_a_clipped_gradient_has_the_norm_asked_for_and_its_direction(engine, layout):
    network, parameters, X, y = problem("softmax", n=300)
    samples = fastnn.prepare(X, layout=layout)
    loss, whole = engine.gradient(network, parameters, samples, y)
    norm = np.linalg.norm(whole)
    for limit in (norm / 2, norm / 1e6):
        objective = Objective(clip_norm=limit)
        same_loss, clipped = engine.gradient(network, parameters, samples, y, objective=objective)
        assert same_loss == loss
        np.testing.assert_allclose(clipped, whole * (limit / norm), rtol=1e-13)
    untouched = Objective(clip_norm=norm * 1.01)
    np.testing.assert_array_equal(
        engine.gradient(network, parameters, samples, y, objective=untouched)[1], whole
    )


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_smoothing_mixes_the_losses_of_all_classes(engine):
    s, k = 0.3, 3
    network, parameters, X, y = problem("softmax")
    losses = [engine.gradient(network, parameters, X, np.full(len(X), j))[0] for j in range(k)]
    right, _ = engine.gradient(network, parameters, X, y)
    found, _ = engine.gradient(network, parameters, X, y, objective=Objective(label_smoothing=s))
    assert found == pytest.approx((1 - s) * right + s * sum(losses) / k, rel=1e-13)

    network, parameters, X, y = problem("logistic", (6, 5, 1))
    zeros, ones = (engine.gradient(network, parameters, X, np.full(len(X), j))[0] for j in (0, 1))
    y = (y > 0.5)[:, 0]
    right, _ = engine.gradient(network, parameters, X, y)
    found, _ = engine.gradient(network, parameters, X, y, objective=Objective(label_smoothing=s))
    assert found == pytest.approx((1 - s) * right + s * (zeros + ones) / 2, rel=1e-13)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    ("output", "y", "message"),
    [
        ("logistic", [[0.0, 1.0], [0.5, 1.5]], r"y\[1, 1\] is 1.5; .*'logistic'.* from 0 to 1"),
        ("exp", [[0.0, 1.0], [-0.5, 1.5]], r"y\[1, 0\] is -0.5; .*'exp'"),
        ("identity", [[0.0, np.nan], [0.5, 1.5]], r"y\[0, 1\] is nan; .*finite numbers"),
        ("identity", [[0.0, 1e39], [0.5, 1.5]], r"y\[0, 1\] is 1e\+39; .*float32"),
        ("identity", [0.0, 1.0], r"y has shape \(2,\); expected \(2, 2\), one row per sample"),
        ("identity", [["a", "b"]] * 2, "y has dtype <U1; expected numbers"),
        ("softmax", [[0.0, 1.0], [0.5, 1.5]], "y has dtype float64; engines take class indices"),
    ],
)
def test_targets_that_do_not_fit(engine, output, y, message):
    network = fastnn.Network((3, 2), output=output)
    parameters = network.initialize(0)
    before = parameters.vector.copy()
    X = np.zeros((2, 3), np.float32)
    with pytest.raises(fastnn.InputError, match=message):
        engine.gradient(network, parameters, X, y)
    state = fastnn.SGD().initialize(parameters)
    with pytest.raises(fastnn.InputError, match=message):
        engine.train(network, parameters, state, X, y, [0, 1], batch_size=2, learning_rates=1.0)
    np.testing.assert_array_equal(parameters.vector, before)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("step", [-1, 0.5, True, "a"])
def test_a_step_that_is_none(engine, step):
    network, parameters, X, y = problem("softmax")
    with pytest.raises(fastnn.InputError, match=r"step is .*expected a whole number"):
        engine.gradient(network, parameters, X, y, step=step)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1.0}, r"dropout is 1.0; expected a number in \[0, 1\)"),
        ({"dropout": "much"}, "dropout is 'much'; expected a number"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1; expected a number in"),
        ({"dropout_seed": -1}, "dropout_seed is -1; expected a whole number"),
        ({"dropout_seed": True}, "dropout_seed is True; expected a whole number"),
        ({"like_sklearn": "no"}, "like_sklearn is 'no'; expected True or False"),
        ({"dropout_seed": 2**64}, "dropout_seed is 18446744073709551616"),
        ({"clip_norm": 0}, "clip_norm is 0.0; expected a finite number above 0, or None"),
        ({"clip_norm": math.inf}, "clip_norm is inf"),
        ({"like_sklearn": True, "label_smoothing": 0.1}, "it has no label_smoothing"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(fastnn.InputError, match=message):
        Objective(**settings)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("output", ["identity", "exp"])
def test_smoothing_is_for_probabilities(engine, output):
    network, parameters, X, y = problem(output)
    objective = Objective(label_smoothing=0.1)
    with pytest.raises(fastnn.InputError, match=f"'softmax' and 'logistic', not '{output}'"):
        engine.gradient(network, parameters, X, y, objective=objective)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_a_gradient_whose_norm_overflows_is_not_hidden_by_clipping(engine):
    network, parameters, X, y = problem("identity")
    y = np.full(y.shape, 1e155)
    _, whole = engine.gradient(network, parameters, X, y)
    _, found = engine.gradient(network, parameters, X, y, objective=Objective(clip_norm=1.0))
    np.testing.assert_array_equal(found, whole)


def test_numbers_of_numpy_among_the_settings():
    objective = Objective(
        dropout=np.float32(0.5), dropout_seed=np.uint64(2**63), clip_norm=np.int8(1)
    )
    assert objective == Objective(dropout=0.5, dropout_seed=2**63, clip_norm=1.0)


def test_fit_is_for_classes():
    network = fastnn.Network((3, 2), output="identity")
    with pytest.raises(fastnn.InputError, match="output is 'identity'; fit trains classifiers"):
        fastnn.fit(network, np.zeros((4, 3)), [0, 1, 0, 1])
