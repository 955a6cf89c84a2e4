"""Which units are dropped: decided by a counter, the same for any engine and number of threads."""

import numpy as np
from numpy.typing import NDArray

from fastnn.network import Network
from fastnn.objective import Objective

Array = NDArray[np.floating]


def mask(objective: Objective, step: int, layer: int, shape: tuple[int, int]) -> Array:
    """Return 0 or 1 / (1 - dropout) for each value of a hidden layer of a batch, float64.

    The random bits are those of Philox4x64-10 (Salmon et al., 2011), which turns a key and a
    counter of four 64-bit words into four more. The key is (dropout_seed, 0) and the counter
    (block, 0, layer, step), with ``layer`` counted from 0 and ``step`` the updates made before this
    one. Each block serves 8 units, 32 bits for each, the lower half of a word first; each sample
    begins with a new block, and blocks count from 1. A unit stays where its 32 bits are at least
    dropout * 2^32.
    """
    rows, units = shape
    blocks = -(-units // 8)
    key = np.array([objective.dropout_seed, 0], np.uint64)
    philox = np.random.Philox(key=key, counter=[0, 0, layer, step])
    words = philox.random_raw(4 * blocks * rows)
    halves = np.stack([words & 0xFFFFFFFF, words >> 32], axis=-1).reshape(rows, 8 * blocks)
    stays = halves[:, :units] >= round(objective.dropout * 2**32)
    scaled: Array = stays / (1 - objective.dropout)
    return scaled


def masks(network: Network, objective: Objective, step: int, n_samples: int) -> list[Array]:
    """Return the mask of each hidden layer for a batch; none without dropout."""
    if objective.dropout == 0:
        return []
    return [
        mask(objective, step, layer, (n_samples, units))
        for layer, units in enumerate(network.layer_sizes[1:-1])
    ]
