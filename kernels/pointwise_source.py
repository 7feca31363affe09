"""The Triton text of pointwise kernels."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from typing import NamedTuple

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.expression import Expr, topological
from tritorch.kernels.gpu_helpers import other_helpers
from tritorch.kernels.helpers import prelude
from tritorch.kernels.triton_printer import (
    Printer,
    Value,
    by_way_of,
    converted,
    scalar_dtype,
    triton_name,
)


class Operand(NamedTuple):
    """An operand of a specialisation: `memory` is its dtype there, None for a scalar argument.

    `strides`: the classes of its last two collapsed strides ("0", "1" or "s" each; one if the rank
        is 1; the last may be one of `STEPS`); the Triton type of a scalar argument.
    """

    name: str
    memory: Dtype | None
    compute: Dtype
    strides: str


class SourceKey(NamedTuple):
    """What a pointwise kernel's text depends on, apart from its trees.

    `form`: "flat" (rank 1), "rows" (programs loop over rows: scalar loops around contiguous
        strips, the best on
    CPUs) or "tiles" (rows x columns at once: GPUs, and operands that walk the other way).
    """

    form: str
    rank: int
    wide: bool
    outputs: tuple[Operand, ...]
    inputs: tuple[Operand, ...]
    position: str | None
    #: the input whose elements must not be 0: one that is leaves a mark in the cell (`ZeroCell`)
    nonzero: str = ""
    gpu: bool = False

    @property
    def walked(self) -> list[tuple[str, str]]:
        """(name, stride classes) of everything that is addressed, in argument order."""
        named = [(o.name, o.strides) for o in (*self.outputs, *self.inputs) if o.memory is not None]
        return named if self.position is None else [*named, ("index", self.position)]

    def signature(self) -> dict[str, str]:
        """Parameter name -> Triton type, in the kernel's order: pointers, scalars, sizes,
        strides.
        """
        number = "i64" if self.wide else "i32"
        result = {f"{o.name}_ptr": f"*{o.memory.triton}" for o in self.outputs if o.memory}
        result |= {f"{o.name}_ptr": f"*{o.memory.triton}" for o in self.inputs if o.memory}
        result |= {o.name: o.strides for o in self.inputs if o.memory is None}
        result |= dict.fromkeys(_size_names(self.form, self.rank), number)
        for name, classes in self.walked:
            result |= dict.fromkeys(_stride_names(name, self.rank, classes), number)
        return result | ({"cell_ptr": "*i64"} if self.nonzero else {})


_RESERVED = re.compile(
    r"(t|i|r|m|s|f|acc|size_|reduced_|kept_|out)\d+|n|n_\w+|index|offsets|mask|rows?|columns|row_mask|"
    r"column_mask|program|row_tiles|column_tiles|tiles|out|first|last|outer|all_rows|rows_per_program|"
    r"at|step|turn|chunk|part|steps_per_part|tl|triton|libdevice|\w+_(ptr|value|combine)|"
    r"\w+_stride(_\d+)?"
)


def free_name(name: str) -> str:
    """The operand's name, changed where the generated text uses it for something else."""
    return f"{name}_" if keyword.iskeyword(name) or _RESERVED.fullmatch(name) else name


#: names of the constants per form
BLOCKS = {"flat": ("BLOCK",), "rows": ("COLUMNS",), "tiles": ("ROWS", "COLUMNS")}
#: strides that the text may hold as numbers, and their classes
STEPS = {-1: "r", 2: "2", 3: "3", 4: "4"}
_NUMBERS = {letter: str(step) for step, letter in STEPS.items()}
_SHORT = {"float": "f", "int": "i", "uint": "u", "bfloat": "bf"}


def short_name(dtype: Dtype) -> str:
    """f32 for float32, and so on."""
    kind = dtype.name.rstrip("0123456789") if "_" not in dtype.name else ""
    return (
        _SHORT[kind] + dtype.name[len(kind) :]
        if kind in _SHORT
        else dtype.name.replace("float", "f")
    )


def _size_names(form: str, rank: int) -> list[str]:
    if form == "flat":
        return ["n"]
    outer = [f"size_{d}" for d in range(rank - 2)]
    if form == "tiles":
        return [*outer, "n_rows", "n_columns"]
    return [*outer, f"size_{rank - 2}", "n_columns", "all_rows", "rows_per_program"]


def _stride_names(name: str, rank: int, classes: str) -> list[str]:
    last = ["stride"] if rank == 1 else ["row_stride", "column_stride"]
    names = [f"{name}_stride_{d}" for d in range(rank - 2)]
    return names + [f"{name}_{part}" for part, c in zip(last, classes) if c == "s"]


def position_read(outputs: Sequence[Expr]) -> str:
    """Which position of the element the trees read: index, diagonal, or none ("")."""
    found = {node.op for node in topological(outputs)} & {"index", "diagonal"}
    if len(found) > 1:
        raise TypeError("index and diagonal: a kernel reads only one of them.")
    return found.pop() if found else ""


def pointwise_source(name: str, key: SourceKey, outputs: Sequence[Expr]) -> KernelSource:
    """The kernel for one specialisation; it computes `outputs` of the inputs in `key`."""
    function = _function_name(name, key)
    start = {"flat": _flat_offsets, "rows": _row_offsets, "tiles": _tile_offsets}[key.form](key)
    body: list[str] = []
    inputs: dict[str, Value] = {}
    for operand in key.inputs:
        if operand.memory is not None:
            loaded = Value(_access(operand, key, "load"), operand.memory)
            value = converted(loaded, operand.compute)
        else:  # a number is not rounded to float16, as in PyTorch
            loaded = Value(operand.name, scalar_dtype(operand.compute))
            value = converted(loaded, operand.compute.compute)
        if value.text != operand.name:
            name = operand.name if operand.memory else f"{operand.name}_value"
            body.append(f"{name} = {value.text}")
            value = Value(name, value.dtype)
        inputs[operand.name] = value
        if operand.name == key.nonzero:
            mask = _mask(operand.strides, key)
            wrong = f"({value.text} == 0) & {mask}" if mask else f"{value.text} == 0"
            body += [
                f"if tl.max(({wrong}).to(tl.int32)) > 0:" if mask else f"if {wrong}:",
                "    tl.store(cell_ptr, tl.full((), 0, tl.int64))",
            ]
    index = None
    if key.position is not None:
        text = _offset("index", key.position, key) or "tl.full((), 0, tl.int32)"
        index = Value(
            text if text.isidentifier() else f"({text})", dtypes.int64 if key.wide else dtypes.int32
        )
    printer = Printer(inputs, index, position=position_read(outputs), gpu=key.gpu)
    values = printer.print(outputs)
    body += printer.statements
    for operand, value in zip(key.outputs, values):
        body.append(_access(operand, key, "store", stored(value, operand.compute).text))
    blocks = BLOCKS[key.form]
    if key.form == "rows":
        body = ["    " + line for line in body]
    body = start + body
    parameters = [*key.signature(), *(f"{b}: tl.constexpr" for b in blocks)]
    lines = "\n".join(f"    {line}" for line in body)
    text = f"@triton.jit\ndef {function}({', '.join(parameters)}):\n{lines}\n"
    others = other_helpers(key.gpu, neighbours=key.form == "flat" and key.position == "1")
    return KernelSource(function, prelude(printer.helpers, text, others) + text)


def stored(value: Value, dtype: Dtype) -> Value:
    """The value in the dtype of memory."""
    if value.dtype is dtype:
        return value
    text = value.atom + by_way_of(value.dtype, dtype)
    return Value(f"{text}.to({triton_name(dtype)})", dtype)


def _function_name(name: str, key: SourceKey) -> str:
    parts = [name, *(short_name(o.memory) if o.memory else "scalar" for o in key.inputs)]
    results = [short_name(o.compute) for o in key.outputs]
    if (
        any(o.memory is None or o.memory is not key.outputs[0].compute for o in key.inputs)
        or not key.inputs
    ):
        parts += ["to", *results]
    parts.append(f"{key.rank}d" + "_tiles" * (key.form == "tiles") + "_wide" * key.wide)
    plain = "1" if key.rank == 1 else "s1"
    classes = [c for _, c in key.walked]
    if any(c != plain for c in classes):
        parts.append("_".join(classes))
    return "_".join(parts)


def _program(wide: bool) -> str:
    return "tl.program_id(0).to(tl.int64)" if wide else "tl.program_id(0)"


def _flat_offsets(key: SourceKey) -> list[str]:
    return [
        f"offsets = {_program(key.wide)} * BLOCK + tl.arange(0, BLOCK)",
        "mask = offsets < n",
    ]


def _column_tile(key: SourceKey, lanes: str) -> list[str]:
    return [
        f"program = {_program(key.wide)}",
        "column_tiles = tl.cdiv(n_columns, COLUMNS)",
        f"columns = (program % column_tiles) * COLUMNS + {lanes}",
        "program = program // column_tiles",
    ]


def _row_offsets(key: SourceKey) -> list[str]:
    """The loop over rows, all dimensions but the last as one, and their indices i0, i1, ... in
    it.
    """
    lines = _column_tile(key, "tl.arange(0, COLUMNS)")
    lines += [
        "column_mask = columns < n_columns",
        "first = program * rows_per_program",
        "for row in range(first, tl.minimum(first + rows_per_program, all_rows)):",
    ]
    if key.rank == 2:
        return lines
    rest = "row"
    for d in range(key.rank - 2, 0, -1):
        lines.append(f"    i{d} = {rest} % size_{d}")
        lines.append(f"    {'i0' if d == 1 else 'outer'} = {rest} // size_{d}")
        rest = "outer"
    return lines


def _tile_offsets(key: SourceKey) -> list[str]:
    lines = _column_tile(key, "tl.arange(0, COLUMNS)[None, :]")
    if key.rank == 2:
        lines.append("rows = program * ROWS + tl.arange(0, ROWS)[:, None]")
    else:
        lines += [
            "row_tiles = tl.cdiv(n_rows, ROWS)",
            "rows = (program % row_tiles) * ROWS + tl.arange(0, ROWS)[:, None]",
            "program = program // row_tiles",
        ]
    outer = range(key.rank - 3, -1, -1)
    for d in outer:
        lines.append(f"i{d} = program % size_{d}" if d else f"i{d} = program")
        if d:
            lines.append(f"program = program // size_{d}")
    lines += ["row_mask = rows < n_rows", "column_mask = columns < n_columns"]
    lines.append("mask = row_mask & column_mask")
    for o in (*key.outputs, *key.inputs):
        if o.memory is not None and key.rank > 2:
            steps = "".join(f" + i{d} * {o.name}_stride_{d}" for d in range(key.rank - 2))
            lines.append(f"{o.name}_ptr = {o.name}_ptr{steps}")
    return lines


def _offset(name: str, classes: str, key: SourceKey) -> str:
    """Text of the offsets of an operand within its block; "" where it is one element."""
    if key.form == "flat":
        stepped = _stepped("offsets", f"{name}_stride", classes)
        return {"0": "", "1": "offsets"}.get(classes, stepped)
    outer = [f"i{d} * {name}_stride_{d}" for d in range(key.rank - 2)]
    rows = "rows" if key.form == "tiles" else "row" if key.rank == 2 else f"i{key.rank - 2}"
    terms = outer if key.form == "rows" or name == "index" else []
    terms += {"0": [], "1": [rows], "s": [f"{rows} * {name}_row_stride"]}[classes[0]]
    last = _stepped("columns", f"{name}_column_stride", classes[1])
    terms += {"0": [], "1": ["columns"]}.get(classes[1], [last])
    return " + ".join(terms)


def _stepped(lanes: str, stride: str, letter: str) -> str:
    return f"{lanes} * {_NUMBERS.get(letter, stride)}"


def _mask(classes: str, key: SourceKey) -> str:
    if key.form == "flat":
        return "" if classes == "0" else "mask"
    row, column = classes[0] != "0" and key.form == "tiles", classes[1] != "0"
    return "mask" if row and column else "row_mask" if row else "column_mask" if column else ""


def _access(operand: Operand, key: SourceKey, verb: str, value: str = "") -> str:
    offset = _offset(operand.name, operand.strides, key)
    pointer = f"{operand.name}_ptr" + (f" + {offset}" if offset else "")
    mask = _mask(operand.strides, key)
    if verb == "load":
        return f"tl.load({pointer}, mask={mask})" if mask else f"tl.load({pointer})"
    return f"tl.store({pointer}, {value}, mask={mask})" if mask else f"tl.store({pointer}, {value})"
