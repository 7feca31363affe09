"""Products of int8 by `vpdpbusd`: four neighbours along K are one 32-bit element.

The instruction multiplies unsigned by signed bytes, so A gets 128 added, which a sum over the
columns of B takes back: (a + 128) b - 128 b.
"""

from __future__ import annotations

from dataclasses import replace

from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.codegen.operand import Operand, Position
from tritorch.triton_cpu.codegen.words import as_words

#: bytes in an element
SIZE = 4
_OFFSET = 0x80808080 - (1 << 32)


def as_unsigned_quads(builder: Builder, operand: Operand, inner: int) -> Operand:
    """An int8 matrix as one of quads along its dimension `inner`, 128 added to each byte."""
    words = as_words(builder, operand, inner)

    def load(row: Position, column: Position, lanes: int) -> str:
        quads = words.load(row, column, lanes)
        amount = builder.splat(str(_OFFSET), "i32", lanes)
        return builder.define(f"xor {builder.type('i32', lanes)} {quads}, {amount}")

    return replace(words, load=load)


def multiply_add(builder: Builder, a: str, b: str, c: str, lanes: int) -> str:
    """c + the products of the four unsigned bytes of a and the signed ones of b."""
    name = {16: "avx512.vpdpbusd.512", 8: "avx512.vpdpbusd.256", 4: "avx512.vpdpbusd.128"}[lanes]
    kind, narrow = f"<{lanes} x i32>", f"<{SIZE * lanes} x i8>"
    bytes_of_a = builder.define(f"bitcast {kind} {a} to {narrow}")
    bytes_of_b = builder.define(f"bitcast {kind} {b} to {narrow}")
    return builder.call(
        f"llvm.x86.{name}", kind, (kind, c), (narrow, bytes_of_a), (narrow, bytes_of_b)
    )


def column_sums(builder: Builder, lanes: int) -> str:
    """The name of `void sums(ptr quads, i64 steps, ptr to)`: 128 times the sums over a packed
    column of vectors.
    """
    name = f"dot_quad_sums_{lanes}"
    if name in builder.helpers:
        return name
    inner = builder.child()
    kind = f"<{lanes} x i32>"
    offset = inner.splat(str(_OFFSET), "i32", lanes)
    loop, done = inner.label("loop"), inner.label("done")
    inner.emit(f"br label %{loop}")
    inner.start(loop)
    counter, total = inner.register(), inner.register()
    places = inner.reserve(), inner.reserve()
    at = inner.define(f"getelementptr {kind}, ptr %quads, i64 {counter}")
    quads = inner.define(f"load {kind}, ptr {at}, align 4")
    following = multiply_add(inner, offset, quads, total, lanes)
    step = inner.define(f"add nuw nsw i64 {counter}, 1")
    more = inner.define(f"icmp ult i64 {step}, %steps")
    inner.emit(f"br i1 {more}, label %{loop}, label %{done}")
    inner.lines[places[0]] = f"  {counter} = phi i64 [ 0, %entry ], [ {step}, %{loop} ]"
    inner.lines[places[1]] = (
        f"  {total} = phi {kind} [ zeroinitializer, %entry ], [ {following}, %{loop} ]"
    )
    inner.start(done)
    inner.emit(f"store {kind} {following}, ptr %to, align 4")
    inner.emit("ret void")
    parameters = [("ptr", "%quads"), ("i64", "%steps"), ("ptr", "%to")]
    builder.helpers[name] = inner.function(name, "void", parameters)
    return name
