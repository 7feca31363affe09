"""A kernel's cubin and what its launch must know: from the object cache, or compiled by Triton."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tritorch import triton_api
from tritorch.errors import CompileError
from tritorch.kernel_source import KernelSource
from tritorch.runtime.cuda.cubin import kernels
from tritorch.triton_cpu.cache import entry_key, maker, object_cache

#: of the entries in the cache
_FORMAT = 2
#: Profile scratch memory is for Triton's profiler, which the runtime does not run.
_UNSUPPORTED = ("profile_scratch_size",)


@dataclass(frozen=True)
class LaunchFacts:
    """What Triton's metadata say about launching a kernel (3.6 and 3.9 agree on the names)."""

    num_warps: int = 4
    num_ctas: int = 1
    warp_size: int = 32
    shared_bytes: int = 0
    global_scratch_bytes: int = 0  # for each program and CTA of its cluster
    global_scratch_align: int = 1
    cooperative: bool = False
    programmatic: bool = False

    @classmethod
    def of(cls, name: str, metadata: Mapping[str, Any]) -> LaunchFacts:
        """From Triton's metadata.

        Raises:
            CompileError: the kernel needs something that the runtime does not supply.
        """
        for key in _UNSUPPORTED:
            if metadata.get(key):
                raise CompileError(
                    f"{name}: the kernel asks for {metadata[key]} bytes of {key}, which only "
                    "Triton's own launcher supplies. Compile it without instrumentation."
                )
        return cls(
            num_warps=metadata["num_warps"],
            num_ctas=metadata["num_ctas"],
            warp_size=metadata["warp_size"],
            shared_bytes=metadata["shared"],
            global_scratch_bytes=metadata["global_scratch_size"],
            global_scratch_align=metadata["global_scratch_align"],
            cooperative=bool(metadata["launch_cooperative_grid"]),
            programmatic=bool(metadata["launch_pdl"]),
        )


@dataclass(frozen=True)
class KernelCode:
    """A compiled kernel that no device has loaded yet."""

    name: str
    cubin: bytes
    facts: LaunchFacts
    parameter_types: tuple[str, ...]
    from_cache: bool
    compile_seconds: float


def compile_cubin(
    source: KernelSource | Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    capability: int,
    options: Mapping[str, Any] | None = None,
) -> KernelCode:
    """The kernel's machine code for devices of this capability (90 is sm_90).

    Raises:
        CompileError: Triton refuses the kernel.
    """
    start = time.perf_counter()
    options = dict(options or {})
    store = object_cache("cuda")
    fingerprint = f"cuda:{capability};{_FORMAT}"
    key = ""
    if store is not None:
        digest = triton_api.source_digest(source)
        key = entry_key(digest, signature, constants, options, fingerprint)
        found = store.load(key)
        if found is not None:
            metadata, cubin = found
            return KernelCode(
                metadata["name"],
                cubin,
                LaunchFacts(**metadata["facts"]),
                tuple(metadata["parameter_types"]),
                from_cache=True,
                compile_seconds=time.perf_counter() - start,
            )
    code = triton_api.compile_gpu(source, signature, constants, ("cuda", capability), options)
    binary = code.assembly["cubin"]
    assert isinstance(binary, bytes)
    cubin = binary
    facts = LaunchFacts.of(code.name, code.metadata)
    count = len(kernels(cubin)[code.name].parameters)
    types = argument_types(code.name, signature, count, code.metadata.get("tensordesc_meta"))
    if store is not None:
        entry = {
            "name": code.name,
            "facts": asdict(facts),
            "parameter_types": types,
            "maker": maker(fingerprint),
        }
        store.store(key, entry, cubin)
    return KernelCode(code.name, cubin, facts, types, False, time.perf_counter() - start)


_DESCRIPTOR = re.compile(r"tensordesc<([^[>]*)\[([^]]*)\]")
#: addresses of global and of profile scratch memory, which Triton appends
HIDDEN = ("*i8", "*i8")


def argument_types(
    name: str, signature: Mapping[str, str], count: int, tensor_maps: Any = ()
) -> tuple[str, ...]:
    """Types of a kernel's arguments without the hidden ones.

    A host's tensor descriptor counts as several: its CUtensorMap or, where the device has none,
    pointer, sizes, strides and flags (one up to Triton 3.6, two in 3.9); then sizes and strides.

    Args:
        count: how many arguments the cubin has, with the hidden ones.
        tensor_maps: Triton's `tensordesc_meta`: one entry for each descriptor that became a
            CUtensorMap.
    Raises:
        CompileError: the kernel takes other arguments than this runtime knows of.
    """
    types, _ = triton_api.split_signature(signature)
    for flags in (1, 2):
        found = _expanded(types.values(), flags, tensor_maps)
        if len(found) + len(HIDDEN) == count:
            return tuple(found)
    raise CompileError(
        f"{name}: the compiled kernel takes {count} arguments, {len(found) + len(HIDDEN)} are "
        "known. This version of Triton adds others; use one of 3.6 to 3.9."
    )


def _expanded(types: Iterable[str], flags: int, tensor_maps: Any) -> list[str]:
    found: list[str] = []
    for kind in types:
        match = _DESCRIPTOR.match(kind)
        if match is None:
            found.append(kind)
            continue
        ndim = match[2].count(",") + 1
        if tensor_maps:
            found.append("nvTmaDesc")
        else:
            found += ["*" + match[1], *["i64"] * (2 * ndim), *["i1"] * flags]
        found += ["i32"] * ndim + ["i64"] * ndim
    return found
