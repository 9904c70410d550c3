"""A reader fed by atheris, which follows the branches it takes: see `files.guided`.

``python -m tests.reliability.guided idx|safetensors CORPUS [OPTION_OF_LIBFUZZER ...]``. The readers
alone are instrumented: all of NumPy and Numba would take minutes before the first file.
"""

import sys


def main() -> None:
    """Feed the reader until the options say that it is enough; does not return."""
    import atheris

    with atheris.instrument_imports(
        include=["fastconv.data.idx", "fastconv.nn.state", "fastconv.nn.layer"]
    ):
        from tests.reliability import files

    read = files.READERS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
