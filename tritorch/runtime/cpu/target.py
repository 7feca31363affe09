"""The CPU as a target."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from tritorch.config import config
from tritorch.kernel_source import KernelSource
from tritorch.runtime.cpu.allocator import CachingAllocator, MemoryStatistics
from tritorch.runtime.recording import refuse
from tritorch.runtime.target import Kernel, KernelTable, Launch

if TYPE_CHECKING:
    from tritorch.runtime.cpu.graphs import CPUGraph
    from tritorch.runtime.cpu.private_memory import PrivatePool


class CPUTarget:
    """Memory, kernels and launches on the processor that runs Python (see `Target`)."""

    name = "cpu"

    def __init__(self) -> None:
        self.allocator = CachingAllocator()
        self._kernels = KernelTable(_build)
        #: tracing puts itself between a plan and its launch
        self.on_bind: Callable[[Kernel, Launch], Launch] | None = None
        #: address -> the object that raises for a wrong index there, for replays
        self.error_cells: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._copied: Callable[[int, int, int, bool], None] | None = None
        self.free_lists = self.allocator.free_lists
        self.allocate = self.allocator.allocate
        self.free = self.allocator.free
        self.free_list = self.allocator.free_list

    def of_device(self, index: int) -> CPUTarget:
        """There is one CPU."""
        return self

    @property
    def identity(self) -> str:
        """Architecture, LLVM's name of the processor, vector width, threads: see `Target`."""
        from tritorch.triton_cpu.target import host

        cpu = host()
        return f"{cpu.architecture}-{cpu.cpu}-{cpu.vector_bytes}B-{config.num_threads}t"

    def copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy `nbytes` from address `source` to address `destination`; they may overlap."""
        if self._copied is not None:
            self._copied(destination, source, nbytes, False)
        ctypes.memmove(destination, source, nbytes)

    def upload(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """A copy: the host's memory is this target's."""
        if self._copied is not None:
            self._copied(destination, source, nbytes, True)
        ctypes.memmove(destination, source, nbytes)

    def download(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """A copy: the host's memory is this target's."""
        if self._copied is not None:
            refuse("copying to the host", "Do it after the recording, or after a replay.")
        ctypes.memmove(destination, source, nbytes)

    def new_graph(self) -> CPUGraph:
        """A graph that records launches and replays them."""
        from tritorch.runtime.cpu.graphs import CPUGraph

        return CPUGraph(self)

    def begin_recording(
        self, pool: PrivatePool, copied: Callable[[int, int, int, bool], None]
    ) -> None:
        """Give the recording thread memory of its own, and tell of copies.

        Args:
            copied: called before each copy with destination, source, bytes, and whether the
                source is the host's, whose bytes count as they are now.
        """
        self.allocator.begin_recording(pool)
        self._copied = copied

    def end_recording(self) -> None:
        """Nothing is recorded any more."""
        self._copied = None
        self.allocator.end_recording()

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
        self.allocator.empty_cache()
        from tritorch.runtime.cpu.native import symbols

        ctypes.CFUNCTYPE(ctypes.c_int64)(symbols()["tritorch_scratch_trim"])()

    def memory_statistics(self) -> MemoryStatistics:
        """Bytes allocated, cached and reserved for tensors."""
        return self.allocator.statistics()

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
