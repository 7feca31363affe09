"""`save` and `load`: tensors in the safetensors format, what is around them as JSON metadata.

A flat dictionary of tensors is a plain .safetensors file that other programs read. Anything else
(nested dictionaries, lists, numbers) is described in the metadata entry `tritorch`, in which
tensors
stand by name. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import math
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.devices import device as Device
from tritorch.ops.placement import resolve_device
from tritorch.tensor import Size, Tensor, from_array

_KEY = "tritorch"
_CODES = {
    "F64": dtypes.float64, "F32": dtypes.float32, "F16": dtypes.float16, "BF16": dtypes.bfloat16,
    "F8_E4M3": dtypes.float8_e4m3fn, "F8_E5M2": dtypes.float8_e5m2, "I64": dtypes.int64,
    "I32": dtypes.int32, "I16": dtypes.int16, "I8": dtypes.int8, "U64": dtypes.uint64,
    "U32": dtypes.uint32, "U16": dtypes.uint16, "U8": dtypes.uint8, "BOOL": dtypes.bool,
}  # fmt: skip


def save(obj: Any, f: Any, **_options: Any) -> None:
    """Write an object to a file.

    Args:
        obj: tensors, and dictionaries, lists and tuples of tensors, numbers, strings and None.
        f: a path, or a file open for writing bytes.
    Raises:
        TypeError: something in it is none of these; says where.
    """
    from safetensors.numpy import save as serialize

    tensors: dict[str, Tensor] = {}
    if _is_flat(obj):
        tensors, metadata = dict(obj), None
    else:
        metadata = {_KEY: json.dumps(_describe(obj, "", tensors, {}))}
    arrays = {name: _dense_array(tensor) for name, tensor in tensors.items()}
    content = serialize(arrays, metadata)
    if isinstance(f, str | os.PathLike):
        _write(Path(f), content)
    else:
        f.write(content)


def load(f: Any, map_location: Any = None, **_options: Any) -> Any:
    """Read what `save` wrote, or any .safetensors file (as a flat dictionary).

    Args:
        f: a path, or a file open for reading bytes.
        map_location: the device of the tensors; None: the default device.
    Raises:
        RuntimeError: the file is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import deserialize

    content = Path(f).read_bytes() if isinstance(f, str | os.PathLike) else f.read()
    device = resolve_device(map_location if isinstance(map_location, str | Device) else None)
    try:
        entries = deserialize(content)
    except SafetensorError as error:
        raise RuntimeError(
            f"load: {f!r} is no file in the safetensors format ({error}). Files of torch.save are "
            "pickles, which can run any code: convert them with PyTorch first."
        ) from None
    tensors = {name: _tensor(entry, device) for name, entry in entries}
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    if _KEY not in metadata:
        return tensors
    return _restore(json.loads(metadata[_KEY]), tensors)


def _is_flat(obj: Any) -> bool:
    return (
        type(obj) is dict
        and bool(obj)
        and all(
            isinstance(name, str) and isinstance(value, Tensor) and not value.requires_grad
            for name, value in obj.items()
        )
    )


def _dense_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach()._array()).reshape(tensor.shape)


def _write(path: Path, content: bytes) -> None:
    """All or nothing: a reader never sees half a file."""
    import tempfile  # late: it brings a dozen modules

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _tensor(entry: Any, device: Device) -> Tensor:
    kind = _CODES.get(entry["dtype"])
    if kind is None:
        raise RuntimeError(f"load: dtype {entry['dtype']} is not supported.")
    array = np.frombuffer(entry["data"], np.uint8).view(kind.numpy).reshape(entry["shape"])
    return from_array(array, device)


def _describe(value: Any, path: str, tensors: dict[str, Tensor], known: dict[int, str]) -> Any:
    """JSON for a value; tensors are put in `tensors` and stand by name."""
    if isinstance(value, Tensor):
        name = known.get(id(value))
        if name is None:
            name = path.lstrip(".") or "tensor"
            while name in tensors:
                name += "_"
            known[id(value)] = name
            tensors[name] = value
        return {"tensor": name, "requires_grad": bool(value.requires_grad)}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, dict):
        pairs = [
            [_describe(k, path, tensors, known), _describe(v, f"{path}.{k}", tensors, known)]
            for k, v in value.items()
        ]
        return {"ordered" if isinstance(value, OrderedDict) else "dict": pairs}
    if isinstance(value, dtypes.dtype):
        return {"dtype": value.name}
    if isinstance(value, Device):
        return {"device": str(value)}
    for kind, label in ((Size, "size"), (tuple, "tuple"), (list, "list"), (set, "set")):
        if isinstance(value, kind):
            return {
                label: [_describe(v, f"{path}.{i}", tensors, known) for i, v in enumerate(value)]
            }
    raise TypeError(
        f"save: {path.lstrip('.') or 'the object'} is a {type(value).__name__}, which cannot be "
        "saved. "
        "Save tensors, numbers, strings, None, and dictionaries, lists and tuples of them, such "
        "as a "
        "state_dict()."
    )


def _restore(described: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(described, dict):
        return described
    if "tensor" in described:
        found = tensors[described["tensor"]]
        return found.requires_grad_() if described["requires_grad"] else found
    ((label, content),) = described.items()
    if label == "float":
        return float(content)
    if label == "dtype":
        return dtypes.BY_NAME[content]
    if label == "device":
        return Device(content)
    if label in ("dict", "ordered"):
        pairs = [(_restore(k, tensors), _restore(v, tensors)) for k, v in content]
        return OrderedDict(pairs) if label == "ordered" else dict(pairs)
    makers: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "size": Size}
    return makers[label](_restore(v, tensors) for v in content)
