"""RMSprop, Adagrad, Adadelta, Rprop and ASGD."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.kernels.templates import optimizer_updates as kernels
from tritorch.kernels.templates import schedules
from tritorch.kernels.templates.multi_tensor import Update
from tritorch.optim.fused import FusedOptimizer, Plan, Scheduled
from tritorch.optim.optimizer import check_option
from tritorch.tensor import Tensor


def _decay_flags(group: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
    return ("MAXIMIZE", group["maximize"]), ("DECAY", group["weight_decay"] != 0)


class RMSprop(FusedOptimizer):
    """p ← p - lr · g / (sqrt(v) + eps) with a running mean v of g².

    Args:
        lr: learning rate.
        alpha: share of v that is kept.
        eps: added to the root.
        weight_decay: L2 penalty, added to the gradient.
        momentum: share of the running sum of steps that is kept.
        centered: v minus the square of the running mean of g.
        maximize: ascend.
    Source: Hinton et al., Neural Networks for Machine Learning, lecture 6, 2012; Graves, 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_option("learning rate", lr)
        check_option("epsilon value", eps)
        check_option("momentum value", momentum)
        check_option("weight_decay value", weight_decay)
        check_option("alpha value", alpha)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) * (group["momentum"] > 0)
        return ("square_avg", *momentum, *("grad_avg",) * group["centered"])

    def _kernel(self, group: dict[str, Any]) -> Update:
        return {
            (False, False): kernels.rmsprop,
            (False, True): kernels.rmsprop_momentum,
            (True, False): kernels.rmsprop_centered,
            (True, True): kernels.rmsprop_centered_momentum,
        }[bool(group["centered"]), group["momentum"] > 0]

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        alpha = group["alpha"]
        scalars = (
            group["lr"], alpha, 1 - alpha, group["eps"], group["momentum"], group["weight_decay"],
        )  # fmt: skip
        return self._kernel(group), scalars, _decay_flags(group)

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        scalars = (group["alpha"], group["eps"], group["momentum"], group["weight_decay"])
        return schedules.rmsprop_schedule, self._kernel(group), scalars, _decay_flags(group)


class Adagrad(FusedOptimizer):
    """p ← p - lr · g / (sqrt(sum of all g²) + eps).

    Args:
        lr: learning rate.
        lr_decay: the rate is lr / (1 + step · lr_decay).
        weight_decay: L2 penalty, added to the gradient.
        initial_accumulator_value: what the sum starts with.
        eps: added to the root.
        maximize: ascend.
    Source: Duchi et al., 2011.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_option("learning rate", lr)
        check_option("lr_decay value", lr_decay)
        check_option("weight_decay value", weight_decay)
        check_option("initial_accumulator_value value", initial_accumulator_value)
        check_option("epsilon value", eps)
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:
                self._prepare(group, parameter)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def _first(self, name: str, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        return tritorch.full_like(parameter, group["initial_accumulator_value"])

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        rate = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        scalars = (rate, group["eps"], group["weight_decay"])
        return kernels.adagrad, scalars, _decay_flags(group)


class Adadelta(FusedOptimizer):
    """p ← p - lr · sqrt(d + eps) / sqrt(v + eps) · g, d and v running means of steps² and g².

    Args:
        lr: learning rate.
        rho: share of the means that is kept.
        eps: added under both roots.
        weight_decay: L2 penalty, added to the gradient.
        maximize: ascend.
    Source: Zeiler, 2012.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_option("learning rate", lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}. It must be >= 0 and <= 1.")
        check_option("epsilon value", eps)
        check_option("weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        rho = group["rho"]
        scalars = (group["lr"], rho, 1 - rho, group["eps"], group["weight_decay"])
        return kernels.adadelta, scalars, _decay_flags(group)

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        scalars = (group["rho"], group["eps"], group["weight_decay"])
        return schedules.adadelta_schedule, kernels.adadelta, scalars, _decay_flags(group)


class Rprop(FusedOptimizer):
    """Resilient propagation: only the signs of the gradients count.

    Args:
        lr: step size of every element at first.
        etas: factors of the step size where the sign changed, and where it stayed.
        step_sizes: smallest and largest step size.
        maximize: ascend.
    Source: Riedmiller and Braun, 1993.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_option("learning rate", lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("prev", "step_size")

    def _first(self, name: str, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        return tritorch.full_like(parameter, group["lr"] if name == "step_size" else 0.0)

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        scalars = (*group["etas"], *group["step_sizes"])
        return kernels.rprop, scalars, (("MAXIMIZE", group["maximize"]),)

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        scalars = (*group["etas"], *group["step_sizes"])
        return schedules.rprop_schedule, kernels.rprop, scalars, (("MAXIMIZE", group["maximize"]),)


class ASGD(FusedOptimizer):
    """Averaged gradient descent: the mean of the path is in the state as `ax`.

    Args:
        lr: learning rate.
        lambd: decay of the parameters.
        alpha: power of the rate's decay.
        t0: step at which averaging starts.
        weight_decay: L2 penalty, added to the gradient.
        maximize: ascend.
    Source: Polyak and Juditsky, 1992.
    """

    _kept_numbers = ("step", "eta", "mu")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_option("learning rate", lr)
        check_option("weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _tensors(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, "eta": float(group["lr"]), "mu": 1.0}

    def _plan(self, group: dict[str, Any], state: dict[str, Any]) -> Plan:
        eta, mu, lambd = state["eta"], state["mu"], group["lambd"]
        scalars = (eta, 1 - lambd * eta, mu, group["weight_decay"])
        step, rate = state["step"], group["lr"]
        state["eta"] = rate / (1 + lambd * rate * step) ** group["alpha"]
        state["mu"] = 1 / max(1, step - group["t0"])
        return kernels.asgd, scalars, _decay_flags(group)

    def _scheduled(self, group: dict[str, Any]) -> Scheduled:
        scalars = (group["lambd"], group["alpha"], group["t0"], group["weight_decay"])
        return schedules.asgd_schedule, kernels.asgd, scalars, _decay_flags(group)
