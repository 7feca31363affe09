"""A GPU that takes no time, for measuring what the host does: launches return at once, undone.

The runtime is the real one: plans, packed arguments, the launcher's machine code, the allocator
with a device's memory to give, streams, graphs. Below it `cuLaunchKernelEx` is two instructions of
machine code, memory is addresses that nobody reads, and a copy is counted only. So a program's time
is what it would be if kernels took none; its results are no numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tritorch.runtime
from tests.runtime.cuda.fake_driver import FakeDriver
from tritorch.once import once
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.code import KernelCode, LaunchFacts, compile_cubin
from tritorch.runtime.cuda.target import CUDATarget
from tritorch.triton_api import split_signature

#: of an H200
NBYTES = 139 << 30
_TEXT = """
define i32 @taken(ptr %config, ptr %function, ptr %values, ptr %extra) {
  ret i32 0
}
"""


@once
def _taken() -> int:
    """The address of what stands in for cuLaunchKernelEx."""
    from tritorch.triton_cpu import llvm
    from tritorch.triton_cpu.compile import compile_text
    from tritorch.triton_cpu.target import host

    return llvm.load_object(compile_text(_TEXT, host(), "endless_gpu"), ("taken",))["taken"]


class EndlessDriver(FakeDriver):
    """Takes launches, copies and fills without doing them; memory is numbers."""

    def __init__(self, nbytes: int = NBYTES) -> None:
        super().__init__(nbytes=nbytes)
        self._sizes_by_address: dict[int, int] = {}
        self._next = 1 << 40
        self._reserved = 0

    def device_name(self, device: int) -> str:
        return "GPU that takes no time"

    def device_attribute(self, device: int, attribute: int) -> int:
        return 60 << 20 if attribute == cu.L2_BYTES else super().device_attribute(device, attribute)

    def memory_info(self) -> tuple[int, int]:
        return self.nbytes - self._reserved, self.nbytes

    def allocate(self, nbytes: int) -> int:
        self._in_context("allocate")
        if self._reserved + nbytes > self.nbytes:
            raise self._error(cu.OUT_OF_MEMORY, "cuMemAlloc")
        address, self._next = self._next, self._next + (-(-nbytes // (1 << 21)) + 1 << 21)
        self._sizes_by_address[address] = nbytes
        self._reserved += nbytes
        return address

    def free(self, address: int) -> None:
        self._in_context("free")
        self._reserved -= self._sizes_by_address.pop(address)

    def copy(self, destination: int, source: int, nbytes: int, stream: int) -> None:
        self.calls["copy"] += 1

    def fill(self, destination: int, value: int, nbytes: int, stream: int) -> None:
        self.calls["fill"] += 1

    def find_kernel(self, library: int, name: str) -> int:
        return next(self._handles)

    def set_kernel_attribute(self, kernel: int, attribute: int, value: int, device: int) -> None:
        pass

    def entry_point(self, name: str) -> int:
        assert name == "cuLaunchKernelEx"
        return _taken()


def nothing_compiled(
    source: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    capability: int,
    options: Mapping[str, Any] | None = None,
) -> KernelCode:
    """In place of `compile_cubin`: no code, for a kernel that needs no scratch memory."""
    types, _ = split_signature(signature)
    return KernelCode(source.name, b"", LaunchFacts(), tuple(types.values()), True, 0.0)


@contextmanager
def endless_gpu(
    nbytes: int = NBYTES, compiled: bool = True
) -> Iterator[tuple[CUDATarget, EndlessDriver]]:
    """The only GPU until the block ends. What is planned for it launches there for good, so it
    belongs into a process of its own.

    Args:
        compiled: kernels are compiled, as for a device; False leaves it out, where only the
            launches of a program matter.
    """
    driver = EndlessDriver(nbytes)
    target = CUDATarget(driver, compile_cubin if compiled else nothing_compiled)
    before = tritorch.runtime._targets.get("cuda")
    tritorch.runtime._targets["cuda"] = target
    try:
        yield target, driver
    finally:
        if before is None:
            del tritorch.runtime._targets["cuda"]
        else:
            tritorch.runtime._targets["cuda"] = before
