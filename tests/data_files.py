"""What the tests of fastconv.data share: IDX content, a tiny MNIST, a gauge of memory."""

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np

from fastconv.data import download, mnist_files

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_header(code, *shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def idx_bytes(array):
    header = idx_header(CODES[array.dtype.str[1:]], *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


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


def use_tiny_mnist(monkeypatch, folder):
    """mnist() expects the arrays above, has folder as its cache, and finds no mirror by itself."""
    expected = {
        name: download.KnownFile(hashlib.md5(PLAIN[name]).hexdigest(), array.shape)
        for name, array in ARRAYS.items()
    }
    monkeypatch.setattr(mnist_files, "MNIST_FILES", expected)
    monkeypatch.setattr(mnist_files, "_cache_folder", lambda: folder)
    monkeypatch.setattr(download, "MNIST_MIRRORS", ())
    monkeypatch.delenv("FASTCONV_DATA", raising=False)


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


def peak_memory(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
