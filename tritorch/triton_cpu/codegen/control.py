"""Control flow: scalars travel in phis, tensors in scratch buffers."""

from __future__ import annotations

from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.codegen import carried, in_place
from tritorch.triton_cpu.codegen.builder import LLVM_TYPE
from tritorch.triton_cpu.codegen.generator import Generator, lowers
from tritorch.triton_cpu.codegen.groups import write_each
from tritorch.triton_cpu.ir import Operation, Value


@lowers("scf.for")
def for_loop(g: Generator, operation: Operation) -> None:
    builder = g.builder
    low, high, step = operation.operands[:3]
    initial = operation.operands[3:]
    body = operation.regions[0][0]
    arguments = body.arguments[1:]
    yielded = body.operations[-1].operands
    kind = LLVM_TYPE[low.type.element]

    stored = [(a, i, y) for a, i, y in zip(arguments, initial, yielded) if is_tensor(a)]
    scalars = [(a, i, y) for a, i, y in zip(arguments, initial, yielded) if not is_tensor(a)]
    buffers = {a: g.scratch.allocate(a.type.shape or (), a.type.element) for a, _, _ in stored}
    sums = in_place.sums_in(g, operation, buffers)
    write_each(g, [(i, buffers[a]) for a, i, _ in stored if a not in sums])
    predicate = _predicate(operation)
    if sums:
        turns = builder.define(f"icmp {predicate} {kind} {g.scalars[low]}, {g.scalars[high]}")
        in_place.choose_places(g, operation, sums, turns)
        in_place.write_starts(g, [(i, sums[a]) for a, i, _ in stored if a in sums], turns)

    head, inside, after = builder.label("for"), builder.label("body"), builder.label("done")
    before = builder.block
    builder.emit(f"br label %{head}")
    with g.scratch.repeated():
        builder.start(head)
        counter = builder.register()
        place = builder.reserve()
        g.scalars[body.arguments[0]] = counter
        places = []
        for argument, _, _ in scalars:
            places.append(builder.reserve())
            g.scalars[argument] = builder.register()
        inner = builder.define(f"icmp {predicate} {kind} {counter}, {g.scalars[high]}")
        builder.emit(f"br i1 {inner}, label %{inside}, label %{after}")
        builder.start(inside)
        g.buffers.update(buffers)
        if sums:
            first = builder.define(f"icmp eq {kind} {counter}, {g.scalars[low]}")
            for total in sums.values():
                total.is_first = in_place.replaces(g, total, first)
                g.sums[total.buffer] = total
        carried.lower_body(g, body, [(a, y, buffers[a]) for a, _, y in stored])
        for total in sums.values():
            del g.sums[total.buffer]
        following = builder.define(f"add {kind} {counter}, {g.scalars[step]}")
        latch = builder.block
        builder.emit(f"br label %{head}")
    builder.lines[place] = (
        f"  {counter} = phi {kind} [{g.scalars[low]}, %{before}], [{following}, %{latch}]"
    )
    for at, (argument, start, result) in zip(places, scalars):
        element = LLVM_TYPE[argument.type.element]
        builder.lines[at] = (
            f"  {g.scalars[argument]} = phi {element} [{g.scalars[start]}, %{before}],"
            f" [{g.scalars[result]}, %{latch}]"
        )
    builder.start(after)
    for result, argument in zip(operation.results, arguments):
        if not is_tensor(argument):
            g.scalars[result] = g.scalars[argument]
        else:
            g.buffers[result] = buffers[argument]
        g.buffers.pop(argument, None)


def _predicate(loop: Operation) -> str:
    attributes = loop.attributes
    unsigned = attributes.get("unsignedCmp") or attributes.get("unsigned_cmp")
    return "ult" if unsigned else "slt"


@lowers("scf.if")
def if_else(g: Generator, operation: Operation) -> None:
    builder = g.builder
    results = operation.results
    buffers = {
        r: g.scratch.allocate(r.type.shape or (), r.type.element) for r in results if is_tensor(r)
    }
    condition = g.scalars[operation.operands[0]]
    labels = [builder.label("then"), builder.label("else")]
    after = builder.label("endif")
    builder.emit(f"br i1 {condition}, label %{labels[0]}, label %{labels[1]}")
    incoming: dict[Value, list[str]] = {r: [] for r in results if not is_tensor(r)}
    regions = [*operation.regions, []][:2]
    for label, region in zip(labels, regions):
        builder.start(label)
        saved = dict(g.buffers)
        if region and region[0].operations:
            block = region[0]
            yielded = block.operations[-1].operands
            carried.lower_region(
                g, block, [(v, buffers[r]) for r, v in zip(results, yielded) if is_tensor(r)]
            )
            for r, v in zip(results, yielded):
                if not is_tensor(r):
                    incoming[r].append(f"[{g.scalars[v]}, %{builder.block}]")
        g.buffers = saved
        builder.emit(f"br label %{after}")
    builder.start(after)
    for r, values in incoming.items():
        g.scalars[r] = builder.define(f"phi {LLVM_TYPE[r.type.element]} {', '.join(values)}")
    g.buffers.update(buffers)


@lowers("scf.while")
def while_loop(g: Generator, operation: Operation) -> None:
    builder = g.builder
    test, body = operation.regions[0][0], operation.regions[1][0]
    initial = operation.operands
    condition = test.operations[-1]
    yielded = body.operations[-1].operands
    tensors = [(a, i) for a, i in zip(test.arguments, initial) if is_tensor(a)]
    scalars = [(a, i) for a, i in zip(test.arguments, initial) if not is_tensor(a)]
    buffers = {a: g.scratch.allocate(a.type.shape or (), a.type.element) for a, _ in tensors}
    passed = {
        a: g.scratch.allocate(a.type.shape or (), a.type.element)
        for a in body.arguments
        if is_tensor(a)
    }
    write_each(g, [(i, buffers[a]) for a, i in tensors])
    head, inside, after = builder.label("while"), builder.label("body"), builder.label("done")
    before = builder.block
    builder.emit(f"br label %{head}")
    with g.scratch.repeated():
        builder.start(head)
        places = []
        for argument, _ in scalars:
            places.append(builder.reserve())
            g.scalars[argument] = builder.register()
        g.buffers.update(buffers)
        carried.lower_region(
            g,
            test,
            [(v, passed[a]) for v, a in zip(condition.operands[1:], body.arguments) if a in passed],
        )
        for v, a, r in zip(condition.operands[1:], body.arguments, operation.results):
            if a in passed:
                g.buffers[a] = g.buffers[r] = passed[a]
            else:
                g.scalars[a] = g.scalars[r] = g.scalars[v]
        builder.emit(f"br i1 {g.scalars[condition.operands[0]]}, label %{inside}, label %{after}")
        builder.start(inside)
        saved = dict(g.buffers)
        by_argument = dict(zip(test.arguments, yielded))
        carried.lower_body(g, body, [(a, by_argument[a], buffers[a]) for a, _ in tensors])
        g.buffers = saved
        latch = builder.block
        builder.emit(f"br label %{head}")
    for at, (argument, start) in zip(places, scalars):
        element = LLVM_TYPE[argument.type.element]
        builder.lines[at] = (
            f"  {g.scalars[argument]} = phi {element} [{g.scalars[start]}, %{before}],"
            f" [{g.scalars[by_argument[argument]]}, %{latch}]"
        )
    builder.start(after)
    for argument, _ in tensors:
        g.buffers.pop(argument, None)


@lowers("scf.yield", "scf.condition")
def terminator(g: Generator, operation: Operation) -> None:
    """The operation around reads the operands."""


@lowers("cf.br")
def branch(g: Generator, operation: Operation) -> None:
    label, values = operation.successors[0]
    g.enter_block(label, values)
    g.builder.emit(f"br label %{g.labels[label]}")


@lowers("cf.cond_br")
def conditional_branch(g: Generator, operation: Operation) -> None:
    builder = g.builder
    condition = g.scalars[operation.operands[0]]
    targets = []
    for label, values in operation.successors:
        targets.append(builder.label("edge") if values else g.labels[label])
    builder.emit(f"br i1 {condition}, label %{targets[0]}, label %{targets[1]}")
    for (label, values), edge in zip(operation.successors, targets):
        if values:
            builder.start(edge)
            g.enter_block(label, values)
            builder.emit(f"br label %{g.labels[label]}")
