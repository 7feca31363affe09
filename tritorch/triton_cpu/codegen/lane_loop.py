"""Work that cannot be done lane-parallel: a shared function that loops over the lanes of a strip.

The strip's vectors go through small arrays in scratch. The function is compiled once per module,
so a kernel's code stays small whatever the width of its strips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.affine import memory_type
from tritorch.triton_cpu.codegen import masked
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder, Vec
from tritorch.triton_cpu.codegen.scratch import Buffer

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


@dataclass(frozen=True, slots=True)
class Column:
    """One input of the lane function; `is_shared` ones are passed whole, not lane by lane."""

    value: Vec
    is_shared: bool = False


#: (builder of the function, registers of one lane) -> register of the result
Emit = Callable[[Builder, list[str]], str]


def call_per_lane(
    g: Generator,
    name: str,
    columns: list[Column],
    mask: Vec | None,
    lanes: int,
    result: str | None,
    emit: Emit,
) -> Vec | None:
    """Run `emit` for every active lane, in order; inactive lanes of the result are zero.

    Args:
        name: identifies what `emit` does; functions are shared by it.
        result: element of the result; None if it is not wanted.
    """
    builder = g.builder
    is_masked = mask is not None and mask.register not in ("true", "1")
    name = f"{name}{'_masked' if is_masked else ''}{'' if result is None else '_result'}"
    elements = [column.value.element for column in columns]
    if name not in builder.helpers:
        shared = [column.is_shared for column in columns]
        builder.helpers[name] = ""
        builder.helpers[name] = _function(builder, name, elements, shared, is_masked, result, emit)
    arguments = []
    arrays: list[Buffer] = []
    for column in columns:
        value = column.value
        if column.is_shared:
            arguments.append(f"{LLVM_TYPE[value.element]} {value.register}")
        else:
            arguments.append(f"ptr {lane_array(g, value, lanes, arrays)}")
    if is_masked:
        assert mask is not None
        arguments.append(f"ptr {lane_array(g, mask, lanes, arrays)}")
    place = None
    if result is not None:
        arrays.append(g.scratch.allocate((lanes,), result))
        place = arrays[-1].register
        if is_masked:
            zero = Vec(builder.splat(g.zero(result), result, lanes), lanes, result)
            _store(g, place, zero)
        arguments.append(f"ptr {place}")
    builder.emit(f"call void @{name}({', '.join([*arguments, f'i64 {lanes}'])})")
    for array in arrays:
        g.scratch.touch(array)
    if result is None or place is None:
        return None
    return masked.load_vector(g, place, result, lanes, None, None)


def lane_array(g: Generator, value: Vec, lanes: int, arrays: list[Buffer]) -> str:
    """The address of a new array that holds the lanes."""
    arrays.append(g.scratch.allocate((lanes,), value.element))
    place = arrays[-1].register
    _store(g, place, Vec(g.builder.widen(value, lanes), lanes, value.element))
    return place


def _store(g: Generator, place: str, value: Vec) -> None:
    if value.lanes == 1:
        masked.store_scalar(g, place, value.element, value.register, None)
    else:
        masked.store_vector(g, place, value, None)


def _function(
    parent: Builder,
    name: str,
    elements: list[str],
    shared: list[bool],
    is_masked: bool,
    result: str | None,
    emit: Emit,
) -> str:
    builder = parent.child()
    parameters = [
        (LLVM_TYPE[element] if whole else "ptr", f"%column{number}")
        for number, (element, whole) in enumerate(zip(elements, shared))
    ]
    if is_masked:
        parameters.append(("ptr", "%mask"))
    if result is not None:
        parameters.append(("ptr", "%result"))
    parameters.append(("i64", "%lanes"))
    builder.emit("br label %lane")
    builder.start("lane")
    lane, place = builder.register(), builder.reserve()
    if is_masked:
        at = builder.define(f"getelementptr i8, ptr %mask, i64 {lane}")
        byte = builder.define(f"load i8, ptr {at}, align 1")
        active = builder.define(f"icmp ne i8 {byte}, 0")
        builder.emit(f"br i1 {active}, label %active, label %next")
        builder.start("active")
    registers = []
    for number, (element, whole) in enumerate(zip(elements, shared)):
        if whole:
            registers.append(f"%column{number}")
            continue
        kind = memory_type(element)
        at = builder.define(f"getelementptr {kind}, ptr %column{number}, i64 {lane}")
        loaded = builder.define(f"load {kind}, ptr {at}, align {max(1, BITS[element] // 8)}")
        if element == "i1":
            loaded = builder.define(f"icmp ne i8 {loaded}, 0")
        registers.append(loaded)
    found = emit(builder, registers)
    if result is not None:
        kind = memory_type(result)
        at = builder.define(f"getelementptr {kind}, ptr %result, i64 {lane}")
        builder.emit(f"store {kind} {found}, ptr {at}, align {max(1, BITS[result] // 8)}")
    builder.emit("br label %next")
    builder.start("next")
    following = builder.define(f"add nuw nsw i64 {lane}, 1")
    builder.lines[place] = f"  {lane} = phi i64 [0, %entry], [{following}, %next]"
    again = builder.define(f"icmp ult i64 {following}, %lanes")
    builder.emit(f"br i1 {again}, label %lane, label %done")
    builder.start("done")
    builder.emit("ret void")
    return builder.function(name, "void", parameters)
