"""What the four verbs of an engine take besides X, checked in one place for all engines.

Each function returns what it checked in the form that engines run on, or raises an ``InputError``
that says what was given, what was expected and where. Nothing is changed before all checks passed.
"""

from math import inf, nan
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.errors import DivergedError, InputError
from fastnn.inputs import Input, as_array, prepare, prepare_once
from fastnn.network import Network, Parameters
from fastnn.objective import Objective
from fastnn.optimizers import OptimizerState

# Least and largest target of each output that is no softmax.
TARGETS = {"logistic": (0.0, 1.0), "identity": (-inf, inf), "exp": (0.0, inf)}

MOST = 10**9  # epochs, or samples in a batch: their product still counts batches exactly


def check_samples(
    network: Network, parameters: Parameters, X: ArrayLike | Input, *, once: bool = True
) -> Input:
    """Return X prepared, for one pass or many, once network, parameters and X fit each other."""
    check_instance("network", network, Network)
    check_instance("parameters", parameters, Parameters)
    if parameters.layer_sizes != network.layer_sizes:
        raise InputError(
            f"the parameters are for layer sizes {parameters.layer_sizes}; "
            f"the network has {network.layer_sizes}"
        )
    samples = prepare_once(X) if once else prepare(X)
    check_features(samples, network.n_features)
    samples.require_dtype(parameters.dtype)
    return samples


def check_instance(name: str, value: Any, kind: type) -> None:
    """Raise unless ``value`` is one of fastnn's own records."""
    if not isinstance(value, kind):
        raise InputError(f"{name} is {value!r:.80}; expected a fastnn {kind.__name__}")


def check_features(X: Input, n_features: int) -> None:
    """Raise unless X has as many features as the network."""
    if X.n_features != n_features:
        raise InputError(f"X has {X.n_features} features; the network expects {n_features}")


def check_out(out: Any, shape: tuple[int, int], parameters: Parameters) -> None:
    """Raise unless ``out`` can receive probabilities."""
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != parameters.dtype:
        found = (
            f"has shape {out.shape} and dtype {out.dtype}"
            if isinstance(out, np.ndarray)
            else f"is {type(out).__name__}"
        )
        raise InputError(f"out {found}; expected an array of {shape} and {parameters.dtype}")
    if not out.flags.writeable:
        raise InputError("out is read-only; expected an array to write to")


def check_labels(y: ArrayLike, n_samples: int, n_classes: int) -> NDArray[np.intp]:
    """Return class indices, shape (n_samples,), each in [0, n_classes)."""
    labels = as_array("y", y)
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"y has dtype {labels.dtype}; engines take class indices 0..{n_classes - 1} as integers"
        )
    if labels.shape != (n_samples,):
        raise InputError(f"y has shape {labels.shape}; expected ({n_samples},), one per sample")
    if not (labels.min() >= 0 and labels.max() < n_classes):
        outside = (labels < 0) | (labels >= n_classes)
        first = int(np.argmax(outside))
        raise InputError(
            f"y[{first}] is {labels[first]}; expected class indices 0..{n_classes - 1}"
        )
    return labels.astype(np.intp, copy=False)


def check_targets(
    y: ArrayLike, n_samples: int, network: Network, dtype: np.dtype[np.floating]
) -> NDArray[Any]:
    """Return class indices for a softmax; else targets of ``dtype``, (n_samples, n_outputs)."""
    if network.output == "softmax":
        return check_labels(y, n_samples, network.n_outputs)
    values = as_array("y", y)
    if values.dtype.kind not in "biuf":
        raise InputError(f"y has dtype {values.dtype}; expected numbers")
    shape = (n_samples, network.n_outputs)
    if values.shape != shape and not (values.shape == (n_samples,) and network.n_outputs == 1):
        raise InputError(f"y has shape {values.shape}; expected {shape}, one row per sample")
    values = values.reshape(shape)
    least, most = TARGETS[network.output]
    with np.errstate(over="ignore"):  # becomes an infinity, which is refused
        targets = np.ascontiguousarray(values, dtype)
    bad = ~(np.isfinite(targets) & (targets >= least) & (targets <= most))
    if bad.any():
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        bounds = "finite numbers" if least == -inf else f"numbers from {least:g} to {most:g}"
        raise InputError(
            f"y[{row}, {column}] is {values[row, column]}; an output of {network.output!r} in "
            f"{dtype} takes {bounds}"
        )
    return targets


def check_objective(objective: Any, network: Network) -> None:
    """Raise unless it is an objective that the network's output can have."""
    check_instance("objective", objective, Objective)
    if objective.label_smoothing and network.output not in ("softmax", "logistic"):
        raise InputError(
            f"label_smoothing is {objective.label_smoothing}; it goes with outputs 'softmax' and "
            f"'logistic', not {network.output!r}"
        )


def check_step(step: int) -> int:
    """Return a number of updates."""
    try:
        count = -1 if isinstance(step, bool) else index(step)
    except TypeError:
        count = -1
    if not 0 <= count < 2**63:
        raise InputError(f"step is {step!r:.40}; expected a whole number of at least 0")
    return count


def check_sample_weight(
    sample_weight: ArrayLike | None, n_samples: int
) -> NDArray[np.float64] | None:
    """Return weights as float64, shape (n_samples,), finite and at least 0; None stays None."""
    if sample_weight is None:
        return None
    weights = _float_array("sample_weight", sample_weight)
    if weights.shape != (n_samples,):
        raise InputError(
            f"sample_weight has shape {weights.shape}; expected ({n_samples},), one per sample"
        )
    _refuse_negative("sample_weight", weights)
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        raise InputError("sample_weight sums to infinity; scale it down")
    return weights


def check_order(order: ArrayLike, n_samples: int) -> NDArray[np.intp]:
    """Return row indices as a flat array, each in [0, n_samples)."""
    indices = as_array("order", order)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        raise InputError(
            f"order has shape {indices.shape} and dtype {indices.dtype}; "
            "expected a flat sequence of row indices"
        )
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= n_samples:
            raise InputError(
                f"order holds indices {low}..{high}; expected indices 0..{n_samples - 1}"
            )
    return indices.astype(np.intp, copy=False)


def check_count(name: str, value: int) -> int:
    """Return a count (of epochs, of samples in a batch) as an int of at least 1."""
    try:
        count = 0 if isinstance(value, bool) else index(value)
    except TypeError:
        count = 0
    if not 1 <= count <= MOST:
        raise InputError(f"{name} is {value!r:.40}; expected a whole number from 1 to {MOST}")
    return count


def check_learning_rates(rates: ArrayLike, n_batches: int) -> NDArray[np.float64]:
    """Return one rate per batch; a single number stands for all."""
    single: Any = rates
    if type(single) is float and 0 <= single < inf:  # by far the most frequent
        return np.full(n_batches, single)
    values = _float_array("learning_rates", rates)
    if values.shape not in ((), (n_batches,)):
        raise InputError(
            f"learning_rates has shape {values.shape}; expected a number or ({n_batches},), "
            "one per batch"
        )
    _refuse_negative("learning_rates", values)
    return np.broadcast_to(values, (n_batches,))


def check_state(state: OptimizerState, parameters: Parameters) -> None:
    """Raise unless parameters and optimizer state fit each other and can be updated in place."""
    check_instance("optimizer_state", state, OptimizerState)
    names = state.optimizer.moment_names
    if len(state.moments) != len(names):
        raise InputError(f"the optimizer's state has {len(state.moments)} arrays; expected {names}")
    for name, moment in zip(names, state.moments, strict=True):
        check_layout(name, moment, parameters)
    for name, vector in zip(
        ("parameters", *names), (parameters.vector, *state.moments), strict=True
    ):
        if not vector.flags.writeable:
            raise InputError(f"{name} is read-only; training changes it in place: pass a copy")


def check_layout(name: str, vector: Any, parameters: Parameters) -> None:
    """Raise unless a gradient or a moment has the layout of the parameters."""
    expected = parameters.vector
    if not isinstance(vector, np.ndarray):
        raise InputError(f"{name} is {type(vector).__name__}; expected an array")
    if vector.shape != expected.shape or vector.dtype != expected.dtype:
        raise InputError(
            f"{name} has shape {vector.shape} and dtype {vector.dtype}; the parameters have "
            f"{expected.shape} and {expected.dtype}"
        )


def check_finite(
    parameters: Parameters, state: OptimizerState, losses: NDArray[np.float64]
) -> None:
    """Raise ``DivergedError`` if the last update overflowed: no loss came after it to say so."""
    for vector in (parameters.vector, *state.moments):
        if not np.isfinite(vector).all():
            raise DivergedError(None, nan, losses)


def _float_array(name: str, value: Any) -> NDArray[np.float64]:
    values = as_array(name, value)
    if values.dtype.kind not in "biufO":
        raise InputError(f"{name} has dtype {values.dtype}; expected numbers")
    try:
        return values.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} does not hold numbers: {error}") from error


def _refuse_negative(name: str, values: NDArray[np.float64]) -> None:
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        first = int(np.argmax(bad))
        place = f"{name}[{first}]" if values.ndim else name
        raise InputError(f"{place} is {values.flat[first]}; expected finite numbers of at least 0")
