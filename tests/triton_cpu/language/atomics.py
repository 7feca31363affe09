"""Atomic operations: all of them, by dtype, memory order, mask, and with many programs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import triton.language as tl

from tests.triton_cpu.language.dtypes import N, finite, numpy_dtype, values
from tests.triton_cpu.language.harness import Case, group

Function = Callable[..., np.ndarray]

_TABLE: dict[str, tuple[Function, tuple[str, ...]]] = {
    "add": (
        np.add,
        ("int32", "uint32", "int64", "uint64", "float16", "bfloat16", "float32", "float64"),
    ),
    "max": (np.fmax, ("int32", "uint32", "int64", "uint64", "float32", "float64")),
    "min": (np.fmin, ("int32", "uint32", "int64", "uint64", "float32", "float64")),
    "and": (np.bitwise_and, ("int32", "uint32", "int64", "uint64")),
    "or": (np.bitwise_or, ("int32", "uint32", "int64", "uint64")),
    "xor": (np.bitwise_xor, ("int32", "uint32", "int64", "uint64")),
    "xchg": (lambda o, x: x, ("int32", "uint32", "int64", "uint64", "float32", "float64")),
}
_EACH = """
i = tl.arange(0, 128)
old = tl.atomic_{name}(o + i, tl.load(x + i), mask=tl.load(m + i){sem})
tl.store(p + i, old, mask=tl.load(m + i))
tl.atomic_{name}(q + i, tl.load(x + i))
"""
_PRIOR = 5


@group("atomics", *_TABLE)
def each(name: str) -> Iterator[Case]:
    function, kinds = _TABLE[name]
    m = values("bool")
    for kind in kinds:
        x, o = finite(kind), finite(kind, 1)
        with np.errstate(all="ignore"):
            new = function(o, x).astype(o.dtype)
        zero = np.zeros(1, numpy_dtype(kind))
        for sem in ("", ', sem="relaxed"', ', sem="acquire"', ', sem="release", scope="cta"'):
            yield Case(
                f"atomic_{name} {kind}{sem}",
                _EACH.format(name=name, sem=sem),
                {"x": x, "m": m, "o": o, "q": o},
                {"o": np.where(m, new, o), "p": np.where(m, o, zero), "q": new},
            )


@group("atomics")
def colliding() -> Iterator[Case]:
    """Many lanes and programs on few addresses."""
    rng = np.random.default_rng(3)
    target = rng.integers(0, 8, (16, N)).astype(np.int32)
    add = """
i = tl.program_id(0) * 128 + tl.arange(0, 128)
j = tl.load(j + i)
tl.atomic_add(o + j, tl.load(x + i))
tl.atomic_max(p + j, tl.load(x + i))
tl.atomic_min(q + j, tl.load(x + i))
"""
    for kind in ("int32", "float32", "int64", "float64", "uint32"):
        x = rng.integers(0, 1000, (16, N)).astype(kind)
        total = np.zeros(8, kind)
        np.add.at(total, target, x)
        high, low = np.zeros(8, kind), np.full(8, 2000, kind)
        np.maximum.at(high, target, x)
        np.minimum.at(low, target, x)
        yield Case(
            f"colliding {kind}",
            add,
            {"x": x, "j": target, "q": np.full(8, 2000, kind)},
            {"o": total, "p": high, "q": low},
            grid=(16,),
        )
    scalar = """
value = tl.load(x + tl.program_id(0))
before = tl.atomic_add(o, value)
tl.store(p + tl.program_id(0), before)
tl.atomic_max(o + 1, value)
tl.atomic_xchg(o + 2, value, mask=tl.program_id(0) == 3)
tl.atomic_add(o + 3, 1)
"""
    x = rng.integers(0, 100, 16).astype(np.int32)
    before = np.cumsum(x, dtype=np.int32) - x
    yield Case(
        "scalars",
        scalar,
        {"x": x},
        {"o": np.array([x.sum(), x.max(), x[3], 16], np.int32), "p": before},
        grid=(16,),
    )


@group("atomics")
def compare_and_swap() -> Iterator[Case]:
    body = """
i = tl.arange(0, 128)
old = tl.atomic_cas(o + i, tl.load(c + i), tl.load(x + i){sem})
tl.store(p + i, old)
"""
    for kind in ("int32", "uint32", "int64", "uint64", "float32", "float64", "int16", "float16"):
        x, o = finite(kind), finite(kind, 1)
        c = np.where(np.arange(N) % 3 == 0, o, x)
        for sem in ("", ', sem="acquire"', ', sem="relaxed", scope="sys"'):
            yield Case(
                f"atomic_cas {kind}{sem}",
                body.format(sem=sem),
                {"x": x, "c": c, "o": o},
                {"o": np.where(o == c, x, o), "p": o},
            )
    lock = """
while tl.atomic_cas(l, 0, 1) == 1:
    pass
i = tl.arange(0, 16)
tl.store(o + i, tl.load(o + i) * 3 + tl.program_id(0))
tl.debug_barrier()
tl.atomic_xchg(l, 0)
"""
    want = np.zeros(16, np.int32)
    for k in range(5):
        want = want * 3 + k
    yield Case(
        "a lock",
        lock,
        {"l": np.zeros(1, np.int32)},
        {"o": want, "l": np.zeros(1, np.int32)},
        grid=(5,),
    )


@group("atomics")
def loads_and_stores() -> Iterator[Case]:
    if not hasattr(tl, "atomic_load"):
        return
    m = values("bool")
    for kind in ("int32", "int64", "float32", "float16", "int8", "float64", "uint16", "bool"):
        x = finite(kind) if kind != "bool" else values(kind)
        for load, store in (("", ""), (', sem="relaxed"', ', sem="relaxed", scope="sys"')):
            body = f"i = tl.arange(0, 128)\nx1 = tl.atomic_load(x + i{load})\n"
            body += f"tl.atomic_store(o + i, x1{store})\n"
            body += f"tl.atomic_store(p + i, x1, mask=tl.load(m + i){store})\n"
            body += f"tl.atomic_store(q, tl.atomic_load(x + 5{load}){store})\n"
            body += f"tl.store(s + i, tl.atomic_load(x + i, mask=tl.load(m + i){load}), "
            body += "mask=tl.load(m + i))"
            masked = np.where(m, x, np.zeros(1, x.dtype))
            yield Case(
                f"atomic_load, atomic_store {kind}{load}",
                body,
                {"x": x, "m": m},
                {"o": x, "p": masked, "q": x[5:6], "s": masked},
            )
    body = """
tl.atomic_store(o, 7)
done = tl.atomic_poll(o, 7)
tl.store(p, done.to(tl.int32))
i = tl.arange(0, 4)
late = tl.atomic_poll(x + i, 5, timeout_ns=1000)
tl.store(q + i, late.to(tl.int32))
"""
    x = np.array([5, 6, 5, 7], np.int32)
    yield Case(
        "atomic_poll",
        body,
        {"x": x},
        {"o": np.array([7], "i4"), "p": np.array([1], "i4"), "q": np.array([1, 0, 1, 0], "i4")},
        alone=True,
    )
