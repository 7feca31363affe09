"""Running kernels in tests: on every feature level, next to pages that must not be touched."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

from tests.triton_cpu.cases import triton_type
from tests.triton_cpu.plain_launcher import Launcher
from tritorch.triton_cpu import target as targets
from tritorch.triton_cpu.compile import compile_kernel

HOST = targets.host()
#: feature levels below this machine's own, which native code covers
_LOWER = [
    name
    for name in ("x86-64", "avx2")
    if HOST.is_x86 and all(HOST.has(flag) for flag in targets.LEVELS[name][1])
]
LEVELS = ["native", *_LOWER]


def target_of(level: str) -> Any:
    return HOST if level == "native" else targets.level(level)


def run(
    kernel: Any,
    target: Any,
    grid: tuple[int, ...],
    *,
    types: Any = None,
    constants: Any = None,
    **arguments: Any,
) -> None:
    """Compile and run; types follow from the arguments unless `types` has them."""
    signature = {n: (types or {}).get(n) or triton_type(v) for n, v in arguments.items()}
    compiled = compile_kernel(kernel, signature, constants or {}, None, target)
    Launcher(compiled)(grid, *arguments.values())


class GuardedPage:
    """A page that may be used between two that may not."""

    def __init__(self) -> None:
        self.size = mmap.PAGESIZE
        self._map = mmap.mmap(-1, 3 * self.size)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + self.size
        libc = ctypes.CDLL(None, use_errno=True)
        for place in (self.start - self.size, self.start + self.size):
            assert libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(self.size), 0) == 0

    def at_end(self, count: int, dtype: Any) -> np.ndarray:
        """An array whose last element is the last before the forbidden page."""
        size = count * np.dtype(dtype).itemsize
        return self._array(self.start + self.size - size, count, dtype)

    def at_start(self, count: int, dtype: Any) -> np.ndarray:
        return self._array(self.start, count, dtype)

    def _array(self, address: int, count: int, dtype: Any) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        raw = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(raw, np.uint8).view(dtype)[:count]
