"""Counts of trials: negative binomial, multinomial."""

from __future__ import annotations

from typing import Any

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.discrete import Binomial, Categorical, _Chance
from tritorch.distributions.distribution import Distribution
from tritorch.nn import functional
from tritorch.ops.gamma_draws import log_gamma_sample
from tritorch.tensor import Tensor


class NegativeBinomial(_Chance):
    """How many trials succeed before `total_count` have failed; the count need not be whole.

    Args:
        total_count: not negative.
        probs: of success, in [0, 1); or `logits`.
    """

    arg_constraints = constraints.of_parameters(
        total_count=constraints.nonnegative,
        probs=constraints.half_open_interval(0.0, 1.0),
        logits=constraints.real,
    )
    support = constraints.nonnegative_integer

    def __init__(
        self,
        total_count: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        (self.total_count,) = self._set(probs, logits, total_count)
        self.total_count = self.total_count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.mean / (-self.logits).sigmoid()

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Poisson counts, the rates of which are gamma variables."""
        drawn = log_gamma_sample(self.total_count.expand(self._extended_shape(sample_shape)))
        return tritorch.poisson((drawn + self.logits).exp())

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n = self.total_count
        chance = n * functional.logsigmoid(-self.logits)
        chance = chance + value * functional.logsigmoid(self.logits)
        ways = tritorch.lgamma(n + value) - tritorch.lgamma(1 + value) - tritorch.lgamma(n)
        return chance + tritorch.where(n + value == 0, 0.0, ways)


class Multinomial(Distribution):
    """How often each choice comes in `total_count` of them.

    Args:
        total_count: one whole number for all distributions.
        probs: of each choice, (..., choices), divided by their sum; or `logits`.
    """

    arg_constraints = constraints.of_parameters(
        probs=constraints.simplex, logits=constraints.real_vector
    )

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._choices = Categorical(probs, logits, validate_args)
        given = self._choices._param
        super().__init__(given.shape[:-1], given.shape[-1:], validate_args)

    @property
    def probs(self) -> Tensor:
        """Of each choice."""
        return self._choices.probs

    @property
    def logits(self) -> Tensor:
        """Logarithms of the probabilities."""
        return self._choices.logits

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Counts that add up to the total."""
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        made = super().expand(batch_shape)
        made.__dict__["_choices"] = self._choices.expand(batch_shape)
        return made

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._choices.sample((self.total_count, *tritorch.Size(sample_shape)))
        counts = tritorch.zeros(
            self._extended_shape(sample_shape), dtype=self.probs.dtype, device=drawn.device
        )
        drawn = drawn.movedim(0, -1)
        return counts.scatter_add_(-1, drawn, tritorch.ones_like(drawn, dtype=counts.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        ways = tritorch.lgamma(value.sum(-1) + 1) - tritorch.lgamma(value + 1).sum(-1)
        chances = tritorch.where(value == 0, 0.0, value * self.logits)
        return ways + chances.sum(-1)

    def entropy(self) -> Tensor:
        n = self.total_count
        one = Binomial(n, self.probs, validate_args=False)
        counts = tritorch.arange(2, n + 1, dtype=self.probs.dtype, device=self.probs.device)
        counts = counts.view(-1, *[1] * self.probs.ndim)
        ways = (one.log_prob(counts).exp() * tritorch.lgamma(counts + 1)).sum((0, -1))
        all_ways = tritorch.lgamma(tritorch.full_like(ways, n + 1.0))
        return n * self._choices.entropy() - all_ways + ways
