"""`tritorch.distributions`: densities against PyTorch's, samples against moments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import tritorch

Case = tuple[Callable[..., Any], list[Any], Any]
REAL, SIZE, VALUE = [0.3, -1.0], [0.5, 2.0], [0.1, 0.7]
CHANCES = [[0.2, 0.5, 0.6], [1.0, 2.0, 3.0]]
MATRIX = [[2.0, 0.5], [0.5, 1.0]]


def _tanh(d: Any, loc: Any, scale: Any) -> Any:
    parts = [d.TanhTransform(cache_size=1), d.AffineTransform(0.5, 2.0)]
    return d.TransformedDistribution(d.Normal(loc, scale), parts)


def _mixture(d: Any, chances: Any, loc: Any, scale: Any) -> Any:
    return d.MixtureSameFamily(d.Categorical(chances), d.Normal(loc, scale))


#: name -> how it is made of the module and tensors, those tensors, values in its support
CASES: dict[str, Case] = {
    "Normal": (lambda d, a, b: d.Normal(a, b), [REAL, SIZE], VALUE),
    "LogNormal": (lambda d, a, b: d.LogNormal(a, b), [REAL, SIZE], VALUE),
    "HalfNormal": (lambda d, b: d.HalfNormal(b), [SIZE], VALUE),
    "Uniform": (lambda d, a, b: d.Uniform(a, b), [[0.0, -1.0], SIZE], VALUE),
    "Exponential": (lambda d, b: d.Exponential(b), [SIZE], VALUE),
    "Laplace": (lambda d, a, b: d.Laplace(a, b), [REAL, SIZE], VALUE),
    "Cauchy": (lambda d, a, b: d.Cauchy(a, b), [REAL, SIZE], VALUE),
    "Gumbel": (lambda d, a, b: d.Gumbel(a, b), [REAL, SIZE], VALUE),
    "Bernoulli": (lambda d, a: d.Bernoulli(a), [[0.3, 0.9]], [1.0, 0.0]),
    "Bernoulli of logits": (lambda d, a: d.Bernoulli(logits=a), [REAL], [1.0, 0.0]),
    "Geometric": (lambda d, a: d.Geometric(a), [[0.3, 0.9]], [3.0, 0.0]),
    "Binomial": (lambda d, a: d.Binomial(5, a), [[0.3, 0.9]], [3.0, 5.0]),
    "Poisson": (lambda d, a: d.Poisson(a), [[0.3, 4.9]], [3.0, 5.0]),
    "NegativeBinomial": (lambda d, a: d.NegativeBinomial(2.5, a), [[0.3, 0.6]], [3.0, 0.0]),
    "Multinomial": (
        lambda d, a: d.Multinomial(6, a), [CHANCES], [[1.0, 3.0, 2.0], [0.0, 6.0, 0.0]],
    ),
    "Gamma": (lambda d, a, b: d.Gamma(a, b), [SIZE, [2.0, 0.7]], VALUE),
    "Chi2": (lambda d, a: d.Chi2(a), [[1.5, 6.0]], VALUE),
    "InverseGamma": (lambda d, a, b: d.InverseGamma(a, b), [[5.0, 9.0], [2.0, 0.7]], VALUE),
    "Beta": (lambda d, a, b: d.Beta(a, b), [SIZE, [2.0, 0.7]], VALUE),
    "Dirichlet": (lambda d, a: d.Dirichlet(a), [CHANCES], [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]),
    "StudentT": (lambda d, n, a, b: d.StudentT(n, a, b), [[7.0, 5.5], REAL, SIZE], VALUE),
    "FisherSnedecor": (lambda d, a, b: d.FisherSnedecor(a, b), [[3.0, 6.0], [14.0, 20.0]], VALUE),
    "HalfCauchy": (lambda d, b: d.HalfCauchy(b), [SIZE], VALUE),
    "Pareto": (lambda d, a, b: d.Pareto(a, b), [[0.05, 0.5], [5.0, 9.0]], VALUE),
    "Weibull": (lambda d, a, b: d.Weibull(a, b), [SIZE, [1.3, 2.5]], VALUE),
    "Kumaraswamy": (lambda d, a, b: d.Kumaraswamy(a, b), [SIZE, [2.0, 1.7]], VALUE),
    "RelaxedBernoulli": (
        lambda d, a: d.RelaxedBernoulli(a.new_tensor(0.7), a), [[0.3, 0.9]], VALUE,
    ),
    "RelaxedOneHotCategorical": (
        lambda d, a: d.RelaxedOneHotCategorical(a.new_tensor(0.7), a), [CHANCES],
        [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]],
    ),
    "LKJCholesky": (
        lambda d, a: d.LKJCholesky(2, a), [SIZE], [[[1.0, 0.0], [0.6, 0.8]]] * 2,
    ),
    "Categorical": (lambda d, a: d.Categorical(a), [CHANCES], [0, 2]),
    "Categorical of logits": (lambda d, a: d.Categorical(logits=a), [CHANCES], [0, 2]),
    "OneHotCategorical": (
        lambda d, a: d.OneHotCategorical(a), [CHANCES], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
    ),
    "Independent": (lambda d, a, b: d.Independent(d.Normal(a, b), 1), [REAL, SIZE], VALUE),
    "TransformedDistribution": (_tanh, [REAL, SIZE], VALUE),
    "MultivariateNormal": (lambda d, a, c: d.MultivariateNormal(a, c), [REAL, MATRIX], VALUE),
    "MultivariateNormal of a precision": (
        lambda d, a, c: d.MultivariateNormal(a, precision_matrix=c), [REAL, MATRIX], VALUE,
    ),
    "MixtureSameFamily": (_mixture, [[0.3, 0.7], REAL, SIZE], VALUE),
}  # fmt: skip


_WITHOUT_RSAMPLE = tuple(
    getattr(tritorch.distributions, name)
    for name in (
        "Bernoulli", "Binomial", "Categorical", "Geometric", "LKJCholesky", "MixtureSameFamily",
        "Multinomial", "NegativeBinomial", "OneHotCategorical", "Poisson",
    )
)  # fmt: skip


#: modes that PyTorch finds by the logarithm of a negative number, and by the argmax of nan
_OTHERWISE = {("Kumaraswamy", "mode"), ("Dirichlet", "mode")}


def _made(library: Any, name: str, scale: float = 1.0) -> tuple[Any, list[Any], Any]:
    make, parameters, value = CASES[name]
    tensors = [
        (library.tensor(p, dtype=library.float64) * scale).requires_grad_() for p in parameters
    ]
    exact = library.tensor(value)
    return (
        make(library.distributions, *tensors),
        tensors,
        library.tensor(value, dtype=library.float64) if exact.is_floating_point() else exact,
    )


def _numbers(library: Any, result: Any, parameters: list[Any]) -> list[Any]:
    """The result and the gradients of its sum."""
    found = [result.detach().tolist()]
    if result.requires_grad:
        grads = library.autograd.grad(
            result.sum(), parameters, allow_unused=True, retain_graph=True
        )
        found += [None if g is None else g.tolist() for g in grads]
    return found


def _facts(library: Any, name: str) -> dict[str, Any]:
    """All that a distribution says, as lists; what it does not implement is left out."""
    made, parameters, value = _made(library, name)
    q = _made(library, name, 1.5 if name == "Uniform" else 0.9)[0]
    questions = {
        "log_prob": lambda: made.log_prob(value),
        "cdf": lambda: made.cdf(value),
        "icdf": lambda: made.icdf(library.tensor(VALUE, dtype=library.float64)),
        "mean": lambda: made.mean,
        "mode": lambda: made.mode,
        "variance": lambda: made.variance,
        "stddev": lambda: made.stddev,
        "entropy": lambda: made.entropy(),
        "kl": lambda: library.distributions.kl_divergence(made, q),
        "support": lambda: made.enumerate_support(),
    }
    facts: dict[str, Any] = {"shapes": [list(made.batch_shape), list(made.event_shape)]}
    for question, answer in questions.items():
        try:
            result = answer()
            facts[question] = _numbers(library, result, parameters)
        except NotImplementedError:  # PyTorch has no slope of gammainc by its first argument
            continue
    return facts


def _flat(numbers: Any) -> list[float]:
    if isinstance(numbers, list):
        return [x for part in numbers for x in _flat(part)]
    return [] if numbers is None else [float(numbers)]


@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = _facts(tritorch, name), _facts(torch, name)
    assert "log_prob" in ours
    for question, found in ours.items():
        if question == "cdf" and question not in theirs:
            continue
        if (name, question) in _OTHERWISE:
            continue
        wanted = _flat(theirs[question])
        assert _flat(found) == pytest.approx(wanted, 1e-6, 1e-12, nan_ok=True), question


@pytest.mark.parametrize("name", CASES)
def test_samples_have_the_moments(name: str) -> None:
    tritorch.manual_seed(0)
    made, _, value = _made(tritorch, name)
    count = 4000
    drawn = made.sample((count,))
    assert tuple(drawn.shape) == (count, *made.batch_shape, *made.event_shape)
    assert not drawn.requires_grad
    assert made.log_prob(drawn).isfinite().all()
    discrete = isinstance(made, _WITHOUT_RSAMPLE)
    assert made.has_rsample != discrete
    if made.has_rsample:
        assert made.rsample().requires_grad and value.shape == made.rsample().shape
    try:
        mean, stddev = made.mean.detach(), made.stddev.detach()
    except NotImplementedError:
        return
    if mean.isfinite().all():
        drawn = drawn.double()
        assert ((drawn.mean(0) - mean).abs() < 5 * stddev / count**0.5).all()
        assert ((drawn.std(0) / stddev).log().abs() < 0.4).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda d: d.Normal(0.0, -1.0), "parameter scale"),
        (lambda d: d.Uniform(1.0, 0.0), "low>= high"),
        (lambda d: d.Categorical(tritorch.tensor([-1.0, 3.0])), "Simplex"),
        (lambda d: d.Bernoulli(), "Either `probs` or `logits`"),
        (lambda d: d.Bernoulli(0.5).log_prob(tritorch.tensor(0.5)), "within the support"),
        (lambda d: d.Normal(0.0, 1.0).log_prob(tritorch.tensor(math.nan)), "Real"),
        (lambda d: d.MultivariateNormal(tritorch.zeros(2), -tritorch.eye(2)), "covariance_matrix"),
        (lambda d: d.Categorical(tritorch.ones(3)).log_prob(tritorch.tensor(3)), "support"),
    ],
)
def test_what_cannot_be_is_refused(wrong: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong(tritorch.distributions)


def test_validation_can_be_left_out() -> None:
    assert tritorch.distributions.Normal(0.0, -1.0, validate_args=False).scale.item() == -1.0


def test_repr_names_the_parameters() -> None:
    d = tritorch.distributions
    normal = d.Normal(tritorch.zeros(3), 1.0)
    assert repr(normal) == "Normal(loc: torch.Size([3]), scale: torch.Size([3]))"
    assert repr(d.Independent(normal, 1)) == f"Independent({normal!r}, 1)"
    assert repr(d.Bernoulli(0.25)) == "Bernoulli(probs: 0.25)"


def test_a_rule_is_registered_for_classes_and_those_below_them() -> None:
    d = tritorch.distributions

    class Mine(d.Normal):  # type: ignore[name-defined,misc]
        """A class of one's own."""

    mine = Mine(0.0, 1.0)
    assert d.kl_divergence(mine, d.Normal(0.0, 1.0)).item() == 0.0
    with pytest.raises(NotImplementedError, match="register_kl"):
        d.kl_divergence(mine, d.Bernoulli(0.5))
    d.register_kl(Mine, d.Bernoulli)(lambda p, q: p.loc + 7.0)
    assert d.kl_divergence(mine, d.Bernoulli(0.5)).item() == 7.0


def test_an_expanded_batch_has_the_same_densities() -> None:
    normal = tritorch.distributions.Normal(tritorch.tensor([0.0, 1.0]), 1.0)
    wide = normal.expand((3, 2))
    assert wide.batch_shape == (3, 2) and wide.sample().shape == (3, 2)
    value = tritorch.tensor([0.5, 0.5])
    assert wide.log_prob(value).equal(normal.log_prob(value).expand(3, 2))
