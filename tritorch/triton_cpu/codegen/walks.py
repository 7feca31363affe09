"""How a nest walks: along which dimension its strips lie, and how wide they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen import order
from tritorch.triton_cpu.codegen.bounds import reach
from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.codegen.context import Walk, plan_walk
from tritorch.triton_cpu.codegen.elementwise import needs_float32
from tritorch.triton_cpu.ir import Value

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator


def choose_walk(g: Generator, roots: list[Value], shape: tuple[int, ...], axis: int | None) -> Walk:
    """Strips along the dimension that memory is contiguous in, and across several if it is in all
    of them.
    """
    lanes = strip_lanes(g, roots)
    best = contiguous_dimension(g, roots, shape)
    dims = tuple(d for d in range(len(shape)) if d != best)
    if best is not None:
        dims = (*dims, best)
    run = _contiguous_run(g, roots, shape, dims)
    if run >= SHORTEST_RUN:
        lanes = min(lanes, run)
    return plan_walk(shape, lanes, dims if best is not None else None, axis)


#: Strips are kept inside a contiguous run of at least so many elements; shorter ones are gathered
#: together.
SHORTEST_RUN = 4


def _contiguous_run(
    g: Generator, roots: list[Value], shape: tuple[int, ...], dims: tuple[int, ...]
) -> int:
    """How many elements of a strip are neighbours in memory, whatever is addressed."""
    wide = [d for d in dims if shape[d] > 1]
    total = 1
    for size in shape:
        total *= size
    if len(wide) < 2:
        return total
    longest = total
    reached = reach(g, roots, len(shape))
    for value, mappings in reached.maps.items():
        operation = value.operation
        if value.type.element != "ptr" or value in g.buffers or operation is None:
            continue
        if not any(user.name in ("tt.load", "tt.store") for user in value.uses):
            continue
        form = g.affine.get(value)
        for mapping in mappings:
            strides: dict[int, object] = dict.fromkeys(wide, 0)
            if form is not None:
                for stride, dimension in zip(form.strides, mapping):
                    if dimension in strides:
                        strides[dimension] = stride
            run = shape[wide[-1]]
            for outer, inner in zip(reversed(wide[:-1]), reversed(wide[1:])):
                step = strides[inner]
                if form is None or not isinstance(step, int) or step == 0:
                    break
                if strides[outer] != step * shape[inner]:
                    break
                run *= shape[outer]
            longest = min(longest, run)
    return longest


def strip_lanes(g: Generator, roots: list[Value]) -> int:
    """Elements per strip: the widest element computed with fills the virtual vector."""
    width = 16
    for value in order.closure(g, roots) | {r for r in roots if is_tensor(r)}:
        element = value.type.element
        if element in ("i1", "ptr") or g.affine.get(value) is not None:
            continue
        width = max(width, 32 if needs_float32(g, element) else BITS[element])
    return max(1, g.target.strip_bytes * 8 // width)


def contiguous_dimension(g: Generator, roots: list[Value], shape: tuple[int, ...]) -> int | None:
    """The dimension in which most addresses go in steps of one, if it is not the last anyway."""
    wide = [d for d, size in enumerate(shape) if size > 1]
    if len(wide) < 2:
        return None
    votes = dict.fromkeys(wide, 0)
    reached = reach(g, roots, len(shape))
    for value, mappings in reached.maps.items():
        if value in g.buffers:
            for mapping in mappings:
                if votes.keys() <= set(mapping):
                    for step, dimension in zip(g.buffers[value].strides, mapping):
                        if step == 1 and dimension in votes:
                            votes[dimension] += 1
            continue
        form = g.affine.get(value)
        if value.type.element != "ptr" or form is None:
            continue
        if value.operation is None or value.operation.name in ("tt.splat", "tt.broadcast"):
            continue
        for mapping in mappings:
            if not votes.keys() <= set(mapping):
                continue  # the same for many elements: no reason to follow it
            for stride, dimension in zip(form.strides, mapping):
                if stride == 1 and dimension in votes:
                    votes[dimension] += 2 if value in roots else 1
    best = max(wide, key=lambda d: (votes[d], d))
    return best if best != wide[-1] else None
