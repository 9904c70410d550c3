"""Random calls of every door, each in a process that may die: ``python -m tests.fuzz --help``.

A call is written as source text, which is what is run and what is printed when it goes wrong.

    operands   an array of any dtype, memory layout and contents amidst poison, as one expression
    chances    a call as text: a door, and an expression for each argument; what it is made of
    convolutions, poolings, matrices   random calls that fit
    mistakes   bad expressions
    draw       any call, mistaken or not
    nopython   calls in compiled code
    epilogues  functions for the sums of convolutions
    bounds     an expected result, by how much it may be missed, and whether it was
    expect     what each door should give, by `fastconv.reference`
    worker     runs calls of a seed one by one and holds them against what is expected
    __main__   starts workers, and another one after a crash or a hang
"""

import sys
from pathlib import Path

# The case lists of the tests are found as they are by pytest.
sys.path.insert(0, str(Path(__file__).parent.parent))
