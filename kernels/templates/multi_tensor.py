"""One launch over many tensors: optimizer steps, gradient norms and clipping.

A `TensorTable` holds, in 64-bit integers, a row per tensor (element count, then the address in each
column: parameter, gradient, state, ...) and a row per program (tensor, first element). A program
reads its row, then the addresses, then works on its chunk. The chunks depend on the element counts
only, so they are made once per parameter set; addresses may change between launches
(`TensorTable.set`).

An optimizer is an `@update` function: what happens to one element. Its parameters are the columns,
then scalars, then flags in capitals; it returns the columns it changes, in the order of `writes`.
The kernel around it is printed from the signature. Arithmetic is in float32 (float64 for float64),
each value is rounded once at the store.

Bytes per element: one read of every column, one write of those changed: Adam on float32 moves 28
bytes for about 15 operations, so it runs at the speed of memory.
"""

from __future__ import annotations

import inspect
from array import array
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.rows import ceil_divide, to_compute
from tritorch.kernels.templates.template import Helper, helper, kernel
from tritorch.runtime import recording
from tritorch.runtime.storage import Storage

if TYPE_CHECKING:
    import triton.language as tl

#: elements per program, and per step of its loop: enough work to hide a launch, few enough to share
# out
CHUNK = 16_384
BLOCK = 1024


class TensorTable:
    """Addresses and chunks of a list of tensors that are worked on together.

    Args:
        counts: elements of each tensor; all its columns are dense and of the same element order.
        columns: how many addresses a tensor has.
        every: give a chunk to tensors without elements, too.
    """

    def __init__(
        self, counts: Sequence[int], columns: int, device: Device, every: bool = False
    ) -> None:
        self._on_device: dict[str, Storage] = {}
        self.counts = tuple(counts)
        self.width = columns + 1
        self.device = device
        self._rows = array("q", [0]) * (self.width * len(self.counts))
        for tensor, count in enumerate(self.counts):
            self._rows[tensor * self.width] = count
        self._chunks = array("q")
        for tensor, count in enumerate(self.counts):
            for start in range(0, max(count, every), CHUNK):
                self._chunks.extend((tensor, start))
        self.n_chunks = len(self._chunks) // 2
        self.numel = sum(self.counts)
        self._changed = True

    def set(self, column: int, addresses: Sequence[int]) -> None:
        """Put down the addresses of one column, tensor by tensor."""
        new = array("q", addresses)
        place = slice(column + 1, None, self.width)
        if len(new) != len(self.counts):
            raise ValueError(
                f"TensorTable: {len(new)} addresses for {len(self.counts)} tensors. Give one for "
                "each."
            )
        if self._rows[place] != new:
            self._rows[place] = new
            self._changed = True

    def addresses(self) -> tuple[int, int]:
        """Addresses of the table and of the chunks for a launch, in the device's memory."""
        if self.device.type == "cpu":
            found = recording.here()
            if found is not None:  # a replay works on the tensors of the recording
                return found.table(self._rows), found.table(self._chunks)
            return _address(self._rows), _address(self._chunks)
        graph = recording.device_graph()
        if graph is not None:
            return graph.table(self._rows), graph.table(self._chunks)
        return self._upload("rows", self._rows, self._changed), self._upload("chunks", self._chunks)

    def _upload(self, name: str, values: array[int], changed: bool = False) -> int:
        from tritorch.runtime import get_target

        target = get_target(self.device)
        nbytes = len(values) * values.itemsize
        place = self._on_device.get(name)
        if place is None or changed:
            if place is None:
                place = self._on_device[name] = Storage(max(nbytes, 8), target)
            target.upload(place.address, _address(values), nbytes)
            self._changed = False
        return place.address


def _address(values: array[int]) -> int:
    return values.buffer_info()[0]


def triton_name(kind: Dtype) -> str:
    """The dtype in the Triton language."""
    return _TRITON_NAMES[kind]


def chunk_lines(width: int) -> list[str]:
    """The text in which a program finds its tensor's row, of `width` integers, and its chunk."""
    return [
        "    tensor = tl.load(chunks_ptr + tl.program_id(0) * 2)",
        "    first = tl.load(chunks_ptr + tl.program_id(0) * 2 + 1)",
        f"    row_ptr = table_ptr + tensor * {width}",
        "    stop = tl.minimum(first + CHUNK, tl.load(row_ptr))",
    ]


class Update(Helper):
    """What a step does to one element of every column; see `update`."""

    def __init__(self, function: Callable[..., Any], writes: Sequence[str], columns: int) -> None:
        super().__init__(function)
        parameters = list(inspect.signature(function).parameters)
        self.columns = tuple(parameters[:columns])
        self.flags = tuple(p for p in parameters if p.isupper())
        self.scalars = tuple(p for p in parameters[columns:] if not p.isupper())
        self.writes = tuple(writes)
        self._sources: dict[tuple[Dtype, ...], KernelSource] = {}

    def source(self, kinds: Sequence[Dtype]) -> KernelSource:
        """The kernel for columns of these dtypes."""
        key = tuple(kinds)
        if key not in self._sources:
            self._sources[key] = KernelSource(f"multi_{self.name}", self._print(key))
        return self._sources[key]

    def _print(self, kinds: tuple[Dtype, ...]) -> str:
        parameters = ["table_ptr", "chunks_ptr", *self.scalars]
        parameters += [f"{flag}: tl.constexpr" for flag in (*self.flags, "WIDE", "CHUNK", "BLOCK")]
        lines = [
            "@triton.jit",
            f"def multi_{self.name}({', '.join(parameters)}):",
            *chunk_lines(len(kinds) + 1),
            *self.loop_lines(kinds),
        ]
        helpers = [to_compute, *(h for h in self.helpers if h is not to_compute), self]
        return "\n\n".join([*(h.text for h in helpers), "\n".join(lines) + "\n"])

    def loop_lines(self, kinds: Sequence[Dtype]) -> list[str]:
        """The text that updates the elements of a program's chunk.

        WIDE: for a GPU, whose accesses are of 16 bytes where all addresses are multiples of them;
        then whole blocks go without masks.
        """
        types = {name: f"tl.{triton_name(kind)}" for name, kind in zip(self.columns, kinds)}
        lines = []
        for place, name in enumerate(self.columns, start=1):
            pointer = f"tl.pointer_type({types[name]})"
            lines.append(f"    {name}_ptr = tl.load(row_ptr + {place}).to({pointer})")
        arguments = [*self.columns]
        for name in self.scalars:
            if name.endswith("_ptr"):
                lines.append(f"    {name[:-4]} = tl.load({name})")
                arguments.append(name[:-4])
            else:
                arguments.append(name)
        call = f"{', '.join(self.writes)} = {self.name}({', '.join([*arguments, *self.flags])})"

        def block(mask: str) -> list[str]:
            other = ", other=0.0" * bool(mask)
            reads = [f"to_compute(tl.load({n}_ptr + offsets{mask}{other}))" for n in self.columns]
            values = [f"{name}.to({types[name]})" for name in self.writes]
            return [
                *(f"{name} = {read}" for name, read in zip(self.columns, reads)),
                call,
                *(
                    f"tl.store({name}_ptr + offsets, {value}{mask})"
                    for name, value in zip(self.writes, values)
                ),
            ]

        places = " | ".join(f"tl.load(row_ptr + {place + 1})" for place in range(len(kinds)))
        return [
            *lines,
            "    whole = first",
            "    if WIDE:",
            f"        if ({places}) % 16 == 0:",
            "            whole = first + (stop - first) // BLOCK * BLOCK",
            "            first = tl.multiple_of(first, 16)",
            *(f"            {name}_ptr = tl.multiple_of({name}_ptr, 16)" for name in self.columns),
            "            for start in range(first, whole, BLOCK):",
            "                offsets = start + tl.arange(0, BLOCK)",
            *(f"                {line}" for line in block("")),
            "    for start in range(whole, stop, BLOCK):",
            "        offsets = start + tl.arange(0, BLOCK)",
            "        mask = offsets < stop",
            *(f"        {line}" for line in block(", mask=mask")),
        ]

    def plan(
        self,
        tensors: TensorTable,
        kinds: Sequence[Dtype],
        flags: Mapping[str, bool] = MappingProxyType({}),
    ) -> Plan:
        """launch(*tensors.addresses(), *scalars): one step of every tensor of the table.

        Args:
            kinds: dtype of each column; the first decides float32 or float64 arithmetic.
        Scalars named `..._ptr` are addresses of one number of the arithmetic's dtype.
        """
        if not len(kinds) == len(self.columns) == tensors.width - 1:
            raise ValueError(
                f"{self.name}: works on {len(self.columns)} columns ({', '.join(self.columns)}); "
                "got "
                f"{len(kinds)} dtypes and a table of {tensors.width - 1} columns."
            )
        if tensors.n_chunks == 0:
            return Plan((), nothing)
        from tritorch.runtime import get_target

        signature = {"table_ptr": "*i64", "chunks_ptr": "*i64"}
        scalar = kinds[0].compute.triton
        for name in self.scalars:
            signature[name] = f"*{scalar}" if name.endswith("_ptr") else scalar
        target = get_target(tensors.device)
        constants = {**{flag: flags[flag] for flag in self.flags}, "CHUNK": CHUNK, "BLOCK": BLOCK}
        constants["WIDE"] = tensors.device.type != "cpu"
        compiled = target.compile(self.source(kinds), signature, constants)
        dynamic: list[Any] = [None] * len(signature)
        launch = target.bind(compiled, (tensors.n_chunks,), dynamic)
        return Plan((), launch, [compiled])


_TRITON_NAMES = {
    dtypes.float32: "float32",
    dtypes.float64: "float64",
    dtypes.float16: "float16",
    dtypes.bfloat16: "bfloat16",
}


def update(*, columns: int, writes: Sequence[str]) -> Callable[[Callable[..., Any]], Update]:
    """Declare an optimizer's step on one element; the first `columns` parameters are read from
    memory.
    """

    def declare(function: Callable[..., Any]) -> Update:
        return Update(function, writes, columns)

    return declare


@helper
def direction(parameter, gradient, weight_decay, MAXIMIZE: tl.constexpr, DECAY: tl.constexpr):
    """The gradient to descend along, with an L2 penalty added."""
    if MAXIMIZE:
        gradient = -gradient
    if DECAY:
        gradient += weight_decay * parameter
    return gradient


@update(columns=2, writes=("parameter",))
def sgd(
    parameter, gradient, learning_rate, weight_decay, MAXIMIZE: tl.constexpr, DECAY: tl.constexpr
):
    """Plain gradient descent: p -= lr * (g + weight_decay * p)."""
    return parameter - learning_rate * direction(parameter, gradient, weight_decay, MAXIMIZE, DECAY)


@update(columns=3, writes=("parameter", "momentum_buffer"))
def sgd_momentum(
    parameter, gradient, momentum_buffer, learning_rate, weight_decay, momentum, kept, added,
    NESTEROV: tl.constexpr, MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """buffer = kept * buffer + added * g; p -= lr * buffer, or lr * (g + momentum * buffer) with
    Nesterov.

    kept is momentum and added 1 - dampening, but in the first step 0 and 1 (the buffer starts as
    the gradient; it must hold finite numbers, such as zeros).
    """
    gradient = direction(parameter, gradient, weight_decay, MAXIMIZE, DECAY)
    momentum_buffer = kept * momentum_buffer + added * gradient
    if NESTEROV:
        gradient += momentum * momentum_buffer
    else:
        gradient = momentum_buffer
    return parameter - learning_rate * gradient, momentum_buffer


@helper
def adam_moments(
    parameter, gradient, exp_avg, exp_avg_sq, decay, added1, beta2, added2,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr, DECOUPLED: tl.constexpr,
):  # fmt: skip
    """The parameter after decoupled decay, and both moments after this gradient."""
    if DECOUPLED:
        gradient = direction(parameter, gradient, decay, MAXIMIZE, False)
        if DECAY:
            parameter *= decay
    else:
        gradient = direction(parameter, gradient, decay, MAXIMIZE, DECAY)
    exp_avg += added1 * (gradient - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + added2 * gradient * gradient
    return parameter, exp_avg, exp_avg_sq


@update(columns=4, writes=("parameter", "exp_avg", "exp_avg_sq"))
def adam(
    parameter, gradient, exp_avg, exp_avg_sq,
    step_size, decay, added1, beta2, added2, inverse_root2, eps,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr, DECOUPLED: tl.constexpr,
):  # fmt: skip
    """Adam and AdamW. Take the scalars from `adam_scalars`. Source: Kingma and Ba, 2015;
    Loshchilov, 2019.
    """
    parameter, exp_avg, exp_avg_sq = adam_moments(
        parameter, gradient, exp_avg, exp_avg_sq, decay, added1, beta2, added2,
        MAXIMIZE, DECAY, DECOUPLED,
    )  # fmt: skip
    parameter -= step_size * (exp_avg / (tl.sqrt(exp_avg_sq) * inverse_root2 + eps))
    return parameter, exp_avg, exp_avg_sq


@update(columns=5, writes=("parameter", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"))
def adam_amsgrad(
    parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq,
    step_size, decay, added1, beta2, added2, inverse_root2, eps,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr, DECOUPLED: tl.constexpr,
):  # fmt: skip
    """Adam with the largest second moment so far. Source: Reddi et al., 2018."""
    parameter, exp_avg, exp_avg_sq = adam_moments(
        parameter, gradient, exp_avg, exp_avg_sq, decay, added1, beta2, added2,
        MAXIMIZE, DECAY, DECOUPLED,
    )  # fmt: skip
    max_exp_avg_sq = tl.maximum(max_exp_avg_sq, exp_avg_sq)
    parameter -= step_size * (exp_avg / (tl.sqrt(max_exp_avg_sq) * inverse_root2 + eps))
    return parameter, exp_avg, exp_avg_sq, max_exp_avg_sq


def adam_scalars(
    learning_rate: float, beta1: float, beta2: float, eps: float, weight_decay: float,
    step: int, *, decoupled: bool,
) -> tuple[float, ...]:  # fmt: skip
    """The scalars of `adam` at a step (counted from 1), computed in double precision as PyTorch
    does.
    """
    decay = 1.0 - learning_rate * weight_decay if decoupled else weight_decay
    inverse_root = (1.0 - beta2**step) ** -0.5
    step_size = learning_rate / (1.0 - beta1**step)
    return step_size, decay, 1.0 - beta1, beta2, 1.0 - beta2, inverse_root, eps


@update(columns=1, writes=("gradient",))
def scale(gradient, factor_ptr):
    """Multiply every tensor by one number in memory (written by `plan_clip_factor`)."""
    return gradient * factor_ptr


@update(columns=1, writes=("gradient",))
def clamp(gradient, low, high):
    """Every element within [low, high]; nan stays."""
    return tl.where(gradient < low, low, tl.where(gradient > high, high, gradient))


@kernel()
def partial_norms(
    partials_ptr, table_ptr, chunks_ptr, typed_ptr, power,
    WIDTH: tl.constexpr, COLUMN: tl.constexpr, ORDER: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: sum of |x|^power over one chunk (ORDER "2" and "1": without pow; "inf": the
    largest).
    """
    chunk = tl.program_id(0)
    row_ptr = table_ptr + tl.load(chunks_ptr + chunk * 2) * WIDTH
    first = tl.load(chunks_ptr + chunk * 2 + 1)
    stop = tl.minimum(first + CHUNK, tl.load(row_ptr))
    x_ptr = tl.load(row_ptr + COLUMN + 1).to(tl.pointer_type(typed_ptr.dtype.element_ty))
    total = tl.full((), 0.0, partials_ptr.dtype.element_ty)
    for start in range(first, stop, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        x = to_compute(tl.load(x_ptr + offsets, mask=offsets < stop, other=0.0))
        if ORDER == "inf":
            # A nan must not be lost in the maximum.
            size = tl.where(x == x, tl.abs(x), float("inf"))
            total = tl.maximum(total, tl.max(size, 0)) + tl.sum(x - x, 0)
        elif ORDER == "2":
            total += tl.sum(x * x, 0)
        elif ORDER == "1":
            total += tl.sum(tl.abs(x), 0)
        else:
            size = tl.abs(x)
            positive = tl.where(size == 0, 1.0, size)
            total += tl.sum(tl.where(size == 0, 0.0, tl.exp(power * tl.log(positive))), 0)
    tl.store(partials_ptr + chunk, total)


@kernel()
def finish_norm(
    norm_ptr, factor_ptr, partials_ptr, max_norm, power, n_partials,
    ORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program in all: the norm from its partial sums, and min(1, max_norm / (norm + 1e-6))."""
    total = tl.full((), 0.0, partials_ptr.dtype.element_ty)
    for start in range(0, n_partials, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        x = tl.load(partials_ptr + offsets, mask=offsets < n_partials, other=0.0)
        if ORDER == "inf":
            total = tl.maximum(total, tl.max(x, 0)) + tl.sum(x - x, 0)
        else:
            total += tl.sum(x, 0)
    if ORDER == "2":
        total = tl.sqrt(total)
    elif ORDER == "p":
        total = tl.where(total == 0, 0.0, tl.exp(tl.log(total) / power))
    factor = max_norm / (total + 1e-6)
    tl.store(norm_ptr, total)
    tl.store(factor_ptr, tl.where(factor > 1.0, 1.0, factor))


def _order(norm_type: float) -> str:
    return {2.0: "2", 1.0: "1", float("inf"): "inf"}.get(float(norm_type), "p")


def plan_partial_norms(tensors: TensorTable, column: int, kind: Dtype, norm_type: float) -> Plan:
    """launch(partials, table, chunks): a partial sum per chunk, `tensors.n_chunks` of
    `kind.compute`.
    """
    if tensors.n_chunks == 0:
        return Plan((), nothing)
    values = {
        "typed_ptr": 0, "power": float(norm_type), "WIDTH": tensors.width, "COLUMN": column,
        "ORDER": _order(norm_type), "CHUNK": CHUNK, "BLOCK": BLOCK,
    }  # fmt: skip
    operands = {
        "partials_ptr": kind.compute, "table_ptr": dtypes.int64, "chunks_ptr": dtypes.int64,
        "typed_ptr": kind,
    }  # fmt: skip
    grid = (tensors.n_chunks,)
    launch, compiled = partial_norms.bind(tensors.device, grid, operands, values)
    return Plan((), launch, [compiled])


def plan_clip_factor(n_partials: int, kind: Dtype, norm_type: float, device: Device) -> Plan:
    """launch(norm, factor, partials, max_norm): the total norm, and the factor that `scale`
    applies.

    All three in `kind` (float32 or float64). The norm stays on the device: no synchronisation.
    """
    operands = dict.fromkeys(("norm_ptr", "factor_ptr", "partials_ptr"), kind)
    values = {
        "power": float(norm_type), "n_partials": n_partials, "ORDER": _order(norm_type),
        "BLOCK": min(1024, 1 << max(n_partials - 1, 0).bit_length()),
    }  # fmt: skip
    scalars = {"max_norm": kind.triton, "power": kind.triton}
    launch, compiled = finish_norm.bind(device, (1,), operands, values, scalars=scalars)
    return Plan((), launch, [compiled])


def n_chunks(counts: Sequence[int]) -> int:
    """How many chunks, and so partial sums, tensors of these sizes have."""
    return sum(ceil_divide(count, CHUNK) for count in counts)
