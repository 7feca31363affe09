"""NVIDIA GPUs as a target: one object for all devices; work goes to the thread's current one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tritorch.config import config
from tritorch.errors import DeviceError
from tritorch.kernel_source import KernelSource
from tritorch.runtime import recording
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda import pointers
from tritorch.runtime.cuda.allocator import SMALL_MAX, Block, CachingAllocator, rounded
from tritorch.runtime.cuda.allowances import allow
from tritorch.runtime.cuda.code import KernelCode, LaunchFacts, compile_cubin
from tritorch.runtime.cuda.current import Current
from tritorch.runtime.cuda.driver import Driver, DriverError, relaxed
from tritorch.runtime.cuda.faults import ErrorCells, translated
from tritorch.runtime.cuda.free_lists import FreeLists
from tritorch.runtime.cuda.graphs import Capture, StreamGraph
from tritorch.runtime.cuda.launcher import Launcher, aligned_places, scratch_bytes
from tritorch.runtime.cuda.launches import drawing, without_last
from tritorch.runtime.cuda.one_device import OneDevice
from tritorch.runtime.cuda.pinned import PinnedBlock, PinnedMemory
from tritorch.runtime.cuda.properties import DeviceProperties, properties_of
from tritorch.runtime.cuda.quick import QuickLists
from tritorch.runtime.cuda.staging import Staging
from tritorch.runtime.storage import FreeList
from tritorch.runtime.target import Kernel, KernelTable, Later, Launch, Target

_FORKED = (
    "cuda: this process is a fork of one that used the GPU (is_available() is enough), and CUDA "
    "does not survive a fork. Start workers with multiprocessing's 'spawn' or 'forkserver', or use "
    "the GPU in the parent only after they were started."
)


class CUDATarget:
    """Memory, kernels and launches on NVIDIA GPUs (see `Target`).

    Args:
        driver: what talks to the devices.
        compile_code: makes a kernel's code (see `compile_cubin`); tests have another one.
    """

    name = "cuda"

    def __init__(
        self, driver: Driver, compile_code: Callable[..., KernelCode] = compile_cubin
    ) -> None:
        self.driver = driver
        self._compile_code = compile_code
        self.current = Current(driver)
        self._thread = self.current.thread
        self._blocks: dict[int, Block] = {}
        self._allocators: dict[int, CachingAllocator] = {}
        self._staging: dict[int, Staging] = {}
        self._properties: dict[int, DeviceProperties] = {}
        self._facts: dict[int, LaunchFacts] = {}
        self._options: dict[int, Mapping[str, Any]] = {}
        self.pinned = PinnedMemory(driver)
        self.cells = ErrorCells(driver)
        self._kernels = KernelTable(self._build)
        self._launcher = Launcher(
            driver.entry_point("cuLaunchKernelEx"), self.current.stream_key, self._refused
        )
        self._forked = False
        #: tracing puts itself between a plan and its launch
        self.on_bind: Callable[[Kernel, Launch], Launch] | None = None
        self._long_lists = self.new_free_lists(self.allocate)
        self.free_lists: dict[int, FreeList] = FreeLists(self.allocate, self._free, self._short)
        self._each: dict[int, OneDevice] = {}
        os.register_at_fork(after_in_child=self._after_fork_in_child)

    # ---- one of several devices
    def of_device(self, index: int) -> Target:
        """The target of tensors on this device; the whole one where there is no other.

        Raises:
            DeviceError: there is no such device.
        """
        if self.current.count == 1 and index == 0:
            return self
        found = self._each.get(index)
        if found is None:
            self.properties(index)  # whether there is one
            found = self._each.setdefault(index, OneDevice(self, index))
        return found

    @contextmanager
    def on(self, device: int) -> Iterator[None]:
        """Let this thread work on a device for the length of a block."""
        thread = self._thread
        if thread.device == device:
            if self.current.away():
                with self.current.in_context(device):
                    yield
            else:
                yield
            return
        if self._forked:
            raise DeviceError(_FORKED)
        before, ready = thread.device, thread.ready
        try:
            self.current.set_device(device)
            yield
        except DriverError as error:
            raise self.translated(error) from error
        finally:
            self.current.go_back(before, ready)

    def set_device(self, device: int) -> None:
        """Let this thread work on a device from now on; the one before gets no context by it."""
        if self._forked:
            raise DeviceError(_FORKED)
        try:
            self.current.set_device(device)
        except DriverError as error:
            raise self.translated(error) from error

    def new_free_lists(self, allocate: Callable[[int], int]) -> dict[int, FreeList]:
        """Free lists whose blocks `allocate` gives."""
        return FreeLists(allocate, self._free)

    # ---- errors
    def _after_fork_in_child(self) -> None:
        self._forked = True  # cuInit was called, whether or not there is a context
        self._thread.ready = False

    def _enter(self) -> None:
        """Make the driver usable in this thread."""
        if self._forked:
            raise DeviceError(_FORKED)
        if not self._thread.ready:
            self.current.enter()

    def translated(self, error: DriverError, certain: bool = False) -> Exception:
        """The user's error for a driver's."""
        return translated(error, self._launcher.recent(), certain)

    @contextmanager
    def calling(self) -> Iterator[Driver]:
        """The driver, ready for this thread; its errors leave the block as the user's."""
        self._enter()
        try:
            yield self.driver
        except DriverError as error:
            raise self.translated(error) from error

    def _refused(self, code: int, name: str) -> bool:
        """What a launch asks that the driver did not take: try again, or raise."""
        if self._forked or (code == cu.INVALID_CONTEXT and not self._thread.ready):
            with self.calling():
                return True
        if code == cu.OUT_OF_MEMORY and self._given_back():
            return True  # local memory of the kernel: more of it is free now
        error = self.driver.describe(code)
        if code in cu.STICKY:
            raise self.translated(error) from error
        raise self.translated(
            DriverError(code, error.name, f"{error.text}, launching {name}", error.call)
        ) from error

    def discard(
        self, call: str, handle: int, finalizing: Callable[[], bool] = sys.is_finalizing
    ) -> None:
        """Destroy something at the end of its owner, when nobody can hear of errors any more.

        When Python ends, modules are half gone, and the process gives everything back anyway.
        """
        if not (self._forked or finalizing()):
            with suppress(DriverError):
                if not self._thread.ready:
                    self.current.enter()
                getattr(self.driver, call)(handle)

    def new_graph(self) -> StreamGraph:
        """A graph that records the work of a stream and replays it."""
        return StreamGraph(self)

    def discard_graph(
        self, capture: Capture, finalizing: Callable[[], bool] = sys.is_finalizing
    ) -> None:
        """The same for a graph."""
        if not (self._forked or finalizing()):
            with suppress(DriverError):
                capture.reset()

    # ---- memory
    def allocator(self, device: int | None = None) -> CachingAllocator:
        """The allocator of a device; the current one for None."""
        index = self._thread.device if device is None else device
        found = self._allocators.get(index)
        if found is None:
            made = CachingAllocator(self.driver, index, self._blocks)
            if self.current.count == 1:  # else the thread's device would have to be looked at
                made.lists = QuickLists(
                    made.figures.address, self.current.stream_key, self._free_short, rounded
                )
            found = self._allocators.setdefault(index, made)
        return found

    def allocate(self, nbytes: int) -> int:
        """Memory of the current device, for use on the current stream (see `Target`)."""
        thread = self._thread
        if not nbytes:
            return 0
        if not thread.ready:
            self._enter()
        try:
            return self.allocator(thread.device).allocate(nbytes, thread.stream)
        except DriverError as error:
            raise self.translated(error) from error

    def free(self, address: int, nbytes: int) -> None:
        """Take back what `allocate(nbytes)` gave, once the device has done with it."""
        self._free(address)

    def _free(self, address: int) -> None:
        block = self._blocks.pop(address, None)
        if block is None or self._forked:
            return
        if block.used_on is None:
            block.allocator.free(block)
        else:  # events of its device are recorded
            with suppress(DriverError), self.current.in_context(block.allocator.device):
                block.allocator.free(block)

    def _free_short(self, address: int, nbytes: int) -> None:
        """Take back what the short way gave for a request of `nbytes`."""
        self._blocks[address].requested = nbytes
        self._free(address)

    def free_list(self, nbytes: int) -> FreeList:
        """Where blocks of `nbytes` go when they are free."""
        return self._long_lists[nbytes]

    def _short(self, nbytes: int) -> FreeList | None:
        """The short way of small blocks."""
        lists = self.allocator(0).lists
        return lists.of(nbytes) if lists is not None and 0 < nbytes <= SMALL_MAX else None

    def record_stream(self, address: int, stream: int) -> None:
        """The memory at `address` is used on another stream than it was asked for on."""
        block = self._blocks.get(address)
        if block is not None:
            block.allocator.record_stream(block, stream)

    def empty_cache(self) -> None:
        """Give free memory of all devices, and free page-locked memory, back to the driver."""
        if not self.current.started:
            return
        with self.calling():
            self.pinned.empty_cache()
            for device, allocator in list(self._allocators.items()):
                with self.on(device):
                    allocator.empty_cache()

    def device_of(self, address: int) -> int:
        """The number of the device whose memory this is, whoever allocated it.

        Raises:
            ValueError: no device's.
        """
        with self.calling() as driver:
            return pointers.device_of(driver, address)

    def is_pinned(self, address: int) -> bool:
        """Whether this is page-locked memory of the host, ours or another library's."""
        if self.pinned.contains(address):
            return True
        if not self.current.started or self._forked:
            return False
        with self.calling() as driver:
            return pointers.is_pinned(driver, address)

    def pin(self, nbytes: int) -> PinnedBlock:
        """Page-locked host memory."""
        with self.calling():
            return PinnedBlock(self.pinned, nbytes)

    # ---- copies
    def copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy within the current device's memory, in the order of the stream."""
        if nbytes:
            with self.calling() as driver:
                driver.copy(destination, source, nbytes, self._thread.stream)

    def copy_between(
        self, devices: tuple[int, int], destination: int, source: int, nbytes: int
    ) -> None:
        """Copy from one device to another, in the order of this thread's streams on both.

        Args:
            devices: those of the destination and of the source.
        """
        if nbytes:
            here, there = (self.current.stream_of(device)[0] for device in devices)
            self.order(there, here, devices[::-1])
            with self.on(devices[0]), self.calling() as driver:
                driver.copy(destination, source, nbytes, here)
            self.order(here, there, devices)

    def _stage(self) -> Staging:
        device = self._thread.device
        found = self._staging.get(device)
        if found is None:
            made = Staging(self.driver, self.pinned, device)
            found = self._staging.setdefault(device, made)
        return found

    def _recorder(self) -> StreamGraph | None:
        """The graph that records what this thread asks of its stream now."""
        if not recording.device_graphs:
            return None
        found: StreamGraph | None = recording.device_graphs.get(threading.get_ident())
        if found is None and (stream := self._thread.stream):
            with self.calling() as driver:
                if driver.is_capturing(stream):  # it joined what another thread records
                    found = next(iter(recording.device_graphs.values()), None)
        return found

    def upload(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """Copy from the host's memory (see `Staging`, and `StreamGraph` while a graph records)."""
        if nbytes:
            recorder = self._recorder()
            with self.calling():
                if recorder is not None:
                    recorder.upload(destination, source, nbytes)
                    return
                self._stage().upload(destination, source, nbytes, self._thread.stream, non_blocking)

    def download(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """Copy to the host's memory.

        Raises:
            BoundsError: a kernel before it met a wrong index (unless `non_blocking`).
        """
        if nbytes:
            recorder = self._recorder()
            with self.calling():
                if recorder is not None:
                    recorder.download(destination, source, nbytes, non_blocking)
                    return
                self._stage().download(
                    destination, source, nbytes, self._thread.stream, non_blocking
                )
            if not non_blocking:
                self.cells.check()

    # ---- waiting
    def synchronize(self) -> None:
        """Wait for all work of the current device.

        Raises:
            BoundsError: a kernel met a wrong index.
        """
        self._may_wait()
        with self.calling() as driver:
            driver.synchronize()
        self.cells.check()

    def _may_wait(self) -> None:
        recorder = self._recorder()
        if recorder is not None:
            recorder.refuse("the host cannot wait")

    def synchronize_stream(self, stream: int) -> None:
        """Wait for the work of one stream; raises as `synchronize` does."""
        self._may_wait()
        with self.calling() as driver:
            driver.synchronize_stream(stream)
        self.cells.check()

    def synchronize_event(self, event: int) -> None:
        """Wait for what was asked before an event; raises as `synchronize` does."""
        self._may_wait()
        with self.calling() as driver:
            driver.synchronize_event(event)
        self.cells.check()

    def order(self, first: int, then: int, devices: tuple[int, int] | None = None) -> None:
        """Let a stream wait for what was asked of another one so far; the host does not wait.

        Args:
            devices: those of the streams; None: both are of the current one.
        """
        one, other = devices or (self._thread.device, self._thread.device)
        if first == then and one == other:
            return
        with self.on(one), self.calling() as driver:
            event = driver.create_event(cu.EVENT_DISABLE_TIMING)
            driver.record_event(event, first)
        with self.on(other), self.calling() as driver:
            driver.stream_waits(then, event)
            driver.destroy_event(event)  # the driver keeps it as long as it is needed

    def error_cell(self, message: str) -> int:
        """Where a kernel may leave a wrong index (see `ErrorCells.cell`)."""
        with self.calling():
            return self.cells.cell(message)

    # ---- devices
    def properties(self, device: int | None = None) -> DeviceProperties:
        """Of a device; the current one for None."""
        index = self._thread.device if device is None else device
        found = self._properties.get(index)
        if found is None:
            if not 0 <= index < self.current.count:
                raise DeviceError(
                    f"cuda: invalid device ordinal {index}: there are {self.current.count} devices."
                )
            try:
                found = properties_of(self.driver, index)
            except DriverError as error:
                raise self.translated(error) from error
            self._properties[index] = found
        return found

    def capability_of(self, device: int | None) -> int:
        """90 is sm_90."""
        facts = self.properties(device)
        return facts.major * 10 + facts.minor

    def identity_of(self, device: int | None) -> str:
        """A device's name and capability."""
        return f"{self.properties(device).name}-sm_{self.capability_of(device)}"

    @property
    def capability(self) -> int:
        """Of the current device."""
        return self.capability_of(None)

    @property
    def multiprocessors(self) -> int:
        """Of the current device."""
        return self.properties().multi_processor_count

    @property
    def identity(self) -> str:
        """Of the current device."""
        return self.identity_of(None)

    # ---- kernels
    def compile(
        self,
        source: KernelSource | Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> Kernel:
        """The kernel for these types, constants and the current device's capability.

        Raises:
            CompileError: Triton refuses it.
        """
        options = {**(options or {}), "capability": self.capability}
        return self._kernels.get(source, signature, constants, options)

    def _build(
        self,
        source: KernelSource | Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        options: Mapping[str, Any] | None,
    ) -> Kernel:
        rest = dict(options or {})
        code = self._compile_code(source, signature, constants, rest.pop("capability"), rest)
        with self.calling() as driver, relaxed(driver):
            entry = driver.find_kernel(self._loaded(code.cubin), code.name)
            for device in range(self.current.count):
                if self.capability_of(device) == self.capability:
                    allow(driver, entry, code, self.properties(device), device)
        self._facts[entry] = code.facts
        self._options[entry] = rest
        return Kernel(
            name=code.name,
            source=source,
            signature=signature,
            constants=constants,
            parameter_types=code.parameter_types,
            entry=entry,
            from_cache=code.from_cache,
            compile_seconds=code.compile_seconds,
        )

    def _loaded(self, cubin: bytes) -> int:
        """The driver's library of this code; memory for it may come out of the cache."""
        try:
            return self.driver.load_library(cubin)
        except DriverError as error:
            if error.code != cu.OUT_OF_MEMORY or not self._given_back():
                raise
            return self.driver.load_library(cubin)

    def _given_back(self) -> int:
        """Bytes that the current device's allocator gave back to the driver just now."""
        allocator = self.allocator()
        before = allocator.reserved
        allocator.empty_cache()
        return before - allocator.reserved

    def facts(self, kernel: Kernel) -> LaunchFacts:
        """What a launch of it needs."""
        return self._facts[kernel.entry]

    def kernels(self) -> tuple[Kernel, ...]:
        """Every kernel so far, oldest first."""
        return self._kernels.all()

    def bind(
        self,
        kernel: Kernel,
        grid: Sequence[int],
        values: Sequence[Any],
        *,
        work: float | None = None,
        otherwise: Launch | None = None,
    ) -> Launch:
        """A launch on the current stream, with everything fixed but the values that are None.

        A launch returns before its programs have run.

        Args:
            work: for processors.
            otherwise: takes the values in place of this launch where the signature promises
                aligned addresses ("*fp32:16") and gets others; None: the same kernel without that
                promise.
        """
        launch = self._bound(kernel, grid, values, otherwise)
        if "seed" in kernel.signature and "offset" in kernel.signature:
            launch = drawing(kernel, values, launch)
        if config.launch_blocking:
            launch = self._waited_for(launch)
        return launch if self.on_bind is None else self.on_bind(kernel, launch)

    def _bound(
        self, kernel: Kernel, grid: Sequence[int], values: Sequence[Any], otherwise: Launch | None
    ) -> Launch:
        facts = self._facts[kernel.entry]
        scratch = scratch_bytes(facts, grid)
        if aligned_places(kernel.signature, values):
            if otherwise is None:
                otherwise = Later(lambda: self._bound(self._unaligned(kernel), grid, values, None))
            if scratch:
                otherwise = without_last(otherwise)
        launch = self._launcher.bind(kernel, facts, grid, values, otherwise)
        return self._with_scratch(launch, scratch) if scratch else launch

    def _unaligned(self, kernel: Kernel) -> Kernel:
        """The same kernel for addresses that are multiples of their elements' size only."""
        signature = {
            name: kind.partition(":")[0] if kind.startswith("*") else kind
            for name, kind in kernel.signature.items()
        }
        return self.compile(kernel.source, signature, kernel.constants, self._options[kernel.entry])

    def _with_scratch(self, launch: Launch, nbytes: int) -> Launch:
        """Descriptors that a kernel makes itself are in global memory, anew for each launch."""
        allocate, free = self.allocate, self._free

        def with_scratch(*values: Any) -> None:
            address = allocate(nbytes)
            try:
                launch(*values, address)
            finally:
                free(address)

        return with_scratch

    def _waited_for(self, launch: Launch) -> Launch:
        def waited_for(*values: Any) -> None:
            launch(*values)
            if self._recorder() is not None:
                return
            try:
                self.driver.synchronize()
            except DriverError as error:
                raise self.translated(error, certain=True) from error
            self.cells.check()

        return waited_for
