"""The table of mathematical functions and the one way to emit them.

A body is written once for scalars and vectors, `body(m: Lanes, x: Number, ...) -> Number`. Small
hot bodies are emitted in place; the others become one internal function per (name, element, width)
in `builder.helpers`, called for each hardware vector of a strip: their code is compiled once, and
consecutive calls overlap in an out-of-order core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.codegen.builder import BITS, Builder
from tritorch.triton_cpu.math.lanes import Lanes, MathTarget, Number

Body = Callable[..., Number]


@dataclass(frozen=True)
class Function:
    name: str
    body: Body
    #: emitted in place rather than called
    inline: bool
    #: bytes of the widest number inside, where wider than the operands: it sets a helper's width
    inner_bytes: int
    #: element of the result; None: that of the first float, or else of the first operand
    result: str | None

    def result_element(self, elements: tuple[str, ...]) -> str:
        if self.result:
            return self.result
        return next((element for element in elements if element[0] == "f"), elements[0])


FUNCTIONS: dict[str, Function] = {}


def function(
    *names: str, inline: bool = False, inner_bytes: int = 0, result: str | None = None
) -> Callable[[Body], Body]:
    """Declares the body of a function, under one or several names."""

    def declare(body: Body) -> Body:
        for name in names:
            if name in FUNCTIONS:
                raise ValueError(f"{name}: declared twice.")
            FUNCTIONS[name] = Function(name, body, inline, inner_bytes, result)
        return body

    return declare


def apply(m: Lanes, name: str, *arguments: Number) -> Number:
    """Emit the function: in place, or as calls of its helper."""
    try:
        entry = FUNCTIONS[name]
    except KeyError:
        raise UnsupportedOperation(
            f"math: no function {name!r} for CPUs. Known are {', '.join(sorted(FUNCTIONS))}."
        ) from None
    if entry.inline:
        return entry.body(m, *arguments)
    return _call_helper(m, entry, arguments)


def _call_helper(m: Lanes, entry: Function, arguments: tuple[Number, ...]) -> Number:
    widest = max(entry.inner_bytes, *(BITS[x.element] // 8 for x in arguments))
    width = min(m.count, max(1, m.target.vector_bytes // widest))
    elements = tuple(x.element for x in arguments)
    name = _helper(m, entry, elements, width)
    result = entry.result_element(elements)
    kind = m.builder.type(result, width)
    pieces = []
    for start in range(0, m.count, width):
        operands = []
        for x in arguments:
            register = x.register
            if width < m.count:
                register = piece(m, x, start, width)
            operands.append(f"{m.builder.type(x.element, width)} {register}")
        pieces.append(m.builder.define(f"call {kind} @{name}({', '.join(operands)})"))
    return Number(m, join(m, pieces, result, width), result)


def piece(m: Lanes, x: Number, start: int, width: int) -> str:
    """Lanes start .. start + width of x."""
    if width == 1:
        return m.builder.define(f"extractelement {m.type(x.element)} {x.register}, i64 {start}")
    return m.builder.shuffle(x.register, None, x.element, m.count, range(start, start + width))


def join(m: Lanes, pieces: list[str], element: str, width: int) -> str:
    """The pieces, of `width` lanes each, side by side."""
    if len(pieces) == 1:
        return pieces[0]
    if width == 1:
        register = "poison"
        for i, piece in enumerate(pieces):
            value = f"{m.builder.type(element, 1)} {piece}"
            register = m.builder.define(
                f"insertelement {m.type(element)} {register}, {value}, i64 {i}"
            )
        return register
    while len(pieces) > 1:
        pairs = zip(pieces[::2], pieces[1::2])
        pieces = [m.builder.shuffle(a, b, element, width, range(2 * width)) for a, b in pairs]
        width *= 2
    return pieces[0]


def _helper(m: Lanes, entry: Function, elements: tuple[str, ...], width: int) -> str:
    """The helper's name; it is emitted on first use in a module."""
    name = "_".join(["math", entry.name, *elements, str(width)])
    if name not in m.builder.helpers:
        m.builder.helpers[name] = ""  # keeps the place: helpers that it calls come after
        inner = m.builder.child()
        lanes = Lanes(inner, width, m.target)
        parameters = [Number(lanes, f"%x{i}", element) for i, element in enumerate(elements)]
        result = entry.body(lanes, *parameters)
        kind = inner.type(result.element, width)
        inner.emit(f"ret {kind} {result.register}")
        signature = [(inner.type(x.element, width), x.register) for x in parameters]
        m.builder.helpers[name] = inner.function(name, kind, signature)
    return name


def emit(
    builder: Builder, name: str, arguments: list[str], element: str, lanes: int, target: MathTarget
) -> str:
    """Emit `name` of registers that all have `element`; the register of the result.

    Half precision is computed in float32 and rounded once. Functions whose operands or result have
    other elements (ldexp, isnan, ...) are emitted with `emit_typed`.
    """
    typed = [(register, element) for register in arguments]
    return emit_typed(builder, name, typed, lanes, target)[0]


def emit_typed(
    builder: Builder, name: str, arguments: list[tuple[str, str]], lanes: int, target: MathTarget
) -> tuple[str, str]:
    """Emit `name` of (register, element) operands; the result's register and element."""
    m = Lanes(builder, lanes, target)
    numbers = [Number(m, register, element) for register, element in arguments]
    narrow = next((x.element for x in numbers if x.element in ("f16", "bf16")), None)
    if narrow:
        numbers = [m.convert(x, "f32") if x.element == narrow else x for x in numbers]
    result = apply(m, name, *numbers)
    if narrow and result.element == "f32":
        result = m.convert(result, narrow)
    return result.register, result.element
