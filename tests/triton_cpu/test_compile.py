"""compile_kernel and stages, and the plain launcher that tests and tools use."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import triton
import triton.language as tl

from tests.triton_cpu.plain_launcher import Launcher
from tritorch.config import config
from tritorch.errors import CompileError, DeviceAssertError, UnsupportedOperation
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu.compile import compile_kernel, stages
from tritorch.triton_cpu.target import host

FILL = KernelSource(
    "fill",
    """
@triton.jit
def fill(o_ptr, value, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + offsets, (tl.zeros([BLOCK], tl.float32) + value).to(o_ptr.dtype.element_ty))
""",
)


@triton.jit
def fill(o_ptr, value, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + offsets, (tl.zeros([BLOCK], tl.float32) + value).to(o_ptr.dtype.element_ty))


@pytest.mark.parametrize("source", [FILL, fill], ids=["text", "function"])
def test_a_kernel_from_text_or_function(source: object) -> None:
    kernel = compile_kernel(source, {"o_ptr": "*fp32", "value": "fp32"}, {"BLOCK": 16})
    assert kernel.name == "fill" and kernel.parameter_types == ("*fp32", "fp32")
    assert kernel.compile_seconds > 0 and kernel.object_code[:4] == b"\x7fELF"
    out = np.zeros(64, np.float32)
    Launcher(kernel)((4,), out, 2.5)
    assert (out == 2.5).all()


@pytest.mark.parametrize(
    "kind, value, expected",
    [
        ("fp64", 0.1, np.float32(0.1)),
        ("fp32", 0.1, np.float32(0.1)),
        ("fp16", 0.1, np.float32(np.float16(0.1))),
        ("bf16", 0.1, np.float32(ml_dtypes.bfloat16(0.1))),
        ("i8", -5, -5.0),
        ("i16", -500, -500.0),
        ("i32", -5, -5.0),
        ("i64", -(2**40), float(-(2**40))),
        ("u8", 250, 250.0),
        ("u32", 2**32 - 256, float(2**32 - 256)),
        ("i1", True, 1.0),
    ],
)
def test_scalars_of_every_type(kind: str, value: float, expected: float) -> None:
    kernel = compile_kernel(FILL, {"o_ptr": "*fp32", "value": kind}, {"BLOCK": 16})
    out = np.zeros(16, np.float32)
    Launcher(kernel)((1,), out, value)
    assert (out == expected).all(), out[0]


def test_a_launch_needs_all_values() -> None:
    launch = Launcher(compile_kernel(FILL, {"o_ptr": "*fp32", "value": "fp32"}, {"BLOCK": 16}))
    with pytest.raises(ValueError, match="shorter"):
        launch((1,), np.zeros(16, np.float32))


def test_an_empty_grid_runs_nothing() -> None:
    launch = Launcher(compile_kernel(FILL, {"o_ptr": "*fp32", "value": "fp32"}, {"BLOCK": 16}))
    out = np.zeros(16, np.float32)
    launch((0,), out, 1.0)
    assert not out.any()


def test_stages_are_text() -> None:
    found = stages(FILL, {"o_ptr": "*fp16", "value": "fp32"}, {"BLOCK": 16})
    assert list(found) == ["source", "ttir", "llir", "asm"]
    assert "@triton.jit" in found["source"] and "tt.func public @fill" in found["ttir"]
    assert "define void @fill(" in found["llir"] and "fill:" in found["asm"]


@pytest.mark.parametrize("pipeline", ["default", "mini"])
def test_pipelines_give_the_same_results(pipeline: str) -> None:
    kernel = compile_kernel(
        FILL, {"o_ptr": "*bf16", "value": "fp32"}, {"BLOCK": 16}, {"pipeline": pipeline}
    )
    out = np.zeros(32, ml_dtypes.bfloat16)
    Launcher(kernel)((2,), out, 3.14159)
    assert (out == ml_dtypes.bfloat16(3.14159)).all()


@pytest.mark.parametrize("features", ["x86-64", "avx2", "avx512"])
def test_feature_levels_give_the_same_results(features: str) -> None:
    if not host().is_x86 or (
        features != "x86-64" and not host().has(features.replace("512", "512f"))
    ):
        pytest.skip(f"this CPU has no {features}")
    with config(cpu_features=features):
        kernel = compile_kernel(FILL, {"o_ptr": "*fp16", "value": "fp32"}, {"BLOCK": 64})
        out = np.zeros(64, np.float16)
        Launcher(kernel)((1,), out, 3.14159)
    assert (out == np.float16(3.14159)).all()


def test_an_unknown_operation_is_named_with_the_kernel() -> None:
    source = KernelSource(
        "strange",
        """
@triton.jit
def strange(o_ptr):
    x = tl.inline_asm_elementwise("nop", "=r,r", [tl.arange(0, 4)], tl.int32, True, 1)
    tl.store(o_ptr + tl.arange(0, 4), x)
""",
    )
    with pytest.raises(UnsupportedOperation, match=r"strange: .*tt\.elementwise_inline_asm"):
        compile_kernel(source, {"o_ptr": "*i32"}, {})
    assert issubclass(UnsupportedOperation, CompileError)


def test_a_failed_assertion_is_raised_by_the_launch() -> None:
    source = KernelSource(
        "check",
        """
@triton.jit
def check(x_ptr, BLOCK: tl.constexpr):
    tl.device_assert(tl.load(x_ptr + tl.arange(0, BLOCK)) > 0, "all positive")
""",
    )
    kernel = compile_kernel(source, {"x_ptr": "*i32"}, {"BLOCK": 8}, {"debug": True})
    launch = Launcher(kernel)
    values = np.ones(8, np.int32)
    launch((1,), values)
    values[3] = -1
    with pytest.raises(DeviceAssertError, match=r"check: .*all positive"):
        launch((1,), values)
    values[3] = 1
    launch((1,), values)
