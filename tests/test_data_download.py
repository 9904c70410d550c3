"""MNIST from a server on this machine that behaves well, badly or worse."""

import gzip
import io
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from data_files import GZIP, NAME, assert_tiny, peak_memory, use_tiny_mnist, write_files

from fastconv.data import DataUnavailable, download, mnist

ZEROS = gzip.compress(bytes(16 << 20))


class Handler(BaseHTTPRequestHandler):
    """GET /behaviour/file; each behaviour is a method."""

    def do_GET(self):
        _, behaviour, name = self.path.split("/")
        self.server.requests.append((behaviour, name, self.headers["Range"]))
        self.server.on_request()
        getattr(self, behaviour)(GZIP[name])

    def log_message(self, *_):
        pass

    def answer(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self, content):
        if self.headers["Range"] is None:
            return self.answer(200, content)
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return self.answer(416, b"")
        return self.answer(206, content[start:])

    def rangeless(self, content):
        self.answer(200, content)

    def truncated(self, content):
        self.answer(200, content[:100], length=len(content))

    def flaky(self, content):
        self.good(content) if self.headers["Range"] else self.truncated(content)

    def flaky_rangeless(self, content):
        first = [name for _, name, _ in self.server.requests].count(self.path.split("/")[2]) == 1
        self.truncated(content) if first else self.rangeless(content)

    def wrong(self, _):
        self.answer(200, gzip.compress(b"another file"))

    def garbage(self, _):
        self.answer(200, b"<html>Please log in to this network</html>")

    def bomb(self, content):
        self.answer(200, content + ZEROS)  # two gzip members unpack as one stream

    def missing(self, _):
        self.answer(404, b"")

    def busy(self, _):
        self.answer(503, b"")

    def nonsense(self, _):
        self.wfile.write(b"220 this is not HTTP\r\n")

    def announced(self, _):
        self.answer(200, b"", length=10**12)

    def endless(self, _):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(1000):  # 64 MB: enough, and no danger to the disk
                self.wfile.write(bytes(1 << 16))
        except ConnectionError:
            self.server.hung_up.set()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder that does not exist yet, no pauses, and no mirrors."""
    folder = tmp_path / "cache" / "mnist"
    use_tiny_mnist(monkeypatch, folder)
    monkeypatch.setattr(download, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(download, "_TIMEOUT", 5.0)
    monkeypatch.setenv("no_proxy", "*")
    return folder


@pytest.fixture
def mirror(cache, monkeypatch):
    """A server; mirror.offer("wrong", "good") makes these behaviours the list of mirrors."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.hung_up, server.on_request = [], threading.Event(), lambda: None
    base = f"http://127.0.0.1:{server.server_port}"

    def offer(*behaviours):
        urls = tuple(f"{base}/{behaviour}/" for behaviour in behaviours)
        monkeypatch.setattr(download, "MNIST_MIRRORS", urls)

    server.offer = offer
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def lacks_one(cache):
    """The cache holds all but one file; the path where that one belongs."""
    write_files(cache, without=[NAME])
    return cache / f"{NAME}.gz"


def leftovers(target):
    return sorted(path.name.removeprefix(NAME) for path in target.parent.glob(f"{NAME}*"))


def test_full_download(mirror, cache):
    mirror.offer("good")
    assert_tiny(mnist())
    assert mirror.requests == [("good", name, None) for name in GZIP]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == GZIP
    assert_tiny(mnist(download=False))
    assert len(mirror.requests) == 4


def test_only_what_is_missing_is_downloaded(mirror, lacks_one):
    mirror.offer("good")
    assert_tiny(mnist())
    assert mirror.requests == [("good", f"{NAME}.gz", None)]


@pytest.mark.parametrize("behaviour", ["good", "rangeless"])
def test_a_partial_file_is_continued(mirror, lacks_one, behaviour):
    mirror.offer(behaviour)
    lacks_one.with_name(f"{NAME}.gz.part").write_bytes(GZIP[f"{NAME}.gz"][:1000])
    assert_tiny(mnist())
    assert mirror.requests == [(behaviour, f"{NAME}.gz", "bytes=1000-")]
    assert leftovers(lacks_one) == [".gz"]
    assert lacks_one.read_bytes() == GZIP[f"{NAME}.gz"]


def test_a_complete_partial_file_gets_416(mirror, lacks_one):
    mirror.offer("good")
    content = GZIP[f"{NAME}.gz"]
    lacks_one.with_name(f"{NAME}.gz.part").write_bytes(content)
    assert_tiny(mnist())
    assert mirror.requests == [("good", f"{NAME}.gz", f"bytes={len(content)}-")]


@pytest.mark.parametrize("stale", [b"junk", bytes(100_000)], ids=["short", "too long"])
def test_a_stale_partial_file_is_thrown_away(mirror, lacks_one, stale):
    mirror.offer("good")
    lacks_one.with_name(f"{NAME}.gz.part").write_bytes(stale)
    assert_tiny(mnist())
    assert [wanted for _, _, wanted in mirror.requests] == [f"bytes={len(stale)}-", None]


@pytest.mark.parametrize("behaviour", ["flaky", "flaky_rangeless"])
def test_a_broken_connection_is_continued(mirror, lacks_one, behaviour):
    mirror.offer(behaviour)
    assert_tiny(mnist())
    assert [wanted for _, _, wanted in mirror.requests] == [None, "bytes=100-"]
    assert leftovers(lacks_one) == [".gz"]


@pytest.mark.parametrize(
    "behaviour, requests, reason",
    [
        ("wrong", 1, "MD5"),
        ("garbage", 1, "intact gzip stream"),
        ("bomb", 1, "MD5"),
        ("missing", 1, "HTTP 404"),
        ("announced", 1, f"at most {1 << 20} bytes, found 1000000000000"),
        ("endless", 1, f"at most {1 << 20} bytes, found more"),
        ("busy", 3, "HTTP 503"),
        ("nonsense", 3, "220 this is not HTTP"),
        ("truncated", 3, "connection closed after 100 of"),
    ],
)
def test_a_bad_mirror(mirror, lacks_one, monkeypatch, behaviour, requests, reason):
    """Alone it ends in one clear line and in no file; with a good one behind it, all is well."""
    monkeypatch.setattr(download, "_LARGEST_DOWNLOAD", 1 << 20)
    mirror.offer(behaviour)
    with pytest.raises(DataUnavailable) as caught:
        mnist()
    message = str(caught.value)
    assert f"{download.MNIST_MIRRORS[0]}{NAME}.gz" in message
    assert reason in message
    assert "--data DIR or FASTCONV_DATA" in message
    assert "\n" not in message
    assert len(mirror.requests) == requests
    assert leftovers(lacks_one) == ([".gz.part"] if behaviour == "truncated" else [])
    if behaviour == "endless":
        assert mirror.hung_up.wait(5)

    mirror.offer(behaviour, "good")
    assert_tiny(mnist())
    assert mirror.requests[-1][0] == "good"
    assert leftovers(lacks_one) == [".gz"]


def test_a_downloaded_bomb_is_not_unpacked(mirror, lacks_one):
    mirror.offer("bomb")

    def refuse():
        with pytest.raises(DataUnavailable, match="MD5"):
            mnist()

    assert peak_memory(refuse) < 2 << 20


def test_connection_refused(mirror, lacks_one):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    mirror.offer("good")
    working = download.MNIST_MIRRORS
    download.MNIST_MIRRORS = (refusing, refusing)  # the fixture puts the true ones back
    with pytest.raises(DataUnavailable, match="refused") as caught:
        mnist()
    assert str(caught.value).count(refusing) == 2
    assert leftovers(lacks_one) == []
    download.MNIST_MIRRORS = (refusing, *working)
    assert_tiny(mnist())


def test_a_folder_that_cannot_be_made(mirror, cache):
    mirror.offer("good")
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(DataUnavailable, match="--data DIR"):
        mnist()
    assert mirror.requests == []


def test_the_final_name_appears_only_at_the_end(mirror, lacks_one, monkeypatch):
    seen = []
    check = download._check

    def spy(*arguments):
        seen.append(lacks_one.exists())
        check(*arguments)

    monkeypatch.setattr(download, "_check", spy)
    mirror.on_request = lambda: seen.append(lacks_one.exists())
    mirror.offer("wrong", "flaky")
    assert_tiny(mnist())
    assert seen == [False] * 5  # requests of wrong, flaky, flaky; checks of wrong and flaky's whole
    assert lacks_one.exists()


def test_an_interrupt_keeps_what_has_arrived(mirror, lacks_one, monkeypatch):
    class Impatient:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def update(self, count):
            raise KeyboardInterrupt

    mirror.offer("good")
    monkeypatch.setattr(download, "CHUNK", 1024)
    with monkeypatch.context() as patch:
        patch.setattr(download, "_progress_bar", lambda *_: Impatient())
        with pytest.raises(KeyboardInterrupt):
            mnist()
    assert leftovers(lacks_one) == [".gz.part"]
    assert_tiny(mnist())
    assert [wanted for _, _, wanted in mirror.requests] == [None, "bytes=1024-"]


def test_simultaneous_downloads(mirror, cache):
    mirror.offer("good")
    together = threading.Barrier(4)
    mirror.on_request = lambda: len(mirror.requests) <= 4 and together.wait(10)
    results = []
    threads = [threading.Thread(target=lambda: results.append(mnist())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        assert_tiny(result)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == GZIP


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("progress, installed", [(True, True), (False, True), (True, False)])
def test_progress_bar(mirror, cache, monkeypatch, progress, installed):
    pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    mirror.offer("good")
    assert_tiny(mnist(progress=progress))
    shown = terminal.getvalue()
    assert [f"{name}" in shown for name in GZIP] == [progress and installed] * 4
    assert ("100%" in shown) == (progress and installed)


def test_no_bar_without_a_terminal(mirror, cache, capfd):
    mirror.offer("good")
    mnist()
    assert capfd.readouterr() == ("", "")
