"""The driver half of the Triton backend: loading, launching, timing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from tritorch.config import config

_MAX_BOUND_GRIDS = 256


class CPUUtilities:
    """What Triton asks of a device."""

    def get_device_properties(self, _device: int) -> dict[str, int]:
        from tritorch.config import config

        return {
            "max_shared_mem": 1 << 30,
            "multiprocessor_count": config.num_threads,
            "max_num_regs": 1 << 20,
            "warpSize": 1,
            "mem_clock_rate": 1,
            "mem_bus_width": 1,
            "sm_clock_rate": 1,
        }

    def load_binary(
        self, name: str, code: bytes, _shared: int, _device: int
    ) -> tuple[int, int, int, int, int]:
        """(module, function, registers, spills, most threads); an address is both handles."""
        from tritorch.runtime.cpu.native import symbols
        from tritorch.triton_cpu.llvm import load_object

        symbols()  # kernels link against the runtime's functions
        address = load_object(code, [name])[name]
        return address, address, 0, 0, 1 << 30

    def unload_module(self, _module: int) -> None:
        """Machine code stays: it is a few kilobytes."""


def _picker(places: list[int]) -> Callable[[tuple[Any, ...]], Sequence[Any]]:
    """A function from all arguments to the tuple of those at `places`."""
    if len(places) < 2:
        return lambda arguments: tuple(arguments[i] for i in places)
    return itemgetter(*places)


class Launcher:
    """Triton calls it once per launch with the grid, the function and all arguments."""

    def __init__(self, source: Any, metadata: Any) -> None:
        from tritorch.triton_cpu.plugin.arrays import array_address
        from tritorch.triton_cpu.plugin.descriptors import flatten_descriptors

        self._address, self._flatten = array_address(), flatten_descriptors
        kinds = list(source.signature.values())
        if any(isinstance(kind, tuple) for kind in kinds):
            raise NotImplementedError(
                f"{metadata.name}: tuples as kernel arguments are not supported on the CPU. "
                "Pass their elements one by one."
            )
        places = [i for i, kind in enumerate(kinds) if kind != "constexpr"]
        self._pick = _picker(places)
        self._descriptors = any(str(kind).startswith("tensordesc") for kind in kinds)
        self._types = tuple(
            metadata.parameter_types
            if self._descriptors
            else [kind for kind in kinds if kind != "constexpr"]
        )
        self._name = metadata.name
        self._checks_bounds = config.debug == "bounds"
        self._source = source
        self._bound: dict[tuple[int, int, int], Callable[..., None]] = {}
        self._kernel: Any = None

    def __call__(
        self, x: int, y: int, z: int, _stream: int, function: int, _packed: Any, metadata: Any,
        enter: Any, leave: Any, *arguments: Any,
    ) -> None:  # fmt: skip
        launch = self._bound.get((x, y, z)) or self._bind(function, (x, y, z))
        values = self._pick(arguments)
        if self._descriptors:
            values = self._flatten(self._types, values)
        if enter is not None:
            enter(metadata)
        if self._checks_bounds:
            from tritorch.runtime.cpu.bounds import arrays_known

            with arrays_known(values):
                launch(*map(self._address, values))
        else:
            launch(*map(self._address, values))
        if leave is not None:
            leave(metadata)

    def _bind(self, function: int, grid: tuple[int, int, int]) -> Callable[..., None]:
        from tritorch.runtime.cpu.launcher import bind
        from tritorch.runtime.target import Kernel

        if self._kernel is None:
            self._kernel = Kernel(
                name=self._name,
                source=self._source.fn,
                signature=self._source.signature,
                constants={},
                parameter_types=self._types,
                entry=function,
                from_cache=False,
                compile_seconds=0.0,
                checks_bounds=self._checks_bounds,
            )
        if len(self._bound) >= _MAX_BOUND_GRIDS:
            self._bound.clear()
        launch = bind(self._kernel, grid, [None] * len(self._types))
        self._bound[grid] = launch
        return launch


def benchmark(
    call: Callable[[], Any],
    *,
    quantiles: Sequence[float] | None = None,
    warmup: float = 5.0,
    rep: float = 50.0,
    **_options: Any,
) -> Any:
    """Milliseconds of `call`: the quantiles of its runs within `rep` ms, or their mean."""
    end = time.perf_counter() + warmup / 1e3
    call()
    while time.perf_counter() < end:
        call()
    times: list[float] = []
    end = time.perf_counter() + rep / 1e3
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    if quantiles is None:
        return sum(times) / len(times)
    times.sort()
    return [times[min(int(q * len(times)), len(times) - 1)] for q in quantiles]


class CPUDriver(DriverBase):
    """One device, number 0, without streams: a launch returns when the kernel has run."""

    def __init__(self) -> None:
        self.utils = CPUUtilities()
        self.launcher_cls = Launcher

    @classmethod
    def is_active(cls) -> bool:
        """Chosen where it is asked for, or where no other backend has a device."""
        if "TRITON_DEFAULT_BACKEND" in os.environ:
            return os.environ["TRITON_DEFAULT_BACKEND"] == "cpu"
        from triton.backends import backends

        return not any(
            backend.driver.is_active()
            for backend in backends.values()
            if not issubclass(backend.driver, CPUDriver)
        )

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError(f"the CPU backend writes no C++ (asked for {ty})")

    def get_current_target(self) -> GPUTarget:
        from tritorch.triton_api import use_quick_installation_key
        from tritorch.triton_cpu.plugin.arrays import accept_arrays
        from tritorch.triton_cpu.target import host

        # Triton asks for the target before it makes the code that looks at a kernel's arguments.
        accept_arrays()
        use_quick_installation_key()
        return GPUTarget("cpu", host().architecture, 1)

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        if device != 0:
            raise ValueError(f"the CPU is device 0; got {device}")

    def get_current_stream(self, _device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> str:
        return "cpu"

    def get_benchmarker(self) -> Callable[..., Any]:
        return benchmark
