"""Rows of a file, read into one buffer while the other is used."""

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import ReadError


class Run(NamedTuple):
    """Consecutive rows: where they stand in the file, and among the samples that are read."""

    file_row: int
    row: int
    n_rows: int


@dataclass(frozen=True)
class RowFile:
    """A file of rows of equal length.

    Attributes
    ----------
    path : Path
    size : int
        Bytes of the whole file, when it was first opened.
    offset : int
        Byte at which the first row begins.
    row_bytes : int
    """

    path: Path
    size: int
    offset: int
    row_bytes: int

    def read_ahead(
        self, windows: Sequence[Sequence[Run]]
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Yield the bytes of each window, while a thread reads the next one.

        What is yielded is valid until the next is asked for. The thread and the file last as long
        as the generator: close it where it is not used to its end.

        Raises
        ------
        ReadError
            If the file has changed size since it was first opened, or ends early.
        OSError
            If it cannot be read.
        """
        longest = max(sum(run.n_rows for run in window) for window in windows) * self.row_bytes
        buffers = [np.empty(longest, np.uint8) for _ in windows[:2]]
        with self._opened() as file, ThreadPoolExecutor(1, "fastnn-reader") as reader:
            ahead = reader.submit(self._fill, file, buffers[0], windows[0])
            for number in range(1, len(windows) + 1):
                filled = ahead.result()
                if number < len(windows):  # the window before this one is no longer used
                    buffer = buffers[number % 2]
                    ahead = reader.submit(self._fill, file, buffer, windows[number])
                yield filled

    @contextmanager
    def _opened(self) -> Iterator[int]:
        file = os.open(self.path, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            if size != self.size:
                raise ReadError(
                    f"{self.path}: it has {size} bytes now and had {self.size} when it was opened; "
                    "expected a file that stays as it is while it is used"
                )
            yield file
        finally:
            os.close(file)

    def _fill(self, file: int, buffer: NDArray[np.uint8], runs: Sequence[Run]) -> NDArray[np.uint8]:
        """Read rows into the beginning of ``buffer``; return that part of it."""
        done = 0
        for run in runs:
            end = done + run.n_rows * self.row_bytes
            self._read_run(file, buffer[done:end].data, run)
            done = end
        return buffer[:done]

    def _read_run(self, file: int, view: memoryview, run: Run) -> None:
        place = self.offset + run.file_row * self.row_bytes
        while view:  # a read may be a short one
            try:
                n_read = os.preadv(file, [view], place)
            except OSError as error:  # it names no file
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            if not n_read:
                raise ReadError(
                    f"{self.path}: rows {run.file_row}..{run.file_row + run.n_rows - 1} are not "
                    f"there: it ends at byte {place}, and had {self.size} when it was opened; it "
                    "was cut short while it was used"
                )
            view, place = view[n_read:], place + n_read
