"""`Distribution`: shapes, validation and what else all distributions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import tritorch
from tritorch.distributions.constraints import Constraint
from tritorch.tensor import Tensor


class Distribution:
    """A batch of distributions: `batch_shape` of them, each over events of `event_shape`.

    Args:
        batch_shape: how many distributions, as a shape.
        event_shape: the shape of one outcome.
        validate_args: refuse parameters and values outside their sets with a ValueError; that
            reads tensors back. None: as `set_default_validate_args` says, True at first.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: ClassVar[Mapping[str, Constraint]] = {}
    support: Constraint
    _validates: ClassVar[bool] = True

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        self._batch_shape = tritorch.Size(batch_shape)
        self._event_shape = tritorch.Size(event_shape)
        self._validate_args = self._validates if validate_args is None else validate_args
        if self._validate_args:
            for name, constraint in self.arg_constraints.items():
                if name in self.__dict__:
                    self._check_argument(name, constraint)

    def _check_argument(self, name: str, constraint: Constraint) -> None:
        value = self.__dict__[name]
        if not bool(constraint.check(value.detach()).all()):
            raise ValueError(
                f"Expected parameter {name} ({type(value).__name__} of shape "
                f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                f"{constraint!r}, but found invalid values:\n{value}"
            )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions made from now on check their arguments."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args: expected a bool, got {value!r}.")
        Distribution._validates = value

    @property
    def batch_shape(self) -> Any:
        """How many distributions there are, as a shape."""
        return self._batch_shape

    @property
    def event_shape(self) -> Any:
        """The shape of one outcome."""
        return self._event_shape

    def _absent(self, name: str) -> NotImplementedError:
        return NotImplementedError(
            f"{type(self).__name__} has no {name}: it is not defined, or has no closed form. "
            "Work with what sample() gives."
        )

    @property
    def mean(self) -> Tensor:
        """The mean of each distribution."""
        raise self._absent("mean")

    @property
    def mode(self) -> Tensor:
        """Where each density is largest."""
        raise self._absent("mode")

    @property
    def variance(self) -> Tensor:
        """The variance of each distribution."""
        raise self._absent("variance")

    @property
    def stddev(self) -> Tensor:
        """The root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Outcomes of shape sample_shape + batch_shape + event_shape, without gradients."""
        with tritorch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Outcomes as functions of the parameters, through which gradients pass."""
        raise self._absent("rsample")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density (or mass) at a value."""
        raise self._absent("log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The mass below a value."""
        raise self._absent("cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which a mass lies."""
        raise self._absent("icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values a discrete distribution can have, in the first dimension."""
        raise self._absent("enumerate_support")

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        raise self._absent("entropy")

    def perplexity(self) -> Tensor:
        """exp(entropy)."""
        return self.entropy().exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same distributions, their batch repeated to a larger shape."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        batch_shape = tritorch.Size(batch_shape)
        made._batch_shape = batch_shape
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                extra = tuple(value.shape[len(self._batch_shape) :])
                setattr(made, name, value.expand(*batch_shape, *extra))
        return made

    def _extended_shape(self, sample_shape: Any = ()) -> Any:
        return tritorch.Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Tensor) -> None:
        if not self._validate_args:
            return
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        events = len(self._event_shape)
        if events and tuple(value.shape[value.ndim - events :]) != tuple(self._event_shape):
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.shape} vs "
                f"{self._event_shape}."
            )
        own = (*self._batch_shape, *self._event_shape)
        for mine, its in zip(reversed(own), reversed(tuple(value.shape)), strict=False):
            if mine != 1 and its != 1 and mine != its:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs "
                    f"{tritorch.Size(own)}."
                )
        if not bool(self.support.check(value.detach()).all()):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"to be within the support ({self.support!r}) of the distribution {self!r}, but "
                f"found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        parts = []
        for name in self.arg_constraints:
            value = self.__dict__.get(name)
            if value is not None:
                text = value.item() if value.numel() == 1 else value.size()
                parts.append(f"{name}: {text}")
        return f"{type(self).__name__}({', '.join(parts)})"


def batch_of(*values: Any) -> list[Tensor]:
    """Parameters of one shape: numbers and tensors broadcast together."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    like = tensors[0] if tensors else None
    made = [
        value
        if isinstance(value, Tensor)
        else tritorch.tensor(
            float(value),
            dtype=tritorch.get_default_dtype() if like is None else like.dtype,
            device=None if like is None else like.device,
        )
        for value in values
    ]
    return list(tritorch.broadcast_tensors(*made))


def one_of(**given: Any) -> tuple[str, Any]:
    """The one parameter that is given of two.

    Raises:
        ValueError: none is given, or both.
    """
    found = [(name, value) for name, value in given.items() if value is not None]
    if len(found) != 1:
        raise ValueError(f"Either `{'` or `'.join(given)}` must be specified, but not both.")
    return found[0]


def open_uniform(like: Tensor, shape: Any) -> Tensor:
    """Uniform in (0, 1): never 0, whose logarithm is infinite."""
    u = tritorch.rand(shape, dtype=like.dtype, device=like.device)
    return u.clamp(min=tritorch.finfo(u.dtype).tiny)
