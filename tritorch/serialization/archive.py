"""PyTorch's zip archives: stored entries whose contents start at multiples of 64 bytes.

Entries are laid out byte for byte as PyTorch 2.13 writes them (miniz with a data descriptor behind
each entry, a padding field `FB` before it, and a zip64 end), so that its shortcuts, which compute
where an entry lies, hold for our files. Format: PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import BinaryIO, NamedTuple

from tritorch.errors import LoadError
from tritorch.serialization.files import FileSource, Source

ALIGNMENT = 64
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_LARGE = 0xFFFFFFFF
#: names are UTF-8; sizes and checksum follow the content, if there is any
_NAMES_ARE_UTF8, _SIZES_FOLLOW = 0x0800, 0x0008
#: the zip64 end says that Unix and version 3.0 made it and that 4.5 can read it
_MADE_BY, _NEEDS = 0x031E, 45


class _Written(NamedTuple):
    name: bytes
    checksum: int
    nbytes: int
    offset: int


class ArchiveWriter:
    """Writes entries `root/name` one after the other; `close` writes the directory."""

    def __init__(self, file: BinaryIO, root: str) -> None:
        self._file = file
        self._root = root
        self._position = 0
        self._entries: list[_Written] = []

    def _write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._position += len(content)

    def add(self, name: str, content: bytes | memoryview) -> None:
        """An entry; the content is written from where it is, without a copy."""
        path = f"{self._root}/{name}".encode()
        nbytes, offset = len(content), self._position
        header = _LOCAL.pack(b"PK\3\4", 0, _flags(nbytes), 0, 0, 0, 0, 0, 0, len(path), 0)
        extra = _wide(nbytes, 0, offset)
        start = offset + len(header) + len(path) + len(extra) + 4
        padding = -start % ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        self._write(header[:-2] + struct.pack("<H", len(extra)) + path + extra)
        self._write(content)
        checksum = zlib.crc32(content)
        if nbytes:
            wide = nbytes >= _LARGE or offset >= _LARGE
            self._write(
                struct.pack("<4sI2Q" if wide else "<4s3I", b"PK\7\10", checksum, nbytes, nbytes)
            )
        self._entries.append(_Written(path, checksum, nbytes, offset))

    def identity(self) -> str:
        """40 digits that depend on names and contents, as PyTorch's serialization_id."""
        names = zlib.crc32(b"\0".join(entry.name for entry in self._entries))
        contents = zlib.crc32(b"".join(struct.pack("<I", e.checksum) for e in self._entries))
        return f"{names:020d}{contents:020d}"

    def close(self) -> None:
        """Write the directory."""
        start = self._position
        for path, checksum, nbytes, offset in self._entries:
            extra = _wide(nbytes, nbytes, offset)
            small = min(nbytes, _LARGE)
            self._write(
                _CENTRAL.pack(
                    b"PK\1\2", 0, 0, _flags(nbytes), 0, 0, 0, checksum, small, small, len(path),
                    len(extra), 0, 0, 0, 0, min(offset, _LARGE),
                ) + path + extra
            )  # fmt: skip
        length, count, end = self._position - start, len(self._entries), self._position
        self._write(_END64.pack(b"PK\6\6", 44, _MADE_BY, _NEEDS, 0, 0, count, count, length, start))
        self._write(_LOCATOR.pack(b"PK\6\7", 0, end, 1))
        few = min(count, 0xFFFF)
        self._write(
            _END.pack(
                b"PK\5\6", 0, 0, few, few, min(length, _LARGE), min(start, _LARGE), 0
            )
        )  # fmt: skip


def _flags(nbytes: int) -> int:
    return _NAMES_ARE_UTF8 | (_SIZES_FOLLOW if nbytes else 0)


def _wide(nbytes: int, compressed: int, offset: int) -> bytes:
    """The zip64 field: what does not fit 32 bits."""
    numbers = [nbytes, compressed] if nbytes >= _LARGE else []
    numbers += [offset] if offset >= _LARGE else []
    if not numbers:
        return b""
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


class Entry(NamedTuple):
    """Where the content of an entry lies in the file (bytes)."""

    offset: int
    nbytes: int


class Archive:
    """The entries of a zip file, by their names without the common folder.

    Raises:
        LoadError: it is damaged, an entry is compressed, or entries overlap (so all entries
            together are never larger than the file).
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        try:
            with zipfile.ZipFile(_view(source)) as archive:
                listed = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError,
                struct.error, OSError, EOFError) as error:  # fmt: skip
            raise LoadError(f"load: the zip archive is truncated or damaged: {error}.") from error
        self._entries: dict[str, Entry] = {}
        self.root = listed[0].orig_filename.partition("/")[0] if listed else ""
        end = 0
        for info in sorted(listed, key=lambda info: info.header_offset):
            entry = self._locate(info)
            if info.header_offset < end:
                raise LoadError(f"load: entries of the zip archive overlap at {info.filename!r}.")
            end = entry.offset + entry.nbytes
            self._entries[info.orig_filename] = entry

    def _locate(self, info: zipfile.ZipInfo) -> Entry:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise LoadError(
                f"load: entry {info.filename!r} of the zip archive is compressed, from "
                f"{info.file_size} to {info.compress_size} bytes. Checkpoints are stored as they "
                "are; unpack and store them again if you trust the file."
            )
        header = _LOCAL.unpack(self.source.read(info.header_offset, _LOCAL.size))
        if header[0] != b"PK\3\4":
            raise LoadError(f"load: entry {info.filename!r} of the zip archive has no header.")
        offset = info.header_offset + _LOCAL.size + header[-2] + header[-1]
        if offset + info.file_size > self.source.size:
            raise LoadError(
                f"load: entry {info.filename!r} of the zip archive says {info.file_size} bytes, "
                "more than the file has."
            )
        return Entry(offset, info.file_size)

    def __contains__(self, name: str) -> bool:
        return f"{self.root}/{name}" in self._entries

    def entry(self, name: str) -> Entry:
        """Where an entry is; LoadError where there is none."""
        found = self._entries.get(f"{self.root}/{name}")
        if found is None:
            raise LoadError(f"load: the archive has no entry {name!r}.")
        return found

    def read(self, name: str) -> bytes:
        """The content of an entry."""
        return self.source.read(*self.entry(name))


def _view(source: Source) -> BinaryIO:
    """What zipfile reads the directory from."""
    if isinstance(source, FileSource) and source.start == 0:
        source.file.seek(0)
        return source.file
    return io.BufferedReader(Window(source))


class Window(io.RawIOBase):
    """A source as a file of its own."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self._position, self._source.size)[whence]
        if position < 0:
            raise ValueError(f"negative seek position {position}")
        self._position = position
        return position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._source.size - self._position))
        self._source.read_into(self._position, memoryview(buffer)[:count])
        self._position += count
        return count
