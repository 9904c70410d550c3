"""IDX files: what is read, and what is refused before it costs memory."""

import gzip

import numpy as np
import pytest
from data_files import CODES, idx_bytes, idx_header, peak_memory
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.data import read_idx


def sample(dtype, shape):
    """Values whose bytes all differ, so that a wrong byte order shows; negative where they can."""
    count = int(np.prod(shape))
    values = np.arange(count) * 259 - (0 if dtype == "u1" else 7)
    values = values % 256 if dtype == "u1" else values % 256 - 128 if dtype == "i1" else values
    return values.astype(dtype).reshape(shape) / (3 if dtype[0] == "f" else np.uint8(1))


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
