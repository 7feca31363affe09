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
from tests.triton_cpu.emulated import STATE, WITH_TILES
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


def check(
    dtype: Any,
    sizes: tuple[int, int, int],
    blocks: tuple[int, int, int],
    flips: tuple[bool, bool],
    step: int,
) -> None:
    m, n, k = sizes
    a, b = matrix(dtype, m, k, 1, flips[0], step), matrix(dtype, k, n, 2, flips[1], step)
    whole = np.full((m, n + 3), 7, np.int32 if dtype == np.int8 else np.float32)
    c = whole[:, :n]
    given = arguments(a, b, c)
    signature = {name: triton_type(value) for name, value in given.items()}
    run = emulated.launcher(product, signature, constants(dtype, blocks), WITH_TILES)
    before = dict(STATE.calls)
    run((-(-m // blocks[0]), -(-n // blocks[1])), *given.values())
    name = "tdpbssd" if dtype == np.int8 else "tdpbf16ps"
    assert STATE.calls[name] > before.get(name, 0)
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
