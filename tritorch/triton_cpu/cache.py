"""The cache of compiled kernels: one file an entry, checked when read, never trusted, never fatal.

An entry is written under a temporary name, flushed to the disk and renamed, so readers see all of
it or nothing, whoever else writes and whenever the process dies. A file that is truncated, damaged
or not ours counts as absent. Where the directory cannot be written, one warning is given and
entries live in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tritorch.config import config

_MAGIC = b"TRITORCH-OBJECT1"
_CHECKSUM_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + _CHECKSUM_BYTES
_STALE_SECONDS = 3600.0
#: directories of caches of which it was said that they cannot be written
_told: set[Path] = set()


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM_BYTES).digest()


def encode(metadata: Mapping[str, Any], code: bytes) -> bytes:
    """An entry as bytes: magic, checksum, length of the metadata, metadata as JSON, code."""
    text = json.dumps(metadata, sort_keys=True).encode()
    payload = len(text).to_bytes(4, "little") + text + code
    return _MAGIC + _checksum(payload) + payload


def decode(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The inverse of `encode`; None for anything that `encode` did not make."""
    payload = data[_HEADER_BYTES:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : _HEADER_BYTES] != _checksum(payload):
        return None
    length = int.from_bytes(payload[:4], "little")
    return json.loads(payload[4 : 4 + length]), payload[4 + length :]


class ObjectCache:
    """Entries in a directory, by key (hexadecimal)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._root = os.path.join(directory, "")
        self._memory: dict[str, bytes] = {}
        self._writable = True
        self._lock = threading.Lock()

    def path(self, key: str) -> Path:
        return Path(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root}{key[:2]}{os.sep}{key[2:]}"

    def load(self, key: str) -> tuple[dict[str, Any], bytes] | None:
        """Metadata and code, or None."""
        data = self._memory.get(key)
        if data is None:
            try:
                with open(self._path(key), "rb", 0) as file:
                    data = file.read()
            except OSError:
                return None
        return decode(data)

    def store(self, key: str, metadata: Mapping[str, Any], code: bytes) -> None:
        data = encode(metadata, code)
        if self._writable:
            try:
                self._write(self.path(key), data)
            except OSError as error:
                self._memory[key] = data
                self._give_up(error)
        else:
            self._memory[key] = data

    def _give_up(self, error: OSError) -> None:
        with self._lock:
            first, self._writable = self._writable, False
        root = self.directory.parent  # there are caches of several kinds below it
        if first and root not in _told:
            _told.add(root)
            warnings.warn(
                f"kernel cache: cannot write to {self.directory}: {error.strerror or error}. "
                "Compiled kernels are kept for this process only. "
                "Set TRITORCH_CACHE_DIR to a directory with space.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _write(self, path: Path, data: bytes) -> None:
        for last in (False, False, True):
            try:
                self._write_once(path, data)
                break
            except FileNotFoundError:  # no folder yet, or somebody clears the cache at this moment
                if last:
                    raise
                path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_stale(path.parent)

    def _write_once(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def _remove_stale(self, directory: Path) -> None:
        """Delete what writers that died an hour ago or more left behind."""
        oldest = time.time() - _STALE_SECONDS
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(".tmp"):
                    with contextlib.suppress(OSError):  # its writer may finish at this moment
                        if entry.stat().st_mtime < oldest:
                            os.unlink(entry.path)


_CACHES: dict[Path, ObjectCache] = {}


def object_cache(part: str = "cpu") -> ObjectCache | None:
    """The cache that the settings ask for; None when it is off."""
    if config.cache == "off":
        return None
    directory = config.cache_dir / part
    found = _CACHES.get(directory)
    if found is None:
        found = _CACHES.setdefault(directory, ObjectCache(directory))
    return found


def remembered(name: str, circumstances: str, find_out: Callable[[], Any]) -> Any:
    """A fact (a JSON value) that holds under these circumstances: found out once, then read."""
    store = object_cache("facts")
    if store is None:
        return find_out()
    key = _fact_key(name, circumstances)
    found = store.load(key)
    if found is not None:
        return found[0]["fact"]
    fact = find_out()
    store.store(key, {"fact": fact}, b"")
    return fact


def remembered_bytes(name: str, circumstances: str, make: Callable[[], bytes]) -> bytes:
    """Bytes that are the same under these circumstances: made once, then read."""
    store = object_cache("facts")
    if store is None:
        return make()
    key = _fact_key(name, circumstances)
    found = store.load(key)
    if found is not None:
        return found[1]
    made = make()
    store.store(key, {}, made)
    return made


def _fact_key(name: str, circumstances: str) -> str:
    return hashlib.sha256(f"{name}\n{circumstances}".encode()).hexdigest()


@cache
def code_digest() -> str:
    """A digest of this package's own files, so that a developer never runs stale machine code."""
    root = Path(__file__).parent
    api = str(root.with_name("triton_api.py"))
    files = sorted([*_python_files(str(root)), _described(api, os.stat(api))])
    return str(remembered("code_digest", "\n".join(files), lambda: _digest_of(root)))


def _python_files(folder: str) -> list[str]:
    """Of all Python files below a folder: path, size and time of the last change."""
    found, folders = [], [folder]
    for each in folders:
        with os.scandir(each) as entries:
            for entry in entries:
                name = entry.name
                if name[-3:] == ".py":
                    found.append(_described(entry.path, entry.stat()))
                elif name != "__pycache__" and entry.is_dir():
                    folders.append(entry.path)
    return found


def _described(path: str, status: os.stat_result) -> str:
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _digest_of(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    digest.update(root.with_name("triton_api.py").read_bytes())
    return digest.hexdigest()


@cache
def versions() -> dict[str, str]:
    """Of what makes machine code: the packages, and this one by its files."""
    from tritorch.triton_api import triton_version
    from tritorch.triton_cpu.llvm import binding_version

    return {"triton": triton_version(), "llvmlite": binding_version(), "code": code_digest()}


@cache
def _versions() -> str:
    return ";".join(f"{name}={version}" for name, version in versions().items())


@cache
def maker(fingerprint: str) -> str:
    """A short digest of who made an entry and for which target; entries keep it, for `packs`."""
    text = f"{_versions()}\n{fingerprint}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe(value: object) -> str:
    """A constant in words that tell 1, 1.0 and True apart."""
    cache_key = getattr(value, "cache_key", None)
    return f"{type(value).__name__}:{value!r}" if cache_key is None else f"function:{cache_key}"


def entry_key(
    digest: str,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    options: Mapping[str, Any],
    fingerprint: str,
) -> str:
    """The key of a kernel: everything that its machine code depends on."""
    parts = [
        digest,
        *(f"{name}:{kind}" for name, kind in signature.items()),
        *(f"{name}={_describe(value)}" for name, value in sorted(constants.items())),
        *(f"{name}~{_describe(value)}" for name, value in sorted(options.items())),
        fingerprint,
        config.codegen_key(),
        _versions(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
