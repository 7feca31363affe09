"""MLIR text in generic op form -> objects of `ir`: one grammar for all ops of all Triton versions.

    %3:2 = "scf.if"(%2) <{properties}> ({
      regions
    }, {
    }) {attributes} : (i1) -> (f32, f32)

An operation begins and ends on lines of its own, so the parser goes line by line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from tritorch.errors import ParseError
from tritorch.triton_cpu.attributes import (
    end_of_bracket,
    parse_dictionary,
    parse_type,
    split_top_level,
)
from tritorch.triton_cpu.ir import Block, Operation, Type, Value

_OPERATION = re.compile(
    r"(?:(%[\w$.-]+)(?::(\d+))? = )?"  # results
    r'"([\w.]+)"\(([^)]*)\)'  # name, operands
    r"(?:\[([^\]]*)\])?\s*"  # successors
)
_BLOCK = re.compile(r"\^([\w$.-]+)(?:\((.*)\))?:\s*(?://.*)?$")


def parse_module(text: str, name: str = "kernel") -> list[Operation]:
    """The tt.func operations of a module: the public one (the kernel) first, then those it calls.

    A region without operations is an empty list of blocks. `Operation.successors` have their
    arguments.

    Raises:
        ParseError: names the kernel and the line.
    """
    return _Parser(text, name).functions()


class _Scope:
    """A region being read: its operation, the current block, the names to forget at its end."""

    __slots__ = ("block", "names", "operation")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.block: Block | None = None
        self.names: list[str] = []


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._lines = text.split("\n")
        self._values: dict[str, list[Value]] = {}
        self._forward: dict[str, dict[int, Value]] = {}
        self._scopes: list[_Scope] = []
        self._top: list[Operation] = []

    def functions(self) -> list[Operation]:
        number = 0
        try:
            for number, line in enumerate(self._lines, 1):
                self._line(line.strip(), number)
            if self._scopes:
                raise ParseError("parse: the text ends inside a region.")
        except (ParseError, ValueError, IndexError, KeyError) as error:
            reason = (
                str(error) if isinstance(error, ParseError) else f"{type(error).__name__}: {error}"
            )
            raise ParseError(
                f"{self._name}: line {number} of its Triton IR is not understood: {reason} "
                f"The line: {self._lines[number - 1].strip()}"
            ) from error
        found = [
            inner
            for operation in self._top
            for inner in (
                _children(operation) if operation.name == "builtin.module" else [operation]
            )
            if inner.name == "tt.func"
        ]
        if not found:
            raise ParseError(f"{self._name}: its Triton IR has no tt.func.")
        found.sort(key=lambda function: function.attributes.get("sym_visibility") == "private")
        return found

    def _line(self, line: str, number: int) -> None:
        if not line or line.startswith("//"):
            return
        if line[0] == "}":
            self._close_region(line)
        elif line[0] == "^":
            self._open_block(line)
        else:
            self._operation(line, number)

    # ---- operations
    def _operation(self, line: str, number: int) -> None:
        match = _OPERATION.match(line)
        if match is None:
            raise ParseError("parse: not an operation in generic form.")
        result, count, name, operands, successors = match.groups()
        scope = self._scopes[-1] if self._scopes else None
        block = self._block(scope) if scope else None
        operation = Operation(name, [], block)
        operation.line = number
        if operands:
            for token in operands.split(","):
                value = self._use(token.strip())
                value.uses.append(operation)
                operation.operands.append(value)
        if block is not None:
            block.operations.append(operation)
        else:
            self._top.append(operation)
        if result:
            self._define(operation, result, int(count or 1))
        tail = line[match.end() :]
        if tail.startswith("<{"):
            end = _end_of_properties(tail)
            operation.attributes = dict(parse_dictionary(tail[2 : end - 2]))
            tail = tail[end:].lstrip()
        if successors:
            operation.successors = _successors(operation, successors)
        if tail == "({":
            operation.regions.append([])
            self._scopes.append(_Scope(operation))
        else:
            self._finish(operation, tail)

    def _finish(self, operation: Operation, tail: str) -> None:
        """What follows the regions: attributes, types."""
        if tail.startswith("{"):
            end = end_of_bracket(tail, 0)
            operation.attributes.update(parse_dictionary(tail[1 : end - 1]))
            tail = tail[end:].lstrip()
        _, arrow, types = tail.rpartition(" -> ")
        if not tail.startswith(": (") or not arrow:
            raise ParseError(f"parse: {operation.name} has no type.")
        kinds = _result_types(types)
        if len(kinds) != len(operation.results):
            raise ParseError(
                f"parse: {operation.name} has {len(operation.results)} results, {len(kinds)} types."
            )
        for value, kind in zip(operation.results, kinds):
            value.type = kind

    # ---- regions and blocks
    def _block(self, scope: _Scope) -> Block:
        if scope.block is None:  # the first block of a region may have no label
            scope.block = Block(None, scope.operation)
            scope.operation.regions[-1].append(scope.block)
        return scope.block

    def _open_block(self, line: str) -> None:
        match = _BLOCK.match(line)
        if match is None or not self._scopes:
            raise ParseError("parse: not a block label.")
        scope = self._scopes[-1]
        block = scope.block = Block(match[1], scope.operation)
        scope.operation.regions[-1].append(block)
        for text in split_top_level(match[2] or ""):
            name, colon, kind = text.partition(":")
            if not colon:
                raise ParseError(f"parse: block argument {text!r} has no type.")
            name = name.strip()
            value = self._new_value(name, block, len(block.arguments), 0)
            value.type = parse_type(kind)
            block.arguments.append(value)
            self._values[name] = [value]
            scope.names.append(name)

    def _close_region(self, line: str) -> None:
        if not self._scopes:
            raise ParseError("parse: a region ends that did not begin.")
        scope = self._scopes.pop()
        for name in scope.names:
            self._values.pop(name, None)
        operation = scope.operation
        if line == "}, {":
            operation.regions.append([])
            self._scopes.append(_Scope(operation))
            return
        if not line.startswith("})"):
            raise ParseError("parse: not the end of a region.")
        if operation.name == "tt.func" and self._forward:
            raise ParseError(f"parse: {', '.join(self._forward)} used and never defined.")
        self._finish(operation, line[2:].lstrip())

    # ---- values
    def _use(self, token: str) -> Value:
        name, _, index = token.partition("#")
        position = int(index) if index else 0
        known = self._values.get(name)
        if known is not None:
            return known[position]
        if not name.startswith("%"):
            raise ParseError(f"parse: operand {token!r} is not a value.")
        return self._forward.setdefault(name, {}).setdefault(
            position, Value(Type(None, "none"), None, position, token)
        )

    def _new_value(
        self, name: str, owner: Operation | Block, index: int, forward_index: int
    ) -> Value:
        """A value; the object that earlier lines already refer to, if there is one."""
        expected = self._forward.get(name)
        value = expected.pop(forward_index, None) if expected is not None else None
        if expected is not None and not expected:
            del self._forward[name]
        if value is None:
            return Value(Type(None, "none"), owner, index, name)
        value.owner, value.index, value.name = owner, index, name
        return value

    def _define(self, operation: Operation, name: str, count: int) -> None:
        operation.results = [
            self._new_value(name, operation, index, index) for index in range(count)
        ]
        if count > 1:
            for index, value in enumerate(operation.results):
                value.name = f"{name}#{index}"
        self._values[name] = operation.results
        if self._scopes:
            self._scopes[-1].names.append(name)


def _children(operation: Operation) -> list[Operation]:
    return [inner for region in operation.regions for block in region for inner in block.operations]


def _end_of_properties(tail: str) -> int:
    """The index after `}>` of `<{...}>`."""
    end = tail.find("}>")
    if '"' not in tail[:end] and "{" not in tail[2:end]:
        return end + 2
    return end_of_bracket(tail, 0)


@lru_cache(maxsize=4096)
def _result_types(text: str) -> tuple[Type, ...]:
    text = text.strip()
    if text.startswith("("):
        text = text[1 : end_of_bracket(text, 0) - 1]
        return tuple(parse_type(part) for part in split_top_level(text))
    return (parse_type(text),)


def _successors(operation: Operation, text: str) -> list[tuple[str, list[Value]]]:
    """Labels with the operands that become their blocks' arguments."""
    labels = [label.strip().removeprefix("^") for label in text.split(",")]
    sizes: Any = operation.attributes.get("operandSegmentSizes")
    if sizes is None:
        sizes = [len(operation.operands)] if len(labels) == 1 else [0] * len(labels)
    if not isinstance(sizes, list) or not all(isinstance(size, int) for size in sizes):
        raise ParseError(f"parse: operandSegmentSizes of {operation.name} is {sizes!r}.")
    sizes = sizes[len(sizes) - len(labels) :]
    start = len(operation.operands) - sum(sizes)
    found = []
    for label, size in zip(labels, sizes):
        found.append((label, operation.operands[start : start + size]))
        start += size
    return found
