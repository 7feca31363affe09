"""Pointwise kernels of the suite: arithmetic, math functions, casts."""

# ruff: noqa: B008, C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice

from tests.triton_cpu.cases import Arguments, Case, case, erf, floats, wide, zeros

CASES: list[Case] = []
case = partial(case, CASES)


@triton.jit
def add(x_ptr, y_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(o_ptr + offsets, x + y, mask=mask)


for _dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int32, np.int64, np.int8):
    for _n in (10007, 1024, 3):
        case(
            f"add_{np.dtype(_dtype).name}_{_n}", add, (-(-_n // 1024),),
            lambda rng, n=_n, dtype=_dtype: dict(
                x_ptr=(rng.standard_normal(n) * 20).astype(dtype),
                y_ptr=(rng.standard_normal(n) * 20).astype(dtype),
                o_ptr=zeros(n, dtype=dtype), n=n,
            ),
            lambda x_ptr, y_ptr, o_ptr, n: dict(o_ptr=x_ptr + y_ptr), BLOCK=1024,
        )  # fmt: skip


@triton.jit
def gelu(x_ptr, w_ptr, b_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    w = tl.load(w_ptr + offsets, mask=mask)
    b = tl.load(b_ptr + offsets, mask=mask)
    z = x * w + b
    tl.store(o_ptr + offsets, 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476)), mask=mask)


def _gelu_arguments(rng: np.random.Generator) -> Arguments:
    n = 5003
    return dict(
        x_ptr=floats(rng, n), w_ptr=floats(rng, n), b_ptr=floats(rng, n), o_ptr=zeros(n), n=n
    )


def _gelu_reference(x_ptr, w_ptr, b_ptr, o_ptr, n):
    z = wide(x_ptr) * w_ptr + b_ptr
    return dict(o_ptr=0.5 * z * (1 + erf(z / math.sqrt(2))))


case("gelu", gelu, (5,), _gelu_arguments, _gelu_reference, BLOCK=1024)


@triton.jit
def tanh_gelu(x_ptr, w_ptr, b_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    w = tl.load(w_ptr + offsets, mask=mask)
    b = tl.load(b_ptr + offsets, mask=mask)
    z = x * w + b
    u = 0.7978845608028654 * (z + 0.044715 * z * z * z)
    tl.store(o_ptr + offsets, 0.5 * z * (1.0 + (2 * tl.sigmoid(2 * u) - 1)), mask=mask)


def _tanh_gelu_reference(x_ptr, w_ptr, b_ptr, o_ptr, n):
    z = wide(x_ptr) * w_ptr + b_ptr
    return dict(o_ptr=0.5 * z * (1 + np.tanh(0.7978845608028654 * (z + 0.044715 * z**3))))


case("tanh_gelu", tanh_gelu, (5,), _gelu_arguments, _tanh_gelu_reference, BLOCK=1024)


@triton.jit
def unary(x_ptr, o_ptr, n, FUNCTION: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    tl.store(o_ptr + offsets, FUNCTION(x), mask=mask)


EDGES = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, 88.0, -104.0])

UNARY: dict[str, tuple[Any, Callable[..., Any], float, float]] = {
    # name: (Triton function, NumPy function, low, high)
    "exp": (tl.exp, np.exp, -100, 80),
    "exp2": (tl.exp2, np.exp2, -130, 120),
    "log": (tl.log, np.log, 1e-30, 100),
    "log2": (tl.log2, np.log2, 1e-30, 100),
    "erf": (tl.erf, erf, -5, 5),
    "sin": (tl.sin, np.sin, -100, 100),
    "cos": (tl.cos, np.cos, -100, 100),
    "sqrt": (tl.sqrt, np.sqrt, 0, 100),
    "sqrt_rn": (tl.sqrt_rn, np.sqrt, 0, 100),
    "rsqrt": (tl.rsqrt, lambda x: 1 / np.sqrt(x), 1e-20, 100),
    "abs": (tl.abs, np.abs, -5, 5),
    "floor": (tl.floor, np.floor, -5, 5),
    "ceil": (tl.ceil, np.ceil, -5, 5),
    "sigmoid": (tl.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -30, 30),
}

for _name, (_function, _numpy, _low, _high) in UNARY.items():

    def _unary_arguments(rng, low=_low, high=_high):
        x = np.concatenate([rng.uniform(low, high, 3000), EDGES]).astype(np.float32)
        return dict(x_ptr=x, o_ptr=np.zeros_like(x), n=len(x))

    def _unary_reference(x_ptr, o_ptr, n, numpy=_numpy):
        with np.errstate(all="ignore"):
            want = numpy(wide(x_ptr))
            return dict(o_ptr=want.astype(np.float32))  # overflow to inf as float32 does

    case(
        f"unary_{_name}", unary, (3,), _unary_arguments, _unary_reference,
        tolerance=2e-6, FUNCTION=_function, BLOCK=1024,
    )  # fmt: skip


@triton.jit
def libdevice_unary(x_ptr, o_ptr, n, NAME: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    if NAME == "tanh":
        y = libdevice.tanh(x)
    elif NAME == "expm1":
        y = libdevice.expm1(x)
    elif NAME == "log1p":
        y = libdevice.log1p(x)
    elif NAME == "erf":
        y = libdevice.erf(x)
    elif NAME == "exp":
        y = libdevice.exp(x)
    elif NAME == "log":
        y = libdevice.log(x)
    elif NAME == "sqrt":
        y = libdevice.sqrt(x)
    elif NAME == "rsqrt":
        y = libdevice.rsqrt(x)
    elif NAME == "sin":
        y = libdevice.sin(x)
    elif NAME == "cos":
        y = libdevice.cos(x)
    elif NAME == "tan":
        y = libdevice.tan(x)
    elif NAME == "atan":
        y = libdevice.atan(x)
    elif NAME == "asin":
        y = libdevice.asin(x)
    elif NAME == "acos":
        y = libdevice.acos(x)
    elif NAME == "sinh":
        y = libdevice.sinh(x)
    elif NAME == "cosh":
        y = libdevice.cosh(x)
    elif NAME == "asinh":
        y = libdevice.asinh(x)
    elif NAME == "rint":
        y = libdevice.rint(x)
    elif NAME == "trunc":
        y = libdevice.trunc(x)
    elif NAME == "floor":
        y = libdevice.floor(x)
    elif NAME == "erfc":
        y = libdevice.erfc(x)
    elif NAME == "lgamma":
        y = libdevice.lgamma(x)
    tl.store(o_ptr + offsets, y, mask=mask)


LIBDEVICE: dict[str, tuple[Callable[..., Any], float, float]] = {
    "tanh": (np.tanh, -10, 10),
    "expm1": (np.expm1, -10, 20),
    "log1p": (np.log1p, -0.99, 100),
    "erf": (erf, -5, 5),
    "exp": (np.exp, -100, 80),
    "log": (np.log, 1e-30, 100),
    "sqrt": (np.sqrt, 0, 100),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1e-20, 100),
    "sin": (np.sin, -100, 100),
    "cos": (np.cos, -100, 100),
    "tan": (np.tan, -1.5, 1.5),
    "atan": (np.arctan, -50, 50),
    "asin": (np.arcsin, -1, 1),
    "acos": (np.arccos, -1, 1),
    "sinh": (np.sinh, -10, 10),
    "cosh": (np.cosh, -10, 10),
    "asinh": (np.arcsinh, -50, 50),
    "rint": (np.rint, -5, 5),
    "trunc": (np.trunc, -5, 5),
    "floor": (np.floor, -5, 5),
    "erfc": (np.vectorize(math.erfc, otypes=[np.float64]), -4, 4),
    "lgamma": (np.vectorize(math.lgamma, otypes=[np.float64]), 0.1, 50),
}

for _name, (_numpy, _low, _high) in LIBDEVICE.items():

    def _libdevice_arguments(rng, low=_low, high=_high):
        x = rng.uniform(low, high, 2000).astype(np.float32)
        return dict(x_ptr=x, o_ptr=np.zeros_like(x), n=len(x))

    case(
        f"libdevice_{_name}", libdevice_unary, (2,), _libdevice_arguments,
        lambda x_ptr, o_ptr, n, numpy=_numpy: dict(o_ptr=numpy(wide(x_ptr))),
        tolerance=4e-6, NAME=_name, BLOCK=1024,
    )  # fmt: skip


@triton.jit
def libdevice_pow(x_ptr, y_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    tl.store(o_ptr + offsets, libdevice.pow(x, y) + libdevice.fmod(y, x))


case(
    "libdevice_pow", libdevice_pow, (1,),
    lambda rng: dict(x_ptr=rng.uniform(0.1, 8, 512).astype("f4"), y_ptr=floats(rng, 512),
                     o_ptr=zeros(512)),
    lambda x_ptr, y_ptr, o_ptr: dict(o_ptr=wide(x_ptr) ** y_ptr + np.fmod(y_ptr, x_ptr)),
    tolerance=4e-6, BLOCK=512,
)  # fmt: skip


@triton.jit
def arithmetic(x_ptr, y_ptr, z_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    z = tl.load(z_ptr + offsets)
    tl.store(o_ptr + offsets, tl.clamp(x, -1.0, 1.0))
    tl.store(o_ptr + BLOCK + offsets, tl.fma(x, y, z))
    tl.store(o_ptr + 2 * BLOCK + offsets, tl.div_rn(x, y))
    tl.store(o_ptr + 3 * BLOCK + offsets, tl.maximum(x, y) - tl.minimum(y, z))
    tl.store(o_ptr + 4 * BLOCK + offsets, tl.where((x < y) & (y != z) | (x >= 0.5), -x, x / z))
    propagated = tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
    tl.store(o_ptr + 5 * BLOCK + offsets, propagated)


def _arithmetic_arguments(rng: np.random.Generator) -> Arguments:
    x, y, z = (floats(rng, 256) for _ in range(3))
    x[3] = np.nan
    return dict(x_ptr=x, y_ptr=y, z_ptr=z, o_ptr=zeros(6, 256))


def _arithmetic_reference(x_ptr, y_ptr, z_ptr, o_ptr):
    x, y, z = wide(x_ptr), wide(y_ptr), wide(z_ptr)
    want = np.stack([
        np.clip(x, -1, 1), x * y + z, (x_ptr / y_ptr).astype(np.float64),
        np.fmax(x, y) - np.fmin(y, z),
        np.where((x < y) & (y != z) | (x >= 0.5), -x, x / z),
        np.maximum(x, y),
    ])  # fmt: skip
    want[0, 3] = -1.0  # clamp without nan propagation takes the bound
    return dict(o_ptr=want)


case("arithmetic", arithmetic, (1,), _arithmetic_arguments, _arithmetic_reference, BLOCK=256)


@triton.jit
def integers(x_ptr, y_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    tl.store(o_ptr + offsets, x // y)
    tl.store(o_ptr + BLOCK + offsets, x % y)
    tl.store(o_ptr + 2 * BLOCK + offsets, (x << 3) ^ (y >> 1))
    tl.store(o_ptr + 3 * BLOCK + offsets, (x & y) | (-x))
    tl.store(o_ptr + 4 * BLOCK + offsets, x * y - 7)
    tl.store(o_ptr + 5 * BLOCK + offsets, tl.where(x > y, tl.minimum(x, y), tl.maximum(x, 5)))
    tl.store(o_ptr + 6 * BLOCK + offsets, ~x + tl.abs(y))


def _integers_reference(x_ptr, y_ptr, o_ptr):
    x, y = x_ptr, y_ptr
    with np.errstate(over="ignore"):
        quotient = np.trunc(x.astype(np.float64) / y).astype(x.dtype)
        return dict(
            o_ptr=np.stack([
                quotient, x - quotient * y, (x << 3) ^ (y >> 1), (x & y) | (-x), x * y - 7,
                np.where(x > y, np.minimum(x, y), np.maximum(x, 5)), ~x + np.abs(y),
            ])
        )  # fmt: skip


for _dtype in (np.int16, np.int32, np.int64):
    case(
        f"integers_{np.dtype(_dtype).name}", integers, (1,),
        lambda rng, dtype=_dtype: dict(
            x_ptr=rng.integers(-30000, 30000, 256).astype(dtype),
            y_ptr=(rng.integers(1, 300, 256) * rng.choice([-1, 1], 256)).astype(dtype),
            o_ptr=zeros(7, 256, dtype=dtype),
        ),
        _integers_reference, BLOCK=256,
    )  # fmt: skip


@triton.jit
def unsigned(x_ptr, y_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    tl.store(o_ptr + offsets, x // y)
    tl.store(o_ptr + BLOCK + offsets, x % y)
    tl.store(o_ptr + 2 * BLOCK + offsets, x >> 5)
    tl.store(o_ptr + 3 * BLOCK + offsets, tl.umulhi(x, y))
    tl.store(o_ptr + 4 * BLOCK + offsets, tl.where(x > y, tl.maximum(x, y), tl.minimum(x, y)))
    tl.store(o_ptr + 5 * BLOCK + offsets, (x.to(tl.float32) * 0.5).to(tl.uint32))


def _unsigned_reference(x_ptr, y_ptr, o_ptr):
    x, y = x_ptr, y_ptr
    high = ((x.astype(np.uint64) * y) >> np.uint64(32)).astype(np.uint32)
    half = (x.astype(np.float32) * np.float32(0.5)).astype(np.uint32)
    return dict(o_ptr=np.stack([x // y, x % y, x >> 5, high, np.maximum(x, y) * (x > y)
                                + np.minimum(x, y) * (x <= y), half]))  # fmt: skip


case(
    "unsigned", unsigned, (1,),
    lambda rng: dict(x_ptr=rng.integers(0, 2**32, 256).astype(np.uint32),
                     y_ptr=rng.integers(1, 2**32, 256).astype(np.uint32),
                     o_ptr=zeros(6, 256, dtype=np.uint32)),
    _unsigned_reference, BLOCK=256,
)  # fmt: skip


@triton.jit
def cast(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    tl.store(o_ptr + offsets, x.to(o_ptr.dtype.element_ty), mask=mask)


_CASTS = [
    ("float32", "float16"), ("float32", "bfloat16"), ("float16", "float32"),
    ("bfloat16", "float32"), ("float32", "float64"), ("float64", "float32"),
    ("float32", "int32"), ("float32", "int8"), ("int32", "float32"), ("int64", "float32"),
    ("uint8", "float32"), ("bool", "float32"), ("float32", "bool"), ("int8", "int64"),
    ("uint8", "int32"), ("int64", "int16"), ("float16", "bfloat16"),
    ("float32", "float8_e5m2"), ("float32", "float8_e4m3fn"), ("float8_e5m2", "float32"),
    ("float8_e4m3fn", "float32"), ("float16", "float8_e5m2"), ("float8_e4m3fn", "float16"),
    ("float8_e4m3fn", "bfloat16"), ("bfloat16", "float8_e4m3fn"),
]  # fmt: skip


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


for _from, _to in _CASTS:

    def _cast_arguments(rng, source=numpy_dtype(_from), result=numpy_dtype(_to)):
        if source.itemsize == 1 and source.kind not in "iub":  # every finite 8-bit float
            bits = np.arange(256, dtype=np.uint8).view(source)
            x = bits[np.isfinite(bits.astype(np.float32))]
        elif source.kind == "b":
            x = rng.integers(0, 2, 300).astype(bool)
        else:
            x = rng.uniform(0 if "u" in (source.kind, result.kind) else -100, 100, 700)
            x[:5] = [0, 1, 2, 0.5, 100]
            x = x.astype(source)
        return dict(x_ptr=x, o_ptr=np.zeros(len(x), result), n=len(x))

    case(
        f"cast_{_from}_{_to}", cast, (3,), _cast_arguments,
        lambda x_ptr, o_ptr, n: dict(o_ptr=x_ptr.astype(o_ptr.dtype)), tolerance=0.0, BLOCK=256,
    )  # fmt: skip


@triton.jit
def bitcast(x_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    bits = tl.load(x_ptr + offsets).to(tl.int32, bitcast=True)
    tl.store(o_ptr + offsets, (bits ^ -2147483648).to(tl.float32, bitcast=True))


case(
    "bitcast", bitcast, (1,), lambda rng: dict(x_ptr=floats(rng, 256), o_ptr=zeros(256)),
    lambda x_ptr, o_ptr: dict(o_ptr=-x_ptr), tolerance=0.0, BLOCK=256,
)  # fmt: skip
