"""The group of commands, and what the user is told when one of them fails."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from fastnn import __version__
from fastnn.cli.about import completion, info
from fastnn.cli.apply import evaluate, predict
from fastnn.cli.bench import bench
from fastnn.cli.export import export
from fastnn.cli.options import debug_option
from fastnn.cli.proof import verify, warmup
from fastnn.cli.train import train
from fastnn.errors import InputError
from fastnn.terminal import INTERRUPTED, Terminal


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastnn")
@debug_option
def cli() -> None:
    """Train neural networks on a CPU, fast."""


for command in (train, evaluate, predict, export, verify, bench, warmup, info, completion):
    cli.add_command(command)


def run(args: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    if os.environ.get("COLUMNS") == "0":  # some programs export it so, and rich then shows nothing
        del os.environ["COLUMNS"]
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that it cannot encode ends no training
        sys.stdout.reconfigure(errors="backslashreplace")
    for number in (signal.SIGTERM, signal.SIGHUP):  # what is trained so far is to be saved
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
    terminal = Terminal()
    try:
        status = cli.main(list(args), prog_name="fastnn", standalone_mode=False) or 0
        _flush()  # now, while an error can still be told
        return status
    except BaseException as error:
        if "--debug" in args[: [*args, "--"].index("--")]:
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
    if isinstance(error, OSError):
        _abandon_output()
        if isinstance(error, BrokenPipeError):  # as in `fastnn predict ... | head`
            return 1
        subject = f"{error.filename}: " if error.filename else ""
        terminal.error(f"{subject}{error.strerror or error}")
        return 2
    if isinstance(error, InputError):
        terminal.error(str(error))
        return 2
    if isinstance(error, MemoryError):
        terminal.error(f"there is not enough memory for this. {error}")
        return 2
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    terminal.error(
        f"this is a defect in fastnn: {type(error).__name__}: {error}. "
        "Please report it with the output of the same command with --debug, and of 'fastnn info'."
    )
    return 1


def _flush() -> None:
    if sys.stdout is not None:  # None where the caller has closed it
        sys.stdout.flush()


def _abandon_output() -> None:
    """Send what standard output does not take to nowhere, or Python complains of it at exit."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
