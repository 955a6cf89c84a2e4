"""How the command line speaks: results to standard output, progress and errors to standard error.

Where standard output carries data (``--json -``, ``predict``), everything for people goes to
standard error. Progress bars are shown on a terminal only.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Timer
from time import monotonic
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from fastnn.callbacks import Epoch

WIDEST_BAR, NARROWEST_BAR = 40, 8  # columns
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class _Unfailing:
    """A stream that goes silent where it fails: a full disk, a terminal that is gone."""

    def __init__(self, stream: Any, tell: Callable[[OSError], None]) -> None:
        self._stream, self._tell = stream, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._abandon(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._abandon(error)

    def _abandon(self, error: OSError) -> None:
        """Send what is still to come, and what waits in its buffer, to nowhere."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if not isinstance(error, BrokenPipeError):
            self._tell(error)


class _Stream(Console):
    """A stream for people; one without markup, so that names of files appear as they are."""

    def __init__(self, file: Any) -> None:
        super().__init__(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """End the program: nothing but this stream was asked for."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise SystemExit(1)


class Bar(NamedTuple):
    """A row of a table that ends in a bar: its cells, and the bar's share of the whole width."""

    cells: tuple[str, ...]
    share: float
    is_ours: bool


class Terminal:
    """Where a command writes.

    Parameters
    ----------
    data_on_stdout : bool
        Leave standard output to data.
    go_on : bool
        Do not end when the reader of a pipe has gone: there are files to write. Ctrl-C in
        ``fastnn train --output model.safetensors | tee log`` ends ``tee`` first.
    """

    def __init__(self, *, data_on_stdout: bool = False, go_on: bool = False) -> None:
        # a stream that the caller has closed is None
        errors = _Unfailing(sys.stderr or io.StringIO(), lambda error: None)
        self.errors = self.people = _Stream(errors)
        if not data_on_stdout:
            output = sys.stdout or io.StringIO()
            self.people = _Stream(_Unfailing(output, self._tell) if go_on else output)

    def _tell(self, error: OSError) -> None:
        self.error(f"standard output failed ({error.strerror}); going on without it")

    def line(self, text: str | Text) -> None:
        """Write a line for people."""
        # the bar is on standard error; a line to the same screen must go above it
        on_screen = self.people.file.isatty() and self.errors.file.isatty()
        stream = self.errors if on_screen else self.people
        stream.print(_printable(text) if isinstance(text, str) else text)

    def error(self, text: str) -> None:
        """Write one line to standard error."""
        self.errors.print(f"Error: {_printable(' '.join(text.split()))}")

    def table(self, title: str, rows: list[tuple[str, Any]]) -> None:
        """Write names and values in two columns."""
        if title:
            self.line(title)
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.line(Text.assemble(" ", (name.ljust(width), "bold"), "  ", _printable(str(value))))

    def checks(self, checks: Sequence[Any]) -> None:
        """Write a table of observed errors and their bounds; what is out of bounds is marked."""
        table = Table(box=SIMPLE_HEAD)
        for column, justify in (("", "left"), ("case", "left"), ("error", "right"),
                                ("bound", "right"), ("", "left")):  # fmt: skip
            table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for check in checks:
            numbers = (f"{check.observed:.3g}", f"{check.bound:.3g}")
            style = "" if check.ok else "bold red"
            mark = "" if check.ok else "out of bounds"
            table.add_row(check.what, check.case, *numbers, mark, style=style)
        self.people.width = max(self.people.width, 110)
        self.people.print(table, soft_wrap=False, crop=False)

    def bars(self, columns: Sequence[str], groups: Sequence[Sequence[Bar]]) -> None:
        """Write a table whose rows end in bars; without them where there is no room.

        The second column and the last before the bars are texts, the others are numbers.
        """
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for index, column in enumerate(columns):
            of_number = index not in (1, len(columns) - 1)
            table.add_column(column, justify="right" if of_number else "left", no_wrap=True)
        taken = [
            max(len(row.cells[i]) for group in groups for row in group) for i in range(len(columns))
        ]
        taken = [max(len(name), width) for name, width in zip(columns, taken, strict=True)]
        room = min(self.people.width - sum(taken) - 2 * len(columns), WIDEST_BAR)
        if room >= NARROWEST_BAR:
            table.add_column("", no_wrap=True, width=room)
        for number, group in enumerate(groups):
            if number:
                table.add_row()
            for row in group:
                cells = [_printable(cell) for cell in row.cells]
                bar = [self._bar(row, room)] if room >= NARROWEST_BAR else []
                table.add_row(*cells, *bar, style="bold" if row.is_ours else "")
        self.people.width = max(self.people.width, sum(taken) + 2 * len(columns))
        self.people.print(table, soft_wrap=False, crop=False)

    def _bar(self, row: Bar, room: int) -> Text:
        """Draw a bar that can be told from the others without colour, in any encoding."""
        eighths = round(8 * row.share * room)
        if not self.people.encoding.lower().startswith("utf"):
            text = ("#" if row.is_ours else "=") * round(eighths / 8)
        elif row.is_ours:
            text = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        else:
            text = "▒" * max(round(eighths / 8), eighths > 0)
        return Text(text, style="green" if row.is_ours else "")

    @contextmanager
    def time_bar(self, seconds: float) -> Iterator[Callable[[str], None]]:
        """Yield a function of a text that says what is done; draw how much of the time is over."""
        columns = (SpinnerColumn(), BarColumn(20), TextColumn("{task.description}"))
        with self._progress(*columns) as progress:
            task, started = progress.add_task("", total=seconds), monotonic()

            def tell(text: str) -> None:
                over = min(monotonic() - started, seconds)
                progress.update(task, completed=over, description=_printable(text))

            yield tell

    @contextmanager
    def notice(self, text: str, after: float) -> Iterator[None]:
        """Tell people what the block is busy with, if it takes longer than ``after`` seconds."""
        timer = Timer(after, lambda: self.errors.print(text))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def download_bar(self) -> Iterator[Any]:
        """Yield a function (file, bytes so far, bytes in all) that draws a bar."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with self._progress(*columns) as progress:
            tasks: dict[str, Any] = {}

            def report(file: str, received: int, total: int) -> None:
                if file not in tasks:
                    tasks[file] = progress.add_task(f"downloading {file}", total=total or None)
                progress.update(tasks[file], completed=received)

            yield report

    @contextmanager
    def epoch_bar(self, epochs: int, headline: str) -> Iterator[Any]:
        """Yield a callback for ``fit`` that writes a line per epoch and draws a bar.

        The headline comes with the first epoch: ``fit`` may still find fault with its input.
        """
        columns = (
            SpinnerColumn(),
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with self._progress(*columns) as progress:
            task, is_first = progress.add_task("training", total=epochs), True

            def on_epoch(epoch: Epoch) -> None:
                nonlocal is_first
                if is_first:
                    self.line(headline)
                    is_first = False
                self.line(str(epoch))
                progress.update(task, completed=epoch.number)

            yield on_epoch

    def _progress(self, *columns: Any) -> AbstractContextManager[Progress]:
        # asked of the file itself: FORCE_COLOR makes rich take everything for a terminal
        is_terminal = self.errors.file.isatty()
        bar = Progress(*columns, console=self.errors, transient=True, disable=not is_terminal)
        # rich 13 ends even a disabled bar with an empty line, so do not begin it
        return bar if is_terminal else nullcontext(bar)


def _printable(text: str) -> str:
    """Replace what would steer the terminal: names of files may hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
