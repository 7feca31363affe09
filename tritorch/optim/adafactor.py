"""Adafactor: second moments as a product of a column and a row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.optim.optimizer import Optimizer
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
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            assert p.grad is not None
            self._update_one(group, p, -p.grad if group["maximize"] else p.grad)

    def _update_one(self, group: dict[str, Any], p: Tensor, gradient: Tensor) -> None:
        state, lr = self.state[p], group["lr"]
        smallest, smallest_size = group["eps"]
        if smallest is None:
            smallest = tritorch.finfo(p.dtype).eps
        squares = gradient * gradient
        factored = gradient.ndim > 1
        if factored:
            means = {"row_var": squares.mean(-1, True), "col_var": squares.mean(-2, True)}
        else:
            means = {"variance": squares}
        if not state:
            state["step"] = 0
            state.update({name: tritorch.zeros_like(mean) for name, mean in means.items()})
        state["step"] += 1
        share = float(state["step"]) ** group["beta2_decay"]
        for name, mean in means.items():
            state[name].add_(mean - state[name], alpha=share)
        size = float(p.norm(2)) / p.numel() ** 0.5
        rate = max(smallest_size, size) * min(lr, 1 / state["step"] ** 0.5)
        if group["weight_decay"] != 0:
            p.mul_(1 - lr * group["weight_decay"])
        if factored:
            row = state["row_var"]
            variance = row @ state["col_var"] / row.mean(-2, True).clamp(min=smallest)
        else:
            variance = state["variance"]
        update = variance.clamp(min=smallest * smallest).rsqrt() * gradient
        largest = max(1.0, float(update.norm(2)) / (update.numel() ** 0.5 * group["d"]))
        p.add_(update, alpha=-rate / largest)
