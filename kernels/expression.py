"""`Expr`: immutable, hash-consed expression trees, the one form in which scalar functions are
known.

A tree is built by calling the scalar language (`tritorch.kernels.scalar`) or Python's operators on
variables. Equal trees are the same object, so common sub-expressions exist once. Trees are free of
dtypes: the printer gives every node one from the dtypes of the inputs (Python numbers in a tree
    are weak, as in PyTorch).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Number = bool | int | float


class Primitive(NamedTuple):
    """One row of the scalar language.

    Attributes:
        name: as users call it.
        arity: number of operands.
        kind: dtype of the result. "same": that of the operands after promotion; "float": the same,
            but integers become the default float; "select": as "same", without the first operand;
            else a dtype's name.
        floating, integer, boolean: how Triton spells it per category of the operands, with {0},
            {1}, ... for them, {t} for their Triton dtype, {bits} for its width and {signed}. None:
            bool operands are computed as int32 and integer operands as the default float.
        double: the spelling for float64 where it differs from `floating`.
        gpu: the spelling for float32 on GPUs where it differs.
        numpy: how NumPy spells it, for the reference in tests (`np`, `special`, and `reference` at
            hand).
        partials: per operand a function of (result, *operands) giving the local derivative, or
            None where it is zero almost everywhere.
        tangent: overrides `partials`: a function of (result, operands, tangents) giving the
            tangent of the result, tangents being None where zero.
        fold: evaluates it on Python numbers, for constants.
        logical: operands are converted to bool first.
    """

    name: str
    arity: int
    kind: str = "same"
    floating: str | None = None
    integer: str | None = None
    boolean: str | None = None
    double: str | None = None
    gpu: str | None = None
    numpy: str = ""
    partials: tuple[Callable[..., Expr] | None, ...] | None = None
    tangent: Callable[..., Expr | None] | None = None
    fold: Callable[..., Number] | None = None
    logical: bool = False


PRIMITIVES: dict[str, Primitive] = {}
#: nodes that are no primitives
LEAVES = ("input", "constant", "index", "diagonal")


class Expr:
    """A node: `op` is the name of a primitive, or input, constant, index, cast.

    `value` is an input's name, a constant's number, or a cast's dtype; None otherwise. Compare
    trees with `is`; `==` builds the comparison node, as it does for tensors.
    """

    __slots__ = ("__weakref__", "args", "op", "value")
    op: str
    args: tuple[Expr, ...]
    value: Any

    def __repr__(self) -> str:
        return self._text(5)

    def _text(self, depth: int) -> str:
        if self.op in ("input", "constant"):
            return str(self.value)
        if depth == 0:  # shared nodes make the full text exponentially long
            return "..."
        inner = ", ".join(a._text(depth - 1) for a in self.args)
        return f"cast({inner}, {self.value.name})" if self.op == "cast" else f"{self.op}({inner})"

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError(
            f"an expression has no truth value while it is traced: {self!r}. "
            "Use where(condition, a, b)."
        )

    def __add__(self, other: Expr | Number) -> Expr:
        return apply("add", self, other)

    def __radd__(self, other: Number) -> Expr:
        return apply("add", other, self)

    def __sub__(self, other: Expr | Number) -> Expr:
        return apply("sub", self, other)

    def __rsub__(self, other: Number) -> Expr:
        return apply("sub", other, self)

    def __mul__(self, other: Expr | Number) -> Expr:
        return apply("mul", self, other)

    def __rmul__(self, other: Number) -> Expr:
        return apply("mul", other, self)

    def __truediv__(self, other: Expr | Number) -> Expr:
        return apply("div", self, other)

    def __rtruediv__(self, other: Number) -> Expr:
        return apply("div", other, self)

    def __floordiv__(self, other: Expr | Number) -> Expr:
        return apply("floor_div", self, other)

    def __rfloordiv__(self, other: Number) -> Expr:
        return apply("floor_div", other, self)

    def __mod__(self, other: Expr | Number) -> Expr:
        return apply("remainder", self, other)

    def __rmod__(self, other: Number) -> Expr:
        return apply("remainder", other, self)

    def __pow__(self, other: Expr | Number) -> Expr:
        return apply("pow", self, other)

    def __rpow__(self, other: Number) -> Expr:
        return apply("pow", other, self)

    def __neg__(self) -> Expr:
        return apply("neg", self)

    def __pos__(self) -> Expr:
        return self

    def __abs__(self) -> Expr:
        return apply("abs", self)

    def __invert__(self) -> Expr:
        return apply("bitwise_not", self)

    def __and__(self, other: Expr | Number) -> Expr:
        return apply("bitwise_and", self, other)

    def __rand__(self, other: Number) -> Expr:
        return apply("bitwise_and", other, self)

    def __or__(self, other: Expr | Number) -> Expr:
        return apply("bitwise_or", self, other)

    def __ror__(self, other: Number) -> Expr:
        return apply("bitwise_or", other, self)

    def __xor__(self, other: Expr | Number) -> Expr:
        return apply("bitwise_xor", self, other)

    def __rxor__(self, other: Number) -> Expr:
        return apply("bitwise_xor", other, self)

    def __lshift__(self, other: Expr | Number) -> Expr:
        return apply("shift_left", self, other)

    def __rshift__(self, other: Expr | Number) -> Expr:
        return apply("shift_right", self, other)

    def __lt__(self, other: Expr | Number) -> Expr:
        return apply("lt", self, other)

    def __le__(self, other: Expr | Number) -> Expr:
        return apply("le", self, other)

    def __gt__(self, other: Expr | Number) -> Expr:
        return apply("gt", self, other)

    def __ge__(self, other: Expr | Number) -> Expr:
        return apply("ge", self, other)

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return apply("eq", self, other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return apply("ne", self, other)


_nodes: weakref.WeakValueDictionary[tuple[Any, ...], Expr] = weakref.WeakValueDictionary()


def _node(op: str, args: tuple[Expr, ...], value: Any = None) -> Expr:
    # repr keeps 1, 1.0 and True apart, and 0.0 and -0.0; ids are safe keys: a node keeps its args
    # alive.
    key = (op, tuple(map(id, args)), repr(value))
    found = _nodes.get(key)
    if found is None:
        found = object.__new__(Expr)
        found.op, found.args, found.value = op, args, value
        _nodes[key] = found
    return found


def variable(name: str) -> Expr:
    """An input of the traced function: a tensor's element or a scalar operand."""
    return _node("input", (), name)


def constant(value: Number) -> Expr:
    """A Python number; weak: it takes the dtype of what it meets."""
    return _node("constant", (), value)


def index() -> Expr:
    """The row-major position of the element: in the output (pointwise), along the reduced or
    scanned part.
    """
    return _node("index", ())


def diagonal() -> Expr:
    """How far right of the main diagonal the element is: its column less its row (pointwise)."""
    return _node("diagonal", ())


def cast(x: Expr | Number, dtype: Any) -> Expr:
    """Convert to a dtype; float16 and smaller are rounded to, then computed on in float32."""
    x = lift(x)
    return x if x.op == "cast" and x.value is dtype else _node("cast", (x,), dtype)


def lift(x: Any) -> Expr:
    """An Expr from an Expr or a Python number."""
    if isinstance(x, Expr):
        return x
    if isinstance(x, (bool, int, float)):
        return constant(x)
    raise TypeError(
        f"scalar language: expected an expression or a Python number, got {type(x).__name__}."
    )


def apply(name: str, *operands: Any) -> Expr:
    """The node of a primitive on operands, simplified."""
    args = tuple(map(lift, operands))
    primitive = PRIMITIVES[name]
    if len(args) != primitive.arity:
        raise TypeError(f"{name}: takes {primitive.arity} operands, got {len(args)}.")
    if all(a.op == "constant" for a in args) and primitive.fold is not None:
        try:
            return constant(primitive.fold(*(a.value for a in args)))
        except (ArithmeticError, ValueError):
            pass  # 1/0, log(-1): the kernel gives the IEEE answer
    rule = _RULES.get(name)
    simpler = rule(*args) if rule is not None else None
    return _node(name, args) if simpler is None else simpler


def trace(function: Callable[..., Any], names: Sequence[str]) -> tuple[Expr, ...]:
    """The outputs of a scalar function called on variables of these names."""
    result = function(*map(variable, names))
    return tuple(map(lift, result if isinstance(result, (tuple, list)) else (result,)))


def topological(roots: Iterable[Expr]) -> list[Expr]:
    """Every node once, operands before users, in a deterministic order; no recursion."""
    order: list[Expr] = []
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Expr, Iterator[Expr]]] = []
        if id(root) not in seen:
            seen.add(id(root))
            stack.append((root, iter(root.args)))
        while stack:
            node, remaining = stack[-1]
            for child in remaining:
                if id(child) not in seen:
                    seen.add(id(child))
                    stack.append((child, iter(child.args)))
                    break
            else:
                order.append(node)
                stack.pop()
    return order


def substitute(roots: Sequence[Expr], replacement: Mapping[str, Expr]) -> tuple[Expr, ...]:
    """The trees with inputs replaced by name; this composes kernels (fusion)."""
    done: dict[int, Expr] = {}
    for node in topological(roots):
        if node.op == "input":
            new = replacement.get(node.value, node)
        elif not node.args:
            new = node
        else:
            new = rebuild(node, [done[id(a)] for a in node.args])
        done[id(node)] = new
    return tuple(done[id(root)] for root in roots)


def rebuild(node: Expr, args: Sequence[Expr]) -> Expr:
    """The same operation on other operands."""
    return cast(args[0], node.value) if node.op == "cast" else apply(node.op, *args)


def input_names(roots: Iterable[Expr]) -> list[str]:
    """Names of the inputs that the trees read, in order of first use."""
    return [node.value for node in topological(roots) if node.op == "input"]


# ---- simplification: only what keeps the value, inf and nan included (a zero may lose its sign)


def _is(x: Expr, value: int) -> bool:
    # Weak integers only: `x * 1.0` turns integers into floats, so it stays.
    return x.op == "constant" and type(x.value) is int and x.value == value


def _add(a: Expr, b: Expr) -> Expr | None:
    if _is(a, 0):
        return b
    if _is(b, 0):
        return a
    if b.op == "neg":
        return apply("sub", a, b.args[0])
    if a.op == "neg":
        return apply("sub", b, a.args[0])
    return None


def _sub(a: Expr, b: Expr) -> Expr | None:
    if _is(b, 0):
        return a
    if _is(a, 0):
        return apply("neg", b)
    if b.op == "neg":
        return apply("add", a, b.args[0])
    return None


def _mul(a: Expr, b: Expr) -> Expr | None:
    if _is(a, 1):
        return b
    if _is(b, 1):
        return a
    if _is(a, -1):
        return apply("neg", b)
    if _is(b, -1):
        return apply("neg", a)
    if a.op == "neg" and b.op == "neg":
        return apply("mul", a.args[0], b.args[0])
    if a.op == "neg":
        return apply("neg", apply("mul", a.args[0], b))
    if b.op == "neg":
        return apply("neg", apply("mul", a, b.args[0]))
    return None


def _div(a: Expr, b: Expr) -> Expr | None:
    if a.op == "neg":
        return apply("neg", apply("div", a.args[0], b))
    return None


def _neg(a: Expr) -> Expr | None:
    if a.op == "neg":
        return a.args[0]
    return None


def _where(condition: Expr, a: Expr, b: Expr) -> Expr | None:
    if a is b:
        return a
    if condition.op == "constant":
        return a if condition.value else b
    if condition.op == "logical_not":
        return apply("where", condition.args[0], b, a)
    return None


def _pow(a: Expr, b: Expr) -> Expr | None:
    if b.op != "constant" or isinstance(b.value, bool):
        return None
    if type(b.value) is int and b.value == 1:
        return a
    if b.value == 2:
        return apply("mul", a, a)
    if b.value == 3:
        return apply("mul", apply("mul", a, a), a)
    if isinstance(b.value, float):
        if b.value == 0.5:
            return apply("sqrt", a)
        if b.value == -1.0:
            return apply("div", 1, a)
    return None


def _logical_not(a: Expr) -> Expr | None:
    inverse = {"eq": "ne", "ne": "eq"}.get(a.op)  # < and >= are no opposites: nan
    return apply(inverse, *a.args) if inverse else None


_RULES: dict[str, Callable[..., Expr | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "where": _where,
    "pow": _pow,
    "logical_not": _logical_not,
}
