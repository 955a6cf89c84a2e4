"""What the report trains on: the whole grid, and the part of it that a full run takes.

The part answers the report's questions within 40 minutes. Where a cell would run long, it has fewer
rows, for all libraries alike.
"""

from dataclasses import dataclass, replace
from itertools import product

from fastnn.tasks import Task

BATCH_SIZES = (1, 8, 32, 128, 512, 2048)
OPTIMIZERS = ("sgd", "adam")
THREADS = (1, 2)
# rows of a round at batches of at least so many samples
ROWS = ((2048, 12_288), (32, 12_800), (8, 4_000), (1, 600))
# and of some data: scikit-learn takes 0.1 s for a batch of text with Adam
MOST_ROWS = {"text": 3200, "deep": 12_800, "wide": 12_800}
# Over so many batches losses are compared one by one; see Task.singly. Adam's only there.
SINGLY = 100

DATA = {
    "MNIST": ("mnist", (784, 128, 10)),
    "Fashion-MNIST": ("fashion-mnist", (784, 128, 10)),
    "table": ("table", (50, 100, 100, 5)),
    "text": ("text", (50_000, 100, 20)),
    "deep": ("table", (128, 256, 256, 256, 256, 256, 10)),
    "wide": ("uniform", (784, 512, 512, 10)),
}
ABOUT = {
    "MNIST": "the images of MNIST, 784-128-10",
    "Fashion-MNIST": "the images of Fashion-MNIST, 784-128-10",
    "table": "a dense table of 50 features, made up, 50-100-100-5",
    "text": "sparse rows of 50,000 features with 100 values each, made up, 50000-100-20",
    "deep": "a dense table through five hidden layers, 128-256-256-256-256-256-10",
    "wide": "uniform random numbers, 784-512-512-10",
    "tiny": "two networks so small that calls and memory count more than sums",
    "tutorial": "the tutorial's own task, MNIST in one batch, float64",
}


@dataclass(frozen=True)
class Cell:
    """A task, and who does it how.

    Attributes
    ----------
    group : str
    task : Task
    threads : int
    peers : tuple of str or None
        None stands for all that the task suits.
    headline : bool
        Whether it stands in the table that the README quotes.
    x, sweep : float, str or None
        Where it stands among the cells of a plot.
    """

    group: str
    task: Task
    threads: int = 2
    peers: tuple[str, ...] | None = None
    headline: bool = False
    x: float | None = None
    sweep: str | None = None


def cell(
    group: str, batch_size: int, optimizer: str = "sgd", threads: int = 2, *, whole: bool = False,
    headline: bool = False, compiled: bool = False,
) -> Cell:  # fmt: skip
    """Return a cell of the grid.

    ``whole``: all rows of MNIST. ``compiled``: with ``torch.compile``, which takes long to start.
    """
    data, sizes = DATA[group]
    cap = next(n for least, n in ROWS if batch_size >= least)
    rows = 60_000 if whole else min(cap, MOST_ROWS.get(group, cap))
    rate = {"sgd": 0.01, "adam": 3e-5}[optimizer]
    label = "" if threads == 2 else ", 1 thread"
    task = Task(
        f"{group}, batch {batch_size}, {optimizer.upper() if optimizer == 'sgd' else 'Adam'}"
        + label, sizes, rows, batch_size, optimizer=optimizer, data=data, rate=rate, singly=SINGLY,
        means=optimizer == "sgd", agreement=1e-3,
    )  # fmt: skip
    names = tuple(name for name in task.peers() if compiled or name != "torch compile")
    if group != "MNIST" or batch_size < 32:  # what our own variants take is one question, not each
        names = tuple(name for name in names if name not in ("fastnn dense", "reference"))
    return Cell(group, task, threads, names, headline)


def whole_grid() -> list[Cell]:
    """Return every cell."""
    found = [
        cell(group, batch_size, optimizer, threads, compiled=True)
        for group, batch_size, optimizer, threads in product(DATA, BATCH_SIZES, OPTIMIZERS, THREADS)
    ]
    return found + tiny() + [tutorial()]


def subset() -> list[Cell]:
    """Return the cells of a full run."""
    return [
        cell("MNIST", 1),
        cell("MNIST", 8, headline=True),
        cell("MNIST", 32, headline=True),
        cell("MNIST", 128, headline=True, whole=True),
        cell("MNIST", 512, headline=True),
        cell("MNIST", 2048),
        cell("MNIST", 32, "adam", headline=True),
        cell("MNIST", 128, "adam"),
        cell("MNIST", 128, threads=1),
        cell("Fashion-MNIST", 128, headline=True),
        cell("Fashion-MNIST", 32, "adam"),
        cell("table", 32),
        cell("table", 128, "adam", headline=True),
        cell("text", 128, headline=True),
        cell("text", 128, "adam"),
        cell("deep", 32),
        cell("deep", 128, headline=True, compiled=True),
        *tiny(),
        tutorial(),
    ]


def few() -> list[Cell]:
    """Return the cells of a quick run."""
    return [
        cell("MNIST", 128, headline=True),
        cell("text", 128, headline=True),
        tiny()[1],
    ]


def tiny() -> list[Cell]:
    """Return the networks of a few hundred weights."""
    return [
        Cell("tiny", Task("4-32-16-4, batch 10000, SGD", (4, 32, 16, 4), 10_000, 10_000, epochs=20),
             peers=("jax", "torch", "scikit-learn")),
        Cell("tiny", Task("24-8-2, batch 200, a step a call", (24, 8, 2), 200, 200, calls=500),
             peers=("jax", "torch", "torch compile")),
        Cell("tiny", Task("24-8-2, batch 200, 1000 steps a call", (24, 8, 2), 200, 200,
                          epochs=1000), peers=("jax", "torch"), headline=True),
    ]  # fmt: skip


def tutorial() -> Cell:
    """Return the tutorial's trainer against ``fastnn.train``."""
    task = Task(
        "tutorial, full batch, float64, 3 epochs", (784, 128, 10), 20_000, 20_000, dtype="float64",
        rate=0.1, epochs=3, data="mnist", weights="article", agreement=1e-9,
        module="bench.article_call",
    )  # fmt: skip
    return Cell("tutorial", task, peers=("article",), headline=True)


PEERS = ("jax", "torch", "scikit-learn")
_BASE = Task("growth", (128, 256, 10), 4096, 128, data="table", rate=0.01, singly=SINGLY)


def sweeps(*, quick: bool = False) -> list[Cell]:
    """Return cells that differ in one thing from one to the next."""
    found = {
        "samples": [(n, replace(_BASE, n_samples=n)) for n in (1024, 4096, 16_384)],
        "features": [(n, _sized(n, 256, 10)) for n in (16, 64, 256, 1024)],
        "width": [(n, _sized(128, n, 10)) for n in (32, 128, 512, 1024)],
        "depth": [(n, _sized(128, *[128] * n, 10)) for n in (1, 2, 4, 8)],
        "batch size": [(n, replace(_BASE, batch_size=n)) for n in (8, 32, 128, 512)],
        "threads": [(n, replace(_BASE, n_samples=16_384)) for n in (1, 2)],
    }
    if quick:
        found = {name: found[name][:3] for name in ("width", "batch size")}
    return [
        Cell("growth", replace(task, name=f"{sweep} {x}"), x if sweep == "threads" else 2,
             PEERS, x=float(x), sweep=sweep)
        for sweep, points in found.items()
        for x, task in points
    ]  # fmt: skip


def _sized(*sizes: int) -> Task:
    return replace(_BASE, sizes=sizes)


PREDICTORS = ("fastnn array", "fastnn prepared", "reference", "jax", "torch", "scikit-learn")


def predictions(*, quick: bool = False) -> list[Cell]:
    """Return calls of 1 to 100,000 samples; few calls of many, many of few."""
    counts = (1, 100, 10_000) if quick else (1, 10, 100, 1000, 10_000, 100_000)
    return [
        Cell(
            "predict",
            Task(
                f"{n} sample" + ("s" if n > 1 else "") + " a call", (784, 128, 10),
                n * min(500, max(2000 // n, 1)), n, data="images", agreement=1e-5, absolute=True,
                module="bench.predicting",
            ),
            peers=PREDICTORS, x=float(n),
        )
        for n in counts
    ]  # fmt: skip
