"""Adafactor: second moments as a product of a column and a row."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import tritorch
from tritorch.kernels.templates.multi_tensor import CHUNK
from tritorch.layout import Layout
from tritorch.optim.multi_tensor import by_kind
from tritorch.optim.optimizer import Optimizer
from tritorch.optim.row_updates import (
    RowUpdates,
    in_rows,
    kernels,
    kinds_of,
    shape_of,
    written,
)
from tritorch.tensor import Tensor


class Adafactor(Optimizer):
    """Adam without momentum, whose second moments are a product of a column and a row.

    Args:
        lr: the highest relative rate.
        beta2_decay: power by which the mean of squares becomes longer with the steps.
        eps: smallest mean square (None: of the dtype), smallest size of a parameter.
        d: above which root mean square an update is clipped.
        weight_decay: decay of the parameters themselves.
        maximize: ascend.

    A step takes four launches for all parameters of a dtype: means of rows, means of columns, sizes
    of parameters and updates, the step itself. Each needs all of what the one before it makes.

    Source: Shazeer and Stern, 2018.
    """

    _replayable = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
        }  # fmt: skip
        self._launch = RowUpdates()
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._launch = RowUpdates()

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            state = self.state[p]
            if not state:
                state["step"] = 0
                state.update(_first_means(p))
            state["step"] += 1
        steps = [self.state[p]["step"] for p in parameters]
        for step, tensors in by_kind(parameters, steps):
            self._step(group, step, tensors)

    def _step(self, group: dict[str, Any], step: int, tensors: list[Tensor]) -> None:
        smallest, smallest_size = group["eps"]
        if smallest is None:
            smallest = tritorch.finfo(tensors[0].dtype).eps
        lr, kind, device = group["lr"], tensors[0].dtype.compute, tensors[0].device
        share = float(step) ** group["beta2_decay"]
        rate = min(lr, 1 / step**0.5) * (-1 if group["maximize"] else 1)
        states = [self.state[p] for p in tensors]
        means = [state["row_var" if "row_var" in state else "variance"] for state in states]
        others = [state.get("col_var", mean) for state, mean in zip(states, means)]
        given: list[list[Any]] = [[p.grad for p in tensors], means, others, tensors]
        columns = [[in_rows(tensor) for tensor in column] for column in given]
        layouts, kinds = tuple(p._layout for p in tensors), kinds_of(columns)
        steps = self._launch.get((layouts, kinds), lambda: _Steps(layouts, kinds))
        wholes = tritorch.empty(steps.wholes[-1], dtype=kind, device=device)
        sums = tritorch.empty(steps.sums[-1], dtype=kind, device=device)
        addresses = [[tensor._address for tensor in column] for column in columns]
        addresses[3:3] = [[wholes._address + kind.itemsize * n for n in steps.wholes[:-1]]]
        addresses += [[sums._address + kind.itemsize * n for n in steps.sums[:-1]]]
        steps.launch(
            addresses, share, smallest, smallest_size, group["d"], rate,
            1 - lr * group["weight_decay"],
        )  # fmt: skip
        for place in (1, 2, 3):
            written(given[place], columns[place])


def _first_means(parameter: Tensor) -> dict[str, Tensor]:
    if parameter.ndim < 2:
        return {"variance": tritorch.zeros_like(parameter)}
    shape = tuple(parameter.shape)
    options: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
    return {
        "row_var": tritorch.zeros((*shape[:-1], 1), **options),
        "col_var": tritorch.zeros((*shape[:-2], 1, shape[-1]), **options),
    }


class _Steps:
    """The four launches of a step for parameters of certain layouts and dtypes."""

    def __init__(self, layouts: tuple[Layout, ...], kinds: tuple[Any, ...]) -> None:
        sizes = [shape_of(layout) for layout in layouts]
        lanes, n_chunks = [kernels.LANES] * len(sizes), [-(-s[3] // CHUNK) for s in sizes]
        matrices = [n // height if height else 0 for n, height, _, _ in sizes]
        #: where in the shared buffers a parameter's part begins; last: their lengths
        self.wholes = list(accumulate(matrices, initial=0))
        self.sums = list(accumulate((2 * n for n in n_chunks), initial=0))
        flat = [n * width if height else 0 for n, (_, height, width, _) in zip(matrices, sizes)]
        counts = [size[3] for size in sizes]
        device, compute = layouts[0].device, kinds[0].compute
        rows, columns, chunks = (
            kernels.RowTable(sizes, units, each, 6, device)
            for units, each in (
                ([size[0] for size in sizes], lanes), (flat, lanes), (counts, [CHUNK] * len(sizes)),
            )
        )  # fmt: skip
        means = {"gradient_type": kinds[0], "mean_type": kinds[1], "LANES": kernels.LANES}
        both = {
            "parameter_type": kinds[3], "gradient_type": kinds[0], "mean_type": kinds[1],
            "CHUNK": CHUNK, "BLOCK": kernels.BLOCK,
        }  # fmt: skip
        step = ("smallest", "smallest_size", "clip", "rate", "kept")
        wide = {**means, "BLOCK": kernels.BLOCK}
        self._launches = [
            (table, kernels.plan(template, table, scalars, constants, compute), scalars)
            for template, table, scalars, constants in (
                (kernels.adafactor_rows, rows, ("share",), wide),
                (kernels.adafactor_columns, columns, ("share",), means),
                (kernels.adafactor_sizes, chunks, ("share", "smallest"), both),
                (kernels.adafactor_step, chunks, step, both),
            )
        ]

    def launch(self, addresses: list[list[int]], share: float, *others: float) -> None:
        """Set the addresses, and launch with the numbers each kernel takes."""
        names = ("share", "smallest", "smallest_size", "clip", "rate", "kept")
        numbers = dict(zip(names, (share, *others)))
        for table, plan, scalars in self._launches:
            if table.n_chunks:
                for column, places in enumerate(addresses):
                    table.set(column, places)
                plan.launch(*table.addresses(), *(numbers[name] for name in scalars))
