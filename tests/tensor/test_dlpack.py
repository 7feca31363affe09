"""DLPack both ways: one memory, owners that live as long as needed, early errors."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import dlpack
from tritorch.utils.dlpack import to_dlpack

KINDS = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip


class TestExport:
    @pytest.mark.parametrize("kind", KINDS)
    def test_dtypes(self, kind: str) -> None:
        x = torch.arange(6).reshape(2, 3).to(getattr(torch, kind)).t()
        array = np.from_dlpack(x)
        assert array.dtype == kind and array.shape == (3, 2)
        assert array.__array_interface__["data"][0] == x.data_ptr()
        np.testing.assert_array_equal(array, x.numpy())

    @pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        assert np.from_dlpack(torch.ones(*shape)).shape == shape

    def test_memory_lives_as_long_as_the_array(self) -> None:
        x = torch.arange(4)
        storage = weakref.ref(x.untyped_storage())
        array = np.from_dlpack(x)
        del x
        gc.collect()
        assert storage() is not None and array.tolist() == [0, 1, 2, 3]
        del array
        gc.collect()
        assert storage() is None

    @pytest.mark.parametrize("version", [None, (1, 0), (7, 3)])
    def test_capsule_that_nobody_takes(self, version: Any) -> None:
        x = torch.ones(2)
        before = len(dlpack._lent)
        capsule = x.__dlpack__(max_version=version)
        assert ("dltensor_versioned" in repr(capsule)) is (version is not None)
        assert len(dlpack._lent) == before + 1
        del capsule
        assert len(dlpack._lent) == before

    def test_copy(self) -> None:
        x = torch.ones(2)
        torch.from_dlpack(x.__dlpack__(max_version=(1, 0), copy=True))[0] = 5
        assert x.tolist() == [1.0, 1.0]
        torch.from_dlpack(to_dlpack(x))[0] = 5
        assert x.tolist() == [5.0, 1.0]

    def test_device(self) -> None:
        assert torch.ones(1).__dlpack_device__() == (1, 0)

    def test_array_alive_at_exit(self) -> None:
        """The last owner is collected when the interpreter is half gone."""
        program = (
            "import numpy, sys, tritorch\n"
            "sys.kept = numpy.from_dlpack(tritorch.ones(3))\n"
            "sys.capsule = tritorch.ones(3).__dlpack__()\n"
            "sys.tensor = tritorch.from_dlpack(numpy.ones(3))\n"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert run.returncode == 0 and not run.stderr


class TestImport:
    @pytest.mark.parametrize("kind", KINDS)
    def test_dtypes(self, kind: str) -> None:
        array = np.arange(6).astype(kind).reshape(2, 3).T
        x = torch.from_dlpack(array)
        assert x.dtype is getattr(torch, kind)
        assert x.data_ptr() == array.__array_interface__["data"][0]
        np.testing.assert_array_equal(x.numpy(), array)

    def test_types_that_numpy_lacks(self) -> None:
        for kind in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
            x = torch.ones(3).to(kind)
            y = torch.from_dlpack(x)
            assert y.dtype is kind and y.data_ptr() == x.data_ptr()

    def test_source_lives_as_long_as_the_tensor(self) -> None:
        class Array(np.ndarray[Any, Any]):
            pass

        array = np.ones(3).view(Array)
        source = weakref.ref(array)
        x = torch.from_dlpack(array)[1:]
        del array
        gc.collect()
        assert source() is not None and x.tolist() == [1.0, 1.0]
        del x
        gc.collect()
        assert source() is None

    def test_read_only_source_is_copied(self) -> None:
        array = np.ones(3)
        array.flags.writeable = False
        x = torch.from_dlpack(array)
        x[0] = 5
        assert array.tolist() == [1.0, 1.0, 1.0]
        with pytest.raises(BufferError, match=r"must not be written to.*copy=None"):
            torch.from_dlpack(array, copy=False)

    def test_read_only_source_of_the_standards_namespace(self) -> None:
        """`asarray(copy=False)` of it is the standard's ValueError; else it is copied."""

        class Foreign:
            def __init__(self) -> None:
                self.array = np.ones(3)
                self.array.flags.writeable = False

            def __dlpack__(self, **options: Any) -> Any:
                return self.array.__dlpack__(**options)

            def __dlpack_device__(self) -> tuple[int, int]:
                return (1, 0)

        namespace = torch.ones(1).__array_namespace__()
        source = Foreign()
        assert namespace.asarray(source).tolist() == [1.0, 1.0, 1.0]
        with pytest.raises(ValueError, match=r"asarray.*copy=None"):
            namespace.asarray(source, copy=False)
        source.array = np.ones(3)
        namespace.asarray(source, copy=False)[0] = 5.0
        assert source.array[0] == 5.0

    def test_copy(self) -> None:
        array = np.ones(3)
        torch.from_dlpack(array, copy=True)[0] = 5
        assert array[0] == 1.0

    def test_producer_from_before_versions(self) -> None:
        class Old:
            def __dlpack__(self, stream: Any = None) -> Any:
                return torch.arange(3).__dlpack__()

            def __dlpack_device__(self) -> tuple[int, int]:
                return (1, 0)

        assert torch.from_dlpack(Old()).tolist() == [0, 1, 2]


def used_twice() -> None:
    capsule = torch.ones(2).__dlpack__()
    torch.from_dlpack(capsule)
    torch.from_dlpack(capsule)


@pytest.mark.parametrize(
    ("attempt", "kind", "message"),
    [
        (used_twice, TypeError, "nobody has used before"),
        (lambda: torch.from_dlpack(3), TypeError, "capsule.*got 3"),
        (lambda: torch.from_dlpack(np.ones(3)[::-1]), BufferError, r"\(-1,\).*negative"),
        (lambda: torch.from_dlpack(np.ones(3, "c8")), BufferError, "code 5 with 64 bits"),
        (lambda: torch.from_dlpack(np.ones(3), device="cuda"), RuntimeError, "cuda"),
        (
            lambda: torch.ones(2, requires_grad=True).__dlpack__(),
            BufferError,
            r"require gradient, use tensor.detach\(\)",
        ),
        (lambda: torch.ones(2).__dlpack__(dl_device=(2, 0)), BufferError, r"\(2, 0\)"),
        (lambda: torch.ones(2).__dlpack__(stream=1), AssertionError, "stream should be None"),
        (lambda: torch.ones(2).__cuda_array_interface__, AttributeError, "non-CUDA tensor type"),
    ],
)
def test_errors(attempt: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"(?s){message}"):
        attempt()


def test_no_cuda_interface_on_the_cpu() -> None:
    """Libraries ask with hasattr."""
    assert not hasattr(torch.ones(1), "__cuda_array_interface__")


def test_with_pytorch() -> None:
    """Both directions with PyTorch's own CPU tensors, bfloat16 too."""
    pytorch: Any = pytest.importorskip("torch", reason="compares with PyTorch")
    for kind in ("float32", "bfloat16", "int64", "bool"):
        x = torch.arange(6).reshape(2, 3).to(getattr(torch, kind)).t()
        there = pytorch.from_dlpack(x)
        assert there.data_ptr() == x.data_ptr() and there.stride() == x.stride()
        assert there.dtype is getattr(pytorch, kind)
        back = torch.from_dlpack(there)
        assert back.data_ptr() == x.data_ptr() and back.dtype is x.dtype
