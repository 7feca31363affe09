"""What lies in the kernel cache, and packs: entries in one file, to warm another machine's cache.

A pack is an uncompressed zip archive of `manifest.json` and entries as the cache keeps them, each
with its checksum. The manifest says for which CPU and by which versions the machine code was made;
elsewhere the keys would never be asked for, so such a pack is refused. A pack is machine code: use
only those that you trust as you would trust a program.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritorch.config import config
from tritorch.errors import CacheError
from tritorch.triton_cpu import cache
from tritorch.triton_cpu.target import host

_FORMAT = 1
_MANIFEST = "manifest.json"
_KEY = re.compile(r"[0-9a-f]{64}")
#: folders of the cache directory that are ours
PARTS = ("cpu", "facts", "cuda")


@dataclass(frozen=True)
class Entry:
    """A kernel in the cache; `current`: made by these versions for this machine."""

    key: str
    name: str
    signature: tuple[str, ...]
    constants: dict[str, str]
    nbytes: int
    modified: float
    current: bool


def _files(part: str) -> Iterator[tuple[str, Path]]:
    """Key and file of every entry; what other programs left there is passed over."""
    for folder in _listed(config.cache_dir / part):
        for path in _listed(folder):
            key = folder.name + path.name
            if _KEY.fullmatch(key):
                yield key, path


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is none, or was deleted a moment ago."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def entries() -> Iterator[Entry]:
    """The CPU kernels in the cache, damaged files left out."""
    mine = cache.maker(host().fingerprint)
    for key, path in _files("cpu"):
        try:
            data = path.read_bytes()
            modified = path.stat().st_mtime
        except OSError:  # somebody cleared it meanwhile
            continue
        found = cache.decode(data)
        if found is not None:
            metadata = found[0]
            yield Entry(
                key=key,
                name=metadata.get("name", ""),
                signature=tuple(metadata.get("parameter_types", ())),
                constants=metadata.get("constants", {}),
                nbytes=len(data),
                modified=modified,
                current=metadata.get("maker") == mine,
            )


def clear(*, stale_only: bool = False) -> tuple[int, int]:
    """Delete the cache, or what these versions on this machine will not use again.

    Returns:
        how many files and bytes are gone.
    """
    count, nbytes = 0, 0
    if stale_only:
        keep = {entry.key for entry in entries() if entry.current}
        doomed = [path for key, path in _files("cpu") if key not in keep]
        for path in doomed:
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                size = path.stat().st_size
                path.unlink()
                count, nbytes = count + 1, nbytes + size
        return count, nbytes
    for part in PARTS:
        root = config.cache_dir / part
        for folder, folders, names in os.walk(root, topdown=False):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            try:
                for name in (*names, *links):
                    with contextlib.suppress(FileNotFoundError):  # a program writes meanwhile
                        place = os.path.join(folder, name)
                        size = os.lstat(place).st_size
                        os.unlink(place)
                        count, nbytes = count + 1, nbytes + size
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(folder)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # else what it has written is there to stay
                    raise CacheError(
                        f"cache: cannot delete {root}: {error.strerror}. Delete it by hand."
                    ) from error
    return count, nbytes


def circumstances() -> dict[str, str]:
    """What a pack's machine code depends on."""
    target = host()
    return {
        "triple": target.triple,
        "cpu": target.cpu,
        "features": target.features,
        "settings": config.codegen_key(),
        "target": target.fingerprint,
        **cache.versions(),
    }


def pack(path: Path) -> tuple[int, int]:
    """Write the current entries of the cache into one file, whole or not at all.

    Returns:
        how many kernels and bytes it holds.
    """
    chosen = [entry for entry in entries() if entry.current]
    if not chosen:
        raise CacheError(
            f"cache: {config.cache_dir} holds no kernels of this version for this CPU. "
            "Run the program first."
        )
    manifest = {"format": _FORMAT, "made for": circumstances(), "kernels": len(chosen)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr(_MANIFEST, json.dumps(manifest, indent=2))
            for entry in chosen:
                file = config.cache_dir / "cpu" / entry.key[:2] / entry.key[2:]
                archive.writestr(entry.key, file.read_bytes())
        with temporary.open("rb+") as file_object:
            os.fsync(file_object.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CacheError(
            f"cache: cannot write {path}: {error.strerror}. Choose another file."
        ) from error
    return len(chosen), path.stat().st_size


def unpack(path: Path) -> tuple[int, int]:
    """Put a pack's kernels into the cache; nothing is written unless all of it is sound.

    Many processes may unpack at once: entries appear whole.

    Returns:
        how many kernels were added, and how many were there.
    Raises:
        CacheError: no pack, a damaged one, or one for another CPU or other versions.
    """
    store = cache.object_cache()
    if store is None:
        raise CacheError("cache: it is off. Set TRITORCH_CACHE=on.")
    kernels = _read(path)
    added = 0
    for key, (metadata, code) in kernels.items():
        if store.load(key) is None:
            store.store(key, metadata, code)
            added += 1
    return added, len(kernels) - added


def _read(path: Path) -> dict[str, tuple[dict[str, Any], bytes]]:
    """A pack's entries, all checked."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            held = [info for info in archive.infolist() if info.filename != _MANIFEST]
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise CacheError(f"cache: {path} is no kernel pack (its entries are compressed).")
            _check(path, json.loads(archive.read(_MANIFEST)), len(held))
            for info in held:
                entry = cache.decode(archive.read(info))
                if entry is None or not _KEY.fullmatch(info.filename):
                    raise CacheError(f"cache: {path} is damaged at {info.filename}. Make it again.")
                found[info.filename] = entry
    except OSError as error:
        raise CacheError(f"cache: cannot read {path}: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, EOFError) as error:
        raise CacheError(
            f"cache: {path} is no kernel pack, or a damaged one ({error}). Make it again with "
            "`tritorch cache pack`."
        ) from error
    return found


def _check(path: Path, manifest: dict[str, Any], kernels: int) -> None:
    if manifest["format"] != _FORMAT:
        raise CacheError(f"cache: {path} is a pack of format {manifest['format']}, not {_FORMAT}.")
    if manifest["kernels"] != kernels:
        raise CacheError(
            f"cache: {path} holds {kernels} kernels of {manifest['kernels']}. Make it again."
        )
    theirs, mine = manifest["made for"], circumstances()
    other = [name for name in mine if theirs.get(name) != mine[name]]
    if other:
        name = next((n for n in other if n != "target"), other[0])
        raise CacheError(
            f"cache: {path} was made for {name} {theirs.get(name)!r}; here it is {mine[name]!r}. "
            "Make a pack on a machine and with versions like these."
        )
