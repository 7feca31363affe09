"""Muon: steps whose matrices are orthogonal; matrices of one shape go together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.kernels.templates import optimizer_updates as kernels
from tritorch.optim.multi_tensor import MultiTensor, aligned, by_kind, require_dense
from tritorch.optim.optimizer import Optimizer, check_option
from tritorch.runtime import recording
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

    A step launches one kernel for the momentum of all matrices, and for each shape about twenty,
    whatever the number of its matrices: the norms, three batched products in each iteration, the
    step. Products of different shapes have nothing in common that a launch could share.

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
        self._launch = MultiTensor()
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{p.shape}"
                    )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._launch = MultiTensor()

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            require_dense("Muon", p._layout)
            state = self.state[p]
            if "momentum_buffer" not in state:
                with recording.paused():
                    state["momentum_buffer"] = tritorch.zeros_like(p)
        # Matrices of one shape go together; one that is stored by columns goes as its transpose.
        shapes = [(tuple(p.shape), p._layout.is_contiguous) for p in parameters]
        equal = [tensors for _, tensors in by_kind(parameters, shapes)]
        directions = [_room(tensors) for tensors in equal]
        self._gather(group, equal, directions)
        for tensors, found in zip(equal, directions, strict=True):
            self._step(group, tensors, found)

    def _gather(
        self, group: dict[str, Any], equal: list[list[Tensor]], directions: list[Tensor]
    ) -> None:
        """Momentum: from gradients to directions, one launch for all matrices of a dtype."""
        order = [p for tensors in equal for p in tensors]
        places = {id(p): place for p, place in zip(order, _parts(directions), strict=True)}
        flags, momentum = {"NESTEROV": group["nesterov"]}, group["momentum"]
        for _, tensors in by_kind(order, [None] * len(order)):
            columns = [
                [aligned(p, p.grad) for p in tensors],  # type: ignore[arg-type]
                [self.state[p]["momentum_buffer"] for p in tensors],
                [places[id(p)] for p in tensors],
            ]
            self._launch(kernels.muon_momentum, columns, [1 - momentum, momentum], flags)

    def _step(self, group: dict[str, Any], parameters: list[Tensor], directions: Tensor) -> None:
        """Orthogonal directions of matrices of one shape, and the step along them."""
        steps = orthogonal(directions, group["ns_coefficients"], group["ns_steps"], group["eps"])
        kept = 1 - group["lr"] * group["weight_decay"]
        rate = group["lr"] * _rate_factor(group["adjust_lr_fn"], parameters[0])
        columns = [parameters, list(steps.contiguous().unbind(0))]
        self._launch(kernels.decay_and_step, columns, [kept, rate], {})


def _room(parameters: list[Tensor]) -> Tensor:
    """Memory for the directions of matrices of one shape, in their order in memory."""
    first = parameters[0]
    rows, columns = first.shape
    stored = (rows, columns) if first._layout.is_contiguous else (columns, rows)
    return tritorch.empty((len(parameters), *stored), dtype=tritorch.bfloat16, device=first.device)


def _parts(directions: list[Tensor]) -> list[Tensor]:
    return [part for found in directions for part in found.unbind(0)]


def _rate_factor(kind: str | None, parameter: Tensor) -> float:
    rows, columns = parameter.shape
    if kind == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def orthogonal(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """About the orthogonal factor of each matrix of a batch, in bfloat16, by Newton-Schulz."""
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        update = tritorch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = tritorch.baddbmm(x, update, x, beta=a)
    return x.mT if tall else x
