"""The only module that touches Triton's private API; works with Triton 3.6 to 3.9.

Triton is a compiler here: Python source -> Triton IR (for our CPU target) or -> a CUDA binary.
Importing this module does not import Triton: a process that finds its machine code in the cache
never needs it (0.2 s saved).
"""

from __future__ import annotations

import gc
import hashlib
import linecache
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tritorch.errors import CompileError
from tritorch.installed import assigned
from tritorch.kernel_source import KernelSource

#: Triton's frontend is entered by one thread at a time. A fork waits for it (`while_quiet`).
_LOCK = threading.RLock()


def while_quiet(*locks: Any) -> None:
    """Let every fork wait until nobody holds these locks, after the frontend's own, so that a child
    finds them free and what they guard whole: a child has no other thread to let them go.
    """
    held = [_LOCK, *locks]

    def acquire() -> None:
        for lock in held:
            lock.acquire()

    def release() -> None:
        for lock in reversed(held):
            lock.release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=acquire, after_in_parent=release, after_in_child=release)


while_quiet()


@cache
def triton_version() -> str:
    """The version, from Triton's source."""
    version = assigned("triton", "__init__.py", "__version__")
    if version:
        return version
    if find_spec("triton") is None:
        raise CompileError("compile: Triton is not installed. Run pip install triton.")
    import triton

    return str(triton.__version__)


# ---- from text to a function


_FUNCTIONS: dict[str, Any] = {}


def jit_function(source: KernelSource | Any) -> Any:
    """The `triton.JITFunction` of a KernelSource (a JITFunction is returned as it is)."""
    if not isinstance(source, KernelSource):
        if not hasattr(source, "arg_names") or not hasattr(source, "cache_key"):
            raise CompileError(
                "compile: expected a KernelSource or a @triton.jit function, "
                f"got {type(source).__name__}. "
                "Decorate the kernel with @triton.jit."
            )
        return source
    with _LOCK:
        function = _FUNCTIONS.get(source.digest)
        if function is None:
            function = _FUNCTIONS[source.digest] = _execute(source)
        return function


def _execute(source: KernelSource) -> Any:
    import triton
    import triton.language as tl

    file_name = f"<kernel {source.name} {source.digest[:12]}>"
    # Without a modification time linecache looks for no file, so inspect.getsource works.
    linecache.cache[file_name] = (
        len(source.text),
        None,
        source.text.splitlines(keepends=True),
        file_name,
    )
    namespace: dict[str, Any] = {
        "__name__": f"tritorch.generated.{source.name}",
        "triton": triton,
        "tl": tl,
    }
    try:
        exec(compile(source.text, file_name, "exec"), namespace)
    except Exception as error:
        raise CompileError(
            f"{source.name}: the kernel's source cannot be executed: {error}"
        ) from error
    function = namespace.get(source.name)
    if not isinstance(function, triton.JITFunction):
        raise CompileError(
            f"{source.name}: the kernel's source defines no @triton.jit function of this name. "
            f"It defines "
            f"{', '.join(k for k, v in namespace.items() if isinstance(v, triton.JITFunction))}."
        )
    return function


def source_digest(source: KernelSource | Any) -> str:
    """What identifies a kernel's code in cache keys; for a JITFunction also what it calls."""
    if isinstance(source, KernelSource):
        return source.digest
    return str(jit_function(source).cache_key)


def source_text(source: KernelSource | Any) -> str:
    return source.text if isinstance(source, KernelSource) else str(source.src)


# ---- options


#: What Triton's frontend, passes and launch code read from an options object.
_DEFAULT_OPTIONS: dict[str, Any] = {
    "num_warps": 4,
    "num_ctas": 1,
    "num_stages": 3,
    "warp_size": 1,
    "enable_fp_fusion": True,
    "launch_cooperative_grid": False,
    "launch_pdl": False,
    "supported_fp8_dtypes": ("fp8e5", "fp8e4nv", "fp8e4b15"),
    "deprecated_fp8_dtypes": (),
    "deprecated_fp8_dot_operand_dtypes": (),
    "default_dot_input_precision": "ieee",
    "allowed_dot_input_precisions": ("ieee", "tf32", "tf32x3", "bf16x3", "bf16x6"),
    "max_num_imprecise_acc_default": 0,
    "allow_fp8e4nv": True,
    "extern_libs": (),
    "debug": False,
    "backend_name": "cpu",
    "sanitize_overflow": False,
    "arch": "cpu",
    "instrumentation_mode": "",
    "fpsan_homomorphic_casts": False,
    "ir_override": None,
    "maxnreg": None,
}


class CPUOptions:
    """Compile options; takes every keyword: Triton versions differ in what they pass and read."""

    def __init__(self, **options: Any) -> None:
        self.__dict__.update(_DEFAULT_OPTIONS)
        self.__dict__.update(options)

    def hash(self) -> str:
        return hashlib.sha256(repr(sorted(self.__dict__.items())).encode()).hexdigest()

    def __repr__(self) -> str:
        changed = {
            k: v
            for k, v in self.__dict__.items()
            if k not in _DEFAULT_OPTIONS or _DEFAULT_OPTIONS[k] != v
        }
        return f"CPUOptions({', '.join(f'{k}={v!r}' for k, v in sorted(changed.items()))})"


def _no_custom_types(*_args: Any, **_kwargs: Any) -> Any:
    raise CompileError("compile: the CPU target has no fp8e4b15. Use fp8e4nv or fp8e5.")


def codegen_functions() -> dict[str, Any]:
    """What a backend tells the frontend: tl.dot takes tiles of any size here."""
    return {
        "convert_custom_types": _no_custom_types,
        "min_dot_size": lambda _left, _right: (1, 1, 1),
    }


def module_map() -> dict[str, Any]:
    """libdevice functions become tt.extern_elementwise ops with NVIDIA's symbol names."""
    from triton.language.extra.cuda import libdevice

    return {"triton.language.extra.libdevice": libdevice}


# ---- Triton IR


class TritonIR(NamedTuple):
    """A kernel's optimised Triton IR: `text` in generic form, for our parser; `pretty` to show."""

    name: str
    text: str
    pretty: str


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """The AST walk allocates many objects; a collection in its middle costs 4 ms for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _reason(error: BaseException) -> str:
    """The messages of an error and its causes, first cause last: Triton nests one per call."""
    messages = []
    cause: BaseException | None = error
    while cause is not None:
        messages.append(str(cause).strip() or type(cause).__name__)
        cause = cause.__cause__
    return "\n".join(dict.fromkeys(messages))


def split_signature(
    signature: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, int]]:
    """Types, and divisibility hints: `"*fp32:16"` is an address that is a multiple of 16."""
    types, divisors = {}, {}
    for name, text in signature.items():
        kind, _, divisor = text.partition(":")
        types[name] = kind
        if divisor:
            divisors[name] = int(divisor)
    return types, divisors


def _ast_source(function: Any, signature: Mapping[str, str], constants: Mapping[str, Any]) -> Any:
    from triton.compiler import ASTSource

    names = list(function.arg_names)
    types, divisors = split_signature(signature)
    constants = dict(constants)
    for parameter in function.params:
        if parameter.name not in types and parameter.name not in constants:
            if not parameter.has_default:
                raise CompileError(
                    f"{function.__name__}: parameter {parameter.name!r} is in neither "
                    "signature nor constants. "
                    "Give its type or its value."
                )
            constants[parameter.name] = parameter.default
    unknown = [name for name in (*types, *constants) if name not in names]
    if unknown:
        raise CompileError(
            f"{function.__name__}: has no parameters {', '.join(unknown)}; they are "
            f"{', '.join(names)}."
        )
    if list(types) != [name for name in names if name in types]:
        raise CompileError(
            f"{function.__name__}: signature lists {', '.join(types)}. "
            "List them in the kernel's order."
        )
    attributes = {
        (names.index(name),): [["tt.divisibility", divisor]] for name, divisor in divisors.items()
    }
    full = {name: types.get(name, "constexpr") for name in names}
    return ASTSource(function, full, constants, attributes)


def run_cpu_passes(module: Any) -> Any:
    """Optimise a module in place: the target-independent passes, descriptors to pointers."""
    from triton._C.libtriton import ir, passes

    manager = ir.pass_manager(module.context)
    passes.common.add_inliner(manager)
    if hasattr(passes.ttir, "add_rewrite_tensor_pointer"):  # block pointers: up to Triton 3.6
        passes.ttir.add_rewrite_tensor_pointer(manager)
    passes.ttir.add_rewrite_tensor_descriptor_to_pointer(manager)
    passes.common.add_canonicalizer(manager)
    passes.ttir.add_combine(manager)
    passes.ttir.add_reorder_broadcast(manager)
    passes.common.add_cse(manager)
    passes.ttir.add_triton_licm(manager)
    passes.common.add_symbol_dce(manager)
    passes.ttir.add_loop_unroll(manager)
    manager.run(module, "tritorch_cpu")
    return module


def generic_text(module: Any) -> str:
    """The module in MLIR's generic op form; the module is invalid afterwards.

    Attributes of a module must have a dialect prefix. One without makes verification fail, and
    MLIR's printer then falls back on the generic form: one grammar for every op of every Triton
    version.
    """
    from triton._C.libtriton import ir

    module.set_attr("generic", ir.builder(module.context).get_int32_attr(1))
    return str(module.str_nodebug())


def lower_to_triton_ir(
    source: KernelSource | Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> TritonIR:
    """Compile a kernel's Python to optimised Triton IR for the CPU target.

    Args:
        signature: parameter name -> Triton type (`"*fp32"`, `"i32"`, ...; `":16"` appended:
            divisible by 16).
        constants: parameter name -> value of the others.
        options: what `kernel[grid](..., num_warps=4, debug=True)` takes.
    """
    function = jit_function(source)
    with _LOCK, _garbage_collection_paused():
        from triton._C.libtriton import ir
        from triton.backends.compiler import GPUTarget

        tree = _ast_source(function, signature, constants)
        context = ir.context()
        ir.load_dialects(context)
        target = GPUTarget("cpu", "cpu", 1)
        try:
            module = tree.make_ir(
                target, CPUOptions(**(options or {})), codegen_functions(), module_map(), context
            )
            module.context = context
            run_cpu_passes(module)
        except CompileError:
            raise
        except Exception as error:
            raise CompileError(
                f"{function.__name__}: Triton's frontend refuses the kernel: {_reason(error)}"
            ) from error
        pretty = str(module.str_nodebug())
        return TritonIR(function.__name__, generic_text(module), pretty)


# ---- launching through Triton, which only the plug-in does


def wrap_argument_specializer(wrap: Callable[[Any], Any]) -> None:
    """Replace the function that tells Triton's launch code the type of an argument, once.

    `wrap` gets Triton's function and returns one with the same parameters: (backend, argument,
    is_const, specialize_value, align).
    """
    from triton.runtime import jit

    with _LOCK:
        current = jit.native_specialize_impl
        if not hasattr(current, "tritorch_wrapped"):
            replacement = wrap(current)
            replacement.tritorch_wrapped = current
            jit.native_specialize_impl = replacement


def use_quick_installation_key() -> None:
    """Identify Triton's installation by its files' sizes and times, not by hashing 500 MB.

    Triton does that once per process before it looks into its cache (0.5 to 2 s).
    """
    from triton.runtime import cache as triton_cache

    with _LOCK:
        if getattr(triton_cache, "triton_key", _quick_installation_key) is _quick_installation_key:
            return
        triton_cache.triton_key = _quick_installation_key


@cache
def _quick_installation_key() -> str:
    import triton

    root = Path(triton.__file__).parent
    digest = hashlib.sha256(triton_version().encode())
    for folder in ("", "compiler", "language", "runtime", "_C"):
        with os.scandir(root / folder) as found:
            entries = sorted(found, key=lambda item: item.name)
        for entry in entries:
            if entry.is_file():
                status = entry.stat()
                digest.update(f"{entry.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


# ---- CUDA


class GPUCode(NamedTuple):
    """`assembly`: stage name (ttir, ..., ptx, cubin) -> text or bytes; `metadata` is Triton's."""

    name: str
    assembly: dict[str, str | bytes]
    metadata: dict[str, Any]


def compile_gpu(
    source: KernelSource | Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    target: tuple[str, int | str] = ("cuda", 90),
    options: Mapping[str, Any] | None = None,
) -> GPUCode:
    """Compile a kernel for a GPU; needs no GPU and no driver (ptxas is inside Triton's wheel).

    The stages are run one by one, as triton.compile does, but without its cache: that one hashes
    the whole Triton installation first (0.45 s), and our own cache holds the result.
    """
    function = jit_function(source)
    with _LOCK:
        from triton._C.libtriton import ir
        from triton.backends.compiler import GPUTarget
        from triton.compiler.compiler import make_backend

        tree = _ast_source(function, signature, constants)
        gpu = GPUTarget(target[0], target[1], 32 if target[0] == "cuda" else 64)
        backend = make_backend(gpu)
        parsed = backend.parse_options({"enable_fp_fusion": True, **(options or {})})
        metadata: dict[str, Any] = {"target": gpu, **parsed.__dict__}
        stages: dict[str, Any] = {}
        backend.add_stages(stages, parsed, tree.language)
        context = ir.context()
        ir.load_dialects(context)
        backend.load_dialects(context)
        assembly: dict[str, str | bytes] = {}
        try:
            module = tree.make_ir(
                gpu,
                parsed,
                backend.get_codegen_implementation(parsed),
                backend.get_module_map(),
                context,
            )
            module.context = context
            for stage, run in stages.items():
                module = run(module, metadata)
                assembly[stage] = module if isinstance(module, (str, bytes)) else str(module)
        except Exception as error:
            raise CompileError(
                f"{function.__name__}: does not compile for {target[0]} {target[1]}: "
                f"{_reason(error)}"
            ) from error
        return GPUCode(function.__name__, assembly, metadata)


def disassemble(code: GPUCode) -> str:
    """The machine code of an NVIDIA kernel as text, by the nvdisasm in Triton's wheel."""
    import subprocess
    import tempfile

    found = find_spec("triton")
    assert found is not None and found.origin is not None
    tool = Path(found.origin).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    cubin = code.assembly.get("cubin")
    if not tool.exists() or not isinstance(cubin, bytes):
        raise CompileError(f"{code.name}: this Triton has no nvdisasm. Show the stage ptx instead.")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        run = subprocess.run([tool, "-c", file.name], capture_output=True, text=True)
    if run.returncode != 0:
        raise CompileError(f"{code.name}: nvdisasm failed: {run.stderr.strip()}")
    return run.stdout
