"""A CUDA driver without a GPU: "device memory" is the host's, and what is asked of it is recorded.

Streams are queues. By default work is done when it is asked for; with `lazy` it waits until
somebody waits for it (or `progress()` is called), as on a device that is busy. Launches arrive
through a real C function pointer with `cuLaunchKernelEx`'s signature, so that the bytes which the
launcher packs are read the way the driver reads them: the number and sizes of a kernel's arguments
come from its cubin.

Errors are planted with `plant("allocate", OUT_OF_MEMORY)`; an error that is sticky stays.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.runtime.cuda.fake_captures import CAPTURED_EVENT, CaptureError, Captures, Mark
from tritorch.runtime.cuda import cubin
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.driver import DriverError
from tritorch.runtime.cuda.launcher_ir import ATTRIBUTE_BYTES

_NAMES = {
    cu.NO_DEVICE: ("CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"),
    cu.OUT_OF_MEMORY: ("CUDA_ERROR_OUT_OF_MEMORY", "out of memory"),
    cu.ILLEGAL_ADDRESS: (
        "CUDA_ERROR_ILLEGAL_ADDRESS",
        "an illegal memory access was encountered",
    ),
    cu.ASSERT: ("CUDA_ERROR_ASSERT", "device-side assert triggered"),
    cu.INVALID_CONTEXT: ("CUDA_ERROR_INVALID_CONTEXT", "invalid device context"),
    cu.LAUNCH_FAILED: ("CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"),
    cu.LAUNCH_OUT_OF_RESOURCES: (
        "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        "too many resources requested for launch",
    ),
}


class _Config(ctypes.Structure):
    """CUlaunchConfig of cuda.h."""

    _fields_ = (
        ("gridDimX", ctypes.c_uint),
        ("gridDimY", ctypes.c_uint),
        ("gridDimZ", ctypes.c_uint),
        ("blockDimX", ctypes.c_uint),
        ("blockDimY", ctypes.c_uint),
        ("blockDimZ", ctypes.c_uint),
        ("sharedMemBytes", ctypes.c_uint),
        ("hStream", ctypes.c_void_p),
        ("attrs", ctypes.c_void_p),
        ("numAttrs", ctypes.c_uint),
    )


_LaunchFunction = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(_Config),
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)


@dataclass
class Launched:
    """One launch as the driver saw it."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    stream: int
    attributes: dict[int, bytes]
    arguments: list[bytes]
    device: int


@dataclass
class _Event:
    flags: int
    device: int
    done: bool = True
    time: float = 0.0
    stream: int = 0
    mark: Mark | None = None  # where it was recorded while that stream captured


@dataclass
class _Kernel:
    name: str
    sizes: list[int]
    code: bytes
    attributes: dict[tuple[int, int], int] = field(default_factory=dict)


class FakeDriver:
    """See the module.

    Args:
        devices: how many there are.
        nbytes: memory of each.
        capability: such as 90.
        run: what a launch does: (the kernel's code, the launch).
        sizes: argument sizes of a kernel whose code is no cubin.
    """

    def __init__(
        self,
        devices: int = 1,
        nbytes: int = 1 << 30,
        capability: int = 90,
        run: Callable[[bytes, Launched], None] | None = None,
        sizes: Callable[[bytes], tuple[str, list[int]]] | None = None,
        lazy: bool = False,
    ) -> None:
        self.devices = devices
        self.nbytes = nbytes
        self.capability = capability
        self.lazy = lazy
        self.version = 13000
        self.host_bytes = 1 << 40  # that may be page-locked
        self.calls: Counter[str] = Counter()
        self.launches: list[Launched] = []
        self.allocations: dict[int, tuple[int, mmap.mmap, int]] = {}  # address -> bytes, ., device
        self.pinned: dict[int, tuple[int, mmap.mmap]] = {}
        self.waits: list[tuple[int, int]] = []  # stream, event
        self.tensor_maps: list[tuple[object, ...]] = []  # as they were asked for
        self._run = run
        self._sizes = sizes
        self._planted: dict[str, deque[int]] = defaultdict(deque)
        self.lost = 0
        self._handles = itertools.count(0x1000, 0x10)
        self._kernels: dict[int, _Kernel] = {}
        self._libraries: dict[int, bytes] = {}
        self._events: dict[int, _Event] = {}
        self._queues: dict[int, deque[Any]] = defaultdict(deque)
        self._streams: dict[int, int] = {}  # stream -> device; 0 is the current context's own
        self._graphs: dict[int, list[Any]] = {}
        self.captures = Captures()
        self._peers: set[tuple[int, int]] = set()
        self._contexts: dict[int, int] = {}
        self._clock = 0.0
        import threading

        self._thread = threading.local()
        self._launch_function = _LaunchFunction(self._launch)

    # ---- errors
    def plant(self, call: str, *codes: int) -> None:
        """Let the next calls fail so; 0 lets one pass."""
        self._planted[call].extend(codes)

    def forget_errors(self) -> None:
        """As if the process had been started again."""
        self.lost = 0
        self._planted.clear()

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        code = self.lost
        if not code and self._planted[name]:
            code = self._planted[name].popleft()
            if code in cu.STICKY:
                self.lost = code
        if code:
            raise self._error(code, name)

    def _error(self, code: int, call: str) -> DriverError:
        return DriverError(code, *_NAMES.get(code, (f"ERROR_{code}", "planted")), call)

    def describe(self, code: int) -> DriverError:
        return self._error(code, "cuLaunchKernelEx")

    def _in_context(self, name: str) -> int:
        self._called(name)
        context = getattr(self._thread, "context", 0)
        if not context:
            raise self._error(cu.INVALID_CONTEXT, name)
        return next(device for device, made in self._contexts.items() if made == context)

    @contextmanager
    def _captured(self, call: str) -> Iterator[None]:
        """What the rules of captures refuse is refused by the driver."""
        try:
            yield
        except CaptureError as error:
            raise self._error(error.code, call) from None

    def _unsafe(self, name: str) -> int:
        device = self._in_context(name)
        with self._captured(name):
            self.captures.unsafe()
        return device

    # ---- devices
    def device_count(self) -> int:
        return self.devices

    def driver_version(self) -> int:
        return self.version

    def device_name(self, device: int) -> str:
        return "Fake GPU"

    def device_uuid(self, device: int) -> bytes:
        return bytes(range(16))

    def device_bytes(self, device: int) -> int:
        return self.nbytes

    def device_attribute(self, device: int, attribute: int) -> int:
        known = {
            cu.CAPABILITY_MAJOR: self.capability // 10,
            cu.CAPABILITY_MINOR: self.capability % 10,
            cu.WARP_SIZE: 32,
            cu.MULTIPROCESSORS: 132,
            cu.SHARED_BYTES_OPTIN: 227 << 10,
        }
        return known.get(attribute, 1)

    def can_access_peer(self, device: int, peer: int) -> bool:
        return True

    def retain_context(self, device: int) -> int:
        self._called("retain_context")
        return self._contexts.setdefault(device, next(self._handles))

    def set_context(self, context: int) -> None:
        assert not context or context in self._contexts.values()
        self._thread.context = context

    def current_context(self) -> int:
        return int(getattr(self._thread, "context", 0))

    def enable_peer(self, context: int) -> None:
        pair = (self._in_context("enable_peer"), context)
        if pair in self._peers:
            raise self._error(cu.PEER_ACCESS_ALREADY_ENABLED, "cuCtxEnablePeerAccess")
        self._peers.add(pair)

    def synchronize(self) -> None:
        self._in_context("synchronize")
        with self._captured("cuCtxSynchronize"):
            self.captures.host_waits(None)
        self.progress()
        if self.lost:
            raise self._error(self.lost, "synchronize")

    def profiler(self, records: bool) -> None:
        self._in_context(f"profiler {records}")

    # ---- memory
    def memory_info(self) -> tuple[int, int]:
        device = self._in_context("memory_info")
        return self.nbytes - self._used(device), self.nbytes

    def _used(self, device: int) -> int:
        return sum(size for size, _, owner in self.allocations.values() if owner == device)

    def allocate(self, nbytes: int) -> int:
        device = self._unsafe("allocate")
        assert nbytes > 0
        if self._used(device) + nbytes > self.nbytes:
            raise self._error(cu.OUT_OF_MEMORY, "cuMemAlloc")
        address, memory = _mapped(nbytes)
        self.allocations[address] = (nbytes, memory, device)
        return address

    def free(self, address: int) -> None:
        self._unsafe("free")
        with self._captured("cuMemFree"):
            self.captures.host_waits(None)
        self.progress()  # cuMemFree waits
        del self.allocations[address]

    def allocate_pinned(self, nbytes: int) -> int:
        self._unsafe("allocate_pinned")
        if self.host_bytes < nbytes + sum(size for size, _ in self.pinned.values()):
            raise self._error(cu.OUT_OF_MEMORY, "cuMemHostAlloc")
        address, memory = _mapped(nbytes)
        self.pinned[address] = (nbytes, memory)
        return address

    def free_pinned(self, address: int) -> None:
        self._unsafe("free_pinned")
        del self.pinned[address]

    def _is_ours(self, address: int, nbytes: int) -> bool:
        return any(
            start <= address and address + nbytes <= start + entry[0]
            for table in (self.allocations, self.pinned)
            for start, entry in table.items()
        )

    def on_device(self, address: int, nbytes: int = 1) -> bool:
        """Whether these bytes are in one allocation of device memory."""
        return any(
            start <= address and address + nbytes <= start + size
            for start, (size, _, _) in self.allocations.items()
        )

    def copy(self, destination: int, source: int, nbytes: int, stream: int) -> None:
        self._in_context("copy")
        ours, theirs = self._is_ours(destination, nbytes), self._is_ours(source, nbytes)
        assert ours or theirs, "neither side of a copy is known to the driver"
        if self.captures.of(stream):  # a replay reads and writes whatever is there then
            self._add(stream, lambda: ctypes.memmove(destination, source, nbytes))
        elif not theirs:  # ordinary memory: read before the call returns
            data = ctypes.string_at(source, nbytes)
            self._add(stream, lambda: ctypes.memmove(destination, data, nbytes))
        else:
            self._add(stream, lambda: ctypes.memmove(destination, source, nbytes))
            if not ours:  # ordinary memory: written before the call returns
                self.progress(self._queue(stream))

    def fill(self, destination: int, value: int, nbytes: int, stream: int) -> None:
        self._in_context("fill")
        self._add(stream, lambda: ctypes.memset(destination, value, nbytes))

    def poison(self, address: int, nbytes: int, value: int, stream: int) -> None:
        """Let memory that is about to be given away hold garbage, in the order of the stream."""
        self._add(stream, lambda: ctypes.memset(address, value, nbytes))

    def pointer_attribute(self, attribute: int, address: int) -> int:
        self._in_context("pointer_attribute")
        for start, (size, _, device) in self.allocations.items():
            if start <= address < start + size:
                return {cu.POINTER_DEVICE: device}.get(attribute, 2)
        for start, (size, _) in self.pinned.items():
            if start <= address < start + size:
                return {cu.POINTER_DEVICE: 0}.get(attribute, cu.MEMORY_OF_HOST)
        raise self._error(cu.INVALID_VALUE, "cuPointerGetAttribute")

    # ---- streams and events
    def _add(self, stream: int, work: Any) -> None:
        with self._captured("work on a stream"):
            if self.captures.add(stream, work):
                return
        queue = self._queue(stream)
        self._queues[queue].append(work)
        if not self.lazy:
            self.progress(queue)

    def _queue(self, stream: int) -> int:
        """Of the stream, which must be one of the current context; default streams have the
        negative number of their device.
        """
        context = getattr(self._thread, "context", 0)
        device = next(device for device, made in self._contexts.items() if made == context)
        if not stream:
            return -device
        if self._streams.get(stream) != device:
            raise self._error(cu.INVALID_HANDLE, "work on a stream")
        return stream

    def progress(self, stream: int | None = None) -> None:
        """Do the work that waits, of all streams or of one and those it waits for."""
        for one in list(self._queues) if stream is None else [stream]:
            queue = self._queues[one]
            while queue:
                work = queue.popleft()
                if isinstance(work, _Event):
                    if not work.done:
                        self.progress(work.stream)
                else:
                    work()

    def create_stream(self, flags: int, priority: int) -> int:
        device = self._in_context("create_stream")
        stream = next(self._handles)
        self._streams[stream] = device
        return stream

    def destroy_stream(self, stream: int) -> None:
        """As its owner does, who may be another library."""
        del self._streams[stream]

    def synchronize_stream(self, stream: int) -> None:
        self._in_context("synchronize_stream")
        with self._captured("cuStreamSynchronize"):
            self.captures.host_waits(stream)
        self.progress(self._queue(stream))
        if self.lost:
            raise self._error(self.lost, "cuStreamSynchronize")

    def stream_is_done(self, stream: int) -> bool:
        self._in_context("stream_is_done")
        with self._captured("cuStreamQuery"):
            self.captures.host_waits(stream)
        return not self._queues[self._queue(stream)]

    def stream_waits(self, stream: int, event: int) -> None:
        self._in_context("stream_waits")
        self.waits.append((stream, event))
        with self._captured("cuStreamWaitEvent"):
            if self.captures.wait(stream, self._events[event].mark):
                return
        self._add(stream, self._events[event])

    def stream_priorities(self) -> tuple[int, int]:
        return 0, -5

    def create_event(self, flags: int) -> int:
        device = self._in_context("create_event")
        event = next(self._handles)
        self._events[event] = _Event(flags, device)
        return event

    def destroy_event(self, event: int) -> None:
        del self._events[event]

    def record_event(self, event: int, stream: int) -> None:
        device = self._in_context("record_event")
        found = self._events[event]
        if found.device != device:
            raise self._error(cu.INVALID_HANDLE, "cuEventRecord")
        found.mark = self.captures.mark(stream)
        if found.mark is not None:
            return
        found.done, found.stream = False, self._queue(stream)

        def passed() -> None:
            self._clock += 0.5
            found.done, found.time = True, self._clock

        self._add(stream, passed)

    def event_is_done(self, event: int) -> bool:
        self._unsafe("event_is_done")
        return self._event(event).done

    def _event(self, event: int) -> _Event:
        if self._events[event].mark is not None:
            raise self._error(CAPTURED_EVENT, "an event")
        return self._events[event]

    def synchronize_event(self, event: int) -> None:
        self._in_context("synchronize_event")
        found = self._event(event)
        if not found.done:
            self.progress(found.stream)
        assert found.done

    def elapsed_ms(self, start: int, end: int) -> float:
        first, last = self._event(start), self._event(end)
        assert not (first.flags | last.flags) & cu.EVENT_DISABLE_TIMING
        if not (first.done and last.done):
            raise self._error(cu.NOT_READY, "cuEventElapsedTime")
        return last.time - first.time

    # ---- kernels
    def load_library(self, code: bytes) -> int:
        self._unsafe("load_library")
        library = next(self._handles)
        self._libraries[library] = code
        return library

    def find_kernel(self, library: int, name: str) -> int:
        code = self._libraries[library]
        if self._sizes is not None:
            known, sizes = self._sizes(code)
            assert known == name
        else:
            sizes = [size for _, size in cubin.kernels(code)[name].parameters]
        handle = next(self._handles)
        self._kernels[handle] = _Kernel(name, sizes, code)
        return handle

    def set_kernel_attribute(self, kernel: int, attribute: int, value: int, device: int) -> None:
        self._kernels[kernel].attributes[attribute, device] = value

    def kernel_attribute(self, kernel: int, attribute: int, device: int) -> int:
        return self._kernels[kernel].attributes[attribute, device]

    def entry_point(self, name: str) -> int:
        assert name == "cuLaunchKernelEx"
        return ctypes.cast(self._launch_function, ctypes.c_void_p).value or 0

    def _launch(self, config: Any, function: int, values: Any, extra: int | None) -> int:
        self.calls["launch"] += 1
        context = getattr(self._thread, "context", 0)
        if self.lost:
            return self.lost
        if not context:
            return cu.INVALID_CONTEXT
        if self._planted["launch"]:
            code = self._planted["launch"].popleft()
            if code:
                return code
        assert extra is None
        c, kernel = config.contents, self._kernels[function]
        limit = kernel.attributes.get((cu.MAX_DYNAMIC_SHARED, 0), 48 << 10)
        if c.sharedMemBytes > limit:
            return cu.INVALID_VALUE
        attributes = {}
        for at in range(c.numAttrs):
            raw = ctypes.string_at(c.attrs + at * ATTRIBUTE_BYTES, ATTRIBUTE_BYTES)
            attributes[int.from_bytes(raw[:4], "little")] = raw[8:]
        launched = Launched(
            kernel.name,
            (c.gridDimX, c.gridDimY, c.gridDimZ),
            (c.blockDimX, c.blockDimY, c.blockDimZ),
            c.sharedMemBytes,
            c.hStream or 0,
            attributes,
            [ctypes.string_at(values[at], size) for at, size in enumerate(kernel.sizes)],
            next(device for device, made in self._contexts.items() if made == context),
        )
        self.launches.append(launched)

        def work() -> None:
            if self._planted["kernel"]:  # fails while it runs
                code = self._planted["kernel"].popleft()
                if code:
                    self.lost = code
                    return
            if self._run is not None and not self.lost:
                self._run(kernel.code, launched)

        try:
            self._add(launched.stream, work)
        except DriverError as error:
            return error.code
        return 0

    def encode_tensor_map(
        self, data_type: int, address: int, shape: Sequence[int], strides: Sequence[int],
        box: Sequence[int], swizzle: int, fill_nan: bool,
    ) -> bytes:  # fmt: skip
        self.tensor_maps.append(
            (data_type, address, list(shape), list(strides), list(box), swizzle, fill_nan)
        )
        return address.to_bytes(8, "little").ljust(128, b"\xaa")

    # ---- graphs
    def begin_capture(self, stream: int, mode: int) -> None:
        self._in_context("begin_capture")
        with self._captured("cuStreamBeginCapture"):
            self.captures.begin(stream, mode)

    def end_capture(self, stream: int) -> int:
        self._in_context("end_capture")
        with self._captured("cuStreamEndCapture"):
            nodes = self.captures.end(stream)
        graph = next(self._handles)
        self._graphs[graph] = nodes
        return graph

    def is_capturing(self, stream: int) -> bool:
        return self.captures.of(stream) is not None

    def exchange_capture_mode(self, mode: int) -> int:
        return self.captures.exchange(mode)

    def instantiate_graph(self, graph: int) -> int:
        executable = next(self._handles)
        self._graphs[executable] = list(self._graphs[graph])
        return executable

    def launch_graph(self, executable: int, stream: int) -> None:
        self._in_context("launch_graph")
        for work in self._graphs[executable]:
            self._add(stream, work)

    def destroy_graph(self, graph: int) -> None:
        del self._graphs[graph]

    def destroy_executable(self, executable: int) -> None:
        self._unsafe("destroy_executable")
        del self._graphs[executable]

    def graph_nodes(self, graph: int) -> int:
        return len(self._graphs[graph])


def _mapped(nbytes: int) -> tuple[int, mmap.mmap]:
    memory = mmap.mmap(-1, nbytes)
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)), memory
