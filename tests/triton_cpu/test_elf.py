"""The loader of x86-64 objects, held against LLVM's own linker."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritorch.errors import CompileError
from tritorch.triton_cpu import elf, llvm
from tritorch.triton_cpu.elf import UnknownFormat
from tritorch.triton_cpu.target import host, level

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the loader is for x86-64; elsewhere LLVM links"
)

#: What kernels and the runtime consist of: constants, a jump table, zeroed and initialised data,
#: a table of functions, aliases, calls and data of the process.
TEXT = r"""
@counter = global i64 0, align 64
@second = internal alias i64, getelementptr (i64, ptr @counter, i64 0)
@start = global i64 40, align 8
@functions = internal constant [2 x ptr] [ptr @one, ptr @two], align 8
@stdout = external global ptr
declare i64 @labs(i64)

define i64 @one() { ret i64 1 }
define i64 @two() { ret i64 2 }

define i64 @count() {
  %old = load i64, ptr @second
  %new = add i64 %old, 1
  store i64 %new, ptr @counter
  ret i64 %new
}
define i64 @add_to_start(i64 %x) {
  %start = load i64, ptr @start
  %sum = add i64 %start, %x
  ret i64 %sum
}
define i64 @absolute(i64 %x) {
  %y = call i64 @labs(i64 %x)
  ret i64 %y
}
define i64 @outside() {
  %y = ptrtoint ptr @stdout to i64
  ret i64 %y
}
define i64 @through_table(i64 %i) {
  %slot = getelementptr ptr, ptr @functions, i64 %i
  %function = load ptr, ptr %slot
  %y = call i64 %function()
  ret i64 %y
}
define i64 @choose(i64 %x) {
entry:
  switch i64 %x, label %other [ i64 0, label %a i64 1, label %b i64 2, label %c i64 3, label %d
                                i64 4, label %e i64 5, label %f ]
a:
  ret i64 17
b:
  %b1 = call i64 @count()
  ret i64 %b1
c:
  ret i64 290
d:
  %d1 = call i64 @labs(i64 -5)
  ret i64 %d1
e:
  ret i64 -4
f:
  ret i64 77777777777
other:
  ret i64 0
}
define double @polynomial(double %x) {
  %a = fmul double %x, 1.25
  %b = fadd double %a, 0.1
  ret double %b
}
"""

NAMES = (
    "one", "two", "count", "add_to_start", "absolute", "outside", "through_table", "choose",
    "polynomial",
)  # fmt: skip


@cache
def example() -> bytes:
    return llvm.compile_object(TEXT, host(), name="example")


def address_in_process(name: str) -> int:
    return ctypes.addressof(ctypes.c_char.in_dll(ctypes.CDLL(None), name))


def integer_function(address: int) -> Callable[..., int]:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)


def results(addresses: dict[str, int]) -> list[float]:
    """What the functions of the example return, in an order that changes its data."""
    call = {name: integer_function(addresses[name]) for name in NAMES[:-1]}
    polynomial = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(addresses["polynomial"])
    return [
        call["one"](0),
        *(call["count"](0) for _ in range(3)),
        call["add_to_start"](2),
        call["absolute"](-(1 << 60)),
        call["outside"](0),
        *(call["through_table"](i) for i in range(2)),
        *(call["choose"](i) for i in range(-1, 7)),
        *(polynomial(x) for x in (0.0, -3.0, 1e300)),
    ]


EXPECTED = [1, 1, 2, 3, 42, 1 << 60, None, 1, 2, 0, 17, 4, 290, 5, -4, 77777777777, 0, 0.1, -3.65]


def test_everything_an_object_refers_to_is_found() -> None:
    found = results(elf.load(example(), address_in_process))
    expected: list[float | None] = [*EXPECTED, 1.25e300]
    expected[6] = address_in_process("stdout")
    assert found == expected


def test_it_agrees_with_the_linker_of_llvm() -> None:
    assert results(elf.load(example(), address_in_process)) == results(
        llvm._link(example(), NAMES, {})
    )


def test_each_load_has_its_own_data() -> None:
    first, second = (elf.load(example(), address_in_process) for _ in range(2))
    count = integer_function(first["count"])
    assert [count(0), count(0), integer_function(second["count"])(0)] == [1, 2, 1]
    assert ctypes.c_int64.from_address(first["counter"]).value == 2
    assert first["counter"] % 64 == 0


def test_code_cannot_be_written_and_data_not_executed() -> None:
    addresses = elf.load(example(), address_in_process)
    rights = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, mode = line.split()[:2]
        low, high = (int(end, 16) for end in span.split("-"))
        rights |= {n: mode for n in ("choose", "counter") if low <= addresses[n] < high}
    assert rights == {"choose": "r-xp", "counter": "rw-p"}


def test_threads_may_load_at_once() -> None:
    with ThreadPoolExecutor(4) as threads:
        loads = threads.map(lambda _: elf.load(example(), address_in_process), range(40))
        assert [integer_function(load["count"])(0) for load in loads] == [1] * 40


def test_supplied_functions_come_before_the_process() -> None:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    callback = prototype(lambda x: x - 1)
    address = ctypes.cast(callback, ctypes.c_void_p).value or 0
    loaded = llvm.load_object(example(), ["absolute"], {"labs": address})
    assert integer_function(loaded["absolute"])(-5) == -6


def test_a_name_that_is_not_defined_is_an_error() -> None:
    with pytest.raises(CompileError, match="nowhere: the object does not link: it defines no now"):
        llvm.load_object(example(), ["nowhere"])


# ---- what it does not understand


@given(cut=st.integers(0, 10_000), flips=st.lists(st.integers(0, 511), max_size=3))
def test_damage_is_refused_or_harmless(cut: int, flips: list[int]) -> None:
    """The cache's checksums keep such objects out; the loader still must not go astray."""
    damaged = bytearray(example()[: cut % len(example())])
    for flip in flips:
        if flip < len(damaged):
            damaged[flip] ^= 0x41
    with pytest.raises(UnknownFormat):
        elf.load(bytes(damaged), address_in_process)


def test_objects_for_other_processors_are_left_to_llvm() -> None:
    binding = llvm.binding()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    triple = "aarch64-unknown-linux-gnu"
    machine = binding.Target.from_triple(triple).create_target_machine(reloc="pic")
    module = binding.parse_assembly("define i64 @f() { ret i64 1 }")
    module.triple = triple
    with pytest.raises(UnknownFormat, match="not a relocatable ELF object for x86-64"):
        elf.load(machine.emit_object(module), address_in_process)


@pytest.mark.parametrize(
    "text",
    [
        "@x = thread_local global i64 1\ndefine i64 @f() { %v = load i64, ptr @x\n ret i64 %v }",
        "@x = common global i64 0\ndefine i64 @f() { %v = load i64, ptr @x\n ret i64 %v }",
        "@x = global i64 0, align 65536\ndefine i64 @f() { %v = load i64, ptr @x\n ret i64 %v }",
    ],
    ids=["thread-local", "common", "large alignment"],
)
def test_rare_things_are_left_to_llvm(text: str) -> None:
    with pytest.raises(UnknownFormat):
        elf.load(llvm.compile_object(text, level("x86-64"), name="f"), address_in_process)


# ---- a warm process


def test_a_warm_process_needs_neither_llvm_nor_triton(tmp_path: Path) -> None:
    script = """
import sys
import tritorch as torch
x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
(x * x).sum().backward()
print(x.grad.tolist(), [name in sys.modules for name in ("llvmlite.binding", "triton")])
"""
    environment = os.environ | {"TRITORCH_CACHE_DIR": str(tmp_path), "TRITORCH_CACHE": "on"}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        return done.stdout.strip()

    assert run() == "[6.0, 2.0, 4.0] [True, True]"
    assert run() == "[6.0, 2.0, 4.0] [False, False]"
