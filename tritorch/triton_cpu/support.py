"""The functions that generated code may call, in their plain form; the runtime supplies faster ones."""

from __future__ import annotations

import ctypes
from functools import cache

_TEXT = """
@message = internal global ptr null
declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)
define ptr @tritorch_scratch_acquire(i64 %bytes) {
  %up = add i64 %bytes, 63
  %size = and i64 %up, -64
  %memory = call ptr @aligned_alloc(i64 64, i64 %size)
  ret ptr %memory
}
define void @tritorch_scratch_release(ptr %memory) {
  call void @free(ptr %memory)
  ret void
}
define void @tritorch_assert_failed(ptr %text) {
  %first = cmpxchg ptr @message, ptr null, ptr %text seq_cst seq_cst
  ret void
}
define ptr @tritorch_support_take_message() {
  %text = atomicrmw xchg ptr @message, ptr null seq_cst
  ret ptr %text
}
"""

_NAMES = (
    "tritorch_scratch_acquire",
    "tritorch_scratch_release",
    "tritorch_assert_failed",
    "tritorch_support_take_message",
)


@cache
def support_symbols() -> dict[str, int]:
    """Addresses of the functions, compiled on first use."""
    from tritorch.triton_cpu import llvm
    from tritorch.triton_cpu.target import host

    code = llvm.compile_object(_TEXT, host(), name="support")
    return llvm._link(llvm.binding(), code, _NAMES, {})


def take_assert_message() -> str | None:
    """The message of the first failed device_assert since the last call, if one failed."""
    take = ctypes.CFUNCTYPE(ctypes.c_char_p)(support_symbols()["tritorch_support_take_message"])
    text = take()
    return None if text is None else text.decode(errors="replace")
