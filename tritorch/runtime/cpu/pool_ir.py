"""The thread pool's machine code, as LLVM text: publishing a job, claiming chunks of it, sleeping.

One job runs at a time. The thread that launches (the master) publishes `{function, arguments, end,
chunk}` and works too. Chunks are claimed by compare-and-swap on `claim`, a word that holds the next
program in its low 40 bits and the job's generation in its high 24: a worker that comes late to a
job finds another generation there and claims nothing of a newer one. This order makes it safe:

- the master writes the new generation (closed: no program left) *before* it changes the fields, and
  opens it after; a worker reads the fields *before* it reads `claim`. So fields of a newer job are
  only ever seen together with its generation.
- a claimed chunk keeps its job unfinished, so whatever the master's `arguments` point to is alive.

`busy` is a try-lock: a master that finds it taken runs its job alone, so nothing can deadlock.
Waking a sleeping worker costs microseconds of system calls, so a job shorter than `WAKE_NS` is
shared with workers that still spin after the last one, and runs alone where all sleep (and on an
OpenMP runtime's threads, whose barrier costs as much), until `PATIENCE_NS` of such work went by.

When an OpenMP runtime lives in the process (it came with PyTorch, say), its threads spin after each
of their own jobs and two pools would fight for the cores. Then `openmp` holds its `GOMP_parallel`
and jobs run on its threads instead; claiming is the same.
"""

from __future__ import annotations

import ctypes

from tritorch.errors import DeviceError

MAX_PROGRAMS = (1 << 40) - 1
#: Chunks a thread gets of a job on average: more even out uneven programs, fewer claim less.
CHUNKS_PER_THREAD = 8
#: A job of at least so many nanoseconds (on one thread) is worth waking workers for.
WAKE_NS = 40_000
#: So much shorter work, one launch after the other without help, is worth it too: what follows will
#: find the workers spinning.
PATIENCE_NS = 200_000


class PoolState(ctypes.Structure):
    """`@tritorch_pool` as Python sees it (the fields of `%Pool` below)."""

    _fields_ = (
        ("generation", ctypes.c_uint32),  # of the newest job; idle workers sleep on this word
        ("sleepers", ctypes.c_uint32),
        ("stop", ctypes.c_uint32),
        ("busy", ctypes.c_uint32),
        ("started", ctypes.c_uint32),  # 0: the next parallel launch calls Python to start workers
        ("threads", ctypes.c_uint32),  # the master included
        ("worker_pauses", ctypes.c_uint64),  # spin this long for a job, then sleep
        ("master_pauses", ctypes.c_uint64),  # spin this long for the last chunks, then sleep
        ("openmp", ctypes.c_void_p),  # GOMP_parallel or null
        ("parallel_jobs", ctypes.c_uint64),  # jobs that went through the pool, for tests
        ("alone_ns", ctypes.c_uint64),  # work done alone since workers last woke, see PATIENCE_NS
        ("function", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("end", ctypes.c_int64),
        ("chunk", ctypes.c_int64),
        ("_pad0", ctypes.c_uint64 * 4),
        ("claim", ctypes.c_uint64),
        ("_pad1", ctypes.c_uint64 * 7),
        ("left", ctypes.c_uint64),  # programs not yet run; the master sleeps on the low half
        ("master_sleeps", ctypes.c_uint32),
        ("_pad2", ctypes.c_uint32 * 13),
    )


#: architecture -> (number of the futex system call, one pause of a spin loop, its declaration)
_ARCHITECTURES = {
    "x86_64": (202, "call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    # ISB waits some ns; YIELD, the usual hint, does nothing on most cores.
    "aarch64": (98, "call void @llvm.aarch64.isb(i32 15)", "declare void @llvm.aarch64.isb(i32)"),
}
_ARCHITECTURES["arm64"] = _ARCHITECTURES["aarch64"]

_TEXT = r"""
%Pool = type { i32, i32, i32, i32, i32, i32, i64, i64, ptr, i64, i64,
               ptr, ptr, i64, i64, [4 x i64],
               i64, [7 x i64],
               i64, i32, [13 x i32] }
@tritorch_pool = global %Pool zeroinitializer, align 64
@generation = internal alias i32, ptr @tritorch_pool
@sleepers = internal alias i32, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 1)
@stop = internal alias i32, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 2)
@busy = internal alias i32, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 3)
@started = internal alias i32, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 4)
@threads = internal alias i32, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 5)
@worker_pauses = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 6)
@master_pauses = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 7)
@openmp = internal alias ptr, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 8)
@parallel_jobs = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 9)
@alone_ns = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 10)
@function = internal alias ptr, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 11)
@arguments = internal alias ptr, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 12)
@end = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 13)
@chunk = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 14)
@claim = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 16)
@left = internal alias i64, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 18)
@master_sleeps = internal alias i32, getelementptr (%Pool, ptr @tritorch_pool, i32 0, i32 19)

declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
PAUSE_DECLARATION

define internal void @futex_wait(ptr %word, i32 %value) {
  %r = call i64 (i64, ...) @syscall(
      i64 FUTEX, ptr %word, i32 128, i32 %value, ptr null, ptr null, i32 0)
  ret void
}
define internal void @futex_wake(ptr %word, i32 %count) {
  %r = call i64 (i64, ...) @syscall(
      i64 FUTEX, ptr %word, i32 129, i32 %count, ptr null, ptr null, i32 0)
  ret void
}

; Spin for %count pauses; Python times it to turn microseconds into pauses.
define void @tritorch_pool_pause(i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  PAUSE
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %out
out:
  ret void
}

; One round of a spin loop. Every 32nd offers the core to whoever else is ready: where there are
; more threads than cores, that is the one waited for (a spinner that a wake-up put on the master's
; core would keep the master from going on).
define internal void @breathe(i64 %round) alwaysinline {
  PAUSE
  %low = and i64 %round, 31
  %often = icmp ne i64 %low, 31
  br i1 %often, label %out, label %offer
offer:
  %r = call i32 @sched_yield()
  br label %out
out:
  ret void
}

; Claim and run chunks of the job of this generation until none is left.
define internal void @work(i64 %mine) {
entry:
  %function = load atomic ptr, ptr @function monotonic, align 8
  %arguments = load atomic ptr, ptr @arguments monotonic, align 8
  %end = load atomic i64, ptr @end monotonic, align 8
  %chunk = load atomic i64, ptr @chunk monotonic, align 8
  fence acquire
  br label %look
look:
  %word = load atomic i64, ptr @claim acquire, align 8
  %generation = lshr i64 %word, 40
  %current = icmp eq i64 %generation, %mine
  %begin = and i64 %word, 1099511627775
  %some = icmp ult i64 %begin, %end
  %go = and i1 %current, %some
  br i1 %go, label %try, label %out
try:
  %wanted = add i64 %begin, %chunk
  %whole = icmp ult i64 %wanted, %end
  %stop = select i1 %whole, i64 %wanted, i64 %end
  %high = shl i64 %mine, 40
  %claimed = or i64 %high, %stop
  %swap = cmpxchg ptr @claim, i64 %word, i64 %claimed acq_rel acquire
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %run, label %look
run:
  call void %function(ptr %arguments, i64 %begin, i64 %stop)
  %done = sub i64 %stop, %begin
  %before = atomicrmw sub ptr @left, i64 %done seq_cst
  %last = icmp eq i64 %before, %done
  br i1 %last, label %finished, label %look
finished:
  %sleeps = load atomic i32, ptr @master_sleeps seq_cst, align 4
  %wake = icmp ne i32 %sleeps, 0
  br i1 %wake, label %signal, label %out
signal:
  call void @futex_wake(ptr @left, i32 1)
  br label %out
out:
  ret void
}

; The life of a worker: wait for a newer generation than the last seen, work, until told to stop.
define void @tritorch_pool_worker(i32 %first) {
entry:
  %spins = load i64, ptr @worker_pauses, align 8
  br label %idle
idle:
  %seen = phi i32 [ %first, %entry ], [ %newest, %job ]
  br label %spin
spin:
  %i = phi i64 [ 0, %idle ], [ %next, %pause ]
  %now = load atomic i32, ptr @generation acquire, align 4
  %new = icmp ne i32 %now, %seen
  br i1 %new, label %wakened, label %pause
pause:
  call void @breathe(i64 %i)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %spins
  br i1 %more, label %spin, label %sleep
sleep:
  %s0 = atomicrmw add ptr @sleepers, i32 1 seq_cst
  call void @futex_wait(ptr @generation, i32 %seen)
  %s1 = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  %then = load atomic i32, ptr @generation acquire, align 4
  %changed = icmp ne i32 %then, %seen
  br i1 %changed, label %wakened, label %sleep
wakened:
  %newest = load atomic i32, ptr @generation acquire, align 4
  %stopping = load atomic i32, ptr @stop seq_cst, align 4
  %quit = icmp ne i32 %stopping, 0
  br i1 %quit, label %out, label %job
job:
  %wide = zext i32 %newest to i64
  %mine = and i64 %wide, 16777215
  call void @work(i64 %mine)
  br label %idle
out:
  ret void
}

; What each OpenMP thread runs.
define internal void @openmp_body(ptr %unused) {
  %generation = load atomic i32, ptr @generation acquire, align 4
  %wide = zext i32 %generation to i64
  %mine = and i64 %wide, 16777215
  call void @work(i64 %mine)
  ret void
}

define i32 @tritorch_pool_try_lock() {
  %swap = cmpxchg ptr @busy, i32 0, i32 1 acquire monotonic
  %won = extractvalue { i32, i1 } %swap, 1
  %result = zext i1 %won to i32
  ret i32 %result
}
define void @tritorch_pool_unlock() {
  store atomic i32 0, ptr @busy release, align 4
  ret void
}

; Tell the workers to return. The caller holds the lock.
define void @tritorch_pool_halt() {
  store atomic i32 1, ptr @stop seq_cst, align 4
  %g = atomicrmw add ptr @generation, i32 1 seq_cst
  call void @futex_wake(ptr @generation, i32 2147483647)
  ret void
}

; Run the programs %from <= p < %end on the pool, or alone where that is all there is. They take
; about %work nanoseconds on one thread.
define void @tritorch_pool_run(ptr %function, ptr %arguments, i64 %from, i64 %end, i64 %grain,
                               i64 %work) {
entry:
  %count = sub i64 %end, %from
  %threads = load i32, ptr @threads, align 4
  %many = icmp ugt i32 %threads, 1
  br i1 %many, label %divide, label %alone
divide:
  %wide_threads = zext i32 %threads to i64
  %shares = mul i64 %wide_threads, CHUNKS_PER_THREAD
  %even = udiv i64 %count, %shares
  %chunk0 = call i64 @llvm.umax.i64(i64 %even, i64 %grain)
  %chunk = call i64 @llvm.umax.i64(i64 %chunk0, i64 1)
  %single = icmp uge i64 %chunk, %count
  br i1 %single, label %alone, label %attend
attend:
  %openmp = load ptr, ptr @openmp, align 8
  %borrowed = icmp ne ptr %openmp, null
  %asleep = load atomic i32, ptr @sleepers monotonic, align 4
  %workers = sub i32 %threads, 1
  %someone_awake = icmp ult i32 %asleep, %workers
  %one_is_long = icmp uge i64 %work, WAKE_NS
  %own_threads = xor i1 %borrowed, true
  %all_asleep = xor i1 %someone_awake, true
  %lonely = and i1 %all_asleep, %own_threads
  %more_alone = select i1 %lonely, i64 %work, i64 0
  %alone_before = load i64, ptr @alone_ns, align 8
  %alone_now = add i64 %alone_before, %more_alone
  %many_are_long = icmp uge i64 %alone_now, PATIENCE_NS
  %alone_kept = select i1 %many_are_long, i64 0, i64 %alone_now
  store i64 %alone_kept, ptr @alone_ns, align 8
  %long = or i1 %one_is_long, %many_are_long
  %own_awake = and i1 %someone_awake, %own_threads
  %worthwhile = or i1 %long, %own_awake
  br i1 %worthwhile, label %lock, label %alone
lock:
  %swap = cmpxchg ptr @busy, i32 0, i32 1 acquire monotonic
  %won = extractvalue { i32, i1 } %swap, 1
  br i1 %won, label %publish, label %alone
alone:
  call void %function(ptr %arguments, i64 %from, i64 %end)
  ret void

publish:
  %jobs = load i64, ptr @parallel_jobs, align 8
  %jobs1 = add i64 %jobs, 1
  store i64 %jobs1, ptr @parallel_jobs, align 8
  %old = load atomic i32, ptr @generation monotonic, align 4
  %new = add i32 %old, 1
  %wide = zext i32 %new to i64
  %mine = and i64 %wide, 16777215
  %high = shl i64 %mine, 40
  %closed = or i64 %high, 1099511627775
  store atomic i64 %closed, ptr @claim seq_cst, align 8
  fence seq_cst
  store atomic ptr %function, ptr @function monotonic, align 8
  store atomic ptr %arguments, ptr @arguments monotonic, align 8
  store atomic i64 %end, ptr @end monotonic, align 8
  store atomic i64 %chunk, ptr @chunk monotonic, align 8
  store atomic i64 %count, ptr @left monotonic, align 8
  %open = or i64 %high, %from
  store atomic i64 %open, ptr @claim release, align 8
  store atomic i32 %new, ptr @generation seq_cst, align 4
  br i1 %borrowed, label %borrow, label %own
borrow:
  call void %openmp(ptr @openmp_body, ptr null, i32 %threads, i32 0)
  br label %wait
own:
  %asleep_now = load atomic i32, ptr @sleepers seq_cst, align 4
  %any = icmp ne i32 %asleep_now, 0
  %call = and i1 %any, %long
  br i1 %call, label %wake, label %take
wake:
  %c1 = sub i64 %count, 1
  %helpers = udiv i64 %c1, %chunk
  %helpers31 = call i64 @llvm.umin.i64(i64 %helpers, i64 2147483647)
  %helpers32 = trunc i64 %helpers31 to i32
  call void @futex_wake(ptr @generation, i32 %helpers32)
  br label %take
take:
  call void @work(i64 %mine)
  br label %wait

wait:
  %i = phi i64 [ 0, %borrow ], [ 0, %take ], [ %next, %pause ], [ 0, %awake ]
  %left = load atomic i64, ptr @left acquire, align 8
  %finished = icmp eq i64 %left, 0
  br i1 %finished, label %out, label %spin
spin:
  %spins = load i64, ptr @master_pauses, align 8
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %spins
  br i1 %more, label %pause, label %sleep
pause:
  call void @breathe(i64 %i)
  br label %wait
sleep:
  store atomic i32 1, ptr @master_sleeps seq_cst, align 4
  %still = load atomic i64, ptr @left seq_cst, align 8
  %over = icmp eq i64 %still, 0
  br i1 %over, label %awake, label %doze
doze:
  %still32 = trunc i64 %still to i32
  call void @futex_wait(ptr @left, i32 %still32)
  br label %awake
awake:
  store atomic i32 0, ptr @master_sleeps seq_cst, align 4
  br label %wait
out:
  store atomic i32 0, ptr @busy release, align 4
  ret void
}
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
"""

NAMES = (
    "tritorch_pool",
    "tritorch_pool_pause",
    "tritorch_pool_worker",
    "tritorch_pool_try_lock",
    "tritorch_pool_unlock",
    "tritorch_pool_halt",
    "tritorch_pool_run",
)


def pool_text(architecture: str) -> str:
    """The module's text for `architecture` (the first part of an LLVM triple)."""
    if architecture not in _ARCHITECTURES:
        raise DeviceError(
            f"cpu: no thread pool for {architecture}. Use one of {', '.join(_ARCHITECTURES)}."
        )
    futex, pause, declaration = _ARCHITECTURES[architecture]
    return (
        _TEXT.replace("PAUSE_DECLARATION", declaration)
        .replace("CHUNKS_PER_THREAD", str(CHUNKS_PER_THREAD))
        .replace("WAKE_NS", str(WAKE_NS))
        .replace("PATIENCE_NS", str(PATIENCE_NS))
        .replace("FUTEX", str(futex))
        .replace("PAUSE", pause)
    )
