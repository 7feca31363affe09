"""`save` and `load`: PyTorch's checkpoint files, read without running anything.

A file is a zip archive of one pickle (`data.pkl`), which describes the object, and of the storages'
bytes. The pickle is read by an interpreter of our own that makes numbers, text, containers and
tensors, and what `add_safe_globals` lists. Format: the notes "Serialization semantics" of PyTorch.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

from tritorch.devices import device as Device
from tritorch.errors import LoadError
from tritorch.runtime import get_target
from tritorch.runtime.storage import Storage
from tritorch.serialization.files import (
    FileSource,
    MappedSource,
    Source,
    is_path,
    memory_view,
    opened_for_reading,
    opened_for_writing,
)
from tritorch.serialization.safe_globals import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    listed_globals,
    safe_globals,
)

__all__ = [
    "LoadError",
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "save",
]

DEFAULT_PROTOCOL = 2
_MIN_MAPPED_ALIGNMENT = 16


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write an object to a file that `load` and PyTorch's `load` read.

    Tensors that share memory share it in the file, and views keep strides and offset. A path is
    written all or nothing: the new content is on the disk before it takes the name.

    Args:
        obj: tensors, numbers, text and containers of them, as a `state_dict()`. Other objects are
            written as pickle does, by the name of their class; whoever loads them must allow it.
        f: a path, or a file open for writing bytes.
        pickle_module: only Python's pickle, the default.
        pickle_protocol: of the description; 2, as PyTorch, to 5.
    Raises:
        ValueError: an option asks for what is not offered.
        TypeError, AttributeError, pickle.PicklingError: something in it cannot be saved.
    """
    from tritorch.serialization.archive import ArchiveWriter
    from tritorch.serialization.pickler import CheckpointPickler

    if pickle_module is not None and pickle_module.__name__ != "pickle":
        raise ValueError(f"save: pickle_module {pickle_module.__name__} is not used; leave it out.")
    if not 2 <= pickle_protocol <= 5 or not _use_new_zipfile_serialization:
        raise ValueError(
            f"save: only zip files with pickle protocols 2 to 5 are written, got protocol "
            f"{pickle_protocol}, zip {_use_new_zipfile_serialization}."
        )
    described = io.BytesIO()
    pickler = CheckpointPickler(described, pickle_protocol)
    pickler.dump(obj)  # first: an object that cannot be saved leaves no file behind
    root = Path(os.fspath(f)).stem if is_path(f) else "archive"
    with opened_for_writing(f) as file:
        writer = ArchiveWriter(file, root or "archive")
        writer.add("data.pkl", described.getbuffer())
        writer.add(".format_version", b"1")
        writer.add(".storage_alignment", b"64")
        writer.add("byteorder", sys.byteorder.encode())
        for key, (storage, device) in pickler.storages.items():
            on_host = _on_host(storage, device)
            writer.add(f"data/{key}", memory_view(on_host.address, on_host.nbytes))
        writer.add("version", b"3\n")
        writer.add(".data/serialization_id", writer.identity().encode())
        writer.close()


def _on_host(storage: Storage, device: Device) -> Storage:
    if device.type == "cpu":
        return storage
    copied = Storage(storage.nbytes, get_target("cpu"))
    get_target(device).download(copied.address, storage.address, storage.nbytes)
    return copied


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
    encoding: str = "utf-8",
) -> Any:
    """Read what `save` or PyTorch's `save` wrote (zip, or the older format), or .safetensors.

    Nothing in the file is run, and memory stays in proportion to its size.

    Args:
        f: a path, or a seekable file open for reading bytes.
        map_location: where tensors go: a device, a dictionary from saved to wanted devices, or a
            function of storage and location; None: to where they were.
        pickle_module: not used; must be None.
        weights_only: False lets NumPy's arrays and numbers be made, and whole modules of
            tritorch.nn's classes, in PyTorch's files as in ours: without a call, their attributes
            are set. Other classes that are not tensors, containers or numbers, such as a program's
            own modules, are made only if `add_safe_globals` or `safe_globals` lists them, True or
            False.
        mmap: map the file into memory: tensors are read when they are used, and changing them does
            not change the file. Needs a path.
        encoding: of text that Python 2 wrote.
    Raises:
        LoadError: (a RuntimeError and pickle.UnpicklingError) the file is damaged, or names
            what is not allowed; the message says which.
    """
    if pickle_module is not None:
        raise LoadError("load: pickle_module is not used: no pickle is run. Leave it out.")
    if is_path(f) and os.fspath(f).endswith(".safetensors"):
        return _load_safetensors(f, map_location, bool(mmap))
    if mmap:
        if not is_path(f):
            raise ValueError("load: f must be a file path in order to use the mmap argument.")
        source = MappedSource(f)
        if source.read(0, min(4, source.size)) != _ZIP:
            raise LoadError("load: mmap can only be used with zip files, as save writes them.")
        return _load_zip(source, map_location, encoding, not weights_only)
    with opened_for_reading(f) as opened:
        if opened.read(0, min(4, opened.size)) == _ZIP:
            return _load_zip(opened, map_location, encoding, not weights_only)
        return _load_legacy(opened, map_location, encoding, not weights_only)


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The names in a file that `load` refuses unless `add_safe_globals` lists what they stand for.

    Args:
        f: as of `load`.
    """
    import pickletools

    from tritorch.serialization.archive import Archive, Window
    from tritorch.serialization.rebuild import known_globals
    from tritorch.serialization.unpickler import renamed

    found: dict[str, None] = {}
    with opened_for_reading(f) as source:
        zipped = source.read(0, min(4, source.size)) == _ZIP
        described: Any = io.BytesIO(Archive(source).read("data.pkl")) if zipped else Window(source)
        try:
            for _ in range(1 if zipped else _LEGACY_PICKLES):
                texts: list[str] = []
                for instruction, argument, _ in pickletools.genops(described):
                    if instruction.name == "GLOBAL":
                        found[renamed(*str(argument).split(" ", 1))] = None
                    elif instruction.name == "STACK_GLOBAL":
                        found[".".join(texts[-2:])] = None
                    elif isinstance(argument, str):
                        texts.append(argument)
        except ValueError as error:
            raise LoadError(f"load: the pickled part of the file is damaged: {error}.") from error
    allowed = {*known_globals(), *listed_globals()}
    return sorted(name for name in found if name not in allowed)


_ZIP = b"PK\3\4"
_LEGACY_PICKLES = 5


def _load_safetensors(path: Any, map_location: Any, mapped: bool) -> Any:
    from tritorch import safetensors

    if map_location is not None and not isinstance(map_location, str | Device):
        raise LoadError("load: map_location must be a device for .safetensors files.")
    if mapped or map_location is not None:
        return safetensors.load_file(path, "cpu" if map_location is None else map_location)
    return safetensors.load_file(path)


def _load_legacy(source: FileSource, map_location: Any, encoding: str, modules: bool) -> Any:
    from tritorch.serialization.legacy import LegacyFile

    if not source.size:
        raise LoadError("load: the file is empty.")
    if source.size > 262 and source.read(257, 5) == b"ustar":
        raise LoadError(
            "load: this is a tar file of PyTorch before 0.1.10. Save it again with a newer one."
        )
    file = LegacyFile(source, map_location, encoding, modules)
    result = file.load()
    source.file.seek(source.start + file.end)  # further objects may follow
    return result


def _load_zip(source: Source, map_location: Any, encoding: str, modules: bool) -> Any:
    from tritorch.serialization.archive import Archive
    from tritorch.serialization.rebuild import known_globals
    from tritorch.serialization.unpickler import Unpickler

    archive = Archive(source)
    if "constants.pkl" in archive:
        raise LoadError(
            "load: this is a TorchScript archive, a program. Save its state_dict() instead."
        )
    described = archive.read("data.pkl")
    reader = Unpickler(
        io.BytesIO(described), len(described), known_globals(), listed_globals(),
        _Storages(archive, map_location), encoding, modules,
    )  # fmt: skip
    return reader.load()


class _Storages:
    """Reads each storage of an archive once, when a tensor first refers to it."""

    def __init__(self, archive: Any, map_location: Any) -> None:
        self._archive = archive
        self._map_location = map_location
        self._loaded: dict[str, Any] = {}
        order = archive.read("byteorder") if "byteorder" in archive else b"little"
        if order not in (b"little", b"big"):
            raise LoadError(f"load: Unknown endianness type: {order[:20]!r}")
        self._swapped = order.decode() != sys.byteorder

    def __call__(self, identity: tuple[Any, ...]) -> Any:
        from tritorch.serialization.rebuild import LoadedStorage, StorageType, place

        if len(identity) != 5 or identity[0] not in ("storage", b"storage"):
            raise LoadError("load: the pickle refers to something that is no storage.")
        _, kind, key, location, numel = identity
        if not isinstance(kind, StorageType) or type(numel) is not int:
            raise LoadError("load: the pickle refers to a storage without type or size.")
        found = self._loaded.get(str(key))
        if found is None:
            entry = self._archive.entry(f"data/{key}")
            if numel * kind.itemsize != entry.nbytes:
                raise LoadError(
                    f"load: storage {key} should have {numel} elements of {kind.itemsize} bytes, "
                    f"and has {entry.nbytes} bytes in the file."
                )
            storage = self._read(entry)
            if self._swapped and kind.dtype is not None:
                _swap(storage, kind.itemsize)
            text = location.decode() if isinstance(location, bytes) else str(location)
            storage, device = place(storage, text, self._map_location)
            untold = self._swapped and kind.dtype is None
            found = LoadedStorage(storage, kind.dtype, device, untold)
            self._loaded[str(key)] = found
        return found

    def _read(self, entry: Any) -> Storage:
        source = self._archive.source
        if isinstance(source, MappedSource):
            address = source.address + entry.offset
            if address % _MIN_MAPPED_ALIGNMENT == 0:
                return Storage.borrow(address, entry.nbytes, source)
        storage = Storage(entry.nbytes, get_target("cpu"))
        source.read_into(entry.offset, memory_view(storage.address, entry.nbytes))
        return storage


def _swap(storage: Storage, itemsize: int) -> None:
    """Turn the bytes of each element around."""
    import numpy as np

    if itemsize > 1:
        view = np.frombuffer(memory_view(storage.address, storage.nbytes), f"u{itemsize}")
        view.byteswap(inplace=True)
