"""IDX files, the MNIST downloader against a server on this machine, digits, batches."""

import gzip
import hashlib
import io
import os
import socket
import struct
import sys
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import data
from fastconv.data import DataUnavailable, batches, digits, mnist, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_header(code, *shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def idx_bytes(array):
    header = idx_header(CODES[array.dtype.str[1:]], *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def sample(dtype, shape):
    """Values whose bytes all differ, so that a wrong byte order shows; negative where they can."""
    count = int(np.prod(shape))
    values = np.arange(count) * 259 - (0 if dtype == "u1" else 7)
    values = values % 256 if dtype == "u1" else values % 256 - 128 if dtype == "i1" else values
    return values.astype(dtype).reshape(shape) / (3 if dtype[0] == "f" else np.uint8(1))


# --- read_idx


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(7,), (2, 3), (4, 3, 2), (2, 1, 3, 5), (1,) * 31 + (6,), (3, 0)])
@pytest.mark.parametrize("dtype", CODES)
def test_round_trip(dtype, shape, compress, tmp_path):
    array = sample(dtype, shape).astype(dtype)
    path = tmp_path / "no-extension-that-tells"
    path.write_bytes(compress(idx_bytes(array)))
    result = read_idx(path)
    assert result.dtype == np.dtype(dtype)
    assert result.dtype.isnative
    assert result.flags.writeable
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, array, strict=True)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_content_instead_of_a_path(wrap):
    content = idx_bytes(np.array([3, -1, 400], "i4"))
    np.testing.assert_array_equal(read_idx(wrap(content)), [3, -1, 400])
    strided = memoryview(bytes(byte for byte in content for _ in range(2)))[::2]
    np.testing.assert_array_equal(read_idx(strided), [3, -1, 400])


def test_a_result_does_not_alias_the_content():
    content = bytearray(idx_bytes(np.array([1, 2, 3], "u1")))
    result = read_idx(content)
    result[:] = 9
    assert content[-3:] == b"\1\2\3"


GOOD = idx_header(0x08, 2, 3) + bytes(6)
HUGE = 2**32 - 1
HOSTILE = {
    "empty": (b"", "4 bytes of magic number, found 0"),
    "three bytes": (b"\0\0\x08", "4 bytes of magic number, found 3"),
    "magic": (b"\0\1" + GOOD[2:], "found 00 01 08"),
    "little-endian magic": (b"\3\x08\0\0" + GOOD[4:], "found 03 08 00"),
    "type": (b"\0\0\x0a" + GOOD[3:], "found 00 00 0a"),
    "rank zero": (b"\0\0\x08\0\5", "1 to 32 dimensions, found 0"),
    "rank 33": (idx_header(0x08, *[1] * 33) + b"\0", "1 to 32 dimensions, found 33"),
    "rank 255": (b"\0\0\x08\xff" + bytes(2000), "1 to 32 dimensions, found 255"),
    "cut dimensions": (GOOD[:11], "8 bytes of dimensions, found 7"),
    "no content": (GOOD[:12], r"6 bytes after the header, for uint8 of shape \(2, 3\), found"),
    "cut content": (GOOD[:-1], "6 bytes after the header, .* found (at most )?5$"),
    "trailing byte": (GOOD + b"\0", "6 bytes after the header, .* found at least 7$"),
    "content of no elements": (idx_header(0x0E, 0, 4) + b"\0", "0 bytes .* found at least 1"),
    "too large": (idx_header(0x08, HUGE), f"{HUGE} bytes after the header, .* found at most"),
    "overflow": (idx_header(0x0E, HUGE, HUGE, 2), "at most [0-9]+ bytes, found dimensions"),
    "product that wraps to 0": (idx_header(0x08, 2**31, 2**31, 4), "at most [0-9]+ bytes, found"),
    "overflow hidden by a 0": (idx_header(0x08, 0, HUGE, HUGE, HUGE), "at most [0-9]+ bytes"),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("content, message", HOSTILE.values(), ids=HOSTILE)
def test_hostile_header(content, message, compress, tmp_path):
    path = tmp_path / "hostile.idx"
    path.write_bytes(compress(content))
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"read_idx: {path}: expected ")
    with pytest.raises(ValueError, match=r"^read_idx: <bytes>: expected "):
        read_idx(path.read_bytes())


PACKED = gzip.compress(idx_bytes(np.arange(200, dtype="i4")))
CORRUPT = {
    "only the magic": PACKED[:2],
    "cut in the header": PACKED[:8],
    "cut in the data": PACKED[:60],
    "cut in the checksum": PACKED[:-6],
    "cut in the length": PACKED[:-1],
    "method": PACKED[:2] + b"\7" + PACKED[3:],
    "flipped data": PACKED[:40] + bytes([PACKED[40] ^ 0xFF]) + PACKED[41:],
    "checksum": PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:],
    "length": PACKED[:-1] + b"\1",
    "garbage behind": PACKED + b"garbage",
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_gzip(content, tmp_path):
    path = tmp_path / "corrupt.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected") as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def peak_memory(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(idx_header(0x08, 4) + bytes(64 << 20)),  # far more than the header says
        gzip.compress(idx_header(0x08, 1 << 30) + bytes(100)),  # far less
        gzip.compress(idx_header(0x0E, 1 << 20, 1 << 20)),  # more than so short a stream can hold
        idx_header(0x0E, 1 << 20, 1 << 20),
    ],
    ids=["bomb", "promise", "large promise", "plain promise"],
)
def test_memory_stays_small(content, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(content)

    def refuse():
        with pytest.raises(ValueError, match="bytes after the header"):
            read_idx(path)

    assert peak_memory(refuse) < 2 << 20


def array_or_value_error(content):
    try:
        result = read_idx(content)
    except ValueError as error:
        assert str(error).startswith("read_idx: <bytes>: ")
    else:
        assert isinstance(result, np.ndarray)
        assert result.dtype.kind in "uif"


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=80))
def test_random_bytes(tail):
    for head in (b"", b"\0\0", b"\0\0\x08\1", b"\0\0\x0e\2\0\0\0", b"\x1f\x8b", b"\x1f\x8b\x08\0"):
        array_or_value_error(head + tail)
        array_or_value_error(gzip.compress(head + tail))


@settings(max_examples=1000, deadline=None)
@given(
    content=st.sampled_from([GOOD, idx_bytes(np.arange(9, dtype="f8").reshape(3, 3)), PACKED]),
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3)), max_size=4
    ),
)
def test_mutated_files(content, edits):
    mutated = bytearray(content)
    for position, inserted, removed in edits:
        mutated[position : position + removed] = inserted
    array_or_value_error(mutated)
    array_or_value_error(gzip.compress(mutated))


def test_read_idx_leaves_other_errors_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")
    with pytest.raises(TypeError):
        read_idx(3)


# --- mnist from files


def tiny_mnist():
    rng = np.random.default_rng(5)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (5, 28, 28), dtype="u1"),
        "train-labels-idx1-ubyte": np.array([3, 1, 4, 1, 9], "u1"),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (3, 28, 28), dtype="u1"),
        "t10k-labels-idx1-ubyte": np.array([2, 7, 0], "u1"),
    }


ARRAYS = tiny_mnist()
PLAIN = {name: idx_bytes(array) for name, array in ARRAYS.items()}
NAME = "train-images-idx3-ubyte"
GZIP = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in PLAIN.items()}


@pytest.fixture
def tiny(monkeypatch):
    """mnist() expects the arrays above, and nothing in the environment names a folder."""
    expected = {
        name: data._File(hashlib.md5(PLAIN[name]).hexdigest(), array.shape)
        for name, array in ARRAYS.items()
    }
    monkeypatch.setattr(data, "_MNIST_FILES", expected)
    monkeypatch.delenv("FASTCONV_DATA", raising=False)


@pytest.fixture
def cache(tiny, monkeypatch, tmp_path):
    """An empty cache folder that does not exist yet, no pauses, and no mirrors."""
    folder = tmp_path / "cache" / "mnist"
    monkeypatch.setattr(data, "_cache_folder", lambda: folder)
    monkeypatch.setattr(data, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(data, "_TIMEOUT", 5.0)
    monkeypatch.setattr(data, "MNIST_MIRRORS", ())
    monkeypatch.setenv("no_proxy", "*")
    return folder


def write_files(folder, pattern="{}", without=()):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in PLAIN.items():
        if name not in without:
            file = folder / pattern.format(name)
            file.write_bytes(GZIP[f"{name}.gz"] if file.suffix == ".gz" else content)


def assert_tiny(result):
    assert result._fields == ("train_images", "train_labels", "test_images", "test_labels")
    for array, expected in zip(result, ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.parametrize("pattern", ["{}", "{}.gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_file_names(cache, tmp_path, pattern, dotted):
    write_files(tmp_path, pattern)
    if dotted:
        for file in tmp_path.glob("*-ubyte*"):
            file.rename(tmp_path / file.name.replace("-idx", ".idx"))
    assert_tiny(mnist(tmp_path))
    assert_tiny(mnist(str(tmp_path), download=False))


def test_order_of_the_places(cache, tmp_path, monkeypatch):
    for place in ("argument", "environment"):
        write_files(tmp_path / place)
    write_files(cache, without=[NAME])
    with pytest.raises(DataUnavailable, match=str(cache)):
        mnist(download=False)
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "environment"))
    assert_tiny(mnist(download=False))
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "nowhere"))
    assert_tiny(mnist(tmp_path / "argument"))
    monkeypatch.setenv("FASTCONV_DATA", "")
    with pytest.raises(DataUnavailable, match=str(cache)):
        mnist(download=False)


@pytest.mark.parametrize("by_argument", [True, False])
def test_a_named_folder_is_never_downloaded_into(cache, tmp_path, monkeypatch, by_argument):
    monkeypatch.setattr(data, "_download", lambda *_: pytest.fail("a download was tried"))
    folder = tmp_path / "mine"
    write_files(folder, without=[NAME, "t10k-labels-idx1-ubyte"])
    if not by_argument:
        monkeypatch.setenv("FASTCONV_DATA", str(folder))
    with pytest.raises(DataUnavailable) as caught:
        mnist(folder if by_argument else None)
    message = str(caught.value)
    assert f"{folder} lacks {NAME}, t10k-labels-idx1-ubyte;" in message
    assert "--data DIR" in message
    assert "FASTCONV_DATA" in message
    assert "\n" not in message
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    "name, array, message",
    [
        (NAME, ARRAYS[NAME][:4], r"\(5, 28, 28\), found uint8 of shape \(4, 28, 28\)"),
        (NAME, ARRAYS[NAME].astype("i2"), r"uint8 of shape \(5, 28, 28\), found int16"),
        ("t10k-labels-idx1-ubyte", np.array([2, 10, 0], "u1"), "labels 0 to 9, found 10"),
    ],
)
def test_unfit_file(tiny, tmp_path, name, array, message):
    write_files(tmp_path)
    (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(ValueError, match=message) as caught:
        mnist(tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_cache_folder(monkeypatch):
    platformdirs = pytest.importorskip("platformdirs")
    assert data._cache_folder() == Path(platformdirs.user_cache_dir("fastconv", False), "mnist")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.join("some", "where"))
    assert data._cache_folder() == Path("some", "where", "fastconv", "mnist")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    assert data._cache_folder() == Path.home() / ".cache" / "fastconv" / "mnist"


# --- mnist from a server


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
def mirror(cache, monkeypatch):
    """A server; mirror.offer("wrong", "good") makes these behaviours the list of mirrors."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.hung_up, server.on_request = [], threading.Event(), lambda: None
    base = f"http://127.0.0.1:{server.server_port}"

    def offer(*behaviours):
        urls = tuple(f"{base}/{behaviour}/" for behaviour in behaviours)
        monkeypatch.setattr(data, "MNIST_MIRRORS", urls)

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
    monkeypatch.setattr(data, "_LARGEST_DOWNLOAD", 1 << 20)
    mirror.offer(behaviour)
    with pytest.raises(DataUnavailable) as caught:
        mnist()
    message = str(caught.value)
    assert f"{data.MNIST_MIRRORS[0]}{NAME}.gz" in message
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
    working = data.MNIST_MIRRORS
    data.MNIST_MIRRORS = (refusing, refusing)  # the fixture puts the true ones back
    with pytest.raises(DataUnavailable, match="refused") as caught:
        mnist()
    assert str(caught.value).count(refusing) == 2
    assert leftovers(lacks_one) == []
    data.MNIST_MIRRORS = (refusing, *working)
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
    check = data._check

    def spy(*arguments):
        seen.append(lacks_one.exists())
        check(*arguments)

    monkeypatch.setattr(data, "_check", spy)
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
    monkeypatch.setattr(data, "_CHUNK", 1024)
    with monkeypatch.context() as patch:
        patch.setattr(data, "_progress_bar", lambda *_: Impatient())
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


@pytest.mark.mnist
def test_real_mnist():
    if not os.environ.get("FASTCONV_DATA"):
        pytest.skip("FASTCONV_DATA does not name a folder with the real MNIST")
    real = mnist()
    contents = [idx_bytes(array) for array in real]
    assert [hashlib.md5(content).hexdigest() for content in contents] == [
        file.md5 for file in data._MNIST_FILES.values()
    ]
    assert real.train_labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(real.train_labels).tolist() == counts


# --- digits


@pytest.fixture(scope="module")
def bundled():
    return pytest.importorskip("sklearn.datasets").load_digits()


def as_set(images, labels):
    return sorted((int(label), image.tobytes()) for image, label in zip(images, labels))


def test_digits_are_the_bundled_ones(bundled):
    result = digits()
    images = np.concatenate([result.train_images, result.test_images])
    labels = np.concatenate([result.train_labels, result.test_labels])
    assert images.shape == (1797, 28, 28)
    assert {array.dtype for array in result} == {np.dtype("u1")}
    assert images[:, 4:24, 4:24].sum() == images.sum()

    # Linear interpolation is a product with hat functions: large = hats @ small @ hats.T.
    hats = np.maximum(0, 1 - np.abs(np.linspace(0, 7, 20)[:, None] - np.arange(8)))
    expected = (hats @ bundled.images @ hats.T).reshape(1797, 400) * (255 / 16)
    inner = images[:, 4:24, 4:24].reshape(1797, 400).astype(float)
    nearest = np.argmin(np.square(expected).sum(1) - 2 * inner @ expected.T, axis=1)
    assert sorted(nearest) == list(range(1797))
    np.testing.assert_allclose(inner, expected[nearest], rtol=0, atol=0.5 + 1e-9)
    np.testing.assert_array_equal(labels, bundled.target[nearest])


def test_digits_split(bundled):
    one, same, other = digits(), digits(seed=0), digits(seed=1, holdout=0.5)
    for left, right in zip(one, same, strict=True):
        np.testing.assert_array_equal(left, right)
    everything = as_set(one.train_images, one.train_labels) + as_set(*one[2:])
    assert sorted(everything) == sorted(as_set(*other[:2]) + as_set(*other[2:]))
    assert as_set(*one[2:]) != as_set(*digits(seed=1)[2:])
    counts = np.bincount(bundled.target)
    np.testing.assert_array_equal(np.bincount(one.test_labels), np.rint(counts * 0.2))
    np.testing.assert_array_equal(np.bincount(other.test_labels), np.rint(counts * 0.5))
    assert np.any(np.diff(one.test_labels.astype(int)) < 0), "the labels are still sorted"


@pytest.mark.parametrize("holdout, smaller", [(1e-9, 3), (1 - 1e-9, 1)])
def test_digits_leave_one_of_each_on_either_side(bundled, holdout, smaller):
    labels = digits(holdout=holdout)[smaller]
    assert np.bincount(labels).tolist() == [1] * 10


@pytest.mark.parametrize("holdout", [0, 1, -0.5, 2, float("nan")])
def test_digits_bad_holdout(holdout):
    with pytest.raises(ValueError, match=f"between 0 and 1, found {holdout}"):
        digits(holdout=holdout)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[examples\]"'):
        digits()


# --- batches


IMAGES = np.arange(256, dtype="u1").repeat(6).reshape(256, 2, 3)
IMAGES[:, 1, 2] = np.arange(256)[::-1]
LABELS = np.arange(256, dtype="u1")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("channels", [None, 1, 4])
def test_batch_values(shuffle, channels):
    images = (
        IMAGES if channels is None else np.stack([IMAGES // (c + 1) for c in range(channels)], 1)
    )
    before = images.copy()
    # In float64 the division is exact enough for one rounding to give float32's nearest value.
    expected = (images.reshape(256, -1, 2, 3) / 255.0).astype("f4")
    seen = []
    for batch, labels in batches(images, LABELS, 30, shuffle=shuffle, rng=3):
        assert batch.dtype == np.float32
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(batch, expected[labels], strict=True)
        seen.extend(labels.tolist())
    assert sorted(seen) == list(range(256))
    assert (seen == list(range(256))) is not shuffle
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(5, 3, 2), (5, 2, 3, 4), (5, 2, 3, 4, 2)])
def test_floating_images_pass_through(dtype, shape):
    images = np.random.default_rng(0).normal(size=shape).astype(dtype)
    kept = list(batches(images, np.arange(5), 2, shuffle=False))
    together = np.concatenate([batch for batch, _ in kept])
    expected = images[:, None] if len(shape) == 3 else images
    np.testing.assert_array_equal(together, expected, strict=True)


@pytest.mark.parametrize(
    "count, size, drop_last, sizes",
    [
        (7, 3, False, [3, 3, 1]),
        (7, 3, True, [3, 3]),
        (6, 3, False, [3, 3]),
        (6, 3, True, [3, 3]),
        (2, 3, False, [2]),
        (2, 3, True, []),
        (0, 3, False, []),
        (3, 1, True, [1, 1, 1]),
    ],
)
def test_sizes_of_batches(count, size, drop_last, sizes):
    epoch = batches(IMAGES[:count], LABELS[:count], size, drop_last=drop_last)
    assert len(epoch) == len(sizes)
    assert [len(batch) for batch, _ in epoch] == sizes
    assert [len(labels) for _, labels in epoch] == sizes


def drawn(epoch):
    return np.concatenate([labels for _, labels in epoch]).tolist()


def test_order_by_seed():
    epoch = batches(IMAGES, LABELS, 50, rng=7)
    first, second = drawn(epoch), drawn(epoch)
    assert first != second
    assert first == drawn(batches(IMAGES, LABELS, 11, rng=7))
    assert first != drawn(batches(IMAGES, LABELS, 50, rng=8))
    generator = np.random.default_rng(7)
    assert first == drawn(batches(IMAGES, LABELS, 50, rng=generator))
    assert second == drawn(batches(IMAGES, LABELS, 50, rng=generator))
    assert drawn(batches(IMAGES, LABELS, 50)) != drawn(batches(IMAGES, LABELS, 50))


def test_batches_are_the_callers_own():
    images, labels = IMAGES.astype("f4"), LABELS.astype("i8")
    for pixels in (IMAGES, images):
        kept = list(batches(pixels, labels, 100, shuffle=False))
        for batch, numbers in kept:
            batch[...] = -1
            numbers[...] = -1
        arrays = [array for pair in kept for array in pair]
        assert not any(np.shares_memory(a, b) for a in arrays for b in arrays if a is not b)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_two_passes_at_once():
    epoch = batches(IMAGES, LABELS, 64, shuffle=False)
    for (left, numbers), (right, same) in zip(epoch, epoch, strict=True):
        np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(numbers, same)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_strided_images_keep_their_format(dtype):
    packed = np.random.default_rng(1).integers(0, 256, (9, 5, 4, 3)).astype(dtype)
    images = packed.transpose(0, 3, 1, 2)[::-1]  # channels-last, negative stride
    scale = 255 if dtype == "u1" else 1
    for batch, labels in batches(images, range(9), 4, rng=0):
        assert batch.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_array_equal(batch, (images[labels] / np.float32(scale)).astype("f4"))


@pytest.mark.parametrize(
    "images, labels, size, error, message",
    [
        (IMAGES, LABELS[:255], 8, ValueError, r"\(255,\) do not fit images of shape \(256, 2, 3\)"),
        (IMAGES, LABELS[:, None], 8, ValueError, r"\(256, 1\) do not fit .* \(256, 2, 3\)"),
        (IMAGES[0], LABELS[:2], 8, ValueError, r"found \(2, 3\)"),
        (IMAGES[(None,) * 3], LABELS[:1], 8, ValueError, r"found \(1, 1, 1, 256, 2, 3\)"),
        (IMAGES, LABELS, 0, ValueError, "batch_size must be at least 1, found 0"),
        (IMAGES, LABELS, -3, ValueError, "batch_size must be at least 1, found -3"),
        (IMAGES, LABELS, 8.0, TypeError, "float"),
        (IMAGES.astype("i8"), LABELS, 8, TypeError, "uint8 or floating, found int64"),
        (IMAGES.astype("c8"), LABELS, 8, TypeError, "uint8 or floating, found complex64"),
        (IMAGES > 3, LABELS, 8, TypeError, "uint8 or floating, found bool"),
        (IMAGES, LABELS / 2, 8, TypeError, "labels must be integers .* found float64"),
        (IMAGES, LABELS > 3, 8, TypeError, "labels must be integers .* found bool"),
        (IMAGES, LABELS.astype("u8"), 8, TypeError, "labels must be integers .* found uint64"),
    ],
)
def test_batches_errors(images, labels, size, error, message):
    with pytest.raises(error, match=message):
        batches(images, labels, size)
