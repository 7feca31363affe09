"""From a kernel's source to machine code: frontend, parser, code generator, LLVM, cache."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tritorch.triton_api as triton_api
from tritorch.errors import UnsupportedOperation
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu import cache, llvm
from tritorch.triton_cpu.target import CPUTarget, host

if TYPE_CHECKING:
    from tritorch.triton_cpu.ir import Type


class CompiledKernel(NamedTuple):
    """Machine code of one kernel: `object_code` defines `void NAME(ptr args, i64 begin, i64 end)`.

    `parameter_types` are the Triton types of the argument slots, in order.
    """

    name: str
    object_code: bytes
    parameter_types: tuple[str, ...]
    from_cache: bool
    compile_seconds: float


def compile_kernel(
    source: KernelSource | Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    target: CPUTarget | None = None,
) -> CompiledKernel:
    """Compile a kernel for the CPU, or fetch it from the cache.

    Args:
        source: a KernelSource, or a function decorated with `@triton.jit`.
        signature: parameter name -> Triton type of the parameters that are not constants, in order:
            `"*fp32"`, `"i32"`, ...; `":16"` appended says that the value is divisible by 16.
        constants: name -> value of the `tl.constexpr` parameters.
        options: Triton's (`debug=True` keeps device_assert), and `pipeline`, LLVM's passes:
            `"default"` or `"mini"`.
        target: the CPU to compile for; this machine by default.

    Raises:
        CompileError: the kernel is wrong.
        UnsupportedOperation: it has an operation that the CPU target lacks.
    """
    start = time.perf_counter()
    options = options or {}
    target = target or host()
    store = cache.object_cache()
    key = ""
    if store is not None:
        digest = triton_api.source_digest(source)
        key = cache.entry_key(digest, signature, constants, options, target.fingerprint)
        found = store.load(key)
        if found is not None:
            metadata, code = found
            return CompiledKernel(
                name=metadata["name"],
                object_code=code,
                parameter_types=tuple(metadata["parameter_types"]),
                from_cache=True,
                compile_seconds=time.perf_counter() - start,
            )
    triton_ir = triton_api.lower_to_triton_ir(source, signature, constants, options)
    text, parameter_types = generate_llvm(
        triton_ir.text, triton_ir.name, signature, target, bool(options.get("check_bounds"))
    )
    code = llvm.compile_object(text, target, options.get("pipeline", "default"), triton_ir.name)
    if store is not None:
        metadata = {
            "name": triton_ir.name,
            "parameter_types": list(parameter_types),
            "constants": {name: repr(value) for name, value in constants.items()},
            "maker": cache.maker(target.fingerprint),
        }
        store.store(key, metadata, code)
    return CompiledKernel(
        name=triton_ir.name,
        object_code=code,
        parameter_types=parameter_types,
        from_cache=False,
        compile_seconds=time.perf_counter() - start,
    )


def compile_text(text: str, target: CPUTarget, name: str) -> bytes:
    """Object code of LLVM text that is ours (the runtime, support), or fetch it from the cache."""
    store = cache.object_cache()
    if store is None:
        return llvm.compile_object(text, target, name=name)
    digest = hashlib.blake2b(text.encode(), digest_size=32).hexdigest()  # faster than SHA-256
    key = cache.entry_key(digest, {}, {}, {}, target.fingerprint)
    found = store.load(key)
    if found is not None:
        return found[1]
    code = llvm.compile_object(text, target, name=name)
    store.store(key, {"name": name, "maker": cache.maker(target.fingerprint)}, code)
    return code


def stages(
    source: KernelSource | Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    target: CPUTarget | None = None,
) -> dict[str, str]:
    """Every form that a kernel takes on its way, as text to read: source, ttir, llir, asm."""
    options = options or {}
    target = target or host()
    triton_ir = triton_api.lower_to_triton_ir(source, signature, constants, options)
    text, _ = generate_llvm(
        triton_ir.text, triton_ir.name, signature, target, bool(options.get("check_bounds"))
    )
    pipeline = options.get("pipeline", "default")
    return {
        "source": triton_api.source_text(source),
        "ttir": triton_ir.pretty,
        "llir": text,
        "asm": llvm.compile_assembly(text, target, pipeline, triton_ir.name),
    }


def generate_llvm(
    text: str,
    name: str,
    signature: Mapping[str, str] | None,
    target: CPUTarget,
    check_bounds: bool = False,
) -> tuple[str, tuple[str, ...]]:
    """LLVM text for a module in generic form, and the types of the kernel's argument slots.

    The types are the signature's. Without one, or where a host tensor descriptor has become a
    pointer, its shape and its strides, they are what Triton IR says, which has no signs.
    """
    # A warm process generates nothing, so these wait.
    from tritorch.triton_cpu.codegen import generate
    from tritorch.triton_cpu.parser import parse_module

    functions = parse_module(text, name)
    types, _ = triton_api.split_signature(signature or {})
    parameter_types = tuple(types.values())
    if signature is None or any(kind.startswith("tensordesc") for kind in parameter_types):
        arguments = functions[0].regions[0][0].arguments
        parameter_types = tuple(_slot_type(argument.type) for argument in arguments)
    try:
        return generate(functions, target, name, check_bounds), parameter_types
    except UnsupportedOperation as error:
        if name in str(error):
            raise
        raise UnsupportedOperation(f"{name}: {error}") from error


_FLOAT_TYPES = {"f16": "fp16", "f32": "fp32", "f64": "fp64"}


def _slot_type(kind: Type) -> str:
    """Triton's name of a parameter type in its IR."""
    if kind.element == "ptr":
        return "*" + _FLOAT_TYPES.get(kind.pointee or "", kind.pointee or "i8")
    return _FLOAT_TYPES.get(kind.element, kind.element)
