"""Tensors that a loop only advances (`pointers += BLOCK`) rewritten: a scalar is carried instead.

`p` with `yield p + step` becomes `initial + offset`, where the scalar `offset` starts at zero and
grows by `step`. So addresses stay made of ranges and scalars, and no tensor of pointers is carried
in memory.
"""

from __future__ import annotations

from tritorch.triton_cpu.analysis.rewriting import insert, replace_operand, replace_uses
from tritorch.triton_cpu.analysis.shapes import is_tensor, walk_operations
from tritorch.triton_cpu.ir import Block, Operation, Type, Value

_SCALAR_FORM = frozenset({"arith.addi", "arith.subi", "arith.muli", "arith.extsi"})


def carry_offsets(blocks: list[Block]) -> None:
    """Rewrite every `scf.for` under these blocks, outer loops first."""
    for operation in list(walk_operations(blocks)):
        if operation.name == "scf.for":
            _rewrite(operation)


def _rewrite(loop: Operation) -> None:
    body = loop.regions[0][0]
    terminator = body.operations[-1]
    for number in reversed(range(len(terminator.operands))):
        argument = body.arguments[1 + number]
        if not is_tensor(argument) or argument.type.element not in ("ptr", "i32", "i64"):
            continue
        result = terminator.operands[number]
        steps = _steps(result, argument)
        if steps is None:
            continue
        width = "i64" if argument.type.element == "ptr" else argument.type.element
        _carry_scalar(loop, number, steps, width)


def _steps(value: Value, argument: Value) -> list[tuple[str, Value]] | None:
    """(add or subtract, uniform tensor) such that the value is the argument with all of them
    applied.
    """
    if value is argument:
        return []
    operation = value.operation
    if operation is None or operation.name not in ("tt.addptr", "arith.addi", "arith.subi"):
        return None
    first, second = operation.operands
    sign = "arith.subi" if operation.name == "arith.subi" else "arith.addi"
    steps = _steps(first, argument)
    if steps is not None:
        return [*steps, (sign, second)] if _is_uniform(second) else None
    if operation.name == "arith.addi" and _is_uniform(first):
        steps = _steps(second, argument)
        return None if steps is None else [*steps, (sign, first)]
    return None


def _is_uniform(value: Value) -> bool:
    """Whether all elements are equal, as far as the operations show."""
    operation = value.operation
    if operation is None:
        return False
    if operation.name == "tt.splat":
        return True
    if operation.name == "arith.constant":
        return not isinstance(operation.attributes["value"], list)
    if operation.name in _SCALAR_FORM or operation.name in ("tt.broadcast", "tt.expand_dims"):
        return all(_is_uniform(operand) for operand in operation.operands)
    return False


def _carry_scalar(loop: Operation, number: int, steps: list[tuple[str, Value]], width: str) -> None:
    body = loop.regions[0][0]
    terminator = body.operations[-1]
    argument, result = body.arguments[1 + number], loop.results[number]
    initial = loop.operands[3 + number]
    assert loop.block is not None
    kind = Type(None, width)

    # one scalar takes the tensor's place everywhere
    zero = insert(loop.block, loop, "arith.constant", [], kind, {"value": 0})
    offset = Value(kind, body, 1 + number, f"{argument.name}.offset")
    total = Value(kind, loop, number, f"{result.name}.offset")
    replace_operand(loop, 3 + number, zero)
    body.arguments[1 + number] = offset
    loop.results[number] = total
    following = offset
    for name, step in steps:
        scalar = _scalar(body, terminator, step)
        if scalar.type.element != width:
            scalar = insert(body, terminator, "arith.extsi", [scalar], kind, {})
        following = insert(body, terminator, name, [following, scalar], kind, {})
    replace_operand(terminator, number, following)

    add = "tt.addptr" if argument.type.element == "ptr" else "arith.addi"
    for old, scalar, block, place in (
        (argument, offset, body, 0),
        (result, total, loop.block, loop.block.operations.index(loop) + 1),
    ):
        before = block.operations[place]
        spread = insert(block, before, "tt.splat", [scalar], Type(old.type.shape, width), {})
        moved = insert(block, before, add, [initial, spread], old.type, {})
        replace_uses(old, moved)


def _scalar(block: Block, before: Operation, value: Value) -> Value:
    """The one element of a uniform tensor."""
    operation = value.operation
    assert operation is not None
    if operation.name == "tt.splat":
        return operation.operands[0]
    kind = Type(None, value.type.element)
    if operation.name == "arith.constant":
        return insert(block, before, "arith.constant", [], kind, operation.attributes)
    operands = [_scalar(block, before, operand) for operand in operation.operands]
    if operation.name in ("tt.broadcast", "tt.expand_dims"):
        return operands[0]
    return insert(block, before, operation.name, operands, kind, {})
