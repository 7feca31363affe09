"""The table of operations, made from the declarations and from the code of what has none.

`rows()` has a row for every public function that makes tensors: operations that are declared for
tests (`tritorch.ops.declare.OPS`), operations with kernels of their own, composites of others,
views, and memory that is allocated or shared. What only asks or sets something has no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from types import FunctionType
from typing import Any

from tritorch import dtypes
from tritorch.layout import Layout
from tritorch.ops.anatomy import POINTWISE, Anatomy, dissect, unwrapped
from tritorch.ops.declare import EDGES, OPS, OpInfo
from tritorch.ops.dtype_rules import RULES
from tritorch.ops.pointwise import Pointwise
from tritorch.tensor import Tensor

#: where public functions are, and how their names start
PLACES = {
    "tritorch": "",
    "tritorch.nn.functional": "nn.functional.",
    "tritorch.linalg": "linalg.",
    "tritorch.special": "special.",
}
#: parameters without annotation that are tensors
_TENSORS = ("input", "other", "tensors", "operands", "matrices")
_ROOMS = ("tritorch.ops.", "tritorch.nn.", "tritorch.linalg", "tritorch.special")


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes:
        name: as users call it: `add`, `linalg.qr`, `nn.functional.linear`, `Tensor.fill_`.
        aliases: further public names, the one in place among them.
        kind: the declared kind ("pointwise", "reduction", ...), or "kernel", "composite", "view",
            "memory" (made without a kernel: uninitialised, or shared).
        declared_in: the file, relative to the root.
        sources: files that its kernels come from; a composite has those of its parts.
        parts: operations that it calls.
        dtypes: names of the dtypes that it is declared to take, or that its rule takes, or all its
            parts; None where neither is there.
        gradient: "any" order or "none".
        samples: how many calls, or values, its declaration gives the tests, and what was checked.
    """

    name: str
    aliases: tuple[str, ...]
    kind: str
    declared_in: str
    sources: tuple[str, ...]
    parts: tuple[str, ...]
    dtypes: tuple[str, ...] | None
    gradient: str
    samples: int


def public_functions() -> dict[str, Any]:
    """Every public function of the namespaces, and every method that is not one of them."""
    found: dict[str, Any] = {}
    for place, prefix in PLACES.items():
        for name, value in sorted(vars(import_module(place)).items()):
            if isinstance(value, FunctionType) and not name.startswith("_") and _is_ours(value):
                found[prefix + name] = value
    known = {id(part) for value in found.values() for part in unwrapped(value)}
    for name, value in sorted(vars(Tensor).items()):
        if not isinstance(value, FunctionType) or name.startswith("_") or not _is_ours(value):
            continue
        if not any(id(part) in known for part in unwrapped(value)):
            found[f"Tensor.{name}"] = value
    return found


def _is_ours(function: FunctionType) -> bool:
    """Whether it is of the rooms that declare operations."""
    if isinstance(getattr(function, "operation", None), Pointwise):
        return True
    return (unwrapped(function)[-1].__module__ or "").startswith(_ROOMS)


def rows(checked: Mapping[str, int] | None = None) -> list[Row]:
    """The table, in alphabetical order.

    Args:
        checked: further samples by name (a method's is `Tensor.name`), as of a cross-check; they
            are added to the declared ones.
    """
    more = checked or {}
    groups = _groups(public_functions())
    named = {id(part): names[0] for names, function in groups for part in unwrapped(function)}
    found = {
        names[0]: _Entry(names, function, dissect(function, named)) for names, function in groups
    }
    _guess_methods(found)
    reach = _Reach(found)
    table = [
        Row(
            name=name,
            aliases=tuple(entry.names[1:]),
            kind=reach.kind(name),
            declared_in=_file(entry),
            sources=tuple(sorted(reach.sources(name))),
            parts=tuple(sorted(p for p in entry.anatomy.operations if reach.kind(p) != "host")),
            dtypes=reach.dtypes(name),
            gradient="any" if reach.differentiable(name) else "none",
            samples=(0 if entry.info is None else samples(entry.info))
            + sum(more.get(known, 0) for known in _spelled(entry.names)),
        )
        for name, entry in found.items()
        if reach.kind(name) != "host"
    ]
    return sorted(table, key=lambda row: (row.name.lower(), row.name))


def _spelled(names: list[str]) -> set[str]:
    """The names of a function, and those of its methods."""
    return {*names, *(f"Tensor.{name}" for name in names if "." not in name)}


def _groups(functions: Mapping[str, Any]) -> list[tuple[list[str], Any]]:
    """Names of one function together, the shortest first."""
    groups: dict[int, tuple[list[str], Any]] = {}
    for name, function in functions.items():
        plain = name.removeprefix("Tensor.").removesuffix("_")
        if name.endswith("_") and plain in functions:  # its form in place
            function = functions[plain]
        key = id(unwrapped(function)[-1])
        groups.setdefault(key, ([], function))[0].append(name)
    return [(sorted(names, key=_rank), function) for names, function in groups.values()]


def _rank(name: str) -> tuple[int, int, str]:
    return name.count("."), len(name), name


class _Entry:
    """A function with its names, what it is made of, and its declaration for tests."""

    def __init__(self, names: list[str], function: Any, anatomy: Anatomy) -> None:
        self.names = names
        self.function = function
        self.anatomy = anatomy
        self.info = self._declaration()

    def _declaration(self) -> OpInfo | None:
        inner = {id(part) for part in unwrapped(self.function)}
        mine = {name.rsplit(".", 1)[-1] for name in self.names}
        for info in OPS:
            if any(id(part) in inner for part in unwrapped(info.function)):
                return info
            if info.name in mine and any(info.operation is p for p in self.anatomy.pointwise):
                return info  # it adds options to a declared one
        return None

    @property
    def declared(self) -> tuple[str, ...] | None:
        """The dtypes that it says it takes, see `tritorch.ops.declare.takes`."""
        found: tuple[str, ...] | None = unwrapped(self.function)[-1].__dict__.get("dtypes")
        return found

    def accepted(self) -> tuple[str, ...] | None:
        """The dtypes that its own rules take, None where it has none."""
        if self.info is not None and self.info.kind == "pointwise":
            return accepted(self.info.operation)
        rules = [set(accepted(p)) for p in self.anatomy.pointwise]
        rules += [set(_reduced(reduction.rule)) for reduction in self.anatomy.reductions]
        if not rules:
            return None
        return tuple(k.name for k in dtypes.ALL if all(k.name in rule for rule in rules))

    @property
    def makes_tensors(self) -> bool:
        """Whether it gives tensors, as far as its annotation says."""
        given = str(signature(self.function).return_annotation)
        return given not in ("int", "bool", "None", "Generator", "Device", "Dtype", "str", "float")

    @property
    def takes_tensors(self) -> bool:
        """Whether an operand may be a tensor; what has none makes new ones."""
        if self.info is not None:
            return True
        return any(
            "Tensor" in str(entry.annotation) or name in _TENSORS
            for name, entry in signature(self.function).parameters.items()
            if name != "out"
        )


def _guess_methods(found: Mapping[str, _Entry]) -> None:
    """What calls nothing that is known by name calls methods and operators of its tensors."""
    for name, entry in found.items():
        anatomy = entry.anatomy
        if anatomy.sources or anatomy.operations or anatomy.nodes or not entry.takes_tensors:
            continue
        for method in anatomy.attributes:
            for known in (method, f"Tensor.{method}"):
                if known in found and known != name and found[known].function is not entry.function:
                    anatomy.operations.add(known)
                    break


class _Reach:
    """What follows for an operation from those that it calls."""

    def __init__(self, found: Mapping[str, _Entry]) -> None:
        self.found = found

    def _all(self, name: str) -> Iterator[_Entry]:
        """It, what it calls, what that calls, ..."""
        seen, waiting = {name}, [name]
        while waiting:
            entry = self.found[waiting.pop()]
            yield entry
            fresh = entry.anatomy.operations - seen
            seen |= fresh
            waiting += sorted(fresh)

    def sources(self, name: str) -> set[str]:
        """Files of its own kernels, else those of all its parts."""
        entry = self.found[name]
        if entry.info is not None and entry.info.kind == "pointwise":
            return {POINTWISE}
        own = entry.anatomy.sources
        return own or {source for part in self._all(name) for source in part.anatomy.sources}

    def kind(self, name: str) -> str:
        """See `Row`; "host" for what makes no tensor."""
        entry = self.found[name]
        if entry.info is not None:
            return entry.info.kind
        if not (entry.makes_tensors or entry.takes_tensors):
            return "host"
        if entry.anatomy.sources:
            return "kernel"
        if not any(part.anatomy.sources for part in self._all(name)):
            if self.differentiable(name):
                return "view"
            return (
                "memory" if "Tensor" in str(signature(entry.function).return_annotation) else "host"
            )
        return "composite"

    def differentiable(self, name: str) -> bool:
        """Unless declared otherwise: it takes tensors, and it or what it calls makes nodes."""
        entry = self.found[name]
        if entry.info is not None:
            return entry.info.differentiable
        if unwrapped(entry.function)[-1].__dict__.get("differentiable") is False:
            return False
        return entry.takes_tensors and any(part.anatomy.nodes for part in self._all(name))

    def dtypes(self, name: str) -> tuple[str, ...] | None:
        """What is declared, else what the rules of its kernels take, else what all parts take."""
        declared: tuple[str, ...] | None = self.found[name].declared
        if declared is not None:
            return declared
        if self.kind(name) in ("view", "memory"):
            return tuple(kind.name for kind in dtypes.ALL)
        entry = self.found[name]
        taken = entry.accepted()
        if taken is None and not entry.anatomy.sources:
            parts = [part.declared or part.accepted() for part in self._all(name)]
            if all(part is None for part in parts):
                return None
            sets = [set(part) for part in parts if part is not None]
            taken = tuple(k.name for k in dtypes.ALL if all(k.name in one for one in sets))
        return taken


def _file(entry: _Entry) -> str:
    module: str = unwrapped(entry.function)[-1].__module__
    if entry.info is not None and entry.info.module:
        module = entry.info.module
    for folder in ("nn", "kernels", "autograd"):
        if module.startswith(f"tritorch.{folder}."):
            module = module.removeprefix("tritorch.")
    return module.replace(".", "/") + ".py"


def accepted(operation: Pointwise) -> tuple[str, ...]:
    """The dtypes that the rule of a pointwise operation takes for its operands."""
    found = []
    for kind in dtypes.ALL:
        layout = Layout.contiguous(kind, (1,))
        operands = [layout] * len(operation.operands)
        if operation.rule is RULES["select"]:
            operands[0] = Layout.contiguous(dtypes.bool, (1,))
        try:
            operation.rule(operation, operands)
        except (RuntimeError, TypeError):
            continue
        found.append(kind.name)
    return tuple(found)


def _reduced(rule: Any) -> tuple[str, ...]:
    """The dtypes that the rule of a reduction takes."""
    found = []
    for kind in dtypes.ALL:
        try:
            rule(kind, None)
        except (RuntimeError, TypeError):
            continue
        found.append(kind.name)
    return tuple(found)


def samples(info: OpInfo) -> int:
    """How many cases, or values of each operand, a declaration gives the tests."""
    if info.cases:
        return len(info.cases)
    return len(info.calls) * (len(EDGES) + len(info.samples))


__all__ = ["PLACES", "Row", "accepted", "public_functions", "rows", "samples"]
