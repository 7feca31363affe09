"""Matrix products of strided, batched operands: C = alpha * (A @ B) + beta * bias, then an
epilogue.

    C[m, n] = epilogue(sum_k A[m, k] * B[k, n] + bias[m, n])

2 * M * N * K operations; a tile program reads (BLOCK_M + BLOCK_N) * K elements. float16 and
bfloat16 are multiplied exactly and summed in float32; float64 in float64; integers wrap in at least
32 bits and are cut to the output's width, as PyTorch's.

Four kernels: `matmul_tile` (tl.dot; on CPUs also of int8), `matmul_integer` (rank-1 updates: tl.dot
takes no wide integers), and for a single column `matrix_vector_rows` / `matrix_vector_columns`,
which stream the matrix along its contiguous dimension. A single row is a single column of the
transposed product.

Source: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008 (blocks); the
    group order of programs is Triton's matrix multiplication tutorial's.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from tritorch import dtypes
from tritorch.config import config
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.hardware import Hardware, hardware_of
from tritorch.kernels.plan import Launch, Plan, Step, nothing
from tritorch.kernels.templates.matmul_gpu import (
    copies,
    halved,
    matmul_finish,
    residents,
    turned_first,
)
from tritorch.kernels.templates.matmul_kernels import (
    matmul_integer,
    matmul_tile,
    matrix_vector_columns,
    matrix_vector_rows,
)
from tritorch.kernels.templates.rows import Rows, ceil_divide, levels
from tritorch.kernels.templates.template import Template
from tritorch.kernels.tuning import LAUNCH_OPTIONS
from tritorch.layout import (
    Layout,
    Shape,
    broadcast_shapes,
    broadcast_strides,
    collapse,
    numel,
)
from tritorch.runtime.target import Later


def plan(
    a: Layout,
    b: Layout,
    bias: Layout | None = None,
    *,
    out: Dtype | None = None,
    scaled: bool = False,
    pasted_epilogue: str | None = None,
) -> Plan:
    """C = epilogue(alpha * (A @ B) + beta * bias); launch(c, a, b[, bias][, alpha, beta]).

    Args:
        a: (*batch, m, k), any strides. b: (*batch, k, n); the batches broadcast.
        bias: broadcasts to (*batch, m, n); its dtype may differ.
        out: dtype of C (default: a's); C is contiguous.
        scaled: the launch takes alpha and beta (floats; integers for integer dtypes).
        pasted_epilogue: text of `def epilogue(x): ...` in the Triton language; x has the
            accumulator's dtype.
    Raises:
        ShapeError: the inner sizes differ, or the batches do not broadcast.
        DtypeError: the dtypes differ or are bool.
    """
    product = _Product(a, b, bias, out or a.dtype)
    if product.c.numel == 0:
        return Plan((product.c,), nothing)
    return product.plan(scaled, pasted_epilogue)


class _Product:
    """The operands of one product, broadcast, folded and oriented."""

    def __init__(self, a: Layout, b: Layout, bias: Layout | None, out: Dtype) -> None:
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ShapeError(
                f"matmul: cannot multiply {a.shape} with {b.shape}: needs (*batch, m, k) and "
                "(*batch, k, n) "
                "with the same k. Transpose or reshape an operand."
            )
        if a.dtype is not b.dtype or not a.dtype.category:
            raise DtypeError(
                f"matmul: expected two operands of one numeric dtype, got {a.dtype} and {b.dtype}. "
                "Cast one of them."
            )
        self.a, self.b, self.bias = a, b, bias
        self.m, self.k, self.n = a.shape[-2], a.shape[-1], b.shape[-1]
        batch = broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2])
        shape = (*batch, self.m, self.n)
        self.c = Layout.contiguous(out, shape, a.device)
        self.batch = batch
        self.strides = {
            "c": self.c.strides,
            "a": broadcast_strides(a.shape[:-2], a.strides[:-2], batch) + a.strides[-2:],
            "b": broadcast_strides(b.shape[:-2], b.strides[:-2], batch) + b.strides[-2:],
        }
        if bias is not None:
            if broadcast_shapes("matmul", bias.shape, shape) != shape:
                raise ShapeError(
                    f"matmul: a bias of shape {bias.shape} does not broadcast to {shape}."
                )
            self.strides["bias"] = broadcast_strides(bias.shape, bias.strides, shape)
        self._fold_batch()

    def _fold_batch(self) -> None:
        """(batch, m, k) @ (k, n) is one product of batch * m rows, where the strides allow it."""
        rest = [name for name in self.strides if name != "b"]
        if not self.batch or any(self.strides["b"][:-2]):
            return
        sizes, merged = collapse((*self.batch, self.m), [self.strides[name][:-1] for name in rest])
        if len(sizes) > 1:
            return
        for name, strides in zip(rest, merged):
            step = strides[0] if strides else 0
            self.strides[name] = (step, self.strides[name][-1])
        self.strides["b"] = self.strides["b"][-2:]
        self.m = sizes[0] if sizes else 1
        self.batch = ()

    def _transpose(self) -> None:
        """C^T = B^T A^T, to make a single row a single column."""
        flipped = {name: (*s[:-2], s[-1], s[-2]) for name, s in self.strides.items()}
        flipped["a"], flipped["b"] = flipped["b"], flipped["a"]
        self.strides = flipped
        self.a, self.b = self.b, self.a
        self.m, self.n = self.n, self.m
        self.swapped = not self.swapped

    swapped = False

    def plan(self, scaled: bool, pasted: str | None) -> Plan:
        """The plan of one launch, or of two."""
        floating = self.a.dtype.is_floating_point
        if floating and self.m == 1 and self.n > 1:
            self._transpose()
        target = self.a.device.type
        m, n, k = self.m, self.n, self.k
        if n > 1 and (floating or self.a.dtype is dtypes.int8):
            return self._tiles(scaled, pasted)
        if not floating:
            template = matmul_integer
            choice = template.choose(target, m=m, n=n, k=k, dtype=self.a.dtype.name)
        elif abs(self.strides["a"][-1]) <= abs(self.strides["a"][-2]) or m == 1:
            template = matrix_vector_rows
            choice = template.choose(target, m=m, k=k, dtype=self.a.dtype.name)
            choice["LOOPED"] = choice["BLOCK_K"] < k
        else:
            template = matrix_vector_columns
            choice = template.choose(target, m=m, k=k, dtype=self.a.dtype.name)
        tiles = ceil_divide(m, choice.get("BLOCK_M", 1))
        tiles *= ceil_divide(n, choice.get("BLOCK_N", 1))
        grid = (tiles * numel(self.batch),)
        launch, compiled = self._bind(template, grid, choice | {"n_tiles": tiles}, scaled, pasted)
        if self.swapped:
            launch = _swapped(launch)
        return Plan((self.c,), launch, [compiled])

    def _tiles(self, scaled: bool, pasted: str | None, plain: bool = False) -> Plan:
        """The plan of tiles; `plain`: any addresses will do."""
        target = self.a.device.type
        rows = self._batches()
        gpu = target != "cpu"
        hardware = hardware_of(self.a.device) if gpu else Hardware(0, 0)
        precision = "ieee"
        if gpu and self.a.dtype is dtypes.float32 and config.float32_matmul != "highest":
            precision = "tf32"
        if gpu and not plain:
            turned = self._turned_first(scaled, pasted, precision)
            if turned is not None:
                return turned
        can_copy = gpu and not plain and self._can_copy(hardware.capability, rows, precision)
        choice = matmul_tile.choose(
            target, m=self.m, n=self.n, k=self.k, batch=rows.count, dtype=self.a.dtype.name,
            a_turned=abs(self.strides["a"][-1]) > 1, b_turned=abs(self.strides["b"][-1]) > 1,
            multiprocessors=hardware.multiprocessors, capability=hardware.capability,
            copies=can_copy, precision=precision,
        )  # fmt: skip
        if not can_copy:
            choice |= {"COPIED": False, "SPECIALIZED": False}
        copied, splits = choice["COPIED"], choice["SPLIT_K"]
        sizes = {"itemsize": self.a.dtype.itemsize, "out_itemsize": self.c.dtype.itemsize}
        n_tiles = ceil_divide(self.m, choice["BLOCK_M"]) * ceil_divide(self.n, choice["BLOCK_N"])
        programs = n_tiles * rows.count
        choice |= {
            "EARLY": not gpu, "PRECISION": precision, "BATCHED": rows.count > 1,
            "A_TURNED": copied and self.strides["a"][-1] != 1,
            "B_TURNED": copied and self.strides["b"][-1] != 1,
            "FILLED": gpu and not copied and self.k > (splits - 1) * choice["BLOCK_K"],
            "HALVED": copied and halved(**choice, **sizes),
            "SAME_BIAS": copied and self.bias is not None and self.strides["bias"][-2] == 0,
            "n_tiles": n_tiles, "n_batches": rows.count, "split_stride": 0,
        }  # fmt: skip
        if splits > 1:
            return self._split(choice, programs, scaled, pasted)
        if not copied:
            launch, compiled = self._bind(matmul_tile, (programs,), choice, scaled, pasted)
            return Plan((self.c,), launch, [compiled])
        plain_launch = Later(lambda: self._tiles(scaled, pasted, plain=True).launch)
        grid = (min(programs, hardware.multiprocessors * residents(**choice, **sizes)),)
        launch, compiled = self._bind(matmul_tile, grid, choice, scaled, pasted, plain_launch)
        return Plan((self.c,), launch, [compiled])

    def _turned_first(self, scaled: bool, pasted: str | None, precision: str) -> Plan | None:
        """Where the tensor cores want the inner dimension side by side: copies of operands where it
        is not, then the product of those; None where nothing is to be copied."""
        from tritorch.kernels.copy import copy as copying
        from tritorch.runtime import get_target

        capability = hardware_of(self.a.device).capability
        product = copy(self)
        product.strides = dict(self.strides)
        steps: list[Step] = []
        kernels: list[Any] = []
        sizes: list[int] = []
        places = [0, 1, 2]
        for place, name, rows, others in ((1, "a", self.m, self.n), (2, "b", self.n, self.m)):
            layout = getattr(self, name)
            strides = _upright(name, self.strides[name])
            wanted = turned_first(capability, precision, layout.dtype.itemsize, others)
            if not wanted or strides[-1] == 1 or not all(strides):
                continue
            shape = (*self.batch, rows, self.k)
            # Bytes are copied as they are, whatever they mean.
            kind = dtypes.uint8 if layout.dtype.itemsize == 1 else layout.dtype
            found = Layout.of(kind, shape, strides, layout.device)
            whole = Layout.contiguous(kind, shape, layout.device)
            plan = copying.plan([found], [kind], [kind], [whole])
            sizes.append(whole.nbytes)
            steps.append(Step(plan.launch, (-len(sizes), place)))
            kernels += plan.kernels
            places[place] = -len(sizes)
            product.strides[name] = _upright(name, whole.strides)
            setattr(product, name, whole.with_dtype(layout.dtype))
        if not steps:
            return None
        made = product._tiles(scaled, pasted)
        places += range(3, 3 + (self.bias is not None) + 2 * scaled)
        steps.append(Step(made.launch, tuple(places)))
        target = get_target(self.c.device)
        return Plan.of_steps((self.c,), target, steps, sizes, [*kernels, *made.kernels])

    def _can_copy(self, capability: int, rows: Rows, precision: str) -> bool:
        """Whether the copy engine can fetch the operands of the tensor cores."""
        if not self.a.dtype.is_floating_point:
            return False
        if self.a.dtype.itemsize > 2 and precision != "tf32":
            return False
        batched = rows.count > 1
        if batched and rows.sizes[0] != rows.count:
            return False
        steps = {
            name: (strides[0] if batched else 0, *self.strides[name][-2:])
            for name, strides in zip(self.strides, rows.strides)
            if name != "bias"
        }
        if batched and not all(step[0] for step in steps.values()):
            return False
        return copies(capability, steps, self.a.dtype.itemsize, self.c.dtype.itemsize)

    def _split(
        self, choice: dict[str, Any], programs: int, scaled: bool, pasted: str | None
    ) -> Plan:
        """Partial sums of C in memory, then their sums."""
        from tritorch.runtime import get_target

        splits = choice["SPLIT_K"]
        kind = dtypes.int32 if self.a.dtype is dtypes.int8 else self.a.dtype.compute
        parts = Layout.contiguous(kind, (splits, *self.c.shape), self.c.device)
        first = copy(self)
        first.bias, first.partial_sums = None, parts
        first.strides = {name: self.strides[name] for name in ("c", "a", "b")}
        launch, compiled = first._bind(
            matmul_tile, (programs, splits), choice | {"split_stride": self.c.numel}, False, None
        )
        values = {"numel": self.c.numel, "n_splits": splits}
        values |= matmul_finish.choose(
            self.c.device.type, multiprocessors=hardware_of(self.c.device).multiprocessors, **values
        )
        grid = (ceil_divide(self.c.numel, values["BLOCK"]),)
        finish, finisher = self._bind(
            matmul_finish, grid, values, scaled, pasted, parts={"parts_ptr": parts}
        )
        rest = range(3, 3 + (self.bias is not None) + 2 * scaled)
        steps = [Step(launch, (-1, 1, 2)), Step(finish, (0, -1, *rest))]
        target = get_target(self.c.device)
        return Plan.of_steps((self.c,), target, steps, [parts.nbytes], [compiled, finisher])

    #: where the parts of C go, in its place
    partial_sums: Layout | None = None

    def _bind(
        self,
        template: Template,
        grid: tuple[int, ...],
        values: dict[str, Any],
        scaled: bool,
        pasted: str | None,
        otherwise: Launch | None = None,
        parts: dict[str, Layout] | None = None,
    ) -> tuple[Launch, Any]:
        """A launch for these operands; `parts` take the place of A and B."""
        rows = self._batches()
        values = values | {
            "m": self.m,
            "n": self.n,
            "k": self.k,
            "BIAS": self.bias is not None,
            "SCALED": scaled,
        }
        values |= rows.values(*self.strides)
        for name, strides in self.strides.items():
            values[f"{name}_row_stride"], values[f"{name}_column_stride"] = strides[-2:]
        operands = {"c_ptr": self.c if self.partial_sums is None else self.partial_sums}
        operands |= {"a_ptr": self.a, "b_ptr": self.b} if parts is None else parts
        if self.bias is not None:
            operands["bias_ptr"] = self.bias
        else:
            values |= dict.fromkeys(
                (name for name in template.parameters if name.startswith("bias_")), None
            )
        scalars: dict[str, str] = {}
        if scaled:
            wide = "fp64" if self.a.dtype.itemsize == 8 else "fp32"
            scalar = wide if self.a.dtype.is_floating_point else "i64"
            scalars = {"alpha": scalar, "beta": scalar}
        else:
            values |= {"alpha": None, "beta": None}
        known = (*template.parameters, *LAUNCH_OPTIONS)
        return template.bind(
            self.c.device,
            grid,
            operands,
            {name: value for name, value in values.items() if name in known},
            scalars=scalars,
            pasted={"epilogue": pasted} if pasted else {},
            otherwise=otherwise,
        )

    def _batches(self) -> Rows:
        return levels("matmul", self.batch, [_lead(s) for s in self.strides.values()])


def _swapped(launch: Launch) -> Launch:
    """For operands in the other order."""
    return lambda c, a, b, *rest: launch(c, b, a, *rest)


def _upright(name: str, strides: Shape) -> Shape:
    """Of A as they are; of B those of its rows of the inner dimension; and back."""
    return strides if name == "a" else (*strides[:-2], strides[-1], strides[-2])


def _lead(strides: Shape) -> Shape:
    return strides[:-2]
