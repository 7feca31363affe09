"""Pointwise kernels: expression trees become Triton kernels for any rank, broadcast and strides.

For the operations' authors:

    names = ["x", "y", "alpha"]
    kernel = PointwiseKernel("axpy", names, trace(lambda x, y, alpha: x + alpha * y, names))
    plan = kernel.plan([x_layout, y_layout, float], [float32] * 3, out_dtypes=[float32])
    plan.outputs  # layouts to allocate
    plan.launch(out_address, x_address, y_address, 2.0)

- `operands`: a Layout for a tensor; the Python type (bool, int, float) of a scalar operand, which
  is a run-time argument: no new kernel for a new number.
- `computes[i]`: the dtype to which operand i is converted on load (arithmetic is in its
  `.compute`), usually the promoted dtype of the operation. `out_dtypes[i]`: what output i is
  converted to on store.
- Output layouts follow PyTorch: dense, in the order of the operands' strides. For in-place and
  `out=` give `out_layouts` (all outputs have the broadcast shape). Without tensor operands give
  `out_shape` (contiguous on `device`) or `out_layouts`.
- `plan.launch(*outputs, *tensor inputs, *scalars)`, each in operand order.

A kernel is specialised on the collapsed rank, on each operand's innermost strides being 0, 1 or a
run-time number, and on the dtypes. Sizes and strides are run-time arguments: a new shape never
compiles. Blocks are fixed: a program has `FLAT_BLOCK` elements, in one piece, as rows, or as a
tile of rows x columns (`_blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod as product
from typing import Any

from tritorch import devices
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DeviceError
from tritorch.kernel_source import KernelSource
from tritorch.kernels.expression import (
    PRIMITIVES,
    Expr,
    input_names,
    substitute,
    topological,
    variable,
)
from tritorch.kernels.hints import hinted
from tritorch.kernels.host_numbers import with_numbers_of_the_host
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.pointwise_source import (
    BLOCKS,
    STEPS,
    Operand,
    SourceKey,
    free_name,
    pointwise_source,
    position_read,
)
from tritorch.kernels.strides import dense_like, needs_int64, stride_class
from tritorch.kernels.templates.bounds import ZeroCell
from tritorch.kernels.triton_printer import scalar_type
from tritorch.kernels.tuning import Tunable, generator_digest
from tritorch.layout import (
    Layout,
    Shape,
    broadcast_shapes,
    broadcast_strides,
    collapse,
    contiguous_strides,
)

#: elements of a program's block per device type
FLAT_BLOCK = {"cpu": 4096, "cuda": 1024}
#: elements from which on a GPU is busy with half as many programs
_MANY = 1 << 22


def _flat_block(target: str, numel: int, dtypes: str) -> int:
    """On a GPU twice the block for many elements of 2 bytes: half of what a program does before
    it reads is saved, and a thread reads 32 bytes.
    """
    wide = numel < _MANY or any(name[-2:] in ("32", "64") for name in dtypes.split())
    return FLAT_BLOCK[target] * (1 if target == "cpu" or wide else 2)


#: the block of a program that walks a flat range, or rows; tiles are fixed
POINTWISE = Tunable(
    "pointwise",
    space={"BLOCK": [1024, 2048, 4096, 8192, 16_384, 32_768], "num_warps": [2, 4, 8]},
    default=lambda *, target, numel, dtypes: {"BLOCK": _flat_block(target, numel, dtypes)},
    keep=lambda BLOCK, numel, **_: max(numel, 1024) >= BLOCK,
    key=("operation", "form", "numel", "dtypes"),
    digest=lambda: generator_digest("pointwise_source", "triton_printer"),
)
#: rows of fewer elements than this had better be columns, if any operand has them apart,
_SHORT = 16
#: or if all have them together
_SHORT_TOGETHER = 4
#: elements of a block whose divisors are looked at: that takes time for all of them
_CHECKED = 256
#: columns of a tile, by the size of the inner dimension
_COLUMNS = (16, 64, 256, 1024)


class PointwiseKernel:
    """A family of kernels that compute the same trees.

    Args:
        name: of the operation; part of the kernels' names.
        inputs: names of the operands, in order.
        outputs: a tree each.
        divisor: the operand by which integers are divided; 0 raises on CPUs.
    """

    def __init__(
        self, name: str, inputs: Sequence[str], outputs: Sequence[Expr], divisor: str = ""
    ) -> None:
        self.name = name
        unknown = set(input_names(outputs)) - set(inputs)
        if unknown:
            raise TypeError(
                f"{name}: the trees read {', '.join(sorted(unknown))}, which are no inputs."
            )
        self.inputs = tuple(map(free_name, inputs))
        self.outputs = substitute(
            outputs, {old: variable(new) for old, new in zip(inputs, self.inputs) if old != new}
        )
        self.divisor = inputs.index(divisor) if divisor else -1
        self.position = position_read(self.outputs)
        self._sources: dict[SourceKey, KernelSource] = {}
        self._compiled: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def element_ns(self) -> float:
        """About how long a CPU takes for an element: what decides whether threads share a launch.

        A nanosecond is too much for an add and too little for lgamma, but decides well for both: an
        add of 50,000 takes 5.6 us on two threads, 7.4 us on one. Several functions take 0.6 each:
        the five of an LSTM's gates 3 ns.
        """
        nodes = (PRIMITIVES.get(node.op) for node in topological(self.outputs))
        functions = [p for p in nodes if p is not None and p.kind == "float" and p.arity == 1]
        return max(1.0, 0.6 * len(functions))

    def __repr__(self) -> str:
        return f"PointwiseKernel({self.name!r}, {list(self.inputs)}, {list(self.outputs)})"

    def plan(
        self,
        operands: Sequence[Layout | type],
        computes: Sequence[Dtype],
        out_dtypes: Sequence[Dtype],
        out_layouts: Sequence[Layout] | None = None,
        out_shape: Shape | None = None,
        device: Device | None = None,
    ) -> Plan:
        """A launch for these operands; see the module's text."""
        tensors = [o for o in operands if isinstance(o, Layout)]
        if device is None:
            device = (
                tensors[0].device
                if tensors
                else out_layouts[0].device
                if out_layouts
                else devices.cpu
            )
        for layout in out_layouts or ():
            if layout.device is not device:
                raise DeviceError(
                    f"{self.name}: Expected all tensors to be on the same device, but found at "
                    f"least two devices, {device} and {layout.device}! Move one with .to(device)."
                )
        if any(t.device is not device for t in tensors):
            here = [
                Layout.contiguous(o.dtype, (), device)
                if isinstance(o, Layout) and o.device is not device
                else o
                for o in operands
            ]
            plan = self.plan(here, computes, out_dtypes, out_layouts, out_shape, device)
            return with_numbers_of_the_host(plan, tensors, device)
        shape = self._shape(tensors, out_layouts, out_shape)
        strides = [
            t.strides if t.shape == shape else broadcast_strides(t.shape, t.strides, shape)
            for t in tensors
        ]
        if out_layouts is None:
            outputs = _output_layouts(tensors, strides, shape, out_dtypes, device)
        else:
            outputs = list(out_layouts)
        if outputs[0].numel == 0:
            return Plan(outputs, nothing)
        return self._bind(operands, computes, outputs, strides, shape, device)

    def _shape(
        self,
        tensors: Sequence[Layout],
        out_layouts: Sequence[Layout] | None,
        out_shape: Shape | None,
    ) -> Shape:
        shapes = [t.shape for t in tensors]
        if out_layouts is not None:
            shapes.append(out_layouts[0].shape)
        if out_shape is not None:
            shapes.append(tuple(out_shape))
        return broadcast_shapes(self.name, *shapes) if shapes else ()

    def _bind(
        self,
        operands: Sequence[Layout | type],
        computes: Sequence[Dtype],
        outputs: Sequence[Layout],
        strides: Sequence[Shape],
        shape: Shape,
        device: Device,
    ) -> Plan:
        walked = [o.strides for o in outputs] + list(strides)
        if self.position == "index":
            walked.append(contiguous_strides(shape))
        elif self.position:
            walked.append((0,) * (len(shape) - 2) + (-1, 1))
        # the output's order: its smallest stride innermost
        first = walked[0]
        if not outputs[0].is_contiguous:
            order = sorted(range(len(shape)), key=lambda d: (-first[d], d))
            shape = tuple(shape[d] for d in order)
            walked = [tuple(s[d] for d in order) for s in walked]
        sizes, walked = collapse(shape, walked)
        if device.type == "cpu":
            sizes, walked = _long_rows(sizes, walked)
        rank = max(len(sizes), 1)
        if not sizes:
            sizes, walked = (1,), [(1,)] * len(walked)
        numel = outputs[0].numel
        tensors = [o for o in operands if isinstance(o, Layout)]
        extents = [numel, *(o.extent for o in outputs), *(t.extent for t in tensors)]
        wide = needs_int64(extents)
        classes = tuple("".join(map(stride_class, s[-2:])) for s in walked)
        position = iter(range(len(outputs), len(walked)))
        form, blocks = _blocks(sizes, device, classes)
        options: dict[str, Any] = {}
        if form != "tiles":
            chosen = POINTWISE.choose(
                device.type, operation=self.name, form=form, numel=numel,
                dtypes=" ".join(o.dtype.name for o in (*outputs, *tensors)),
            )  # fmt: skip
            blocks = (chosen.pop("BLOCK"),)
            options = chosen
            if device.type == "cpu":
                classes = _known_steps(classes, walked, len(outputs))
        key = SourceKey(
            form=form,
            rank=rank,
            wide=wide,
            outputs=tuple(
                Operand(f"out{i}" if len(outputs) > 1 else "out", o.dtype, o.dtype, classes[i])
                for i, o in enumerate(outputs)
            ),
            inputs=tuple(
                Operand(name, o.dtype, compute, classes[next(position)])
                if isinstance(o, Layout)
                else Operand(name, None, compute, scalar_type(compute))
                for name, o, compute in zip(self.inputs, operands, computes, strict=True)
            ),
            position=classes[-1] if self.position else None,
            gpu=device.type != "cpu",
        )
        cell = None
        if self.divisor >= 0 and device.type == "cpu" and computes[self.divisor].category == 1:
            cell = ZeroCell(self.name, device)
            if isinstance(operands[self.divisor], Layout):
                key = key._replace(nonzero=self.inputs[self.divisor])
                blocks = tuple(min(b, _CHECKED) for b in blocks)
        values: list[int | None] = [None] * (len(outputs) + len(operands))
        values += sizes
        if form == "flat":
            grid = -(-numel // blocks[0])
        elif form == "rows":
            rows = numel // sizes[-1]
            each = max(int(blocks[0] / self.element_ns) // sizes[-1], 1)
            values += [rows, each]
            grid = -(-sizes[-1] // blocks[0]) * -(-rows // each)
        else:
            grid = -(-sizes[-1] // blocks[1]) * -(-sizes[-2] // blocks[0])
            grid *= product(sizes[:-2])
        for steps, known in zip(walked, classes):
            values += steps[:-2]
            values += [step for step, c in zip(steps[-2:], known) if c == "s"]
        if key.nonzero and cell is not None:
            values.append(cell.address)
        kernel, target = self._kernel(key, blocks, device, options, values)
        launch = target.bind(kernel, (grid,), values, work=numel * self.element_ns)
        if cell is not None:
            numbers = sum(isinstance(o, type) for o in operands[self.divisor :])
            launch = cell.checked(launch) if key.nonzero else cell.refusing(launch, -numbers)
        return Plan(outputs, launch, (kernel,))

    def _kernel(
        self,
        key: SourceKey,
        blocks: tuple[int, ...],
        device: Device,
        options: dict[str, Any],
        values: list[int | None],
    ) -> tuple[Any, Any]:
        from tritorch.runtime import get_target

        target = get_target(device)
        signature = hinted(device.type, key.signature(), values)
        hints = () if device.type == "cpu" else tuple(signature.values())
        place = (key, blocks, device, hints, *options.values())
        found = self._compiled.get(place)
        if found is None:
            constants = dict(zip(BLOCKS[key.form], blocks))
            found = target.compile(self.source(key), signature, constants, options)
            self._compiled[place] = found
        return found, target

    def source(self, key: SourceKey) -> KernelSource:
        """The generated text of one specialisation."""
        found = self._sources.get(key)
        if found is None:
            found = self._sources[key] = pointwise_source(self.name, key, self.outputs)
        return found


def _output_layouts(
    tensors: Sequence[Layout],
    strides: Sequence[Shape],
    shape: Shape,
    dtypes: Sequence[Dtype],
    device: Device,
) -> list[Layout]:
    if all(t.is_contiguous and t.shape == shape for t in tensors):
        return [Layout.contiguous(d, shape, device) for d in dtypes]
    first = strides[0]
    if tensors[0].is_dense and tensors[0].shape == shape and all(s == first for s in strides):
        return [Layout.of(d, shape, first, device) for d in dtypes]
    return [dense_like(d, shape, strides, device) for d in dtypes]


def _long_rows(sizes: Shape, walked: list[Shape]) -> tuple[Shape, list[Shape]]:
    """The dimensions in an order whose last is no short one.

    Walking the three colours of each pixel, which are a plane apart, takes 40 times as long as
    going three times through all pixels, where every third element is written.
    """
    if len(sizes) < 2:
        return sizes, walked
    short = _SHORT if any(s[-1] not in (0, 1) for s in walked) else _SHORT_TOGETHER
    if sizes[-1] >= short:
        return sizes, walked
    longest = max(range(len(sizes) - 1), key=lambda d: (sizes[d] >= _SHORT, -walked[0][d], d))
    if sizes[longest] < _SHORT:
        return sizes, walked
    order = [d for d in range(len(sizes)) if d != longest] + [longest]
    return tuple([sizes[d] for d in order]), [tuple([s[d] for d in order]) for s in walked]


def _known_steps(classes: tuple[str, ...], walked: Sequence[Shape], first: int) -> tuple[str, ...]:
    """The classes with the inputs' (from `first` on) last strides as numbers, where vectors read
    such steps: gathers, which any other stride needs, take two to four times as long.
    """
    return tuple(
        known[:-1] + STEPS[steps[-1]] if k >= first and steps[-1] in STEPS else known
        for k, (known, steps) in enumerate(zip(classes, walked))
    )


def _blocks(sizes: Shape, device: Device, classes: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The form and its constants; fixed by the sizes, so results and caches are reproducible."""
    block = FLAT_BLOCK[device.type]
    if len(sizes) == 1:
        return "flat", (block,)
    # An operand that walks the other way is read in square tiles, so that its cache lines are used
    # whole.
    across = "1s" in classes and min(sizes[-2:]) >= 16
    if device.type == "cpu":
        return ("tiles", (64, 64)) if across else ("rows", (block,))
    columns = next((c for c in _COLUMNS if c >= sizes[-1]), _COLUMNS[-1])
    return "tiles", (32, 32) if across else (max(block // columns, 1), columns)
