"""Small products by tiles and the ordinary way, as functions to be compared on the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tritorch.triton_cpu.codegen import amx, tile_panels
from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.codegen.operand import Operand, operand_in_memory
from tritorch.triton_cpu.codegen.product import plan_dot
from tritorch.triton_cpu.codegen.tile_product import ACCUMULATORS, fits, plan_tiles
from tritorch.triton_cpu.codegen.whole_product import emit_dot
from tritorch.triton_cpu.target import CPUTarget

#: M, N, K: two blocks of C down and across, several steps along K
SIZES = (64, 64, 128)

_PARAMETERS = [("ptr", f"%{name}") for name in ("a", "b", "c", "panel", "columns")]


def check(target: CPUTarget) -> dict[str, Any]:
    """LLVM `text` with `void tiles_ELEMENT(a, b, c, scratch, scratch)` and `void ordinary_ELEMENT`
    of the same arguments: C += A B, row by row in memory. The `elements` that the target has tiles
    of, the `sizes` M, N, K, and the bytes that each `scratch` needs.
    """
    builder, functions, elements, scratch = Builder(), [], [], 0
    ordinary = replace(target, flags=target.flags - set(amx.FEATURES.values()))
    for element in amx.FEATURES:
        accumulator = ACCUMULATORS[element]
        if not fits(target, element, element, accumulator, SIZES):
            continue
        elements.append(element)
        tiles = builder.child()
        a, b = _operands(tiles, element)
        product = plan_tiles(target, SIZES, a, b)
        tiles.emit(amx.open_tiles(tiles).strip())
        tile_panels.pack_b(product, tiles, b, "%columns")
        tile_panels.multiply(product, tiles, a, "%panel", "%columns", "%c")
        tiles.emit(amx.close_tiles(tiles).strip())
        other = builder.child()
        a, b = _operands(other, element)
        plan = plan_dot(ordinary, SIZES, a, b, accumulator)
        emit_dot(other, ordinary, SIZES, a, b, accumulator, "%c", ("%panel", "%columns"))
        scratch = max(scratch, product.a_bytes, product.b_bytes, plan.a_bytes, plan.b_bytes)
        for name, body in (("tiles", tiles), ("ordinary", other)):
            body.emit("ret void")
            text = body.function(f"{name}_{element}", "void", _PARAMETERS)
            functions.append(text.replace("define internal", "define", 1))
    helpers = (builder.helpers[name] for name in sorted(builder.helpers))
    text = "\n".join([*functions, *helpers, *sorted(builder.declarations)]) + "\n"
    return {"text": text, "elements": elements, "sizes": SIZES, "scratch": scratch}


def _operands(builder: Builder, element: str) -> tuple[Operand, Operand]:
    _, n, k = SIZES
    return (
        operand_in_memory(builder, element, "%a", k, 1),
        operand_in_memory(builder, element, "%b", n, 1),
    )
