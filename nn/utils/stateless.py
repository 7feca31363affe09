"""A module called with other parameters and buffers than its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tritorch.nn.modules.module import Module
from tritorch.tensor import Tensor

__all__ = ["functional_call"]

_NOTHING: Any = object()


def _tied(module: Module) -> dict[str, list[str]]:
    """For each name of a tensor that has several, all of them."""
    names: dict[int, list[str]] = {}
    for walk in (module.named_parameters, module.named_buffers):
        for name, tensor in walk(remove_duplicate=False):
            names.setdefault(id(tensor), []).append(name)
    return {name: group for group in names.values() if len(group) > 1 for name in group}


def _spread(module: Module, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values under all names of what they are given for."""
    spread = dict(values)
    for name, group in _tied(module).items():
        if name not in values:
            continue
        given = {id(values[other]) for other in group if other in values}
        if len(given) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(group)}, which are tied. "
                "Consider using tie_weights=False"
            )
        for other in group:
            spread[other] = values[name]
    return spread


def _check_names(module: Module, values: Mapping[str, Any]) -> None:
    own = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    own |= {name for name, _ in module.named_buffers(remove_duplicate=False)}
    unexpected = [name for name in values if name not in own]
    missing = sorted(own - values.keys())
    problems = []
    if unexpected:
        problems.append(f"Unexpected key(s): {', '.join(map(repr, unexpected))}.")
    if missing:
        problems.append(f"Missing key(s): {', '.join(map(repr, missing))}.")
    if problems:
        raise RuntimeError(
            f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(problems)
        )


def _room(module: Module, name: str) -> dict[str, Any]:
    """The dictionary that a name of a module lies in, or would lie in."""
    for room in (module._parameters, module._buffers):
        if name in room:
            return room
    return module.__dict__


@contextmanager
def reparametrized(module: Module, values: dict[str, Any]) -> Iterator[None]:
    """Within it the module has these tensors; `values` gets what forward put in their place."""
    before: list[tuple[dict[str, Any], str, str, Any]] = []
    try:
        for path, value in values.items():
            prefix, _, name = path.rpartition(".")
            room = _room(module.get_submodule(prefix), name)
            before.append((room, name, path, room.get(name, _NOTHING)))
            room[name] = value
        yield
    finally:
        for room, name, path, value in reversed(before):
            if name in room:
                values[path] = room[name]
            if value is _NOTHING:
                room.pop(name, None)
            else:
                room[name] = value


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with tensors of the caller's in place of its own.

    Args:
        module: what is called; it is as before afterwards.
        parameters_and_buffers: tensors by dotted name, or several such dictionaries.
        args: the arguments; one that is no tuple is the only one.
        kwargs: the arguments by name.
        tie_weights: a value for one name of a shared tensor is for all its names.
        strict: every parameter and buffer must be given, and nothing else.
    Returns:
        what the module returns.
    Raises:
        ValueError: shared tensors with different values, or a name in several dictionaries.
        RuntimeError: with `strict`, names are missing or too many.
    """
    if isinstance(parameters_and_buffers, Mapping):
        given: dict[str, Any] = parameters_and_buffers
    elif isinstance(parameters_and_buffers, Sequence):
        given = {}
        for part in parameters_and_buffers:
            if again := given.keys() & part.keys():
                raise ValueError(f"{sorted(again)} appeared in multiple dictionaries")
            given.update(part)
    else:
        raise ValueError(
            "Expected parameters_and_buffers to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameters_and_buffers)}"
        )
    values = _spread(module, given) if tie_weights else dict(given)
    if strict:
        _check_names(module, values)
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    try:
        with reparametrized(module, values):
            return module(*args, **(kwargs or {}))
    finally:
        if given is parameters_and_buffers:
            given.update({name: values[name] for name in given})
