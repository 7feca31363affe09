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

from collections.abc import Callable, Sequence
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
    stride, the accumulators before each part where rows are cut (else none).
    """

    base: ReductionKey
    reverse: bool
    carried: tuple[Dtype, ...] = ()

    def signature(self) -> dict[str, str]:
        number = "i64" if self.base.wide else "i32"
        found = self.base.signature(()) | ({"out_scan_stride": number} if self.strided else {})
        return found | (scan_parts.signature(self.carried, self.base.wide) if self.carried else {})

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
    ) -> tuple[Launch, Any]:
        """launch(*outputs, *operands[, *accumulators before the parts])."""
        values: list[Any] = [None] * (len(outputs) + len(work.operands) - 1)
        scan_stride = work.reduced_strides[0][-1]
        work.out_strides = work.kept_strides[0]
        values += self._numbers(work, key.base, device)
        values += [scan_stride] if key.strided else []
        if key.carried:
            values += [None] * len(key.carried) + [parts, each, work.kept_count]
        compiled, target = self._compile(key, work, device, key.signature(), values)
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
    ) -> tuple[Any, Any]:
        """The kernel and its target."""
        from tritorch.runtime import get_target

        target = get_target(device)
        blocks, options = work.constants(device)
        signature = hinted(device.type, signature, values)
        place = (key, *blocks.items(), *options.items(), device, tuple(signature.values()))
        compiled = self._compiled.get(place)
        if compiled is None:
            compiled = target.compile(self._source(key), signature, blocks, options)
            self._compiled[place] = compiled
        return compiled, target

    def _of_parts(
        self,
        work: ReductionWork,
        key: ScanKey,
        outputs: Sequence[Layout],
        device: Device,
        parts: int,
        each: int,
    ) -> Plan:
        """Totals of the parts, what stands before each, the scans of the parts."""
        kinds = accumulator_dtypes(self.declaration, key.base.inputs, key.base.wide)
        last, scanned = self._bind(work, key._replace(carried=kinds), outputs, device, parts, each)
        n_out, n_in, n_held = len(outputs), len(work.operands) - 1, len(kinds)
        sums = key.base._replace(partial=True, unit_output=True, outputs=kinds)
        work.out_strides = contiguous_strides(work.kept_sizes)
        values = [None] * (n_held + n_in) + self._numbers(work, sums, device, parts, each)
        summed, target = self._compile(sums, work, device, sums.signature(()), values)
        grid = (work.programs(device) * parts,)
        first = target.bind(summed, grid, values, work=work.numel)
        source = scan_parts.carry_source(self.declaration, key.base.form, kinds, key.reverse)
        values = [None] * n_held + [parts, work.kept_count]
        signature = hinted(device.type, scan_parts.carry_signature(kinds), values)
        block = {"BLOCK": min(1 << (parts - 1).bit_length(), 1024)}
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
    function = function_name(scan.name, base) + "_of_parts" * bool(key.carried)
    function += "_reverse" * key.reverse
    parameters = [*key.signature(), "BLOCK: tl.constexpr"]
    parameters += ["COLUMNS: tl.constexpr"] if base.form == "column" else []
    text = "\n".join(f"    {line}" for line in body)
    text = f"{combine_text}\n\n@triton.jit\ndef {function}({', '.join(parameters)}):\n{text}\n"
    return KernelSource(function, prelude(helpers, text) + text)
