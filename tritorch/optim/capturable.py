"""Steps that a graph can record: the kernel counts them (`capturable=True`).

The numbers of a parameter's state (`step`, ...) are float32 tensors without dimensions on the
parameter's device then, as PyTorch keeps them, and one launch still does the whole group
(`kernels.templates.schedules`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tritorch
from tritorch.optim.multi_tensor import MultiTensor, aligned, by_kind
from tritorch.runtime import recording
from tritorch.tensor import Tensor

if TYPE_CHECKING:
    from tritorch.optim.fused import Scheduled


def counts_itself(group: Mapping[str, Any]) -> bool:
    """Whether kernels count the steps of a group."""
    return bool(group.get("capturable") and not group["differentiable"])


def to_host(state: dict[str, Any], numbers: Sequence[str]) -> None:
    """Numbers that kernels counted, where `capturable` was switched off."""
    if state["step"].__class__ is int:
        return
    for name in numbers:
        value = state[name]
        if isinstance(value, Tensor):
            state[name] = int(value) if name == "step" else float(value)


def _to_device(state: dict[str, Any], numbers: Sequence[str], parameter: Tensor) -> None:
    """Numbers that the host counted, or none yet, as tensors."""
    for name in numbers:
        if not isinstance(state[name], Tensor):
            with recording.paused():
                value = float(state[name])
                state[name] = tritorch.full(
                    (), value, dtype=tritorch.float32, device=parameter.device
                )


def step(
    launch: MultiTensor,
    rule: Scheduled,
    rate: Any,
    parameters: Sequence[Tensor],
    states: Mapping[Tensor, dict[str, Any]],
    names: Sequence[str],
) -> None:
    """One step of a group, its numbers included.

    Args:
        rate: the learning rate: a number, or a tensor that is read by the kernel.
        states: of each parameter, numbers and the tensors `names` included.
    """
    schedule, update, scalars, flags = rule
    for parameter in parameters:
        _to_device(states[parameter], schedule.numbers, parameter)
    for _, tensors in by_kind(parameters, [0] * len(parameters)):
        columns = [tensors, [aligned(p, p.grad) for p in tensors]]  # type: ignore[arg-type]
        columns += [[states[p][name] for p in tensors] for name in names]
        numbers = [[states[p][name] for p in tensors] for name in schedule.numbers]
        launch.scheduled(schedule, update, columns, numbers, rate, scalars, dict(flags))
