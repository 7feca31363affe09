"""Distributions made of others, and the normal distribution of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.constraints import Constraint
from tritorch.distributions.discrete import Categorical
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.transforms import ComposeTransform, Transform
from tritorch.tensor import Tensor


def _sum_last(value: Tensor, dims: int) -> Tensor:
    return value.flatten(value.ndim - dims).sum(-1) if dims else value


class Independent(Distribution):
    """The last dimensions of a batch as one event.

    Args:
        base_distribution: a batch of distributions.
        reinterpreted_batch_ndims: how many dimensions of the batch become part of the event.
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        batch, dims = base_distribution.batch_shape, reinterpreted_batch_ndims
        if dims > len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), "
                f"actual {dims} vs {len(batch)}"
            )
        self.base_dist = base_distribution
        self.reinterpreted_batch_ndims = dims
        cut = len(batch) - dims
        event = (*batch[cut:], *base_distribution.event_shape)
        super().__init__(batch[:cut], event, validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the base has it."""
        return self.base_dist.has_rsample

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        """Where all parts are in the base's support."""
        return constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return _sum_last(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        return _sum_last(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Independent:
        cut = len(self._event_shape) - len(self.base_dist.event_shape)
        inner = self.base_dist.expand((*batch_shape, *self._event_shape[:cut]))
        return Independent(inner, self.reinterpreted_batch_ndims, validate_args=False)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"


class TransformedDistribution(Distribution):
    """The distribution of a function of a random variable.

    Args:
        base_distribution: of x.
        transforms: from x to the value, in their order.
    """

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        self.base_dist = base_distribution
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        events = max([len(base_distribution.event_shape), *(t.event_dim for t in self.transforms)])
        whole = (*base_distribution.batch_shape, *base_distribution.event_shape)
        cut = len(whole) - events
        super().__init__(whole[:cut], whole[cut:], validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the base has it."""
        return self.base_dist.has_rsample

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with tritorch.no_grad():
            return ComposeTransform(self.transforms)(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        value = self.base_dist.rsample(sample_shape)
        for transform in self.transforms:
            value = transform(value)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        events = len(self._event_shape)
        total: Any = 0.0
        y = value
        for transform in reversed(self.transforms):
            x = transform._inv_call(y)
            term = transform.log_abs_det_jacobian(x, y)
            total = total - _sum_last(term, events - transform.event_dim)
            y = x
        base = self.base_dist.log_prob(y)
        return total + _sum_last(base, events - len(self.base_dist.event_shape))

    def __repr__(self) -> str:
        return f"TransformedDistribution({self.base_dist}, {self.transforms})"


class MultivariateNormal(Distribution):
    """The normal distribution of vectors.

    Args:
        loc: mean, (..., n).
        covariance_matrix: (..., n, n), positive definite; or `precision_matrix`, its inverse; or
            `scale_tril`, its lower triangular root. One of the three.
    """

    arg_constraints = constraints.of_parameters(
        loc=constraints.real_vector,
        covariance_matrix=constraints.positive_definite,
        precision_matrix=constraints.positive_definite,
        scale_tril=constraints.lower_cholesky,
    )
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        found = [(name, matrix) for name, matrix in given.items() if matrix is not None]
        if len(found) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        name, matrix = found[0]
        if matrix.ndim < 2 or loc.ndim < 1:
            raise ValueError(f"{name} must be at least two-dimensional, loc one-dimensional.")
        batch = tritorch.broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1]))
        n = loc.shape[-1]
        self.loc = loc.expand(*batch, n)
        self.__dict__[name] = matrix.expand(*batch, n, n)
        super().__init__(batch, (n,), validate_args)
        if name == "scale_tril":
            self._root = self.__dict__[name]
        elif name == "covariance_matrix":
            self._root = tritorch.linalg.cholesky(self.__dict__[name])
        else:
            covariance = tritorch.linalg.inv(self.__dict__[name])
            self._root = tritorch.linalg.cholesky((covariance + covariance.mT) / 2)

    def __getattr__(self, name: str) -> Any:
        if name == "scale_tril" and "_root" in self.__dict__:
            return self._root
        if name == "covariance_matrix" and "_root" in self.__dict__:
            return self._root @ self._root.mT
        if name == "precision_matrix" and "_root" in self.__dict__:
            return tritorch.linalg.inv(self._root @ self._root.mT)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self._root.pow(2).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = tritorch.randn(
            self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device
        )
        return self.loc + (self._root @ noise.unsqueeze(-1)).squeeze(-1)

    def _half_log_det(self) -> Tensor:
        return self._root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        off = (value - self.loc).unsqueeze(-1)
        root = self._root.expand(*off.shape[:-2], *self._root.shape[-2:])
        z = tritorch.linalg.solve_triangular(root, off, upper=False).squeeze(-1)
        n = self._event_shape[0]
        return -0.5 * (n * math.log(2 * math.pi) + z.square().sum(-1)) - self._half_log_det()

    def entropy(self) -> Tensor:
        return 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_det()


class MixtureSameFamily(Distribution):
    """A choice among distributions of one kind.

    Args:
        mixture_distribution: which; its choices are those of the last dimension of the batch of
        component_distribution: what.
    """

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        choices, parts = mixture_distribution, component_distribution
        if choices.param_shape[-1] != parts.batch_shape[-1]:
            raise ValueError(
                f"`mixture_distribution component` ({choices.param_shape[-1]}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({parts.batch_shape[-1]})"
            )
        self.mixture_distribution = choices
        self.component_distribution = parts
        super().__init__(parts.batch_shape[:-1], parts.event_shape, validate_args)

    def _weights(self) -> Tensor:
        probs = self.mixture_distribution.probs
        return probs.reshape(*probs.shape, *[1] * len(self._event_shape))

    @property
    def _dim(self) -> int:
        return -1 - len(self._event_shape)

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self.component_distribution.mean).sum(self._dim)

    @property
    def variance(self) -> Tensor:
        parts, weights = self.component_distribution, self._weights()
        within = (weights * parts.variance).sum(self._dim)
        off = parts.mean - self.mean.unsqueeze(self._dim)
        return within + (weights * off.square()).sum(self._dim)

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        which = self.mixture_distribution.sample(sample_shape)
        drawn = self.component_distribution.sample(sample_shape)
        which = which.expand(drawn.shape[: drawn.ndim + self._dim])
        index = which.reshape(*which.shape, 1, *[1] * len(self._event_shape))
        index = index.expand(*which.shape, 1, *self._event_shape)
        return drawn.gather(drawn.ndim + self._dim, index).squeeze(self._dim)

    def cdf(self, value: Tensor) -> Tensor:
        parts = self.component_distribution.cdf(value.unsqueeze(self._dim))
        return (parts * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        parts = self.component_distribution.log_prob(value.unsqueeze(self._dim))
        return (parts + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)
