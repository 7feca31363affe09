"""Batch, group and instance normalisation, local response normalisation.

Batch norm has kernels of its own; under `create_graph=True` its backward is written in operations,
which have gradients. Group and instance norm are batch norm of a reshaped tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.templates import batch_norm as kernels
from tritorch.layout import Layout, numel
from tritorch.ops.arithmetic import addcmul
from tritorch.ops.declare import operation, takes
from tritorch.ops.dispatch import NO_EDGE, Plans
from tritorch.ops.memory import contiguous, formatted, to_dtype
from tritorch.ops.reduction import mean as mean_
from tritorch.ops.reduction import sum
from tritorch.ops.views import expand, reshape
from tritorch.tensor import Tensor, empty

_trainings = Plans(lambda key: kernels.plan(*key))
_evaluations = Plans(lambda key: kernels.plan_given(*key))
_gradients = Plans(
    lambda key: kernels.plan_backward(*key[:7], training=key[7], input_wanted=key[8])
)


def _walkable(input: Tensor) -> Tensor:
    """The tensor, or a copy whose spatial dimensions can be walked as one."""
    return input if kernels.merges(input._layout) else contiguous(input)


class NativeBatchNormBackward0(Node):
    """Gradients of input, weight and bias together."""

    __slots__ = ("bias_dtype", "eps", "training", "weighted")
    training: bool
    eps: float
    weighted: bool
    bias_dtype: Dtype | None

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """(dx, dweight, dbias)."""
        x, mean, scale, *rest = self.unpack()
        weight = rest[0] if self.weighted else None
        (g,) = grads
        if mode.enabled:
            return self._written_out(g, x, mean, scale, weight)
        if g._layout.shape != x._layout.shape:
            g = expand(g, *x._layout.shape)
        g = _walkable(g)
        own = self.needs(0)
        plan = _gradients[
            g._layout, x._layout, mean._layout, scale._layout,
            None if weight is None else weight._layout, self.bias_dtype, self.eps, self.training,
            own,
        ]  # fmt: skip
        results = [empty(layout) for layout in plan.outputs]
        operands = [g, x, mean, scale, *rest]
        plan.launch(*[r._address for r in results], *[o._address for o in operands])
        found = iter(results)
        return (
            next(found) if own else None,
            next(found) if self.weighted else None,
            next(found) if self.bias_dtype is not None else None,
        )

    def _written_out(
        self, g: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor | None
    ) -> tuple[Any, ...]:
        """The same in operations that have gradients; statistics are those of x again."""
        kind = x._layout.dtype
        compute = kind.compute
        dims = tuple([d for d in range(x._layout.ndim) if d != 1])
        column = (-1, *(1,) * (x._layout.ndim - 2))
        g, x = to_dtype(g, compute), to_dtype(x, compute)
        if self.training:
            centred = x - mean_(x, dims, True)
            rstd = (mean_(centred * centred, dims, True) + self.eps).rsqrt()
        else:
            centred = x - reshape(to_dtype(mean, compute), *column)
            rstd = (reshape(to_dtype(scale, compute), *column) + self.eps).rsqrt()
        normal = centred * rstd
        slope = rstd if weight is None else rstd * reshape(to_dtype(weight, compute), *column)
        own = g
        if self.training:
            own = g - mean_(g, dims, True) - normal * mean_(g * normal, dims, True)
        dweight = dbias = None
        if weight is not None:
            dweight = to_dtype(sum(g * normal, dims), weight._layout.dtype)
        if self.bias_dtype is not None:
            dbias = to_dtype(sum(g, dims), self.bias_dtype)
        return to_dtype(own * slope, kind), dweight, dbias


def _check_vectors(channels: int, **vectors: Tensor | None) -> None:
    for name, vector in vectors.items():
        if vector is not None and vector._layout.numel != channels:
            raise RuntimeError(
                f"{name} should contain {channels} elements not {vector._layout.numel}"
            )


def _layouts(*tensors: Tensor | None) -> tuple[Layout | None, ...]:
    return tuple([None if t is None else t._layout for t in tensors])


def _batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    if input._layout.ndim < 2:
        raise RuntimeError(
            f"batch_norm: expected an input of at least 2 dimensions (N, C, ...), got shape "
            f"{list(input._layout.shape)}."
        )
    _check_vectors(
        input._layout.shape[1],
        running_mean=running_mean, running_var=running_var, weight=weight, bias=bias,
    )  # fmt: skip
    input = _walkable(input)
    optional = [p for p in (weight, bias) if p is not None]
    if training:
        running = [p for p in (running_mean, running_var) if p is not None]
        if len(running) == 1:
            raise RuntimeError(
                "batch_norm: running_mean and running_var go together. Give both or neither."
            )
        plan = _trainings[(input._layout, *_layouts(weight, bias, running_mean, running_var), eps)]
        results = [empty(layout) for layout in plan.outputs]
        operands = [*results, *running, input, *optional]
        plan.launch(*[o._address for o in operands], momentum)
        for buffer in running:
            buffer._storage.version += 1
        saved = [input, results[1], results[2]]
    else:
        for name, vector in (("running_mean", running_mean), ("running_var", running_var)):
            if vector is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        key = (input._layout, *_layouts(running_mean, running_var, weight, bias), eps)
        plan = _evaluations[key]
        results = [empty(plan.outputs[0])]
        saved = [input, running_mean, running_var]  # type: ignore[list-item]
        operands = [results[0], *saved, *optional]
        plan.launch(*[o._address for o in operands])
    result = results[0]
    if mode.enabled and (input._requires_grad or any(p._requires_grad for p in optional)):
        edges = tuple([NO_EDGE if p is None else edge(p) for p in (input, weight, bias)])
        node = NativeBatchNormBackward0(edges, (result._layout,))
        node.training, node.eps = training, eps
        node.weighted = weight is not None
        node.bias_dtype = None if bias is None else bias._layout.dtype
        node.save(*saved, *([] if weight is None else [weight]))
        result._grad_fn = node
        result._requires_grad = True
    return result


def _numpy_batch_norm(
    x: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    axes = tuple(d for d in range(x.ndim) if d != 1)
    column = (-1, *(1,) * (x.ndim - 2))
    if training:
        mean, var = x.mean(axes), x.var(axes)
    y = (x - mean.reshape(column)) / np.sqrt(var.reshape(column) + eps)
    y = y if weight is None else y * weight.reshape(column)
    return y if bias is None else y + bias.reshape(column)


def _batch_norm_cases() -> list[Any]:
    shapes = [(4, 3), (3, 2, 5), (2, 3, 4, 3), (2, 1, 2, 3, 2)]

    def case(shape: Any, affine: bool) -> Any:
        def make_case(make: Any) -> Any:
            vectors = [make(shape[1]), make(shape[1])] if affine else []
            return (make(*shape), None, None, *vectors), {"training": True, "eps": 1e-2}

        return make_case

    return [case(n, a) for n in shapes for a in (True, False)]


@operation("rows", method=False, numpy=_numpy_batch_norm, cases=_batch_norm_cases())
@takes("floating", "float8")
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and variance of every channel (dim
    1).

    In training they are those of the input, and the running ones move towards them (the variance
    with n - 1) by `momentum`; else the running ones are taken.

    Source: Ioffe and Szegedy, Batch Normalization, 2015.
    """
    if training:
        _check_enough("value per channel", input, 0, input._layout.shape[2:])
    return _batch_norm(
        input, weight, bias, running_mean, running_var, training, float(momentum), float(eps)
    )


def _check_enough(what: str, input: Tensor, batch: int, spatial: tuple[int, ...]) -> None:
    shape = input._layout.shape
    count = numel(spatial) * (shape[batch] if batch >= 0 and len(shape) > batch else 1)
    if count == 1:
        raise ValueError(
            f"Expected more than 1 {what} when training, got input size torch.Size({list(shape)})"
        )


def _affine(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """input * weight + bias along dimension 1."""
    column = (-1, *(1,) * (input._layout.ndim - 2))
    kind = input._layout.dtype
    scale = None if weight is None else reshape(to_dtype(weight, kind), *column)
    shift = None if bias is None else reshape(to_dtype(bias, kind), *column)
    if scale is None:
        return input if shift is None else input + shift
    return input * scale if shift is None else addcmul(shift, input, scale)


def _numpy_group_norm(
    x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    rows = x.reshape(x.shape[0], groups, -1)
    y = (rows - rows.mean(2, keepdims=True)) / np.sqrt(rows.var(2, keepdims=True) + eps)
    y = y.reshape(x.shape)
    column = (-1, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(column)
    return y if bias is None else y + bias.reshape(column)


def _group_norm_cases() -> list[Any]:
    def case(shape: Any, groups: int, affine: bool) -> Any:
        def make_case(make: Any) -> Any:
            vectors = [make(shape[1]), make(shape[1])] if affine else []
            return (make(*shape), groups, *vectors), {"eps": 1e-2}

        return make_case

    shapes = [((3, 4), 2), ((2, 6, 3), 3), ((2, 4, 2, 3), 1), ((1, 3, 2, 2), 3)]
    return [case(n, k, a) for n, k in shapes for a in (True, False) if n[1] // k * 3 > 1]


@operation("rows", method=False, numpy=_numpy_group_norm, cases=_group_norm_cases())
@takes("floating", "float8")
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and variance of each sample's groups
    of neighbouring channels.

    Source: Wu and He, Group Normalization, 2018.
    """
    shape = input._layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {len(shape)}"
        )
    if num_groups <= 0 or shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(shape)} and num_groups={num_groups}"
        )
    _check_vectors(shape[1], weight=weight, bias=bias)
    if not input._layout.numel:
        return _affine(input * 1.0, weight, bias)
    rows = reshape(input, 1, shape[0] * num_groups, -1)
    normal = _batch_norm(rows, None, None, None, None, True, 0.0, float(eps))
    return formatted(_affine(reshape(normal, *shape), weight, bias), input)


def _numpy_instance_norm(
    x: Any, mean: Any = None, var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if use_input_stats:
        return _numpy_group_norm(x, x.shape[1], weight, bias, eps)
    return _numpy_batch_norm(x, mean, var, weight, bias, False, momentum, eps)


def _instance_norm_cases() -> list[Any]:
    def case(shape: Any, affine: bool) -> Any:
        def make_case(make: Any) -> Any:
            vectors = [make(shape[1]), make(shape[1])] if affine else []
            return (make(*shape), None, None, *vectors), {"eps": 1e-2}

        return make_case

    return [case(n, a) for n in ((2, 3, 5), (2, 2, 3, 4), (1, 2, 2, 3, 2)) for a in (True, False)]


def _repeated(vector: Tensor | None, times: int) -> Tensor | None:
    """A vector of channels once for every sample."""
    return None if vector is None else vector.repeat(times)


@operation("rows", method=False, numpy=_numpy_instance_norm, cases=_instance_norm_cases())
@takes("floating", "float8")
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and variance of every channel of each
    sample.

    Source: Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016.
    """
    shape = input._layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"instance_norm: expected an input of at least 2 dimensions, got shape {list(shape)}."
        )
    if not use_input_stats:
        input = contiguous(input)
        return _batch_norm(
            input, weight, bias, running_mean, running_var, False, float(momentum), float(eps)
        )
    _check_enough("spatial element", input, -1, shape[2:])
    n, c = shape[:2]
    _check_vectors(c, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    means, variances = (_repeated(v, n) for v in (running_mean, running_var))
    result = _batch_norm(
        reshape(input, 1, n * c, *shape[2:]), _repeated(weight, n), _repeated(bias, n),
        means, variances, True, float(momentum), float(eps),
    )  # fmt: skip
    for running, each in ((running_mean, means), (running_var, variances)):
        if running is not None and each is not None:
            running.copy_(mean_(reshape(each.detach(), n, c), 0))
    return reshape(result, *shape)
