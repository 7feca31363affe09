"""Which function a libdevice symbol (`__nv_tanhf`) stands for."""

from __future__ import annotations

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.math.registry import FUNCTIONS

#: symbols, without `__nv_`, that do not follow the rule: double's name, float's with an f behind
IRREGULAR: dict[str, str] = {
    "fast_cosf": "cos",
    "fast_exp10f": "exp10",
    "fast_expf": "exp",
    "fast_log10f": "log10",
    "fast_log2f": "log2",
    "fast_logf": "log",
    "fast_powf": "pow",
    "fast_sinf": "sin",
    "fast_tanf": "tan",
}


def lookup(symbol: str) -> str:
    """The name in `FUNCTIONS` of a libdevice symbol; operands carry the element types."""
    short = symbol.removeprefix("__nv_")
    name = IRREGULAR.get(short, short)
    if name in FUNCTIONS:
        return name
    if name.endswith("f") and name[:-1] in FUNCTIONS:
        return name[:-1]
    raise UnsupportedOperation(
        f"{symbol}: this function of libdevice is not available on CPUs. Known are: "
        f"{', '.join(sorted(FUNCTIONS))}."
    )
