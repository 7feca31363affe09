"""Choices made soft, so that gradients pass through samples: the Concrete distributions.

Sources: Maddison et al., The Concrete distribution; Jang et al., Categorical reparameterization
with Gumbel-softmax (both 2017).
"""

from __future__ import annotations

from typing import Any

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.continuous import Gumbel
from tritorch.distributions.discrete import Categorical, _Chance
from tritorch.distributions.distribution import Distribution
from tritorch.nn import functional
from tritorch.tensor import Tensor


def _temperature(given: Any, like: Tensor) -> Tensor:
    if isinstance(given, Tensor):
        return given
    return tritorch.tensor(float(given), dtype=like.dtype, device=like.device)


class RelaxedBernoulli(_Chance):
    """Between 0 and 1, the nearer to them the lower the temperature.

    Args:
        temperature: above 0.
        probs: of being nearer to 1; or `logits`.
    """

    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        self._set(probs, logits)
        self.temperature = _temperature(temperature, self._param)
        super().__init__(self._param.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = tritorch.rand(shape, dtype=self._param.dtype, device=self._param.device)
        eps = tritorch.finfo(u.dtype).eps
        noise = u.clamp(min=eps, max=1 - eps).logit()
        drawn = ((self.logits + noise) / self.temperature).sigmoid()
        return drawn.clamp(min=tritorch.finfo(u.dtype).tiny, max=1 - eps)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        off = self.logits - value.logit() * self.temperature
        inner = self.temperature.log() + off - 2 * functional.softplus(off)
        return inner - value.log() - (-value).log1p()


class RelaxedOneHotCategorical(Distribution):
    """Parts that add up to 1, the nearer to one choice the lower the temperature.

    Args:
        temperature: above 0.
        probs: of each choice, (..., choices); or `logits`.
    """

    arg_constraints = constraints.of_parameters(
        probs=constraints.simplex, logits=constraints.real_vector
    )
    support = constraints.simplex
    has_rsample = True

    def __init__(
        self,
        temperature: Any,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._choices = Categorical(probs, logits, validate_args)
        given = self._choices._param
        self.temperature = _temperature(temperature, given)
        super().__init__(given.shape[:-1], given.shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Tensor:
        """Of each choice."""
        return self._choices.probs

    @property
    def logits(self) -> Tensor:
        """Logarithms of the probabilities."""
        return self._choices.logits

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        made = super().expand(batch_shape)
        made.__dict__["_choices"] = self._choices.expand(batch_shape)
        made.__dict__["temperature"] = self.temperature
        return made

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        zero = tritorch.zeros_like(self.logits)
        noise = Gumbel(zero.expand(self._extended_shape(sample_shape)), 1.0, validate_args=False)
        drawn = ((self.logits + noise.sample()) / self.temperature).softmax(-1)
        return drawn.clamp(min=tritorch.finfo(drawn.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        choices = self._event_shape[0]
        logarithms = value.log()
        scores = (self.logits - logarithms * self.temperature).log_softmax(-1).sum(-1)
        factor = tritorch.lgamma(tritorch.full_like(self.temperature, float(choices)))
        return scores + factor + (choices - 1) * self.temperature.log() - logarithms.sum(-1)
