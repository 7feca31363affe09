"""Random numbers: one draw for all samples ("same"), or one draw of all samples ("different")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritorch.func.batched import Level, UnbatchedDraw, batched
from tritorch.func.dispatch import at, expanded, front, is_batched
from tritorch.func.rules.declaring import random_rule
from tritorch.func.rules.neural import folded, unfolded
from tritorch.func.rules.pointwise import check_target
from tritorch.func.rules.structure import sizes_of
from tritorch.ops import creation, memory, noise, random, views
from tritorch.tensor import Tensor

Draw = Callable[..., Tensor]


def _sample(x: Tensor, level: Level) -> Tensor:
    """One sample, for its shape."""
    return views.select(front(x, level), 0, 0).detach() if at(x, level) else x


@random_rule(random.rand, random.randn)
def _created(level: Level, function: Draw, *size: Any, **options: Any) -> Any:
    if "size" in options:
        size = (options.pop("size"),)
    if level.randomness == "same":
        return function(*size, **options)
    return batched(function(level.size, *sizes_of(size), **options), 0, level)


@random_rule(random.randint)
def _integers(
    level: Level, function: Draw, low: int, high: Any = None, size: Any = None, **options: Any
) -> Any:
    if size is None:
        low, high, size = 0, low, high
    if level.randomness == "same":
        return function(low, high, size, **options)
    return batched(function(low, high, (level.size, *sizes_of((size,))), **options), 0, level)


@random_rule(random.rand_like, random.randn_like, random.randint_like, random.bernoulli)
def _like(level: Level, function: Draw, input: Tensor, *args: Any, **options: Any) -> Any:
    if level.randomness == "same":
        if function is random.bernoulli:
            return NotImplemented
        return function(_sample(input, level), *args, **options)
    return batched(function(expanded(input, level), *args, **options), 0, level)


@random_rule(
    random.uniform_, random.normal_, random.exponential_, random.random_, random.bernoulli_
)
def _written(level: Level, function: Draw, self: Tensor, *args: Any, **options: Any) -> Any:
    by_sample = is_batched((args, options), level)
    if at(self, level) and by_sample:
        return NotImplemented
    if level.randomness == "same" and not by_sample:
        if not at(self, level):
            return function(self, *args, **options)
        drawn = function(creation.empty_like(_sample(self, level)), *args, **options)
        memory.copy_(self, drawn)
        return self
    if not at(self, level):
        raise UnbatchedDraw(
            f"vmap: {function.__name__} would write numbers of each sample to a tensor of shape "
            f"{list(self._layout.shape)} that all samples share. Use the version that makes a new "
            "tensor, let the target be batched too, or choose randomness='same'."
        )
    function(front(self, level), *args, **options)
    return self


@random_rule(random.dropout)
def _dropout(
    level: Level, function: Draw, input: Tensor, p: float = 0.5, training: bool = True,
    inplace: bool = False,
) -> Any:  # fmt: skip
    if inplace:
        check_target("dropout", input, level)
    if level.randomness == "same":
        kept = function(creation.ones_like(_sample(input, level)), p)
        result = input * kept
    else:
        result = batched(function(expanded(input, level), p), 0, level)
    return memory.copy_(input, result) if inplace else result


@random_rule(noise.alpha_dropout, noise.feature_dropout, noise.feature_alpha_dropout)
def _channels(
    level: Level, function: Draw, input: Tensor, p: float = 0.5, training: bool = False,
    inplace: bool = False,
) -> Any:  # fmt: skip
    if level.randomness == "same" or inplace:
        return NotImplemented
    if function is noise.alpha_dropout:
        return batched(function(expanded(input, level), p, training), 0, level)
    return unfolded(function(folded(input, level), p, training), level)
