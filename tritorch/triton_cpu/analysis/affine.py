"""Integer and pointer tensors as `base + sum of stride x index`: the form that turns addresses
into vector loads.

Bases and strides are numbers or scalar registers; they are emitted where the tensor is defined, in
program order. Index arithmetic is taken not to overflow, as any kernel with in-bounds addresses
has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tritorch.triton_cpu.analysis.reshape import squeeze_map
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder
from tritorch.triton_cpu.ir import Operation, Value

Base = int | str


@dataclass(frozen=True, slots=True)
class Affine:
    """`element` is the integer type of base and strides; a pointer's base is `ptr`, its strides
    i64 in elements.
    """

    base: Base
    strides: tuple[Base, ...]
    element: str

    @property
    def is_uniform(self) -> bool:
        return not any(stride != 0 for stride in self.strides)


class AffineAnalysis:
    """`self[value]` is the affine form of a tensor, or None."""

    def __init__(self, builder: Builder, scalars: Mapping[Value, str]) -> None:
        self._builder = builder
        self._scalars = scalars
        self._forms: dict[Value, Affine] = {}

    def get(self, value: Value) -> Affine | None:
        return self._forms.get(value)

    def visit(self, operation: Operation) -> None:
        """Find the form of a tensor operation's result, if it has one."""
        rule = _RULES.get(operation.name)
        if rule is None:
            return
        kind = operation.results[0].type
        if kind.element == "i1" or not (kind.element == "ptr" or kind.element[0] == "i"):
            return
        forms = [self._forms.get(operand) for operand in operation.operands]
        form = rule(self, operation, forms)
        if form is not None:
            self._forms[operation.results[0]] = form

    # ---- arithmetic of forms
    def _integer(self, op: str, a: Base, b: Base, element: str) -> Base:
        return self._builder.integer(op, a, b, element)

    def extended(self, form: Affine, element: str) -> Affine:
        """The same form with base and strides in a wider integer type."""
        if form.element == element:
            return form
        extend = self._builder.extend
        return Affine(
            extend(form.base, form.element, element),
            tuple(extend(stride, form.element, element) for stride in form.strides),
            element,
        )

    def _splat(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        kind = operation.results[0].type
        source = operation.operands[0]
        text = self._scalars[source]
        base: Base = int(text) if text.lstrip("-").isdigit() else text
        element = "i64" if kind.element == "ptr" else kind.element
        return Affine(base, (0,) * len(kind.shape or ()), element)

    def _constant(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        kind = operation.results[0].type
        value = operation.attributes["value"]
        if isinstance(value, list):
            return None
        return Affine(int(value), (0,) * len(kind.shape or ()), kind.element)

    def _make_range(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        return Affine(operation.attributes["start"], (1,), "i32")

    def _expand_dims(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        form = forms[0]
        if form is None:
            return None
        axis = operation.attributes["axis"]
        return Affine(form.base, (*form.strides[:axis], 0, *form.strides[axis:]), form.element)

    def _broadcast(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        return forms[0]

    def _transpose(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        form = forms[0]
        if form is None:
            return None
        order = operation.attributes["order"]
        return Affine(form.base, tuple(form.strides[d] for d in order), form.element)

    def _reshape(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        form = forms[0]
        if form is None:
            return None
        source, target = operation.operands[0].type.shape, operation.results[0].type.shape
        mapping = squeeze_map(source or (), target or ())
        if mapping is not None:
            strides = tuple(0 if d is None else form.strides[d] for d in mapping)
            return Affine(form.base, strides, form.element)
        return form if form.is_uniform and len(source or ()) == len(target or ()) else None

    def _extend(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        form, kind = forms[0], operation.results[0].type
        if form is None or not stays_narrow(form, kind.shape or ()):
            return None
        if operation.name == "arith.extui" and not is_known_positive(form):
            return None
        return self.extended(form, kind.element)

    def _add(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        a, b = forms
        if a is None or b is None:
            return None
        op = "add" if operation.name == "arith.addi" else "sub"
        return Affine(
            self._integer(op, a.base, b.base, a.element),
            tuple(self._integer(op, x, y, a.element) for x, y in zip(a.strides, b.strides))
            if op == "add"
            else tuple(self._subtract(x, y, a.element) for x, y in zip(a.strides, b.strides)),
            a.element,
        )

    def _subtract(self, a: Base, b: Base, element: str) -> Base:
        return 0 if a == b else self._integer("sub", a, b, element)

    def _multiply(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        a, b = forms
        if a is None or b is None:
            return None
        if a.is_uniform:
            a, b = b, a
        if not b.is_uniform:
            return None
        return Affine(
            self._integer("mul", a.base, b.base, a.element),
            tuple(self._integer("mul", stride, b.base, a.element) for stride in a.strides),
            a.element,
        )

    def _shift_left(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        a, b = forms
        if a is None or b is None or not b.is_uniform or not isinstance(b.base, int):
            return None
        if not 0 <= b.base < 31:
            return None
        factor = 1 << b.base
        return Affine(
            self._integer("mul", a.base, factor, a.element),
            tuple(self._integer("mul", stride, factor, a.element) for stride in a.strides),
            a.element,
        )

    def _bitcast(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        form = forms[0]
        source, target = operation.operands[0].type, operation.results[0].type
        if form is None or source.element != "ptr" or target.element != "ptr":
            return None
        before, after = BITS.get(source.pointee or "i8", 8), BITS.get(target.pointee or "i8", 8)
        if before % after:
            return None
        scale = before // after
        strides = tuple(self._integer("mul", s, scale, "i64") for s in form.strides)
        return Affine(form.base, strides, form.element)

    def _add_pointer(self, operation: Operation, forms: list[Affine | None]) -> Affine | None:
        pointer, offset = forms
        if pointer is None or offset is None:
            return None
        offset = self.extended(offset, "i64")
        base = pointer.base
        if offset.base != 0:
            pointee = memory_type(operation.results[0].type.pointee)
            base = self._builder.define(f"getelementptr {pointee}, ptr {base}, i64 {offset.base}")
        strides = tuple(
            self._integer("add", x, y, "i64") for x, y in zip(pointer.strides, offset.strides)
        )
        return Affine(base, strides, "i64")


def stays_narrow(form: Affine, shape: tuple[int, ...]) -> bool:
    """Whether the known strides keep the elements within 31 bits: a hash does not, an index
    does.
    """
    reach = sum(
        abs(stride) * (size - 1)
        for stride, size in zip(form.strides, shape)
        if isinstance(stride, int)
    )
    return reach < 2**31


def is_known_positive(form: Affine) -> bool:
    """Whether no element is negative."""
    numbers = (form.base, *form.strides)
    return all(isinstance(number, int) and number >= 0 for number in numbers)


def memory_type(element: str | None) -> str:
    """The LLVM type of one element in memory; booleans take a byte."""
    if element is None or element == "i1":
        return "i8"
    return LLVM_TYPE.get(element, "i8")


_Rule = Callable[[AffineAnalysis, Operation, list[Affine | None]], Affine | None]
_RULES: dict[str, _Rule] = {
    "arith.addi": AffineAnalysis._add,
    "arith.constant": AffineAnalysis._constant,
    "arith.extsi": AffineAnalysis._extend,
    "arith.extui": AffineAnalysis._extend,
    "arith.muli": AffineAnalysis._multiply,
    "arith.shli": AffineAnalysis._shift_left,
    "arith.subi": AffineAnalysis._add,
    "tt.bitcast": AffineAnalysis._bitcast,
    "tt.addptr": AffineAnalysis._add_pointer,
    "tt.broadcast": AffineAnalysis._broadcast,
    "tt.expand_dims": AffineAnalysis._expand_dims,
    "tt.make_range": AffineAnalysis._make_range,
    "tt.reshape": AffineAnalysis._reshape,
    "tt.splat": AffineAnalysis._splat,
    "tt.trans": AffineAnalysis._transpose,
}
