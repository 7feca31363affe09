"""Cross entropy of class indices, and the negative log-likelihood of log-probabilities.

    lse = log sum_c exp(x_c);  loss = (1 - s) * w_t * (lse - x_t) + s / C * sum_c w_c * (lse - x_c)
    dx_c = f * ((W * exp(x_c - lse)) - (1 - s) * w_t * [c = t] - s / C * w_c),
           W = (1 - s) * w_t + s / C * sum_c w_c

with the target t, class weights w (default 1), label smoothing s, and f the gradient of the row's
loss. `mean` divides by the sum of w_t over the rows that are not ignored, so it is nan when there
are none, as in PyTorch. Forward reads the logits once and keeps one number per row (lse); backward
reads them once and writes dx: no probabilities are stored. About 15 operations per element and
pass.

Source: Szegedy et al., Rethinking the Inception Architecture, 2016 (label smoothing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.templates.bounds import IndexCell
from tritorch.kernels.templates.embedding import plan_zero
from tritorch.kernels.templates.rows import (
    Rows,
    levels,
    next_power_of_2,
    odd_rows,
    row_offset,
    row_warps,
    to_compute,
    without,
)
from tritorch.kernels.templates.softmax import (
    exponential,
    group,
    online_sum,
    online_sums,
    sum_together,
)
from tritorch.kernels.templates.template import Template, helper, kernel
from tritorch.kernels.tuning import LAUNCH_OPTIONS
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

REDUCTIONS = ("none", "mean", "sum")
_LINE = 128
#: rows that would grow by more stay as they are
_MOST_PADDING = 1.25


def _row_block(*, target: str, n_classes: int) -> dict[str, Any]:
    """A row is one block where it fits: 64 Ki in a CPU's strips, 16 Ki on a GPU."""
    limit = 65_536 if target == "cpu" else 16_384
    block = next_power_of_2(n_classes)
    block = block if block <= limit else limit // 4
    return {"BLOCK": block, **row_warps(target, block)}


def _looped(*, BLOCK: int, n_classes: int, **_: Any) -> dict[str, Any]:
    return {"LOOPED": n_classes > BLOCK}


@helper
def load_target(target_ptr, offset, ignore_index, n_classes, cell_ptr):
    """A row's class, and whether the row counts; a wrong class is reported and does not count."""
    target = tl.load(target_ptr + offset).to(tl.int64)
    counts = target != ignore_index
    if counts & ((target < 0) | (target >= n_classes)):
        tl.store(cell_ptr, target)
        counts = False
    return target, counts


@kernel(
    space={"BLOCK": [1024, 4096, 16_384, 65_536], "num_warps": [1, 2, 4, 8, 16]},
    default=_row_block,
    derive=_looped,
    key=("n_classes", "dtype"),
)
def cross_entropy_rows(
    loss_ptr, lse_ptr, x_ptr, target_ptr, weight_ptr, cell_ptr, ignore_index, smoothing, n_classes,
    size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3, x_class_stride,
    target_stride0, target_stride1, target_stride2, target_stride3, weight_stride,
    WEIGHT: tl.constexpr, SMOOTH: tl.constexpr, LOOPED: tl.constexpr, ODD: tl.constexpr,
    GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: one row of n_classes logits. ODD: as `odd_rows` says. GROUP: `group`."""
    row = tl.program_id(0)
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    begin = row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    even_ptr = x_ptr + begin // 16 * 16
    x_ptr += begin
    place = row_offset(
        row, size1, size2, size3, target_stride0, target_stride1, target_stride2, target_stride3
    )
    target, counts = load_target(target_ptr, place, ignore_index, n_classes, cell_ptr)
    weighted_x = tl.full((), 0.0, COMPUTE)
    weights = tl.full((), 0.0, COMPUTE)
    if not LOOPED:
        classes = tl.arange(0, BLOCK)
        mask = classes < n_classes
        x = to_compute(tl.load(x_ptr + classes * x_class_stride, mask=mask, other=-float("inf")))
        top = tl.max(x, 0)
        lse = top + tl.log(tl.sum(exponential(x - top, GROUP > 0), 0))
        if SMOOTH:
            if WEIGHT:
                w = to_compute(tl.load(weight_ptr + classes * weight_stride, mask=mask, other=0.0))
                weights = tl.sum(w, 0)
                weighted_x = tl.sum(tl.where(mask, w * x, 0.0), 0)
            else:
                weights += n_classes
                weighted_x = tl.sum(tl.where(mask, x, 0.0), 0)
    elif ODD:
        top = tl.full((BLOCK // GROUP,), -float("inf"), COMPUTE)
        total = tl.full((BLOCK // GROUP,), 0.0, COMPUTE)
        lead = begin % 16
        last = (lead + n_classes - 1) // BLOCK * BLOCK
        for start in range(0, last + 1, tl.maximum(last, 1)):
            places = start + tl.arange(0, BLOCK)
            mask = (places >= lead) & (places < lead + n_classes)
            x = to_compute(tl.load(even_ptr + places, mask=mask, other=-float("inf")))
            top, total = online_sums(x, top, total, GROUP)
        for start in range(BLOCK, last, BLOCK):
            x = to_compute(tl.load(even_ptr + start + tl.arange(0, BLOCK)))
            top, total = online_sums(x, top, total, GROUP)
        top, total = sum_together(top, total)
        lse = top + tl.log(total)
    else:
        if GROUP:
            top = tl.full((BLOCK // GROUP,), -float("inf"), COMPUTE)
            total = tl.full((BLOCK // GROUP,), 0.0, COMPUTE)
        else:
            top = tl.full((), -float("inf"), COMPUTE)
            total = tl.full((), 0.0, COMPUTE)
        for start in range(0, n_classes, BLOCK):
            classes = start + tl.arange(0, BLOCK)
            mask = classes < n_classes
            x = to_compute(
                tl.load(x_ptr + classes * x_class_stride, mask=mask, other=-float("inf"))
            )
            if GROUP:
                top, total = online_sums(x, top, total, GROUP)
            else:
                top, total = online_sum(x, top, total)
            if SMOOTH:
                if WEIGHT:
                    w = to_compute(
                        tl.load(weight_ptr + classes * weight_stride, mask=mask, other=0.0)
                    )
                    weights += tl.sum(w, 0)
                    weighted_x += tl.sum(tl.where(mask, w * x, 0.0), 0)
                else:
                    weighted_x += tl.sum(tl.where(mask, x, 0.0), 0)
        if SMOOTH and not WEIGHT:
            weights += n_classes
        if GROUP:
            top, total = sum_together(top, total)
        lse = top + tl.log(total)
    loss = tl.full((), 0.0, COMPUTE)
    if counts:
        loss = lse - to_compute(tl.load(x_ptr + target * x_class_stride))
        if WEIGHT:
            loss *= to_compute(tl.load(weight_ptr + target * weight_stride))
        if SMOOTH:
            smooth = weights * lse - weighted_x
            loss = (1.0 - smoothing) * loss + smoothing / n_classes * smooth
    tl.store(loss_ptr + row, loss.to(loss_ptr.dtype.element_ty))
    tl.store(lse_ptr + row, lse)


@kernel(
    space={"BLOCK": [1024, 4096, 16_384, 65_536], "num_warps": [1, 2, 4, 8, 16]},
    default=_row_block,
    derive=_looped,
    key=("n_classes", "dtype"),
)
def cross_entropy_rows_backward(
    dx_ptr, g_ptr, x_ptr, lse_ptr, target_ptr, weight_ptr, share_ptr,
    ignore_index, smoothing, n_classes, g_stride,
    size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3, x_class_stride,
    dx_stride0, dx_stride1, dx_stride2, dx_stride3, dx_class_stride,
    target_stride0, target_stride1, target_stride2, target_stride3, weight_stride,
    WEIGHT: tl.constexpr, SMOOTH: tl.constexpr, MEAN: tl.constexpr, ODD: tl.constexpr,
    PADDED: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: dx of one row. share: the sum of weights that the mean divides by. ODD: as
    `odd_rows` says, of x and dx alike. PADDED: only the rows of dx begin evenly; whole blocks are
    stored by 16 bytes, which a mask of odd length would not allow.
    """
    row = tl.program_id(0)
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    begin = row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    even_ptr = x_ptr + begin // 16 * 16
    even_dx_ptr = dx_ptr + begin // 16 * 16
    x_ptr += begin
    dx_ptr += row_offset(row, size1, size2, size3, dx_stride0, dx_stride1, dx_stride2, dx_stride3)
    target_ptr += row_offset(
        row, size1, size2, size3, target_stride0, target_stride1, target_stride2, target_stride3
    )
    target = tl.load(target_ptr).to(tl.int64)
    lse = tl.load(lse_ptr + row)
    factor = to_compute(tl.load(g_ptr + row * g_stride)).to(COMPUTE)
    if MEAN:
        factor /= tl.load(share_ptr)
    at_target = factor
    spread = tl.full((), 0.0, COMPUTE)
    if target != ignore_index:
        if WEIGHT:
            at_target *= to_compute(tl.load(weight_ptr + target * weight_stride))
    else:
        factor = 0.0 * factor
        factor = tl.where(factor == factor, factor, 0.0)
        at_target = factor
    if SMOOTH:
        at_target *= 1.0 - smoothing
        spread = factor * smoothing / n_classes
        if WEIGHT:
            weights = tl.full((), 0.0, COMPUTE)
            for start in range(0, n_classes, BLOCK):
                classes = start + tl.arange(0, BLOCK)
                w = tl.load(weight_ptr + classes * weight_stride, classes < n_classes, other=0.0)
                weights += tl.sum(to_compute(w), 0)
            whole = at_target + spread * weights
        else:
            whole = at_target + spread * n_classes
    else:
        whole = at_target
    if ODD:
        KIND: tl.constexpr = dx_ptr.dtype.element_ty
        lead = begin % 16
        at = target + lead
        last = (lead + n_classes - 1) // BLOCK * BLOCK
        for start in range(0, last + 1, tl.maximum(last, 1)):
            places = start + tl.arange(0, BLOCK)
            mask = (places >= lead) & (places < lead + n_classes)
            x = to_compute(tl.load(even_ptr + places, mask=mask, other=-float("inf")))
            dx = whole * exponential(x - lse, GROUP > 0) - tl.where(places == at, at_target, 0.0)
            tl.store(even_dx_ptr + places, dx.to(KIND), mask=mask)
        for start in range(BLOCK, last, BLOCK):
            places = start + tl.arange(0, BLOCK)
            x = to_compute(tl.load(even_ptr + places))
            dx = whole * exponential(x - lse, GROUP > 0) - tl.where(places == at, at_target, 0.0)
            tl.store(even_dx_ptr + places, dx.to(KIND))
    else:
        first = 0
        if PADDED:
            first = n_classes // BLOCK * BLOCK
            for start in range(0, first, BLOCK):
                classes = start + tl.arange(0, BLOCK)
                x = to_compute(tl.load(x_ptr + classes))
                dx = whole * exponential(x - lse, GROUP > 0)
                dx -= tl.where(classes == target, at_target, 0.0)
                tl.store(dx_ptr + classes, dx.to(dx_ptr.dtype.element_ty))
        for start in range(first, n_classes, BLOCK):
            classes = start + tl.arange(0, BLOCK)
            mask = classes < n_classes
            x = to_compute(
                tl.load(x_ptr + classes * x_class_stride, mask=mask, other=-float("inf"))
            )
            dx = whole * exponential(x - lse, GROUP > 0) - tl.where(
                classes == target, at_target, 0.0
            )
            if SMOOTH:
                if WEIGHT:
                    w = to_compute(
                        tl.load(weight_ptr + classes * weight_stride, mask=mask, other=0.0)
                    )
                    dx -= spread * w
                else:
                    dx -= spread
            tl.store(dx_ptr + classes * dx_class_stride, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def _losses_block(*, target: str, n_rows: int) -> dict[str, Any]:
    """On a GPU few turns by many warps: each turn waits for the memory, and nobody else works."""
    if target == "cpu" or n_rows <= 1024:
        return {"BLOCK": 1024}
    return {"BLOCK": min(next_power_of_2(n_rows), 8192), "num_warps": 16}


@kernel(space={"BLOCK": [256, 1024, 4096]}, default=_losses_block, key=("n_rows",))
def reduce_losses(
    loss_ptr, share_ptr, losses_ptr, target_ptr, weight_ptr, ignore_index, n_rows, n_classes,
    size1, size2, size3, target_stride0, target_stride1, target_stride2, target_stride3,
    weight_stride, WEIGHT: tl.constexpr, MEAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program in all: the sum or the weighted mean of the rows' losses, in a fixed order."""
    COMPUTE: tl.constexpr = losses_ptr.dtype.element_ty
    total = tl.zeros((BLOCK,), dtype=COMPUTE)
    share = tl.zeros((BLOCK,), dtype=COMPUTE)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        mask = rows < n_rows
        total += tl.load(losses_ptr + rows, mask=mask, other=0.0)
        if MEAN:
            places = row_offset(
                rows, size1, size2, size3,
                target_stride0, target_stride1, target_stride2, target_stride3,
            )  # fmt: skip
            target = tl.load(target_ptr + places, mask=mask, other=0).to(tl.int64)
            counts = mask & (target != ignore_index)
            if WEIGHT:
                counts = counts & (target >= 0) & (target < n_classes)
                w = tl.load(weight_ptr + target * weight_stride, mask=counts, other=0.0)
                share += to_compute(w).to(COMPUTE)
            else:
                share += tl.where(counts, 1.0, 0.0).to(COMPUTE)
    loss = tl.sum(total, 0)
    if MEAN:
        whole = tl.sum(share, 0)
        tl.store(share_ptr, whole)
        loss /= whole
    tl.store(loss_ptr, loss.to(loss_ptr.dtype.element_ty))


@kernel()
def nll_rows(
    loss_ptr, x_ptr, target_ptr, weight_ptr, cell_ptr, ignore_index, n_classes,
    size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3, x_class_stride,
    target_stride0, target_stride1, target_stride2, target_stride3, weight_stride,
    WEIGHT: tl.constexpr,
):  # fmt: skip
    """One program: one row; loss = -w_t * x_t."""
    row = tl.program_id(0)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    place = row_offset(
        row, size1, size2, size3, target_stride0, target_stride1, target_stride2, target_stride3
    )
    target, counts = load_target(target_ptr, place, ignore_index, n_classes, cell_ptr)
    COMPUTE: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    loss = tl.full((), 0.0, COMPUTE)
    if counts:
        loss = -to_compute(tl.load(x_ptr + target * x_class_stride))
        if WEIGHT:
            loss *= to_compute(tl.load(weight_ptr + target * weight_stride))
    tl.store(loss_ptr + row, loss.to(loss_ptr.dtype.element_ty))


@kernel()
def nll_rows_backward(
    dx_ptr, g_ptr, target_ptr, weight_ptr, share_ptr, ignore_index, n_classes, g_stride,
    size1, size2, size3, dx_stride0, dx_stride1, dx_stride2, dx_stride3, dx_class_stride,
    target_stride0, target_stride1, target_stride2, target_stride3, weight_stride,
    WEIGHT: tl.constexpr, MEAN: tl.constexpr,
):  # fmt: skip
    """One program: the one element of a row's dx that is not zero; the rest is zero before."""
    row = tl.program_id(0)
    dx_ptr += row_offset(row, size1, size2, size3, dx_stride0, dx_stride1, dx_stride2, dx_stride3)
    target_ptr += row_offset(
        row, size1, size2, size3, target_stride0, target_stride1, target_stride2, target_stride3
    )
    target = tl.load(target_ptr).to(tl.int64)
    if (target != ignore_index) & (target >= 0) & (target < n_classes):
        dx = -to_compute(tl.load(g_ptr + row * g_stride))
        if MEAN:
            dx = dx / tl.load(share_ptr)
        if WEIGHT:
            dx = dx * to_compute(tl.load(weight_ptr + target * weight_stride))
        tl.store(dx_ptr + target * dx_class_stride, dx.to(dx_ptr.dtype.element_ty))


def row_padded(dx: Layout) -> Layout:
    """A matrix whose rows begin at multiples of 128 bytes on a GPU.

    There a product whose rows do not begin at multiples of 16 bytes is fetched element by element,
    as with the gradient of 50257 scores.
    """
    if dx.ndim != 2 or dx.device.type == "cpu" or dx.dtype.itemsize > 2 or dx.numel == 0:
        return dx
    step = -(-dx.shape[1] * dx.dtype.itemsize // _LINE) * _LINE // dx.dtype.itemsize
    if dx.strides[0] * dx.dtype.itemsize % 16 == 0 or step > dx.shape[1] * _MOST_PADDING:
        return dx
    return Layout.of(dx.dtype, dx.shape, (step, 1), dx.device)


class _Losses:
    """One problem: logits or log-probabilities (N, C, *) or (C,), targets (N, *) or ()."""

    def __init__(
        self, name: str, x: Layout, target: Layout, weight: Layout | None, reduction: str,
        out: Dtype | None = None,
    ) -> None:  # fmt: skip
        if not x.dtype.is_floating_point:
            raise DtypeError(
                f"{name}: needs floating-point scores, got {x.dtype}. Cast them first."
            )
        if target.dtype not in (dtypes.int64, dtypes.int32, dtypes.uint8):
            raise DtypeError(f"{name}: expected targets of int64, got {target.dtype}. Cast them.")
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{name}: {reduction!r} is not a valid value for reduction. Use none, mean or sum."
            )
        self.dim = 1 if x.ndim > 1 else 0
        if x.ndim == 0 or without(x.shape, self.dim) != target.shape:
            raise ShapeError(
                f"{name}: scores {x.shape} need targets of shape "
                f"{without(x.shape, self.dim) if x.ndim else ()}, got {target.shape}."
            )
        self.n_classes = x.shape[self.dim]
        if weight is not None and weight.shape != (self.n_classes,):
            raise ShapeError(
                f"{name}: weight tensor should be defined either for all {self.n_classes} classes "
                "or "
                f"no classes but got weight tensor of shape: {list(weight.shape)}"
            )
        self.name, self.x, self.target, self.weight = name, x, target, weight
        self.reduction, self.device = reduction, x.device
        self.dx = Layout.contiguous(x.dtype, x.shape, x.device)
        compute = x.dtype.compute
        self.losses = Layout.contiguous(compute, target.shape, x.device)
        shape = target.shape if reduction == "none" else ()
        self.loss = Layout.contiguous(out or x.dtype, shape, x.device)
        self.share = Layout.contiguous(compute, (), x.device)
        self.outer = without(x.shape, self.dim)
        self.cell = IndexCell(
            "Target {index} is out of bounds.", x.device, f"{name}, {self.n_classes} classes"
        )

    def rows(self, *layouts: Layout) -> Rows:
        """Rows of the layouts that have a class dimension, then of the targets."""
        strides = [without(entry.strides, self.dim) for entry in layouts]
        return levels(self.name, self.outer, [*strides, self.target.strides])

    def arguments(
        self, template: Template, operands: dict[str, Any], values: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Operands and values with what every kernel has: targets, weights, the cell."""
        operands = operands | {"target_ptr": self.target}
        values = {"WEIGHT": self.weight is not None, "n_classes": self.n_classes} | values
        values["cell_ptr"] = self.cell.address
        if self.weight is None:
            values |= {"weight_ptr": None, "weight_stride": None}
        else:
            operands["weight_ptr"] = self.weight
            values["weight_stride"] = self.weight.strides[0]
        if "cell_ptr" in template.parameters:
            operands["cell_ptr"] = dtypes.int64
        known = (*template.parameters, *LAUNCH_OPTIONS)
        return operands, {n: v for n, v in values.items() if n in known}

    def bind(
        self, template: Template, grid: int, operands: dict[str, Any], values: dict[str, Any]
    ) -> tuple[Any, Any]:
        operands, values = self.arguments(template, operands, values)
        scalar = self.x.dtype.compute.triton
        scalars = {"smoothing": scalar} if "smoothing" in template.parameters else {}
        return template.bind(self.device, (grid,), operands, values, scalars=scalars)

    def finish(self, ignore_index: int) -> tuple[Any, Any]:
        """The launch that reduces the rows' losses: (loss[, share], losses, target[, weight])."""
        mean = self.reduction == "mean"
        values = {
            "ignore_index": ignore_index, "n_rows": self.target.numel, "MEAN": mean,
            **self.rows().values("target"),
            **reduce_losses.choose(self.device.type, n_rows=self.target.numel),
        }  # fmt: skip
        operands: dict[str, Any] = {"loss_ptr": self.loss, "losses_ptr": self.losses}
        if mean:
            operands["share_ptr"] = self.share
        else:
            values["share_ptr"] = None
        return self.bind(reduce_losses, 1, operands, values)

    def plan(self, first: tuple[Any, Any] | None, saved: list[Layout], ignore_index: int) -> Plan:
        """The rows' launch `first`(losses, *saved, x, target[, weight]), then the reduction.

        Arguments of the plan: loss, *saved, [share,] x, target[, weight].
        """
        weights = [self.weight] if self.weight is not None else []
        if self.reduction == "none":
            outputs = [self.loss, *saved]
            if first is None:
                return Plan(outputs, nothing)
            return Plan(outputs, self.cell.checked(first[0]), [first[1]])
        from tritorch.runtime import get_target

        shares = [self.share] if self.reduction == "mean" else []
        outputs = [self.loss, *saved, *shares]
        n_outputs = len(outputs)
        inputs = list(range(n_outputs, n_outputs + 2 + len(weights)))
        steps, kernels = [], []
        if first is not None:
            saved_places = range(1, 1 + len(saved))
            steps.append(Step(self.cell.checked(first[0]), (-1, *saved_places, *inputs)))
            kernels.append(first[1])
        launch, compiled = self.finish(ignore_index)
        share_places = range(n_outputs - len(shares), n_outputs)
        steps.append(Step(launch, (0, *share_places, -1, *inputs[1:])))
        kernels.append(compiled)
        target = get_target(self.device)
        workspaces = [max(self.losses.nbytes, 8)]
        return Plan.of_steps(outputs, target, steps, workspaces, kernels)


def plan(
    x: Layout,
    target: Layout,
    weight: Layout | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    out: Dtype | None = None,
) -> Plan:
    """loss, lse[, share]; launch(loss, lse[, share], x, target[, weight]). share: with "mean" only.

    Args:
        x: logits (N, C, *) or (C,), any strides. target: classes (N, *) or (), int64.
        weight: (C,), of x's dtype.
    Returns:
        loss of x's dtype, () or of target's shape; lse (target's shape) and share () of the compute
        dtype, for `plan_backward`.
    Raises (at launch):
        IndexError: a target is neither a class nor ignore_index.
    """
    losses = _Losses("cross_entropy", x, target, weight, reduction, out)
    none = reduction == "none"
    first = None
    if target.numel and losses.n_classes:
        values = {
            "ignore_index": ignore_index, "smoothing": float(label_smoothing),
            "SMOOTH": label_smoothing > 0, "x_class_stride": x.strides[losses.dim],
            "ODD": not label_smoothing and odd_rows(x), "GROUP": group(x),
            **losses.rows(x).values("x", "target"),
            **cross_entropy_rows.choose(
                x.device.type, dtype=x.dtype.name, n_classes=losses.n_classes
            ),
        }  # fmt: skip
        operands = {
            "loss_ptr": losses.loss if none else losses.losses,
            "lse_ptr": losses.losses,
            "x_ptr": x,
        }
        first = losses.bind(cross_entropy_rows, target.numel, operands, values)
    return losses.plan(first, [losses.losses], ignore_index)


def plan_backward(
    g: Layout,
    x: Layout,
    target: Layout,
    weight: Layout | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    padded: bool = False,
) -> Plan:
    """dx; launch(dx, g, x, lse, target[, weight][, share]). share: with "mean" only.

    Args:
        g: gradient of the loss: 0-d, or contiguous of target's shape with reduction "none".
        padded: the rows of dx (N, C) may have gaps behind them (see `row_padded`).
    """
    losses = _Losses("cross_entropy_backward", x, target, weight, reduction)
    if padded:
        losses.dx = row_padded(losses.dx)
    if losses.dx.numel == 0:
        return Plan((losses.dx,), nothing)
    choice = cross_entropy_rows_backward.choose(
        x.device.type, dtype=x.dtype.name, n_classes=losses.n_classes
    )
    values = {
        "ignore_index": ignore_index, "smoothing": float(label_smoothing),
        "SMOOTH": label_smoothing > 0, "x_class_stride": x.strides[losses.dim],
        "ODD": not label_smoothing and odd_rows(x, losses.dx), "GROUP": group(x),
        "PADDED": not (label_smoothing or losses.dx.is_dense) and x.strides[1] == 1,
        "dx_class_stride": losses.dx.strides[losses.dim],
        **choice,
        **losses.rows(x, losses.dx).values("x", "dx", "target"),
        **_gradient_values(g, losses),
    }  # fmt: skip
    operands: dict[str, Any] = {"dx_ptr": losses.dx, "g_ptr": g, "x_ptr": x}
    operands["lse_ptr"] = losses.losses
    if reduction == "mean":
        operands["share_ptr"] = losses.share
    launch, compiled = losses.bind(cross_entropy_rows_backward, target.numel, operands, values)
    return Plan((losses.dx,), launch, [compiled])


def plan_nll(
    x: Layout,
    target: Layout,
    weight: Layout | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Plan:
    """loss[, share]; launch(loss[, share], x, target[, weight]) for log-probabilities x; see
    `plan`.
    """
    losses = _Losses("nll_loss", x, target, weight, reduction)
    first = None
    if target.numel:
        values = {
            "ignore_index": ignore_index, "x_class_stride": x.strides[losses.dim],
            **losses.rows(x).values("x", "target"),
        }  # fmt: skip
        loss = losses.loss if reduction == "none" else losses.losses
        first = losses.bind(nll_rows, target.numel, {"loss_ptr": loss, "x_ptr": x}, values)
    return losses.plan(first, [], ignore_index)


def plan_nll_backward(
    g: Layout,
    x: Layout,
    target: Layout,
    weight: Layout | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Plan:
    """dx; launch(dx, g, target[, weight][, share]); see `plan_backward`."""
    losses = _Losses("nll_loss_backward", x, target, weight, reduction)
    if losses.dx.numel == 0:
        return Plan((losses.dx,), nothing)
    zero = plan_zero(losses.dx)
    values = {
        "ignore_index": ignore_index, "dx_class_stride": losses.dx.strides[losses.dim],
        **losses.rows(losses.dx).values("dx", "target"), **_gradient_values(g, losses),
    }  # fmt: skip
    operands: dict[str, Any] = {"dx_ptr": losses.dx, "g_ptr": g}
    if reduction == "mean":
        operands["share_ptr"] = losses.share
    launch, compiled = losses.bind(nll_rows_backward, target.numel, operands, values)

    def both(dx: int, *rest: int) -> None:
        zero.launch(dx)
        launch(dx, *rest)

    return Plan((losses.dx,), both, [*zero.kernels, compiled])


def _gradient_values(g: Layout, losses: _Losses) -> dict[str, Any]:
    none = losses.reduction == "none"
    if g.shape != (losses.target.shape if none else ()) or not (g.is_contiguous or g.ndim == 0):
        raise ShapeError(
            f"{losses.name}: expected a contiguous gradient of shape "
            f"{losses.target.shape if none else ()}, got {g}."
        )
    mean = losses.reduction == "mean"
    values = {"g_stride": 1 if none else 0, "MEAN": mean}
    return values if mean else values | {"share_ptr": None}
