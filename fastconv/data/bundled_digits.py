"""The handwritten digits that come with scikit-learn, which need no download."""

import numpy as np

from .mnist_files import MNIST


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
