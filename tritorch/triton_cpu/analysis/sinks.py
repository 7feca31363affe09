"""Who consumes which tensor: the plan of what is computed once, stored in scratch, or simply
computed again.

Tensors are virtual: an operation on them emits nothing until a *sink* (a store, a reduction, a
matrix product, a loop's yield, ...) asks for its elements. A value that several sinks need is
either cheap and computed again, or spilled to scratch by the first loop that computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tritorch.triton_cpu.analysis.shapes import is_tensor, walk_operations
from tritorch.triton_cpu.ir import Block, Operation, Value

#: Operations that make their tensor operands real. Terminators and operations with regions do too.
SINKS = frozenset(
    {
        "tt.store", "tt.reduce", "tt.scan", "tt.dot", "tt.dot_scaled", "tt.atomic_rmw",
        "tt.atomic_cas", "tt.histogram", "tt.gather", "tt.print", "tt.assert", "tt.call",
        "tt.return", "cf.br", "cf.cond_br", "scf.yield", "scf.condition", "tt.map_elementwise",
        "tt.reduce.return", "tt.scan.return", "tt.unsplat", "tt.descriptor_load",
        "tt.descriptor_store", "tt.atomic_load", "tt.atomic_store", "tt.atomic_poll",
    }
)  # fmt: skip

#: Operations that memory seen by others may change in.
SIDE_EFFECTS = frozenset(
    {
        "tt.store", "tt.atomic_rmw", "tt.atomic_cas", "tt.call", "tt.descriptor_store",
        "tt.atomic_load", "tt.atomic_store", "tt.atomic_poll",
    }
)  # fmt: skip

#: What an operation costs, about, in vector instructions; 1 for all others.
COST = {
    "arith.divf": 8, "tt.precise_divf": 8, "math.sqrt": 8, "math.rsqrt": 10,
    "tt.precise_sqrt": 8, "math.exp": 12, "math.exp2": 12, "math.log": 14, "math.log2": 14,
    "math.erf": 20, "math.sin": 20, "math.cos": 20, "tt.extern_elementwise": 20, "tt.mulhiui": 6,
    "arith.divsi": 12, "arith.divui": 12, "arith.remsi": 14, "arith.remui": 14, "arith.remf": 60,
    "tt.load": 2, "tt.splat": 0, "tt.broadcast": 0, "tt.expand_dims": 0, "arith.constant": 0,
    "tt.reshape": 0, "tt.trans": 1, "tt.bitcast": 0, "arith.bitcast": 0, "tt.fp_to_fp": 6,
    "tt.make_range": 0, "tt.addptr": 1,
}  # fmt: skip

#: From this cost on a value is stored rather than computed twice (a store and a load cost about 3).
EXPENSIVE = 8


def is_virtual(operation: Operation) -> bool:
    """Whether the operation only describes tensors."""
    if operation.name == "tt.reduce":
        return is_exchange(operation)
    return (
        operation.name not in SINKS
        and not operation.regions
        and any(is_tensor(result) for result in operation.results)
    )


def is_exchange(operation: Operation) -> bool:
    """Whether a reduction combines each element with its one neighbour along a dimension of size
    2, and all that reads it puts the dimension back: the compare-and-exchange step of `tl.sort`.
    """
    shape = operation.operands[0].type.shape or ()
    axis = operation.attributes["axis"]
    if len(shape) < 2 or shape[axis] != 2:
        return False
    for result in operation.results:
        for user in result.uses:
            if user.name != "tt.expand_dims" or user.attributes["axis"] != axis:
                return False
            if any(u.name != "tt.broadcast" for u in user.results[0].uses):
                return False
    return True


def exchange_of(operation: Operation) -> Operation | None:
    """The compare-and-exchange reduction that a broadcast spreads again, if it is one."""
    inner = operation.operands[0].operation if operation.name == "tt.broadcast" else None
    if inner is None or inner.name != "tt.expand_dims":
        return None
    found = inner.operands[0].operation
    if found is None or found.name != "tt.reduce" or not is_exchange(found):
        return None
    return found


def has_side_effects(operation: Operation) -> bool:
    if operation.name in SIDE_EFFECTS:
        return True
    return any(
        inner.name in SIDE_EFFECTS
        for region in operation.regions
        for inner in walk_operations(region)
    )


class SinkPlan:
    """The static part of the plan of one function.

    `needs[value]` are the sinks that want the value itself, and not only something spilled that is
    made of it. `spilled` values are stored by the first loop that computes them; values of
    `at_definition` are needed inside a loop or branch and are stored where they are defined.
    """

    def __init__(self, blocks: list[Block]) -> None:
        self.position: dict[Operation, int] = {}
        self.needs: dict[Value, list[Operation]] = {}
        self.spilled: set[Value] = set()
        self.at_definition: set[Value] = set()
        self._effects: dict[Block, list[int]] = {}
        operations = list(walk_operations(blocks))
        for number, operation in enumerate(operations):
            self.position[operation] = number
        for operation in operations:
            if operation.block is not None and has_side_effects(operation):
                self._effects.setdefault(operation.block, []).append(self.position[operation])
        self._affine_looks: dict[Value, bool] = {}
        wanted: dict[Value, set[Operation]] = {}
        for operation in reversed(operations):
            if not is_virtual(operation):
                self._want(wanted, operation.operands, {operation})
                for _, arguments in operation.successors:
                    self._want(wanted, arguments, {operation})
                continue
            consumers: set[Operation] = set()
            for result in operation.results:
                consumers |= wanted.get(result, set())
            if not consumers:
                continue
            order = sorted(consumers, key=self.position.__getitem__)
            for result in operation.results:
                self.needs[result] = order
            self._want(wanted, operation.operands, self._passed_on(operation, order))

    def place(self, value: Value) -> tuple[int, int]:
        """Program order of values, to sort by."""
        operation = value.operation
        return (-1 if operation is None else self.position.get(operation, -1), value.index)

    def _want(
        self, wanted: dict[Value, set[Operation]], values: Iterable[Value], by: set[Operation]
    ) -> None:
        for value in values:
            if is_tensor(value):
                wanted.setdefault(value, set()).update(by)

    def _passed_on(self, operation: Operation, consumers: list[Operation]) -> set[Operation]:
        """Decide how the operation's value is kept; return the sinks that its operands are needed
        by.
        """
        value = operation.results[0]
        if operation.name in _AFFINE and value.type.element in _ADDRESS_ELEMENTS:
            return set(consumers)  # addresses are taken apart where they are used, not read back
        is_load = operation.name == "tt.load"
        expensive = is_load or self.cost(value) >= EXPENSIVE
        elsewhere = any(c.block is not operation.block for c in consumers)
        # A loop that reads a transposed value would turn it in every round: turn it before.
        if elsewhere and (expensive or operation.name == "tt.trans"):
            self.at_definition.add(value)
            return {operation}
        if (
            len(consumers) > 1
            and expensive
            and not (is_load and self._reloadable(operation, consumers))
        ):
            self.spilled.add(value)
            return {consumers[0]}
        return set(consumers)

    def _reloadable(self, load: Operation, consumers: list[Operation]) -> bool:
        """Whether memory still holds the same when the last of them asks, and reading it is
        cheap.
        """
        first, last = self.position[load], self.position[consumers[-1]]
        assert load.block is not None
        effects = self._effects.get(load.block, ())
        return not any(first < at < last for at in effects) and self.looks_affine(load.operands[0])

    def looks_affine(self, value: Value) -> bool:
        """Whether an index or address tensor is made of ranges and scalars only."""
        known = self._affine_looks.get(value)
        if known is None:
            operation = value.operation
            known = not is_tensor(value) or (
                operation is not None
                and operation.name in _AFFINE
                and all(self.looks_affine(operand) for operand in operation.operands)
            )
            self._affine_looks[value] = known
        return known

    def cost(
        self, value: Value, is_stored: Callable[[Value], bool] | None = None, limit: int = EXPENSIVE
    ) -> int:
        """What computing the value costs, in vector instructions, counted up to `limit`."""
        total = 0
        seen: set[Value] = set()
        stack = [value]
        while stack and total < limit:
            current = stack.pop()
            if current in seen or not is_tensor(current):
                continue
            seen.add(current)
            operation = current.operation
            if operation is None or not is_virtual(operation):
                total += 1
                continue
            if is_stored is not None and current is not value and is_stored(current):
                total += 1
                continue
            if self.looks_affine(current):
                continue
            if operation.name == "tt.reduce":
                total += 4
                continue
            total += COST.get(operation.name, 1)
            stack.extend(operation.operands if operation.name != "tt.load" else ())
        return total


_ADDRESS_ELEMENTS = frozenset({"ptr", "i32", "i64"})

_AFFINE = frozenset(
    {
        "arith.addi", "arith.subi", "arith.muli", "arith.extsi", "arith.extui", "arith.constant",
        "tt.addptr", "tt.make_range", "tt.splat", "tt.expand_dims", "tt.broadcast", "tt.trans",
        "tt.reshape", "tt.bitcast",
    }
)  # fmt: skip
