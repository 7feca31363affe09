"""NVIDIA's cuda-bindings as it really is, over a library that answers for the driver.

Run as a program, since a process loads one driver: `python -m tests.runtime.cuda.through_bindings`.
Every method of `Driver` is called, what arrives in C is compared with what was asked, and a
training step, streams, graphs, pinned memory and errors go the same way.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.cuda.fake_driver import FakeDriver
from tests.runtime.cuda.fake_library import FakeLibrary
from tests.runtime.cuda.simulated import Simulator
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.bindings import BindingsDriver, load_driver
from tritorch.runtime.cuda.driver import Driver, DriverError

DEVICE = 1
METHODS = {name for name, value in vars(Driver).items() if callable(value) and name[0] != "_"}


class Watched:
    """The driver, which remembers the methods that were called."""

    def __init__(self, driver: BindingsDriver) -> None:
        self.driver = driver
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self.driver, name)


def walk(driver: Any, library: FakeLibrary) -> None:
    """Each method once, with numbers that tell the arguments apart."""
    fake = library.fake

    def last(name: str) -> tuple[Any, ...]:
        """How C saw the last call, which must be of this function."""
        assert library.calls[-1][0] == name, library.calls[-1]
        return library.calls[-1][1]

    assert driver.device_count() == 2 and driver.driver_version() == 13000
    assert driver.device_name(DEVICE) == "Fake GPU"
    assert last("cuDeviceGetName")[1:] == (256, DEVICE)
    assert driver.device_uuid(DEVICE) == bytes(range(16))
    assert driver.device_bytes(DEVICE) == fake.nbytes
    assert driver.device_attribute(DEVICE, cu.MULTIPROCESSORS) == 132
    assert last("cuDeviceGetAttribute")[1:] == (cu.MULTIPROCESSORS, DEVICE)
    assert driver.can_access_peer(0, DEVICE) is True
    assert last("cuDeviceCanAccessPeer")[1:] == (0, DEVICE)
    other, context = driver.retain_context(DEVICE), driver.retain_context(0)
    assert other and other != context and last("cuDevicePrimaryCtxRetain")[1] == 0
    with pytest.raises(DriverError, match=r"cuMemAlloc: CUDA_ERROR_INVALID_CONTEXT \(201\): inval"):
        driver.allocate(512)
    assert driver.current_context() == 0
    driver.set_context(context)
    assert driver.current_context() == context
    driver.enable_peer(other)
    assert last("cuCtxEnablePeerAccess") == (other, 0)
    driver.synchronize()
    for records, name in ((True, "cuProfilerStart"), (False, "cuProfilerStop")):
        driver.profiler(records)
        assert last(name) == ()

    address = driver.allocate(1 << 20)
    assert fake.on_device(address, 1 << 20) and address > 1 << 32
    assert driver.memory_info() == (fake.nbytes - (1 << 20), fake.nbytes)
    pinned = driver.allocate_pinned(4096)
    assert last("cuMemHostAlloc")[1:] == (4096, cu.HOST_PORTABLE | cu.HOST_MAPPED)
    stream = driver.create_stream(cu.STREAM_NON_BLOCKING, -3)
    assert last("cuStreamCreateWithPriority")[1:] == (cu.STREAM_NON_BLOCKING, -3)
    assert driver.stream_priorities() == (0, -5)
    driver.fill(address, 0x5A, 100, stream)
    assert last("cuMemsetD8Async") == (address, 0x5A, 100, stream)
    driver.copy(pinned, address, 100, stream)
    assert last("cuMemcpyAsync") == (pinned, address, 100, stream)
    assert driver.stream_is_done(stream) is False  # it is lazy
    driver.synchronize_stream(stream)
    assert driver.stream_is_done(stream) is True and driver.stream_is_done(0) is True
    assert ctypes.string_at(pinned, 101) == b"\x5a" * 100 + b"\0"

    first, second = driver.create_event(0), driver.create_event(0)
    assert driver.pointer_attribute(cu.POINTER_DEVICE, address) == 0
    assert last("cuPointerGetAttribute")[1:] == (cu.POINTER_DEVICE, address)
    assert driver.pointer_attribute(cu.POINTER_MEMORY_TYPE, pinned) == cu.MEMORY_OF_HOST
    with pytest.raises(DriverError, match=r"cuPointerGetAttribute: .*\(1\)"):
        driver.pointer_attribute(cu.POINTER_DEVICE, 64)
    quick = driver.create_event(cu.EVENT_DISABLE_TIMING)
    assert last("cuEventCreate")[1] == cu.EVENT_DISABLE_TIMING
    driver.record_event(first, 0)
    driver.record_event(second, stream)
    assert last("cuEventRecord") == (second, stream)
    assert driver.event_is_done(second) is False
    driver.stream_waits(0, second)
    assert last("cuStreamWaitEvent") == (None, second, 0)
    driver.synchronize_event(first)
    driver.synchronize_event(second)
    assert driver.event_is_done(second) is True
    assert driver.elapsed_ms(first, second) == 0.5
    driver.destroy_event(quick)

    code = (0).to_bytes(8, "little")
    kernel = driver.find_kernel(driver.load_library(code), "copy_once")
    assert last("cuLibraryGetKernel")[1] and fake._kernels[kernel].code == code
    driver.set_kernel_attribute(kernel, cu.MAX_DYNAMIC_SHARED, 70_000, DEVICE)
    assert last("cuKernelSetAttribute") == (cu.MAX_DYNAMIC_SHARED, 70_000, kernel, DEVICE)
    assert driver.kernel_attribute(kernel, cu.MAX_DYNAMIC_SHARED, DEVICE) == 70_000
    assert driver.entry_point("cuLaunchKernelEx") == fake.entry_point("cuLaunchKernelEx")
    assert last("cuGetProcAddress")[2:4] == (13000, 1)
    with pytest.raises(DriverError, match=r"cuGetProcAddress: .*cuNoSuchFunction"):
        driver.entry_point("cuNoSuchFunction")
    encoded = driver.encode_tensor_map(6, address, (64, 256), (128,), (64, 32), 3, True)
    assert encoded == address.to_bytes(8, "little").ljust(128, b"\xaa")
    assert fake.tensor_maps[-1] == (6, address, [64, 256], [128], [64, 32], 3, True)
    assert driver.describe(cu.OUT_OF_MEMORY).name == "CUDA_ERROR_OUT_OF_MEMORY"

    driver.begin_capture(stream, cu.CAPTURE_THREAD_LOCAL)
    assert last("cuStreamBeginCapture") == (stream, cu.CAPTURE_THREAD_LOCAL)
    assert driver.is_capturing(stream) is True and driver.is_capturing(0) is False
    assert driver.exchange_capture_mode(cu.CAPTURE_RELAXED) == cu.CAPTURE_GLOBAL
    assert driver.exchange_capture_mode(cu.CAPTURE_GLOBAL) == cu.CAPTURE_RELAXED
    driver.fill(address, 1, 5, stream)
    graph = driver.end_capture(stream)
    assert driver.graph_nodes(graph) == 1
    executable = driver.instantiate_graph(graph)
    driver.destroy_graph(graph)
    driver.launch_graph(executable, stream)
    assert last("cuGraphLaunch") == (executable, stream)
    driver.synchronize_stream(stream)
    assert ctypes.string_at(address, 6) == b"\1" * 5 + b"\x5a"
    driver.destroy_executable(executable)
    driver.free(address)
    driver.free_pinned(pinned)
    assert not fake.allocations and not fake.pinned


def program(library: FakeLibrary) -> None:
    """What users do, from the first tensor on."""
    import tritorch as torch

    fake = library.fake
    fake.lazy = False
    assert torch.cuda.is_available() and torch.cuda.device_count() == 2
    assert torch.cuda.get_device_capability() == (9, 0)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    x = torch.randn(8, 4).pin_memory().to("cuda", non_blocking=True)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), torch.zeros(8, dtype=int, device="cuda"))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0] and fake.calls["launch"] > 20
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = x * 2
    assert fake.launches[-1].stream == side.cuda_stream
    side.synchronize()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        z = y + 1
    y.zero_()
    recorded.replay()
    assert z.tolist() == [[1.0] * 4] * 8
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"Tried to allocate 4\.00 GiB"):
        torch.empty(1 << 30, device="cuda")
    assert torch.cuda.memory_stats()["num_ooms"] == 1
    fake.plant("launch", cu.LAUNCH_OUT_OF_RESOURCES)
    with pytest.raises(torch.cuda.AcceleratorError, match=r"\(701\): too many resources .* mul"):
        y * 2
    fake.plant("kernel", cu.ILLEGAL_ADDRESS)
    z.exp()
    with pytest.raises(torch.cuda.AcceleratorError, match=r"illegal address \(700\) .*exp_f32"):
        torch.cuda.synchronize()
    fake.forget_errors()


def main() -> None:
    simulator = Simulator()
    known = {(0).to_bytes(8, "little"): ("copy_once", [8, 8])}
    sizes = lambda code: known.get(code) or simulator.sizes(code)  # noqa: E731
    fake = FakeDriver(devices=2, run=simulator.run, sizes=sizes, lazy=True)
    library = FakeLibrary(fake)
    with tempfile.TemporaryDirectory() as folder:
        library.load(Path(folder))
    watched = Watched(load_driver())
    try:
        walk(watched, library)
    finally:
        print("\n".join(library.failures))
    assert not (left := METHODS - watched.called), f"not called: {sorted(left)}"

    import tritorch.runtime
    from tritorch.runtime.cuda.target import CUDATarget

    simulator.kernels.append(None)  # type: ignore[arg-type]  # number 0 is the kernel of the walk
    target = CUDATarget(load_driver(), simulator.compile)
    tritorch.runtime._targets["cuda"] = target
    program(library)
    assert not library.failures, "\n".join(library.failures)
    from cuda.bindings import __version__

    print(f"cuda-bindings {__version__}: {len(METHODS)} methods, {len(library.calls)} calls of C")


if __name__ == "__main__":
    main()
