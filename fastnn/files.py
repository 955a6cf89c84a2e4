"""Files that are either whole or not there."""

import contextlib
import os
import secrets
import stat
from glob import escape
from pathlib import Path

from fastnn.errors import InputError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that after a crash there is the old one or the new one, never a part.

    The content goes to a temporary file in the same folder, is flushed to the disk, and takes the
    name in one step; then the folder is flushed too. A file that was there keeps its permissions.

    Raises
    ------
    OSError
        If the file cannot be written; what was there before is untouched.
    """
    target = _resolve(path)
    temporary = _temporary(target)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        error.filename = os.fspath(path)  # the caller knows nothing of the temporary one
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = os.fspath(path)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now what ``write_atomically`` would raise after an hour of work.

    Raises
    ------
    InputError
        If the folder is missing or not writable, or the name is taken by something else than a
        file.
    """
    target = _resolve(path)
    probe = _temporary(target)
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError as error:
        raise InputError(f"cannot write {os.fspath(path)}: {error.strerror}") from error
    probe.unlink()


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files of writers that were killed, so that they do not pile up.

    A writer of the same file that is still alive would fail; what was there before stays whole.
    """
    target = _resolve(path)
    for leftover in target.parent.glob(f".{escape(target.name[:40])}.*.tmp"):
        leftover.unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    """Return a name beside the target, no longer than a file's name may be."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")


def _resolve(path: str | os.PathLike[str]) -> Path:
    """Follow links, so that a link keeps pointing at the file that is written."""
    if not os.path.basename(path):
        raise InputError(f"cannot write {os.fspath(path)!r}: it does not end in a file's name")
    target = Path(os.path.realpath(path))
    # what is still a link after that leads to itself
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise InputError(f"cannot write {os.fspath(path)}: it is there and is not a file")
    return target
