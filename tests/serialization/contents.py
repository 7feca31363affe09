"""One object that holds all that checkpoints hold; `python -m tests.serialization.contents FOLDER`
under PyTorch writes the files of this folder.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

FILES = Path(__file__).parent / "files"


def contents(torch: Any) -> OrderedDict[str, Any]:
    """The object, made by either library."""
    x = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    weight = torch.nn.Parameter(x + 0.5)
    noted = torch.ones(3)
    noted.note = "kept"
    result: OrderedDict[str, Any] = OrderedDict(
        base=x, transposed=x.t(), strided=x[1:, ::2], weight=weight, tied=weight,
        data=weight.data, leaf=torch.ones(2, requires_grad=True), scalar=torch.tensor(3.5),
        empty=torch.empty(0, 3), repeated=torch.ones(1, 2).expand(3, 2), noted=noted,
        flags=torch.arange(3) > 0, shape=x.shape, dtype=torch.bfloat16,
        nested={"list": [1, 2.5, None, True, 2**70, -1], 3: ("ü", b"\0\xff", 1 + 2j), "set": {4}},
        counted=Counter(a=2),
    )  # fmt: skip
    for name in (
        "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64", "int32",
        "int16", "int8", "uint8", "uint16", "uint32", "uint64",
    ):  # fmt: skip
        result[name] = torch.tensor([0.0, 1.5, 100.0]).to(getattr(torch, name))
    result._metadata = OrderedDict(version=1)  # type: ignore[attr-defined]
    return result


def equal(ours: Any, theirs: Any) -> None:
    """Assert that two such objects hold the same, bit for bit, of whichever library each is."""
    assert list(ours) == list(theirs)
    for name, mine in ours.items():
        other = theirs[name]
        if not hasattr(mine, "storage_offset"):
            assert str(mine) == str(other), name
            continue
        assert str(mine.dtype) == str(other.dtype), name
        assert tuple(mine.shape) == tuple(other.shape), name
        assert tuple(mine.stride()) == tuple(other.stride()), name
        assert mine.storage_offset() == other.storage_offset(), name
        assert mine.requires_grad == other.requires_grad, name
        assert type(mine).__name__ == type(other).__name__, name
        assert raw(mine) == raw(other), name
    assert ours["base"].data_ptr() == ours["transposed"].data_ptr()
    assert ours["strided"].data_ptr() == ours["base"].data_ptr() + 12
    assert ours["weight"] is ours["tied"]
    assert ours["weight"].data_ptr() == ours["data"].data_ptr()
    assert ours["noted"].note == "kept"
    assert ours._metadata == {"version": 1}


def raw(tensor: Any) -> bytes:
    """The bytes of the elements, in order."""
    dense = tensor.detach().contiguous()
    if type(dense).__module__.startswith("tritorch"):
        return bytes(dense.numpy().tobytes())
    return bytes(dense.flatten().view(sys.modules["torch"].uint8).numpy().tobytes())


if __name__ == "__main__":
    import torch  # type: ignore[import-not-found, unused-ignore]

    folder = Path(sys.argv[1]) if sys.argv[1:] else FILES
    torch.save(contents(torch), folder / "zip.pt")
    torch.save(contents(torch), folder / "legacy.pt", _use_new_zipfile_serialization=False)
