"""Data for examples and training: IDX files, MNIST, scikit-learn's digits, batches.

Everything that comes from a file or a server is read as hostile: sizes are compared with the
bytes that are there before memory is reserved, and a download takes its final name only after its
checksum was right.
"""

import gzip
import hashlib
import http.client
import io
import math
import operator
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MNIST", "Batches", "DataUnavailable", "batches", "digits", "mnist", "read_idx"]

# The third byte of an IDX file -> the type of its big-endian elements.
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LARGEST_RANK = 32  # of an array in NumPy 1
_CHUNK = 1 << 16
# Deflate spends at least 2 bits on a match, and a match is at most 258 bytes: 1032 to 1.
_LARGEST_GZIP_RATIO = 1032
_CORRUPT_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)

MNIST_MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_PAUSES = (0.0, 0.5, 1.0)  # seconds before each attempt at one mirror
_TIMEOUT = 20.0  # seconds without a byte from the server
_LARGEST_DOWNLOAD = 16 << 20  # bytes; the largest of the four files has 9.9 million


class _File(NamedTuple):
    md5: str  # of the uncompressed bytes: gzip streams differ between distributors
    shape: tuple[int, ...]


_MNIST_FILES = {  # in the order of the fields of MNIST
    "train-images-idx3-ubyte": _File("6bbc9ace898e44ae57da46a324031adb", (60000, 28, 28)),
    "train-labels-idx1-ubyte": _File("a25bea736e30d166cdddb491f175f624", (60000,)),
    "t10k-images-idx3-ubyte": _File("2646ac647ad5339dbf082846283269ea", (10000, 28, 28)),
    "t10k-labels-idx1-ubyte": _File("27ae3e4e09519cfbb04c329615203637", (10000,)),
}
_ADVICE = "name the folder that holds the files with folder=, --data DIR or FASTCONV_DATA"


class DataUnavailable(OSError):
    """A data set is neither on this machine nor to be had from a mirror."""


class MNIST(NamedTuple):
    """Images of digits with their labels, split into training and test.

    Attributes
    ----------
    train_images, test_images : ndarray of uint8, shapes (N, 28, 28) and (M, 28, 28)
        0 is the background, 255 is full ink.
    train_labels, test_labels : ndarray of uint8, shapes (N,) and (M,)
        The digit, 0 to 9.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


# --- IDX files


def read_idx(
    path_or_bytes: str | os.PathLike[str] | bytes | bytearray | memoryview,
) -> NDArray[Any]:
    """Read an array from a file in the IDX format of the MNIST database.

    Parameters
    ----------
    path_or_bytes : path, or bytes-like
        The file or its content, plain or compressed with gzip: its first bytes tell which.

    Returns
    -------
    ndarray
        Writable, C-contiguous and of native byte order; uint8, int8, int16, int32, float32 or
        float64, of the shape in the header, which has 1 to 32 dimensions.

    Raises
    ------
    ValueError
        If the content is not exactly one IDX array. No more memory is ever reserved than the
        file can fill, whatever its header claims, and a gzip stream is read no further than the
        header's size.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    The header holds two zeros, the type, the rank, and each dimension as four bytes:

    >>> header = b"\\0\\0\\x0b\\2" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big")
    >>> read_idx(header + np.array([1, 2, 3, -1, -2, 300], ">i2").tobytes())
    array([[  1,   2,   3],
           [ -1,  -2, 300]], dtype=int16)
    """
    if isinstance(path_or_bytes, bytes | bytearray | memoryview):
        return _read_named(io.BytesIO(bytes(path_or_bytes)), "<bytes>")
    path = os.fspath(path_or_bytes)
    with open(path, "rb") as file:
        return _read_named(file, path)


def _read_named(file: BinaryIO, name: str) -> NDArray[Any]:
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        magic = file.read(2)
        file.seek(0)
        if magic != b"\x1f\x8b":
            return _parse_idx(file, size)
        with gzip.GzipFile(fileobj=file) as stream:
            return _parse_idx(stream, size * _LARGEST_GZIP_RATIO)
    except _CORRUPT_GZIP as error:
        raise ValueError(
            f"read_idx: {name}: expected an intact gzip stream, found: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"read_idx: {name}: {error}") from None


def _parse_idx(stream: Any, present: int) -> NDArray[Any]:
    """The array in stream, which holds at most `present` bytes."""
    magic = _read(stream, 4)
    if len(magic) < 4:
        raise ValueError(f"expected 4 bytes of magic number, found {len(magic)}")
    if magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES:
        known = ", ".join(f"{code:02x}" for code in _IDX_DTYPES)
        raise ValueError(
            f"expected the bytes 00 00 and a type among {known}, found {magic[:3].hex(' ')}"
        )
    rank = magic[3]
    if not 1 <= rank <= _LARGEST_RANK:
        raise ValueError(f"expected 1 to {_LARGEST_RANK} dimensions, found {rank}")
    header = _read(stream, 4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"expected {4 * rank} bytes of dimensions, found {len(header)}")

    dtype = np.dtype(_IDX_DTYPES[magic[2]])
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    # NumPy leaves zeros out when it limits an array's size, so (0, 2**32 - 1, ...) can overflow.
    if math.prod(max(length, 1) for length in shape) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"expected at most {sys.maxsize} bytes, found dimensions {shape}")
    size = math.prod(shape) * dtype.itemsize
    present -= 4 + 4 * rank
    claim = f"expected {size} bytes after the header, for {dtype.name} of shape {shape}"
    if size > present:
        raise ValueError(f"{claim}, found at most {present}")
    content = _read(stream, size)
    if len(content) < size:
        raise ValueError(f"{claim}, found {len(content)}")
    if stream.read(1):  # at the end of a gzip stream, this also compares its checksum
        raise ValueError(f"{claim}, found at least {size + 1}")
    return np.ndarray(shape, dtype, buffer=content).astype(dtype.newbyteorder("="), copy=False)


def _read(stream: Any, size: int) -> bytearray:
    """Up to size bytes; memory grows with what arrives, not with what was promised."""
    content = bytearray()
    while len(content) < size and (chunk := stream.read(min(_CHUNK, size - len(content)))):
        content += chunk
    return content


# --- MNIST


def mnist(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, progress: bool = True
) -> MNIST:
    """Load the MNIST database of handwritten digits (LeCun, Cortes, Burges).

    The four files are looked for in `folder`, else in the folder that the environment variable
    FASTCONV_DATA names, else in the user's cache folder. Only the last is ever written to.

    Parameters
    ----------
    folder : path, optional
        Holds ``train-images-idx3-ubyte`` and its three companions, with or without ``.gz``;
        the spelling ``train-images.idx3-ubyte`` is found too.
    download : bool
        Whether files that the cache folder lacks are fetched from a mirror.
    progress : bool
        Whether a download shows a bar, where tqdm is installed and stderr is a terminal.

    Returns
    -------
    MNIST
        Images of shapes (60000, 28, 28) and (10000, 28, 28) with their labels.

    Raises
    ------
    DataUnavailable
        If files are absent and were not to be downloaded, or no mirror had them.
    ValueError
        If a file is not the IDX array that it should be.

    Notes
    -----
    A downloaded file is compared with the MD5 of the original before it gets its final name. One
    that broke off stays beside it as ``.part``, and the next attempt continues it.

    Examples
    --------
    >>> mnist().train_labels[:8]  # doctest: +SKIP
    array([5, 0, 4, 1, 9, 2, 1, 3], dtype=uint8)
    >>> mnist("no-such-folder")
    Traceback (most recent call last):
    fastconv.data.DataUnavailable: mnist: folder no-such-folder lacks train-images-idx3-ubyte, ...
    """
    chosen = os.environ.get("FASTCONV_DATA") or None if folder is None else folder
    place = _cache_folder() if chosen is None else Path(chosen).expanduser()
    paths = {name: _find(place, name) for name in _MNIST_FILES}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing and (chosen is not None or not download):
        raise DataUnavailable(f"mnist: folder {place} lacks {', '.join(missing)}; {_ADVICE}")
    for name in missing:
        _download(name, place, progress)
    return MNIST(*(_load(path, _MNIST_FILES[name].shape) for name, path in paths.items()))


def _cache_folder() -> Path:
    try:
        from platformdirs import user_cache_path
    except ImportError:
        root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
        return Path(root or Path.home() / ".cache") / "fastconv" / "mnist"
    return user_cache_path("fastconv", appauthor=False) / "mnist"


def _find(folder: Path, name: str) -> Path:
    """The file under the first spelling that exists, else where a download puts it."""
    dotted = name.replace("-idx", ".idx")
    candidates = [folder / s for s in (name, f"{name}.gz", dotted, f"{dotted}.gz")]
    return next((path for path in candidates if path.is_file()), candidates[1])


def _load(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    array = read_idx(path)
    if array.dtype != np.uint8 or array.shape != shape:
        raise ValueError(
            f"mnist: {path}: expected uint8 of shape {shape}, found {array.dtype} of shape "
            f"{array.shape}"
        )
    if array.ndim == 1 and array.max() > 9:
        raise ValueError(f"mnist: {path}: expected labels 0 to 9, found {array.max()}")
    return array


# --- download


class _MirrorFault(Exception):
    """Another attempt at the same mirror would end in the same way."""


def _download(name: str, folder: Path, progress: bool) -> None:
    """Put name.gz into folder, from the first mirror that has the right bytes."""
    failures = []
    for mirror in MNIST_MIRRORS:
        url = f"{mirror}{name}.gz"
        reason = ""
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _attempt(url, folder / f"{name}.gz", _MNIST_FILES[name], progress)
                return
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            except _MirrorFault as fault:
                reason = str(fault)
                break
        failures.append(f"{url}: {' '.join(reason.split())}")
    raise DataUnavailable(
        f"mnist: cannot download {name}.gz to {folder} ({'; '.join(failures)}); {_ADVICE}"
    )


def _attempt(url: str, target: Path, expected: _File, progress: bool) -> None:
    """Fetch, check, rename: target appears whole or not at all."""
    partial = target.with_name(f"{target.name}.part")
    # Only one process wins this rename, so no two ever write to the same file.
    private = target.with_name(f"{partial.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        os.replace(partial, private)
    try:
        resumed = _fetch(url, private, progress)
        try:
            _check(private, expected)
        except _MirrorFault as fault:
            private.unlink()
            if resumed:  # perhaps not this mirror, but the bytes kept from before are wrong
                raise ConnectionError(str(fault)) from None
            raise
        os.replace(private, target)
    finally:
        with suppress(FileNotFoundError):
            os.replace(private, partial)


def _fetch(url: str, path: Path, progress: bool) -> bool:
    """Append to path what it lacks of url; whether bytes that it had before were kept."""
    start = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "fastconv"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return True  # no byte after the last of ours: the checksum says whether all are right
        transient = error.code >= 500 or error.code in (408, 429)
        raise (ConnectionError if transient else _MirrorFault)(f"HTTP {error.code}") from None
    with response:
        resumed = start > 0 and response.status == 206  # 200: Range ignored, the whole file comes
        received = start if resumed else 0
        total = None if response.length is None else received + response.length
        if total is not None and total > _LARGEST_DOWNLOAD:
            raise _MirrorFault(f"expected at most {_LARGEST_DOWNLOAD} bytes, found {total}")
        with (
            open(path, "ab" if resumed else "wb") as file,
            _progress_bar(url, received, total, progress) as bar,
        ):
            while received <= _LARGEST_DOWNLOAD and (chunk := response.read(_CHUNK)):
                file.write(chunk)
                received += len(chunk)
                if bar is not None:
                    bar.update(len(chunk))
    if total is not None and received < total:
        raise ConnectionError(f"connection closed after {received} of {total} bytes")
    return resumed


def _progress_bar(url: str, received: int, total: int | None, progress: bool) -> Any:
    if progress and sys.stderr is not None and sys.stderr.isatty():
        with suppress(ImportError):
            from tqdm import tqdm

            name = url.rpartition("/")[2]
            return tqdm(desc=name, initial=received, total=total, unit="B", unit_scale=True)
    return nullcontext()


def _check(path: Path, expected: _File) -> None:
    """Raise unless path is a gzip file with the expected bytes in it."""
    if path.stat().st_size > _LARGEST_DOWNLOAD:
        raise _MirrorFault(f"expected at most {_LARGEST_DOWNLOAD} bytes, found more")
    size = 4 + 4 * len(expected.shape) + math.prod(expected.shape)
    try:
        with gzip.open(path) as stream:
            content = _read(stream, size + 1)
    except _CORRUPT_GZIP as error:
        raise _MirrorFault(f"expected an intact gzip stream, found: {error}") from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected.md5:
        raise _MirrorFault(f"expected content with MD5 {expected.md5}, found {found}")


# --- digits


def digits(*, holdout: float = 0.2, seed: int = 0) -> MNIST:
    """Load the 1797 handwritten digits that come with scikit-learn, in MNIST's form.

    They need no download. Each 8 x 8 image is enlarged to 20 x 20 by linear interpolation and
    centred in 28 x 28, as the digits of MNIST are; 0 to 16 becomes 0 to 255.

    Parameters
    ----------
    holdout : float
        The share of each digit's images, between 0 and 1, that becomes the test set; at least
        one image of every digit lands on either side.
    seed : int
        Of the split and of the order of the images.

    Returns
    -------
    MNIST
        Images of shapes (N, 28, 28) and (M, 28, 28) with their labels, N + M = 1797.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    ValueError
        If `holdout` is not between 0 and 1.

    References
    ----------
    E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Examples
    --------
    >>> data = digits(holdout=0.25)
    >>> np.bincount(data.test_labels)
    array([44, 46, 44, 46, 45, 46, 45, 45, 44, 45])
    >>> data.test_images.shape, int(data.test_images.max())
    ((450, 28, 28), 255)
    """
    if not 0 < holdout < 1:
        raise ValueError(f"digits: holdout must lie between 0 and 1, found {holdout}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'digits: scikit-learn is not installed: pip install "fastconv[examples]"'
        ) from error
    from scipy.ndimage import zoom

    bundled = load_digits()
    small = zoom(bundled.images * (255 / 16), (1, 20 / 8, 20 / 8), order=1)  # (1797, 20, 20)
    images = np.pad(np.rint(small).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
    labels = bundled.target.astype(np.uint8)

    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        count = min(max(round(holdout * len(members)), 1), len(members) - 1)
        held_out[members[:count]] = True
    train = rng.permutation(np.flatnonzero(~held_out))
    test = rng.permutation(np.flatnonzero(held_out))
    return MNIST(images[train], labels[train], images[test], labels[test])


# --- batches


def batches(
    images: ArrayLike,
    labels: ArrayLike,
    batch_size: int,
    *,
    shuffle: bool = True,
    rng: np.random.Generator | int | None = None,
    drop_last: bool = False,
) -> "Batches":
    """Cut labelled images into batches, in a new order for every epoch.

    Parameters
    ----------
    images : array_like, shape (N, H, W) or (N, C, *spatial)
        uint8, which becomes float32 between 0 and 1, or floating, whose dtype and values stay.
    labels : array_like of integers, shape (N,)
    batch_size : int
        Images per batch, at least 1.
    shuffle : bool
        Whether each pass over the batches draws a new order; else it is that of `images`.
    rng : numpy.random.Generator or int, optional
        Draws the orders; an int is the seed of a new generator, None an unpredictable one.
    drop_last : bool
        Whether a last batch with fewer images is left out.

    Returns
    -------
    Batches
        Has ``len()``, the number of batches. Each pass over it yields pairs of images of shape
        (B, 1, H, W) or (B, C, *spatial), in the memory format of `images`, and int64 labels
        of shape (B,). Both are new arrays, the caller's to keep or to change.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or `batch_size` is below 1.
    TypeError
        If `images` are neither uint8 nor floating, or `labels` are not integers.

    Examples
    --------
    >>> images = np.array([0, 51, 102, 255], np.uint8).reshape(4, 1, 1)
    >>> for batch, labels in batches(images, [7, 0, 3, 9], 3, shuffle=False):
    ...     print(batch.ravel(), labels)
    [0.  0.2 0.4] [7 0 3]
    [1.] [9]
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(f"batches: images must be uint8 or floating, found {images.dtype}")
    if not 3 <= images.ndim <= 5:
        raise ValueError(
            f"batches: images must have shape (N, H, W) or (N, C, *spatial), found {images.shape}"
        )
    if not np.can_cast(labels.dtype, np.int64) or labels.dtype.kind not in "iu":
        raise TypeError(f"batches: labels must be integers that int64 holds, found {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"batches: labels of shape {labels.shape} do not fit images of shape {images.shape}"
        )
    size = operator.index(batch_size)
    if size < 1:
        raise ValueError(f"batches: batch_size must be at least 1, found {size}")
    if images.ndim == 3:
        images = images[:, np.newaxis]  # (N, 1, H, W)
    order = np.random.default_rng(rng) if shuffle else None
    return Batches(images, labels, size, order, drop_last)


class Batches:
    """What `batches` returns: a sized iterable, and every pass over it is one epoch."""

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        batch_size: int,
        rng: np.random.Generator | None,
        drop_last: bool,
    ) -> None:
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.rng = rng
        self.drop_last = drop_last

    def __len__(self) -> int:
        count = len(self.images)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        count = len(self.images)
        order = np.arange(count) if self.rng is None else self.rng.permutation(count)
        for number in range(len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            # Tried: np.take into a reused buffer, 13.8 ms per epoch of MNIST instead of 15.3, and
            # 12.0 with a multiplication by 1/255 (batches of 64, AMD EPYC, 2026-11). But take
            # copies all images for each batch where they are strided, and x * (1/255) is not x/255.
            gathered = self.images[chosen]
            if gathered.dtype == np.uint8:
                gathered = np.divide(gathered, np.float32(255), dtype=np.float32)
            yield gathered, self.labels[chosen].astype(np.int64, copy=False)
