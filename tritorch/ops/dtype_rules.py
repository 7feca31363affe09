"""How dtypes follow from the operands: the words that declarations use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError
from tritorch.layout import Layout
from tritorch.ops.promotion import Kind, common_dtype, float_dtype

if TYPE_CHECKING:
    from tritorch.ops.pointwise import Pointwise

#: (dtypes that operands are converted to, dtypes of the results)
Rule = Callable[["Pointwise", Sequence[Kind]], tuple[list[Dtype], list[Dtype]]]


def _same(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    common = common_dtype(kinds)
    return [common] * len(kinds), [common] * len(operation.outputs)


def _float(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    common = float_dtype(common_dtype(kinds))
    return [common] * len(kinds), [common] * len(operation.outputs)


def _numeric(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    computes, results = _same(operation, kinds)
    if computes[0] is dtypes.bool:
        raise DtypeError(f"{operation.name}: not defined for {dtypes.bool}. Convert with .int().")
    return computes, results


def _floating(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    computes, results = _same(operation, kinds)
    if not computes[0].is_floating_point:
        raise DtypeError(
            f"{operation.name}: only for floating-point tensors, got {computes[0]}. Convert with "
            ".float()."
        )
    return computes, results


def _difference(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    """As PyTorch's `-`, which no operand may be a bool of."""
    for kind in kinds:
        if kind is bool or (isinstance(kind, Layout) and kind.dtype is dtypes.bool):
            raise DtypeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are "
                "trying to invert a mask, use the `~` or `logical_not()` operator instead."
            )
    return _same(operation, kinds)


def _square(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    """The same dtype, but int64 for bool: it is `** 2` or `** 3`, whose exponent is an int."""
    return _same(operation, [*kinds, int])[0][:1], _same(operation, [*kinds, int])[1]


def _integral(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    computes, results = _same(operation, kinds)
    if computes[0].is_floating_point:
        raise DtypeError(
            f"{operation.name}: only for integer and bool tensors, got {computes[0]}. "
            "Convert with .long() or .bool()."
        )
    return computes, results


def _compare(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    return [common_dtype(kinds)] * len(kinds), [dtypes.bool] * len(operation.outputs)


def _logical(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    computes = [common_dtype([kind]) for kind in kinds]
    return computes, [dtypes.bool] * len(operation.outputs)


def _select(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    condition, *rest = kinds
    if isinstance(condition, Layout) and condition.dtype not in (dtypes.bool, dtypes.uint8):
        raise DtypeError(
            f"{operation.name}: expected condition to be a boolean tensor, but got a tensor with "
            f"dtype {condition.dtype}. Convert with .bool()."
        )
    common = common_dtype(rest)
    return [dtypes.bool] + [common] * len(rest), [common]


def _exponent(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    """Whole numbers of int32 from floating-point ones."""
    return _float(operation, kinds)[0], [dtypes.int32] * len(operation.outputs)


def _first(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    """The first operand's dtype, whatever the others' are, as masked_fill."""
    common = common_dtype(kinds[:1])
    computes = [common_dtype([kind]) for kind in kinds]
    return [
        common if isinstance(kind, type) else compute for kind, compute in zip(kinds, computes)
    ], [common] * len(operation.outputs)


def _gradient(operation: Pointwise, kinds: Sequence[Kind]) -> tuple[list[Dtype], list[Dtype]]:
    """Masks and indices stay what they are; everything else meets in the dtype of the gradients."""
    common = float_dtype(common_dtype(kinds))
    computes = [
        kind.dtype if isinstance(kind, Layout) and not kind.dtype.is_floating_point else common
        for kind in kinds
    ]
    return computes, [common] * len(operation.outputs)


#: how the dtypes of operands and results follow from the operands, by the word in the declaration
RULES: dict[str, Rule] = {
    "same": _same,
    "float": _float,
    "numeric": _numeric,
    "floating": _floating,
    "difference": _difference,
    "square": _square,
    "integral": _integral,
    "bool": _compare,
    "logical": _logical,
    "select": _select,
    "first": _first,
    "exponent": _exponent,
    "gradient": _gradient,
}
