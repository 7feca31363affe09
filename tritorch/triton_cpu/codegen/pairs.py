"""Products of bfloat16 by `vdpbf16ps`: two neighbours along K are one 32-bit element.

One instruction does twice the work of a float32 multiply-add, and packed operands are half as
large. It rounds after each product, the odd element's first, and counts denormals as zeros. Nothing
here has been timed: it is verified by emulation, on machines without the instruction.
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import Builder

#: bfloat16 in an element
SIZE = 2
_WIDTHS = {16: 512, 8: 256, 4: 128}


def by_pairs(
    has_instruction: bool, elements: tuple[str, str], accumulator: str, n: int, k: int
) -> bool:
    """Whether a product of these elements, N and K goes that way."""
    fits = n >= min(_WIDTHS) and k >= SIZE
    return has_instruction and elements == ("bf16", "bf16") and accumulator == "f32" and fits


def multiply_add(builder: Builder, a: str, b: str, c: str, lanes: int) -> str:
    """c + the products of the two bfloat16 of a and of b."""
    kind, narrow = f"<{lanes} x float>", f"<{SIZE * lanes} x bfloat>"
    pairs = [builder.define(f"bitcast <{lanes} x i32> {x} to {narrow}") for x in (a, b)]
    name = f"llvm.x86.avx512bf16.dpbf16ps.{_WIDTHS[lanes]}"
    return builder.call(name, kind, (kind, c), *((narrow, pair) for pair in pairs))
