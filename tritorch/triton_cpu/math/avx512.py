"""Instructions of AVX-512 that generic LLVM IR cannot name. Ask `target.avx512f` first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tritorch.triton_cpu.codegen.builder import BITS, float_literal
from tritorch.triton_cpu.math.lanes import Lanes, Number
from tritorch.triton_cpu.math.registry import join, piece

_LETTERS = {"f32": "ps", "f64": "pd"}
#: The rounding argument that leaves the mode alone.
_CURRENT = ("i32", "4")


def _by_register(m: Lanes, x: Number, instruction: Callable[[str, int], str]) -> Number:
    """Apply an instruction on 512-bit registers, whatever the number of lanes."""
    width = 512 // BITS[x.element]
    kind, scalar = m.builder.type(x.element, width), m.builder.type(x.element, 1)
    if m.count == 1:
        whole = m.builder.define(f"insertelement {kind} poison, {scalar} {x.register}, i64 0")
        result = instruction(whole, width)
        return m.define(f"extractelement {kind} {result}, i64 0", x.element)
    if m.count < width:
        order = [i % m.count for i in range(width)]
        whole = m.builder.shuffle(x.register, None, x.element, m.count, order)
        result = instruction(whole, width)
        register = m.builder.shuffle(result, None, x.element, width, range(m.count))
        return Number(m, register, x.element)
    pieces = [
        instruction(piece(m, x, start, width) if m.count > width else x.register, width)
        for start in range(0, m.count, width)
    ]
    return Number(m, join(m, pieces, x.element, width), x.element)


def _masked(m: Lanes, name: str, x: Number, *extra: tuple[str, str]) -> Number:
    """An instruction `name`(x, extra..., what masked lanes keep, mask, rounding)."""

    def instruction(register: str, width: int) -> str:
        kind = m.builder.type(x.element, width)
        return m.builder.call(
            f"llvm.x86.avx512.mask.{name}.{_LETTERS[x.element]}.512",
            kind,
            (kind, register),
            *extra,
            (kind, "poison"),
            (f"i{width}", "-1"),
            _CURRENT,
        )

    return _by_register(m, x, instruction)


def exponent(m: Lanes, x: Number) -> Number:
    """floor(log2 |x|) as a float, also of denormals; -inf for 0, inf for inf, nan for nan."""
    return _masked(m, "getexp", x)


def mantissa(m: Lanes, x: Number) -> Number:
    """x / 2^k in [3/4, 3/2); 1 for 0 and inf, nan below 0."""
    interval, nan_if_negative = 3, 2 << 2
    return _masked(m, "getmant", x, ("i32", str(interval | nan_if_negative)))


def lookup(m: Lanes, index: Number, values: Sequence[float]) -> Number:
    """values[index] for 16 float32; of an index (i32) the lower four bits count."""
    width = len(values)
    whole, scalar = m.builder.type("f32", width), m.builder.type("f32", 1)
    table = ", ".join(f"{scalar} {float_literal(value, 'f32')}" for value in values)
    kind = m.builder.type("i32", width)

    def instruction(register: str) -> str:
        name = f"llvm.x86.avx512.permvar.sf.{32 * width}"
        return m.builder.call(name, whole, (whole, f"<{table}>"), (kind, register))

    if m.count < width:
        if m.count == 1:
            inserted = f"insertelement {kind} poison, i32 {index.register}, i64 0"
            register = m.builder.define(inserted)
        else:
            order = [i % m.count for i in range(width)]
            register = m.builder.shuffle(index.register, None, "i32", m.count, order)
        result = instruction(register)
        if m.count == 1:
            return m.define(f"extractelement {whole} {result}, i64 0", "f32")
        return Number(m, m.builder.shuffle(result, None, "f32", width, range(m.count)), "f32")
    pieces = [
        instruction(piece(m, index, start, width) if m.count > width else index.register)
        for start in range(0, m.count, width)
    ]
    return Number(m, join(m, pieces, "f32", width), "f32")


def reciprocal(m: Lanes, x: Number) -> Number:
    """1 / x for finite float32 x != 0 to 1 ulp: an approximation of 14 bits and Newton's step."""

    def instruction(register: str, width: int) -> str:
        kind = m.builder.type(x.element, width)
        name = f"llvm.x86.avx512.rcp14.{_LETTERS[x.element]}.512"
        arguments = [(kind, register), (kind, "zeroinitializer"), (f"i{width}", "-1")]
        return m.builder.call(name, kind, *arguments)

    first = _by_register(m, x, instruction)
    return m.fma(first, m.fma(-x, first, 1.0), first)
