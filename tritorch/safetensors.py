"""Files of the safetensors format: named tensors and nothing else.

`load_file` maps the file into memory, so tensors are read when they are used; bfloat16 and float8
need no detour. Format: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import LoadError
from tritorch.layout import Layout
from tritorch.runtime import get_target
from tritorch.runtime.storage import Storage
from tritorch.serialization.files import (
    MappedSource,
    memory_view,
    opened_for_writing,
)
from tritorch.tensor import Tensor, wrap

_CODES = {
    "F64": dtypes.float64, "F32": dtypes.float32, "F16": dtypes.float16, "BF16": dtypes.bfloat16,
    "F8_E4M3": dtypes.float8_e4m3fn, "F8_E5M2": dtypes.float8_e5m2, "I64": dtypes.int64,
    "I32": dtypes.int32, "I16": dtypes.int16, "I8": dtypes.int8, "U64": dtypes.uint64,
    "U32": dtypes.uint32, "U16": dtypes.uint16, "U8": dtypes.uint8, "BOOL": dtypes.bool,
}  # fmt: skip
_NAMES = {kind: code for code, kind in _CODES.items()}
_LENGTH_BYTES = 8
#: as the reference implementation
_MAX_HEADER_BYTES = 100_000_000


class _Entry(NamedTuple):
    """A tensor in a file; begin and end in bytes behind the header."""

    kind: Dtype
    shape: tuple[int, ...]
    begin: int
    end: int


# ---- writing


def save_file(
    tensors: Mapping[str, Tensor],
    filename: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors to a file, all or nothing.

    Args:
        tensors: by name; written in row-major order.
        filename: the path; an old file is replaced once the new one is on the disk.
        metadata: text by name.
    Raises:
        TypeError: a value is no tensor, or metadata are not all text.
    """
    header, ordered = _described("save_file", tensors, metadata)
    with opened_for_writing(filename) as file:
        _write(file, header, ordered)


def save(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes that `save_file` writes."""
    from io import BytesIO

    header, ordered = _described("save", tensors, metadata)
    buffer = BytesIO()
    _write(buffer, header, ordered)
    return buffer.getvalue()


def _described(
    caller: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None
) -> tuple[bytes, list[Tensor]]:
    """The header, and the tensors in the order of the file: large elements first, then by name."""
    described: dict[str, Any] = {}
    if metadata:
        described["__metadata__"] = dict(metadata)
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            raise TypeError(f"{caller}: metadata must be text by name, got {dict(metadata)!r:.80}.")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(
                f"{caller}: expected tensors by name, got {type(tensor).__name__} for {name!r}. "
                "Other things go to tritorch.save."
            )
        if tensor.dtype not in _NAMES:
            raise TypeError(f"{caller}: {name!r} is of {tensor.dtype}, which has no code.")
    position = 0
    ordered = []
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        tensor = tensors[name]
        described[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.nbytes],
        }
        position += tensor.nbytes
        ordered.append(tensor)
    header = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header, ordered


def _write(file: BinaryIO, header: bytes, ordered: list[Tensor]) -> None:
    file.write(header)
    for tensor in ordered:
        dense = tensor.detach().cpu().contiguous()
        file.write(memory_view(dense._address, dense.nbytes))


# ---- reading


def load_file(filename: str | os.PathLike[str], device: str | Device = "cpu") -> dict[str, Tensor]:
    """The tensors of a file, by name, in the file's order.

    On the CPU they are the mapped file itself: nothing is copied, and changing them does not change
    the file.

    Raises:
        LoadError: the file is truncated, or no safetensors file.
    """
    with safe_open(filename, "tritorch", device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file's content, by name; they are copies."""
    entries, _, start = _parsed(data, len(data))
    result = {}
    for name, entry in entries.items():
        storage = Storage(entry.end - entry.begin, get_target("cpu"))
        content = memoryview(data)[start + entry.begin : start + entry.end]
        memory_view(storage.address, storage.nbytes)[:] = content
        result[name] = wrap(storage, Layout.contiguous(entry.kind, entry.shape), storage.address)
    return result


class safe_open:
    """A file, of which tensors and parts of them are read one by one.

    Args:
        filename: the path.
        framework: accepted as in safetensors; tensors are always ours.
        device: where `get_tensor` puts them.

    Example:
        >>> with safe_open("model.safetensors", "pt") as file:  # doctest: +SKIP
        ...     weight = file.get_tensor("weight")
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        framework: str = "pt",
        device: str | Device = "cpu",
    ) -> None:
        self._device = Device(device)
        self._source: MappedSource | None = MappedSource(filename)
        header = self._source.read(0, min(self._source.size, _LENGTH_BYTES))
        length = int.from_bytes(header, "little")
        head = self._source.read(0, min(self._source.size, _LENGTH_BYTES + length))
        self._entries, self._metadata, self._start = _parsed(head, self._source.size)

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._source = None

    def keys(self) -> list[str]:
        """The names."""
        return list(self._entries)

    def metadata(self) -> dict[str, str] | None:
        """The text by name that was saved with the tensors."""
        return self._metadata

    def get_tensor(self, name: str) -> Tensor:
        """A tensor; the mapped file itself on the CPU."""
        entry = self._entries.get(name)
        if entry is None:
            raise LoadError(f"safe_open: the file has no tensor {name!r}.")
        if self._source is None:
            raise LoadError("safe_open: the file is closed.")
        address = self._source.address + self._start + entry.begin
        layout = Layout.contiguous(entry.kind, entry.shape)
        if address % entry.kind.itemsize:
            storage = Storage(layout.nbytes, get_target("cpu"))
            get_target("cpu").copy(storage.address, address, layout.nbytes)
        else:
            storage = Storage.borrow(address, layout.nbytes, self._source)
        tensor = wrap(storage, layout, storage.address)
        return tensor if self._device.type == "cpu" else tensor.to(self._device)

    def get_slice(self, name: str) -> Tensor:
        """A tensor to be indexed; only what is used is read."""
        return self.get_tensor(name)


def _parsed(head: bytes, size: int) -> tuple[dict[str, _Entry], dict[str, str] | None, int]:
    """Entries by name, metadata, and where the data begin, of a file that begins with `head`."""
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(head) < _LENGTH_BYTES or start > size or length > _MAX_HEADER_BYTES:
        raise LoadError(
            f"load: no safetensors file, or a truncated one: it has {size} bytes and says that its "
            f"header has {length}."
        )
    try:
        described = json.loads(head[_LENGTH_BYTES:start], object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"load: the header of the safetensors file is damaged: {error}.") from error
    if not isinstance(described, dict):
        raise LoadError("load: the header of the safetensors file is no object.")
    metadata = described.pop("__metadata__", None)
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    ):
        raise LoadError("load: the metadata of the safetensors file are not all text.")
    entries = {name: _entry(name, content) for name, content in described.items()}
    position = 0
    for name, entry in sorted(entries.items(), key=lambda pair: pair[1][2:]):
        if entry.begin != position:
            raise LoadError(
                f"load: {name!r} begins at byte {entry.begin} of the data, expected {position}."
            )
        position = entry.end
    if start + position != size:
        raise LoadError(
            f"load: the file has {size - start} bytes of data, and its header describes {position}."
        )
    return entries, metadata, start


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _entry(name: str, content: Any) -> _Entry:
    try:
        code, shape, (begin, end) = (content[k] for k in ("dtype", "shape", "data_offsets"))
        kind = _CODES.get(code)
        sizes = (*shape, begin, end)
    except (KeyError, TypeError, ValueError) as error:
        raise LoadError(f"load: the description of {name[:80]!r} is damaged.") from error
    if kind is None:
        raise LoadError(
            f"load: {name[:80]!r} is of dtype {str(code)[:20]}, which is not supported."
        )
    if not all(type(value) is int and 0 <= value < 1 << 62 for value in sizes) or len(shape) > 64:
        raise LoadError(f"load: the sizes of {name[:80]!r} are no sizes.")
    nbytes = kind.itemsize
    for size in shape:
        nbytes *= size
    if nbytes != end - begin:
        raise LoadError(
            f"load: {name[:80]!r} of shape {shape} has {nbytes} bytes, and the file "
            f"{end - begin} for it."
        )
    return _Entry(kind, tuple(shape), begin, end)
