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
LIT = 0.19  # share of the values of made-up images that are not zero: MNIST's


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
        "uniform": random numbers without zeros. Made up, with something to learn: "table",
        "images", "text"; see there. The path of an npz file: see ``save``. Otherwise the training
        samples of a data set with a name, in 0..1.
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
    rate_per_epoch : bool
        Whether the rate changes between epochs only, which is all that scikit-learn can do.
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
    rate_per_epoch: bool = False
    agreement: float = AGREEMENT
    singly: int | None = None
    means: bool = True
    absolute: bool = False
    module: str = "fastnn.peers"

    @property
    def is_sparse(self) -> bool:
        """Whether the samples are CSR."""
        return self.data == "text"

    @property
    def steps(self) -> int:
        """How many batches a round has."""
        return self.calls * self.epochs * (self.n_samples // self.batch_size)

    def peers(self) -> tuple[str, ...]:
        """Return the names of the peers that the task suits."""
        if self.weights == "article":
            return ("article",)
        if self.momentum or self.alpha:  # the others' steps are plain here
            return ("scikit-learn",)
        if self.n_samples < 1000:  # scikit-learn spends its time on checks there
            return ("jax", "torch", "torch compile")
        if self.is_sparse:  # the reference engine makes its batches dense
            return ("jax", "torch", "scikit-learn")
        return ("fastnn dense", "jax", "torch", "torch compile", "scikit-learn", "reference")

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

    def load(self) -> None:
        """Load the samples, for ``samples`` to return them again."""
        _LOADED.clear()
        _LOADED[self] = self.samples()

    def samples(self) -> tuple[Any, Array]:
        """Return X and y."""
        if self in _LOADED:
            return _LOADED[self]
        made_up = {"uniform": uniform, "table": table, "images": images, "text": text}
        if self.data in made_up:
            X, y = made_up[self.data](self.n_samples, self.sizes[0], self.sizes[-1])
            return X.astype(self.dtype, copy=False), y
        if self.data.endswith(".npz"):
            X, y = saved(self.data)
            X, y = X[: self.n_samples], y[: self.n_samples]
            return X.astype(self.dtype, copy=False), y
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
        rates = learning_rates(get_schedule(self.schedule), self.rate, done, n, n * self.horizon)
        if self.rate_per_epoch:  # that of the epoch's middle
            rates = rates.reshape(self.epochs, -1)
            rates = np.repeat(rates[:, rates.shape[1] // 2], rates.shape[1])
        return rates.astype(self.dtype)


_LOADED: dict[Task, tuple[Any, Array]] = {}  # of a peer's process: the task that it is at


def uniform(n_samples: int, n_features: int, n_classes: int) -> tuple[Array, Array]:
    """Return random numbers in 0..1, float32, and random classes."""
    rng = np.random.default_rng(0)
    X = rng.random((n_samples, n_features), dtype=np.float32)
    return X, rng.integers(0, n_classes, n_samples)


def table(n_samples: int, n_features: int, n_classes: int) -> tuple[Array, Array]:
    """Make up a standardised table, float32; classes are those of a random network of one layer."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    hidden = np.tanh(X @ rng.standard_normal((n_features, 16), dtype=np.float32))
    return X, (hidden @ rng.standard_normal((16, n_classes), dtype=np.float32)).argmax(axis=1)


def images(n_samples: int, n_features: int, n_classes: int) -> tuple[Array, Array]:
    """Make up what is like MNIST to a kernel: float32 in 0..1, ``LIT`` of the values not zero.

    As there, each class has pixels of its own that are often lit, and some are never lit.
    """
    rng = np.random.default_rng(0)
    often = np.clip(rng.gamma(0.4, LIT / 0.4, (n_classes, n_features)), 0, 0.95)
    often = np.clip(often * (LIT / often.mean()), 0, 1).astype(np.float32)
    y = rng.integers(0, n_classes, n_samples)
    X = rng.random((n_samples, n_features), dtype=np.float32)
    for start in range(0, n_samples, 10_000):  # a few at a time, to spare memory
        part = X[start : start + 10_000]
        part *= rng.random(part.shape, dtype=np.float32) < often[y[start : start + 10_000]]
    return X, y


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
