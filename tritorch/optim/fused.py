"""`FusedOptimizer`: what the optimizers whose step is one kernel over a group have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.kernels.templates.multi_tensor import Update
from tritorch.kernels.templates.schedules import Schedule
from tritorch.optim import capturable as counting
from tritorch.optim.multi_tensor import MultiTensor, aligned, by_kind, require_dense
from tritorch.optim.optimizer import Optimizer, check_variants
from tritorch.runtime import recording
from tritorch.tensor import Tensor

#: a schedule, its update, the schedule's scalars behind the rate, all flags
Scheduled = tuple[Schedule, Update, tuple[float, ...], tuple[tuple[str, bool], ...]]
#: an update, its scalars, its flags
Plan = tuple[Update, tuple[float, ...], tuple[tuple[str, bool], ...]]


class FusedOptimizer(Optimizer):
    """Base class: subclasses say which tensors are kept, and what a step does to an element.

    `foreach` and `fused` are accepted and kept for PyTorch's sake: a step is one launch over all
    parameters of a dtype whatever they say. With `capturable` the kernel counts the steps.
    """

    _replayable = False

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        check_variants(
            defaults.get("differentiable", False), defaults.get("foreach"), defaults.get("fused")
        )
        self._launch = MultiTensor()
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._launch = MultiTensor()

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the tensors kept for each parameter, in the order of the update's columns."""
        raise NotImplementedError

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        """The update of a parameter whose step count was just raised."""
        raise NotImplementedError

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        """How the kernel computes what depends on the step, for `capturable` groups."""
        raise NotImplementedError

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        """The numbers kept for each parameter, as they are before the first step."""
        return {"step": 0}

    def _first(self, name: str, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """What a kept tensor is before the first step."""
        return tritorch.zeros_like(parameter)

    def _prepare(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            require_dense(type(self).__name__, parameter._layout)
            state.update(self._numbers(group))
        for name in self._tensors(group):
            if name not in state:
                with recording.paused():
                    state[name] = self._first(name, parameter, group)
        return state

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        names = self._tensors(group)
        if counting.counts_itself(group):
            for parameter in parameters:
                self._prepare(group, parameter)
            counting.step(
                self._launch, self._scheduled(group), group["lr"], parameters, self.state, names
            )
            return
        plans = []
        for parameter in parameters:
            state = self._prepare(group, parameter)
            counting.to_host(state, self._kept_numbers)
            state["step"] += 1
            plans.append(self._plan(group, state))
        for (update, scalars, flags), tensors in by_kind(parameters, plans):
            columns = [tensors, [aligned(p, p.grad) for p in tensors]]  # type: ignore[arg-type]
            columns += [[self.state[p][name] for p in tensors] for name in names]
            self._launch(update, columns, scalars, dict(flags))
