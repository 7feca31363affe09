"""Changing parsed operations: inserting them, and redirecting what others read."""

from __future__ import annotations

from tritorch.triton_cpu.ir import Block, Operation, Type, Value


def insert(
    block: Block,
    before: Operation,
    name: str,
    operands: list[Value],
    kind: Type,
    attributes: dict[str, object],
) -> Value:
    """A new operation with one result; returns that."""
    operation = Operation(name, list(operands), block)
    operation.line = before.line
    operation.attributes = dict(attributes)
    result = Value(kind, operation, 0, f"%{name}")
    operation.results = [result]
    for operand in operands:
        operand.uses.append(operation)
    block.operations.insert(block.operations.index(before), operation)
    return result


def replace_operand(operation: Operation, number: int, value: Value) -> None:
    """Let an operation read another value."""
    operation.operands[number].uses.remove(operation)
    operation.operands[number] = value
    value.uses.append(operation)


def replace_uses(old: Value, new: Value) -> None:
    """Let all that reads one value read another."""
    for user in list(old.uses):
        user.operands = [new if operand is old else operand for operand in user.operands]
        user.successors = [
            (label, [new if value is old else value for value in values])
            for label, values in user.successors
        ]
        new.uses.append(user)
    old.uses = []
