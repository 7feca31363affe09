"""The element types of Triton's language: names, values at their edges, and how they mix."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = (*SIGNED, *UNSIGNED)
FLOATS = ("float16", "bfloat16", "float32", "float64")
FP8 = ("float8_e5m2", "float8_e4m3fn")
NUMBERS = (*INTEGERS, *FLOATS)
#: NumPy's name -> Triton's
TRITON = {
    **{name: f"tl.{name}" for name in NUMBERS},
    "bool": "tl.int1",
    "float8_e5m2": "tl.float8e5",
    "float8_e4m3fn": "tl.float8e4nv",
}
#: lengths of the vectors that `values` gives
N = 128


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def is_integer(name: str) -> bool:
    return name in INTEGERS or name == "bool"


@functools.cache
def values(name: str, seed: int = 0) -> np.ndarray:
    """N numbers: the edges of the type in some order, then random ones. Not to be written to."""
    rng = np.random.default_rng(seed + 100)
    kind = numpy_dtype(name)
    if name == "bool":
        found = rng.integers(0, 2, N).astype(bool)
    elif is_integer(name):
        found = _integers(kind, rng)
    else:
        found = _floats(kind, rng)
    found.flags.writeable = False
    return found


def _integers(kind: np.dtype, rng: np.random.Generator) -> np.ndarray:
    limits = np.iinfo(kind)
    edges = [limits.min, limits.max, 0, 1, 2, 3, limits.max - 1, limits.min + 1]
    edges += [-1, -2, -7] if limits.min < 0 else [7, 10, 100]
    wide = rng.integers(limits.min, limits.max, N // 2, dtype=kind, endpoint=True)
    small = rng.integers(max(limits.min, -20), 20, N - N // 2).astype(kind)
    found = np.concatenate([wide, small])
    found[rng.permutation(N)[: 2 * len(edges)]] = np.array(edges * 2, kind)
    return found


def _floats(kind: np.dtype, rng: np.random.Generator) -> np.ndarray:
    information = ml_dtypes.finfo(kind)
    tiny, large = float(information.tiny), float(information.max)
    edges = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1.0,
        -1.0,
        tiny,
        tiny / 2,
        -tiny / 2,
        large,
        -large,
    ]
    found = (rng.standard_normal(N) * np.exp2(rng.integers(-6, 7, N))).astype(kind)
    found[: N // 4] = rng.integers(-30, 30, N // 4).astype(kind)
    found = rng.permutation(found)
    found[rng.permutation(N)[: 2 * len(edges)]] = np.array(edges * 2).astype(kind)
    return found


@functools.cache
def finite(name: str, seed: int = 0) -> np.ndarray:
    """`values` without nan and infinities, and of moderate size."""
    rng = np.random.default_rng(seed + 200)
    kind = numpy_dtype(name)
    if is_integer(name):
        return values(name, seed)
    found = (rng.standard_normal(N) * 4).astype(kind)
    found.flags.writeable = False
    return found


def promoted(left: str, right: str, *, divides: bool = False) -> str | None:
    """The dtype in which Triton computes with two tensors; None where it refuses."""
    both = {left, right}
    if "float64" in both:
        return "float64"
    if divides and not (is_integer(left) and is_integer(right)):
        return "float32"
    for name in ("float32", "float16"):
        if name in both:
            return name
    if "bfloat16" in both:
        return "bfloat16" if len(both) == 1 else "float32"
    a, b = numpy_dtype(left), numpy_dtype(right)
    if divides and a.kind != b.kind:
        return None
    if a.itemsize != b.itemsize:
        return left if a.itemsize > b.itemsize else right
    return left if a.kind == "u" else right


def cast(x: np.ndarray, name: str) -> np.ndarray:
    """x as another dtype.

    Floats become integers of 32 or 64 bits truncated; beyond the range, and for nan, signed ones
    are the lowest number, as x86's instructions and so PyTorch have it, unsigned ones saturate with
    nan as 0. The narrower ones are the low bits of an int32.
    """
    kind = numpy_dtype(name)
    with np.errstate(all="ignore"):
        if kind.kind == "b":
            return np.asarray(x != 0)
        if kind.kind in "iu" and x.dtype.kind not in "iub":
            wide = np.dtype("int32") if kind.itemsize < 4 else kind
            return _truncated(x, wide).astype(kind)
        return x.astype(kind)


def _truncated(x: np.ndarray, kind: np.dtype) -> np.ndarray:
    limits = np.iinfo(kind)

    def one(v: float | int) -> float | int:
        if v == v and limits.min <= v <= limits.max:
            return v
        return limits.max if limits.min == 0 and v > 0 else limits.min

    return np.array([one(v) for v in map(_whole, x.astype(np.longdouble))], kind)


def _whole(x: np.longdouble) -> float | int:
    return int(x) if np.isfinite(x) else float(x)
