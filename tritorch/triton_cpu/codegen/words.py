"""Narrow matrices as matrices of 32-bit words: two bfloat16, or four int8, neighbours along K.

Instructions for products of narrow elements take both operands so: a word of A times a word of B is
the sum of two or four products (Intel calls the layout of B "VNNI").
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import BITS, Builder
from tritorch.triton_cpu.codegen.operand import Memory, Operand, Position


def elements_in_word(element: str) -> int:
    """How many elements are one word."""
    return 32 // BITS[element]


def as_words(builder: Builder, operand: Operand, inner: int) -> Operand:
    """A matrix as one of words (`i32`) along its dimension `inner`, which is that much shorter."""
    size = elements_in_word(operand.element)
    whole = f"i{BITS[operand.element]}"

    def position(row: Position, column: Position, at: int = 0) -> tuple[Position, Position]:
        places = [row, column]
        scaled = builder.integer("mul", places[inner], size)
        places[inner] = builder.integer("add", scaled, at)
        return places[0], places[1]

    def integers(row: Position, column: Position, at: int, lanes: int) -> str:
        register = operand.load(*position(row, column, at), lanes)
        if operand.element == whole:
            return register
        kinds = builder.type(operand.element, lanes), builder.type(whole, lanes)
        return builder.define(f"bitcast {kinds[0]} {register} to {kinds[1]}")

    def load(row: Position, column: Position, lanes: int) -> str:
        if operand.vector_dimension == inner:
            joined = integers(row, column, 0, size * lanes)
        else:
            rows = [integers(row, column, at, lanes) for at in range(size)]
            joined = _interleaved(builder, rows, whole, lanes)
        kind = builder.type("i32", lanes)
        return builder.define(f"bitcast <{size * lanes} x {whole}> {joined} to {kind}")

    memory = operand.memory
    if memory is not None:
        strides = list(memory.strides)
        strides[inner] = builder.integer("mul", strides[inner], size)
        address = memory.address
        memory = Memory(lambda r, c: address(*position(r, c)), (strides[0], strides[1]))
    return Operand("i32", load, operand.vector_dimension, memory)


def _interleaved(builder: Builder, rows: list[str], element: str, lanes: int) -> str:
    """a0 b0 a1 b1 ... of two vectors, a0 b0 c0 d0 a1 b1 ... of four."""
    size = len(rows)
    if lanes == 1:
        vector = "poison"
        for at, row in enumerate(rows):
            kind = f"<{size} x {element}>"
            vector = builder.define(f"insertelement {kind} {vector}, {element} {row}, i64 {at}")
        return vector
    pairs = [lane + side * lanes for lane in range(lanes) for side in range(2)]
    joined = [builder.shuffle(a, b, element, lanes, pairs) for a, b in zip(rows[::2], rows[1::2])]
    if len(joined) == 1:
        return joined[0]
    both = []
    for lane in range(lanes):
        both += [2 * lane, 2 * lane + 1, 2 * lanes + 2 * lane, 2 * lanes + 2 * lane + 1]
    return builder.shuffle(joined[0], joined[1], element, 2 * lanes, both)
