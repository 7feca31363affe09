"""Damaged and hostile files: one kind of error, nothing runs, memory stays in proportion."""

from __future__ import annotations

import io
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tritorch as torch
from tests.serialization.contents import FILES
from tritorch import safetensors
from tritorch.errors import DeviceError, LoadError
from tritorch.serialization.archive import ArchiveWriter

#: bytes of memory for a byte of a file: an instruction of one byte makes a dictionary
FACTOR = 400


def outcome(content: bytes, reader: Any = None) -> Any:
    """What a load gives: the object, or the error if it is one of those that are promised."""
    tracemalloc.start()
    try:
        return (reader or torch.load)(content if reader else io.BytesIO(content))
    except (LoadError, DeviceError) as error:
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < FACTOR * len(content) + 2_000_000


@cache
def originals() -> dict[str, tuple[bytes, Any]]:
    tensors = {"a": torch.ones(3), "b": torch.zeros(2, 2, dtype=torch.bfloat16)}
    return {
        "zip": ((FILES / "zip.pt").read_bytes(), None),
        "legacy": ((FILES / "legacy.pt").read_bytes(), None),
        "safetensors": (safetensors.save(tensors, {"by": "tests"}), safetensors.load),
    }


KINDS = ("zip", "legacy", "safetensors")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_bytes(kind: str, data: st.DataObject) -> None:
    content, reader = originals()[kind]
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    outcome(bytes(changed), reader)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_removed_and_added_bytes(kind: str, data: st.DataObject) -> None:
    content, reader = originals()[kind]
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, min(begin + 100, len(content))))
    outcome(content[:begin] + data.draw(st.binary(max_size=20)) + content[end:], reader)


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_an_error(kind: str) -> None:
    content, reader = originals()[kind]
    for length in {
        *range(0, len(content), 97),
        *range(12),
        *range(len(content) - 30, len(content)),
    }:
        found = outcome(content[:length], reader)
        assert isinstance(found, LoadError), f"{length} bytes gave {found!r:.100}"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"\x80\x02.")
def test_any_bytes_as_the_description(described: bytes) -> None:
    outcome(archive({"data.pkl": described}))
    outcome(archive({"data.pkl": b"\x80\x02" + described + b"."}))


def archive(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    writer = ArchiveWriter(buffer, "archive")
    for name, content in entries.items():
        writer.add(name, content)
    writer.close()
    return buffer.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: Any) -> bytes:
    """The instructions for an int, or a tuple of them."""
    return pickle.dumps(value, 2)[2:-1]


def storage(numel: int = 4, key: str = "0", kind: bytes = b"ctorch\nFloatStorage\n") -> bytes:
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(numel) + b"tQ"


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], **of: Any) -> bytes:
    numbers = (number(value) for value in (offset, shape, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(**of) + b"".join(numbers) + b"\x89NtR"


#: name -> instructions of a pickle, and what the error says
EVIL: dict[str, tuple[bytes, str]] = {
    "os.system": (b"cos\nsystem\n" + text("true") + b"\x85R", "module os, which is blocked"),
    "posix.system": (b"cposix\nsystem\n" + text("true") + b"\x85R", "posix, which is blocked"),
    "eval": (b"cbuiltins\neval\n" + text("1") + b"\x85R", "GLOBAL builtins.eval was not"),
    "python 2": (b"c__builtin__\nexec\n" + text("1") + b"\x85R", "GLOBAL __builtin__.exec"),
    "our own": (b"ctritorch\nzeros\n" + number(1 << 40) + b"\x85R", "tritorch.zeros"),
    "attribute": (b"ctorch\nSize.__class__\n)R", "GLOBAL torch.Size.__class__ was not"),
    "protocol 4": (text("os") + text("system") + b"\x93", "which is blocked"),
    "class of tensors": (b"ctorch\nTensor\n" + number(1 << 40) + b"\x85R", "damaged"),
    "call of data": (b"]" + b")R", "calls a list"),
    "state of a list": (b"]}b", "gives state to a list"),
    "state of a function": (b"ctorch._utils\n_rebuild_tensor\n}b", "gives state to a function"),
    "items of a tuple": (b")Na", "adds items to a tuple"),
    "long text": (b"\x8d" + struct.pack("<Q", 1 << 62), "ends too early"),
    "negative length": (b"\x8b" + struct.pack("<i", -5), "ends too early"),
    "large bytearray": (b"cbuiltins\nbytearray\n" + number(1 << 45) + b"\x85R", "no bytes"),
    "encoding": (b"c_codecs\nencode\n" + text("a") + text("idna") + b"\x86R", "not latin1"),
    "key": (b"}" + text("a") + b"q\0" + b"0h\0h\0\x86q\0" * 60 + b"Ns", "key with too many"),
    "deep key": (b"})" + b"\x85" * 100_000 + b"Ns", "key with too many"),
    "instruction": (b"I1\n", "instruction b'I'"),
    "memo": (b"hx", "damaged: KeyError"),
    "empty stack": (b"R", "damaged: IndexError"),
    "storage too large": (storage(1 << 40), "should have 1099511627776 elements"),
    "storage too small": (storage(3), "and has 16 bytes in the file"),
    "storage elsewhere": (storage(key="../../../etc/passwd"), "no entry 'data/../../../etc"),
    "storage of nothing": (storage(kind=b"ctorch\nfloat32\n"), "without type or size"),
    "size": (tensor(0, (5,), (1,)), "beyond its storage of 16 bytes"),
    "offset": (tensor(4, (1,), (1,)), "beyond its storage"),
    "stride": (tensor(0, (2,), (4,)), "beyond its storage"),
    "negative stride": (tensor(3, (2,), (-1,)), "are not all sizes"),
    "negative offset": (tensor(-1, (1,), (1,)), "are not all sizes"),
    "huge product": (tensor(0, (1 << 40, 1 << 40), (0, 0)), "beyond its storage"),
    "dimensions": (tensor(0, (1, 2), (1,)), "2 sizes and 1 strides"),
    "no storage": (b"ctorch._utils\n_rebuild_tensor\n(NK\0))tR", "made of a NoneType"),
    "gradient": (tensor(0, (2,), (1,), kind=b"ctorch\nIntStorage\n").replace(b"\x89", b"\x88"),
                 "can require gradients"),
}  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_evil_pickles(name: str) -> None:
    instructions, message = EVIL[name]
    found = outcome(archive({"data.pkl": b"\x80\x02" + instructions + b".", "data/0": b"1" * 16}))
    assert isinstance(found, LoadError) and message in str(found), f"{found!r}"


def test_what_the_evil_pickles_are_made_of_is_sound() -> None:
    good = tensor(1, (2, 1), (2, 1))
    content = archive(
        {"data.pkl": b"\x80\x02" + good + b".", "data/0": struct.pack("4f", *range(4))}
    )
    assert outcome(content).tolist() == [[1.0], [3.0]]
    many = tensor(0, (1 << 40,), (0,))  # takes no memory: it is one element
    content = archive({"data.pkl": b"\x80\x02" + many + b".", "data/0": b"1" * 16})
    assert outcome(content).shape == (1 << 40,)


def test_zip_bombs() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\x80\x02N.")
        file.writestr("archive/data/0", b"\0" * 50_000_000)
    assert len(buffer.getvalue()) < 60_000
    assert "is compressed" in str(outcome(buffer.getvalue()))
    content = bytearray(
        archive({"data.pkl": b"\x80\x02N.", "data/0": b"0" * 64, "data/1": b"1" * 64})
    )
    first, second = (content.index(b"PK\1\2", 0), content.rindex(b"PK\1\2"))
    middle = content.index(b"PK\1\2", first + 4)
    content[second + 42 : second + 46] = content[middle + 42 : middle + 46]
    assert "overlap" in str(outcome(bytes(content)))


def test_what_is_no_checkpoint() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("model/constants.pkl", b"")
    assert "TorchScript" in str(outcome(buffer.getvalue()))
    assert "no entry 'data.pkl'" in str(outcome(archive({"other": b""})))
    assert "empty" in str(outcome(b""))
    assert "magic number" in str(outcome(pickle.dumps(3, 2)))
    assert "tar file" in str(outcome(b"\0" * 257 + b"ustar" + b"\0" * 300))


def test_a_promise_of_storages_larger_than_the_file_allocates_nothing() -> None:
    content, _ = originals()["legacy"]
    (found,) = re.findall(b"(?s)cpuq.K\x06", content)[:1]
    for numel in (1 << 20, (1 << 31) - 1):
        changed = content.replace(found, found[:-2] + b"J" + struct.pack("<i", numel), 1)
        assert "its storages have" in str(outcome(changed))


LIMITED = """
import io, resource, sys
import tritorch as torch
torch.load(sys.argv[1])
limit = 400 << 20
now = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (now + limit, now + limit))
content = open(sys.argv[1], "rb").read()
for place in range(0, len(content), 61):
    changed = bytearray(content)
    changed[place : place + 8] = b"\\xff" * 8
    try:
        torch.load(io.BytesIO(changed))
    except RuntimeError as error:
        assert not isinstance(error, MemoryError), error
print("done")
"""


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt"])
def test_large_numbers_anywhere_do_not_take_memory(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(FILES / name)], capture_output=True, text=True
    )
    assert run.stdout == "done\n", run.stderr[-2000:]
