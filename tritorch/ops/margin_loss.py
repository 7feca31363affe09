"""Further losses: likelihoods, margins, rankings, connectionist temporal classification."""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.kernels import scalar as s
from tritorch.ops.activation import logsigmoid
from tritorch.ops.comparison import eq, ne, where
from tritorch.ops.creation import arange, from_numpy, full, zeros
from tritorch.ops.declare import pointwise, takes
from tritorch.ops.extrema import vector_norm
from tritorch.ops.joining import cat
from tritorch.ops.loss import cosine_similarity, reduced, reduction_of
from tritorch.ops.reduction import mean, sum
from tritorch.ops.selection import gather
from tritorch.ops.views import expand, unsqueeze
from tritorch.tensor import Tensor


@pointwise(
    numpy=lambda x, t, margin: (
        np.where(t == -1, 0, x) + np.where(t == 1, 0, np.maximum(0, margin - x))
    ), method=False,
    out=False, integers=False, calls=({"margin": 1.0}, {"margin": 0.3}), samples=(1.0, -1.0),
    node="HingeEmbeddingLossBackward0",
)  # fmt: skip
def _hinge_embedding(input, target, margin: float):
    # A target that is neither 1 nor -1 counts in both parts, as in PyTorch.
    near = s.where(target == -1, 0.0, input)
    far = s.where(target == 1, 0.0, s.maximum(margin - input, 0.0))
    return near + far


@takes("floating")
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """input where the target is 1, max(0, margin - input) where it is -1."""
    loss = _hinge_embedding(input, target, margin=float(margin))
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@pointwise(
    numpy=lambda a, b, y, margin: np.maximum(0, -y * (a - b) + margin), method=False, out=False,
    promote="float", calls=({"margin": 0.0}, {"margin": 0.5}), node="ClampMinBackward0",
)  # fmt: skip
def _margin_ranking(input1, input2, target, margin: float):
    return s.maximum(margin - target * (input1 - input2), 0.0)


@takes("floating", "integers", "bool")
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin - target (input1 - input2)), for targets 1 and -1."""
    ndims = {x._layout.ndim for x in (input1, input2, target)}
    if len(ndims) > 1:
        raise RuntimeError(
            "margin_ranking_loss: All input tensors should have same dimension but got sizes: "
            f"input1: {list(input1._layout.shape)}, input2: {list(input2._layout.shape)}, target: "
            f"{list(target._layout.shape)}."
        )
    loss = _margin_ranking(input1, input2, target, margin=float(margin))
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@pointwise(
    numpy=lambda x, t: np.logaddexp(0, -t * x), method=False, out=False, integers=False,
    samples=(1e4, -1e4), node="SoftMarginLossBackward0",
)  # fmt: skip
def _soft_margin(input, target):
    z = -target * input
    return s.maximum(z, 0.0) + s.log1p(s.exp(-s.abs(z)))


@takes("floating")
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """log(1 + exp(-target input)), for targets 1 and -1."""
    loss = _soft_margin(input, target)
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@pointwise(
    numpy=lambda x, t, log_input, full, eps: (
        (np.exp(x) - t * x if log_input else x - t * np.log(x + eps))
        + (np.where(t > 1, t * np.log(np.where(t > 1, t, 1)) - t
                    + 0.5 * np.log(2 * np.pi * np.where(t > 1, t, 1)), 0) if full else 0)
    ),
    method=False, out=False, promote="float", low=0.1, node="PoissonNllLossBackward0",
    calls=(
        {"log_input": True, "full": False, "eps": 1e-8},
        {"log_input": False, "full": True, "eps": 1e-3},
    ),
)  # fmt: skip
def _poisson_nll(input, target, log_input: bool, full: bool, eps: float):
    by_rate = input - target * s.log(input + eps)
    loss = s.where(log_input, s.exp(input) - target * input, by_rate)
    large = s.where(target > 1, target, 1.0)
    stirling = target * s.log(large) - target + 0.5 * s.log(2 * math.pi * large)
    return loss + s.where(full, s.where(target > 1, stirling, 0.0), 0.0)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
    size_average: Any = None, eps: float = 1e-8, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """exp(input) - target input: the Poisson distribution's negative log-likelihood.

    Args:
        log_input: the input is the logarithm of the rate; else the rate itself.
        full: add Stirling's approximation of log(target!).
    """
    loss = _poisson_nll(input, target, log_input=log_input, full=full, eps=float(eps))
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@pointwise(
    numpy=lambda x, t, v, full, eps: (
        0.5 * (np.log(np.maximum(v, eps)) + (x - t) ** 2 / np.maximum(v, eps))
        + (0.5 * np.log(2 * np.pi) if full else 0)
    ),
    method=False, out=False, integers=False, low=0.1, node="GaussianNllLossBackward0",
    calls=({"full": False, "eps": 1e-6}, {"full": True, "eps": 0.5}),
    grad=lambda g, input, target, var, full, eps: (
        g * (input - target) / s.maximum(var, eps),
        g * (target - input) / s.maximum(var, eps),
        g * 0.5 * (1.0 / s.maximum(var, eps)
                   - (input - target) * (input - target) / (s.maximum(var, eps)
                                                            * s.maximum(var, eps))),
    ),
)  # fmt: skip
def _gaussian_nll(input, target, var, full: bool, eps: float):
    # The bound on the variance has no gradient, as in PyTorch.
    bounded = s.maximum(var, eps)
    difference = input - target
    loss = 0.5 * (s.log(bounded) + difference * difference / bounded)
    return loss + s.where(full, 0.5 * math.log(2 * math.pi), 0.0)


@takes("floating", "float8")
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The Gaussian distribution's negative log-likelihood.

    Args:
        var: variances, of the shape of input, or without (or with 1 as) its last dimension, or one
            number.
        full: add the constant. eps: the least variance.
    """
    if not isinstance(var, Tensor):
        var = full_like(input, float(var))
    own, other = input._layout.shape, var._layout.shape
    if other != own and other:
        if own[:-1] == other:
            var = unsqueeze(var, -1)
        elif not (own[:-1] == other[:-1] and other[-1] == 1):
            raise ValueError("var is of incorrect size")
    if bool((var.detach() < 0).any()):
        raise ValueError("var has negative entry/entries")
    loss = _gaussian_nll(input, target, var, full=full, eps=float(eps))
    return reduced(loss, reduction)


def full_like(x: Tensor, value: float) -> Tensor:
    """A tensor of one number."""
    return full(x._layout.shape, value, dtype=x._layout.dtype, device=x._layout.device)


def _positive(margins: Tensor) -> Tensor:
    """max(0, margins), and 0 for nan: what is not above 0 costs nothing."""
    return where(margins > 0, margins, 0.0)


@takes("floating", "float8", "integers")
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over the other classes of max(0, margin - input[target] + input[class])^p.

    Shape: input (N, C) or (C,), target (N,) or () of classes.
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    x = unsqueeze(input, 0) if input._layout.ndim == 1 else input
    classes = x._layout.shape[-1]
    index = unsqueeze(target.reshape(-1), 1)
    own = gather(x, 1, index)
    loss = _positive(margin - own + x)
    if p == 2:
        loss = loss * loss
    if weight is not None:
        loss = loss * unsqueeze(weight.gather(0, target.reshape(-1)), 1)
    places = arange(classes, device=x._layout.device)
    loss = sum(where(eq(index, places), 0.0, loss), 1) / classes
    if input._layout.ndim == 1:
        loss = loss[0]
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@takes("floating", "float8", "integers")
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over pairs of a target class and another of max(0, 1 - (input[y] - input[other])).

    Shape: input (N, C) or (C,); target alike, of classes; those from the first -1 on do not count.
    """
    x = unsqueeze(input, 0) if input._layout.ndim == 1 else input
    labels = unsqueeze(target, 0) if target._layout.ndim == 1 else target
    classes = x._layout.shape[-1]
    counted = (labels < 0).to(dtypes.int64).cumsum(1) == 0
    index = labels.clamp(min=0)
    own = gather(x, 1, index)
    hits = zeros(*x._layout.shape, dtype=dtypes.int64, device=x._layout.device)
    is_target = hits.scatter_add(1, index, counted.to(dtypes.int64)) > 0
    loss = _positive(1 - (unsqueeze(own, 2) - unsqueeze(x, 1)))
    used = unsqueeze(counted, 2) & ~unsqueeze(is_target, 1)
    loss = sum(where(used, loss, 0.0), (1, 2)) / classes
    if input._layout.ndim == 1:
        loss = loss[0]
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@takes("floating", "float8")
def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over classes of the binary cross entropy of logits; target of 0 and 1."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(mean(loss, -1), reduction_of(size_average, reduce, reduction))


@takes("all")
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    Shape: inputs (N, D) or (D,), target (N,) or ().
    """
    input1, input2 = (x if x.is_floating_point() else x.float() for x in (input1, input2))
    cosine = cosine_similarity(input1, input2, -1)
    near = where(eq(target, 1), 1 - cosine, 0.0)
    far = where(eq(target, -1), (cosine - margin).clamp(min=0), 0.0)
    return reduced(near + far, reduction_of(size_average, reduce, reduction))


@takes("floating", "float8", "integers")
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


@takes("floating", "float8", "integers")
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
    eps: float = 1e-6, swap: bool = False, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, |anchor - positive| - |anchor - negative| + margin), by the p-norm.

    Args:
        swap: use the positive's distance to the negative where it is less than the anchor's.
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=reduction_of(size_average, reduce, reduction),
    )  # fmt: skip


@takes("floating", "float8", "integers")
def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """`triplet_margin_loss` by any distance; `pairwise_distance` unless given."""
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((near - far + margin).clamp(min=0), reduction)


# ---- connectionist temporal classification


def _lengths(given: Any) -> list[int]:
    return [int(n) for n in (given.tolist() if isinstance(given, Tensor) else given)]


def _padded_targets(targets: Tensor, lengths: list[int]) -> Tensor:
    """Targets as (N, S), from that or from all of them in one row."""
    if targets._layout.ndim == 2:
        return targets
    # Where each label stands in the row; behind a short target stands any label, unread.
    starts = np.cumsum([0, *lengths[:-1]])
    places = np.arange(max(lengths, default=0))
    index = np.where(places < np.array(lengths)[:, None], starts[:, None] + places, 0)
    places_of = from_numpy(index.reshape(-1)).to(targets._layout.device)
    return gather(targets, 0, places_of).reshape(len(lengths), -1)


def _moved_right(alpha: Tensor, count: int) -> Tensor:
    """The values of `count` states before, minus infinity in front."""
    kind: dict[str, Any] = {"dtype": alpha._layout.dtype, "device": alpha._layout.device}
    rows, states = alpha._layout.shape
    count = min(count, states)
    return cat([full((rows, count), -math.inf, **kind), alpha[:, : states - count]], 1)


def _log_sum(*terms: Tensor) -> Tensor:
    """log(exp(a) + exp(b) + ...), without nan where all are minus infinity."""
    top = terms[0].detach()
    for term in terms[1:]:
        top = top.maximum(term.detach())
    top = where(top == -math.inf, 0.0, top)
    total: Any = 0
    for term in terms:
        total = total + (term - top).exp()
    # The logarithm of 0 would have an infinite derivative that meets a zero.
    some = total > 0
    return where(some, where(some, total, 1.0).log() + top, -math.inf)


@takes("floating")
def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """The negative log-likelihood of target sequences under all alignments with blanks between.

    Args:
        log_probs: log-probabilities (T, N, C) or (T, C). targets: classes (N, S), or all in one
            row, or (S,) for an input without batch.
        input_lengths, target_lengths: of each sequence, at most T and S.
        blank: the class that stands for nothing. zero_infinity: where no alignment exists, 0.
        reduction: "mean" divides each loss by its target's length before the mean over the batch.

    Source: Graves et al., 2006.
    """
    alone = log_probs._layout.ndim == 2
    if alone:
        log_probs = unsqueeze(log_probs, 1)
        if targets._layout.ndim == 1:
            targets = unsqueeze(targets, 0)
    times, batch, classes = log_probs._layout.shape
    inputs, lengths = ([v] if isinstance(v, int) else _lengths(v if not isinstance(v, Tensor)
                       or v._layout.ndim else v.reshape(1))
                       for v in (input_lengths, target_lengths))  # fmt: skip
    if len(inputs) != batch or len(lengths) != batch:
        raise RuntimeError(
            f"ctc_loss: input_lengths and target_lengths must have {batch} entries, they have "
            f"{len(inputs)} and {len(lengths)}."
        )
    if max(inputs, default=0) > times:
        raise RuntimeError(
            f"ctc_loss: Expected input_lengths to have value at most {times}, but got value "
            f"{max(inputs)}."
        )
    if not 0 <= blank < classes:
        raise RuntimeError(f"ctc_loss: blank must be in label range 0..{classes - 1}, is {blank}.")
    device = log_probs._layout.device
    labels = _padded_targets(targets, lengths).to(dtypes.int64)
    length = labels._layout.shape[1]
    states = 2 * length + 1
    # The labels with a blank in front, between and behind.
    places = arange(states, device=device)
    extended = full((batch, states), blank, dtype=dtypes.int64, device=device)
    if length:
        extended[:, 1::2] = labels
    before = cat([full((batch, min(2, states)), blank, dtype=dtypes.int64, device=device),
                  extended[:, :-2]], 1)[:, :states]  # fmt: skip
    skips = ne(extended, blank) & ne(extended, before)
    index = expand(unsqueeze(extended, 0), times, batch, states)
    emitted = gather(log_probs, 2, index)
    alpha = where(places < 2, emitted[0], -math.inf)
    durations = from_numpy(np.array(inputs, np.int64)).to(device)
    for time in range(1, times):
        further = _log_sum(
            alpha, _moved_right(alpha, 1), where(skips, _moved_right(alpha, 2), -math.inf)
        )
        moved = further + emitted[time]
        alpha = where(unsqueeze(durations > time, 1), moved, alpha)
    ends = from_numpy(np.array(lengths, np.int64)).to(device)
    last = gather(alpha, 1, unsqueeze(2 * ends, 1))
    previous = gather(alpha, 1, unsqueeze((2 * ends - 1).clamp(min=0), 1))
    previous = where(unsqueeze(ends > 0, 1), previous, -math.inf)
    loss = -_log_sum(last, previous)[:, 0]
    if zero_infinity:
        loss = where(loss == math.inf, 0.0, loss)
    if reduction == "mean":
        return mean(loss / ends.clamp(min=1).to(loss._layout.dtype))
    if alone and reduction == "none":
        return loss[0]
    return reduced(loss, reduction)
