"""``fastnn info`` and ``fastnn completion``."""

import click
from click.shell_completion import get_completion_class

from fastnn.cli.options import check_outputs, debug_option, json_option, write_json
from fastnn.terminal import Terminal


@click.command()
@json_option
@debug_option
def info(json_path: str | None) -> None:
    """Show versions, CPU, BLAS and folders: what a bug report needs."""
    from fastnn.machine import describe

    terminal = Terminal(data_on_stdout=json_path == "-")
    check_outputs(None, None, json_path)
    facts = describe()
    if json_path != "-":
        for part, value in facts.items():
            if value == {}:
                continue
            if isinstance(value, dict):
                terminal.table(part, [(k, "-" if v is None else v) for k, v in value.items()])
            elif isinstance(value, list):
                for entry in value:
                    terminal.table(part, list(entry.items()))
            else:
                terminal.table(part, [("", value)])
    write_json(json_path, facts)


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@debug_option
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes fastnn's commands, options and data in SHELL.

    For bash: fastnn completion bash >> ~/.bash_completion
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"completion for {shell} is not supported")
    root = context.find_root().command
    click.echo(kind(root, {}, "fastnn", "_FASTNN_COMPLETE").source())
