"""Files of MNIST from its mirrors: resumed where they broke off, checked before they count."""

import gzip
import hashlib
import http.client
import math
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .idx import CHUNK, CORRUPT_GZIP, read_at_most

MNIST_MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_PAUSES = (0.0, 0.5, 1.0)  # seconds before each attempt at one mirror
_TIMEOUT = 20.0  # seconds without a byte from the server
_LARGEST_DOWNLOAD = 16 << 20  # bytes; the largest of the four files has 9.9 million
ADVICE = "name the folder that holds the files with folder=, --data DIR or FASTCONV_DATA"


class DataUnavailable(OSError):
    """A data set is neither on this machine nor to be had from a mirror."""

    __module__ = "fastconv.data"  # what a traceback shows is what can be imported


class KnownFile(NamedTuple):
    """What the IDX file of uint8 inside a download must hold."""

    md5: str  # of the uncompressed bytes: gzip streams differ between distributors
    shape: tuple[int, ...]


class _MirrorFault(Exception):
    """Another attempt at the same mirror would end in the same way."""


def download_file(name: str, folder: Path, expected: KnownFile, progress: bool) -> None:
    """Put name.gz into folder, from the first mirror that has the right bytes."""
    failures = []
    for mirror in MNIST_MIRRORS:
        url = f"{mirror}{name}.gz"
        reason = ""
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _attempt(url, folder / f"{name}.gz", expected, progress)
                return
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            except _MirrorFault as fault:
                reason = str(fault)
                break
        failures.append(f"{url}: {' '.join(reason.split())}")
    raise DataUnavailable(
        f"mnist: cannot download {name}.gz to {folder} ({'; '.join(failures)}); {ADVICE}"
    )


def _attempt(url: str, target: Path, expected: KnownFile, progress: bool) -> None:
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
            while received <= _LARGEST_DOWNLOAD and (chunk := response.read(CHUNK)):
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


def _check(path: Path, expected: KnownFile) -> None:
    """Raise unless path is a gzip file with the expected bytes in it."""
    if path.stat().st_size > _LARGEST_DOWNLOAD:
        raise _MirrorFault(f"expected at most {_LARGEST_DOWNLOAD} bytes, found more")
    size = 4 + 4 * len(expected.shape) + math.prod(expected.shape)
    try:
        with gzip.open(path) as stream:
            content = read_at_most(stream, size + 1)
    except CORRUPT_GZIP as error:
        raise _MirrorFault(f"expected an intact gzip stream, found: {error}") from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected.md5:
        raise _MirrorFault(f"expected content with MD5 {expected.md5}, found {found}")
