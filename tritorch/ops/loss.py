"""Losses; `nn.functional` takes them from here."""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import scalar as s
from tritorch.kernels.templates import cross_entropy as kernels
from tritorch.layout import broadcast_shapes
from tritorch.ops.declare import operation, pointwise, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.extrema import vector_norm
from tritorch.ops.linalg import AddmmBackward0, LinearBackward0, MatmulBackward
from tritorch.ops.memory import contiguous, spacious, to_dtype
from tritorch.ops.normalization import log_softmax
from tritorch.ops.reduction import mean, sum
from tritorch.ops.selection import gather
from tritorch.ops.view_nodes import InverseNode, node_class
from tritorch.ops.views import broadcast_tensors, expand, squeeze, unsqueeze
from tritorch.tensor import Tensor, empty

_PRODUCTS = (AddmmBackward0, LinearBackward0, MatmulBackward)
#: what PyTorch computes in one node, reduction included
_WHOLE_LOSSES = frozenset(
    f"{name}Backward0"
    for name in (
        "MseLoss", "SmoothL1Loss", "HuberLoss", "BinaryCrossEntropy", "SoftMarginLoss",
        "BinaryCrossEntropyWithLogits",
    )
)  # fmt: skip


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of a loss, or the loss itself."""
    if reduction == "none":
        return loss
    if reduction in ("mean", "sum"):
        result: Tensor = mean(loss) if reduction == "mean" else sum(loss)
        # a batched tensor of `vmap` has no graph of its own to be named
        plain = type(loss) is Tensor
        if plain and loss._grad_fn is not None and result._grad_fn is not None:
            name = type(loss._grad_fn).__name__
            if name in _WHOLE_LOSSES:
                result._grad_fn.__class__ = node_class(type(result._grad_fn), name)
        return result
    raise ValueError(f"{reduction} is not a valid value for reduction. Use none, mean or sum.")


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, which PyTorch's two deprecated arguments override where they are given."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if input._layout.shape != target._layout.shape:
        broadcast_shapes(name, input._layout.shape, target._layout.shape)


# ---- element by element


@pointwise(
    promote="floating", numpy=lambda x, y: (x - y) ** 2, method=False, out=False, integers=False
)
def _mse_loss(input, target):
    difference = input - target
    return difference * difference


@pointwise(numpy=lambda x, y: np.abs(x - y), method=False, out=False, integers=False)
def _l1_loss(input, target):
    return s.abs(input - target)


@pointwise(
    promote="floating",
    numpy=lambda x, y, beta: np.where(
        np.abs(x - y) < beta, 0.5 * (x - y) ** 2 / beta, np.abs(x - y) - 0.5 * beta
    ),
    method=False, out=False, integers=False, calls=({"beta": 1.0}, {"beta": 0.3}),
)  # fmt: skip
def _smooth_l1_loss(input, target, beta: float):
    size = s.abs(input - target)
    return s.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


@pointwise(
    promote="floating",
    numpy=lambda x, y, delta: np.where(
        np.abs(x - y) <= delta, 0.5 * (x - y) ** 2, delta * (np.abs(x - y) - 0.5 * delta)
    ),
    method=False, out=False, integers=False, calls=({"delta": 1.0}, {"delta": 0.3}),
)  # fmt: skip
def _huber_loss(input, target, delta: float):
    size = s.abs(input - target)
    return s.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))


@pointwise(
    promote="floating",
    numpy=lambda p, t: (
        -(t * np.maximum(np.log(p), -100) + (1 - t) * np.maximum(np.log1p(-p), -100))
    ),
    method=False,
    out=False,
    integers=False,
    low=0.05,
    high=0.95,
    grad=lambda g, input, target: (
        g * (input - target) / s.maximum((1.0 - input) * input, 1e-12),
        g * (s.maximum(s.log1p(-input), -100.0) - s.maximum(s.log(input), -100.0)),
    ),
)
def _binary_cross_entropy(input, target):
    # The logarithms are cut off as in PyTorch, so that 0 * log(0) is 0.
    log_p, log_q = s.maximum(s.log(input), -100.0), s.maximum(s.log1p(-input), -100.0)
    return (target - 1.0) * log_q - target * log_p


@pointwise(
    promote="floating",
    numpy=lambda x, t: np.logaddexp(x, 0) - x * t, method=False, out=False, integers=False,
    samples=(1e4, -1e4),
    grad=lambda g, input, target: (g * (s.sigmoid(input) - target), -g * input),
    node="BinaryCrossEntropyWithLogitsBackward0",
)  # fmt: skip
def _binary_cross_entropy_with_logits(input, target):
    return (1.0 - target) * input + s.maximum(-input, 0.0) + s.log1p(s.exp(-s.abs(input)))


@pointwise(
    promote="floating",
    numpy=lambda x, t, w: (1 - t) * x + (1 + (w - 1) * t) * np.logaddexp(-x, 0), method=False,
    out=False, integers=False, node="BinaryCrossEntropyWithLogitsBackward0",
)  # fmt: skip
def _weighted_logits(input, target, pos_weight):
    log_weight = (pos_weight - 1.0) * target + 1.0
    soft = s.log1p(s.exp(-s.abs(input))) + s.maximum(-input, 0.0)
    return (1.0 - target) * input + log_weight * soft


@pointwise(
    promote="floating",
    numpy=lambda x, t: t * np.log(np.where(t == 0, 1, t)) - t * x, method=False,
    out=False, integers=False, low=0.05, node="KlDivBackward0",
    grad=lambda g, input, target: (-g * target, g * (s.log(target) + 1.0 - input)),
)  # fmt: skip
def _kl_div(input, target):
    # where the target is 0 the input still counts, so that 0 * inf is nan
    return target * s.log(s.where(target == 0, 1.0, target)) - target * input


@pointwise(
    promote="floating",
    numpy=lambda x, t: np.exp(t) * (t - x), method=False, out=False, integers=False,
    node="KlDivBackward0",
)  # fmt: skip
def _kl_div_log(input, target):
    return s.exp(target) * (target - input)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Any = None) -> Tensor:
    """(input - target) ** 2; with weights, "mean" divides by their sum."""
    _same_shape("mse_loss", input, target)
    if weight is None:
        return reduced(_mse_loss(input, target), reduction)
    difference = input - target
    loss = difference * difference * weight
    if reduction == "mean":
        return sum(loss) / sum(expand(weight, *loss._layout.shape))
    return reduced(loss, reduction)


@takes("floating", "float8")
def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    _same_shape("l1_loss", input, target)
    return reduced(_l1_loss(input, target), reduction)


@takes("floating", "float8")
def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Quadratic below `beta`, linear above. Source: Girshick, Fast R-CNN, 2015."""
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}.")
    if beta == 0:
        return l1_loss(input, target, reduction)
    return reduced(_smooth_l1_loss(input, target, float(beta)), reduction)


@takes("floating", "float8")
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Quadratic up to `delta`, linear above. Source: Huber, 1964."""
    if delta <= 0:
        raise RuntimeError(
            f"huber_loss does not support non-positive values for delta, got {delta}."
        )
    return reduced(_huber_loss(input, target, float(delta)), reduction)


@takes("floating", "float8")
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)); logarithms are cut off at -100."""
    if input._layout.shape != target._layout.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}) is deprecated. Please ensure they have the same size."
        )
    loss = _binary_cross_entropy(input, target)
    return reduced(loss if weight is None else loss * weight, reduction)


@takes("floating", "float8")
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`binary_cross_entropy` of sigmoid(input); does not overflow."""
    if input._layout.shape != target._layout.shape:
        raise ValueError(
            f"Target size ({target.size()}) must be the same as input size ({input.size()})"
        )
    if pos_weight is None:
        loss = _binary_cross_entropy_with_logits(input, target)
    else:
        loss = _weighted_logits(input, target, pos_weight)
    return reduced(loss if weight is None else loss * weight, reduction)


@takes("floating", "float8")
def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """target * (log(target) - input), for log-probabilities `input`."""
    loss = (_kl_div_log if log_target else _kl_div)(input, target)
    if reduction == "batchmean":
        return sum(loss) / (input._layout.shape[0] if input._layout.ndim else 1)
    return reduced(loss, reduction)


# ---- classes

_losses = Plans(
    lambda key: kernels.plan(
        *key[:3], reduction=key[3], ignore_index=key[4], label_smoothing=key[5], out=key[6]
    )
)
_gradients = Plans(
    lambda key: kernels.plan_backward(
        *key[:4], reduction=key[4], ignore_index=key[5], label_smoothing=key[6], padded=key[7]
    )
)
_nlls = Plans(lambda key: kernels.plan_nll(*key[:3], reduction=key[3], ignore_index=key[4]))
_nll_gradients = Plans(
    lambda key: kernels.plan_nll_backward(*key[:4], reduction=key[4], ignore_index=key[5])
)


class ClassNode(Node):
    """What the nodes of cross entropy and negative log-likelihood keep."""

    __slots__ = ("layout", "options", "weighted")
    #: reduction, ignore_index[, label_smoothing]
    options: tuple[Any, ...]
    weighted: bool
    layout: Any


class CrossEntropyLossBackward0(ClassNode):
    """softmax(x) - target, from the saved log-sum-exp: one launch."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the logits."""
        x, target, lse, *rest = self.unpack()
        (g,) = grads
        weight = rest.pop(0) if self.weighted else None
        if mode.enabled:
            return (self._written_out(g, x, target, weight),)
        g = contiguous(expand(g, *self.output_layouts[0].shape))
        layout = None if weight is None else weight._layout
        options = (*self.options, self._may_pad())
        plan = _gradients[g._layout, x._layout, target._layout, layout, *options]
        result = spacious(plan.outputs[0])
        operands = [g, x, lse, target, *([] if weight is None else [weight]), *rest]
        plan.launch(result._address, *[o._address for o in operands])
        return (result,)

    def _may_pad(self) -> bool:
        """Whether only products will see the gradient, which gaps between its rows help."""
        node = self.next_functions[0][0]
        while isinstance(node, InverseNode) and node._extras is None:
            node = node.next_functions[0][0]
        task = mode.task
        returned = task is None or task.captures
        return isinstance(node, _PRODUCTS) and node._extras is None and not returned

    def _written_out(self, g: Tensor, x: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The gradient of the same loss written in operations."""
        from tritorch.autograd import grad

        reduction, ignored, smoothing = self.options
        leaf = x if x._requires_grad else x.detach().requires_grad_()
        loss = _from_logarithms(
            log_softmax(to_dtype(leaf, g._layout.dtype), _class_dim(leaf)),
            target, weight, reduction, ignored, smoothing,
        )  # fmt: skip
        gradient: Any = grad(loss, leaf, g, create_graph=True)[0]
        return gradient


class NllLossBackward0(ClassNode):
    """-weight at the target."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the log-probabilities."""
        target, *rest = self.unpack()
        (g,) = grads
        weight = rest.pop(0) if self.weighted else None
        if mode.enabled:
            from tritorch.autograd import grad
            from tritorch.ops.creation import zeros

            layout = self.layout
            leaf = zeros(*layout.shape, dtype=layout.dtype, device=layout.device).requires_grad_()
            reduction, ignored = self.options
            loss = _from_logarithms(leaf, target, weight, reduction, ignored, 0.0)
            return grad(loss, leaf, g, create_graph=True)
        g = contiguous(expand(g, *self.output_layouts[0].shape))
        layout = None if weight is None else weight._layout
        plan = _nll_gradients[g._layout, self.layout, target._layout, layout, *self.options]
        result = empty(plan.outputs[0])
        operands = [g, target, *([] if weight is None else [weight]), *rest]
        plan.launch(result._address, *[o._address for o in operands])
        return (result,)


def _class_dim(x: Tensor) -> int:
    return 1 if x._layout.ndim > 1 else 0


def _from_logarithms(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignored: int, smoothing: float
) -> Tensor:
    """The loss of log-probabilities x in operations that have gradients of every order."""
    dim = _class_dim(x)
    valid = target != ignored
    safe = target.masked_fill(~valid, 0)
    picked = -squeeze(gather(x, dim, unsqueeze(safe, dim)), dim)
    weights = valid.to(x._layout.dtype)
    classes = x._layout.shape[dim]
    if weight is not None:
        weights = weights * weight[safe]
    loss = picked * weights
    if smoothing:
        shaped = x
        if weight is not None:
            shape = [1] * x._layout.ndim
            shape[dim] = classes
            shaped = x * weight.reshape(shape)
        everything = -sum(shaped, dim) * valid.to(x._layout.dtype)
        loss = (1 - smoothing) * loss + (smoothing / classes) * everything
    if reduction == "mean":
        return sum(loss) / sum(weights)
    return sum(loss) if reduction == "sum" else loss


def _check_classes(name: str, input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    if weight is not None and weight._requires_grad and mode.enabled:
        raise RuntimeError(f"{name}: the derivative for 'weight' is not implemented. Detach it.")
    own, other = input._layout.shape, target._layout.shape
    if len(own) == 0:
        raise RuntimeError(f"{name}: input must have at least 1 dimension.")
    expected = own[:1] + own[2:] if len(own) > 1 else ()
    if other != expected:
        raise ValueError(
            f"{name}: Expected input batch_size ({list(own)}) to match target batch_size: the "
            "target "
            f"must have shape {list(expected)}, got {list(other)}."
        )
    if target._layout.dtype not in (dtypes.int64, dtypes.int32, dtypes.uint8):
        raise RuntimeError(
            f"{name}: expected scalar type Long but found {target._layout.dtype}. Convert with "
            ".long()."
        )


def _numpy_losses(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0, logits: bool = True,
) -> Any:  # fmt: skip
    if logits:
        x = x - x.max(1 if x.ndim > 1 else 0, keepdims=True)
        x = x - np.log(np.exp(x).sum(1 if x.ndim > 1 else 0, keepdims=True))
    rows = np.moveaxis(np.atleast_2d(x), 1, -1)
    targets = np.asarray(target).reshape(rows.shape[:-1])
    weights = np.ones(rows.shape[-1]) if weight is None else weight
    valid = targets != ignore_index
    safe = np.where(valid, targets, 0)
    own = np.where(valid, weights[safe], 0.0)
    loss = -np.take_along_axis(rows, safe[..., None], -1)[..., 0] * own
    smooth = -(rows * weights).sum(-1) * valid
    loss = (1 - label_smoothing) * loss + label_smoothing / rows.shape[-1] * smooth
    if reduction == "mean":
        return loss.sum() / own.sum()
    return loss.sum() if reduction == "sum" else loss.reshape(np.shape(target))


def _class_cases(smoothing: bool) -> list[Any]:
    target, many = np.array([0, 4, 2]), np.array([[1, 0], [-100, 4], [3, 3]])
    options: list[dict[str, Any]] = [{}, {"reduction": "sum"}, {"reduction": "none"}]
    options += [{"ignore_index": 2}]
    if smoothing:
        options += [{"label_smoothing": 0.2}, {"label_smoothing": 0.1, "reduction": "none"}]
    cases: list[Any] = [
        lambda make, o=o, w=w: ((make(3, 5), target, *([make(5, low=0.5)] if w else [])), o)
        for o in options
        for w in (False, True)
    ]
    cases += [
        lambda make, o=o: ((make(3, 5, 2), many), o) for o in options if "ignore_index" not in o
    ]
    return cases


@operation("loss", method=False, numpy=_numpy_losses, cases=_class_cases(True))
@takes("floating", "float8")
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """-log softmax(input)[target], the target being classes or probabilities.

    Args:
        input: logits (N, C, ...) or (C,). target: classes (N, ...) or probabilities like input.
        weight: per class. ignore_index: the target that counts for nothing.
        label_smoothing: share of the target that is spread over all classes.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if target._layout.shape == input._layout.shape and target._layout.dtype.is_floating_point:
        return _soft_targets(input, target, weight, reduction, label_smoothing)
    options = (reduction, ignore_index, float(label_smoothing))
    return _of_classes(input, target, weight, options, input._layout.dtype)


def widened_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """`cross_entropy(input.float(), ...)` for classes, without that copy of the scores: the kernels
    widen what they read, and the gradient is rounded as it is written.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    options = (reduction, ignore_index, float(label_smoothing))
    return _of_classes(input, target, weight, options, dtypes.float32)


def _of_classes(
    input: Tensor, target: Tensor, weight: Tensor | None, options: tuple[Any, ...], out: Dtype
) -> Tensor:
    _check_classes("cross_entropy", input, target, weight)
    layout = None if weight is None else weight._layout
    plan = _losses[input._layout, target._layout, layout, *options, out]
    results = [empty(out) for out in plan.outputs]
    operands = [input, target, *([] if weight is None else [weight])]
    plan.launch(*[r._address for r in results], *[o._address for o in operands])
    result = results[0]
    if input._requires_grad and mode.enabled:
        node = CrossEntropyLossBackward0((edge(input),), (result._layout,))
        node.options, node.weighted, node.layout = options, weight is not None, input._layout
        node.save(input, target, results[1], *operands[2:], *results[2:])
        result._grad_fn = node
        result._requires_grad = True
    return result


def _soft_targets(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    dim = _class_dim(input)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / input._layout.shape[dim]
    product = log_softmax(input, dim) * target
    if weight is not None:
        shape = [1] * input._layout.ndim
        shape[dim] = weight.numel()
        product = product * weight.reshape(shape)
    loss = -sum(product, dim)
    if reduction == "mean":
        count = input._layout.numel // max(input._layout.shape[dim], 1)
        return sum(loss) / count
    return reduced(loss, reduction)


@operation(
    "loss",
    method=False,
    numpy=partial(_numpy_losses, logits=False),
    cases=_class_cases(False),
)
@takes("floating", "float8")
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-input[target] for log-probabilities (N, C, ...) and classes (N, ...)."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_classes("nll_loss", input, target, weight)
    layout = None if weight is None else weight._layout
    plan = _nlls[input._layout, target._layout, layout, reduction, ignore_index]
    results = [empty(out) for out in plan.outputs]
    operands = [input, target, *([] if weight is None else [weight])]
    plan.launch(*[r._address for r in results], *[o._address for o in operands])
    result = results[0]
    if input._requires_grad and mode.enabled:
        node = NllLossBackward0((edge(input),), (result._layout,))
        node.options = (reduction, ignore_index)
        node.weighted, node.layout = weight is not None, input._layout
        node.save(target, *operands[2:], *results[1:])
        result._grad_fn = node
        result._requires_grad = True
    return result


@takes("floating", "float8")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along `dim`."""
    x1, x2 = broadcast_tensors(x1, x2)
    # As PyTorch: the norms are bounded from below, and the bound has no gradient.
    norms = vector_norm(x1, 2, dim).clamp(min=eps) * vector_norm(x2, 2, dim).clamp(min=eps)
    return sum(x1 * x2, dim) / norms
