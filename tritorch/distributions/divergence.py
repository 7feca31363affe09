"""`kl_divergence`: how far one distribution is from another, in nats, for pairs of classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tritorch
from tritorch.distributions.continuous import (
    Cauchy,
    Exponential,
    Gumbel,
    HalfNormal,
    Laplace,
    LogNormal,
    Normal,
    Uniform,
)
from tritorch.distributions.discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    OneHotCategorical,
    Poisson,
)
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.gamma import Beta, Dirichlet, Gamma, InverseGamma
from tritorch.distributions.joint import Independent, MultivariateNormal
from tritorch.distributions.powers import HalfCauchy, Pareto
from tritorch.nn import functional
from tritorch.tensor import Tensor

_Rule = Callable[[Any, Any], Tensor]
_rules: dict[tuple[type, type], _Rule] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[_Rule], _Rule]:
    """A decorator: the function is the divergence for these classes and those below them.

    Raises:
        TypeError: one is no class of distributions.
    """
    for kind in (type_p, type_q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected a subclass of Distribution but got {kind}")

    def keep(rule: _Rule) -> _Rule:
        _rules[type_p, type_q] = rule
        return rule

    return keep


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The mean of log(p / q) under p, for each pair of a batch.

    Raises:
        NotImplementedError: there is no rule for these classes.
    """
    for a in type(p).__mro__:
        for b in type(q).__mro__:
            rule = _rules.get((a, b))
            if rule is not None:
                return rule(p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
        f"{type(q).__name__}. Use register_kl."
    )


@register_kl(LogNormal, LogNormal)
@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).square() - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio - 1 - ratio.log())


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return tritorch.where((q.low > p.low) | (q.high < p.high), math.inf, found)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    spread = width.square() / 12 + ((p.high + p.low) / 2 - q.loc).square()
    return 0.5 * (spread / q.scale.square() + math.log(2 * math.pi)) + (q.scale / width).log()


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    off = (p.loc - q.loc).abs()
    ratio = p.scale / q.scale
    return off / q.scale + ratio * (-off / p.scale).exp() - ratio.log() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    apart = (p.scale + q.scale).square() + (p.loc - q.loc).square()
    return (apart / (4 * p.scale * q.scale)).log()


@register_kl(HalfCauchy, HalfCauchy)
def _half_cauchy(p: HalfCauchy, q: HalfCauchy) -> Tensor:
    return ((p.scale + q.scale).square() / (4 * p.scale * q.scale)).log()


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Tensor:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return tritorch.where(p.scale < q.scale, math.inf, found)


@register_kl(Gamma, Gamma)
@register_kl(InverseGamma, InverseGamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    return (
        b * (p.rate / q.rate).log()
        + tritorch.lgamma(b)
        - tritorch.lgamma(a)
        + (a - b) * tritorch.digamma(a)
        + (q.rate - p.rate) * (a / p.rate)
    )


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1, keepdim=True)
    found = tritorch.lgamma(b) - tritorch.lgamma(a)
    found = found + (a - b) * (tritorch.digamma(a) - tritorch.digamma(total))
    return found.sum(-1) + tritorch.lgamma(total).squeeze(-1) - tritorch.lgamma(b.sum(-1))


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    return _dirichlet(p._both, q._both)


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    euler = 0.57721566490153286060
    ratio = p.scale / q.scale
    shift = q.loc / q.scale - p.loc / q.scale
    term = (shift + tritorch.lgamma(1 + ratio)).exp()
    return -ratio.log() - shift + ratio * euler + term - (1 + euler)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    ones = p.probs * (functional.softplus(-q.logits) - functional.softplus(-p.logits))
    rest = (1 - p.probs) * (functional.softplus(q.logits) - functional.softplus(p.logits))
    ones = tritorch.where(q.probs == 0, math.inf, ones)
    ones = tritorch.where(p.probs == 0, 0.0, ones)
    rest = tritorch.where(q.probs == 1, math.inf, rest)
    rest = tritorch.where(p.probs == 1, 0.0, rest)
    return ones + rest


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Tensor:
    if bool((q.total_count < p.total_count).any()):
        raise NotImplementedError("KL between Binomials where q.total_count < p.total_count")
    kept = (-p.probs).log1p() - (-q.probs).log1p()
    return p.total_count * (p.probs * (p.logits - q.logits) + kept)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - tritorch.log1p(-q.probs) / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    terms = tritorch.where((q.probs == 0).expand(terms.shape), math.inf, terms)
    return tritorch.where((p.probs == 0).expand(terms.shape), 0.0, terms).sum(-1)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL between Independents of different dimensions")
    found = kl_divergence(p.base_dist, q.base_dist)
    dims = p.reinterpreted_batch_ndims
    return found.flatten(found.ndim - dims).sum(-1) if dims else found


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot "
            "be computed"
        )
    solve = tritorch.linalg.solve_triangular
    roots = tritorch.broadcast_tensors(q._root, p._root)
    spread = solve(roots[0], roots[1], upper=False).square().flatten(-2).sum(-1)
    off = (q.loc - p.loc).unsqueeze(-1)
    root = q._root.expand(*off.shape[:-2], *q._root.shape[-2:])
    distance = solve(root, off, upper=False).squeeze(-1).square().sum(-1)
    n = p.event_shape[0]
    return q._half_log_det() - p._half_log_det() + 0.5 * (spread + distance - n)
