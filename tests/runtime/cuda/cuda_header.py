"""What NVIDIA's cuda.h says, as far as the runtime relies on it: numbers, structures, prototypes.

The header comes with Triton's wheel (12.8 with Triton 3.6, 13.1 with 3.9), so tests need no CUDA.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_INTEGERS = {
    "unsigned int": ctypes.c_uint,
    "int": ctypes.c_int,
    "unsigned char": ctypes.c_ubyte,
    "size_t": ctypes.c_size_t,
    "unsigned long long": ctypes.c_ulonglong,
    "cuuint32_t": ctypes.c_uint32,
    "cuuint64_t": ctypes.c_uint64,
    "CUdeviceptr": ctypes.c_uint64,
    "CUdevice": ctypes.c_int,
}


@cache
def text() -> str:
    """The header without comments."""
    found = find_spec("triton")
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "backends" / "nvidia" / "include" / "cuda.h"
    return _COMMENT.sub("", path.read_text())


@cache
def enums() -> dict[str, int]:
    """Every enumerator's number, and the simple macros of numbers."""
    found: dict[str, int] = {}
    for body in re.findall(r"typedef enum \w+ \{(.*?)\}", text(), re.DOTALL):
        following = 0
        for entry in body.split(","):
            name, _, value = (part.strip() for part in entry.partition("="))
            if not re.fullmatch(r"\w+", name):
                continue  # an empty one, or one that a macro makes
            if value:
                try:
                    following = int(value, 0) if value not in found else found[value]
                except ValueError:
                    continue
            found[name] = following
            following += 1
    for name, value in re.findall(r"#define (CU_\w+) +(0[xX]\w+|\d+)\s*$", text(), re.MULTILINE):
        found.setdefault(name, int(value, 0))
    return found


@cache
def _handles() -> frozenset[str]:
    return frozenset(re.findall(r"typedef (?:const )?struct \w+ ?\* ?(\w+);", text()))


@cache
def _enum_types() -> frozenset[str]:
    return frozenset(re.findall(r"typedef enum \w+ \{.*?\} (\w+);", text(), re.DOTALL))


def _type(words: str) -> Any:
    """The ctypes type of a parameter or member, given as in C."""
    if "*" in words or "[" in words:
        return ctypes.c_void_p
    name = re.sub(r"\b(const|enum|struct)\b", "", words).strip()
    name = name if name in _INTEGERS else " ".join(name.split()[:-1])  # without its own name
    name = re.sub(r"_v\d$", "", name)
    if name in _handles():
        return ctypes.c_void_p
    if name in _INTEGERS:
        return _INTEGERS[name]
    assert name in _enum_types(), f"cuda.h: what is {words!r}?"
    return ctypes.c_int


@cache
def prototypes() -> dict[str, list[Any]]:
    """Types of the parameters of each function, under its plain name and in its latest form."""
    found: dict[str, list[Any]] = {}
    pattern = re.compile(r"CUresult CUDAAPI (cu\w+)\s*\((.*?)\)\s*;", re.DOTALL)
    for name, parameters in pattern.findall(text()):
        if name in found:
            continue  # the older forms stand at the end
        words = [" ".join(one.split()) for one in parameters.split(",")]
        try:
            found[name] = [] if words == ["void"] else [_type(one) for one in words]
        except AssertionError:
            continue  # of types that nobody here uses
    for name, symbol in re.findall(r"^#define (cu\w+) +(cu\w+)\s*$", text(), re.MULTILINE):
        if name in found:  # a form's own name: #define cuMemAlloc cuMemAlloc_v2
            found.setdefault(symbol, found[name])
    return found


def members(structure: str) -> list[tuple[str, Any]]:
    """Names and types of a structure's members."""
    pattern = rf"typedef struct {structure}_st \{{(.*?)\}} {structure}(?:_v\d)?;"
    body = re.search(pattern, text(), re.DOTALL)
    assert body is not None, f"cuda.h: no {structure}"
    lines = [" ".join(one.split()) for one in body[1].split(";") if one.strip()]
    return [(re.findall(r"\w+", line)[-1], _type(line)) for line in lines]
