"""The emulated instructions themselves: what Intel's manual says, down to the bits."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tests.triton_cpu.emulated import Tiles, bfloats, flushed, fused
from tests.triton_cpu.running import HOST
from tritorch.triton_cpu.codegen.amx import configuration
from tritorch.triton_cpu.llvm import compile_object, load_object

_FMA = """
declare float @llvm.fma.f32(float, float, float)
define float @fma(float %a, float %b, float %c) {
  %r = call float @llvm.fma.f32(float %a, float %b, float %c)
  ret float %r
}
"""


@pytest.fixture
def tiles() -> Tiles:
    found = Tiles()
    found.faults = []  # not those of the tests that run kernels
    configure(found, configuration())
    return found


def configure(tiles: Tiles, text: bytes) -> None:
    memory = ctypes.create_string_buffer(text, 64)
    tiles.ldtilecfg(ctypes.addressof(memory))


def words(*pairs: tuple[float, float]) -> np.ndarray:
    """Words of two bfloat16 that hold these numbers exactly."""
    bits = np.array(pairs, np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return (bits[:, 0] >> 16 | bits[:, 1]).astype(np.uint32).view(np.int32)


@pytest.mark.skipif(not HOST.fma, reason="this CPU has no fused multiply-add")
def test_one_rounding() -> None:
    fma = ctypes.CFUNCTYPE(ctypes.c_float, *[ctypes.c_float] * 3)(
        load_object(compile_object(_FMA, HOST), ["fma"])["fma"]
    )
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 1 << 32, (3, 4000), dtype=np.uint32)
    bits[:2] &= 0xFFFF0000
    # Sizes near each other, where roundings differ, besides any size.
    near = bits & 0x80FFFFFF | 0x3F000000
    for a, b, c in (bits.view(np.float32), near.view(np.float32)):
        a, b, c = (flushed(x) for x in (a, b, c))
        exact = flushed(np.array([fma(*x) for x in zip(a, b, c)], np.float32))
        got = fused(a, b, c)
        same = (got.view(np.int32) == exact.view(np.int32)) | (np.isnan(got) & np.isnan(exact))
        assert same.all()


def test_even_and_odd_products_are_summed_apart(tiles: Tiles) -> None:
    tiles.registers[1, 0, 0] = words((2.0**24, 1.0))[0]
    tiles.registers[2, 0, 0] = words((1.0, 1.0))[0]
    tiles.registers[0, 0, 0] = np.float32(1).view(np.int32)
    tiles.tdpbf16ps(0, 1, 2)
    # 1 + (2^24 + 1): both sums are ties that go down; one after the other would be 2^24 + 2.
    assert tiles.registers[0].view(np.float32)[0, 0] == 2.0**24
    assert not tiles.registers[0, 1:].any() and not tiles.faults


def test_denormals_are_zeros(tiles: Tiles) -> None:
    small = np.float32(2.0**-127)
    assert bfloats(words((2.0**-127, -(2.0**-127)))).ravel().tolist() == [0.0, -0.0]
    tiles.registers[1, 0, 0] = words((2.0**-100, 0.0))[0]
    tiles.registers[2, 0, 0] = words((2.0**-27, 0.0))[0]
    tiles.registers[0, 0, 0] = small.view(np.int32)
    tiles.tdpbf16ps(0, 1, 2)
    assert tiles.registers[0, 0, 0] == 0


def test_bytes_are_signed_and_sums_wrap(tiles: Tiles) -> None:
    tiles.registers[1, 2, :2] = np.array([-128, 127, -1, 1] * 2, np.int8).view(np.int32)
    tiles.registers[2, :2, 3] = np.array([-128, 127, -1, 1] * 2, np.int8).view(np.int32)
    tiles.registers[0, 2, 3] = 2**31 - 1
    tiles.tdpbssd(0, 1, 2)
    term = 2 * (128 * 128 + 127 * 127 + 1 + 1)
    assert tiles.registers[0, 2, 3] == term - 2**31 - 1


def test_faults_are_noted(tiles: Tiles) -> None:
    tiles.tdpbssd(0, 1, 1)
    assert len(tiles.faults) == 1
    text = bytearray(configuration())
    text[48 + 2] = 8
    configure(tiles, bytes(text))
    tiles.tdpbssd(0, 1, 2)
    assert "shapes or numbers do not fit" in tiles.faults[-1]
    tiles.tilerelease()
    tiles.tilezero(3)
    assert tiles.faults[-1] == "tilezero of tile 3, which is not configured"
    configure(tiles, b"\2" + bytes(63))
    assert tiles.faults[-1] == "ldtilecfg of something else than palette 1"
