"""The parsed form of Triton IR: types, values, operations, blocks.

Plain slotted objects: a kernel has tens to hundreds of them, and the analyses walk them many times.
"""

from __future__ import annotations

from typing import Any


class Type:
    """`shape` is None for a scalar; `element` is f32, i1, ptr, ...; `pointee` the element behind a
    pointer.
    """

    __slots__ = ("element", "pointee", "shape")

    def __init__(
        self, shape: tuple[int, ...] | None, element: str, pointee: str | None = None
    ) -> None:
        self.shape = shape
        self.element = element
        self.pointee = pointee

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape or ():
            count *= size
        return count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and (self.shape, self.element, self.pointee) == (
            other.shape,
            other.element,
            other.pointee,
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.element, self.pointee))

    def __repr__(self) -> str:
        dims = "" if self.shape is None else "x".join(map(str, self.shape)) + "x"
        return f"{dims}{self.element}" + (f"->{self.pointee}" if self.pointee else "")


class Value:
    """A result of an operation, or an argument of a block (`owner` tells which)."""

    __slots__ = ("index", "name", "owner", "type", "uses")

    def __init__(self, type: Type, owner: Operation | Block | None, index: int, name: str) -> None:
        self.type = type
        self.owner = owner
        self.index = index
        self.name = name
        self.uses: list[Operation] = []

    @property
    def operation(self) -> Operation | None:
        """The operation that produced it; None for a block argument."""
        return self.owner if isinstance(self.owner, Operation) else None

    def __repr__(self) -> str:
        return f"{self.name}: {self.type!r}"


class Operation:
    """One op in generic form; `attributes` hold Python numbers, strings, lists, or the raw text."""

    __slots__ = (
        "attributes", "block", "line", "name", "operands", "regions", "results", "successors",
    )  # fmt: skip

    def __init__(self, name: str, operands: list[Value], block: Block | None) -> None:
        self.name = name
        self.operands = operands
        self.block = block
        self.results: list[Value] = []
        self.attributes: dict[str, Any] = {}
        self.regions: list[list[Block]] = []
        #: (label of the target block, values for its arguments)
        self.successors: list[tuple[str, list[Value]]] = []
        self.line = 0

    def __repr__(self) -> str:
        return f"{[r.name for r in self.results]} = {self.name}({[o.name for o in self.operands]})"


class Block:
    """A basic block; `parent` is the operation whose region holds it."""

    __slots__ = ("arguments", "label", "operations", "parent")

    def __init__(self, label: str | None, parent: Operation) -> None:
        self.label = label
        self.parent = parent
        self.arguments: list[Value] = []
        self.operations: list[Operation] = []
