"""What happens when an operation is called with batched tensors.

A rule, where one is declared or follows from the operation's kind; else the operation itself, whose
parts have rules; else, with a warning, a loop over the samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.node import Node
from tritorch.func.batched import (
    BatchedTensor,
    DataDependent,
    Level,
    NotBatchable,
    UnbatchedDraw,
    UnbatchedTarget,
    batched,
    innermost,
    levels,
    state,
    substituted,
    tensors_in,
)
from tritorch.ops import joining, views
from tritorch.tensor import Tensor

#: rule(level, function, arguments, options) -> results, batched at the level
Rule = Callable[[Level, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class Randomness(Exception):
    """An operation draws random numbers while a `vmap` is under way."""


#: declared rules by function, and by the function that draws
RULES: dict[Callable[..., Any], Rule] = {}
RANDOM_RULES: dict[Callable[..., Any], Rule] = {}
#: functions with their own code, by the ones whose code is exchanged
ORIGINALS: dict[Callable[..., Any], Callable[..., Any]] = {}
_warned: set[str] = set()


class Operation:
    """A function that asks for rules.

    Args:
        function: what is called, with its code exchanged.
        original: the same with its own code.
        name: for messages.
    """

    __slots__ = ("function", "name", "original", "rule")

    def __init__(self, function: FunctionType, original: FunctionType, name: str) -> None:
        from tritorch.func.rules import rule_of

        self.function = function
        self.original = original
        self.name = name
        self.rule = rule_of(function)
        ORIGINALS[function] = original

    def __call__(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        level = innermost((args, options))
        if level is None:
            if not state.levels:
                return self.original(*args, **options)
            try:
                return self.original(*args, **options)
            except (Randomness, UnbatchedDraw):
                return self._random(args, options)
        if self.rule is not None:
            result = self.rule(level, self.function, args, options)
            if result is not NotImplemented:
                return result
        before = _versions((args, options))
        try:
            return self.original(*args, **options)
        except (Randomness, UnbatchedDraw):
            return self._random(args, options)
        except (NotBatchable, DataDependent, UnbatchedTarget) as error:
            if before != _versions((args, options)):
                raise UnbatchedTarget(
                    f"vmap: {self.name} wrote to a tensor before it met one that it cannot handle "
                    "as a batch. Use the version that makes a new tensor."
                ) from error
            found = self._written_out(args, options)
            if found is not None:
                return found
            return loop(self.function, self.name, level, args, options, cause=error)

    def _written_out(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The gradients of a node, by the operations that it records for a second derivative.

        Many nodes have a kernel of their own for first derivatives, and for others a formula.
        """
        if not (args and isinstance(args[0], Node)) or grad_mode_state.enabled:
            return None
        grad_mode_state.enabled = True
        try:
            found = self.original(*args, **options)
        except (NotBatchable, DataDependent, UnbatchedTarget):
            return None
        finally:
            grad_mode_state.enabled = False
        return substituted(found, lambda tensor: tensor.detach())

    def _random(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        level = state.levels[-1]
        if level.randomness == "error":
            raise RuntimeError(
                f"vmap: called random operation ({self.name}) while in randomness error mode. "
                "Please either use the 'same' or 'different' randomness flags on vmap or perform "
                "the randomness operation out of vmap"
            )
        with levels(state.levels[:-1]):
            rule = RANDOM_RULES.get(self.function)
            if rule is not None:
                result = rule(level, self.function, args, options)
                if result is not NotImplemented:
                    return result
            if level.randomness == "same" and not is_batched((args, options), level):
                return self.function(*args, **options)
            return loop(self.function, self.name, level, args, options, quiet=True)


def _versions(values: Any) -> list[int]:
    return [tensor._version for tensor in tensors_in(values)]


def is_batched(values: Any, level: Level) -> bool:
    """Whether one of these is batched at a level."""
    return any(at(tensor, level) for tensor in tensors_in(values))


def at(value: Any, level: Level) -> bool:
    """Whether a value is a tensor batched at this level."""
    return value.__class__ is BatchedTensor and value._level is level


def front(value: Any, level: Level) -> Any:
    """The tensor behind a batched one, its samples along the first dimension; others as is."""
    if not at(value, level):
        return value
    return value._value if value._dim == 0 else views.movedim(value._value, value._dim, 0)


def expanded(value: Tensor, level: Level) -> Tensor:
    """As `front`; a tensor that all samples share is shown once for each."""
    if at(value, level):
        found: Tensor = front(value, level)
        return found
    return views.expand(value, level.size, *value._layout.shape)


def rewrapped(result: Any, level: Level) -> Any:
    """Results with the samples along their first dimension as batched tensors."""
    return substituted(result, lambda tensor: batched(tensor, 0, level))


# ---- the loop


def loop(
    function: Callable[..., Any],
    name: str,
    level: Level,
    args: tuple[Any, ...],
    options: dict[str, Any],
    *,
    quiet: bool = False,
    cause: Exception | None = None,
) -> Any:
    """One call for each sample; the results are stacked."""
    if not level.size:
        raise RuntimeError(
            f"vmap: {name} has no batching rule, and there is no sample to run it on in a loop."
        ) from cause
    shared = [tensor for tensor in tensors_in((args, options)) if not at(tensor, level)]
    before = [tensor._version for tensor in shared]
    results = []
    same = level.randomness == "same"
    generator = _generator_state() if same else None
    below = tuple(each for each in state.levels if each.number < level.number)
    with levels(below):
        for sample in range(level.size):
            picked = substituted((args, options), partial(_sample, level=level, index=sample))
            if same:
                _generator_state(generator)
            result = function(*picked[0], **picked[1])
            if before != [tensor._version for tensor in shared]:
                raise UnbatchedTarget(
                    f"vmap: {name} would write the values of each sample to a tensor that all "
                    "samples share. Use the version that makes a new tensor, or let the target be "
                    "batched too."
                ) from cause
            if result is not None and args and result is picked[0][0]:
                result = _IN_PLACE
            results.append(result)
    if results[0] is _IN_PLACE:
        return args[0]
    made = stacked(results, name, level, cause)
    if not quiet and name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"There is a performance drop because there is no batching rule for {name}: it runs "
            "in a loop over the samples.",
            UserWarning,
            stacklevel=4,
        )
    return made


_IN_PLACE = object()


def _generator_state(known: Any = None) -> Any:
    from tritorch.ops.random import default_generator

    if known is None:
        return default_generator.get_state()
    return default_generator.set_state(known)


def _sample(value: Any, level: Level, index: int) -> Any:
    return views.select(value._value, value._dim, index) if at(value, level) else value


def stacked(
    results: Sequence[Any], name: str, level: Level, cause: BaseException | None = None
) -> Any:
    """The results of all samples as batched ones."""
    first = results[0]
    if isinstance(first, Tensor):
        shapes = {result._layout.shape for result in results}
        if len(shapes) > 1:
            raise RuntimeError(
                f"vmap: {name} gives results of different shapes for different samples "
                f"({', '.join(map(str, sorted(shapes)))}): it is an operation of dynamic shape, "
                "which cannot be batched. Use a mask, where(), or padding instead."
            ) from cause
        return batched(joining.stack(list(results), 0), 0, level)
    if isinstance(first, (tuple, list)):
        parts = [stacked(part, name, level, cause) for part in zip(*results, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*parts)
        return type(first)(parts)
    if any(result is not first and result != first for result in results):
        if isinstance(cause, DataDependent):
            raise cause
        raise DataDependent(
            f"vmap: {name} gives a Python value that differs between samples. We don't support "
            "that: rewrite it with operations on tensors."
        ) from cause
    if isinstance(cause, DataDependent) and first is not None:
        raise cause
    return first
