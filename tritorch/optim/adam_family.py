"""Adamax, NAdam and RAdam: relatives of Adam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tritorch.kernels.templates import optimizer_updates as kernels
from tritorch.kernels.templates import schedules
from tritorch.optim.fused import FusedOptimizer, Plan, Scheduled
from tritorch.optim.optimizer import check_option


def _check(lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    check_option("learning rate", lr)
    check_option("epsilon value", eps)
    check_option("beta parameter at index 0", betas[0], below=1.0)
    check_option("beta parameter at index 1", betas[1], below=1.0)
    check_option("weight_decay value", weight_decay)


def _decay(group: dict[str, Any]) -> tuple[float, tuple[tuple[str, bool], ...]]:
    """What the weights are multiplied by (decoupled), or what is added to the gradient."""
    decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
    flags = ("MAXIMIZE", group["maximize"]), ("DECAY", decay != 0), ("DECOUPLED", decoupled)
    return 1 - group["lr"] * decay if decoupled else decay, flags


class Adamax(FusedOptimizer):
    """Adam with the decayed largest gradient in place of the root of the mean square.

    Args:
        lr: learning rate.
        betas: how much of the mean and of the largest gradient is kept at each step.
        eps: added to the gradient's size.
        weight_decay: L2 penalty, added to the gradient.
        maximize: ascend.
        capturable: the kernel counts the steps, so that a graph can record one (see Graph).
    Source: Kingma and Ba, 2015, section 7.1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        beta1, beta2 = group["betas"]
        size = group["lr"] / (1 - beta1 ** state["step"])
        scalars = (size, 1 - beta1, beta2, group["eps"], group["weight_decay"])
        flags = ("MAXIMIZE", group["maximize"]), ("DECAY", group["weight_decay"] != 0)
        return kernels.adamax, scalars, flags

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        scalars = (*group["betas"], group["eps"], group["weight_decay"])
        flags = ("MAXIMIZE", group["maximize"]), ("DECAY", group["weight_decay"] != 0)
        return schedules.adamax_schedule, kernels.adamax, scalars, flags


class NAdam(FusedOptimizer):
    """Adam with Nesterov's look ahead, whose momentum grows with the steps.

    Args:
        lr: learning rate.
        betas: how much of both means is kept at each step.
        eps: added to the root.
        weight_decay: L2 penalty; `decoupled_weight_decay`: of the parameter itself, as AdamW.
        momentum_decay: how fast the momentum grows.
        maximize: ascend.
        capturable: the kernel counts the steps, so that a graph can record one (see Graph).
    Source: Dozat, 2016.
    """

    _kept_numbers = ("step", "mu_product")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        check_option("momentum_decay value", momentum_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, "mu_product": 1.0}

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        (beta1, beta2), step, lr = group["betas"], state["step"], group["lr"]
        decay, flags = _decay(group)
        momentum = beta1 * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"]))
        following = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * group["momentum_decay"]))
        state["mu_product"] *= momentum
        product = state["mu_product"]
        scalars = (
            lr * (1 - momentum) / (1 - product), lr * following / (1 - product * following),
            decay, 1 - beta1, beta2, 1 - beta2, (1 - beta2**step) ** -0.5, group["eps"],
        )  # fmt: skip
        return kernels.nadam, scalars, flags

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        scalars = (
            *group["betas"], group["eps"], group["weight_decay"], group["momentum_decay"], 0.96,
        )  # fmt: skip
        return schedules.nadam_schedule, kernels.nadam, scalars, _decay(group)[1]


class RAdam(FusedOptimizer):
    """Rectified Adam: plain momentum until the variance of the root is known.

    Args:
        lr: learning rate.
        betas: how much of both means is kept at each step.
        eps: added to the root.
        weight_decay: L2 penalty; `decoupled_weight_decay`: of the parameter itself, as AdamW.
        maximize: ascend.
        capturable: the kernel counts the steps, so that a graph can record one (see Graph).
    Source: Liu et al., 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        (beta1, beta2), step = group["betas"], state["step"]
        decay, flags = _decay(group)
        size = group["lr"] / (1 - beta1**step)
        correction = 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction
        if length > 5:
            size *= (
                (length - 4) * (length - 2) * longest * correction
                / ((longest - 4) * (longest - 2) * length)
            ) ** 0.5  # fmt: skip
        scalars = (size, decay, 1 - beta1, beta2, 1 - beta2, group["eps"], float(length > 5))
        return kernels.radam, scalars, flags

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        scalars = (*group["betas"], group["eps"], group["weight_decay"])
        return schedules.radam_schedule, kernels.radam, scalars, _decay(group)[1]
