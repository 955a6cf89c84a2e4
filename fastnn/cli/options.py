"""Options that several commands share, and the files that they write."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from math import isnan
from os import listdir
from os.path import isdir, join, realpath
from typing import Any

import click
from click.shell_completion import CompletionItem

from fastnn.errors import InputError
from fastnn.named_data import NAMES


class DataType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A named data set or a path; completes both."""

    name = "data"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the names, then files."""
        names = [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


class HiddenType(click.ParamType):  # type: ignore[type-arg]
    """Sizes of hidden layers: ``128``, ``256,128`` or ``none``."""

    name = "sizes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Turn an option's text into sizes."""
        if isinstance(value, tuple):
            return value
        if value.strip().lower() == "none":
            return ()
        try:
            sizes = tuple(int(part) for part in value.split(","))
        except ValueError:
            sizes = (0,)
        if min(sizes) < 1:
            self.fail(
                f"{value!r} is not a list of layer sizes such as 256,128, or none", param, ctx
            )
        return sizes


class ShareType(click.FloatRange):
    """A number in a range; NaN, which click lets through, is not."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Turn an option's text into a number."""
        share: float = super().convert(value, param, ctx)
        if isnan(share):
            self.fail("nan is not a number", param, ctx)
        return share


class SizeType(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: ``512M``, ``4G``, ``100000``; units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Turn an option's text into bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)(I?B)?", value.strip().upper(), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not a size such as 512M, 4G or 100000", param, ctx)
        return int(found[1]) * 1024 ** " KMGT".index(found[2] or " ")


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--debug``, which ``run`` looks for itself."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show the traceback of an error. [default: off]",
    )(command)


data_argument = click.argument("data", type=DataType(), metavar="DATA")
model_argument = click.argument("model_path", type=click.Path(), metavar="MODEL")
labels_option = click.option(
    "--labels",
    type=click.Path(),
    metavar="FILE",
    help="Labels of data that have none. [no default]",
)
label_column_option = click.option(
    "--label-column",
    metavar="NAME",
    help="Label column of a CSV file. [default: label, class, target or y, else the only column "
    "that is not numbers]",
)
json_option = click.option(
    "--json",
    "json_path",
    metavar="FILE|-",
    help="Write the results as one JSON object; - is standard output. [default: not written]",
)
memory_option = click.option(
    "--memory",
    type=SizeType(),
    default="1G",
    show_default=True,
    metavar="SIZE",
    help="What the samples of an npy file may take in memory; a larger file is read while it is "
    "used, again in each epoch.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads. [default: the usable CPUs]"
)


def check_outputs(
    output: str | None,
    plot_path: str | None,
    json_path: str | None,
    *,
    inputs: Sequence[str | None] = (),
) -> None:
    """Find out now, not after training, that a file cannot be written or would replace another."""
    from fastnn.files import check_writable

    taken = set()
    for path in inputs:
        if path is not None and path not in NAMES:
            taken.add(realpath(path))
            if isdir(path):  # the four files of MNIST
                taken.update(realpath(join(path, name)) for name in listdir(path))
    if json_path == "-":
        require_stdout()
    for path in (output, plot_path, None if json_path == "-" else json_path):
        if path is None:
            continue
        if path == "-":
            raise InputError("only --json can be -, standard output; expected the name of a file")
        check_writable(path)
        target = realpath(path)
        if target in taken:
            raise InputError(f"{path} is named twice; writing it would destroy the other file")
        taken.add(target)
    if plot_path is not None:
        from fastnn import plot

        plot.check(plot_path)


def require_stdout() -> None:
    """Raise if standard output, which is to carry data, has been closed."""
    if sys.stdout is None:
        raise InputError("standard output is closed; expected it to be open, for the results")


def write_json(path: str | None, result: dict[str, Any]) -> None:
    """Write one JSON object to a file, to standard output for "-", or nowhere for None."""
    from fastnn.files import write_atomically

    if path is None:
        return
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if path == "-":
        click.echo(text, nl=False)
    else:
        write_atomically(path, text.encode())
