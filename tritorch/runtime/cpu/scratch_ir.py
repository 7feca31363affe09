"""Scratch memory for kernels and the flag of failed assertions, as LLVM text.

A kernel acquires scratch when a program needs room for a spilled tile and releases it before it
returns. `@slots` is a fixed table: a slot is claimed by compare-and-swap, keeps its memory when
released, and gets a larger piece when a request does not fit. So the table settles at one piece for
each thread and nesting level, and the usual acquire is one compare-and-swap. The 64 bytes before a
piece name its slot. When all slots are claimed, the piece is allocated for this one use.
"""

from __future__ import annotations

SLOTS = 512

_TEXT = r"""
%Slot = type { i64, ptr, i64, [5 x i64] }         ; claimed, memory, bytes; a cache line
@slots = internal global [SLOTS x %Slot] zeroinitializer, align 64
@tritorch_assert_message = global ptr null, align 8
@exhausted = internal constant [51 x i8] c"tritorch: no scratch memory for a kernel (%zu MB)\0A\00"
declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)
declare i32 @dprintf(i32, ptr, ...)
declare void @abort()

; A piece of at least %bytes with its head. A kernel cannot be unwound: without memory, stop.
define internal ptr @piece(i64 %bytes) {
  %whole = add i64 %bytes, 127
  %size = and i64 %whole, -64
  %memory = call ptr @aligned_alloc(i64 64, i64 %size)
  %failed = icmp eq ptr %memory, null
  br i1 %failed, label %stop, label %out
stop:
  %megabytes = lshr i64 %size, 20
  %printed = call i32 (i32, ptr, ...) @dprintf(i32 2, ptr @exhausted, i64 %megabytes)
  call void @abort()
  unreachable
out:
  ret ptr %memory
}

define ptr @tritorch_scratch_acquire(i64 %bytes) {
entry:
  br label %search
search:
  %i = phi i64 [ 0, %entry ], [ %next, %taken ]
  %slot = getelementptr [SLOTS x %Slot], ptr @slots, i64 0, i64 %i
  %claimed = load atomic i64, ptr %slot monotonic, align 8
  %free = icmp eq i64 %claimed, 0
  br i1 %free, label %try, label %taken
try:
  %swap = cmpxchg ptr %slot, i64 0, i64 1 acquire monotonic
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %mine, label %taken
taken:
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, SLOTS
  br i1 %more, label %search, label %single
mine:
  %memory_field = getelementptr %Slot, ptr %slot, i64 0, i32 1
  %size_field = getelementptr %Slot, ptr %slot, i64 0, i32 2
  %memory = load ptr, ptr %memory_field, align 8
  %size = load i64, ptr %size_field, align 8
  %fits = icmp uge i64 %size, %bytes
  br i1 %fits, label %done, label %grow
grow:
  ; A fork may copy any moment of this: the fields never name memory that is not theirs.
  store atomic i64 0, ptr %size_field release, align 8
  store atomic ptr null, ptr %memory_field release, align 8
  call void @free(ptr %memory)
  %double = shl i64 %size, 1
  %least = call i64 @llvm.umax.i64(i64 %bytes, i64 %double)
  %larger = call ptr @piece(i64 %least)
  store ptr %slot, ptr %larger, align 8
  store atomic ptr %larger, ptr %memory_field release, align 8
  store atomic i64 %least, ptr %size_field release, align 8
  br label %done
done:
  %piece = phi ptr [ %memory, %mine ], [ %larger, %grow ]
  %room = getelementptr i8, ptr %piece, i64 64
  ret ptr %room
single:
  %extra = call ptr @piece(i64 %bytes)
  store ptr null, ptr %extra, align 8
  %extra_room = getelementptr i8, ptr %extra, i64 64
  ret ptr %extra_room
}

define void @tritorch_scratch_release(ptr %room) {
entry:
  %piece = getelementptr i8, ptr %room, i64 -64
  %slot = load ptr, ptr %piece, align 8
  %single = icmp eq ptr %slot, null
  br i1 %single, label %give, label %keep
give:
  call void @free(ptr %piece)
  ret void
keep:
  store atomic i64 0, ptr %slot release, align 8
  ret void
}

; Free the memory of slots that nobody holds; gives the bytes freed.
define i64 @tritorch_scratch_trim() {
entry:
  br label %search
search:
  %i = phi i64 [ 0, %entry ], [ %next, %after ]
  %sum = phi i64 [ 0, %entry ], [ %sum1, %after ]
  %slot = getelementptr [SLOTS x %Slot], ptr @slots, i64 0, i64 %i
  %swap = cmpxchg ptr %slot, i64 0, i64 1 acquire monotonic
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %mine, label %after
mine:
  %memory_field = getelementptr %Slot, ptr %slot, i64 0, i32 1
  %size_field = getelementptr %Slot, ptr %slot, i64 0, i32 2
  %memory = load ptr, ptr %memory_field, align 8
  %size = load i64, ptr %size_field, align 8
  store atomic i64 0, ptr %size_field release, align 8
  store atomic ptr null, ptr %memory_field release, align 8
  call void @free(ptr %memory)
  store atomic i64 0, ptr %slot release, align 8
  br label %after
after:
  %freed = phi i64 [ 0, %search ], [ %size, %mine ]
  %sum1 = add i64 %sum, %freed
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, SLOTS
  br i1 %more, label %search, label %out
out:
  ret i64 %sum1
}

; In a forked child: threads that held slots do not exist here. Their memory is kept for reuse.
define void @tritorch_scratch_after_fork() {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %slot = getelementptr [SLOTS x %Slot], ptr @slots, i64 0, i64 %i
  store atomic i64 0, ptr %slot monotonic, align 8
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, SLOTS
  br i1 %more, label %loop, label %out
out:
  ret void
}

; Keep the first message; the launcher raises it.
define void @tritorch_assert_failed(ptr %message) {
  %first = cmpxchg ptr @tritorch_assert_message, ptr null, ptr %message seq_cst monotonic
  ret void
}
"""

NAMES = (
    "tritorch_assert_message",
    "tritorch_scratch_acquire",
    "tritorch_scratch_release",
    "tritorch_scratch_trim",
    "tritorch_scratch_after_fork",
    "tritorch_assert_failed",
)


def scratch_text() -> str:
    """The module's text."""
    return _TEXT.replace("SLOTS", str(SLOTS))
