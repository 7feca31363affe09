"""`torch.testing` for programs that hold one result against another: `assert_close`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import tritorch
from tritorch.tensor import Tensor

__all__ = ["assert_close"]

#: relative and absolute tolerance by dtype, PyTorch's; of all others nothing may differ
_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}


class _Rules(NamedTuple):
    """What counts as close; see `assert_close`."""

    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_device: bool
    check_dtype: bool
    check_stride: bool
    message: str | Callable[[str], str] | None


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raise an AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere.

    Args:
        actual, expected: tensors, numbers, NumPy arrays, or sequences and mappings of them.
        allow_subclasses: otherwise both are to be of one class.
        rtol, atol: tolerances, both or none; by the dtype unless given: of float32 1.3e-6 and 1e-5.
        equal_nan: whether nan is close to nan.
        check_device, check_dtype: whether these are to be the same; dtypes that differ are compared
            after promotion, devices on the CPU.
        check_layout: kept for PyTorch's sake: all tensors are strided.
        check_stride: whether strides are to be the same.
        msg: in place of the message, or what makes one of it.
    Raises:
        AssertionError: something differs; the message says how much, and where most.
        TypeError: there is something else than tensors and numbers.
        ValueError: one tolerance without the other.
    """
    if (rtol is None) != (atol is None):
        given, missing = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise ValueError(f"rtol and atol must both be specified or both be unspecified, but got no "
                         f"{missing} and {given}={rtol if atol is None else atol}.")  # fmt: skip
    if not allow_subclasses and type(actual) is not type(expected):
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and "
            f"{type(expected)}."
        )
    rules = _Rules(rtol, atol, equal_nan, check_device, check_dtype, check_stride, msg)
    with tritorch.no_grad():
        _compare(actual, expected, rules, "")


def _fail(text: str, rules: _Rules, place: str) -> None:
    if rules.message is not None:
        text = rules.message(text) if callable(rules.message) else rules.message
    elif place:
        text = f"{text}\n\nThe failure occurred for item {place}"
    raise AssertionError(text)


def _compare(actual: Any, expected: Any, rules: _Rules, place: str) -> None:
    mappings = isinstance(actual, Mapping), isinstance(expected, Mapping)
    sequences = _is_sequence(actual), _is_sequence(expected)
    if all(mappings):
        if set(actual) != set(expected):
            missing = sorted(set(expected) - set(actual), key=str)
            more = sorted(set(actual) - set(expected), key=str)
            text = (
                f"The keys of the mappings do not match:\nMissing keys in the actual mapping: "
                f"{missing}\nAdditional keys in the actual mapping: {more}"
            )
            _fail(text, rules, place)
        for key in expected:
            _compare(actual[key], expected[key], rules, f"{place}[{key!r}]")
    elif all(sequences):
        if len(actual) != len(expected):
            _fail(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}",
                  rules, place)  # fmt: skip
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            _compare(a, b, rules, f"{place}[{i}]")
    elif any(mappings) or any(sequences):
        kinds = f"{type(actual)} and {type(expected)}"
        raise TypeError(f"No comparison pair was able to handle inputs of type {kinds}.")
    elif isinstance(actual, bool) and isinstance(expected, bool):
        if actual is not expected:
            _fail(f"Booleans mismatch: {actual} is not {expected}", rules, place)
    elif isinstance(actual, int | float) and isinstance(expected, int | float):
        if rules.check_dtype and type(actual) is not type(expected):
            kinds = f"{type(actual)} != {type(expected)}"
            _fail(f"The (d)types do not match: {kinds}.", rules, place)
        _compare_tensors(_tensor(actual), _tensor(expected), rules, place)
    elif actual is not None or expected is not None:
        _compare_tensors(_tensor(actual), _tensor(expected), rules, place)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, bool | int | float | np.ndarray | np.generic):
        # as a float of Python is: more exact than the default dtype
        return tritorch.as_tensor(value, dtype=tritorch.float64 if type(value) is float else None)
    raise TypeError(
        "assert_close: expected tensors, numbers, NumPy arrays, or sequences and mappings of "
        f"them, got {type(value).__name__}."
    )


def _compare_tensors(a: Tensor, b: Tensor, rules: _Rules, place: str) -> None:
    def same(name: str, mine: Any, its: Any) -> None:
        if mine != its:
            _fail(f"The values for attribute {name!r} do not match: {mine} != {its}.",
                  rules, place)  # fmt: skip

    same("shape", a.shape, b.shape)
    if rules.check_device:
        same("device", a.device, b.device)
    if rules.check_dtype:
        same("dtype", a.dtype, b.dtype)
    if rules.check_stride:
        same("stride()", a.stride(), b.stride())
    rtol, atol = _tolerances(a, b, rules)
    if a.device != b.device:
        a, b = a.cpu(), b.cpu()
    if a.dtype != b.dtype:
        common = tritorch.promote_types(a.dtype, b.dtype)
        a, b = a.to(common), b.to(common)
    close = tritorch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=rules.equal_nan)
    if not bool(close.all()):
        _fail(_difference(a, b, close, rtol, atol), rules, place)


def _tolerances(a: Tensor, b: Tensor, rules: _Rules) -> tuple[float, float]:
    """Those given, or the wider ones of both dtypes."""
    if rules.rtol is not None and rules.atol is not None:
        return rules.rtol, rules.atol
    both = [_TOLERANCES.get(str(x.dtype).removeprefix("torch."), (0.0, 0.0)) for x in (a, b)]
    return max(both)[0], max(atol for _, atol in both)


def _difference(a: Tensor, b: Tensor, close: Tensor, rtol: float, atol: float) -> str:
    """How much, how often and where most."""
    exact = rtol == atol == 0
    kind = "equal" if exact else "close"
    number = float if a.dtype.is_floating_point else int
    a, b = a.double(), b.double()
    # what is close counts for nothing, so that nan and infinity are told only where they differ
    off = tritorch.where(close, 0.0, (a - b).abs())
    part = tritorch.where(close, 0.0, off / b.abs())
    allowed = ["" if exact else f" (up to {bound} allowed)" for bound in (atol, rtol)]
    if a.ndim == 0:
        return (
            f"Scalars are not {kind}!\n\nExpected {number(b.item())} but got {number(a.item())}.\n"
            f"Absolute difference: {number(off.item())}{allowed[0]}\n"
            f"Relative difference: {part.item()}{allowed[1]}"
        )
    count, wrong = close.numel(), int((~close).sum())
    lines = [f"Mismatched elements: {wrong} / {count} ({100 * wrong / count:.1f}%)"]
    for name, amount, bound, said in (
        ("absolute", off, allowed[0], number),
        ("relative", part, allowed[1], float),
    ):
        # argmax takes nan for the largest
        at = tuple(int(i) for i in tritorch.unravel_index(amount.argmax(), tuple(amount.shape)))
        lines.append(f"Greatest {name} difference: {said(amount[at].item())} at index {at}{bound}")
    return f"Tensor-likes are not {kind}!\n\n" + "\n".join(lines)
