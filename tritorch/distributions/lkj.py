"""Correlation matrices at random, as their triangular roots."""

from __future__ import annotations

import math
from typing import Any

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.distribution import Distribution, batch_of
from tritorch.distributions.gamma import Beta
from tritorch.tensor import Tensor


class LKJCholesky(Distribution):
    """Lower triangular roots of correlation matrices, with density det ** (concentration - 1).

    Args:
        dim: rows of the matrix, at least 2.
        concentration: above 0; at 1 all correlation matrices are as likely.
    Source: Lewandowski et al., Generating random correlation matrices based on vines and extended
    onion method (2009), section 3.
    """

    arg_constraints = constraints.of_parameters(concentration=constraints.positive)
    support = constraints.corr_cholesky

    def __init__(
        self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        if dim < 2:
            raise ValueError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        self.dim = dim
        (self.concentration,) = batch_of(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)

    @tritorch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Each row is a direction at random times a length whose square is a beta variable."""
        c = self.concentration.unsqueeze(-1)
        before = tritorch.arange(self.dim - 1, dtype=c.dtype, device=c.device)
        lengths = Beta(0.5 * (before + 1), c + 0.5 * (self.dim - 2 - before), validate_args=False)
        squares = lengths.sample(sample_shape).unsqueeze(-1)  # of the rows below the first
        shape = self._extended_shape(sample_shape)
        normal = tritorch.randn(shape, dtype=c.dtype, device=c.device).tril(-1)[..., 1:, :]
        rows = squares.sqrt() * normal / normal.norm(dim=-1, keepdim=True)
        rows = tritorch.cat([tritorch.zeros_like(rows[..., :1, :]), rows], -2)
        smallest = tritorch.finfo(rows.dtype).tiny
        rest = (1 - rows.square().sum(-1)).clamp(min=smallest).sqrt()
        return rows + tritorch.diag_embed(rest)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n = self.dim - 1
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        c = self.concentration
        rows = tritorch.arange(2, self.dim + 1, dtype=c.dtype, device=c.device)
        powers = 2 * (c - 1).unsqueeze(-1) + self.dim - rows
        a = c + 0.5 * n
        factor = 0.5 * n * math.log(math.pi) + tritorch.mvlgamma(a - 0.5, n)
        factor = factor - n * tritorch.lgamma(a)
        return (powers * diagonal.log()).sum(-1) - factor
