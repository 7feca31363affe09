"""The runtime's own machine code (pool, launcher, scratch): compiled once, cached, loaded here."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping
from functools import cache

from tritorch.runtime.cpu import launcher_ir, pool_ir, scratch_ir
from tritorch.triton_cpu import llvm
from tritorch.triton_cpu.cache import entry_key, object_cache
from tritorch.triton_cpu.target import CPUTarget, host

#: Symbols that kernels may refer to.
KERNEL_SYMBOLS = (
    "tritorch_scratch_acquire",
    "tritorch_scratch_release",
    "tritorch_assert_failed",
)
_NAMES = (*pool_ir.NAMES, *scratch_ir.NAMES, *launcher_ir.NAMES)


def runtime_text(architecture: str) -> str:
    """LLVM text of the whole module for `architecture`."""
    return "\n".join(
        (
            pool_ir.pool_text(architecture),
            scratch_ir.scratch_text(),
            launcher_ir.launcher_text(),
        )
    )


def compile_runtime(target: CPUTarget) -> bytes:
    """Object code of the module, from the kernel cache when it is there."""
    text = runtime_text(target.architecture)
    store = object_cache()
    if store is None:
        return llvm.compile_object(text, target, name="runtime")
    digest = hashlib.sha256(text.encode()).hexdigest()
    key = entry_key(digest, {}, {}, {}, target.fingerprint)
    found = store.load(key)
    if found is not None:
        return found[1]
    code = llvm.compile_object(text, target, name="runtime")
    store.store(key, {"name": "runtime"}, code)
    return code


@cache
def symbols() -> Mapping[str, int]:
    """Addresses of the module's functions and data, by name."""
    python = {
        name: ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name))
        for name in launcher_ir.PYTHON_NAMES
    }
    llvm.supply_symbols(python)
    addresses = llvm.load_object(compile_runtime(host()), _NAMES)
    llvm.supply_symbols({name: addresses[name] for name in KERNEL_SYMBOLS})
    return addresses
