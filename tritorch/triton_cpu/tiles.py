"""Whether this process may use tile instructions (AMX), and whether they do what they should.

Linux lets a process use the tile registers, 8 KiB more to save for each thread, only after it has
asked. The answer holds for the whole process: threads that run already and those to come, whoever
started them; a child of `fork` inherits it, a program that is executed asks anew. So we ask once,
when the host's abilities are looked at, which is before any kernel runs, on whatever thread. It may
be refused, by an old kernel, a sandbox, or since a thread has a signal stack that is too small for
the larger state (ENOSPC); then products go the ordinary way.

A machine that has AMX is checked at that time too: products of small integers, whose sums are
exact, must be those of the ordinary path bit for bit.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import warnings
from typing import Any

from tritorch.once import once
from tritorch.triton_cpu.cache import code_digest, remembered
from tritorch.triton_cpu.compile import compile_text
from tritorch.triton_cpu.llvm import load_object
from tritorch.triton_cpu.target import CPUTarget, detected_host

_ARCH_PRCTL = 158
_REQUEST_PERMISSION = 0x1023
_TILE_DATA = 18


@once
def usable() -> bool:
    """Whether tile instructions may be used here; asked and checked once in a process."""
    if not permitted():
        return False
    if work(detected_host()):
        return True
    warnings.warn(
        "tritorch: products by AMX instructions differ from ordinary ones on this machine. They "
        "stay off in this process; please report what `tritorch env` prints.",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def permitted() -> bool:
    """Ask the system for the tile registers; false where it refuses."""
    if sys.platform != "linux":
        return False
    answer = ctypes.CDLL(None).syscall(
        *map(ctypes.c_long, (_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA))
    )
    return int(answer) == 0


def work(target: CPUTarget) -> bool:
    """Whether small products by tiles are those of the ordinary path."""
    circumstances = f"{code_digest()} {target.fingerprint}"
    check = remembered("tile check", circumstances, lambda: _check(target))
    ways = [(f"tiles_{element}", f"ordinary_{element}") for element in check["elements"]]
    code = compile_text(check["text"], target, "tile_check")
    addresses = load_object(code, [name for pair in ways for name in pair])
    return all(
        _result(addresses[tiles], element, check) == _result(addresses[ordinary], element, check)
        for element, (tiles, ordinary) in zip(check["elements"], ways)
    )


def _check(target: CPUTarget) -> dict[str, Any]:
    from tritorch.triton_cpu.codegen.tile_check import check  # a warm process generates nothing

    return check(target)


def _result(function: int, element: str, check: dict[str, Any]) -> bytes:
    """What a product leaves in C, from ones."""
    m, n, k = check["sizes"]
    one = struct.pack("<i" if element == "i8" else "<f", 1)
    a, b = _integers(element, m * k, 7), _integers(element, k * n, 11)
    arguments = [a, b, one * (m * n), *(bytes(check["scratch"]) for _ in range(2))]
    memory = [ctypes.create_string_buffer(content, len(content)) for content in arguments]
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(memory))(function)
    run(*map(ctypes.addressof, memory))
    return memory[2].raw


def _integers(element: str, count: int, step: int) -> bytes:
    """Integers in -8 ... 8 without a pattern along rows or columns."""
    values = [(i * i * step + i // 13) % 17 - 8 for i in range(count)]
    if element == "i8":
        return struct.pack(f"<{count}b", *values)
    return b"".join(struct.pack("<f", value)[2:] for value in values)
