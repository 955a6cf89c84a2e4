"""What a run was given, short enough to be kept: another run does not go on from its checkpoint.

Settings are kept as they are. Of data there are digests: of samples in memory all bytes, as the
network sees them; of a file that is read while training its shape, dtype, size and time of
modification, and the bytes of some of its blocks, from all over it. A callback is a function, and
cannot be compared.
"""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from fastnn.inputs import Input, is_sparse
from fastnn.models import Model
from fastnn.streams import FileSamples
from fastnn.training_data import TrainingData

BLOCKS = 64  # of a file that is not loaded
GIVEN = "given"  # validation data of their own


class Fingerprint(NamedTuple):
    """What decides a run's bits: settings by name, and digests of what is too large to show."""

    settings: dict[str, Any]
    digests: dict[str, str]

    def differences(self, before: dict[str, dict[str, Any]]) -> list[str]:
        """Say what was another in the fingerprint that a file holds.

        Data are compared where the settings are the same, which may have made other data of them.
        """
        was, now = _flat(before["settings"]), _flat(self.settings)
        found = [
            f"{name} was {was.get(name)}, is {now.get(name)}"
            for name in {**was, **now}
            if was.get(name) != now.get(name)
        ]
        then = before["digests"]
        return found or [
            f"the {name} differ" for name, value in self.digests.items() if then.get(name) != value
        ]


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those inside of others by names of their own: ``objective.alpha``."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": part for key, part in value.items()})
        else:
            flat[name] = value
    return flat


def fingerprint(
    model: Model, data: TrainingData, settings: dict[str, Any], more: dict[str, Any]
) -> Fingerprint:
    """Return the fingerprint of a run.

    Parameters
    ----------
    model : Model
        Before training, with its settings. The number of threads does not count.
    data : TrainingData
    settings : dict
        Further ones; "validation" is a share, None, or ``GIVEN``.
    more : dict
        Of what else to keep digests: arrays, and what JSON can hold.
    """
    network = model.network
    known = {name: value for name, value in model.settings.items() if name != "threads"}
    known |= {
        "layer_sizes": list(network.layer_sizes),
        "activation": network.activation,
        "output": network.output,
        "scale": data.scaling.scale,
    }
    scaling = (data.scaling.offset, data.scaling.factor)
    digests = {
        "samples": digest(*scaling, *_bytes_of(data.samples)),
        "modification times of the samples' file": digest(_modified(data.samples)),
        "labels": digest(data.labels),
        "sample weights": digest(data.weights),
        "classes": digest(data.classes.tolist()),
        "feature names": digest(model.feature_names),
        **{name: digest(value) for name, value in more.items()},
    }
    if settings["validation"] == GIVEN and data.validation is not None:
        X, y = data.validation
        digests["validation samples"] = digest(*_bytes_of(X))
        digests["modification times of the validation samples' file"] = digest(_modified(X))
        digests["validation labels"] = digest(y)
    return Fingerprint(known | settings, digests)


def digest(*parts: Any) -> str:
    """Return a digest of arrays, with their shapes and dtypes, and of what JSON can hold."""
    found = blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str} {part.shape} ".encode())
            found.update(np.ascontiguousarray(part).data)
        else:
            found.update(f"{json.dumps(part)} ".encode())
    return found.hexdigest()


def _bytes_of(samples: Input | FileSamples) -> Iterator[Any]:
    """Yield what a digest of samples is made of."""
    if isinstance(samples, FileSamples):
        yield from (samples.dtype.str, samples.file_shape, samples.file.size)
        some = samples.take(samples.spread(BLOCKS * samples.block_rows))
        with closing(some.windows()) as windows:
            yield from (values for values, _ in windows)
        return
    table = samples.values
    yield samples.scale
    yield from (table.indptr, table.indices, table.data) if is_sparse(table) else (table,)


def _modified(samples: Input | FileSamples) -> int | None:
    return os.stat(samples.path).st_mtime_ns if isinstance(samples, FileSamples) else None
