"""A simulated GPU: the fake driver, whose launches run the same kernels on the CPU target.

What is tested this way is everything but the GPU: the tensors' way through memory, copies, streams
and launches, and the arguments' way through the packed bytes. Kernels are those that were planned
for the device "cuda", compiled by the CPU's code generator: nothing is learnt about cubins.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

import tritorch.runtime
from tests.runtime.cuda import hazards
from tests.runtime.cuda.fake_driver import FakeDriver, Launched
from tritorch.once import once
from tritorch.runtime import get_target
from tritorch.runtime.cuda.code import KernelCode, LaunchFacts
from tritorch.runtime.cuda.target import CUDATarget
from tritorch.runtime.storage import FreeList
from tritorch.runtime.target import Kernel

_FORMATS = {
    "i1": "<?", "u1": "<?", "i8": "<b", "u8": "<B", "i16": "<h", "u16": "<H", "i32": "<i",
    "u32": "<I", "i64": "<q", "u64": "<Q", "fp16": "<e", "fp32": "<f", "fp64": "<d",
}  # fmt: skip


def _size(kind: str) -> int:
    if kind.startswith("*"):
        return 8
    return 2 if kind == "bf16" else struct.calcsize(_FORMATS[kind])


def _value(kind: str, raw: bytes) -> Any:
    if kind.startswith("*"):
        return int.from_bytes(raw, "little")
    if kind == "bf16":
        return struct.unpack("<f", b"\0\0" + raw)[0]
    return struct.unpack(_FORMATS[kind], raw)[0]


class Simulator:
    """Compiles for the CPU what the target asks for, and runs what the driver is told to launch.

    Args:
        options: of the compiler, besides the kernels' own.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.kernels: list[Kernel] = []
        self.options = dict(options or {})

    def compile(
        self,
        source: Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        capability: int,
        options: Mapping[str, Any] | None = None,
    ) -> KernelCode:
        options = {**(options or {}), **self.options}
        kernel = get_target("cpu").compile(source, signature, constants, options)
        self.kernels.append(kernel)
        return KernelCode(
            name=kernel.name,
            cubin=(len(self.kernels) - 1).to_bytes(8, "little"),
            facts=LaunchFacts(),
            parameter_types=kernel.parameter_types,
            from_cache=kernel.from_cache,
            compile_seconds=kernel.compile_seconds,
        )

    def kernel(self, code: bytes) -> Kernel:
        return self.kernels[int.from_bytes(code, "little")]

    def sizes(self, code: bytes) -> tuple[str, list[int]]:
        kernel = self.kernel(code)
        return kernel.name, [*map(_size, kernel.parameter_types), 8, 8]

    def read(self, code: bytes, launched: Launched) -> tuple[Kernel, list[Any]]:
        """The kernel of a launch, and its arguments' values."""
        kernel = self.kernel(code)
        values = zip(kernel.parameter_types, launched.arguments)
        return kernel, [_value(kind, raw) for kind, raw in values]

    def run(self, code: bytes, launched: Launched) -> None:
        kernel, values = self.read(code, launched)
        hazards.run(kernel, launched.grid, values)


class SimulatedTarget(CUDATarget):
    """Its memory is poisoned whenever it is given away (see `hazards`).

    `requested` has the bytes that were asked for last, by address.
    """

    def __init__(self, driver: FakeDriver, compile_code: Callable[..., KernelCode]) -> None:
        self.requested: dict[int, int] = {}
        super().__init__(driver, compile_code)

    def allocate(self, nbytes: int) -> int:
        """Memory that holds garbage."""
        return self.poisoned(super().allocate(nbytes), nbytes)

    def _short(self, nbytes: int) -> FreeList | None:
        found = super()._short(nbytes)
        return None if found is None else _Poisoned(self, found, nbytes)

    def poisoned(self, address: int, nbytes: int) -> int:
        """The address of memory that is given away now."""
        driver, stream = self.driver, self._thread.stream
        assert isinstance(driver, FakeDriver)
        self.requested[address] = nbytes
        if address and not driver.is_capturing(stream):
            driver.poison(address, nbytes, hazards.POISON, stream)
        return address


class _Poisoned:
    """A free list whose blocks hold garbage."""

    def __init__(self, target: SimulatedTarget, blocks: FreeList, nbytes: int) -> None:
        self._target, self._blocks, self._nbytes = target, blocks, nbytes
        self.append = blocks.append

    def pop(self) -> int:
        return self._target.poisoned(self._blocks.pop(), self._nbytes)


@once
def _gpu() -> tuple[CUDATarget, FakeDriver]:
    """The only one of this process: plans that were made once launch there for good."""
    simulator = Simulator()
    driver = FakeDriver(devices=2, run=simulator.run, sizes=simulator.sizes)
    target = SimulatedTarget(driver, simulator.compile)
    return target, driver


@contextmanager
def simulated_gpu(lazy: bool = False) -> Iterator[tuple[CUDATarget, FakeDriver]]:
    """Two GPUs until the block ends; with `lazy` they work when somebody waits for them."""
    target, driver = _gpu()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tritorch.runtime._targets, "cuda", target)
        # Targets of other tests share the place where machine code finds the current stream.
        target.current.set_stream(*target.current.stream_of(target.current.thread.device))
        target.empty_cache()
        target.allocator().figures.reset_peak()
        driver.lazy = lazy
        try:
            yield target, driver
        finally:
            driver.forget_errors()
            driver.lazy = False
            driver.progress()
            target.cells.clear()
            target.allocator().limit = None
