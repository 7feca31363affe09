"""The runtime's own machine code (pool, launcher, replay, scratch): compiled once, cached."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from tritorch.once import once
from tritorch.runtime.cpu import launcher_ir, pool_ir, replay_ir, scratch_ir
from tritorch.triton_cpu import llvm
from tritorch.triton_cpu.compile import compile_text
from tritorch.triton_cpu.target import CPUTarget, host

#: Symbols that kernels may refer to.
KERNEL_SYMBOLS = (
    "tritorch_scratch_acquire",
    "tritorch_scratch_release",
    "tritorch_assert_failed",
)
_NAMES = (*pool_ir.NAMES, *scratch_ir.NAMES, *launcher_ir.NAMES, *replay_ir.NAMES)


def runtime_text(architecture: str) -> str:
    """LLVM text of the whole module for `architecture`."""
    return "\n".join(
        (
            pool_ir.pool_text(architecture),
            scratch_ir.scratch_text(),
            launcher_ir.launcher_text(),
            replay_ir.replay_text(launcher_ir.PARALLEL_NS),
        )
    )


def compile_runtime(target: CPUTarget) -> bytes:
    """Object code of the module, from the kernel cache when it is there."""
    return compile_text(runtime_text(target.architecture), target, "runtime")


@once
def symbols() -> Mapping[str, int]:
    """Addresses of the module's functions and data, by name."""
    python = {
        name: ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name))
        for name in (*launcher_ir.PYTHON_NAMES, *replay_ir.PYTHON_NAMES)
    }
    llvm.supply_symbols(python)
    addresses = llvm.load_object(compile_runtime(host()), _NAMES)
    llvm.supply_symbols({name: addresses[name] for name in KERNEL_SYMBOLS})
    return addresses
