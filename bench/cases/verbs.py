"""What users call: predict, one gradient, one step, one epoch, fit; on all threads."""

from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np

import fastnn
from bench.cases.case import Case, Truth, once
from bench.cases.problems import SIZES, Problem, problem
from bench.cases.rounding import U, drift, flat, step_bound
from fastnn.bounds import away_from_kinks, gradient_bound
from fastnn.peers import sklearn_model, torch_model
from fastnn.tasks import Task
from fastnn.threads import usable_cpus

THREADS = usable_cpus()
ENGINES = ("fused", "reference")
RATE = 0.01
EPOCH, BATCH = 12_000, 128
FIT_EPOCHS = 3
SETTINGS = {"epochs": FIT_EPOCHS, "batch_size": 32, "learning_rate": 0.05, "seed": 0}
FLOAT = 4

PRODUCTS = sum(a * b for a, b in pairwise(SIZES))
FIRST = SIZES[0] * SIZES[1]
N_PARAMETERS = fastnn.Network(SIZES).n_parameters


def engine(name: str) -> Any:
    return fastnn.get_engine(name, threads=THREADS)


def bounds_of(data: Problem) -> tuple[Any, float, Any]:
    """Return bounds for the probabilities, the loss and the gradient, a flat vector."""
    start = data.parameters
    P, loss, dW, db = gradient_bound(
        start.weights, start.biases, data.X, data.y, activation="relu", u=U
    )
    return P, loss, flat(data.network.layer_sizes, dW, db)


def exact_gradient(data: Problem) -> tuple[float, Any]:
    return engine("reference").gradient(data.network, data.in_double(), data.X, data.y)


def facts(data: Problem, *, backward: bool, moved: int = 0) -> dict[str, Any]:
    """Return the operations on values that are not zero, and the bytes read and written once."""
    nonzeros = int(np.count_nonzero(data.X))
    density, n = nonzeros / data.X.size, len(data.X)
    used = density if data.X.size > 3 * nonzeros else 1.0  # zeros are skipped
    first, rest = FIRST * used * n, (PRODUCTS - FIRST) * n
    flop = 2.0 * (first + rest) * (2 if backward else 1) + (2.0 * rest if backward else 0.0)
    n_bytes = data.X.nbytes * used + FLOAT * (N_PARAMETERS * max(moved, 1) + n * SIZES[-1])
    return {"flop": flop, "bytes": n_bytes, "density": density}


def verb(name: str, kernel: str, n: int, **parts: Any) -> Case:
    """Return a case on 784-128-10."""
    return Case(name, kernel, shape=SIZES, n_samples=n, threads=THREADS, **parts)


def predict_case(n: int) -> Case:
    data = once(lambda: problem(4096).first(n))

    def fastnns(name: str) -> Any:
        made, runner = data(), engine(name)
        X, out = fastnn.prepare(made.X), np.empty((n, SIZES[-1]), np.float32)
        return lambda: (runner.predict(made.network, made.parameters, X, out=out),)

    def sklearns() -> Any:
        made = problem(4096)
        model = sklearn_model(Task("predict", SIZES, 4096, BATCH), made.X, made.y)
        parts = made.parameters.weights + made.parameters.biases
        for mine, values in zip(model.coefs_ + model.intercepts_, parts, strict=True):
            mine[...] = values
        X = data().X
        return lambda: (model.predict_proba(X),)

    def torchs() -> Any:
        import torch

        torch.set_num_threads(THREADS)
        model, X = torch_model(data().parameters), torch.from_numpy(data().X)

        def run() -> Any:
            with torch.inference_mode():
                return (model(X).softmax(dim=1),)

        return run

    def truth() -> Truth:
        made = data()
        exact = engine("reference").predict(made.network, made.in_double(), made.X)
        return Truth((exact,), (bounds_of(made)[0],))

    makers = {name: partial(fastnns, name) for name in ENGINES} | {"scikit-learn": sklearns}
    return verb(
        f"predict {n} samples", "predict", n, makers=makers | with_torch(torchs),
        truth=once(truth), about=lambda: facts(data(), backward=False),
    )  # fmt: skip


def with_torch(make: Any) -> dict[str, Any]:
    """Return torch as a library of a case, if it is installed."""
    return {"torch": make} if find_spec("torch") else {}


def torch_training(data: Problem, optimizer: Any = None) -> Any:
    """Return a function that computes the gradient, and steps if there is an optimizer."""
    import torch

    torch.set_num_threads(THREADS)
    model = torch_model(data.parameters)
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    stepper = None if optimizer is None else optimizer(model.parameters())

    def run() -> Any:
        model.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(X), y)
        loss.backward()
        if stepper is not None:
            stepper.step()
        return loss.detach(), model

    return run


def as_vector(found: Any, *, gradient: bool) -> Any:
    """Return the parameters or gradients of a torch model as our vector; others as they are."""
    if isinstance(found, np.ndarray):
        return found
    parts = [(layer.weight, layer.bias) for layer in found[::2]]
    arrays = [part.grad if gradient else part.detach() for pair in parts for part in pair]
    return np.concatenate([array.numpy().T.reshape(-1) for array in arrays])


def gradient_case(n: int) -> Case:
    data = once(lambda: problem(4096).first(n))

    def fastnns(name: str) -> Any:
        made, runner = data(), engine(name)
        X = fastnn.prepare(made.X)
        return lambda: runner.gradient(made.network, made.parameters, X, made.y)

    def truth() -> Truth:
        _, loss, gradient = bounds_of(data())
        return Truth(exact_gradient(data()), (loss, gradient))

    makers = {name: partial(fastnns, name) for name in ENGINES}
    return verb(
        f"one gradient, {n} samples", "one gradient", n,
        makers=makers | with_torch(lambda: torch_training(data())), truth=once(truth),
        about=lambda: facts(data(), backward=True),
        reads=lambda found: (found[0], as_vector(found[1], gradient=True)),
    )  # fmt: skip


def mid_training(optimizer: Any, parameters: Any) -> Any:
    """Return a state with moments: after Adam's first step only signs would count."""
    rng, state = np.random.default_rng(5), optimizer.initialize(parameters)
    for name, moment in zip(optimizer.moment_names, state.moments, strict=True):
        drawn = rng.normal(0, 0.01, moment.shape)
        moment[...] = drawn**2 + 1e-6 if name == "v" else drawn
    state.step = 5
    return state


def step_case(n: int, optimizer: Any) -> Case:
    data, name = once(lambda: problem(4096).first(n)), type(optimizer).__name__

    def training(engine_name: str, dtype: type = np.float32) -> Any:
        made, runner, state = data(), engine(engine_name), mid_training(
            optimizer, data().parameters)  # fmt: skip
        X, order = fastnn.prepare(made.X), np.arange(n)
        theta = fastnn.Parameters(SIZES, made.parameters.vector.astype(dtype))
        state.moments = tuple(moment.astype(dtype) for moment in state.moments)

        def run() -> Any:
            losses = runner.train(
                made.network, theta, state, X, made.y, order, batch_size=n, learning_rates=RATE
            )
            return losses[0], theta.vector, *state.moments

        return run

    def torchs() -> Any:
        import torch

        return torch_training(data(), lambda parts: torch.optim.SGD(parts, RATE, fused=True))

    def truth() -> Truth:
        made = data()
        _, loss, error = bounds_of(made)
        gradient, state = exact_gradient(made)[1], mid_training(optimizer, made.parameters)
        moved = step_bound(made.parameters.vector.astype(float), gradient, error, state, RATE)
        return Truth(training("reference", np.float64)(), (loss, *moved))

    makers = {each: partial(training, each) for each in ENGINES}
    moved = 2 * (1 + len(optimizer.moment_names))
    return verb(
        f"one step, {name}, {n} samples", f"one step, {name}", n,
        makers=makers | (with_torch(torchs) if name == "SGD" else {}), truth=once(truth),
        about=lambda: facts(data(), backward=True, moved=moved),
        reads=lambda found: (found[0], as_vector(found[1], gradient=False), *found[2:]),
    )  # fmt: skip


def epoch_case(layout: str) -> Case:
    data = once(lambda: problem(EPOCH, layout))
    n_batches = -(-EPOCH // BATCH)

    def training(name: str, dtype: type = np.float32) -> Any:
        made, runner, theta = data(), engine(name), fastnn.Parameters(
            SIZES, data().parameters.vector.astype(dtype))  # fmt: skip
        X, order = fastnn.prepare(made.X), np.arange(EPOCH)
        state = fastnn.SGD().initialize(theta)
        return lambda: (
            runner.train(
                made.network, theta, state, X, made.y, order, batch_size=BATCH, learning_rates=RATE
            ),
        )

    def truth() -> Truth:
        first = data().first(BATCH)
        _, loss, error = bounds_of(first)
        bound = drift(loss, exact_gradient(first)[1], error, RATE, n_batches)
        return Truth(training("reference", np.float64)(), (bound,))

    return verb(
        f"one epoch, SGD, {layout}, {EPOCH} samples, batch {BATCH}", "one epoch", EPOCH,
        makers={name: partial(training, name) for name in ENGINES}, truth=once(truth),
        about=lambda: facts(data(), backward=True, moved=2 * n_batches), layout=layout,
    )  # fmt: skip


@once
def digits() -> Any:
    """Return the digits, and a network to start from."""
    data = fastnn.datasets.load("digits")
    network = fastnn.Network((64, 32, 10))
    return data, network, network.initialize(0)


def fit_digits(name: str, dtype: str = "float32") -> Any:
    """Return a function that fits digits from the same start each time."""
    data, network, start = digits()

    def run() -> Any:
        theta = fastnn.Parameters(network.layer_sizes, start.vector.astype(dtype))
        return fastnn.fit(
            network, data.X_train, data.y_train, optimizer=fastnn.SGD(), parameters=theta,
            scale=data.scale, engine=name, threads=THREADS, dtype=dtype, **SETTINGS,
        )  # fmt: skip

    return run


def fit_truth() -> Truth:
    """Return the losses of the epochs, and how far rounding may carry them."""
    data, network, start = digits()
    X = np.asarray(data.X_train) * (data.scale or 1.0)
    clear = away_from_kinks(start.weights, start.biases, X, activation="relu", u=U)
    y = np.searchsorted(data.classes, data.y_train)
    first = Problem(network, start, X[clear], y[clear]).first(32)
    _, loss, error = bounds_of(first)
    n_batches = FIT_EPOCHS * -(-len(X) // 32)
    bound = drift(loss, exact_gradient(first)[1], error, SETTINGS["learning_rate"], n_batches)[-1]
    found = fit_digits("reference", "float64")()
    return Truth((np.array(found.history.loss),), (bound,))


def fit_case() -> Case:
    def about() -> dict[str, Any]:
        X = digits()[0].X_train
        n, n_batches = len(X), FIT_EPOCHS * -(-len(X) // 32)
        flop = FIT_EPOCHS * n * 2.0 * (2 * 64 * 32 + 3 * 32 * 10)
        n_bytes = FIT_EPOCHS * X.nbytes + FLOAT * 2 * n_batches * digits()[1].n_parameters
        return {"flop": flop, "bytes": n_bytes, "density": np.count_nonzero(X) / X.size}

    return Case(
        f"fit, digits, {FIT_EPOCHS} epochs", "fit",
        {name: partial(fit_digits, name) for name in ENGINES}, once(fit_truth), once(about),
        (64, 32, 10), FIT_EPOCHS * 1437, threads=THREADS,
        reads=lambda model: (model.history.loss,),
    )  # fmt: skip


def cases() -> list[Case]:
    """Return the verbs in all their sizes."""
    return [
        *(predict_case(n) for n in (1, 128, 4096)),
        *(gradient_case(n) for n in (32, 128, 4096)),
        *(step_case(n, each) for each in (fastnn.SGD(), fastnn.Adam()) for n in (32, 128, 512)),
        *(epoch_case(layout) for layout in ("dense", "sparse")),
        fit_case(),
    ]
