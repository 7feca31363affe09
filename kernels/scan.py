"""Scans (running reductions) from a declaration: map -> associative combine -> finish.

    cumsum = ScanKernel("cumsum", ["x"], map=lambda x: x, identity=0, combine=lambda a, b: a + b)
    plan = cumsum.plan([x_layout], dim=1, computes=[float32], out_dtypes=[float32], reverse=False)

They run along one dimension. The declaration is that of a reduction
(`tritorch.kernels.reduction`), `index()` being the position along the dimension;
`finish(*accumulators, n)` is applied to every element. Outputs are contiguous. "row" scans blocks
of the innermost dimension and carries the accumulators from block to block; "column" scans an
outer dimension with the inner one in the vector lanes. `reverse` runs from the last element to the
first. Where a GPU had too few programs, rows are cut in parts (`scan_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from operator import add
from types import MappingProxyType
from typing import Any, NamedTuple

from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels import scan_parts
from tritorch.kernels.helpers import prelude
from tritorch.kernels.hints import hinted
from tritorch.kernels.plan import Launch, Plan, Step, nothing
from tritorch.kernels.reduction import Identity, ReductionKernel, ReductionWork
from tritorch.kernels.reduction_source import (
    ReductionInput,
    ReductionKey,
    accumulator_dtypes,
    accumulator_start,
    block_loads,
    block_values,
    combine_function,
    finished,
    function_name,
    positions,
    reduction_source,
)
from tritorch.kernels.strides import needs_int64
from tritorch.layout import Layout, broadcast_shapes, broadcast_strides, contiguous_strides


class ScanKey(NamedTuple):
    """What a scan's text depends on: the walk of the inputs, the direction, the output's inner
    stride, the accumulators of each part where rows are cut (else none).
    """

    base: ReductionKey
    reverse: bool
    carried: tuple[Dtype, ...] = ()

    def signature(self) -> dict[str, str]:
        number = "i64" if self.base.wide else "i32"
        found = self.base.signature(()) | ({"out_scan_stride": number} if self.strided else {})
        if self.carried:
            found |= scan_parts.signature(self.carried, self.base.form, self.base.wide)
        return found

    @property
    def strided(self) -> bool:
        """Whether neighbours along the scan are not neighbours in the output."""
        return self.base.form == "column"


class ScanKernel:
    """A family of kernels of one scan; see the module's text."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[str],
        map: Callable[..., Any],
        identity: Identity | tuple[Identity, ...] | list[Identity],
        combine: Callable[..., Any],
        finish: Callable[..., Any] | None = None,
    ) -> None:
        self.name = name
        self.declaration = ReductionKernel(name, inputs, map, identity, combine, finish)
        self._sources: dict[ScanKey | ReductionKey, KernelSource] = {}
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def plan(
        self,
        operands: Sequence[Layout],
        dim: int,
        computes: Sequence[Dtype],
        out_dtypes: Sequence[Dtype],
        reverse: bool = False,
    ) -> Plan:
        """A launch that scans `dim` (normalised) of the broadcast operands."""
        shape = broadcast_shapes(self.name, *(o.shape for o in operands))
        device = operands[0].device
        outputs = [Layout.contiguous(d, shape, device) for d in out_dtypes]
        if outputs[0].numel == 0:
            return Plan(outputs, nothing)
        if not shape:
            shape, dim = (1,), 0
        # The output is walked like an input whose accesses are stores.
        walked = [contiguous_strides(shape)] + [
            broadcast_strides(o.shape, o.strides, shape) for o in operands
        ]
        kept = [d for d in range(len(shape)) if d != dim]
        every = [outputs[0], *operands]
        work = ReductionWork(self.name, every, shape, kept, [dim], walked, True, 1, scans=True)
        inputs = tuple(
            ReductionInput(name, o.dtype, compute, *classes)
            for name, o, compute, classes in zip(
                self.declaration.inputs, operands, computes, work.classes()[1:], strict=True
            )
        )
        key = ScanKey(
            ReductionKey(
                form=work.form,
                kept_rank=len(work.kept_sizes),
                reduced_rank=1,
                wide=needs_int64((outputs[0].numel, *(o.extent for o in operands))),
                partial=False,
                unit_output=work.form == "row" or work.kept_strides[0][-1] == 1,
                reads_index=self.declaration.reads_index,
                inputs=inputs,
                outputs=tuple(out_dtypes),
            ),
            reverse,
        )
        parts, each = scan_parts.parts_of(work, device)
        if parts > 1:
            if work.form == "row":
                return self._of_chunks(work, key, outputs, device)
            return self._of_parts(work, key, outputs, device, parts, each)
        launch, compiled = self._bind(work, key, outputs, device)
        return Plan(outputs, launch, (compiled,))

    def _bind(
        self,
        work: ReductionWork,
        key: ScanKey,
        outputs: Sequence[Layout],
        device: Device,
        parts: int = 1,
        each: int = 0,
        chunk: int = 0,
    ) -> tuple[Launch, Any]:
        """launch(*outputs, *operands[, *accumulators of the parts[, before, after the chunk]])."""
        values: list[Any] = [None] * (len(outputs) + len(work.operands) - 1)
        scan_stride = work.reduced_strides[0][-1]
        work.out_strides = work.kept_strides[0]
        values += self._numbers(work, key.base, device)
        values += [scan_stride] if key.strided else []
        more = {}
        if key.carried and work.form == "row":
            values += [None] * (3 * len(key.carried)) + [parts, each, chunk]
            more["PARTS"] = 1 << (parts - 1).bit_length()
        elif key.carried:
            values += [None] * len(key.carried) + [parts, each, work.kept_count]
        compiled, target = self._compile(key, work, device, key.signature(), values, more)
        grid = (work.programs(device) * parts,)
        return target.bind(compiled, grid, values, work=work.numel), compiled

    @staticmethod
    def _numbers(
        work: ReductionWork, key: ReductionKey, device: Device, parts: int = 1, each: int = 0
    ) -> list[int]:
        """Sizes and strides; the first operand of the work is the output, whose are elsewhere."""
        walked = work.kept_strides, work.reduced_strides
        work.kept_strides, work.reduced_strides = work.kept_strides[1:], work.reduced_strides[1:]
        each = each or work.steps(device)
        values = work.arguments(work.reduced_sizes[-1], parts, each, device, key)
        work.kept_strides, work.reduced_strides = walked
        return values

    def _compile(
        self,
        key: ScanKey | ReductionKey,
        work: ReductionWork,
        device: Device,
        signature: dict[str, str],
        values: Sequence[Any],
        more: Mapping[str, int] = MappingProxyType({}),
    ) -> tuple[Any, Any]:
        """The kernel and its target; `more`: constants besides the blocks."""
        from tritorch.runtime import get_target

        target = get_target(device)
        blocks, options = work.constants(device)
        blocks = {**blocks, **more}
        signature = hinted(device.type, signature, values)
        place = (key, *blocks.items(), *options.items(), device, tuple(signature.values()))
        compiled = self._compiled.get(place)
        if compiled is None:
            compiled = target.compile(self._source(key), signature, blocks, options)
            self._compiled[place] = compiled
        return compiled, target

    def _of_chunks(
        self, work: ReductionWork, key: ScanKey, outputs: Sequence[Layout], device: Device
    ) -> Plan:
        """Chunk after chunk: totals of its parts, the scans of the parts."""
        from tritorch.runtime import get_target

        kinds = accumulator_dtypes(self.declaration, key.base.inputs, key.base.wide)
        key = key._replace(carried=kinds)
        # Chunks are told apart by addresses; positions are counted from the whole's start.
        steps, each = scan_parts.chunk_of(work, device, whole=self.declaration.reads_index)
        size, length = work.reduced_sizes[-1], steps * work.blocks(device)["BLOCK"]
        starts = range(0, size, length)
        n_out, n_in, n_held = len(outputs), len(work.operands) - 1, len(kinds)
        given = tuple(range(n_out, n_out + n_in))
        # Workspaces: totals of the parts; what stands between chunks, in two places by turns.
        held, even, odd = (tuple(-1 - n_held * k - i for i in range(n_held)) for k in range(3))
        found, kernels = [], []
        for turn, start in enumerate(reversed(starts) if key.reverse else starts):
            part = copy(work)
            part.reduced_sizes = (min(length, size - start),)
            part.numel = work.kept_count * part.reduced_sizes[0]
            parts = -(-part.steps(device) // each)
            strides = [walked[-1] for walked in work.reduced_strides]
            shifts = [
                start * stride * layout.dtype.itemsize
                for stride, layout in zip(
                    (strides[0],) * n_out + tuple(strides[1:]), (*outputs, *work.operands[1:])
                )
            ]
            summed, total = self._totals(part, key, kinds, device, parts, each)
            scanned, kernel = self._bind(part, key, outputs, device, parts, each, turn)
            before, after = (even, odd) if turn % 2 else (odd, even)
            shifted = [0] * n_held + shifts[n_out:]
            found.append(Step(_moved(summed, shifted), held + given))
            everything = tuple(range(n_out)) + given + held + before + after
            found.append(Step(_moved(scanned, shifts), everything))
            kernels += [total, kernel]
        largest = -(-steps // each) * work.kept_count
        sizes = [largest * kind.itemsize for kind in kinds]
        sizes += [work.kept_count * kind.itemsize for kind in kinds] * 2
        target = get_target(device)
        return Plan.of_steps(outputs, target, found, sizes, tuple(dict.fromkeys(kernels)))

    def _totals(
        self,
        work: ReductionWork,
        key: ScanKey,
        kinds: tuple[Dtype, ...],
        device: Device,
        parts: int,
        each: int,
    ) -> tuple[Launch, Any]:
        """launch(*accumulators of the parts, *operands)."""
        sums = key.base._replace(partial=True, unit_output=True, outputs=kinds)
        work.out_strides = contiguous_strides(work.kept_sizes)
        values: list[Any] = [None] * (len(kinds) + len(work.operands) - 1)
        values += self._numbers(work, sums, device, parts, each)
        summed, target = self._compile(sums, work, device, sums.signature(()), values)
        grid = (work.programs(device) * parts,)
        return target.bind(summed, grid, values, work=work.numel), summed

    def _of_parts(
        self,
        work: ReductionWork,
        key: ScanKey,
        outputs: Sequence[Layout],
        device: Device,
        parts: int,
        each: int,
    ) -> Plan:
        """Of columns: totals of the parts, what stands before each, the scans of the parts."""
        from tritorch.runtime import get_target

        kinds = accumulator_dtypes(self.declaration, key.base.inputs, key.base.wide)
        last, scanned = self._bind(work, key._replace(carried=kinds), outputs, device, parts, each)
        n_out, n_in, n_held = len(outputs), len(work.operands) - 1, len(kinds)
        first, summed = self._totals(work, key, kinds, device, parts, each)
        source = scan_parts.carry_source(self.declaration, kinds, key.reverse)
        values = [None] * n_held + [parts, work.kept_count]
        signature = hinted(device.type, scan_parts.carry_signature(kinds), values)
        block = {"BLOCK": min(1 << (parts - 1).bit_length(), 1024)}
        target = get_target(device)
        carried = target.compile(source, signature, block)
        between = target.bind(carried, (work.kept_count,), values)
        held = tuple(-1 - i for i in range(n_held))
        given = tuple(range(n_out, n_out + n_in))
        steps = (
            Step(first, held + given),
            Step(between, held),
            Step(last, tuple(range(n_out)) + given + held),
        )
        sizes = [parts * work.kept_count * kind.itemsize for kind in kinds]
        return Plan.of_steps(outputs, target, steps, sizes, (summed, carried, scanned))

    def _source(self, key: ScanKey | ReductionKey) -> KernelSource:
        found = self._sources.get(key)
        if found is None:
            if isinstance(key, ScanKey):
                found = _scan_source(self.declaration, key)
            else:
                found = reduction_source(self.declaration, key)
            self._sources[key] = found
        return found


def _moved(launch: Launch, shifts: Sequence[int]) -> Launch:
    """The launch with its first addresses moved by so many bytes."""
    if not any(shifts):
        return launch

    def moved(*addresses: int) -> None:
        launch(*map(add, addresses, shifts), *addresses[len(shifts) :])

    return moved


def _scan_source(scan: ReductionKernel, key: ScanKey) -> KernelSource:
    base = key.base
    accumulators = accumulator_dtypes(scan, base.inputs, base.wide)
    count = range(len(accumulators))
    combine = f"{scan.name}_combine"
    combine_text, helpers = combine_function(combine, scan.combine, accumulators)
    body, first, last, reversed_step = positions(base), "0", "n_steps", "n_steps - 1 - turn"
    if key.carried:
        first, last, reversed_step = "first", "last", "first + last - 1 - turn"
        body[1:1] = ["part = program % n_parts", "program = program // n_parts", "kept = program"]
        body += scan_parts.part_start(scan, base.form, base.kept_rank, accumulators, key.reverse)
        body.append("first = part * steps_per_part")
        body.append("last = tl.minimum(first + steps_per_part, n_steps)")
    else:
        body += accumulator_start(scan, base, accumulators)
    body.append(f"for {'turn' if key.reverse else 'step'} in range({first}, {last}):")
    loop = [f"step = {reversed_step}"] if key.reverse else []
    loop += block_loads(base)
    statements, more = block_values(scan, base, accumulators)
    helpers |= more
    loop += statements
    blocks = ", ".join(f"m{i}" for i in count)
    operand = blocks if len(accumulators) == 1 else f"({blocks})"
    scanned = ", ".join(f"s{i}" for i in count)
    carried = ", ".join(f"acc{i}" for i in count)
    rows = ", ".join(f"acc{i}[None, :]" for i in count) if base.form == "column" else carried
    reverse = ", reverse=True" if key.reverse else ""
    loop.append(f"{scanned} = tl.associative_scan({operand}, 0, {combine}{reverse})")
    loop.append(f"{scanned} = {combine}({rows}, {scanned})")
    loop.append(f"{blocks} = tl.reduce({operand}, 0, {combine})")
    loop.append(f"{carried} = {combine}({carried}, {blocks})")
    lines, values, more = finished(scan, base, [f"s{i}" for i in count], accumulators)
    helpers |= more
    loop += lines
    terms = [f"i{d} * out_stride_{d}" for d in range(base.outer_kept)]
    terms.append("rows * out_scan_stride" if key.strided else "rows")
    if base.form == "column":
        terms.append("columns[None, :]" if base.unit_output else "columns[None, :] * out_stride")
    for i, value in enumerate(values):
        loop.append(f"tl.store({' + '.join([f'out{i}_ptr', *terms])}, {value.text}, mask=mask)")
    body += ["    " + line for line in loop]
    if key.carried and base.form == "row":
        body += scan_parts.part_end(len(accumulators), key.reverse)
    function = function_name(scan.name, base) + "_of_parts" * bool(key.carried)
    function += "_reverse" * key.reverse
    parameters = [*key.signature(), "BLOCK: tl.constexpr"]
    parameters += ["COLUMNS: tl.constexpr"] if base.form == "column" else []
    parameters += ["PARTS: tl.constexpr"] if key.carried and base.form == "row" else []
    text = "\n".join(f"    {line}" for line in body)
    text = f"{combine_text}\n\n@triton.jit\ndef {function}({', '.join(parameters)}):\n{text}\n"
    return KernelSource(function, prelude(helpers, text) + text)
