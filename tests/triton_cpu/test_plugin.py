"""The out-of-tree Triton backend: plain `kernel[grid](...)` on arrays and data_ptr() objects.

Each test runs a script in a process of its own, for Triton looks for backends once, while it is
imported. A dist-info folder on the path stands in for an installed tritorch.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import tritorch

Run = Callable[..., str]
ROOT = str(tritorch.__path__[0]).removesuffix("/tritorch")

PRELUDE = """
import sys
import numpy as np
import triton
import triton.language as tl

@triton.jit
def add(x_ptr, y_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(o_ptr + offsets, x + y, mask=mask)

@triton.jit
def scale(x_ptr, o_ptr, n, factor, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(o_ptr + offsets, x * factor, mask=offsets < n)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that make our backend visible in a checkout."""
    folder = tmp_path_factory.mktemp("plugin")
    try:
        installed = any(
            entry.value == "tritorch.triton_cpu.plugin"
            for entry in importlib.metadata.entry_points(group="triton.backends")
        )
    except Exception:
        installed = False
    if not installed:
        information = folder / "tritorch_checkout-0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: tritorch-checkout\nVersion: 0\n"
        )
        (information / "entry_points.txt").write_text(
            "[triton.backends]\ncpu = tritorch.triton_cpu.plugin\n"
        )
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([ROOT, str(folder), os.environ.get("PYTHONPATH", "")]),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TRITORCH_CACHE_DIR": str(folder / "tritorch"),
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run a script after the prelude; returns what it printed."""

    def start(script: str, **variables: str) -> str:
        path = tmp_path / "script.py"  # @triton.jit reads the source of a function from its file
        path.write_text(PRELUDE + textwrap.dedent(script))
        done = subprocess.run(
            [sys.executable, str(path)],
            env=environment | variables, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return start


def test_arrays_of_every_dtype(run: Run) -> None:
    out = run("""
        import ml_dtypes
        from triton.backends import backends
        assert "cpu" in backends, list(backends)
        rng = np.random.default_rng(0)
        dtypes = ["float32", "float64", "float16", ml_dtypes.bfloat16, "int8", "int16", "int32",
                  "int64", "uint8", "uint32", "uint64"]
        for dtype in dtypes:
            x = rng.integers(0, 60, 3001).astype(dtype)
            y = rng.integers(0, 60, 3001).astype(dtype)
            o = np.zeros_like(x)
            kernel = add[(triton.cdiv(3001, 1024),)](x, y, o, 3001, BLOCK=1024)
            assert (o == x + y).all(), dtype
        assert list(kernel.asm) == ["source", "ttir", "llir", "obj"], list(kernel.asm)
        assert "define void @add" in kernel.asm["llir"] and "tt.load" in kernel.asm["ttir"]
        assert not [name for name in ("torch",) if name in sys.modules]
        print("done")
    """)
    assert out == "done\n"


def test_objects_with_data_ptr_scalars_and_grids(run: Run) -> None:
    out = run("""
        class Tensor:
            def __init__(self, array):
                self.array, self.dtype = array, "float32"
            def data_ptr(self):
                return self.array.ctypes.data

        x = np.arange(1000, dtype=np.float32)
        for factor in (2.0, 3, 1, np.float32(0.5), np.float64(0.25), np.int64(7), True):
            o = np.zeros_like(x)
            grid = lambda meta: (triton.cdiv(1000, meta["BLOCK"]),)
            scale[grid](Tensor(x), Tensor(o), 1000, factor, BLOCK=128)
            assert (o == x * np.float32(factor)).all(), factor
        for n in (1, 16, 1000):                      # n == 1 becomes a constant
            o = np.zeros_like(x)
            scale[(8, 1, 1)](x, o, np.int32(n), 2.0, BLOCK=128)
            assert (o[:n] == 2 * x[:n]).all() and not o[n:].any()
        view = np.zeros(1001, np.float32)[1:]        # not aligned to 16 bytes
        scale[8,](x, view, 1000, 2.0, 128)
        assert (view == 2 * x).all()
        print("done")
    """)
    assert out == "done\n"


def test_arrays_without_a_triton_type_are_refused(run: Run) -> None:
    out = run("""
        try:
            scale[(1,)](np.zeros(4, complex), np.zeros(4), 4, 1.0, BLOCK=4)
        except TypeError as error:
            print(error)
    """)
    assert "arrays of complex128 have no Triton type. Use one of bool, float16" in out


def test_autotune_and_heuristics(run: Run) -> None:
    out = run("""
        configs = [triton.Config({"BLOCK": block}) for block in (64, 512)]

        @triton.autotune(configs=configs, key=["n"])
        @triton.heuristics({"TWICE": lambda arguments: arguments["n"] > 10})
        @triton.jit
        def tuned(x_ptr, o_ptr, n, TWICE: tl.constexpr, BLOCK: tl.constexpr):
            offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + offsets, mask=offsets < n)
            tl.store(o_ptr + offsets, x * 2 if TWICE else x, mask=offsets < n)

        x = np.arange(3000, dtype=np.float32)
        o = np.zeros_like(x)
        tuned[lambda meta: (triton.cdiv(3000, meta["BLOCK"]),)](x, o, 3000)
        assert (o == 2 * x).all()
        print(tuned.best_config.kwargs["BLOCK"])
    """)
    assert out.strip() in ("64", "512")


def test_libdevice_printing_and_assertions(run: Run) -> None:
    out = run("""
        from triton.language.extra import libdevice

        @triton.jit
        def kernel(x_ptr, o_ptr, limit, BLOCK: tl.constexpr):
            offsets = tl.arange(0, BLOCK)
            x = tl.load(x_ptr + offsets)
            tl.device_assert(x < limit, "x is below the limit")
            tl.store(o_ptr + offsets, libdevice.tanh(x))

        x = np.linspace(-2, 2, 64, dtype=np.float32)
        o = np.zeros_like(x)
        kernel[(1,)](x, o, 3.0, BLOCK=64, debug=True)
        assert abs(o - np.tanh(x)).max() < 1e-6
        try:
            kernel[(1,)](x, o, 1.0, BLOCK=64, debug=True)
        except RuntimeError as error:
            print(error)
    """)
    assert "x is below the limit" in out


def test_tensor_descriptors_of_the_device(run: Run) -> None:
    out = run("""
        @triton.jit
        def kernel(x_ptr, o_ptr, M, N, BM: tl.constexpr, BN: tl.constexpr):
            x = tl.make_tensor_descriptor(x_ptr, [M, N], [N, 1], [BM, BN])
            o = tl.make_tensor_descriptor(o_ptr, [M, N], [N, 1], [BM, BN])
            i, j = tl.program_id(0) * BM, tl.program_id(1) * BN
            o.store([i, j], x.load([i, j]) + 1.0)

        x = np.random.default_rng(0).standard_normal((70, 100)).astype(np.float32)
        o = np.zeros_like(x)
        kernel[(3, 4)](x, o, 70, 100, BM=32, BN=32)
        assert (o == x + 1).all()
        print("done")
    """)
    assert out == "done\n"


def test_tensor_descriptors_of_the_host(run: Run) -> None:
    out = run("""
        from triton.tools.tensor_descriptor import TensorDescriptor

        class Tensor:
            def __init__(self, array):
                self.array, self.dtype, self.shape = array, array.dtype, array.shape
            def data_ptr(self):
                return self.array.ctypes.data
            def stride(self):
                return [stride // self.array.itemsize for stride in self.array.strides]

        @triton.jit
        def kernel(x, o, n, BM: tl.constexpr, BN: tl.constexpr):
            i, j = tl.program_id(0) * BM, tl.program_id(1) * BN
            o.store([i, j], x.load([i, j]) * 2.0 + n)

        memory = np.zeros(3 * 40 * 64 + 16, np.float32)  # descriptors want aligned memory
        first = -memory.ctypes.data % 64 // 4
        x, o = memory[first : first + 2 * 40 * 64].reshape(2, 40, 64)
        x[:] = np.random.default_rng(0).standard_normal(x.shape)
        descriptors = [TensorDescriptor.from_tensor(Tensor(array), [16, 32]) for array in (x, o)]
        kernel[(3, 2)](*descriptors, 5, 16, 32)
        assert (o == 2 * x + 5).all()
        print("done")
    """)
    assert out == "done\n"


def test_an_unknown_operation_is_one_clear_error(run: Run) -> None:
    out = run("""
        from tritorch.errors import UnsupportedOperation

        @triton.jit
        def strange(o_ptr):
            x = tl.inline_asm_elementwise("nop", "=r,r", [tl.arange(0, 4)], tl.int32, True, 1)
            tl.store(o_ptr + tl.arange(0, 4), x)

        try:
            strange[(1,)](np.zeros(4, np.int32))
        except UnsupportedOperation as error:
            print(error)
    """)
    assert re.search(r"strange: .*tt\.elementwise_inline_asm", out)


def test_a_second_process_uses_tritons_cache(run: Run) -> None:
    script = """
        import tritorch.triton_cpu.compile as compile_module
        calls = []
        original = compile_module.generate_llvm
        compile_module.generate_llvm = lambda *a: calls.append(a) or original(*a)
        x = np.arange(5, dtype=np.float32)
        o = np.zeros_like(x)
        add[(1,)](x, x, o, 5, BLOCK=8)
        assert (o == 2 * x).all()
        print(len(calls))
    """
    first, second = run(script), run(script)
    assert (first, second) == ("1\n", "0\n")


def test_the_backend_can_be_activated_by_hand(run: Run) -> None:
    out = run("""
        from tritorch.triton_cpu import plugin
        from tritorch.triton_cpu.plugin.driver import CPUDriver

        class OtherDriver(CPUDriver):
            def get_current_target(self):
                raise AssertionError("not this one")

        triton.runtime.driver.set_active(OtherDriver())
        plugin.activate()
        o = np.zeros(4, np.float32)
        add[(1,)](np.ones(4, np.float32), np.ones(4, np.float32), o, 4, BLOCK=4)
        print(o.tolist(), triton.runtime.driver.active.get_current_target().backend)
    """)
    assert out == "[2.0, 2.0, 2.0, 2.0] cpu\n"


def test_launching_from_threads(run: Run) -> None:
    out = run("""
        from concurrent.futures import ThreadPoolExecutor

        def work(i):
            x = np.full(5000, i, np.float32)
            o = np.zeros_like(x)
            for _ in range(20):
                add[(5,)](x, x, o, 5000, BLOCK=1024)
                if not (o == 2 * i).all():
                    return False
            return True

        with ThreadPoolExecutor(4) as pool:
            print(all(pool.map(work, range(16))))
    """)
    assert out == "True\n"
