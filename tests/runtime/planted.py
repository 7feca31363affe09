"""Kernels with an access out of bounds, run under TRITORCH_DEBUG=bounds: `python -m
tests.runtime.planted` prints what each raised, as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton
import triton.language as tl

import tritorch as torch
from tritorch.runtime import get_target, set_num_threads

N = 1000


@triton.jit
def shifted_load(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i + shift, mask=i < n)
    tl.store(y_ptr + i, x, mask=i < n)


@triton.jit
def wrong_mask(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0)
    tl.store(y_ptr + i + shift, x, mask=i <= n)


@triton.jit
def no_mask(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < n, other=0.0))


@triton.jit
def in_a_loop(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    pointers = x_ptr + i
    for _ in range(0, n + shift, BLOCK):
        total += tl.load(pointers)
        pointers += BLOCK
    tl.store(y_ptr + i, total)


@triton.jit
def scalar(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    if n > 0:
        tl.store(y_ptr, tl.load(x_ptr + n - 1 + shift))


@triton.jit
def by_data(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    index = tl.load(x_ptr + i, mask=i < n, other=0.0).to(tl.int32) + shift
    tl.atomic_add(y_ptr + index, 1.0, mask=i < n)


@triton.jit
def swap(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    word = y_ptr.to(tl.pointer_type(tl.int32))
    tl.atomic_cas(word + n - 1 + shift, 0, 1)


@triton.jit
def rectangle(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, BLOCK)[None, :]
    inside = i * BLOCK + j < n
    tl.store(y_ptr + i * BLOCK + j + shift, 1.0, mask=inside)


@triton.jit
def descriptor(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    rows = tl.make_tensor_descriptor(
        x_ptr, shape=[(n + 99) // 100 + shift, 100], strides=[100, 1], block_shape=[4, 16]
    )
    for row in range(0, (n + 99) // 100 + shift, 4):
        tl.store(
            y_ptr + tl.arange(0, 4)[:, None] * 16 + tl.arange(0, 16)[None, :], rows.load([row, 96])
        )


@triton.jit
def either(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    pointer = x_ptr
    if shift != 7:
        pointer = y_ptr
    tl.store(pointer + n - 1 + shift, 1.0)


@triton.jit(noinline=True)
def outside(pointer, place):
    tl.store(pointer + place, 1.0)


@triton.jit
def in_a_function(x_ptr, y_ptr, n, shift, BLOCK: tl.constexpr):
    outside(y_ptr, n - 1 + shift)


PLANTED = {
    "past the end": (shifted_load, 1),
    "negative": (shifted_load, -1),
    "wrong mask": (wrong_mask, 0),
    "no mask": (no_mask, 0),
    "loop": (in_a_loop, 500),
    "scalar": (scalar, 1),
    "atomic": (by_data, N),
    "swap": (swap, 1),
    "two dimensions": (rectangle, -3),
    "descriptor": (descriptor, 1),
    "either": (either, 1 << 40),
    "function": (in_a_function, 1 << 40),
}
RIGHT = {
    "load": (shifted_load, 0), "by data": (by_data, 0), "scalar": (scalar, 0), "swap": (swap, 0),
    "two dimensions": (rectangle, 0), "descriptor": (descriptor, 0), "either": (either, 0),
    "function": (in_a_function, 0), "loop": (in_a_loop, 0),
}  # fmt: skip


def run(kernel: Any, shift: int) -> dict[str, Any]:
    """Launch on tensors of N elements; what was raised, and whether y is as it was."""
    n = 960 if kernel is in_a_loop and not shift else N
    x, y = torch.zeros(N), torch.zeros(N)
    wide = "i64" if abs(shift) > N else "i32"
    signature = {"x_ptr": "*fp32", "y_ptr": "*fp32", "n": "i32", "shift": wide}
    target = get_target("cpu")
    compiled = target.compile(kernel, signature, {"BLOCK": 64})
    grid = 1 if kernel in (scalar, swap, rectangle, in_a_loop, descriptor) else 16
    launch = target.bind(compiled, (grid,), [None] * 4)
    found: dict[str, Any] = {"error": None}
    try:
        launch(x._address, y._address, n, shift)
    except IndexError as error:
        found = {"error": str(error), "kind": type(error).__name__}
    return found | {"written": int(np.count_nonzero(y.numpy()))}


def main() -> None:
    """Everything once."""
    set_num_threads(1)
    report = {f"planted: {name}": run(*case) for name, case in PLANTED.items()}
    report |= {f"right: {name}": run(*case) for name, case in RIGHT.items()}
    set_num_threads(2)
    report["parallel"] = run(shifted_load, 1)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
