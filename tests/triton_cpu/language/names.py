"""Which public names of Triton's language the cases use, and why some are not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

import triton.language as tl

from tests.triton_cpu import suite
from tests.triton_cpu.language.every import GROUPS

#: names without a case of their own, with the reason
REASONS = {
    "TRITON_MAX_TENSOR_NUMEL": "a limit that the frontend checks",
    "block_type": "a type of the frontend; annotations and static_assert only",
    "const": "an annotation of pointers that the launcher reads",
    "constexpr_type": "a type of the frontend",
    "dtype": "a type of the frontend",
    "extra": "a package: libdevice has an area of its own",
    "float8e4b15": "an 8-bit float of old GPUs that MLIR has no type for; refused with an error",
    "float8e4b8": "an 8-bit float of AMD's gfx942 only",
    "float8e5b16": "an 8-bit float of AMD's gfx942 only",
    "inline_asm_elementwise": "assembly of a GPU; refused with an error (test_compile)",
    "make_block_ptr": "removed in Triton 3.9, which refuses it; has cases with 3.6",
    "advance": "moves block pointers, which are gone in Triton 3.9",
    "aggregate_replace": "works on Python classes: test_language has aggregates",
    "tensor_descriptor": "a type of the frontend: descriptors have cases",
    "pi32_t": "a pointer type of the frontend",
    "slice": "x[:, None] is made of it",
    "str_to_ty": "of the frontend",
    "target_info": "asks which GPU it is",
    "tensor": "the type of every value here",
    "tensor_descriptor_type": "a type of the frontend",
    "tuple_type": "a type of the frontend",
    "void": "a type of the frontend",
}
#: methods of tensors without a case, with the reason
METHOD_REASONS = {
    "T": "has cases as a property",
    "advance": "of block pointers",
    "view": "the same function as tl.view, and deprecated",
    "sort": "Triton's frontend refuses the method; tl.sort has cases",
}


def texts() -> Iterable[str]:
    """The source of every case."""
    for group in GROUPS:
        for case in group.build():
            yield case.body + case.helpers
    for case in suite.CASES:
        yield case.kernel.src


def used() -> tuple[set[str], set[str]]:
    """(names after `tl.`, names of methods called on values)."""
    names: set[str] = set()
    methods: set[str] = set()
    for text in set(texts()):
        names.update(re.findall(r"\btl\.(\w+)", text))
        names.update(re.findall(r"\btl\.math\.(\w+)", text))
        methods.update(re.findall(r"(?<!\btl)(?<!libdevice)\.(\w+)\(", text))
    return names, methods


def public_names() -> set[str]:
    """What the package exports, and what it only holds, but for its modules."""
    held = {n for n in dir(tl) if n[0] != "_" and not inspect.ismodule(getattr(tl, n))}
    return held | set(tl.__all__)


def public_methods() -> set[str]:
    return {name for name in dir(tl.tensor) if not name.startswith("_")}
