"""What kernels read from a job: the place of a pixel, of a source element, of an output."""

from __future__ import annotations

from typing import Any

from .emit import device, quotient
from .job import (
    DEPTH,
    HEIGHT,
    ROW_WORDS,
    ROWS_AT,
    SOURCE_IMAGE,
    START,
    TARGET_DEPTH,
    TARGET_HEIGHT,
    TARGET_IMAGE,
    TARGET_WIDTH,
    WIDTH,
)


@device
def place_of(job: Any, pixel: int) -> Any:
    """Image, depth, height and width of a pixel."""
    width, height, depth = job[WIDTH], job[HEIGHT], job[DEPTH]
    upper = quotient(pixel, width)
    w = pixel - upper * width
    pixel = upper
    upper = quotient(pixel, height)
    h = pixel - upper * height
    n = quotient(upper, depth)
    return n, upper - n * depth, h, w


@device
def target_offset(job: Any, pixel: int) -> int:
    """Element of a pixel in the target, in its first channel."""
    n, d, h, w = place_of(job, pixel)
    offset = job[START] + n * job[TARGET_IMAGE] + d * job[TARGET_DEPTH]
    return offset + h * job[TARGET_HEIGHT] + w * job[TARGET_WIDTH]


@device
def source_offset(job: Any, where: Any, row: int, d: int, h: int, w: int) -> int:
    """Offset of what a pixel at (d, h, w) meets in a reduction row; negative for a zero."""
    at = ROWS_AT + row * ROW_WORDS
    offset = where[job[at] + d] + where[job[at + 1] + h]
    return offset + where[job[at + 2] + w] + job[at + 3]


@device
def image_offset(job: Any, n: int) -> int:
    """Offset of an image in the source."""
    return n * job[SOURCE_IMAGE]
