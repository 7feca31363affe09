"""Densities made of powers: Pareto, Weibull, Kumaraswamy, and the upper half of Cauchy's."""

from __future__ import annotations

import math
from typing import Any

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.continuous import _EULER
from tritorch.distributions.distribution import Distribution, batch_of, open_uniform
from tritorch.distributions.gamma import TwoConcentrations
from tritorch.tensor import Tensor


class Pareto(Distribution):
    """Of those above `scale`, the part above x is (scale / x) ** alpha."""

    arg_constraints = constraints.of_parameters(
        scale=constraints.positive, alpha=constraints.positive
    )
    has_rsample = True

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = batch_of(scale, alpha)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """From scale on."""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        a = self.alpha
        return tritorch.where(a > 1, a * self.scale / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        a = self.alpha
        found = self.scale.square() * a / ((a - 1).square() * (a - 2))
        return tritorch.where(a > 2, found, math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = open_uniform(self.scale, self._extended_shape(sample_shape))
        return self.scale * (-u.log() / self.alpha).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a = self.alpha
        return a.log() + a * self.scale.log() - (a + 1) * value.log()

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return 1 - (self.scale / value).pow(self.alpha)

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (1 - value).pow(-1 / self.alpha)

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + 1 + self.alpha.reciprocal()


class Weibull(Distribution):
    """The part above x is exp(-(x / scale) ** concentration)."""

    arg_constraints = constraints.of_parameters(
        scale=constraints.positive, concentration=constraints.positive
    )
    support = constraints.positive
    has_rsample = True

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = batch_of(scale, concentration)
        super().__init__(self.scale.shape, validate_args=validate_args)

    def _moment(self, n: int) -> Tensor:
        """The mean of the n-th power, for scale 1."""
        return tritorch.lgamma(1 + n / self.concentration).exp()

    @property
    def mean(self) -> Tensor:
        return self.scale * self._moment(1)

    @property
    def mode(self) -> Tensor:
        c = self.concentration
        return self.scale * ((c - 1).clamp(min=0) / c).pow(1 / c)

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (self._moment(2) - self._moment(1).square())

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = open_uniform(self.scale, self._extended_shape(sample_shape))
        return self.scale * (-u.log()).pow(1 / self.concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        ratio = value / self.scale
        c = self.concentration
        return (c / self.scale).log() + tritorch.xlogy(c - 1, ratio) - ratio.pow(c)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -(-(value / self.scale).pow(self.concentration)).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (-(-value).log1p()).pow(1 / self.concentration)

    def entropy(self) -> Tensor:
        c = self.concentration
        return _EULER * (1 - 1 / c) + (self.scale / c).log() + 1


class Kumaraswamy(TwoConcentrations):
    """The part below x is 1 - (1 - x ** concentration1) ** concentration0."""

    def _moment(self, n: int) -> Tensor:
        """The mean of the n-th power: b B(1 + n / a, b)."""
        a, b = 1 + n / self.concentration1, self.concentration0
        logarithm = tritorch.lgamma(a) + tritorch.lgamma(b) - tritorch.lgamma(a + b)
        return b * logarithm.exp()

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        found = ((a - 1) / (a * b - 1)).pow(1 / a)
        return tritorch.where((a < 1) | (b < 1), math.nan, found)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self._moment(1).square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = open_uniform(self.concentration1, self._extended_shape(sample_shape))
        drawn = self.icdf(u)
        limits = tritorch.finfo(u.dtype)
        return drawn.clamp(min=limits.tiny, max=1 - limits.eps)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        near = tritorch.xlogy(a - 1, value) + tritorch.special.xlog1py(b - 1, -value.pow(a))
        return a.log() + b.log() + near

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        rest = (-value.pow(self.concentration1)).log1p()
        return -(self.concentration0 * rest).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        rest = ((-value).log1p() / self.concentration0).expm1()
        return (-rest).pow(1 / self.concentration1)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        harmonic = tritorch.digamma(b + 1) + _EULER
        return (1 - 1 / b) + (1 - 1 / a) * harmonic - a.log() - b.log()


class HalfCauchy(Distribution):
    """The absolute value of a Cauchy variable around 0."""

    arg_constraints = constraints.of_parameters(scale=constraints.positive)
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        (self.scale,) = batch_of(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return tritorch.full_like(self.scale, math.inf)

    @property
    def mode(self) -> Tensor:
        return tritorch.zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        return tritorch.full_like(self.scale, math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(open_uniform(self.scale, self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        found = math.log(2 / math.pi) - self.scale.log() - (value / self.scale).square().log1p()
        return tritorch.where(value >= 0, found, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return 2 / math.pi * tritorch.atan(value / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * tritorch.tan(math.pi / 2 * value)

    def entropy(self) -> Tensor:
        return (2 * math.pi * self.scale).log()
