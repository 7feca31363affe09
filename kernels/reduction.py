"""Reductions from a declaration: map -> combine -> finish, over any dimensions of any strides.

For the operations' authors:

    total = ReductionKernel("sum", ["x"], map=lambda x: x, identity=0, combine=lambda a, b: a + b)
    mean = ReductionKernel("mean", ["x"], lambda x: x, 0, lambda a, b: a + b, lambda a, n: a / n)
    plan = total.plan([x_layout], (1,), keepdim=False, computes=[float32], out_dtypes=[float32])
    plan.launch(out_address, x_address)

- `map(*inputs, *scalars)` (trailing parameters may be left out) gives the accumulators' values for
  one element; `index()` is the element's row-major position among the reduced ones.
- `identity`: a number per accumulator, or "lowest" / "highest" of its dtype (-inf / inf for
  floats).
- `combine`: for one accumulator `(a, b) -> expression`; for several `(a: tuple, b: tuple) ->
  tuple`. It must be associative and commutative: the order is fixed (results are reproducible) but
  not from left to right.
- `finish(*accumulators, n, *scalars)` gives the outputs; n is the number of reduced elements. By
  default the outputs are the accumulators.
- `moments`: the accumulators are mean, sum of squared differences and count of what the map gives
  first; GPUs then sum a block's twice, since combining values one by one takes divisions.
- `scalars`: names of host numbers, floats, that `plan(..., correction=1.0)` fixes (arguments, not
  source text).
- `computes[i]`: the dtype to which input i is converted on load. Accumulators have the dtype that
  `map` gives, float32 or wider, int32 or wider. Sums of integers are int64 in PyTorch: pass
  computes=[int64].
- Output shapes: the kept dimensions (reduced ones are 1 with `keepdim`), contiguous. Empty `dims`
  means all.

Forms (chosen from the strides of the input with the most elements): "row" walks the reduced
dimension in blocks, one kept element a program; "column" keeps a strip of kept elements in vectors
and walks the reduced ones. Where that makes too few programs, the reduced range is cut in parts,
whose accumulators a second launch combines. Blocks are summed by lanes and trees and the parts
again by blocks, so rounding grows with the logarithm of n in effect.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.expression import Expr, lift, topological, variable
from tritorch.kernels.hints import hinted
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.pointwise_source import free_name
from tritorch.kernels.reduction_source import (
    ReductionInput,
    ReductionKey,
    accumulator_dtypes,
    reduction_source,
)
from tritorch.kernels.strides import needs_int64, stride_class
from tritorch.kernels.tuning import LAUNCH_OPTIONS, Tunable, generator_digest
from tritorch.layout import (
    Layout,
    Shape,
    broadcast_shapes,
    broadcast_strides,
    collapse,
    contiguous_strides,
    numel,
)

#: elements of a row form's block
ROW_BLOCKS = {"cpu": (64, 256, 1024, 4096), "cuda": (64, 256, 1024, 2048)}
#: reduced elements of a column form's tile; kept ones by the size of the dimension. On GPUs a
#: thread keeps 16 elements of a tile, of each accumulator: with 64 those of a variance spilled
TILE_ROWS = {"cpu": (4, 8, 16, 32), "cuda": (4, 8, 16)}
TILE_COLUMNS = {"cpu": (64, 256), "cuda": (64, 128)}
#: what a block costs beyond its lanes: a row's tree, in lanes; a strip's load and store, in rows
_START, _TILE_START = 150, 3
_GENERATORS = ("reduction_source", "scan", "scan_parts", "triton_printer")
#: the block of reduced elements that one kept element's program takes at a time
REDUCTION_ROWS = Tunable(
    "reduction_rows",
    space={"BLOCK": [64, 256, 1024, 4096, 16_384]},
    default=lambda *, target, reduced: _row_block(target, reduced),
    key=("operation", "reduced", "kept", "dtypes"),
    digest=lambda: generator_digest(*_GENERATORS),
)
#: the same of a scan: short blocks stay in registers and the first-level cache (256 was 1.3 times
#: as fast as 1024), but the shorter they are, the longer the chain of rounded additions
SCAN_ROWS = Tunable(
    "scan_rows",
    space={"BLOCK": [64, 128, 256, 1024, 4096]},
    default=lambda *, target, reduced: (
        {"BLOCK": 256} if target == "cpu" else _row_block(target, reduced)
    ),
    key=("operation", "reduced", "kept", "dtypes"),
    digest=lambda: generator_digest(*_GENERATORS),
)
#: the tile of reduced and kept elements where kept ones lie in the lanes
REDUCTION_COLUMNS = Tunable(
    "reduction_columns",
    space={"BLOCK": [4, 8, 16, 32, 64], "COLUMNS": [64, 128, 256, 512]},
    default=lambda *, target, reduced, kept: {
        "BLOCK": _cheapest(reduced, TILE_ROWS[target], _TILE_START),
        "COLUMNS": next((c for c in TILE_COLUMNS[target] if c >= kept), TILE_COLUMNS[target][-1]),
    },
    key=("operation", "reduced", "kept", "dtypes"),
    digest=lambda: generator_digest(*_GENERATORS),
)
#: programs that a launch should have before the reduced range is left whole, and elements that a
#: part must have
_PROGRAMS = {"cpu": 32, "cuda": 1024}
_PART = 32768
#: up to so many reduced elements, kept elements go into the vector lanes even if their stride is
#: not the smallest (a row's tree costs as much as so many strided loads; several accumulators make
#: it dearer)
_SHORT, _SHORT_OF_SEVERAL = 12, 24

Identity = bool | int | float | str


class ReductionKernel:
    """A family of kernels of one reduction; see the module's text for the arguments."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[str],
        map: Callable[..., Any],
        identity: Identity | tuple[Identity, ...] | list[Identity],
        combine: Callable[..., Any],
        finish: Callable[..., Any] | None = None,
        scalars: Sequence[str] = (),
        moments: bool = False,
    ) -> None:
        self.name = name
        self.inputs = tuple(free_name(i) for i in inputs)
        self.scalars = tuple(scalars)
        self.moments = moments
        fixed = [variable(s) for s in self.scalars]
        self.map = call_with(map, [*(variable(i) for i in self.inputs), *fixed])
        several = isinstance(identity, (tuple, list))
        self.identity: tuple[Identity, ...] = (
            tuple(identity) if isinstance(identity, (tuple, list)) else (identity,)
        )
        if len(self.identity) != len(self.map):
            raise TypeError(
                f"{name}: map gives {len(self.map)} accumulators, "
                f"identity has {len(self.identity)}."
            )
        left = tuple(variable(f"a{i}") for i in range(len(self.map)))
        right = tuple(variable(f"b{i}") for i in range(len(self.map)))
        self.combine = trees_of(combine(left, right) if several else combine(left[0], right[0]))
        total = tuple(variable(f"acc{i}") for i in range(len(self.map)))
        self.finish = (
            total if finish is None else call_with(finish, [*total, variable("n"), *fixed])
        )
        self.reads_index = any(node.op == "index" for node in topological(self.map))
        self._second: ReductionKernel | None = None
        self._sources: dict[ReductionKey, KernelSource] = {}
        self._compiled: dict[tuple[Any, ...], Any] = {}
        self._accumulators: dict[tuple[Any, ...], tuple[Dtype, ...]] = {}

    def plan(
        self,
        operands: Sequence[Layout],
        dims: Sequence[int],
        keepdim: bool,
        computes: Sequence[Dtype],
        out_dtypes: Sequence[Dtype],
        **scalars: float,
    ) -> Plan:
        """A launch (or two) that reduces `dims` (normalised; none: all) of the operands."""
        if set(scalars) != set(self.scalars):
            raise TypeError(
                f"{self.name}: expected the numbers {self.scalars}, got {tuple(scalars)}."
            )
        shape = broadcast_shapes(self.name, *(o.shape for o in operands))
        reduced = sorted(dims) if len(dims) else list(range(len(shape)))
        kept = [d for d in range(len(shape)) if d not in reduced]
        out_shape = tuple(1 if d in reduced else shape[d] for d in range(len(shape)))
        if not keepdim:
            out_shape = tuple(shape[d] for d in kept)
        device = operands[0].device
        outputs = [Layout.contiguous(d, out_shape, device) for d in out_dtypes]
        if outputs[0].numel == 0:
            return Plan(outputs, nothing)
        strides = [
            o.strides if o.shape == shape else broadcast_strides(o.shape, o.strides, shape)
            for o in operands
        ]
        work = ReductionWork(
            self.name, operands, shape, kept, reduced, strides, self.reads_index, len(self.map)
        )
        count = numel(shape[d] for d in reduced)
        return self._bind(work, computes, outputs, count, scalars, device)

    def _bind(
        self,
        work: ReductionWork,
        computes: Sequence[Dtype],
        outputs: Sequence[Layout],
        count: int,
        scalars: dict[str, float],
        device: Device,
        whole: bool = False,
    ) -> Plan:
        from tritorch.runtime import get_target

        target = get_target(device)
        parts, steps_per_part = (1, work.steps(device)) if whole else work.parts(device)
        inputs = tuple(
            ReductionInput(name, o.dtype, compute, *classes)
            for name, o, compute, classes in zip(
                self.inputs, work.operands, computes, work.classes(), strict=True
            )
        )
        wide = needs_int64((count, *(o.extent for o in work.operands)))
        accumulators = self._accumulators.get((inputs, wide))
        if accumulators is None:
            accumulators = accumulator_dtypes(self, inputs, wide)
            self._accumulators[inputs, wide] = accumulators
        key = ReductionKey(
            form=work.form,
            kept_rank=len(work.kept_sizes),
            reduced_rank=len(work.reduced_sizes),
            wide=wide,
            partial=parts > 1,
            unit_output=work.form == "row" or work.out_strides[-1] == 1,
            reads_index=self.reads_index,
            inputs=inputs,
            outputs=accumulators if parts > 1 else tuple(o.dtype for o in outputs),
            moments=self.moments and device.type != "cpu",
        )
        constants, options = work.constants(device)
        values: list[Any] = [None] * (len(key.outputs) + len(inputs))
        values += [float(scalars[s]) for s in self.scalars]
        values += work.arguments(count, parts, steps_per_part, device, key)
        signature = hinted(device.type, key.signature(self.scalars), values)
        place = (key, *constants.items(), *options.items(), device, tuple(signature.values()))
        compiled = self._compiled.get(place)
        if compiled is None:
            compiled = target.compile(self._source(key), signature, constants, options)
            self._compiled[place] = compiled
        grid = (work.programs(device) * parts,)
        launch = target.bind(compiled, grid, values, work=work.numel)
        if parts == 1:
            return Plan(outputs, launch, (compiled,))
        return self._combine_parts(
            work, accumulators, parts, launch, compiled, outputs, count, scalars, device
        )

    def _combine_parts(
        self,
        work: ReductionWork,
        accumulators: Sequence[Dtype],
        parts: int,
        launch: Callable[..., None],
        compiled: Any,
        outputs: Sequence[Layout],
        count: int,
        scalars: dict[str, float],
        device: Device,
    ) -> Plan:
        """The plan of two launches: the parts' accumulators go through workspaces."""
        from tritorch.runtime import get_target

        kept = outputs[0].numel
        row = work.form == "row"
        partials = [
            Layout.contiguous(d, (kept, parts) if row else (parts, kept), device)
            for d in accumulators
        ]
        second = ReductionWork(
            f"{self.name}_parts", partials, partials[0].shape, [0 if row else 1], [1 if row else 0],
            [p.strides for p in partials], False, len(partials),
        )  # fmt: skip
        plan = self._second_kernel()._bind(
            second, accumulators, outputs, count, scalars, device, whole=True
        )
        n_out, n_in, n_acc = len(outputs), len(work.operands), len(accumulators)
        held = tuple(-1 - i for i in range(n_acc))
        steps = (
            Step(launch, held + tuple(range(n_out, n_out + n_in))),
            Step(plan.launch, tuple(range(n_out)) + held),
        )
        return Plan.of_steps(
            outputs, get_target(device), steps, [p.nbytes for p in partials],
            (compiled, *plan.kernels),
        )  # fmt: skip

    def _second_kernel(self) -> ReductionKernel:
        if self._second is None:
            second = object.__new__(ReductionKernel)
            second.__dict__.update(self.__dict__)
            names = tuple(f"partial{i}" for i in range(len(self.map)))
            second.name = f"{self.name}_parts"
            second.inputs = names
            second.map = tuple(map(variable, names))
            second.reads_index = second.moments = False
            second._sources, second._compiled, second._accumulators = {}, {}, {}
            self._second = second
        return self._second

    def _source(self, key: ReductionKey) -> KernelSource:
        found = self._sources.get(key)
        if found is None:
            found = self._sources[key] = reduction_source(self, key)
        return found


class ReductionWork:
    """The iteration space of a reduction: collapsed dimensions, the form, the blocks."""

    def __init__(
        self,
        operation: str,
        operands: Sequence[Layout],
        shape: Shape,
        kept: Sequence[int],
        reduced: Sequence[int],
        strides: Sequence[Shape],
        ordered: bool,
        accumulators: int,
        scans: bool = False,
    ) -> None:
        limit = _SHORT if accumulators == 1 else _SHORT_OF_SEVERAL
        self.operation, self.operands = operation, operands
        self._blocks: dict[str, int] = {}
        self.scans = scans
        main = max(range(len(operands)), key=lambda i: operands[i].numel)
        if not ordered:
            reduced = sorted(reduced, key=lambda d: (-strides[main][d], d))
        out_strides = contiguous_strides([shape[d] for d in kept])
        kept_sizes, walked = collapse(
            tuple(shape[d] for d in kept),
            [out_strides, *(tuple(s[d] for d in kept) for s in strides)],
        )
        self.reduced_sizes, self.reduced_strides = collapse(
            tuple(shape[d] for d in reduced), [tuple(s[d] for d in reduced) for s in strides]
        )
        if not self.reduced_sizes:
            self.reduced_sizes = (1,)
            self.reduced_strides = [(1,)] * len(operands)
        self.numel = numel(shape)
        self.kept_count = numel(kept_sizes)
        lanes = lane_dimension(kept_sizes, walked[1 + main])
        self.form = "row"
        if lanes is not None:
            nearest = self.reduced_strides[main][-1]
            short = numel(self.reduced_sizes) <= limit and kept_sizes[lanes] >= 64
            if walked[1 + main][lanes] < nearest or short:
                self.form = "column"
        if self.form == "column" and lanes is not None:  # the lanes' dimension goes last
            order = [d for d in range(len(kept_sizes)) if d != lanes] + [lanes]
            kept_sizes = tuple(kept_sizes[d] for d in order)
            walked = [tuple(s[d] for d in order) for s in walked]
        self.kept_sizes = kept_sizes
        self.out_strides, self.kept_strides = walked[0], walked[1:]

    def classes(self) -> list[tuple[str, str]]:
        """Per operand the classes of its stride along the reduced block and along the lanes."""
        lanes = self.form == "column"
        return [
            (stride_class(r[-1]), stride_class(k[-1]) if lanes else "")
            for r, k in zip(self.reduced_strides, self.kept_strides)
        ]

    def blocks(self, device: Device) -> dict[str, int]:
        """The constants to compile with: chosen once."""
        if not self._blocks:
            rows = SCAN_ROWS if self.scans else REDUCTION_ROWS
            tunable = rows if self.form == "row" else REDUCTION_COLUMNS
            self._blocks = tunable.choose(
                device.type, operation=self.operation, reduced=self.reduced_sizes[-1],
                kept=self.kept_sizes[-1] if self.form == "column" else self.kept_count,
                dtypes=" ".join(o.dtype.name for o in self.operands),
            )  # fmt: skip
        return self._blocks

    def constants(self, device: Device) -> tuple[dict[str, int], dict[str, int]]:
        """The constants of the kernel, and its launch options on a GPU."""
        chosen = self.blocks(device)
        options = {name: chosen[name] for name in LAUNCH_OPTIONS if name in chosen}
        return {name: chosen[name] for name in chosen if name not in options}, options

    def steps(self, device: Device) -> int:
        """Blocks along the reduced range."""
        chunks = -(-self.reduced_sizes[-1] // self.blocks(device)["BLOCK"])
        return chunks * numel(self.reduced_sizes[:-1])

    def programs(self, device: Device) -> int:
        """Programs without parts."""
        if self.form == "row":
            return self.kept_count
        return -(-self.kept_sizes[-1] // self.blocks(device)["COLUMNS"]) * numel(
            self.kept_sizes[:-1]
        )

    def parts(self, device: Device) -> tuple[int, int]:
        """(parts of the reduced range, steps of each), from sizes alone: reproducible."""
        steps = self.steps(device)
        programs = self.programs(device)
        wanted = min(-(-_PROGRAMS[device.type] // programs), self.numel // (programs * _PART))
        if wanted <= 1 or programs >= _PROGRAMS[device.type] // 2:
            return 1, steps
        each = -(-steps // wanted)
        return -(-steps // each), each

    def arguments(
        self, count: int, parts: int, steps_per_part: int, device: Device, key: ReductionKey
    ) -> list[int]:
        """Values of the sizes and strides, in the order of `ReductionKey.signature`."""
        block = self.blocks(device)["BLOCK"]
        values = [count, self.steps(device)]
        if key.partial:
            values += [parts, steps_per_part]
        if key.reduced_rank > 1:
            values.append(-(-self.reduced_sizes[-1] // block))
        values += [*self.reduced_sizes, *self.kept_sizes]
        scale = 1
        if key.partial:
            scale = parts if self.form == "row" else 1
            values.append(1 if self.form == "row" else self.kept_count)
        out = [s * scale for s in self.out_strides]
        values += out if self.form == "row" else out[:-1]
        if self.form == "column" and not key.unit_output:
            values.append(out[-1])
        for reduced, kept, entry in zip(self.reduced_strides, self.kept_strides, key.inputs):
            values += reduced[:-1]
            values += kept if self.form == "row" else kept[:-1]
            if entry.reduced_class == "s":
                values.append(reduced[-1])
            if entry.kept_class == "s":
                values.append(kept[-1])
        return values


def _row_block(target: str, reduced: int) -> dict[str, int]:
    """The block of a row; on a GPU one warp for each 512 elements of it."""
    block = _cheapest(reduced, ROW_BLOCKS[target], _START)
    return {"BLOCK": block} if target == "cpu" else {"BLOCK": block, "num_warps": block // 512 or 1}


def _cheapest(size: int, blocks: Sequence[int], start: int) -> int:
    """The cheapest block for `size`: a block costs its width, masked or not, and a start."""
    return min(blocks, key=lambda b: -(-size // b) * (b + start))


def lane_dimension(sizes: Shape, strides: Shape) -> int | None:
    """The kept dimension that the vector lanes should walk: the smallest stride, a tiny one only
    if alone.
    """
    candidates = [d for d in range(len(sizes)) if strides[d]]
    if not candidates:
        return max(range(len(sizes)), key=lambda d: sizes[d]) if sizes else None
    large = [d for d in candidates if sizes[d] >= 8] or candidates
    return min(large, key=lambda d: strides[d])


def call_with(function: Callable[..., Any], arguments: Sequence[Expr]) -> tuple[Expr, ...]:
    """The trees of a function that takes the arguments, or leaves out some of the last."""
    parameters = inspect.signature(function).parameters.values()
    if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        arguments = arguments[: len(parameters)]
    return trees_of(function(*arguments))


def trees_of(result: Any) -> tuple[Expr, ...]:
    return tuple(map(lift, result if isinstance(result, (tuple, list)) else (result,)))
