"""Samples that stand in a file: which rows they are, and reading them by windows."""

import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.errors import InputError, ReadError
from fastnn.inputs import Input, prepare
from fastnn.network import float_dtype
from fastnn.records import is_number
from fastnn.scaling import BLOCK, Scaling, standardization_of
from fastnn.streams.reader import RowFile, Run

BLOCK_BYTES = 2**18
WINDOW_BYTES = 2**25
FEWEST_BLOCKS = 128  # of a small file, as far as it has rows: shares are held out by blocks

Rows: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class FileSamples:
    """Samples in an npy file: some of its blocks, in the order of the file.

    A sample's row number counts the rows of these blocks only; labels go by it.

    Attributes
    ----------
    file : RowFile
    dtype : dtype
        As stored: integers, float32 or float64, in either byte order.
    file_shape : tuple of int
        (rows of the file, ...); a sample of more than one dimension is flattened.
    block_rows : int
        Rows in a block; the last of the file may have fewer.
    blocks : ndarray of intp
        Those that belong to these samples, ascending.
    """

    file: RowFile
    dtype: np.dtype[Any]
    file_shape: tuple[int, ...]
    block_rows: int
    blocks: Rows

    def __repr__(self) -> str:
        return (
            f"FileSamples({str(self.path)!r}: {self.n_samples} samples, {self.n_features} "
            f"features, {self.dtype})"
        )

    @classmethod
    def of(cls, file: RowFile, dtype: np.dtype[Any], file_shape: tuple[int, ...]) -> "FileSamples":
        """Return all samples of a file, in blocks of ``BLOCK_BYTES``."""
        n_rows = file_shape[0]
        block_rows = max(1, min(BLOCK_BYTES // file.row_bytes, n_rows // FEWEST_BLOCKS))
        return cls(file, dtype, file_shape, block_rows, np.arange(-(-n_rows // block_rows)))

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.file.path

    @property
    def n_features(self) -> int:
        """Number of values in a sample."""
        return prod(self.file_shape[1:])

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features), as of an array."""
        return self.n_samples, self.n_features

    @property
    def n_bytes(self) -> int:
        """Bytes of values."""
        return self.n_samples * self.file.row_bytes

    @cached_property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.block_sizes.sum())

    @cached_property
    def block_sizes(self) -> Rows:
        """Rows in each of the blocks."""
        first = self.blocks * self.block_rows
        return np.minimum(first + self.block_rows, self.file_shape[0]) - first

    @cached_property
    def block_starts(self) -> Rows:
        """The first row of each of the blocks."""
        return np.cumsum(self.block_sizes) - self.block_sizes

    @cached_property
    def largest(self) -> float:
        """Largest magnitude; found by reading all, which must be finite."""
        with closing(self.inputs(Scaling())) as windows:
            return max(samples.largest for samples, _ in windows)

    def check_finite(self) -> None:
        """Raise now what reading floating-point values would raise later."""
        if self.dtype.kind == "f":
            _ = self.largest

    def check_features(self, n_features: int) -> None:
        """Raise unless samples have as many features as the network."""
        if self.n_features != n_features:
            raise InputError(
                f"{self.path} has {self.n_features} features; the network expects {n_features}"
            )

    # --- parts ----------------------------------------------------------------------------------

    def split(self, fraction: float, generator: np.random.Generator) -> tuple[Rows, Rows]:
        """Divide the blocks in two at random; both parts get at least one.

        Returns
        -------
        first, second : ndarray of intp
            Numbers that ``take`` and ``labels_of`` understand; the second is the share.

        Raises
        ------
        InputError
            If the share is not in (0, 1), or there is one block only.
        """
        if not (is_number(fraction) and 0 < fraction < 1):
            raise InputError(f"the share to hold out is {fraction!r}; expected a number in (0, 1)")
        n_blocks = len(self.blocks)
        if n_blocks < 2:
            raise InputError(f"{self.path}: one block of samples is too few to hold out a share of")
        n_chosen = min(max(round(fraction * n_blocks), 1), n_blocks - 1)
        shuffled = generator.permutation(n_blocks)
        return np.sort(shuffled[n_chosen:]), np.sort(shuffled[:n_chosen])

    def spread(self, n_samples: int) -> Rows:
        """Return the numbers of blocks from all over the file, with about so many samples."""
        n_blocks = min(-(-n_samples // self.block_rows), len(self.blocks))
        return np.unique(np.linspace(0, len(self.blocks) - 1, n_blocks).astype(np.intp))

    def take(self, chosen: Rows) -> "FileSamples":
        """Return some of the blocks, by ascending number, as samples of their own."""
        return replace(self, blocks=self.blocks[chosen])

    def labels_of(self, chosen: Rows, labels: NDArray[Any]) -> NDArray[Any]:
        """Return what ``take(chosen)`` has of an array with one entry a sample."""
        starts, sizes = self.block_starts[chosen], self.block_sizes[chosen]
        return np.concatenate(
            [labels[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        )

    # --- reading --------------------------------------------------------------------------------

    def read(self) -> NDArray[Any]:
        """Return all of the samples as an array, shape (n_samples, n_features)."""
        values = np.empty(self.shape, self.dtype.newbyteorder("="))
        with closing(self.windows()) as windows:
            for window, rows in windows:
                values[rows[0] : rows[-1] + 1] = window
        return values

    def windows(
        self,
        *,
        batch_size: int = 1,
        generator: np.random.Generator | None = None,
        itemsize: int = 1,
    ) -> Generator[tuple[NDArray[Any], Rows], None, None]:
        """Yield all samples once, a window at a time; see ``RowFile.read_ahead``.

        Parameters
        ----------
        batch_size : int
            All windows but the last hold a multiple of it.
        generator : numpy.random.Generator, optional
            Puts the blocks in random order; None keeps that of the file.
        itemsize : int
            Bytes that a value will take once it is converted, where that is more than it has.

        Yields
        ------
        values : ndarray, shape (n, n_features)
            In native byte order; valid until the next window is asked for.
        rows : ndarray of intp, shape (n,)
            Which samples they are.
        """
        n_blocks = len(self.blocks)
        order = np.arange(n_blocks) if generator is None else generator.permutation(n_blocks)
        edges = self._edges(batch_size, max(itemsize, self.dtype.itemsize))
        plan = self._plan(order, edges)
        with closing(self.file.read_ahead(plan)) as contents:
            for runs, content in zip(plan, contents, strict=True):
                values = content.view(self.dtype).reshape(-1, self.n_features)
                if not self.dtype.isnative:
                    values = values.byteswap(inplace=True).view(self.dtype.newbyteorder("="))
                rows = [np.arange(run.row, run.row + run.n_rows) for run in runs]
                yield values, np.concatenate(rows)

    def inputs(
        self,
        scaling: Scaling,
        dtype: DTypeLike = "float64",
        *,
        batch_size: int = 1,
        generator: np.random.Generator | None = None,
        once: bool = True,
    ) -> Generator[tuple[Input, Rows], None, None]:
        """Yield windows as engines take them: checked and scaled, for one pass; see ``windows``.

        Raises
        ------
        ReadError
            If a value is not finite, or too large; it names the row of the file.
        """
        itemsize = 1 if scaling.offset is None else float_dtype(dtype).itemsize
        with closing(
            self.windows(batch_size=batch_size, generator=generator, itemsize=itemsize)
        ) as windows:
            for values, rows in windows:
                with self.naming(rows):
                    samples = scaling.apply(values, dtype, once=once)
                yield samples, rows
                del samples  # a converted copy, perhaps: not two at a time

    def standardization(self, scale: float) -> Scaling:
        """Return the scaling that gives each feature mean 0 and variance 1; reads all twice."""
        step = max(1, min(BLOCK, WINDOW_BYTES // (8 * self.n_features)))

        def blocks() -> Iterator[NDArray[np.floating]]:
            with closing(self.inputs(Scaling(scale))) as windows:
                for samples, rows in windows:
                    for start in range(0, len(rows), step):
                        yield samples.rows(slice(start, start + step), np.float64)

        with self.naming():
            return standardization_of(blocks, self.n_samples, scale)

    def scale_of(self, scale: float | None) -> float:
        """Return what one unit is worth, once ``scale`` is found to fit the kind of values."""
        head = np.zeros((1, self.n_features), self.dtype)
        return prepare(head, scale=scale).scale

    def highest_byte(self) -> int:
        """Return the largest value; reads until 255, above which a byte cannot be."""
        highest = 0
        with closing(self.windows()) as windows:
            for values, _ in windows:
                highest = max(highest, int(values.max()))
                if highest == 255:
                    break
        return highest

    @contextmanager
    def naming(self, rows: Rows | None = None) -> Iterator[None]:
        """Say in an error about X which file it is, and which row of that file.

        ``rows`` are those of the window that X was; its row numbers tell a reader nothing.
        """
        try:
            yield
        except ReadError:
            raise
        except InputError as error:
            place = None if rows is None else re.search(r"\bX\[(\d+)", str(error))
            if rows is None or place is None:
                raise InputError(f"{self.path}: {error}") from error
            row = self._file_row(int(rows[int(place[1])]))
            text = f"{error}"[: place.start(1)] + str(row) + f"{error}"[place.end(1) :]
            raise ReadError(f"{self.path}: {text}") from error

    def _file_row(self, row: int) -> int:
        number = int(np.searchsorted(self.block_starts, row, side="right")) - 1
        return int(self.blocks[number]) * self.block_rows + row - int(self.block_starts[number])

    def _edges(self, batch_size: int, itemsize: int) -> list[int]:
        """Return where windows begin and end: at whole batches, all about equally long."""
        n_batches = -(-self.n_samples // batch_size)
        most = max(1, WINDOW_BYTES // (self.n_features * itemsize * batch_size))
        n_windows = -(-n_batches // most)
        ends = [n_batches * number // n_windows * batch_size for number in range(n_windows)]
        return [*ends, self.n_samples]

    def _plan(self, order: Rows, edges: list[int]) -> list[list[Run]]:
        """Return what each window reads, where the blocks stand one after another in this order."""
        sizes, starts = self.block_sizes[order], self.block_starts[order].tolist()
        ends, file_rows = np.cumsum(sizes), (self.blocks[order] * self.block_rows).tolist()
        begins = (ends - sizes).tolist()
        plan = []
        for start, stop in pairwise(edges):
            first, last = np.searchsorted(ends, [start, stop - 1], side="right").tolist()
            window = []
            for k in range(first, last + 1):
                skipped = max(start - begins[k], 0)
                n_rows = min(stop, int(ends[k])) - begins[k] - skipped
                window.append(Run(file_rows[k] + skipped, starts[k] + skipped, n_rows))
            plan.append(window)
        return plan
