"""Averages of models: of equal weights (SWA) and exponential (EMA), and what goes with them.

Source: Izmailov et al., Averaging Weights Leads to Wider Optima, 2018; Polyak and Juditsky, 1992.
The interface is that of torch.optim.swa_utils.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import lru_cache
from itertools import chain
from threading import get_ident
from typing import Any

import tritorch
from tritorch.kernels.templates.optimizer_updates import average_toward
from tritorch.nn import Module
from tritorch.optim.lr_base import LRScheduler, per_group
from tritorch.optim.multi_tensor import MultiTensor, aligned, by_kind
from tritorch.optim.optimizer import Optimizer
from tritorch.tensor import Tensor

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
    "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip

AverageFunction = Callable[[Tensor, Tensor, Any], Tensor]
MultiAverageFunction = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _lerp(
    launch: MultiTensor, averages: Sequence[Tensor], current: Sequence[Tensor], share: float
) -> None:
    """averages += share * (current - averages), one launch for all dense tensors of a dtype."""
    pairs = dict(zip(map(id, averages), current, strict=True))
    dense = [average for average in averages if average._layout.is_dense]
    for _, tensors in by_kind(dense, [None] * len(dense)):
        others = [aligned(tensor, pairs[id(tensor)]) for tensor in tensors]
        launch(average_toward, [tensors, others], [share], {})
    for average in averages:
        if not average._layout.is_dense:
            average.lerp_(pairs[id(average)], share)


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverageFunction:
    """A function that makes lists of averages decay * average + (1 - decay) * current, in place.

    Floating-point tensors of a dtype take one launch.
    """
    _check_decay(decay)
    launch = MultiTensor()

    @tritorch.no_grad()
    def ema_update(averages: Sequence[Tensor], current: Sequence[Tensor], _: Any) -> None:
        if averages[0].is_floating_point():
            _lerp(launch, averages, current, 1 - decay)
            return
        for average, tensor in zip(averages, current, strict=True):
            average.copy_(average * decay + tensor * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> MultiAverageFunction:
    """A function that takes current tensors into averages of `num_averaged` ones, in place."""
    launch = MultiTensor()

    @tritorch.no_grad()
    def swa_update(
        averages: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any
    ) -> None:
        share = 1 / (int(num_averaged) + 1)
        if averages[0].is_floating_point():
            _lerp(launch, averages, current, share)
            return
        for average, tensor in zip(averages, current, strict=True):
            average.copy_(average + (tensor - average) * share)

    return swa_update


@lru_cache(maxsize=64)
def _equal_weights(thread: int) -> MultiAverageFunction:
    """What averages by default: each thread has its own, whose tables and plans last."""
    return get_swa_multi_avg_fn()


def _beside(average: Tensor, tensor: Tensor) -> Tensor:
    """The tensor on the average's device."""
    device = average._layout.device
    return tensor if tensor._layout.device is device else tensor.to(device)


def get_ema_avg_fn(decay: float = 0.999) -> AverageFunction:
    """A function of average, current tensor and count: decay * average + (1 - decay) * current."""
    _check_decay(decay)

    @tritorch.no_grad()
    def ema_update(average: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return decay * average + (1 - decay) * current

    return ema_update


def get_swa_avg_fn() -> AverageFunction:
    """A function of average, current tensor and count: the average of one more."""

    @tritorch.no_grad()
    def swa_update(average: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return average + (current - average) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's.

    Args:
        model: to copy.
        device: where the copy lives; by default where the model does.
        avg_fn: average of one tensor, from (average, current, count of those averaged).
        multi_avg_fn: the same for lists of tensors, in place. Without either, equal weights.
        use_buffers: average the buffers too; they are copied otherwise.

    Example:
        >>> import tritorch as torch
        >>> from tritorch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
        >>> model = torch.nn.Linear(2, 1)
        >>> ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        >>> ema.update_parameters(model)
        >>> ema.n_averaged
        tensor(1)
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: AverageFunction | None = None,
        multi_avg_fn: MultiAverageFunction | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        count = tritorch.tensor(0, dtype=tritorch.int64, device=device)
        self.register_buffer("n_averaged", count)
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the averaged module gives."""
        return self.module(*args, **options)

    @tritorch.no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the model's parameters into the averages; the first time they are copied.

        One launch for all floating-point tensors of a dtype and device, unless `avg_fn` is given,
        and one for the count. The launch's tables and plan are kept for the next update.
        """
        own: Iterable[Tensor] = self.module.parameters()
        others: Iterable[Tensor] = model.parameters()
        if self.use_buffers:
            own, others = chain(own, self.module.buffers()), chain(others, model.buffers())
        averages = [tensor.detach() for tensor in own]
        current = [
            _beside(average, tensor.detach())
            for tensor, average in zip(others, averages, strict=True)
        ]
        if int(self.n_averaged) == 0:
            for average, tensor in zip(averages, current, strict=True):
                average.copy_(tensor)
        elif self.avg_fn is not None:
            for average, tensor in zip(averages, current, strict=True):
                average.copy_(self.avg_fn(average, tensor, self.n_averaged.to(average.device)))
        else:
            function = self.multi_avg_fn or _equal_weights(get_ident())
            groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
            for average, tensor in zip(averages, current, strict=True):
                lists = groups.setdefault((average.device, average.dtype), ([], []))
                lists[0].append(average)
                lists[1].append(tensor)
            for (device, _), lists in groups.items():
                function(*lists, self.n_averaged.to(device))
        if not self.use_buffers:
            for mine, other in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.copy_(_beside(mine, other))
        self.n_averaged += 1


@tritorch.no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of all batch normalisations anew, in one pass over the data.

    Args:
        loader: gives batches: a tensor, or a list or tuple whose first entry is the input.
        model: whose statistics; it is run in training mode.
        device: where batches are moved to first.
    """
    from tritorch.nn.modules.batchnorm import _BatchNorm

    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    for batch in loader:
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(inputs if device is None else inputs.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Goes from each group's rate to a fixed one within some epochs, and stays there.

    Args:
        optimizer: whose groups' `lr` is set.
        swa_lr: the rate, or one for each group.
        anneal_epochs: how many epochs it takes; 0: at once.
        anneal_strategy: "cos" or "linear".
        last_epoch: the last epoch done before, -1 for none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for rate, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must by one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, epoch: int) -> float:
        """How far the way is done: 0 to 1."""
        done = max(0.0, min(1.0, epoch / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * done)) / 2 if self._anneal_strategy == "cos" else done

    def get_lr(self) -> list[float]:
        """The rate of each group in this epoch."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal = group["swa_lr"]
            start = goal if before == 1 else (group["lr"] - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates
