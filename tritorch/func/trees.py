"""Nested containers of tensors: dictionaries, lists, tuples, named tuples."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

#: how a container is rebuilt from its parts, with the structures of those; None for a leaf
Structure = tuple[Callable[[list[Any]], Any], list[Any]] | None


def _parts(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]] | None:
    kind = type(tree)
    if kind in (dict, OrderedDict):
        keys = list(tree)
        return [tree[key] for key in keys], lambda parts: kind(zip(keys, parts))
    if kind is list:
        return tree, list
    if kind is tuple:
        return list(tree), tuple
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(tree), lambda parts: kind(*parts)
    return None


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves from left to right, and what is needed to put others in their places."""
    found = _parts(tree)
    if found is None:
        return [tree], None
    parts, rebuild = found
    leaves: list[Any] = []
    structures = []
    for part in parts:
        below, structure = flatten(part)
        leaves += below
        structures.append(structure)
    return leaves, (rebuild, structures)


def unflatten(leaves: Sequence[Any], structure: Structure) -> Any:
    """The tree with these leaves."""
    rest = iter(leaves)
    return _rebuilt(rest, structure)


def _rebuilt(rest: Any, structure: Structure) -> Any:
    if structure is None:
        return next(rest)
    rebuild, below = structure
    return rebuild([_rebuilt(rest, each) for each in below])


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with a function applied to each leaf."""
    leaves, structure = flatten(tree)
    return unflatten([function(leaf) for leaf in leaves], structure)


def spread(prefix: Any, tree: Any, is_leaf: Callable[[Any], bool]) -> list[Any] | None:
    """A value for each leaf of `tree`, where `prefix` may stop higher up; None if it cannot fit."""
    if is_leaf(prefix):
        return [prefix] * len(flatten(tree)[0])
    given, own = _parts(prefix), _parts(tree)
    if given is None or own is None or len(given[0]) != len(own[0]):
        return None
    if isinstance(prefix, dict) != isinstance(tree, dict):
        return None
    if isinstance(prefix, dict) and set(prefix) != set(tree):
        return None
    result: list[Any] = []
    keys = list(tree) if isinstance(tree, dict) else range(len(own[0]))
    for position, key in enumerate(keys):
        part = prefix[key] if isinstance(prefix, dict) else given[0][position]
        below = spread(part, own[0][position], is_leaf)
        if below is None:
            return None
        result += below
    return result
