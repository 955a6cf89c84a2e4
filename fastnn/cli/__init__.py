"""The command line: ``fastnn train``, ``evaluate``, ``predict``, ``info``, ``completion``.

Bad input gets one line on standard error and exit status 2; a diverging run 1; Ctrl-C 130.
"""

import os
import sys
import traceback
from collections.abc import Sequence

import click

from fastnn import __version__
from fastnn.cli.about import completion, info
from fastnn.cli.apply import evaluate, predict
from fastnn.cli.options import debug_option
from fastnn.cli.train import train
from fastnn.errors import DivergedError, InputError
from fastnn.terminal import INTERRUPTED, Terminal


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastnn")
@debug_option
def cli() -> None:
    """Train neural networks on a CPU, fast."""


for command in (train, evaluate, predict, info, completion):
    cli.add_command(command)


def run(args: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    terminal = Terminal()
    try:
        return cli.main(list(args), prog_name="fastnn", standalone_mode=False) or 0
    except BaseException as error:
        if "--debug" in args:
            traceback.print_exception(error)
        return _explain(terminal, error)


def _explain(terminal: Terminal, error: BaseException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return 2
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = f" See '{context.command_path} --help'." if context is not None else ""
        message = error.format_message()
        terminal.error(message + ("" if message.endswith((".", "?")) else ".") + where)
        return 2
    if isinstance(error, click.Abort | KeyboardInterrupt):
        terminal.errors.print("Interrupted.")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # the reader has gone, as in `fastnn predict ... | head`; nothing more can be flushed to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, InputError):
        terminal.error(str(error))
        return 2
    if isinstance(error, OSError):
        subject = f"{error.filename}: " if error.filename else ""
        terminal.error(f"{subject}{error.strerror or error}")
        return 2
    if isinstance(error, MemoryError):
        terminal.error(f"there is not enough memory for this. {error}")
        return 2
    if isinstance(error, DivergedError):
        terminal.error(str(error))
        return 1
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    terminal.error(
        f"this is a defect in fastnn: {type(error).__name__}: {error}. "
        "Please report it with the output of the same command with --debug, and of 'fastnn info'."
    )
    return 1


def main() -> None:
    """Entry point of the ``fastnn`` command."""
    sys.exit(run(sys.argv[1:]))
