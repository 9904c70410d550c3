"""The MNIST database: where its four files are looked for, and what they must hold."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .download import ADVICE, DataUnavailable, KnownFile, download_file
from .idx import read_idx

MNIST_FILES = {  # in the order of the fields of MNIST
    "train-images-idx3-ubyte": KnownFile("6bbc9ace898e44ae57da46a324031adb", (60000, 28, 28)),
    "train-labels-idx1-ubyte": KnownFile("a25bea736e30d166cdddb491f175f624", (60000,)),
    "t10k-images-idx3-ubyte": KnownFile("2646ac647ad5339dbf082846283269ea", (10000, 28, 28)),
    "t10k-labels-idx1-ubyte": KnownFile("27ae3e4e09519cfbb04c329615203637", (10000,)),
}


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
    paths = {name: _find(place, name) for name in MNIST_FILES}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing and (chosen is not None or not download):
        raise DataUnavailable(f"mnist: folder {place} lacks {', '.join(missing)}; {ADVICE}")
    for name in missing:
        download_file(name, place, MNIST_FILES[name], progress)
    return MNIST(*(_load(path, MNIST_FILES[name].shape) for name, path in paths.items()))


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
