"""`bind`: everything that does not change between two launches, packed for the machine code.

The result is a C-level builtin whose `self` is a `bytes` object: the header, the template of the
kernel's arguments and the description of the dynamic ones (see `launcher_ir`). Its `__module__` is
the kernel, which keeps the machine code's name and counter alive as long as the launch is.
"""

from __future__ import annotations

import ctypes
import math
import operator
import struct
import sys
from collections.abc import Sequence
from typing import Any

from tritorch.errors import DeviceAssertError
from tritorch.once import once
from tritorch.runtime.arguments import parameter, slot
from tritorch.runtime.cpu import launcher_ir
from tritorch.runtime.cpu.launcher_ir import CHUNK_NS, PARALLEL_NS, SAMPLES, Header
from tritorch.runtime.cpu.native import symbols
from tritorch.runtime.cpu.pool import pool
from tritorch.runtime.cpu.pool_ir import MAX_PROGRAMS
from tritorch.runtime.native_function import NativeFunction
from tritorch.runtime.target import Kernel, Launch

_GRID_BYTES = 16
_MAX_GRID = (1 << 31) - 1


class _Launcher:
    """The machine code's entry as a method definition, ready to make builtins from."""

    def __init__(self) -> None:
        names = symbols()
        pool()
        self._keep = (sys.intern("data_ptr"), DeviceAssertError)
        for name, value in zip(("tritorch_data_ptr_name", "tritorch_assert_error"), self._keep):
            ctypes.c_void_p.from_address(names[name]).value = id(value)
        self._function = NativeFunction(
            b"launch",
            names["tritorch_launch"],
            b"Launch a kernel with the values of its dynamic arguments, in order.",
        )

    def builtin(self, header: bytes, kernel: Kernel) -> Launch:
        return self._function.bound(header, kernel)


@once
def _launcher() -> _Launcher:
    return _Launcher()


def bind(
    kernel: Kernel,
    grid: Sequence[int],
    values: Sequence[Any],
    *,
    work: float | None = None,
) -> Launch:
    """The launch of `kernel` on `grid`, as a builtin that takes the dynamic arguments' values.

    Args:
        kernel: what to launch.
        grid: up to three counts of programs; a product of 0 launches nothing.
        values: one for each entry of the kernel's signature: a number (fixed for all launches; an
            address where the type is a pointer) or None (dynamic).
        work: estimated nanoseconds of all programs on one thread. Up to 10 us (`PARALLEL_NS`) the
            launch runs at once on the calling thread; longer ones run without the GIL and are
            shared with workers that are awake; from 40 us on (`WAKE_NS`) sleeping ones are woken.
            None, the best choice unless the work is known: the first three launches are timed (by
            their first programs, so that a long first launch is parallel all the same).

    Raises:
        ValueError: a grid or a number of values that does not fit.
        TypeError: a value or a parameter type of a wrong kind.
    """
    types = tuple(kernel.parameter_types)
    if kernel.checks_bounds and len(values) == len(types):
        from tritorch.runtime.cpu.bounds import checked_launch

        types = (*types, "*i64")
        return checked_launch(kernel, values, lambda whole: _bind(kernel, types, grid, whole, work))
    return _bind(kernel, types, grid, values, work)


def _bind(
    kernel: Kernel,
    types: tuple[str, ...],
    grid: Sequence[int],
    values: Sequence[Any],
    work: float | None,
) -> Launch:
    programs, grid_bytes = _grid(kernel.name, grid)
    if len(values) != len(types):
        raise ValueError(
            f"bind: kernel {kernel.name} has {len(types)} parameters, got {len(values)} values. "
            "Give one for each, None where it is dynamic."
        )
    template = bytearray(grid_bytes)
    parameters = []
    for type_name, value in zip(types, values):
        if value is None:
            parameters.append(parameter(kernel.name, type_name, len(template)))
            template += bytes(8)
        else:
            template += slot(kernel.name, type_name, value)
    template += bytes(-len(template) % 16)
    header = Header(
        entry=kernel.entry,
        programs=programs,
        grain=1,
        counter=kernel.counter_address,
        name=ctypes.addressof(kernel.name_bytes),
        template_bytes=len(template),
        dynamic=len(parameters),
        mode=launcher_ir.MEASURE,
        samples=SAMPLES,
        work=(1 << 63) - 1,
    )
    if work is not None:
        _decide(header, work)
    return _launcher().builtin(b"".join((header, template, *parameters)), kernel)


def _decide(header: Header, work: float) -> None:
    header.mode = launcher_ir.PARALLEL if work > PARALLEL_NS else launcher_ir.SERIAL
    per_program = max(work / max(header.programs, 1), 1e-3)
    header.work = min(int(work), 1 << 62)
    header.grain = max(1, min(int(CHUNK_NS / per_program), MAX_PROGRAMS))


def _grid(name: str, grid: Sequence[int]) -> tuple[int, bytes]:
    """The number of programs, and the head of the arguments."""
    sizes = [operator.index(size) for size in grid]
    if not 1 <= len(sizes) <= 3 or any(not 0 <= size <= _MAX_GRID for size in sizes):
        raise ValueError(
            f"bind: kernel {name}: grid {tuple(grid)} must be "
            f"one to three counts of 0..{_MAX_GRID}."
        )
    sizes += [1] * (3 - len(sizes))
    programs = math.prod(sizes)
    if programs > MAX_PROGRAMS:
        raise ValueError(
            f"bind: kernel {name}: grid {tuple(grid)} has {programs} programs, "
            f"at most {MAX_PROGRAMS} can run. Let each program do more."
        )
    return programs, struct.pack("<4i", *sizes, 0)
