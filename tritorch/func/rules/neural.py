"""Layers: samples are folded into the batch that a layer already knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tritorch.func.batched import Level, batched, substituted
from tritorch.func.dispatch import at, expanded, front
from tritorch.func.rules.declaring import family, rule
from tritorch.func.rules.pointwise import aligned
from tritorch.nn import functional
from tritorch.ops import comparison, loss, views
from tritorch.tensor import Tensor

Layer = Callable[..., Any]


def _shared(level: Level, *parameters: Tensor | None) -> bool:
    """Whether none of these is batched."""
    return not any(at(p, level) for p in parameters)


def folded(x: Tensor, level: Level) -> Tensor:
    """The samples' batches as one, (samples * N, ...)."""
    value = expanded(x, level)
    shape = value._layout.shape
    return views.reshape(value, shape[0] * shape[1], *shape[2:])


def unfolded(result: Any, level: Level) -> Any:
    """Undo `folded`, for all tensors of a result."""

    def apart(x: Tensor) -> Tensor:
        shape = x._layout.shape
        return batched(views.reshape(x, level.size, shape[0] // level.size, *shape[1:]), 0, level)

    return substituted(result, apart)


# ---- on images: the batch may be left out


def _spatial(function: Layer) -> int:
    found = re.search(r"(\d)d", function.__name__)
    return int(found[1]) if found else 2


@family(
    *(
        getattr(functional, f"{name}{n}d")
        for n in (1, 2, 3)
        for name in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
    ),
    *(getattr(functional, f"lp_pool{n}d") for n in (1, 2, 3)),
    *(getattr(functional, f"max_unpool{n}d") for n in (1, 2, 3)),
    functional.unfold,
    functional.fold,
)
def _pooled(level: Level, function: Layer, input: Tensor, *args: Any, **options: Any) -> Any:
    spatial = 1 if function is functional.fold else _spatial(function)
    args = (input, *args)
    if input._layout.ndim == spatial + 2:
        chosen = [folded(a, level) if isinstance(a, Tensor) else a for a in args]
        named = {k: folded(v, level) if isinstance(v, Tensor) else v for k, v in options.items()}
        return unfolded(function(*chosen, **named), level)
    if input._layout.ndim != spatial + 1:
        return NotImplemented
    chosen = [expanded(a, level) if isinstance(a, Tensor) else a for a in args]
    named = {k: expanded(v, level) if isinstance(v, Tensor) else v for k, v in options.items()}
    made = function(*chosen, **named)
    return substituted(made, lambda x: batched(x, 0, level))


@family(
    functional.interpolate,
    functional.grid_sample,
    functional.channel_shuffle,
    functional.local_response_norm,
)
def _images(level: Level, function: Layer, input: Tensor, *args: Any, **options: Any) -> Any:
    if input._layout.ndim < 3:
        return NotImplemented
    chosen = [folded(a, level) if isinstance(a, Tensor) else a for a in (input, *args)]
    named = {k: folded(v, level) if isinstance(v, Tensor) else v for k, v in options.items()}
    return unfolded(function(*chosen, **named), level)


@rule(functional.pad)
def _pad(
    level: Level, input: Tensor, pad: Any, mode: str = "constant", value: float | None = None
) -> Any:
    # Amounts count from the last dimension; a frame of elements knows one dimension of a batch.
    if mode == "constant" or input._layout.ndim == len(pad) // 2 + 1:
        return batched(functional.pad(front(input, level), pad, mode, value), 0, level)
    if input._layout.ndim != len(pad) // 2 + 2:
        return NotImplemented
    return unfolded(functional.pad(folded(input, level), pad, mode, value), level)


@family(functional.pixel_shuffle, functional.pixel_unshuffle)
def _shuffled(level: Level, function: Layer, input: Tensor, factor: int) -> Any:
    return batched(function(front(input, level), factor), 0, level)


# ---- normalisation


@rule(functional.layer_norm)
def _layer_norm(
    level: Level, input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if _shared(level, weight, bias):
        value = functional.layer_norm(front(input, level), normalized_shape, weight, bias, eps)
        return batched(value, 0, level)
    made = functional.layer_norm(input, normalized_shape, eps=eps)
    made = made if weight is None else made * weight
    return made if bias is None else made + bias


@rule(functional.rms_norm)
def _rms_norm(
    level: Level, input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
    eps: float | None = None,
) -> Any:  # fmt: skip
    if _shared(level, weight):
        value = functional.rms_norm(front(input, level), normalized_shape, weight, eps)
        return batched(value, 0, level)
    return functional.rms_norm(input, normalized_shape, None, eps) * weight


def _per_channel(x: Tensor | None, ndim: int) -> Tensor | None:
    """(C,) in a shape that broadcasts to (N, C, ...)."""
    return None if x is None else views.reshape(x, -1, *(1,) * (ndim - 2))


def _scaled(made: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    ndim = made._layout.ndim
    if weight is not None:
        made = made * _per_channel(weight, ndim)
    return made if bias is None else made + _per_channel(bias, ndim)


@rule(functional.group_norm)
def _group_norm(
    level: Level, input: Tensor, num_groups: int, weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if _shared(level, weight, bias):
        value = functional.group_norm(folded(input, level), num_groups, weight, bias, eps)
        return unfolded(value, level)
    return _scaled(functional.group_norm(input, num_groups, eps=eps), weight, bias)


@rule(functional.batch_norm)
def _batch_norm(
    level: Level, input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float | None = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    kept = running_mean is not None and running_var is not None
    if (
        input._layout.ndim < 2
        or (training and kept and not (at(running_mean, level) and at(running_var, level)))
        or (running_mean is None) != (running_var is None)
    ):
        return NotImplemented
    if not training and _shared(level, running_mean, running_var, weight, bias):
        value = functional.batch_norm(
            folded(input, level), running_mean, running_var, weight, bias, False, momentum, eps
        )
        return unfolded(value, level)
    # Each sample's channels are channels of their own: (N, samples * C, ...).
    x = views.movedim(expanded(input, level), 0, 1)
    shape = x._layout.shape
    joined = views.reshape(x, shape[0], shape[1] * shape[2], *shape[3:])
    statistics = [
        views.reshape(expanded(s, level), -1) if isinstance(s, Tensor) else None
        for s in (running_mean, running_var)
    ]
    made = functional.batch_norm(joined, *statistics, None, None, training, momentum, eps)
    for given, now in zip((running_mean, running_var), statistics):
        if training and given is not None and now is not None:
            value = front(given, level)
            if value._layout.strides != (value._layout.shape[1], 1):  # `now` is a copy
                value.copy_(views.reshape(now, *value._layout.shape))
    made = views.movedim(views.reshape(made, *shape), 1, 0)
    return _scaled(batched(made, 0, level), weight, bias)


@rule(functional.instance_norm)
def _instance_norm(
    level: Level, input: Tensor, running_mean: Tensor | None = None,
    running_var: Tensor | None = None, weight: Tensor | None = None, bias: Tensor | None = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if running_mean is not None or running_var is not None or not use_input_stats:
        return NotImplemented
    if _shared(level, weight, bias):
        value = functional.instance_norm(folded(input, level), weight=weight, bias=bias, eps=eps)
        return unfolded(value, level)
    return _scaled(functional.instance_norm(input, eps=eps), weight, bias)


# ---- lookups, losses, attention


@rule(functional.embedding)
def _embedding(
    level: Level, input: Tensor, weight: Tensor, padding_idx: int | None = None,
    max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:  # fmt: skip
    if max_norm is not None or scale_grad_by_freq or sparse:
        return NotImplemented
    if not at(weight, level):
        return batched(functional.embedding(front(input, level), weight, padding_idx), 0, level)
    made = weight[input]
    if padding_idx is None:
        return made
    padding = views.unsqueeze(input == padding_idx % weight._layout.shape[0], -1)
    return comparison.where(padding, made.detach(), made)


def _class_losses(
    level: Level, function: Layer, input: Tensor, target: Tensor, weight: Tensor | None,
    ignore_index: int, reduction: str, **options: Any,
) -> Any:  # fmt: skip
    if not _shared(level, weight):
        return NotImplemented
    x, y = expanded(input, level), expanded(target, level)
    single = input._layout.ndim == 1
    classes = input._layout.shape[0 if single else 1]
    soft = target._layout.shape == input._layout.shape and target._layout.dtype.is_floating_point
    if not single:
        x = views.reshape(x, -1, *x._layout.shape[2:])
        y = views.reshape(y, -1, *y._layout.shape[2:])
    value = function(x, y, weight, ignore_index=ignore_index, reduction="none", **options)
    losses = batched(value, 0, level) if single else unfolded(value, level)
    if reduction == "none":
        return losses
    total = losses.sum() if losses._layout.ndim else losses
    if reduction == "sum":
        return total
    if soft:
        return total / max(input._layout.numel // max(classes, 1), 1)
    counted = target != ignore_index
    if weight is None:
        share = counted.to(input._layout.dtype)
    else:
        share = weight[comparison.where(counted, target, 0)] * counted
    return total / (share.sum() if share._layout.ndim else share)


@rule(functional.cross_entropy)
def _cross_entropy(
    level: Level, input: Tensor, target: Tensor, weight: Tensor | None = None,
    size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    return _class_losses(
        level, functional.cross_entropy, input, target, weight, ignore_index,
        loss.reduction_of(size_average, reduce, reduction), label_smoothing=label_smoothing,
    )  # fmt: skip


@rule(functional.nll_loss)
def _nll_loss(
    level: Level, input: Tensor, target: Tensor, weight: Tensor | None = None,
    size_average: Any = None, ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    return _class_losses(
        level, functional.nll_loss, input, target, weight, ignore_index,
        loss.reduction_of(size_average, reduce, reduction),
    )  # fmt: skip


@rule(functional.scaled_dot_product_attention)
def _attention(
    level: Level, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:  # fmt: skip
    if dropout_p:
        return NotImplemented
    ndim = max(query._layout.ndim, key._layout.ndim, value._layout.ndim)
    mask = attn_mask if attn_mask is None else aligned(attn_mask, level, ndim)
    made = functional.scaled_dot_product_attention(
        *(aligned(t, level, ndim) for t in (query, key, value)),
        mask, 0.0, is_causal, scale, enable_gqa,
    )  # fmt: skip
    return batched(made, 0, level)
