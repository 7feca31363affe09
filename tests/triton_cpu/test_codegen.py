"""Code generation: the kernel suite on every feature level, and the text that comes out."""

# ruff: noqa: C408 - dict(name=...) reads like the kernel's parameters
from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu import suite
from tests.triton_cpu.cases import Case
from tests.triton_cpu.running import HOST, LEVELS, target_of
from tests.triton_cpu.test_codegen_order import carried_pointers
from tritorch import triton_api
from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu import target as targets
from tritorch.triton_cpu.codegen import generate
from tritorch.triton_cpu.parser import parse_module


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", suite.CASES, ids=lambda case: case.name)
def test_suite(case: Case, level: str) -> None:
    suite.check(case, target_of(level))


# ---- the text


def _text(case: Case) -> str:
    arguments = case.arguments(np.random.default_rng(7))
    return _generated(case.kernel, case.signature(arguments), case.constants)


def _generated(kernel: Any, signature: Any, constants: Any, level: str = "avx2") -> str:
    lowered = triton_api.lower_to_triton_ir(kernel, signature, constants, {})
    return generate(parse_module(lowered.text, lowered.name), targets.level(level), lowered.name)


_PRINTED = [
    "layer_norm_256",
    "matmul_float32_odd",
    "sort_256",
    "atomics",
    "flash_forward_float32_100",
]
_PRINT = """
import hashlib
from tests.triton_cpu import suite
from tests.triton_cpu.test_codegen import _PRINTED, _text
for case in suite.CASES:
    if case.name in _PRINTED:
        print(case.name, hashlib.sha256(_text(case).encode()).hexdigest())
"""


def test_text_does_not_depend_on_hashes() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", _PRINT], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1 and all(name in next(iter(found)) for name in _PRINTED)


def test_advancing_pointers_stay_vector_loads() -> None:
    signature = dict(x_ptr="*fp32", o_ptr="*fp32", n="i32", stride="i32")
    text = _generated(carried_pointers, signature, dict(R=16, C=32))
    assert "gather" not in text and "<32 x ptr>" not in text


def test_outputs_of_one_shape_share_a_loop() -> None:
    signature = dict.fromkeys(["x_ptr", "y_ptr", "a_ptr", "b_ptr"], "*fp32")
    text = _generated(three_outputs, signature, dict(BLOCK=1024))
    assert text.count("= load <32 x float>") == 2 and text.count("store <32 x float>") == 3
    assert "scratch" not in text


@triton.jit
def three_outputs(x_ptr, y_ptr, a_ptr, b_ptr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + offsets), tl.load(y_ptr + offsets)
    tl.store(a_ptr + offsets, x + y)
    tl.store(b_ptr + offsets, x * y)
    tl.store(x_ptr + offsets, x - y)


def test_wide_rows_are_read_again_rather_than_kept() -> None:
    """Softmax keeps exp(x), once, and reads x twice."""
    case = next(case for case in suite.CASES if case.name == "softmax_1000")
    text = _text(case)
    assert (
        text.count("fadd contract <32 x float>")
        and text.count("= getelementptr i8, ptr %scratch") == 1
    )


def test_accumulator_is_updated_in_place() -> None:
    """Nothing the size of the accumulator is copied in the loop of a matrix product."""
    case = next(case for case in suite.CASES if case.name == "matmul_float32")
    text = _text(case)
    loop = text[text.index("\nfor") : text.index("\ndone")]
    stores = [line for line in loop.splitlines() if "store <" in line and "%buffer0" in line]
    assert not stores and "call void @dot_" in loop


def test_sum_starts_where_it_is_read() -> None:
    """What a sum starts from is added by the first product, not copied to scratch."""
    case = next(case for case in suite.CASES if case.name == "sum_where_stored_edges_starts")
    text = _text(case)
    assert text.count("i1 %is_first, ptr %start, i64 %start_stride") == 1
    loop = text[text.index("\nfor") : text.index("\ndone")]
    assert not [line for line in loop.splitlines() if "store <" in line and "%buffer0" in line]


def test_unknown_operation_is_named() -> None:
    text = (
        '"builtin.module"() ({\n'
        '  "tt.func"() <{function_type = (i32) -> (), sym_name = "strange"}> ({\n'
        "  ^bb0(%arg0: i32):\n"
        '    %0 = "tt.teleport"(%arg0) : (i32) -> i32\n'
        '    "tt.return"() : () -> ()\n'
        "  }) : () -> ()\n"
        "}) : () -> ()\n"
    )
    with pytest.raises(
        UnsupportedOperation, match=r"strange: .* does not know tt\.teleport \(line"
    ):
        generate(parse_module(text, "strange"), HOST, "strange")
