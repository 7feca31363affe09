"""tl.dot in all dtypes, shapes, transposes, precisions and result types; tl.dot_scaled."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np

from tests.triton_cpu.language.dtypes import FP8, TRITON, numpy_dtype
from tests.triton_cpu.language.harness import Case, group

KINDS = ("float64", "float32", "float16", "bfloat16", "int8", *FP8)


def _matrix(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed + 70)
    if name == "int8":
        return rng.integers(-128, 128, shape).astype(np.int8)
    return rng.standard_normal(shape).astype(numpy_dtype(name))


def _load(name: str, rows: int, columns: int, transposed: bool = False) -> str:
    """Text that loads a row-major matrix, or the transpose of one."""
    r, c = f"tl.arange(0, {rows})[:, None]", f"tl.arange(0, {columns})[None, :]"
    if transposed:
        r, c = f"tl.arange(0, {columns})[:, None]", f"tl.arange(0, {rows})[None, :]"
        return f"{name} = tl.trans(tl.load({name} + {r} * {rows} + {c}))\n"
    return f"{name} = tl.load({name} + {r} * {columns} + {c})\n"


def _slack(k: int, result: str) -> float:
    """Products of unit normals: error of k additions, and of the result's rounding."""
    unit = float(ml_dtypes.finfo(numpy_dtype(result)).eps)
    return unit * 8 * (k**0.5 + 4)


def _outcome(name: str) -> str:
    return {"int8": "int32", "float64": "float64"}.get(name, "float32")


def _put(m: int, n: int) -> str:
    return (
        f"at = tl.arange(0, {m})[:, None] * {n} + tl.arange(0, {n})[None, :]\ntl.store(o + at, z)"
    )


@group("dot", *KINDS)
def shapes(name: str) -> Iterator[Case]:
    result = _outcome(name)
    for m, n, k in (
        (16, 16, 16),
        (32, 64, 16),
        (64, 16, 128),
        (4, 8, 32),
        (1, 16, 16),
        (16, 1, 64),
    ):
        x, y = _matrix(name, m, k), _matrix(name, k, n, seed=1)
        want = x.astype(np.float64) @ y.astype(np.float64)
        for left in (False, True):
            for right in (False, True):
                if (left or right) and m * n < 256:
                    continue
                body = _load("x", m, k, left) + _load("y", k, n, right) + "z = tl.dot(x, y)\n"
                body += f"tl.static_assert(z.dtype == {TRITON[result]})\n" + _put(m, n)
                yield Case(
                    f"{name} {m}x{k} @ {k}x{n} {'T' if left else 'N'}{'T' if right else 'N'}",
                    body,
                    {
                        "x": np.ascontiguousarray(x.T) if left else x,
                        "y": np.ascontiguousarray(y.T) if right else y,
                    },
                    {"o": want.astype(result)},
                    absolute=0 if name == "int8" else _slack(k, result),
                )


@group("dot", *KINDS)
def accumulators(name: str) -> Iterator[Case]:
    """An accumulator added to, in a loop or once; results of half precision."""
    m, n, k = 32, 32, 64
    result = _outcome(name)
    x, y = _matrix(name, m, k), _matrix(name, k, n, seed=1)
    product = x.astype(np.float64) @ y.astype(np.float64)
    a = (np.random.default_rng(5).standard_normal((m, n)) * 9).astype(result)
    want = (a.astype(np.float64) + product).astype(result)
    slack = 0 if name == "int8" else 2 * _slack(k, result)
    out = TRITON[result]
    for text in (
        f"z = tl.dot(x, y, a, out_dtype={out})",
        f"z = tl.dot(x, y, acc=a, out_dtype={out})",
        f"z = a + tl.dot(x, y, out_dtype={out})",
    ):
        body = _load("x", m, k) + _load("y", k, n) + _load("a", m, n) + text + "\n" + _put(m, n)
        arguments = {"x": x, "y": y, "a": a}
        yield Case(f"{name}: {text}", body, arguments, {"o": want}, absolute=slack)
    body = f"""
r, c, s = tl.arange(0, {m})[:, None], tl.arange(0, {n})[None, :], tl.arange(0, 16)
z = tl.zeros([{m}, {n}], {out})
for k in range(0, {k}, 16):
    z = tl.dot(tl.load(x + r * {k} + (k + s)[None, :]), tl.load(y + (k + s)[:, None] * {n} + c), z,
               out_dtype={out})
    if k == 32:
        z += tl.load(a + r * {n} + c)
"""
    yield Case(f"{name}: in a loop", body + _put(m, n), arguments, {"o": want}, absolute=slack)
    if name in ("float16", *FP8):
        half = product.astype(np.float16)
        body = _load("x", m, k) + _load("y", k, n)
        body += "z = tl.dot(x, y, out_dtype=tl.float16)\n"
        body += "tl.static_assert(z.dtype == tl.float16)\n" + _put(m, n)
        yield Case(
            f"{name}: out_dtype float16", body, {"x": x, "y": y}, {"o": half},
            absolute=0.1 + 20 * _slack(k, "float16"),
        )  # fmt: skip


@group("dot")
def precisions() -> Iterator[Case]:
    """What lowers the precision on GPUs is computed in float32 here, which is better."""
    m, n, k = 32, 32, 64
    x, y = _matrix("float32", m, k), _matrix("float32", k, n, seed=1)
    want = (x.astype(np.float64) @ y.astype(np.float64)).astype("f4")
    for text in (
        *(f'input_precision="{p}"' for p in ("ieee", "tf32", "tf32x3", "bf16x3", "bf16x6")),
        "allow_tf32=False",
        "allow_tf32=True",
        "max_num_imprecise_acc=16",
    ):
        body = _load("x", m, k) + _load("y", k, n) + f"z = tl.dot(x, y, {text})\n" + _put(m, n)
        yield Case(text, body, {"x": x, "y": y}, {"o": want}, absolute=_slack(k, "float32"))
    x8, y8 = _matrix(FP8[0], m, k), _matrix(FP8[1], k, n, seed=1)
    want = (x8.astype(np.float64) @ y8.astype(np.float64)).astype("f4")
    body = _load("x", m, k) + _load("y", k, n) + "z = tl.dot(x, y)\n" + _put(m, n)
    yield Case("e5m2 x e4m3", body, {"x": x8, "y": y8}, {"o": want}, absolute=_slack(k, "float32"))


@group("dot", "float32", "float16", "bfloat16", "int8", "float64")
def batched(name: str) -> Iterator[Case]:
    b, m, n, k = 4, 16, 32, 16
    result = _outcome(name)
    x, y = _matrix(name, b, m, k), _matrix(name, b, k, n, seed=1)
    want = (x.astype(np.float64) @ y.astype(np.float64)).astype(result)
    load = f"""
b, m, n, k = tl.arange(0, {b}), tl.arange(0, {m}), tl.arange(0, {n}), tl.arange(0, {k})
x = tl.load(x + b[:, None, None] * {m * k} + m[None, :, None] * {k} + k[None, None, :])
"""
    put = f"\ntl.store(o + b[:, None, None] * {m * n} + m[None, :, None] * {n} + n, z)"
    body = load + f"y = tl.load(y + b[:, None, None] * {k * n} + k[None, :, None] * {n} + n)\n"
    slack = 0 if name == "int8" else _slack(k, result)
    arguments = {"x": x, "y": y}
    yield Case(
        f"batched {name}", body + "z = tl.dot(x, y)" + put, arguments, {"o": want}, absolute=slack
    )
    turned = {"x": x, "y": np.ascontiguousarray(y.transpose(0, 2, 1))}
    body = load + f"y = tl.load(y + b[:, None, None] * {k * n} + n[None, :, None] * {k} + k)\n"
    body += "z = tl.dot(x, tl.permute(y, (0, 2, 1)))" + put
    yield Case(f"batched {name} NT", body, turned, {"o": want}, absolute=slack)


@group("dot")
def chains() -> Iterator[Case]:
    """Operands that are computed, products of products, masks."""
    m, n, k = 32, 32, 32
    x, y = _matrix("float32", m, k), _matrix("float32", k, n, seed=1)
    wx, wy = x.astype(np.float64), y.astype(np.float64)
    load = _load("x", m, k) + _load("y", k, n)
    for text, want in (
        ("z = tl.dot(tl.exp(x), y * 2 + 1)", np.exp(wx) @ (wy * 2 + 1)),
        ("z = tl.dot(tl.dot(x, y), y)", wx @ wy @ wy),
        ("z = tl.dot(x, tl.dot(y, tl.trans(x)))", wx @ (wy @ wx.T)),
        ("z = tl.dot(x, y) * tl.dot(y, x) + tl.sum(tl.dot(x, x), 1)[:, None]",
         (wx @ wy) * (wy @ wx) + (wx @ wx).sum(1, keepdims=True)),
        ("w = tl.dot(x, y)\nz = tl.dot(tl.where(w > 0, w, 0.0), tl.trans(w))",
         np.maximum(wx @ wy, 0) @ (wx @ wy).T),
        ("z = tl.dot(x.to(tl.float16), y.to(tl.float16)).to(tl.float32)",
         x.astype("f2").astype("f8") @ y.astype("f2").astype("f8")),
        ("z = tl.trans(tl.dot(x, y))", (wx @ wy).T),
    ):  # fmt: skip
        size = float(np.abs(want).max())
        yield Case(
            text, load + text + "\n" + _put(m, n), {"x": x, "y": y}, {"o": want.astype("f4")},
            absolute=size * 3e-5,
        )  # fmt: skip
    rows, columns, depth = 20, 25, 27
    a, b = _matrix("float32", rows, depth), _matrix("float32", depth, columns, seed=1)
    body = f"""
r, c, s = tl.arange(0, 32)[:, None], tl.arange(0, 32)[None, :], tl.arange(0, 32)
a = tl.load(a + r * {depth} + s[None, :], mask=(r < {rows}) & (s[None, :] < {depth}), other=0.0)
inside = (s[:, None] < {depth}) & (c < {columns})
b = tl.load(b + s[:, None] * {columns} + c, mask=inside, other=0.0)
tl.store(o + r * {columns} + c, tl.dot(a, b), mask=(r < {rows}) & (c < {columns}))
"""
    want = (a.astype(np.float64) @ b.astype(np.float64)).astype("f4")
    yield Case("masked", body, {"a": a, "b": b}, {"o": want}, absolute=_slack(depth, "float32"))


# ---- microscaling

FORMATS = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2", "e2m1": "float4_e2m1fn",
           "bf16": "bfloat16", "fp16": "float16"}  # fmt: skip


def _scaled_operand(
    rng: np.random.Generator, kind: str, rows: int, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(as stored, with 4-bit pairs in bytes along k; scales as exponents; the values)."""
    scale = rng.integers(122, 132, (rows, k // 32)).astype(np.uint8)
    factors = np.repeat(np.exp2(scale.astype(np.float64) - 127), 32, 1)
    if kind == "e2m1":
        codes = rng.integers(0, 16, (rows, k)).astype(np.uint8)
        table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
        found = table[codes & 7] * np.where(codes & 8, -1.0, 1.0)
        return codes[:, ::2] | codes[:, 1::2] << 4, scale, found * factors
    found = rng.standard_normal((rows, k)).astype(numpy_dtype(FORMATS[kind]))
    stored = found.view(np.uint8) if found.itemsize == 1 else found
    return stored, scale, found.astype(np.float64) * factors


@group("dot_scaled")
def formats() -> Iterator[Case]:
    rng = np.random.default_rng(11)
    m, n, k = 32, 16, 64
    pairs = [("e4m3", "e4m3"), ("e5m2", "e5m2"), ("e4m3", "e5m2"), ("e2m1", "e2m1"),
             ("e2m1", "e4m3"), ("e5m2", "e2m1"), ("bf16", "e4m3"), ("e4m3", "bf16"),
             ("e2m1", "bf16"), ("fp16", "e2m1"), ("fp16", "e5m2")]  # fmt: skip
    for left, right in pairs:
        x, xs, wide_x = _scaled_operand(rng, left, m, k)
        y, ys, wide_y = _scaled_operand(rng, right, n, k)
        plain = ("bf16", "fp16")
        if left in plain:
            wide_x = x.astype(np.float64)
        if right in plain:
            wide_y = y.astype(np.float64)
        kx, ky = x.shape[1], y.shape[1]
        body = _load("x", m, kx) + _load("y", ky, n, transposed=True)
        body += "" if left in plain else _load("xs", m, k // 32)
        body += "" if right in plain else _load("ys", n, k // 32)
        a = "None" if left in plain else "xs"
        b = "None" if right in plain else "ys"
        want = wide_x @ wide_y.T
        arguments = {"x": x, "y": y, "xs": xs, "ys": ys}
        size = float(np.abs(wide_x).max() * np.abs(wide_y).max()) * 8
        text = f'z = tl.dot_scaled(x, {a}, "{left}", y, {b}, "{right}")\n'
        yield Case(
            f"{left} x {right}", body + text + _put(m, n), arguments, {"o": want.astype("f4")},
            absolute=size * 1e-6,
        )  # fmt: skip
        text = "c = tl.full([32, 16], 2.0, tl.float32)\n"
        text += f'z = tl.dot_scaled(x, {a}, "{left}", y, {b}, "{right}", acc=c)\n'
        yield Case(
            f"{left} x {right} + c",
            body + text + _put(m, n),
            arguments,
            {"o": (want + 2).astype("f4")},
            absolute=size * 1e-6,
        )


@group("dot_scaled")
def packed_otherwise() -> Iterator[Case]:
    """4-bit operands whose pairs lie along rows and columns instead of the inner dimension."""
    rng = np.random.default_rng(12)
    m, n, k = 32, 16, 64
    x, xs, wide_x = _scaled_operand(rng, "e2m1", m, k)
    y, ys, wide_y = _scaled_operand(rng, "e2m1", n, k)

    def codes(stored: np.ndarray) -> np.ndarray:
        return np.stack([stored & 15, stored >> 4], -1).reshape(len(stored), -1)

    cx, cy = codes(x), codes(y)
    x_rows = cx[::2] | cx[1::2] << 4
    y_columns = (cy[::2] | cy[1::2] << 4).T.copy()
    body = _load("x", m // 2, k) + _load("y", k, n // 2)
    body += _load("xs", m, k // 32) + _load("ys", n, k // 32)
    body += 'z = tl.dot_scaled(x, xs, "e2m1", y, ys, "e2m1", lhs_k_pack=False, rhs_k_pack=False)\n'
    yield Case(
        "e2m1 packed along rows",
        body + _put(m, n),
        {"x": x_rows, "y": y_columns, "xs": xs, "ys": ys},
        {"o": (wide_x @ wide_y.T).astype("f4")},
        absolute=1e-3,
    )
