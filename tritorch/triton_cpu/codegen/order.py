"""Loads are lazy; this keeps them from slipping past a side effect.

Before a side effect, every earlier load is made real that (a) something later than the side effect
still needs and this loop does not read, or (b) this loop reads through the pointer that it also
stores to, at another address.

What remains assumed: two different pointer *arguments* are either the same address or do not
overlap, and if they are the same, one program reads and writes them with the same indices (x and
out of an in-place operation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.shapes import is_tensor, root_pointer
from tritorch.triton_cpu.analysis.sinks import is_virtual
from tritorch.triton_cpu.ir import Operation, Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def protect_loads(g: Generator, sinks: list[Operation], one_loop: bool = False) -> None:
    """Make real what the side effects of `sinks` could change before it is read.

    `one_loop`: the sinks are emitted as one loop, which stores what it reads and others need later.
    """
    assert sinks[0].block is not None
    last = g.plan.position[sinks[-1]]
    first = g.plan.position[sinks[0]]
    mine = closure(g, [operand for sink in sinks for operand in sink.operands])
    stores = [sink for sink in sinks if sink.name in ("tt.store", "tt.atomic_rmw", "tt.atomic_cas")]
    for load in list(g.loads.get(sinks[0].block, ())):
        value = load.results[0]
        if value in g.buffers or g.plan.position[load] > first:
            continue
        needed_later = any(g.plan.position[need] > last for need in g.plan.needs.get(value, ()))
        inside = any(
            need not in sinks and first < g.plan.position[need] <= last
            for need in g.plan.needs.get(value, ())
        )
        if value not in mine or not one_loop:
            if needed_later or inside:
                g.materialise(value)
        elif any(conflicts(g, load, store) for store in stores):
            g.materialise(value)


def conflicts(g: Generator, load: Operation, store: Operation) -> bool:
    """Whether a store may change what another element of the load reads: one pointer, and
    different addresses or addresses that several elements share.
    """
    if root_pointer(load.operands[0]) is not root_pointer(store.operands[0]):
        return False
    return load.operands[0] is not store.operands[0] or not _is_injective(g, load.operands[0])


def _is_injective(g: Generator, pointer: Value) -> bool:
    """Whether every element has an address of its own (strides in registers are taken to be large
    enough).
    """
    form = g.affine.get(pointer)
    if form is None:
        return False
    span = 1
    known = []
    for stride, size in zip(form.strides, pointer.type.shape or ()):
        if size == 1:
            continue
        if stride == 0:
            return False
        if isinstance(stride, int):
            known.append((abs(stride), size))
    for stride, size in sorted(known):
        if stride < span:
            return False
        span = stride * size
    return True


def closure(g: Generator, roots: list[Value]) -> set[Value]:
    """The virtual values that the roots are computed from, down to what is stored."""
    return {value for value in closure_with_stored(g, roots) if value not in g.buffers}


def closure_with_stored(g: Generator, roots: list[Value]) -> set[Value]:
    """The same with the stored values where it ends."""
    seen: set[Value] = set()
    stack = [root for root in roots if is_tensor(root)]
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in g.buffers:
            continue
        operation = value.operation
        if operation is not None and is_virtual(operation):
            stack.extend(operand for operand in operation.operands if is_tensor(operand))
    return seen
