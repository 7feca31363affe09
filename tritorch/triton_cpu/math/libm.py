"""Functions of the C library, lane by lane: exact and slow, for what is rarely asked for.

| function | element | when |
|---|---|---|
| sin, cos, tan | float64 | for vectors with an argument above 2^20 |
| fmod | float64 | for vectors with a quotient above 2^52; always without FMA |
| remainder, lgamma, tgamma | float64 | always |
| j0, j1, jn, y0, y1, yn | both | always, in float64 |
"""

from __future__ import annotations

from tritorch.triton_cpu.math.lanes import Lanes, Number


def per_lane(m: Lanes, name: str, *arguments: Number) -> Number:
    """Call libm's `name` (its double version's name) for each lane."""
    builder = m.builder
    element = next(x.element for x in arguments if x.is_float)
    symbol = name + "f" if element == "f32" else name
    scalar = builder.type(element, 1)
    kinds = [builder.type(x.element, 1) for x in arguments]
    if m.count == 1:
        registers = [(kind, x.register) for kind, x in zip(kinds, arguments)]
        return Number(m, builder.call(symbol, scalar, *registers), element)
    previous = builder.block
    loop, done = builder.label("lane"), builder.label("done")
    builder.emit(f"br label %{loop}")
    builder.start(loop)
    index, result = builder.register(), builder.register()
    place_index, place_result = builder.reserve(), builder.reserve()
    operands = [
        (kind, builder.define(f"extractelement {m.type(x.element)} {x.register}, i64 {index}"))
        for kind, x in zip(kinds, arguments)
    ]
    value = builder.call(symbol, scalar, *operands)
    updated = builder.define(
        f"insertelement {m.type(element)} {result}, {scalar} {value}, i64 {index}"
    )
    following = builder.define(f"add i64 {index}, 1")
    more = builder.define(f"icmp ult i64 {following}, {m.count}")
    builder.emit(f"br i1 {more}, label %{loop}, label %{done}")
    builder.lines[place_index] = (
        f"  {index} = phi i64 [ 0, %{previous} ], [ {following}, %{builder.block} ]"
    )
    builder.lines[place_result] = (
        f"  {result} = phi {m.type(element)} [ poison, %{previous} ], "
        f"[ {updated}, %{builder.block} ]"
    )
    builder.start(done)
    return Number(m, updated, element)
