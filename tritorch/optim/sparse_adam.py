"""SparseAdam: Adam for tables of which a step uses few rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.kernels.templates import optimizer_updates as kernels
from tritorch.optim.multi_tensor import MultiTensor, by_kind
from tritorch.optim.optimizer import Optimizer, check_option
from tritorch.tensor import Tensor


class SparseAdam(Optimizer):
    """Adam on the rows whose gradient is not zero; all others, and their moments, stay as they are.

    There are no sparse tensors here: a gradient is dense, and its rows that are zero throughout
    count as absent. A row that a step used and that got a gradient of exactly zero is therefore
    left out too, where PyTorch would let its moments decay.

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
        self._launch = MultiTensor()
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._launch = MultiTensor()

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            state = self.state[p]
            if not state:
                state["step"] = 0
                state["exp_avg"] = tritorch.zeros_like(p)
                state["exp_avg_sq"] = tritorch.zeros_like(p)
            state["step"] += 1
        beta1, beta2 = group["betas"]
        flags = {"MAXIMIZE": group["maximize"], "DECAY": False, "DECOUPLED": False}
        for step, tensors in by_kind(parameters, [self.state[p]["step"] for p in parameters]):
            rate = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
            scalars = (rate, 0.0, 1 - beta1, beta2, 1 - beta2, group["eps"], 1.0)
            whole = [
                [p, p.grad, self.state[p]["exp_avg"], self.state[p]["exp_avg_sq"]] for p in tensors
            ]
            rows = [_rows_in_use(gradient) for _, gradient, *_ in whole]
            parts = [
                [_gathered(tensor, chosen) for tensor in row]
                for row, chosen in zip(whole, rows, strict=True)
            ]
            self._launch(kernels.radam, list(zip(*parts, strict=True)), scalars, flags)
            for row, part, chosen in zip(whole, parts, rows, strict=True):
                for place in (0, 2, 3):
                    _scattered(row[place], part[place], chosen)


def _rows_in_use(gradient: Tensor) -> Tensor | None:
    """Numbers of the rows with an element that is not zero; None for a tensor of one element."""
    if gradient.ndim == 0:
        return None
    in_use = gradient.reshape(gradient.shape[0], -1).ne(0).any(1)
    return in_use.nonzero().reshape(-1)


def _gathered(tensor: Tensor, rows: Tensor | None) -> Tensor:
    return tensor.clone() if rows is None else tensor.index_select(0, rows)


def _scattered(tensor: Tensor, part: Tensor, rows: Tensor | None) -> None:
    if rows is None:
        tensor.copy_(part)
    else:
        tensor.index_copy_(0, rows, part)
