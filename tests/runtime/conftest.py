"""Kernels written as LLVM text, so that these tests need no compiler above LLVM."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tritorch.config import config
from tritorch.runtime.cpu import native
from tritorch.runtime.target import Kernel
from tritorch.triton_cpu import llvm
from tritorch.triton_cpu.target import host

ROOT = Path(__file__).resolve().parents[2]

KERNELS = r"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare ptr @tritorch_scratch_acquire(i64)
declare void @tritorch_scratch_release(ptr)
declare void @tritorch_assert_failed(ptr)
declare i32 @sched_yield()
@message = internal constant [12 x i8] c"x is not 12\00"

define void @empty(ptr %args, i64 %begin, i64 %end) {
  ret void
}

; count(i32* counts): counts[p] += 1
define void @count(ptr %args, i64 %begin, i64 %end) {
entry:
  %slot = getelementptr i8, ptr %args, i64 16
  %counts = load ptr, ptr %slot
  br label %loop
loop:
  %p = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %word = getelementptr i32, ptr %counts, i64 %p
  %old = atomicrmw add ptr %word, i32 1 monotonic
  %next = add i64 %p, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %out
out:
  ret void
}

; dump(i8* out, i64 bytes, ...): copy the arguments themselves
define void @dump(ptr %args, i64 %begin, i64 %end) {
  %slot = getelementptr i8, ptr %args, i64 16
  %out = load ptr, ptr %slot
  %bytes_slot = getelementptr i8, ptr %args, i64 24
  %bytes = load i64, ptr %bytes_slot
  call void @llvm.memcpy.p0.p0.i64(ptr %out, ptr %args, i64 %bytes, i1 false)
  ret void
}

; spin(i64* sums, i64 steps): each program counts to steps, in memory
define void @spin(ptr %args, i64 %begin, i64 %end) {
entry:
  %slot = getelementptr i8, ptr %args, i64 16
  %sums = load ptr, ptr %slot
  %steps_slot = getelementptr i8, ptr %args, i64 24
  %steps = load i64, ptr %steps_slot
  br label %program
program:
  %p = phi i64 [ %begin, %entry ], [ %next, %done ]
  %word = getelementptr i64, ptr %sums, i64 %p
  br label %loop
loop:
  %i = phi i64 [ 0, %program ], [ %i_next, %loop ]
  %old = load volatile i64, ptr %word
  %new = add i64 %old, 1
  store volatile i64 %new, ptr %word
  %i_next = add i64 %i, 1
  %again = icmp slt i64 %i_next, %steps
  br i1 %again, label %loop, label %done
done:
  %next = add i64 %p, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %program, label %out
out:
  ret void
}

; meet(i32* arrived, i32* met, i64 rounds): each program waits until there are two; met[p] tells
define void @meet(ptr %args, i64 %begin, i64 %end) {
entry:
  %slot = getelementptr i8, ptr %args, i64 16
  %arrived = load ptr, ptr %slot
  %met_slot = getelementptr i8, ptr %args, i64 24
  %met = load ptr, ptr %met_slot
  %rounds_slot = getelementptr i8, ptr %args, i64 32
  %rounds = load i64, ptr %rounds_slot
  br label %program
program:
  %p = phi i64 [ %begin, %entry ], [ %next, %done ]
  %place = getelementptr i32, ptr %met, i64 %p
  %before = atomicrmw add ptr %arrived, i32 1 seq_cst
  br label %look
look:
  %i = phi i64 [ 0, %program ], [ %i_next, %wait ]
  %here = load atomic i32, ptr %arrived seq_cst, align 4
  %two = icmp sge i32 %here, 2
  br i1 %two, label %together, label %again
again:
  %i_next = add i64 %i, 1
  %more_rounds = icmp slt i64 %i_next, %rounds
  br i1 %more_rounds, label %wait, label %done
wait:
  %yielded = call i32 @sched_yield()
  br label %look
together:
  store i32 1, ptr %place
  br label %done
done:
  %next = add i64 %p, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %program, label %out
out:
  ret void
}

; scratch(i32* errors, i64 bytes): two pieces held at once keep what each program wrote there
define void @scratch(ptr %args, i64 %begin, i64 %end) {
entry:
  %slot = getelementptr i8, ptr %args, i64 16
  %errors = load ptr, ptr %slot
  %bytes_slot = getelementptr i8, ptr %args, i64 24
  %bytes = load i64, ptr %bytes_slot
  %words = lshr i64 %bytes, 3
  br label %program
program:
  %p = phi i64 [ %begin, %entry ], [ %next, %clean ]
  %a = call ptr @tritorch_scratch_acquire(i64 %bytes)
  %b = call ptr @tritorch_scratch_acquire(i64 %bytes)
  %ai = ptrtoint ptr %a to i64
  %bi = ptrtoint ptr %b to i64
  %both = or i64 %ai, %bi
  %low = and i64 %both, 63
  %misaligned = icmp ne i64 %low, 0
  %m = zext i1 %misaligned to i32
  %e0 = atomicrmw add ptr %errors, i32 %m monotonic
  %minus = xor i64 %p, -1
  br label %write
write:
  %i = phi i64 [ 0, %program ], [ %i1, %write ]
  %wa = getelementptr i64, ptr %a, i64 %i
  %wb = getelementptr i64, ptr %b, i64 %i
  store volatile i64 %p, ptr %wa
  store volatile i64 %minus, ptr %wb
  %i1 = add i64 %i, 1
  %wm = icmp slt i64 %i1, %words
  br i1 %wm, label %write, label %read
read:
  %j = phi i64 [ 0, %write ], [ %j1, %read ]
  %ra = getelementptr i64, ptr %a, i64 %j
  %rb = getelementptr i64, ptr %b, i64 %j
  %va = load volatile i64, ptr %ra
  %vb = load volatile i64, ptr %rb
  %da = icmp ne i64 %va, %p
  %db = icmp ne i64 %vb, %minus
  %d = or i1 %da, %db
  %dz = zext i1 %d to i32
  %e1 = atomicrmw add ptr %errors, i32 %dz monotonic
  %j1 = add i64 %j, 1
  %rm = icmp slt i64 %j1, %words
  br i1 %rm, label %read, label %clean
clean:
  call void @tritorch_scratch_release(ptr %b)
  call void @tritorch_scratch_release(ptr %a)
  %next = add i64 %p, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %program, label %out
out:
  ret void
}

; check(i64 x): fails unless x is 12
define void @check(ptr %args, i64 %begin, i64 %end) {
  %slot = getelementptr i8, ptr %args, i64 16
  %x = load i64, ptr %slot
  %good = icmp eq i64 %x, 12
  br i1 %good, label %out, label %bad
bad:
  call void @tritorch_assert_failed(ptr @message)
  br label %out
out:
  ret void
}
"""
NAMES = ("empty", "count", "dump", "spin", "meet", "scratch", "check")
#: of "meet": a minute and more, where nobody comes
ROUNDS = 200_000_000

MakeKernel = Callable[..., Kernel]
RunScript = Callable[[str], "subprocess.CompletedProcess[str]"]


def build_kernels() -> MakeKernel:
    """A function that makes a Kernel of one of KERNELS with the parameter types given."""
    native.symbols()
    entries = llvm.load_object(llvm.compile_object(KERNELS, host(), name="tests"), NAMES)

    def make(name: str, *types: str) -> Kernel:
        signature = {f"p{index}": kind for index, kind in enumerate(types)}
        return Kernel(
            name=name,
            source=None,
            signature=signature,
            constants={},
            parameter_types=types,
            entry=entries[name],
            from_cache=False,
            compile_seconds=0.0,
        )

    return make


@pytest.fixture(scope="session")
def make_kernel() -> MakeKernel:
    return build_kernels()


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads for one test."""
    before = config.num_threads

    def set_threads(count: int) -> None:
        config.num_threads = count

    yield set_threads
    config.num_threads = before


@pytest.fixture
def run_script() -> RunScript:
    """Run Python text in a process of its own, with warnings as errors and the names below."""
    prelude = (
        "import ctypes, os, sys, threading, time\n"
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('kernels', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "kernel = module.build_kernels()\n"
        "from tritorch.config import config\n"
        "from tritorch.runtime.cpu.launcher import bind\n"
        "from tritorch.runtime.cpu.pool import pool\n"
        "def counted(programs, launches=1):\n"
        "    counts = (ctypes.c_int32 * programs)()\n"
        "    launch = bind(kernel('count', '*i32'), (programs,), (None,), work=1e9)\n"
        "    for _ in range(launches): launch(ctypes.addressof(counts))\n"
        "    return list(counts)\n"
    )

    def run(text: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRITORCH_NUM_THREADS": "3"}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", prelude + text],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
