"""CUDA's numbers and structures against its header; cuda-bindings against a stand-in library."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import subprocess
import sys

import pytest

from tests.runtime.cuda import cuda_header
from tests.runtime.cuda.fake_driver import _Config
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.bindings import _PROMOTED_TO_128
from tritorch.runtime.cuda.launcher_ir import ATTRIBUTE_BYTES

#: cuda.h's names of the numbers in `driver`: a prefix, then ours where they agree
ERRORS = {
    name: f"CUDA_ERROR_{name}"
    for name in (
        "INVALID_VALUE", "OUT_OF_MEMORY", "NOT_INITIALIZED", "DEINITIALIZED", "NO_DEVICE",
        "INVALID_CONTEXT", "INVALID_HANDLE", "NOT_FOUND", "NOT_READY", "ILLEGAL_ADDRESS",
        "PEER_ACCESS_ALREADY_ENABLED", "TOO_MANY_PEERS", "STREAM_CAPTURE_UNJOINED",
        "LAUNCH_OUT_OF_RESOURCES", "LAUNCH_TIMEOUT", "ASSERT", "ILLEGAL_INSTRUCTION",
        "MISALIGNED_ADDRESS", "LAUNCH_FAILED",
    )
}  # fmt: skip
STICKY = (
    "ILLEGAL_ADDRESS", "LAUNCH_TIMEOUT", "ASSERT", "HARDWARE_STACK_ERROR", "ILLEGAL_INSTRUCTION",
    "MISALIGNED_ADDRESS", "INVALID_ADDRESS_SPACE", "INVALID_PC", "LAUNCH_FAILED",
    "ECC_UNCORRECTABLE", "NVLINK_UNCORRECTABLE", "CONTAINED", "TENSOR_MEMORY_LEAK",
)  # fmt: skip
OTHERS = {
    "MAX_THREADS_PER_BLOCK": "CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK",
    "MAX_GRID_Y": "CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y",
    "WARP_SIZE": "CU_DEVICE_ATTRIBUTE_WARP_SIZE",
    "CLOCK_KHZ": "CU_DEVICE_ATTRIBUTE_CLOCK_RATE",
    "MULTIPROCESSORS": "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT",
    "INTEGRATED": "CU_DEVICE_ATTRIBUTE_INTEGRATED",
    "MEMORY_CLOCK_KHZ": "CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE",
    "MEMORY_BUS_BITS": "CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH",
    "L2_BYTES": "CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE",
    "MAX_THREADS_PER_MULTIPROCESSOR": "CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR",
    "CAPABILITY_MAJOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
    "CAPABILITY_MINOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
    "SHARED_BYTES_PER_MULTIPROCESSOR": ("CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
    "REGISTERS_PER_MULTIPROCESSOR": "CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR",
    "SHARED_BYTES_PER_BLOCK": "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK",
    "SHARED_BYTES_OPTIN": "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN",
    "LOCAL_BYTES": "CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES",
    "REGISTERS": "CU_FUNC_ATTRIBUTE_NUM_REGS",
    "MAX_DYNAMIC_SHARED": "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES",
    "SHARED_CARVEOUT": "CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT",
    "POINTER_MEMORY_TYPE": "CU_POINTER_ATTRIBUTE_MEMORY_TYPE",
    "POINTER_DEVICE": "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL",
    "MEMORY_OF_HOST": "CU_MEMORYTYPE_HOST",
    "NON_PORTABLE_CLUSTER": "CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED",
    "COOPERATIVE": "CU_LAUNCH_ATTRIBUTE_COOPERATIVE",
    "CLUSTER_DIMENSION": "CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION",
    "CLUSTER_SCHEDULING": "CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE",
    "PROGRAMMATIC_SERIALIZATION": "CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION",
    "SPREAD": "CU_CLUSTER_SCHEDULING_POLICY_SPREAD",
    "STREAM_NON_BLOCKING": "CU_STREAM_NON_BLOCKING",
    "EVENT_BLOCKING_SYNC": "CU_EVENT_BLOCKING_SYNC",
    "EVENT_DISABLE_TIMING": "CU_EVENT_DISABLE_TIMING",
    "HOST_PORTABLE": "CU_MEMHOSTALLOC_PORTABLE",
    "HOST_MAPPED": "CU_MEMHOSTALLOC_DEVICEMAP",
    "CAPTURE_GLOBAL": "CU_STREAM_CAPTURE_MODE_GLOBAL",
    "CAPTURE_THREAD_LOCAL": "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL",
    "CAPTURE_RELAXED": "CU_STREAM_CAPTURE_MODE_RELAXED",
}


def test_the_numbers_are_those_of_the_header() -> None:
    ours = {name: value for name, value in vars(cu).items() if name.isupper() and name != "STICKY"}
    names = ERRORS | OTHERS
    assert set(ours) == set(names)
    known = cuda_header.enums()
    assert ours == {name: known[names[name]] for name in ours}
    assert {known[f"CUDA_ERROR_{name}"] for name in STICKY} == cu.STICKY
    assert known["CU_TENSOR_MAP_L2_PROMOTION_L2_128B"] == _PROMOTED_TO_128


def test_the_structures_of_a_launch_are_those_of_the_header() -> None:
    """The launcher writes `%Config` with its padding; the fake driver reads `_Config`."""
    members = cuda_header.members("CUlaunchConfig")
    theirs = type("Theirs", (ctypes.Structure,), {"_fields_": members})

    def layout(kind: type[ctypes.Structure]) -> list[tuple[str, int, int]]:
        places = [(name, getattr(kind, name)) for name, *_ in kind._fields_]
        return [(name, place.offset, place.size) for name, place in places]

    assert layout(_Config) == layout(theirs)
    assert layout(theirs)[-3:] == [("hStream", 32, 8), ("attrs", 40, 8), ("numAttrs", 48, 4)]
    assert "union CUlaunchAttributeValue_union {\n    char pad[64];" in cuda_header.text()
    assert ATTRIBUTE_BYTES == 8 + 64


# ---- the package itself

needs_bindings = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None
    or importlib.util.find_spec("cuda.bindings") is None
    or platform.machine() not in ("x86_64", "AMD64"),
    reason="needs cuda-bindings and an x86-64 processor",
)


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_bindings
def test_every_call_goes_through_cuda_bindings() -> None:
    out = run("-m", "tests.runtime.cuda.through_bindings")
    assert "48 methods" in out, out


@needs_bindings
@pytest.mark.parametrize(
    ("library", "told"),
    [
        ("FakeLibrary(FakeDriver(), init=100)", "the driver does not start: CUDA_ERROR_NO_DEVICE"),
        ("FakeLibrary(FakeDriver(devices=0))", "the driver finds no device"),
        ("older(FakeLibrary(FakeDriver()))", "is one for CUDA 11.8; 12.0 is the oldest"),
    ],
)
def test_a_driver_that_is_of_no_use_is_one_clear_error(library: str, told: str) -> None:
    program = (
        "import tempfile\n"
        "from pathlib import Path\n"
        "from tests.runtime.cuda.fake_library import FakeDriver, FakeLibrary\n"
        "def older(library):\n"
        "    library.fake.version = 11080\n"
        "    return library\n"
        f"library = {library}\n"
        "library.load(Path(tempfile.mkdtemp()))\n"
        "import tritorch as torch\n"
        "assert not torch.cuda.is_available() and torch.cuda.device_count() == 0\n"
        "try: torch.ones(2, device='cuda')\n"
        "except RuntimeError as error: print(error)\n"
    )
    assert told in run("-c", program)
