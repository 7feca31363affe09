"""Arithmetic on emitted vectors, so that the mathematical functions read as mathematics.

`Lanes` knows the builder, the number of lanes and the target; a `Number` is a register with an
element type and operators: `x * x + 1.0` emits two instructions. Python numbers become literals of
the other operand's element. Integers are signed unless a method's name says otherwise. Comparisons
of floats are false for nan, except `!=`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from tritorch.triton_cpu.codegen.builder import BITS, Builder, float_literal


class MathTarget(Protocol):
    """What the functions ask of a CPU: see `tritorch.triton_cpu.target.CPUTarget`."""

    @property
    def avx512f(self) -> bool: ...
    @property
    def fma(self) -> bool: ...
    @property
    def vector_bytes(self) -> int: ...


class Number:
    """An emitted vector (or scalar) and its element type."""

    __slots__ = ("element", "lanes", "register")

    def __init__(self, lanes: Lanes, register: str, element: str) -> None:
        self.lanes = lanes
        self.register = register
        self.element = element

    @property
    def is_float(self) -> bool:
        return self.element[0] in "fb"

    def _binary(self, floating: str, integer: str, other: Operand, swap: bool = False) -> Number:
        lanes = self.lanes
        right = lanes.literal(other, self.element)
        left, right = (right, self) if swap else (self, right)
        opcode = floating if self.is_float else integer
        return lanes.define(
            f"{opcode} {lanes.type(self.element)} {left.register}, {right.register}", self.element
        )

    def __add__(self, other: Operand) -> Number:
        return self._binary("fadd", "add", other)

    def __radd__(self, other: Operand) -> Number:
        return self._binary("fadd", "add", other, swap=True)

    def __sub__(self, other: Operand) -> Number:
        return self._binary("fsub", "sub", other)

    def __rsub__(self, other: Operand) -> Number:
        return self._binary("fsub", "sub", other, swap=True)

    def __mul__(self, other: Operand) -> Number:
        return self._binary("fmul", "mul", other)

    def __rmul__(self, other: Operand) -> Number:
        return self._binary("fmul", "mul", other, swap=True)

    def __truediv__(self, other: Operand) -> Number:
        return self._binary("fdiv", "sdiv", other)

    def __rtruediv__(self, other: Operand) -> Number:
        return self._binary("fdiv", "sdiv", other, swap=True)

    def __and__(self, other: Operand) -> Number:
        return self._binary("and", "and", other)

    def __or__(self, other: Operand) -> Number:
        return self._binary("or", "or", other)

    def __xor__(self, other: Operand) -> Number:
        return self._binary("xor", "xor", other)

    def __lshift__(self, other: Operand) -> Number:
        return self._binary("shl", "shl", other)

    def __rshift__(self, other: Operand) -> Number:
        """Arithmetic shift; `shift_right_logical` fills with zeros."""
        return self._binary("ashr", "ashr", other)

    def shift_right_logical(self, other: Operand) -> Number:
        return self._binary("lshr", "lshr", other)

    def __neg__(self) -> Number:
        if self.is_float:
            return self.lanes.define(
                f"fneg {self.lanes.type(self.element)} {self.register}", self.element
            )
        return 0 - self

    def __invert__(self) -> Number:
        return self ^ (1 if self.element == "i1" else -1)

    def __abs__(self) -> Number:
        if self.is_float:
            return self.lanes.intrinsic("fabs", self)
        return self.lanes.where(self < 0, -self, self)

    def _compare(self, floating: str, integer: str, other: Operand) -> Number:
        lanes = self.lanes
        right = lanes.literal(other, self.element)
        opcode = f"fcmp {floating}" if self.is_float else f"icmp {integer}"
        return lanes.define(
            f"{opcode} {lanes.type(self.element)} {self.register}, {right.register}", "i1"
        )

    def __lt__(self, other: Operand) -> Number:
        return self._compare("olt", "slt", other)

    def __le__(self, other: Operand) -> Number:
        return self._compare("ole", "sle", other)

    def __gt__(self, other: Operand) -> Number:
        return self._compare("ogt", "sgt", other)

    def __ge__(self, other: Operand) -> Number:
        return self._compare("oge", "sge", other)

    def equals(self, other: Operand) -> Number:
        return self._compare("oeq", "eq", other)

    def differs(self, other: Operand) -> Number:
        """True also if one of them is nan."""
        return self._compare("une", "ne", other)

    def below_unsigned(self, other: Operand) -> Number:
        return self._compare("olt", "ult", other)

    def not_at_least(self, other: Operand) -> Number:
        """True also if one of them is nan."""
        return self._compare("ult", "slt", other)

    def is_nan(self) -> Number:
        return self._compare("uno", "ne", self)

    def bits(self) -> Number:
        """The same bits as an integer of the same width."""
        return self.lanes.cast("bitcast", self, f"i{BITS[self.element]}")

    def as_float(self) -> Number:
        """The bits of an integer as a float of the same width."""
        return self.lanes.cast("bitcast", self, f"f{BITS[self.element]}")


Operand = Number | float | int


class Lanes:
    """Emits into `builder`, always vectors of `count` lanes (1 is a scalar)."""

    def __init__(self, builder: Builder, count: int, target: MathTarget) -> None:
        self.builder = builder
        self.count = count
        self.target = target

    # ---- plumbing
    def type(self, element: str) -> str:
        return self.builder.type(element, self.count)

    def define(self, text: str, element: str) -> Number:
        return Number(self, self.builder.define(text), element)

    def literal(self, value: Operand, element: str) -> Number:
        if isinstance(value, Number):
            return value
        if element == "i1":
            text = "true" if value else "false"
        elif element[0] == "i":
            text = str(int(value))
        else:
            text = float_literal(float(value), element)
        return Number(self, self.builder.splat(text, element, self.count), element)

    def cast(self, opcode: str, x: Number, element: str) -> Number:
        if x.element == element:
            return x
        return self.define(
            f"{opcode} {self.type(x.element)} {x.register} to {self.type(element)}", element
        )

    def convert(self, x: Number, element: str) -> Number:
        """From floats to floats, from signed integers to floats or integers."""
        if x.element == element:
            return x
        width, wanted = BITS[x.element], BITS[element]
        if x.is_float:
            return self.cast("fpext" if wanted > width else "fptrunc", x, element)
        if element[0] != "i":
            return self.cast("sitofp", x, element)
        return self.cast("sext" if wanted > width else "trunc", x, element)

    def extend_unsigned(self, x: Number, element: str) -> Number:
        return self.cast("zext", x, element)

    def intrinsic(self, name: str, *arguments: Number) -> Number:
        element = arguments[0].element
        register = self.builder.intrinsic(
            name, element, self.count, *(x.register for x in arguments)
        )
        return Number(self, register, element)

    # ---- choices
    def where(self, mask: Number, yes: Operand, no: Operand) -> Number:
        element = yes.element if isinstance(yes, Number) else no.element  # type: ignore[union-attr]
        a, b = self.literal(yes, element), self.literal(no, element)
        kind = self.type(element)
        return self.define(
            f"select {self.type('i1')} {mask.register}, {kind} {a.register}, {kind} {b.register}",
            element,
        )

    def at_most(self, x: Number, limit: Operand) -> Number:
        """min(x, limit) that keeps a nan in x; one minps."""
        return self.where(x > limit, limit, x)

    def at_least(self, x: Number, limit: Operand) -> Number:
        """max(x, limit) that keeps a nan in x; one maxps."""
        return self.where(x < limit, limit, x)

    def any(self, mask: Number) -> str:
        """A scalar i1: whether some lane is true."""
        if self.count == 1:
            return mask.register
        kind = self.type("i1")
        name = f"llvm.vector.reduce.or.v{self.count}i1"
        return self.builder.call(name, "i1", (kind, mask.register))

    def branch(
        self, condition: str, otherwise: Sequence[Number], then: Callable[[], Sequence[Number]]
    ) -> list[Number]:
        """The numbers that `then` emits if the scalar i1 `condition`, else `otherwise`."""
        builder = self.builder
        before = builder.block
        rare, join = builder.label("rare"), builder.label("join")
        builder.emit(f"br i1 {condition}, label %{rare}, label %{join}")
        builder.start(rare)
        chosen = then()
        builder.emit(f"br label %{join}")
        after = builder.block
        builder.start(join)
        return [
            self.define(
                f"phi {self.type(a.element)} [ {b.register}, %{before} ], "
                f"[ {a.register}, %{after} ]",
                a.element,
            )
            for a, b in zip(chosen, otherwise)
        ]

    def table(self, name: str, element: str, values: Sequence[int], index: Number) -> Number:
        """values[index] for each lane, from a constant array of the module."""
        symbol, scalar = f"math_table_{name}", self.builder.type(element, 1)
        rows = ", ".join(f"{scalar} {value}" for value in values)
        self.builder.helpers[symbol] = (
            f"@{symbol} = internal constant [{len(values)} x {scalar}] [{rows}]\n"
        )
        kind = self.type("ptr")
        address = self.define(
            f"getelementptr {scalar}, ptr @{symbol}, {self.type(index.element)} {index.register}",
            "ptr",
        )
        if self.count == 1:
            return self.define(f"load {scalar}, ptr {address.register}", element)
        result, mask = self.type(element), self.type("i1")
        register = self.builder.call(
            f"llvm.masked.gather.{self.builder.suffix(element, self.count)}.v{self.count}p0",
            result,
            (kind, address.register),
            ("i32", str(BITS[element] // 8)),
            (mask, "splat (i1 true)"),
            (result, "poison"),
        )
        return Number(self, register, element)

    # ---- floating point
    def fma(self, a: Operand, b: Operand, c: Operand) -> Number:
        """a b + c, rounded once where the target can; elsewhere a product and a sum, rounded each.

        Without the instruction llvm.fma would call libm for each lane. A formula that needs the
        single rounding must use `product` instead.
        """
        element = next(x.element for x in (a, b, c) if isinstance(x, Number))
        a, b, c = (self.literal(x, element) for x in (a, b, c))
        if self.target.fma:
            return self.intrinsic("fma", a, b, c)
        return a * b + c

    def product(self, a: Number, b: Operand) -> tuple[Number, Number]:
        """a b as an unevaluated sum high + low, exact (while the split does not overflow)."""
        b = self.literal(b, a.element)
        high = a * b
        if self.target.fma:
            return high, self.intrinsic("fma", a, b, -high)
        # Veltkamp's split and Dekker's product.
        splitter = 4097.0 if a.element == "f32" else 134217729.0

        def split(x: Number) -> tuple[Number, Number]:
            t = x * splitter
            top = t - (t - x)
            return top, x - top

        (a1, a2), (b1, b2) = split(a), split(b)
        return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2

    def total(self, a: Number, b: Operand) -> tuple[Number, Number]:
        """a + b as an unevaluated sum high + low, exact (Knuth)."""
        b = self.literal(b, a.element)
        high = a + b
        shadow = high - a
        return high, (a - (high - shadow)) + (b - shadow)

    def total_ordered(self, a: Number, b: Operand) -> tuple[Number, Number]:
        """The same for |a| >= |b| (Dekker)."""
        b = self.literal(b, a.element)
        high = a + b
        return high, b - (high - a)

    def polynomial(
        self, x: Number, coefficients: Sequence[float], start: Number | None = None
    ) -> Number:
        """Horner's rule, lowest power first; `start` stands above the highest coefficient."""
        terms = list(coefficients)
        result = start if start is not None else self.literal(terms.pop(), x.element)
        for c in reversed(terms):
            result = self.fma(result, x, c)
        return result

    def copy_sign(self, x: Number, sign: Number) -> Number:
        return self.intrinsic("copysign", x, sign)

    def square_root(self, x: Number) -> Number:
        return self.intrinsic("sqrt", x)

    def nearest(self, x: Number) -> tuple[Number, Number]:
        """The nearest integer to x as a float, and a number whose low bits are that integer.

        |x| < 2^21 (float32) or 2^50 (float64). Adding 1.5 * 2^(p-1) leaves the integer in the low
        bits of the mantissa: two additions, no conversion (undefined for nan, absent for int64
        before AVX-512) and no rounding instruction (absent before SSE4.1).
        """
        magic = 1.5 * 2.0 ** (MANTISSA[x.element])
        shifted = x + magic
        return shifted - magic, shifted.bits()

    def nearest_product(self, x: Number, factor: float) -> tuple[Number, Number]:
        """`nearest(x * factor)`, the product fused into the addition."""
        magic = 1.5 * 2.0 ** (MANTISSA[x.element])
        shifted = self.fma(x, factor, magic)
        return shifted - magic, shifted.bits()

    def load_exponent(self, x: Number, n: Number) -> Number:
        """x 2^n for an i32 n: one vscalefps. Only with AVX-512: else libm, lane by lane."""
        suffix = self.builder.suffix(x.element, self.count)
        register = self.builder.call(
            f"llvm.ldexp.{suffix}.{self.builder.suffix('i32', self.count)}",
            self.type(x.element),
            (self.type(x.element), x.register),
            (self.type("i32"), n.register),
        )
        return Number(self, register, x.element)

    def power_of_two(self, k: Number, element: str) -> Number:
        """2^k for an integer k of the element's width, a normal exponent in its low bits."""
        return ((k + BIAS[element]) << MANTISSA[element]).as_float()


#: explicit bits of the mantissa, and the exponent's bias
MANTISSA = {"f32": 23, "f64": 52}
BIAS = {"f32": 127, "f64": 1023}
TINY = {"f32": 2.0**-126, "f64": 2.0**-1022}
INFINITY = math.inf
NAN = math.nan
