"""Loading relocatable x86-64 ELF objects without LLVM, whose import takes longer than all the rest.

The sections of an object become one private mapping: code and constants first, made executable and
read-only once they are complete, then (on pages of their own) what is written. All references
within an object are relative, so only the outside needs addresses: each such symbol has an entry of
16 bytes behind the constants, its address and a jump to it, because the outside may be farther away
than a call reaches. Mappings are never given back: launches, threads and other objects may point
into them until the process ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Callable
from typing import Any

from tritorch.once import once

_HEADER = struct.Struct("<4sBB10xHH20xQ12xH")
_SECTION = struct.Struct("<4xIQ8xQQIIQ8x")
_SYMBOL = struct.Struct("<IBxHQ8x")
_RELOCATION = struct.Struct("<QIIq")
_INT32, _INT64, _UINT64 = struct.Struct("<i"), struct.Struct("<q"), struct.Struct("<Q")

_RELOCATABLE, _X86_64 = 1, 62
_SYMBOL_TABLE, _RELOCATIONS, _NO_BITS, _RELOCATIONS_WITHOUT_ADDENDS = 2, 4, 8, 9
_UNWIND = 0x70000001
_WRITE, _ALLOCATE, _THREAD_LOCAL = 0x1, 0x2, 0x400
_UNDEFINED = _LOCAL_BINDING = 0

#: Relocation types of the x86-64 ABI. S: the symbol, A: the addend, P: the place, G: S's entry.
_ABSOLUTE_64 = 1  # S + A
_RELATIVE_32 = 2  # S + A - P
_CALL_32 = 4  # the same; S may be a jump to the symbol
_RELATIVE_64 = 24  # S + A - P
_ENTRY_32 = (9, 41, 42)  # G + A - P
_KNOWN = frozenset((_ABSOLUTE_64, _RELATIVE_32, _CALL_32, _RELATIVE_64, *_ENTRY_32))

_ENTRY = struct.Struct("<Q8s")
_ENTRY_BYTES = 16
#: Behind the address: jmp *-14(%rip), two bytes of padding.
_JUMP = b"\xff\x25\xf2\xff\xff\xff\x66\x90"
_JUMP_OFFSET = 8


class UnknownFormat(Exception):
    """Not an object that this loader understands: LLVM has to link it."""


def load(code: bytes, find: Callable[[str], int]) -> dict[str, int]:
    """Load an object for good; gives the addresses of the symbols that it defines for others.

    `find` gives the address of a symbol that the object refers to; its errors pass through.

    Raises:
        UnknownFormat: the object is for another system, or has something rare in it.
    """
    try:
        return _Object(code).place(find)
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise UnknownFormat(f"not a whole object: {error}") from error


class _Section:
    """A section of the object and its offset in the mapping, -1 where running code has no use for
    it (tables for unwinders, debuggers and linkers)."""

    __slots__ = ("alignment", "flags", "info", "link", "offset", "place", "size", "type")

    def __init__(
        self, kind: int, flags: int, offset: int, size: int, link: int, info: int, alignment: int
    ) -> None:
        self.type = kind
        self.flags = flags
        self.offset = offset
        self.size = size
        self.link = link
        self.info = info
        self.alignment = alignment
        self.place = -1

    @property
    def needed(self) -> bool:
        return self.flags & _ALLOCATE != 0 and self.size > 0 and self.type != _UNWIND


class _Object:
    """An object that has been read: its tables, and where everything will stand."""

    def __init__(self, code: bytes) -> None:
        magic, bits, order, kind, machine, table, count = _HEADER.unpack_from(code)
        if (magic, bits, order, kind, machine) != (b"\x7fELF", 2, 1, _RELOCATABLE, _X86_64):
            raise UnknownFormat("not a relocatable ELF object for x86-64")
        self.code = code
        self.sections = [
            _Section(*_SECTION.unpack_from(code, table + i * _SECTION.size)) for i in range(count)
        ]
        #: (offset of the name, binding and type, section, value)
        self.symbols: list[tuple[int, int, int, int]] = []
        #: section to patch -> (offset, type, symbol, addend)
        self.relocations: list[tuple[_Section, list[tuple[int, int, int, int]]]] = []
        self._names = 0
        for section in self.sections:
            if section.type == _SYMBOL_TABLE:
                self.symbols = self._rows(section, _SYMBOL)
                self._names = self.sections[section.link].offset
            elif section.type == _RELOCATIONS and self.sections[section.info].needed:
                patched = self.sections[section.info]
                self.relocations.append((patched, self._rows(section, _RELOCATION)))
            elif section.type == _RELOCATIONS_WITHOUT_ADDENDS or section.flags & _THREAD_LOCAL:
                raise UnknownFormat("thread-local data, or relocations without addends")
        self._lay_out()

    def _rows(self, section: _Section, form: struct.Struct) -> list[Any]:
        return list(form.iter_unpack(self.code[section.offset : section.offset + section.size]))

    def _lay_out(self) -> None:
        """Offsets in the mapping, of the sections and of the entries of symbols."""
        end = -(-self._append(0, 0) // _ENTRY_BYTES) * _ENTRY_BYTES
        self.entries: dict[int, int] = {}
        for _, rows in self.relocations:
            for _, kind, number, _ in rows:
                called = kind == _CALL_32 and self.symbols[number][2] == _UNDEFINED
                if (called or kind in _ENTRY_32) and number not in self.entries:
                    self.entries[number] = end
                    end += _ENTRY_BYTES
        self.protected = _whole_pages(end)
        self.size = _whole_pages(self._append(self.protected, _WRITE))

    def _append(self, end: int, written: int) -> int:
        for section in self.sections:
            if section.needed and section.flags & _WRITE == written:
                if section.alignment > mmap.PAGESIZE:
                    raise UnknownFormat(f"an alignment of {section.alignment} bytes")
                alignment = section.alignment or 1
                section.place = -(-end // alignment) * alignment
                end = section.place + section.size
        return end

    def place(self, find: Callable[[str], int]) -> dict[str, int]:
        """Copy the sections into a new mapping and resolve what they refer to."""
        image = bytearray(self.size)
        if not image:
            raise UnknownFormat("nothing to load")
        for section in self.sections:
            if section.place >= 0 and section.type != _NO_BITS:
                content = self.code[section.offset : section.offset + section.size]
                if len(content) != section.size:
                    raise UnknownFormat("a section is cut off")
                image[section.place : section.place + section.size] = content
        pages = mmap.mmap(-1, self.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        self._patch(image, base, find)
        pages[:] = bytes(image)
        _make_executable(base, self.protected)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(pages))  # for good
        return {
            self._name(symbol[0]): base + offset
            for symbol, offset in zip(self.symbols, self._offsets())
            if offset is not None and symbol[1] >> 4 != _LOCAL_BINDING
        }

    def _name(self, offset: int) -> str:
        start = self._names + offset
        return self.code[start : self.code.find(b"\0", start)].decode()

    def _offsets(self) -> list[int | None]:
        """Where each symbol stands in the mapping; None outside of it."""
        places = [section.place for section in self.sections]
        count = len(places)
        return [
            places[section] + value if 0 < section < count and places[section] >= 0 else None
            for _, _, section, value in self.symbols
        ]

    def _outside(self, number: int, find: Callable[[str], int]) -> int:
        """The address of a symbol that the mapping does not hold."""
        name, _, section, _ = self.symbols[number]
        if section != _UNDEFINED:
            raise UnknownFormat(f"symbol {self._name(name)!r} has no place")
        return find(self._name(name))

    def _patch(self, image: bytearray, base: int, find: Callable[[str], int]) -> None:
        """Write what depends on where things stand."""
        offsets, entries = self._offsets(), self.entries
        for number, place in entries.items():
            inside = offsets[number]
            address = self._outside(number, find) if inside is None else base + inside
            _ENTRY.pack_into(image, place, address, _JUMP)
        relative = _INT32.pack_into
        for section, rows in self.relocations:
            start = section.place
            for offset, kind, number, addend in rows:
                place = start + offset
                if kind not in _KNOWN:
                    raise UnknownFormat(f"a relocation of type {kind}")
                if kind in _ENTRY_32:
                    relative(image, place, entries[number] + addend - place)
                    continue
                target = offsets[number]
                if target is None:
                    if kind == _CALL_32:
                        target = entries[number] + _JUMP_OFFSET
                    else:
                        target = self._outside(number, find) - base
                if kind in (_RELATIVE_32, _CALL_32):
                    relative(image, place, target + addend - place)
                elif kind == _ABSOLUTE_64:
                    _UINT64.pack_into(image, place, base + target + addend)
                else:
                    _INT64.pack_into(image, place, target + addend - place)


def _whole_pages(nbytes: int) -> int:
    return -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE


@once
def _mprotect() -> Any:
    function = ctypes.CDLL(None, use_errno=True).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


def _make_executable(address: int, nbytes: int) -> None:
    if nbytes and _mprotect()(address, nbytes, mmap.PROT_READ | mmap.PROT_EXEC):
        number = ctypes.get_errno()
        raise OSError(number, f"cannot make memory executable: {os.strerror(number)}")
