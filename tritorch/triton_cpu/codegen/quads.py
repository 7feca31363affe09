"""Products of int8 by `vpdpbusd`: four neighbours along K are one 32-bit element.

The instruction multiplies unsigned by signed bytes, so A gets 128 added, which a sum over the
columns of B takes back: (a + 128) b - 128 b.
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.codegen.operand import Memory, Operand, Position

#: bytes in an element
SIZE = 4
_OFFSET = 0x80808080 - (1 << 32)


def as_quads(builder: Builder, operand: Operand, inner: int, offset: bool) -> Operand:
    """An int8 matrix as one of quads along its dimension `inner`, 128 added to each byte if
    `offset`.
    """

    def position(row: Position, column: Position, at: int = 0) -> tuple[Position, Position]:
        places = [row, column]
        scaled = builder.integer("mul", places[inner], SIZE)
        places[inner] = builder.integer("add", scaled, at)
        return places[0], places[1]

    def load(row: Position, column: Position, lanes: int) -> str:
        if operand.vector_dimension == inner:
            joined = operand.load(*position(row, column), SIZE * lanes)
        else:
            rows = [operand.load(*position(row, column, at), lanes) for at in range(SIZE)]
            joined = _interleaved(builder, rows, lanes)
        kind = builder.type("i32", lanes)
        quads = builder.define(f"bitcast <{SIZE * lanes} x i8> {joined} to {kind}")
        if offset:
            quads = builder.define(
                f"xor {kind} {quads}, {builder.splat(str(_OFFSET), 'i32', lanes)}"
            )
        return quads

    memory = operand.memory
    if memory is not None:
        strides = list(memory.strides)
        strides[inner] = builder.integer("mul", strides[inner], SIZE)
        address = memory.address
        memory = Memory(lambda r, c: address(*position(r, c)), (strides[0], strides[1]))
    return Operand("i32", load, operand.vector_dimension, memory)


def _interleaved(builder: Builder, rows: list[str], lanes: int) -> str:
    """a0 b0 c0 d0 a1 b1 ... of four vectors of bytes."""
    if lanes == 1:
        vector = "poison"
        for at, row in enumerate(rows):
            vector = builder.define(f"insertelement <{SIZE} x i8> {vector}, i8 {row}, i64 {at}")
        return vector
    pairs = [lane + side * lanes for lane in range(lanes) for side in range(2)]
    low = builder.shuffle(rows[0], rows[1], "i8", lanes, pairs)
    high = builder.shuffle(rows[2], rows[3], "i8", lanes, pairs)
    both = []
    for lane in range(lanes):
        both += [2 * lane, 2 * lane + 1, 2 * lanes + 2 * lane, 2 * lanes + 2 * lane + 1]
    return builder.shuffle(low, high, "i8", 2 * lanes, both)


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
