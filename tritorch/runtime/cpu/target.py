"""The CPU as a target."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tritorch.config import config
from tritorch.kernel_source import KernelSource
from tritorch.runtime.cpu.allocator import CachingAllocator, MemoryStatistics
from tritorch.runtime.target import Kernel, KernelTable, Launch


class CPUTarget:
    """Memory, kernels and launches on the processor that runs Python (see `Target`)."""

    name = "cpu"

    def __init__(self) -> None:
        self._allocator = CachingAllocator()
        self._kernels = KernelTable(_build)
        #: tracing puts itself between a plan and its launch
        self.on_bind: Callable[[Kernel, Launch], Launch] | None = None
        self.free_lists = self._allocator.free_lists
        self.allocate = self._allocator.allocate
        self.free = self._allocator.free
        self.free_list = self._allocator.free_list

    @property
    def identity(self) -> str:
        """Architecture, LLVM's name of the processor, vector width, threads: see `Target`."""
        from tritorch.triton_cpu.target import host

        cpu = host()
        return f"{cpu.architecture}-{cpu.cpu}-{cpu.vector_bytes}B-{config.num_threads}t"

    def copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy `nbytes` from address `source` to address `destination`; they may overlap."""
        ctypes.memmove(destination, source, nbytes)

    def upload(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """A copy: the host's memory is this target's."""
        ctypes.memmove(destination, source, nbytes)

    download = upload

    def error_cell(self, message: str) -> int:
        """Not needed here: whoever launches looks at once, at memory of its own."""
        raise NotImplementedError("error_cell: the CPU's launches report wrong indices themselves.")

    def synchronize(self) -> None:
        """Nothing to wait for: a launch returns when its programs have run."""

    def compile(
        self,
        source: KernelSource | Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> Kernel:
        """The kernel for these types and constants: compiled once, then remembered.

        Raises:
            CompileError: the kernel is wrong, or has an operation that the CPU target lacks.
        """
        if config.debug == "bounds":
            options = {**(options or {}), "check_bounds": True}
        return self._kernels.get(source, signature, constants, options)

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
    ) -> Launch:
        """A launch with everything fixed but the values that are None (see `launcher.bind`)."""
        from tritorch.runtime.cpu.launcher import bind

        launch = bind(kernel, grid, values, work=work)
        return launch if self.on_bind is None else self.on_bind(kernel, launch)

    def empty_cache(self) -> None:
        """Give cached tensor memory and idle scratch memory of kernels back to the system."""
        self._allocator.empty_cache()
        from tritorch.runtime.cpu.native import symbols

        ctypes.CFUNCTYPE(ctypes.c_int64)(symbols()["tritorch_scratch_trim"])()

    def memory_statistics(self) -> MemoryStatistics:
        """Bytes allocated, cached and reserved for tensors."""
        return self._allocator.statistics()

    def get_num_threads(self) -> int:
        """How many threads run one kernel."""
        return int(config.num_threads)


def _build(
    source: KernelSource | Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    options: Mapping[str, Any] | None,
) -> Kernel:
    from tritorch.runtime.cpu.native import symbols
    from tritorch.triton_cpu import llvm
    from tritorch.triton_cpu.compile import compile_kernel

    symbols()  # kernels link against it
    start = time.perf_counter()
    compiled = compile_kernel(source, signature, constants, options)
    entry = llvm.load_object(compiled.object_code, (compiled.name,))[compiled.name]
    return Kernel(
        name=compiled.name,
        source=source,
        signature=signature,
        constants=constants,
        parameter_types=compiled.parameter_types,
        entry=entry,
        from_cache=compiled.from_cache,
        compile_seconds=time.perf_counter() - start,
        checks_bounds=bool(options and options.get("check_bounds")),
    )
