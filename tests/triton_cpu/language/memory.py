"""Loads, stores and their masks; block pointers; tensor descriptors; 64-bit addresses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import triton.language as tl

from tests.triton_cpu.language.dtypes import FP8, NUMBERS, TRITON, N, numpy_dtype, values
from tests.triton_cpu.language.harness import Case, group

_MASKED = """
i = tl.arange(0, 128)
tl.store(o + i, tl.load(x + i, mask=i < 77, other={other}))
tl.store(p + i, tl.load(x + i, mask=(i >= 5) & (i < 100), other={other}), mask=i % 3 != 0)
tl.store(q + i, tl.load(x + (127 - i) // 2, mask=tl.load(m + i)), mask=tl.load(m + i))
"""


@group("memory", *NUMBERS, "bool", *FP8)
def masks(name: str) -> Iterator[Case]:
    """Other values fill what is masked; without them it is undefined, and not stored here."""
    kind = numpy_dtype(name)
    x, m, i = _loaded(name), values("bool"), np.arange(N)
    other = "3"
    if name in FP8:  # Triton converts no integer to these
        other = f"tl.full([128], 3.0, tl.float32).to({TRITON[name]})"
    fill = np.array(3).astype(kind)
    p = np.where(i % 3 != 0, np.where((i >= 5) & (i < 100), x, fill), np.zeros(1, kind))
    yield Case(
        f"masks {name}",
        _MASKED.format(other=other),
        {"x": x, "m": m},
        {
            "o": np.where(i < 77, x, fill),
            "p": p,
            "q": np.where(m, x[(127 - i) // 2], np.zeros(1, kind)),
        },
    )
    body = """
i = tl.arange(0, 128)
tl.store(o + i * 2, tl.load(x + i * 3 // 4), mask=i < 60)
tl.store(p + tl.load(j + i), tl.load(x + tl.load(k + i)))
tl.store(q, tl.load(x + 7))
tl.store(q + 1, tl.load(x + 9), mask=i32 > 0)
tl.store(q + 2, tl.load(x + 9), mask=i32 < 0)
"""
    rng = np.random.default_rng(2)
    j, k = rng.permutation(N).astype(np.int32), rng.integers(0, N, N)
    zero = np.zeros(N, kind)
    o, p = zero.copy(), zero.copy()
    o[:120:2], p[j] = x[np.arange(60) * 3 // 4], x[k]
    q = zero[:3].copy()
    q[:2] = x[7], x[9]
    yield Case(
        f"gather, scatter, scalars {name}",
        body,
        {"x": x, "j": j, "k": k, "i32": 5},
        {"o": o, "p": p, "q": q},
    )


def _loaded(name: str) -> np.ndarray:
    if name in FP8:
        return np.arange(N, dtype=np.uint8).view(numpy_dtype(name))
    return values(name)


@group("memory")
def modifiers() -> Iterator[Case]:
    x = values("float32")
    for load in (
        'cache_modifier=".ca"',
        'cache_modifier=".cg"',
        'cache_modifier=".cv"',
        'eviction_policy="evict_first"',
        'eviction_policy="evict_last"',
        "volatile=True",
    ):
        body = f"i = tl.arange(0, 128)\ntl.store(o + i, tl.load(x + i, {load}))"
        yield Case(f"load {load}", body, {"x": x}, {"o": x})
    for store in (
        'cache_modifier=".wb"',
        'cache_modifier=".cg"',
        'cache_modifier=".cs"',
        'cache_modifier=".wt"',
        'eviction_policy="evict_first"',
    ):
        body = f"i = tl.arange(0, 128)\ntl.store(o + i, tl.load(x + i), {store})"
        yield Case(f"store {store}", body, {"x": x}, {"o": x})


@group("memory")
def hints() -> Iterator[Case]:
    x = values("int32")
    body = """
i = tl.max_contiguous(tl.multiple_of(n + tl.arange(0, 128), 16), 16)
tl.assume(n >= 0)
j = tl.max_constancy(tl.arange(0, 128) // 4, 4)
tl.store(o + i, tl.load(x + i) + j)
tl.debug_barrier()
"""
    yield Case("hints", body, {"x": x, "n": 0}, {"o": x + (np.arange(N) // 4).astype(np.int32)})


@group("memory")
def wide_offsets() -> Iterator[Case]:
    """Offsets beyond 32 bits that come back: the address is computed in 64 bits."""
    x = values("float32")
    body = """
i = tl.arange(0, 128).to(tl.int64)
far = i * 3000000000
tl.store(o + i, tl.load(x + far - i * 2999999999))
base = x + n.to(tl.int64) * 4000000
tl.store(p + i, tl.load(base - n.to(tl.int64) * 4000000 + i))
address = x.to(tl.uint64, bitcast=True) + 4 * tl.arange(0, 128).to(tl.uint64)
tl.store(q + i, tl.load(address.to(tl.pointer_type(tl.float32), bitcast=True)))
"""
    yield Case("wide offsets", body, {"x": x, "n": 1000000}, {"o": x, "p": x, "q": x})
    body = """
i = tl.arange(0, 64)
end = x + 127
tl.store(o + i, tl.load(end - i))
tl.store(p + i, tl.load(end - i.to(tl.int8)))
u = tl.arange(0, 64).to(tl.uint8) * 3
tl.store(q + i, tl.load(x + u, mask=u < 128, other=0.0))
"""
    i = np.arange(64)
    u = (i * 3) % 256
    yield Case(
        "negative and narrow offsets",
        body,
        {"x": x},
        {
            "o": x[127 - i],
            "p": x[127 - i],
            "q": np.where(u < N, x[np.minimum(u, N - 1)], np.float32(0)),
        },
    )


@group("memory")
def pointer_tables() -> Iterator[Case]:
    """Pointers loaded from memory, and selected."""
    x, y = values("float32"), values("float32", 1)
    table = np.array([x.ctypes.data, y.ctypes.data], np.int64)
    body = """
i = tl.arange(0, 128)
for k in range(2):
    source = tl.load(t + k).to(tl.pointer_type(tl.float32))
    tl.store(o + k * 128 + i, tl.load(source + i))
chosen = tl.where(i % 2 == 0, x + i, y + i)
tl.store(p + i, tl.load(chosen))
swapped = tl.where(n > 3, y, x)
tl.store(r + i, tl.load(swapped + i))
"""
    even = np.arange(N) % 2 == 0
    yield Case(
        "pointer tables",
        body,
        {"x": x, "y": y, "t": table, "n": 5},
        {"o": np.stack([x, y]), "p": np.where(even, x, y), "r": y},
        alone=True,
    )


@group("memory")
def block_pointers() -> Iterator[Case]:
    """Triton 3.9 has descriptors instead."""
    if "advance" not in tl.__all__:
        return
    rng = np.random.default_rng(1)
    for name in ("float32", "float16", "int32", "int8"):
        x = (rng.standard_normal((50, 70)) * 20).astype(name)
        body = """
row, column = tl.program_id(0) * 16, tl.program_id(1) * 32
source = tl.make_block_ptr(x, (50, 70), (70, 1), (row, column), (16, 32), (1, 0))
target = tl.make_block_ptr(o, (50, 70), (70, 1), (row, column), (16, 32), (1, 0))
block = tl.load(source, boundary_check=(0, 1), padding_option="zero")
tl.store(target, block + tl.sum(block, 1)[:, None].to(block.dtype), boundary_check=(0, 1))
"""
        padded = np.zeros((64, 96), name)
        padded[:50, :70] = x
        blocks = padded.reshape(4, 16, 3, 32)
        if x.dtype.kind == "i":
            sums = blocks.sum(3, dtype=np.int64, keepdims=True).astype(name)
        else:
            wide = np.float32 if name == "float16" else np.float64
            sums = blocks.astype(wide).sum(3, keepdims=True).astype(name)
        want = (blocks + sums).reshape(64, 96)[:50, :70]
        exact = x.dtype.kind == "i"
        yield Case(
            f"block pointers {name}",
            body,
            {"x": x},
            {"o": want},
            grid=(4, 3),
            absolute=0 if exact else {"float16": 0.5, "float32": 1e-4}[name],
        )
    x = rng.standard_normal((40, 64)).astype(np.float32)
    body = """
pointer = tl.make_block_ptr(x, (40, 64), (64, 1), (0, 8), (8, 16), (1, 0))
total = tl.zeros([8, 16], tl.float32)
for step in range(5):
    total += tl.load(pointer)
    pointer = tl.advance(pointer, (8, 0))
tl.store(tl.make_block_ptr(o, (8, 16), (16, 1), (0, 0), (8, 16), (1, 0)), total)
turned = tl.make_block_ptr(x, (64, 40), (1, 64), (16, 3), (32, 8), (0, 1))
tl.store(tl.make_block_ptr(p, (32, 8), (8, 1), (0, 0), (32, 8), (1, 0)), tl.load(turned))
padded = tl.make_block_ptr(x, (40, 60), (64, 1), (36, 48), (8, 16), (1, 0))
tl.store(tl.make_block_ptr(q, (8, 16), (16, 1), (0, 0), (8, 16), (1, 0)),
         tl.load(padded, boundary_check=(0, 1), padding_option="nan"))
"""
    q = np.full((8, 16), np.nan, np.float32)
    q[:4, :12] = x[36:40, 48:60]
    yield Case(
        "advance, order, nan padding",
        body,
        {"x": x},
        {
            "o": x[:, 8:24].reshape(5, 8, 16).astype(np.float64).sum(0).astype("f4"),
            "p": np.ascontiguousarray(x[3:11, 16:48].T),
            "q": q,
        },
        ulp=4,
        absolute=1e-6,
    )


@group("memory")
def descriptors() -> Iterator[Case]:
    rng = np.random.default_rng(1)
    for name in ("float32", "float16", "int32", "uint8"):
        x = (rng.uniform(0, 100, (50, 64))).astype(name)
        body = """
source = tl.make_tensor_descriptor(x, [50, 64], [64, 1], [16, 32])
target = tl.make_tensor_descriptor(o, [50, 64], [64, 1], [16, 32])
row, column = tl.program_id(0) * 16 - 8, tl.program_id(1) * 32 - 16
block = source.load([row, column])
target.store([row, column], block + block)
"""
        yield Case(f"descriptors {name}", body, {"x": x}, {"o": x + x}, grid=(4, 3))
    x = rng.standard_normal((6, 10, 16)).astype(np.float32)
    body = """
source = tl.make_tensor_descriptor(x, [6, 10, 16], [160, 16, 1], [2, 8, 16], padding_option="nan")
block = tl.load_tensor_descriptor(source, [5, 4, 0])
i = tl.arange(0, 256)
tl.store(o + i, tl.reshape(block, [256]))
target = tl.make_tensor_descriptor(p, [6, 10, 16], [160, 16, 1], [2, 8, 16])
tl.store_tensor_descriptor(target, [1, 1, 0], block)
tl.static_assert(source.block_shape[1] == 8)
tl.store(q + 0, source.shape[1])
tl.store(q + 1, source.strides[0].to(tl.int32))
"""
    block = np.full((2, 8, 16), np.nan, np.float32)
    block[:1, :6] = x[5:6, 4:10]
    p = np.zeros_like(x)
    p[1:3, 1:9] = block
    yield Case(
        "descriptors of rank 3, nan padding",
        body,
        {"x": x},
        {"o": block.ravel(), "p": p, "q": np.array([10, 160], np.int32)},
    )


_DESCRIPTOR_ATOMIC = """
target = tl.make_tensor_descriptor(o, [50, 64], [64, 1], [16, 32])
value = tl.make_tensor_descriptor(x, [50, 64], [64, 1], [16, 32])
row, column = tl.program_id(0) * 16, tl.program_id(1) * 32
target.atomic_{name}([row, column], value.load([row, column]))
"""


@group("memory")
def descriptor_atomics() -> Iterator[Case]:
    rng = np.random.default_rng(1)
    for name, function in (
        ("add", np.add),
        ("min", np.minimum),
        ("max", np.maximum),
        ("and", np.bitwise_and),
        ("or", np.bitwise_or),
        ("xor", np.bitwise_xor),
    ):
        for dtype in ("int32", "uint32", "int64", "float32"):
            if (dtype == "float32" and name != "add") or (dtype == "int64" and name == "add"):
                continue  # as on GPUs
            x, o = (rng.uniform(0, 1000, (50, 64)).astype(dtype) for _ in range(2))
            yield Case(
                f"descriptor.atomic_{name} {dtype}",
                _DESCRIPTOR_ATOMIC.format(name=name),
                {"x": x, "o": o},
                {"o": function(o, x)},
                grid=(4, 2),
            )


@group("memory")
def descriptor_rows() -> Iterator[Case]:
    """Gather and scatter of rows."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 64)).astype(np.float32)
    rows = rng.permutation(50)[:16].astype(np.int32)
    body = """
source = tl.make_tensor_descriptor(x, [50, 64], [64, 1], [1, 32])
rows = tl.load(r + tl.arange(0, 16))
block = source.gather(rows, 16)
i = tl.arange(0, 16)[:, None] * 32 + tl.arange(0, 32)[None, :]
tl.store(o + i, block)
target = tl.make_tensor_descriptor(p, [50, 64], [64, 1], [1, 32])
target.scatter(block, rows, 32)
"""
    p = np.zeros_like(x)
    p[rows, 32:] = x[rows, 16:48]
    yield Case(
        "descriptor.gather, .scatter", body, {"x": x, "r": rows}, {"o": x[rows, 16:48], "p": p}
    )
