"""Muon: steps whose matrices are orthogonal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.optim.optimizer import Optimizer, check_option
from tritorch.tensor import Tensor


class Muon(Optimizer):
    """Momentum whose matrices are made orthogonal by a few Newton-Schulz iterations in bfloat16.

    Args:
        params: matrices only.
        lr: learning rate.
        weight_decay: decay of the parameters themselves.
        momentum: share of the running mean of gradients that is kept.
        nesterov: look ahead.
        ns_coefficients: of x, x³ and x⁵ in an iteration; ns_steps: iterations.
        eps: smallest norm of a matrix.
        adjust_lr_fn: "original", sqrt(rows / columns) at least 1; "match_rms_adamw", 0.2 times the
            root of the larger of both.
    Raises:
        ValueError: a parameter is not a matrix.
    Source: Jordan et al., 2024; match_rms_adamw: Liu et al., 2025.
    """

    _kept_numbers = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_option("learning rate", lr)
        check_option("momentum value", momentum)
        check_option("weight_decay value", weight_decay)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(ns_coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{p.shape}"
                    )

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        for p in parameters:
            gradient, state = p.grad, self.state[p]
            assert gradient is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = tritorch.zeros_like(gradient)
            buffer = state["momentum_buffer"]
            buffer.add_(gradient - buffer, alpha=1 - momentum)
            update = buffer
            if group["nesterov"]:
                update = gradient + momentum * (buffer - gradient)
            update = orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
            p.mul_(1 - lr * group["weight_decay"])
            p.add_(update.to(p.dtype), alpha=-lr * _rate_factor(group["adjust_lr_fn"], p))


def _rate_factor(kind: str | None, parameter: Tensor) -> float:
    rows, columns = parameter.shape
    if kind == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def orthogonal(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """About the orthogonal factor of a matrix, in bfloat16, by Newton-Schulz iterations."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.t() if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.t()
        update = tritorch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = tritorch.addmm(x, update, x, beta=a)
    return x.t() if tall else x
