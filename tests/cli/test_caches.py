"""`tritorch cache`: what it lists, packs that warm another cache, packs that are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tritorch.cli import main
from tritorch.config import config

#: a program that prints how many kernels it compiled and loaded
PROGRAM = """
import tritorch as torch
x = torch.ones(10)
assert (x * 2 + torch.exp(x)).sum().item() > 0
stats = torch.kernels.stats()
print(stats.generated, stats.loaded)
"""


def program(cache_dir: Path) -> tuple[int, int]:
    """Kernels compiled and loaded by a process with this cache."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"TRITORCH_CACHE_DIR": str(cache_dir)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    generated, loaded = run.stdout.split()
    return int(generated), int(loaded)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory that the program has filled."""
    folder = tmp_path_factory.mktemp("filled")
    generated, loaded = program(folder)
    assert generated >= 3 and loaded == 0
    return folder


@pytest.fixture
def pack(filled: Path, tmp_path: Path) -> Path:
    file = tmp_path / "kernels.pack"
    with config(cache_dir=filled):
        assert main.run(["cache", "pack", str(file)]) == 0
    return file


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """An empty cache, in use."""
    with config(cache_dir=tmp_path / "empty"):
        yield tmp_path / "empty"


def test_list_and_info(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with config(cache_dir=filled):
        assert main.run(["cache", "list", "exp*", "--json"]) == 0
        (entry,) = json.loads(capsys.readouterr().out)
        assert entry["name"].startswith("exp") and entry["current"]
        assert entry["signature"][0] == "*fp32" and entry["nbytes"] > 500
        assert main.run(["cache", "info", "--json"]) == 0
        info = json.loads(capsys.readouterr().out)
        assert info["kernels"] == info["current_kernels"] >= 3
        assert main.run(["cache", "list"]) == 0
        assert "exp" in capsys.readouterr().out


def test_a_pack_warms_another_cache(pack: Path, empty: Path) -> None:
    """16 processes unpack it at once; then the program compiles nothing."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tritorch", "cache", "unpack", str(pack), "--json"],
            env=os.environ | {"TRITORCH_CACHE_DIR": str(empty)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(16)
    ]
    reports = [json.loads(run.communicate(timeout=300)[0]) for run in runs]
    assert all(run.returncode == 0 for run in runs)
    with zipfile.ZipFile(pack) as archive:
        held = len(archive.namelist()) - 1
    assert all(report["added"] + report["present"] == held for report in reports)
    assert program(empty)[0] == 0
    assert not list(empty.rglob("*.tmp"))


def test_clear(pack: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["cache", "unpack", str(pack)]) == 0
    (empty / "cpu" / "00").mkdir(exist_ok=True)
    (empty / "cpu" / "00" / ("0" * 62)).write_bytes(b"what another version left")
    capsys.readouterr()
    assert main.run(["cache", "clear", "--stale", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 1
    assert main.run(["cache", "clear"]) == 0
    assert not (empty / "cpu").exists()
    assert main.run(["cache", "pack", str(pack)]) == 1
    assert "Run the program first" in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--stale"]])
def test_clear_while_others_do(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    """Files that were listed have gone when their turn comes."""
    shutil.copytree(filled, tmp_path / "copy")
    lstat, stat = os.lstat, Path.stat
    gone: list[str] = []

    def vanish(path: Path | str) -> None:
        if len(str(path)) > 60 and not gone:
            gone.append(str(path))
            os.unlink(path)

    monkeypatch.setattr(os, "lstat", lambda path, **given: (vanish(path), lstat(path, **given))[1])
    monkeypatch.setattr(Path, "stat", lambda path, **given: (vanish(path), stat(path, **given))[1])
    with config(cache_dir=tmp_path / "copy", cpu_features="x86-64"):
        assert main.run(["cache", "clear", *option]) == 0
    assert gone and not [path for path in tmp_path.glob("copy/cpu/*/*") if path.is_file()]


def rewritten(pack: Path, change: str) -> bytes:
    """The pack's bytes after one change."""
    if change == "truncated":
        return pack.read_bytes()[:-200]
    if change == "text":
        return b"no archive at all"
    with zipfile.ZipFile(pack) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["manifest.json"])
    first = next(name for name in files if name != "manifest.json")
    if change == "cpu":
        manifest["made for"] |= {"cpu": "k6", "target": "another"}
    elif change == "version":
        manifest["made for"]["triton"] = "2.0"
    elif change == "format":
        manifest["format"] = 9
    elif change == "missing":
        del files[first]
    elif change == "damaged":
        files[first] = files[first][:-1] + b"?"
    elif change == "name":
        files["../" + first] = files.pop(first)
    files["manifest.json"] = json.dumps(manifest).encode()
    how = zipfile.ZIP_DEFLATED if change == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(pack, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return pack.read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("truncated", "damaged"),
        ("text", "no kernel pack"),
        ("cpu", "was made for cpu 'k6'"),
        ("version", "was made for triton '2.0'"),
        ("format", "format 9"),
        ("missing", "kernels of"),
        ("damaged", "damaged"),
        ("name", "damaged"),
        ("compressed", "compressed"),
    ],
)
def test_refused_with_a_reason(
    pack: Path, empty: Path, change: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pack.write_bytes(rewritten(pack, change))
    assert main.run(["cache", "unpack", str(pack)]) == 1
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert not list(empty.rglob("*")) or not [p for p in (empty / "cpu").rglob("*") if p.is_file()]


def test_an_absent_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["cache", "unpack", str(tmp_path / "absent")]) == 1
    assert "cannot read" in capsys.readouterr().err
