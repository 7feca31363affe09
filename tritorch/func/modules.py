"""Modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch.nn.utils.stateless import functional_call
from tritorch.ops.joining import stack
from tritorch.tensor import Tensor

__all__ = ["functional_call", "stack_module_state"]


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of several modules of one class, each stacked under its name.

    With `functional_call` and `vmap` they are an ensemble that runs at once.

    Args:
        models: modules of the same class, all in the same mode (training or not).

    Returns:
        (parameters, buffers): leaves with the models along the first dimension; a parameter
        requires a gradient where those of the models do.

    Raises:
        RuntimeError: no models, of different classes or modes.

    Example:
        >>> import tritorch
        >>> from tritorch.func import functional_call, stack_module_state, vmap
        >>> models = [tritorch.nn.Linear(3, 2) for _ in range(5)]
        >>> state = stack_module_state(models)
        >>> call = lambda state, x: functional_call(models[0], state, (x,))
        >>> vmap(call, in_dims=(0, None))(state, tritorch.ones(4, 3)).shape
        torch.Size([5, 4, 2])
    """
    if not len(models):
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    kind = type(models[0])
    if not all(type(m) is kind for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = _stacked([dict(m.named_parameters()) for m in models])
    buffers = _stacked([dict(m.named_buffers()) for m in models])
    return parameters, buffers


def _stacked(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    made = {}
    for name, first in states[0].items():
        tensors = [state[name] for state in states]
        wanted = {bool(tensor._requires_grad) for tensor in tensors}
        if len(wanted) > 1:
            raise RuntimeError(
                f"stack_module_state: Expected {name} from each model to have the same "
                ".requires_grad"
            )
        joined = stack([tensor.detach() for tensor in tensors], 0)
        made[name] = joined.requires_grad_() if first._requires_grad else joined
    return made
