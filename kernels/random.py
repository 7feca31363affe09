"""Random numbers: Philox-4x32-10, keyed by (seed, offset + index), so the same on every target and
schedule.

`seed` and `offset` are scalar operands (int64); a generator advances its offset by the number of
elements it has drawn. Element i of a kernel's output depends on seed and offset + i alone, so a
mask need not be kept: the backward of dropout draws it again (there four neighbours share a
counter's words: element i depends on offset + i // 4 and i % 4). Being expressions, they fuse with
what surrounds them.

Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011).
"""

from __future__ import annotations

from functools import cache

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.expression import Expr, index, trace
from tritorch.kernels.pointwise import PointwiseKernel
from tritorch.kernels.scalar import Scalar, floor, log1p, primitive, where


def _philox(name: str, kind: str, helper: str) -> Scalar:
    """A primitive of (seed, position), both int64; the device function `helper` computes it."""
    spelling = f"{helper}({{0}}, {{1}})"
    return primitive(name, 2, kind=kind, integer=spelling, numpy=f"reference.{spelling}")


#: float32 in [0, 1) of 24 random bits; float64 of 53
random_uniform = _philox("random_uniform", "float32", "philox_uniform")
random_uniform64 = _philox("random_uniform64", "float64", "philox_uniform64")
#: standard normal numbers, by Box and Muller's method
random_normal = _philox("random_normal", "float32", "philox_normal")
random_normal64 = _philox("random_normal64", "float64", "philox_normal64")
#: random 32-bit words 0 and 1 of a position, as int64 in [0, 2**32)
random_word = _philox("random_word", "int64", "philox_word")
random_second_word = _philox("random_second_word", "int64", "philox_second_word")
#: 24 random bits as a float32, of (seed, offset, index): four neighbours share a counter's words
random_quarter = primitive(
    "random_quarter", 3, kind="float32", integer="philox_quarter({0}, {1}, {2})",
    numpy="reference.philox_quarter({0}, {1}, {2})",
)  # fmt: skip
#: the logarithm of a gamma variable: of its shape, and of two random words
random_gamma = primitive(
    "random_gamma", 3, kind="float", floating="gamma_logarithm({0}, {1}, {2})",
    numpy="reference.gamma_logarithm({0}, {1}, {2})",
)  # fmt: skip


def uniform(seed: Expr, offset: Expr) -> Expr:
    """A float32 in [0, 1) for the element at hand."""
    return random_uniform(seed, offset + index())


def _uniform_of(dtype: Dtype, seed: Expr, offset: Expr) -> Expr:
    """In [0, 1) with as many bits as the dtype holds, so that rounding never gives 1."""
    if dtype is dtypes.float64:
        return random_uniform64(seed, offset + index())
    bits = {dtypes.float16: 11, dtypes.bfloat16: 8}.get(dtype)
    value = uniform(seed, offset)
    return value if bits is None else floor(value * 2.0**bits) * 2.0**-bits


_RANGE = ["low", "high", "seed", "offset"]


@cache
def uniform_kernel(dtype: Dtype) -> PointwiseKernel:
    """Operands low, high, seed, offset: uniform in [low, high)."""

    def body(low: Expr, high: Expr, seed: Expr, offset: Expr) -> Expr:
        return low + _uniform_of(dtype, seed, offset) * (high - low)

    return PointwiseKernel("uniform", _RANGE, trace(body, _RANGE))


@cache
def normal_kernel(dtype: Dtype) -> PointwiseKernel:
    """Operands mean, std (scalars or tensors), seed, offset."""
    draw = random_normal64 if dtype is dtypes.float64 else random_normal

    def body(mean: Expr, std: Expr, seed: Expr, offset: Expr) -> Expr:
        return mean + std * draw(seed, offset + index())

    names = ["mean", "std", "seed", "offset"]
    return PointwiseKernel("normal", names, trace(body, names))


def _small_randint(low: Expr, high: Expr, seed: Expr, offset: Expr) -> Expr:
    # The top of the 64-bit random number times the span: no division, a bias below 2**-32.
    position, span = offset + index(), high - low
    upper, lower = random_word(seed, position), random_second_word(seed, position)
    return low + ((upper * span + ((lower * span) >> 32)) >> 32)


def _large_randint(low: Expr, high: Expr, seed: Expr, offset: Expr) -> Expr:
    position = offset + index()
    number = (random_word(seed, position) << 31) ^ random_second_word(seed, position)
    return low + number % (high - low)


_small = PointwiseKernel("randint", _RANGE, trace(_small_randint, _RANGE))
_large = PointwiseKernel("randint_large", _RANGE, trace(_large_randint, _RANGE))


def randint_kernel(low: int, high: int) -> PointwiseKernel:
    """The kernel for integers in [low, high): operands low, high, seed, offset (int64)."""
    return _small if high - low <= 2**31 else _large


def _bernoulli(p: Expr, seed: Expr, offset: Expr) -> Expr:
    return uniform(seed, offset) < p


def _exponential(rate: Expr, seed: Expr, offset: Expr) -> Expr:
    return -log1p(-uniform(seed, offset)) / rate


def _gamma(shape: Expr, seed: Expr, offset: Expr) -> Expr:
    # The words of an element's position are the key of as many numbers as it takes.
    position = offset + index()
    return random_gamma(shape, random_word(seed, position), random_second_word(seed, position))


def _dropout(x: Expr, p: Expr, scale: Expr, seed: Expr, offset: Expr) -> Expr:
    return where(random_quarter(seed, offset, index()) >= p * 2.0**24, x * scale, 0.0)


#: 1 with probability p (a scalar or a tensor), else 0: operands p, seed, offset
bernoulli = PointwiseKernel(
    "bernoulli", ["p", "seed", "offset"], trace(_bernoulli, ["p", "seed", "offset"])
)
#: with density rate * exp(-rate * x): operands rate, seed, offset
exponential = PointwiseKernel(
    "exponential", ["rate", "seed", "offset"], trace(_exponential, ["rate", "seed", "offset"])
)
#: the logarithm of a gamma variable of this shape: operands shape, seed, offset
gamma = PointwiseKernel(
    "gamma", ["shape", "seed", "offset"], trace(_gamma, ["shape", "seed", "offset"])
)
#: x * scale, or 0 with probability p: operands x, p, scale = 1 / (1 - p), seed, offset. Its own
#: backward.
dropout = PointwiseKernel(
    "dropout",
    ["x", "p", "scale", "seed", "offset"],
    trace(_dropout, ["x", "p", "scale", "seed", "offset"]),
)
