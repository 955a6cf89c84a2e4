"""The bytes of a file that is not believed: bounded expansion, and one kind of error."""

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from fastnn.errors import InputError

MOST_EXPANSION = 200  # times its compressed size; handwritten digits expand 5 times
SMALL_EXPANSION = 16 * 2**20  # bytes that any compressed file may expand to


def fail(path: Path, what: str) -> NoReturn:
    """Raise the error that every reader raises: it names the file."""
    raise InputError(f"{path}: {what}")


def open_bytes(path: Path) -> BinaryIO:
    """Open a file; one that starts like gzip is expanded, whatever its name."""
    if path.is_dir():
        fail(path, "it is a folder; expected a file")
    file = path.open("rb")
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_gzip else file


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
