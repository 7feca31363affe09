"""An optimizer lent to other parameters and another state for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tritorch.optim.optimizer import Optimizer
from tritorch.tensor import Tensor

_NAME = "swap_in_optimizer_params_and_state"


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer,
    swapin_parameters: Mapping[str, Tensor],
    swapin_optim_state: Mapping[str, Any],
) -> Iterator[None]:
    """A block in which the optimizer has other parameters, state and options; hooks see them too.

    Steps change the parameters and the state's tensors in place, counts of steps included. What
    else they put into the state is forgotten at the end of the block.

    Args:
        optimizer: after its first step, or with a loaded state.
        swapin_parameters: by name, in the order of the optimizer's own.
        swapin_optim_state: laid out as `optimizer.state_dict()`.
    Raises:
        RuntimeError: the optimizer has no state yet, or what is given does not fit it; nothing is
            changed then.

    Example:
        >>> import tritorch as torch
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9)
        >>> weight.grad = torch.ones(1)
        >>> optimizer.step()
        >>> other, state = torch.nn.Parameter(torch.zeros(1)), optimizer.state_dict()
        >>> other.grad = torch.ones(1)
        >>> with torch.optim.swap_in_optimizer_params_and_state(optimizer, {"w": other}, state):
        ...     optimizer.step()
        >>> weight.item(), round(other.item(), 4)
        (0.5, -0.95)
    """
    entries, groups = _checked(optimizer, swapin_parameters, swapin_optim_state)
    state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
    waiting = iter(swapin_parameters.values())
    parameters = [[next(waiting) for _ in group["params"]] for group in groups]
    numbers: list[tuple[Tensor, Tensor, str]] = []  # the state's tensors of what the host counts
    for group, tensors in zip(groups, parameters, strict=True):
        for key, tensor in zip(group["params"], tensors, strict=True):
            for name, value in entries.get(key, {}).items():
                if name in optimizer._kept_numbers:
                    if isinstance(value, Tensor):
                        numbers.append((value, tensor, name))
                    value = optimizer._adopted(name, value, tensor)
                state[tensor][name] = value
    own_state = optimizer.state
    own_groups = [dict(group) for group in optimizer.param_groups]
    try:
        for own, group, tensors in zip(optimizer.param_groups, groups, parameters, strict=True):
            own.update({**group, "params": tensors})
        optimizer.state = state
        yield
    finally:
        for kept, tensor, name in numbers:
            kept.fill_(float(state[tensor].get(name, kept)))
        for own, before in zip(optimizer.param_groups, own_groups, strict=True):
            own.clear()
            own.update(before)
        optimizer.state = own_state


def _checked(
    optimizer: Optimizer, parameters: Mapping[str, Tensor], given: Mapping[str, Any]
) -> tuple[Mapping[Any, Any], list[dict[str, Any]]]:
    """Entries of the state by number, and groups, which fit the optimizer."""
    if not optimizer.state:
        raise RuntimeError(f"{_NAME} requires initialized optimizer state. Make a step first.")
    if not isinstance(given, Mapping) or not {"state", "param_groups"} <= given.keys():
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state to be laid out as optimizer.state_dict(): "
            "{'state': ..., 'param_groups': ...}."
        )
    groups = list(given["param_groups"])
    counts = [len(group["params"]) for group in groups]
    own_counts = [len(group["params"]) for group in optimizer.param_groups]
    if counts != own_counts or len(parameters) != sum(own_counts):
        raise RuntimeError(
            f"{_NAME}: swapin_optim_state has groups of {counts} parameters and swapin_parameters "
            f"{len(parameters)} tensors; the optimizer has groups of {own_counts}. Give as many, "
            "in the same order."
        )
    known = {key for group in groups for key in group["params"]}
    extra = [key for key in given["state"] if key not in known]
    if extra:
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['state'] to be keyed only by packed parameter "
            f"ids from param_groups[*]['params']; got extra keys {extra!r}"
        )
    return given["state"], groups
