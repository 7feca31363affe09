"""`tritorch.distributions` against scipy.stats, divergences against integrals and sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import tritorch
from tritorch import distributions as d

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
}  # fmt: skip
DISCRETE: dict[str, tuple[Any, tuple[Any, ...], tuple[Any, ...], Callable[..., Scipy]]] = {
    "Bernoulli": (d.Bernoulli, (CHANCES,), (OTHER_CHANCES,), stats.bernoulli),
    "Geometric": (d.Geometric, (CHANCES,), (OTHER_CHANCES,), lambda p: stats.geom(p, loc=-1)),
    "Binomial": (
        lambda p: d.Binomial(5, p), (CHANCES,), (OTHER_CHANCES,), lambda p: stats.binom(5, p),
    ),
    "Poisson": (d.Poisson, ((0.3, 4.9),), ((1.0, 2.5),), stats.poisson),
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
    _close(ours.cdf(values), [s.cdf(v) for v, s in pairs])
    _close(ours.icdf(_tensor(LEVELS)), [s.ppf(u) for u, s in zip(LEVELS, theirs, strict=True)])


def _has(ours: Any, name: str) -> Any:
    try:
        found = getattr(ours, name)
        return found() if name == "entropy" else found
    except NotImplementedError:
        return None


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_moments_entropies_and_modes(name: str) -> None:
    ours, theirs = _both(CONTINUOUS | DISCRETE, name)
    if name == "Cauchy":
        assert ours.mean.isnan().all() and ours.variance.isinf().all()
    else:
        _close(ours.mean, [s.mean() for s in theirs])
        _close(ours.variance, [s.var() for s in theirs])
        _close(ours.stddev, [s.std() for s in theirs])
    entropy = _has(ours, "entropy")
    assert (entropy is None) == (name in ("Binomial", "Poisson"))
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
        again = d.Binomial(5, logits=logits) if name == "Binomial" else type(ours)(logits=logits)
        _close(again.probs, CHANCES)
        _close(again.log_prob(_tensor((1.0, 0.0))), ours.log_prob(_tensor((1.0, 0.0))).numpy())


def test_what_is_outside_has_no_density() -> None:
    uniform = d.Uniform(_tensor(0.0), _tensor(2.0), validate_args=False)
    outside = uniform.log_prob(_tensor([-0.1, 0.0, 1.0, 2.0, 2.1]))
    assert outside.isinf().tolist() == [True, False, False, True, True]
    half = d.HalfNormal(_tensor(1.0), validate_args=False).log_prob(_tensor([-0.1, 0.0]))
    assert half.isinf().tolist() == [True, False]


@pytest.mark.parametrize("name", CONTINUOUS)
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


@pytest.mark.parametrize("name", DISCRETE)
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
