"""Arrays in the IDX format, plain or compressed with gzip, from files that may be hostile."""

import gzip
import io
import math
import os
import sys
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# The third byte of an IDX file -> the type of its big-endian elements.
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LARGEST_RANK = 32  # of an array in NumPy 1
# Deflate spends at least 2 bits on a match, and a match is at most 258 bytes: 1032 to 1.
_LARGEST_GZIP_RATIO = 1032
CHUNK = 1 << 16  # bytes read at a time
CORRUPT_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)


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
    except CORRUPT_GZIP as error:
        raise ValueError(
            f"read_idx: {name}: expected an intact gzip stream, found: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"read_idx: {name}: {error}") from None


def _parse_idx(stream: Any, present: int) -> NDArray[Any]:
    """The array in stream, which holds at most `present` bytes."""
    magic = read_at_most(stream, 4)
    if len(magic) < 4:
        raise ValueError(f"expected 4 bytes of magic number, found {len(magic)}")
    if magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        known = ", ".join(f"{code:02x}" for code in _DTYPES)
        raise ValueError(
            f"expected the bytes 00 00 and a type among {known}, found {magic[:3].hex(' ')}"
        )
    rank = magic[3]
    if not 1 <= rank <= _LARGEST_RANK:
        raise ValueError(f"expected 1 to {_LARGEST_RANK} dimensions, found {rank}")
    header = read_at_most(stream, 4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"expected {4 * rank} bytes of dimensions, found {len(header)}")

    dtype = np.dtype(_DTYPES[magic[2]])
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    # NumPy leaves zeros out when it limits an array's size, so (0, 2**32 - 1, ...) can overflow.
    if math.prod(max(length, 1) for length in shape) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"expected at most {sys.maxsize} bytes, found dimensions {shape}")
    size = math.prod(shape) * dtype.itemsize
    present -= 4 + 4 * rank
    claim = f"expected {size} bytes after the header, for {dtype.name} of shape {shape}"
    if size > present:
        raise ValueError(f"{claim}, found at most {present}")
    content = read_at_most(stream, size)
    if len(content) < size:
        raise ValueError(f"{claim}, found {len(content)}")
    if stream.read(1):  # at the end of a gzip stream, this also compares its checksum
        raise ValueError(f"{claim}, found at least {size + 1}")
    return np.ndarray(shape, dtype, buffer=content).astype(dtype.newbyteorder("="), copy=False)


def read_at_most(stream: Any, size: int) -> bytearray:
    """Up to size bytes; memory grows with what arrives, not with what was promised."""
    content = bytearray()
    while len(content) < size and (chunk := stream.read(min(CHUNK, size - len(content)))):
        content += chunk
    return content
