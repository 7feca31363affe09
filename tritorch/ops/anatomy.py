"""What a function is made of, read from its code: kernels, nodes of the graph, other operations.

No operation says this of itself, so nothing can be said wrongly: names in the byte code are looked
up where the function would find them; helpers and caches of plans are followed.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tritorch.autograd.node import Node
from tritorch.kernels.pointwise import PointwiseKernel
from tritorch.kernels.reduction import ReductionKernel
from tritorch.kernels.scan import ScanKernel
from tritorch.ops.dispatch import Plans
from tritorch.ops.pointwise import Pointwise
from tritorch.ops.reduction import Reduction
from tritorch.tensor import Tensor

POINTWISE = "kernels/pointwise.py"
_GENERATED = {
    PointwiseKernel: POINTWISE,
    ReductionKernel: "kernels/reduction.py",
    ScanKernel: "kernels/scan.py",
}
_TEMPLATES = "tritorch.kernels.templates."
#: modules with what all templates need, but no kernels
_TOOLS = (_TEMPLATES + "template", _TEMPLATES + "bounds")


@dataclass
class Anatomy:
    """What was found.

    Attributes:
        sources: files that its kernels come from, relative to the root.
        nodes: whether it makes nodes of the graph of gradients.
        operations: names of the operations that it calls.
        pointwise: declared pointwise operations that only it calls, without a public name.
        reductions: reductions with the rules of their dtypes.
        attributes: names of attributes of what cannot be known, which may be methods of tensors;
            names of operators.
    """

    sources: set[str] = field(default_factory=set)
    nodes: bool = False
    operations: set[str] = field(default_factory=set)
    pointwise: list[Pointwise] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)


def unwrapped(function: Any) -> list[Any]:
    """A function and what decorators have wrapped in it."""
    found = [function]
    while hasattr(found[-1], "__wrapped__"):
        found.append(found[-1].__wrapped__)
    return found


def dissect(function: Any, known: Mapping[int, str]) -> Anatomy:
    """Follow a function's names, as far as operations that are `known` by the `id` of theirs."""
    found = Anatomy(attributes=set(_unresolved(unwrapped(function)[-1].__code__)))
    own = {known.get(id(one)) for one in unwrapped(function)}
    seen: set[int] = set()
    waiting: list[Any] = [unwrapped(function)[-1]]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        name = known.get(id(value))
        if name is not None and name not in own:
            found.operations.add(name)
        else:
            waiting += _parts(value, found)
    return found


def _parts(value: Any, found: Anatomy) -> list[Any]:
    """Note what a value says; what else is to be looked at."""
    if isinstance(value, FunctionType):
        if isinstance(getattr(value, "operation", None), Pointwise):
            return [value.operation]  # type: ignore[attr-defined]
        module = value.__module__ or ""
        if module == "tritorch.kernels.random":
            return [PointwiseKernel]  # made for a dtype
        if module.startswith("tritorch.kernels"):
            return _add_source(found, module)
        return list(_references(value)) if module.startswith("tritorch.") else []
    if isinstance(value, type):
        if value in _GENERATED:
            found.sources.add(_GENERATED[value])
        found.nodes |= issubclass(value, Node)
        return []
    if isinstance(value, Pointwise):
        found.pointwise.append(value)
        found.sources.add(POINTWISE)
        found.nodes |= value.differentiable
        return []
    if isinstance(value, Reduction):
        found.reductions.append(value)
        return [value.kernel]
    if type(value) in _GENERATED:
        found.sources.add(_GENERATED[type(value)])
        return []
    if isinstance(value, Plans):
        return [value._build]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    module = type(value).__module__
    if module.startswith(_TEMPLATES):
        return _add_source(found, getattr(value, "__module__", None) or module)
    if module.startswith("tritorch.ops"):
        return list(_attributes(value))
    if isinstance(getattr(value, "__func__", None), FunctionType):
        return [value.__func__, value.__self__]
    return []


def _add_source(found: Anatomy, module: str) -> list[Any]:
    if module.startswith(_TEMPLATES) and module not in _TOOLS:
        found.sources.add(module.removeprefix("tritorch.").replace(".", "/") + ".py")
    return []


def _attributes(value: Any) -> Iterator[Any]:
    """What an object of ours holds, and its methods."""
    if isinstance(value, Tensor):
        return
    yield from getattr(value, "__dict__", {}).values()
    for cls in type(value).__mro__:
        for name in getattr(cls, "__slots__", ()):
            if hasattr(value, name):
                yield getattr(value, name)
        if cls.__module__.startswith("tritorch.ops"):
            yield from (v for v in vars(cls).values() if isinstance(v, FunctionType))


#: what Python calls for an operator, by its text in the byte code
_OPERATORS = {"*": "mul", "+": "add", "-": "sub", "/": "div", "@": "matmul", "**": "pow"}


def _unresolved(code: CodeType) -> Iterator[str]:
    """Names of methods and operators that are called on whatever is there at run time."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            yield str(step.argval)
        elif step.opname == "BINARY_OP" and step.argrepr in _OPERATORS:
            yield _OPERATORS[step.argrepr]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _unresolved(constant)


def _references(function: FunctionType) -> Iterator[Any]:
    """Values that a function's code names."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
    yield from (function.__defaults__ or ())

    def walk(code: CodeType) -> Iterator[Any]:
        current: Any = None
        module: ModuleType | None = None
        for step in dis.get_instructions(code):
            name = step.argval
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                current = function.__globals__.get(name)
                yield current
            elif step.opname in ("LOAD_DEREF", "LOAD_CLOSURE") and name in cells:
                try:
                    current = cells[name].cell_contents
                except ValueError:  # not filled yet
                    current = None
                yield current
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                known = isinstance(current, ModuleType | type | FunctionType | Pointwise)
                current = getattr(current, name, None) if known else None
                yield current
            elif step.opname == "IMPORT_NAME" and str(name).startswith("tritorch"):
                module = import_module(name)
            elif step.opname == "IMPORT_FROM" and module is not None:
                yield getattr(module, name, None)
            elif step.opname != "PUSH_NULL":
                current = None
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from walk(constant)

    yield from walk(function.__code__)


__all__ = ["POINTWISE", "Anatomy", "dissect", "unwrapped"]
