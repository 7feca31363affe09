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


#: what is not of `linalg`
_PLAIN = ("frexp", "geqrf", "histogram", "triangular_solve")


def _shown(self: Any) -> str:
    name = type(self).__name__.removesuffix("_old")
    kind = name if name in _PLAIN else f"linalg_{name}"
    kind = "svd" if type(self).__name__ == "svd_old" else kind
    lines = ",\n".join(f"{field}={getattr(self, field)!r}" for field in self._fields)
    return f"torch.return_types.{kind}(\n{lines})"


class cholesky_ex(NamedTuple):
    """What `linalg.cholesky_ex` returns."""

    L: Tensor
    info: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class frexp(NamedTuple):
    """What `frexp` returns."""

    mantissa: Tensor
    exponent: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class histogram(NamedTuple):
    """What `histogram` returns."""

    hist: Tensor
    bin_edges: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class triangular_solve(NamedTuple):
    """What `triangular_solve` returns."""

    solution: Tensor
    cloned_coefficient: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class lu_factor_ex(NamedTuple):
    """What `linalg.lu_factor_ex` returns."""

    LU: Tensor
    pivots: Tensor
    info: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class lu_factor(NamedTuple):
    """What `linalg.lu_factor` returns."""

    LU: Tensor
    pivots: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class lu(NamedTuple):
    """What `linalg.lu` returns."""

    P: Tensor
    L: Tensor
    U: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class solve_ex(NamedTuple):
    """What `linalg.solve_ex` returns."""

    result: Tensor
    info: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class inv_ex(NamedTuple):
    """What `linalg.inv_ex` returns."""

    inverse: Tensor
    info: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class slogdet(NamedTuple):
    """What `linalg.slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class qr(NamedTuple):
    """What `linalg.qr` returns."""

    Q: Tensor
    R: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class geqrf(NamedTuple):
    """What `geqrf` returns."""

    a: Tensor
    tau: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class eigh(NamedTuple):
    """What `linalg.eigh` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class svd(NamedTuple):
    """What `linalg.svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class svd_old(NamedTuple):
    """What `svd` returns."""

    U: Tensor
    S: Tensor
    V: Tensor

    def __repr__(self) -> str:
        return _shown(self)


class lstsq(NamedTuple):
    """What `linalg.lstsq` returns."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor

    def __repr__(self) -> str:
        return _shown(self)


_classes: dict[str, type[ValuesIndices]] = {}
max = named("max")
min = named("min")
sort = named("sort")
topk = named("topk")
kthvalue = named("kthvalue")
median = named("median")
nanmedian = named("nanmedian")
mode = named("mode")
cummax = named("cummax")
cummin = named("cummin")
