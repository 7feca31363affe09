"""The names that are promised, by subject, and how well the tables of the cross-check cover them.

A name is found in a table where an expression calls it (as a function, a method or in place) or,
for what is not called, mentions it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: `*` stands for the same name with each of the endings in braces
PROMISED: dict[str, str] = {
    "creation": """
        tensor as_tensor from_numpy zeros ones full empty zeros_like ones_like full_like empty_like
        new_zeros new_ones new_full new_empty new_tensor arange linspace logspace eye tril triu
        tril_indices triu_indices diag diag_embed meshgrid rand randn randint randperm rand_like
        randn_like randint_like normal bernoulli multinomial uniform_ normal_ exponential_
        Generator manual_seed get_rng_state set_rng_state F.one_hot""",
    "pointwise": """
        add sub mul div neg abs reciprocal square eq ne lt le gt ge logical_and logical_or
        logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift
        bitwise_right_shift remainder fmod floor_divide pow exp exp2 expm1 log log2 log10 log1p sqrt
        rsqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh atan2 hypot sigmoid logit
        erf erfc erfinv lgamma digamma i0 sinc xlogy floor ceil round trunc frac sign sgn copysign
        signbit clamp where lerp addcmul addcdiv nan_to_num isnan isinf isfinite isclose allclose
        equal maximum minimum fmax fmin masked_fill threshold heaviside float_power
        special.bessel_j0 special.bessel_j1 special.digamma special.entr special.erf special.erfc
        special.erfcx special.erfinv special.exp2 special.expit special.expm1 special.gammaln
        special.i0 special.i0e special.i1 special.i1e special.log1p special.log_ndtr
        special.log_softmax special.logit special.logsumexp special.multigammaln special.ndtr
        special.ndtri special.polygamma special.psi special.round special.sinc special.softmax
        special.xlog1py special.xlogy special.zeta special.gammainc special.gammaincc""",
    "reductions": """
        sum mean prod max min amax amin aminmax argmax argmin all any var std var_mean std_mean norm
        linalg.vector_norm logsumexp softmax log_softmax F.softmin median mode quantile nanquantile
        nansum nanmean count_nonzero cumsum cumprod cummax cummin logcumsumexp diff trapezoid
        bincount histc unique unique_consecutive""",
    "shape": """
        view reshape view_as flatten unflatten ravel transpose permute movedim swapaxes t T mT
        squeeze unsqueeze expand broadcast_to broadcast_tensors as_strided narrow select split chunk
        tensor_split unbind unfold diagonal cat stack hstack vstack dstack repeat tile
        repeat_interleave flip roll rot90 F.pad contiguous clone channels_last stride""",
    "indexing": """
        __getitem__ __setitem__ gather scatter scatter_add scatter_reduce index_select index_add
        index_copy index_fill index_put masked_select masked_scatter take take_along_dim nonzero
        argwhere searchsorted bucketize""",
    "sorting": "sort argsort topk kthvalue msort",
    "linear algebra": """
        matmul mm bmm mv dot inner outer addmm baddbmm addmv einsum tensordot kron chain_matmul
        linalg.multi_dot cdist triangular_solve linalg.norm linalg.matrix_norm linalg.cholesky
        linalg.solve linalg.solve_triangular linalg.inv linalg.det linalg.slogdet linalg.qr
        linalg.lstsq linalg.eigh linalg.svd linalg.pinv linalg.matrix_power linalg.matrix_rank""",
    "neural": """
        F.conv1d F.conv2d F.conv3d F.conv_transpose1d F.conv_transpose2d F.conv_transpose3d
        F.max_pool1d F.max_pool2d F.max_pool3d F.avg_pool1d F.avg_pool2d F.avg_pool3d
        F.adaptive_avg_pool1d F.adaptive_avg_pool2d F.adaptive_avg_pool3d F.adaptive_max_pool1d
        F.adaptive_max_pool2d F.adaptive_max_pool3d F.lp_pool1d F.lp_pool2d F.lp_pool3d
        F.fractional_max_pool2d F.fractional_max_pool3d F.max_unpool1d F.max_unpool2d
        F.max_unpool3d F.unfold F.fold F.interpolate F.grid_sample F.affine_grid F.pixel_shuffle
        F.pixel_unshuffle F.batch_norm F.layer_norm F.group_norm F.instance_norm F.rms_norm
        F.local_response_norm F.embedding F.embedding_bag F.linear F.bilinear
        F.scaled_dot_product_attention F.dropout F.dropout1d F.dropout2d F.dropout3d
        F.alpha_dropout F.feature_alpha_dropout F.cosine_similarity F.pairwise_distance
        F.normalize F.gumbel_softmax""",
    "activations": """
        F.relu F.relu6 F.elu F.selu F.celu F.leaky_relu F.prelu F.rrelu F.glu F.gelu F.logsigmoid
        F.hardshrink F.tanhshrink F.softsign F.softplus F.softmin F.softmax F.softshrink
        F.log_softmax F.tanh F.sigmoid F.hardsigmoid F.silu F.mish F.hardtanh F.hardswish
        F.threshold""",
    "losses": """
        F.binary_cross_entropy F.binary_cross_entropy_with_logits F.poisson_nll_loss
        F.cosine_embedding_loss F.cross_entropy F.ctc_loss F.gaussian_nll_loss
        F.hinge_embedding_loss F.kl_div F.l1_loss F.mse_loss F.margin_ranking_loss
        F.multilabel_margin_loss F.multilabel_soft_margin_loss F.multi_margin_loss F.nll_loss
        F.huber_loss F.smooth_l1_loss F.soft_margin_loss F.triplet_margin_loss
        F.triplet_margin_with_distance_loss""",
    "semantics": """
        data detach requires_grad_ retain_grad grad_fn is_leaf _version __array__ __dlpack__
        from_dlpack __len__ __iter__ item tolist __bool__ __repr__ set_printoptions""",
}
#: what the expressions call these
WRITTEN = {
    "__getitem__": r"\w\[",
    "__setitem__": r"\bset\(",
    "__len__": r"\blen\(",
    "__iter__": r"\bin x\]|list\(",
    "__bool__": r"\bbool\(",
    "__repr__": r"\brepr\(",
    "__array__": r"asarray\(",
    "channels_last": r"channels_last",
    "stride": r"\.stride\(",
    "Generator": r"Generator\(",
}
ATTRIBUTES = ("T", "mT", "data", "grad_fn", "is_leaf", "_version")


@dataclass
class Coverage:
    """What is known of a promised name."""

    name: str
    exists: bool
    expressions: int
    samples: int


def promised() -> list[tuple[str, str]]:
    """(subject, name) of all."""
    return [(subject, name) for subject, text in PROMISED.items() for name in text.split()]


def exists(torch: Any, name: str) -> bool:
    """Whether the library has it, as a function or as a method."""
    if name.startswith("F."):
        return hasattr(torch.nn.functional, name[2:])
    found = torch
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None or hasattr(torch.Tensor, name)


def pattern(name: str) -> re.Pattern[str]:
    """What finds the use of a name in an expression."""
    if name in WRITTEN:
        return re.compile(WRITTEN[name])
    if name in ATTRIBUTES:
        return re.compile(rf"\.{name}\b(?!\()")
    last = name.rsplit(".", 1)[-1]
    if name.startswith("F."):
        return re.compile(rf"\bF\.{last}\(")
    if "." in name:
        return re.compile(rf"\btorch\.{re.escape(name)}\(")
    return re.compile(rf"(?<!linalg)(?<!special)(?<!\bF)\.{last}\(")


def coverage(torch: Any, samples: Iterable[tuple[str, int]]) -> list[Coverage]:
    """How the names fare, given (expression, in how many variants it runs)."""
    known = list(samples)
    found = []
    for _, name in promised():
        wanted = pattern(name)
        counts = [count for expression, count in known if wanted.search(expression)]
        found.append(Coverage(name, exists(torch, name), len(counts), sum(counts)))
    return found
