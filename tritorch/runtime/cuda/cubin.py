"""What a cubin says about its kernels: arguments, registers, stack and shared memory.

A cubin is an ELF file whose sections `.nv.info*` list attributes (format, name, size, value). The
meanings are those that NVIDIA's `cuobjdump -elf` prints.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HAS_VALUE = 4  # EIFMT_SVAL: a value of `size` bytes follows
_FRAME_SIZE = 0x11
_PARAMETER = 0x17
_REGISTERS = 0x2F


@dataclass(frozen=True)
class CubinKernel:
    """One kernel of a cubin.

    Attributes:
        parameters: (offset, bytes) of each argument in the constant bank, in order.
        registers: of each thread.
        stack_bytes: local memory of each thread, where spilled registers are.
        shared_bytes: static shared memory of a block.
        code_bytes: machine code.
    """

    name: str
    parameters: tuple[tuple[int, int], ...]
    registers: int
    stack_bytes: int
    shared_bytes: int
    code_bytes: int


@dataclass(frozen=True)
class _Section:
    name: str
    data: bytes
    info: int
    nbytes: int


def _sections(cubin: bytes) -> list[_Section]:
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count, names_at = struct.unpack_from("<HHH", cubin, 58)
    rows = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + at * size) for at in range(count)]
    start, nbytes = rows[names_at][4:6]
    names = cubin[start : start + nbytes]
    found = []
    for row in rows:
        name = names[row[0] : names.index(b"\0", row[0])].decode()
        data = b"" if row[1] == 8 else cubin[row[4] : row[4] + row[5]]  # 8: no bits in the file
        found.append(_Section(name, data, row[7], row[5]))
    return found


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, name, size = struct.unpack_from("<BBH", data, at)
        at += 4
        if kind == _HAS_VALUE:
            yield name, data[at : at + size]
            at += size


def kernels(cubin: bytes) -> dict[str, CubinKernel]:
    """The kernels of a cubin, by name.

    Raises:
        ValueError: these bytes are no cubin.
    """
    if cubin[:5] != b"\x7fELF\x02":
        raise ValueError(f"cubin: expected a 64-bit ELF file, got {cubin[:8]!r}.")
    sections = {section.name: section for section in _sections(cubin)}
    whole = sections.get(".nv.info")
    facts = list(_attributes(whole.data)) if whole else []
    # Attributes of the whole file name kernels by their symbol; a file of Triton's has one kernel.
    stack = max((struct.unpack("<II", v)[1] for n, v in facts if n == _FRAME_SIZE), default=0)
    found = {}
    for name, section in sections.items():
        if not name.startswith(".text."):
            continue
        kernel = name.removeprefix(".text.")
        own = sections.get(f".nv.info.{kernel}")
        parameters = {}
        for attribute, value in _attributes(own.data) if own else ():
            if attribute == _PARAMETER:
                _, ordinal, offset, packed = struct.unpack("<IHHI", value)
                parameters[ordinal] = (offset, packed >> 18)
        shared = sections.get(f".nv.shared.{kernel}")
        registers = [struct.unpack("<II", v)[1] for n, v in facts if n == _REGISTERS]
        found[kernel] = CubinKernel(
            kernel,
            tuple(parameters[ordinal] for ordinal in sorted(parameters)),
            max(registers, default=section.info >> 24),
            stack,
            shared.nbytes if shared else 0,
            len(section.data),
        )
    return found
