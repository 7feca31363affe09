"""From lists of tensors to one launch of a kernel of `kernels.templates.multi_tensor`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tritorch
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.kernels.templates.multi_tensor import TensorTable, Update
from tritorch.kernels.templates.schedules import Schedule
from tritorch.layout import Layout
from tritorch.runtime import recording
from tritorch.tensor import Tensor

_LIMIT = (
    64  # parameter sets that an optimizer remembers: more means a program that makes ever new ones
)


class MultiTensor:
    """Applies updates to columns of tensors; remembers tables and plans per set of layouts."""

    def __init__(self) -> None:
        self._tables: dict[Any, TensorTable] = {}
        self._plans: dict[Any, Any] = {}
        self._arrivals: dict[Any, Tensor] = {}  # for `scheduled`; zeros between two launches

    def scheduled(
        self,
        schedule: Schedule,
        update: Update,
        columns: Sequence[Sequence[Tensor]],
        numbers: Sequence[Sequence[Tensor]],
        rate: Any,
        scalars: Sequence[float],
        flags: Mapping[str, bool],
    ) -> None:
        """One launch of an update whose scalars the kernel computes from `numbers` in memory.

        Args:
            columns: as for a call.
            numbers: of each tensor, float32 without dimensions; they go on by one step.
            rate: the learning rate, a number or a tensor on the same device.
            scalars: the schedule's, behind the rate.
        """
        layouts = tuple(tensor._layout for tensor in columns[0])
        kinds = tuple(column[0]._layout.dtype for column in columns)
        device = layouts[0].device
        key = (schedule.name, update.name, layouts, kinds)
        table = self._tables.get(key)
        if table is None:
            self._make_room()
            counts = [layout.numel for layout in layouts]
            table = TensorTable(counts, schedule.columns(update), device, every=True)
            with recording.paused():
                arrivals = tritorch.zeros(len(counts), dtype=tritorch.int64, device=device)
            table.set(table.width - 2, [arrivals._address + 8 * i for i in range(len(counts))])
            self._tables[key], self._arrivals[key] = table, arrivals
        first: tuple[Any, ...] = ()
        kind = None
        if "learning_rate" in schedule.scalars:
            if isinstance(rate, Tensor) and rate._layout.device == device:
                first, kind = (rate._address,), rate._layout.dtype
            else:
                first = (float(rate),)
        chosen = (*key, kind, *flags.values())
        plan = self._plans.get(chosen)
        if plan is None:
            plan = self._plans[chosen] = schedule.plan(update, table, kinds, flags, kind)
        for number, column in enumerate((*columns, *numbers)):
            table.set(number, [tensor._address for tensor in column])
        plan.launch(*table.addresses(), *first, *scalars)
        written = [columns[update.columns.index(name)] for name in update.writes]
        for column in (*written, *numbers):
            for tensor in column:
                tensor._storage.version += 1

    def _make_room(self) -> None:
        if len(self._tables) >= _LIMIT:
            self._tables.clear()
            self._plans.clear()
            self._arrivals.clear()

    def __call__(
        self,
        update: Update,
        columns: Sequence[Sequence[Tensor]],
        scalars: Sequence[float],
        flags: Mapping[str, bool],
    ) -> None:
        """One launch: `update` on every element of the columns (parameters, gradients, states).

        All tensors of a column have one dtype; tensor i of each column has the same layout apart
        from its dtype, and is dense. The columns that the update writes are changed in place.
        While operations are recorded, the update is made of those instead (`differentiable=True`).
        """
        if grad_mode_state.enabled:
            from tritorch.optim import recorded

            recorded.step(update, columns, scalars, flags)
            return
        layouts = tuple(tensor._layout for tensor in columns[0])
        kinds = tuple(column[0]._layout.dtype for column in columns)
        key = (update.name, layouts, kinds)
        table = self._tables.get(key)
        if table is None:
            self._make_room()
            counts = [layout.numel for layout in layouts]
            table = self._tables[key] = TensorTable(counts, len(columns), layouts[0].device)
        chosen = (*key, *flags.values())
        plan = self._plans.get(chosen)
        if plan is None:
            plan = self._plans[chosen] = update.plan(table, kinds, flags)
        for number, column in enumerate(columns):
            table.set(number, [tensor._address for tensor in column])
        plan.launch(*table.addresses(), *scalars)
        for name in update.writes:
            for tensor in columns[update.columns.index(name)]:
                tensor._storage.version += 1


def by_kind(parameters: Iterable[Tensor], steps: Iterable[Any]) -> list[tuple[Any, list[Tensor]]]:
    """Parameters that one launch can take together: the same step (a count, or whatever tells steps
    apart), dtype and device.
    """
    groups: dict[tuple[Any, ...], list[Tensor]] = {}
    for parameter, step in zip(parameters, steps):
        layout = parameter._layout
        groups.setdefault((step, layout.dtype, layout.device), []).append(parameter)
    return [(key[0], tensors) for key, tensors in groups.items()]


def aligned(parameter: Tensor, other: Tensor) -> Tensor:
    """`other` with the parameter's element order and dtype: itself, or a copy where it has
    another.
    """
    mine, its = parameter._layout, other._layout
    if its is mine or (its.strides == mine.strides and its.dtype is mine.dtype):
        return other
    return tritorch.empty_like(parameter).copy_(other)


def require_dense(optimizer: str, layout: Layout) -> None:
    """ValueError for a parameter with gaps or overlaps, which no single walk covers."""
    if not layout.is_dense:
        raise ValueError(
            f"{optimizer}: a parameter has shape {layout.shape} with strides {layout.strides}, "
            "which is not dense. Make it contiguous() before it becomes a parameter."
        )
