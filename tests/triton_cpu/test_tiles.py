"""Products by tile instructions: emulated ones against NumPy, real ones as assembly."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu import emulated
from tests.triton_cpu.cases import triton_type
from tests.triton_cpu.emulated import STATE, WITH_PAIRS, WITH_TILES
from tests.triton_cpu.running import HOST
from tritorch.triton_cpu.codegen.amx import configuration
from tritorch.triton_cpu.codegen.tile_product import fits
from tritorch.triton_cpu.compile import stages
from tritorch.triton_cpu.llvm import compile_object
from tritorch.triton_cpu.target import CPUTarget, level

pytestmark = pytest.mark.skipif(not HOST.avx512f, reason="packs vectors of 64 bytes")

SAPPHIRE = replace(
    level("avx512"), cpu="sapphirerapids", flags=level("avx512").flags | set(emulated.TILES)
)


@triton.jit
def product(
    a_ptr, b_ptr, c_ptr, m, n, k, a_row, a_column, b_row, b_column, c_row,
    ACCUMULATE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), ACCUMULATE)
    for start in range(0, k, BK):
        inner = start + tl.arange(0, BK)
        a = tl.load(
            a_ptr + rows[:, None] * a_row + inner[None, :] * a_column,
            mask=(rows[:, None] < m) & (inner[None, :] < k), other=0,
        )  # fmt: skip
        b = tl.load(
            b_ptr + inner[:, None] * b_row + columns[None, :] * b_column,
            mask=(inner[:, None] < k) & (columns[None, :] < n), other=0,
        )  # fmt: skip
        total = tl.dot(a, b, total, out_dtype=ACCUMULATE)
    mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(c_ptr + rows[:, None] * c_row + columns[None, :], total, mask=mask)


def matrix(dtype: Any, rows: int, columns: int, seed: int, flip: bool, step: int) -> np.ndarray:
    """Of every second element of its memory where `step` is 2, columns contiguous if `flip`."""
    generator = np.random.default_rng(seed)
    shape = (columns, rows * step) if flip else (rows, columns * step)
    if dtype == np.int8:
        whole = generator.integers(-128, 128, shape, dtype=np.int8)
    else:
        whole = generator.standard_normal(shape).astype(dtype)
    part = whole[:, ::step]
    return part.T if flip else part


def arguments(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> dict[str, Any]:
    strides = {
        f"{name}_{at}": x.strides[dimension] // x.itemsize
        for name, x in (("a", a), ("b", b))
        for dimension, at in enumerate(("row", "column"))
    }
    sizes = {"m": a.shape[0], "n": b.shape[1], "k": a.shape[1]}
    pointers = {"a_ptr": a, "b_ptr": b, "c_ptr": c}
    return {**pointers, **sizes, **strides, "c_row": c.strides[0] // 4}


def constants(dtype: Any, blocks: tuple[int, int, int]) -> dict[str, Any]:
    accumulate = tl.int32 if dtype == np.int8 else tl.float32
    return {"ACCUMULATE": accumulate, **dict(zip(("BM", "BN", "BK"), blocks))}


SIZES = [
    ((32, 32, 64), (32, 32, 64)),
    ((64, 64, 128), (64, 64, 64)),
    ((45, 70, 51), (32, 64, 64)),
    ((17, 33, 129), (32, 32, 64)),
    ((16, 64, 64), (16, 64, 64)),
    ((40, 16, 100), (64, 16, 128)),
    ((1, 3, 5), (16, 16, 64)),
]


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.int8])
@pytest.mark.parametrize(("sizes", "blocks"), SIZES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("flips", [(False, False), (True, True)], ids=["NN", "TT"])
def test_products(
    dtype: Any,
    sizes: tuple[int, int, int],
    blocks: tuple[int, int, int],
    flips: tuple[bool, bool],
) -> None:
    check(dtype, sizes, blocks, flips, 1)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.int8])
@pytest.mark.parametrize("flips", [(False, True), (True, False)], ids=["NT", "TN"])
def test_products_of_strided_operands(dtype: Any, flips: tuple[bool, bool]) -> None:
    check(dtype, (45, 40, 70), (32, 64, 64), flips, 2)


@pytest.mark.parametrize(("sizes", "blocks"), [
    ((45, 70, 51), (16, 32, 32)),
    ((20, 40, 64), (64, 64, 64)),
    ((33, 16, 21), (16, 16, 16)),
])  # fmt: skip
@pytest.mark.parametrize("flips", [(False, False), (True, True), (False, True)])
def test_products_by_pairs(
    sizes: tuple[int, int, int], blocks: tuple[int, int, int], flips: tuple[bool, bool]
) -> None:
    check(ml_dtypes.bfloat16, sizes, blocks, flips, 1, WITH_PAIRS)


def check(
    dtype: Any,
    sizes: tuple[int, int, int],
    blocks: tuple[int, int, int],
    flips: tuple[bool, bool],
    step: int,
    target: CPUTarget = WITH_TILES,
) -> None:
    m, n, k = sizes
    a, b = matrix(dtype, m, k, 1, flips[0], step), matrix(dtype, k, n, 2, flips[1], step)
    whole = np.full((m, n + 3), 7, np.int32 if dtype == np.int8 else np.float32)
    c = whole[:, :n]
    given = arguments(a, b, c)
    signature = {name: triton_type(value) for name, value in given.items()}
    name = "tdpbssd" if dtype == np.int8 else "tdpbf16ps"
    name = name if target is WITH_TILES else "avx512bf16.dpbf16ps"
    run = emulated.launcher(product, signature, constants(dtype, blocks), target, name)
    before = STATE.calls[name]
    run((-(-m // blocks[0]), -(-n // blocks[1])), *given.values())
    assert STATE.calls[name] > before or target is not WITH_TILES
    assert not STATE.faults
    assert not any(STATE.configuration), "the tiles were not released"
    assert (whole[:, n:] == 7).all()
    if dtype == np.int8:
        np.testing.assert_array_equal(c, a.astype(np.int32) @ b.astype(np.int32))
        return
    # k roundings of a sum whose terms' sizes add up to |a| |b|.
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    bound = (k + 2) * np.finfo(np.float32).eps * (np.abs(wide_a) @ np.abs(wide_b))
    assert (np.abs(c - wide_a @ wide_b) <= bound).all()


@triton.jit
def masked(a_ptr, b_ptr, c_ptr, m, n, k, S: tl.constexpr):
    at, other = tl.arange(0, S)[:, None], tl.arange(0, S)[None, :]
    a = tl.load(a_ptr + at * S + other, mask=(at < m) & (other < k), other=0)
    b = tl.load(b_ptr + at * S + other, mask=(at < k) & (other < n), other=0)
    tl.store(c_ptr + at * S + other, tl.dot(a, b, out_dtype=tl.float32))


@pytest.mark.parametrize(
    ("target", "name"), [(WITH_TILES, "tdpbf16ps"), (WITH_PAIRS, "avx512bf16.dpbf16ps")]
)
def test_what_a_mask_leaves_out_is_zeros(target: CPUTarget, name: str) -> None:
    size = 128
    a, b = (np.full((size, size), np.nan, ml_dtypes.bfloat16) for _ in range(2))
    c = np.zeros((size, size), np.float32)
    signature = {f"{x}_ptr": "*bf16" for x in "ab"} | {"c_ptr": "*fp32"}
    signature |= dict.fromkeys("mnk", "i32")
    run = emulated.launcher(masked, signature, {"S": size}, target, name)
    run((1,), a, b, c, size, size, size)  # leaves scratch full of nan
    assert np.isnan(c).all()
    a[:], b[:] = 1, 2
    for m, n, k in ((37, 10, 5), (64, 70, 33), (1, 128, 100)):
        run((1,), a, b, c, m, n, k)
        expected = np.zeros_like(c)
        expected[:m, :n] = 2 * k
        np.testing.assert_array_equal(c, expected)
    assert not STATE.faults


@triton.jit(noinline=True)
def second(p_ptr, v_ptr, o_ptr, N: tl.constexpr):
    at = tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :]
    total = tl.dot(tl.load(p_ptr + at), tl.load(v_ptr + at), tl.load(o_ptr + at))
    tl.store(o_ptr + at, total)


@triton.jit
def chained(q_ptr, k_ptr, p_ptr, v_ptr, o_ptr, N: tl.constexpr):
    at = tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :]
    scores = tl.dot(tl.load(q_ptr + at), tl.trans(tl.load(k_ptr + at)))
    halves = (scores * 0.5).to(tl.bfloat16)
    tl.store(p_ptr + at, tl.dot(halves, tl.load(v_ptr + at)).to(tl.bfloat16))
    second(p_ptr, v_ptr, o_ptr, N)


def test_products_of_products_and_in_functions() -> None:
    generator = np.random.default_rng(0)
    n = 64
    q, k, v = (
        generator.integers(-1, 2, (n, n)).astype(ml_dtypes.bfloat16) * ml_dtypes.bfloat16(x)
        for x in (2, 1, 1)
    )
    p, o = np.zeros_like(q), np.full((n, n), 3, np.float32)
    signature = {f"{name}_ptr": "*bf16" for name in "qkpv"} | {"o_ptr": "*fp32"}
    run = emulated.launcher(chained, signature, {"N": n}, WITH_TILES, "tdpbf16ps")
    run((1,), q, k, p, v, o)
    wide_q, wide_k, wide_v = (x.astype(np.float64) for x in (q, k, v))
    expected = (wide_q @ wide_k.T / 2 @ wide_v).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(p, expected)
    np.testing.assert_array_equal(o, 3 + expected.astype(np.float64) @ wide_v)
    assert not STATE.faults


@triton.jit
def batched(a_ptr, b_ptr, c_ptr, B: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    batch = tl.arange(0, B)[:, None, None]
    rows, inner = tl.arange(0, N), tl.arange(0, K)
    a = tl.load(a_ptr + batch * (N * K) + rows[None, :, None] * K + inner[None, None, :])
    b = tl.load(b_ptr + batch * (N * K) + inner[None, :, None] * N + rows[None, None, :])
    c = tl.dot(a, b, out_dtype=tl.int32)
    tl.store(c_ptr + batch * (N * N) + rows[None, :, None] * N + rows[None, None, :], c)


def test_batches() -> None:
    generator = np.random.default_rng(0)
    sizes = {"B": 2, "N": 32, "K": 128}
    a = generator.integers(-128, 128, (2, 32, 128), dtype=np.int8)
    b = generator.integers(-128, 128, (2, 128, 32), dtype=np.int8)
    c = np.zeros((2, 32, 32), np.int32)
    signature = {"a_ptr": "*i8", "b_ptr": "*i8", "c_ptr": "*i32"}
    emulated.launcher(batched, signature, sizes, WITH_TILES, "tdpbssd")((1,), a, b, c)
    np.testing.assert_array_equal(c, a.astype(np.int32) @ b.astype(np.int32))


def test_small_products_go_the_ordinary_way() -> None:
    assert fits(SAPPHIRE, "bf16", "bf16", "f32", (16, 16, 32))
    assert fits(SAPPHIRE, "i8", "i8", "i32", (16, 16, 64))
    for elements, sizes in (
        (("bf16", "bf16", "f32"), (8, 16, 32)),
        (("bf16", "bf16", "f32"), (16, 16, 16)),
        (("i8", "i8", "i32"), (16, 16, 32)),
        (("f16", "f16", "f32"), (16, 16, 32)),
        (("bf16", "f16", "f32"), (16, 16, 32)),
    ):
        assert not fits(SAPPHIRE, *elements, sizes)
    assert not fits(HOST_WITHOUT, "bf16", "bf16", "f32", (16, 16, 32))


HOST_WITHOUT: CPUTarget = level("avx512")


@pytest.mark.parametrize(
    ("dtype", "name"), [(ml_dtypes.bfloat16, "tdpbf16ps"), (np.int8, "tdpbssd")]
)
def test_assembly(dtype: Any, name: str) -> None:
    operands = [np.zeros((64, 64), dtype) for _ in range(2)]
    given = arguments(*operands, np.zeros((64, 64), np.int32))
    signature = {name: triton_type(value) for name, value in given.items()}
    signature["c_ptr"] = "*i32" if dtype == np.int8 else "*fp32"
    forms = stages(product, signature, constants(dtype, (64, 64, 64)), None, SAPPHIRE)
    text = forms["asm"]
    products = re.findall(rf"\t{name}\t%tmm(\d), %tmm(\d), %tmm(\d)", text)
    # AT&T's order: B, A, C. Two tiles of B are multiplied with both of A.
    assert {tuple(map(int, found)) for found in products} == {
        (6, 4, 0), (7, 4, 1), (6, 5, 2), (7, 5, 3)
    }  # fmt: skip
    for instruction in ("tileloadd", "tilestored", "ldtilecfg", "tilerelease"):
        assert f"\t{instruction}" in text
    assert configuration() in compile_object(forms["llir"], SAPPHIRE)


def test_the_configuration() -> None:
    text = configuration()
    assert len(text) == 64 and text[0] == 1 and not any(text[1:16])
    assert np.frombuffer(text[16:32], np.uint16).tolist() == [64] * 8
    assert text[48:56] == bytes([16] * 8)
    assert not any(text[32:48]) and not any(text[56:])


def test_assembly_of_pairs() -> None:
    target = replace(SAPPHIRE, cpu="cooperlake", flags=level("avx512").flags | {"avx512bf16"})
    given = arguments(*(np.zeros((64, 64), ml_dtypes.bfloat16) for _ in range(3)))
    signature = {name: triton_type(value) for name, value in given.items()} | {"c_ptr": "*fp32"}
    blocks = constants(ml_dtypes.bfloat16, (64, 64, 64))
    text = stages(product, signature, blocks, None, target)["asm"]
    assert len(re.findall(r"\tvdpbf16ps\t%zmm\d+, %zmm\d+, %zmm\d+", text)) == 4 * 8 * 2
    assert "vfmadd" not in text and "tmm" not in text
