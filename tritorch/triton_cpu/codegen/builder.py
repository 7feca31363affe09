"""Text builder for LLVM IR: registers, labels, vector types, intrinsic calls, shared helper
functions.

Text is 48 times faster to produce than llvmlite.ir objects, so code generation is string
formatting; this class keeps that tidy. `lanes == 1` means a scalar, never a one-element vector.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

LLVM_TYPE = {
    "f64": "double",
    "f32": "float",
    "f16": "half",
    "bf16": "bfloat",
    "i1": "i1",
    "i8": "i8",
    "i16": "i16",
    "i32": "i32",
    "i64": "i64",
    "ptr": "ptr",
    # 8-bit floats travel as their bits; casts convert them.
    "f8E5M2": "i8",
    "f8E4M3FN": "i8",
}

# Width in memory; a boolean takes a byte there.
BITS = {
    "f64": 64,
    "f32": 32,
    "f16": 16,
    "bf16": 16,
    "i1": 8,
    "i8": 8,
    "i16": 16,
    "i32": 32,
    "i64": 64,
    "ptr": 64,
    "f8E5M2": 8,
    "f8E4M3FN": 8,
}

_FOLD = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}

_SUFFIX = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}


@dataclass(slots=True)
class Vec:
    """An emitted value: register or literal, lanes (1: scalar or uniform), TTIR element."""

    register: str
    lanes: int
    element: str


@dataclass
class Builder:
    """Collects the body of one LLVM function, and what it needs around it."""

    lines: list[str] = field(default_factory=list)
    allocas: list[str] = field(default_factory=list)
    declarations: set[str] = field(default_factory=set)
    #: name -> full text of internal functions and globals shared within the module
    helpers: dict[str, str] = field(default_factory=dict)
    block: str = "entry"
    _count: int = 0

    # ---- names and lines
    def register(self) -> str:
        self._count += 1
        return f"%t{self._count}"

    def label(self, hint: str = "b") -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def define(self, text: str) -> str:
        """Emit `%new = text` and return the new register."""
        self._count += 1
        name = f"%t{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def start(self, label: str) -> None:
        """Begin a basic block; `self.block` is always the label of the current one."""
        self.lines.append(label + ":")
        self.block = label

    def reserve(self) -> int:
        """Keep a place for a phi whose incoming values are known later; fill `lines[place]`."""
        self.lines.append("")
        return len(self.lines) - 1

    # ---- functions beside this one
    def child(self) -> Builder:
        """A builder for another function of the module; declarations and helpers are shared."""
        return Builder(declarations=self.declarations, helpers=self.helpers)

    def function(
        self, name: str, result: str, parameters: Iterable[tuple[str, str]], attributes: str = ""
    ) -> str:
        """The whole text of an internal function whose body is what this builder collected.

        `parameters` are (type with its attributes, register).
        """
        signature = ", ".join(f"{kind} {register}" for kind, register in parameters)
        head = (
            f"define internal {result} @{name}({signature}) {attributes or 'nounwind'} {{\nentry:\n"
        )
        return head + "\n".join([*self.allocas, *self.lines, "}\n"])

    # ---- types and literals
    @staticmethod
    def type(element: str, lanes: int) -> str:
        return LLVM_TYPE[element] if lanes == 1 else f"<{lanes} x {LLVM_TYPE[element]}>"

    @staticmethod
    def suffix(element: str, lanes: int) -> str:
        """The mangled type in an intrinsic's name: v16f32, i64, ..."""
        base = LLVM_TYPE[element]
        base = _SUFFIX.get(base, base)
        return base if lanes == 1 else f"v{lanes}{base}"

    def splat(self, register: str, element: str, lanes: int) -> str:
        """A scalar register or literal as a vector of `lanes`."""
        if lanes == 1:
            return register
        scalar = LLVM_TYPE[element]
        if register[0] != "%":
            return f"splat ({scalar} {register})"
        vector = f"<{lanes} x {scalar}>"
        first = self.define(f"insertelement {vector} poison, {scalar} {register}, i64 0")
        return self.define(
            f"shufflevector {vector} {first}, {vector} poison, <{lanes} x i32> zeroinitializer"
        )

    def widen(self, value: Vec, lanes: int) -> str:
        return (
            self.splat(value.register, value.element, lanes) if value.lanes == 1 else value.register
        )

    @staticmethod
    def constants(element: str, values: Iterable[object]) -> str:
        """A vector literal of LLVM constants: `<i64 0, i64 1, ...>`."""
        scalar = LLVM_TYPE[element]
        return "<" + ", ".join(f"{scalar} {value}" for value in values) + ">"

    def lane_numbers(self, element: str, lanes: int) -> str:
        return self.constants(element, range(lanes))

    # ---- scalar integers that may be known now
    def integer(self, op: str, a: int | str, b: int | str, element: str = "i64") -> int | str:
        """add, sub or mul of numbers or registers, folded where possible."""
        if isinstance(a, int) and isinstance(b, int):
            half = 1 << (BITS[element] - 1)
            return (_FOLD[op](a, b) + half) % (2 * half) - half
        if b == 0 and op in ("add", "sub"):
            return a
        if a == 0 and op == "add":
            return b
        if op == "mul":
            if a == 0 or b == 0:
                return 0
            if a == 1:
                return b
            if b == 1:
                return a
        return self.define(f"{op} {element} {a}, {b}")

    def extend(self, value: int | str, source: str, target: str = "i64") -> int | str:
        """Sign-extend (or cut) a scalar integer."""
        if isinstance(value, int) or source == target:
            return value
        op = "sext" if BITS[source] < BITS[target] or source == "i1" else "trunc"
        return self.define(f"{op} {source} {value} to {target}")

    # ---- instructions with a shape of their own
    def call(
        self, name: str, result: str, *arguments: tuple[str, str], attributes: str = ""
    ) -> str:
        """Call an external function or intrinsic and declare it; `arguments`: (type, register)."""
        kinds = ", ".join(kind.partition(" align ")[0] for kind, _ in arguments)
        self.declarations.add(f"declare {result} @{name}({kinds})")
        text = f"call {result} @{name}({', '.join(f'{k} {r}' for k, r in arguments)}){attributes}"
        if result == "void":
            self.emit(text)
            return ""
        return self.define(text)

    def intrinsic(self, name: str, element: str, lanes: int, *registers: str) -> str:
        """An overloaded intrinsic on one type, such as llvm.fma or llvm.smin."""
        kind = self.type(element, lanes)
        return self.call(
            f"llvm.{name}.{self.suffix(element, lanes)}", kind, *[(kind, r) for r in registers]
        )

    def table(self, kind: str, values: Iterable[object]) -> str:
        """A private constant array; returns its address. Equal tables are one."""
        items = [f"{kind} {value}" for value in values]
        text = (
            f"private unnamed_addr constant [{len(items)} x {kind}] [{', '.join(items)}], align 64"
        )
        for name, known in self.helpers.items():
            if known == f"{name} = {text}":
                return name
        name = f"@table{len(self.helpers)}"
        self.helpers[name] = f"{name} = {text}"
        return name

    def shuffle(self, a: str, b: str | None, element: str, lanes: int, order: Iterable[int]) -> str:
        kind = self.type(element, lanes)
        mask = list(order)
        picks = ", ".join(f"i32 {i}" for i in mask)
        return self.define(
            f"shufflevector {kind} {a}, {kind} {b or 'poison'}, <{len(mask)} x i32> <{picks}>"
        )


def float_literal(value: float, element: str) -> str:
    """An exact LLVM literal: hexadecimal double for f32/f64, 0xH/0xR for f16/bf16."""
    if element == "f16":
        return f"0xH{struct.unpack('H', struct.pack('e', value))[0]:04X}"
    if element == "bf16":
        bits = struct.unpack("I", struct.pack("f", value))[0]
        if value == value:  # round to nearest even; a nan keeps its top bits
            bits += 0x7FFF + ((bits >> 16) & 1)
        return f"0xR{(bits >> 16) & 0xFFFF:04X}"
    if element == "f32" and value == value and abs(value) != float("inf"):
        value = struct.unpack("f", struct.pack("f", value))[0]
    return f"0x{struct.unpack('Q', struct.pack('d', value))[0]:016X}"
