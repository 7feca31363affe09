"""Plans of scaled dot-product attention, forward and backward, for strided, batched operands.

    O = softmax(Q Kᵀ · scale + mask) V

Batches broadcast; with `grouped`, several heads of Q share one of K and V (the dimension before the
last two). 2 (depth + v_depth) operations per visible pair of query and key in the forward, 2.5 to
3.5 times as many in the backward. Gradients of K and V are summed over queries in order, whatever
the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tritorch import dtypes
from tritorch.config import config
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.hardware import hardware_of
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.templates.attention_gradients import (
    attention_backward_heads,
    attention_backward_keys,
    attention_backward_queries,
)
from tritorch.kernels.templates.attention_gradients_gpu import (
    attention_gpu_keys,
    attention_gpu_queries,
)
from tritorch.kernels.templates.attention_kernels import attention_forward
from tritorch.kernels.templates.rows import Rows, ceil_divide, levels, next_power_of_2
from tritorch.kernels.templates.template import Template
from tritorch.kernels.tuning import LAUNCH_OPTIONS
from tritorch.layout import (
    Layout,
    Shape,
    broadcast_shapes,
    broadcast_strides,
    contiguous_strides,
    numel,
)

#: kinds of mask, as the kernels know them
NO_MASK, VISIBLE, ADDED = 0, 1, 2


@dataclass(frozen=True)
class Attention:
    """What a plan is for.

    Attributes:
        q, k, v: (*batch, queries, depth), (*batch, keys, depth), (*batch, keys, v_depth).
        mask: broadcasts to (*batch, queries, keys); bool: where to look; floating: added.
        causal: query i looks at keys 0..i.
        grouped: heads of q share heads of k and v.
        dropout: whether weights are dropped.
    """

    q: Layout
    k: Layout
    v: Layout
    mask: Layout | None = None
    causal: bool = False
    grouped: bool = False
    dropout: bool = False


def plan(of: Attention, *, sums: bool = False) -> Plan:
    """launch(o[, sums], q, k, v[, mask], scale * log2(e)[, seed, offset, dropout, factor]).

    The scale is not negative. Weights are dropped with probability `dropout`, the others multiplied
    by `factor`.

    Args:
        sums: whether the logarithms that the backward needs are written.
    """
    heads = _Heads(of)
    outputs = (heads.o, heads.sums) if sums else (heads.o,)
    operands = {"o_ptr": heads.o, "sums_ptr": heads.sums, **heads.inputs}
    if not sums:
        del operands["sums_ptr"]
    values = heads.values(attention_forward, ("o", "q", "k", "v", "mask"), True)
    values["SUMS"] = sums
    n_blocks = ceil_divide(heads.n_queries, values["BLOCK_M"])
    bound = heads.bind(attention_forward, operands, values, n_blocks, True)
    if bound is None:
        return Plan(outputs, nothing)
    launch, compiled = bound
    return Plan(outputs, launch, [compiled])


def plan_backward(of: Attention, g: Layout, *, parts: bool = False) -> Plan:
    """launch(dq, dk, dv, g, q, k, v, o, sums[, mask], scale * log2(e)[, seed, offset, dropout,
    factor]).

    Gradients have the shapes that the operands broadcast to (which heads of K and V that are shared
    do not), and their order of dimensions in memory.

    Args:
        parts: of one tensor: gradients have the strides of the operands, gaps included.
    """
    return _Backward(_Heads(of, g, parts)).plan()


class _Heads:
    """Batches of one attention, broadcast; heads in groups that share keys and values."""

    def __init__(self, of: Attention, g: Layout | None = None, parts: bool = False) -> None:
        self.of = of
        q, k, v = of.q, of.k, of.v
        _check(of)
        self.n_queries, self.depth = q.shape[-2:]
        self.n_keys, self.v_depth = v.shape[-2:]
        self.n_heads = 1
        shapes = {"q": q.shape[:-2], "k": k.shape[:-2], "v": v.shape[:-2]}
        if of.mask is not None:
            shapes["mask"] = of.mask.shape[:-2]
        if of.grouped:
            self.n_heads = q.shape[-3] // max(k.shape[-3], 1)
        #: the common batch, with the groups of heads as a dimension of its own at the end
        if of.grouped:
            split = {name: self._split(name, shape) for name, shape in shapes.items()}
            batch = broadcast_shapes("scaled_dot_product_attention", *split.values())
            merged = (*batch[:-2], batch[-2] * batch[-1])
        else:
            batch = broadcast_shapes("scaled_dot_product_attention", *shapes.values())
            merged = batch
            batch = (*batch, 1)
        self.batch = batch
        self.merged = merged
        self.kind = dtypes.float64 if q.dtype is dtypes.float64 else dtypes.float32
        self.o = like(q, (*merged, self.n_queries, self.v_depth), q.dtype)
        self.sums = Layout.contiguous(self.kind, (*merged, self.n_queries), q.device)
        self.layouts: dict[str, Layout] = {"o": self.o, "q": q, "k": k, "v": v}
        if of.mask is not None:
            self.layouts["mask"] = of.mask
        if g is not None:
            self.layouts["do"] = g
            self.layouts["dq"] = like(q, (*merged, *q.shape[-2:]), q.dtype)
            shared = (*batch[:-1],) if of.grouped else merged
            self.layouts["dk"] = like(k, (*shared, *k.shape[-2:]), k.dtype)
            self.layouts["dv"] = like(v, (*shared, *v.shape[-2:]), v.dtype)
            if parts:
                self.layouts |= {"dq": q, "dk": k, "dv": v}
        self.inputs = {f"{name}_ptr": self.layouts[name] for name in ("q", "k", "v")}
        if of.mask is not None:
            self.inputs["mask_ptr"] = of.mask
        self.scalars = {"scale": self.kind.triton}
        if of.dropout:
            self.scalars |= {"seed": "i64", "offset": "i64"}
            self.scalars |= {"dropout": "fp32", "factor": self.kind.triton}

    def _split(self, name: str, shape: Shape) -> Shape:
        """A batch with heads -> (..., groups, heads of a group)."""
        if not shape or name in ("k", "v"):
            return (*shape, 1)
        if shape[-1] == 1:
            return (*shape, 1)
        return (*shape[:-1], shape[-1] // self.n_heads, self.n_heads)

    def strides(self, name: str) -> Shape:
        """Strides over `batch` of an operand, then of its rows and columns."""
        layout = self.layouts[name]
        lead, steps = layout.shape[:-2], layout.strides[:-2]
        if name in ("dk", "dv"):
            lead, steps = (*lead, 1), (*steps, 0)
            if not self.of.grouped:
                lead, steps = lead[:-1], steps[:-1]
        elif self.of.grouped:
            split = self._split(name, lead)
            if len(split) > len(lead):
                heads = split[-1]
                if heads == 1:
                    steps = (*steps, 0)
                else:
                    steps = (*steps[:-1], steps[-1] * heads, steps[-1])
            lead = split
        if not self.of.grouped:
            lead, steps = (*lead, 1), (*steps, 0)
        found = broadcast_strides(lead, steps, self.batch)
        own = (*layout.shape[-2:],)
        if name == "mask":
            wanted = (self.n_queries, self.n_keys)
            return found + broadcast_strides(own, layout.strides[-2:], wanted)
        return found + layout.strides[-2:]

    def rows(self, names: tuple[str, ...], every: bool) -> Rows:
        """The programs' part of the batch."""
        cut = len(self.batch) if every else len(self.batch) - 1
        strides = [self.strides(name)[:cut] for name in names]
        return levels("scaled_dot_product_attention", self.batch[:cut], strides)

    def values(self, template: Template, names: tuple[str, ...], every: bool) -> dict[str, Any]:
        """What a plan fixes of a kernel's parameters."""
        of = self.of
        there = tuple(name for name in names if name in self.layouts)
        depth = max(16, next_power_of_2(self.depth))
        v_depth = max(16, next_power_of_2(self.v_depth))
        facts = {
            "n_queries": self.n_queries,
            "n_keys": self.n_keys,
            "depth": self.depth,
            "v_depth": self.v_depth,
        }
        mask = NO_MASK
        if of.mask is not None:
            mask = VISIBLE if of.mask.dtype is dtypes.bool else ADDED
        values: dict[str, Any] = {
            **facts,
            "MASK": mask,
            "CAUSAL": of.causal,
            "DROPOUT": of.dropout,
            "WHOLE_DEPTH": (depth, v_depth) == (self.depth, self.v_depth),
            "DEPTH": depth,
            "V_DEPTH": v_depth,
            **self.rows(there, every).values(*there),
            **template.choose(
                of.q.device.type,
                dtype=of.q.dtype.name,
                causal=of.causal,
                capability=hardware_of(of.q.device).capability,
                **facts,
            ),
        }
        for name in there:
            strides = self.strides(name)
            values[f"{name}_row_stride"], values[f"{name}_column_stride"] = strides[-2:]
            values[f"{name}_head_stride"] = strides[-3]
        return values

    def bind(
        self, template: Template, operands: Any, values: dict[str, Any], n_blocks: int, every: bool
    ) -> tuple[Any, Any] | None:
        """A launch of `n_blocks` programs per head (`every`) or group of heads; None for none."""
        count = numel(self.batch if every else self.batch[:-1])
        if not count * n_blocks:
            return None
        values["n_blocks"] = n_blocks
        known = (*template.parameters, *LAUNCH_OPTIONS)
        given = {name: values[name] for name in known if name in values}
        for name in template.parameters:
            if name not in given and name not in operands and name not in self.scalars:
                given[name] = None
        return template.bind(
            self.of.q.device, (count * n_blocks,), operands, given, scalars=self.scalars
        )


class _Backward:
    """One launch of a program per group of heads, or two with a program per block.

    Two: first the queries' gradient, which leaves delta, then those of keys and values.
    """

    #: positions of the plan's arguments
    NAMES = ("dq", "dk", "dv", "do", "q", "k", "v", "o", "sums")

    def __init__(self, heads: _Heads) -> None:
        self.heads = heads
        names = [*self.NAMES, *(["mask"] if heads.of.mask is not None else []), *heads.scalars]
        self.place = {name: position for position, name in enumerate(names)}
        self.place["delta"] = -1
        self.workspaces = [heads.sums.nbytes]
        self.steps: list[Step] = []
        self.kernels: list[Any] = []

    def plan(self) -> Plan:
        from tritorch.runtime import get_target

        heads = self.heads
        if self._whole_heads():
            dq = heads.layouts["dq"]
            heads.layouts["total"] = dq.with_dtype(heads.kind)
            if dq.dtype is heads.kind:
                self.place["total"] = self.place["dq"]
            else:
                self.place["total"] = -2
                self.workspaces.append(heads.layouts["total"].nbytes)
            names = ("dq", "dk", "dv", "total", "do", "q", "k", "v", "o", "mask")
            self._step(attention_backward_heads, names, False)
        else:
            queries, keys = attention_backward_queries, attention_backward_keys
            if heads.of.q.device.type != "cpu":
                queries, keys = attention_gpu_queries, attention_gpu_keys
            self._step(queries, ("dq", "do", "q", "k", "v", "o", "mask"), True)
            self._step(keys, ("dk", "dv", "do", "q", "k", "v", "mask"), False)
        outputs = [heads.layouts[name] for name in ("dq", "dk", "dv")]
        target = get_target(heads.of.q.device)
        return Plan.of_steps(outputs, target, self.steps, self.workspaces, self.kernels)

    def _whole_heads(self) -> bool:
        """Whether 5 products of every block, shared out by heads, are less than 7 shared evenly."""
        heads = self.heads
        groups = numel(heads.batch[:-1])
        if heads.of.q.device.type != "cpu" or not heads.n_keys:
            return False
        threads = config.num_threads
        return 5 * ceil_divide(groups, threads) * threads <= 7 * groups

    def _step(self, template: Template, names: tuple[str, ...], every: bool) -> None:
        heads = self.heads
        values = heads.values(template, names, every)
        values["n_turns"] = ceil_divide(heads.n_queries, values["BLOCK_M"])
        values["n_heads"] = heads.n_heads
        values["NARROW"] = heads.of.q.dtype is not heads.kind
        n_blocks = 1
        values["WHOLE_ROWS"] = heads.n_queries % values["BLOCK_M"] == 0
        if template in (attention_backward_queries, attention_gpu_queries):
            n_blocks = values["n_turns"]
        elif template in (attention_backward_keys, attention_gpu_keys):
            n_blocks = ceil_divide(heads.n_keys, values["BLOCK_N"])
        operands: dict[str, Layout | Dtype] = {}
        for parameter in template.parameters:
            name = parameter.removesuffix("_ptr")
            if name == parameter or (name == "mask" and "mask" not in heads.layouts):
                continue
            operands[parameter] = heads.kind if name in ("sums", "delta") else heads.layouts[name]
        bound = heads.bind(template, operands, values, n_blocks, every)
        if bound is None:
            return
        order = [
            self.place[parameter.removesuffix("_ptr")]
            for parameter in template.parameters
            if parameter in operands or parameter in heads.scalars
        ]
        self.steps.append(Step(bound[0], tuple(order)))
        self.kernels.append(bound[1])


def like(of: Layout, shape: Shape, dtype: Dtype) -> Layout:
    """A dense layout of a shape, with the dimensions in memory in the order of another layout, if
    its last one is the fastest there; else row-major.
    """
    if of.strides[-1] != 1:
        return Layout.contiguous(dtype, shape, of.device)
    lead = len(shape) - of.ndim
    order = sorted(range(of.ndim), key=lambda d: (-of.strides[d], d))
    order = [*range(lead), *(lead + d for d in order)]
    strides = [0] * len(shape)
    for d, step in zip(order, contiguous_strides([shape[d] for d in order])):
        strides[d] = step
    return Layout.of(dtype, shape, tuple(strides), of.device)


def _check(of: Attention) -> None:
    q, k, v, mask = of.q, of.k, of.v, of.mask
    if not q.dtype.is_floating_point or not (q.dtype is k.dtype is v.dtype):
        raise DtypeError(
            "scaled_dot_product_attention: Expected query, key, and value to have the same "
            f"floating-point dtype, but got query.dtype: {q.dtype} key.dtype: {k.dtype} and "
            f"value.dtype: {v.dtype} instead. Cast them with .to(dtype)."
        )
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ShapeError(
            "scaled_dot_product_attention: Expected query, key, and value to all be at least 2 "
            f"dimensional, but got query.dim: {q.ndim} key.dim: {k.ndim} and value.dim: {v.ndim} "
            "instead. Unsqueeze them."
        )
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"scaled_dot_product_attention: query {q.shape}, key {k.shape} and value {v.shape} do "
            "not fit. Query and key need the same last size, key and value the same last but one."
        )
    if of.grouped:
        fine = min(q.ndim, k.ndim, v.ndim) > 2 and k.shape[-3] == v.shape[-3]
        if not fine or not k.shape[-3] or q.shape[-3] % k.shape[-3]:
            raise ShapeError(
                "scaled_dot_product_attention: Number of heads in key and value must divide the "
                f"number of heads in query, but they are {k.shape}, {v.shape} and {q.shape}."
            )
    if mask is None:
        return
    if mask.dtype not in (dtypes.bool, dtypes.float32, q.dtype):
        raise DtypeError(
            "scaled_dot_product_attention: Expected attn_mask dtype to be bool or float or to "
            f"match query dtype, but got attn_mask.dtype: {mask.dtype} and query.dtype: {q.dtype} "
            "instead. Cast the mask."
        )
    if mask.ndim < 2:
        raise ShapeError(
            f"scaled_dot_product_attention: a mask of shape {mask.shape} needs two dimensions, "
            "queries and keys. Unsqueeze it."
        )
    wanted = (q.shape[-2], k.shape[-2])
    if broadcast_shapes("scaled_dot_product_attention", mask.shape[-2:], wanted) != wanted:
        raise ShapeError(
            f"scaled_dot_product_attention: a mask of shape {mask.shape} does not broadcast to "
            f"{wanted[0]} queries and {wanted[1]} keys."
        )


def rows_of(of: Attention) -> Shape:
    """(*batch, queries) of the result; the checks that a plan makes."""
    return _Heads(of).sums.shape
