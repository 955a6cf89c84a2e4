"""Train a little with the fused engine, as a process may do first; arguments are dtypes.

Prints as JSON what came of it, how many programs were loaded and compiled, where they are kept, and
all warnings.
"""

import json
import sys
import warnings
from hashlib import sha256

import numpy as np

import fastnn


def trained(dtype):
    """Return a hash of what a small training makes of the parameters."""
    rng = np.random.default_rng(0)
    network = fastnn.Network((20, 17, 4))
    parameters = network.initialize(rng, dtype=dtype)
    state = fastnn.Adam().initialize(parameters)
    X, y = rng.normal(size=(300, 20)).astype(dtype), rng.integers(0, 4, 300)
    fastnn.get_engine("fused").train(
        network, parameters, state, X, y, rng.permutation(300), batch_size=64, learning_rates=0.01
    )
    return sha256(parameters.vector).hexdigest()


def main():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [trained(dtype) for dtype in sys.argv[1:]]

        from fastnn.fused.compiled import cache_folder, get_entry
        from fastnn.fused.tiles import host_tile

        tiles = [host_tile(dtype) for dtype in sys.argv[1:]]
        stats = [get_entry(tile).stats for tile in tiles]
    found = {
        "results": results,
        "loaded": sum(sum(each.cache_hits.values()) for each in stats),
        "compiled": sum(sum(each.cache_misses.values()) for each in stats),
        "folders": [cache_folder(tile) for tile in tiles],
        "warnings": [[w.category.__name__, str(w.message)] for w in caught],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
