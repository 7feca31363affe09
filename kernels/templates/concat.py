"""Joining tensors along a dimension, and strided copies of rows.

Each input is copied by one launch into its part of the output: one read and one write per element,
dtypes converted on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tritorch.dtypes import dtype as Dtype
from tritorch.errors import ShapeError
from tritorch.kernels.plan import Plan
from tritorch.kernels.strides import dense_in_format, is_channels_last, keeps_channels_last
from tritorch.kernels.templates.rows import (
    ceil_divide,
    levels,
    next_power_of_2,
    row_offset,
    without,
)
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout, Shape, collapse, normalize_dim

if TYPE_CHECKING:
    import triton.language as tl


def _columns(*, target: str, n_cols: int) -> dict[str, Any]:
    """A block of a few cache pages: long rows are shared out, short ones are a block each."""
    return {"BLOCK": min(next_power_of_2(n_cols), 4096 if target == "cpu" else 1024)}


@kernel(space={"BLOCK": [256, 1024, 4096, 16_384]}, default=_columns, key=("n_cols", "dtype"))
def copy_rows(
    y_ptr, x_ptr, n_cols, n_blocks, size1, size2, size3,
    y_stride0, y_stride1, y_stride2, y_stride3, y_column_stride,
    x_stride0, x_stride1, x_stride2, x_stride3, x_column_stride, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK elements of one row."""
    row = tl.program_id(0) // n_blocks
    columns = (tl.program_id(0) % n_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x_ptr += row_offset(row, size1, size2, size3, x_stride0, x_stride1, x_stride2, x_stride3)
    y_ptr += row_offset(row, size1, size2, size3, y_stride0, y_stride1, y_stride2, y_stride3)
    mask = columns < n_cols
    x = tl.load(x_ptr + columns * x_column_stride, mask=mask)
    tl.store(y_ptr + columns * y_column_stride, x.to(y_ptr.dtype.element_ty), mask=mask)


def bind_copy(name: str, y: Layout, y_strides: Shape, x: Layout) -> tuple[Callable[..., None], Any]:
    """The launch (y, x) that copies all of x to where `y_strides` lead in y."""
    sizes, (to, source) = collapse(x.shape, [y_strides, x.strides])
    if not sizes:
        sizes, to, source = (1,), (1,), (1,)
    # The dimension with the smallest step in y is the one to run along.
    dim = min(range(len(sizes)), key=lambda d: (abs(to[d]), abs(source[d])))
    rows = levels(name, without(sizes, dim), [without(to, dim), without(source, dim)])
    choice = copy_rows.choose(x.device.type, dtype=x.dtype.name, n_cols=sizes[dim])
    n_blocks = ceil_divide(sizes[dim], choice["BLOCK"])
    values = {
        "n_cols": sizes[dim], "n_blocks": n_blocks, "y_column_stride": to[dim],
        "x_column_stride": source[dim], **rows.values("y", "x"), **choice,
    }  # fmt: skip
    operands = {"y_ptr": y, "x_ptr": x}
    return copy_rows.bind(x.device, (rows.count * n_blocks,), operands, values)


def plan_cat(inputs: Sequence[Layout], dim: int, out: Dtype, y: Layout | None = None) -> Plan:
    """y = the inputs, one behind the other along `dim`; launch(y, *inputs). y is of dtype
    `out`, and contiguous, or channels_last if all inputs are, unless given.

    Raises:
        ShapeError: shapes differ in another dimension. (An empty 1-d input is skipped, as in
            PyTorch.)
    """
    kept = [x for x in inputs if x.shape != (0,)] or [inputs[0]]
    first = kept[0]
    dim = normalize_dim("cat", dim, first.ndim)
    for x in kept:
        if x.ndim != first.ndim or without(x.shape, dim) != without(first.shape, dim):
            raise ShapeError(
                f"cat: Sizes of tensors must match except in dimension {dim}; got {first.shape} "
                "and "
                f"{x.shape}. Reshape or slice one of them."
            )
    size = sum(x.shape[dim] for x in kept)
    shape = (*first.shape[:dim], size, *first.shape[dim + 1 :])
    if y is None and all(keeps_channels_last(x) for x in kept):
        y = dense_in_format(shape, out, next((x for x in kept if is_channels_last(x)), first))
    elif y is None:
        y = Layout.contiguous(out, shape, first.device)
    launches: list[tuple[Callable[..., None], int, int]] = []
    kernels: list[Any] = []
    start = 0
    for place, x in enumerate(inputs):
        if x.shape == (0,) or x.numel == 0:
            continue
        launch, compiled = bind_copy("cat", y, y.strides, x)
        launches.append((launch, start * y.strides[dim] * out.itemsize, place))
        kernels.append(compiled)
        start += x.shape[dim]

    def run(y_address: int, *addresses: int) -> None:
        for launch, offset, place in launches:
            launch(y_address + offset, addresses[place])

    return Plan((y,), run, kernels)


def plan_stack(inputs: Sequence[Layout], dim: int, out: Dtype) -> Plan:
    """y = the inputs along a new dimension `dim`, and laid out as cat's result is that has them
    along the dimension there, as in PyTorch; launch(y, *inputs).
    """
    first = inputs[0]
    dim = normalize_dim("stack", dim, first.ndim + 1)
    for x in inputs:
        if x.shape != first.shape:
            raise ShapeError(
                f"stack: stack expects each tensor to be equal size, but got {first.shape} and "
                f"{x.shape}. "
                "Reshape or expand one of them."
            )
    expanded = [
        Layout.of(
            x.dtype,
            (*x.shape[:dim], 1, *x.shape[dim:]),
            (*x.strides[:dim], 1, *x.strides[dim:]),
            x.device,
        )
        for x in inputs
    ]
    shape = (*first.shape[:dim], len(inputs), *first.shape[dim:])
    y = Layout.contiguous(out, shape, first.device)
    if dim < first.ndim and all(keeps_channels_last(x) for x in inputs):
        joined = (*first.shape[:dim], len(inputs) * first.shape[dim], *first.shape[dim + 1 :])
        strides = dense_in_format(joined, out, first).strides
        step = first.shape[dim] * strides[dim]
        y = Layout.of(out, shape, (*strides[:dim], step, *strides[dim:]), first.device)
    return plan_cat(expanded, dim, out, y)
