"""Prints expression trees as Triton statements, giving every node a dtype.

Rules: an input has the compute dtype it was loaded in; a Python number is weak (it takes the dtype
of what it meets, and turns integers into floats only if it is a float); "float" primitives turn
integers into the default float. Storing converts to the output's dtype.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError
from tritorch.kernels.expression import PRIMITIVES, Expr, Primitive, topological
from tritorch.kernels.gpu_helpers import GPU_HELPERS
from tritorch.kernels.helpers import HELPERS

_FLOAT32_MAX = 3.4028234663852886e38
_FLOAT32_TINY = 2.0**-126
#: an expression that is longer is given a name
_LONGEST_INLINE = 60
_HELPER_CALL = re.compile(r"\b(" + "|".join((*HELPERS, *GPU_HELPERS)) + r")\(")
_TRITON_NAMES = {
    "bool": "int1",
    "float8_e4m3fn": "float8e4nv",
    "float8_e5m2": "float8e5",
}


_SCALAR_DTYPES = {
    "fp64": dtypes.float64,
    "fp32": dtypes.float32,
    "u64": dtypes.uint64,
    "i64": dtypes.int64,
}


def triton_name(dtype: Dtype) -> str:
    """`tl.float32` for float32, and so on."""
    return "tl." + _TRITON_NAMES.get(dtype.name, dtype.name)


def scalar_type(compute: Dtype) -> str:
    """The Triton type in which a Python number is passed to a kernel that computes in this
    dtype.
    """
    if compute.is_floating_point:
        return "fp64" if compute is dtypes.float64 else "fp32"
    return "u64" if compute is dtypes.uint64 else "i64"


def scalar_dtype(compute: Dtype) -> Dtype:
    """The dtype of that type."""
    return _SCALAR_DTYPES[scalar_type(compute)]


class Value(NamedTuple):
    """The text of a value, its dtype, and whether it must be put in parentheses inside an
    expression.
    """

    text: str
    dtype: Dtype
    compound: bool = False

    @property
    def atom(self) -> str:
        return f"({self.text})" if self.compound else self.text


def literal(
    value: bool | int | float, dtype: Dtype, place: str = "typed", shape: str = "()"
) -> str:
    """A Python number as Triton text of a dtype.

    `place`: "infix" beside an operator, "call" among the operands of a Triton function (there
    Triton infers float32 and int32), "typed" where nothing is inferred.
    """
    if dtype.is_floating_point:
        number = float(value)
        if dtype is dtypes.float32 and abs(number) > _FLOAT32_MAX:
            number = math.copysign(math.inf, number)
        text = repr(number) if math.isfinite(number) else f'float("{number}")'
        # Triton takes numbers outside the normal range of float32 for float64.
        tiny = 0 < abs(number) < _FLOAT32_TINY
        plain = not tiny and (dtype is dtypes.float32 or (place == "infix" and _is_float32(number)))
    elif dtype is dtypes.bool:
        text, plain = repr(bool(value)), False
    else:
        text = repr(int(value))
        plain = (place == "infix" or dtype is dtypes.int32) and abs(int(value)) < 2**31
    if plain and place != "typed":
        return f"({text})" if text[0] == "-" and place == "infix" else text
    return f"tl.full({shape}, {text}, {triton_name(dtype)})"


def _is_float32(number: float) -> bool:
    if not math.isfinite(number):
        return True
    return abs(number) < _FLOAT32_MAX and struct.unpack("f", struct.pack("f", number))[0] == number


def converted(value: Value, dtype: Dtype) -> Value:
    """The value in another dtype; float16 and smaller exist only in memory, so they are rounded to
    and back.
    """
    compute = dtype.compute
    text = value.atom
    if value.dtype is not compute or dtype is not compute:
        if value.dtype is not dtype:
            text += by_way_of(value.dtype, dtype) + f".to({triton_name(dtype)})"
        if compute is not dtype:
            text += f".to({triton_name(compute)})"
        return Value(text, compute)
    return value


def by_way_of(of: Dtype, to: Dtype) -> str:
    """The conversion that comes first where floats become narrow or unsigned integers: they wrap,
    as in PyTorch.
    """
    if not of.is_floating_point or to.category != 1:
        return ""
    if not to.is_signed:
        return ".to(tl.int64)"
    return ".to(tl.int32)" if to.itemsize < 4 else ""


class Printer:
    """Prints trees that read `inputs` (name -> value); `index` is the text of the element's
    position, which `position` (index or diagonal) stands for; `gpu`: for one.

    After `print`, `statements` holds the lines and `helpers` the device functions that they call.
    """

    def __init__(
        self,
        inputs: Mapping[str, Value],
        index: Value | None = None,
        prefix: str = "t",
        position: str = "index",
        gpu: bool = False,
    ) -> None:
        self.inputs = inputs
        self.gpu = gpu
        self.index = index
        self.position = position
        self.prefix = prefix
        self.statements: list[str] = []
        self.helpers: set[str] = set()
        wide = any(v.dtype is dtypes.float64 for v in inputs.values())
        self._default_float = dtypes.float64 if wide else dtypes.float32
        self._values: dict[int, Value] = {}
        self._count = 0

    def print(self, roots: Sequence[Expr]) -> list[Value]:
        """Values of the roots; appends the statements that they need."""
        order = topological(roots)
        uses: dict[int, int] = {}
        for node in order:
            for argument in node.args:
                uses[id(argument)] = uses.get(id(argument), 0) + 1
        for node in order:
            if node.op != "constant" and id(node) not in self._values:
                value = self._node(node)
                if len(node.args) and (
                    uses.get(id(node), 0) > 1 or len(value.text) > _LONGEST_INLINE
                ):
                    value = self._named(value)
                self._values[id(node)] = value
        return [self._constant(r) if r.op == "constant" else self._values[id(r)] for r in roots]

    def _named(self, value: Value) -> Value:
        name = f"{self.prefix}{self._count}"
        self._count += 1
        self.statements.append(f"{name} = {value.text}")
        return Value(name, value.dtype)

    def _constant(self, node: Expr, dtype: Dtype | None = None) -> Value:
        dtype = dtype or self._weak_dtype([node])
        return Value(literal(node.value, dtype), dtype)

    def _weak_dtype(self, nodes: Sequence[Expr]) -> Dtype:
        """The dtype of Python numbers among themselves."""
        kinds = {type(node.value) for node in nodes}
        if float in kinds:
            return self._default_float
        return dtypes.int64 if int in kinds else dtypes.bool

    def _node(self, node: Expr) -> Value:
        if node.op == "input":
            return self.inputs[node.value]
        if node.op in ("index", "diagonal"):
            if self.index is None or node.op != self.position:
                raise DtypeError(f"{node.op}: this kind of kernel has no element {node.op}.")
            return self.index
        if node.op == "cast":
            (source,) = node.args
            if source.op == "constant":
                return converted(self._constant(source, node.value.compute), node.value)
            return converted(self._values[id(source)], node.value)
        return self._primitive(node, PRIMITIVES[node.op])

    def _primitive(self, node: Expr, primitive: Primitive) -> Value:
        operands = node.args[1:] if primitive.kind == "select" else node.args
        dtype = dtypes.bool if primitive.logical else self._common(operands)
        if primitive.kind == "float" and not dtype.is_floating_point:
            dtype = self._default_float
        if dtype is dtypes.bool and primitive.boolean is None:
            dtype = dtypes.int32
        if dtype.category == 1 and primitive.integer is None:
            dtype = self._default_float
        spelling = {0: primitive.boolean, 1: primitive.integer, 2: primitive.floating}[
            dtype.category
        ]
        if dtype is dtypes.float64 and primitive.double is not None:
            spelling = primitive.double
        elif self.gpu and dtype is dtypes.float32 and primitive.gpu is not None:
            spelling = primitive.gpu
        if spelling is None:
            raise DtypeError(f"{node.op}: not defined for {dtype.name} operands.")
        calls = {match[1] for match in _HELPER_CALL.finditer(spelling)}
        self.helpers |= calls
        infix = _has_operator(spelling)
        place = "typed" if calls else "infix" if infix else "call"
        texts = []
        for position, operand in enumerate(node.args):
            wanted = dtypes.bool if primitive.kind == "select" and position == 0 else dtype
            if operand.op == "constant":
                texts.append(literal(operand.value, wanted, place))
                continue
            value = converted(self._values[id(operand)], wanted)
            if spelling.count(f"{{{position}}}") > 1 and not value.text.isidentifier():
                value = self._named(value)
            texts.append(value.text if position in _alone(spelling) else value.atom)
        bits = dtype.itemsize * 8
        text = spelling.format(*texts, t=triton_name(dtype), bits=bits, signed=dtype.is_signed)
        result = dtypes.BY_NAME.get(primitive.kind, dtype)
        return Value(text, result, compound=infix)

    def _common(self, operands: Sequence[Expr]) -> Dtype:
        """The dtype in which operands meet."""
        strong = [self._values[id(o)].dtype for o in operands if o.op != "constant"]
        weak = [o for o in operands if o.op == "constant"]
        if not strong:
            return self._weak_dtype(weak)
        common = strong[0]
        for dtype in strong[1:]:
            common = _promote(common, dtype)
        if weak:
            met = self._weak_dtype(weak)
            if met.category > common.category:
                return met
        return common


@cache
def _has_operator(spelling: str) -> bool:
    """Whether the spelling is an operator's (it needs parentheses inside others) or a call."""
    depth, outside = 0, ""
    for character in spelling:
        depth -= character == ")"
        outside += character if depth == 0 else ""
        depth += character == "("
    return " " in outside or spelling[0] in "-~"


@cache
def _alone(spelling: str) -> frozenset[int]:
    """The operands that are whole arguments of a call wherever they stand: no operator is by."""
    alone: set[int] = set()
    among: set[int] = set()
    pieces = spelling.split("{")
    for before, piece in pairwise(pieces):
        name, _, after = piece.partition("}")
        if name.isdigit():
            whole = before.removesuffix(" ").endswith(("(", ",")) and after.startswith((",", ")"))
            (alone if whole else among).add(int(name))
    return frozenset(alone - among)


def _promote(a: Dtype, b: Dtype) -> Dtype:
    if a.category == b.category == 1 and a.is_signed is not b.is_signed:
        return a if a.itemsize >= b.itemsize else b  # kernels mix them only in index arithmetic
    return dtypes.promote_types(a, b)
