"""Tensors in other shapes and orders: permutations, joins, sorts, gathers, histograms, making."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import numpy as np
import triton.language as tl

from tests.triton_cpu.language.dtypes import FP8, NUMBERS, TRITON, is_integer, numpy_dtype, values
from tests.triton_cpu.language.harness import Case, group

#: Triton 3.9 names an order for concatenation; before, the elements came in any
ORDERED_CAT = "dim" in inspect.signature(tl.cat).parameters


def _block(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed + 50)
    kind = numpy_dtype(name)
    if name in FP8:
        return rng.integers(0, 120, shape).astype(np.uint8).view(kind)
    if name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if is_integer(name):
        limits = np.iinfo(kind)
        return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    return rng.standard_normal(shape).astype(kind)


@group("shapes", *NUMBERS, "bool", *FP8)
def moves(name: str) -> Iterator[Case]:
    """What only moves elements, for every element type."""
    x, y = _block(name, 16, 32), _block(name, 16, 32, seed=1)
    load = """
r, c = tl.arange(0, 16), tl.arange(0, 32)
x = tl.load(x + r[:, None] * 32 + c[None, :])
"""
    flat = "tl.store(o + tl.arange(0, 512), tl.reshape({}, [512]))"
    for expression, want in (
        ("tl.trans(x)", x.T),
        ("x.T", x.T),
        ("tl.permute(x, (1, 0))", x.T),
        ("tl.trans(x, 1, 0)", x.T),
        ("x.trans()", x.T),
        ("tl.reshape(x, [8, 64])", x),
        ("tl.view(x, [64, 8])", x),
        ("x.reshape([2, 4, 64]).permute(2, 0, 1)", x.reshape(2, 4, 64).transpose(2, 0, 1)),
        ("x.ravel()", x),
        ("tl.ravel(x)", x),
        ("tl.flip(x, 1)", x[:, ::-1]),
    ):
        yield Case(
            f"{expression} {name}",
            load + flat.format(expression),
            {"x": x},
            {"o": np.ascontiguousarray(want).ravel()},
        )
    body = load + "y = tl.load(y + r[:, None] * 32 + c[None, :])\n"
    body += "i = tl.arange(0, 1024)\ntl.store(o + i, tl.ravel(tl.join(x, y)))\n"
    body += "tl.store(p + i, tl.ravel(tl.interleave(x, y)))\n"
    body += "a, b = tl.split(x.reshape([16, 16, 2]))\n"
    body += "h = r[:, None] * 16 + tl.arange(0, 16)[None, :]\n"
    body += "tl.store(q + h, a)\ntl.store(s + h, b)"
    yield Case(
        f"join, interleave, split {name}",
        body,
        {"x": x, "y": y},
        {
            "o": np.stack([x, y], -1).ravel(),
            "p": np.stack([x, y], -1).reshape(16, 64).ravel(),
            "q": np.ascontiguousarray(x.reshape(16, 16, 2)[..., 0]),
            "s": np.ascontiguousarray(x.reshape(16, 16, 2)[..., 1]),
        },
    )
    body = (
        "c = tl.arange(0, 32)\nrow = tl.load(x + c)\ncolumn = tl.load(x + tl.arange(0, 16) * 32)\n"
    )
    body += "at = tl.arange(0, 16)[:, None] * 32 + c[None, :]\n"
    body += "tl.store(o + at, tl.broadcast_to(row[None, :], [16, 32]))\n"
    body += "tl.store(p + at, tl.expand_dims(column, 1).broadcast_to([16, 32]))\n"
    body += "wide, _ = tl.broadcast(column[:, None], row[None, :])\ntl.store(q + at, wide)"
    yield Case(
        f"broadcast {name}",
        body,
        {"x": x},
        {
            "o": np.ascontiguousarray(np.broadcast_to(x[0], (16, 32))),
            "p": np.ascontiguousarray(np.broadcast_to(x[:, :1], (16, 32))),
            "q": np.ascontiguousarray(np.broadcast_to(x[:, :1], (16, 32))),
        },
    )


@group("shapes")
def permutations() -> Iterator[Case]:
    import itertools

    x = _block("float32", 4, 8, 16)
    load = "a, b, c = tl.arange(0, 4), tl.arange(0, 8), tl.arange(0, 16)\n"
    load += "x = tl.load(x + a[:, None, None] * 128 + b[None, :, None] * 16 + c)\n"
    for order in itertools.permutations(range(3)):
        body = load + f"tl.store(o + tl.arange(0, 512), tl.ravel(tl.permute(x * 2, {order})))"
        want = np.ascontiguousarray(x.transpose(order) * 2).ravel()
        yield Case(f"permute {order}", body, {"x": x}, {"o": want})
    x4 = _block("int32", 2, 4, 8, 4)
    load = "x = tl.reshape(tl.load(x + tl.arange(0, 256)), [2, 4, 8, 4])\n"
    for order in ((3, 1, 0, 2), (0, 2, 1, 3), (1, 0, 3, 2), (2, 3, 0, 1)):
        body = load + f"tl.store(o + tl.arange(0, 256), tl.ravel(tl.permute(x + 1, {order})))"
        want = np.ascontiguousarray(x4.transpose(order) + np.int32(1)).ravel()
        yield Case(f"permute {order}", body, {"x": x4}, {"o": want})
    body = "x = tl.reshape(tl.load(x + tl.arange(0, 512)), [16, 32])\n"
    body += "y = tl.trans(tl.exp(x))\n"
    body += "tl.store(o + tl.arange(0, 512), tl.ravel(tl.trans(y + tl.sum(y, 0)[None, :])))"
    e = np.exp(x.reshape(16, 32).astype(np.float64))
    want = (e + e.sum(1, keepdims=True)).astype("f4").ravel()
    yield Case("transposed twice", body, {"x": x}, {"o": want}, absolute=1e-4)


@group("shapes")
def concatenations() -> Iterator[Case]:
    for name in ("float32", "int8", "float16", "int64"):
        x, y = _block(name, 64), _block(name, 64, seed=1)
        load = "i = tl.arange(0, 64)\nx, y = tl.load(x + i), tl.load(y + i)\n"
        if ORDERED_CAT:
            body = load + "tl.store(o + tl.arange(0, 128), tl.cat(x, y, dim=0))"
            yield Case(f"cat {name}", body, {"x": x, "y": y}, {"o": np.concatenate([x, y])})
            body = load + "a, b = x.reshape([8, 8]), y.reshape([8, 8])\n"
            body += "tl.store(o + tl.arange(0, 128), tl.ravel(tl.cat(a, b, dim=1)))"
            want = np.concatenate([x.reshape(8, 8), y.reshape(8, 8)], 1).ravel()
            yield Case(f"cat of columns {name}", body, {"x": x, "y": y}, {"o": want})
        else:
            body = load + "tl.store(o, tl.sum(tl.cat(x, y, can_reorder=True).to(tl.float32)))"
            both = x.astype(np.float64).sum() + y.astype(np.float64).sum()
            size = np.abs(np.concatenate([x, y]).astype(np.float64)).sum()
            yield Case(
                f"cat {name}",
                body,
                {"x": x, "y": y},
                {"o": np.array([both], "f4")},
                absolute=float(size) * 1e-6,
            )


@group("shapes", "float32", "int32", "int64", "uint8", "float16", "int8", "float64", "uint32")
def sorts(name: str) -> Iterator[Case]:
    for rows, n in ((1, 256), (4, 64), (8, 8), (2, 2)):
        x = _block(name, rows, n)
        load = f"r, c = tl.arange(0, {rows}), tl.arange(0, {n})\n"
        load += f"at = r[:, None] * {n} + c[None, :]\nx = tl.load(x + at)\n"
        up = np.sort(x, 1)
        for expression, want in (
            ("tl.sort(x)", up),
            ("tl.sort(x, dim=1, descending=True)", up[:, ::-1].copy()),
        ):
            body = load + f"tl.store(o + at, {expression})"
            yield Case(f"{expression} {rows}x{n} {name}", body, {"x": x}, {"o": want})
        half = n // 2
        bitonic = np.concatenate([up[:, :half], up[:, half:][:, ::-1]], 1)
        body = load + "tl.store(o + at, tl.bitonic_merge(x))"
        yield Case(f"bitonic_merge {rows}x{n} {name}", body, {"x": bitonic}, {"o": up})
        if n >= 8:
            body = load + "k = r[:, None] * 4 + tl.arange(0, 4)[None, :]\n"
            body += "tl.store(o + k, tl.topk(x, 4))"
            want = up[:, ::-1][:, :4].copy()
            yield Case(f"topk {rows}x{n} {name}", body, {"x": x}, {"o": want})


@group("shapes")
def gathers() -> Iterator[Case]:
    rng = np.random.default_rng(9)
    for name in ("float32", "float16", "int8", "int64", "uint16", "float64"):
        x = _block(name, 8, 32)
        for axis, shape in ((1, (8, 64)), (0, (16, 32))):
            for index_name in ("int32", "int64", "uint8"):
                index = rng.integers(0, x.shape[axis], shape).astype(index_name)
                body = "x = tl.load(x + tl.arange(0, 8)[:, None] * 32 + tl.arange(0, 32))\n"
                body += f"at = tl.arange(0, {shape[0]})[:, None] * {shape[1]}"
                body += f" + tl.arange(0, {shape[1]})\n"
                body += f"tl.store(o + at, tl.gather(x, tl.load(i + at), {axis}))"
                want = np.take_along_axis(x, index.astype(np.int64), axis)
                yield Case(
                    f"gather {name} by {index_name} along {axis}",
                    body,
                    {"x": x, "i": index},
                    {"o": want},
                )


@group("shapes")
def histograms() -> Iterator[Case]:
    rng = np.random.default_rng(9)
    for name in ("int32", "uint32"):
        for n, bins in ((256, 16), (64, 128), (1024, 2), (16, 1)):
            x = rng.integers(0, bins, n).astype(name)
            m = rng.integers(0, 2, n).astype(bool)
            body = f"i = tl.arange(0, {n})\nx = tl.load(x + i)\nb = tl.arange(0, {bins})\n"
            body += f"tl.store(o + b, tl.histogram(x, {bins}))\n"
            body += f"tl.store(p + b, tl.histogram(x, {bins}, mask=tl.load(m + i)))"
            yield Case(
                f"histogram {name} {n} in {bins}",
                body,
                {"x": x, "m": m},
                {
                    "o": np.bincount(x, minlength=bins).astype(np.int32),
                    "p": np.bincount(x[m], minlength=bins).astype(np.int32),
                },
            )


@group("shapes")
def making() -> Iterator[Case]:
    for name in (*NUMBERS, "bool"):
        kind = numpy_dtype(name)
        text = "i = tl.arange(0, 16)\nj = i[:, None] * 8 + tl.arange(0, 8)[None, :]\n"
        text += f"tl.store(o + i, tl.full([16], 1, {TRITON[name]}))\n"
        text += f"tl.store(p + j, tl.zeros([16, 8], {TRITON[name]}))\n"
        text += "tl.store(q + i, tl.zeros_like(tl.load(x + i)))\n"
        text += f"tl.store(s + i, tl.full((16,), tl.load(x), {TRITON[name]}))"
        x = values(name)
        yield Case(
            f"full, zeros {name}",
            text,
            {"x": x},
            {
                "o": np.ones(16, kind),
                "p": np.zeros((16, 8), kind),
                "q": np.zeros(16, kind),
                "s": np.full(16, x[0]),
            },
        )
    body = "tl.store(o + tl.arange(0, 32), tl.arange(32, 64))\n"
    body += "tl.store(p + tl.arange(0, 1), tl.arange(7, 8))\n"
    body += "tl.static_assert(tl.arange(0, 8).shape[0] == 8)\n"
    body += "tl.static_assert(tl.arange(0, 8).numel == 8)"
    yield Case("arange", body, {}, {"o": np.arange(32, 64, dtype="i4"), "p": np.array([7], "i4")})
    if hasattr(tl, "squeeze"):
        body = "i = tl.arange(0, 16)\nx = tl.load(x + i)\n"
        body += "tl.store(o + i[:, None], tl.unsqueeze(x, 1))\n"
        body += "tl.store(p + i, tl.squeeze(x[:, None] * 2, 1))\n"
        body += "tl.store(q, tl.to_tensor(3) + tl.to_tensor(0.5))"
        x = values("float32")[:16]
        yield Case(
            "squeeze, unsqueeze, to_tensor",
            body,
            {"x": x},
            {"o": x[:, None].copy(), "p": x * 2, "q": np.array([3.5], "f4")},
        )
    body = "i = tl.arange(0, 16)\nx = tl.load(x + i)\n"
    body += (
        "tl.store(o + i[:, None] * 2 + tl.arange(0, 2), x[:, None] + tl.arange(0, 2)[None, :])\n"
    )
    body += "tl.store(p + i[None, None, :], x[None, None, :])\n"
    body += "tl.store(q, tl.sum(x, 0).item() if False else tl.sum(x, 0))"
    x = values("int32")[:16]
    want = x[:, None] + np.arange(2, dtype="i4")
    yield Case(
        "indexing with None",
        body,
        {"x": x},
        {"o": want, "p": x[None, None], "q": np.array([x.sum(dtype=np.int32)])},
    )
    body = "x = tl.reshape(tl.load(x + tl.arange(0, 1)), [1])\ntl.store(o, x.item() + 1)"
    yield Case("item", body, {"x": x[:1]}, {"o": x[:1] + np.int32(1)})
    body = "i, j = tl.arange(0, 8)[:, None], tl.arange(0, 8)[None, :]\n"
    body += "a, b = tl.swizzle2d(i, j, 8, 8, 4)\nat = i * 8 + j\n"
    body += "tl.store(o + at, a)\ntl.store(p + at, b)"
    ij = np.arange(64)
    group_, inside = ij // 32, ij % 32
    yield Case(
        "swizzle2d",
        body,
        {},
        {
            "o": (group_ * 4 + inside % 4).astype("i4").reshape(8, 8),
            "p": (inside // 4).astype("i4").reshape(8, 8),
        },
    )


@group("shapes")
def softmax() -> Iterator[Case]:
    x = _block("float32", 16, 32)
    e = np.exp(x.astype(np.float64))
    load = "at = tl.arange(0, 16)[:, None] * 32 + tl.arange(0, 32)[None, :]\n"
    for dim in (0, 1):
        body = load + f"tl.store(o + at, tl.softmax(tl.load(x + at), {dim}))"
        want = (e / e.sum(dim, keepdims=True)).astype("f4")
        yield Case(f"softmax {dim}", body, {"x": x}, {"o": want}, absolute=1e-6)
