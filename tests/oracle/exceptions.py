"""Where the results differ on purpose: what PyTorch gives is wrong, and why.

A sample that is listed here and agrees is a failure too: it is to be taken off the list.
"""

from __future__ import annotations

from tests.oracle.inputs import Variant

_GRADIENTS = ("float64", "float64 turned", "float32 sliced", "form")
_INTEGER_POWER = (
    "the gradient takes 2 ** exponent in integers, which is 0 for negative exponents; "
    "torch.autograd.gradcheck fails"
)
_OVERFLOW = "log(1 + exp(z)) overflows for large z, where it is z"
_AT_ZERO = "nan from differentiating the norm of a zero vector that the result does not depend on"
_INFINITE_WEIGHT = "(mean - mean) * inf: the mean is scaled before it is subtracted"
_FIRST_NAN = "whether nan wins depends on the order of the rows in a bag"
_POLES = "the poles at negative integers are large numbers: sin(pi x) is not quite zero there"
_EXPONENTIAL = "nan where the squares overflow; ours are infinite there"
_OVERLOAD = "the number behind the name counts PyTorch's overloads, which one declaration serves"
_TIES = "which of equal elements is named is not defined"
_UNDER_SOURCE = (
    "the gradient is kept where the source went, and zero elsewhere; torch.autograd.gradcheck fails"
)

#: (expression, variants) -> why; variants are names of those of `tests.oracle.inputs`
EXCEPTIONS: dict[tuple[str, tuple[str, ...]], str] = {
    ("torch.ldexp(x, n)", _GRADIENTS): _INTEGER_POWER,
    ("x.ldexp(n)", _GRADIENTS): _INTEGER_POWER,
    ("(x).ldexp(n)", _GRADIENTS): _INTEGER_POWER,
    ("(x).clone().ldexp_(n)", _GRADIENTS): _INTEGER_POWER,
    ("F.soft_margin_loss(x, sg, reduction='none')", ("edges",)): _OVERFLOW,
    ("F.soft_margin_loss(x * 5, sg)", ("float16",)): _OVERFLOW,
    ("F.cosine_similarity(x * 0, y)", ("float64", "float64 turned")): _AT_ZERO,
    ("F.batch_norm(img, None, None, v[:3], w[:3], training=True)", ("edges",)): _INFINITE_WEIGHT,
    ("F.instance_norm(img, weight=v[:3], bias=w[:3])", ("edges",)): _INFINITE_WEIGHT,
    (
        "F.batch_norm(img, v[:3].detach(), p[0, :3].detach(), v[:3], w[:3])",
        ("edges",),
    ): _INFINITE_WEIGHT,
    ("F.group_norm(img, 3, v[:3], w[:3])", ("edges",)): _INFINITE_WEIGHT,
    ("F.group_norm(x, 2, v, w, eps=0.1)", ("edges",)): _INFINITE_WEIGHT,
    ("F.embedding_bag(i, x, mode='max')", ("edges",)): _FIRST_NAN,
    ("torch.special.polygamma(1, x)", ("int64",)): _POLES,
    ("torch.linalg.matrix_exp(sq * 5)", ("float16",)): _EXPONENTIAL,
    ("type(x.clamp(0, 1).grad_fn).__name__", _GRADIENTS): _OVERLOAD,
    ("type((2 ** x).grad_fn).__name__", _GRADIENTS): _OVERLOAD,
    ("torch.kthvalue(x, 1, 0)", ("int64",)): _TIES,
    **{
        (text, variants): _UNDER_SOURCE
        for operands in ("sq[:3, :2], (3, 2), (4, 1)", "v[:2], (2,), (3,), 1")
        for text, variants in (
            (f"torch.as_strided_scatter(f12, {operands})", ("float64", "float64 turned")),
            (f"(f12).as_strided_scatter({operands})", ("form",)),
        )
    },
}


def reason(expression: str, variant: Variant) -> str:
    """Why a sample is allowed to differ; empty if it is not."""
    for (text, variants), why in EXCEPTIONS.items():
        if text == expression and variant.name in variants:
            return why
    return ""
