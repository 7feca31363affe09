"""What this machine can do: bytes a second of a copy, operations a second of multiply-adds.

Kernels of our own measure them, in the process and with the threads that the rows run with, so a
row's share of the machine is a fact about its kernel and not about somebody's data sheet.
"""

from __future__ import annotations

import numpy as np

from bench.cases.case import array
from bench.cases.plain_kernels import launch
from bench.worker import measure

COPIED = 1 << 25  # elements of 4 bytes: far beyond any cache
ROUNDS = 100_000
VALUES = 12  # in flight: latency 4 times two ports, and some


def peaks(threads: int) -> dict[str, float]:
    """`gb_per_s` read and written by a copy of 128 MiB; `gflop_per_s` of float32 multiply-adds."""
    from tritorch.runtime import set_num_threads
    from tritorch.triton_cpu.target import host

    set_num_threads(threads)
    signature = {"x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32"}
    arguments = [array(COPIED), array(COPIED), COPIED]
    copy = launch("copy", signature, {"BLOCK": 1024}, (COPIED // 1024,), arguments)
    lanes = host().vector_bytes // 4
    programs = 4 * threads
    out = np.zeros(programs * lanes, np.float32)
    multiply_add = launch(
        "multiply_add",
        {"o_ptr": "*fp32", "rounds": "i32", "scale": "fp32"},
        {"BLOCK": lanes},
        (programs,),
        [out, ROUNDS, 0.5],
    )
    operations = 2 * VALUES * lanes * ROUNDS * programs
    return {
        "gb_per_s": 8 * COPIED / min(measure(copy, 0.3)) / 1e9,
        "gflop_per_s": operations / min(measure(multiply_add, 0.3)) / 1e9,
    }
