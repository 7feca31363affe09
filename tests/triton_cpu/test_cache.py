"""The object cache: keys, damaged entries, full and read-only disks, dying and rival writers."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tritorch
from tritorch.config import config
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu import cache
from tritorch.triton_cpu.cache import ObjectCache, decode, encode, entry_key
from tritorch.triton_cpu.compile import compile_kernel

KEY = "ab" * 32
METADATA = {"name": "f", "parameter_types": ["*fp32", "i32"]}
CODE = bytes(range(256)) * 4
ROOT = str(tritorch.__path__[0]).removesuffix("/tritorch")

COPY = KernelSource(
    "copy",
    """
@triton.jit
def copy(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + offsets, tl.load(x_ptr + offsets, mask=offsets < n), mask=offsets < n)
""",
)
SIGNATURE = {"x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32"}


@pytest.fixture
def store(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "kernels")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with config(cache_dir=tmp_path, cache="on"):
        yield tmp_path


def entries(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


# ---- entries


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())), st.binary())
def test_encoding_is_reversible(metadata: dict[str, object], code: bytes) -> None:
    assert decode(encode(metadata, code)) == (metadata, code)


ENTRY = encode(METADATA, CODE)


@given(st.integers(0, len(ENTRY) - 1))
def test_an_entry_cut_anywhere_counts_as_absent(length: int) -> None:
    assert decode(ENTRY[:length]) is None


@given(st.integers(0, len(ENTRY) - 1), st.integers(1, 255))
def test_an_entry_with_any_byte_changed_counts_as_absent(position: int, change: int) -> None:
    damaged = bytearray(ENTRY)
    damaged[position] ^= change
    assert decode(bytes(damaged)) is None


@given(st.binary(max_size=200))
def test_a_foreign_file_counts_as_absent(data: bytes) -> None:
    assert decode(data) is None
    assert decode(ENTRY + data) == ((METADATA, CODE) if not data else None)


def test_what_is_stored_is_loaded(store: ObjectCache) -> None:
    assert store.load(KEY) is None
    store.store(KEY, METADATA, CODE)
    assert store.load(KEY) == (METADATA, CODE)
    assert ObjectCache(store.directory).load(KEY) == (METADATA, CODE)
    assert entries(store.directory) == [store.path(KEY)]


def test_a_damaged_entry_is_replaced(store: ObjectCache) -> None:
    store.store(KEY, METADATA, CODE)
    store.path(KEY).write_bytes(ENTRY[:-1])
    assert store.load(KEY) is None
    store.store(KEY, METADATA, CODE)
    assert store.load(KEY) == (METADATA, CODE)


# ---- disks that do not want to


def test_a_full_disk_warns_once_and_entries_live_in_memory(
    store: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(
        RuntimeWarning, match="cannot write to .*: No space left on device.*TRITORCH_CACHE_DIR"
    ):
        store.store(KEY, METADATA, CODE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.store("cd" * 32, METADATA, b"second")
    assert store.load(KEY) == (METADATA, CODE)
    assert store.load("cd" * 32) == (METADATA, b"second")
    assert entries(store.directory) == []


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    store = ObjectCache(blocked / "kernels")
    assert store.load(KEY) is None
    with pytest.warns(RuntimeWarning, match="cannot write to"):
        store.store(KEY, METADATA, CODE)
    assert store.load(KEY) == (METADATA, CODE)


def test_a_read_only_directory(store: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    store.store(KEY, METADATA, CODE)
    folder = store.path(KEY).parent
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if os.access(folder, os.W_OK):  # root may write everywhere: refuse as the system would

            def refuse(path: Path, mode: str = "r", **_options: object) -> IO[bytes]:
                if "w" in mode:
                    raise PermissionError(errno.EACCES, "Permission denied")
                return open(path, mode)

            monkeypatch.setattr(Path, "open", refuse)
        other = KEY[:2] + "99" * 31
        with pytest.warns(RuntimeWarning, match="Permission denied"):
            store.store(other, METADATA, b"new")
        assert store.load(other) == (METADATA, b"new")
        assert store.load(KEY) == (METADATA, CODE)  # what was there is still read
    finally:
        folder.chmod(stat.S_IRWXU)


# ---- writers that die, writers at the same time


WRITER = """
import sys
from pathlib import Path
from tritorch.triton_cpu.cache import ObjectCache
store = ObjectCache(Path(sys.argv[1]))
code = bytes(1_000_000)
print("ready", flush=True)
while True:
    for i in range(8):
        store.store(f"{i:02d}" * 32, {"name": "f"}, code)
"""


def start_writer(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("attempt", range(3))
def test_a_writer_killed_in_the_middle_leaves_whole_entries(tmp_path: Path, attempt: int) -> None:
    process = start_writer(tmp_path)
    time.sleep(0.05 + 0.03 * attempt)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    store = ObjectCache(tmp_path)
    complete = [path for path in entries(tmp_path) if not path.name.endswith(".tmp")]
    for path in complete:
        assert decode(path.read_bytes()) is not None
    store.store(KEY, METADATA, CODE)
    assert store.load(KEY) == (METADATA, CODE)


def test_what_dead_writers_left_is_removed_when_it_is_old(store: ObjectCache) -> None:
    folder = store.path(KEY).parent
    folder.mkdir(parents=True)
    old, young = folder / ".x.1.aa.tmp", folder / ".y.2.bb.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.store(KEY, METADATA, CODE)
    assert not old.exists() and young.exists()


def test_what_vanishes_during_the_sweep_does_not_end_it(store: ObjectCache) -> None:
    folder = store.path(KEY).parent
    folder.mkdir(parents=True)
    old = [folder / f".x{i}.1.aa.tmp" for i in range(8)]
    for i, path in enumerate(old):
        # As another writer's file after its renaming: listed, and not to be found.
        (folder / f".y{i}.2.bb.tmp").symlink_to(folder / "absent")
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    store.store(KEY, METADATA, CODE)
    assert not any(path.exists() for path in old)


def test_a_cache_that_is_cleared_meanwhile(
    store: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder vanishes between writing and renaming."""
    cleared: list[Path] = []

    def clear(_descriptor: int) -> None:
        if not cleared:
            cleared.append(store.path(KEY).parent)
            shutil.rmtree(cleared[0])

    monkeypatch.setattr(os, "fsync", clear)
    store.store(KEY, METADATA, CODE)
    assert cleared and entries(store.directory) == [store.path(KEY)]


def test_writers_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    processes = [start_writer(tmp_path) for _ in range(2)]
    store = ObjectCache(tmp_path)
    seen, limit = 0, time.monotonic() + 120
    try:
        while seen < 20 and time.monotonic() < limit:
            found = store.load("00" * 32)
            if found is not None:
                assert found == ({"name": "f"}, bytes(1_000_000))
                seen += 1
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    assert seen == 20


def test_threads_share_a_cache(store: ObjectCache) -> None:
    def work(i: int) -> bool:
        key = f"{i % 4:02d}" * 32
        store.store(key, METADATA, CODE)
        return store.load(key) == (METADATA, CODE)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(64)))


# ---- keys


BASE: dict[str, object] = {
    "digest": "d",
    "signature": {"x": "*fp32", "n": "i32"},
    "constants": {"BLOCK": 1},
    "options": {"debug": False},
    "fingerprint": "f",
}


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "e"},
        {"signature": {"x": "*fp32:16", "n": "i32"}},
        {"signature": {"n": "i32", "x": "*fp32"}},
        {"constants": {"BLOCK": 2}},
        {"constants": {"BLOCK": 1.0}},
        {"constants": {"BLOCK": True}},
        {"constants": {"BLOCK": "1"}},
        {"constants": {"BLOCK": 1, "OTHER": None}},
        {"options": {"debug": True}},
        {"options": {}},
        {"fingerprint": "g"},
    ],
)
def test_every_part_changes_the_key(change: dict[str, object]) -> None:
    assert entry_key(**BASE) == entry_key(**BASE)  # type: ignore[arg-type]
    assert entry_key(**(BASE | change)) != entry_key(**BASE)  # type: ignore[arg-type]


def test_versions_settings_and_our_own_code_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {entry_key(**BASE)}  # type: ignore[arg-type]
    if config.cpu_features != "x86-64":
        with config(cpu_features="x86-64"):
            keys.add(entry_key(**BASE))  # type: ignore[arg-type]
    for versions in (
        "triton=1;llvmlite=1;code=1",
        "triton=2;llvmlite=1;code=1",
        "triton=2;llvmlite=1;code=2",
    ):
        monkeypatch.setattr(cache, "_versions", lambda text=versions: text)
        keys.add(entry_key(**BASE))  # type: ignore[arg-type]
    assert len(keys) == 5
    assert "triton_cpu" not in cache.code_digest() and len(cache.code_digest()) == 64


# ---- through compile_kernel


def test_the_second_compilation_comes_from_the_cache(directory: Path) -> None:
    first = compile_kernel(COPY, SIGNATURE, {"BLOCK": 64})
    second = compile_kernel(COPY, SIGNATURE, {"BLOCK": 64})
    other = compile_kernel(COPY, SIGNATURE, {"BLOCK": 128})
    assert [k.from_cache for k in (first, second, other)] == [False, True, False]
    assert second.object_code == first.object_code and second.name == "copy"
    assert second.parameter_types == first.parameter_types == ("*fp32", "*fp32", "i32")
    assert len(entries(directory)) == 2


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_compiled_again(directory: Path, data: st.DataObject) -> None:
    good = compile_kernel(COPY, SIGNATURE, {"BLOCK": 64})
    (path,) = entries(directory)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:cut] + data.draw(st.binary(max_size=3)))
    if path.read_bytes() == content:  # what was drawn is what was cut off
        return
    again = compile_kernel(COPY, SIGNATURE, {"BLOCK": 64})
    assert not again.from_cache and again.object_code == good.object_code
    assert compile_kernel(COPY, SIGNATURE, {"BLOCK": 64}).from_cache


def test_the_cache_can_be_off(tmp_path: Path) -> None:
    with config(cache_dir=tmp_path, cache="off"):
        for _ in range(2):
            assert not compile_kernel(COPY, SIGNATURE, {"BLOCK": 64}).from_cache
    assert entries(tmp_path) == []


def test_a_warm_process_never_imports_triton(directory: Path) -> None:
    script = f"""
import sys
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu.compile import compile_kernel
kernel = compile_kernel(KernelSource({COPY.name!r}, {COPY.text!r}), {SIGNATURE!r}, {{"BLOCK": 64}})
print(kernel.from_cache, "triton" in sys.modules)
"""
    environment = os.environ | {"TRITORCH_CACHE_DIR": str(directory), "TRITORCH_CACHE": "on"}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        return done.stdout.strip()

    assert [run(), run()] == ["False True", "True False"]
