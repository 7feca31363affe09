"""Copies, casts and new tensors like others: the samples are one more dimension in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritorch.func.batched import Level, batched
from tritorch.func.dispatch import at, front
from tritorch.func.rules.declaring import family, rule
from tritorch.func.rules.pointwise import aligned, check_target
from tritorch.func.rules.structure import sizes_of
from tritorch.ops import creation, memory, number_parts
from tritorch.ops.promotion import NUMBERS
from tritorch.tensor import Tensor

Copy = Callable[..., Tensor]


@family(
    memory.to_dtype,
    memory.to_device,
    creation.zeros_like,
    creation.ones_like,
    creation.empty_like,
    creation.full_like,
)
def _copied(level: Level, function: Copy, input: Tensor, *args: Any, **options: Any) -> Any:
    if not at(input, level):
        return NotImplemented
    made = function(front(input, level), *args, **options)
    return batched(made, 0, level)


@family(memory.clone, memory.contiguous)
def _dense(level: Level, function: Copy, input: Tensor, memory_format: Any = None) -> Any:
    if memory_format is not None and not isinstance(memory_format, str):
        return NotImplemented
    return batched(function(front(input, level)), 0, level)


_METHODS: Any = Tensor


@family(_METHODS.new_zeros, _METHODS.new_ones, _METHODS.new_empty)
def _new(level: Level, function: Copy, self: Tensor, *size: Any, **options: Any) -> Any:
    if "size" in options:
        size = (options.pop("size"),)
    made = function(front(self, level), level.size, *sizes_of(size), **options)
    return batched(made, 0, level)


@rule(_METHODS.new_full)
def _new_full(level: Level, self: Tensor, size: Any, fill_value: Any, **options: Any) -> Any:
    if not at(self, level) or isinstance(fill_value, Tensor):
        return NotImplemented
    made = front(self, level).new_full((level.size, *size), fill_value, **options)
    return batched(made, 0, level)


@rule(memory.copy_)
def _copy(level: Level, input: Tensor, src: Any, non_blocking: bool = False) -> Any:
    check_target("copy_", input, level)
    source = src
    if isinstance(src, Tensor):
        if src._layout.ndim > input._layout.ndim:
            return NotImplemented
        source = aligned(src, level, input._layout.ndim)
    memory.copy_(front(input, level), source)
    return input


@rule(memory.fill_)
def _fill(level: Level, input: Tensor, value: Any) -> Any:
    check_target("fill_", input, level)
    if value.__class__ in NUMBERS:
        memory.fill_(front(input, level), value)
        return input
    if isinstance(value, Tensor) and not value._layout.ndim:
        return memory.copy_(input, value)
    return NotImplemented


@rule(number_parts.fill)
def _filled(level: Level, input: Tensor, value: Any) -> Any:
    if not at(input, level) or isinstance(value, Tensor):
        return NotImplemented
    return batched(number_parts.fill(front(input, level), value), 0, level)
