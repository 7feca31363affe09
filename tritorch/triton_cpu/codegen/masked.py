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
    builder.call(
        f"llvm.masked.store.{builder.suffix(stored, lanes)}.p0",
        "void",
        (kind, register),
        (f"ptr align {_alignment(element)}", pointer),
        (f"<{lanes} x i1>", builder.widen(mask, lanes)),
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
