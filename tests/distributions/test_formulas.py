"""`tritorch.distributions` against scipy.stats, divergences against integrals and sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, special, stats

import tritorch
from tritorch import distributions as d
from tritorch.ops.gamma_draws import log_gamma_sample

Scipy = Any
LOCS, SCALES = (0.3, -1.0), (0.5, 2.0)
OTHER_LOCS, OTHER_SCALES = (-0.4, -0.5), (0.7, 1.5)
CHANCES, OTHER_CHANCES = (0.3, 0.9), (0.6, 0.2)
VALUES, LEVELS = (0.1, 0.7), (0.2, 0.85)


def _tensor(numbers: Any) -> Any:
    return tritorch.tensor(numbers, dtype=tritorch.float64)


#: name -> our class, two sets of parameters (a column a distribution), scipy's of one column
CONTINUOUS: dict[str, tuple[Any, tuple[Any, ...], tuple[Any, ...], Callable[..., Scipy]]] = {
    "Normal": (d.Normal, (LOCS, SCALES), (OTHER_LOCS, OTHER_SCALES), stats.norm),
    "LogNormal": (
        d.LogNormal, (LOCS, SCALES), (OTHER_LOCS, OTHER_SCALES),
        lambda a, b: stats.lognorm(b, scale=math.exp(a)),
    ),
    "HalfNormal": (
        d.HalfNormal, (SCALES,), (OTHER_SCALES,), lambda b: stats.halfnorm(scale=b),
    ),
    "Uniform": (
        d.Uniform, ((0.0, -1.0), SCALES), ((-0.5, -1.5), (0.8, 2.0)),
        lambda a, b: stats.uniform(a, b - a),
    ),
    "Exponential": (
        d.Exponential, (SCALES,), (OTHER_SCALES,), lambda r: stats.expon(scale=1 / r),
    ),
    "Laplace": (d.Laplace, (LOCS, SCALES), (OTHER_LOCS, OTHER_SCALES), stats.laplace),
    "Cauchy": (d.Cauchy, (LOCS, SCALES), (OTHER_LOCS, OTHER_SCALES), stats.cauchy),
    "Gumbel": (d.Gumbel, (LOCS, SCALES), (OTHER_LOCS, OTHER_SCALES), stats.gumbel_r),
    "Gamma": (
        d.Gamma, (SCALES, OTHER_SCALES), (OTHER_SCALES, SCALES),
        lambda a, r: stats.gamma(a, scale=1 / r),
    ),
    "Chi2": (d.Chi2, ((1.5, 6.0),), ((2.0, 3.5),), stats.chi2),
    "InverseGamma": (
        d.InverseGamma, ((3.0, 2.5), SCALES), ((2.5, 4.0), OTHER_SCALES),
        lambda a, r: stats.invgamma(a, scale=r),
    ),
    "Beta": (d.Beta, (SCALES, OTHER_SCALES), (OTHER_SCALES, SCALES), stats.beta),
    "StudentT": (
        d.StudentT, ((3.0, 7.5), LOCS, SCALES), ((4.0, 5.0), LOCS, SCALES), stats.t,
    ),
    "FisherSnedecor": (d.FisherSnedecor, ((3.0, 6.0), (5.5, 9.0)), ((), ()), stats.f),
    "HalfCauchy": (
        d.HalfCauchy, (SCALES,), (OTHER_SCALES,), lambda b: stats.halfcauchy(scale=b),
    ),
    "Pareto": (
        d.Pareto, ((0.05, 0.5), (2.5, 4.0)), ((0.04, 0.25), (3.0, 1.5)),
        lambda s, a: stats.pareto(a, scale=s),
    ),
    "Weibull": (
        d.Weibull, (SCALES, (1.3, 2.5)), (OTHER_SCALES, SCALES),
        lambda s, c: stats.weibull_min(c, scale=s),
    ),
}  # fmt: skip
WITHOUT_CDF = ("Beta", "StudentT", "FisherSnedecor")
WITHOUT_ICDF = (*WITHOUT_CDF, "Gamma", "Chi2", "InverseGamma")
WITHOUT_MEAN = ("Cauchy", "HalfCauchy")
WITHOUT_ENTROPY = ("Binomial", "Poisson", "NegativeBinomial", "FisherSnedecor")
WITHOUT_DIVERGENCE = ("StudentT", "FisherSnedecor", "Weibull", "NegativeBinomial")
DISCRETE: dict[str, tuple[Any, tuple[Any, ...], tuple[Any, ...], Callable[..., Scipy]]] = {
    "Bernoulli": (d.Bernoulli, (CHANCES,), (OTHER_CHANCES,), stats.bernoulli),
    "Geometric": (d.Geometric, (CHANCES,), (OTHER_CHANCES,), lambda p: stats.geom(p, loc=-1)),
    "Binomial": (
        lambda p: d.Binomial(5, p), (CHANCES,), (OTHER_CHANCES,), lambda p: stats.binom(5, p),
    ),
    "Poisson": (d.Poisson, ((0.3, 4.9),), ((1.0, 2.5),), stats.poisson),
    "NegativeBinomial": (
        lambda p: d.NegativeBinomial(2.5, p), (CHANCES,), (OTHER_CHANCES,),
        lambda p: stats.nbinom(2.5, 1 - p),
    ),
}  # fmt: skip


def _both(table: dict[str, Any], name: str, which: int = 0) -> tuple[d.Distribution, list[Scipy]]:
    make, *parameters, reference = table[name]
    columns = parameters[which]
    return make(*map(_tensor, columns)), [reference(*c) for c in zip(*columns, strict=True)]


def _close(found: Any, wanted: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(found.numpy(), wanted, tolerance, 1e-14)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_densities_and_masses(name: str) -> None:
    ours, theirs = _both(CONTINUOUS, name)
    values = _tensor(VALUES)
    pairs = list(zip(VALUES, theirs, strict=True))
    inside = [bool(s.support()[0] <= v < s.support()[1]) for v, s in pairs]
    assert all(inside), "the values are to be in the support"
    _close(ours.log_prob(values), [s.logpdf(v) for v, s in pairs])
    if name in WITHOUT_CDF:
        with pytest.raises(NotImplementedError, match="no cdf"):
            ours.cdf(values)
    else:
        _close(ours.cdf(values), [s.cdf(v) for v, s in pairs])
    if name in WITHOUT_ICDF:
        with pytest.raises(NotImplementedError, match="no icdf"):
            ours.icdf(values)
    else:
        found = ours.icdf(_tensor(LEVELS))
        _close(found, [s.ppf(u) for u, s in zip(LEVELS, theirs, strict=True)])


def _has(ours: Any, name: str) -> Any:
    try:
        found = getattr(ours, name)
        return found() if name == "entropy" else found
    except NotImplementedError:
        return None


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_moments_entropies_and_modes(name: str) -> None:
    ours, theirs = _both(CONTINUOUS | DISCRETE, name)
    if name in WITHOUT_MEAN:
        assert not ours.mean.isfinite().any() and ours.variance.isinf().all()
    else:
        _close(ours.mean, [s.mean() for s in theirs])
        _close(ours.variance, [s.var() for s in theirs])
        _close(ours.stddev, [s.std() for s in theirs])
    entropy = _has(ours, "entropy")
    assert (entropy is None) == (name in WITHOUT_ENTROPY)
    if entropy is not None:
        _close(entropy, [s.entropy() for s in theirs], 1e-8)
    if name == "Uniform":
        assert ours.mode.isnan().all()
        return
    step = 1.0 if name in DISCRETE else 0.01
    for i, (mode, reference) in enumerate(zip(ours.mode.tolist(), theirs, strict=True)):
        density = reference.pmf if name in DISCRETE else reference.pdf
        best = density(mode)
        assert best >= max(density(mode - step), density(mode + step)), i


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_of_whole_numbers(name: str) -> None:
    ours, theirs = _both(DISCRETE, name)
    for value in (0.0, 1.0) if name == "Bernoulli" else (0.0, 1.0, 3.0, 5.0):
        found = ours.log_prob(_tensor((value, value)))
        _close(found, [s.logpmf(value) for s in theirs])
    if name != "Poisson":  # the same by logits
        logits = ours.logits
        _close(logits, [math.log(p / (1 - p)) for p in CHANCES])
        counts = {"Binomial": (5,), "NegativeBinomial": (2.5,)}.get(name, ())
        again = type(ours)(*counts, logits=logits)
        _close(again.probs, CHANCES)
        _close(again.log_prob(_tensor((1.0, 0.0))), ours.log_prob(_tensor((1.0, 0.0))).numpy())


def test_what_is_outside_has_no_density() -> None:
    uniform = d.Uniform(_tensor(0.0), _tensor(2.0), validate_args=False)
    outside = uniform.log_prob(_tensor([-0.1, 0.0, 1.0, 2.0, 2.1]))
    assert outside.isinf().tolist() == [True, False, False, True, True]
    half = d.HalfNormal(_tensor(1.0), validate_args=False).log_prob(_tensor([-0.1, 0.0]))
    assert half.isinf().tolist() == [True, False]


@pytest.mark.parametrize("name", sorted(CONTINUOUS.keys() - set(WITHOUT_DIVERGENCE)))
def test_divergences_are_integrals(name: str) -> None:
    ours, theirs = _both(CONTINUOUS, name)
    others, scipys = _both(CONTINUOUS, name, 1)
    wanted = []
    for p, q in zip(theirs, scipys, strict=True):
        # of log(p / q) over the mass u = cdf(x): bounded, whatever the tails are
        integral = integrate.quad(
            lambda u, p=p, q=q: p.logpdf(p.ppf(u)) - q.logpdf(p.ppf(u)), 0, 1, epsabs=1e-10
        )
        wanted.append(integral[0])
    _close(d.kl_divergence(ours, others), wanted, 1e-6)
    _close(d.kl_divergence(ours, ours), [0.0, 0.0])


def test_the_divergence_of_a_uniform_from_what_lacks_a_part_of_it() -> None:
    wide, narrow = d.Uniform(_tensor(0.0), _tensor(3.0)), d.Uniform(_tensor(1.0), _tensor(2.0))
    assert d.kl_divergence(wide, narrow).item() == math.inf
    _close(d.kl_divergence(narrow, wide), math.log(3))
    for low, high in ((0.0, 1.5), (1.5, 4.0)):  # one side only
        other = d.Uniform(_tensor(low), _tensor(high))
        assert d.kl_divergence(narrow, other).item() == math.inf


def test_the_divergence_of_a_uniform_from_a_normal() -> None:
    p, q = stats.uniform(0.5, 2.0), stats.norm(0.3, 1.5)
    wanted = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), 0.5, 2.5)[0]
    ours = d.Uniform(_tensor(0.5), _tensor(2.5)), d.Normal(_tensor(0.3), _tensor(1.5))
    _close(d.kl_divergence(*ours), wanted, 1e-9)


@pytest.mark.parametrize("name", sorted(DISCRETE.keys() - set(WITHOUT_DIVERGENCE)))
def test_divergences_are_sums(name: str) -> None:
    ours, theirs = _both(DISCRETE, name)
    others, scipys = _both(DISCRETE, name, 1)
    every = np.arange({"Bernoulli": 2, "Binomial": 6}.get(name, 80))
    wanted = [
        (p.pmf(every) * (p.logpmf(every) - q.logpmf(every))).sum()
        for p, q in zip(theirs, scipys, strict=True)
    ]
    _close(d.kl_divergence(ours, others), wanted, 1e-9)


def test_divergences_of_certain_coins() -> None:
    certain, fair = d.Bernoulli(_tensor((0.0, 1.0))), d.Bernoulli(_tensor((0.5, 0.5)))
    _close(d.kl_divergence(certain, fair), [math.log(2)] * 2)
    assert d.kl_divergence(fair, certain).isinf().all()
    with pytest.raises(NotImplementedError, match="total_count"):
        d.kl_divergence(d.Binomial(3, _tensor(0.5)), d.Binomial(2, _tensor(0.5)))


# ---- choices
WEIGHTS = np.array([[0.2, 0.5, 0.6], [1.0, 2.0, 3.0]])
SHARES = WEIGHTS / WEIGHTS.sum(-1, keepdims=True)


@pytest.mark.parametrize("by", ["probs", "logits"])
def test_choices(by: str) -> None:
    given = {by: _tensor(WEIGHTS if by == "probs" else np.log(WEIGHTS))}
    ours, hot = d.Categorical(**given), d.OneHotCategorical(**given)
    _close(ours.probs, SHARES)
    _close(ours.logits, np.log(SHARES))
    _close(ours.log_prob(tritorch.tensor([0, 2])), [np.log(SHARES[0, 0]), np.log(SHARES[1, 2])])
    # values of a sample's shape, and of one choice for the whole batch
    several = tritorch.tensor([[0, 2], [1, 1], [2, 0]])
    wanted = np.log(SHARES[np.arange(2), several.numpy()])
    _close(ours.log_prob(several), wanted)
    _close(ours.log_prob(tritorch.tensor(1)), np.log(SHARES[:, 1]))
    _close(hot.log_prob(tritorch.nn.functional.one_hot(several, 3).double()), wanted)
    entropy = -(SHARES * np.log(SHARES)).sum(-1)
    for made in (ours, hot):
        _close(made.entropy(), entropy)
    assert ours.mode.tolist() == [2, 2] and hot.mode.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert ours.mean.isnan().all() and ours.mean.shape == (2,)
    _close(hot.mean, SHARES)
    _close(hot.variance, SHARES * (1 - SHARES))


def test_divergences_of_choices() -> None:
    other = np.array([[0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
    wanted = (SHARES * np.log(SHARES / other)).sum(-1)
    for kind in (d.Categorical, d.OneHotCategorical):
        _close(d.kl_divergence(kind(_tensor(WEIGHTS)), kind(_tensor(other))), wanted)
    some, none = _tensor([0.5, 0.5, 0.0]), _tensor([0.5, 0.0, 0.5])
    assert d.kl_divergence(d.Categorical(some), d.Categorical(none)).item() == math.inf
    half = d.kl_divergence(d.Categorical(some), d.Categorical(_tensor([0.25, 0.25, 0.5])))
    _close(half, math.log(2))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (lambda: d.Bernoulli(_tensor(CHANCES)), [[0, 0], [1, 1]]),
        (lambda: d.Categorical(_tensor(WEIGHTS)), [[0, 0], [1, 1], [2, 2]]),
        (
            lambda: d.OneHotCategorical(_tensor([[1.0, 2.0]] * 2)),
            [[[1, 0], [1, 0]], [[0, 1], [0, 1]]],
        ),
    ],
    ids=["Bernoulli", "Categorical", "OneHotCategorical"],
)
def test_every_outcome(made: Callable[[], d.Distribution], wanted: list[Any]) -> None:
    assert made().has_enumerate_support
    assert made().enumerate_support().tolist() == wanted
    narrow = made().enumerate_support(expand=False)
    assert narrow.shape[1] == 1 and narrow.expand_as(_tensor(wanted)).tolist() == wanted


def test_one_hot_choices_expand() -> None:
    wide = d.OneHotCategorical(_tensor(WEIGHTS)).expand((4, 2))
    assert wide.batch_shape == (4, 2) and wide.event_shape == (3,)
    _close(wide.probs, np.broadcast_to(SHARES, (4, 2, 3)))


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        (kind, by)
        for kind in (d.Bernoulli, d.Geometric, d.Categorical, d.OneHotCategorical)
        for by in ("probs", "logits")
    ],
)
def test_sampling_takes_no_gradient_away(kind: Any, by: str) -> None:
    def slope(ask: Callable[[Any], Any]) -> Any:
        given = _tensor([0.2, 0.7]).requires_grad_()
        made = kind(**{by: given})
        ask(made)
        return tritorch.autograd.grad(made.entropy().sum(), given)[0]

    @tritorch.no_grad()
    def look(made: Any) -> None:
        made.sample()
        assert made.probs.shape == made.logits.shape

    _close(slope(look), slope(lambda made: None).numpy())


def test_gradients_pass_through_straight_choices() -> None:
    logits = _tensor([0.1, 0.7]).requires_grad_()
    made = d.OneHotCategoricalStraightThrough(logits=logits)
    drawn = made.rsample()
    assert sorted(drawn.tolist()) == pytest.approx([0.0, 1.0])
    task = (drawn * _tensor([1.0, 3.0])).sum()
    (found,) = tritorch.autograd.grad(task, logits, retain_graph=True)
    (wanted,) = tritorch.autograd.grad((made.probs * _tensor([1.0, 3.0])).sum(), logits)
    _close(found, wanted.numpy())


# ---- vectors and parts
MEAN, COVARIANCE = np.array([0.3, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]])


@pytest.mark.parametrize("by", ["covariance_matrix", "precision_matrix", "scale_tril"])
def test_normal_vectors(by: str) -> None:
    root = np.linalg.cholesky(COVARIANCE)
    forms = {
        "covariance_matrix": COVARIANCE,
        "precision_matrix": np.linalg.inv(COVARIANCE),
        "scale_tril": root,
    }
    ours = d.MultivariateNormal(_tensor(MEAN), **{by: _tensor(forms[by])})
    for form, matrix in forms.items():
        _close(getattr(ours, form), matrix)
    reference = stats.multivariate_normal(MEAN, COVARIANCE)
    points = np.array([[0.1, 0.7], [2.0, -3.0], [0.3, -1.0]])
    _close(ours.log_prob(_tensor(points)), reference.logpdf(points))
    _close(ours.entropy(), reference.entropy())
    _close(ours.mean, MEAN)
    _close(ours.variance, np.diag(COVARIANCE))


def test_normal_vectors_of_a_batch_and_their_divergence() -> None:
    means, other = np.stack([MEAN, MEAN + 1]), np.array([[1.0, -0.2], [-0.2, 0.5]])
    p = d.MultivariateNormal(_tensor(means), _tensor(COVARIANCE))
    q = d.MultivariateNormal(_tensor([0.5, 0.5]), _tensor(other))
    assert p.batch_shape == (2,) and p.event_shape == (2,)
    _close(p.log_prob(_tensor(MEAN)), [
        stats.multivariate_normal(m, COVARIANCE).logpdf(MEAN) for m in means
    ])  # fmt: skip
    inverse, off = np.linalg.inv(other), 0.5 - means
    wanted = 0.5 * (
        np.trace(inverse @ COVARIANCE)
        + np.einsum("bi,ij,bj->b", off, inverse, off)
        - 2
        + math.log(np.linalg.det(other) / np.linalg.det(COVARIANCE))
    )
    _close(d.kl_divergence(p, q), wanted)


def test_parts_of_an_event() -> None:
    locs, scales = np.array([[0.3, -1.0, 0.0], [0.0, 1.0, 2.0]]), np.array([0.5, 2.0, 1.0])
    base = d.Normal(_tensor(locs), _tensor(scales))
    value = np.array([0.1, 0.2, 0.3])
    for dims, axes in ((1, (-1,)), (2, (-2, -1))):
        made = d.Independent(base, dims)
        assert made.batch_shape == locs.shape[: 2 - dims]
        assert made.event_shape == locs.shape[2 - dims :]
        _close(made.log_prob(_tensor(value)), stats.norm(locs, scales).logpdf(value).sum(axes))
        entropy = np.broadcast_to(stats.norm(0, scales).entropy(), (2, 3)).sum(axes)
        _close(made.entropy(), entropy)
        other = d.Normal(_tensor(0 * locs), _tensor(scales))
        wanted = (locs**2 / (2 * scales**2)).sum(axes)
        _close(d.kl_divergence(made, d.Independent(other, dims)), wanted)
    wide = d.Independent(base, 1).expand((5, 2))
    assert wide.batch_shape == (5, 2) and wide.event_shape == (3,)
    with pytest.raises(NotImplementedError, match="different dimensions"):
        d.kl_divergence(d.Independent(base, 1), d.Independent(base, 2))
    with pytest.raises(ValueError, match="actual 3 vs 2"):
        d.Independent(base, 3)


def test_mixtures() -> None:
    shares, locs, scales = np.array([0.3, 0.7]), np.array(LOCS), np.array(SCALES)
    made = d.MixtureSameFamily(
        d.Categorical(_tensor(shares)), d.Normal(_tensor(locs), _tensor(scales))
    )
    assert made.batch_shape == () and made.event_shape == ()
    parts = stats.norm(locs, scales)
    values = np.array([0.1, 0.7, -2.0])
    _close(made.log_prob(_tensor(values)), np.log(parts.pdf(values[:, None]) @ shares))
    _close(made.cdf(_tensor(values)), parts.cdf(values[:, None]) @ shares)
    mean = shares @ locs
    _close(made.mean, mean)
    _close(made.variance, shares @ (scales**2 + locs**2) - mean**2)
    vectors = d.MixtureSameFamily(
        d.Categorical(_tensor(shares)), d.Independent(d.Normal(_tensor([LOCS, OTHER_LOCS]), 1.0), 1)
    )
    assert vectors.batch_shape == () and vectors.event_shape == (2,)
    _close(vectors.mean, shares @ np.array([LOCS, OTHER_LOCS]))
    dense = stats.norm(np.array([LOCS, OTHER_LOCS]), 1.0).logpdf(VALUES).sum(-1)
    _close(vectors.log_prob(_tensor(VALUES)), math.log(np.exp(dense) @ shares))
    assert vectors.sample((7,)).shape == (7, 2)
    with pytest.raises(ValueError, match="does not equal"):
        d.MixtureSameFamily(d.Categorical(_tensor(shares)), d.Normal(_tensor([0.0] * 3), 1.0))


# ---- functions of variables
TRANSFORMS: dict[str, Callable[[], d.Transform]] = {
    "exp": d.ExpTransform,
    "sigmoid": d.SigmoidTransform,
    "tanh": d.TanhTransform,
    "affine": lambda: d.AffineTransform(0.5, -2.0),
    "affine of tensors": lambda: d.AffineTransform(
        _tensor([0.5, 1.0, 0.0]), _tensor([3.0, -2.0, 0.5])
    ),
    "composed": lambda: d.ComposeTransform([d.AffineTransform(0.5, 0.7), d.TanhTransform()]),
    "inverse": lambda: d.ExpTransform().inv.inv,
    "inverse of a composition": lambda: d.ComposeTransform(
        [d.ExpTransform(), d.AffineTransform(-3.0, 2.0)]
    ).inv,
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_derivatives_and_inverses_of_transforms(name: str) -> None:
    transform = TRANSFORMS[name]()
    x = _tensor([[-0.8, 0.1, 1.3], [0.6, -0.2, 0.0]]).requires_grad_()
    y = transform(x)
    (slopes,) = tritorch.autograd.grad(y.sum(), x)
    _close(transform.log_abs_det_jacobian(x, y).detach(), np.log(np.abs(slopes.numpy())), 1e-9)
    _close(transform._inv_call(y).detach(), x.detach().numpy(), 1e-9)
    _close(transform.inv(y).detach(), x.detach().numpy(), 1e-9)
    inverse = transform.inv.log_abs_det_jacobian(y, x).detach()
    _close(inverse, -np.log(np.abs(slopes.numpy())), 1e-9)


def test_transforms_of_events_add_up_their_derivatives() -> None:
    x = _tensor([[-0.8, 0.1, 1.3], [0.6, -0.2, 0.0]])
    affine = d.AffineTransform(1.0, _tensor([3.0, -2.0, 0.5]), event_dim=1)
    _close(affine.log_abs_det_jacobian(x, affine(x)), [math.log(3.0)] * 2)
    number = d.AffineTransform(1.0, 3.0, event_dim=2)
    _close(number.log_abs_det_jacobian(x, number(x)), 6 * math.log(3.0))
    both = d.ComposeTransform([d.ExpTransform(), affine])
    assert both.event_dim == 1
    _close(both.log_abs_det_jacobian(x, both(x)), x.numpy().sum(-1) + math.log(3.0))


def test_a_transform_with_a_cache_gives_back_the_very_tensors() -> None:
    x = _tensor([0.5])
    kept, not_kept = d.TanhTransform(cache_size=1), d.TanhTransform()
    y = kept(x)
    assert kept(x) is y and kept._inv_call(y) is x
    assert not_kept(x) is not not_kept(x) and not_kept._inv_call(not_kept(x)) is not x
    with pytest.raises(ValueError, match="cache_size"):
        d.TanhTransform(cache_size=2)


def test_densities_of_functions_of_variables() -> None:
    exp = d.TransformedDistribution(d.Normal(_tensor(LOCS), _tensor(SCALES)), d.ExpTransform())
    _close(exp.log_prob(_tensor(VALUES)), d.LogNormal(_tensor(LOCS), _tensor(SCALES)).log_prob(
        _tensor(VALUES)).numpy())  # fmt: skip
    # an event of a transform makes dimensions of the base's batch one
    whole = d.TransformedDistribution(
        d.Normal(_tensor(LOCS), _tensor(SCALES)), [d.AffineTransform(0.5, 2.0, event_dim=1)]
    )
    assert whole.batch_shape == () and whole.event_shape == (2,)
    inner = (np.array(VALUES) - 0.5) / 2
    wanted = stats.norm(LOCS, SCALES).logpdf(inner).sum() - 2 * math.log(2)
    _close(whole.log_prob(_tensor(VALUES)), wanted)


# ---- what is refused
@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: d.Categorical(_tensor(0.5)), ValueError, "at least one-dimensional"),
        (lambda: d.Geometric(_tensor(0.0)), ValueError, "above 0"),
        (lambda: d.MultivariateNormal(_tensor([0.0, 0.0])), ValueError, "Exactly one"),
        (lambda: d.MultivariateNormal(_tensor(0.0), _tensor([[1.0]])), ValueError, "dimensional"),
        (lambda: d.register_kl(d.Normal, int), TypeError, "subclass of Distribution"),
        (
            lambda: d.kl_divergence(
                d.MultivariateNormal(_tensor([0.0]), _tensor([[1.0]])),
                d.MultivariateNormal(_tensor([0.0] * 2), tritorch.eye(2).double()),
            ),
            ValueError,
            "different event shapes",
        ),
        (lambda: d.Normal(0.0, 1.0).enumerate_support(), NotImplementedError, "enumerate_support"),
        (lambda: d.Poisson(1.0).rsample(), NotImplementedError, "rsample"),
        (lambda: d.Normal(0.0, 1.0).set_default_validate_args(3), ValueError, "expected a bool"),
    ],
)
def test_what_is_refused(wrong: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wrong()


# ---- made of gamma variables
PARTS = np.array([[0.3, 2.0, 1.5], [4.0, 1.2, 2.2]])


def test_parts_that_add_up_to_one() -> None:
    other = PARTS[::-1].copy()
    ours = d.Dirichlet(_tensor(PARTS))
    theirs = [stats.dirichlet(a) for a in PARTS]
    values = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    dense = [s.logpdf(v) for s, v in zip(theirs, values, strict=True)]
    _close(ours.log_prob(_tensor(values)), dense)
    _close(ours.mean, [s.mean() for s in theirs])
    _close(ours.variance, [s.var() for s in theirs])
    _close(ours.entropy(), [s.entropy() for s in theirs])
    _close(ours.mode[1], (PARTS[1] - 1) / (PARTS[1] - 1).sum())
    assert d.Dirichlet(_tensor([0.2, 0.7, 0.3])).mode.tolist() == [0.0, 1.0, 0.0]
    total, others = PARTS.sum(-1), other.sum(-1)
    slopes = special.digamma(PARTS) - special.digamma(total)[:, None]
    norm = special.gammaln(other).sum(-1) - special.gammaln(PARTS).sum(-1)
    norm += special.gammaln(total) - special.gammaln(others)
    wanted = norm + ((PARTS - other) * slopes).sum(-1)
    _close(d.kl_divergence(ours, d.Dirichlet(_tensor(other))), wanted)
    small = d.Dirichlet(_tensor([1e-3, 1e-3])).sample((500,))  # whose gamma variables underflow
    assert small.isfinite().all() and ((small > 0.999).any(-1)).double().mean() > 0.98


def test_counts_of_choices() -> None:
    ours = d.Multinomial(4, _tensor(WEIGHTS))
    theirs = [stats.multinomial(4, p) for p in SHARES]
    counts = np.array([[1.0, 0.0, 3.0], [2.0, 1.0, 1.0]])
    masses = [s.logpmf(c) for s, c in zip(theirs, counts, strict=True)]
    _close(ours.log_prob(_tensor(counts)), masses)
    _close(ours.entropy(), [s.entropy() for s in theirs])
    drawn = ours.sample((9,))
    assert drawn.shape == (9, 2, 3) and (drawn.sum(-1) == 4).all()
    wide = ours.expand((5, 2))
    assert wide.sample().shape == (5, 2, 3)
    _close(wide.log_prob(_tensor(counts))[3], masses)
    with pytest.raises(ValueError, match="Multinomial"):
        ours.log_prob(_tensor([1.0, 1.0, 1.0]))


def test_roots_of_correlations() -> None:
    """Of 2 rows, whose correlation is 2 x - 1 of a beta variable x: scipy's density, by hand."""
    for concentration in (0.6, 1.0, 3.0):
        made = d.LKJCholesky(2, _tensor(concentration))
        r = np.array([-0.7, 0.1, 0.8])
        roots = np.zeros((3, 2, 2))
        roots[:, 0, 0], roots[:, 1, 0], roots[:, 1, 1] = 1, r, np.sqrt(1 - r * r)
        # of the correlation, times the derivative of it by itself: the root's element is r
        dense = stats.beta(concentration, concentration).logpdf((r + 1) / 2) - math.log(2)
        _close(made.log_prob(_tensor(roots)), dense, 1e-9)
    drawn = d.LKJCholesky(4, _tensor([0.5, 2.0])).sample((300,))
    assert drawn.shape == (300, 2, 4, 4)
    _close(drawn.square().sum(-1), np.ones((300, 2, 4)), 1e-12)
    below = (drawn @ drawn.mT)[..., 3, 0].numpy()
    # each correlation is beta distributed with concentration + dim / 2 - 1
    for column, concentration in enumerate((0.5, 2.0)):
        beta = stats.beta(concentration + 1, concentration + 1)
        assert stats.kstest((below[:, column] + 1) / 2, beta.cdf).pvalue > 1e-3
    with pytest.raises(ValueError, match="dim=1"):
        d.LKJCholesky(1)


def test_choices_made_soft() -> None:
    """Densities add up to 1; cold samples are choices; gradients pass through."""
    soft = d.RelaxedBernoulli(0.7, _tensor(0.3))
    mass = integrate.quad(lambda x: soft.log_prob(_tensor(x)).exp().item(), 0, 1)[0]
    assert mass == pytest.approx(1, 1e-6)
    cold = d.RelaxedOneHotCategorical(0.01, _tensor(SHARES)).sample((2000,))
    shares = (cold > 0.5).double().mean(0).numpy()
    np.testing.assert_allclose(shares, SHARES, atol=5 * 0.5 / 2000**0.5)
    two = d.RelaxedOneHotCategorical(0.7, _tensor([0.3, 0.7]))
    ours = two.log_prob(_tensor([[0.2, 0.8], [0.6, 0.4]]))
    _close(ours, soft.log_prob(_tensor([0.2, 0.6])).numpy())  # the same of two choices
    assert two.expand((4,)).rsample().shape == (4, 2)


def test_powers_by_their_integrals() -> None:
    made = d.Kumaraswamy(_tensor(2.3), _tensor(1.7))
    x = np.linspace(0, 1, 20_001)[1:-1]
    dense = np.exp(made.log_prob(_tensor(x)).numpy())
    _close(made.cdf(_tensor(x))[9999], integrate.simpson(dense[:10_000], x=x[:10_000]), 1e-5)
    _close(made.icdf(made.cdf(_tensor(x))), x, 1e-9)
    _close(made.mean, integrate.simpson(dense * x, x=x), 1e-6)
    _close(made.variance, integrate.simpson(dense * x * x, x=x) - made.mean.item() ** 2, 1e-5)
    _close(made.entropy(), -integrate.simpson(dense * np.log(dense), x=x), 1e-4)
    _close(made.mode, x[dense.argmax()], 1e-3)


@pytest.mark.parametrize("shape", [0.02, 0.7, 1.0, 3.5, 250.0])
def test_gradients_of_gamma_variables(shape: float) -> None:
    """A variable is the value below which a mass lies; that mass stays as the shape changes."""
    shapes = tritorch.full((40,), shape, dtype=tritorch.float64, requires_grad=True)
    logarithms = log_gamma_sample(shapes)
    (slopes,) = tritorch.autograd.grad(logarithms.sum(), shapes)
    mass = special.gammainc(shape, np.exp(logarithms.detach().numpy()))
    usual = (mass > 1e-3) & (mass < 1 - 1e-3)
    step = 1e-4 * shape
    above, below = (special.gammaincinv(shape + s, mass[usual]) for s in (step, -step))
    wanted = (np.log(above) - np.log(below)) / (2 * step)
    assert usual.sum() > 30
    np.testing.assert_allclose(slopes.numpy()[usual], wanted, 1e-6)


def test_gamma_variables_have_no_second_derivative() -> None:
    shapes = _tensor([2.0, 3.0]).requires_grad_()
    (slope,) = tritorch.autograd.grad(log_gamma_sample(shapes).sum(), shapes, create_graph=True)
    with pytest.raises(RuntimeError):
        slope.sum().backward()
    with pytest.raises(RuntimeError, match=r"not implemented for torch\.int64"):
        log_gamma_sample(tritorch.tensor([1, 2]))


def test_names_as_in_pytorch() -> None:
    from tritorch.distributions.beta import Beta
    from tritorch.distributions.kl import register_kl
    from tritorch.distributions.utils import broadcast_all, lazy_property, probs_to_logits

    assert Beta is d.Beta and register_kl is d.register_kl and d.kl.kl_divergence
    a, b = broadcast_all(_tensor([1.0, 2.0]), 3.0)
    assert a.shape == b.shape == (2,) and b.dtype == tritorch.float64
    _close(probs_to_logits(_tensor([0.25]), is_binary=True), [math.log(1 / 3)])
    calls = []

    class Once:
        @lazy_property
        def found(self) -> int:
            calls.append(1)
            return 7

    once = Once()
    assert (once.found, once.found, calls) == (7, 7, [1])
