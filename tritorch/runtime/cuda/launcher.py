"""`Launcher.bind`: everything that does not change between two launches, packed for the driver.

The order of a kernel's arguments: those of its signature without the constants; a host's tensor
descriptor counts as its CUtensorMap, its sizes (i32) and strides (i64); then the two hidden ones of
Triton 3.6 to 3.9, the addresses of global and of profile scratch memory.
"""

from __future__ import annotations

import ctypes
import math
import operator
import os
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tritorch.once import once
from tritorch.runtime.arguments import parameter, slot
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda import launcher_ir
from tritorch.runtime.cuda.code import HIDDEN, LaunchFacts
from tritorch.runtime.cuda.launcher_ir import ATTRIBUTE_BYTES, RECENT, Header, State
from tritorch.runtime.native_function import NativeFunction
from tritorch.runtime.target import Kernel, Launch

_MAX_GRID = ((1 << 31) - 1, 65535, 65535)
TENSOR_MAP = "nvTmaDesc"
_TENSOR_MAP_BYTES = 128

#: what a launch that the driver refuses calls: (code, kernel's name) -> whether to try again
Refused = Callable[[int, str], bool]


@once
def _machine_code() -> dict[str, int]:
    from tritorch.triton_cpu import llvm
    from tritorch.triton_cpu.compile import compile_text
    from tritorch.triton_cpu.target import host

    llvm.supply_symbols(
        {
            name: ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name))
            for name in launcher_ir.PYTHON_NAMES
        }
    )
    code = compile_text(launcher_ir.launcher_text(), host(), "cuda_launcher")
    return llvm.load_object(code, launcher_ir.NAMES)


class Launcher:
    """Makes launches; what they share is here."""

    def __init__(self, launch_address: int, stream_key: int, refused: Refused) -> None:
        code = _machine_code()
        self._data_ptr = sys.intern("data_ptr")
        ctypes.c_void_p.from_address(code["tritorch_data_ptr_name"]).value = id(self._data_ptr)
        self._function = NativeFunction(
            b"launch",
            code["tritorch_cuda_launch"],
            b"Launch a kernel with the values of its dynamic arguments, in order.",
        )
        self._refused = lambda code, name: refused(code, ctypes.string_at(name).decode())
        self.state = State(launch=launch_address, refused=id(self._refused), stream_key=stream_key)
        os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _after_fork_in_child(self) -> None:
        self.state.launch = _machine_code()["tritorch_cuda_unusable"]

    @property
    def launches(self) -> int:
        """How many there were, on all streams."""
        return int(self.state.count)

    def recent(self) -> tuple[str, ...]:
        """Names of the last kernels that were launched, the last one first."""
        count = self.launches
        places = (at % RECENT for at in range(count - 1, max(count - RECENT, 0) - 1, -1))
        return tuple(ctypes.string_at(self.state.recent[place]).decode() for place in places)

    def bind(
        self,
        kernel: Kernel,
        facts: LaunchFacts,
        grid: Sequence[int],
        values: Sequence[Any],
        otherwise: Launch | None = None,
    ) -> Launch:
        """The launch of `kernel` on `grid`, as a builtin that takes the dynamic values.

        Where the kernel needs global scratch memory, its address is one more dynamic value, the
        last one (see `scratch_bytes`).

        Args:
            values: one for each argument of the kernel, None where it is dynamic. A tensor map is
                its 128 bytes.
            otherwise: what is called where an address is no multiple of 16 that the kernel takes
                for one (see `aligned_places`); with the same values.
        Raises:
            ValueError: a grid or a number of values that does not fit.
        """
        sizes = _grid(kernel.name, grid)
        types = (*kernel.parameter_types, *HIDDEN)
        if len(values) != len(kernel.parameter_types):
            raise ValueError(
                f"bind: kernel {kernel.name} has {len(kernel.parameter_types)} parameters, got "
                f"{len(values)} values. Give one for each, None where it is dynamic."
            )
        if not math.prod(sizes):
            return _nothing
        scratch = None if facts.global_scratch_bytes else 0
        template, offsets, parameters = pack(kernel.name, types, (*values, scratch, 0))
        attributes = launch_attributes(facts)
        aligned = [offsets[at] for at in aligned_places(kernel.signature, values)]
        header = Header(
            state=ctypes.addressof(self.state),
            function=kernel.entry,
            counter=kernel.counter_address,
            name=ctypes.addressof(kernel.name_bytes),
            template_bytes=len(template),
            slots=len(types),
            dynamic=len(parameters),
            attributes=len(attributes),
            grid=(sizes[0] * facts.num_ctas, *sizes[1:]),
            block=(facts.warp_size * facts.num_warps, 1, 1),
            shared_bytes=facts.shared_bytes,
            otherwise=0 if otherwise is None else id(otherwise),
            aligned=0 if otherwise is None else len(aligned),
        )
        checked = struct.pack(f"<{len(aligned)}I", *aligned)
        places = struct.pack(f"<{len(offsets)}I", *offsets)
        payload = b"".join((header, *attributes, template, places, *parameters, checked))
        return self._function.bound(payload, (kernel, self, otherwise))


def _nothing(*_values: Any) -> None:
    """The launch of a grid without programs."""


def aligned_places(signature: Mapping[str, str], values: Sequence[Any]) -> list[int]:
    """Which dynamic arguments are addresses that the kernel takes to be multiples of 16.

    With a tensor descriptor among the arguments, places are not known from the signature: none.
    """
    if len(signature) != len(values):
        return []
    return [
        at
        for at, (kind, value) in enumerate(zip(signature.values(), values))
        if value is None and kind.startswith("*") and ":" in kind
    ]


def scratch_bytes(facts: LaunchFacts, grid: Sequence[int]) -> int:
    """Bytes of global scratch memory that one launch needs."""
    return math.prod(grid) * facts.num_ctas * facts.global_scratch_bytes


def _grid(name: str, grid: Sequence[int]) -> tuple[int, int, int]:
    sizes = [operator.index(size) for size in grid]
    fits = 1 <= len(sizes) <= 3 and all(0 <= s <= most for s, most in zip(sizes, _MAX_GRID))
    if not fits:
        raise ValueError(
            f"bind: kernel {name}: grid {tuple(grid)} must be one to three counts, of at most "
            f"{', '.join(map(str, _MAX_GRID))} programs."
        )
    first, second, third = [*sizes, 1, 1][:3]
    return first, second, third


def pack(
    name: str, types: Sequence[str], values: Sequence[Any]
) -> tuple[bytes, list[int], list[bytes]]:
    """The template of the arguments, each one's offset in it, and how to fill the dynamic ones.

    Every argument has 8 bytes, little-endian in the lowest ones; a tensor map has 128 at a multiple
    of 64.
    """
    template = bytearray()
    offsets, parameters = [], []
    for type_name, value in zip(types, values, strict=True):
        if type_name == TENSOR_MAP:
            template += bytes(-len(template) % 64)
            packed = bytes(value) if value is not None else b""
            if len(packed) != _TENSOR_MAP_BYTES:
                raise ValueError(
                    f"bind: kernel {name}: a tensor map has {_TENSOR_MAP_BYTES} bytes, got "
                    f"{len(packed)}. Encode it when the launch is bound."
                )
        elif value is None:
            packed = bytes(8)
            parameters.append(parameter(name, type_name, len(template)))
        else:
            packed = slot(name, type_name, value)
        offsets.append(len(template))
        template += packed
    template += bytes(-len(template) % 16)
    return bytes(template), offsets, parameters


def launch_attributes(facts: LaunchFacts) -> list[bytes]:
    """CUlaunchAttributes: cooperative, clusters, overlap with the launch before."""
    found = []
    if facts.programmatic:
        found.append(_attribute(cu.PROGRAMMATIC_SERIALIZATION, 1))
    if facts.cooperative:
        found.append(_attribute(cu.COOPERATIVE, 1))
    if facts.num_ctas != 1:
        found.append(_attribute(cu.CLUSTER_DIMENSION, facts.num_ctas, 1, 1))
        found.append(_attribute(cu.CLUSTER_SCHEDULING, cu.SPREAD))
    return found


def _attribute(kind: int, *numbers: int) -> bytes:
    return struct.pack(f"<I4x{len(numbers)}I", kind, *numbers).ljust(ATTRIBUTE_BYTES, b"\0")
