"""What `tl` offers as functions, called as methods of tensors; and named operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import triton.language as tl

from tests.triton_cpu.language.harness import Case, group

_LOAD = """
r, c = tl.arange(0, 16), tl.arange(0, 8)
at = r[:, None] * 8 + c[None, :]
x, k = tl.load(x + at), tl.load(k + at)
"""
_COMBINE = """
@triton.jit
def added(a, b):
    return a + b
"""
Function = Callable[[np.ndarray, np.ndarray], np.ndarray]
_erf = np.vectorize(math.erf, otypes=[np.float64])

#: expression of a 16 x 8 block -> NumPy's, of x (float64) and k (int32)
_BLOCKS: dict[str, Function] = {
    "x.exp2()": lambda x, k: np.exp2(x),
    "x.log()": lambda x, k: np.log(x),
    "x.sin()": lambda x, k: np.sin(x),
    "x.cos()": lambda x, k: np.cos(x),
    "x.erf()": lambda x, k: _erf(x),
    "x.sqrt()": lambda x, k: np.sqrt(x),
    "x.sqrt_rn()": lambda x, k: np.sqrt(x),
    "x.rsqrt()": lambda x, k: 1 / np.sqrt(x),
    "x.floor()": lambda x, k: np.floor(x),
    "x.ceil()": lambda x, k: np.ceil(x),
    "x.softmax(1)": lambda x, k: np.exp(x) / np.exp(x).sum(1, keepdims=True),
    "x.cast(tl.float64).to(tl.float32)": lambda x, k: x,
    "x.flip(1)": lambda x, k: x[:, ::-1],
    "x.cumprod(1)": lambda x, k: np.cumprod(x, 1),
    "x.cumsum(0)": lambda x, k: np.cumsum(x, 0),
    "x.associative_scan(1, added)": lambda x, k: np.cumsum(x, 1),
    "tl.add(x, 2)": lambda x, k: x + 2,
    "tl.sub(x, k)": lambda x, k: x - k,
    "tl.mul(3.0, x)": lambda x, k: 3 * x,
    "(k + 0).cdiv(3).to(tl.float32)": lambda x, k: -(-k // 3),
}
#: expression of 16 numbers
_ROWS: dict[str, Function] = {
    "x.min(1)": lambda x, k: x.min(1),
    "x.reduce(1, added)": lambda x, k: x.sum(1),
    "k.xor_sum(1).to(tl.float32)": lambda x, k: np.bitwise_xor.reduce(k, 1),
    "k.reduce_or(1).to(tl.float32)": lambda x, k: np.bitwise_or.reduce(k, 1),
    "x.argmin(1).expand_dims(1).reshape([16]).to(tl.float32)": lambda x, k: x.argmin(1),
    "x.reshape([16, 4, 2]).split()[1].sum(1)": lambda x, k: x[:, 1::2].sum(1),
}


@group("methods")
def methods() -> Iterator[Case]:
    rng = np.random.default_rng(21)
    x = rng.uniform(0.2, 2, (16, 8)).astype(np.float32)
    k = rng.integers(0, 100, (16, 8)).astype(np.int32)
    for table, place in ((_BLOCKS, "at"), (_ROWS, "r")):
        for expression, function in table.items():
            want = np.ascontiguousarray(function(x.astype(np.float64), k)).astype("f4")
            body = _LOAD + f"tl.store(o + {place}, {expression})"
            yield Case(expression, body, {"x": x, "k": k}, {"o": want}, 8, helpers=_COMBINE)
    body = _LOAD + "p = o + at\np.store(x, mask=k > 50)\n"
    body += "tl.store(q + c, k.reshape([128]).histogram(8).to(tl.int32))"
    yield Case(
        "store, histogram",
        body,
        {"x": x, "k": k % 8},
        {"o": np.zeros_like(x), "q": np.bincount((k % 8).ravel(), minlength=8).astype("i4")},
    )
    body = _LOAD + "old = (o + at).atomic_xchg(k)\n(p + at).atomic_cas(old, k)\n"
    body += "(q + at).atomic_add(k)\n(q + at).atomic_max(k * 2)\n"
    yield Case("atomics", body, {"x": x, "k": k}, {"o": k, "p": k, "q": k * 2})
    if hasattr(tl, "atomic_load"):
        body = _LOAD + "a = (n + at).atomic_load()\n(o + at).atomic_store(a)\n"
        body += "done = (n + at).atomic_poll(a)\ntl.store(p + at, done.to(tl.int32))\n"
        yield Case(
            "atomic accesses",
            body,
            {"x": x, "k": k, "n": k},
            {"o": k, "p": np.ones_like(k)},
            alone=True,
        )
    if hasattr(tl, "expect_zero"):
        body = _LOAD + "tl.store(o + at, tl.expect_zero(x, k > 200))"
        yield Case("tl.expect_zero", body, {"x": x, "k": k}, {"o": x})
