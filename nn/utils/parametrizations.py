"""Parametrizations: orthogonal matrices, length and direction, spectral norm 1.

Sources: Lezcano-Casado, Trivializations for Gradient-Based Optimization on Manifolds, 2019
(orthogonal); Salimans and Kingma, 2016 (weight norm); Miyato et al., 2018 (spectral norm).
"""

from __future__ import annotations

from typing import Any

import tritorch
from tritorch.nn import functional
from tritorch.nn.modules.module import Module
from tritorch.nn.utils.parametrize import register_parametrization
from tritorch.nn.utils.spectral_normalization import as_matrix, output_dimension
from tritorch.nn.utils.weight_normalization import norm_except_dim, normalized
from tritorch.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

_MAPS = ("matrix_exp", "cayley", "householder")


def _is_orthogonal(q: Tensor) -> bool:
    rows, columns = q.shape[-2:]
    identity = tritorch.eye(columns, dtype=q.dtype, device=q.device)
    allowed = 10.0 * rows * tritorch.finfo(q.dtype).eps
    return bool(tritorch.allclose(q.mT @ q, identity, atol=allowed))


def _make_orthogonal(a: Tensor) -> Tensor:
    """Q of a = QR whose R has a positive diagonal; a has at least as many rows as columns."""
    reflectors, tau = tritorch.geqrf(a)
    q = tritorch.linalg.householder_product(reflectors, tau)
    return q * reflectors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    """Of a matrix X: an orthogonal one; of several, one each."""

    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool) -> None:
        super().__init__()
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        if wide:
            x = x.mT
        rows, columns = x.shape[-2:]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            tau = 2.0 / (1.0 + (a * a).sum(-2))
            q = tritorch.linalg.householder_product(a, tau)
            q = q * x.diagonal(dim1=-2, dim2=-1).detach().trunc().unsqueeze(-2)
        else:
            x = x.tril()
            if rows != columns:
                x = functional.pad(x, (0, rows - columns))
            a = x - x.mT
            if self.orthogonal_map == "matrix_exp":
                q = tritorch.matrix_exp(a)
            else:
                identity = tritorch.eye(rows, dtype=a.dtype, device=a.device)
                q = tritorch.linalg.solve(identity - 0.5 * a, identity + 0.5 * a)
            q = q[..., :columns]
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    @tritorch.no_grad()
    def right_inverse(self, q: Tensor) -> Tensor:
        if q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of "
                f"shape {q.shape}."
            )
        given = q
        wide = q.shape[-2] < q.shape[-1]
        if wide:
            q = q.mT
        rows, columns = q.shape[-2:]
        if not hasattr(self, "base"):
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            a, tau = tritorch.geqrf(q)
            signs = a.diagonal(dim1=-2, dim2=-1).sign()
            signs = tritorch.where(tau == 0.0, -signs, signs)
            a = a.tril(-1) + a.triu(1) + _diagonal(signs, rows, columns)
            return a.mT if wide else a
        if rows != columns:
            shape = (*q.shape[:-1], rows - columns)
            noise = tritorch.randn(shape, dtype=q.dtype, device=q.device)
            q = _make_orthogonal(tritorch.cat([q, noise], -1))
        else:
            q = q.clone() if _is_orthogonal(q) else _make_orthogonal(q)
        self.base = q
        ones = tritorch.ones_like(given.diagonal(dim1=-2, dim2=-1))
        return _diagonal(-ones, *given.shape[-2:])


def _diagonal(values: Tensor, rows: int, columns: int) -> Tensor:
    """(..., rows, columns) with these on the diagonal."""
    square = tritorch.diag_embed(values)
    size = values.shape[-1]
    return functional.pad(square, (0, columns - size, 0, rows - size))


def _tensor_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *,
    use_trivialization: bool = True,
) -> Module:  # fmt: skip
    """Keep a matrix, or a batch of them, orthogonal.

    Args:
        orthogonal_map: `matrix_exp` or `cayley` of a skew-symmetric matrix, or a product of
            `householder` reflectors; the first for square matrices, else the last.
        use_trivialization: times a fixed orthogonal matrix, so that it starts as the tensor is.
    Returns:
        the module.
    Raises:
        ValueError: there is no such tensor, it is no matrix, or the map is unknown.
    """
    weight = _tensor_of(module, name)
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: '
            f"{orthogonal_map}"
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return normalized(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


class _OldNames:
    """A hook that loads what `nn.utils.weight_norm` saved."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, state_dict: Any, prefix: str, *_: Any) -> None:
        old = [f"{prefix}{self.name}_g", f"{prefix}{self.name}_v"]
        if all(key in state_dict for key in old):
            for place, key in enumerate(old):
                new = f"{prefix}parametrizations.{self.name}.original{place}"
                state_dict[new] = state_dict.pop(key)


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """A parameter as its length `original0` and direction `original1`: g v / |v|.

    Args:
        dim: dimension whose entries have lengths of their own; None: one length in all.
    Returns:
        the module.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module._register_load_state_dict_pre_hook(_OldNames(name))
    return module


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        dims = weight.dim()
        if not -dims <= dim < dims:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{dims}, {dims - 1}] but got "
                f"{dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % dims
        self.eps = eps
        if dims > 1:
            self.n_power_iterations = n_power_iterations
            with tritorch.no_grad():
                matrix = as_matrix(weight, self.dim)
                height, width = matrix.shape
                u, v = matrix.new_empty(height).normal_(0, 1), matrix.new_empty(width).normal_(0, 1)
                self.register_buffer("_u", functional.normalize(u, dim=0, eps=eps))
                self.register_buffer("_v", functional.normalize(v, dim=0, eps=eps))
                self._iterate(matrix, 15)  # close enough to start with

    @tritorch.no_grad()
    def _iterate(self, matrix: Tensor, times: int) -> None:
        """The power method, in place."""
        for _ in range(times):
            self._u.copy_(functional.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(functional.normalize(matrix.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return functional.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    dim: int | None = None,
) -> Module:  # fmt: skip
    """A parameter over its largest singular value; of a vector, over its norm.

    Args:
        n_power_iterations: steps of the power method per reading in training.
        eps: least norm of the vectors.
        dim: dimension of the outputs; 1 for transposed convolutions, else 0.
    Returns:
        the module.
    """
    weight = _tensor_of(module, name)
    made = _SpectralNorm(weight, n_power_iterations, output_dimension(module, dim), eps)
    return register_parametrization(module, name, made)
