"""The kernels one by one on one thread: the fused engine's phases beside the same in NumPy.

A call of a compiled phase costs about a microsecond. Products take a hundred times that; the head
does not, and is repeated ``REPEATS`` times within a call.
"""

from functools import partial
from itertools import product
from typing import Any

import numpy as np

import fastnn
from bench.cases import phases
from bench.cases.case import Case, Truth, once
from bench.cases.problems import N_CLASSES, samples
from bench.cases.rounding import U, head, step_bound
from fastnn import reference
from fastnn.bounds import product_bound
from fastnn.network import Parameters
from fastnn.optimizers import OptimizerState

N = 128
SHAPES = ((784, 128), (512, 512))
REPEATS = 32
FLOAT = 4  # bytes
ENTRY = 6  # bytes of a value without zeros and its column

# with the floating-point operations of one parameter's step, roots and quotients counted as one
OPTIMIZERS: dict[str, tuple[Any, float, int]] = {
    "SGD": (fastnn.SGD(), 0.1, 2),
    "momentum": (fastnn.SGD(0.9), 0.1, 4),
    "Nesterov": (fastnn.SGD(0.9, nesterov=True), 0.1, 6),
    "Adam": (fastnn.Adam(), 1e-3, 13),
    "AdamW": (fastnn.Adam(weight_decay=0.01), 1e-3, 15),
}


class Layer:
    """One layer, its inputs, and the slopes ``delta`` of the loss by what it puts out."""

    def __init__(self, fan_in: int, fan_out: int, layout: str) -> None:
        rng = np.random.default_rng([fan_in, fan_out])
        self.sizes, self.layout = (fan_in, fan_out), layout
        self.X = samples(N, fan_in, layout)
        self.network = fastnn.Network(self.sizes)
        self.parameters = self.network.initialize(rng)
        self.W, self.b = self.parameters.weights[0], self.parameters.biases[0]
        self.b[...] = rng.normal(0, 0.1, fan_out)
        self.D = rng.normal(0, 1 / N, (N, fan_out)).astype(np.float32)
        self.A = np.maximum(rng.normal(size=(N, fan_in)), 0).astype(np.float32)  # of a ReLU
        self.y = rng.integers(0, min(fan_out, N_CLASSES), N)
        self.seed = rng.integers(2**31)
        self.nonzeros = int(np.count_nonzero(self.X))
        self.touched = int(self.X.any(axis=0).sum())

    def state(self, optimizer: Any) -> OptimizerState:
        """Return moments in the midst of training: after a first step signs alone would count."""
        rng = np.random.default_rng(self.seed)
        state = optimizer.initialize(self.parameters)
        for name, moment in zip(optimizer.moment_names, state.moments, strict=True):
            drawn = rng.normal(0, 0.01, moment.shape)
            moment[...] = drawn**2 + 1e-6 if name == "v" else drawn
        state.step = 5
        return state

    def moved(self, dtype: Any) -> Parameters:
        return Parameters(self.sizes, self.parameters.vector.astype(dtype))

    def input_bytes(self) -> int:
        return self.nonzeros * ENTRY if self.layout == "sparse" else self.X.nbytes

    def for_library(self) -> Any:
        """Return X as SciPy multiplies it, if it is sparse."""
        if self.layout == "dense":
            return self.X
        from scipy.sparse import csr_matrix

        return csr_matrix(self.X)


def about(layer: Layer, flop: float, n_bytes: float) -> dict[str, Any]:
    return {"flop": flop, "bytes": n_bytes, "density": layer.nonzeros / layer.X.size}


def products(layer: Layer) -> float:
    """Return the operations of a product with X, its zeros left out if it is sparse."""
    return 2.0 * layer.sizes[1] * (layer.nonzeros if layer.layout == "sparse" else layer.X.size)


def forward_case(shape: tuple[int, int], layout: str, layer: Any) -> Case:
    def fused() -> Any:
        made = layer()
        work = phases.Phases(made.network, made.moved(np.float32), made.X, made.y, layout=layout)
        Z = work.room_of(0, "A")

        def run() -> Any:
            work.do(phases.FORWARD)
            return (Z,)

        return run

    def in_numpy() -> Any:
        made = layer()
        X, W, b = made.for_library(), made.W, made.b
        return lambda: (X @ W + b,)

    def truth() -> Truth:
        made = layer()
        X, W, b = (part.astype(float) for part in (made.X, made.W, made.b))
        # one more rounding: SciPy and NumPy add b to a rounded sum
        return Truth((X @ W + b,), (product_bound(X, W, U, b) + U * np.abs(X @ W + b),))

    def facts() -> dict[str, Any]:
        made = layer()
        n_bytes = made.input_bytes() + FLOAT * (made.parameters.vector.size + N * shape[1])
        return about(made, products(made), n_bytes)

    return kernel("forward", shape, layout, fused, in_numpy, truth, facts)


def input_gradient_case(shape: tuple[int, int], layer: Any) -> Case:
    def fused() -> Any:
        made = layer()
        network = fastnn.Network((1, *shape))  # so that the layer has one below
        parameters = network.initialize(0)
        parameters.weights[1][...] = made.W
        ones = np.ones((N, 1), np.float32)
        work = phases.Phases(network, parameters, ones, made.y, layout="dense")
        work.room_of(0, "A")[...] = made.A
        work.room_of(1, "delta")[...] = made.D
        delta = work.room_of(0, "delta")

        def run() -> Any:
            work.do(phases.BACKWARD)
            return (delta,)

        return run

    def in_numpy() -> Any:
        made = layer()
        slope, D, W = reference.DERIVATIVE["relu"], made.D, made.W
        return lambda: ((D @ W.T) * slope(made.A),)

    def truth() -> Truth:
        made = layer()
        D, W, open_ = made.D.astype(float), made.W.astype(float), made.A > 0
        return Truth(((D @ W.T) * open_,), (product_bound(D, W.T, U) * open_,))

    def facts() -> dict[str, Any]:
        made = layer()
        n_bytes = FLOAT * (made.W.size + made.D.size + 2 * made.A.size)
        return about(made, 2.0 * N * made.W.size, n_bytes)

    return kernel("input gradient", shape, "dense", fused, in_numpy, truth, facts)


def weight_gradient_case(
    shape: tuple[int, int], layout: str, layer: Any, optimizer_name: str | None
) -> Case:
    optimizer, rate, operations = OPTIMIZERS.get(optimizer_name or "", (None, 0.0, 0))

    def fused() -> Any:
        made = layer()
        theta = made.moved(np.float32)
        state = None if optimizer is None else made.state(optimizer)
        work = phases.Phases(
            made.network, theta, made.X, made.y, layout=layout, state=state, rate=rate
        )
        work.room_of(0, "delta")[...] = made.D
        found = (work.gradient,) if state is None else (theta.vector, *state.moments)

        def run() -> Any:
            work.do(phases.WEIGHTS)
            return found

        return run

    def in_numpy() -> Any:
        made = layer()
        theta, gradient = made.moved(np.float32), made.moved(np.float32)
        X, D = made.for_library(), made.D
        state = None if optimizer is None else made.state(optimizer)

        def run() -> Any:
            gradient.weights[0][...] = X.T @ D
            gradient.biases[0][...] = D.sum(axis=0)
            if state is None:
                return (gradient.vector,)
            reference.step(theta.vector, gradient.vector, state, rate)
            return theta.vector, *state.moments

        return run

    def truth() -> Truth:
        made = layer()
        X, D, gradient, error = made.X.astype(float), made.D.astype(float), *(
            made.moved(float) for _ in range(2)
        )  # fmt: skip
        gradient.weights[0][...], gradient.biases[0][...] = X.T @ D, D.sum(axis=0)
        error.weights[0][...] = product_bound(X.T, D, U)
        error.biases[0][...] = product_bound(np.ones((1, N)), D, U)[0]
        if optimizer is None:
            return Truth((gradient.vector,), (error.vector,))
        theta, state = made.moved(float), made.state(optimizer)
        state.moments = tuple(moment.astype(float) for moment in state.moments)
        bounds = step_bound(theta.vector, gradient.vector, error.vector, state, rate)
        reference.step(theta.vector, gradient.vector, state, rate)
        return Truth((theta.vector, *state.moments), bounds)

    def facts() -> dict[str, Any]:
        made = layer()
        moved = made.parameters.vector.size
        if layout == "sparse" and optimizer_name in (None, "SGD"):
            moved = (made.touched + 1) * shape[1]  # the other rows rest
        passes = 1 if optimizer is None else 2 * (1 + len(optimizer.moment_names))
        n_bytes = made.input_bytes() + made.D.nbytes + FLOAT * passes * moved
        return about(made, products(made) + operations * moved, n_bytes)

    name = f"weight gradient, {optimizer_name or 'stored'}"
    return kernel(name, shape, layout, fused, in_numpy, truth, facts)


def head_case() -> Case:
    shape = (N, N_CLASSES)

    @once
    def logits() -> Any:
        rng = np.random.default_rng(3)
        return rng.normal(0, 3, shape).astype(np.float32), rng.integers(0, N_CLASSES, N)

    def fused() -> Any:
        Z, y = logits()
        network = fastnn.Network((1, N_CLASSES))
        ones = np.ones((N, 1), np.float32)
        work = phases.Phases(network, network.initialize(0), ones, y, layout="dense")
        delta = work.room_of(0, "delta")
        rows = np.zeros((N, delta.strides[0] // FLOAT), np.float32)
        rows[:, :N_CLASSES] = Z
        rows = rows.reshape(-1)

        def run() -> Any:
            work.do(phases.HEAD, REPEATS, rows)
            return work.plan.sample_losses[:N], delta

        return run

    def in_numpy() -> Any:
        Z, y = logits()
        T = np.eye(N_CLASSES, dtype=np.float32)[y]

        def run() -> Any:
            for _ in range(REPEATS):
                losses = reference.cross_entropy(Z, T) / N
                delta = reference.softmax(Z) - T
                delta *= np.float32(1 / N)
            return losses, delta

        return run

    def truth() -> Truth:
        found, bounds = head(*logits(), 1 / N)
        # NumPy rounds the parts of the loss to float32
        return Truth(tuple(found), (bounds.losses + U * found.losses, bounds.delta))

    def facts() -> dict[str, Any]:
        n = REPEATS * N * N_CLASSES  # largest, subtract, exp, sum, divide, share
        return {"flop": 6.0 * n, "bytes": 2.0 * FLOAT * n, "density": 1.0, "repeats": REPEATS}

    return kernel("head", shape, "dense", fused, in_numpy, truth, facts)


def kernel(
    name: str, shape: tuple[int, int], layout: str, fused: Any, in_numpy: Any, truth: Any,
    facts: Any,
) -> Case:  # fmt: skip
    of_zeros = "sparse " if layout == "sparse" else ""
    n_samples = REPEATS * N if name == "head" else N
    return Case(
        f"{of_zeros}{name} {shape[0]}x{shape[1]}, {N} samples", name,
        {"fused": fused, "reference": in_numpy}, once(truth), once(facts), shape, n_samples,
        layout, mark="kernels",
    )  # fmt: skip


def cases() -> list[Case]:
    """Return the kernels of all shapes; the sparse ones at MNIST's."""
    found = []
    for shape, layout in [*product(SHAPES, ["dense"]), (SHAPES[0], "sparse")]:
        layer = once(partial(Layer, *shape, layout))
        found.append(forward_case(shape, layout, layer))
        if layout == "dense":
            found.append(input_gradient_case(shape, layer))
        found += [weight_gradient_case(shape, layout, layer, name) for name in (None, *OPTIMIZERS)]
    return [*found, head_case()]
