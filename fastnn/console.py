"""The one place of the library that prints."""


def print_line(line: str) -> None:
    """Print a line to standard output at once."""
    print(line, flush=True)  # noqa: T201
