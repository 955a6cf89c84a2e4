"""How the command line speaks: results to standard output, progress and errors to standard error.

Where standard output carries data (``--json -``, ``predict``), everything for people goes to
standard error. Progress bars are shown on a terminal only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

from fastnn.callbacks import Epoch

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class Terminal:
    """Where a command writes.

    Parameters
    ----------
    data_on_stdout : bool
        Leave standard output to data.
    """

    def __init__(self, *, data_on_stdout: bool = False) -> None:
        self.people = Console(stderr=data_on_stdout, highlight=False, soft_wrap=True)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """Write a line for people."""
        self.people.print(text, markup=False)

    def error(self, text: str) -> None:
        """Write one line to standard error."""
        self.errors.print(f"Error: {' '.join(text.split())}", markup=False)

    def table(self, title: str, rows: list[tuple[str, Any]]) -> None:
        """Write names and values in two columns."""
        table = Table(title=title, show_header=False, title_justify="left", box=None)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, str(value))
        self.people.print(table)

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
    def epoch_bar(self, epochs: int) -> Iterator[Any]:
        """Yield a callback for ``fit`` that writes a line per epoch and draws a bar."""
        columns = (
            SpinnerColumn(),
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with self._progress(*columns) as progress:
            task = progress.add_task("training", total=epochs)

            def on_epoch(epoch: Epoch) -> None:
                self.line(str(epoch))
                progress.update(task, completed=epoch.number)

            yield on_epoch

    def _progress(self, *columns: Any) -> Progress:
        is_terminal = self.errors.is_terminal
        return Progress(*columns, console=self.errors, transient=True, disable=not is_terminal)
