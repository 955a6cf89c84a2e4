"""Downloads, from servers on this machine that behave well, badly, or not at all."""

import gc
import gzip
import itertools
import random
import socket
import tempfile
import threading
from contextlib import suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from files import MNIST_FILES, mnist_like

from fastnn import InputError, datasets, download, named_data
from fastnn.download import RemoteFile, fetch

CONTENT = random.Random(0).randbytes(20_000)
COMPRESSED = gzip.compress(CONTENT)
FILE = RemoteFile("a.gz", len(CONTENT), sha256(CONTENT).hexdigest())
ENDLESS = 100  # times what was asked for; only a failing test sees the end
PATIENCE = 1.0  # seconds


class Handler(BaseHTTPRequestHandler):
    """Serves /behaviour/file: each behaviour is a method."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, behaviour, name = self.path.split("/")
        self.server.requests.append(f"{behaviour}/{name}")
        self.close_connection = True
        with suppress(OSError):  # the client may hang up
            getattr(self, behaviour)(self.server.files.get(name))

    def log_message(self, *args):
        pass

    def start(self, length=None, status=200, **headers):
        self.send_response(status)
        if length is not None:
            headers["Content-Length"] = length
        for name, value in (headers | {"Connection": "close"}).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def good(self, body):
        self.start(len(body))
        self.wfile.write(body)

    def without_length(self, body):
        self.start()
        self.wfile.write(body)

    def chunked(self, body):
        self.start(Transfer_Encoding="chunked")
        for start in range(0, len(body), 100):
            piece = body[start : start + 100]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def encoded(self, body):
        self.start(len(body), Content_Encoding="gzip")
        self.wfile.write(body)

    def redirected(self, body):
        self.start(0, 302, Location=f"/good/{self.path.split('/')[-1]}")

    def moved_around(self, body):
        self.start(0, 302, Location=self.path)

    def missing(self, body):
        self.send_error(404)

    def broken(self, body):
        self.send_error(500)

    def another(self, body):
        self.good(gzip.compress(bytes(CONTENT[::-1])))

    def page(self, body):
        self.good(b"<html>Please log in.</html>")

    def nothing(self, body):
        self.good(b"")

    def bomb(self, body):
        self.good(gzip.compress(bytes(8_000_000)))

    def endless(self, body):
        self.start()
        for _ in range(ENDLESS):
            self.wfile.write(body)

    def endlessly_encoded(self, body):
        self.start(Transfer_Encoding="chunked", Content_Encoding="gzip")
        piece = gzip.compress(bytes(8_000_000))
        for _ in range(ENDLESS):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def longer_than_announced(self, body):
        self.start(len(body))
        self.wfile.write(body + body)

    def cut_off(self, body):
        self.start(len(body))
        self.wfile.write(body[: len(body) // 2])

    def cut_off_without_length(self, body):
        self.without_length(body[: len(body) // 2])

    def stalled(self, body):
        self.start(len(body))
        self.wfile.write(body[: len(body) // 2])
        self.silent(body)

    def silent(self, body):
        self.server.stopping.wait(10 * PATIENCE)

    def bad_length(self, body):
        self.start("many")
        self.wfile.write(body)

    def babble(self, body):
        self.wfile.write(b"\0\xff" * 1000 + b"\r\n\r\n")


GOOD = ["good", "without_length", "chunked", "encoded", "redirected", "longer_than_announced"]
BAD = {
    "missing": "404",
    "broken": "500",
    "moved_around": "TooManyRedirects",
    "another": "another file (its checksum differs)",
    "page": "another file (its checksum differs)",
    "nothing": "another file (its checksum differs)",
    "bomb": f"more than {len(CONTENT)} bytes",
    "endless": "sends more than the file's size",
    "endlessly_encoded": "sends more than the file's size",
    "cut_off": "",
    "cut_off_without_length": "truncated",
    "stalled": "timed out",
    "silent": "timed out",
    "bad_length": "",
    "babble": "",
}


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # so that closing waits for them
    server.files, server.requests, server.stopping = {"a.gz": COMPRESSED}, [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mirror(server):
    """Return the address of a mirror that behaves as its name says."""
    return lambda behaviour: f"http://127.0.0.1:{server.server_port}/{behaviour}"


@pytest.fixture
def nobody():
    """Return the address of a mirror where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture(autouse=True)
def watched(monkeypatch, tmp_path_factory):
    """Let no connection leave this machine, and see that nothing is left open or lying about."""
    connect = socket.socket.connect

    def guarded(self, address):
        assert address[0] == "127.0.0.1", address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("NO_PROXY", "*")
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())
    gc.collect()  # what was left open warns now, and warnings are errors


@pytest.fixture
def patience(monkeypatch, behaviour):
    """Wait for the silent as briefly as a busy machine allows."""
    if behaviour in ("stalled", "silent"):
        monkeypatch.setattr(download, "TIMEOUT", PATIENCE)


def content_of(folder):
    """Return {name: expanded content} of a folder's files, hidden ones too."""
    return {path.name: gzip.decompress(path.read_bytes()) for path in folder.iterdir()}


@pytest.mark.parametrize("behaviour", GOOD)
def test_a_good_mirror(mirror, tmp_path, behaviour):
    path = fetch(FILE, [mirror(behaviour) + "/"], tmp_path / "made" / "here")
    assert path == tmp_path / "made" / "here" / "a.gz"
    assert content_of(path.parent) == {"a.gz": CONTENT}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("behaviour", BAD)
def test_a_bad_mirror_gives_way_to_the_next(server, mirror, tmp_path, behaviour):
    fetch(FILE, [mirror(behaviour), mirror("good"), mirror("missing")], tmp_path)
    assert content_of(tmp_path) == {"a.gz": CONTENT}
    assert set(server.requests) == {f"{behaviour}/a.gz", "good/a.gz"}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("behaviour", BAD)
def test_a_bad_mirror_alone_leaves_nothing(mirror, nobody, tmp_path, behaviour):
    with pytest.raises(InputError) as caught:
        fetch(FILE, [mirror(behaviour), nobody], tmp_path)
    message = str(caught.value)
    assert message.startswith("cannot download a.gz: ")
    assert message.isprintable()
    of_bad, of_nobody = message.split(f"; {nobody}/a.gz: ")
    assert f"{mirror(behaviour)}/a.gz: " in of_bad
    assert BAD[behaviour] in of_bad
    assert "ConnectionError" in of_nobody
    assert content_of(tmp_path) == {}


def test_nobody_there_gives_way_to_the_next(mirror, nobody, tmp_path):
    fetch(FILE, [nobody, mirror("good")], tmp_path)
    assert content_of(tmp_path) == {"a.gz": CONTENT}


def clock(monkeypatch, step):
    """Let every look at the time see ``step`` more seconds."""
    seconds = itertools.count(0, step)
    monkeypatch.setattr(download, "monotonic", lambda: next(seconds))


@pytest.mark.parametrize("behaviour", ["good", "without_length", "chunked"])
def test_a_trickle_ends(monkeypatch, mirror, tmp_path, behaviour):
    clock(monkeypatch, download.CHUNK / download.SLOWEST * 2)
    with pytest.raises(InputError, match=r"too slow: \d+ bytes in \d+ s"):
        fetch(FILE, [mirror(behaviour)], tmp_path)
    assert content_of(tmp_path) == {}


@pytest.mark.parametrize("behaviour", ["good", "without_length", "encoded"])
def test_a_long_download_does_not_fail_at_its_end(monkeypatch, mirror, tmp_path, behaviour):
    monkeypatch.setattr(download, "TIMEOUT", 5.0)
    clock(monkeypatch, download.CHUNK / download.SLOWEST / 2)  # 10 seconds in all
    fetch(FILE, [mirror(behaviour)], tmp_path)
    assert content_of(tmp_path) == {"a.gz": CONTENT}


@pytest.mark.parametrize(
    ("behaviour", "final", "total"),
    [
        ("good", len(COMPRESSED), len(COMPRESSED)),
        ("without_length", len(COMPRESSED), 0),
        ("chunked", len(COMPRESSED), 0),
    ],
)
def test_progress_is_reported(mirror, tmp_path, behaviour, final, total):
    reports = []
    fetch(FILE, [mirror(behaviour)], tmp_path, lambda *report: reports.append(report))
    received = [n_bytes for _, n_bytes, _ in reports]
    assert len(received) > 10
    assert received == sorted(received)
    assert reports[-1] == ("a.gz", final, total)
    assert {of for *_, of in reports} == {total}


def test_progress_of_what_is_expanded_on_the_way_has_no_total(server, mirror, tmp_path):
    content = bytes(50_000)
    server.files["zeros.gz"] = gzip.compress(content)
    file = RemoteFile("zeros.gz", len(content), sha256(content).hexdigest())
    reports = []
    fetch(file, [mirror("encoded")], tmp_path, lambda *report: reports.append(report))
    assert reports[-1] == ("zeros.gz", len(content), 0)


# --- named data sets ----------------------------------------------------------------------------


@pytest.fixture
def small_mnist(monkeypatch, tmp_path, server):
    """Have the server offer a small "mnist" with the sums that are expected of it."""
    parts = mnist_like(tmp_path / "offered")
    remote = []
    for name in MNIST_FILES:
        content = (tmp_path / "offered" / f"{name}.gz").read_bytes()
        server.files[f"{name}.gz"] = content
        expanded = gzip.decompress(content)
        remote.append(RemoteFile(f"{name}.gz", len(expanded), sha256(expanded).hexdigest()))
    monkeypatch.setitem(named_data.FILES, "mnist", tuple(remote))
    return parts


def use(monkeypatch, *mirrors):
    monkeypatch.setitem(named_data.MIRRORS, "mnist", mirrors)


def test_every_named_data_set_has_two_mirrors():
    for name, mirrors in named_data.MIRRORS.items():
        assert len({address.split("/")[2] for address in mirrors}) >= 2, name
        assert len(named_data.FILES[name]) == 4


def test_what_was_downloaded_is_not_downloaded_again(monkeypatch, server, mirror, small_mnist):
    use(monkeypatch, mirror("missing"), mirror("good"))
    folder = named_data.cache_folder() / "mnist"
    for n_requests in (8, 8):
        data = datasets.load("mnist")
        assert data.source == str(folder)
        np.testing.assert_array_equal(data.y_train, small_mnist[1])
        assert len(server.requests) == n_requests
    assert sorted(content_of(folder)) == sorted(f"{name}.gz" for name in MNIST_FILES)


def test_only_what_is_missing_is_downloaded(monkeypatch, server, mirror, small_mnist):
    use(monkeypatch, mirror("good"))
    datasets.load("mnist")
    (named_data.cache_folder() / "mnist" / f"{MNIST_FILES[2]}.gz").unlink()
    server.requests.clear()
    datasets.load("mnist")
    assert server.requests == [f"good/{MNIST_FILES[2]}.gz"]


def test_no_mirror_at_all_says_what_to_do(monkeypatch, mirror, nobody, small_mnist):
    use(monkeypatch, mirror("broken"), nobody)
    with pytest.raises(InputError) as caught:
        datasets.load("mnist")
    message = str(caught.value)
    assert message.isprintable()
    for part in (mirror("broken"), nobody, "set FASTNN_DATA=DIR", str(named_data.cache_folder())):
        assert part in message
    assert content_of(named_data.cache_folder() / "mnist") == {}


@pytest.mark.parametrize("taken", ["", "fastnn", "fastnn/mnist"])
def test_a_cache_that_cannot_be_written(monkeypatch, server, mirror, small_mnist, tmp_path, taken):
    use(monkeypatch, mirror("good"))
    path = tmp_path / "cache" / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"could not be downloaded: .*set FASTNN_DATA=DIR"):
        datasets.load("mnist")
    assert server.requests == []


def test_a_file_that_cannot_be_written(server, mirror, tmp_path):
    (tmp_path / "a.gz").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*a\.gz: it is there and is not a file"):
        fetch(FILE, [mirror("good")], tmp_path)
    assert server.requests == []
