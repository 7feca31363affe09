"""SparseAdam: Adam for tables of which a step uses few rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.layout import Layout
from tritorch.optim.multi_tensor import by_kind
from tritorch.optim.optimizer import Optimizer, check_option
from tritorch.optim.row_updates import RowUpdates, in_rows, kernels, kinds_of, written
from tritorch.tensor import Tensor

#: elements of the rows that a program takes, if a row has fewer
_ELEMENTS = 16_384


class SparseAdam(Optimizer):
    """Adam on the rows whose gradient is not zero; all others, and their moments, stay as they are.

    There are no sparse tensors here: a gradient is dense, and its rows that are zero throughout
    count as absent. A row that a step used and that got a gradient of exactly zero is therefore
    left out too, where PyTorch would let its moments decay. All parameters of a dtype take one
    launch.

    Args:
        lr: learning rate, a number or a tensor of one element.
        betas: how much of the means of the gradient and of its square is kept at each step.
        eps: added to the root.
        maximize: ascend.
    """

    _kept_numbers = ()

    _replayable = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_option("learning rate", lr)
        check_option("epsilon value", eps)
        check_option("beta parameter at index 0", betas[0], below=1.0)
        check_option("beta parameter at index 1", betas[1], below=1.0)
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        self._launch = RowUpdates()
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._launch = RowUpdates()

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            state = self.state[p]
            if not state:
                state["step"] = 0
                state["exp_avg"] = tritorch.zeros_like(p)
                state["exp_avg_sq"] = tritorch.zeros_like(p)
            state["step"] += 1
        beta1, beta2 = group["betas"]
        for step, tensors in by_kind(parameters, [self.state[p]["step"] for p in parameters]):
            rate = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
            scalars = (rate, 1 - beta1, beta2, 1 - beta2, group["eps"])
            self._step(tensors, scalars, group["maximize"])

    def _step(self, tensors: list[Tensor], scalars: tuple[float, ...], maximize: bool) -> None:
        """One launch: whatever the number of tables and of rows in use."""
        kept = [[self.state[p][name] for p in tensors] for name in ("exp_avg", "exp_avg_sq")]
        given: list[list[Any]] = [tensors, [p.grad for p in tensors], *kept]
        columns = [[in_rows(tensor) for tensor in column] for column in given]
        layouts, kinds = tuple(p._layout for p in columns[0]), kinds_of(columns)
        table, plan = self._launch.get(
            (layouts, kinds, maximize), lambda: _prepared(layouts, kinds, maximize)
        )
        for number, column in enumerate(columns):
            table.set(number, [tensor._address for tensor in column])
        plan.launch(*table.addresses(), *scalars)
        for place in (0, 2, 3):
            written(given[place], columns[place])


def _prepared(layouts: tuple[Layout, ...], kinds: tuple[Any, ...], maximize: bool) -> Any:
    rows = [layout.shape[0] if layout.shape else 1 for layout in layouts]
    sizes = [(n, layout.numel // max(n, 1)) for n, layout in zip(rows, layouts)]
    units = [n if length else 0 for n, length in sizes]
    each = [max(_ELEMENTS // max(length, 1), 1) for _, length in sizes]
    table = kernels.RowTable(sizes, units, each, 4, layouts[0].device)
    longest = max(length for _, length in sizes)
    names = ("parameter_type", "gradient_type", "exp_avg_type", "exp_avg_sq_type")
    block = min(1024, 1 << max(longest - 1, 0).bit_length())
    constants = {
        **dict(zip(names, kinds)), "ROWS": _ELEMENTS, "MAXIMIZE": maximize, "BLOCK": block,
    }  # fmt: skip
    scalars = ("step_size", "added1", "beta2", "added2", "eps")
    return table, kernels.plan(kernels.sparse_adam, table, scalars, constants, kinds[0].compute)
