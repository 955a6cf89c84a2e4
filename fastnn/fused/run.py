"""One run of the compiled program: its arrays, how many threads it is worth, and their start."""

from collections.abc import Sequence
from math import inf, log, log1p
from threading import Event
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastnn.fused.compiled import Entry, get_entry
from fastnn.fused.plan import (
    ADAM,
    BATCHES,
    BLOCK,
    CHUNK,
    CONTROL_SIZE,
    DIVERGED,
    GROUP,
    KINDS,
    MOMENTUM,
    NESTEROV,
    PLAIN,
    PREDICT,
    STATUS,
    STEPS,
    TRAIN,
    Arrays,
    Call,
    Plan,
    Room,
    make_plan,
    plain,
    readable,
)
from fastnn.fused.team import Teams, take_part, wait_outside
from fastnn.fused.tiles import LINE, Tile, host_tile
from fastnn.fused.vectors import BYTES
from fastnn.inputs import Input, is_sparse
from fastnn.network import Network
from fastnn.objective import Objective
from fastnn.optimizers import SGD, Adam, Optimizer

Array = NDArray[np.floating]

# Floating-point operations that pay for one more thread: to meet twice takes about as long as 1e5
# of them, to wake a thread as 1e7. A parameter that one thread writes and another reads goes from
# cache to cache with every batch, which takes as long as 40.
WORK_BETWEEN_MEETINGS = 1e5
WORK_OF_A_CALL = 1e7
# To predict is over before a sleeping thread is of use: with less than this for each of two, one
# was as fast or faster (784-128-10, float32, below some 500 samples).
WORK_OF_A_PREDICTION = 5e7
WORK_TO_SHARE = 40

# What it takes to move a weight: Adam's root and quotient, or reading and writing.
WORK_OF_ADAM = 140.0
WORK_OF_MOMENTUM = 20.0

# As many numbers in the gradients of a batch's chunks are worth keeping apart.
MANY_GRADIENTS = 1 << 18

# Floating-point operations that the busiest thread may have more than the mean where threads take
# whole chunks. In batches of 200, on two threads, 784-100-10 has 13 million and took 1.2 times as
# long so, 50-100-100-5 has 3 million and took 1.1 times as long, 20-100-1 0.4 million and 0.8.
UNEVEN = 2e6

# To predict so few samples, or of so few non-zero values: see ``prefers_lists``.
FEW_SAMPLES = 4
DENSITY_OF_LISTS = 0.3

# Lines of the cache to ask for ahead; the CPU goes on where they end.
MOST_LINES = 16

# Entries that a chunk has in a column, on average, up to which a group of more than one chunk is
# sorted at once: delta need not stay in the first cache, and fewer rows of weights are fetched.
THIN = 4.0

# What to move a row of weights costs, in values of X that add to its gradient.
COST_OF_ROW = 6.0

# From so many on, the calling thread waits outside compiled code, where it can see Ctrl-C.
LONG_WORK = 1e9

NO_INTEGERS, NO_DOUBLES = np.zeros(0, np.int64), np.zeros(0)

# Plans are kept for the next run of the same shape: so many, of so many numbers.
KEPT_PLANS = 4
KEPT_SIZE = 16_000_000


class Source:
    """Where compiled code finds X, and in what form.

    Attributes
    ----------
    record : tuple
        The fields of ``RUN`` that tell it, in the order of ``FIELDS``.
    expands : bool
        Whether rows have to be written out as the network sees them.
    longest : int
        Where the first layer skips zeros: most values of a row; else 0.
    is_thin : bool
        Whether few samples of a chunk have the same column.
    skipped : float
        How many zeros it skips in a row, on average.
    """

    FIELDS: ClassVar[list[str]] = [
        "X", "X_kind", "X_bytes", "is_csr", "is_plain", "is_thin", "scale", "starts", "X_columns",
        "columns_kind", "columns_bytes", "columns_lines", "X_lines",
    ]  # fmt: skip

    def __init__(self, X: Input, dtype: np.dtype[np.floating], mode: int) -> None:
        csr = X.compressed
        if X.layout == "dense" and not is_sparse(X.values):
            csr = None
        if csr is None:
            self._kept = values, starts, columns = (
                _values(X.values, dtype), NO_INTEGERS, np.zeros(0, np.int32)
            )  # fmt: skip
        else:
            self._kept = values, starts, columns = (
                _values(csr.values, dtype), readable(csr.starts), _columns(csr.columns)
            )  # fmt: skip
        self._csr = csr
        is_plain = values.dtype == dtype and X.scale == 1.0
        self.is_thin = csr is not None and CHUNK * X.density < THIN
        per_row = columns.size / X.n_samples
        self.record = (
            values.ctypes.data, KINDS.index(values.dtype.name), values.itemsize, csr is not None,
            is_plain, self.is_thin, X.scale, starts.ctypes.data, columns.ctypes.data,
            KINDS.index(columns.dtype.name), columns.itemsize,
            *(min(1 + int(per_row * size / LINE), MOST_LINES)
              for size in (columns.itemsize, values.itemsize)),
        )  # fmt: skip
        self.longest = 0
        if csr is not None and X.layout == "sparse":
            self.longest = max(csr.longest, 1)
        elif mode == PREDICT and csr is None and prefers_lists(X):
            self.longest = X.n_features
        self.skipped = X.n_features * (1.0 - X.density) if self.longest else 0.0
        self.expands = not self.longest and not (is_plain and csr is None)

    def cuts(self, members: int, moves_all: bool) -> NDArray[np.int64]:
        """Share the columns out: each thread's first, and the end; even in work, if they can be."""
        if not self.longest or self._csr is None:
            return NO_INTEGERS
        n_features = self._csr.n_features
        if members == 1:
            return np.array([0, n_features])
        entries = CHUNK * self._csr.values_per_row
        work = entries + COST_OF_ROW * (1.0 if moves_all else np.minimum(entries, 1.0))
        total = np.cumsum(work)
        cuts = np.searchsorted(total, total[-1] * np.arange(members + 1) / members)
        cuts[0], cuts[-1] = 0, n_features
        return cuts.astype(np.int64)


def _columns(columns: NDArray[Any]) -> NDArray[Any]:
    return readable(
        columns if columns.dtype.name == "uint16" else columns.astype(np.int32, copy=False)
    )


def _values(values: NDArray[Any], dtype: np.dtype[np.floating]) -> NDArray[Any]:
    """Return values of one of the ``KINDS``; others are rounded now, as they would be later."""
    if values.dtype == np.uint32:
        values = values.astype(np.int64)
    return plain(values if values.dtype.name in KINDS else values.astype(dtype))


def prefers_lists(X: Input) -> bool:
    """Tell whether to predict from lists of each row's non-zero values, made on the way.

    That needs no panels of W, which pays for a few samples, and for more if they are sparse.
    """
    return X.n_samples <= FEW_SAMPLES or X.density < DENSITY_OF_LISTS


class Run:
    """What one run of the compiled program is given, and what comes of it.

    Attributes
    ----------
    losses : ndarray of float64, shape (n_batches,)
    batches, steps : int
        Done so far.
    diverged : bool
        Whether the batch after those done had a loss that is not finite.
    """

    def __init__(
        self,
        mode: int,
        network: Network,
        parameters: Array,
        *,
        moments: Sequence[Array] = (),
        optimizer: Optimizer | None = None,
        step: int = 0,
        X: Input | None = None,
        y: NDArray[Any] | None = None,
        order: NDArray[np.intp] | None = None,
        n_samples: int = 0,
        weights: NDArray[np.float64] | None = None,
        batch_size: int = 1,
        rates: NDArray[np.float64] | None = None,
        objective: Objective = Objective(),
        result: Array | None = None,
    ) -> None:
        self.mode, self.network, self.parameters = mode, network, parameters
        self.moments, self.step = moments, step
        self.optimizer: Optimizer = SGD() if optimizer is None else optimizer
        self.X = None if X is None else Source(X, parameters.dtype, mode)
        self.y, self.order, self.weights = y, order, weights
        self.n_samples = n_samples if order is None else len(order)
        self.batch_size = min(batch_size, max(self.n_samples, 1))
        self.rates, self.objective, self.result = rates, objective, result
        self.losses = np.empty(-(-self.n_samples // self.batch_size) if order is not None else 0)
        self.control = np.zeros(CONTROL_SIZE, np.int64)

    @property
    def has_targets(self) -> bool:
        """Whether y holds numbers, and no class indices."""
        return self.network.output != "softmax"

    @property
    def batches(self) -> int:
        """Number of batches done."""
        return int(self.control[BATCHES])

    @property
    def steps(self) -> int:
        """Number of updates made."""
        return int(self.control[STEPS])

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        return bool(self.control[STATUS] == DIVERGED)

    def worth(self) -> tuple[float, float]:
        """Return the floating-point operations of the run, and how many threads it is worth."""
        size = self.parameters.size
        if not self.n_samples:
            return 10.0 * size, 10.0 * size / WORK_OF_A_CALL
        first = 0 if self.X is None else self.network.layer_sizes[1] * self.X.skipped
        a_sample = (2.0 if self.mode == PREDICT else 6.0) * (size - first)
        call = a_sample * self.n_samples
        if self.mode == PREDICT:
            return call, call / WORK_OF_A_PREDICTION
        batch = a_sample * self.batch_size
        if self.mode == TRAIN and self._moves_all():
            batch += size * (WORK_OF_ADAM if isinstance(self.optimizer, Adam) else WORK_OF_MOMENTUM)
        meetings = WORK_BETWEEN_MEETINGS + (WORK_TO_SHARE * size if self.mode == TRAIN else 0)
        return call, min(call / WORK_OF_A_CALL, batch / meetings)

    def room(self, members: int) -> Room:
        """Return how much room a team of so many threads needs."""
        expands, longest = (False, 0) if self.X is None else (self.X.expands, self.X.longest)
        if self.mode == PREDICT:
            return Room(BLOCK * members, members, 0, 0, False, expands, longest)
        chunks = -(-self.batch_size // CHUNK)
        few = 1 < chunks <= MANY_GRADIENTS // self.parameters.size
        clips = self.objective.clip_norm is not None
        if few and self._is_even(chunks, members) and not longest and not clips:
            return Room(CHUNK * members, members, self.batch_size, chunks, False, expands)
        group = min(self.batch_size, GROUP)
        whole = clips or self.batch_size > group
        if self.X is not None and longest:
            whole = whole or self._moves_all() or (chunks > 1 and not self.X.is_thin)
        return Room(group, members, self.batch_size, 0, whole, expands, longest)

    def _is_even(self, chunks: int, members: int) -> bool:
        """Tell whether threads that take whole chunks have about the same to do."""
        most = min(-(-chunks // members) * CHUNK, self.batch_size)
        more = most - self.batch_size / members
        return chunks >= members and 6.0 * self.parameters.size * more < UNEVEN

    def arrays(self, plan: Plan, members: int) -> Arrays:
        """Return what compiled code takes; the plan is this run's alone until it ends."""
        plan.run["step"] = self.step
        if self.X is not None:
            plan.run[Source.FIELDS] = self.X.record
        purpose = (self.mode, self.n_samples, self.batch_size, self.optimizer, self.objective)
        if plan.purpose != [purpose]:  # most often, it is the next of many steps
            plan.purpose[:] = [purpose]
            for name, value in self._settings().items():
                plan.run[name] = value
        none = plan.nothing
        moments = (*self.moments, none, none)
        return Arrays(
            run=plan.run,
            layers=plan.layers,
            parameters=self.parameters,
            moment_1=moments[0],
            moment_2=moments[1] if len(self.moments) > 1 else none,
            y=NO_INTEGERS if self.y is None or self.has_targets else readable(self.y),
            targets=none if self.y is None or not self.has_targets else readable(self.y),
            order=NO_INTEGERS if self.order is None else readable(self.order),
            weights=NO_DOUBLES if self.weights is None else readable(self.weights),
            rates=NO_DOUBLES if self.rates is None else readable(self.rates),
            losses=self.losses,
            result=plan.result if self.result is None else self.result.reshape(-1),
            partials=plan.partials,
            workspace=plan.workspace,
            addresses=plan.addresses,
            samples=plan.samples,
            labels=plan.labels,
            shares=plan.shares,
            sample_losses=plan.sample_losses,
            squares=plan.squares,
            gradient_squares=plan.gradient_squares,
            splits=plan.splits,
            cuts=NO_INTEGERS if self.X is None else self.X.cuts(members, self._moves_all()),
            places=plan.places,
            marks=plan.marks,
            noted=plan.noted,
            control=self.control,
        )

    def _moves_all(self) -> bool:
        """Whether weights move also where their gradient is zero."""
        plain = isinstance(self.optimizer, SGD) and not self.optimizer.momentum
        objective = self.objective
        return not plain or objective.alpha > 0 or objective.clip_norm is not None

    def _settings(self) -> dict[str, float]:
        """Return what compiled code needs to know besides the plan and the step."""
        optimizer, objective = self.optimizer, self.objective
        eps = float(np.finfo(self.parameters.dtype).eps)
        settings = {
            "mode": self.mode,
            "n_samples": self.n_samples,
            "batch_size": self.batch_size,
            "alpha": objective.alpha,
            "smoothing": objective.label_smoothing,
            "like_sklearn": objective.like_sklearn,
            "least_loss": -log1p(-eps) if objective.like_sklearn else 0.0,
            "most_loss": -log(eps) if objective.like_sklearn else inf,
            "dropout": objective.dropout,
            "dropout_limit": round(objective.dropout * 2**32),
            "dropout_seed": int(np.uint64(objective.dropout_seed).astype(np.int64)),
            "clip_norm": objective.clip_norm or 0.0,
        }
        if isinstance(optimizer, SGD):
            kind = MOMENTUM if optimizer.momentum else PLAIN
            settings["optimizer"] = NESTEROV if optimizer.nesterov else kind
            return settings | {"momentum": optimizer.momentum}
        names = ("beta_1", "beta_2", "epsilon", "weight_decay")
        return settings | {"optimizer": ADAM} | {name: getattr(optimizer, name) for name in names}


class Runner:
    """Runs the compiled program on at most ``threads`` threads."""

    def __init__(self, threads: int, tile: Tile | None, always: bool) -> None:
        self._threads, self._always = threads, always
        self._tiles = {
            np.dtype(name): tile._replace(dtype=name) if tile else host_tile(name) for name in BYTES
        }
        self._teams = Teams()
        self._plans: dict[tuple[Any, ...], Plan] = {}

    @property
    def teams(self) -> Teams:
        """The threads."""
        return self._teams

    def tile(self, dtype: np.dtype[np.floating]) -> Tile:
        """Return the tile for parameters of this dtype."""
        return self._tiles[dtype]

    def entry(self, dtype: np.dtype[np.floating]) -> Entry:
        """Return the compiled program for parameters of this dtype."""
        return get_entry(self._tiles[dtype])

    def run(self, run: Run, stop: Event | None = None) -> None:
        """Do a run; a long one ends after the batch under way once ``stop`` is set or on Ctrl-C."""
        tile = self._tiles[run.parameters.dtype]
        call, worth = run.worth()
        members = self._threads if self._always else max(1, min(self._threads, int(worth)))
        room = run.room(members)
        key = (run.network, tile, room)
        plan = self._plans.pop(key, None) or make_plan(run.network, tile, room)
        given = Call(run.arrays(plan, members))
        entry = get_entry(tile)
        if call >= LONG_WORK:
            with self._teams.one() as team:
                wait_outside(team, entry, members, given, stop)
        elif members > 1:
            with self._teams.one() as team:
                take_part(team, entry, members, given)
        else:
            entry(0, 1, *given.arguments)
        if not run.diverged:  # else the gradient of a batch was left half-way, with its marks
            self._keep(key, plan)

    def _keep(self, key: tuple[Any, ...], plan: Plan) -> None:
        if plan.size <= KEPT_SIZE:
            for oldest in list(self._plans)[: 1 - KEPT_PLANS]:
                self._plans.pop(oldest, None)
            self._plans[key] = plan
