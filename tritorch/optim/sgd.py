"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tritorch
from tritorch.errors import AcceleratorError
from tritorch.kernels.templates import multi_tensor as kernels
from tritorch.optim.multi_tensor import MultiTensor, aligned, by_kind, require_dense
from tritorch.optim.optimizer import Optimizer, check_option, check_variants
from tritorch.runtime import recording
from tritorch.tensor import Tensor


class SGD(Optimizer):
    """p ← p - lr · d, where d is the gradient, or its running sum with momentum.

    Args:
        lr: learning rate.
        momentum: share of the running sum that is kept.
        dampening: share of the gradient that is left out of the running sum.
        weight_decay: L2 penalty, added to the gradient.
        nesterov: look ahead; needs momentum and no dampening.
        maximize: ascend.
        foreach, fused: kept for PyTorch's sake; a step is one launch in any case.
    Source: Sutskever et al., 2013, in PyTorch's form (the rate is outside the running sum).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_variants(differentiable, foreach, fused)
        check_option("learning rate", lr)
        check_option("momentum value", momentum)
        check_option("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        self._launch = MultiTensor()
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._launch = MultiTensor()

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        momentum, decay = group["momentum"], group["weight_decay"]
        flags = {"MAXIMIZE": group["maximize"], "DECAY": decay != 0}
        # A buffer is there from the second step on; parameters at their first go in a launch of
        # their own.
        started = [int(bool(momentum) and "momentum_buffer" in self.state[p]) for p in parameters]
        for step, tensors in by_kind(parameters, started):
            for tensor in tensors:
                require_dense("SGD", tensor._layout)
            gradients = [aligned(p, p.grad) for p in tensors]  # type: ignore[arg-type]
            if not momentum:
                self._launch(kernels.sgd, [tensors, gradients], [group["lr"], decay], flags)
                continue
            kept, added = momentum, 1 - group["dampening"]
            if not step and added != 1:  # with 1, the first step is as all others: the sum is 0
                if recording.under_way():
                    raise AcceleratorError(
                        "SGD: the first step with dampening differs from the others. Take it "
                        "before the recording."
                    )
                kept, added = 0.0, 1.0
            if not step:
                with recording.paused():
                    for p in tensors:
                        self.state[p]["momentum_buffer"] = tritorch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in tensors]
            self._launch(
                kernels.sgd_momentum,
                [tensors, gradients, buffers],
                [group["lr"], decay, momentum, kept, added],
                {"NESTEROV": group["nesterov"], **flags},
            )
