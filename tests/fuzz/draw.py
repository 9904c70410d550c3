"""Any call: most of them fit; one argument of some is replaced by a bad one."""

from __future__ import annotations

from collections.abc import Callable

from . import convolutions, matrices, poolings
from .chances import Call, Chances
from .mistakes import MISTAKES, mistake

# Each as often as it stands here.
MAKERS: tuple[Callable[[Chances], Call], ...] = (
    convolutions.conv,
    convolutions.conv,
    convolutions.conv_transpose,
    convolutions.conv_gradient,
    convolutions.conv_gradient,
    convolutions.plan,
    poolings.pool,
    poolings.pool,
    poolings.pool_gradient,
    poolings.unpool,
    matrices.columns,
    matrices.border,
    matrices.dense,
)
# So many forms have all calls in compiled code, for each is compiled anew.
FORMS = 60
# Options that a mistaken call gets although it may have no such argument.
EXTRA = (
    *("stride", "padding", "dilation", "groups", "bias", "mode", "out", "threads", "algorithm"),
    *("activation", "padding_mode", "data_format", "output_padding", "epilogue", "epilogue_args"),
)


def draw(*seed: int) -> Call:
    """The call of a seed, which depends on that alone."""
    d = Chances(*seed)
    nopython = d.chance(0.3)
    if nopython:
        d = Chances(*seed, form=(*seed[:-1], d.number(1, FORMS)))
    call: Call = d.form("door").one(*MAKERS)(d)
    call.nopython = nopython
    if d.chance(0.3):
        call.fits = False
        if d.chance(0.15):
            call.arguments[d.one(*EXTRA)] = d.one(*MISTAKES)
        else:
            name = d.one(*call.arguments)
            call.arguments[name] = mistake(d, call.arguments[name])
    return call
