"""`save` and `load`: what goes in comes out, whoever wrote the file."""

from __future__ import annotations

import io
import os
import pickle
import stat
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.serialization.contents import FILES, contents, equal
from tritorch.errors import LoadError


def round_trip(value: Any, **options: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    buffer.seek(0)
    return torch.load(buffer)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_everything_comes_back(protocol: int) -> None:
    equal(round_trip(contents(torch), pickle_protocol=protocol), contents(torch))


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt"])
def test_files_of_pytorch(name: str) -> None:
    """Bytes that PyTorch 2.13 wrote."""
    equal(torch.load(FILES / name), contents(torch))


def test_bytes_of_the_file_are_those_of_pytorch(tmp_path: Path) -> None:
    """All but the digits of the identity and its checksum, which is written twice."""
    path = tmp_path / "zip.pt"
    torch.save(contents(torch), path)
    ours, theirs = path.read_bytes(), (FILES / "zip.pt").read_bytes()
    assert len(ours) == len(theirs)
    digits = ours.index(b"PK\1\2") - 56
    directory = ours.rindex(b"PK\1\2") + 16
    free = {*range(digits, digits + 40), *range(digits + 44, digits + 48)}
    free |= set(range(directory, directory + 4))
    assert {i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b} <= free


def test_path_file_object_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save([torch.ones(2)], str(path))
    assert torch.load(str(path))[0].tolist() == [1, 1]
    with open(path, "rb") as file:
        assert torch.load(file)[0].tolist() == [1, 1]
    moved = io.BytesIO(b"before" + path.read_bytes())
    moved.seek(6)
    assert torch.load(moved)[0].tolist() == [1, 1]

    class Stream:
        """Can only be read."""

        def read(self, count: int = -1) -> bytes:
            return path.read_bytes()

    assert torch.load(Stream())[0].tolist() == [1, 1]
    with pytest.raises(AttributeError, match="a file open for reading bytes, got int"):
        torch.load(3)
    with pytest.raises(AttributeError, match="write method, got int"):
        torch.save([], 3)
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "none.pt")


def test_legacy_objects_one_after_the_other() -> None:
    content = (FILES / "legacy.pt").read_bytes()
    file = io.BytesIO(content + content)
    torch.load(file)
    assert file.tell() == len(content)
    equal(torch.load(file), contents(torch))


def test_memory_mapped_is_lazy_private_and_shared_between_views(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(contents(torch), path)
    before = path.read_bytes()
    loaded = torch.load(path, mmap=True)
    equal(loaded, contents(torch))
    assert loaded["base"].untyped_storage().owner is not None
    loaded["base"].add_(1)
    assert loaded["transposed"][0, 0].item() == 1
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="must be a file path"):
        torch.load(io.BytesIO(before), mmap=True)
    with pytest.raises(LoadError, match="only be used with zip files"):
        torch.load(FILES / "legacy.pt", mmap=True)


def test_map_location(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(torch.ones(3), path)
    seen = []

    def where(storage: Any, location: str) -> Any:
        seen.append((storage.nbytes, location))
        return storage

    for wanted in ("cpu", torch.device("cpu"), {"cpu": "cpu"}, where, lambda *_: None):
        assert torch.load(path, map_location=wanted).tolist() == [1, 1, 1]
    assert seen == [(12, "cpu")]
    content = path.read_bytes()
    position = content.index(b"X\x03\x00\x00\x00cpu")
    elsewhere = content[:position] + b"X\x03\x00\x00\x00gpu" + content[position + 8 :]
    with pytest.raises(RuntimeError, match=r"belongs on 'gpu'.*map_location='cpu'"):
        torch.load(io.BytesIO(elsewhere))
    assert torch.load(io.BytesIO(elsewhere), map_location="cpu").tolist() == [1, 1, 1]
    assert torch.load(io.BytesIO(elsewhere), map_location={"gpu": "cpu"}).tolist() == [1, 1, 1]


@dataclass
class Settings:
    """A class of the user's."""

    width: int
    weight: Any = None


def test_classes_of_others_need_a_permission() -> None:
    from tritorch import serialization

    buffer = io.BytesIO()
    torch.save({"settings": Settings(3, torch.ones(2))}, buffer)

    def read(**options: Any) -> Any:
        buffer.seek(0)
        return torch.load(buffer, **options)["settings"]

    name = rf"Unsupported global: GLOBAL {Settings.__module__}.Settings".replace(".", r"\.")
    for weights_only in (True, False):
        with pytest.raises(LoadError, match=name):
            read(weights_only=weights_only)
    with serialization.safe_globals([Settings]):
        assert serialization.get_safe_globals() == [Settings]
        assert read().width == 3 and read(weights_only=False).weight.tolist() == [1, 1]
    with pytest.raises(LoadError, match=name):
        read()
    serialization.add_safe_globals([(Settings, f"{Settings.__module__}.Settings")])
    try:
        assert read().width == 3
    finally:
        serialization.clear_safe_globals()
    assert serialization.get_safe_globals() == []
    with pytest.raises(ValueError, match="a pair of one and the name"):
        serialization.add_safe_globals([(Settings,)])


@pytest.mark.parametrize("protocol", [2, 4])
def test_names_that_need_a_permission(protocol: int) -> None:
    from tritorch import serialization

    buffer = io.BytesIO()
    torch.save([Settings(3), torch.ones(2), np.float64(1)], buffer, pickle_protocol=protocol)
    buffer.seek(0)
    found = serialization.get_unsafe_globals_in_checkpoint(buffer)
    assert f"{Settings.__module__}.Settings" in found
    assert any(name.endswith("multiarray.scalar") for name in found)
    assert not any(name.startswith("torch") for name in found)
    for name in ("zip.pt", "legacy.pt"):
        assert not [
            name
            for name in serialization.get_unsafe_globals_in_checkpoint(FILES / name)
            if not name.startswith("__builtin__.")
        ]
    with pytest.raises(LoadError, match="damaged"):
        serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(b"\x80\2c"))


def test_models_optimizers_and_generators() -> None:
    def trained(steps: int) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(steps):
            step(model, optimizer)
        return model, optimizer

    def step(model: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        model(torch.arange(6.0).reshape(2, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = trained(2)
    state = round_trip({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "random": torch.get_rng_state(), "step": 2})  # fmt: skip
    other, other_optimizer = trained(0)
    assert not other.load_state_dict(state["model"]).missing_keys
    other_optimizer.load_state_dict(state["optimizer"])
    step(model, optimizer)
    step(other, other_optimizer)
    for a, b in zip(model.state_dict().values(), other.state_dict().values()):
        assert a.tolist() == b.tolist()


class Net(torch.nn.Module):
    """A module of this program, for which a permission is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
        self.encoder = torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.layers(x))


def test_whole_module() -> None:
    from tritorch import serialization

    def load(weights_only: bool) -> torch.nn.Module:
        buffer.seek(0)
        return torch.load(buffer, weights_only=weights_only)

    model = Net().eval()
    x = torch.ones(1, 2, 4)
    for part in (model.layers, model):
        buffer = io.BytesIO()
        torch.save(part, buffer)
        with pytest.raises(LoadError, match=r"GLOBAL .* was not an allowed global"):
            load(True)
        if part is model:
            with pytest.raises(LoadError, match=r"add_safe_globals\(\[Net\]\)"):
                load(False)
        with serialization.safe_globals([Net] if part is model else []):
            loaded = load(False)
        assert type(loaded) is type(part) and loaded is not part
        assert loaded(x).tolist() == part(x).tolist()
        assert loaded.state_dict().keys() == part.state_dict().keys()
    buffer = io.BytesIO()
    torch.save(model.layers, buffer)
    with pytest.raises(LoadError, match="weights_only=False"):
        load(True)


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_numpy(protocol: int) -> None:
    """With weights_only=False only, as in PyTorch."""
    array = np.arange(6.0).reshape(2, 3)
    value = {
        "array": array, "again": array, "columns": np.ones((2, 2), order="F"),
        "text": np.array(["ab", "c"]), "empty": np.zeros((0, 3)), "best": np.float64(0.5),
        "steps": np.int64(3), "last": np.True_, "swapped": np.ones(2, ">i2"),
    }  # fmt: skip
    buffer = io.BytesIO()
    torch.save({**value, "random": np.random.RandomState(0).get_state()}, buffer, None, protocol)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for name, part in value.items():
        assert type(loaded[name]) is type(part) and loaded[name].shape == part.shape
        assert (loaded[name] == part).all()
    assert loaded["again"] is loaded["array"]
    loaded["array"][0, 0] = 7
    np.random.RandomState().set_state(loaded["random"])
    buffer.seek(0)
    with pytest.raises(LoadError, match="weights_only=False"):
        torch.load(buffer)


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        # Linear(10**9, 10**9): a call takes memory
        (b"ctorch.nn.modules.linear\nLinear\nJ\0\xca\x9a;J\0\xca\x9a;\x86R.", "calls a type"),
        (b"ctorch.nn.modules.linear\nLinear\nK\1\x85\x81.", "gives arguments to Linear"),
        (b"ctorch.nn.functional\nrelu\nK\1\x85R.", "calls a "),
        (b"ctorch.nn.modules.linear\nLinear\n}b.", "gives state to a type"),
        (b"ctorch.nn.functional\nwarnings\n.", "warnings was not an allowed global"),
        (b"ctorch.nn.modules.module\nos.system\n.", "system was not an allowed global"),
        (b"ctorch.nn.utils\nrnn\n.", "rnn was not an allowed global"),
        (b"ctorch.nn.modules.linear\nLinear\n)\x81}q\0X\1\0\0\0acos\nsystem\nsb.", "blocked"),
        (b"cnumpy\nndarray\nJ\0\xca\x9a;\x85R.", "calls a str"),
        (b"cnumpy\ndtype\nX\1\0\0\0O\x85R.", "'O', not of numbers"),
        (b"cnumpy\ndtype\nX\2\0\0\0f8\x85R(K\3X\1\0\0\0<NX\1\0\0\0aNJ____J____K\0tb.", "records"),
        (
            b"cnumpy._core.multiarray\n_reconstruct\nNNN\x87R"
            b"(K\1J\0\xca\x9a;\x85cnumpy\ndtype\nX\2\0\0\0f8\x85R\x89C\1at"
            b"b.",
            "1 bytes for an array of",
        ),
        (b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\2\0\0\0f8\x85RC\1a\x86R.", "1 bytes"),
    ],
)
def test_parts_of_modules_are_never_called(instructions: bytes, message: str) -> None:
    import zipfile

    buffer = io.BytesIO()
    torch.save(1, buffer)
    changed = io.BytesIO()
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            whole = entry.filename.endswith("data.pkl")
            new.writestr(entry, b"\x80\2" + instructions if whole else old.read(entry))
    changed.seek(0)
    with pytest.raises(LoadError, match=message):
        torch.load(changed, weights_only=False)


def test_other_byte_order() -> None:
    buffer = io.BytesIO()
    torch.save({"x": torch.tensor([1, 256]), "y": torch.tensor([1.0]).to(torch.uint16)}, buffer)
    swapped = buffer.getvalue().replace(b"little", b"big\0\0\0")
    sizes = (b"\6\0\0\0" * 2, b"\3\0\0\0" * 2)  # of that entry, in the directory
    swapped = swapped.replace(*sizes)
    with pytest.raises(LoadError, match="other byte order"):
        torch.load(io.BytesIO(swapped))
    buffer = io.BytesIO()
    torch.save({"x": torch.tensor([1, 256])}, buffer)
    swapped = buffer.getvalue().replace(b"little", b"big\0\0\0").replace(*sizes)
    assert torch.load(io.BytesIO(swapped))["x"].tolist() == [1 << 56, 1 << 48]


def test_what_cannot_be_saved_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save([1], path)
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        torch.save([lambda: 0], path)
    with pytest.raises(ValueError, match="protocols 2 to 5"):
        torch.save([2], path, pickle_protocol=1)
    assert torch.load(path) == [1] and os.listdir(tmp_path) == ["a.pt"]


def test_mode_and_links_of_the_file_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "a.pt", tmp_path / "link.pt"
    torch.save([1], path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()
    path.chmod(0o600)
    link.symlink_to(path)
    torch.save([2], link)
    assert link.is_symlink() and torch.load(path) == [2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def current_umask() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split("Umask:")[1].split()[0], 8)


WRITER = """
import sys
import tritorch as torch
path = sys.argv[1]
for number in range(10**9):
    torch.save({"number": number, "x": torch.full((200_000,), number, dtype=torch.int32)}, path)
    if number == 0:
        print("ready", flush=True)
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"number": -1, "x": torch.full((3,), -1, dtype=torch.int32)}, path)
    random = np.random.default_rng(0)
    seen = {-1}
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        try:
            writer.wait(float(random.uniform(0, 0.3)))
        except subprocess.TimeoutExpired:
            writer.kill()
        writer.wait()
        writer.stdout.close()
        loaded = torch.load(path)
        assert bool((loaded["x"] == loaded["number"]).all())
        seen.add(loaded["number"])
    assert len(seen) > 1
    assert all(name == "a.pt" or name.endswith(".tmp") for name in os.listdir(tmp_path))


def test_ordered_dictionary_keeps_its_class() -> None:
    assert type(round_trip(OrderedDict(a=1))) is OrderedDict
