"""How one index meets a tensor (`indexing`): both walks, and the launches of reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import ShapeError
from tritorch.kernels.plan import Launch, Plan, Step
from tritorch.kernels.templates.bounds import IndexCell
from tritorch.kernels.templates.embedding import embedding_rows, plan_zero
from tritorch.kernels.templates.indexing_kernels import (
    add_parts,
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
    collapse,
    contiguous_strides,
    numel,
)


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in values.items()}


class Access:
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

    def write_in_order(self, cell: IndexCell, mode: str, sequence: Sequence[int]) -> Writes:
        """The launches of ordered writes; `sequence`: the index's dimensions along which writes may
        meet.
        """
        alone = len(sequence) == len(self.index_shape)
        if self.x.device.type != "cpu" and mode == "add" and alone and sequence:
            plan = plan_sums(self._sums(), cell)
            return Writes([(plan.launch, ("x", "index", "source"))], list(plan.kernels))
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
            return Writes([(launch, ("x", "index", "source"))], [compiled])
        kind = self.x.dtype.compute
        parts = Layout.contiguous(kind, (n_parts * part_stride,), self.x.device)
        zero = plan_zero(parts)
        total = add_parts.choose(self.x.device.type, dtype=self.x.dtype.name) | places.values("x")
        total |= {"n_places": places.count, "PARTS": n_parts}
        count = ceil_divide(places.count, total["BLOCK"])
        add, summed = add_parts.bind(
            self.x.device, (count,), {"x_ptr": self.x, "parts_ptr": kind}, total
        )
        return Writes(
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


def _places(access: Access, lanes: Shape, x_strides: Shape) -> Rows | None:
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


class Writes(NamedTuple):
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
