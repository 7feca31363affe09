"""What programs that write distributions of their own take from PyTorch's module of this name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tritorch
from tritorch.distributions.discrete import _inside, _logits_of
from tritorch.distributions.distribution import batch_of
from tritorch.tensor import Tensor


def broadcast_all(*values: Any) -> list[Tensor]:
    """Numbers and tensors as tensors of one shape."""
    return batch_of(*values)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1."""
    return _inside(probs)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logarithms of probabilities; of the odds, if `is_binary`."""
    return _logits_of(probs) if is_binary else _inside(probs).log()


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """The inverse of `probs_to_logits`."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


class lazy_property:
    """A method whose result is found once, when it is asked for, and kept."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with tritorch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value
