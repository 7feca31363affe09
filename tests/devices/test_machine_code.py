"""What `machine_code` reads in assembly, and what it makes of it."""

from __future__ import annotations

import pytest

from tests.devices.gpu_kernels import Needs, Planned, with_binary
from tests.devices.machine_code import H200, assembly, predict, read_code
from tritorch.kernel_source import KernelSource

#: a loop over 2 x 16 bytes a thread, of which the second load waits for the first; an edge of
#: single elements; a division whose rare case is a call; a subroutine behind the end
LINES = (
    "S2R R0, SR_TID.X", "LDC.64 R2, c[0x0][0x218]", "IMAD.WIDE R2, R0, 0x4, R2",
    "label 1",
    "LDG.E.128 R4, desc[UR4][R2.64]",
    "FADD R8, R4, R5",
    "LDG.E.128 R12, desc[UR4][R2.64+0x800]",
    "MUFU.EX2 R9, R12",
    "@!P1 BRA `(.L_x_2)", "MOV R10, 0x10", "CALL.REL.NOINC `(slow)",
    "label 2",
    "@P0 BRA `(.L_x_1)",
    "label 3",
    "LDG.E R4, desc[UR4][R2.64]", "STG.E desc[UR4][R2.64], R4", "@P0 BRA `(.L_x_3)",
    "STG.E.64 desc[UR4][R2.64], R8",
    "EXIT",
    "FMUL R1, R1, R1", "RET.REL.NODEC R2 `(kernel)",
)  # fmt: skip


def _text() -> str:
    numbered = (
        f".L_x_{line[6:]}:" if line.startswith("label") else f"  /*{at:04x}*/  {line} ;"
        for at, line in enumerate(LINES)
    )
    return "\n".join(numbered)


def test_loops_loads_and_pipes() -> None:
    code = read_code(_text())
    assert (code.once.instructions, code.once.read, code.once.written) == (5, 0, 256)
    main, edge = code.loops
    assert code.main_loops == [main] and edge.widest == 128
    assert (main.instructions, main.read, main.written, main.widest) == (6, 1024, 0, 512)
    assert main.in_flight == 512  # never both: the first is used before the second is asked for
    assert main.waits == pytest.approx(2 * H200.latency * H200.clock, rel=0.02)
    assert main.pipes == {
        "issue": 6 / 4, "access": 8.0, "floats": 1 / 4, "special": 2.0,
    }  # fmt: skip


def test_the_limit_is_named() -> None:
    code = read_code(_text())
    needs = Needs(90, 4, 32, 0, 0, 0, 0)
    moved = 132 * 16 * 1024 * 4 * 100.0  # a hundred turns of each program
    found = predict(code, needs, 132 * 16, moved)
    assert (found.turns, found.resident_warps, found.widest) == (100, 64, 16)
    assert found.in_flight == 64 * 512
    assert found.limit == "memory" and found.seconds["memory"] == moved / H200.bandwidth
    few = predict(code, needs, 132, moved / 16)
    assert few.limit == "waiting" and few.resident_warps == 4
    large = predict(code, Needs(90, 4, 168, 0, 0, 100 << 10, 0), 132 * 16, moved)
    assert large.resident_warps == 8  # by shared memory
    assert large.seconds["waiting"] == pytest.approx(8 * found.seconds["waiting"])


def test_a_kernel_for_sm_90() -> None:
    text = "\n".join((
        "@triton.jit", "def twice(y_ptr, x_ptr, n):",
        "    places = tl.program_id(0) * 1024 + tl.arange(0, 1024)",
        "    tl.store(y_ptr + places, 2 * tl.load(x_ptr + places, places < n), places < n)\n",
    ))  # fmt: skip
    signature = {"y_ptr": "*fp32:16", "x_ptr": "*fp32:16", "n": "i32:16"}
    kernel = Planned(KernelSource("twice", text), signature, {}, {})
    needs, binary = with_binary(kernel, 90)
    code = read_code(assembly(binary))
    assert not code.loops
    assert (code.once.read, code.once.written, code.once.widest) == (1024, 1024, 512)
    assert code.once.in_flight == 1024  # both loads of a thread before the first is used
    found = predict(code, needs, 1 << 16, 8.0 * (1 << 26))
    assert found.limit == "memory" and found.resident_warps == 64
