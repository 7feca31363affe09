"""Comparison, logic, bits, and choice between operands."""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.kernels import scalar as s
from tritorch.ops.declare import method, pointwise
from tritorch.tensor import Tensor

# ---- comparison


@pointwise(promote="bool", numpy=np.equal, operators=("__eq__",), inplace=True)
def eq(input, other):
    """input == other."""
    return input == other


@pointwise(
    promote="bool", numpy=np.not_equal, operators=("__ne__",), inplace=True, aliases=("not_equal",)
)
def ne(input, other):
    """input != other."""
    return input != other


@pointwise(promote="bool", numpy=np.less, operators=("__lt__",), inplace=True, aliases=("less",))
def lt(input, other):
    """input < other."""
    return input < other


@pointwise(
    promote="bool", numpy=np.less_equal, operators=("__le__",), inplace=True,
    aliases=("less_equal",),
)  # fmt: skip
def le(input, other):
    """input <= other."""
    return input <= other


@pointwise(
    promote="bool", numpy=np.greater, operators=("__gt__",), inplace=True, aliases=("greater",)
)
def gt(input, other):
    """input > other."""
    return input > other


@pointwise(
    promote="bool", numpy=np.greater_equal, operators=("__ge__",), inplace=True,
    aliases=("greater_equal",),
)  # fmt: skip
def ge(input, other):
    """input >= other."""
    return input >= other


not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


@pointwise(
    promote="bool", method=False,
    numpy=lambda x, y, rtol, atol, equal_nan: np.isclose(x, y, rtol, atol, equal_nan),
    calls=({"rtol": 0.1, "atol": 0.1, "equal_nan": True},),
)  # fmt: skip
def _isclose(input, other, rtol: float, atol: float, equal_nan: bool):
    near = s.abs(input - other) <= atol + s.abs(rtol * other)
    both = s.isnan(input) & s.isnan(other) & s.logical_or(equal_nan, False)
    return (input == other) | (near & s.isfinite(other) & s.isfinite(input)) | both


@method("isclose")
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, element by element."""
    if input._layout.dtype is not other._layout.dtype:
        raise RuntimeError(
            f"isclose: {input._layout.dtype} did not match {other._layout.dtype}. Cast one of them."
        )
    if input._layout.dtype is dtypes.bool:
        return eq(input, other)
    return _isclose(input, other, float(rtol), float(atol), bool(equal_nan))


@method("allclose")
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether all elements are close, see `isclose`."""
    from tritorch.ops.reduction import all

    return bool(all(isclose(input, other, rtol, atol, equal_nan)))


@method("equal")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal."""
    from tritorch.ops.reduction import all

    if input._layout.shape != other._layout.shape:
        return False
    return bool(all(eq(input, other)))


# ---- logic and bits


@pointwise(promote="logical", numpy=np.logical_and, inplace=True)
def logical_and(input, other):
    """Whether both are nonzero."""
    return s.logical_and(input, other)


@pointwise(promote="logical", numpy=np.logical_or, inplace=True)
def logical_or(input, other):
    """Whether one is nonzero."""
    return s.logical_or(input, other)


@pointwise(promote="logical", numpy=np.logical_xor, inplace=True)
def logical_xor(input, other):
    """Whether exactly one is nonzero."""
    return s.logical_xor(input, other)


@pointwise(promote="logical", numpy=np.logical_not, inplace=True)
def logical_not(input):
    """Whether it is zero."""
    return s.logical_not(input)


@pointwise(
    promote="integral", numpy=np.bitwise_and, inplace=True,
    operators=("__and__", "__rand__", "__iand__"),
)  # fmt: skip
def bitwise_and(input, other):
    """input & other."""
    return input & other


@pointwise(
    promote="integral", numpy=np.bitwise_or, inplace=True,
    operators=("__or__", "__ror__", "__ior__"),
)  # fmt: skip
def bitwise_or(input, other):
    """input | other."""
    return input | other


@pointwise(
    promote="integral", numpy=np.bitwise_xor, inplace=True,
    operators=("__xor__", "__rxor__", "__ixor__"),
)  # fmt: skip
def bitwise_xor(input, other):
    """input ^ other."""
    return input ^ other


@pointwise(promote="integral", numpy=np.bitwise_not, inplace=True, operators=("__invert__",))
def bitwise_not(input):
    """~input; for bool, not."""
    return ~input


@pointwise(
    promote="integral", numpy=np.left_shift, inplace=True, low=0, high=5,
    operators=("__lshift__", "__rlshift__", "__ilshift__"),
)  # fmt: skip
def bitwise_left_shift(input, other):
    """input << other."""
    return input << other


@pointwise(
    promote="integral", numpy=np.right_shift, inplace=True, low=0, high=5,
    operators=("__rshift__", "__rrshift__", "__irshift__"),
)  # fmt: skip
def bitwise_right_shift(input, other):
    """input >> other."""
    return input >> other


# ---- choice


@pointwise(promote="select", numpy=np.where, method=False)
def _where(condition, input, other):
    """input where the condition holds, else other."""
    return s.where(condition, input, other)


def where(
    condition: Tensor, input: Any = None, other: Any = None, *, out: Tensor | None = None
) -> Any:
    """`input` where the condition holds, else `other`; the indices of true elements without
    them.
    """
    if input is None and other is None:
        from tritorch.ops.places import nonzero

        return nonzero(condition, as_tuple=True)
    return _where(condition, input, other, out=out)


@method("where")
def _where_method(input: Tensor, condition: Tensor, other: Any) -> Tensor:
    """input where the condition holds, else other."""
    return _where(condition, input, other)


@pointwise(promote="first", method=False, numpy=lambda x, m, v: np.where(m, v, x), row_major=True)
def _masked_fill(input, mask, value):
    """value where the mask holds, else input."""
    return s.where(mask, value, input)


def _check_mask(mask: Any) -> None:
    if mask._layout.dtype is not dtypes.bool:
        raise RuntimeError(
            f"masked_fill only supports boolean masks, but got mask with dtype {mask._layout.dtype}"
        )


@method("masked_fill")
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds, else `input`."""
    _check_mask(mask)
    return _masked_fill(input, mask, _stored(input, value))


def _stored(input: Tensor, value: Any) -> Any:
    """A number as a tensor's dtype holds it: without its fraction in integers."""
    if value.__class__ is float and not input._layout.dtype.is_floating_point:
        return bool(value) if input._layout.dtype is dtypes.bool else int(value)
    return value


@method("masked_fill_")
def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """In-place version of `masked_fill`."""
    _check_mask(mask)
    return _masked_fill.operation.inplace(input, mask, _stored(input, value))
