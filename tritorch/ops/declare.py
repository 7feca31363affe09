"""Declaring operations: one decorated function gives the public function, methods, gradient and
test row.

    @pointwise(numpy=np.tanh, inplace=True, samples=[-1e4, 0.0, 1e4])
    def tanh(input):
        \"\"\"Hyperbolic tangent.\"\"\"
        return s.tanh(input)

`OPS` lists everything that was declared; tests and benchmarks walk it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Protocol, cast

from tritorch import dtypes
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.kernels import trace
from tritorch.ops.output import finished
from tritorch.ops.pointwise import Pointwise
from tritorch.ops.recipe import Override
from tritorch.tensor import Tensor

#: a few values on which every floating-point operation is tried
EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, -1e-30, 1e30, float("inf"), float("-inf"), float("nan"))


@dataclass
class OpInfo:
    """What tests and benchmarks know of an operation.

    Attributes:
        name: public name. function: what users call.
        kind: "pointwise", "reduction", "view", ...; tests make inputs accordingly.
        operands: number of tensor operands.
        numpy: the reference, on float64 (or integer) arrays and the same further arguments.
        promote: how the result's dtype follows, a word of `tritorch.ops.dtype_rules.RULES`.
        low, high: range of random inputs, inside the domain of the function.
        samples: further values to try: edges of branches and of the domain.
        differentiable: whether gradients exist. integers: whether integer tensors are accepted.
        inplace: whether `Tensor.name_` exists.
        calls: further keyword arguments to try, a dictionary each.
        cases: for what is not pointwise, functions of a random generator that give
            (arguments, keyword arguments).
        module: where it is declared, for those whose function is generated.
    """

    name: str
    function: Callable[..., Any]
    kind: str
    operands: int = 1
    numpy: Callable[..., Any] | None = None
    promote: str = "same"
    low: float = -3.0
    high: float = 3.0
    samples: Sequence[float] = ()
    differentiable: bool = True
    integers: bool = True
    inplace: bool = False
    calls: Sequence[dict[str, Any]] = field(default_factory=lambda: [{}])
    cases: Sequence[Callable[..., Any]] = ()
    operation: Any = None
    module: str = ""

    def __repr__(self) -> str:
        return self.name


class Function(Protocol):
    """A public function with the operation that it belongs to."""

    operation: Pointwise

    def __call__(self, *operands: Any, **options: Any) -> Any:
        """Run it."""


OPS: list[OpInfo] = []
_TYPES = {"float": float, "int": int, "bool": bool}


def pointwise(
    *,
    promote: str = "same",
    grad: Override | None = None,
    differentiable: bool = True,
    numpy: Callable[..., Any] | None = None,
    low: float = -3.0,
    high: float = 3.0,
    samples: Sequence[float] = (),
    integers: bool = True,
    method: bool = True,
    inplace: bool = False,
    out: bool = True,
    operators: Sequence[str] = (),
    aliases: Iterable[str] = (),
    node: str = "",
    calls: Sequence[dict[str, Any]] = ({},),
    divisor: str = "",
    row_major: bool = False,
) -> Callable[[Callable[..., Any]], Function]:
    """Declare an operation whose results depend on one element of each operand.

    The decorated function is written in the scalar language; an underscore before its name, for
    one that a
    function with more options calls, is not part of the operation's name. Parameters without
    annotation are operands;
    annotated ones (float, int, bool) are always Python numbers.

    Args:
        promote: a word of `tritorch.ops.dtype_rules.RULES`.
        grad: overrides the derived gradient, see `tritorch.ops.recipe.gradient_trees`.
        method, inplace, out: whether `Tensor.name`, `Tensor.name_` and `out=` exist.
        operators: dunder methods; `__r...__` is reflected, `__i...__` in place.
        aliases: further names of function and methods.
        node: name of the node, `NameBackward0` unless given.
        divisor: the operand by which integers are divided; 0 raises IntegerDivisionError on CPUs.
        row_major: new results are, whatever the operands' strides, as some of PyTorch's.
        numpy, low, high, samples, integers, calls: see `OpInfo`.
    """

    def declare(function: Callable[..., Any]) -> Function:
        name = function.__name__.removeprefix("_")
        names = parameter_names(function)
        kinds = function.__annotations__
        operands = [n for n in names if n not in kinds]
        defaults = function.__defaults__ or ()
        texts = dict(zip(names[len(names) - len(defaults) :], map(repr, defaults)))
        numbers = {n: (_TYPES[kinds[n]], texts.get(n, "")) for n in names if n in kinds}
        operation = Pointwise(
            name,
            operands,
            lambda: trace(function, names),
            parameters=numbers,
            promote=promote,
            grad=grad,
            differentiable=differentiable,
            node_name=node,
            doc=function.__doc__,
            out=out,
            divisor=divisor,
            row_major=row_major,
        )
        attach(operation, method, inplace, operators, aliases)
        OPS.append(
            OpInfo(
                name=name,
                function=operation.function,
                kind="pointwise",
                operands=len(operands),
                numpy=numpy,
                promote=promote,
                low=low,
                high=high,
                samples=samples,
                differentiable=operation.differentiable,
                integers=integers and promote != "floating",
                inplace=inplace,
                calls=calls,
                operation=operation,
                module=function.__module__,
            )
        )
        made = cast(Function, operation.function)
        made.operation = operation
        return made

    return declare


def attach(
    operation: Pointwise,
    method: bool,
    inplace: bool,
    operators: Sequence[str],
    aliases: Iterable[str],
) -> None:
    """Give Tensor the methods of an operation."""
    names = [operation.name, *aliases]
    for name in names:
        if method:
            setattr(Tensor, name, operation.function)
        if inplace:
            setattr(Tensor, name + "_", operation.inplace)
    for dunder in operators:
        if dunder.startswith("__i") and dunder != "__invert__":
            setattr(Tensor, dunder, operation.inplace_operator(dunder))
        else:
            reflected = dunder.startswith("__r") and dunder not in ("__round__", "__rshift__")
            setattr(Tensor, dunder, operation.operator(dunder, reflected))


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of all parameters but *args and **kwargs; `inspect.signature` takes 50 us for it."""
    code = getattr(function, "__code__", None)
    if code is None:
        return tuple(inspect.signature(function).parameters)
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def method(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a method of Tensor too, under its own name or these."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        function = numpy_names(function)
        for name in names or (function.__name__,):
            setattr(Tensor, name, function)
        return function

    return declare


_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes `axis=` for `dim=` and `keepdims=` for `keepdim=` too, as PyTorch's.

    With `writes`, see there.
    """
    if hasattr(function, "__wrapped__"):
        return function
    if function.__dict__.get("writes"):
        return _written(function)
    if "dim" not in parameter_names(function):
        return function

    @wraps(function)
    def renamed(*arguments: Any, **options: Any) -> Any:
        if options and ("axis" in options or "keepdims" in options):
            options = {_NUMPY_NAMES.get(name, name): value for name, value in options.items()}
        return function(*arguments, **options)

    return renamed


def _written(function: Callable[..., Any]) -> Callable[..., Any]:
    name = function.__name__.strip("_").removesuffix("_method")

    @wraps(function)
    def written(*arguments: Any, **options: Any) -> Any:
        if not options:
            return function(*arguments)
        if "axis" in options or "keepdims" in options:
            options = {_NUMPY_NAMES.get(name, name): value for name, value in options.items()}
        out = options.pop("out", None)
        result = function(*arguments, **options)
        return result if out is None else finished(result, out, name)

    return written


def writes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function take `out=`: what it gives is copied there. Below what declares it."""
    function.__dict__["writes"] = True
    return numpy_names(function)


def in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give Tensor the method that writes what a function gives into its first operand."""
    name = function.__name__ + "_"

    def written(input: Tensor, *arguments: Any, **options: Any) -> Tensor:
        # Gradients may need what is overwritten.
        own = input.clone() if input._requires_grad and mode.enabled else input
        result: Tensor = input.copy_(function(own, *arguments, **options))
        return result

    written.__name__ = written.__qualname__ = name
    written.__doc__ = f"In-place version of `{name[:-1]}`."
    setattr(Tensor, name, written)
    return function


def without_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Say that results have no gradient: indices, counts, truth values, random numbers."""
    function.__dict__["differentiable"] = False
    return function


#: words for several dtypes; those of eight bits are for storage, few operations compute with them
GROUPS = {
    "all": dtypes.ALL,
    "floating": (dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16),
    "float8": (dtypes.float8_e4m3fn, dtypes.float8_e5m2),
    "integers": tuple(kind for kind in dtypes.ALL if kind.category == 1),
}


def takes(*words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Say which dtypes a function takes that has no rule of its own: words of `GROUPS`, or names.

    Below all else that declares it. Tests hold it against what happens.
    """
    wanted = {kind for word in words for kind in GROUPS.get(word) or (dtypes.BY_NAME[word],)}

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__dict__["dtypes"] = tuple(k.name for k in dtypes.ALL if k in wanted)
        return function

    return declare


def operation(
    kind: str,
    *,
    method: bool = True,
    aliases: Iterable[str] = (),
    register: bool = True,
    **info: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an operation that is not pointwise: a function with its own plans and gradient.

    Args:
        kind: see `OpInfo`, as is `info`.
        method: whether `Tensor.name` exists; aliases: further names of it.
        register: whether tests walk it.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        function = numpy_names(function)
        if method:
            for name in (function.__name__, *aliases):
                setattr(Tensor, name, function)
        if register:
            OPS.append(OpInfo(name=function.__name__, function=function, kind=kind, **info))
        return function

    return declare
