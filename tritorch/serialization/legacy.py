"""Files that PyTorch wrote before 1.6: five pickles in a row, then the storages."""

from __future__ import annotations

import io
from typing import Any

from tritorch.devices import device as Device
from tritorch.errors import LoadError
from tritorch.runtime import get_target
from tritorch.runtime.storage import Storage
from tritorch.serialization.archive import Window
from tritorch.serialization.files import Source, memory_view
from tritorch.serialization.rebuild import LoadedStorage, StorageType, known_globals, place
from tritorch.serialization.safe_globals import listed_globals
from tritorch.serialization.unpickler import Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
#: a number of elements precedes each storage
_COUNT_BYTES = 8


class LegacyFile:
    """Reads one such file.

    Storages are named before their contents come, so they are allocated first; all of them together
    must fit into the file.
    """

    def __init__(
        self, source: Source, map_location: Any, encoding: str, modules: bool = False
    ) -> None:
        self._modules = modules
        self._source = source
        self._file = io.BufferedReader(Window(source))
        self._map_location = map_location
        self._encoding = encoding
        self._promised = 0
        #: by number: in the host's memory, with its type and where it was saved; then where it is
        self._storages: dict[str, tuple[Storage, StorageType, str]] = {}
        self._placed: dict[str, tuple[Storage, Device]] = {}
        #: where the file ends, and what follows begins
        self.end = 0

    def _pickle(self, storages: bool = False) -> Any:
        reader = Unpickler(
            self._file,
            self._source.size, known_globals(), listed_globals(),
            self._storage if storages else None, self._encoding, self._modules,
        )  # fmt: skip
        return reader.load()

    def load(self) -> Any:
        """The object."""
        if self._pickle() != MAGIC:
            raise LoadError(
                "load: Invalid magic number; corrupt file? Expected a file of torch.save, or "
                ".safetensors."
            )
        version = self._pickle()
        if version != _PROTOCOL:
            raise LoadError(f"load: Invalid protocol version: {str(version)[:40]}")
        system = self._pickle()
        if not isinstance(system, dict) or not system.get("little_endian", True):
            raise LoadError(
                "load: the file is of a big-endian machine; only its zip format can be read here."
            )
        start = self._file.tell()
        self._pickle(storages=True)  # only to learn which storages there are
        keys = self._pickle()
        if not isinstance(keys, list) or set(map(str, keys)) != set(self._storages):
            raise LoadError("load: the storages at the end are not those that the tensors name.")
        self.end = self._file.tell()
        for key in map(str, keys):
            storage, kind, location = self._storages[key]
            self._fill(storage, kind)
            self._placed[key] = place(storage, location, self._map_location)
        self._file.seek(start)
        return self._pickle(storages=True)

    def _fill(self, storage: Storage, kind: StorageType) -> None:
        content = self._source.read(self.end, _COUNT_BYTES)
        count = int.from_bytes(content, "little", signed=True)
        if count * kind.itemsize != storage.nbytes:
            raise LoadError(
                f"load: a storage of {storage.nbytes} bytes has {count} elements in the file."
            )
        begin = self.end + _COUNT_BYTES
        self._source.read_into(begin, memory_view(storage.address, storage.nbytes))
        self.end = begin + storage.nbytes

    def _storage(self, identity: tuple[Any, ...]) -> Any:
        if len(identity) == 4 and identity[0] in ("module", b"module"):
            return identity[1]  # a class, with where its source was and what it was
        label, kind, key, location, numel, view = identity
        if label not in ("storage", b"storage") or not isinstance(kind, StorageType):
            raise LoadError(f"load: the pickle refers to a {str(label)[:40]}, expected a storage.")
        if type(numel) is not int or numel < 0:
            raise LoadError("load: the size of a storage is no size.")
        key = str(key)
        if key not in self._storages:
            nbytes = numel * kind.itemsize
            self._promised += nbytes
            if self._promised > self._source.size:
                raise LoadError(
                    f"load: the file is truncated or damaged: its storages have "
                    f"{self._promised} bytes or more, and it has {self._source.size}."
                )
            text = location.decode() if isinstance(location, bytes) else str(location)
            self._storages[key] = (Storage(nbytes, get_target("cpu")), kind, text)
        storage, kind, _ = self._storages[key]
        storage, device = self._placed.get(key, (storage, Device("cpu")))
        if view is not None:
            storage = self._part(storage, kind, view)
        return LoadedStorage(storage, kind.dtype, device)

    def _part(self, storage: Storage, kind: StorageType, view: Any) -> Storage:
        """Very old files have storages that are parts of others."""
        _, offset, numel = view
        start, nbytes = offset * kind.itemsize, numel * kind.itemsize
        if start < 0 or nbytes < 0 or start + nbytes > storage.nbytes:
            raise LoadError("load: a part of a storage reaches beyond it.")
        return Storage.borrow(storage.address + start, nbytes, storage)
