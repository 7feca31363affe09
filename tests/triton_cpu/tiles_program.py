"""A program on a machine with AMX, emulated: products from tensors down, on two threads.

Run as a program by `test_tiles_allowed`, in a process of its own: all kernels of the process are
compiled for that machine.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tests.triton_cpu.emulated import STATE, WITH_TILES, emulated
from tests.triton_cpu.running import HOST
from tritorch.triton_cpu import llvm
from tritorch.triton_cpu import target as targets


def main() -> None:
    compile_object = llvm.compile_object

    def emulating(text: str, _target: Any, *rest: Any, **named: Any) -> bytes:
        return compile_object(emulated(text), HOST, *rest, **named)

    llvm.compile_object = emulating
    targets._host = lambda _setting: WITH_TILES  # type: ignore[assignment]
    import tritorch as torch

    torch.set_num_threads(2)
    generator = np.random.default_rng(0)
    # Small integers: every sum is exact.
    a, b = (generator.integers(-8, 9, shape) for shape in ((8, 40, 70), (8, 70, 32)))
    bfloats = [torch.tensor(x.astype(np.float32)).to(torch.bfloat16) for x in (a, b)]
    for _ in range(4):
        product = torch.bmm(*bfloats)
        expected = (a @ b).astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(product.to(torch.float32).numpy(), expected)
    bytes_a, bytes_b = (torch.tensor(x[0].astype(np.int8)) for x in (a, b))
    np.testing.assert_array_equal(torch._int_mm(bytes_a, bytes_b).numpy(), a[0] @ b[0])
    assert STATE.calls["tdpbf16ps"] and STATE.calls["tdpbssd"], STATE.calls
    assert not STATE.faults, STATE.faults
    print(f"{len(STATE.threads)} threads")


if __name__ == "__main__":
    main()
