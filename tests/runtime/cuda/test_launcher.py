"""Launches: what `cuLaunchKernelEx` gets, read with the layout that the kernels' cubins declare."""

from __future__ import annotations

import struct
import threading
from typing import Any

import pytest

from tests.runtime.cuda.fake_driver import FakeDriver
from tritorch.config import config
from tritorch.errors import AcceleratorError, CompileError, DeviceAssertError, OutOfMemoryError
from tritorch.kernel_source import KernelSource
from tritorch.runtime.cuda import cubin
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.code import LaunchFacts, argument_types, compile_cubin
from tritorch.runtime.cuda.launcher import launch_attributes, pack, scratch_bytes
from tritorch.runtime.cuda.target import CUDATarget

#: every type a kernel's argument may have, with a value and its bytes in the constant bank
ARGUMENTS: dict[str, tuple[Any, bytes]] = {
    "*fp32": (0x7F0012345678, struct.pack("<Q", 0x7F0012345678)),
    "i1": (True, b"\x01"),
    "u1": (False, b"\x00"),
    "i8": (-3, struct.pack("<b", -3)),
    "u8": (200, b"\xc8"),
    "i16": (-300, struct.pack("<h", -300)),
    "u16": (60_000, struct.pack("<H", 60_000)),
    "i32": (-70_000, struct.pack("<i", -70_000)),
    "u32": (3_000_000_000, struct.pack("<I", 3_000_000_000)),
    "i64": (-(1 << 40), struct.pack("<q", -(1 << 40))),
    "u64": (1 << 63, struct.pack("<Q", 1 << 63)),
    "fp16": (1.5, struct.pack("<e", 1.5)),
    "bf16": (-2.0, struct.pack("<f", -2.0)[2:]),
    "fp32": (0.1, struct.pack("<f", 0.1)),
    "fp64": (0.1, struct.pack("<d", 0.1)),
}
NAMES = [f"a{at}" for at in range(len(ARGUMENTS))]
EVERY_TYPE = KernelSource(
    "every_type",
    "@triton.jit\n"
    f"def every_type({', '.join(NAMES)}, N: tl.constexpr):\n"
    + "".join(f"    tl.store(a0 + {at}, {n}.to(tl.float32))\n" for at, n in enumerate(NAMES) if at),
)
EVERY_SIGNATURE = dict(zip(NAMES, ARGUMENTS))

ADD = KernelSource(
    "add",
    """
@triton.jit
def add(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(y + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)
""",
)
ADD_SIGNATURE = {"x": "*fp32", "y": "*fp32", "n": "i32"}


def test_packed_arguments_agree_with_the_cubin(target: CUDATarget, driver: FakeDriver) -> None:
    kernel = target.compile(EVERY_TYPE, EVERY_SIGNATURE, {"N": 1})
    fixed = target.bind(kernel, (1,), [value for value, _ in ARGUMENTS.values()])
    dynamic = target.bind(kernel, (1,), [None] * len(ARGUMENTS))
    fixed()
    dynamic(*(value for value, _ in ARGUMENTS.values()))
    expected = [packed for _, packed in ARGUMENTS.values()] + [bytes(8), bytes(8)]
    assert [launched.arguments for launched in driver.launches] == [expected, expected]
    assert kernel.launches == 2


def test_the_packed_layout_is_the_recorded_one() -> None:
    """Slots of 8 bytes in the order of the signature; a tensor map 128, at a multiple of 64."""
    types = ("i8", "nvTmaDesc", "*fp16", "bf16", "i64")
    template, offsets, parameters = pack("k", types, (-1, bytes(range(128)), None, 1.0, None))
    assert offsets == [0, 64, 192, 200, 208]
    assert len(template) == 224
    assert template[:8] == b"\xff" * 8
    assert template[64:192] == bytes(range(128))
    assert template[200:208] == b"\x80\x3f" + bytes(6)
    assert [struct.unpack_from("<ii", raw) for raw in parameters] == [(0, 192), (1, 208)]
    with pytest.raises(ValueError, match="a tensor map has 128 bytes, got 0"):
        pack("k", ("nvTmaDesc",), (None,))


def test_descriptors_of_the_host_are_several_arguments() -> None:
    signature = {"d": "tensordesc<fp16[64, 32]>", "n": "i32:16"}
    rest = ("i32", "i32", "i64", "i64", "i32")
    assert argument_types("k", signature, 8, [{"swizzle": 0}]) == ("nvTmaDesc", *rest)
    apart = ("*fp16", "i64", "i64", "i64", "i64", "i1")
    assert argument_types("k", signature, 13) == (*apart, *rest)
    assert argument_types("k", signature, 14) == (*apart, "i1", *rest)
    with pytest.raises(CompileError, match="k: the compiled kernel takes 9 arguments"):
        argument_types("k", signature, 9)


@pytest.mark.parametrize("capability", [80, 90])
def test_host_descriptors_agree_with_the_cubin(capability: int) -> None:
    source = KernelSource(
        "tile",
        "@triton.jit\ndef tile(d, y, n):\n"
        "    x = d.load([0, 0])\n"
        "    i = tl.arange(0, 64)[:, None] * 64 + tl.arange(0, 64)[None, :]\n"
        "    tl.store(y + i, x, mask=i < n)\n",
    )
    signature = {"d": "tensordesc<fp16[64, 64]>", "y": "*fp16", "n": "i32"}
    code = compile_cubin(source, signature, {}, capability)
    sizes = {"nvTmaDesc": 128, "*fp16": 8, "i1": 1, "i32": 4, "i64": 8}
    expected = [sizes[kind] for kind in (*code.parameter_types, "*fp16", "*fp16")]
    found = cubin.kernels(code.cubin)["tile"].parameters
    assert [size for _, size in found] == expected
    assert ("nvTmaDesc" in code.parameter_types) == (capability >= 90)


def test_the_grid_block_and_stream(target: CUDATarget, driver: FakeDriver) -> None:
    kernel = target.compile(ADD, ADD_SIGNATURE, {"B": 256}, {"num_warps": 8})
    launch = target.bind(kernel, (5, 4, 3), [None, None, 100])
    launch(64, 128)
    with target.calling():
        stream = driver.create_stream(1, 0)
    target.current.set_stream(stream)
    launch(64, 128)
    seen: list[int] = []

    def elsewhere() -> None:  # has no context yet, and its own current stream
        launch(64, 128)
        seen.append(driver.launches[-1].stream)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    first, second, _ = driver.launches
    assert (first.grid, first.block, first.shared_bytes) == ((5, 4, 3), (256, 1, 1), 0)
    assert (first.stream, second.stream, seen) == (0, stream, [0])
    target.bind(kernel, (0,), [None, None, 1])(64, 128)
    assert len(driver.launches) == 3
    for grid in ((1 << 31,), (1, 65536), (), (1, 1, 1, 1), (-1,)):
        with pytest.raises(ValueError, match="kernel add: grid"):
            target.bind(kernel, grid, [None, None, 1])


def test_wrong_values_are_refused(target: CUDATarget, driver: FakeDriver) -> None:
    kernel = target.compile(ADD, ADD_SIGNATURE, {"B": 256})
    launch = target.bind(kernel, (1,), [None, None, None])
    with pytest.raises(TypeError, match="add: the launch takes 3 dynamic arguments, got 1"):
        launch(1)
    with pytest.raises(OverflowError, match="argument 3 is 2147483648"):
        launch(1, 2, 1 << 31)
    with pytest.raises(TypeError, match="argument 2 must be an address"):
        launch(1, "x", 3)
    with pytest.raises(ValueError, match="add has 3 parameters, got 1 values"):
        target.bind(kernel, (1,), [None])
    assert not driver.launches


def test_attributes() -> None:
    assert launch_attributes(LaunchFacts()) == []
    clustered = LaunchFacts(num_ctas=4, cooperative=True, programmatic=True)
    numbers = [struct.unpack_from("<I4x3I", raw) for raw in launch_attributes(clustered)]
    assert numbers == [
        (cu.PROGRAMMATIC_SERIALIZATION, 1, 0, 0),
        (cu.COOPERATIVE, 1, 0, 0),
        (cu.CLUSTER_DIMENSION, 4, 1, 1),
        (cu.CLUSTER_SCHEDULING, cu.SPREAD, 0, 0),
    ]
    assert {len(raw) for raw in launch_attributes(clustered)} == {72}


def test_clusters(target: CUDATarget, driver: FakeDriver) -> None:
    kernel = target.compile(ADD, ADD_SIGNATURE, {"B": 256}, {"num_ctas": 2})
    target.bind(kernel, (6,), [None, None, 9])(64, 128)
    (launched,) = driver.launches
    assert launched.grid == (12, 1, 1)
    assert launched.attributes[cu.CLUSTER_DIMENSION][:12] == struct.pack("<3I", 2, 1, 1)


PRODUCT = KernelSource(
    "product",
    """
@triton.jit
def product(a, b, c, K, B: tl.constexpr):
    i = tl.arange(0, B)
    total = tl.zeros((B, B), tl.float32)
    for k in range(0, K, B):
        x = tl.load(a + i[:, None] * K + (k + i)[None, :])
        y = tl.load(b + (k + i)[:, None] * B + i[None, :])
        total = tl.dot(x, y, total)
    tl.store(c + i[:, None] * B + i[None, :], total)
""",
)


def test_shared_memory_above_48_kib(target: CUDATarget, driver: FakeDriver) -> None:
    signature = {"a": "*fp16", "b": "*fp16", "c": "*fp32", "K": "i32:16"}
    kernel = target.compile(PRODUCT, signature, {"B": 128}, {"num_stages": 3})
    shared = target.facts(kernel).shared_bytes
    assert shared > 48 << 10
    assert driver.kernel_attribute(kernel.entry, cu.MAX_DYNAMIC_SHARED, 0) == shared
    target.bind(kernel, (1,), [None, None, None, 128])(64, 64, 64)
    assert driver.launches[-1].shared_bytes == shared


TILES = KernelSource(
    "tiles",
    """
@triton.jit
def tiles(x, y, n, m):
    source = tl.make_tensor_descriptor(x, [n, m], [m, 1], [64, 64])
    target = tl.make_tensor_descriptor(y, [n, m], [m, 1], [64, 64])
    i = tl.program_id(0) * 64
    target.store([i, 0], source.load([i, 0]))
""",
)


def test_descriptors_made_by_kernels_get_scratch_memory(
    target: CUDATarget, driver: FakeDriver
) -> None:
    signature = {"x": "*fp16", "y": "*fp16", "n": "i32", "m": "i32"}
    kernel = target.compile(TILES, signature, {})
    facts = target.facts(kernel)
    assert facts.global_scratch_bytes == 256
    assert scratch_bytes(facts, (3,)) == 768
    launch = target.bind(kernel, (3,), [None, None, 192, None])
    launch(64, 128, 64)
    arguments = driver.launches[-1].arguments
    scratch = int.from_bytes(arguments[4], "little")
    assert driver.on_device(scratch, 768)
    assert scratch % facts.global_scratch_align == 0
    assert arguments[2:4] == [struct.pack("<i", 192), struct.pack("<i", 64)]
    assert arguments[5] == bytes(8)
    assert target.allocator().figures.allocated_bytes.all.current == 0  # stream-ordered: free again


def test_profile_scratch_memory_is_refused() -> None:
    metadata = {"profile_scratch_size": 64}
    with pytest.raises(CompileError, match="64 bytes of profile_scratch_size"):
        LaunchFacts.of("k", metadata)


def test_a_cubin_comes_from_the_cache(target: CUDATarget) -> None:
    target.compile(ADD, ADD_SIGNATURE, {"B": 128})
    again = CUDATarget(FakeDriver()).compile(ADD, ADD_SIGNATURE, {"B": 128})
    assert again.from_cache
    older = compile_cubin(ADD, ADD_SIGNATURE, {"B": 128}, 80)
    newer = compile_cubin(ADD, ADD_SIGNATURE, {"B": 128}, 90)
    assert older.cubin != newer.cubin
    assert older.facts == newer.facts == LaunchFacts(shared_bytes=older.facts.shared_bytes)


def test_a_failed_kernel_is_named(target: CUDATarget, driver: FakeDriver) -> None:
    kernel = target.compile(ADD, ADD_SIGNATURE, {"B": 256})
    launch = target.bind(kernel, (1,), [None, None, 1])
    launch(64, 128)
    driver.plant("kernel", cu.ILLEGAL_ADDRESS)
    launch(64, 128)
    pattern = r"illegal address \(700\) in one of the last kernels \(add, add; the last one first\)"
    with pytest.raises(AcceleratorError, match=pattern + ".*TRITORCH_LAUNCH_BLOCKING=1"):
        target.synchronize()
    with pytest.raises(AcceleratorError, match="illegal address"):  # the context is lost
        launch(64, 128)
    with pytest.raises(AcceleratorError, match="illegal address"):
        target.allocate(1 << 24)


def test_an_assert_is_named_at_once_when_launches_block(
    target: CUDATarget, driver: FakeDriver
) -> None:
    kernel = target.compile(ADD, ADD_SIGNATURE, {"B": 256})
    with config(launch_blocking=1):
        launch = target.bind(kernel, (1,), [None, None, 1])
    launch(64, 128)
    driver.plant("kernel", cu.ASSERT)
    with pytest.raises(DeviceAssertError, match=r"tl.device_assert failed in kernel add\. The"):
        launch(64, 128)


def test_a_launch_that_is_refused(target: CUDATarget, driver: FakeDriver) -> None:
    kernel = target.compile(ADD, ADD_SIGNATURE, {"B": 256})
    launch = target.bind(kernel, (1,), [None, None, 1])
    driver.plant("launch", cu.LAUNCH_OUT_OF_RESOURCES, cu.OUT_OF_MEMORY)
    with pytest.raises(AcceleratorError, match=r"too many resources .*, launching add"):
        launch(64, 128)
    with pytest.raises(OutOfMemoryError, match=r"CUDA out of memory: .*launching add"):
        launch(64, 128)
    launch(64, 128)  # nothing is lost
    assert len(driver.launches) == 1
