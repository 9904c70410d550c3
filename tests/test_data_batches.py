"""Batches: values, sizes, orders, and arrays that do not fit."""

import numpy as np
import pytest

from fastconv.data import batches

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
