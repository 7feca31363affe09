"""Loads and stores of lanes, some of which may be inactive: an inactive lane never touches memory.

Booleans are bytes in memory. Where the CPU has no masked instruction for the element's width, LLVM
would branch around every lane; shared helper functions loop over the lanes instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Vec

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def stored_element(element: str) -> str:
    """How an element lies in memory. 16-bit floats move as integers: LLVM takes seconds to compile
    masked loads of wide bfloat vectors.
    """
    return _STORED.get(element, element)


_STORED = {"i1": "i8", "bf16": "i16", "f16": "i16"}


def _alignment(element: str) -> int:
    return max(1, BITS[element] // 8)


def from_memory(g: Generator, register: str, element: str, lanes: int) -> Vec:
    """What was loaded as `stored_element`, as the element itself."""
    if element in ("f16", "bf16"):
        kinds = g.builder.type("i16", lanes), g.builder.type(element, lanes)
        return Vec(g.builder.define(f"bitcast {kinds[0]} {register} to {kinds[1]}"), lanes, element)
    if element != "i1":
        return Vec(register, lanes, element)
    kind = g.builder.type("i8", lanes)
    zero = g.builder.splat("0", "i8", lanes)
    return Vec(g.builder.define(f"icmp ne {kind} {register}, {zero}"), lanes, "i1")


def to_memory(g: Generator, register: str, element: str, lanes: int) -> str:
    if element in ("f16", "bf16"):
        kinds = g.builder.type(element, lanes), g.builder.type("i16", lanes)
        return g.builder.define(f"bitcast {kinds[0]} {register} to {kinds[1]}")
    if element != "i1":
        return register
    kinds = g.builder.type("i1", lanes), g.builder.type("i8", lanes)
    return g.builder.define(f"zext {kinds[0]} {register} to {kinds[1]}")


# ---- one element


def load_scalar(
    g: Generator, pointer: str, element: str, mask: Vec | None, other: Vec | None
) -> Vec:
    builder, kind = g.builder, LLVM_TYPE[stored_element(element)]
    if mask is None:
        register = builder.define(f"load {kind}, ptr {pointer}, align {_alignment(element)}")
        return from_memory(g, register, element, 1)
    assert other is not None
    default = to_memory(g, other.register, element, 1)
    before = builder.block
    inside, after = builder.label("load"), builder.label("loaded")
    builder.emit(f"br i1 {mask.register}, label %{inside}, label %{after}")
    builder.start(inside)
    loaded = builder.define(f"load {kind}, ptr {pointer}, align {_alignment(element)}")
    builder.emit(f"br label %{after}")
    builder.start(after)
    register = builder.define(f"phi {kind} [{default}, %{before}], [{loaded}, %{inside}]")
    return from_memory(g, register, element, 1)


def store_scalar(g: Generator, pointer: str, element: str, register: str, mask: Vec | None) -> None:
    builder = g.builder
    register = to_memory(g, register, element, 1)
    kind = LLVM_TYPE[stored_element(element)]
    text = f"store {kind} {register}, ptr {pointer}, align {_alignment(element)}"
    if mask is None:
        builder.emit(text)
        return
    inside, after = builder.label("store"), builder.label("stored")
    builder.emit(f"br i1 {mask.register}, label %{inside}, label %{after}")
    builder.start(inside)
    builder.emit(text)
    builder.emit(f"br label %{after}")
    builder.start(after)


# ---- consecutive elements


def load_vector(
    g: Generator, pointer: str, element: str, lanes: int, mask: Vec | None, other: Vec | None
) -> Vec:
    builder = g.builder
    if lanes == 1:
        return load_scalar(g, pointer, element, mask, other)
    stored = stored_element(element)
    kind = builder.type(stored, lanes)
    if mask is None:
        register = builder.define(f"load {kind}, ptr {pointer}, align {_alignment(element)}")
        return from_memory(g, register, element, lanes)
    assert other is not None
    default = to_memory(g, builder.widen(other, lanes), element, lanes)
    if _has_avx_masks(g, stored):
        register = _load_avx(g, pointer, stored, lanes, builder.widen(mask, lanes), default)
        return from_memory(g, register, element, lanes)
    register = builder.call(
        f"llvm.masked.load.{builder.suffix(stored, lanes)}.p0",
        kind,
        (f"ptr align {_alignment(element)}", pointer),
        (f"<{lanes} x i1>", builder.widen(mask, lanes)),
        (kind, default),
    )
    return from_memory(g, register, element, lanes)


def store_vector(g: Generator, pointer: str, value: Vec, mask: Vec | None) -> None:
    builder, lanes, element = g.builder, value.lanes, value.element
    stored = stored_element(element)
    kind = builder.type(stored, lanes)
    register = to_memory(g, value.register, element, lanes)
    if mask is None:
        builder.emit(f"store {kind} {register}, ptr {pointer}, align {_alignment(element)}")
        return
    if _has_avx_masks(g, stored):
        _store_avx(g, pointer, stored, lanes, builder.widen(mask, lanes), register)
        return
    builder.call(
        f"llvm.masked.store.{builder.suffix(stored, lanes)}.p0",
        "void",
        (kind, register),
        (f"ptr align {_alignment(element)}", pointer),
        (f"<{lanes} x i1>", builder.widen(mask, lanes)),
    )


# ---- AVX and AVX2: lanes masked by the sign bits of a vector
#
# LLVM 22.1 compiles llvm.masked.load wrongly there when the mask of one 256-bit part turns out to
# be constant after legalisation (`and (splat, constant)`): it loads the whole part. So the
# instruction is asked for by name.


def _has_avx_masks(g: Generator, stored: str) -> bool:
    target = g.target
    return target.is_x86 and target.has("avx") and not target.avx512f and BITS[stored] >= 32


def _avx_parts(
    g: Generator, stored: str, lanes: int, mask: str
) -> list[tuple[int, int, str, str, str]]:
    """For each part: (first lane, lanes, LLVM type, name's ending, mask register of sign bits)."""
    builder = g.builder
    bits = BITS[stored]
    kind, word = ("double", "i64") if bits == 64 else ("float", "i32")
    width = min(lanes, 256 // bits)
    ending = ("pd" if bits == 64 else "ps") + (".256" if width * bits == 256 else "")
    whole = builder.define(f"sext <{lanes} x i1> {mask} to <{lanes} x {word}>")
    parts = []
    for first in range(0, lanes, width):
        part = whole
        if width < lanes:
            part = builder.shuffle(whole, None, word, lanes, range(first, first + width))
        parts.append((first, width, kind, ending, part))
    return parts


def _padded(g: Generator, stored: str, lanes: int, *registers: tuple[str, str]) -> list[str]:
    """Vectors of less than 128 bits, filled up: (register, element) -> register."""
    count = 128 // BITS[stored]
    order = [*range(lanes), *([lanes] * (count - lanes))]
    zero = "zeroinitializer"
    return [
        g.builder.shuffle(register, zero, element, lanes, order) for register, element in registers
    ]


def _load_avx(g: Generator, pointer: str, stored: str, lanes: int, mask: str, default: str) -> str:
    builder, bits = g.builder, BITS[stored]
    if lanes * bits < 128:
        count = 128 // bits
        mask, wide = _padded(g, stored, lanes, (mask, "i1"), (default, stored))
        found = _load_avx(g, pointer, stored, count, mask, wide)
        return builder.shuffle(found, None, stored, count, range(lanes))
    loaded = []
    for first, width, kind, ending, part in _avx_parts(g, stored, lanes, mask):
        place = builder.define(f"getelementptr i8, ptr {pointer}, i64 {first * bits // 8}")
        word = "i64" if bits == 64 else "i32"
        vector = builder.call(
            f"llvm.x86.avx.maskload.{ending}",
            f"<{width} x {kind}>",
            ("ptr", place),
            (f"<{width} x {word}>", part),
        )
        if LLVM_TYPE[stored] != kind:
            vector = builder.define(f"bitcast <{width} x {kind}> {vector} to <{width} x {word}>")
        loaded.append((vector, width))
    while len(loaded) > 1:
        loaded = [
            (builder.shuffle(a, b, stored, width, range(2 * width)), 2 * width)
            for (a, width), (b, _) in zip(loaded[::2], loaded[1::2])
        ]
    result, kind = loaded[0][0], builder.type(stored, lanes)
    return builder.define(f"select <{lanes} x i1> {mask}, {kind} {result}, {kind} {default}")


def _store_avx(
    g: Generator, pointer: str, stored: str, lanes: int, mask: str, register: str
) -> None:
    builder, bits = g.builder, BITS[stored]
    if lanes * bits < 128:
        mask, register = _padded(g, stored, lanes, (mask, "i1"), (register, stored))
        _store_avx(g, pointer, stored, 128 // bits, mask, register)
        return
    for first, width, kind, ending, part in _avx_parts(g, stored, lanes, mask):
        place = builder.define(f"getelementptr i8, ptr {pointer}, i64 {first * bits // 8}")
        word = "i64" if bits == 64 else "i32"
        vector = register
        if width < lanes:
            vector = builder.shuffle(register, None, stored, lanes, range(first, first + width))
        if LLVM_TYPE[stored] != kind:
            vector = builder.define(f"bitcast <{width} x {word}> {vector} to <{width} x {kind}>")
        builder.call(
            f"llvm.x86.avx.maskstore.{ending}",
            "void",
            ("ptr", place),
            (f"<{width} x {word}>", part),
            (f"<{width} x {kind}>", vector),
        )


# ---- elements anywhere


def gather(
    g: Generator, pointers: str, element: str, lanes: int, mask: Vec | None, other: Vec | None
) -> Vec:
    builder = g.builder
    stored = stored_element(element)
    kind = builder.type(stored, lanes)
    active = builder.splat("true", "i1", lanes) if mask is None else builder.widen(mask, lanes)
    default = "poison"
    if mask is not None and other is not None:
        default = to_memory(g, builder.widen(other, lanes), element, lanes)
    register = builder.call(
        f"llvm.masked.gather.{builder.suffix(stored, lanes)}.v{lanes}p0",
        kind,
        (f"<{lanes} x ptr> align {_alignment(element)}", pointers),
        (f"<{lanes} x i1>", active),
        (kind, default),
    )
    return from_memory(g, register, element, lanes)


def scatter(g: Generator, pointers: str, value: Vec, mask: Vec | None) -> None:
    builder, lanes, element = g.builder, value.lanes, value.element
    stored = stored_element(element)
    kind = builder.type(stored, lanes)
    active = builder.splat("true", "i1", lanes) if mask is None else builder.widen(mask, lanes)
    builder.call(
        f"llvm.masked.scatter.{builder.suffix(stored, lanes)}.v{lanes}p0",
        "void",
        (kind, to_memory(g, value.register, element, lanes)),
        (f"<{lanes} x ptr> align {_alignment(element)}", pointers),
        (f"<{lanes} x i1>", active),
    )
