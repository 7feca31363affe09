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
from typing import Any, NamedTuple

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.plan import Launch, Plan, Step, nothing
from tritorch.kernels.strides import dense_like
from tritorch.kernels.templates.bounds import IndexCell, out_of_bounds
from tritorch.kernels.templates.embedding import embedding_rows, plan_zero
from tritorch.kernels.templates.indexing_kernels import (
    add_parts,
    combine_index,
    read_columns,
    read_indexed,
    write_in_order,
    write_indexed,
)
from tritorch.kernels.templates.rows import LEVELS, Rows, ceil_divide, levels, without
from tritorch.kernels.templates.runs import Sums, plan_sums
from tritorch.kernels.templates.template import Template
from tritorch.layout import (
    Layout,
    Shape,
    broadcast_shapes,
    broadcast_strides,
    collapse,
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


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in values.items()}


class _Access:
    """Where one index (given or combined) leads: the two groups of dimensions and their strides."""

    def __init__(
        self, name: str, x: Layout, index: Layout, other: Layout, bound: int, step: int
    ) -> None:
        self.name, self.x, self.index, self.other = name, x, index, other
        self.bound, self.step = bound, step
        self.index_shape: Shape = index.shape
        self.rest_shape: Shape = ()
        n_index = len(index.shape)
        #: strides over the index's dimensions, then over the rest's
        self.x_strides: tuple[Shape, Shape] = ((0,) * n_index, ())
        self.other_strides: tuple[Shape, Shape] = (other.strides, ())
        self.wrap = True
        #: whether negative indices count from the end
        self.negative = True

    @property
    def lift(self) -> int:
        return self.bound if self.negative else 0

    def read(self, cell: IndexCell) -> tuple[Any, Any]:
        """The launch (y, x, index)."""
        if self.x.device.type == "cpu":
            alone = numel(self.rest_shape) == 1
            found = self._read_columns(cell, SHORT) if alone else None
            if found is None and self.wrap:
                found = self._read_rows(cell)
            if found is None and not alone:
                found = self._read_columns(cell, _SHORT_REST)
            if found is not None:
                return found
        return self._bind(read_indexed, "y", {"y_ptr": self.other, "x_ptr": self.x}, cell, {})

    def _read_columns(self, cell: IndexCell, short: int) -> tuple[Any, Any] | None:
        """One element for each index, along rows of the result; None if the rows are short.

        Along the dimensions of the rest the index stands still.
        """
        y = (*self.other_strides[1], *self.other_strides[0])
        x = (*self.x_strides[1], *self.x_strides[0])
        index = (*(0,) * len(self.rest_shape), *self.index.strides)
        shape = (*self.rest_shape, *self.index_shape)
        order = sorted(range(len(shape)), key=lambda d: -abs(y[d]))
        sizes, merged = collapse(
            tuple([shape[d] for d in order]), [tuple([s[d] for d in order]) for s in (y, x, index)]
        )
        if not sizes or sizes[-1] < short or len(sizes) > LEVELS + 1:
            return None
        last = len(sizes) - 1
        rows = levels(self.name, without(sizes, last), [without(s, last) for s in merged])
        choice = read_columns.choose("cpu", dtype=self.x.dtype.name, n_columns=sizes[last])
        n_blocks = ceil_divide(sizes[last], choice["BLOCK"])
        values = rows.values("y", "x", "index") | choice
        values |= {
            "n_columns": sizes[last], "n_blocks": n_blocks, "bound": self.bound, "lift": self.lift,
            "step_size": self.step, "y_column_stride": merged[0][last],
            "x_column_stride": merged[1][last], "index_column_stride": merged[2][last],
            "WRAP": self.wrap, "cell_ptr": cell.address,
            "NARROW": self.wrap and self.bound * abs(self.step) < 1 << 31,
        }  # fmt: skip
        operands: dict[str, Any] = {
            "y_ptr": self.other, "x_ptr": self.x, "index_ptr": self.index,
            "cell_ptr": dtypes.int64,
        }  # fmt: skip
        return read_columns.bind(self.x.device, (rows.count * n_blocks,), operands, values)

    def _read_rows(self, cell: IndexCell) -> tuple[Any, Any] | None:
        """Whole rows of a table, as `embedding` looks them up; None if the rest is none."""
        columns, (y, x) = collapse(self.rest_shape, [self.other_strides[1], self.x_strides[1]])
        counts, (y_rows,) = collapse(self.index_shape, [self.other_strides[0]])
        if len(columns) != 1 or len(counts) != 1 or y != (1,) or columns[0] < SHORT:
            return None
        if any(self.x_strides[0]):
            return None
        choice = embedding_rows.choose("cpu", dtype=self.x.dtype.name, n_columns=columns[0])
        n_blocks = ceil_divide(columns[0], choice["BLOCK_COLUMNS"])
        rows = levels(self.name, self.index_shape, [self.index.strides])
        values = rows.values("index") | choice
        values |= {
            "n_index": counts[0], "n_rows": self.bound, "n_columns": columns[0],
            "n_blocks": n_blocks, "y_row_stride": y_rows[0], "w_row_stride": self.step,
            "w_column_stride": x[0], "lift": self.lift, "cell_ptr": cell.address,
        }  # fmt: skip
        operands: dict[str, Any] = {
            "y_ptr": self.other, "w_ptr": self.x, "index_ptr": self.index,
            "cell_ptr": dtypes.int64,
        }  # fmt: skip
        grid = (ceil_divide(counts[0], choice["BLOCK_ROWS"]) * n_blocks,)
        return embedding_rows.bind(self.x.device, grid, operands, values)

    def write(self, cell: IndexCell, mode: str) -> tuple[Any, Any]:
        """The launch (x, index, source)."""
        operands = {"x_ptr": self.x, "source_ptr": self.other}
        return self._bind(write_indexed, "source", operands, cell, {"MODE": mode})

    def _groups(self, other: str) -> tuple[Rows, Rows, dict[str, Any]]:
        outer = levels(
            self.name,
            self.index_shape,
            [self.other_strides[0], self.x_strides[0], self.index.strides],
        )
        rest = levels(self.name, self.rest_shape, [self.other_strides[1], self.x_strides[1]])
        values = outer.values(other, "x", "index")
        values |= _prefixed("rest_", rest.values(other, "x"))
        return outer, rest, values

    def _bind(
        self,
        template: Template,
        other: str,
        operands: dict[str, Any],
        cell: IndexCell,
        values: dict[str, Any],
    ) -> tuple[Any, Any]:
        outer, rest, strides = self._groups(other)
        choice = template.choose(self.x.device.type, dtype=self.x.dtype.name, n_rest=rest.count)
        n_blocks = ceil_divide(rest.count, choice["BLOCK"])
        if choice["FLAT"]:
            n_blocks = 1
            grid = ceil_divide(outer.count * rest.count, choice["BLOCK"])
        else:
            grid = outer.count * n_blocks
        values = values | strides | choice
        values |= {
            "n_index": outer.count, "rest_size": rest.count, "n_blocks": n_blocks,
            "bound": self.bound, "lift": self.lift,
            "step": self.step, "WRAP": self.wrap, "cell_ptr": cell.address,
        }  # fmt: skip
        operands = operands | {"index_ptr": self.index, "cell_ptr": dtypes.int64}
        return template.bind(self.x.device, (grid,), operands, values)

    def write_in_order(self, cell: IndexCell, mode: str, sequence: Sequence[int]) -> _Writes:
        """The launches of ordered writes; `sequence`: the index's dimensions along which writes may
        meet.
        """
        alone = len(sequence) == len(self.index_shape)
        if self.x.device.type != "cpu" and mode == "add" and alone and sequence:
            plan = plan_sums(self._sums(), cell)
            return _Writes([(plan.launch, ("x", "index", "source"))], list(plan.kernels))
        apart = [d for d in range(len(self.index_shape)) if d not in sequence]

        def pick(values: Shape, dims: Sequence[int]) -> Shape:
            return tuple(values[d] for d in dims)

        order = levels(
            self.name,
            pick(self.index_shape, sequence),
            [pick(self.index.strides, sequence), pick(self.other_strides[0], sequence)],
        )
        shape = pick(self.index_shape, apart) + self.rest_shape
        x_strides = pick(self.x_strides[0], apart) + self.x_strides[1]
        places = _places(self, shape, x_strides)
        n_parts = _parts(mode, order.count, shape, self.bound) if places is not None else 1
        step, part_stride = self.step, 0
        x: Layout | Dtype = self.x
        first = "x"
        if n_parts > 1:
            x, first = self.x.dtype.compute, "parts"
            lanes = contiguous_strides(shape)
            lane_strides, step, part_stride = lanes, numel(shape), numel(shape) * self.bound
        else:
            lane_strides = x_strides
        lane = levels(
            self.name,
            shape,
            [
                lane_strides,
                pick(self.index.strides, apart) + (0,) * len(self.rest_shape),
                pick(self.other_strides[0], apart) + self.other_strides[1],
            ],
        )
        choice = write_in_order.choose(
            self.x.device.type, dtype=self.x.dtype.name, n_lanes=lane.count,
            neighbours=_neighbours(lane),
        )  # fmt: skip
        values = order.values("index", "source")
        values |= _prefixed("lane_", lane.values("x", "index", "source")) | choice
        values |= {
            "n_sequence": order.count, "n_lanes": lane.count, "bound": self.bound,
            "lift": self.lift, "step_size": step,
            "part_size": ceil_divide(order.count, n_parts), "part_stride": part_stride,
            "MODE": mode, "WRAP": self.wrap, "cell_ptr": cell.address,
            "UNIFORM": not any(pick(self.index.strides, apart)),
            "THREADS": self.x.device.type != "cpu",
        }  # fmt: skip
        operands: dict[str, Any] = {
            "x_ptr": x, "index_ptr": self.index, "source_ptr": self.other,
            "cell_ptr": dtypes.int64,
        }  # fmt: skip
        grid = (ceil_divide(lane.count, choice["BLOCK"] or 1), n_parts)
        launch, compiled = write_in_order.bind(self.x.device, grid, operands, values)
        launch = cell.checked(launch)
        if n_parts == 1 or places is None:
            return _Writes([(launch, ("x", "index", "source"))], [compiled])
        kind = self.x.dtype.compute
        parts = Layout.contiguous(kind, (n_parts * part_stride,), self.x.device)
        zero = plan_zero(parts)
        total = add_parts.choose(self.x.device.type, dtype=self.x.dtype.name) | places.values("x")
        total |= {"n_places": places.count, "PARTS": n_parts}
        count = ceil_divide(places.count, total["BLOCK"])
        add, summed = add_parts.bind(
            self.x.device, (count,), {"x_ptr": self.x, "parts_ptr": kind}, total
        )
        return _Writes(
            [
                (zero.launch, ("parts",)),
                (launch, (first, "index", "source")),
                (add, ("x", "parts")),
            ],
            [*zero.kernels, compiled, summed],
            parts.nbytes,
        )

    def _sums(self) -> Sums:
        bound, step = (self.bound, self.step) if self.wrap else (self.x.extent, 1)
        return Sums(
            self.name, self.x, self.index, self.other, self.index_shape, self.other_strides,
            self.rest_shape, self.x_strides[1], bound, step, self.lift if self.wrap else None,
        )  # fmt: skip


#: rows of fewer indices share programs
SHORT = 64
#: the same where the index stands still along some dimensions
_SHORT_REST = 16
#: into how many parts a long sequence is cut; fixed, so that sums do not depend on the threads
PARTS = 8


def _places(access: _Access, lanes: Shape, x_strides: Shape) -> Rows | None:
    """Everything that may be written to, lanes fastest; None if it has too many levels."""
    shape = (access.bound, *lanes)
    try:
        return levels(access.name, shape, [(access.step, *x_strides)])
    except ShapeError:
        return None


def _parts(mode: str, n_sequence: int, lanes: Shape, bound: int) -> int:
    """In how many parts the sequence is added up: several where the lanes leave threads idle and
    the places are few against the additions.
    """
    n_lanes = numel(lanes)
    if mode != "add" or n_lanes >= 256 or n_sequence * n_lanes < 1 << 16:
        return 1
    return PARTS if 0 < 2 * PARTS * bound <= n_sequence else 1


def _neighbours(lane: Rows) -> bool:
    """Whether successive lanes are successive in memory (or the same)."""
    last = max((level for level in range(len(lane.sizes)) if lane.sizes[level] > 1), default=0)
    x, index, source = (strides[last] for strides in lane.strides)
    return x == 1 and index in (0, 1) and source in (0, 1) and lane.sizes[last] >= 8


class _Writes(NamedTuple):
    """Launches with the names of their arguments (x, index, source, parts), in order."""

    launches: list[tuple[Launch, tuple[str, ...]]]
    kernels: list[Any]
    #: bytes of the workspace `parts`
    nbytes: int = 0

    def steps(self, workspace: int, **places: int) -> list[Step]:
        places["parts"] = -1 - workspace
        return [Step(launch, tuple(places[n] for n in names)) for launch, names in self.launches]

    def plan(self, device: Device) -> Plan:
        """launch(x, index, source)."""
        if len(self.launches) == 1:
            return Plan((), self.launches[0][0], self.kernels)
        from tritorch.runtime import get_target

        steps = self.steps(0, x=0, index=1, source=2)
        return Plan.of_steps((), get_target(device), steps, [self.nbytes], self.kernels)


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


def _along(name: str, x: Layout, dim: int, index: Layout, other: Layout) -> _Access:
    if x.ndim == 0:
        return _Access(name, x, index, other, 1, 0)
    access = _Access(name, x, index, other, x.shape[dim], x.strides[dim])
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

    def access(self, other: Layout, strides: Shape) -> _Access:
        """The access of one index, or of the combined one; `strides`: other's over the result's
        shape.
        """
        n = self.before
        end = n + len(self.index_shape)
        if len(self.indices) == 1:
            (index,), (dim,) = self.indices, self.dims
            access = _Access(
                self.name, self.x, index, other, self.x.shape[dim], self.x.strides[dim]
            )
        else:
            index = Layout.contiguous(dtypes.int64, self.index_shape, self.x.device)
            access = _Access(self.name, self.x, index, other, 0, 1)
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
        main: _Writes,
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
    main = _Writes([(cell.checked(launch), ("y", "x", "index"))], [compiled])
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
        main = _Writes([(cell.checked(launch), ("x", "index", "source"))], [compiled])
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
