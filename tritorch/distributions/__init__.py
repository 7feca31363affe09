"""Probability distributions: densities, samples, entropies, divergences, made of our operations.

The interface is that of torch.distributions; of its classes those are here that programs for
reinforcement learning, variational and generative models use (`__all__`). Gradients pass through
`rsample`, `log_prob`, `entropy` and `kl_divergence`.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType

from tritorch.distributions import constraints, transforms, utils
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
from tritorch.distributions.counts import Multinomial, NegativeBinomial
from tritorch.distributions.discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    Poisson,
)
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.divergence import kl_divergence, register_kl
from tritorch.distributions.gamma import (
    Beta,
    Chi2,
    Dirichlet,
    FisherSnedecor,
    Gamma,
    InverseGamma,
    StudentT,
)
from tritorch.distributions.joint import (
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    TransformedDistribution,
)
from tritorch.distributions.lkj import LKJCholesky
from tritorch.distributions.powers import HalfCauchy, Kumaraswamy, Pareto, Weibull
from tritorch.distributions.relaxed import RelaxedBernoulli, RelaxedOneHotCategorical
from tritorch.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    SigmoidTransform,
    TanhTransform,
    Transform,
)


def _modules() -> None:
    """`from tritorch.distributions.normal import Normal` and its kin: PyTorch has a module for
    each distribution.
    """
    for name, kind in list(globals().items()):
        if isinstance(kind, type) and issubclass(kind, Distribution) and kind is not Distribution:
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
            place = _MODULES.get(name, words)
            whole = f"{__name__}.{place}"
            module = sys.modules.setdefault(whole, ModuleType(whole, kind.__doc__))
            setattr(module, name, kind)

    kl = ModuleType(f"{__name__}.kl", kl_divergence.__doc__)
    kl.__dict__.update(kl_divergence=kl_divergence, register_kl=register_kl)
    globals()["kl"] = sys.modules.setdefault(kl.__name__, kl)


#: where PyTorch keeps a distribution whose name does not tell
_MODULES = {"OneHotCategoricalStraightThrough": "one_hot_categorical"}
_modules()

__all__ = [
    "AffineTransform", "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2",
    "ComposeTransform", "Dirichlet", "Distribution", "ExpTransform", "Exponential",
    "FisherSnedecor", "Gamma", "Geometric", "Gumbel", "HalfCauchy", "HalfNormal", "Independent",
    "InverseGamma", "Kumaraswamy", "LKJCholesky", "Laplace", "LogNormal", "MixtureSameFamily",
    "Multinomial", "MultivariateNormal", "NegativeBinomial", "Normal", "OneHotCategorical",
    "OneHotCategoricalStraightThrough", "Pareto", "Poisson", "RelaxedBernoulli",
    "RelaxedOneHotCategorical", "SigmoidTransform", "StudentT", "TanhTransform", "Transform",
    "TransformedDistribution", "Uniform", "Weibull", "constraints", "kl_divergence", "register_kl",
    "transforms", "utils",
]  # fmt: skip
