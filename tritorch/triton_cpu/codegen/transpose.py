"""Transposes of square blocks in registers."""

from __future__ import annotations

from collections.abc import Sequence

from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder


def transpose_helper(builder: Builder, element: str, size: int) -> str:
    """The name of `void transpose(ptr from, i64 row stride, ptr to, i64 row stride)`."""
    name = f"transpose_{element}_{size}"
    if name in builder.helpers:
        return name
    inner = builder.child()
    scalar, kind = LLVM_TYPE[element], inner.type(element, size)
    align = BITS[element] // 8

    def places(pointer: str, stride: str) -> list[str]:
        result = [pointer]
        for _ in range(size - 1):
            result.append(inner.define(f"getelementptr {scalar}, ptr {result[-1]}, i64 {stride}"))
        return result

    rows = [
        inner.define(f"load {kind}, ptr {place}, align {align}")
        for place in places("%from", "%from_stride")
    ]
    for row, place in zip(transposed(inner, rows, element), places("%to", "%to_stride")):
        inner.emit(f"store {kind} {row}, ptr {place}, align {align}")
    inner.emit("ret void")
    parameters = [
        ("ptr noalias readonly", "%from"),
        ("i64", "%from_stride"),
        ("ptr noalias", "%to"),
        ("i64", "%to_stride"),
    ]
    builder.helpers[name] = inner.function(name, "void", parameters)
    return name


def transposed(builder: Builder, rows: Sequence[str], element: str) -> list[str]:
    """The columns of n registers of n lanes, in log2 n stages that exchange halves of blocks."""
    size = len(rows)
    current = list(rows)
    distance = 1
    while distance < size:
        # Where lane l has bit d and row r has not: l of r and l - d of r + d change places.
        low = [lane if not lane & distance else size + lane - distance for lane in range(size)]
        high = [lane + distance if not lane & distance else size + lane for lane in range(size)]
        following = list(current)
        for r in range(size):
            if r & distance:
                continue
            pair = current[r], current[r + distance]
            following[r] = builder.shuffle(*pair, element, size, low)
            following[r + distance] = builder.shuffle(*pair, element, size, high)
        current = following
        distance *= 2
    return current
