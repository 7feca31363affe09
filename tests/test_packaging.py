"""The wheel holds exactly what git tracks, and works installed; built from a clean copy."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAPPED = {
    "kernels": "tritorch/kernels",
    "autograd": "tritorch/autograd",
    "bench": "tritorch/bench",
    "nn": "tritorch/nn",
    "tritorch": "tritorch",
}


def tracked() -> list[str]:
    """Product files that git knows, relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", *MAPPED], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return [n for n in listing.stdout.split("\0") if n and not n.startswith("bench/results/")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked files only."""
    pytest.importorskip("setuptools", "77", reason="building the wheel needs setuptools >= 77")
    folder = tmp_path_factory.mktemp("source")
    for name in [*tracked(), "pyproject.toml", "README.md", "LICENSE"]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    build = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", out, "."],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    (path,) = out.glob("*.whl")
    return path


def test_wheel_holds_what_git_tracks(wheel: Path) -> None:
    """No file is lost and none is added."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {n for n in archive.namelist() if ".dist-info/" not in n}
    expected = set()
    for name in tracked():
        top, _, rest = name.partition("/")
        expected.add(f"{MAPPED[top]}/{rest}")
    assert inside == expected


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder beside a `site` that holds the wheel's files alone."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder


def run(installed: Path, *arguments: str) -> str:
    """What a Python prints that finds tritorch in the unpacked wheel only."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=installed,
        env={"PATH": "/usr/bin:/bin", "HOME": str(installed), "PYTHONPATH": "site"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installed_wheel_computes(installed: Path) -> None:
    """Unpacked alone on the path, away from the checkout, it runs an operation."""
    code = (
        "import tritorch, pathlib\n"
        "assert pathlib.Path(tritorch.__file__).is_relative_to(pathlib.Path('site').resolve())\n"
        "print((tritorch.ones(3) + 1).tolist())\n"
    )
    assert run(installed, "-c", code) == "[2.0, 2.0, 2.0]\n"


def test_installed_wheel_has_the_command_line(installed: Path) -> None:
    """The bench comes along, and finds itself in its worker processes."""
    command = ("-m", "tritorch", "bench", "softmax op, 4096x256", "--vs", "none", "--json")
    report = json.loads(run(installed, *command, "--rounds", "1", "--seconds", "0.01"))
    assert {row["threads"] for row in report["rows"]} == {1, 2}
    assert all(row["ours_us"] > 0 for row in report["rows"])
