"""Which function a libdevice symbol (`__nv_tanhf`) stands for."""

from __future__ import annotations

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.math.registry import FUNCTIONS

#: symbols, without `__nv_`, that are no function's name, also not with an f behind
IRREGULAR: dict[str, str] = {
    **{f"fast_{name}f": name for name in ("cos", "exp10", "exp", "log10", "log2", "log", "pow")},
    **{f"fast_{name}f": name for name in ("sin", "tan")},
    "fast_fdividef": "div_rn",
    "normcdff": "normcdf",
    # f and d at the front: fadd_rd, dadd_rd.
    **{
        f"{kind}{name}_{mode}": f"{name}_{mode}"
        for kind in "fd"
        for name in ("add", "sub", "mul", "div", "sqrt", "rcp")
        for mode in ("rn", "rd", "ru", "rz")
    },
    "frsqrt_rn": "rsqrt_rn",
    "fmaf_rn": "fma",
    **{f"fmaf_{mode}": f"fma_{mode}" for mode in ("rd", "ru", "rz")},
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
