"""Sums, means, extrema and their kin over any dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import scalar as s
from tritorch.kernels.reduction import ReductionKernel
from tritorch.layout import Layout, normalize_dim
from tritorch.ops.declare import method, operation, takes, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.output import finished
from tritorch.ops.placement import resolve_dtype
from tritorch.ops.view_nodes import node_class
from tritorch.ops.views import expand, unsqueeze
from tritorch.tensor import Tensor, empty

Dims = tuple[int, ...]


def normalize_dims(name: str, dim: Any, ndim: int) -> Dims:
    """The reduced dimensions, sorted; an empty tuple means all of them."""
    if dim is None:
        return ()
    if not isinstance(dim, tuple | list):
        dim = normalize_dim(name, dim, ndim)
        return (dim,) if ndim else ()
    dims = tuple(sorted(normalize_dim(name, d, ndim) for d in dim))
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"{name}: dim {list(dim)} appears multiple times in the list of dims")
    return dims


def restored(g: Tensor, shape: tuple[int, ...], dims: Dims, keepdim: bool) -> Tensor:
    """A reduced tensor with its reduced dimensions as size 1 again; it broadcasts to `shape`."""
    if keepdim or not dims:
        return g
    for d in dims:
        g = unsqueeze(g, d)
    return g


class Reduction:
    """Plans and launches of one ReductionKernel.

    Args:
        kernel: the kernel.
        compute: from the input's dtype and `dtype=` to (dtype on load, dtypes of the results).
    """

    def __init__(
        self,
        kernel: ReductionKernel,
        rule: Callable[[Dtype, Dtype | None], tuple[Dtype, list[Dtype]]],
    ) -> None:
        self.kernel = kernel
        self.rule = rule
        self.plans = Plans(self._plan)

    def _plan(self, key: tuple[Any, ...]) -> Any:
        layout, dims, keepdim, dtype, *scalars = key
        compute, results = self.rule(layout.dtype, dtype)
        return self.kernel.plan([layout], dims, keepdim, [compute], results, **dict(scalars))

    def run(
        self, input: Tensor, dims: Dims, keepdim: bool, dtype: Dtype | None = None, **scalars: float
    ) -> list[Tensor]:
        """The results, without history."""
        plan = self.plans[(input._layout, dims, keepdim, dtype, *scalars.items())]
        results = [empty(layout) for layout in plan.outputs]
        plan.launch(*[r._address for r in results], input._address)
        return results

    def run_one(self, input: Tensor, dims: Dims, keepdim: bool, dtype: Dtype | None) -> Tensor:
        """The only result of a kernel without numbers, without history."""
        plan = self.plans[input._layout, dims, keepdim, dtype]
        result = empty(plan.outputs[0])
        plan.launch(result._address, input._address)
        return result


def _sum_rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    kind = wanted or (dtype if dtype.is_floating_point else dtypes.int64)
    return kind, [kind]


_sum = Reduction(ReductionKernel("sum", ["x"], lambda x: x, 0, lambda a, b: a + b), _sum_rule)


class ReduceNode(Node):
    """What the gradients of reductions have in common."""

    __slots__ = ("dims", "keepdim", "layout")
    dims: Dims
    keepdim: bool
    layout: Layout

    def spread(self, g: Tensor) -> Tensor:
        """A reduced tensor in a shape that broadcasts to the input's."""
        return restored(g, self.layout.shape, self.dims, self.keepdim)


class SumBackward(ReduceNode):
    """The gradient goes to every element."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient, expanded."""
        return (expand(self.spread(grads[0]), *self.layout.shape),)


_Sum0 = node_class(SumBackward, "SumBackward0")
_Sum1 = node_class(SumBackward, "SumBackward1")


def record_reduction(
    result: Tensor, node_type: type[ReduceNode], input: Tensor, dims: Dims, keepdim: bool
) -> Any:
    """The node of a result, None where no gradient is wanted."""
    if not (input._requires_grad and mode.enabled):
        return None
    node = node_type((edge(input),), (result._layout,))
    node.dims, node.keepdim, node.layout = dims, keepdim, input._layout
    result._grad_fn = node
    result._requires_grad = True
    return node


@operation("reduction", numpy=np.sum)
def sum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The sum over `dim` (all dimensions); integers and bool give int64."""
    kind = None if dtype is None else resolve_dtype(dtype, "sum")
    dims = () if dim is None else normalize_dims("sum", dim, input._layout.ndim)
    result = _sum.run_one(input, dims, keepdim, kind)
    if input._requires_grad:
        record_reduction(result, _Sum0 if dim is None else _Sum1, input, dims, keepdim)
    return result if out is None else finished(result, out, "sum")


@method("sum_to_size")
def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions in which `size` is 1 or missing."""
    shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
    own = input._layout.shape
    if own == shape:
        return input
    pad = len(own) - len(shape)
    lead = tuple(range(pad))
    ones = tuple(d for d in range(pad, len(own)) if shape[d - pad] == 1 and own[d] != 1)
    result = sum(input, lead + ones, True) if lead or ones else input
    from tritorch.ops.views import reshape

    if result._layout.numel != Layout.contiguous(dtypes.bool, shape).numel:
        raise RuntimeError(
            f"sum_to_size: size {list(shape)} is not expandable to size {list(own)}."
        )
    return reshape(result, *shape) if pad else result


# ---- mean, variance


def _float_rule(name: str) -> Callable[[Dtype, Dtype | None], tuple[Dtype, list[Dtype]]]:
    def rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
        kind = wanted or dtype
        if not kind.is_floating_point:
            which = "Input" if wanted is None else "Optional"
            raise RuntimeError(
                f"{name}(): could not infer output dtype. {which} dtype must be either a floating "
                f"point or complex dtype. Got: {kind}. Pass dtype=, or convert with .float()."
            )
        return kind, [kind]

    return rule


_mean = Reduction(
    ReductionKernel("mean", ["x"], lambda x: x, 0, lambda a, b: a + b, lambda acc, n: acc / n),
    _float_rule("mean"),
)


class MeanBackward(ReduceNode):
    """The gradient over the count goes to every element."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient / n, expanded."""
        (g,) = grads
        count = self.layout.numel // max(g._layout.numel, 1)
        return (expand(self.spread(g / max(count, 1)), *self.layout.shape),)


_Mean0 = node_class(MeanBackward, "MeanBackward0")
_Mean1 = node_class(MeanBackward, "MeanBackward1")


@operation("reduction", numpy=np.mean, integers=False)
def mean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The mean over `dim` (all dimensions); nan of no elements."""
    kind = None if dtype is None else resolve_dtype(dtype, "mean")
    dims = normalize_dims("mean", dim, input._layout.ndim)
    result = _mean.run_one(input, dims, keepdim, kind)
    record_reduction(result, _Mean0 if dim is None else _Mean1, input, dims, keepdim)
    return finished(result, out, "mean")


def _welford(a: Any, b: Any) -> Any:
    """Means and sums of squared differences of two parts. Source: Chan et al., 1979."""
    mean_a, squares_a, n_a = a
    mean_b, squares_b, n_b = b
    n = n_a + n_b
    share = s.where(n == 0, 0.0, n_b / s.where(n == 0, 1.0, n))
    delta = mean_b - mean_a
    return (
        mean_a + delta * share,
        squares_a + squares_b + delta * delta * n_a * share,
        n,
    )


def _two_floats(name: str) -> Callable[[Dtype, Dtype | None], tuple[Dtype, list[Dtype]]]:
    def rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
        if not dtype.is_floating_point:
            raise RuntimeError(
                f"{name} only support floating point and complex dtypes, got {dtype}. Convert with "
                ".float()."
            )
        return dtype, [dtype, dtype]

    return rule


def _variance_kernel(name: str, root: bool) -> ReductionKernel:
    def finish(mean: Any, squares: Any, count: Any, n: Any, correction: Any) -> Any:
        variance = squares / s.maximum(n - correction, 0.0)
        return (s.sqrt(variance) if root else variance), mean

    return ReductionKernel(
        name, ["x"], lambda x: (x, 0.0 * x, 0.0 * x + 1.0), (0.0, 0.0, 0.0), _welford, finish,
        scalars=("correction",), moments=True,
    )  # fmt: skip


_var = Reduction(_variance_kernel("var", False), _two_floats("var"))
_std = Reduction(_variance_kernel("std", True), _two_floats("std"))


class VarBackward0(ReduceNode):
    """2 / (n - correction) * (x - mean) * g."""

    __slots__ = ("correction",)
    correction: float

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradients of variance and mean together."""
        (x,) = self.unpack()
        g, g_mean = grads
        total = None
        count = self.layout.numel // max(_kept(self.layout, self.dims), 1)
        if g is not None:
            centred = x - mean(x, self.dims or None, True)
            scale = 2.0 / (count - self.correction) if count != self.correction else math.inf
            total = centred * (self.spread(g) * scale)
        if g_mean is not None:
            part = expand(self.spread(g_mean / count), *self.layout.shape)
            total = part if total is None else total + part
        return (total,)


class StdBackward0(ReduceNode):
    """(x - mean) * g / (std * (n - correction)), 0 where the deviation is 0."""

    __slots__ = ("correction",)
    correction: float

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradients of deviation and mean together."""
        x, deviation = self.unpack()
        g, g_mean = grads
        total = None
        count = self.layout.numel // max(_kept(self.layout, self.dims), 1)
        if g is not None:
            centred = x - mean(x, self.dims or None, True)
            scaled = (g / (deviation * (count - self.correction))).masked_fill(deviation == 0, 0)
            total = centred * self.spread(scaled)
        if g_mean is not None:
            part = expand(self.spread(g_mean / count), *self.layout.shape)
            total = part if total is None else total + part
        return (total,)


def _kept(layout: Layout, dims: Dims) -> int:
    """The number of elements that stay."""
    count = 1
    for d, size in enumerate(layout.shape):
        if dims and d not in dims:
            count *= size
    return count


def _moments(
    reduction: Reduction, node_type: Any, input: Tensor, dim: Any, unbiased: Any, correction: Any,
    keepdim: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    if isinstance(dim, bool):  # var(x, False) means unbiased=False
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    name = reduction.kernel.name
    dims = normalize_dims(name, dim, input._layout.ndim)
    result, average = reduction.run(input, dims, keepdim, None, correction=float(correction))
    if input._requires_grad and mode.enabled:
        node = node_type((edge(input),), (result._layout, average._layout))
        node.dims, node.keepdim, node.layout = dims, keepdim, input._layout
        node.correction = float(correction)
        node.save(input)
        for number, output in enumerate((result, average)):
            output._grad_fn, output._requires_grad, output._output_nr = node, True, number
        if node_type is StdBackward0:
            node.save_outputs(result)
    return result, average


@operation("reduction", numpy=lambda x, **o: np.var(x, ddof=1, **o), integers=False)
def var(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The variance over `dim`, divided by n - correction (1)."""
    return finished(
        _moments(_var, VarBackward0, input, dim, unbiased, correction, keepdim)[0], out, "var"
    )


@operation("reduction", numpy=lambda x, **o: np.std(x, ddof=1, **o), integers=False)
def std(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation over `dim`, divided by n - correction (1)."""
    return finished(
        _moments(_std, StdBackward0, input, dim, unbiased, correction, keepdim)[0], out, "std"
    )


def var_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Variance and mean, in one pass."""
    return _moments(_var, VarBackward0, input, dim, unbiased, correction, keepdim)


def std_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Standard deviation and mean, in one pass."""
    return _moments(_std, StdBackward0, input, dim, unbiased, correction, keepdim)


# ---- products


_prod = Reduction(ReductionKernel("prod", ["x"], lambda x: x, 1, lambda a, b: a * b), _sum_rule)


class ProdBackward(ReduceNode):
    """The product of the other elements, exact where some are zero."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Products from the left and from the right of each element."""
        (x,) = self.unpack()
        (g,) = grads
        from tritorch.ops.scan import exclusive_product
        from tritorch.ops.views import reshape

        if not self.dims:
            others = reshape(exclusive_product(reshape(x, -1), 0), *x._layout.shape)
        else:
            others = exclusive_product(x, self.dims[0])
        return (others * self.spread(g),)


_Prod0 = node_class(ProdBackward, "ProdBackward0")
_Prod1 = node_class(ProdBackward, "ProdBackward1")


@operation("reduction", numpy=np.prod)
@writes
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The product over `dim` (all dimensions)."""
    kind = None if dtype is None else resolve_dtype(dtype, "prod")
    dims = normalize_dims("prod", dim, input._layout.ndim)
    (result,) = _prod.run(input, dims, keepdim, kind)
    node = record_reduction(result, _Prod0 if dim is None else _Prod1, input, dims, keepdim)
    if node is not None:
        node.save(input)
    return result


# ---- truth and counting


def _bool_rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    return dtype, [dtype if dtype is dtypes.uint8 else dtypes.bool]


def _count_rule(dtype: Dtype, wanted: Dtype | None) -> tuple[Dtype, list[Dtype]]:
    return dtype, [dtypes.int64]


_any = Reduction(ReductionKernel("any", ["x"], lambda x: x != 0, 0, lambda a, b: a | b), _bool_rule)
_all = Reduction(ReductionKernel("all", ["x"], lambda x: x != 0, 1, lambda a, b: a & b), _bool_rule)
_count = Reduction(
    ReductionKernel(
        "count_nonzero", ["x"], lambda x: s.cast(x != 0, dtypes.int64), 0, lambda a, b: a + b
    ),
    _count_rule,
)


@operation("reduction", numpy=np.any, differentiable=False)
@writes
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether an element is nonzero."""
    return _any.run(input, normalize_dims("any", dim, input._layout.ndim), keepdim)[0]


@operation("reduction", numpy=np.all, differentiable=False)
@writes
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are nonzero."""
    return _all.run(input, normalize_dims("all", dim, input._layout.ndim), keepdim)[0]


@operation("reduction", differentiable=False, register=False)
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are nonzero."""
    return _count.run(input, normalize_dims("count_nonzero", dim, input._layout.ndim), False)[0]


@operation("reduction", numpy=np.nansum)
@writes
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of what is not nan."""
    from tritorch.ops.comparison import masked_fill
    from tritorch.ops.elementary import isnan

    return sum(masked_fill(input, isnan(input), 0), dim, keepdim, dtype=dtype)


@writes
@takes("floating")
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of what is not nan."""
    from tritorch.ops.comparison import logical_not
    from tritorch.ops.elementary import isnan

    if not input._layout.dtype.is_floating_point:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{input._layout.dtype}. Convert with .float()."
        )
    count = sum(logical_not(isnan(input)), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


method("nanmean")(nanmean)
