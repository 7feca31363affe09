"""Device functions in other words: the same values by fewer instructions, most of them on GPUs.

An element of float32 that is read and written leaves a multiprocessor of an H200 about 27
instructions before they take longer than the memory, one of bfloat16 half of that
(`tests/devices/machine_code`). So on GPUs

- Philox multiplies 32 bits by 32 into 64 once, not twice for the halves;
- tanh and 1 + erf x, 1 + tanh x (of gelu, where only the absolute error counts) are computed
  without branches, exponentials by the instruction.

On all targets, where the elements of a block are neighbours, four share the four words of one
counter (`philox_quarter` of `helpers` gives the same numbers, one at a time).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GPU_HELPERS: Final[dict[str, str]] = {
    # erfc |x| = exp2(|x| p(|x|)): a minimax polynomial, absolute error of the result 2^-24 below 0
    # and 2^-23 above. Beyond 5 it keeps falling, to 0.
    "one_plus_erf": """
@triton.jit
def one_plus_erf(x):
    size = tl.abs(x)
    p = size * -4.535831612884067e-05 + 0.000445505662355572
    p = p * size - 0.0014894362539052963
    p = p * size - 0.0007746370392851532
    p = p * size + 0.02825368568301201
    p = p * size - 0.14848162233829498
    p = p * size - 0.9184163808822632
    p = p * size - 1.6279085874557495
    rest = tl.exp2(p * size)
    return tl.where(x > 0.0, 2.0 - rest, rest)
""",
    # 2 / (1 + exp(-2 x))
    "one_plus_tanh": """
@triton.jit
def one_plus_tanh(x):
    return libdevice.fast_dividef(2.0, 1.0 + tl.exp2(x * -2.8853900817779268))
""",
    # The polynomial is that of the CPU target: (tanh x / x - 1) / x^2 of x^2 below 0.6.
    "tanh_in_parts": """
@triton.jit
def tanh_in_parts(x):
    size = tl.abs(x)
    square = x * x
    p = square * -0.005897920578718185 + 0.0207985807210207
    p = p * square - 0.053784701973199844
    p = p * square + 0.13331936299800873
    p = p * square - 0.33333298563957214
    far = 2.0 - one_plus_tanh(-size)
    far = libdevice.copysign(far - 1.0, x)
    return tl.where(size > 0.6, far, p * square * x + x)
""",
}

#: what stands on GPUs for a helper of this name
_VARIANTS: Final[dict[str, str]] = {
    "halves_of_product": """
@triton.jit
def halves_of_product(x, y):
    product = x.to(tl.uint64) * y.to(tl.uint64)
    return (product >> 32).to(tl.uint32), product.to(tl.uint32)
""",
}
_OF_NEIGHBOURS: Final[dict[str, str]] = {
    "philox_quarter": """
@triton.jit
def philox_quarter(seed, offset, index):
    SIZE: tl.constexpr = index.shape[0]
    first, _ = tl.split(tl.reshape(index, (SIZE // 4, 2, 2)))
    first, _ = tl.split(first)
    c0, c1, c2, c3 = philox(seed, offset + (first >> 2))
    words = tl.reshape(tl.join(tl.join(c0, c2), tl.join(c1, c3)), (SIZE,))
    return (words >> 8).to(tl.int32).to(tl.float32)
""",
}


def other_helpers(gpu: bool, neighbours: bool) -> Mapping[str, str]:
    """The texts that stand for helpers of these names.

    Args:
        neighbours: the index of a block's elements counts up from a multiple of 4.
    """
    others = GPU_HELPERS | _VARIANTS if gpu else {}
    return others | _OF_NEIGHBOURS if neighbours else others
