"""Small facts about shapes and values that several analyses share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tritorch.triton_cpu.ir import Block, Operation, Value


@lru_cache(maxsize=1024)
def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a dense buffer, in elements; 0 in dimensions of size 1."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step if size > 1 else 0)
        step *= size
    return tuple(reversed(strides))


def is_tensor(value: Value) -> bool:
    return value.type.shape is not None


def walk_operations(blocks: list[Block]) -> Iterator[Operation]:
    """Every operation under these blocks in program order, parents before their regions."""
    for block in blocks:
        for operation in block.operations:
            yield operation
            for region in operation.regions:
                yield from walk_operations(region)


def root_pointer(value: Value) -> Value:
    """The scalar pointer that an address is derived from: a kernel argument, a loaded pointer,
    ...
    """
    while True:
        operation = value.operation
        if operation is None:
            parent = value.owner.parent if isinstance(value.owner, Block) else None
            if parent is not None and parent.name == "scf.for" and value.index > 0:
                value = parent.operands[2 + value.index]  # what the loop starts with
                continue
            return value
        if operation.name == "scf.for":
            value = operation.operands[3 + value.index]
            continue
        if operation.name not in _ADDRESS_OPS or not operation.operands:
            return value
        value = operation.operands[0]


_ADDRESS_OPS = frozenset(
    {
        "tt.addptr", "tt.splat", "tt.broadcast", "tt.expand_dims", "tt.trans", "tt.reshape",
        "tt.bitcast", "tt.unsplat",
    }
)  # fmt: skip
