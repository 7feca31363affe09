"""A `libcuda.so.1` for NVIDIA's cuda-bindings to load where there is no driver.

The library is a file of 2 pages that this module writes: all it holds is `cuGetProcAddress_v2`,
which jumps to a function of this process. From there cuda-bindings gets C functions with the
prototypes of cuda.h (the one in Triton's wheel), which do what a `FakeDriver` does. So what is
tested through it is the true package: names, order and types of arguments, structures, results.

Both live as long as the process, and the process must not have asked for a driver before.
"""

from __future__ import annotations

import ctypes
import struct
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.runtime.cuda import cuda_header
from tests.runtime.cuda.fake_driver import FakeDriver
from tritorch.runtime.cuda.driver import NOT_READY, DriverError

_PAGE = 0x1000
_NAMES = b"\0cuGetProcAddress_v2\0slot\0libcuda.so.1\0"


def shared_object() -> bytes:
    """An ELF file for x86-64: one function that jumps to the address in `slot`."""
    symbols_at, names_at, hash_at, code_at = 0x200, 0x280, 0x300, 0x400
    slot_at, dynamic_at = _PAGE, _PAGE + 0x40

    def symbol(name: bytes, kind: int, section: int, value: int, size: int) -> bytes:
        return struct.pack("<IBBHQQ", _NAMES.index(name), 0x10 | kind, 0, section, value, size)

    symbols = bytes(24) + symbol(b"cuGetProcAddress_v2", 2, 1, code_at, 6)
    symbols += symbol(b"slot\0", 1, 2, slot_at, 8)
    table = struct.pack("<6I", 1, 3, 1, 0, 2, 0)  # one bucket: 1 -> 2 -> end
    code = b"\xff\x25" + struct.pack("<i", slot_at - (code_at + 6))  # jmp *slot(%rip)
    # DT_SONAME, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, the end
    entries = ((14, _NAMES.index(b"libcuda")), (4, hash_at), (5, names_at), (6, symbols_at))
    entries += ((10, len(_NAMES)), (11, 24), (0, 0))
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)

    def segment(kind: int, flags: int, at: int, nbytes: int, align: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, flags, at, at, at, nbytes, nbytes, align)

    headers = segment(1, 5, 0, _PAGE, _PAGE) + segment(1, 6, _PAGE, _PAGE, _PAGE)
    headers += segment(2, 6, dynamic_at, len(dynamic), 8) + segment(0x6474E551, 6, 0, 0, 16)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 4, 0, 0, 0)
    file = bytearray(2 * _PAGE)
    places = ((0, head), (64, headers), (symbols_at, symbols), (names_at, _NAMES))
    places += ((hash_at, table), (code_at, code), (dynamic_at, dynamic))
    for at, data in places:
        file[at : at + len(data)] = data
    return bytes(file)


def _put(place: int | None, kind: Any, value: Any) -> None:
    assert place, "a result is asked for at NULL"
    kind.from_address(place).value = value


def _put_bytes(place: int, data: bytes) -> None:
    ctypes.memmove(place, data, len(data))


class FakeLibrary:
    """The driver's C functions over a `FakeDriver`.

    Attributes:
        calls: (function, its arguments as C passed them), in order.
        failures: what went wrong in here; empty unless a test or the package is at fault.
    """

    def __init__(self, fake: FakeDriver, init: int = 0) -> None:
        self.fake = fake
        self._init = init  # what cuInit returns
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failures: list[str] = []
        self._kept: list[Any] = []
        prototypes = cuda_header.prototypes()
        self._addresses = {
            name: self._function(name, prototypes.get(name, []), does)
            for name, does in self._functions().items()
        }
        self._addresses["cuLaunchKernelEx"] = fake.entry_point("cuLaunchKernelEx")
        # As cuda-bindings finds it: under its own name, and not for the versions of streams.
        asked = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64,
            ctypes.c_void_p,
        )  # fmt: skip
        self._entry = asked(self._address_of)

    def load(self, folder: Path) -> None:
        """Become the process's `libcuda.so.1`: whoever asks for that name finds this one."""
        path = folder / "libcuda.so.1"
        path.write_bytes(shared_object())
        library = ctypes.CDLL(str(path))
        slot = ctypes.c_void_p.in_dll(library, "slot")
        slot.value = ctypes.cast(self._entry, ctypes.c_void_p).value
        self._kept.append(library)

    def _address_of(
        self, name: bytes, place: int, version: int, flags: int, status: int | None
    ) -> int:
        found = self._addresses.get(name.decode(), 0)
        _put(place, ctypes.c_void_p, found)
        if status:
            _put(status, ctypes.c_int, 0 if found else 1)  # CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND
        return 0

    def _function(self, name: str, types: list[Any], does: Callable[..., Any]) -> int:
        def called(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            try:
                return does(*arguments) or 0
            except DriverError as error:
                return error.code
            except BaseException:
                self.failures.append(f"{name}{arguments}:\n{traceback.format_exc()}")
                return 999

        function = ctypes.CFUNCTYPE(ctypes.c_int, *types)(called)
        self._kept.append(function)
        return ctypes.cast(function, ctypes.c_void_p).value or 0

    def _text(self, code: int, place: int, which: int) -> int:
        error = self.fake.describe(code)
        kept = ctypes.create_string_buffer((error.name, error.text)[which].encode())
        self._kept.append(kept)
        _put(place, ctypes.c_void_p, ctypes.addressof(kept))
        return 0

    def _pair(self, first: int, second: int, kind: Any, values: tuple[int, int]) -> None:
        _put(first, kind, values[0])
        _put(second, kind, values[1])

    def _exchange(self, place: int) -> None:
        mode = ctypes.c_int.from_address(place)
        mode.value = self.fake.exchange_capture_mode(mode.value)

    def _load(self, place: int, code: int, *options: Any) -> None:
        assert options[2] == options[5] == 0, "options of a library"
        data = ctypes.string_at(code, 8) if self.fake._sizes else _elf(code)
        _put(place, ctypes.c_void_p, self.fake.load_library(data))

    def _encode(self, place: int, kind: int, rank: int, address: int, *rest: Any) -> None:
        shape, strides, box, steps, interleave, swizzle, promotion, fill = rest
        assert place % 64 == 0 and interleave == 0 and promotion == 2
        assert (ctypes.c_uint32 * rank).from_address(steps)[:] == [1] * rank
        found = self.fake.encode_tensor_map(
            kind, address, (ctypes.c_uint64 * rank).from_address(shape)[:],
            (ctypes.c_uint64 * (rank - 1)).from_address(strides)[:],
            (ctypes.c_uint32 * rank).from_address(box)[:], swizzle, bool(fill),
        )  # fmt: skip
        _put_bytes(place, found)

    def _nodes(self, graph: int, nodes: int | None, count: int) -> None:
        assert not nodes, "only their number is asked for"
        _put(count, ctypes.c_size_t, self.fake.graph_nodes(graph))

    def _functions(self) -> dict[str, Callable[..., Any]]:
        fake, integer, size, handle = self.fake, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
        address = ctypes.c_uint64

        def gives(kind: Any, method: Callable[..., Any]) -> Callable[..., Any]:
            return lambda place, *arguments: _put(place, kind, method(*arguments))

        def ready(method: Callable[[int], bool]) -> Callable[..., int]:
            return lambda it: 0 if method(it or 0) else NOT_READY

        def on(method: Callable[..., Any]) -> Callable[..., Any]:
            """NULL is stream 0."""
            return lambda *arguments: method(*(value or 0 for value in arguments))

        return {
            "cuInit": lambda flags: self._init,
            "cuGetErrorName": lambda code, place: self._text(code, place, 0),
            "cuGetErrorString": lambda code, place: self._text(code, place, 1),
            "cuGetProcAddress": lambda name, *rest: self._address_of(ctypes.string_at(name), *rest),
            "cuDeviceGetCount": gives(integer, fake.device_count),
            "cuDriverGetVersion": gives(integer, fake.driver_version),
            "cuDeviceGetName": lambda place, nbytes, device: _put_bytes(
                place, fake.device_name(device).encode()[: nbytes - 1] + b"\0"
            ),
            "cuDeviceGetUuid": lambda place, device: _put_bytes(place, fake.device_uuid(device)),
            "cuDeviceTotalMem": gives(size, fake.device_bytes),
            "cuDeviceGetAttribute": lambda place, kind, device: _put(
                place, integer, fake.device_attribute(device, kind)
            ),
            "cuDeviceCanAccessPeer": gives(integer, fake.can_access_peer),
            "cuDevicePrimaryCtxRetain": gives(handle, fake.retain_context),
            "cuCtxSetCurrent": fake.set_context,
            "cuCtxGetCurrent": gives(handle, fake.current_context),
            "cuPointerGetAttribute": lambda place, kind, pointer: _put(
                place, integer, fake.pointer_attribute(kind, pointer)
            ),
            "cuCtxEnablePeerAccess": lambda context, flags: fake.enable_peer(context),
            "cuCtxSynchronize": fake.synchronize,
            "cuCtxGetStreamPriorityRange": lambda least, greatest: self._pair(
                least, greatest, integer, fake.stream_priorities()
            ),
            "cuProfilerStart": lambda: fake.profiler(True),
            "cuProfilerStop": lambda: fake.profiler(False),
            "cuMemGetInfo": lambda free, total: self._pair(free, total, size, fake.memory_info()),
            "cuMemAlloc": gives(address, fake.allocate),
            "cuMemFree": fake.free,
            "cuMemHostAlloc": lambda place, nbytes, flags: _put(
                place, handle, fake.allocate_pinned(nbytes)
            ),
            "cuMemFreeHost": fake.free_pinned,
            "cuMemcpyAsync": on(fake.copy),
            "cuMemsetD8Async": on(fake.fill),
            "cuStreamCreateWithPriority": gives(handle, fake.create_stream),
            "cuStreamSynchronize": on(fake.synchronize_stream),
            "cuStreamQuery": ready(fake.stream_is_done),
            "cuStreamWaitEvent": lambda stream, event, flags: fake.stream_waits(stream or 0, event),
            "cuEventCreate": gives(handle, fake.create_event),
            "cuEventDestroy": fake.destroy_event,
            "cuEventRecord": on(fake.record_event),
            "cuEventQuery": ready(fake.event_is_done),
            "cuEventSynchronize": fake.synchronize_event,
            "cuEventElapsedTime": gives(ctypes.c_float, fake.elapsed_ms),
            "cuLibraryLoadData": self._load,
            "cuLibraryGetKernel": lambda place, library, name: _put(
                place, handle, fake.find_kernel(library, ctypes.string_at(name).decode())
            ),
            "cuKernelSetAttribute": lambda kind, value, kernel, device: fake.set_kernel_attribute(
                kernel, kind, value, device
            ),
            "cuKernelGetAttribute": lambda place, kind, kernel, device: _put(
                place, integer, fake.kernel_attribute(kernel, kind, device)
            ),
            "cuTensorMapEncodeTiled": self._encode,
            "cuStreamBeginCapture": fake.begin_capture,
            "cuStreamEndCapture": lambda stream, place: _put(
                place, handle, fake.end_capture(stream)
            ),
            "cuStreamIsCapturing": lambda stream, place: _put(
                place, integer, fake.is_capturing(stream)
            ),
            "cuThreadExchangeStreamCaptureMode": self._exchange,
            "cuGraphInstantiateWithFlags": lambda place, graph, flags: _put(
                place, handle, fake.instantiate_graph(graph)
            ),
            "cuGraphLaunch": on(fake.launch_graph),
            "cuGraphDestroy": fake.destroy_graph,
            "cuGraphExecDestroy": fake.destroy_executable,
            "cuGraphGetNodes": self._nodes,
        }  # fmt: skip


def _elf(address: int) -> bytes:
    """The bytes of an ELF file in memory: up to the end of its last table."""
    head = ctypes.string_at(address, 64)
    table, names = struct.unpack_from("<Q", head, 40)[0], struct.unpack_from("<HH", head, 58)
    programs, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<HH", head, 54)
    end = max(table + names[0] * names[1], programs + count[0] * count[1])
    return ctypes.string_at(address, end)
