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


def require_file(path: Path) -> None:
    """Raise where opening would wait for a writer, or reading never end."""
    if path.is_dir():
        fail(path, "it is a folder; expected a file")
    if path.exists() and not path.is_file():
        fail(path, "it is a pipe or a device; expected a file")


def open_bytes(path: Path) -> BinaryIO:
    """Open a file; one that starts like gzip is expanded, whatever its name."""
    return cast(BinaryIO, gzip.open(path)) if is_gzip(path) else path.open("rb")


def is_gzip(path: Path) -> bool:
    """Tell whether a file starts like gzip."""
    require_file(path)
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _too_large(most: int) -> str:
    return (
        f"it expands to more than {most} bytes, suspiciously much for its size; if it is right, "
        "expand it yourself and name the result"
    )


def read_bytes(path: Path, *, most: int | None = None) -> bytearray:
    """Return a file's content, expanded if it is gzip.

    Parameters
    ----------
    path : Path
    most : int, optional
        What the content may expand to, in bytes; None allows what real data can reach.
    """
    with open_bytes(path) as file:
        size = path.stat().st_size
        expands = isinstance(file, gzip.GzipFile)
        if most is None:
            most = max(MOST_EXPANSION * size, SMALL_EXPANSION) if expands else size
        content = bytearray()
        try:
            while chunk := file.read(2**20):
                content += chunk
                if len(content) > most:
                    fail(path, _too_large(most) if expands else "it grows while it is read")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            fail(path, f"damaged or truncated gzip data ({error})")
    return content
