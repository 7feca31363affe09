"""Softmax, layer and RMS normalisation, embedding: operations with kernels of their own.

Their backward runs one kernel; under `create_graph=True` it is written in operations, which have
gradients.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.determinism import state as determinism
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.templates import embedding as embedding_kernels
from tritorch.kernels.templates import layer_norm as norm_kernels
from tritorch.kernels.templates import softmax as softmax_kernels
from tritorch.layout import normalize_dim
from tritorch.ops.declare import operation, takes, writes
from tritorch.ops.dispatch import NO_EDGE, Plans
from tritorch.ops.elementary import exp
from tritorch.ops.memory import contiguous, to_dtype
from tritorch.ops.placement import resolve_dtype
from tritorch.ops.reduction import mean as mean_
from tritorch.ops.reduction import sum
from tritorch.ops.views import expand, reshape
from tritorch.tensor import Tensor, empty

# ---- softmax

_softmaxes = Plans(lambda key: softmax_kernels.plan(key[0], key[1], log=key[2], out=key[3]))
_softmax_gradients = Plans(lambda key: softmax_kernels.plan_backward(*key[:3], log=key[3]))


class SoftmaxBackward0(Node):
    """y * (g - sum(g * y)); log: g - exp(y) * sum(g)."""

    __slots__ = ("dim",)
    log = False
    dim: int

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the input."""
        (y,) = self.unpack()
        (g,) = grads
        if mode.enabled:
            if self.log:
                return (g - exp(y) * sum(g, self.dim, True),)
            return (y * (g - sum(g * y, self.dim, True)),)
        if g._layout.shape != y._layout.shape:
            g = expand(g, *y._layout.shape)
        plan = _softmax_gradients[g._layout, y._layout, self.dim, self.log]
        result = empty(plan.outputs[0])
        plan.launch(result._address, g._address, y._address)
        return (result,)


class LogSoftmaxBackward0(SoftmaxBackward0):
    """g - exp(y) * sum(g)."""

    __slots__ = ()
    log = True


def _softmax(name: str, input: Tensor, dim: int | None, dtype: Any, log: bool) -> Tensor:
    layout = input._layout
    kind = resolve_dtype(dtype, name, layout.dtype)
    if not layout.dtype.is_floating_point and not kind.is_floating_point:
        raise RuntimeError(
            f"{name}: not implemented for {layout.dtype}. Convert with .float() or pass dtype=."
        )
    if kind is not layout.dtype and not (
        kind is dtypes.float32 and layout.dtype.is_floating_point  # which the kernel writes itself
    ):
        input = to_dtype(input, kind)
        layout = input._layout
    if dim is None:
        dim = 0 if layout.ndim in (0, 1, 3) else 1
    dim = normalize_dim(name, dim, layout.ndim)
    if not layout.ndim:
        return reshape(_softmax(name, reshape(input, 1), 0, dtype, log), ())
    plan = _softmaxes[layout, dim, log, kind]
    result = empty(plan.outputs[0])
    plan.launch(result._address, input._address)
    if input._requires_grad and mode.enabled:
        node = (LogSoftmaxBackward0 if log else SoftmaxBackward0)((edge(input),), plan.outputs)
        node.dim = dim
        result._grad_fn = node
        result._requires_grad = True
        node.save_outputs(result)
    return result


def _numpy_softmax(x: Any, dim: int) -> Any:
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def _along_cases() -> list[Any]:
    shapes = [((5,), 0), ((3, 4), 1), ((3, 4), 0), ((2, 3, 5), -1), ((2, 3, 5), 1), ((7, 1), 1)]
    return [lambda make, n=n, d=d: ((make(*n),), {"dim": d}) for n, d in shapes]


@operation("rows", numpy=_numpy_softmax, cases=_along_cases())
@writes
@takes("floating", "float8")
def softmax(
    input: Tensor, dim: int | None = None, *, dtype: Dtype | None = None, _stacklevel: int = 3
) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    return _softmax("softmax", input, dim, dtype, False)


@operation("rows", numpy=lambda x, dim: np.log(_numpy_softmax(x, dim)), cases=_along_cases())
@writes
@takes("floating", "float8")
def log_softmax(
    input: Tensor, dim: int | None = None, *, dtype: Dtype | None = None, _stacklevel: int = 3
) -> Tensor:
    """log(softmax(x)) along `dim`; does not overflow."""
    return _softmax("log_softmax", input, dim, dtype, True)


def softmin(input: Tensor, dim: int | None = None, *, dtype: Dtype | None = None) -> Tensor:
    """softmax(-x) along `dim`."""
    return softmax(-input, dim, dtype=dtype)


# ---- layer and RMS normalisation

_norms = Plans(lambda key: norm_kernels.plan(*key[:5], rms=key[5]))
_norm_gradients = Plans(lambda key: norm_kernels.plan_backward(*key[:5], rms=key[5]))


class NativeLayerNormBackward0(Node):
    """Gradients of input, weight and bias in one or two launches."""

    __slots__ = ("bias_dtype", "eps", "n_dims", "weighted")
    takes_narrow = True
    rms = False
    n_dims: int
    eps: float
    weighted: bool
    bias_dtype: Dtype | None

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """(dx, dweight, dbias)."""
        x, *rest = self.unpack()
        weight = rest.pop() if self.weighted else None
        g = grads[0]
        if mode.enabled:
            return self._written_out(g, x, weight)
        if g._layout.shape != x._layout.shape:
            g = expand(g, *x._layout.shape)
        layout = None if weight is None else weight._layout
        plan = _norm_gradients[g._layout, x._layout, self.n_dims, layout, self.bias_dtype, self.rms]
        results = [empty(out) for out in plan.outputs]
        operands = [g, x, *rest] if weight is None else [g, x, *rest, weight]
        plan.launch(*[r._address for r in results], *[o._address for o in operands])
        found = iter(results)
        own = next(found)
        dweight = next(found) if self.weighted else None
        dbias = next(found) if self.bias_dtype is not None else None
        return own, dweight, dbias

    def _written_out(self, g: Tensor, x: Tensor, weight: Tensor | None) -> tuple[Any, ...]:
        """The same in operations that have gradients."""
        dims = tuple(range(-self.n_dims, 0))
        lead = tuple(range(x._layout.ndim - self.n_dims))
        kind = x._layout.dtype
        compute = kind.compute
        g, x = to_dtype(g, compute), to_dtype(x, compute)
        centred = x if self.rms else x - mean_(x, dims, True)
        scale = (mean_(centred * centred, dims, True) + self.eps).rsqrt()
        normal = centred * scale
        weighted = g if weight is None else g * weight
        own = weighted - normal * mean_(weighted * normal, dims, True)
        if not self.rms:
            own = own - mean_(weighted, dims, True)
        dweight = dbias = None
        if weight is not None:
            dweight = sum(g * normal, lead) if lead else g * normal
        if self.bias_dtype is not None:
            dbias = sum(g, lead) if lead else g
        return to_dtype(own * scale, kind), dweight, dbias


class RmsNormBackward0(NativeLayerNormBackward0):
    """Gradients of input and weight."""

    __slots__ = ()
    rms = True


def _normalise(
    name: str, input: Tensor, shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float,
    node_type: type[NativeLayerNormBackward0],
) -> Tensor:  # fmt: skip
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    n_dims = len(shape)
    if not shape or input._layout.shape[input._layout.ndim - n_dims :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], but got input of size{list(input._layout.shape)}"
        )
    for label, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter._layout.shape != shape:
            raise RuntimeError(
                f"{name}: Expected {label} to be of same shape as normalized_shape, but got "
                f"{label} "
                f"of shape {list(parameter._layout.shape)} and normalized_shape = {list(shape)}"
            )
    if n_dims > 1:
        input = contiguous(input)
        weight, bias = (p if p is None else contiguous(p) for p in (weight, bias))
    layouts = [None if p is None else p._layout for p in (weight, bias)]
    plan = _norms[input._layout, n_dims, *layouts, float(eps), node_type.rms]
    results = [empty(layout) for layout in plan.outputs]
    operands = [p for p in (input, weight, bias) if p is not None]
    arguments = [r._address for r in results] + [o._address for o in operands]
    plan.launch(*arguments)
    result = results[0]
    if mode.enabled and any(o._requires_grad for o in operands):
        edges = tuple([NO_EDGE if p is None else edge(p) for p in (input, weight, bias)])
        node = node_type(edges, (result._layout,))
        node.n_dims, node.eps = n_dims, float(eps)
        node.weighted = weight is not None
        node.bias_dtype = None if bias is None else bias._layout.dtype
        node.save(input, *results[1:], *([] if weight is None else [weight]))
        result._grad_fn = node
        result._requires_grad = True
    return result


def _numpy_norm(
    x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, rms: bool = False
) -> Any:
    axes = tuple(range(-len(shape), 0))
    centred = x if rms else x - x.mean(axes, keepdims=True)
    y = centred / np.sqrt((centred * centred).mean(axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _norm_cases(parameters: int) -> list[Any]:
    shapes = [((3, 5), (5,)), ((2, 3, 4), (3, 4)), ((4, 1), (1,)), ((2, 2, 33), (33,))]
    cases = [
        lambda make, x=x, n=n, p=p: ((make(*x), n, *(make(*n) for _ in range(p))), {"eps": 1e-2})
        for x, n in shapes
        for p in range(parameters + 1)
    ]
    return cases


@operation("rows", method=False, numpy=_numpy_norm, cases=_norm_cases(2))
@takes("floating", "float8")
def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016.
    """
    return _normalise(
        "layer_norm", input, normalized_shape, weight, bias, eps, NativeLayerNormBackward0
    )


@operation(
    "rows",
    method=False,
    numpy=lambda x, shape, weight=None, eps=0.0: _numpy_norm(x, shape, weight, None, eps, True),
    cases=_norm_cases(1),
)
@takes("floating", "float8")
def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x ** 2) + eps) * weight over the last dimensions.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """
    if eps is None:
        eps = dtypes.finfo(input._layout.dtype.compute).eps
    return _normalise("rms_norm", input, normalized_shape, weight, None, eps, RmsNormBackward0)


# ---- embedding

_embeddings = Plans(lambda key: embedding_kernels.plan(*key))
_embedding_gradients = Plans(
    lambda key: embedding_kernels.plan_backward(*key[:3], padding_idx=key[3], ordered=key[4])
)


class EmbeddingBackward0(Node):
    """The rows' gradients added up per index."""

    __slots__ = ("padding", "shape")
    shape: tuple[int, ...]
    padding: int

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient of the weight."""
        (index,) = self.unpack()
        (g,) = grads
        if mode.enabled:
            return (self._written_out(g, index),)
        wanted = (*index._layout.shape, self.shape[1])
        if g._layout.shape != wanted:
            g = expand(g, *wanted)
        plan = _embedding_gradients[
            g._layout, index._layout, self.shape[0], self.padding, determinism.enabled
        ]
        result = empty(plan.outputs[0])
        plan.launch(result._address, g._address, index._address)
        return (result,)

    def _written_out(self, g: Tensor, index: Tensor) -> Tensor:
        from tritorch.ops.creation import zeros
        from tritorch.ops.selection import index_add

        if self.padding >= 0:
            g = g.masked_fill((index == self.padding).unsqueeze(-1), 0)
        total = zeros(*self.shape, dtype=g._layout.dtype, device=g._layout.device)
        return index_add(total, 0, reshape(index, -1), reshape(g, -1, self.shape[1]))


def _embedding_cases() -> list[Any]:
    index = np.array([[0, 2, 1], [4, 4, 0]])
    return [
        lambda make: ((index, make(5, 3)), {}),
        lambda make: ((index[0], make(5, 3)), {"padding_idx": 3}),
        lambda make: ((index[:, :0], make(5, 3)), {}),
    ]


@lru_cache(maxsize=1)
def _warn_of_dense_gradients() -> None:
    warnings.warn(
        "embedding: sparse=True gives a dense gradient, as there are no sparse tensors. SGD, "
        "Adagrad and SparseAdam train the same. Leave out sparse to be rid of this warning.",
        stacklevel=3,
    )


@operation(
    "lookup",
    method=False,
    numpy=lambda index, weight, padding_idx=None: weight[index],
    cases=_embedding_cases(),
)
def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The rows of `weight` at the indices; `padding_idx` gets no gradient.

    Args:
        max_norm: rows that are looked up and longer are shortened first, in place.
        scale_grad_by_freq: a row's gradient is divided by how often its index occurs.
        sparse: accepted; the gradient is dense all the same, which the first such call warns of.
            Those optimizers that take sparse ones in PyTorch (`SGD`, `Adagrad`, `SparseAdam`) train
            the same: rows that were not looked up have a gradient of zero, which `SparseAdam`
            leaves alone.

    Raises:
        IndexError: an index is no row.
    """
    if weight._layout.ndim != 2:
        raise RuntimeError(
            f"embedding: 'weight' must be 2-D, got shape {list(weight._layout.shape)}. Reshape it."
        )
    if sparse and weight._requires_grad and mode.enabled:
        _warn_of_dense_gradients()
    if max_norm is not None or scale_grad_by_freq:
        from tritorch.ops.embedding_bag import by_frequency, limit_norms

        if max_norm is not None:
            limit_norms(weight, input, max_norm, norm_type)
        rows = embedding(input, weight, padding_idx)
        return by_frequency(rows, input, weight._layout.shape[0]) if scale_grad_by_freq else rows
    rows = weight._layout.shape[0]
    padding = -1
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise ValueError(f"embedding: padding_idx {padding_idx} is outside 0..{rows - 1}.")
        padding = padding_idx % rows
    plan = _embeddings[weight._layout, input._layout]
    result = empty(plan.outputs[0])
    plan.launch(result._address, weight._address, input._address)
    if weight._requires_grad and mode.enabled:
        node = EmbeddingBackward0((edge(weight),), plan.outputs)
        node.shape, node.padding = weight._layout.shape, padding
        node.save(input)
        result._grad_fn = node
        result._requires_grad = True
    return result
