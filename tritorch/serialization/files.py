"""Files as the formats here need them: read at a place, written whole or not at all."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tritorch.errors import LoadError


def memory_view(address: int, nbytes: int) -> memoryview:
    """Host memory as bytes that can be read and written; the caller keeps it alive."""
    if not nbytes:
        return memoryview(bytearray())
    return memoryview((ctypes.c_char * nbytes).from_address(address)).cast("B")


class Source(Protocol):
    """Bytes of a file, by position."""

    size: int

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly these bytes; LoadError where the file is shorter."""

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` from this position."""


def _check_range(source: Source, offset: int, nbytes: int) -> None:
    if offset < 0 or nbytes < 0 or offset + nbytes > source.size:
        raise LoadError(
            f"load: the file is truncated or damaged: it has {source.size} bytes, and bytes "
            f"{offset} to {offset + nbytes} are asked for."
        )


class FileSource:
    """A seekable binary file from its present position on."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self.start

    def read(self, offset: int, nbytes: int) -> bytes:
        _check_range(self, offset, nbytes)
        self.file.seek(self.start + offset)
        content = self.file.read(nbytes)
        if len(content) != nbytes:
            raise LoadError("load: the file became shorter while it was read.")
        return content

    def read_into(self, offset: int, target: memoryview) -> None:
        _check_range(self, offset, len(target))
        self.file.seek(self.start + offset)
        into: Callable[[memoryview], int | None] | None = getattr(self.file, "readinto", None)
        done = 0
        while done < len(target):
            if into is not None:
                count = into(target[done:]) or 0
            else:
                content = self.file.read(len(target) - done)
                count = len(content)
                target[done : done + count] = content
            if not count:
                raise LoadError("load: the file became shorter while it was read.")
            done += count


class MappedSource:
    """A file mapped into memory; changes of the memory stay private to this process."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with open(path, "rb") as file:
            self.size = os.fstat(file.fileno()).st_size
            if not self.size:
                raise LoadError(f"load: {os.fspath(path)} is empty.")
            self.mapping = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_COPY)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.mapping))

    def read(self, offset: int, nbytes: int) -> bytes:
        _check_range(self, offset, nbytes)
        return self.mapping[offset : offset + nbytes]

    def read_into(self, offset: int, target: memoryview) -> None:
        target[:] = self.read(offset, len(target))


def is_path(f: Any) -> bool:
    """Whether it names a file; otherwise it should be one that is open."""
    return isinstance(f, str | os.PathLike)


@contextmanager
def opened_for_reading(f: Any) -> Iterator[FileSource]:
    """The content of a path, or of an open binary file from its position on."""
    if is_path(f):
        with open(f, "rb", buffering=0) as file:
            yield FileSource(file)
        return
    if not hasattr(f, "read"):
        raise AttributeError(
            f"load: expected a path or a file open for reading bytes, got {type(f).__name__}."
        )
    seekable = getattr(f, "seekable", None)
    if hasattr(f, "seek") and hasattr(f, "tell") and (seekable is None or seekable()):
        yield FileSource(f)
    else:
        yield FileSource(io.BytesIO(f.read()))


@contextmanager
def opened_for_writing(f: Any) -> Iterator[BinaryIO]:
    """A file to write to: an open one as it is, a path all or nothing.

    The content of a path goes to a temporary name in the same folder, to the disk (fsync) and then
    to its name: whoever reads, and whatever is killed meanwhile, finds the old file or the new one.
    """
    if not is_path(f):
        if not callable(getattr(f, "write", None)):
            raise AttributeError(
                f"save: expected a path or a file with a write method, got {type(f).__name__}."
            )
        yield f
        if callable(getattr(f, "flush", None)):
            f.flush()
        return
    path = Path(os.path.realpath(f))
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):  # a pipe or a device has nothing to replace
        with open(path, "wb") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(handle, stat.S_IMODE(mode))
            yield file
            file.flush()
            os.fsync(handle)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
