"""What the runtime asks of CUDA's driver: the protocol `Driver`, its error, its numbers by name.

Handles (contexts, streams, events, kernels, graphs) and addresses are ints; stream 0 is the default
stream of the current context. Every method raises `DriverError` when the driver refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

# CUresult
INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
DEINITIALIZED = 4
NO_DEVICE = 100
INVALID_CONTEXT = 201
INVALID_HANDLE = 400
NOT_FOUND = 500
NOT_READY = 600
PEER_ACCESS_ALREADY_ENABLED = 704
TOO_MANY_PEERS = 711
STREAM_CAPTURE_UNJOINED = 904
ILLEGAL_ADDRESS = 700
LAUNCH_OUT_OF_RESOURCES = 701
LAUNCH_TIMEOUT = 702
ASSERT = 710
ILLEGAL_INSTRUCTION = 715
MISALIGNED_ADDRESS = 716
LAUNCH_FAILED = 719
#: after one of these the context is lost: every later call fails with the same
STICKY = frozenset(
    (
        214,  # memory that cannot be corrected
        220,  # the same on NVLink
        226,  # contained by the device
        ILLEGAL_ADDRESS,
        LAUNCH_TIMEOUT,
        ASSERT,
        714,
        ILLEGAL_INSTRUCTION,
        MISALIGNED_ADDRESS,
        717,
        718,
        LAUNCH_FAILED,
        721,  # memory of tensor cores was kept
    )
)

# CUdevice_attribute
MAX_THREADS_PER_BLOCK = 1
MAX_GRID_Y = 6
WARP_SIZE = 10
CLOCK_KHZ = 13
MULTIPROCESSORS = 16
INTEGRATED = 18
MEMORY_CLOCK_KHZ = 36
MEMORY_BUS_BITS = 37
L2_BYTES = 38
MAX_THREADS_PER_MULTIPROCESSOR = 39
CAPABILITY_MAJOR = 75
CAPABILITY_MINOR = 76
SHARED_BYTES_PER_MULTIPROCESSOR = 81
REGISTERS_PER_MULTIPROCESSOR = 82
SHARED_BYTES_PER_BLOCK = 8
SHARED_BYTES_OPTIN = 97

# CUfunction_attribute
LOCAL_BYTES = 3
REGISTERS = 4
MAX_DYNAMIC_SHARED = 8
SHARED_CARVEOUT = 9
NON_PORTABLE_CLUSTER = 14

# CUpointer_attribute, and a CUmemorytype
POINTER_MEMORY_TYPE = 2
POINTER_DEVICE = 9
MEMORY_OF_HOST = 1

# CUlaunchAttributeID
COOPERATIVE = 2
CLUSTER_DIMENSION = 4
CLUSTER_SCHEDULING = 5
PROGRAMMATIC_SERIALIZATION = 6
#: CU_CLUSTER_SCHEDULING_POLICY_SPREAD
SPREAD = 1

# Flags
STREAM_NON_BLOCKING = 1
EVENT_BLOCKING_SYNC = 1
EVENT_DISABLE_TIMING = 2
HOST_PORTABLE = 1
HOST_MAPPED = 2

# CUstreamCaptureMode
CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, CAPTURE_RELAXED = range(3)


class DriverError(Exception):
    """A call of the driver that failed.

    Attributes:
        code: CUresult.
        name: such as `CUDA_ERROR_ILLEGAL_ADDRESS`.
        call: the function that returned it.
    """

    def __init__(self, code: int, name: str, text: str, call: str) -> None:
        super().__init__(f"{call}: {name} ({code}): {text}")
        self.code = code
        self.name = name
        self.text = text
        self.call = call


class Driver(Protocol):
    """The part of the driver API that the runtime uses; see the module."""

    def describe(self, code: int) -> DriverError:
        """The error of a CUresult that somebody else got, for `cuLaunchKernelEx`."""
        ...

    # ---- devices
    def device_count(self) -> int: ...

    def driver_version(self) -> int:
        """As CUDA counts: 13000 is 13.0."""
        ...

    def device_name(self, device: int) -> str: ...

    def device_uuid(self, device: int) -> bytes: ...

    def device_bytes(self, device: int) -> int:
        """The device's memory in all."""
        ...

    def device_attribute(self, device: int, attribute: int) -> int: ...

    def can_access_peer(self, device: int, peer: int) -> bool: ...

    def retain_context(self, device: int) -> int:
        """The device's primary context."""
        ...

    def set_context(self, context: int) -> None:
        """Make it the current one of this thread."""
        ...

    def current_context(self) -> int:
        """The one of this thread; 0 for none."""
        ...

    def enable_peer(self, context: int) -> None:
        """Let the current context reach the memory of another one."""
        ...

    def synchronize(self) -> None:
        """Wait for all work of the current context."""
        ...

    def profiler(self, records: bool) -> None:
        """Let NVIDIA's profilers record from now on, or no more."""
        ...

    # ---- memory
    def memory_info(self) -> tuple[int, int]:
        """Free bytes and all bytes of the current device."""
        ...

    def allocate(self, nbytes: int) -> int: ...

    def free(self, address: int) -> None: ...

    def allocate_pinned(self, nbytes: int) -> int:
        """Page-locked host memory that all devices reach under the same address."""
        ...

    def free_pinned(self, address: int) -> None: ...

    def copy(self, destination: int, source: int, nbytes: int, stream: int) -> None:
        """Between any two places, in the order of the stream."""
        ...

    def fill(self, destination: int, value: int, nbytes: int, stream: int) -> None:
        """Set bytes, in the order of the stream."""
        ...

    def pointer_attribute(self, attribute: int, address: int) -> int:
        """What the driver knows of an address; INVALID_VALUE where it knows nothing."""
        ...

    # ---- streams and events
    def create_stream(self, flags: int, priority: int) -> int: ...

    def synchronize_stream(self, stream: int) -> None: ...

    def stream_is_done(self, stream: int) -> bool: ...

    def stream_waits(self, stream: int, event: int) -> None: ...

    def stream_priorities(self) -> tuple[int, int]:
        """The least and the greatest (which is the smaller number)."""
        ...

    def create_event(self, flags: int) -> int: ...

    def destroy_event(self, event: int) -> None: ...

    def record_event(self, event: int, stream: int) -> None: ...

    def event_is_done(self, event: int) -> bool: ...

    def synchronize_event(self, event: int) -> None: ...

    def elapsed_ms(self, start: int, end: int) -> float: ...

    # ---- kernels
    def load_library(self, code: bytes) -> int: ...

    def find_kernel(self, library: int, name: str) -> int: ...

    def set_kernel_attribute(
        self, kernel: int, attribute: int, value: int, device: int
    ) -> None: ...

    def kernel_attribute(self, kernel: int, attribute: int, device: int) -> int: ...

    def entry_point(self, name: str) -> int:
        """The address of a function of the driver."""
        ...

    def encode_tensor_map(
        self,
        data_type: int,
        address: int,
        shape: Sequence[int],
        strides: Sequence[int],
        box: Sequence[int],
        swizzle: int,
        fill_nan: bool,
    ) -> bytes:
        """The 128 bytes of a CUtensorMap; sizes from the fastest dimension on, strides in bytes
        without the fastest one's.
        """
        ...

    # ---- graphs
    def begin_capture(self, stream: int, mode: int) -> None: ...

    def end_capture(self, stream: int) -> int: ...

    def is_capturing(self, stream: int) -> bool: ...

    def exchange_capture_mode(self, mode: int) -> int:
        """What this thread may do while a stream captures; the former mode."""
        ...

    def instantiate_graph(self, graph: int) -> int: ...

    def launch_graph(self, executable: int, stream: int) -> None: ...

    def destroy_graph(self, graph: int) -> None: ...

    def destroy_executable(self, executable: int) -> None: ...

    def graph_nodes(self, graph: int) -> int:
        """How many nodes it has."""
        ...


@contextmanager
def relaxed(driver: Driver) -> Iterator[None]:
    """Calls that might wait for the device (for memory, code, events) although a stream captures.

    Without it they fail and spoil the capture, in this thread or in another one.
    """
    mode = driver.exchange_capture_mode(CAPTURE_RELAXED)
    try:
        yield
    finally:
        driver.exchange_capture_mode(mode)
