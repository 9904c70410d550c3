"""Bad expressions for arguments; now and then one of them happens to fit."""

from __future__ import annotations

from .chances import Chances
from .operands import FLOATS, INTEGERS

# Sizes between a million and 2**31 are left out: those calls may be right, and take minutes.
MISTAKES = (
    *("0", "-1", "-2", "2**31 - 1", "2**31", "2**32 + 1", "2**40", "2**58", "2**59", "2**62"),
    *("2**63 - 1", "2**63", "-2**63", "10**30", "True", "np.int64(2)", "np.uint8(1)", "1.5"),
    *("2.0", "np.float32(1)", "math.nan", "math.inf", "1j", "None", "'x'", "b'1'", "''"),
    *("[]", "()", "(1,)", "(2, 1)", "(1, 2, 3)", "(1, 1, 1, 1, 1, 1)", "[[1]]", "((1, 0),)"),
    *("((1, 0), (0, 2))", "((-1, 1), (1, 1))", "((1,), (2,))", "{}", "{1, 2}", "object()"),
    *("np.array([1, 2])", "np.array(2)", "np.array(2.0)", "iter((1, 2))", "range(2)", "'same'"),
    *("(0, 1)", "(1, 2.0)", "(1, None)", "('a', 'b')", "(2**31, 1)", "['relu']", "np.ones(3)"),
)


def mistake(d: Chances, text: str) -> str:
    """A bad expression for the argument that was `text`; now and then it happens to fit."""
    if text.startswith(("Operand(", "Out(")):
        owner, rest = text.split("(", 1)
        shape, rest = rest[1:].split(")", 1)
        sizes = [int(n) for n in shape.split(",") if n.strip()]
        if d.chance(0.5) and sizes:
            axis = d.number(0, len(sizes) - 1)
            change = d.one(-1, 1, None, 0, "more")
            if change == "more":
                sizes.insert(axis, 1)
            elif change is None:
                del sizes[axis]
            else:
                sizes[axis] = 0 if change == 0 else max(sizes[axis] + change, 0)
            return f"{owner}({tuple(sizes)}{rest}".replace("'list'", "'first'")
        if d.chance(0.3):
            named = text.split("'")[1]
            return text.replace(named, d.one(*FLOATS, *INTEGERS), 1)
        shape = f"({shape})"
        return d.one(
            f"np.ones({shape}, bool)",
            f"np.ones({shape}, object)",
            f"np.ones({shape}).astype(str)",
            f"np.ma.masked_array(np.ones({shape}))",
            f"np.zeros({shape}, 'M8[s]')",
            f"np.zeros({shape}, np.longdouble)",
            f"np.zeros({shape}, [('a', 'f4')])",
            "None",
            "3.0",
            "'text'",
            "[]",
            "[[1.0], [1.0, 2.0]]",
            "object()",
            "np.float32(2)",
            "np.zeros(0)",
            "{}",
        )
    return d.one(*MISTAKES)
