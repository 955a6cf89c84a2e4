"""``fastnn verify`` and ``fastnn warmup``."""

from time import perf_counter

import click

from fastnn.cli.options import check_outputs, debug_option, json_option, write_json
from fastnn.terminal import Terminal

DTYPES = ("float32", "float64")

dtype_option = click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(DTYPES),
    multiple=True,
    help="Only this one; may be given twice. [default: both]",
)


@click.command()
@click.option(
    "--engine",
    type=click.Choice(("fused", "reference")),
    default="fused",
    help="What to verify. [default: fused]",
)
@dtype_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, help="Of the random problems. [default: 0]"
)
@json_option
@debug_option
def verify(engine: str, dtypes: tuple[str, ...], seed: int, json_path: str | None) -> int:
    """Show that the engine computes what the reference does, on this machine.

    Each line is an observed error and the bound that rounding sets it. The exit status is 1 if one
    is out of bounds.
    """
    from fastnn.verification import verify as run

    terminal = Terminal(data_on_stdout=json_path == "-", go_on=True)
    check_outputs(None, None, json_path)
    found = run(engine, dtypes=dtypes or DTYPES, seed=seed)
    terminal.checks(found.checks)
    count, wrong = len(found.checks), len(found.failures)
    terminal.line(
        f"{count} checks in {found.seconds:.0f} s: all within bounds"
        if found.ok
        else f"{wrong} of {count} checks are out of bounds: do not trust this engine here. "
        "Please report it with the output of 'fastnn info'"
    )
    write_json(json_path, found.as_dict())
    return 0 if found.ok else 1


@click.command()
@dtype_option
@debug_option
def warmup(dtypes: tuple[str, ...]) -> None:
    """Compile the kernels now, and keep them: for container images, and first runs that count."""
    from fastnn.fused.compiled import cache_folder, get_entry
    from fastnn.fused.tiles import host_tile

    terminal = Terminal()
    for dtype in dtypes or DTYPES:
        started = perf_counter()
        get_entry(host_tile(dtype))
        folder = cache_folder(host_tile(dtype))
        where = f"kept in {folder}" if folder else "not kept"  # a warning has said why
        terminal.line(f"{dtype}: ready after {perf_counter() - started:.1f} s, {where}")
