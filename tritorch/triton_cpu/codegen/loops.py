"""Loops and branches of the emitted code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tritorch.triton_cpu.codegen.context import Base

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator

#: A value carried around a loop: (register, LLVM type).
Carried = tuple[str, str]


def counted_loop(
    g: Generator,
    begin: Base,
    end: Base,
    step: int,
    carried: list[Carried],
    body: Callable[[Base, list[str]], list[str]],
    stop: Callable[[str, list[str], list[str]], str] | None = None,
    backwards: bool = False,
) -> list[str]:
    """`for i in range(begin, end, step): carried = body(i, carried)`; returns what is carried at
    the end.

    Args:
        stop: given (i, old carried, new carried), emits a condition to leave the loop early.
        backwards: visit the same values of i from the last to the first (end - begin is a multiple
        of step).
    """
    builder = g.builder
    if isinstance(begin, int) and isinstance(end, int) and begin >= end:
        return [register for register, _ in carried]
    if isinstance(begin, int) and isinstance(end, int) and begin + step >= end:
        return body(begin, [register for register, _ in carried])
    start, last = builder.label("loop"), builder.label("end")
    before = builder.block
    known = isinstance(begin, int) and isinstance(end, int)
    first = begin if not backwards else builder.integer("sub", end, step)
    if known:
        builder.emit(f"br label %{start}")
    else:
        enter = builder.define(f"icmp slt i64 {begin}, {end}")
        builder.emit(f"br i1 {enter}, label %{start}, label %{last}")
    with g.scratch.repeated():
        builder.start(start)
        counter = builder.register()
        place = builder.reserve()
        names = [builder.register() for _ in carried]
        places = [builder.reserve() for _ in carried]
        results = body(counter, names)
        following = builder.define(f"add nsw i64 {counter}, {-step if backwards else step}")
        if backwards:
            again = builder.define(f"icmp sge i64 {following}, {begin}")
        else:
            again = builder.define(f"icmp slt i64 {following}, {end}")
        if stop is not None:
            leave = stop(counter, names, results)
            stay = builder.define(f"xor i1 {leave}, true")
            again = builder.define(f"and i1 {again}, {stay}")
        latch = builder.block
        builder.emit(f"br i1 {again}, label %{start}, label %{last}")
    builder.lines[place] = f"  {counter} = phi i64 [{first}, %{before}], [{following}, %{latch}]"
    for at, name, (initial, kind), result in zip(places, names, carried, results):
        builder.lines[at] = f"  {name} = phi {kind} [{initial}, %{before}], [{result}, %{latch}]"
    builder.start(last)
    if known:
        return results
    return [
        builder.define(f"phi {kind} [{initial}, %{before}], [{result}, %{latch}]")
        for (initial, kind), result in zip(carried, results)
    ]


def identical(g: Generator, kind: str, a: str, b: str) -> str:
    """Whether two registers of an LLVM type hold the same bits."""
    builder = g.builder
    lanes, scalar = 1, kind
    if kind[0] == "<":
        count, _, scalar = kind[1:-1].partition(" x ")
        lanes = int(count)
    bits = {"double": "i64", "float": "i32", "half": "i16", "bfloat": "i16"}.get(scalar, scalar)
    whole = bits if lanes == 1 else f"<{lanes} x {bits}>"
    if bits != scalar:
        a = builder.define(f"bitcast {kind} {a} to {whole}")
        b = builder.define(f"bitcast {kind} {b} to {whole}")
    differ = builder.define(f"icmp ne {whole} {a}, {b}")
    if lanes > 1:
        differ = builder.define(f"bitcast <{lanes} x i1> {differ} to i{lanes}")
        differ = builder.define(f"icmp ne i{lanes} {differ}, 0")
    return builder.define(f"xor i1 {differ}, true")


def two_ways(g: Generator, full: str | None, emit: Callable[[bool], None]) -> None:
    """`emit(True)` where the condition holds, `emit(False)` elsewhere; only the first if it is
    None.
    """
    builder = g.builder
    if full is None:
        emit(True)
        return
    labels = [builder.label("full"), builder.label("masked")]
    after = builder.label("joined")
    builder.emit(f"br i1 {full}, label %{labels[0]}, label %{labels[1]}")
    for label, is_full in zip(labels, (True, False)):
        builder.start(label)
        emit(is_full)
        builder.emit(f"br label %{after}")
    builder.start(after)
