from __future__ import annotations

import ctypes
import re
import threading

import numpy as np
import pytest

from tritorch.config import config
from tritorch.errors import CompileError
from tritorch.kernel_source import KernelSource
from tritorch.runtime import get_target, statistics
from tritorch.runtime.target import KernelTable

ADD = KernelSource(
    "add_scaled",
    """
@triton.jit
def add_scaled(x_ptr, y_ptr, out_ptr, n, scale, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < n
    x = tl.load(x_ptr + index, mask=mask)
    y = tl.load(y_ptr + index, mask=mask)
    tl.store(out_ptr + index, x + y * scale, mask=mask)
""",
)
SIGNATURE = {
    "x_ptr": "*fp32",
    "y_ptr": "*fp32",
    "out_ptr": "*fp32",
    "n": "i64",
    "scale": "fp32",
}


@pytest.fixture
def own_cache(tmp_path):
    with config(cache_dir=tmp_path, cache="on"):
        yield


def test_a_device_type_has_one_target():
    assert get_target("cpu") is get_target("cpu")
    assert get_target("cpu").name == "cpu"


def test_absent_devices_are_one_clear_error():
    with pytest.raises(RuntimeError, match=r"tpu: no such device type\. Use 'cpu' or 'cuda'"):
        get_target("tpu")


def test_copy_moves_bytes_that_may_overlap():
    target = get_target("cpu")
    text = ctypes.create_string_buffer(b"0123456789")
    target.copy(ctypes.addressof(text) + 2, ctypes.addressof(text), 6)
    assert text.value == b"0101234589"
    target.copy(0, 0, 0)


@pytest.mark.parametrize("n", [1, 1000, 4096, 100_003])
@pytest.mark.parametrize("work", [None, 1, 1e9])
def test_a_triton_kernel_from_source_to_result(n, work):
    target = get_target("cpu")
    kernel = target.compile(ADD, SIGNATURE, {"BLOCK": 1024})
    launch = target.bind(kernel, (-(-n // 1024),), (None, None, None, n, None), work=work)
    x, y = (np.random.default_rng(seed).random(n, np.float32) for seed in (0, 1))
    out = np.zeros(n, np.float32)
    for scale in (2.0, -0.5):
        assert launch(x.ctypes.data, y.ctypes.data, out.ctypes.data, scale) is None
        target.synchronize()
        np.testing.assert_allclose(out, x + y * np.float32(scale), rtol=1e-6)


def test_kernels_are_compiled_once_and_loaded_from_the_cache(own_cache):
    from tritorch.runtime.cpu.target import CPUTarget

    before = statistics.snapshot()
    target = CPUTarget()
    kernel = target.compile(ADD, SIGNATURE, {"BLOCK": 64})
    assert target.compile(ADD, dict(SIGNATURE), {"BLOCK": 64}) is kernel
    assert target.compile(ADD, SIGNATURE, {"BLOCK": 128}) is not kernel
    assert (kernel.name, kernel.source, kernel.from_cache) == ("add_scaled", ADD, False)
    assert kernel.parameter_types == tuple(SIGNATURE.values())
    assert re.fullmatch("<Kernel add_scaled from the compiler, launched 0 times>", repr(kernel))
    cold = statistics.snapshot() - before
    assert (cold.generated, cold.loaded, cold.launches) == (2, 0, 0)

    again = CPUTarget().compile(ADD, SIGNATURE, {"BLOCK": 64})
    assert again is not kernel and again.from_cache
    warm = statistics.snapshot() - before
    assert (warm.generated, warm.loaded) == (2, 1)
    assert warm.compile_seconds > cold.compile_seconds > 0


def test_launches_are_counted_by_kernel():
    target = get_target("cpu")
    kernel = target.compile(ADD, SIGNATURE, {"BLOCK": 64})
    launch = target.bind(kernel, (0,), (0, 0, 0, 0, 1.0))
    launches = kernel.launches
    before = statistics.snapshot()
    for _ in range(7):
        launch()
    now = statistics.snapshot() - before
    assert now.launches == 7
    assert now.launches_by_kernel == {"add_scaled": 7}
    assert kernel.launches == launches + 7
    statistics.reset()
    assert statistics.snapshot() == statistics.Snapshot(0, 0, 0, 0.0, {})
    launch()
    assert statistics.snapshot().launches == 1


def test_threads_that_want_one_kernel_compile_it_once(own_cache):
    from tritorch.runtime.cpu.target import CPUTarget

    before = statistics.snapshot()
    target = CPUTarget()
    start = threading.Barrier(4)
    kernels = []

    def work() -> None:
        start.wait()
        kernels.append(target.compile(ADD, SIGNATURE, {"BLOCK": 32}))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(kernels)) == 1 and len(kernels) == 4
    assert (statistics.snapshot() - before).generated == 1


def test_constants_of_different_types_are_different_kernels():
    built = []

    def build(source, signature, constants, options):
        built.append(constants["A"])
        return get_target("cpu").compile(ADD, SIGNATURE, {"BLOCK": 64})

    table = KernelTable(build)
    for value in (1, 1.0, True, 0.0, -0.0, "1"):
        table.get(ADD, {}, {"A": value}, None)
        table.get(ADD, {}, {"A": value}, {})
    assert len(built) == len(table) == 6


def test_a_wrong_kernel_is_an_error_each_time():
    source = KernelSource(
        "broken", "@triton.jit\ndef broken(x_ptr):\n    tl.store(x_ptr, missing)\n"
    )
    target = get_target("cpu")
    before = statistics.snapshot()
    for _ in range(2):
        with pytest.raises(CompileError, match="broken"):
            target.compile(source, {"x_ptr": "*fp32"}, {})
    assert (statistics.snapshot() - before).generated == 0
