"""LLVM's part: text -> object code -> addresses in this process."""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from tritorch import triton_api
from tritorch.errors import CompileError
from tritorch.installed import assigned
from tritorch.once import once
from tritorch.triton_cpu import elf, support
from tritorch.triton_cpu.target import CPUTarget

#: Passes run on the text before code generation. Strips are emitted already vectorised, so the
#: default does no more than put small buffers into registers; "mini" costs 2-10 ms more and gains
#: up to 13 % on kernels with much scalar control flow.
PIPELINES: dict[str, tuple[str, ...]] = {
    "default": ("sroa",),
    "mini": ("sroa", "simplify_cfg", "loop_rotate", "instruction_combine", "new_gvn"),
}


@once
def binding() -> Any:
    """llvmlite.binding, initialised for this machine (the import takes 40 ms, so it is late)."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    lock = getattr(getattr(llvm.ffi.lib, "_lock", None), "_lock", None)
    if lock is not None:  # every call into LLVM holds it
        triton_api.while_quiet(lock)
    return llvm


@cache
def binding_version() -> str:
    """llvmlite's version, from its source."""
    version = assigned("llvmlite", "_version.py", "version_version")
    if version:
        return version
    import llvmlite

    return str(llvmlite.__version__)


def _parse(text: str, target: CPUTarget, name: str) -> Any:
    llvm = binding()
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"{name}: generated LLVM text is wrong: {error}") from error
    module.triple = target.triple
    module.data_layout = str(target.machine().target_data)
    return module


def _optimised(text: str, target: CPUTarget, pipeline: str, name: str) -> Any:
    if pipeline not in PIPELINES:
        raise CompileError(
            f"{name}: pipeline must be one of {', '.join(PIPELINES)}; got {pipeline!r}."
        )
    module = _parse(text, target, name)
    if PIPELINES[pipeline]:
        llvm = binding()
        builder = llvm.create_pass_builder(
            target.machine(), llvm.create_pipeline_tuning_options(speed_level=2)
        )
        manager = llvm.create_new_module_pass_manager()
        for step in PIPELINES[pipeline]:
            getattr(manager, f"add_{step}_pass")()
        manager.run(module, builder)
    return module


def compile_object(
    text: str, target: CPUTarget, pipeline: str = "default", name: str = "kernel"
) -> bytes:
    """Machine code (a relocatable ELF or Mach-O object) of an LLVM module in text form."""
    return bytes(target.machine().emit_object(_optimised(text, target, pipeline, name)))


def compile_assembly(
    text: str, target: CPUTarget, pipeline: str = "default", name: str = "kernel"
) -> str:
    """The same as assembly text, to read."""
    return str(target.machine().emit_assembly(_optimised(text, target, pipeline, name)))


# ---- loading


_LOCK = threading.RLock()
_SUPPLIED: dict[str, int] = {}
_LOADED: list[Any] = []
_LIBRARY_NUMBERS = itertools.count()


def supply_symbols(symbols: Mapping[str, int]) -> None:
    """Say at which addresses objects that are loaded from now on find these functions."""
    with _LOCK:
        _SUPPLIED.update(symbols)


def load_object(
    object_code: bytes, names: Iterable[str], symbols: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Link an object into this process, for good; gives the addresses of the functions `names`.

    Symbols that it refers to are looked up in `symbols`, among the supplied ones, among the plain
    forms of those in `support`, and then in the process (libc, libm). Objects for x86-64 Linux are
    loaded without LLVM; others it links itself.
    """
    names = tuple(names)
    known = symbols or {}
    try:
        defined = elf.load(object_code, lambda name: _address(name, known, names[0]))
        return {name: defined[name] for name in names}
    except elf.UnknownFormat:
        return _link(object_code, names, known)
    except KeyError as error:
        raise CompileError(
            f"{names[0]}: the object does not link: it defines no {error.args[0]}."
        ) from error


def _address(name: str, symbols: Mapping[str, int], kernel: str) -> int:
    address = symbols.get(name) or _SUPPLIED.get(name)
    if address is None and name in support.NAMES:
        address = support.support_symbols()[name]
    if address is None:
        try:
            address = ctypes.addressof(ctypes.c_char.in_dll(_process(), name))
        except ValueError as error:
            raise CompileError(
                f"{kernel}: the object does not link: nothing defines {name}."
            ) from error
    return address


@once
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@once
def _jit() -> Any:
    from tritorch.triton_cpu.target import host

    return binding().create_lljit_compiler(host().machine())


def _link(object_code: bytes, names: tuple[str, ...], symbols: Mapping[str, int]) -> dict[str, int]:
    """What `load_object` does, by LLVM."""
    builder = binding().JITLibraryBuilder().add_object_img(object_code)
    for name in names:
        builder.export_symbol(name)
    mentioned = {name.decode() for name in re.findall(rb"\0(\w+)(?=\0)", object_code)}
    for name in (mentioned & {*symbols, *_SUPPLIED, *support.NAMES}) - set(names):
        builder.import_symbol(name, _address(name, symbols, names[0]))
    with _LOCK:
        try:
            library = builder.add_current_process().link(
                _jit(), f"tritorch{next(_LIBRARY_NUMBERS)}"
            )
        except RuntimeError as error:
            raise CompileError(f"{names[0]}: the object does not link: {error}") from error
        _LOADED.append(library)
        return {name: int(library[name]) for name in names}
