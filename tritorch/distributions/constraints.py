"""Sets of values: what parameters must be in, and where a distribution has its mass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import tritorch
from tritorch.tensor import Tensor


class Constraint:
    """A set of numbers, or of vectors and matrices in the last dimensions.

    Args:
        name: as it is printed.
        test: for each number whether it is in the set.
        event_dim: how many dimensions at the end are one element of the set.
        is_discrete: whether it has gaps.
    """

    def __init__(
        self,
        name: str,
        test: Callable[[Tensor], Tensor],
        event_dim: int = 0,
        is_discrete: bool = False,
    ) -> None:
        self._name = name
        self._test = test
        self.event_dim = event_dim
        self.is_discrete = is_discrete

    def check(self, value: Tensor) -> Tensor:
        """For each element of a batch whether it is in the set: bool, without the event's
        dimensions.
        """
        return self._test(value)

    def __repr__(self) -> str:
        return self._name


def of_parameters(**sets: Constraint) -> Mapping[str, Constraint]:
    """What each parameter of a class must be in; not to be changed."""
    return MappingProxyType(sets)


def _whole(value: Tensor) -> Tensor:
    return value == value.floor() if value.is_floating_point() else tritorch.ones_like(value).bool()


def interval(lower: Any, upper: Any) -> Constraint:
    """lower <= x <= upper."""
    return Constraint(
        f"Interval(lower_bound={lower}, upper_bound={upper})",
        lambda x: (x >= lower) & (x <= upper),
    )


def half_open_interval(lower: Any, upper: Any) -> Constraint:
    """lower <= x < upper."""
    return Constraint(
        f"HalfOpenInterval(lower_bound={lower}, upper_bound={upper})",
        lambda x: (x >= lower) & (x < upper),
    )


def integer_interval(lower: Any, upper: Any) -> Constraint:
    """Whole numbers with lower <= x <= upper."""
    return Constraint(
        f"IntegerInterval(lower_bound={lower}, upper_bound={upper})",
        lambda x: (x >= lower) & (x <= upper) & _whole(x),
        is_discrete=True,
    )


def greater_than(bound: Any) -> Constraint:
    """x > bound."""
    return Constraint(f"GreaterThan(lower_bound={bound})", lambda x: x > bound)


def greater_than_eq(bound: Any) -> Constraint:
    """x >= bound."""
    return Constraint(f"GreaterThanEq(lower_bound={bound})", lambda x: x >= bound)


def less_than(bound: Any) -> Constraint:
    """x < bound."""
    return Constraint(f"LessThan(upper_bound={bound})", lambda x: x < bound)


def multinomial(total: int) -> Constraint:
    """Vectors of whole numbers, not negative, that add up to `total`."""
    return Constraint(
        f"Multinomial(upper_bound={total})",
        lambda x: ((x >= 0) & _whole(x)).all(-1) & (x.sum(-1) == total),
        event_dim=1,
        is_discrete=True,
    )


def independent(base: Constraint, dims: int) -> Constraint:
    """All elements of the last `dims` dimensions are in the base's set."""

    def test(value: Tensor) -> Tensor:
        found = base.check(value)
        return found.reshape(*found.shape[: found.ndim - dims], -1).all(-1) if dims else found

    return Constraint(
        f"IndependentConstraint({base}, {dims})", test, base.event_dim + dims, base.is_discrete
    )


def _lower_cholesky(value: Tensor) -> Tensor:
    lower = (value.tril() == value).flatten(-2).all(-1)
    return lower & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


def _corr_cholesky(value: Tensor) -> Tensor:
    tolerance = 10 * value.shape[-1] * tritorch.finfo(value.dtype).eps
    unit = ((value.square().sum(-1) - 1).abs() <= tolerance).all(-1)
    return unit & _lower_cholesky(value)


def _positive_definite(value: Tensor) -> Tensor:
    symmetric = tritorch.isclose(value, value.mT, atol=1e-6).flatten(-2).all(-1)
    return symmetric & tritorch.linalg.cholesky_ex(value).info.eq(0)


real = Constraint("Real()", lambda x: x == x)
real_vector = independent(real, 1)
boolean = Constraint("Boolean()", lambda x: (x == 0) | (x == 1), is_discrete=True)
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
nonnegative_integer = Constraint(
    "IntegerGreaterThan(lower_bound=0)", lambda x: (x >= 0) & _whole(x), is_discrete=True
)
simplex = Constraint(
    "Simplex()", lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-6), event_dim=1
)
one_hot = Constraint(
    "OneHot()",
    lambda x: ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1),
    event_dim=1,
    is_discrete=True,
)
lower_cholesky = Constraint("LowerCholesky()", _lower_cholesky, event_dim=2)
positive_definite = Constraint("PositiveDefinite()", _positive_definite, event_dim=2)
corr_cholesky = Constraint("CorrCholesky()", _corr_cholesky, event_dim=2)
