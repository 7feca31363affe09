"""Runs what parts of the code generator emit: a builder's body as a function of this process."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence

import pytest

from tritorch.errors import ConfigError
from tritorch.triton_cpu.codegen.builder import Builder
from tritorch.triton_cpu.llvm import compile_object, load_object
from tritorch.triton_cpu.target import LEVELS, CPUTarget, _host

#: The feature levels to test; those that this machine lacks are skipped, with the reason.
TARGETS = list(LEVELS)


@functools.cache
def target_named(name: str) -> CPUTarget:
    try:
        return _host(name)
    except ConfigError as error:
        pytest.skip(str(error))


def load(
    builder: Builder, parameters: Sequence[tuple[str, str]], target: CPUTarget, name: str = "kernel"
) -> Callable[..., None]:
    """The builder's body as a C function of pointers and i64."""
    builder.emit("ret void")
    signature = ", ".join(f"{kind} {register}" for kind, register in parameters)
    text = "\n".join(
        [
            *sorted(builder.declarations),
            *builder.helpers.values(),
            f"define void @{name}({signature}) {{\nentry:",
            *builder.allocas,
            *builder.lines,
            "}",
        ]
    )
    address = load_object(compile_object(text, target, name=name), [name])[name]
    kinds = [ctypes.c_void_p if kind == "ptr" else ctypes.c_int64 for kind, _ in parameters]
    return ctypes.CFUNCTYPE(None, *kinds)(address)
