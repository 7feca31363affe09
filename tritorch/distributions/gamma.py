"""The gamma distribution and what is made of gamma variables: beta, Dirichlet, Student's t, ...

Samples are made of the variables' logarithms, so concentrations near 0 lose nothing; gradients pass
through them to the concentrations.
"""

from __future__ import annotations

import math
from typing import Any

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.distribution import Distribution, batch_of
from tritorch.ops.gamma_draws import log_gamma_sample
from tritorch.tensor import Tensor


def _drawn(concentration: Tensor, shape: Any) -> Tensor:
    """Logarithms of gamma variables."""
    return log_gamma_sample(concentration.expand(shape))


def _positive(value: Tensor) -> Tensor:
    """Kept away from 0, whose density may be infinite."""
    return value.clamp(min=tritorch.finfo(value.dtype).tiny)


def _where(condition: Tensor, value: Tensor, other: float) -> Tensor:
    return tritorch.where(condition, value, other)


class _OfConcentrationAndRate(Distribution):
    arg_constraints = constraints.of_parameters(
        concentration=constraints.positive, rate=constraints.positive
    )
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = batch_of(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)


class Gamma(_OfConcentrationAndRate):
    """Densities x ** (concentration - 1) * exp(-rate * x), up to a factor."""

    support = constraints.nonnegative

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate.square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn = _drawn(self.concentration, self._extended_shape(sample_shape))
        return _positive((drawn - self.rate.log()).exp())

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        c = self.concentration
        return (
            c * self.rate.log()
            + tritorch.xlogy(c - 1, value)
            - self.rate * value
            - tritorch.lgamma(c)
        )

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return tritorch.special.gammainc(self.concentration, self.rate * value)

    def entropy(self) -> Tensor:
        c = self.concentration
        return c - self.rate.log() + tritorch.lgamma(c) + (1 - c) * tritorch.digamma(c)


class Chi2(Gamma):
    """The sum of squares of `df` standard normal variables."""

    arg_constraints = constraints.of_parameters(df=constraints.positive)

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        (self.df,) = batch_of(df)
        super().__init__(self.df / 2, 0.5, validate_args)


class InverseGamma(_OfConcentrationAndRate):
    """One over a gamma variable of this concentration and rate."""

    support = constraints.positive

    @property
    def mean(self) -> Tensor:
        c = self.concentration
        return _where(c > 1, self.rate / (c - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        c = self.concentration
        return _where(c > 2, self.rate.square() / ((c - 1).square() * (c - 2)), math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn = _drawn(self.concentration, self._extended_shape(sample_shape))
        return _positive((self.rate.log() - drawn).exp())

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        c = self.concentration
        return c * self.rate.log() - (c + 1) * value.log() - self.rate / value - tritorch.lgamma(c)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return tritorch.special.gammaincc(self.concentration, self.rate / value)

    def entropy(self) -> Tensor:
        c = self.concentration
        return c + self.rate.log() + tritorch.lgamma(c) - (1 + c) * tritorch.digamma(c)


class Dirichlet(Distribution):
    """Vectors of parts that add up to 1.

    Args:
        concentration: (..., parts), above 0.
    """

    arg_constraints = constraints.of_parameters(
        concentration=constraints.independent(constraints.positive, 1)
    )
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.ndim < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    @property
    def _total(self) -> Tensor:
        return self.concentration.sum(-1, keepdim=True)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self._total

    @property
    def mode(self) -> Tensor:
        """Where every concentration is below 1, the corner of the largest."""
        above = (self.concentration - 1).clamp(min=0)
        corner = tritorch.nn.functional.one_hot(
            self.concentration.argmax(-1), self.concentration.shape[-1]
        ).to(above.dtype)
        total = above.sum(-1, keepdim=True)
        return tritorch.where((self.concentration < 1).all(-1, keepdim=True), corner, above / total)

    @property
    def variance(self) -> Tensor:
        total = self._total
        rest = total - self.concentration
        return self.concentration * rest / (total.square() * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn = _drawn(self.concentration, self._extended_shape(sample_shape))
        return _positive(drawn.softmax(-1))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        c = self.concentration
        return (
            tritorch.xlogy(c - 1, value).sum(-1)
            + tritorch.lgamma(c.sum(-1))
            - tritorch.lgamma(c).sum(-1)
        )

    def entropy(self) -> Tensor:
        c, parts = self.concentration, self.concentration.shape[-1]
        total = c.sum(-1)
        return (
            tritorch.lgamma(c).sum(-1)
            - tritorch.lgamma(total)
            - (parts - total) * tritorch.digamma(total)
            - ((c - 1) * tritorch.digamma(c)).sum(-1)
        )


class TwoConcentrations(Distribution):
    """Between 0 and 1, with a concentration at each end."""

    arg_constraints = constraints.of_parameters(
        concentration1=constraints.positive, concentration0=constraints.positive
    )
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = batch_of(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)


class Beta(TwoConcentrations):
    """Densities x ** (concentration1 - 1) * (1 - x) ** (concentration0 - 1), up to a factor."""

    @property
    def _both(self) -> Dirichlet:
        parts = tritorch.stack([self.concentration1, self.concentration0], -1)
        return Dirichlet(parts, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        return self._both.mode[..., 0]

    @property
    def variance(self) -> Tensor:
        return self._both.variance[..., 0]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        odds = _drawn(self.concentration1, shape) - _drawn(self.concentration0, shape)
        return _positive(odds.sigmoid()).clamp(max=1 - tritorch.finfo(odds.dtype).eps)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        near = tritorch.xlogy(a - 1, value) + tritorch.special.xlog1py(b - 1, -value)
        return near + tritorch.lgamma(a + b) - tritorch.lgamma(a) - tritorch.lgamma(b)

    def entropy(self) -> Tensor:
        return self._both.entropy()


class StudentT(Distribution):
    """Student's t with `df` degrees of freedom, moved by `loc` and stretched by `scale`."""

    arg_constraints = constraints.of_parameters(
        df=constraints.positive, loc=constraints.real, scale=constraints.positive
    )
    support = constraints.real
    has_rsample = True

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = batch_of(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return _where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        df = self.df
        found = _where(df > 2, self.scale.square() * df / (df - 2), math.inf)
        return _where(df > 1, found, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        normal = tritorch.randn(shape, dtype=self.df.dtype, device=self.df.device)
        half = self.df / 2
        return self.loc + self.scale * normal * ((half.log() - _drawn(half, shape)) / 2).exp()

    def _log_beta(self) -> Tensor:
        """Of df / 2 and 1 / 2."""
        half = self.df / 2
        return tritorch.lgamma(half) + 0.5 * math.log(math.pi) - tritorch.lgamma(half + 0.5)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        y = (value - self.loc) / self.scale
        factor = self.scale.log() + 0.5 * self.df.log() + self._log_beta()
        return -0.5 * (self.df + 1) * (y.square() / self.df).log1p() - factor

    def entropy(self) -> Tensor:
        half = self.df / 2
        slope = tritorch.digamma(half + 0.5) - tritorch.digamma(half)
        return self.scale.log() + (half + 0.5) * slope + 0.5 * self.df.log() + self._log_beta()


class FisherSnedecor(Distribution):
    """The ratio of two sums of squares of normal variables, each divided by its number."""

    arg_constraints = constraints.of_parameters(df1=constraints.positive, df2=constraints.positive)
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = batch_of(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return _where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan)

    @property
    def mode(self) -> Tensor:
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return _where(self.df1 > 2, found, math.nan)

    @property
    def variance(self) -> Tensor:
        a, b = self.df1, self.df2
        found = 2 * b.square() * (a + b - 2) / (a * (b - 2).square() * (b - 4))
        return _where(b > 4, found, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        above = _drawn(self.df1 / 2, shape) - self.df1.log()
        return _positive((above - _drawn(self.df2 / 2, shape) + self.df2.log()).exp())

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a, b, ratio = self.df1 / 2, self.df2 / 2, self.df1 / self.df2
        factor = tritorch.lgamma(a + b) - tritorch.lgamma(a) - tritorch.lgamma(b)
        near = a * ratio.log() + (a - 1) * value.log()
        return factor + near - (a + b) * (ratio * value).log1p()
