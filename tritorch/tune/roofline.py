"""What a device can do at most, measured by kernels of our own: a CPU with the threads in use by
multiply-adds in registers, a GPU by large products, in float32 and on the tensor cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import tritorch as torch
from tritorch.kernel_source import KernelSource
from tritorch.runtime import get_target
from tritorch.tune.clocks import DeviceClock

#: elements of 4 bytes that are copied, far beyond any cache; rows and columns of the GPU's products
_COPIED, _COPIED_BY_GPU, _SIDE = 1 << 25, 1 << 28, 8192
_BLOCK = 1024
_COPY = KernelSource(
    "copy",
    """@triton.jit
def copy(o_ptr, x_ptr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + i, tl.load(x_ptr + i))
""",
)
_ROUNDS = 100_000
_VALUES = 12  # in flight: latency 4 times two ports, and some
_NAMES = [f"v{i}" for i in range(_VALUES)]
_MULTIPLY_ADD = KernelSource(
    "multiply_add",
    "\n".join(
        [
            "@triton.jit",
            "def multiply_add(o_ptr, rounds, scale, BLOCK: tl.constexpr):",
            "    lanes = tl.arange(0, BLOCK)",
            *(f"    {name} = lanes * {i / 10 + 0.1:.1f}" for i, name in enumerate(_NAMES)),
            "    for _ in range(rounds):",
            *(f"        {name} = tl.fma({name}, scale, scale)" for name in _NAMES),
            f"    total = {' + '.join(_NAMES)}",
            "    tl.store(o_ptr + tl.program_id(0) * BLOCK + lanes, total)",
            "",
        ]
    ),
)


def _fastest(run: Callable[[], object], samples: int = 7) -> float:
    run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def peaks(threads: int | None = None, device: str = "cpu") -> dict[str, float]:
    """`gb_per_s` read and written by a copy; `gflop_per_s` of multiplying and adding float32; for a
    GPU also `half_gflop_per_s` of bfloat16.

    Args:
        threads: how many work on the CPU; None: as many as are set.
        device: `cpu`, `cuda` or `cuda:1`.
    """
    if device != "cpu":
        return dict(_device_peaks(device))
    return dict(_peaks(threads or torch.get_num_threads()))


@cache
def _device_peaks(device: str) -> dict[str, float]:
    clock = DeviceClock()
    with torch.cuda.device(device):
        source, to = (torch.ones(_COPIED_BY_GPU, device=device) for _ in range(2))
        copy = clock.sample(to.copy_, [[source]])
        found = {"gb_per_s": 2 * source.nbytes / copy / 1e9}
        del source, to
        for name, kind in (("gflop_per_s", torch.float32), ("half_gflop_per_s", torch.bfloat16)):
            factors = torch.ones(2, _SIDE, _SIDE, dtype=kind, device=device)
            took = min(clock.sample(torch.matmul, [[factors[0], factors[1]]]) for _ in range(3))
            found[name] = 2 * _SIDE**3 / took / 1e9
    return found


@cache
def _peaks(threads: int) -> dict[str, float]:
    from tritorch.triton_cpu.target import host

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        source, to = torch.ones(_COPIED), torch.empty(_COPIED)
        target = get_target("cpu")
        mover = target.compile(_COPY, {"o_ptr": "*fp32", "x_ptr": "*fp32"}, {"BLOCK": _BLOCK})
        move = target.bind(mover, (_COPIED // _BLOCK,), [None, None])
        copy = _fastest(lambda: move(to.data_ptr(), source.data_ptr()))
        lanes = host().vector_bytes // 4
        programs = 4 * threads
        out = torch.empty(programs * lanes)
        signature = {"o_ptr": "*fp32", "rounds": "i32", "scale": "fp32"}
        kernel = target.compile(_MULTIPLY_ADD, signature, {"BLOCK": lanes})
        launch = target.bind(kernel, (programs,), [None, _ROUNDS, 0.5])
        added = _fastest(lambda: launch(out.data_ptr()))
    finally:
        torch.set_num_threads(before)
    operations = 2 * _VALUES * lanes * _ROUNDS * programs
    return {"gb_per_s": 8 * _COPIED / copy / 1e9, "gflop_per_s": operations / added / 1e9}


def share(
    moved: float,
    operations: float,
    seconds: float,
    peak: Mapping[str, float],
    facts: Mapping[str, Any],
) -> float | None:
    """How much of the roofline a call reaches: 1 is what memory or arithmetic allow at best.

    Args:
        facts: of the kernel's choice; they name its dtype.
    """
    if not moved and not operations:
        return None
    kind = str(facts.get("dtype") or facts.get("dtypes", ""))
    arithmetic = peak["gflop_per_s"]
    if "float16" in kind:  # bfloat16 too
        arithmetic = peak.get("half_gflop_per_s", arithmetic)
    least = max(moved / peak["gb_per_s"], operations / arithmetic) / 1e9
    return least / seconds
