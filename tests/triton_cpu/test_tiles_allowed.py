"""Whether tile instructions are used: the system is asked, the machine is checked."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.triton_cpu.emulated import STATE, WITH_TILES, emulated
from tests.triton_cpu.running import HOST
from tritorch.config import config
from tritorch.triton_cpu import target as targets
from tritorch.triton_cpu import tiles
from tritorch.triton_cpu.llvm import compile_object

pytestmark = pytest.mark.skipif(not HOST.avx512f, reason="packs vectors of 64 bytes")


@pytest.fixture
def emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check compiles runs here."""
    monkeypatch.setattr(
        tiles, "compile_text", lambda text, _, name: compile_object(emulated(text), HOST, name=name)
    )
    # The check's text follows from flags, which this machine's fingerprint does not know of.
    monkeypatch.setattr(tiles, "remembered", lambda _name, _when, find_out: find_out())


@pytest.fixture
def equipped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose CPU has tiles, seen for the first time."""
    triple, detected = targets._detected()
    features = {**detected, "amx-tile": True, "amx-bf16": True, "amx-int8": True}
    monkeypatch.setattr(targets, "_detected", lambda: (triple, features))
    monkeypatch.setattr(tiles, "usable", tiles.usable.__wrapped__)  # type: ignore[attr-defined]
    targets._host.cache_clear()
    yield
    targets._host.cache_clear()


def test_both_elements_are_checked_and_right(emulation: None) -> None:
    before = dict(STATE.calls)
    assert tiles.work(WITH_TILES)
    assert not STATE.faults
    # 4 x 4 tiles, 4 or 2 steps along K
    for name, count in (("tdpbf16ps", 64), ("tdpbssd", 32)):
        assert STATE.calls[name] - before.get(name, 0) == count


@pytest.mark.parametrize("broken", ["tdpbf16ps", "tdpbssd", "tileloadd64"])
def test_wrong_instructions_are_noticed(
    emulation: None, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    right = getattr(STATE, broken)

    def wrong(*arguments: Any) -> None:
        right(*arguments)
        STATE.registers[0, 15, 15] += 1

    monkeypatch.setattr(STATE, broken, wrong)
    assert not tiles.work(WITH_TILES)


def test_a_machine_that_computes_wrong_goes_the_ordinary_way(
    equipped: None, emulation: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "permitted", lambda: True)
    monkeypatch.setattr(STATE, "tdpbssd", lambda *_: None)
    with pytest.warns(RuntimeWarning, match="AMX instructions differ from ordinary ones"):
        assert not targets.host().has("amx-int8")
    assert not targets.host().has("amx-tile")  # and does not warn again


def test_a_refusal_means_the_ordinary_way(equipped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "permitted", lambda: False)
    found = targets.host()
    assert not found.has("amx-tile") and "+amx" not in found.features
    assert found.flags == HOST.flags


def test_with_permission_tiles_are_used(
    equipped: None, emulation: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "permitted", lambda: True)
    found = targets.host()
    assert found.has("amx-bf16") and "+amx-bf16" in found.features
    assert found.cpu == "sapphirerapids" and found.fingerprint != HOST.fingerprint


def test_the_check_is_real_code_for_this_machine(
    equipped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the run, which would be the end here: text, object, loading, without AMX emulated."""
    ran = []
    monkeypatch.setattr(tiles, "permitted", lambda: True)
    monkeypatch.setattr(tiles, "_result", lambda function, element, _: ran.append(element))
    with config(cache="off"):
        assert targets.host().has("amx-tile")
    assert ran == ["bf16", "bf16", "i8", "i8"]


@pytest.mark.parametrize(("answer", "expected"), [(0, True), (-1, False)])
def test_the_system_is_asked_for_the_tile_data(
    monkeypatch: pytest.MonkeyPatch, answer: int, expected: bool
) -> None:
    asked = []

    class Library:
        def __init__(self, name: None) -> None:
            pass

        def syscall(self, *arguments: ctypes.c_long) -> int:
            asked.append([argument.value for argument in arguments])
            return answer

    monkeypatch.setattr(tiles.ctypes, "CDLL", Library)
    assert tiles.permitted() is expected
    assert asked == [[158, 0x1023, 18]]  # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)


@pytest.mark.skipif(targets.detected_host().has("amx-tile"), reason="this CPU has AMX")
def test_a_system_without_tiles_refuses() -> None:
    assert not tiles.permitted()


def test_tensors_on_a_machine_with_tiles() -> None:
    """From `tritorch.bmm` down, on the threads of the pool, each with tiles of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.triton_cpu.tiles_program"],
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"TRITORCH_CACHE": "off"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "2 threads\n"), done.stderr
