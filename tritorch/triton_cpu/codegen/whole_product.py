"""A product of tiles with its parts joined; `dot` emits them one by one."""

from __future__ import annotations

from tritorch.triton_cpu.codegen import column_panels, panels
from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.codegen.operand import EmitLoop, Operand, Position, counted_loop
from tritorch.triton_cpu.codegen.packing import pack_a, pack_b
from tritorch.triton_cpu.codegen.product import Extent, ProductTarget, plan_dot


def emit_dot(
    builder: Builder,
    target: ProductTarget,
    sizes: tuple[int, int, int],
    a: Operand,
    b: Operand,
    accumulator: str,
    c: str,
    scratch: tuple[str, str],
    c_row_stride: Position | None = None,
    loop: EmitLoop = counted_loop,
    extent: Extent | None = None,
) -> None:
    """C[M, N] += A[M, K] B[K, N].

    Args:
        sizes: M, N, K, powers of two.
        accumulator: element of C, "f32", "f64" or "i32"; C is row-major in memory at `c`.
        scratch: addresses of `a_bytes` and `b_bytes` of the same product's `plan_dot`.
        c_row_stride: in elements, a number or an i64 register; N by default.
        extent: see `Product`.
    """
    product = plan_dot(target, sizes, a, b, accumulator, loop, extent)
    if product.columns_first:
        pack_a(product, builder, a, scratch[0])
        column_panels.multiply(product, builder, b, *scratch, c, c_row_stride, a_memory=a.memory)
    else:
        pack_b(product, builder, b, scratch[1])
        panels.multiply(product, builder, a, *scratch, c, c_row_stride)
