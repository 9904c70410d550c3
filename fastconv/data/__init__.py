"""Data for examples and training: IDX files, MNIST, scikit-learn's digits, batches.

Everything that comes from a file or a server is read as hostile: sizes are compared with the
bytes that are there before memory is reserved, and a download takes its final name only after its
checksum was right.
"""

# No submodule is called mnist, digits or batches: these names are the functions.
from .batching import Batches, batches
from .bundled_digits import digits
from .download import DataUnavailable
from .idx import read_idx
from .mnist_files import MNIST, mnist

__all__ = ["MNIST", "Batches", "DataUnavailable", "batches", "digits", "mnist", "read_idx"]
