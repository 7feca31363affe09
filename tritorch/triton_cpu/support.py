"""Functions that generated code may call, in plain form; the runtime supplies faster ones.

Among them are the conversions that LLVM calls by name on CPUs without the instruction (compiler-rt
has them, but nothing guarantees that the process does).
"""

from __future__ import annotations

import ctypes

from tritorch.once import once

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

# float32 <-> float16 after F. Giesen's branch-free forms; from float64 by way of float32 rounded to
# odd, which makes the second rounding the only one.
_CONVERSIONS = """
define internal float @to_odd(double %x) {
  %near = fptrunc double %x to float
  %back = fpext float %near to double
  %same = fcmp ueq double %back, %x
  %bits = bitcast float %near to i32
  %size = call double @llvm.fabs.f64(double %x)
  %reached = call double @llvm.fabs.f64(double %back)
  %above = fcmp ogt double %reached, %size
  %step = zext i1 %above to i32
  %below = sub i32 %bits, %step
  %odd = or i32 %below, 1
  %chosen = select i1 %same, i32 %bits, i32 %odd
  %result = bitcast i32 %chosen to float
  ret float %result
}
declare double @llvm.fabs.f64(double)
define bfloat @__truncsfbf2(float %x) {
  %bits = bitcast float %x to i32
  %nan = fcmp uno float %x, 0.0
  %top = lshr i32 %bits, 16
  %odd = and i32 %top, 1
  %bias = add i32 %odd, 32767
  %sum = add i32 %bits, %bias
  %rounded = lshr i32 %sum, 16
  %quiet = or i32 %top, 64
  %chosen = select i1 %nan, i32 %quiet, i32 %rounded
  %half = trunc i32 %chosen to i16
  %result = bitcast i16 %half to bfloat
  ret bfloat %result
}
define bfloat @__truncdfbf2(double %x) {
  %odd = call float @to_odd(double %x)
  %result = call bfloat @__truncsfbf2(float %odd)
  ret bfloat %result
}
define half @__truncsfhf2(float %x) {
  %bits = bitcast float %x to i32
  %size = and i32 %bits, 2147483647
  %sign32 = lshr i32 %bits, 16
  %sign = and i32 %sign32, 32768
  %nan = fcmp uno float %x, 0.0
  %special = select i1 %nan, i32 32256, i32 31744
  %huge = icmp uge i32 %size, 1199570944
  %small = icmp ult i32 %size, 947912704
  %positive = bitcast i32 %size to float
  %shifted = fadd float %positive, 0.5
  %aligned = bitcast float %shifted to i32
  %subnormal = sub i32 %aligned, 1056964608
  %last = lshr i32 %size, 13
  %tie = and i32 %last, 1
  %rebased = add i32 %size, 3355447295
  %up = add i32 %rebased, %tie
  %normal = lshr i32 %up, 13
  %finite = select i1 %small, i32 %subnormal, i32 %normal
  %chosen = select i1 %huge, i32 %special, i32 %finite
  %signed = or i32 %chosen, %sign
  %narrow = trunc i32 %signed to i16
  %result = bitcast i16 %narrow to half
  ret half %result
}
define half @__truncdfhf2(double %x) {
  %odd = call float @to_odd(double %x)
  %result = call half @__truncsfhf2(float %odd)
  ret half %result
}
define float @__extendhfsf2(half %x) {
  %narrow = bitcast half %x to i16
  %bits = zext i16 %narrow to i32
  %size = and i32 %bits, 32767
  %moved = shl i32 %size, 13
  %special = icmp uge i32 %size, 31744
  %small = icmp ult i32 %size, 1024
  %rebased = add i32 %moved, 939524096
  %infinite = add i32 %rebased, 939524096
  %hidden = add i32 %rebased, 8388608
  %value = bitcast i32 %hidden to float
  %exact = fsub float %value, 0x3F10000000000000
  %subnormal = bitcast float %exact to i32
  %finite = select i1 %small, i32 %subnormal, i32 %rebased
  %chosen = select i1 %special, i32 %infinite, i32 %finite
  %sign32 = and i32 %bits, 32768
  %sign = shl i32 %sign32, 16
  %signed = or i32 %chosen, %sign
  %result = bitcast i32 %signed to float
  ret float %result
}
"""

NAMES = (
    "tritorch_scratch_acquire",
    "tritorch_scratch_release",
    "tritorch_assert_failed",
    "tritorch_support_take_message",
    "__truncsfbf2",
    "__truncdfbf2",
    "__truncsfhf2",
    "__truncdfhf2",
    "__extendhfsf2",
)


@once
def support_symbols() -> dict[str, int]:
    """Addresses of the functions, compiled on first use."""
    from tritorch.triton_cpu.compile import compile_text
    from tritorch.triton_cpu.llvm import load_object
    from tritorch.triton_cpu.target import host

    code = compile_text(_TEXT + _CONVERSIONS, host(), "support")
    return load_object(code, NAMES)


def take_assert_message() -> str | None:
    """The message of the first failed device_assert since the last call, if one failed."""
    take = ctypes.CFUNCTYPE(ctypes.c_char_p)(support_symbols()["tritorch_support_take_message"])
    text = take()
    return None if text is None else text.decode(errors="replace")
