"""Random counts whose probabilities follow from their neighbours': Poisson, binomial.

p(k) / p(k - 1) = a + b / k for both, so a uniform number is turned into a count by walking from the
most probable one to both sides until as much probability is behind. About as many steps as the
standard deviation; exact up to the rounding of float64.
Source: Kemp, Efficient Generation of Logarithmically Distributed Pseudo-Random Variables, 1981
(chop-down search), and Panjer, Recursive Evaluation of a Family of Compound Distributions, 1981.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates.rows import ceil_divide
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Layout

if TYPE_CHECKING:
    import triton.language as tl

BLOCK = 64


@kernel()
def search_from_mode(
    y_ptr, u_ptr, mode_ptr, p_ptr, a_ptr, b_ptr, n, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK counts from uniform numbers u; p is the probability of the mode."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    mode = tl.load(mode_ptr + i, mask=inside, other=0.0)
    above = tl.load(p_ptr + i, mask=inside, other=1.0)
    a = tl.load(a_ptr + i, mask=inside, other=0.0)
    b = tl.load(b_ptr + i, mask=inside, other=0.0)
    rest = tl.load(u_ptr + i, mask=inside, other=0.0) - above
    below = above
    upper = mode
    lower = mode
    result = mode
    active = rest >= 0.0
    while tl.sum(active.to(tl.int32), 0) > 0:
        upper += 1.0
        above = tl.maximum(above * (a + b / upper), 0.0)
        rest -= above
        result = tl.where(active & (rest < 0.0), upper, result)
        active = active & (rest >= 0.0)
        more = lower > 0.0
        below = tl.where(more, below * lower / (a * lower + b), 0.0)
        lower = tl.where(more, lower - 1.0, lower)
        rest -= below
        result = tl.where(active & (rest < 0.0), lower, result)
        # What is left when both sides have died out is rounding.
        active = active & (rest >= 0.0) & (above + below > 1e-300)
    tl.store(y_ptr + i, result, mask=inside)


def plan(layout: Layout) -> Plan:
    """launch(y, u, mode, p, a, b), all float64 and contiguous."""
    if not layout.numel:
        return Plan((layout,), nothing)
    operands: dict[str, Any] = dict.fromkeys(
        ("y_ptr", "u_ptr", "mode_ptr", "p_ptr", "a_ptr", "b_ptr"), dtypes.float64
    )
    grid = (ceil_divide(layout.numel, BLOCK),)
    values = {"n": layout.numel, "BLOCK": BLOCK}
    launch, compiled = search_from_mode.bind(layout.device, grid, operands, values)
    return Plan((layout,), launch, [compiled])
