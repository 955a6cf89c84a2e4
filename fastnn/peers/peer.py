"""What a library is asked to do."""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastnn.network import Parameters

Array = NDArray[Any]


class Peer(NamedTuple):
    """What a library does with a task, once all is loaded.

    Attributes
    ----------
    train : callable
        Of an order and the learning rates (None for those that are constant): trains on it, and
        returns the losses of its batches, or something that becomes them.
    restart : callable or None
        Of the parameters to start from: forgets what was learnt. What a library does once to the
        samples, it does again.
    weights : callable or None
        Returns (W, b) of each layer, as in ``Parameters``.
    arrange : callable or None
        Of an order that comes next: does what is not to be timed.
    """

    train: Callable[[Array, Array | None], Any]
    restart: Callable[[Parameters], None] | None = None
    weights: Callable[[], list[tuple[Array, Array]]] | None = None
    arrange: Callable[[Array], None] | None = None


def layers_of(parameters: Parameters) -> list[tuple[Array, Array]]:
    """Return (W, b) of each layer."""
    return list(zip(parameters.weights, parameters.biases, strict=True))
