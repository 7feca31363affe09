"""The array API standard: names, signatures, dtypes and values.

The reference is array-api-strict, the standard's own strict namespace, where it is installed (the
`test` extra has it); else NumPy, whose main namespace follows an older version of the standard.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.array_api.cases import OPERANDS, calls

try:
    import array_api_strict as strict
except ImportError:
    strict = None

xp: Any = torch.ones(1).__array_namespace__()
REFERENCE: Any = strict or np
if strict is None and not hasattr(np, "concat"):
    pytest.skip("needs array-api-strict or NumPy 2", allow_module_level=True)
needs_strict = pytest.mark.skipif(strict is None, reason="array-api-strict is not installed")
#: what needs complex numbers
ABSENT = {"complex64", "complex128", "fft"}
#: calls that NumPy does not take, or takes in another way
UNLIKE_NUMPY = ("descending=", "isin(w,2)", "repeat(v,at)", "clip(f,zero)")
#: not of the standard
EXTRA = {
    "ArrayAPIStrictFlags", "Device", "__version__", "get_array_api_strict_flags",
    "reset_array_api_strict_flags", "set_array_api_strict_flags",
}  # fmt: skip


def evaluated(call: str, namespace: Any) -> Any:
    """The result of a call in a namespace."""
    scope = {"xp": namespace}
    for name, (data, kind) in OPERANDS.items():
        if name in call:
            array = np.asarray(data, kind)
            scope[name] = namespace.asarray(array) if namespace is not np else array
    return eval(call, scope)


def flattened(result: Any) -> list[Any]:
    """Results as a list of NumPy arrays, or what is no array as it is."""
    if isinstance(result, tuple | list) and not all(isinstance(x, int) for x in result):
        return [np.asarray(part) for part in result]
    return [np.asarray(result)]


@pytest.mark.parametrize("call", calls())
def test_results(call: str) -> None:
    """dtype, shape, values, in that order; Python floats have the default dtype of each."""
    if strict is None and any(part in call for part in UNLIKE_NUMPY):
        pytest.skip("NumPy's function differs")
    torch.set_default_dtype(torch.float64)
    try:
        ours = flattened(evaluated(call, xp))
    finally:
        torch.set_default_dtype(torch.float32)
    with np.errstate(all="ignore"):
        theirs = flattened(evaluated(call, REFERENCE))
    assert len(ours) == len(theirs)
    for got, expected in zip(ours, theirs):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        tolerance = 2e-6 if got.dtype == np.float32 else 1e-9
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
        if got.dtype.kind == "f" and "linalg" not in call:
            np.testing.assert_array_equal(
                np.signbit(got[expected == 0]), np.signbit(expected[expected == 0])
            )


def parameters(function: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """Names (of those that have one for the caller), kinds and defaults."""
    found = []
    for entry in inspect.signature(function).parameters.values():
        name = "" if entry.kind is entry.POSITIONAL_ONLY else entry.name
        default = None if str(entry.default) == "Undef.UNDEF" else entry.default
        found.append((name, entry.kind, default))
    return found


def standard() -> list[tuple[str, Any, Any]]:
    """Name, the reference's object and ours, of everything but what needs complex numbers."""
    if strict is None:
        return []
    linear = strict.linalg
    found = [(n, getattr(strict, n), getattr(xp, n, None)) for n in strict.__all__]
    found += [
        (f"linalg.{n}", getattr(linear, n), getattr(xp.linalg, n, None)) for n in linear.__all__
    ]
    return [row for row in found if row[0] not in ABSENT | EXTRA]


@needs_strict
def test_names() -> None:
    """All of the standard but complex numbers."""
    assert len(standard()) > 170
    assert [name for name, _, ours in standard() if ours is None] == ["newaxis"]
    assert xp.newaxis is None
    assert not hasattr(xp, "fft") and not hasattr(xp, "complex64")
    assert set(xp.__all__) <= set(strict.__all__)
    assert xp.__array_api_version__ == strict.__array_api_version__


@needs_strict
@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [r for r in standard() if callable(r[1]) and not inspect.isclass(r[1])],
)
def test_signatures(name: str, theirs: Any, ours: Any) -> None:
    """What is positional only, what is a keyword only, and the defaults."""
    expected = parameters(theirs)
    if name == "expand_dims":  # the standard's text has axis=0, array-api-strict does not
        expected[1] = (*expected[1][:2], 0)
    assert parameters(ours) == expected
    assert ours.__name__ == name.removeprefix("linalg.")
    assert ours.__doc__


@needs_strict
def test_methods() -> None:
    """Attributes of an array object; `x @= y` is `x = x @ y`, as with PyTorch's tensors."""
    x = torch.ones(2, 2)
    theirs = [n for n in dir(strict.ones((2, 2))) if n.startswith("__") or n[0] != "_"]
    missing = [name for name in theirs if not hasattr(x, name)]
    assert set(missing) <= {"__buffer__", "__imatmul__"}


class TestQuestions:
    def test_information(self) -> None:
        info = xp.__array_namespace_info__()
        answers = info.capabilities()
        assert answers["boolean indexing"] and answers["data-dependent shapes"]
        assert answers["max dimensions"] is None
        assert not answers["complex dtypes"] and not answers["fft"]
        assert info.default_device() is torch.device("cpu")
        assert info.devices() == (torch.device("cpu"),)
        assert info.default_dtypes() == {
            "real floating": torch.float32, "integral": torch.int64, "indexing": torch.int64,
        }  # fmt: skip
        assert info.dtypes(kind="real floating") == {
            "float32": torch.float32, "float64": torch.float64,
        }  # fmt: skip
        assert len(info.dtypes()) == 11 and info.dtypes(kind="complex floating") == {}
        assert list(info.dtypes(kind=("bool", "unsigned integer"))) == [
            "bool", "uint8", "uint16", "uint32", "uint64",
        ]  # fmt: skip
        with pytest.raises(ValueError, match="unknown kind 'floats'"):
            info.dtypes(kind="floats")

    def test_versions(self) -> None:
        x = torch.ones(1)
        assert x.__array_namespace__(api_version="2022.12") is torch.array_api
        with pytest.raises(ValueError, match=r"no version '2031\.12'.*2025\.12"):
            x.__array_namespace__(api_version="2031.12")

    def test_dtypes(self) -> None:
        assert xp.isdtype(xp.int8, "integral") and not xp.isdtype(xp.uint8, "signed integer")
        assert xp.isdtype(torch.bfloat16, ("bool", "real floating"))
        assert xp.isdtype(xp.bool, xp.bool) and not xp.isdtype(xp.bool, "numeric")
        assert xp.can_cast(xp.int8, xp.int16) and not xp.can_cast(xp.uint64, xp.int64)
        assert xp.can_cast(torch.ones(1), xp.float64)
        assert xp.result_type(xp.uint16, torch.ones(1, dtype=torch.int8)) is xp.int32
        assert xp.result_type(torch.ones(()).double(), torch.ones(2)) is xp.float64
        assert xp.result_type(xp.int8, 3) is xp.int8
        assert xp.finfo(xp.float64).eps == np.finfo(np.float64).eps
        assert xp.finfo(torch.ones(1)).dtype is xp.float32
        assert xp.iinfo(xp.uint8).max == 255

    def test_memory(self) -> None:
        array = np.zeros(3)
        assert xp.asarray(array, copy=False).data_ptr() == array.ctypes.data
        assert xp.from_dlpack(array).data_ptr() == array.ctypes.data
        x = torch.ones(2, 3)
        assert xp.asarray(x) is x and xp.astype(x, xp.float32, copy=False) is x
        assert xp.reshape(x, (3, 2), copy=False).data_ptr() == x.data_ptr()
        assert xp.reshape(x, (2, 3), copy=True).data_ptr() != x.data_ptr()
        assert x.to_device("cpu") is x


@pytest.mark.parametrize(
    ("attempt", "kind", "message"),
    [
        (lambda: xp.add(1, 2), TypeError, "at least one operand must be a tensor"),
        (lambda: xp.result_type(xp.uint64, xp.int8), TypeError, "no integer dtype holds both"),
        (lambda: xp.result_type(1, 2), ValueError, "at least one tensor or dtype"),
        (lambda: xp.result_type("a"), TypeError, "got 'a'"),
        (lambda: xp.isdtype(xp.int8, "float"), ValueError, "unknown kind 'float'"),
        (lambda: xp.imag(torch.ones(1)), TypeError, "complex dtype"),
        (lambda: xp.squeeze(torch.ones(2, 1), 0), ValueError, "dimension 0 has size 2"),
        (lambda: xp.take(torch.ones(2, 2), torch.tensor([0])), ValueError, "axis must be given"),
        (lambda: xp.cumulative_sum(torch.ones(2, 2)), ValueError, "axis must be given"),
        (lambda: xp.nonzero(torch.ones(())), ValueError, "one dimension or more"),
        (lambda: xp.matrix_transpose(torch.ones(2)), ValueError, "two dimensions or more"),
        (lambda: xp.vecdot(torch.ones(2), torch.ones(2), axis=0), ValueError, "got 0"),
        (lambda: xp.vecdot(torch.ones(2), torch.ones(3)), ValueError, "2 and 3"),
        (lambda: xp.asarray([1], copy=False), ValueError, "copy=False forbids"),
        (
            lambda: xp.reshape(torch.ones(2, 3).t(), (6,), copy=False),
            ValueError,
            "copy=False forbids",
        ),
    ],
)
def test_errors(attempt: Callable[[], Any], kind: type[Exception], message: str) -> None:
    """With the values, and the classes that the standard's programs catch."""
    with pytest.raises(kind, match=message):
        attempt()
