"""The Triton text of reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.expression import Expr
from tritorch.kernels.helpers import prelude
from tritorch.kernels.pointwise_source import short_name, stored
from tritorch.kernels.triton_printer import Printer, Value, converted, literal, triton_name


class ReductionInput(NamedTuple):
    """An input: its dtype in memory and in arithmetic, and the classes of its innermost strides."""

    name: str
    memory: Dtype
    compute: Dtype
    reduced_class: str
    kept_class: str


class ReductionKey(NamedTuple):
    """What a reduction's text depends on, apart from its declaration.

    `outputs` are the dtypes that are stored: the accumulators' if `partial`.
    """

    form: str
    kept_rank: int
    reduced_rank: int
    wide: bool
    partial: bool
    unit_output: bool
    reads_index: bool
    inputs: tuple[ReductionInput, ...]
    outputs: tuple[Dtype, ...]
    #: a block's mean and squared differences are two sums, not combined one by one
    moments: bool = False

    @property
    def outer_kept(self) -> int:
        return self.kept_rank if self.form == "row" else self.kept_rank - 1

    def signature(self, scalars: Sequence[str]) -> dict[str, str]:
        """Parameter name -> Triton type, in the kernel's order."""
        number = "i64" if self.wide else "i32"
        names = {f"out{i}_ptr": f"*{d.triton}" for i, d in enumerate(self.outputs)}
        names |= {f"{i.name}_ptr": f"*{i.memory.triton}" for i in self.inputs}
        names |= dict.fromkeys(scalars, "fp64" if self.double else "fp32")
        numbers = ["n", "n_steps"]
        if self.partial:
            numbers += ["n_parts", "steps_per_part"]
        if self.reduced_rank > 1:
            numbers.append("n_chunks")
        numbers += [f"reduced_{d}" for d in range(self.reduced_rank)]
        numbers += [f"kept_{d}" for d in range(self.kept_rank)]
        if self.partial:
            numbers.append("part_stride")
        numbers += [f"out_stride_{d}" for d in range(self.outer_kept)]
        if self.form == "column" and not self.unit_output:
            numbers.append("out_stride")
        for i in self.inputs:
            numbers += [f"{i.name}_reduced_stride_{d}" for d in range(self.reduced_rank - 1)]
            numbers += [f"{i.name}_kept_stride_{d}" for d in range(self.outer_kept)]
            numbers += [f"{i.name}_reduced_stride"] if i.reduced_class == "s" else []
            numbers += [f"{i.name}_kept_stride"] if i.kept_class == "s" else []
        return names | dict.fromkeys(numbers, number)

    @property
    def double(self) -> bool:
        return any(i.compute is dtypes.float64 for i in self.inputs)


class Declaration(Protocol):
    """What the printer reads of a ReductionKernel."""

    name: str
    scalars: tuple[str, ...]
    map: tuple[Expr, ...]
    identity: tuple[bool | int | float | str, ...]
    combine: tuple[Expr, ...]
    finish: tuple[Expr, ...]


def accumulator_dtypes(
    reduction: Declaration, inputs: Sequence[ReductionInput], wide: bool
) -> tuple[Dtype, ...]:
    """The dtypes of the accumulators: what map gives, at least 32 bits wide; constants take the
    first's.
    """
    values = _mapped(reduction, inputs, wide)[1]
    found = [
        None if tree.op == "constant" else _widened(value.dtype)
        for tree, value in zip(reduction.map, values)
    ]
    first = next((d for d in found if d is not None), dtypes.int64)
    return tuple(d or first for d in found)


def _widened(dtype: Dtype) -> Dtype:
    return dtypes.int32 if dtype.category < 2 and dtype.itemsize < 4 else dtype


def _mapped(
    reduction: Declaration, inputs: Sequence[ReductionInput], wide: bool
) -> tuple[Printer, list[Value]]:
    known = {i.name: Value(i.name, i.compute.compute) for i in inputs}
    known |= _scalar_values(reduction, inputs)
    printer = Printer(known, Value("at", _number_dtype(wide)))
    return printer, printer.print(reduction.map)


def _scalar_values(reduction: Declaration, inputs: Sequence[ReductionInput]) -> dict[str, Value]:
    double = any(i.compute is dtypes.float64 for i in inputs)
    return {s: Value(s, dtypes.float64 if double else dtypes.float32) for s in reduction.scalars}


def _number_dtype(wide: bool) -> Dtype:
    return dtypes.int64 if wide else dtypes.int32


def reduction_source(reduction: Declaration, key: ReductionKey) -> KernelSource:
    """The kernel of one specialisation."""
    accumulators = accumulator_dtypes(reduction, key.inputs, key.wide)
    combine = f"{reduction.name}_combine"
    combine_text, helpers = combine_function(combine, reduction.combine, accumulators)
    body = positions(key) + accumulator_start(reduction, key, accumulators)
    if key.partial:
        body.append("last = tl.minimum(part * steps_per_part + steps_per_part, n_steps)")
        body.append("for step in range(part * steps_per_part, last):")
    else:
        body.append("for step in range(0, n_steps):")
    names = [f"acc{i}" for i in range(len(accumulators))]
    blocks = ", ".join(f"m{i}" for i in range(len(accumulators)))
    if key.moments:
        printer, values = _mapped(reduction, key.inputs, key.wide)
        helpers |= printer.helpers
        loop = block_loads(key) + printer.statements
        loop += moments_of_block(values[0].text, key, accumulators[0])
    else:
        statements, more = block_values(reduction, key, accumulators)
        helpers |= more
        operand = blocks if len(names) == 1 else f"({blocks})"
        loop = block_loads(key) + statements
        loop.append(f"{blocks} = tl.reduce({operand}, 0, {combine})")
    loop.append(f"{', '.join(names)} = {combine}({', '.join(names)}, {blocks})")
    body += ["    " + line for line in loop]
    if key.partial:
        values = [stored(Value(n, d), o) for n, d, o in zip(names, accumulators, key.outputs)]
    else:
        statements, values, more = finished(reduction, key, names, accumulators)
        helpers |= more
        body += statements
    body += _stores(key, values)
    function = function_name(reduction.name, key)
    blocks_text = ["BLOCK: tl.constexpr"] + ["COLUMNS: tl.constexpr"] * (key.form == "column")
    parameters = ", ".join([*key.signature(reduction.scalars), *blocks_text])
    lines = "\n".join(f"    {line}" for line in body)
    text = f"{combine_text}\n\n@triton.jit\ndef {function}({parameters}):\n{lines}\n"
    return KernelSource(function, prelude(helpers, text) + text)


def moments_of_block(value: str, key: ReductionKey, dtype: Dtype) -> list[str]:
    """m0, m1, m2: mean, sum of squared differences and count of a block, by two sums."""
    chunk = "step" if key.reduced_rank == 1 else "chunk"
    left = f"reduced_{key.reduced_rank - 1} - {chunk} * BLOCK"
    mean = "m0" if key.form == "row" else "m0[None, :]"
    return [
        f"m2 = tl.minimum({left}, BLOCK).to({triton_name(dtype)})",
        f"m0 = tl.sum(tl.where(mask, {value}, 0.0), 0) / m2",
        f"apart = tl.where(mask, {value} - {mean}, 0.0)",
        "m1 = tl.sum(apart * apart, 0)",
    ]


def accumulator_start(
    reduction: Declaration, key: ReductionKey, accumulators: Sequence[Dtype]
) -> list[str]:
    """acc0, acc1, ... set to the identities: scalars in the row form, a strip in the column
    form.
    """
    shape = "()" if key.form == "row" else "(COLUMNS,)"
    return [
        f"acc{i} = {literal(identity_of(identity, dtype), dtype, shape=shape)}"
        for i, (identity, dtype) in enumerate(zip(reduction.identity, accumulators))
    ]


def block_values(
    reduction: Declaration, key: ReductionKey, accumulators: Sequence[Dtype]
) -> tuple[list[str], set[str]]:
    """m0, m1, ...: the mapped block, identities where it is masked; and the helpers that this
    calls.
    """
    printer, values = _mapped(reduction, key.inputs, key.wide)
    lines = list(printer.statements)
    for i, (tree, value, identity, dtype) in enumerate(
        zip(reduction.map, values, reduction.identity, accumulators)
    ):
        text = literal(tree.value, dtype) if tree.op == "constant" else converted(value, dtype).text
        masked = literal(identity_of(identity, dtype), dtype, "call")
        lines.append(f"m{i} = tl.where(mask, {text}, {masked})")
    return lines, printer.helpers


def finished(
    reduction: Declaration, key: ReductionKey, names: Sequence[str], accumulators: Sequence[Dtype]
) -> tuple[list[str], list[Value], set[str]]:
    """Statements, the outputs' values in their dtypes, and the helpers called, from accumulators
    so named.
    """
    known = {f"acc{i}": Value(n, d) for i, (n, d) in enumerate(zip(names, accumulators))}
    known |= _scalar_values(reduction, key.inputs)
    known["n"] = Value("n", _number_dtype(key.wide))
    printer = Printer(known, prefix="f")
    values = [stored(v, d) for v, d in zip(printer.print(reduction.finish), key.outputs)]
    return printer.statements, values, printer.helpers


def combine_function(
    name: str, trees: Sequence[Expr], accumulators: Sequence[Dtype]
) -> tuple[str, set[str]]:
    """The text of the device function that combines two sets of accumulators, and the helpers it
    calls.
    """
    parameters = [f"{side}{i}" for side in "ab" for i in range(len(accumulators))]
    known = {p: Value(p, accumulators[int(p[1:])]) for p in parameters}
    printer = Printer(known)
    results = [converted(v, d).text for v, d in zip(printer.print(trees), accumulators)]
    lines = [*printer.statements, f"return {', '.join(results)}"]
    body = "\n".join(f"    {line}" for line in lines)
    return f"@triton.jit\ndef {name}({', '.join(parameters)}):\n{body}\n", printer.helpers


def identity_of(identity: bool | int | float | str, dtype: Dtype) -> bool | int | float:
    """The number that an identity stands for in a dtype."""
    if not isinstance(identity, str):
        return identity
    sign = {"lowest": -1, "highest": 1}[identity]
    if dtype.is_floating_point:
        return sign * float("inf")
    limits = dtypes.iinfo(dtype)
    return limits.max if sign > 0 else limits.min


def function_name(name: str, key: ReductionKey) -> str:
    parts = [name, *(short_name(i.memory) for i in key.inputs)]
    if tuple(i.memory for i in key.inputs) != key.outputs:
        parts += ["to", *(short_name(d) for d in key.outputs)]
    parts.append(f"{key.form}{key.kept_rank}{key.reduced_rank}")
    parts += ["part"] * key.partial + ["wide"] * key.wide
    classes = [i.reduced_class + i.kept_class for i in key.inputs]
    if any(c != ("1" if key.form == "row" else "s1") for c in classes):
        parts.append("_".join(classes))
    return "_".join(parts)


def positions(key: ReductionKey) -> list[str]:
    """Which part, which kept elements; the pointers moved there."""
    lines = ["program = tl.program_id(0)" + (".to(tl.int64)" if key.wide else "")]
    if key.partial:
        lines += ["part = program % n_parts", "program = program // n_parts"]
    if key.form == "column":
        size = f"kept_{key.kept_rank - 1}"
        lines += [
            f"tiles = tl.cdiv({size}, COLUMNS)",
            "columns = (program % tiles) * COLUMNS + tl.arange(0, COLUMNS)",
            f"column_mask = columns < {size}",
            "program = program // tiles",
        ]
    for d in range(key.outer_kept - 1, -1, -1):
        lines.append(f"i{d} = program % kept_{d}" if d else f"i{d} = program")
        if d:
            lines.append(f"program = program // kept_{d}")
    if key.outer_kept:
        for i in key.inputs:
            steps = "".join(f" + i{d} * {i.name}_kept_stride_{d}" for d in range(key.outer_kept))
            lines.append(f"{i.name}_ptr = {i.name}_ptr{steps}")
    return lines


def block_loads(key: ReductionKey) -> list[str]:
    """Positions along the reduced dimensions and the loads of one block."""
    lines = []
    chunk = "step"
    if key.reduced_rank > 1:
        lines += ["chunk = step % n_chunks", "outer = step // n_chunks"]
        chunk = "chunk"
        for d in range(key.reduced_rank - 2, -1, -1):
            lines.append(f"r{d} = outer % reduced_{d}" if d else f"r{d} = outer")
            if d:
                lines.append(f"outer = outer // reduced_{d}")
    inner = f"reduced_{key.reduced_rank - 1}"
    column = key.form == "column"
    lanes = "tl.arange(0, BLOCK)" + ("[:, None]" if column else "")
    lines.append(f"rows = {chunk} * BLOCK + {lanes}")
    lines.append(f"row_mask = rows < {inner}")
    lines.append("mask = row_mask & column_mask[None, :]" if column else "mask = row_mask")
    if key.reads_index:
        lines.append(
            f"at = (step // n_chunks) * {inner} + rows" if key.reduced_rank > 1 else "at = rows"
        )
    for i in key.inputs:
        terms = [f"r{d} * {i.name}_reduced_stride_{d}" for d in range(key.reduced_rank - 1)]
        terms += {"0": [], "1": ["rows"], "s": [f"rows * {i.name}_reduced_stride"]}[i.reduced_class]
        terms += {
            "": [],
            "0": [],
            "1": ["columns[None, :]"],
            "s": [f"columns[None, :] * {i.name}_kept_stride"],
        }[i.kept_class]
        masked = ["row_mask"] * (i.reduced_class != "0")
        masked += ["column_mask[None, :]"] * (i.kept_class not in ("", "0"))
        mask = "mask" if len(masked) == 2 else masked[0] if masked else ""
        pointer = " + ".join([f"{i.name}_ptr", *terms])
        load = f"tl.load({pointer}, mask={mask})" if mask else f"tl.load({pointer})"
        lines.append(f"{i.name} = {converted(Value(load, i.memory), i.compute).text}")
    return lines


def _stores(key: ReductionKey, values: Sequence[Value]) -> list[str]:
    terms = ["part * part_stride"] * key.partial
    terms += [f"i{d} * out_stride_{d}" for d in range(key.outer_kept)]
    mask = ""
    if key.form == "column":
        terms.append("columns" if key.unit_output else "columns * out_stride")
        mask = ", mask=column_mask"
    lines = []
    for i, value in enumerate(values):
        pointer = " + ".join([f"out{i}_ptr", *terms])
        lines.append(f"tl.store({pointer}, {value.text}{mask})")
    return lines
