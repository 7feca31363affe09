"""Scans (running reductions) from a declaration: map -> associative combine -> finish.

    cumsum = ScanKernel("cumsum", ["x"], map=lambda x: x, identity=0, combine=lambda a, b: a + b)
    plan = cumsum.plan([x_layout], dim=1, computes=[float32], out_dtypes=[float32], reverse=False)

They run along one dimension. The declaration is that of a reduction
(`tritorch.kernels.reduction`), `index()` being the position along the dimension;
`finish(*accumulators, n)` is applied to every element. Outputs are contiguous. "row" scans blocks
of the innermost dimension and carries the accumulators from block to block; "column" scans an
outer dimension with the inner one in the vector lanes. `reverse` runs from the last element to the
first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.helpers import prelude
from tritorch.kernels.hints import hinted
from tritorch.kernels.plan import Plan, nothing
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
)
from tritorch.kernels.strides import needs_int64
from tritorch.layout import Layout, broadcast_shapes, broadcast_strides, contiguous_strides


class ScanKey(NamedTuple):
    """What a scan's text depends on: the walk of the inputs, the direction, the output's inner
    stride.
    """

    base: ReductionKey
    reverse: bool

    def signature(self) -> dict[str, str]:
        number = "i64" if self.base.wide else "i32"
        return self.base.signature(()) | ({"out_scan_stride": number} if self.strided else {})

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
        self._sources: dict[ScanKey, KernelSource] = {}
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
        from tritorch.runtime import get_target

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
        target = get_target(device)
        blocks, options = work.constants(device)
        n = shape[dim]
        steps = work.steps(device)
        scan_stride = work.reduced_strides[0][-1]
        work.out_strides = work.kept_strides[0]
        work.kept_strides, work.reduced_strides = work.kept_strides[1:], work.reduced_strides[1:]
        values: list[Any] = [None] * (len(outputs) + len(operands))
        values += work.arguments(n, 1, steps, device, key.base)
        values += [scan_stride] if key.strided else []
        signature = hinted(device.type, key.signature(), values)
        place = (key, *blocks.items(), *options.items(), device, tuple(signature.values()))
        compiled = self._compiled.get(place)
        if compiled is None:
            compiled = target.compile(self._source(key), signature, blocks, options)
            self._compiled[place] = compiled
        launch = target.bind(compiled, (work.programs(device),), values, work=work.numel)
        return Plan(outputs, launch, (compiled,))

    def _source(self, key: ScanKey) -> KernelSource:
        found = self._sources.get(key)
        if found is None:
            found = self._sources[key] = _scan_source(self.declaration, key)
        return found


def _scan_source(scan: ReductionKernel, key: ScanKey) -> KernelSource:
    base = key.base
    accumulators = accumulator_dtypes(scan, base.inputs, base.wide)
    count = range(len(accumulators))
    combine = f"{scan.name}_combine"
    combine_text, helpers = combine_function(combine, scan.combine, accumulators)
    body = positions(base) + accumulator_start(scan, base, accumulators)
    body.append(f"for {'turn' if key.reverse else 'step'} in range(0, n_steps):")
    loop = ["step = n_steps - 1 - turn"] if key.reverse else []
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
    function = function_name(scan.name, base) + ("_reverse" if key.reverse else "")
    parameters = [*key.signature(), "BLOCK: tl.constexpr"]
    parameters += ["COLUMNS: tl.constexpr"] if base.form == "column" else []
    text = "\n".join(f"    {line}" for line in body)
    text = f"{combine_text}\n\n@triton.jit\ndef {function}({', '.join(parameters)}):\n{text}\n"
    return KernelSource(function, prelude(helpers, text) + text)
