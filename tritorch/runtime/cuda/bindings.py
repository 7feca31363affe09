"""`Driver` over NVIDIA's cuda-bindings (12.9 and later, 13.x)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tritorch.errors import DeviceError
from tritorch.runtime.cuda.driver import (
    HOST_MAPPED,
    HOST_PORTABLE,
    NOT_FOUND,
    NOT_READY,
    DriverError,
)

_INSTALL = "Run pip install tritorch[cuda]"
#: the first with libraries of kernels for all devices (cuLibraryLoadData)
_OLDEST = 12000

#: CU_TENSOR_MAP_L2_PROMOTION_L2_128B
_PROMOTED_TO_128 = 2
#: cuTensorMapEncodeTiled: place, type, rank, address, sizes, strides, box, steps, and four enums
_ENCODE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p,
    *[ctypes.c_void_p] * 4, *[ctypes.c_int] * 4,
)  # fmt: skip


@cache
def _api() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise DeviceError(
            f"cuda: NVIDIA's package cuda-bindings is missing ({error}). {_INSTALL}. Use "
            "device='cpu' where there is no GPU."
        ) from None
    return driver


def load_driver() -> BindingsDriver:
    """The driver of this machine, with one device at least.

    Raises:
        DeviceError: no cuda-bindings, no driver, or no device; says which.
    """
    api = _api()
    try:
        (result,) = api.cuInit(0)
    except RuntimeError as error:  # cuda-bindings finds no libcuda
        raise DeviceError(
            f"cuda: no NVIDIA driver on this machine ({str(error).splitlines()[0]}). Use "
            "device='cpu'."
        ) from None
    if int(result) != 0:
        name, text = _describe(api, result)
        raise DeviceError(
            f"cuda: the driver does not start: {name}: {text}.{hidden_devices(os.environ)} Use "
            "device='cpu'."
        )
    driver = BindingsDriver(api)
    version = driver.driver_version()
    if version < _OLDEST:
        raise DeviceError(
            f"cuda: the NVIDIA driver is one for CUDA {version // 1000}.{version % 1000 // 10}; "
            f"{_OLDEST // 1000}.0 is the oldest that will do. Update it, or use device='cpu'."
        )
    if not driver.device_count():
        raise DeviceError(
            f"cuda: the driver finds no device.{hidden_devices(os.environ)} Use device='cpu'."
        )
    return driver


def hidden_devices(environment: Mapping[str, str]) -> str:
    """What an error says of devices that the environment hides; nothing if it hides none."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f" CUDA_VISIBLE_DEVICES is {chosen!r}."


def _describe(api: Any, result: Any) -> tuple[str, str]:
    """The name of a CUresult, and NVIDIA's words for it."""

    def text(function: Any) -> str:
        code, found = function(result)
        return found.decode() if int(code) == 0 and found else f"error {int(result)}"

    return text(api.cuGetErrorName), text(api.cuGetErrorString)


class BindingsDriver:
    """See `driver.Driver`; one method, one function of the driver."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._encode: Any = None

    def _call(self, name: str, *arguments: Any) -> Any:
        """What the function gives besides its result code: nothing, a value or a tuple."""
        result, *values = getattr(self._api, name)(*arguments)
        if int(result) != 0:
            raise DriverError(int(result), *_describe(self._api, result), name)
        return values[0] if len(values) == 1 else tuple(values)

    def _is_done(self, name: str, handle: int) -> bool:
        try:
            self._call(name, handle)
        except DriverError as error:
            if error.code == NOT_READY:
                return False
            raise
        return True

    def describe(self, code: int) -> DriverError:
        return self._error(code, "cuLaunchKernelEx")

    def _error(self, code: int, call: str) -> DriverError:
        try:
            found = _describe(self._api, self._api.CUresult(code))
        except ValueError:  # of a driver that is newer than cuda-bindings
            found = f"error {code}", "unknown to this version of cuda-bindings"
        return DriverError(code, *found, call)

    # ---- devices
    def device_count(self) -> int:
        return int(self._call("cuDeviceGetCount"))

    def driver_version(self) -> int:
        return int(self._call("cuDriverGetVersion"))

    def device_name(self, device: int) -> str:
        name: bytes = self._call("cuDeviceGetName", 256, device)
        return name.partition(b"\0")[0].decode()  # what follows the end is filled up

    def device_uuid(self, device: int) -> bytes:
        return bytes(self._call("cuDeviceGetUuid", device).bytes)

    def device_bytes(self, device: int) -> int:
        return int(self._call("cuDeviceTotalMem", device))

    def device_attribute(self, device: int, attribute: int) -> int:
        kind = self._api.CUdevice_attribute(attribute)
        return int(self._call("cuDeviceGetAttribute", kind, device))

    def can_access_peer(self, device: int, peer: int) -> bool:
        return bool(self._call("cuDeviceCanAccessPeer", device, peer))

    def retain_context(self, device: int) -> int:
        return int(self._call("cuDevicePrimaryCtxRetain", device))

    def set_context(self, context: int) -> None:
        self._call("cuCtxSetCurrent", context)

    def current_context(self) -> int:
        return int(self._call("cuCtxGetCurrent"))

    def enable_peer(self, context: int) -> None:
        self._call("cuCtxEnablePeerAccess", context, 0)

    def synchronize(self) -> None:
        self._call("cuCtxSynchronize")

    def profiler(self, records: bool) -> None:
        self._call("cuProfilerStart" if records else "cuProfilerStop")

    # ---- memory
    def memory_info(self) -> tuple[int, int]:
        free, total = self._call("cuMemGetInfo")
        return int(free), int(total)

    def allocate(self, nbytes: int) -> int:
        return int(self._call("cuMemAlloc", nbytes))

    def free(self, address: int) -> None:
        self._call("cuMemFree", address)

    def allocate_pinned(self, nbytes: int) -> int:
        return int(self._call("cuMemHostAlloc", nbytes, HOST_PORTABLE | HOST_MAPPED))

    def free_pinned(self, address: int) -> None:
        self._call("cuMemFreeHost", address)

    def copy(self, destination: int, source: int, nbytes: int, stream: int) -> None:
        self._call("cuMemcpyAsync", destination, source, nbytes, stream)

    def fill(self, destination: int, value: int, nbytes: int, stream: int) -> None:
        self._call("cuMemsetD8Async", destination, value, nbytes, stream)

    def pointer_attribute(self, attribute: int, address: int) -> int:
        kind = self._api.CUpointer_attribute(attribute)
        return int(self._call("cuPointerGetAttribute", kind, address))

    # ---- streams and events
    def create_stream(self, flags: int, priority: int) -> int:
        return int(self._call("cuStreamCreateWithPriority", flags, priority))

    def synchronize_stream(self, stream: int) -> None:
        self._call("cuStreamSynchronize", stream)

    def stream_is_done(self, stream: int) -> bool:
        return self._is_done("cuStreamQuery", stream)

    def stream_waits(self, stream: int, event: int) -> None:
        self._call("cuStreamWaitEvent", stream, event, 0)

    def stream_priorities(self) -> tuple[int, int]:
        least, greatest = self._call("cuCtxGetStreamPriorityRange")
        return int(least), int(greatest)

    def create_event(self, flags: int) -> int:
        return int(self._call("cuEventCreate", flags))

    def destroy_event(self, event: int) -> None:
        self._call("cuEventDestroy", event)

    def record_event(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", event, stream)

    def event_is_done(self, event: int) -> bool:
        return self._is_done("cuEventQuery", event)

    def synchronize_event(self, event: int) -> None:
        self._call("cuEventSynchronize", event)

    def elapsed_ms(self, start: int, end: int) -> float:
        return float(self._call("cuEventElapsedTime", start, end))

    # ---- kernels
    def load_library(self, code: bytes) -> int:
        return int(self._call("cuLibraryLoadData", code, [], [], 0, [], [], 0))

    def find_kernel(self, library: int, name: str) -> int:
        return int(self._call("cuLibraryGetKernel", library, name.encode()))

    def set_kernel_attribute(self, kernel: int, attribute: int, value: int, device: int) -> None:
        kind = self._api.CUfunction_attribute(attribute)
        self._call("cuKernelSetAttribute", kind, value, kernel, device)

    def kernel_attribute(self, kernel: int, attribute: int, device: int) -> int:
        kind = self._api.CUfunction_attribute(attribute)
        return int(self._call("cuKernelGetAttribute", kind, kernel, device))

    def entry_point(self, name: str) -> int:
        flags = self._api.CUdriverProcAddress_flags.CU_GET_PROC_ADDRESS_LEGACY_STREAM
        found = self._call("cuGetProcAddress", name.encode(), self.driver_version(), flags)
        address = int(found[0])
        if not address:
            raise DriverError(NOT_FOUND, "CUDA_ERROR_NOT_FOUND", name, "cuGetProcAddress")
        return address

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
        # Not through cuda-bindings: its CUtensorMap is not at a multiple of 64, as it must be.
        if self._encode is None:
            self._encode = _ENCODE(self.entry_point("cuTensorMapEncodeTiled"))
        rank = len(shape)
        place = (ctypes.c_char * 192)()
        aligned = -ctypes.addressof(place) % 64
        code = self._encode(
            ctypes.addressof(place) + aligned, data_type, rank, address,
            (ctypes.c_uint64 * rank)(*shape), (ctypes.c_uint64 * rank)(*strides),
            (ctypes.c_uint32 * rank)(*box), (ctypes.c_uint32 * rank)(*[1] * rank),
            0, swizzle, _PROMOTED_TO_128, int(fill_nan),
        )  # fmt: skip
        if code:
            raise self._error(code, "cuTensorMapEncodeTiled")
        return place.raw[aligned : aligned + 128]

    # ---- graphs
    def begin_capture(self, stream: int, mode: int) -> None:
        self._call("cuStreamBeginCapture", stream, self._api.CUstreamCaptureMode(mode))

    def end_capture(self, stream: int) -> int:
        return int(self._call("cuStreamEndCapture", stream))

    def is_capturing(self, stream: int) -> bool:
        return int(self._call("cuStreamIsCapturing", stream)) != 0

    def exchange_capture_mode(self, mode: int) -> int:
        kind = self._api.CUstreamCaptureMode(mode)
        return int(self._call("cuThreadExchangeStreamCaptureMode", kind))

    def instantiate_graph(self, graph: int) -> int:
        return int(self._call("cuGraphInstantiate", graph, 0))

    def launch_graph(self, executable: int, stream: int) -> None:
        self._call("cuGraphLaunch", executable, stream)

    def destroy_graph(self, graph: int) -> None:
        self._call("cuGraphDestroy", graph)

    def destroy_executable(self, executable: int) -> None:
        self._call("cuGraphExecDestroy", executable)

    def graph_nodes(self, graph: int) -> int:
        return int(self._call("cuGraphGetNodes", graph)[1])
