"""The functions behind pointwise operations, written out per signature so that a call does little.

A call looks up the plan by the operands' layouts, allocates, launches, wraps, and records a node
if a gradient
is wanted. The text of each function is generated, as dataclasses do it: no packing of arguments,
no loops.
"""

from __future__ import annotations

import ast
import builtins
import marshal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import CodeType, FrameType, FunctionType
from typing import Any, ClassVar, NamedTuple

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import CompileError, DtypeError
from tritorch.layout import Layout
from tritorch.ops.promotion import NUMBERS, common_device
from tritorch.runtime import recording
from tritorch.runtime.storage import Storage
from tritorch.tensor import Tensor
from tritorch.triton_cpu.cache import remembered_bytes

#: an operand's part in the graph: no gradient wanted, wanted, or a Python number
UNWANTED, WANTED, NUMBER = 0, 1, 2
NO_EDGE = (None, 0)


class Plans(dict[Any, Any]):
    """A cache that builds what it lacks from the key, and starts afresh when it has grown large."""

    __slots__ = ("_build", "_limit", "_mixes")

    #: all of them, which live as long as their operations
    every: ClassVar[list[Plans]] = []

    def __init__(self, build: Callable[[Any], Any], limit: int = 4096, mixes: bool = False) -> None:
        """`mixes`: what is built looks at the devices of its operands itself."""
        super().__init__()
        self._mixes = mixes
        self._build = build
        self._limit = limit
        Plans.every.append(self)

    def __missing__(self, key: Any) -> Any:
        layouts = () if self._mixes else tuple(_layouts(key))
        if any(layout.device is not layouts[0].device for layout in layouts):
            common_device(_operation(sys._getframe(1)), layouts, mixes=False)
        try:
            with recording.paused():  # a plan and its tables are made once, for all calls
                found = self._build(key)
        except CompileError as error:
            refused = _rare_dtypes(key)
            if not refused:
                raise
            name = str(error).partition(":")[0]
            raise DtypeError(
                f"{name}: not implemented for {', '.join(map(repr, refused))}. "
                "Convert the operands, as by .to(torch.float32) or .to(torch.int64)."
            ) from error
        if len(self) >= self._limit:
            recording.keep(dict(self))
            self.clear()
        self[key] = found
        return found


def _layouts(key: Any) -> Iterator[Layout]:
    """The layouts in the key of a plan."""
    if isinstance(key, Layout):
        yield key
    elif isinstance(key, (tuple, list)):
        for part in key:
            yield from _layouts(part)


def _operation(frame: FrameType | None) -> str:
    """The operation that a frame of this room belongs to, for an error: the outermost one."""
    name = "operation"
    while frame is not None and frame.f_globals.get("__name__", "").startswith("tritorch.ops."):
        code = frame.f_code.co_name
        if code == "apply":  # of a node
            return type(frame.f_locals["self"]).__name__
        if not code.startswith(("_", "<")) and "declare" not in frame.f_globals["__name__"]:
            name = code
        frame = frame.f_back
    return name


_RARE = ("float8", "uint16", "uint32", "uint64")


def _rare_dtypes(key: Any) -> list[Dtype]:
    """What PyTorch, too, gives few operations: 8-bit floats and wide unsigned integers."""
    parts = key if isinstance(key, (tuple, list)) else (key,)
    found = []
    for part in parts:
        if isinstance(part, (tuple, list)):
            found += _rare_dtypes(part)
        kind = getattr(part, "dtype", part)
        if isinstance(kind, Dtype) and kind.name.startswith(
            ("float8", "uint16", "uint32", "uint64")
        ):
            found.append(kind)
    return list(dict.fromkeys(found))


class Parameter(NamedTuple):
    """A parameter that is always a Python number; `default` is its text, empty for none."""

    name: str
    default: str


class Signature:
    """What a function is called with, under names that all operations of one kind share.

    Args:
        operands: names of what may be tensors (or numbers, where there is more than one).
        parameters: what is always a number.
        reflected: the operands come in reverse order, as in `__radd__`.
    """

    def __init__(
        self,
        operands: Sequence[str],
        parameters: Sequence[Parameter] = (),
        reflected: bool = False,
    ) -> None:
        self.operands = [f"a{i}" for i in range(len(operands))]
        self.parameters = [f"p{i}" for i in range(len(parameters))]
        listed = self.operands[::-1] if reflected else self.operands
        #: the parameter list, and what users call its entries
        self.call = ", ".join([*listed, *self.parameters])
        own = list(operands)[::-1] if reflected else list(operands)
        self.names = (*own, *(p.name for p in parameters))
        self.defaults = tuple(ast.literal_eval(p.default) for p in parameters if p.default)
        #: all operands and parameters, in declared order
        self.everything = ", ".join([*self.operands, *self.parameters])


def _classify(operands: Sequence[str]) -> list[str]:
    if len(operands) == 1:
        (name,) = operands
        return [
            f"{name}_kind = {name}._layout",
            f"{name}_value = {name}._address",
            f"{name}_part = WANTED if {name}._requires_grad else UNWANTED",
        ]
    lines = []
    for name in operands:
        lines += [
            f"{name}_kind = {name}.__class__",
            f"if {name}_kind in NUMBERS:",
            f"    {name}_value = {name}",
            f"    {name}_part = NUMBER",
            "else:",
            f"    {name}_kind = {name}._layout",
            f"    {name}_value = {name}._address",
            f"    {name}_part = WANTED if {name}._requires_grad else UNWANTED",
        ]
    return lines


def _head(signature: Signature, options: str = "") -> list[str]:
    return [
        f"def function({signature.call}{options}):",
        *(
            ["    if out is not None:", f"        return into(out, {signature.everything})"]
            if options
            else []
        ),
        "    try:",
        *(f"        {line}" for line in _classify(signature.operands)),
        "    except AttributeError:",
        f"        return convert({signature.everything})",
    ]


def _joined(names: Sequence[str], suffix: str) -> str:
    return ", ".join(name + suffix for name in names)


def _tail(signature: Signature, results: int, saves: bool) -> list[str]:
    """Allocate, launch, wrap, record."""
    values = ", ".join([f"{name}_value" for name in signature.operands] + signature.parameters)
    kinds = _joined(signature.operands, "_kind")
    parts = _joined(signature.operands, "_part")
    names = ["result"] if results == 1 else [f"result{i}" for i in range(results)]
    lines = []
    if results == 1:
        lines += [
            f"launch, _target, layouts, layout, nbytes = plans[{kinds}]",
            "storage = Storage(nbytes, _target)",
            "address = storage.address",
            f"launch(address, {values})",
            *_wrapped("result", "storage", "address", "layout"),
        ]
    else:
        lines.append(f"launch, _target, layouts, sizes = plans[{kinds}]")
        for i in range(results):
            lines.append(f"storage{i} = Storage(sizes[{i}], _target)")
        lines.append(
            f"launch({', '.join(f'storage{i}.address' for i in range(results))}, {values})"
        )
        for i in range(results):
            lines += _wrapped(f"result{i}", f"storage{i}", f"storage{i}.address", f"layouts[{i}]")
    if saves:
        wanted = " or ".join(f"{name}_part == WANTED" for name in signature.operands)
        edges = ", ".join(
            f"edge({name})" if len(signature.operands) == 1 else
            f"NO_EDGE if {name}_part == NUMBER else edge({name})"
            for name in signature.operands
        )  # fmt: skip
        lines += [
            f"if ({wanted}) and mode.enabled:",
            f"    recipe = recipes[{parts}]",
            "    if recipe is not None:",
            f"        node = Node(({edges},), layouts)",
            f"        recipe.save(node, ({signature.everything},))",
        ]
        for number, name in enumerate(names):
            lines += [
                f"        {name}._grad_fn = node",
                f"        {name}._requires_grad = True",
            ]
            if number:
                lines.append(f"        {name}._output_nr = {number}")
        lines += [
            "        if recipe.saves_result:",
            f"            node.save_outputs({', '.join(names)})",
        ]
    lines.append(f"return {', '.join(names)}")
    return [f"    {line}" for line in lines]


def _wrapped(result: str, storage: str, address: str, layout: str) -> list[str]:
    return [
        f"{result} = new(Tensor)",
        f"{result}._storage = {storage}",
        f"{result}._layout = {layout}",
        f"{result}._address = {address}",
        f"{result}._requires_grad = False",
        f"{result}._grad_fn = {result}._view = {result}._hooks = {result}.grad = None",
        f"{result}._output_nr = 0",
    ]


def function_text(signature: Signature, results: int, *, out: bool, saves: bool) -> str:
    """The text of an operation that makes new tensors."""
    head = _head(signature, ", *, out=None" if out else "")
    return "\n".join([*head, *_tail(signature, results, saves)]) + "\n"


def inplace_text(signature: Signature) -> str:
    """The text of an operation that writes into its first operand."""
    first, *others = signature.operands
    values = ", ".join([f"{name}_value" for name in signature.operands] + signature.parameters)
    parts = [f"{first}_part == WANTED", f"{first}._view is not None"]
    parts += [f"{name}_part == WANTED" for name in others]
    shared = " or ".join(
        f"{n}_part != NUMBER and {n}._storage is storage and {n} is not {first}" for n in others
    )
    lines = [
        f"launch = inplace_plans[{_joined(signature.operands, '_kind')}]",
        f"storage = {first}._storage",
        *([f"if {shared}:", f"    check_overlap({signature.everything})"] if shared else []),
        f"if ({' or '.join(parts)}) and mode.enabled:",
        f"    return record_inplace(launch, ({signature.everything},), "
        f"({_joined(signature.operands, '_part')},), ({values},))",
        f"launch({first}_value, {values})",
        "storage.version += 1",
        f"return {first}",
    ]  # fmt: skip
    return "\n".join([*_head(signature), *(f"    {line}" for line in lines)]) + "\n"


def _compiled(text: str) -> CodeType:
    module = compile(text, "<tritorch operation>", "exec")
    return next(value for value in module.co_consts if isinstance(value, CodeType))


#: Most operations of one arity share their text, and compiling it is what takes time.
_code = cache(_compiled)


@cache
def _whole_code(text: str) -> CodeType:
    """The same of a long text, which a process before this one may have compiled."""
    made = remembered_bytes(
        "byte code", f"{sys.version}\n{text}", lambda: marshal.dumps(_compiled(text))
    )
    code = marshal.loads(made)
    assert isinstance(code, CodeType)
    return code


def deferred(
    signature: Signature,
    name: str,
    doc: str | None,
    build: Callable[[], tuple[str, dict[str, Any]]],
    *,
    out: bool = False,
) -> Callable[..., Any]:
    """A function whose text is written when it is first called: few programs call most of them.

    Until then its code only completes it. `build` gives the text, which defines `function` with
    the parameters of the signature, and the names that it uses.
    """

    def complete() -> Callable[..., Any]:
        text, names = build()
        scope.update(_COMMON_NAMES, **names)
        function.__code__ = _renamed(_whole_code(text), signature, name)
        return function

    scope: dict[str, Any] = {"__builtins__": builtins, "complete": complete}
    options, passed = (", *, out=None", ", out=out") if out else ("", "")
    first = _code(
        f"def function({signature.call}{options}): return complete()({signature.call}{passed})"
    )
    function = FunctionType(
        _renamed(first, signature, name), scope, name, signature.defaults or None
    )
    function.__kwdefaults__ = {"out": None} if out else None
    function.__doc__ = doc
    function.__module__ = "tritorch"
    return function


def completed(function: FunctionType) -> FunctionType:
    """The function, with its text written where that was put off."""
    if function.__code__.co_names[:1] == ("complete",):
        function.__globals__["complete"]()
    return function


_COMMON_NAMES: dict[str, Any] = {
    "NO_EDGE": NO_EDGE,
    "NUMBER": NUMBER,
    "NUMBERS": NUMBERS,
    "Storage": Storage,
    "Tensor": Tensor,
    "UNWANTED": UNWANTED,
    "WANTED": WANTED,
    "edge": edge,
    "mode": mode,
    "new": object.__new__,
}


def _renamed(code: CodeType, signature: Signature, name: str) -> CodeType:
    variables = signature.names + code.co_varnames[len(signature.names) :]
    return code.replace(co_name=name, co_qualname=name, co_varnames=variables)
