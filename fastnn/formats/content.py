"""The bytes of a file that is not believed: bounded expansion, and one kind of error."""

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from fastnn.errors import InputError

MOST_EXPANSION = 200  # times its compressed size; handwritten digits expand 5 times
SMALL_EXPANSION = 16 * 2**20  # bytes that any compressed file may expand to
LONGEST_ERROR = 500  # characters


def fail(path: Path, what: str) -> NoReturn:
    """Raise the error that every reader raises: one line that names the file.

    What is quoted from a file may hold line breaks, terminal codes, or megabytes.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in what[:LONGEST_ERROR])
    raise InputError(f"{path}: {shown}")


def open_bytes(path: Path) -> BinaryIO:
    """Open a file; one that starts like gzip is expanded, whatever its name."""
    if path.is_dir():
        fail(path, "it is a folder; expected a file")
    if path.exists() and not path.is_file():
        fail(path, "it is a pipe or a device; expected a file")
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if is_gzip else path.open("rb")


def read_bytes(path: Path, *, most: int | None = None) -> bytearray:
    """Return a file's content, expanded if it is gzip.

    Parameters
    ----------
    path : Path
    most : int, optional
        What the content may expand to, in bytes; None allows what real data can reach.
    """
    with open_bytes(path) as file:
        if most is None:
            compressed = path.stat().st_size
            is_gzip = isinstance(file, gzip.GzipFile)
            most = max(MOST_EXPANSION * compressed, SMALL_EXPANSION) if is_gzip else compressed
        content = bytearray()
        try:
            while chunk := file.read(2**20):
                content += chunk
                if len(content) > most:
                    fail(path, f"the content is larger than {most} bytes, more than it should be")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            fail(path, f"damaged or truncated gzip data ({error})")
    return content
