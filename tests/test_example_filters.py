"""The example of filters, small: it compares every result with SciPy's itself."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "filter_signals.py"


def test_the_example_agrees_with_scipy(capsys):
    main = runpy.run_path(str(EXAMPLE))["main"]
    main(["--size", "150", "--seconds", "0.7", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(line.count(" ms") == 2 for line in lines[2:])
