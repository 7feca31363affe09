"""What a GPU's compiler may assume of a kernel's arguments: which powers of 2 divide them.

Without it every access would be of one element: sixteen bytes at a time, and copies to shared
memory behind the program's back, need addresses that are known to be multiples of them. A hint is
part of an argument's type (`"*fp32:16"`, `"i32:8"`). Numbers are those of the plan; addresses are
promised to be multiples of 16 and looked at by the launch (`CUDATarget.bind`), which has another
kernel for those that are not. A CPU reads any address at the same speed: there are no hints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: addresses are multiples of so many bytes
ALIGNMENT = 16
_DIVISORS = (16, 8, 4)
#: masks of neighbours depend on them, which are one only if all 16 are inside; more divisors would
#: only make more kernels
_ENDS = ("kept_", "reduced_")
#: no address depends on them but through a division: a hint would only make more kernels
_COUNTS = ("size", "n_tiles", "n_blocks", "n_turns", "n_heads", "n_steps", "n_parts", "n_chunks",
           "steps_per_part", "rows_per_", "all_rows", "shift")  # fmt: skip


def hinted(device_type: str, signature: Mapping[str, str], values: Sequence[Any]) -> dict[str, str]:
    """The signature with a hint for each argument that deserves one.

    Args:
        values: one for each argument, None where it is dynamic, as `Target.bind` takes them.
    """
    if device_type == "cpu":
        return dict(signature)
    return {
        name: kind + _hint(name, kind, value)
        for (name, kind), value in zip(signature.items(), values, strict=True)
    }


def _hint(name: str, kind: str, value: Any) -> str:
    if kind.startswith("*"):
        return f":{ALIGNMENT}" if value is None or value % ALIGNMENT == 0 else ""
    if kind not in ("i32", "i64") or value is None or name.startswith(_COUNTS):
        return ""
    divisors = _DIVISORS[:1] if name.startswith(_ENDS) else _DIVISORS
    divisor = next((d for d in divisors if value % d == 0), 1)
    return f":{divisor}" if divisor > 1 else ""
