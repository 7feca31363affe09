"""The runtime among other users of the driver: processes, threads, libraries; and PyTorch's names.

What a stand-in for the driver can show of it, that is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import tritorch as torch
from tests.runtime.cuda.fake_driver import FakeDriver
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch.errors import CompileError
from tritorch.kernel_source import KernelSource
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.faults import translated
from tritorch.runtime.cuda.target import CUDATarget

Gpu = tuple[CUDATarget, FakeDriver]
cuda = torch.cuda


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    with simulated_gpu() as found:
        yield found


# ---- contexts


def test_asking_creates_no_context() -> None:
    driver = FakeDriver(devices=2)
    target = CUDATarget(driver)
    assert target.current.count == 2 and target.properties(1).name == "Fake GPU"
    assert driver.calls["retain_context"] == 0 and not target.current.started


def test_a_block_on_another_device_leaves_no_context_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = FakeDriver(devices=2)
    monkeypatch.setitem(torch.runtime._targets, "cuda", CUDATarget(driver))
    with cuda.device(1):
        cuda.synchronize()
        cuda.mem_get_info()
    cuda.synchronize(1)
    assert cuda.current_device() == 0
    assert driver.calls["retain_context"] == 1, "hundreds of megabytes on device 0"


def test_another_librarys_context_is_current_again() -> None:
    driver = FakeDriver(devices=2)
    target, theirs = CUDATarget(driver), driver.retain_context(0)
    driver.set_context(theirs)
    with target.on(1):
        assert driver.current_context() != theirs
    assert driver.current_context() == theirs
    with target.current.in_context(1):
        pass
    assert driver.current_context() == theirs


def test_a_device_that_another_library_leaves_current(gpu: Gpu) -> None:
    """Work goes where its tensors are, and what they made current stays current."""
    target, driver = gpu
    x = torch.arange(3.0, device="cuda:0")
    theirs = target.current.context(1)
    driver.set_context(theirs)
    try:
        y = x.cosh() + torch.tensor([1.0, 2.0, 3.0], device="cuda:0")
        big = torch.zeros(7 << 20, device="cuda:0")
        assert driver.launches[-1].device == 0
        assert {one.device for one in driver.launches[-2:]} == {0}
        assert driver.pointer_attribute(cu.POINTER_DEVICE, big.data_ptr()) == 0
        assert y.tolist() == (x.cpu().cosh() + torch.tensor([1.0, 2.0, 3.0])).tolist()
        assert driver.current_context() == theirs
    finally:
        driver.set_context(target.current.context(0))


@pytest.mark.parametrize("code", [cu.PEER_ACCESS_ALREADY_ENABLED, cu.TOO_MANY_PEERS])
def test_peers_that_another_library_enabled(code: int) -> None:
    driver = FakeDriver(devices=2)
    target = CUDATarget(driver)
    driver.plant("enable_peer", code, code)
    for device in (0, 1):
        with target.on(device), target.calling() as called:
            called.synchronize()
    assert driver.calls["enable_peer"] == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_after_is_available_is_a_clear_error() -> None:
    """The driver was initialised, although there is no context: it is lost in the child."""
    target = CUDATarget(FakeDriver())
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            target.allocate(100)
            told = "no error"
        except RuntimeError as error:
            told = str(error)
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    told = os.read(reading, 1000).decode()
    os.close(reading)
    assert told.startswith("cuda: this process is a fork of one that used the GPU (is_available()")


def test_what_lives_at_the_end_of_python_ends_silently() -> None:
    program = (
        "import tritorch as torch, tritorch.runtime\n"
        "from tests.runtime.cuda.fake_driver import FakeDriver\n"
        "from tritorch.runtime.cuda.target import CUDATarget\n"
        "tritorch.runtime._targets['cuda'] = CUDATarget(FakeDriver(lazy=True))\n"
        "side, event = torch.cuda.Stream(), torch.cuda.Event()\n"
        "event.record(side)\n"
        "x, y = torch.empty(5, device='cuda'), torch.empty(5, device='cuda')\n"
        "x.record_stream(side)\n"
        "pinned = torch.ones(5).pin_memory()\n"
        "y.copy_(pinned, non_blocking=True)\n"
        "done, under_way = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()\n"
        "with torch.cuda.graph(done): x.copy_(pinned, non_blocking=True)\n"
        "with torch.cuda.stream(side): under_way.capture_begin(); y.copy_(x)\n"
        "import builtins; builtins.kept = [x, y, event, pinned, done, under_way]\n"
        "print('end')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)


def test_importing_asks_nobody() -> None:
    program = (
        "import sys, tritorch as torch, tritorch.cuda\n"
        "torch.cuda.manual_seed(1); torch.ones(2).is_pinned()\n"
        "print([name for name in sys.modules if name.startswith(('cuda', 'tritorch.runtime.cuda.ta'"
        ", 'pynvml', 'nvtx'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done


def test_hidden_devices_are_told() -> None:
    from tritorch.runtime.cuda.bindings import hidden_devices

    assert hidden_devices({}) == ""
    assert "CUDA_VISIBLE_DEVICES is ''" in hidden_devices({"CUDA_VISIBLE_DEVICES": ""})


# ---- kernels

WIDE = KernelSource(
    "wide",
    """
@triton.jit
def wide(x, y, B: tl.constexpr):
    i = tl.arange(0, B)
    a = tl.load(x + i[:, None] * B + i[None, :])
    tl.store(y + i[:, None] * B + i[None, :], tl.dot(a, tl.trans(a)))
""",
)


class Mixed(FakeDriver):
    """The second device is of an older kind, which refuses what it does not have."""

    def device_attribute(self, device: int, attribute: int) -> int:
        if device == 1 and attribute == cu.CAPABILITY_MAJOR:
            return 7
        return super().device_attribute(device, attribute)

    def set_kernel_attribute(self, kernel: int, attribute: int, value: int, device: int) -> None:
        if device == 1:
            raise self._error(cu.INVALID_VALUE, "cuKernelSetAttribute")
        super().set_kernel_attribute(kernel, attribute, value, device)


def test_shared_memory_is_allowed_where_the_code_runs() -> None:
    driver = Mixed(devices=2)
    target = CUDATarget(driver)
    kernel = target.compile(WIDE, {"x": "*fp16", "y": "*fp32"}, {"B": 128}, {"num_warps": 8})
    shared = target.facts(kernel).shared_bytes
    assert shared > 48 << 10
    assert driver.kernel_attribute(kernel.entry, cu.MAX_DYNAMIC_SHARED, 0) == shared
    assert driver.kernel_attribute(kernel.entry, cu.SHARED_CARVEOUT, 0) == 100


def test_too_much_shared_memory_is_told_with_figures() -> None:
    target = CUDATarget(FakeDriver())
    with pytest.raises(CompileError, match=r"wide: .* 262144 bytes .* Fake GPU has 232448\."):
        target.compile(WIDE, {"x": "*fp16", "y": "*fp32"}, {"B": 256}, {"num_warps": 8})


def test_memory_for_code_and_launches_comes_out_of_the_cache(gpu: Gpu) -> None:
    _, driver = gpu
    torch.zeros(30 << 20, device="cuda")  # cached now
    x = torch.ones(3, device="cuda")
    driver.plant("load_library", cu.OUT_OF_MEMORY)
    before = driver.calls["free"]
    (x * 3).erf_().logit_()
    assert driver.calls["free"] > before and driver.calls["load_library"]
    torch.zeros(30 << 20, device="cuda")
    driver.plant("launch", cu.OUT_OF_MEMORY)
    assert (x * 3).tolist() == [3.0] * 3
    cuda.empty_cache()
    driver.plant("launch", cu.OUT_OF_MEMORY)
    with pytest.raises(cuda.OutOfMemoryError, match="launching"):
        x * 3
    assert (x * 3).tolist() == [3.0] * 3


def test_dropping_tensors_after_a_fault_is_silent() -> None:
    driver = FakeDriver()
    target = CUDATarget(driver)
    address = target.allocate(5000)
    with target.calling() as called:
        side = called.create_stream(1, 0)
    target.record_stream(address, side)
    driver.plant("synchronize", cu.ILLEGAL_ADDRESS)
    with pytest.raises(RuntimeError, match="illegal address"):
        target.synchronize()
    target.free(address, 5000)


@pytest.mark.parametrize("code", [214, 220, 226, cu.ILLEGAL_ADDRESS, cu.LAUNCH_FAILED, 721])
def test_errors_after_which_the_device_is_lost(code: int) -> None:
    error = translated(FakeDriver().describe(code), ("add",))
    assert "start it again" in str(error) and "(add; " in str(error)


# ---- memory of the host


def test_sources_of_small_copies_may_change_at_once() -> None:
    """Also where the driver reads the source later: memory that another library page-locked."""
    with simulated_gpu(lazy=True) as (_, driver):
        with torch.runtime._targets["cuda"].calling() as called:
            address = called.allocate_pinned(4096)
        import ctypes

        import numpy as np

        array = np.frombuffer((ctypes.c_float * 4).from_address(address), np.float32)
        array[:] = [1, 2, 3, 4]
        theirs = torch.from_numpy(array)
        assert theirs.is_pinned() and theirs.pin_memory() is theirs
        y = theirs.to("cuda")
        array[:] = 0
        assert y.tolist() == [1.0, 2.0, 3.0, 4.0]
        driver.progress()


def test_pinned_memory_that_several_devices_read() -> None:
    with simulated_gpu(lazy=True) as (_, driver):
        pinned = torch.arange(100.0).pin_memory()
        there = [pinned.to(f"cuda:{n}", non_blocking=True) for n in (0, 1)]
        address = pinned.data_ptr()
        del pinned
        driver.progress(0)  # the first device has read it, the second has not
        others = [torch.zeros(100).pin_memory() for _ in range(3)]
        assert address not in {one.data_ptr() for one in others}
        assert [one.tolist() for one in there] == [list(range(100))] * 2


def test_many_small_uploads_ask_for_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the device is behind, each needs a place of its own."""
    driver = FakeDriver(lazy=True)
    monkeypatch.setitem(torch.runtime._targets, "cuda", CUDATarget(driver))
    found = [torch.tensor([float(n)], device="cuda") for n in range(300)]
    assert driver.calls["allocate_pinned"] == 1
    assert [one.item() for one in found] == list(range(300))
    cuda.empty_cache()
    assert torch.tensor([7.0], device="cuda").item() == 7.0
    assert driver.calls["allocate_pinned"] == 1


def test_page_locked_memory_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    driver.host_bytes = (2 << 20) + (1 << 18)
    monkeypatch.setitem(torch.runtime._targets, "cuda", CUDATarget(driver))
    kept = torch.zeros(1000).pin_memory()
    torch.zeros(100_000).pin_memory()  # cached now; the next one is of another size
    other = torch.zeros(200_000).pin_memory()
    with pytest.raises(cuda.OutOfMemoryError, match="no memory left to page-lock"):
        torch.zeros(10).repeat(100_000).pin_memory()
    del other
    assert torch.zeros(3).pin_memory().is_pinned() and kept.is_pinned()


def test_pinned_tensors_are_made(gpu: Gpu) -> None:
    x = torch.ones(3)
    made: list[Callable[[], torch.Tensor]] = [
        lambda: torch.empty(3, pin_memory=True),
        lambda: torch.zeros(3, pin_memory=True),
        lambda: torch.full((3,), 2.0, pin_memory=True),
        lambda: torch.ones_like(x, pin_memory=True),
        lambda: torch.tensor([1.0, 2.0], pin_memory=True),
        lambda: x.new_zeros(2, pin_memory=True),
    ]
    assert all(make().is_pinned() for make in made)
    assert torch.ones(2, pin_memory=True, requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        torch.empty(3, device="cuda", pin_memory=True)


def test_loaders_give_pinned_batches(gpu: Gpu) -> None:
    one = torch.ones(1)
    data = [{"x": torch.full((2,), float(n)), "name": f"{n}", "pair": (n, one)} for n in range(4)]
    (first, _) = torch.utils.data.DataLoader(data, batch_size=2, pin_memory=True)
    assert first["x"].is_pinned() and first["x"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert first["name"] == ["0", "1"] and first["pair"][1].is_pinned()
    assert not next(iter(torch.utils.data.DataLoader(data, batch_size=2)))["x"].is_pinned()


# ---- streams and events


def test_streams_are_entered_again_and_by_several_threads(gpu: Gpu) -> None:
    side, other = cuda.Stream(), cuda.Stream()
    found: list[bool] = []

    def elsewhere() -> None:
        with side:
            found.append(cuda.current_stream() == side)
        found.append(cuda.current_stream() == cuda.default_stream())

    with side:
        with other, side:
            assert cuda.current_stream() == side
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        assert cuda.current_stream() == side
    assert cuda.current_stream() == cuda.default_stream() and found == [True, True]


def test_events_belong_to_a_device(gpu: Gpu) -> None:
    event = cuda.Event(enable_timing=True)
    assert event.device is None and event.query()
    event.record(cuda.Stream("cuda:1"))
    assert str(event.device) == "cuda:1" and cuda.current_device() == 0
    with pytest.raises(RuntimeError, match=r"Event device 1 does not match .* device 0"):
        event.record()
    event.wait()
    event.synchronize()
    for use in (
        event.ipc_handle,
        lambda: cuda.Event.from_ipc_handle(0, b""),
        lambda: cuda.Event(interprocess=True),
        lambda: cuda.Event(external=True),
    ):
        with pytest.raises(NotImplementedError):
            use()


def test_streams_do_not_wait_for_the_default_stream() -> None:
    """As PyTorch's: CUDA would order blocking streams and the default stream by itself."""
    driver = FakeDriver()
    flags: list[int] = []
    create = driver.create_stream
    driver.create_stream = lambda flag, priority: flags.append(flag) or create(flag, priority)  # type: ignore
    target = CUDATarget(driver)
    with target.calling():
        assert len({target.current.take_stream(0) for _ in range(40)}) == 32
    assert set(flags) == {cu.STREAM_NON_BLOCKING}


def test_streams_of_other_libraries(gpu: Gpu) -> None:
    _, driver = gpu
    side = cuda.Stream()
    external = cuda.ExternalStream(side.cuda_stream)
    assert external == side == cuda.get_stream_from_external(side.cuda_stream)
    with cuda.stream(external):
        torch.ones(3, device="cuda") + 1
    assert driver.launches[-1].stream == side.cuda_stream
    assert external.__cuda_stream__() == (0, side.cuda_stream)


# ---- PyTorch's names


def test_names(gpu: Gpu) -> None:
    x = torch.ones(3, device="cuda")
    assert isinstance(x, cuda.FloatTensor) and not isinstance(x, torch.FloatTensor)
    assert isinstance(torch.ones(1), torch.FloatTensor)
    assert str(cuda.LongTensor([1, 2]).device) == "cuda:0"
    assert x.cpu().type("torch.cuda.DoubleTensor").type() == "torch.cuda.DoubleTensor"
    assert torch.ones(1).type(cuda.HalfTensor).is_cuda
    assert len(cuda.default_generators) == 2
    assert cuda.memory_stats_as_nested_dict()["num_ooms"] == 0
    cuda.set_per_process_memory_fraction(0.5)
    assert cuda.get_per_process_memory_fraction() == 0.5
    before = cuda.memory_allocated()
    address = cuda.caching_allocator_alloc(1000)
    assert cuda.memory_allocated() == before + 1024
    cuda.caching_allocator_delete(address)
    assert cuda.memory_allocated() == before
    assert cuda.is_tf32_supported() and cuda.get_allocator_backend() == "native"
    calls = gpu[1].calls
    with cuda.profiler.profile():
        assert (calls["profiler True"], calls["profiler False"]) == (1, 0)
    assert calls["profiler False"] == 1
    cuda.ipc_collect()


@pytest.mark.parametrize(
    "name", ["MemPool", "nccl", "cudart", "set_sync_debug_mode", "never_heard_of"]
)
def test_names_that_are_not_there(name: str) -> None:
    assert not hasattr(cuda, name)
    with pytest.raises(AttributeError, match=f"'tritorch.cuda' has no attribute '{name}'"):
        getattr(cuda, name)


@pytest.mark.parametrize("package", ["nvtx", "pynvml"])
def test_packages_that_are_asked_when_they_are_there(
    package: str, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = (lambda: cuda.nvtx.mark("a")) if package == "nvtx" else cuda.utilization
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises((RuntimeError, ModuleNotFoundError), match="pip install nv"):
        use()
    log: list[object] = []

    class Fake:
        """Any function; notes what it is called with."""

        gpu = 7

        def __getattr__(self, name: str) -> Callable[..., object]:
            return lambda *given: log.append([name, *map(str, given)]) or self

    monkeypatch.setitem(sys.modules, package, Fake())
    if package == "nvtx":
        with cuda.nvtx.range("step {}", 3):
            assert cuda.nvtx.range_push("inner") == 1
            assert cuda.nvtx.range_pop() == 1
        expected = [["push_range", "step 3"], ["push_range", "inner"], ["pop_range"], ["pop_range"]]
        assert log == expected, json.dumps(log)
    else:
        assert cuda.utilization() == 7
        assert log[1] == ["nvmlDeviceGetHandleByUUID", "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"]
