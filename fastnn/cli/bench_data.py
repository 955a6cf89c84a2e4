"""What ``fastnn bench`` trains on, in a file that every process reads."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.cli.train import wants_standardizing
from fastnn.errors import InputError
from fastnn.network import Network

if TYPE_CHECKING:
    from fastnn.datasets import Dataset

LIMIT = 2**28  # bytes of the samples used: each library has copies of its own
SPARSE_PEERS = ("fastnn", "reference", "scikit-learn")  # that are given CSR
N_IMAGES = 60_000  # where they are made up
MADE_UP = "made-up images (19 % of the values are not zero)"


@dataclass(frozen=True)
class BenchData:
    """Samples for duels.

    Attributes
    ----------
    name : str
        For people.
    where : str
        ``Task.data``: a name, or the path of an ``.npz``.
    n_samples : int
        Of an epoch.
    n_usable : int
        Of them, those that ``where`` holds, in random order.
    n_features, n_classes : int
    is_sparse : bool
    """

    name: str
    where: str
    n_samples: int
    n_usable: int
    n_features: int
    n_classes: int
    is_sparse: bool = False

    def sizes(self, hidden: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of a network's layers."""
        return (self.n_features, *hidden, self.n_classes)

    def unsuited(self, peer: str) -> str | None:
        """Tell why a peer cannot do the same work on these samples, if it cannot."""
        library = peer.partition(" ")[0]
        if self.is_sparse and library not in SPARSE_PEERS:
            return "is not given sparse samples"
        if self.n_classes == 2 and library == "scikit-learn":
            return "has one output for two classes, which is other work"
        return None


def default_data(folder: str) -> BenchData:
    """Return MNIST, where it is on this machine, and images like it otherwise."""
    from fastnn import datasets
    from fastnn.named_data import local_folder

    if local_folder("mnist") is None:
        return BenchData(MADE_UP, "images", N_IMAGES, N_IMAGES, 784, 10)
    return store(datasets.load("mnist"), folder)


def store(dataset: "Dataset", folder: str) -> BenchData:
    """Write the training samples, scaled as ``fastnn train`` would, into a folder.

    Raises
    ------
    InputError
        If the file is too large to be loaded, or training would refuse the samples.
    """
    from fastnn.inputs import is_sparse
    from fastnn.streams import MEMORY, FileSamples
    from fastnn.tasks import save
    from fastnn.training_data import prepare_training

    X = dataset.X_train
    if isinstance(X, FileSamples):
        raise InputError(
            f"{dataset.source} has more than {MEMORY / 2**30:.0f} GiB of values; expected samples "
            "that fit in memory with copies for each library: measure on a part of them"
        )
    standardize = wants_standardizing(dataset)
    try:
        data = prepare_training(
            Network((X.shape[1], len(dataset.classes))), X, dataset.y_train,
            sample_weight=None, classes=dataset.classes,
            scale=None if standardize else dataset.scale, standardize=standardize,
            validation=None, generator=np.random.default_rng(0), dtype="float32", memory=MEMORY,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{dataset.source}: {error}") from error
    samples: Any = data.samples
    rows = np.random.default_rng(0).permutation(samples.n_samples)[: _rows(samples)]
    sparse = is_sparse(samples.values)
    if sparse:
        part = samples.values[rows].astype(np.float32)
        part.data *= np.float32(samples.scale)
    else:
        part = samples.rows(rows, "float32")
    where = os.path.join(folder, "samples.npz")
    save(where, part, data.labels[rows].astype(np.int64))
    n_features, n_classes = samples.n_features, len(dataset.classes)
    return BenchData(
        dataset.name, where, samples.n_samples, len(rows), n_features, n_classes, sparse
    )


def _rows(samples: Any) -> int:
    """Return how many samples stay below the limit."""
    from fastnn.inputs import is_sparse

    if is_sparse(samples.values):  # a value and its column
        a_row = 8 * max(1, samples.values.nnz // samples.n_samples)
    else:
        a_row = 4 * samples.n_features
    return max(1, LIMIT // a_row)
