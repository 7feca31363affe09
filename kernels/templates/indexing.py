"""Reading and writing through index tensors: gather, scatter, advanced indexing and their
gradients.

All are one scheme. An index element i and an element r of the rest meet at
    x[base(i) + index(i) * step + rest(r)]
where `rest` runs over the dimensions that no index replaces (advanced indexing), or over nothing
(gather, scatter: there `base` holds the other coordinates of i). Several index tensors are first
combined into one of element offsets.

Writes that may meet (accumulation, duplicates) are made in order on the CPU: the places that cannot
meet are lanes and programs, each walks through the indices in their order. No atomics, the same
sums on every run, and the last of several writes to one place wins. On a GPU additions are atomic:
their order, and with it the last bits, may vary, as PyTorch's do; where they must not, places are
sorted and runs of equal ones summed (`runs`).

Negative indices count from the end. An index out of bounds raises IndexError on the CPU after the
launch; nothing is read or written for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.strides import dense_like
from tritorch.kernels.templates.bounds import IndexCell, out_of_bounds
from tritorch.kernels.templates.indexing_access import Access, Writes
from tritorch.kernels.templates.indexing_kernels import (
    combine_index,
)
from tritorch.kernels.templates.rows import ceil_divide, levels
from tritorch.layout import (
    Layout,
    Shape,
    broadcast_shapes,
    broadcast_strides,
    contiguous_strides,
    normalize_dim,
    numel,
)

MODES = ("set", "add", "multiply", "amax", "amin")


def _is_atomic(mode: str, dtype: Dtype) -> bool:
    """Whether GPUs can do it at once, whoever else writes there: setting a value, adding numbers of
    32 bits or more and floats of 16, extremes of 32 bits or more.
    """
    if mode == "add":
        return dtype.itemsize >= 4 or (dtype.itemsize == 2 and dtype.is_floating_point)
    return mode == "set" or (mode != "multiply" and dtype.itemsize >= 4)


def _check_index(name: str, index: Layout) -> None:
    if index.dtype not in (dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.int8, dtypes.int16):
        raise DtypeError(f"{name}: expected an index of int64, got {index.dtype}. Cast it.")


def _checked_mode(name: str, mode: str, kind: Dtype) -> str:
    """The mode; the sum of truth values is their maximum."""
    if mode not in MODES:
        raise ValueError(f"{name}: mode must be one of {', '.join(MODES)}; got {mode!r}.")
    return "amax" if mode == "add" and kind is dtypes.bool else mode


def _row(layout: Layout) -> Layout:
    """A tensor of no dimensions as one element of one."""
    return layout if layout.ndim else Layout.contiguous(layout.dtype, (1,), layout.device)


def plan_gather(x: Layout, dim: int, index: Layout, *, negative: bool = True) -> Plan:
    """y[i, j, k] = x[index[i, j, k], j, k] (for dim 0); launch(y, x, index).

    Args:
        index: of x's rank; sizes apart from `dim` are at most x's. y has its shape, contiguous.
        negative: whether negative indices count from the end or are out of bounds.
    """
    result = y = Layout.contiguous(x.dtype, index.shape, x.device)
    x, index, y = _row(x), _row(index), _row(y)
    dim = _check_along("gather", x, dim, index)
    if y.numel == 0:
        return Plan((result,), nothing)
    cell = IndexCell(out_of_bounds("gather", dim, x.shape[dim]), x.device)
    access = _along("gather", x, dim, index, y)
    access.negative = negative
    launch, compiled = access.read(cell)
    return Plan((result,), cell.checked(launch), [compiled])


def plan_scatter(
    x: Layout, dim: int, index: Layout, source: Layout, *, mode: str = "set", ordered: bool = False,
    negative: bool = True,
) -> Plan:  # fmt: skip
    """x[index[i, j, k], j, k] = source[i, j, k] (for dim 0), in place; launch(x, index, source).

    Args:
        source: at least index's sizes; expand a scalar with strides of 0.
        mode: set, add, multiply, amax or amin: how source meets what stands in x.
        ordered: in a fixed order on a GPU too.
        negative: whether negative indices count from the end or are out of bounds.
    """
    mode = _checked_mode("scatter", mode, x.dtype)
    x, index, source = _row(x), _row(index), _row(source)
    dim = _check_along("scatter", x, dim, index)
    if any(s < i for s, i in zip(source.shape, index.shape)) or source.ndim != index.ndim:
        raise ShapeError(
            f"scatter: Expected index {index.shape} to be no larger than src {source.shape} "
            "in every dimension."
        )
    if index.numel == 0:
        return Plan((), nothing)
    cell = IndexCell(out_of_bounds("scatter", dim, x.shape[dim]), x.device)
    access = _along("scatter", x, dim, index, source)
    access.negative = negative
    if ordered or x.device.type == "cpu" or not _is_atomic(mode, x.dtype):
        return access.write_in_order(cell, mode, [dim] if index.ndim else []).plan(x.device)
    launch, compiled = access.write(cell, mode)
    return Plan((), cell.checked(launch), [compiled])


def _check_along(name: str, x: Layout, dim: int, index: Layout) -> int:
    _check_index(name, index)
    dim = normalize_dim(name, dim, x.ndim)
    if index.ndim != x.ndim or any(
        i > s for d, (i, s) in enumerate(zip(index.shape, x.shape)) if d != dim
    ):
        raise ShapeError(
            f"{name}: Size does not match: index {index.shape} must have the rank of the tensor "
            f"{x.shape} "
            f"and, apart from dimension {dim}, sizes that are no larger."
        )
    return dim


def _along(name: str, x: Layout, dim: int, index: Layout, other: Layout) -> Access:
    if x.ndim == 0:
        return Access(name, x, index, other, 1, 0)
    access = Access(name, x, index, other, x.shape[dim], x.strides[dim])
    access.x_strides = (tuple(0 if d == dim else s for d, s in enumerate(x.strides)), ())
    return access


class _Advanced:
    """x[index0, :, index1, ...]: where the index's dimensions and the rest go in the result."""

    def __init__(self, name: str, x: Layout, indices: Sequence[Layout | None]) -> None:
        if len(indices) > x.ndim:
            raise IndexError(
                f"too many indices for tensor of dimension {x.ndim} (got {len(indices)})"
            )
        self.name, self.x = name, x
        self.dims = [d for d, index in enumerate(indices) if index is not None]
        self.indices = [index for index in indices if index is not None]
        for index in self.indices:
            _check_index(name, index)
        try:
            self.index_shape = broadcast_shapes(name, *(index.shape for index in self.indices))
        except ShapeError as error:
            shapes = ", ".join(str(list(index.shape)) for index in self.indices)
            raise IndexError(
                f"shape mismatch: indexing tensors could not be broadcast together with shapes "
                f"{shapes}"
            ) from error
        rest = [d for d in range(x.ndim) if d not in self.dims]
        adjacent = self.dims == list(range(self.dims[0], self.dims[-1] + 1))
        #: how many dimensions of the rest stand before the index's
        self.before = self.dims[0] if adjacent else 0
        self.rest_shape = tuple(x.shape[d] for d in rest)
        self.rest_strides = tuple(x.strides[d] for d in rest)
        self.shape = (
            self.rest_shape[: self.before] + self.index_shape + self.rest_shape[self.before :]
        )
        self.cells = [
            IndexCell(
                f"index {{index}} is out of bounds for dimension {d} with size {x.shape[d]}",
                x.device,
                name,
            )
            for d in self.dims
        ]

    def walked(self) -> list[Shape]:
        """Strides of x and of the indices over the result's dimensions."""
        n, rest = self.before, self.rest_strides
        before, after = (0,) * n, (0,) * (len(rest) - n)
        found = [(*rest[:n], *(0,) * len(self.index_shape), *rest[n:])]
        for index in self.indices:
            strides = broadcast_strides(index.shape, index.strides, self.index_shape)
            found.append((*before, *strides, *after))
        return found

    def access(self, other: Layout, strides: Shape) -> Access:
        """The access of one index, or of the combined one; `strides`: other's over the result's
        shape.
        """
        n = self.before
        end = n + len(self.index_shape)
        if len(self.indices) == 1:
            (index,), (dim,) = self.indices, self.dims
            access = Access(self.name, self.x, index, other, self.x.shape[dim], self.x.strides[dim])
        else:
            index = Layout.contiguous(dtypes.int64, self.index_shape, self.x.device)
            access = Access(self.name, self.x, index, other, 0, 1)
            access.wrap = False
        access.rest_shape = self.rest_shape
        access.x_strides = ((0,) * len(self.index_shape), self.rest_strides)
        access.other_strides = (strides[n:end], strides[:n] + strides[end:])
        return access

    def combine(self, first_place: int) -> tuple[list[Step], list[Any]]:
        """The launches that put element offsets into workspace 0, index by index."""
        steps, kernels = [], []
        for j, (index, dim, cell) in enumerate(zip(self.indices, self.dims, self.cells)):
            strides = broadcast_strides(index.shape, index.strides, self.index_shape)
            rows = levels(self.name, self.index_shape, [strides])
            choice = combine_index.choose(self.x.device.type)
            values = {
                "cell_ptr": cell.address, "n_index": rows.count, "bound": self.x.shape[dim],
                "step": self.x.strides[dim], "FIRST": j == 0, **rows.values("index"), **choice,
            }  # fmt: skip
            operands: dict[str, Any] = {
                "offsets_ptr": dtypes.int64, "index_ptr": index, "cell_ptr": dtypes.int64,
            }  # fmt: skip
            grid = (ceil_divide(rows.count, choice["BLOCK"]),)
            launch, compiled = combine_index.bind(self.x.device, grid, operands, values)
            steps.append(Step(cell.checked(launch), (-1, first_place + j)))
            kernels.append(compiled)
        return steps, kernels

    def plan(
        self,
        outputs: Sequence[Layout],
        main: Writes,
        index_place: int,
        **places: int,
    ) -> Plan:
        """`main` alone, or after the combination; `places`: of its arguments but the index."""
        from tritorch.runtime import get_target

        if len(self.indices) == 1 and len(main.launches) == 1:
            return Plan(outputs, main.launches[0][0], main.kernels)
        steps: list[Step] = []
        kernels: list[Any] = []
        workspaces = [main.nbytes]
        index = index_place
        if len(self.indices) > 1:
            steps, kernels = self.combine(index_place)
            workspaces, index = [8 * numel(self.index_shape), main.nbytes], -1
        steps += main.steps(len(workspaces) - 1, index=index, **places)
        kernels += main.kernels
        if not main.nbytes:
            workspaces.pop()
        target = get_target(self.x.device)
        return Plan.of_steps(outputs, target, steps, workspaces, kernels)


def plan_index(x: Layout, indices: Sequence[Layout | None], *, negative: bool = True) -> Plan:
    """y = x[indices]; launch(y, x, *indices that are not None).

    Args:
        indices: for each leading dimension of x an integer layout or None (a whole slice); at least
            one.
        negative: whether negative values of a single index count from the end.
    Returns:
        y: NumPy's shape rule (the indices' common shape stands at the first indexed dimension if
        they are adjacent, else in front). Dense, its dimensions in the order of x's and the
        indices'; contiguous unless `negative`, as what PyTorch selects along one dimension.
    """
    advanced = _Advanced("index", x, indices)
    y = Layout.contiguous(x.dtype, advanced.shape, x.device)
    if negative:
        y = dense_like(x.dtype, advanced.shape, advanced.walked(), x.device)
    if y.numel == 0:
        return Plan((y,), nothing)
    cell = advanced.cells[0]
    access = advanced.access(y, y.strides)
    access.negative = negative
    launch, compiled = access.read(cell)
    main = Writes([(cell.checked(launch), ("y", "x", "index"))], [compiled])
    return advanced.plan((y,), main, 2, y=0, x=1)


def plan_index_put(
    x: Layout, indices: Sequence[Layout | None], values: Layout, *, mode: str = "set",
    ordered: bool = False, negative: bool = True,
) -> Plan:  # fmt: skip
    """x[indices] = values, in place; launch(x, *indices that are not None, values).

    Args:
        values: broadcasts to the shape of x[indices].
        mode: set (duplicates: the last one on the CPU), add, multiply, amax, amin.
        ordered: in a fixed order on a GPU too.
        negative: whether negative indices count from the end or are out of bounds.
    """
    mode = _checked_mode("index_put", mode, x.dtype)
    advanced = _Advanced("index_put", x, indices)
    if broadcast_shapes("index_put", values.shape, advanced.shape) != advanced.shape:
        raise ShapeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            "indexing "
            f"result of shape {list(advanced.shape)}"
        )
    n_indices = len(advanced.indices)
    if 0 in advanced.shape:
        return Plan((), nothing)
    strides = broadcast_strides(values.shape, values.strides, advanced.shape)
    access = advanced.access(values, strides)
    access.negative = negative
    cell = advanced.cells[0]
    if ordered or x.device.type == "cpu" or not _is_atomic(mode, x.dtype):
        main = access.write_in_order(cell, mode, range(len(advanced.index_shape)))
    else:
        launch, compiled = access.write(cell, mode)
        main = Writes([(cell.checked(launch), ("x", "index", "source"))], [compiled])
    return advanced.plan((), main, 1, x=0, source=1 + n_indices)


def plan_index_select(x: Layout, dim: int, index: Layout) -> Plan:
    """y = x with the indices' slices along `dim`; launch(y, x, index). index: 1-d or 0-d."""
    dim = normalize_dim("index_select", dim, x.ndim)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.ndim == 0:
        index = Layout.of(index.dtype, (1,), (1,), index.device)
    if x.ndim == 0:
        x = Layout.of(x.dtype, (1,), (1,), x.device)
    return plan_index(x, [*[None] * dim, index])


def plan_take(x: Layout, index: Layout) -> Plan:
    """y[i] = the index[i]-th element of x in row-major order; launch(y, x, index)."""
    if not x.is_contiguous:
        raise ShapeError(f"take: needs a contiguous tensor, got {x}. Call contiguous() first.")
    flat = Layout.of(x.dtype, (x.numel,), contiguous_strides((x.numel,)), x.device)
    return plan_index(flat, [index])
