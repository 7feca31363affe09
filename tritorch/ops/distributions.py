"""Random numbers of further distributions: poisson, binomial, geometric_, cauchy_, log_normal_."""

from __future__ import annotations

import math
from typing import Any

from tritorch import dtypes
from tritorch.kernels.templates import counts
from tritorch.layout import Layout
from tritorch.ops.arithmetic import xlogy
from tritorch.ops.comparison import where
from tritorch.ops.declare import method, takes, without_gradient
from tritorch.ops.dispatch import Plans
from tritorch.ops.elementary import ceil, exp, floor, lgamma, log, log1p, tan
from tritorch.ops.memory import contiguous
from tritorch.ops.random import normal_, rand, uniform_
from tritorch.ops.views import broadcast_tensors
from tritorch.tensor import Tensor, empty

_searches = Plans(counts.plan)


def _search(mode: Tensor, p: Tensor, a: Tensor, b: Tensor, generator: Any) -> Tensor:
    """Counts with p(k) / p(k - 1) = a + b / k, given the most probable and its probability."""
    u = rand(*mode.shape, dtype=dtypes.float64, device=mode.device, generator=generator)
    layout = Layout.contiguous(dtypes.float64, tuple(mode.shape), mode.device)
    result = empty(layout)
    operands = [contiguous(x) for x in (u, mode, p, a, b)]
    _searches[layout].launch(result._address, *[x._address for x in operands])
    return result


def _check(name: str, x: Tensor, bad: Tensor, wanted: str) -> None:
    if not x.is_floating_point():
        raise RuntimeError(f'"{name}" not implemented for {x.dtype}. Use a floating-point dtype.')
    if bool(bad.any()):
        raise RuntimeError(f"{name}: invalid argument, expected {wanted}.")


@without_gradient
@takes("floating", "float8")
def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Numbers of events, given their expected number for each element."""
    rate = input.detach()
    _check("poisson", rate, ~(rate >= 0), "rates of at least 0")
    rate = rate.to(dtypes.float64)
    mode = floor(rate)
    p = exp(xlogy(mode, rate) - rate - lgamma(mode + 1.0))
    return _search(mode, p, rate * 0.0, rate, generator).to(input.dtype)


@without_gradient
@takes("floating", "float8")
def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """How many of `count` trials succeed, each with probability `prob`."""
    n, given = broadcast_tensors(count.detach(), prob.detach())
    _check("binomial", count, ~(n >= 0), "counts of at least 0")
    _check("binomial", prob, ~((given >= 0) & (given <= 1)), "probabilities in [0, 1]")
    n, given = floor(n.to(dtypes.float64)), given.to(dtypes.float64)
    # The rarer of success and failure is counted.
    p = where(given > 0.5, 1.0 - given, given)
    mode = floor((n + 1.0) * p).minimum(n)
    logarithm = lgamma(n + 1.0) - lgamma(mode + 1.0) - lgamma(n - mode + 1.0)
    at_mode = exp(logarithm + xlogy(mode, p) + (n - mode) * log1p(-p))
    odds = p / (1.0 - p)
    drawn = _search(mode, at_mode, -odds, (n + 1.0) * odds, generator)
    return where(given > 0.5, n - drawn, drawn).to(count.dtype)


def _uniform_like(target: Tensor, generator: Any) -> Tensor:
    """Uniform numbers in (0, 1), in which a logarithm is finite."""
    kind = target.dtype if target.dtype is dtypes.float64 else dtypes.float32
    u = rand(*target.shape, dtype=kind, device=target.device, generator=generator)
    return u + (2.0**-54 if kind is dtypes.float64 else 2.0**-25)


@method("geometric_")
@without_gradient
def geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Write how many trials of probability p it took to succeed."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    u = _uniform_like(self, generator)
    return self.copy_(ceil(log(u) / math.log1p(-p)).clamp(min=1.0))


@method("cauchy_")
@without_gradient
def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None
) -> Tensor:
    """Write numbers of the Cauchy distribution."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    uniform_(self, generator=generator)
    return self.copy_(median + sigma * tan(math.pi * (self.detach() - 0.5)))


@method("log_normal_")
@without_gradient
@takes("floating")
def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
) -> Tensor:
    """Write numbers whose logarithms are normal with this mean and deviation."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    normal_(self, mean, std, generator=generator)
    return self.copy_(exp(self.detach()))
