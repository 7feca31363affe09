"""Reductions and scans: the named ones, functions of one's own, tuples, axes, ties, directions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import triton.language as tl

from tests.triton_cpu.language.dtypes import (
    FLOATS,
    INTEGERS,
    NUMBERS,
    SIGNED,
    TRITON,
    is_integer,
    numpy_dtype,
)
from tests.triton_cpu.language.harness import Case, group

Function = Callable[..., np.ndarray]
ROWS, COLUMNS = 16, 64

_TILE = """
r, c = tl.arange(0, 16), tl.arange(0, 64)
x = tl.load(x + r[:, None] * 64 + c[None, :])
"""
#: how a result without axis 0, 1 or both is stored
_STORE = {0: "tl.store(o + c, {})", 1: "tl.store(o + r, {})", None: "tl.store(o, {})"}


def _tile(name: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed + 30)
    kind = numpy_dtype(name)
    if name == "bool":
        return rng.integers(0, 2, (ROWS, COLUMNS)).astype(bool)
    if is_integer(name):
        limits = np.iinfo(kind)
        return rng.integers(limits.min, limits.max, (ROWS, COLUMNS), kind, endpoint=True)
    return rng.standard_normal((ROWS, COLUMNS)).astype(kind)


def _result(want: np.ndarray, kind: str) -> np.ndarray:
    return np.atleast_1d(np.asarray(want)).astype(numpy_dtype(kind))


def summed(name: str) -> str:
    """The dtype of tl.sum: integers below 32 bits are widened."""
    kind = numpy_dtype(name)
    if is_integer(name):
        return name if kind.itemsize >= 4 else ("int32" if name in SIGNED else "uint32")
    return name


def extreme(name: str) -> str:
    """The dtype of tl.max: what is below 32 bits is widened."""
    if numpy_dtype(name).itemsize >= 4:
        return name
    return "int32" if is_integer(name) else "float32"


@group("reductions", *NUMBERS)
def named(name: str) -> Iterator[Case]:
    x = _tile(name)
    wide = x.astype(np.float64) if not is_integer(name) else x
    kind = summed(name)
    # sums of random signs: the error is that of the sizes added up
    size = float(np.abs(wide.astype(np.float64)).sum(1).max())
    slack = 0 if is_integer(name) else size * float(ml_dtypes.finfo(numpy_dtype(kind)).eps) * 8
    extremes = extreme(name)
    for axis in (0, 1, None):
        for call, result, want, error in (
            ("tl.sum(x, {axis})", kind, wide.sum(axis, dtype=None if slack else kind), slack),
            ("tl.max(x, {axis})", extremes, wide.max(axis), 0),
            ("tl.min(x, {axis})", extremes, wide.min(axis), 0),
            ("x.sum({axis})", kind, wide.sum(axis, dtype=None if slack else kind), slack),
            ("x.max({axis})", extremes, wide.max(axis), 0),
        ):
            expression = call.replace("{axis}", str(axis))
            body = _TILE + f"result = {expression}\ntl.static_assert(result.dtype == "
            body += f"{TRITON[result]})\n" + _STORE[axis].format("result")
            factor = 4 if axis is None else 1
            yield Case(
                f"{expression} {name}",
                body,
                {"x": x},
                {"o": _result(want, result)},
                absolute=error * factor,
            )


@group("reductions")
def integer_only() -> Iterator[Case]:
    for name in (*INTEGERS, "bool"):
        x = _tile(name)
        for axis in (0, 1, None):
            for call, want in (
                ("tl.xor_sum(x, {axis})", np.bitwise_xor.reduce(x, axis)),
                ("tl.reduce_or(x, {axis})", np.bitwise_or.reduce(x, axis)),
            ):
                expression = call.replace("{axis}", str(axis))
                body = _TILE + _STORE[axis].format(expression)
                yield Case(f"{expression} {name}", body, {"x": x}, {"o": _result(want, name)})
    x = _tile("bool")
    body = _TILE + "tl.store(o + r, tl.sum(x.to(tl.int32), 1))\ntl.store(p + r, tl.sum(x, 1))"
    counts = x.sum(1).astype(np.int32)
    yield Case("tl.sum of int1", body, {"x": x}, {"o": counts, "p": counts})


@group("reductions")
def keep_dims_and_dtype() -> Iterator[Case]:
    x = _tile("int32") % 1000
    for axis in (0, 1):
        want = (x - x.sum(axis, keepdims=True)).astype(np.int32)
        body = _TILE + f"tl.store(o + r[:, None] * 64 + c[None, :], x - tl.sum(x, {axis}, "
        body += "keep_dims=True))"
        yield Case(f"keep_dims {axis}", body, {"x": x}, {"o": want})
    body = _TILE + "tl.store(o + tl.arange(0, 1), tl.sum(x, keep_dims=True).reshape([1]))"
    yield Case("keep_dims of all", body, {"x": x}, {"o": _result(x.sum(), "int32")})
    small = _tile("int8")
    for kind in ("int64", "float32", "int16"):
        body = _TILE + f"tl.store(o + r, tl.sum(x, 1, dtype={TRITON[kind]}))"
        want = small.sum(1, dtype=kind)
        yield Case(f"sum of int8 in {kind}", body, {"x": small}, {"o": want})
    body = _TILE + "tl.store(o + c, tl.max(x, -2))\ntl.store(p + r, tl.min(x, axis=-1))"
    yield Case("negative axes", body, {"x": x}, {"o": x.max(0), "p": x.min(1)})


@group("reductions")
def of_nan() -> Iterator[Case]:
    """max and min pass over nan, except where told to keep it."""
    x = _tile("float32")
    x[3, 5], x[:, 9] = np.nan, np.nan
    body = _TILE + "tl.store(o + r, tl.max(x, 1))\ntl.store(p + c, tl.min(x, 0))"
    with np.errstate(all="ignore"):
        yield Case("nan", body, {"x": x}, {"o": np.fmax.reduce(x, 1), "p": np.fmin.reduce(x, 0)})


@group("reductions", "float32", "float16", "int32", "int8", "uint8", "float64", "int64", "uint16")
def arguments(name: str) -> Iterator[Case]:
    rng = np.random.default_rng(4)
    low = 0 if name[0] == "u" else -3
    x = rng.integers(low, 4, (ROWS, COLUMNS)).astype(name)  # many ties
    for axis in (0, 1):
        first = {"max": x.argmax(axis), "min": x.argmin(axis)}
        for which in ("max", "min"):
            want = _result(first[which], "int32")
            for call in (
                f"tl.arg{which}(x, {axis})",
                f"x.arg{which}({axis})",
                f"tl.arg{which}(x, {axis}, tie_break_left=True)",
            ):
                body = _TILE + _STORE[axis].format(call)
                yield Case(f"{call} {name}", body, {"x": x}, {"o": want})
            value = (x.max if which == "max" else x.min)(axis)
            body = _TILE + f"v, i = tl.{which}(x, {axis}, return_indices=True)\n"
            body += _STORE[axis].format("v") + "\n"
            body += _STORE[axis].format("i").replace("(o", "(p")
            yield Case(
                f"tl.{which} with indices {axis} {name}", body, {"x": x}, {"o": value, "p": want}
            )
            # without tie breaking: any place of the extreme
            body = _TILE + f"i = tl.arg{which}(x, {axis}, tie_break_left=False)\n"
            body += "g = tl.gather(x, " + (
                "i[None, :], 0)\ntl.store(o + c, tl.reshape(g, [64]))"
                if axis == 0
                else "i[:, None], 1)\ntl.store(o + r, tl.reshape(g, [16]))"
            )
            yield Case(f"arg{which} any {axis} {name}", body, {"x": x}, {"o": value})


_COMBINE = """
@triton.jit
def larger_size(a, b):
    return tl.where(tl.abs(a) > tl.abs(b), a, b)


@triton.jit
def welford(mean_a, m2_a, n_a, mean_b, m2_b, n_b):
    n = n_a + n_b
    delta = mean_b - mean_a
    ratio = tl.where(n == 0.0, 0.0, n_b / n)
    return mean_a + delta * ratio, m2_a + m2_b + delta * delta * n_a * ratio, n


@triton.jit
def log_sum(m_a, s_a, m_b, s_b):
    m = tl.maximum(m_a, m_b)
    return m, s_a * tl.exp(m_a - m) + s_b * tl.exp(m_b - m)


@triton.jit
def product(a, b):
    return a * b


@triton.jit
def both(a, b):
    return a & b


@triton.jit
def affine(a, b, c, d):
    return a * c, b * c + d


@triton.jit
def maximum(a, b):
    return tl.maximum(a, b)


@triton.jit
def gcd_step(a, b):
    return tl.where(a > b, a, b)


@triton.jit
def last(a, b):
    return b


@triton.jit
def matrix(a, b, c, d, e, f, g, h):
    return e * a + f * c, e * b + f * d, g * a + h * c, g * b + h * d
"""


@group("reductions")
def custom() -> Iterator[Case]:
    x = _tile("float32")
    wide = x.astype(np.float64)
    for axis in (0, 1):
        biggest = np.take_along_axis(x, np.expand_dims(np.abs(x).argmax(axis), axis), axis)
        body = _TILE + _STORE[axis].format(f"tl.reduce(x, {axis}, larger_size)")
        yield Case(
            f"by size {axis}", body, {"x": x}, {"o": biggest.squeeze(axis)}, helpers=_COMBINE
        )
        body = _TILE + "mean, m2, n = tl.reduce((x, tl.zeros_like(x), tl.full(x.shape, 1.0, "
        body += f"tl.float32)), {axis}, welford)\n" + _STORE[axis].format("m2 / n")
        want = wide.var(axis).astype(np.float32)
        yield Case(f"welford {axis}", body, {"x": x}, {"o": want}, absolute=1e-5, helpers=_COMBINE)
        body = _TILE + "m, s = tl.reduce((x, tl.full(x.shape, 1.0, tl.float32)), "
        body += f"{axis}, log_sum)\n" + _STORE[axis].format("m + tl.log(s)")
        want = np.log(np.exp(wide).sum(axis)).astype(np.float32)
        yield Case(
            f"log sum exp {axis}", body, {"x": x}, {"o": want}, absolute=1e-5, helpers=_COMBINE
        )
    near = 1 + 0.01 * x
    body = _TILE + "tl.store(o + r, tl.reduce(x, 1, product))\n"
    body += "tl.store(p, tl.reduce(x, None, product))"
    yield Case(
        "product",
        body,
        {"x": near},
        {
            "o": near.astype(np.float64).prod(1).astype("f4"),
            "p": _result(near.astype(np.float64).prod(), "float32"),
        },
        absolute=1e-4,
        helpers=_COMBINE,
    )
    i = _tile("int32")
    body = _TILE + "tl.store(o + c, tl.reduce(x, 0, both))"
    yield Case("and", body, {"x": i}, {"o": np.bitwise_and.reduce(i, 0)}, helpers=_COMBINE)
    body = _TILE + "tl.store(o + r, tl.reduce(x, 1, maximum, keep_dims=True).reshape([16]))"
    yield Case("maximum", body, {"x": i}, {"o": i.max(1)}, helpers=_COMBINE)


@group("reductions")
def shapes() -> Iterator[Case]:
    """Vectors of 1 to 4096, rank 3 with every axis, and a reduction of a reduction."""
    rng = np.random.default_rng(5)
    for n in (1, 2, 4, 8, 32, 128, 1024, 4096):
        x = rng.standard_normal(n).astype(np.float32)
        body = f"x = tl.load(x + tl.arange(0, {n}))\ntl.store(o, tl.sum(x))\n"
        body += "tl.store(o + 1, tl.max(x))\ntl.store(p, tl.argmin(x, 0))"
        want = np.array([x.astype(np.float64).sum(), x.max()], np.float32)
        index = np.array([x.argmin()], np.int32)
        yield Case(f"{n} elements", body, {"x": x}, {"o": want, "p": index}, absolute=1e-4)
    for shape in ((4, 8, 16), (16, 2, 4), (2, 64, 1), (1, 1, 8)):
        x = rng.integers(-999, 999, shape).astype(np.int32)
        a, b, c = shape
        load = f"a, b, c = tl.arange(0, {a}), tl.arange(0, {b}), tl.arange(0, {c})\n"
        load += f"x = tl.load(x + a[:, None, None] * {b * c} + b[None, :, None] * {c} + c)\n"
        body = load + f"tl.store(o + b[:, None] * {c} + c, tl.sum(x, 0))\n"
        body += f"tl.store(p + a[:, None] * {c} + c, tl.max(x, 1))\n"
        body += f"tl.store(q + a[:, None] * {b} + b, tl.min(x, 2))\n"
        body += "tl.store(s, tl.sum(tl.sum(tl.sum(x, 1), 1), 0))\n"
        body += "tl.store(t + a, tl.max(tl.sum(x, 2), 1))"
        yield Case(
            f"shape {shape}",
            body,
            {"x": x},
            {
                "o": x.sum(0, dtype=np.int32),
                "p": x.max(1),
                "q": x.min(2),
                "s": _result(x.sum(), "int32"),
                "t": x.sum(2, dtype=np.int32).max(1),
            },
        )


# ---- scans


@group("scans", *FLOATS, *INTEGERS)
def cumulative(name: str) -> Iterator[Case]:
    x = (
        _tile(name)
        if is_integer(name)
        else (_tile(name).astype(np.float32) * 0.3).astype(numpy_dtype(name))
    )
    # Triton 3.6 computes products in the type they have, and bfloat16 in float32
    widens = {
        "tl.cumsum": True,
        "tl.cumprod": "dtype" in inspect.signature(tl.cumprod.fn).parameters,
    }
    checked = "" if name == "bfloat16" else "tl.static_assert(result.dtype == {})\n"
    factors = x if is_integer(name) else (1 + 0.1 * x.astype(np.float64)).astype(x.dtype)
    eps = 0 if is_integer(name) else float(ml_dtypes.finfo(numpy_dtype(name)).eps)
    for axis in (0, 1):
        for reverse in (False, True):
            for call, source, function in (
                ("tl.cumsum", x, np.cumsum),
                ("tl.cumprod", factors, np.cumprod),
            ):
                kind = name if is_integer(name) and not widens[call] else summed(name)
                wide = source.astype(np.float64) if eps else source.astype(kind)
                turned = np.flip(wide, axis) if reverse else wide
                with np.errstate(over="ignore"):
                    want = function(turned, axis, dtype=wide.dtype)
                want = np.ascontiguousarray(np.flip(want, axis) if reverse else want)
                expression = f"{call}(x, {axis}, reverse={reverse})"
                body = _TILE + f"result = {expression}\n" + checked.format(TRITON[kind])
                body += "tl.store(o + r[:, None] * 64 + c[None, :], result)"
                yield Case(
                    f"{expression} {name}",
                    body,
                    {"x": source},
                    {"o": want.astype(numpy_dtype(kind))},
                    absolute=eps * 32 * float(np.abs(want.astype(np.float64)).max()) if eps else 0,
                )


@group("scans")
def associative() -> Iterator[Case]:
    rng = np.random.default_rng(6)
    i = _tile("int32")
    x = _tile("float32")
    a = rng.uniform(0.2, 0.9, (ROWS, COLUMNS)).astype(np.float32)
    put = "\ntl.store(o + r[:, None] * 64 + c[None, :], result)"
    for axis in (0, 1):
        for reverse in (False, True):
            way = f"{axis}, {{}}, reverse={reverse})"

            for name, want in (
                ("maximum", _along(np.maximum.accumulate, i, axis, reverse)),
                ("both", _along(np.bitwise_and.accumulate, i, axis, reverse)),
                ("last", i),
            ):
                body = _TILE + f"result = tl.associative_scan(x, {way.format(name)}{put}"
                yield Case(
                    f"{name} {axis} {reverse}", body, {"x": i}, {"o": want}, helpers=_COMBINE
                )
            body = _TILE + "a = tl.load(a + r[:, None] * 64 + c[None, :])\n"
            body += f"_, result = tl.associative_scan((a, x), {way.format('affine')}{put}"
            yield Case(
                f"affine {axis} {reverse}",
                body,
                {"a": a, "x": x},
                {"o": _recurrence(a, x, axis, reverse)},
                absolute=1e-5,
                helpers=_COMBINE,
            )


def _along(function: Function, x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    found = function(np.flip(x, axis) if reverse else x, axis)
    return np.ascontiguousarray(np.flip(found, axis) if reverse else found)


def _recurrence(a: np.ndarray, x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    wide_a, wide_x = (np.moveaxis(v.astype(np.float64), axis, 0) for v in (a, x))
    if reverse:
        wide_a, wide_x = wide_a[::-1], wide_x[::-1]
    h = wide_x.copy()
    for k in range(1, len(h)):
        h[k] += wide_a[k] * h[k - 1]
    h = h[::-1] if reverse else h
    return np.ascontiguousarray(np.moveaxis(h, 0, axis)).astype(np.float32)


@group("scans")
def not_commutative() -> Iterator[Case]:
    """Products of 2x2 matrices of uint32: the order counts, and the result is exact."""
    rng = np.random.default_rng(7)
    for n in (8, 64, 512):
        entries = rng.integers(0, 50, (4, n)).astype(np.uint32)
        for reverse in (False, True):
            body = f"i = tl.arange(0, {n})\n"
            body += "".join(f"m{k} = tl.load(m + {k * n} + i)\n" for k in range(4))
            body += "h0, h1, h2, h3 = tl.associative_scan((m0, m1, m2, m3), 0, matrix, "
            body += f"reverse={reverse})\n"
            body += "".join(f"tl.store(o + {k * n} + i, h{k})\n" for k in range(4))
            want = np.zeros_like(entries)
            total = np.eye(2, dtype=np.uint32)
            for at in range(n)[:: -1 if reverse else 1]:
                total = entries[:, at].reshape(2, 2) @ total
                want[:, at] = total.ravel()
            yield Case(
                f"matrices {n} {reverse}", body, {"m": entries}, {"o": want}, helpers=_COMBINE
            )


@group("scans")
def lengths() -> Iterator[Case]:
    rng = np.random.default_rng(8)
    for n in (1, 2, 4, 16, 128, 1024, 4096):
        x = rng.integers(-99, 99, n).astype(np.int32)
        body = f"i = tl.arange(0, {n})\nx = tl.load(x + i)\ntl.store(o + i, tl.cumsum(x))\n"
        body += "tl.store(p + i, tl.cumsum(x, reverse=True))\ntl.store(q + i, x.cumsum(0))"
        want = np.cumsum(x, dtype=np.int32)
        yield Case(
            f"{n} elements",
            body,
            {"x": x},
            {"o": want, "p": np.cumsum(x[::-1], dtype=np.int32)[::-1].copy(), "q": want},
        )
    for shape in ((4, 8, 16), (16, 2, 4)):
        x = rng.integers(-99, 99, shape).astype(np.int64)
        a, b, c = shape
        at = f"a[:, None, None] * {b * c} + b[None, :, None] * {c} + c"
        body = f"a, b, c = tl.arange(0, {a}), tl.arange(0, {b}), tl.arange(0, {c})\n"
        body += f"x = tl.load(x + {at})\n"
        body += "".join(f"tl.store(o{k} + {at}, tl.cumsum(x, {k}))\n" for k in range(3))
        yield Case(f"shape {shape}", body, {"x": x}, {f"o{k}": np.cumsum(x, k) for k in range(3)})
