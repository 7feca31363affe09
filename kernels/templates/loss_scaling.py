"""Scaled losses: undoing the scale of all gradients in one launch, and choosing the next scale.

See `multi_tensor` for the table of tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.multi_tensor import BLOCK, CHUNK, TensorTable
from tritorch.kernels.templates.rows import to_compute
from tritorch.kernels.templates.template import kernel

if TYPE_CHECKING:
    import triton.language as tl


@kernel()
def unscale(
    found_ptr, table_ptr, chunks_ptr, factor_ptr, typed_ptr,
    WIDTH: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: a chunk times the factor; found_ptr becomes 1 where it has an infinity or nan.

    Programs that find one all write the same, so their order does not matter.
    """
    chunk = tl.program_id(0)
    row_ptr = table_ptr + tl.load(chunks_ptr + chunk * 2) * WIDTH
    first = tl.load(chunks_ptr + chunk * 2 + 1)
    stop = tl.minimum(first + CHUNK, tl.load(row_ptr))
    x_ptr = tl.load(row_ptr + 1).to(tl.pointer_type(typed_ptr.dtype.element_ty))
    factor = tl.load(factor_ptr)
    strange = 0.0
    for start in range(first, stop, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        x = to_compute(tl.load(x_ptr + offsets, mask=offsets < stop, other=0.0))
        # x - x is nan for an infinity and for nan, else 0.
        strange += tl.sum(tl.where(x - x == 0, 0.0, 1.0), 0)
        x = (x * factor).to(x_ptr.dtype.element_ty)
        tl.store(x_ptr + offsets, x, mask=offsets < stop)
    if strange > 0:
        tl.store(found_ptr, 1.0)


@kernel()
def update_scale(
    scale_ptr, growth_ptr, found_ptr, growth_factor, backoff_factor, growth_interval,
):  # fmt: skip
    """One program: a smaller scale after an infinity, a larger one after steps enough without."""
    scale = tl.load(scale_ptr)
    growth = tl.load(growth_ptr) + 1
    found = tl.load(found_ptr) > 0
    larger = scale * growth_factor
    full = growth >= growth_interval
    # A scale that would be infinite stays as it is.
    grown = tl.where(full & (larger - larger == 0), larger, scale)
    tl.store(scale_ptr, tl.where(found, scale * backoff_factor, grown))
    tl.store(growth_ptr, tl.where(found | full, 0, growth))


def plan_unscale(tensors: TensorTable, kind: Dtype) -> Plan:
    """launch(found, table, chunks, factor): the first column of the table times a float32 factor.

    `found` and `factor` are addresses of one float32.
    """
    if tensors.n_chunks == 0:
        return Plan((), nothing)
    values = {"typed_ptr": 0, "WIDTH": tensors.width, "CHUNK": CHUNK, "BLOCK": BLOCK}
    operands = {
        "found_ptr": dtypes.float32, "table_ptr": dtypes.int64, "chunks_ptr": dtypes.int64,
        "factor_ptr": dtypes.float32, "typed_ptr": kind,
    }  # fmt: skip
    grid = (tensors.n_chunks,)
    launch, compiled = unscale.bind(tensors.device, grid, operands, values)
    return Plan((), launch, [compiled])


def plan_update_scale(device: Device) -> Plan:
    """launch(scale, growth, found, growth factor, backoff factor, growth interval).

    `scale` and `found` are addresses of a float32, `growth` of an int32: steps without infinities.
    """
    operands = {
        "scale_ptr": dtypes.float32, "growth_ptr": dtypes.int32, "found_ptr": dtypes.float32,
    }  # fmt: skip
    scalars = {"growth_factor": "fp32", "backoff_factor": "fp32", "growth_interval": "i32"}
    launch, compiled = update_scale.bind(device, (1,), operands, {}, scalars=scalars)
    return Plan((), launch, [compiled])
