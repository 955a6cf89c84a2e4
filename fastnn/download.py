"""Fetch a data file from the first mirror that serves the right bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import IO, Any, TypeAlias

from fastnn.errors import InputError
from fastnn.files import check_writable, write_atomically

TIMEOUT = 20.0  # seconds without a byte
CHUNK = 256  # bytes; small, so that a trickle is noticed
SLOWEST = 1000.0  # bytes per second, on average, once a download has run for TIMEOUT

Report: TypeAlias = Callable[[str, int, int], None]  # file, bytes so far, bytes in all (0: unknown)


@dataclass(frozen=True)
class RemoteFile:
    """A file as it must be once expanded.

    Attributes
    ----------
    name : str
        On the mirrors: gzip, ends in ``.gz``.
    size : int
        In bytes, expanded.
    sha256 : str
        Of the expanded bytes: mirrors compress differently.
    """

    name: str
    size: int
    sha256: str


class _Watch:
    """Receives a download and ends one which is too large or too slow.

    To pooch it is the file that is written to, which gets every byte, and the progress bar, which
    is told the number of bytes to come but counts a short chunk as a whole one.
    """

    total = 0

    def __init__(self, file: RemoteFile, output: IO[bytes], report: Report | None) -> None:
        self._file, self._output, self._report = file, output, report
        self._received, self._started = 0, monotonic()

    def write(self, chunk: bytes) -> None:
        self._output.write(chunk)
        self._received += len(chunk)
        # gzip adds a little to what it cannot compress
        if self._received > self._file.size + self._file.size // 100 + 1000:
            raise InputError("it sends more than the file's size")
        seconds = monotonic() - self._started
        if seconds > TIMEOUT and self._received < SLOWEST * seconds:
            raise InputError(f"too slow: {self._received} bytes in {seconds:.0f} s")
        if self._report is not None:
            # a body that is expanded on the way grows beyond what was announced
            total = self.total if self._received <= self.total else 0
            self._report(self._file.name, self._received, total)

    def flush(self) -> None:
        pass

    def update(self, n_bytes: int) -> None:
        pass

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


def fetch(
    file: RemoteFile, mirrors: Sequence[str], folder: Path, report: Report | None = None
) -> Path:
    """Download ``file`` into ``folder`` and return its path.

    Raises
    ------
    InputError
        If no mirror served it; the message says what each did. Or if the folder is not writable.
    OSError
        If the folder cannot be made.
    """
    target = folder / file.name
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(target)
    failures = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + file.name
        try:
            content = _download(url, file, report)
        except Exception as error:  # whatever a network can do
            failures.append(f"{url}: {_in_short(error)}")
            continue
        write_atomically(target, content)
        return target
    raise InputError(f"cannot download {file.name}: " + "; ".join(failures))


def _download(url: str, file: RemoteFile, report: Report | None) -> bytes:
    """Return the gzip bytes behind ``url`` once what they expand to is checked."""
    import gzip

    from pooch import HTTPDownloader

    from fastnn.formats.content import read_bytes

    with TemporaryDirectory() as folder:
        path = Path(folder) / file.name
        with path.open("wb") as output:
            watch = _Watch(file, output, report)
            downloader = HTTPDownloader(progressbar=watch, chunk_size=CHUNK, timeout=TIMEOUT)
            downloader(url, watch, None)
        content: Any = read_bytes(path, most=file.size)
        if len(content) != file.size or sha256(content).hexdigest() != file.sha256:
            raise InputError("it serves another file (its checksum differs)")
        received = path.read_bytes()
    # a server that declares the gzip as an encoding has it expanded on the way
    return received if received[:2] == b"\x1f\x8b" else gzip.compress(received)


def _in_short(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]:.160}" if lines[0] else type(error).__name__
