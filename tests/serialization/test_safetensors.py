"""tritorch.safetensors against the reference implementation, and its errors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy as reference
from safetensors import deserialize

import tritorch as torch
from tritorch import safetensors
from tritorch.errors import LoadError


def tensors() -> dict[str, Any]:
    kinds = (
        "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64",
        "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8",
    )  # fmt: skip
    made = {kind: torch.tensor([[0.0, 1.5, 100.0]]).to(getattr(torch, kind)) for kind in kinds}
    flags = torch.arange(5) > 2
    return made | {"flags": flags, "ünï": torch.tensor(2.5), "none": torch.empty(0, 3),
                   "turned": torch.arange(6).reshape(2, 3).t()}  # fmt: skip


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].dtype is value.dtype and found[name].shape == value.shape
        assert found[name].numpy().tobytes() == value.contiguous().numpy().tobytes(), name


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.save_file(tensors(), path, {"by": "tests"})
    same(safetensors.load_file(path), tensors())
    same(safetensors.load(path.read_bytes()), tensors())
    same(torch.load(path), tensors())
    assert path.read_bytes() == safetensors.save(tensors(), {"by": "tests"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_reference_reads_ours_and_we_read_its() -> None:
    ours = dict(deserialize(safetensors.save(tensors())))
    assert set(ours) == set(tensors())
    for name, value in tensors().items():
        assert bytes(ours[name]["data"]) == value.contiguous().numpy().tobytes()
        assert tuple(ours[name]["shape"]) == value.shape
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True]), "c": np.int8([1, 2])}
    found = safetensors.load(reference.save(arrays, {"k": "v"}))
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in arrays.items()
    }


def test_nothing_is_copied_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.save_file({"x": torch.ones(1000), "y": torch.zeros(3, dtype=torch.bfloat16)}, path)
    before = path.read_bytes()
    with safetensors.safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == ["x", "y"] and file.metadata() is None
        x, part = file.get_tensor("x"), file.get_slice("x")[10:20:3]
        with pytest.raises(LoadError, match="no tensor 'z'"):
            file.get_tensor("z")
    with pytest.raises(LoadError, match="closed"):
        file.get_tensor("x")
    assert x.untyped_storage().owner.mapping[:8] == before[:8]
    x.add_(1)
    assert part.tolist() == [1.0] * 4 or part.tolist() == [2.0] * 4
    assert x.sum().item() == 2000 and path.read_bytes() == before


def changed(change: Any) -> bytes:
    content = safetensors.save({"x": torch.ones(4), "y": torch.ones(2)})
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["x"].update(shape=[5]), "has 20 bytes, and the file 16"),
        (lambda h: h["x"].update(shape=[-4]), "are no sizes"),
        (lambda h: h["x"].update(shape=[1 << 60, 1 << 60]), "bytes, and the file 16"),
        (lambda h: h["x"].update(dtype="F6"), "dtype F6, which is not supported"),
        (lambda h: h["x"].pop("shape"), "description of 'x' is damaged"),
        (lambda h: h["y"].update(data_offsets=[0, 8]), "begins at byte 0 of the data, expected"),
        (lambda h: h.pop("y"), "has 24 bytes of data, and its header describes 16"),
        (lambda h: h.update(__metadata__={"a": 1}), "metadata of the safetensors file"),
    ],
)
def test_damaged_headers(change: Any, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        safetensors.load(changed(change))


def test_other_errors(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="a name occurs twice"):
        safetensors.load(struct.pack("<Q", 17) + b'{"a": {}, "a":{}}')
    with pytest.raises(LoadError, match="no safetensors file"):
        safetensors.load(struct.pack("<Q", 1 << 62))
    with pytest.raises(TypeError, match="expected tensors by name, got int"):
        safetensors.save({"x": 3})
    with pytest.raises(TypeError, match="metadata must be text"):
        safetensors.save({"x": torch.ones(1)}, {"a": 1})  # type: ignore[dict-item]
    empty = tmp_path / "a.safetensors"
    empty.touch()
    with pytest.raises(LoadError, match="is empty"):
        safetensors.load_file(empty)
    assert safetensors.load(safetensors.save({})) == {}
