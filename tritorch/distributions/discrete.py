"""Distributions over whole numbers and choices."""

from __future__ import annotations

from typing import Any

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.distribution import Distribution, batch_of, one_of
from tritorch.nn import functional
from tritorch.tensor import Tensor


def _inside(probs: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1, so that logarithms are finite."""
    eps = tritorch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def _logits_of(probs: Tensor) -> Tensor:
    kept = _inside(probs)
    return kept.log() - (-kept).log1p()


class _Odds(Distribution):
    """Probabilities or their logits: one is given, the other is found when it is asked for."""

    _param: Tensor

    @staticmethod
    def _other(name: str, given: Tensor) -> Tensor:
        """Logits (`name`) of probabilities, or the inverse."""
        return _logits_of(given) if name == "logits" else given.sigmoid()

    def __getattr__(self, name: str) -> Any:
        given = {"logits": "probs", "probs": "logits"}.get(name)
        if given not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        # It is kept, so it has its graph even if sample() is what asks first.
        with tritorch.enable_grad():
            self.__dict__[name] = self._other(name, self.__dict__[given])
        return self.__dict__[name]

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._param.shape


class _Chance(_Odds):
    """A probability, given as such or as its logit."""

    arg_constraints = constraints.of_parameters(
        probs=constraints.unit_interval, logits=constraints.real
    )

    def _set(self, probs: Any, logits: Any, *others: Any) -> list[Tensor]:
        name, given = one_of(probs=probs, logits=logits)
        self.__dict__[name], *rest = batch_of(given, *others)
        self._param = self.__dict__[name]
        return rest


class Bernoulli(_Chance):
    """1 with probability `probs`, else 0."""

    support = constraints.boolean
    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._set(probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        mode = (self.probs >= 0.5).to(self.probs.dtype)
        return tritorch.where(self.probs == 0.5, float("nan"), mode)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return tritorch.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        logits, value = tritorch.broadcast_tensors(self.logits, value)
        return -functional.binary_cross_entropy_with_logits(
            logits, value.to(logits.dtype), reduction="none"
        )

    def entropy(self) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            self.logits, self.probs, reduction="none"
        )

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = tritorch.arange(2, dtype=self._param.dtype, device=self._param.device)
        values = values.view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class Geometric(_Chance):
    """How often a trial fails before it succeeds, each time with probability `probs`."""

    support = constraints.nonnegative_integer

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._set(probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)
        if self._validate_args and probs is not None and not bool((self.probs > 0).all()):
            raise ValueError("Geometric: probs must be above 0.")

    @property
    def mean(self) -> Tensor:
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        return tritorch.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1.0 / self.probs - 1.0) / self.probs

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        probs = self.probs.detach()
        u = tritorch.rand(
            self._extended_shape(sample_shape), dtype=probs.dtype, device=probs.device
        )
        return (u.clamp(min=tritorch.finfo(u.dtype).tiny).log() / (-probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        failures = (-self.probs).log1p()
        return tritorch.where(value == 0, 0.0, value * failures) + self.probs.log()

    def entropy(self) -> Tensor:
        chance = functional.binary_cross_entropy_with_logits(
            self.logits, self.probs, reduction="none"
        )
        return chance / self.probs


class Binomial(_Chance):
    """How many of `total_count` trials succeed."""

    arg_constraints = constraints.of_parameters(
        total_count=constraints.nonnegative_integer,
        probs=constraints.unit_interval,
        logits=constraints.real,
    )

    def __init__(
        self,
        total_count: Any = 1,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        (self.total_count,) = self._set(probs, logits, total_count)
        self.total_count = self.total_count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Whole numbers up to the count."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        most = ((self.total_count + 1) * self.probs).floor()
        return tritorch.minimum(most, self.total_count)

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return tritorch.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        ways = (
            tritorch.lgamma(self.total_count + 1)
            - tritorch.lgamma(value + 1)
            - tritorch.lgamma(self.total_count - value + 1)
        )
        return ways + value * self.logits - self.total_count * functional.softplus(self.logits)


class Poisson(Distribution):
    """How many events come in a unit of time, at a `rate`."""

    arg_constraints = constraints.of_parameters(rate=constraints.nonnegative)
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = batch_of(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return tritorch.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return tritorch.xlogy(value, self.rate) - self.rate - tritorch.lgamma(value + 1)


class Categorical(_Odds):
    """A choice among as many as the last dimension of `probs` (or `logits`) has.

    Args:
        probs: not negative; they are divided by their sum.
        logits: logarithms of probabilities, up to a constant.

    Example:
        >>> import tritorch as torch
        >>> from tritorch.distributions import Categorical
        >>> Categorical(probs=torch.tensor([0.5, 0.5])).log_prob(torch.tensor(1))
        tensor(-0.6931)
    """

    arg_constraints = constraints.of_parameters(
        probs=constraints.simplex, logits=constraints.real_vector
    )
    has_enumerate_support = True

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, given = one_of(probs=probs, logits=logits)
        if given.ndim < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if name == "probs":
            self.probs = given / given.sum(-1, keepdim=True)
        else:
            self.logits = given - given.logsumexp(dim=-1, keepdim=True)
        self._param = self.__dict__[name]
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @staticmethod
    def _other(name: str, given: Tensor) -> Tensor:
        return _inside(given).log() if name == "logits" else given.softmax(-1)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """The numbers of the choices."""
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Tensor:
        return tritorch.full_like(self._param[..., 0], float("nan"))

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(dim=-1)

    @property
    def variance(self) -> Tensor:
        return self.mean

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        sample_shape = tritorch.Size(sample_shape)
        flat = self.probs.reshape(-1, self._num_events)
        drawn = tritorch.multinomial(flat, sample_shape.numel(), True).T
        return drawn.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        value = value.long().unsqueeze(-1)
        value, logits = tritorch.broadcast_tensors(value, self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        smallest = tritorch.finfo(self.logits.dtype).min
        return -(self.logits.clamp(min=smallest) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = tritorch.arange(self._num_events, device=self._param.device)
        values = values.view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class OneHotCategorical(Distribution):
    """A choice, as a vector that is 1 there and 0 elsewhere."""

    arg_constraints = constraints.of_parameters(
        probs=constraints.simplex, logits=constraints.real_vector
    )
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._categorical = Categorical(probs, logits, validate_args)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args)

    @property
    def probs(self) -> Tensor:
        """Probabilities that add up to 1."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """Logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return functional.one_hot(self.probs.argmax(-1), self._event_shape[0]).to(self.probs.dtype)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._categorical.sample(sample_shape)
        return functional.one_hot(drawn, self._event_shape[0]).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self) -> Tensor:
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = self._event_shape[0]
        values = tritorch.eye(n, dtype=self.probs.dtype, device=self.probs.device)
        values = values.view(n, *[1] * len(self._batch_shape), n)
        return values.expand(n, *self._batch_shape, n) if expand else values

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHotCategorical:
        probs = self.probs.expand(*batch_shape, self._event_shape[0])
        return type(self)(probs=probs, validate_args=False)


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """A choice through which gradients pass as if it were the probabilities.

    Source: Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013.
    """

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())
