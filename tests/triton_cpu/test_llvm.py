"""LLVM: targets, object code, loading, supplied functions."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from tritorch.config import config
from tritorch.errors import CompileError, ConfigError
from tritorch.triton_cpu import llvm, support, target
from tritorch.triton_cpu.target import CPUTarget, host, level

SUM = """
define i64 @total(ptr %p, i64 %n) {
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %loop, label %out
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %sum = phi i64 [ 0, %entry ], [ %more, %loop ]
  %slot = getelementptr i64, ptr %p, i64 %i
  %x = load i64, ptr %slot, align 8
  %more = add i64 %sum, %x
  %next = add i64 %i, 1
  %again = icmp slt i64 %next, %n
  br i1 %again, label %loop, label %out
out:
  %result = phi i64 [ 0, %entry ], [ %more, %loop ]
  ret i64 %result
}
"""


def run_sum(code: bytes) -> int:
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(
        llvm.load_object(code, ["total"])["total"]
    )
    values = np.arange(100)
    return int(function(values.ctypes.data, len(values)))


@pytest.mark.parametrize("pipeline", ["default", "mini"])
def test_text_becomes_code_that_runs(pipeline: str) -> None:
    assert run_sum(llvm.compile_object(SUM, host(), pipeline)) == 4950


def test_the_same_name_can_be_loaded_many_times() -> None:
    code = llvm.compile_object(SUM, host())
    assert [run_sum(code) for _ in range(3)] == [4950] * 3


def test_assembly_is_text() -> None:
    assert "total:" in llvm.compile_assembly(SUM, host())


@pytest.mark.parametrize(
    "text, pipeline, message",
    [
        (
            "define void @f() { ret i32 0 }",
            "default",
            r"my_kernel: generated LLVM text is wrong: (.|\n)*i32",
        ),
        (
            "define i32 @f() { %a = add i32 %b, 1\n %b = add i32 %a, 1\n ret i32 %a }",
            "default",
            "dominate",
        ),
        (SUM, "maximal", "my_kernel: pipeline must be one of default, mini; got 'maximal'"),
    ],
)
def test_errors_name_the_kernel(text: str, pipeline: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        llvm.compile_object(text, host(), pipeline, "my_kernel")


def test_an_unknown_function_is_an_error_and_harms_nothing() -> None:
    text = (
        "declare void @surely_nowhere()\n"
        "define void @f() { call void @surely_nowhere()\n ret void }"
    )
    with pytest.raises(CompileError, match="f: the object does not link"):
        llvm.load_object(llvm.compile_object(text, host()), ["f"])
    assert run_sum(llvm.compile_object(SUM, host())) == 4950


def test_supplied_functions_are_found() -> None:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    callback = prototype(lambda x: x * 3)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address
    llvm.supply_symbols({"test_llvm_triple": address})
    text = """
declare i64 @test_llvm_triple(i64)
define i64 @f(i64 %x) {
  %y = call i64 @test_llvm_triple(i64 %x)
  ret i64 %y
}
"""
    function = prototype(llvm.load_object(llvm.compile_object(text, host()), ["f"])["f"])
    assert function(14) == 42


# ---- support functions


def test_scratch_is_aligned_and_separate() -> None:
    symbols = support.support_symbols()
    acquire = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)(symbols["tritorch_scratch_acquire"])
    release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(symbols["tritorch_scratch_release"])
    places = [acquire(size) for size in (1, 100, 1 << 20)]
    assert all(place % 64 == 0 for place in places) and len(set(places)) == 3
    ctypes.memset(places[2], 7, 1 << 20)
    for place in places:
        release(place)


def test_the_first_failed_assertion_is_kept_once() -> None:
    failed = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(
        support.support_symbols()["tritorch_assert_failed"]
    )
    first, second = b"first", b"second"
    failed(first)
    failed(second)
    assert support.take_assert_message() == "first"
    assert support.take_assert_message() is None


EDGES = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    65504,
    65519.99,
    65520,
    6e-8,
    2.9e-8,
    3e-8,
    6.1e-5,
    3.4e38,
]


def conversion(name: str, source: str, result: str) -> ctypes._CFuncPtr:
    """A function over arrays that calls the compiler-rt function `name` for each element."""
    text = f"""
declare {result} @{name}({source})
define void @convert(ptr %from, ptr %to, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %a = getelementptr {source}, ptr %from, i64 %i
  %x = load {source}, ptr %a
  %y = call {result} @{name}({source} %x)
  %b = getelementptr {result}, ptr %to, i64 %i
  store {result} %y, ptr %b
  %next = add i64 %i, 1
  %again = icmp slt i64 %next, %n
  br i1 %again, label %loop, label %out
out:
  ret void
}}
"""
    loaded = llvm.load_object(llvm.compile_object(text, host()), ["convert"])
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    return kind(loaded["convert"])


@pytest.mark.parametrize(
    "name, source, result, from_dtype, to_dtype",
    [
        ("__truncsfhf2", "float", "half", np.float32, np.float16),
        ("__truncdfhf2", "double", "half", np.float64, np.float16),
        ("__truncsfbf2", "float", "bfloat", np.float32, ml_dtypes.bfloat16),
        ("__truncdfbf2", "double", "bfloat", np.float64, ml_dtypes.bfloat16),
        ("__extendhfsf2", "half", "float", np.float16, np.float32),
    ],
)
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
def test_conversions_that_llvm_calls_by_name(
    name: str, source: str, result: str, from_dtype: type, to_dtype: type
) -> None:
    if from_dtype is np.float16:
        values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    else:
        rng = np.random.default_rng(0)
        values = rng.standard_normal(20000) * 10.0 ** rng.uniform(-45, 38, 20000)
        values = np.concatenate([EDGES, values]).astype(from_dtype)
        # midway between two results, and its neighbours
        low = rng.integers(0, 0x7BFF, 5000).astype(np.uint16)
        middle = (
            low.view(to_dtype).astype(from_dtype) + (low + 1).astype(np.uint16).view(to_dtype)
        ) / 2
        below, above = (np.nextafter(middle, from_dtype(end)) for end in (0, np.inf))
        values = np.concatenate([values, middle, below, above]).astype(from_dtype)
    got = np.zeros(len(values), to_dtype)
    conversion(name, source, result)(values.ctypes.data, got.ctypes.data, len(values))
    want = rounded(values, to_dtype)
    bits = f"u{got.itemsize}"
    known = ~np.isnan(values)
    np.testing.assert_array_equal(got[known].view(bits), want[known].view(bits))
    assert np.isnan(got[~known]).all()


def rounded(values: np.ndarray, dtype: type) -> np.ndarray:
    """Round to nearest even in one step, by arithmetic: multiples of the spacing at each value."""
    bits, least = {np.float16: (11, -13), ml_dtypes.bfloat16: (8, -125), np.float32: (24, -125)}[
        dtype
    ]
    wide = values.astype(np.float64)
    _, exponents = np.frexp(np.where(np.isfinite(wide), wide, 0))
    spacing = np.ldexp(1.0, np.maximum(exponents, least) - bits)
    return np.where(np.isfinite(wide), np.rint(wide / spacing) * spacing, wide).astype(dtype)


# ---- targets


def test_the_host_is_described() -> None:
    found = host()
    assert found.vector_bytes in (16, 32, 64) and found.strip_bytes % found.vector_bytes == 0
    assert found.is_x86 != found.is_aarch64
    assert found.avx512f == (found.vector_bytes == 64) or found.is_aarch64
    assert host() is found


def x86(flags: str, **changes: object) -> CPUTarget:
    values: dict[str, object] = {
        "triple": "x86_64-unknown-linux-gnu",
        "cpu": "x",
        "features": "",
        "vector_bytes": 16,
        "strip_bytes": 64,
        "flags": frozenset(flags.split()),
    }
    return CPUTarget(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "triple, flags, name",
    [
        ("x86_64-linux", "avx2 avx512f", "skylake-avx512"),
        ("x86_64-linux", "avx2 avx512f avx512vnni", "cascadelake"),
        ("x86_64-linux", "avx2 avx512f avx512vnni avx512vbmi2", "icelake-server"),
        ("x86_64-linux", "avx2 avx512f avx512vbmi2 amx-tile", "sapphirerapids"),
        ("x86_64-linux", "avx2 avx512f sse4a", "znver4"),
        ("x86_64-linux", "avx2 sse4a vaes", "znver3"),
        ("x86_64-linux", "avx2", "haswell"),
        ("x86_64-linux", "sse2", "x86-64"),
        ("aarch64-linux", "neon", "generic"),
        ("aarch64-linux", "neon sve2", "neoverse-v2"),
    ],
)
def test_the_cpu_to_tune_for_follows_from_features(triple: str, flags: str, name: str) -> None:
    assert target._tuning_name(triple, frozenset(flags.split())) == name


@pytest.mark.parametrize("name, width", [("x86-64", 16), ("avx2", 32), ("avx512", 64)])
def test_levels(name: str, width: int) -> None:
    found = level(name)
    assert found.vector_bytes == width
    assert found.avx512f == (name == "avx512") and found.fma == (name != "x86-64")
    code = llvm.compile_assembly(VECTOR_ADD, found)
    assert {"x86-64": "xmm", "avx2": "ymm", "avx512": "zmm"}[name] in code
    assert ("zmm" in code) == (name == "avx512")


VECTOR_ADD = """
define void @f(ptr %p) {
  %x = load <16 x float>, ptr %p, align 4
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %p, align 4
  ret void
}
"""


def test_code_for_another_architecture() -> None:
    arm = CPUTarget("aarch64-unknown-linux-gnu", "generic", "+neon", 16, 64, frozenset({"neon"}))
    assert arm.is_aarch64 and arm.fma and arm.f16c and not arm.is_x86 and not arm.avx2
    assert "fadd\tv0.4s" in llvm.compile_assembly(VECTOR_ADD, arm)
    assert llvm.compile_object(VECTOR_ADD, arm)[18:20] == (183).to_bytes(2, "little")  # EM_AARCH64


def test_every_difference_changes_the_fingerprint() -> None:
    base = x86("avx2")
    variants = [
        base,
        x86("avx2", cpu="y"),
        x86("avx2", features="+avx2"),
        x86("avx2", vector_bytes=32),
        x86("avx2", strip_bytes=128),
        x86("avx2", triple="aarch64-unknown-linux-gnu"),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    assert replace(base).fingerprint == base.fingerprint


def test_the_setting_restricts_the_host() -> None:
    if not host().is_x86:
        pytest.skip("levels are for x86-64")
    with config(cpu_features="x86-64"):
        assert host().vector_bytes == 16
        assert run_sum(llvm.compile_object(SUM, host())) == 4950
    if not host().avx512f:
        with (
            config(cpu_features="avx512"),
            pytest.raises(ConfigError, match="this CPU has no avx512f"),
        ):
            host()
    else:
        with config(cpu_features="avx512"):
            assert host().cpu == "x86-64-v4"
