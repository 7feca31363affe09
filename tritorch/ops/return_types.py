"""Results of several named tensors, which print as PyTorch's do."""

from __future__ import annotations

from typing import Any, NamedTuple

from tritorch.tensor import Tensor


class ValuesIndices(NamedTuple):
    """Values along a dimension and where they are."""

    values: Tensor
    indices: Tensor


def named(name: str) -> type[ValuesIndices]:
    """The class of the results of an operation."""

    class Result(ValuesIndices):
        __slots__ = ()

        def __repr__(self) -> str:
            lines = ",\n".join(f"{field}={getattr(self, field)!r}" for field in self._fields)
            return f"torch.return_types.{name}(\n{lines})"

        def __reduce__(self) -> Any:
            return (_rebuilt, (name, *self))

    Result.__name__ = Result.__qualname__ = name
    Result.__doc__ = f"What `{name}` returns: values and indices."
    _classes[name] = Result
    return Result


def _rebuilt(name: str, values: Tensor, indices: Tensor) -> ValuesIndices:
    return _classes[name](values, indices)


class aminmax(NamedTuple):
    """What `aminmax` returns."""

    min: Tensor
    max: Tensor

    def __repr__(self) -> str:
        return f"torch.return_types.aminmax(\nmin={self.min!r},\nmax={self.max!r})"


_classes: dict[str, type[ValuesIndices]] = {}
max = named("max")
min = named("min")
sort = named("sort")
topk = named("topk")
kthvalue = named("kthvalue")
median = named("median")
mode = named("mode")
cummax = named("cummax")
cummin = named("cummin")
