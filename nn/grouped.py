"""Products of matrices group by group, as mixtures of experts need them."""

from __future__ import annotations

from typing import Any

from tritorch.errors import ShapeError
from tritorch.ops.joining import cat, stack
from tritorch.tensor import Tensor

__all__ = ["grouped_mm"]


def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None,
    out_dtype: Any = None,
) -> Tensor:  # fmt: skip
    """A matrix product for each group; `offs` says where each group of an operand with two
    dimensions ends.

    Args:
        mat_a, mat_b: (G, M, K) and (G, K, N): a product for each. (M, K) and (G, K, N): groups of
            rows, side by side in the result (M, N). (G, M, K) and (K, N): groups of columns. (M, K)
            and (K, N): groups of what is summed over, (G, M, N).
        offs: (G,), never falling; None where both operands have three dimensions.
        bias: added to the result.
        out_dtype: of the result; that of the operands unless given.
    Raises:
        ShapeError: the operands do not fit, or `offs` is missing or too much.
    """
    dims = (mat_a.dim(), mat_b.dim())
    if dims not in ((2, 2), (2, 3), (3, 2), (3, 3)) or (offs is None) != (dims == (3, 3)):
        raise ShapeError(
            f"grouped_mm: operands of {dims[0]} and {dims[1]} dimensions, offs "
            f"{'not ' if offs is None else ''}given. Each operand must have 2 or 3, and offs goes "
            "with one that has 2."
        )
    if offs is None:
        found = mat_a @ mat_b
    else:
        ends = [int(end) for end in offs.tolist()]
        starts = [0, *ends[:-1]]
        spans = list(zip(starts, ends, strict=True))
        if dims == (2, 3):
            parts = [mat_a[low:high] @ mat_b[g] for g, (low, high) in enumerate(spans)]
            rest = mat_a.new_zeros((mat_a.shape[0] - ends[-1], mat_b.shape[2]))
            found = cat([*parts, rest])
        elif dims == (3, 2):
            parts = [mat_a[g] @ mat_b[:, low:high] for g, (low, high) in enumerate(spans)]
            rest = mat_a.new_zeros((mat_a.shape[1], mat_b.shape[1] - ends[-1]))
            found = cat([*parts, rest], 1)
        else:
            found = stack([mat_a[:, low:high] @ mat_b[low:high] for low, high in spans])
    if bias is not None:
        found = found + bias
    return found if out_dtype is None else found.to(out_dtype)
