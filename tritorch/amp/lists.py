"""Which operations autocast runs in the lower precision, in float32, or in the widest of its types.

The names are those of PyTorch's documentation, Automatic Mixed Precision: Op Reference, CPU and
CUDA, as far as there are such operations here. A name is looked up in `tritorch`, then in
`tritorch.nn.functional` and `tritorch.linalg`; methods are written `Tensor.name`.
"""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any

LOWER, FLOAT32, WIDEST, REFUSED, UNTOUCHED = "lower", "float32", "widest", "refused", "untouched"

_PRODUCTS = """
    addbmm addmm baddbmm bmm mm matmul linear conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d scaled_dot_product_attention
"""
#: in-place forms compute in the type of what they write to; the others are not products of their
#: own in PyTorch
_WHOLE = """
    Tensor.addmm_ Tensor.addbmm_ Tensor.baddbmm_ Tensor.addmv_ Tensor.addr_ matrix_exp
    linalg.matrix_exp
"""

_TEXTS: dict[str, dict[str, str]] = {
    "cpu": {
        LOWER: _PRODUCTS + "prelu linalg.vecdot linalg.multi_dot",
        FLOAT32: """
            avg_pool3d binary_cross_entropy binary_cross_entropy_with_logits grid_sample prod
            quantile nanquantile cdist trace cholesky cholesky_inverse cholesky_solve inverse
            lu_solve orgqr pinverse geqrf qr svd triangular_solve
            max_pool3d max_unpool1d max_unpool2d max_unpool3d adaptive_avg_pool3d
            adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d
            mse_loss cosine_embedding_loss nll_loss hinge_embedding_loss poisson_nll_loss
            smooth_l1_loss cross_entropy l1_loss huber_loss margin_ranking_loss soft_margin_loss
            triplet_margin_loss multi_margin_loss ctc_loss kl_div multilabel_margin_loss
            linalg.cond linalg.matrix_rank linalg.solve linalg.cholesky linalg.svdvals
            linalg.eigvalsh linalg.inv linalg.householder_product linalg.tensorinv
            linalg.tensorsolve linalg.qr linalg.cholesky_ex linalg.svd linalg.eigh linalg.lstsq
            linalg.inv_ex
        """,
        WIDEST: "stack cat index_copy",
        UNTOUCHED: _WHOLE + "bilinear mv addmv dot vdot",
    },
    "cuda": {
        LOWER: _PRODUCTS + "addmv addr chain_matmul linalg.multi_dot mv prelu",
        FLOAT32: """
            Tensor.__pow__ Tensor.__rdiv__ Tensor.__rpow__ Tensor.__rtruediv__ acos asin
            binary_cross_entropy_with_logits cosh cosine_embedding_loss cdist cosine_similarity
            cross_entropy cumprod cumsum dist erfinv exp expm1 group_norm hinge_embedding_loss
            kl_div l1_loss layer_norm log log10 log_softmax log1p log2 margin_ranking_loss
            mse_loss multilabel_margin_loss multi_margin_loss nll_loss norm normalize pdist
            poisson_nll_loss pow prod reciprocal rsqrt sinh smooth_l1_loss soft_margin_loss
            softmax softmin softplus sum renorm tan triplet_margin_loss
        """,
        WIDEST: """
            addcdiv addcmul atan2 bilinear cat cross dot grid_sample index_put scatter_add
            stack tensordot
        """,
        REFUSED: "binary_cross_entropy",
        UNTOUCHED: _WHOLE,
    },
}
_METHOD = re.compile(r"Tensor\.(\w+)")


def _found(name: str) -> list[FunctionType]:
    """The functions of this name; several where a method, or nn.functional, has one of its own."""
    import tritorch
    from tritorch.nn import functional

    method = _METHOD.fullmatch(name)
    if method:
        places: list[Any] = [(tritorch.Tensor, method[1])]
    elif name.startswith("linalg."):
        places = [(tritorch.linalg, name.removeprefix("linalg."))]
    else:
        places = [(tritorch, name), (functional, name), (tritorch.Tensor, name)]
    found = [getattr(place, own, None) for place, own in places]
    return [function for function in found if isinstance(function, FunctionType)]


def policies() -> dict[FunctionType, dict[str, str]]:
    """For each function that autocast minds, its policy by device type."""
    result: dict[FunctionType, dict[str, str]] = {}
    for device_type, texts in _TEXTS.items():
        for policy, text in texts.items():
            for name in text.split():
                for function in _found(name):
                    result.setdefault(function, {})[device_type] = policy
    return result
