"""What a device offers to the rooms above: memory, compiled kernels, launches.

`Kernel` is one compiled kernel, `KernelTable` compiles each (source, signature, constants) once.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tritorch.kernel_source import KernelSource
from tritorch.runtime import statistics
from tritorch.runtime.storage import FreeList

Launch = Callable[..., None]


class Kernel:
    """A compiled kernel that lives in this process.

    Attributes:
        name: as in the source.
        source: what it was compiled from.
        signature: parameter name -> Triton type, without the constants.
        constants: name -> value of the `tl.constexpr` parameters.
        parameter_types: Triton types of the argument slots, in order.
        entry: the machine code's address (CPU) or the function's handle.
        from_cache: whether its code was loaded, not compiled.
        compile_seconds: what compiling or loading took.
    """

    __slots__ = (
        "checks_bounds",
        "compile_seconds",
        "constants",
        "counter_address",
        "entry",
        "from_cache",
        "name",
        "name_bytes",
        "parameter_types",
        "signature",
        "source",
    )

    def __init__(
        self,
        name: str,
        source: KernelSource | Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        parameter_types: Sequence[str],
        entry: int,
        from_cache: bool,
        compile_seconds: float,
        checks_bounds: bool = False,
    ) -> None:
        self.name = name
        self.source = source
        self.signature = dict(signature)
        self.constants = dict(constants)
        self.parameter_types = tuple(parameter_types)
        self.entry = entry
        self.from_cache = from_cache
        self.compile_seconds = compile_seconds
        self.checks_bounds = checks_bounds
        self.name_bytes = ctypes.create_string_buffer(name.encode())
        self.counter_address = statistics.new_counter(name)

    @property
    def launches(self) -> int:
        """How often it was launched."""
        return ctypes.c_int64.from_address(self.counter_address).value

    def __repr__(self) -> str:
        origin = "cache" if self.from_cache else "compiler"
        return f"<Kernel {self.name} from the {origin}, launched {self.launches} times>"

    def _repr_html_(self) -> str:
        from tritorch import triton_api
        from tritorch.runtime.display import kernel_html, pairs

        origin = "loaded from the cache" if self.from_cache else "compiled"
        facts = {
            "arguments": pairs(self.signature),
            "constants": pairs(self.constants),
            "machine code": f"{origin} in {self.compile_seconds * 1e3:.1f} ms",
            "launches": self.launches,
        }
        return kernel_html(self.name, facts, triton_api.source_text(self.source))


class Graph(Protocol):
    """Work of a target that is recorded once and replayed at once."""

    @property
    def pool(self) -> Any:
        """Its memory, for graphs that are never replayed at the same time and may share it."""

    def begin(self, pool: Any = None, mode: str = "global") -> None:
        """Record what this thread asks of the target from now on.

        Args:
            mode: what other threads may do meanwhile, in CUDA's words.
        Raises:
            AcceleratorError: it holds a recording already, or cannot record here.
        """

    def end(self) -> None:
        """The recording is complete."""

    def abandon(self) -> None:
        """Forget a recording that is under way."""

    def replay(self) -> None:
        """Do it all again, on the memory of the recording."""

    def reset(self) -> None:
        """Forget the recording and give its memory back."""


class Target(Protocol):
    """A device that runs kernels. Addresses are ints; the free lists are what Storage uses.

    `identity` says what configurations of kernels are tuned for: the processor, and how much of it.
    """

    name: str
    free_lists: dict[int, FreeList]

    @property
    def identity(self) -> str:
        """What configurations are tuned for, in words."""

    def of_device(self, index: int) -> Target:
        """The target of tensors on one of several devices of this type."""

    def allocate(self, nbytes: int) -> int:
        """The address of `nbytes` of memory, 64-byte aligned, contents arbitrary."""

    def free(self, address: int, nbytes: int) -> None:
        """Take back what `allocate(nbytes)` gave."""

    def free_list(self, nbytes: int) -> FreeList:
        """Where blocks of `nbytes` go when they are free."""

    def copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy bytes within the target's memory."""

    def upload(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """Copy from the host's memory to the target's."""

    def download(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """Copy from the target's memory to the host's."""

    def error_cell(self, message: str) -> int:
        """The address of 64 bits where a kernel may leave a wrong index; a later wait raises.

        Args:
            message: of the IndexError; `{index}` stands for the index.
        """

    def synchronize(self) -> None:
        """Wait for all launches."""

    def new_graph(self) -> Graph:
        """A graph that records launches and replays them."""

    def kernels(self) -> tuple[Kernel, ...]:
        """Every kernel that was compiled or loaded so far, oldest first."""

    def empty_cache(self) -> None:
        """Give free memory back to the system."""

    def compile(
        self,
        source: KernelSource | Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> Kernel:
        """The kernel for these types and constants: compiled once, then remembered."""

    def bind(
        self,
        kernel: Kernel,
        grid: Sequence[int],
        values: Sequence[Any],
        *,
        work: float | None = None,
    ) -> Launch:
        """A launch with everything fixed but the values that are None."""


class Later:
    """A launch that is made when it is first wanted."""

    __slots__ = ("_launch", "_make")

    def __init__(self, make: Callable[[], Launch]) -> None:
        self._make = make
        self._launch: Launch | None = None

    def __call__(self, *values: Any) -> None:
        if self._launch is None:
            self._launch = self._make()
        self._launch(*values)


class KernelTable:
    """The kernels of a target. Threads that ask for the same one at once compile it once."""

    def __init__(self, build: Callable[..., Kernel]) -> None:
        self._build = build
        self._kernels: dict[Any, Kernel] = {}
        # Compilers are serial (LLVM's Python binding holds a lock of its own), so one lock will do.
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._after_fork_in_child)

    def get(
        self,
        source: KernelSource | Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        options: Mapping[str, Any] | None,
    ) -> Kernel:
        """The kernel, from the table or built; failures are raised again each time."""
        key = (
            source.digest if isinstance(source, KernelSource) else source,
            tuple(signature.items()),
            _values_key(constants),
            _values_key(options or {}),
        )
        kernel = self._kernels.get(key)
        if kernel is not None:
            return kernel
        with self._lock:
            kernel = self._kernels.get(key)
            if kernel is None:
                start = time.perf_counter()
                kernel = self._build(source, signature, constants, options)
                statistics.count_compilation(kernel.from_cache, time.perf_counter() - start)
                self._kernels[key] = kernel
            return kernel

    def __len__(self) -> int:
        return len(self._kernels)

    def all(self) -> tuple[Kernel, ...]:
        """Every kernel so far, oldest first."""
        return tuple(self._kernels.values())

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()


def _values_key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """A key that tells 1, 1.0 and True apart, and 0.0 from -0.0."""
    return tuple((name, type(value), repr(value)) for name, value in sorted(values.items()))
