"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.kernels.templates import multi_tensor as kernels
from tritorch.kernels.templates import schedules
from tritorch.optim import capturable as counting
from tritorch.optim.multi_tensor import MultiTensor, aligned, by_kind, require_dense
from tritorch.optim.optimizer import Optimizer, check_option, check_variants
from tritorch.runtime import recording
from tritorch.tensor import Tensor


class Adam(Optimizer):
    """p ← p - lr · m̂ / (sqrt(v̂) + eps), with running means m of the gradient and v of its square.

    Args:
        lr: learning rate, a number or a tensor of one element.
        betas: how much of m and of v is kept at each step.
        eps: added to the root.
        weight_decay: L2 penalty, added to the gradient (AdamW: decay of the parameter itself).
        amsgrad: use the largest v so far.
        maximize: ascend.
        decoupled_weight_decay: decay of the parameter itself, as AdamW.
        capturable: the kernel counts the steps, so that a graph can record one (see Graph); `lr`
            may be a tensor then, which is read at each step.
        foreach, fused: kept for PyTorch's sake; a step is one launch in any case.
    Source: Kingma and Ba, 2015; amsgrad: Reddi et al., 2018.
    """

    _replayable = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_variants(differentiable, foreach, fused)
        check_option("learning rate", lr)
        check_option("epsilon value", eps)
        check_option("beta parameter at index 0", betas[0], below=1.0)
        check_option("beta parameter at index 1", betas[1], below=1.0)
        check_option("weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        self._launch = MultiTensor()
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._launch = MultiTensor()

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        decay, amsgrad = group["weight_decay"], group["amsgrad"]
        decoupled = group["decoupled_weight_decay"]
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * amsgrad
        for p in parameters:
            state = self.state[p]
            if not state:
                require_dense(type(self).__name__, p._layout)
                state["step"] = 0
            for name in names:
                if name not in state:
                    with recording.paused():
                        state[name] = tritorch.zeros_like(p)
        update = kernels.adam_amsgrad if amsgrad else kernels.adam
        flags = {
            "MAXIMIZE": group["maximize"], "DECAY": decay != 0, "DECOUPLED": decoupled,
        }  # fmt: skip
        if counting.counts_itself(group):
            scalars = (*group["betas"], group["eps"], decay)
            rule = schedules.adam_schedule, update, scalars, tuple(flags.items())
            counting.step(self._launch, rule, group["lr"], parameters, self.state, names)
            return
        for p in parameters:
            state = self.state[p]
            counting.to_host(state, self._kept_numbers)
            state["step"] += 1
        for step, tensors in by_kind(parameters, [self.state[p]["step"] for p in parameters]):
            columns = [tensors, [aligned(p, p.grad) for p in tensors]]  # type: ignore[arg-type]
            columns += [[self.state[p][name] for p in tensors] for name in names]
            beta1, beta2 = group["betas"]
            scalars = kernels.adam_scalars(
                group["lr"], beta1, beta2, group["eps"], decay, step, decoupled=decoupled
            )
            self._launch(update, columns, scalars, flags)


class AdamW(Adam):
    """Adam with decay of the parameters themselves: p ← p · (1 - lr · weight_decay) first.

    Source: Loshchilov and Hutter, 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True,
        )  # fmt: skip
