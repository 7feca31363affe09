"""Plans of batch norm: the kernels of `batch_norm_kernels` on tensors of any number of dimensions.

A tensor is seen as N x C x S. Every operand has its own strides; the spatial dimensions of each
must merge into one (`merges` tells; call contiguous() where not).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.plan import Plan, Step, nothing
from tritorch.kernels.strides import dense_in_format
from tritorch.kernels.templates.batch_norm_kernels import (
    batch_norm_backward_fused,
    batch_norm_fused,
    input_gradient_tiles,
    merge_gradients,
    merge_moments,
    normalise_tiles,
    partial_gradients,
    partial_moments,
)
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.kernels.templates.template import Template
from tritorch.layout import Layout, collapse, numel

#: elements of a tile; channels of a column tile
TILE = {"cpu": 4096, "cuda": 2048}
CHANNELS = {"cpu": 64, "cuda": 32}
#: groups of tiles that share out a channel when there are few channels
GROUPS = {"cpu": 32, "cuda": 128}
#: programs from which on a channel is left to one, and elements of a channel block below which
#: splitting does not pay
ENOUGH = {"cpu": 12, "cuda": 128}
SMALL = 16_384
#: channels of a program that merges groups
_MERGED = 64


def merges(x: Layout) -> bool:
    """Whether the spatial dimensions can be walked as one."""
    return x.ndim >= 2 and len(collapse(x.shape[2:], [x.strides[2:]])[0]) <= 1


class _Grid(NamedTuple):
    """How a tensor of N x C x S is cut into tiles, by its main operand."""

    n: int
    c: int
    s: int
    planes: bool
    rows: int
    cols: int
    target: str

    @property
    def s_tiles(self) -> int:
        return ceil_divide(self.s, self.cols if self.planes else self.rows)

    @property
    def n_tiles(self) -> int:
        """Tiles of a channel."""
        return self.s_tiles * (ceil_divide(self.n, self.rows) if self.planes else self.n)

    @property
    def c_blocks(self) -> int:
        return self.c if self.planes else ceil_divide(self.c, self.cols)

    @property
    def is_fused(self) -> bool:
        small = self.n * self.s * (1 if self.planes else self.cols) <= SMALL
        return self.n_tiles == 1 or small or self.c_blocks >= ENOUGH[self.target]

    def groups(self, enough: int) -> tuple[int, int]:
        """(groups, tiles of each) that make about `enough` programs."""
        wanted = max(ceil_divide(enough, self.c_blocks), 1)
        tiles = ceil_divide(self.n_tiles, wanted)
        return ceil_divide(self.n_tiles, tiles), tiles

    def values(self) -> dict[str, Any]:
        return {
            "n": self.n, "c": self.c, "s": self.s, "s_tiles": self.s_tiles,
            "n_tiles": self.n_tiles, "PLANES": self.planes, "ROWS": self.rows, "COLS": self.cols,
        }  # fmt: skip


def _grid(name: str, operands: list[Layout]) -> tuple[_Grid, list[tuple[int, int, int]]]:
    """The tiles, and strides (n, c, s) of each operand."""
    first = operands[0]
    n, c, s = first.shape[0], first.shape[1], numel(first.shape[2:])
    strides = []
    for x in operands:
        if not merges(x):
            raise ShapeError(
                f"{name}: the spatial dimensions of {x} do not merge into one. Call contiguous() "
                "first."
            )
        _, (spatial,) = collapse(x.shape[2:], [x.strides[2:]])
        strides.append((x.strides[0], x.strides[1], spatial[0] if spatial else 0))
    target = first.device.type
    planes = s > 1 and not (strides[0][1] == 1 and c > 1 and strides[0][2] != 1)
    if planes:
        cols = min(next_power_of_2(s), TILE[target])
        rows = min(next_power_of_2(n), TILE[target] // cols)
    else:
        if s == 1:  # rows are samples
            n, s = 1, n
            strides = [(0, c_stride, n_stride) for n_stride, c_stride, _ in strides]
        elif all(n_stride == s * s_stride for n_stride, _, s_stride in strides):
            n, s = 1, n * s
        cols = min(next_power_of_2(c), CHANNELS[target])
        rows = min(next_power_of_2(s), TILE[target] // cols)
    return _Grid(n, c, s, planes, rows, cols, target), strides


def _stride_values(strides: list[tuple[int, int, int]], *prefixes: str) -> dict[str, Any]:
    return {
        f"{prefix}_{axis}_stride": stride
        for prefix, each in zip(prefixes, strides, strict=True)
        for axis, stride in zip("ncs", each)
    }


def _vector(
    operands: dict[str, Any], values: dict[str, Any], prefix: str, x: Layout | Dtype | None,
    strided: bool = True,
) -> None:  # fmt: skip
    """A vector of channels among operands and values, or its absence."""
    if x is None:
        values[f"{prefix}_ptr"] = None
    else:
        operands[f"{prefix}_ptr"] = x
    if strided:
        values[f"{prefix}_stride"] = x.strides[0] if isinstance(x, Layout) else 1


def _check(name: str, x: Layout) -> None:
    if not x.dtype.is_floating_point:
        raise DtypeError(f'"{name}" not implemented for {x.dtype}. Convert with .float().')


class _Steps:
    """Launches in sequence; arguments by name, `*` before the names of workspaces."""

    def __init__(self, x: Layout, names: list[str], workspaces: dict[str, int]) -> None:
        self.device = x.device
        self.place = {name: i for i, name in enumerate(names)}
        self.place |= {name: -1 - i for i, name in enumerate(workspaces)}
        self.sizes = list(workspaces.values())
        self.steps: list[Step] = []
        self.kernels: list[Any] = []

    def add(
        self, template: Template, grid: int, operands: dict[str, Any], values: dict[str, Any],
        scalars: dict[str, str],
    ) -> None:  # fmt: skip
        """Bind what of operands and values the kernel has."""
        known = template.parameters
        operands = {k: v for k, v in operands.items() if k in known}
        values = {k: v for k, v in values.items() if k in known}
        scalars = {k: v for k, v in scalars.items() if k in known}
        launch, compiled = template.bind(self.device, (grid,), operands, values, scalars=scalars)
        dynamic = [n for n in known if n in operands or (n in scalars and n not in values)]
        places = [self.place[name.removesuffix("_ptr")] for name in dynamic]
        self.steps.append(Step(launch, tuple(places)))
        self.kernels.append(compiled)

    def plan(self, outputs: list[Layout]) -> Plan:
        from tritorch.runtime import get_target

        target = get_target(self.device)
        return Plan.of_steps(outputs, target, self.steps, self.sizes, self.kernels)


def _output(x: Layout, dtype: Dtype | None = None) -> Layout:
    return dense_in_format(x.shape, dtype or x.dtype, x)


def plan(
    x: Layout,
    weight: Layout | None,
    bias: Layout | None,
    running_mean: Layout | None,
    running_var: Layout | None,
    eps: float,
) -> Plan:
    """y, mean, rstd with the statistics of x, which also move the running ones.

    launch(y, mean, rstd[, running_mean, running_var], x[, weight][, bias], momentum)
    """
    _check("batch_norm", x)
    y = _output(x)
    compute = x.dtype.compute
    statistic = Layout.contiguous(compute, (x.shape[1],), x.device)
    outputs = [y, statistic, statistic]
    if not x.numel:
        return Plan(outputs, nothing)
    grid, strides = _grid("batch_norm", [x, y])
    running = running_mean is not None and running_var is not None
    values: dict[str, Any] = {
        **grid.values(), **_stride_values(strides, "x", "y"), "eps": float(eps),
        "WEIGHT": weight is not None, "BIAS": bias is not None, "RUNNING": running,
        "VARIANCE": False, "c_blocks": grid.c_blocks, "mean_stride": 1, "rstd_stride": 1,
    }  # fmt: skip
    operands: dict[str, Any] = {
        "y_ptr": y, "mean_ptr": compute, "rstd_ptr": compute, "x_ptr": x,
        "means_ptr": compute, "squares_ptr": compute, "counts_ptr": compute,
    }  # fmt: skip
    for prefix, vector in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight),
        ("bias", bias),
    ):  # fmt: skip
        _vector(operands, values, prefix, vector)
    names = ["y", "mean", "rstd", *(["running_mean", "running_var"] if running else []), "x"]
    names += [*(["weight"] if weight else []), *(["bias"] if bias else []), "momentum"]
    scalars = {"eps": compute.triton, "momentum": compute.triton}
    if grid.is_fused:
        steps = _Steps(x, names, {})
        steps.add(batch_norm_fused, grid.c_blocks, operands, values, scalars)
        return steps.plan(outputs)
    groups, tiles = grid.groups(GROUPS[grid.target])
    values |= {"tiles_per_group": tiles, "n_groups": groups}
    size = groups * grid.c * compute.itemsize
    workspaces = {"means": size, "squares": size, "counts": groups * compute.itemsize}
    steps = _Steps(x, names, workspaces)
    steps.add(partial_moments, groups * grid.c_blocks, operands, values, scalars)
    merged = values | {"COLS": _MERGED}
    steps.add(merge_moments, ceil_divide(grid.c, _MERGED), operands, merged, scalars)
    steps.add(normalise_tiles, groups * grid.c_blocks, operands, values, scalars)
    return steps.plan(outputs)


def plan_given(
    x: Layout, mean: Layout, var: Layout, weight: Layout | None, bias: Layout | None, eps: float
) -> Plan:
    """y with given mean and variance; launch(y, x, mean, var[, weight][, bias])."""
    _check("batch_norm", x)
    y = _output(x)
    if not x.numel:
        return Plan([y], nothing)
    grid, strides = _grid("batch_norm", [x, y])
    groups, tiles = grid.groups(4 * GROUPS[grid.target])
    values: dict[str, Any] = {
        **grid.values(), **_stride_values(strides, "x", "y"), "eps": float(eps),
        "WEIGHT": weight is not None, "BIAS": bias is not None, "VARIANCE": True,
        "c_blocks": grid.c_blocks, "tiles_per_group": tiles,
    }  # fmt: skip
    operands: dict[str, Any] = {"y_ptr": y, "x_ptr": x}
    for prefix, vector in (("mean", mean), ("rstd", var), ("weight", weight), ("bias", bias)):
        _vector(operands, values, prefix, vector)
    scalars = {"eps": x.dtype.compute.triton}
    launch, compiled = normalise_tiles.bind(
        x.device, (groups * grid.c_blocks,), operands, values, scalars=scalars
    )
    return Plan([y], launch, [compiled])


def plan_backward(
    g: Layout,
    x: Layout,
    mean: Layout,
    rstd: Layout,
    weight: Layout | None,
    bias_dtype: Dtype | None,
    eps: float,
    *,
    training: bool,
    input_wanted: bool = True,
) -> Plan:
    """[dx][, dweight][, dbias]; launch(outputs..., g, x, mean, rstd[, weight]).

    Args:
        rstd: of the statistics of x if `training`, else the given variance.
        weight: gives a dweight of its dtype. bias_dtype: gives a dbias of this dtype.
    """
    dx = _output(x)
    c = x.shape[1]
    compute = x.dtype.compute
    outputs = {"dx": dx} if input_wanted else {}
    if weight is not None:
        outputs["dweight"] = Layout.contiguous(weight.dtype, (c,), x.device)
    if bias_dtype is not None:
        outputs["dbias"] = Layout.contiguous(bias_dtype, (c,), x.device)
    layouts = list(outputs.values())
    if not c or not layouts:
        return Plan(layouts, nothing)
    grid, strides = _grid("batch_norm_backward", [x, g, dx])
    values: dict[str, Any] = {
        **grid.values(), **_stride_values(strides, "x", "g", "dx"), "eps": float(eps),
        "VARIANCE": not training, "TRAINING": training, "WEIGHT": weight is not None,
        "c_blocks": grid.c_blocks,
    }  # fmt: skip
    operands: dict[str, Any] = {
        "g_ptr": g, "x_ptr": x, "sums_ptr": compute, "sums_g_ptr": compute, "sums_gx_ptr": compute,
    }  # fmt: skip
    for prefix, vector in (("mean", mean), ("rstd", rstd), ("weight", weight)):
        _vector(operands, values, prefix, vector)
    for prefix in ("dx", "dweight", "dbias"):
        values[prefix.upper()] = prefix in outputs
        _vector(operands, values, prefix, outputs.get(prefix), strided=False)
    names = [*outputs, "g", "x", "mean", "rstd", *(["weight"] if weight else [])]
    scalars = {"eps": compute.triton}
    if grid.is_fused:
        steps = _Steps(x, names, {})
        steps.add(batch_norm_backward_fused, grid.c_blocks, operands, values, scalars)
        return steps.plan(layouts)
    groups, tiles = grid.groups(GROUPS[grid.target])
    values |= {"tiles_per_group": tiles, "n_groups": groups}
    size = groups * c * compute.itemsize
    workspaces = {"sums_g": size, "sums_gx": size, "sums": 2 * c * compute.itemsize}
    steps = _Steps(x, names, workspaces)
    if training or len(layouts) > input_wanted:
        steps.add(partial_gradients, groups * grid.c_blocks, operands, values, scalars)
        merged = values | {"COLS": _MERGED}
        steps.add(merge_gradients, ceil_divide(c, _MERGED), operands, merged, scalars)
    if input_wanted:
        steps.add(input_gradient_tiles, groups * grid.c_blocks, operands, values, scalars)
    return steps.plan(layouts)
