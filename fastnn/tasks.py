"""What a duel is about: a network, samples, and the order of batches; the same for every peer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.network import Network, Parameters
from fastnn.optimizers import SGD, Adam, Optimizer
from fastnn.schedules import get_schedule, learning_rates

Array = NDArray[Any]

AGREEMENT = 1e-3  # of the losses, relative
# Adam's; smaller than usual, since libraries add it at different places of the formula.
EPSILON = 1e-12
TEXT_NONZEROS = 100  # a row
IMAGE_DENSITY = 0.19  # MNIST's share of values that are not zero


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Attributes
    ----------
    name : str
    sizes : tuple of int
        Of the layers.
    n_samples, batch_size : int
    optimizer : {"sgd", "adam"}
        SGD; Adam with its usual settings.
    rate : float
        The learning rate, the highest of the schedule.
    dtype : {"float32", "float64"}
    epochs : int
        In one call: what a library can compile into one, it may.
    calls : int
        In one round.
    data : str
        "uniform": random numbers without zeros. "text": sparse, made up, see ``text``. "images":
        made up, see ``images``. The path of an ``.npz``: its X and y, see ``save``. Otherwise the
        training samples of a data set with a name, in 0..1.
    momentum : float
        Of SGD; Nesterov's, where it is not 0.
    alpha : float
        Strength of the penalty.
    weights : {"he", "article"}
        Where training starts: as ``Network.initialize`` has it, or as the tutorial does.
    schedule : str
        Of the learning rate; a name from ``fastnn.schedules``.
    horizon : int
        Calls over which the schedule falls.
    agreement : float
        What the losses may differ by, relative.
    singly : int or None
        So many first batches have to agree one by one, and the rest in means over as many; None
        stands for one by one. Over thousands of updates rounding makes runs drift apart, and the
        loss of a batch of 8 shows it first: 0.7 % was seen. A mean over many batches evens that
        out, and still shows any difference in what is computed.
    means : bool
        Whether those later means are compared. Not with Adam on real samples: it divides by the
        size of the gradients, so that rounding in tiny ones counts; means of 100 batches were off
        by 2 % within an epoch whose first 100 batches agreed to 6e-6.
    absolute : bool
        What is compared are probabilities: absolute differences count.
    module : str
        Has the peers; see ``fastnn.peers``.
    """

    name: str
    sizes: tuple[int, ...]
    n_samples: int
    batch_size: int
    optimizer: str = "sgd"
    rate: float = 1e-3
    dtype: str = "float32"
    epochs: int = 1
    calls: int = 1
    data: str = "uniform"
    momentum: float = 0.0
    alpha: float = 0.0
    weights: str = "he"
    schedule: str = "constant"
    horizon: int = 1
    agreement: float = AGREEMENT
    singly: int | None = None
    means: bool = True
    absolute: bool = False
    module: str = "fastnn.peers"

    def peers(self) -> tuple[str, ...]:
        """Return the names of the peers that the task suits."""
        if self.dtype == "float64":
            return ("article",)
        if self.n_samples < 1000:  # scikit-learn spends its time on checks there
            return ("jax", "torch")
        return ("jax", "torch", "scikit-learn", "reference")

    def network(self) -> Network:
        """Return the network."""
        return Network(self.sizes)

    def start(self, seed: int = 0) -> Parameters:
        """Return the parameters to start from."""
        parameters = self.network().initialize(seed, dtype=self.dtype)
        if self.weights == "article":
            rng = np.random.RandomState(seed)  # which the tutorial draws from
            for W in parameters.weights:
                W[...] = 0.01 * rng.randn(*W.shape[::-1]).T
        return parameters

    def make_optimizer(self) -> Optimizer:
        """Return fastnn's optimizer."""
        if self.optimizer == "adam":
            return Adam(epsilon=EPSILON)
        return SGD(self.momentum, nesterov=self.momentum > 0)

    def samples(self) -> tuple[Any, Array]:
        """Return X and y."""
        if self.data == "uniform":
            rng = np.random.default_rng(0)
            X = rng.random((self.n_samples, self.sizes[0]), dtype=np.dtype(self.dtype).type)
            return X, rng.integers(0, self.sizes[-1], self.n_samples)
        if self.data == "text":
            return text(self.n_samples, self.sizes[0], self.sizes[-1])
        if self.data == "images":
            return images(self.n_samples, self.sizes[0], self.sizes[-1], self.dtype)
        if self.data.endswith(".npz"):
            X, y = saved(self.data)
            return X[: self.n_samples].astype(self.dtype, copy=False), y[: self.n_samples]
        X, y = self.raw_samples()
        return X.astype(self.dtype) / np.dtype(self.dtype).type(255), y

    def raw_samples(self) -> tuple[Array, Array]:
        """Return the bytes of images, each unit worth 1 / 255, and y."""
        from fastnn import datasets

        found = datasets.load(self.data)
        return found.X_train[: self.n_samples], found.y_train[: self.n_samples].astype(np.int64)

    def order(self, call: int) -> Array:
        """Return the samples of one call, (epochs, n_samples); all batches are full."""
        rng = np.random.default_rng([1, call])
        whole = self.n_samples // self.batch_size * self.batch_size
        orders = [rng.permutation(self.n_samples)[:whole] for _ in range(self.epochs)]
        return np.stack(orders)

    def rates(self, call: int) -> Array | None:
        """Return the learning rate of each batch of one call; None if it is ``rate`` for all."""
        if self.schedule == "constant":
            return None
        n = self.epochs * (self.n_samples // self.batch_size)
        done = call % self.horizon * n
        return learning_rates(
            get_schedule(self.schedule), self.rate, done, n, n * self.horizon
        ).astype(self.dtype)


def images(n_samples: int, n_features: int, n_classes: int, dtype: str) -> tuple[Array, Array]:
    """Make up samples as full of zeros as MNIST's images; nothing can be learnt from them."""
    rng = np.random.default_rng(0)
    X = rng.random((n_samples, n_features), dtype=np.float32)
    X[rng.random(X.shape, dtype=np.float32) >= IMAGE_DENSITY] = 0
    return X.astype(dtype, copy=False), rng.integers(0, n_classes, n_samples)


def save(path: str, X: Any, y: Array) -> None:
    """Write samples, an array or CSR of SciPy, to where a task finds them: an ``.npz``."""
    if isinstance(X, np.ndarray):
        np.savez(path, X=X, y=y)
    else:
        np.savez(path, values=X.data, columns=X.indices, starts=X.indptr, shape=X.shape, y=y)


def saved(path: str) -> tuple[Any, Array]:
    """Return what ``save`` has written."""
    with np.load(path) as arrays:
        if "X" in arrays:
            return arrays["X"], arrays["y"]
        from scipy.sparse import csr_matrix

        parts = (arrays["values"], arrays["columns"], arrays["starts"])
        return csr_matrix(parts, shape=tuple(arrays["shape"])), arrays["y"]


def text(n_samples: int, n_features: int, n_classes: int) -> tuple[Any, Array]:
    """Make up samples like weighted words: CSR, few columns frequent, rows of length 1.

    Parameters
    ----------
    n_samples, n_features, n_classes : int

    Returns
    -------
    X : scipy.sparse.csr_matrix of float32, shape (n_samples, n_features)
        ``TEXT_NONZEROS`` positive values a row.
    y : ndarray of int64, shape (n_samples,)
        The class whose random weights for the columns fit a sample best, so that there is something
        to learn.
    """
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    frequency = np.cumsum(1 / np.arange(10.0, 10.0 + n_features))  # Zipf's, its top made flatter
    # scattered, as in a vocabulary in alphabetical order
    names = rng.permutation(n_features).astype(np.int32)

    def draw(count: int) -> Array:
        found = np.searchsorted(frequency, rng.random(count) * frequency[-1])
        return names[np.minimum(found, n_features - 1)]

    columns = np.sort(draw(n_samples * TEXT_NONZEROS).reshape(n_samples, -1), axis=1)
    rows = np.arange(n_samples)
    while len(rows):  # draw again what a row has already
        part = columns[rows]
        again = np.zeros(part.shape, bool)
        again[:, 1:] = part[:, 1:] == part[:, :-1]
        part[again] = draw(int(again.sum()))
        columns[rows] = np.sort(part, axis=1)
        rows = rows[again.any(axis=1)]
    values = 0.1 + rng.random(columns.shape, dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    starts = np.arange(n_samples + 1) * TEXT_NONZEROS
    X = csr_matrix((values.ravel(), columns.ravel(), starts), shape=(n_samples, n_features))
    topics = rng.standard_normal((n_features, n_classes), dtype=np.float32)
    return X, (X @ topics).argmax(axis=1)
