"""Cases of the language suite: small functions, many of them compiled into one kernel.

A case is the body of a function of its pointers, as text, with the contents that its outputs must
have afterwards. The cases of one kernel are called one after the other. Where the kernel cannot be
compiled, or crashes the frontend, every case is tried alone, so that one failure is one case's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tests.triton_cpu.cases import triton_type
from tests.triton_cpu.plain_launcher import Launcher
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu.compile import compile_kernel

#: what every kernel's text starts with
_HEADER = """
from triton.language.extra import libdevice


"""
_PER_KERNEL = 24


@dataclass(frozen=True)
class Case:
    """One use of the language.

    `body` reads and writes the pointers that `arguments` and `expected` name. Arrays of `expected`
    that are not arguments start as zeros. `ulp` is how far floats may be off, in units in the last
    place of the expected value; `absolute` is allowed beside it.
    """

    name: str
    body: str
    arguments: Mapping[str, Any]
    expected: Mapping[str, np.ndarray]
    ulp: float = 0.0
    absolute: float = 0.0
    #: @triton.jit functions that the body calls
    helpers: str = ""
    grid: tuple[int, ...] = (1,)
    options: Mapping[str, Any] = field(default_factory=dict)
    #: compiled by itself
    alone: bool = False


@dataclass(frozen=True)
class Group:
    """Cases of one area, built when asked for."""

    area: str
    name: str
    build: Callable[[], Iterable[Case]]

    def __str__(self) -> str:
        return f"{self.area}-{self.name}"


@dataclass
class Result:
    """What became of a case: an empty message is success."""

    case: Case
    message: str


GROUPS: list[Group] = []

#: cases that the frontend of Triton before 3.9 cannot do, by their names, with the reason
BEFORE_3_9 = {
    r"-x .*float": "the sign of a zero is lost: 0 - x",
    r"(maximum|minimum|clamp).*bfloat16": "gives float32",
    r"softmax.*1": "refused, but along the first dimension",
    r"cdiv, next power": "tl.cdiv takes no constants",
}


def _is_known(case: Case) -> bool:
    from tritorch.triton_api import triton_version

    version = tuple(int(part) for part in triton_version().split(".")[:2])
    return version < (3, 9) and any(re.search(name, case.name) for name in BEFORE_3_9)


def group(area: str, *names: Any) -> Callable[[Callable[..., Iterable[Case]]], Any]:
    """Register a builder of cases; with names, once for each, which the builder is given."""

    def register(build: Callable[..., Iterable[Case]]) -> Any:
        label = build.__name__.strip("_")
        if not names:
            GROUPS.append(Group(area, label, build))
        for name in names:
            GROUPS.append(Group(area, f"{label}-{name}", partial(build, name)))
        return build

    return register


def run(cases: Iterable[Case], target: Any = None) -> list[Result]:
    """Compile and run the cases, several to a kernel."""
    together: dict[tuple[Any, ...], list[Case]] = {}
    batches: list[list[Case]] = []
    for case in cases:
        if _is_known(case):
            continue
        if case.alone:
            batches.append([case])
            continue
        key = (case.grid, tuple(sorted(case.options.items())))
        batch = together.get(key)
        if batch is None or len(batch) >= _PER_KERNEL:
            batch = together[key] = []
            batches.append(batch)
        batch.append(case)
    return [result for batch in batches for result in _run_batch(batch, target)]


def _run_batch(batch: list[Case], target: Any) -> list[Result]:
    try:
        return _launch(batch, target)
    except Exception as error:
        if len(batch) == 1:
            return [Result(batch[0], f"{type(error).__name__}: {error}")]
    return [result for case in batch for result in _run_batch([case], target)]


def _launch(batch: list[Case], target: Any) -> list[Result]:
    source, values = _source(batch)
    signature = {name: triton_type(value) for name, value in values.items()}
    kernel = compile_kernel(source, signature, {}, dict(batch[0].options), target)
    Launcher(kernel)(batch[0].grid, *values.values())
    return [
        Result(
            case, _difference(case, {name: values[_own(number, name)] for name in case.expected})
        )
        for number, case in enumerate(batch)
    ]


def _own(number: int, name: str) -> str:
    return f"c{number}_{name}"


def _source(batch: list[Case]) -> tuple[KernelSource, dict[str, Any]]:
    """The kernel's text, and its arguments: arrays that are only read are passed once."""
    helpers = list(dict.fromkeys(case.helpers for case in batch if case.helpers))
    values: dict[str, Any] = {}
    shared: dict[int, str] = {}
    functions, calls = [], []
    for number, case in enumerate(batch):
        names = list(dict.fromkeys([*case.arguments, *case.expected]))
        passed = []
        for name in names:
            value = case.arguments.get(name)
            if name in case.expected:
                known = case.expected[name]
                value = np.zeros(known.shape, known.dtype) if value is None else value.copy()
            elif isinstance(value, np.ndarray) and id(value) in shared:
                passed.append(shared[id(value)])
                continue
            parameter = _own(number, name)
            values[parameter] = value
            if name not in case.expected:
                shared[id(value)] = parameter
            passed.append(parameter)
        body = "\n".join("    " + line for line in case.body.strip("\n").splitlines())
        functions.append(f"@triton.jit\ndef case_{number}({', '.join(names)}):\n{body}\n")
        calls.append(f"    case_{number}({', '.join(passed)})")
    main = f"@triton.jit\ndef kernel({', '.join(values)}):\n" + "\n".join(calls) + "\n"
    text = _HEADER + "\n\n".join([*helpers, *functions, main])
    return KernelSource("kernel", text), values


@np.errstate(all="ignore")
def _difference(case: Case, found: Mapping[str, np.ndarray]) -> str:
    """The first output that is not as expected, in words; empty if there is none."""
    for name, want in case.expected.items():
        got = found[name]
        if got.dtype != want.dtype:
            return f"{name}: {got.dtype}, expected {want.dtype}"
        wrong = ~_close(got, want, case)
        if wrong.any():
            places = np.argwhere(wrong)
            first = tuple(int(at) for at in places[0])
            return (
                f"{name}: {len(places)} of {got.size} differ, first at {first}: "
                f"{got[first]!r}, expected {want[first]!r}"
            )
    return ""


def _close(got: np.ndarray, want: np.ndarray, case: Case) -> np.ndarray:
    if got.dtype.kind in "iub":
        return np.asarray(got == want)
    actual, exact = got.astype(np.longdouble), want.astype(np.longdouble)
    same = (np.isnan(actual) & np.isnan(exact)) | (
        (actual == exact) & ((actual != 0) | (np.signbit(actual) == np.signbit(exact)))
    )
    if not case.ulp and not case.absolute:
        return np.asarray(same)
    unit = unit_in_the_last_place(want)
    near = np.abs(actual - exact) <= case.ulp * unit + case.absolute
    return np.asarray(same | near)


def unit_in_the_last_place(x: np.ndarray) -> np.ndarray:
    """The distance of neighbouring numbers of x's dtype at x, never less than at its tiniest."""
    import ml_dtypes

    information = ml_dtypes.finfo(x.dtype)
    exponent = np.frexp(np.abs(x.astype(np.longdouble)))[1] - 1
    exponent = np.maximum(exponent, int(np.log2(float(information.tiny))))
    return np.ldexp(np.longdouble(1), exponent - information.nmant)
