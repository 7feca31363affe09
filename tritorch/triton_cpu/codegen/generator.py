"""The state of code generation for one function, and the order in which its operations are lowered.

Scalars are emitted when they are met. Tensors are virtual: their operations only feed the
analyses. Sinks open loops; neighbouring sinks of one shape share one loop (`groups`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tritorch.triton_cpu.analysis.affine import AffineAnalysis
from tritorch.triton_cpu.analysis.induction import carry_offsets
from tritorch.triton_cpu.analysis.masks import MaskAnalysis
from tritorch.triton_cpu.analysis.scaled import expand_scaled_products
from tritorch.triton_cpu.analysis.shapes import is_tensor
from tritorch.triton_cpu.analysis.sinks import SinkPlan, has_side_effects, is_virtual
from tritorch.triton_cpu.codegen import evaluate, groups, in_place, order, turn
from tritorch.triton_cpu.codegen.builder import LLVM_TYPE, Builder, Vec
from tritorch.triton_cpu.codegen.constants import FLOATS, literal
from tritorch.triton_cpu.codegen.context import Index, Loop
from tritorch.triton_cpu.codegen.elementwise import ELEMENTWISE, emit_elementwise, unknown_operation
from tritorch.triton_cpu.codegen.scratch import Buffer, Scratch
from tritorch.triton_cpu.ir import Block, Operation, Value
from tritorch.triton_cpu.target import CPUTarget

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.function import Module

#: Lowers one operation that is not virtual.
Lowering = Callable[["Generator", Operation], None]
_LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Register the lowering of operations by name."""

    def register(function: Lowering) -> Lowering:
        for name in names:
            _LOWERINGS[name] = function
        return function

    return register


class Generator:
    """Emits the body of one function."""

    def __init__(self, module: Module, function: Operation, name: str) -> None:
        self.module = module
        self.name = name
        self.target: CPUTarget = module.target
        self.builder = Builder(helpers=module.helpers, declarations=module.declarations)
        blocks = function.regions[0]
        expand_scaled_products(blocks)
        carry_offsets(blocks)
        self.scratch = Scratch(self.builder, reuse=not _has_back_edge(blocks))
        self.plan = SinkPlan(blocks)
        self.scalars: dict[Value, str] = {}
        self.affine = AffineAnalysis(self.builder, self.scalars)
        self.masks = MaskAnalysis(self.builder, self.scalars, self.affine)
        #: values that are stored in scratch
        self.buffers: dict[Value, Buffer] = {}
        self._pending_buffers: dict[Value, Buffer] = {}
        #: values that the current loop has written to their buffers
        self.written: set[Value] = set()
        #: indices through reshapes that were emitted in the current strip
        self.reshaped: dict[tuple[tuple[int, ...], tuple[int, ...], Index], Index] = {}
        #: (quotients, remainders) that were emitted in the current strip
        self.divided: dict[tuple[Value, Value, Index], tuple[str, str]] = {}
        #: products of the even and of the odd 32-bit lanes, emitted in the current strip
        self.products: dict[tuple[str, ...], tuple[str, str]] = {}
        #: address tensors -> whether they come from index arithmetic with divisions
        self.computed_indices: dict[Value, bool] = {}
        #: loads met so far, block by block, whose elements may still be wanted
        self.loads: dict[Block, list[Operation]] = {}
        self.group: list[Operation] = []
        #: how many nests have read each load from memory, and stores whose lines were asked for
        self.reads: dict[Operation, int] = {}
        self.asked: set[Operation] = set()
        #: buffers of sums of products that are being carried, and stores of such sums
        self.sums: dict[Buffer, in_place.Sum] = {}
        self.stored_sums: dict[Operation, in_place.Sum] = {}
        #: place in the program of the operation being lowered
        self.position = 0
        #: LLVM labels of the function's blocks, and their arguments
        self.labels: dict[str, str] = {}
        self.block_arguments = {block.label or "": block.arguments for block in blocks}
        self._phis: list[tuple[Value, int]] = []
        self._incoming: dict[Value, list[str]] = {}
        self._argument_buffers: dict[Value, Buffer] = {}
        self.return_label = "return"
        #: where a called function leaves its results
        self.results: list[Buffer] = []

    # ---- blocks
    def lower_function(self, blocks: list[Block]) -> None:
        """Lower the blocks of a function in order; each starts with the phis of its arguments."""
        self.labels = {
            block.label or "": f"block_{number}" for number, block in enumerate(blocks) if number
        }
        for number, block in enumerate(blocks):
            self.builder.start("body" if number == 0 else f"block_{number}")
            if number:
                self.begin_block(block)
            self.lower_block(block)
        self.fill_block_arguments()

    def lower_block(self, block: Block, at_end: Callable[[], None] | None = None) -> None:
        """Lower a block's operations; values of outer blocks that were stored inside are forgotten
        after.

        Args:
            at_end: emits what the terminator means, while the block's values are known.
        """
        outside = dict(self.buffers)
        self.loads[block] = []
        for operation in block.operations:
            self._lower(operation)
        self.flush()
        if at_end is not None:
            at_end()
        self.buffers = {
            value: buffer
            for value, buffer in self.buffers.items()
            if value in outside or _defined_in(value, block)
        }

    # ---- blocks with arguments
    def begin_block(self, block: Block) -> None:
        """Reserve the phis of a block's scalar arguments; tensors have their buffers."""
        for argument in block.arguments:
            if is_tensor(argument):
                self.buffers[argument] = self._argument_buffer(argument)
            else:
                self.scalars[argument] = self.builder.register()
                self._phis.append((argument, self.builder.reserve()))

    def enter_block(self, label: str, values: list[Value]) -> None:
        """Pass values to the arguments of the block that the next branch goes to."""
        arguments = self.block_arguments[label]
        pairs = [(v, self._argument_buffer(a)) for a, v in zip(arguments, values) if is_tensor(a)]
        groups.write_each(self, pairs)
        for argument, value in zip(arguments, values):
            if not is_tensor(argument):
                edge = f"[{self.scalars[value]}, %{self.builder.block}]"
                self._incoming.setdefault(argument, []).append(edge)

    def _argument_buffer(self, argument: Value) -> Buffer:
        found = self._argument_buffers.get(argument)
        if found is None:
            shape = argument.type.shape or ()
            found = self.scratch.allocate(shape, argument.type.element)
            self._argument_buffers[argument] = found
        return found

    def fill_block_arguments(self) -> None:
        """All branches are emitted: complete the phis."""
        for argument, place in self._phis:
            kind = LLVM_TYPE[argument.type.element]
            edges = ", ".join(self._incoming.get(argument, ()))
            self.builder.lines[place] = f"  {self.scalars[argument]} = phi {kind} {edges}"

    def _lower(self, operation: Operation) -> None:
        self.position = self.plan.position[operation]
        if is_virtual(operation):
            self._visit_virtual(operation)
            return
        if operation in self.stored_sums:
            self.flush()
            in_place.store_sum(self, operation)
            return
        if groups.can_join(self, operation):
            self.group.append(operation)
            return
        if self.group and (not _is_pure_scalar(operation) or self._uses_group(operation)):
            self.flush()
        if groups.is_groupable(operation):
            self.group = [operation]
            return
        if has_side_effects(operation):
            order.protect_loads(self, [operation])
        lowering = _LOWERINGS.get(operation.name)
        if lowering is not None:
            lowering(self, operation)
        elif operation.name in ELEMENTWISE:
            self._lower_scalar(operation)
        else:
            raise unknown_operation(self.name, operation)

    def flush(self) -> None:
        """Emit the sinks that were collected to share a loop."""
        if self.group:
            group, self.group = self.group, []
            groups.emit_group(self, group)

    def emit_sink(self, operation: Operation) -> None:
        """Emit a sink in a loop of its own."""
        groups.emit_group(self, [operation])

    def _uses_group(self, operation: Operation) -> bool:
        results = {result for member in self.group for result in member.results}
        return any(operand in results for operand in operation.operands)

    def _visit_virtual(self, operation: Operation) -> None:
        if self.group and (
            self._uses_group(operation)
            or (operation.name == "tt.load" and any(m.name == "tt.store" for m in self.group))
        ):
            self.flush()
        if operation.name == "tt.reduce":
            groups.prepare_exchange(self, operation)
            return
        self.affine.visit(operation)
        self.masks.visit(operation)
        if operation.name == "tt.load" and operation.block is not None:
            self.loads[operation.block].append(operation)
        value = operation.results[0]
        if value in self.plan.at_definition and self.affine.get(value) is None:
            self.flush()
            if operation.name == "tt.trans":
                turn.turned(self, value)
            self.materialise(value)

    def _lower_scalar(self, operation: Operation) -> None:
        result = operation.results[0]
        if operation.name == "arith.constant":
            self.scalars[result] = literal(operation.attributes["value"], result.type.element)
            return
        registers = [self.scalars[operand] for operand in operation.operands]
        self.scalars[result] = emit_elementwise(self, operation, registers, 1, result.type.element)

    def new_strip(self) -> None:
        """Forget what was emitted where the code to come may not see it."""
        self.reshaped.clear()
        self.divided.clear()
        self.products.clear()

    # ---- stored values
    def materialise(self, value: Value) -> Buffer:
        """Store a virtual tensor in scratch, now."""
        found = self.buffers.get(value)
        if found is None:
            groups.emit_materialise(self, value)
            found = self.buffers[value]
        return found

    def pending_buffer(self, value: Value, order: tuple[int, ...] | None = None) -> Buffer:
        """The buffer that the current loop fills; readers see it when the loop is done."""
        found = self._pending_buffers.get(value)
        if found is None:
            found = self.scratch.allocate(value.type.shape or (), value.type.element, order)
            self._pending_buffers[value] = found
        return found

    def publish(self, values: frozenset[Value]) -> None:
        """The loop that fills these values' buffers is done.

        A value that the loop got round evaluating is not stored, and is computed again where it
        is wanted.
        """
        for value in sorted(values, key=self.plan.place):
            buffer = self._pending_buffers.pop(value, None)
            if buffer is not None and value in self.written:
                self.buffers[value] = buffer
        self.written.difference_update(values)

    def value_at(self, value: Value, index: Index, loop: Loop) -> Vec:
        """See `evaluate.value_at`: what all modules below that one ask for elements by."""
        return evaluate.value_at(self, value, index, loop)

    def zero(self, element: str) -> str:
        if element in FLOATS:
            return literal(0.0, element)
        return "null" if element == "ptr" else "false" if element == "i1" else "0"


def _is_pure_scalar(operation: Operation) -> bool:
    """Whether the operation may be moved before the collected sinks."""
    return operation.name in ELEMENTWISE or operation.name in (
        "tt.addptr", "tt.get_program_id", "tt.get_num_programs", "tt.bitcast",
    )  # fmt: skip


def _defined_in(value: Value, block: Block) -> bool:
    owner = value.owner
    return owner is block or (isinstance(owner, Operation) and owner.block is block)


def _has_back_edge(blocks: list[Block]) -> bool:
    """Whether some block jumps to itself or an earlier one."""
    number = {block.label: at for at, block in enumerate(blocks)}
    return any(
        number.get(label, len(blocks)) <= at
        for at, block in enumerate(blocks)
        for operation in block.operations[-1:]
        for label, _ in operation.successors
    )


__all__ = ["Generator", "is_tensor", "lowers"]
