"""Programs of the suite: control flow, order of effects, atomics, descriptors, diagnostics."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from tests.triton_cpu.cases import Arguments, Case, case, floats, wide, zeros

CASES: list[Case] = []
case = partial(case, CASES)


# ---- control flow


@triton.jit
def empty(x_ptr):
    pass


case("empty", empty, (3,), lambda rng: dict(x_ptr=floats(rng, 4)), lambda x_ptr: dict(x_ptr=x_ptr))


@triton.jit
def program_ids(o_ptr):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    index = (z * tl.num_programs(1) + y) * tl.num_programs(0) + x
    tl.store(o_ptr + index, x * 10000 + y * 100 + z * tl.num_programs(2))


def _program_ids_reference(o_ptr):
    z, y, x = np.indices((4, 3, 5))
    return dict(o_ptr=x * 10000 + y * 100 + z * 4)


case(
    "program_ids", program_ids, (5, 3, 4), lambda rng: dict(o_ptr=zeros(4, 3, 5, dtype=np.int32)),
    _program_ids_reference,
)  # fmt: skip


@triton.jit
def while_scalar(x_ptr, o_ptr, n):
    i = 0
    total = 0.0
    while (i < n) & (total < 10.0):
        total += tl.load(x_ptr + i)
        i += 1
    tl.store(o_ptr, total)
    tl.store(o_ptr + 1, i.to(tl.float32))


def _while_scalar_reference(x_ptr, o_ptr, n):
    total, i = 0.0, 0
    while i < n and total < 10:
        total, i = total + float(x_ptr[i]), i + 1
    return dict(o_ptr=np.array([total, i]))


case(
    "while_scalar", while_scalar, (1,),
    lambda rng: dict(x_ptr=rng.uniform(0, 1, 100).astype("f4"), o_ptr=zeros(2), n=100),
    _while_scalar_reference, tolerance=1e-5,
)  # fmt: skip


@triton.jit
def while_tensor(x_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    steps = 0
    while tl.max(x, 0) > 1.0:
        x = tl.where(x > 1.0, x * 0.5, x)
        steps += 1
    tl.store(o_ptr + offsets, x + steps)


def _while_tensor_reference(x_ptr, o_ptr):
    x, steps = wide(x_ptr), 0
    while x.max() > 1:
        x, steps = np.where(x > 1, x / 2, x), steps + 1
    return dict(o_ptr=x + steps)


case(
    "while_tensor", while_tensor, (1,),
    lambda rng: dict(x_ptr=rng.uniform(0, 300, 256).astype("f4"), o_ptr=zeros(256)),
    _while_tensor_reference, BLOCK=256,
)  # fmt: skip


@triton.jit
def if_else(x_ptr, o_ptr, threshold, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = row * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    scale = 1.0
    if tl.sum(x, 0) > threshold:
        x = x * 2.0
        scale = 3.0
    else:
        x = tl.exp(x)
        if row % 2 == 0:
            tl.store(o_ptr + offsets, x)
            scale = 0.5
    tl.store(o_ptr + offsets, x * scale)


def _if_else_reference(x_ptr, o_ptr, threshold):
    want = np.empty_like(wide(o_ptr))
    for row, x in enumerate(wide(x_ptr)):
        if x.sum() > threshold:
            want[row] = x * 6
        else:
            want[row] = np.exp(x) * (0.5 if row % 2 == 0 else 1)
    return dict(o_ptr=want)


case(
    "if_else", if_else, (8,),
    lambda rng: dict(x_ptr=floats(rng, 8, 64), o_ptr=zeros(8, 64), threshold=0.25),
    _if_else_reference, BLOCK=64,
)  # fmt: skip


@triton.jit
def _pick(x, flag):
    if flag > 0:
        return x * 2.0
    return x + 1.0


@triton.jit
def early_value(x_ptr, o_ptr, flag, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = _pick(tl.load(x_ptr + offsets), flag)
    y = _pick(tl.load(x_ptr), flag - 1)
    tl.store(o_ptr + offsets, x + y)


for _flag in (0, 1, 2):
    case(
        f"early_value_{_flag}", early_value, (1,),
        lambda rng, flag=_flag: dict(x_ptr=floats(rng, 64), o_ptr=zeros(64), flag=flag),
        lambda x_ptr, o_ptr, flag: dict(
            o_ptr=(wide(x_ptr) * 2 if flag > 0 else wide(x_ptr) + 1)
            + (wide(x_ptr)[0] * 2 if flag > 1 else wide(x_ptr)[0] + 1)),
        BLOCK=64,
    )  # fmt: skip


@triton.jit(noinline=True)
def _scaled(total, factor):
    return total * factor + 1.0, total - factor


@triton.jit(noinline=True)
def _collatz(n):
    steps = 0
    while n != 1:
        n = tl.where(n % 2 == 0, n // 2, 3 * n + 1)
        steps += 1
    return steps


@triton.jit
def noinline_call(x_ptr, o_ptr, factor, start, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    a, b = _scaled(tl.sum(x, 0), factor)
    c, d = _scaled(a, b)
    tl.store(o_ptr + offsets, x * c + d + _collatz(start))


def _noinline_reference(x_ptr, o_ptr, factor, start):
    total = wide(x_ptr).sum()
    a, b = total * factor + 1, total - factor
    return dict(o_ptr=wide(x_ptr) * (a * b + 1) + (a - b) + 111)


case(
    "noinline_call", noinline_call, (1,),
    lambda rng: dict(x_ptr=floats(rng, 64), o_ptr=zeros(64), factor=0.5, start=27),
    _noinline_reference, tolerance=1e-5, BLOCK=64,
)  # fmt: skip


@triton.jit
def nested_loops(x_ptr, o_ptr, rows, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    largest = -float("inf")
    for i in range(rows):
        inner = tl.zeros([BLOCK], tl.float32)
        for j in range(i, rows, 2):
            x = tl.load(x_ptr + j * BLOCK + offsets)
            inner += x * (i + 1)
            largest = tl.maximum(largest, tl.max(x, 0))
        total, inner = inner, total + inner
        total = total * 0.5 + inner
    for _ in tl.static_range(3):
        total = total + 1.0
    tl.store(o_ptr + offsets, total)
    tl.store(o_ptr + BLOCK, largest)


def _nested_loops_reference(x_ptr, o_ptr, rows):
    x, total = wide(x_ptr), np.zeros(64)
    for i in range(rows):
        inner = sum((x[j] * (i + 1) for j in range(i, rows, 2)), np.zeros(64))
        total = inner * 0.5 + total + inner
    return dict(o_ptr=np.append(total + 3, x[:rows].max()))


case(
    "nested_loops", nested_loops, (1,),
    lambda rng: dict(x_ptr=floats(rng, 6, 64), o_ptr=zeros(65), rows=6),
    _nested_loops_reference, tolerance=1e-5, BLOCK=64,
)  # fmt: skip


@triton.jit
def fibonacci(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    a = tl.load(x_ptr + offsets)
    b = tl.flip(a, 0)
    for _ in range(n):
        a, b = b, a + b
    tl.store(o_ptr + offsets, a)


def _fibonacci_reference(x_ptr, o_ptr, n):
    a, b = wide(x_ptr), wide(x_ptr)[::-1]
    for _ in range(n):
        a, b = b, a + b
    return dict(o_ptr=a)


case(
    "fibonacci", fibonacci, (1,),
    lambda rng: dict(x_ptr=floats(rng, 128), o_ptr=zeros(128), n=7), _fibonacci_reference,
    tolerance=1e-5, BLOCK=128,
)  # fmt: skip


# ---- order of effects


@triton.jit
def shift(x_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(x_ptr + 1 + offsets, x, mask=offsets < n)


case(
    "shift", shift, (1,), lambda rng: dict(x_ptr=floats(rng, 301), n=300),
    lambda x_ptr, n: dict(x_ptr=np.concatenate([x_ptr[:1], x_ptr[:-1]])), BLOCK=512,
)  # fmt: skip


@triton.jit
def swap(x_ptr, y_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    tl.store(x_ptr + offsets, y)
    tl.store(y_ptr + offsets, x)
    again = tl.load(x_ptr + offsets)
    tl.debug_barrier()
    tl.store(x_ptr + offsets, again + x)


case(
    "swap", swap, (1,), lambda rng: dict(x_ptr=floats(rng, 256), y_ptr=floats(rng, 256)),
    lambda x_ptr, y_ptr: dict(x_ptr=wide(y_ptr) + x_ptr, y_ptr=x_ptr), BLOCK=256,
)  # fmt: skip


@triton.jit
def in_place_softmax(x_ptr, n, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    pointers = x_ptr + tl.program_id(0) * n + columns
    x = tl.load(pointers, mask=columns < n, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(pointers, e / tl.sum(e, 0), mask=columns < n)


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


case(
    "in_place_softmax", in_place_softmax, (4,),
    lambda rng: dict(x_ptr=floats(rng, 4, 700), n=700),
    lambda x_ptr, n: dict(x_ptr=_softmax(wide(x_ptr))), BLOCK=1024,
)  # fmt: skip


@triton.jit
def reverse_in_place(x_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + BLOCK - 1 - offsets)
    tl.store(x_ptr + offsets, x)


case(
    "reverse_in_place", reverse_in_place, (1,), lambda rng: dict(x_ptr=floats(rng, 256)),
    lambda x_ptr: dict(x_ptr=x_ptr[::-1]), BLOCK=256,
)  # fmt: skip


# ---- atomics


@triton.jit
def scatter_add(i_ptr, g_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    i = tl.load(i_ptr + offsets, mask=mask, other=0)
    tl.atomic_add(o_ptr + i, tl.load(g_ptr + offsets, mask=mask, other=0.0), mask=mask)


def _scatter_reference(i_ptr, g_ptr, o_ptr, n):
    want = wide(o_ptr)
    np.add.at(want, i_ptr, wide(g_ptr))
    return dict(o_ptr=want)


for _dtype in (np.float32, np.float64, np.float16, np.int32, np.int64):
    case(
        f"scatter_add_{np.dtype(_dtype).name}", scatter_add, (5,),
        lambda rng, dtype=_dtype: dict(
            i_ptr=rng.integers(0, 97, 5000).astype(np.int32),
            g_ptr=(rng.integers(-2, 3, 5000) if dtype is np.float16
                   else rng.standard_normal(5000) * 9).astype(dtype),
            o_ptr=zeros(97, dtype=dtype), n=5000),
        _scatter_reference, tolerance=1e-12 if _dtype is np.float64 else 1e-4, BLOCK=1024,
    )  # fmt: skip


@triton.jit
def atomics(x_ptr, o_ptr, old_ptr, f_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    mask = offsets < BLOCK - 5
    tl.store(old_ptr + offsets, tl.atomic_add(o_ptr + offsets, x, mask=mask), mask=mask)
    o_ptr += BLOCK
    old_ptr += BLOCK
    tl.store(old_ptr + offsets, tl.atomic_max(o_ptr + offsets, x))
    o_ptr += BLOCK
    old_ptr += BLOCK
    tl.store(old_ptr + offsets, tl.atomic_min(o_ptr + offsets, x))
    o_ptr += BLOCK
    old_ptr += BLOCK
    tl.store(old_ptr + offsets, tl.atomic_and(o_ptr + offsets, x))
    o_ptr += BLOCK
    old_ptr += BLOCK
    tl.store(old_ptr + offsets, tl.atomic_or(o_ptr + offsets, x))
    o_ptr += BLOCK
    old_ptr += BLOCK
    tl.store(old_ptr + offsets, tl.atomic_xor(o_ptr + offsets, x))
    o_ptr += BLOCK
    old_ptr += BLOCK
    tl.store(old_ptr + offsets, tl.atomic_xchg(o_ptr + offsets, x))
    o_ptr += BLOCK
    old_ptr += BLOCK
    expected = tl.where(offsets % 2 == 0, 0, x)  # every second one matches
    tl.store(old_ptr + offsets, tl.atomic_cas(o_ptr + offsets, expected, x))
    value = (x * 0.25).to(tl.float32)
    tl.atomic_max(f_ptr + offsets, value)
    tl.atomic_min(f_ptr + BLOCK + offsets, value)


def _atomics_arguments(rng: np.random.Generator) -> Arguments:
    x = rng.integers(-99, 99, 64).astype(np.int32)
    o = rng.integers(-99, 99, (8, 64)).astype(np.int32)
    o[7] = np.where(np.arange(64) % 3 == 0, 0, 1000)
    return dict(
        x_ptr=x, o_ptr=o, old_ptr=zeros(8, 64, dtype=np.int32), f_ptr=floats(rng, 2, 64) * 9
    )


def _atomics_reference(x_ptr, o_ptr, old_ptr, f_ptr):
    x, o = x_ptr, o_ptr
    mask = np.arange(64) < 59
    expected = np.where(np.arange(64) % 2 == 0, 0, x)
    value = x * 0.25
    return dict(
        o_ptr=np.stack([
            np.where(mask, o[0] + x, o[0]), np.maximum(o[1], x), np.minimum(o[2], x), o[3] & x,
            o[4] | x, o[5] ^ x, x, np.where(o[7] == expected, x, o[7]),
        ]),
        old_ptr=np.concatenate([np.where(mask, o[:1], 0), o[1:]]),
        f_ptr=np.stack([np.maximum(f_ptr[0], value), np.minimum(f_ptr[1], value)]),
    )  # fmt: skip


case("atomics", atomics, (1,), _atomics_arguments, _atomics_reference, BLOCK=64)


@triton.jit
def scalar_atomics(o_ptr, old_ptr):
    program = tl.program_id(0)
    old = tl.atomic_add(o_ptr, 1)
    tl.store(old_ptr + old, program)
    tl.atomic_max(o_ptr + 1, program)


case(
    "scalar_atomics", scalar_atomics, (20,),
    lambda rng: dict(o_ptr=zeros(2, dtype=np.int32), old_ptr=zeros(20, dtype=np.int32)),
    lambda o_ptr, old_ptr: dict(o_ptr=np.array([20, 19]), old_ptr=np.arange(20)),
)  # fmt: skip


@triton.jit
def spinlock(lock_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    tl.store(o_ptr + offsets, tl.load(o_ptr + offsets) + 1.0)
    tl.debug_barrier()
    tl.atomic_xchg(lock_ptr, 0)


case(
    "spinlock", spinlock, (30,),
    lambda rng: dict(lock_ptr=zeros(1, dtype=np.int32), o_ptr=zeros(128)),
    lambda lock_ptr, o_ptr: dict(lock_ptr=lock_ptr, o_ptr=np.full(128, 30.0)), BLOCK=128,
)  # fmt: skip


# ---- descriptors, printing, assertions


@triton.jit
def device_descriptor(x_ptr, o_ptr, M, N, BM: tl.constexpr, BN: tl.constexpr):
    x = tl.make_tensor_descriptor(x_ptr, [M, N], [N, 1], [BM, BN])
    o = tl.make_tensor_descriptor(o_ptr, [M, N], [N, 1], [BM, BN])
    i, j = tl.program_id(0) * BM, tl.program_id(1) * BN
    o.store([i, j], x.load([i, j]) + 1.0)


case(
    "device_descriptor", device_descriptor, (3, 4),
    lambda rng: dict(x_ptr=floats(rng, 70, 100), o_ptr=zeros(70, 100), M=70, N=100),
    lambda x_ptr, o_ptr, M, N: dict(o_ptr=wide(x_ptr) + 1), BM=32, BN=32,
)  # fmt: skip


@triton.jit
def host_descriptor(x, o, BM: tl.constexpr, BN: tl.constexpr):
    i, j = tl.program_id(0) * BM, tl.program_id(1) * BN
    o.store([i, j], x.load([i, j]) * 2.0)


def _host_descriptor(array: np.ndarray) -> Any:
    strides = [stride // array.itemsize for stride in array.strides]
    # TensorDescriptor wants 16-byte aligned tensors of torch; ours only needs its fields.
    descriptor = TensorDescriptor.__new__(TensorDescriptor)
    for name, value in dict(base=array, shape=list(array.shape), strides=strides,
                            block_shape=[16, 32], padding="zero",
                            round_f32_to_tf32=False).items():  # fmt: skip
        object.__setattr__(descriptor, name, value)
    return descriptor


case(
    "host_descriptor", host_descriptor, (3, 2),
    lambda rng: dict(x=_host_descriptor(floats(rng, 40, 50)), o=_host_descriptor(zeros(40, 50))),
    lambda x, o: dict(o=wide(x.base) * 2), BM=16, BN=32,
)  # fmt: skip


@triton.jit
def printing(x_ptr, o_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    tl.device_print("sum and program", tl.sum(x, 0), tl.program_id(0))
    tl.device_print("lane", offsets)
    tl.store(o_ptr + offsets, x)


case(
    "printing", printing, (1,), lambda rng: dict(x_ptr=floats(rng, 4), o_ptr=zeros(4)),
    lambda x_ptr, o_ptr: dict(o_ptr=x_ptr), BLOCK=4,
)  # fmt: skip


@triton.jit
def asserting(x_ptr, o_ptr, limit, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    tl.device_assert(x < limit, "x is below the limit")
    tl.device_assert(limit > 0.0, "the limit is positive")
    tl.store(o_ptr + offsets, x)


#: passes; with limit=0.5 it fails with "x is below the limit"
case(
    "asserting", asserting, (1,),
    lambda rng: dict(x_ptr=rng.uniform(0, 1, 64).astype("f4"), o_ptr=zeros(64), limit=2.0),
    lambda x_ptr, o_ptr, limit: dict(o_ptr=x_ptr), options={"debug": True}, BLOCK=64,
)  # fmt: skip


@triton.jit
def assuming(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    tl.assume(n > 0)
    offsets = tl.max_contiguous(tl.multiple_of(tl.arange(0, BLOCK), 16), 16)
    x = tl.load(
        x_ptr + offsets, mask=offsets < n, cache_modifier=".cg", eviction_policy="evict_first"
    )
    tl.store(o_ptr + offsets, x, mask=offsets < n, cache_modifier=".cs")


case(
    "assuming", assuming, (1,), lambda rng: dict(x_ptr=floats(rng, 50), o_ptr=zeros(50), n=50),
    lambda x_ptr, o_ptr, n: dict(o_ptr=x_ptr), BLOCK=64,
)  # fmt: skip
