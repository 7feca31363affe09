"""A simulated GPU: the fake driver, whose launches run the same kernels on the CPU target.

What is tested this way is everything but the GPU: the tensors' way through memory, copies, streams
and launches, and the arguments' way through the packed bytes. Kernels are those that were planned
for the device "cuda", compiled by the CPU's code generator: nothing is learnt about cubins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

import tritorch.runtime
from tests.runtime.cuda.fake_driver import FakeDriver, Launched
from tritorch.once import once
from tritorch.runtime import get_target
from tritorch.runtime.cuda.code import KernelCode, LaunchFacts
from tritorch.runtime.cuda.target import CUDATarget
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
    """Compiles for the CPU what the target asks for, and runs what the driver is told to launch."""

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []

    def compile(
        self,
        source: Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        capability: int,
        options: Mapping[str, Any] | None = None,
    ) -> KernelCode:
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

    def run(self, code: bytes, launched: Launched) -> None:
        kernel = self.kernel(code)
        values = [
            _value(kind, raw) for kind, raw in zip(kernel.parameter_types, launched.arguments)
        ]
        get_target("cpu").bind(kernel, launched.grid, values)()


@once
def _gpu() -> tuple[CUDATarget, FakeDriver]:
    """The only one of this process: plans that were made once launch there for good."""
    simulator = Simulator()
    driver = FakeDriver(devices=2, run=simulator.run, sizes=simulator.sizes)
    target = CUDATarget(driver, simulator.compile)
    return target, driver


@contextmanager
def simulated_gpu(lazy: bool = False) -> Iterator[tuple[CUDATarget, FakeDriver]]:
    """Two GPUs until the block ends; with `lazy` they work when somebody waits for them."""
    target, driver = _gpu()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tritorch.runtime._targets, "cuda", target)
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
