from __future__ import annotations

import ctypes
import gc
import math
import struct
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.conftest import ROUNDS
from tritorch.errors import DeviceAssertError
from tritorch.runtime.cpu import launcher_ir
from tritorch.runtime.cpu import pool as pool_module
from tritorch.runtime.cpu.launcher import bind
from tritorch.runtime.cpu.launcher_ir import PARALLEL_NS
from tritorch.runtime.cpu.pool import pool
from tritorch.runtime.cpu.pool_ir import PATIENCE_NS, WAKE_NS

LONG = 1e9


def dumped(make_kernel, grid, types, values, dynamic) -> bytes:
    """The argument block that a launch gives to its kernel."""
    size = 16 + 8 * (2 + len(types))
    out = (ctypes.c_char * size)()
    kernel = make_kernel("dump", "*i8", "i64", *types)
    fixed = [None if is_dynamic else value for value, is_dynamic in zip(values, dynamic)]
    launch = bind(kernel, grid, (ctypes.addressof(out), size, *fixed), work=1)
    launch(*(value for value, is_dynamic in zip(values, dynamic) if is_dynamic))
    assert struct.unpack_from("<2Q", out.raw, 16) == (ctypes.addressof(out), size)
    return out.raw


def bfloat16_bits(value: float) -> int:
    import ml_dtypes

    with np.errstate(over="ignore"):
        return int(np.array(np.float32(value), ml_dtypes.bfloat16).view(np.uint16))


def slot(kind: str, value: Any) -> bytes:
    """What the 8 bytes of an argument must be."""
    if kind == "fp64":
        return struct.pack("<d", value)
    if kind == "fp32":
        with np.errstate(over="ignore"):
            return np.float32(value).tobytes() + bytes(4)
    if kind == "fp16":
        return np.float16(value).tobytes() + bytes(6)
    if kind == "bf16":
        return struct.pack("<H6x", bfloat16_bits(value))
    if kind == "i1":
        return int(bool(value)).to_bytes(8, "little")
    return (value % (1 << 64)).to_bytes(8, "little")


def integers(kind: str) -> st.SearchStrategy[int]:
    bits = int(kind[1:])
    if kind[0] == "u":
        return st.integers(0, (1 << bits) - 1)
    return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


KINDS = {
    **{kind: integers(kind) for kind in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")},
    "*fp32": st.integers(0, (1 << 62) - 1),
    "i1": st.one_of(st.booleans(), st.integers(0, 3), st.just(None).map(lambda _: "")),
    "fp64": st.floats(allow_nan=False),
    "fp32": st.floats(allow_nan=False),
    "fp16": st.floats(-65000, 65000),
    "bf16": st.floats(allow_nan=False),
}
ARGUMENT = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.tuples(st.just(kind), KINDS[kind], st.booleans())
)


@settings(max_examples=150, deadline=None)
@given(
    arguments=st.lists(ARGUMENT, max_size=12),
    grid=st.lists(st.integers(1, 3), min_size=1, max_size=3),
)
def test_slots_hold_the_values_in_their_types(make_kernel, arguments, grid):
    types, values, dynamic = zip(*arguments) if arguments else ((), (), ())
    raw = dumped(make_kernel, grid, types, values, dynamic)
    assert struct.unpack_from("<4i", raw) == (*grid, *[1] * (3 - len(grid)), 0)
    for index, (kind, value, is_dynamic) in enumerate(arguments):
        begin = 32 + 8 * index
        assert raw[begin : begin + 8] == slot(kind, value), (kind, value, is_dynamic)


@pytest.mark.parametrize("kind", ["fp64", "fp32", "fp16", "bf16"])
@pytest.mark.parametrize("dynamic", [True, False])
def test_nan_stays_nan(make_kernel, kind, dynamic):
    raw = dumped(make_kernel, (1,), (kind,), (math.nan,), (dynamic,))[32:]
    bits = {"fp64": 64, "fp32": 32, "fp16": 16, "bf16": 16}[kind]
    mantissa = {"fp64": 52, "fp32": 23, "fp16": 10, "bf16": 7}[kind]
    number = int.from_bytes(raw[: bits // 8], "little")
    assert number >> mantissa & ((1 << (bits - 1 - mantissa)) - 1) == (1 << bits - 1 - mantissa) - 1
    assert number & ((1 << mantissa) - 1)


@pytest.mark.parametrize("count", [60, 61, 100, 1000])
def test_many_arguments(make_kernel, count):
    values = tuple(range(1000, 1000 + count))
    raw = dumped(make_kernel, (1,), ("i64",) * count, values, (True,) * count)
    assert struct.unpack_from(f"<{count}q", raw, 32) == values


def test_numpy_numbers_are_numbers(make_kernel):
    values = (np.int32(-5), np.float32(1.5), np.uint8(7), np.float64(2.5), np.int64(3))
    types = ("i32", "fp32", "i64", "fp64", "fp32")
    for dynamic in (True, False):
        raw = dumped(make_kernel, (1,), types, values, (dynamic,) * 5)
        assert struct.unpack_from("<qf4xqdf4x", raw, 32) == (-5, 1.5, 7, 2.5, 3.0)


class Pointer:
    def __init__(self, result: Any) -> None:
        self.result = result

    def data_ptr(self) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_objects_with_data_ptr_are_addresses(make_kernel):
    raw = dumped(make_kernel, (1,), ("*fp32",), (Pointer(0x7F00_0000_1234),), (True,))
    assert struct.unpack_from("<Q", raw, 32) == (0x7F00_0000_1234,)
    launch = bind(make_kernel("empty", "*fp32"), (1,), (None,), work=1)
    with pytest.raises(KeyError, match="mine"):
        launch(Pointer(KeyError("mine")))
    with pytest.raises(TypeError):
        launch(Pointer("text"))


@pytest.mark.parametrize(
    ("kind", "value", "error", "message"),
    [
        ("*fp32", 1.5, TypeError, "empty: argument 2 must be an address .* got a float"),
        (
            "*fp32",
            np.zeros(1, np.int64),
            TypeError,
            "argument 2 must be an address .*numpy.ndarray",
        ),
        ("*fp32", None, TypeError, "argument 2 must be an address .*NoneType"),
        ("i32", 1 << 31, OverflowError, r"empty: argument 2 is 2147483648, .*-2147483648\.\.21474"),
        ("i32", -(1 << 31) - 1, OverflowError, "argument 2 is -2147483649"),
        ("i8", 128, OverflowError, "argument 2 is 128"),
        ("u8", -1, OverflowError, r"argument 2 is -1, .*\(0\.\.255\)"),
        ("i64", 1 << 63, OverflowError, "too large"),
        ("u64", -1, OverflowError, "can't convert negative"),
        ("u64", 1 << 64, OverflowError, "too big|too large"),
        ("i32", 1.5, TypeError, "float.* interpreted as an integer"),
        ("i32", "1", TypeError, "str.* interpreted as an integer"),
        ("fp32", "1", TypeError, "must be real number, not str"),
        ("fp64", None, TypeError, "must be real number"),
        ("fp16", 1e6, OverflowError, "float too large"),
    ],
)
def test_values_of_a_wrong_kind(make_kernel, kind, value, error, message):
    kernel = make_kernel("empty", "i64", kind)
    launch = bind(kernel, (1,), (None, None), work=1)
    with pytest.raises(error, match=message):
        launch(1, value)
    assert kernel.launches == 0
    assert launch(1, 1 if kind != "*fp32" else 4096) is None
    assert kernel.launches == 1


def test_an_exception_of_the_argument_passes_through(make_kernel):
    class Bad:
        def __index__(self) -> int:
            raise LookupError("no number")

        __float__ = __bool__ = __index__

    for kind in ("i32", "fp32", "fp64", "i1"):
        with pytest.raises(LookupError, match="no number"):
            bind(make_kernel("empty", kind), (1,), (None,))(Bad())


def test_a_wrong_number_of_arguments(make_kernel):
    launch = bind(make_kernel("empty", "*fp32", "i32", "i32"), (1,), (None, 3, None))
    for arguments in ((), (1,), (1, 2, 3)):
        expected = f"empty: the launch takes 2 dynamic arguments, got {len(arguments)}"
        with pytest.raises(TypeError, match=expected):
            launch(*arguments)
    with pytest.raises(TypeError, match="no keyword"):
        launch(1, 2, work=3)


@pytest.mark.parametrize(
    ("grid", "values", "error", "message"),
    [
        ((), (1, 2), ValueError, r"bind: kernel empty: grid \(\) must be one to three counts"),
        ((1, 1, 1, 1), (1, 2), ValueError, "must be one to three counts"),
        ((-1,), (1, 2), ValueError, r"grid \(-1,\) must be"),
        ((1 << 31,), (1, 2), ValueError, "must be one to three"),
        ((1 << 30, 1 << 30), (1, 2), ValueError, "programs, at most"),
        ((1.5,), (1, 2), TypeError, "float"),
        ((1,), (1,), ValueError, "kernel empty has 2 parameters, got 1 values"),
        ((1,), (1, 1 << 31), OverflowError, "kernel empty: 2147483648 is not within i32"),
        ((1,), (-1, 1), OverflowError, r"-1 is not within \*fp32"),
        ((1,), (1, 1.5), TypeError, "float"),
    ],
)
def test_bind_rejects(make_kernel, grid, values, error, message):
    with pytest.raises(error, match=message):
        bind(make_kernel("empty", "*fp32", "i32"), grid, values)


@pytest.mark.parametrize("value", [None, 1])
def test_bind_rejects_unknown_types(make_kernel, value):
    with pytest.raises(TypeError, match=r"kernel empty: unknown parameter type 'fp7'\. Use one of"):
        bind(make_kernel("empty", "fp7"), (1,), (value,))


def test_an_empty_grid_launches_nothing(make_kernel):
    for work in (None, 1, LONG):
        kernel = make_kernel("check", "i64")
        assert bind(kernel, (5, 0), (None,), work=work)(0) is None


def test_failed_assertions_raise_once_and_name_the_kernel(make_kernel, threads):
    threads(2)
    for work in (None, 1, LONG):
        launch = bind(make_kernel("check", "i64"), (100,), (None,), work=work)
        launch(12)
        for _ in range(4):
            with pytest.raises(DeviceAssertError, match="check: device_assert failed: x is not 12"):
                launch(11)
            launch(12)


def test_launches_are_counted(make_kernel):
    kernel = make_kernel("empty", "i32")
    first, second = bind(kernel, (1,), (None,)), bind(kernel, (100,), (None,), work=LONG)
    for _ in range(10):
        first(1)
        second(1)
    assert kernel.launches == 20


def test_a_bound_launch_keeps_its_kernel_and_leaks_nothing(make_kernel):
    kernel = make_kernel("empty", "*fp32", "i32", "fp32")
    references = sys.getrefcount(kernel)
    launches = [bind(kernel, (1,), (None, None, None)) for _ in range(10)]
    assert sys.getrefcount(kernel) == references + 10
    assert launches[0].__name__ == "launch" and "dynamic arguments" in launches[0].__doc__
    address, number = 1 << 40, 1.5
    before = sys.getrefcount(address), sys.getrefcount(number), sys.getrefcount(None)
    for _ in range(1000):
        launches[0](address, 100_000, number)
    after = sys.getrefcount(address), sys.getrefcount(number), sys.getrefcount(None)
    assert before[:2] == after[:2] and abs(after[2] - before[2]) < 100
    del launches
    gc.collect()
    assert sys.getrefcount(kernel) == references


def spinning(make_kernel, programs: int, steps: int, work: float | None):
    sums = (ctypes.c_int64 * programs)()
    launch = bind(make_kernel("spin", "*i64", "i64"), (programs,), (None, steps), work=work)
    return launch, sums


def test_long_launches_release_the_interpreter(make_kernel, threads):
    """A program that waits for a Python thread, and meets it."""
    threads(1)
    arrived, met = ctypes.c_int32(), ctypes.c_int32()
    launch = bind(make_kernel("meet", "*i32", "*i32", "i64"), (1,), (None, None, ROUNDS), work=LONG)

    def come() -> None:
        while not arrived.value:
            time.sleep(0.001)
        arrived.value = 2

    comer = threading.Thread(target=come)
    comer.start()
    launch(ctypes.addressof(arrived), ctypes.addressof(met))
    comer.join()
    assert met.value == 1


@pytest.mark.parametrize(
    ("work", "awake", "parallel"),
    [
        (PARALLEL_NS, True, False),
        (PARALLEL_NS + 1, True, True),
        (WAKE_NS - 1, False, False),
        (WAKE_NS, False, True),
    ],
)
def test_the_estimate_of_work_decides(make_kernel, threads, monkeypatch, work, awake, parallel):
    pool().start()
    pool().state.alone_ns = PATIENCE_NS - 1  # short jobs gone by, which a new pool does not count
    pool().stop()
    monkeypatch.setattr(pool_module, "WORKER_SPIN_US", 1e8 if awake else 0)
    threads(2)
    try:
        pool().start()
        while not awake and pool().state.sleepers == 0:
            time.sleep(0.001)
        launch, sums = spinning(make_kernel, 1000, 1, work)
        jobs = pool().state.parallel_jobs
        launch(ctypes.addressof(sums))
        assert pool().state.parallel_jobs - jobs == parallel
        assert list(sums) == [1] * 1000
    finally:
        pool().stop()


def test_without_an_estimate_launches_are_measured(make_kernel, threads):
    threads(2)
    tiny, tiny_sums = spinning(make_kernel, 100, 1, None)
    large, large_sums = spinning(make_kernel, 100, 20_000, None)
    for _ in range(launcher_ir.SAMPLES):
        tiny(ctypes.addressof(tiny_sums))
    jobs = pool().state.parallel_jobs
    for _ in range(20):
        tiny(ctypes.addressof(tiny_sums))
    assert pool().state.parallel_jobs == jobs
    for _ in range(5):
        large(ctypes.addressof(large_sums))
    assert pool().state.parallel_jobs == jobs + 5, "also the very first long launch is parallel"
    assert list(tiny_sums) == [20 + launcher_ir.SAMPLES] * 100
    assert list(large_sums) == [100_000] * 100


@pytest.mark.parametrize("programs", [1, 2, 31, 32, 33, 64, 2048, 5000])
def test_measured_launches_run_each_program_once(make_kernel, threads, programs):
    threads(3)
    counts = (ctypes.c_int32 * programs)()
    launch = bind(make_kernel("count", "*i32"), (programs,), (None,))
    for number in range(1, 6):
        launch(ctypes.addressof(counts))
        assert list(counts) == [number] * programs


@pytest.mark.parametrize("nbytes", [8, 4096, 100_000])
def test_scratch_belongs_to_one_program_at_a_time(make_kernel, threads, nbytes):
    threads(4)
    errors = ctypes.c_int32()
    launch = bind(make_kernel("scratch", "*i32", "i64"), (200,), (None, None), work=LONG)
    launching = [
        threading.Thread(
            target=lambda: [launch(ctypes.addressof(errors), nbytes + 8 * i) for i in (0, 1)]
        )
        for _ in range(3)
    ]
    for thread in launching:
        thread.start()
    for thread in launching:
        thread.join()
    assert errors.value == 0


def test_scratch_that_is_free_can_be_given_back(make_kernel):
    from tritorch.runtime.cpu.native import symbols

    trim = ctypes.CFUNCTYPE(ctypes.c_int64)(symbols()["tritorch_scratch_trim"])
    acquire = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)(
        symbols()["tritorch_scratch_acquire"]
    )
    release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(symbols()["tritorch_scratch_release"])
    trim()
    pieces = [acquire(1000) for _ in range(600)]  # more than there are slots
    assert len(set(pieces)) == 600 and all(piece % 64 == 0 for piece in pieces)
    for piece in pieces:
        ctypes.memset(piece, 0xAA, 1000)
    assert trim() == 0
    for piece in pieces:
        release(piece)
    assert trim() == 512 * 1000
    assert trim() == 0
