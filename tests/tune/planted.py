"""A kernel of which some candidates are planted: wrong, hanging, crashing. Imported by workers."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

import tritorch as torch

RIGHT, WRONG_MASK, RACE, HANGS, CRASHES, BEYOND, REFUSED = range(7)


def _example(n: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, generator=generator)
    return {"x_ptr": x, "out_ptr": torch.zeros(n), "total_ptr": torch.zeros(1), "n": n}


def _grid(n: int, BLOCK: int, **_: Any) -> tuple[int]:
    return (triton.cdiv(n, BLOCK),)


def _reference(x_ptr: Any, out_ptr: Any, total_ptr: Any, n: int) -> dict[str, Any]:
    return {"out_ptr": 2 * x_ptr, "total_ptr": torch.full((1,), float(n))}


def _kernel(faults: list[int], blocks: list[int]) -> Any:
    return torch.kernels.kernel(
        space={"BLOCK": blocks, "FAULT": faults},
        key=["n"],
        grid=_grid,
        example=_example,
        reference=_reference,
    )


@triton.jit
def _body(x_ptr, out_ptr, total_ptr, n, BLOCK: tl.constexpr, FAULT: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    before = tl.load(total_ptr)
    last = n
    if FAULT == 1:
        last = n - 3
    x = tl.load(x_ptr + i, mask=i < last, other=0.0)
    if FAULT == 5:
        x += 0.0 * tl.load(x_ptr + i + 1_000_000)
    if FAULT == 3:
        while tl.load(total_ptr) < 1e30:
            tl.store(total_ptr, tl.load(total_ptr) * 0.0)
    if FAULT == 4:
        tl.store(out_ptr + (i.to(tl.int64) << 40), x)
    if FAULT == 6:
        tl.static_assert(False, "a candidate that does not compile")
    tl.store(out_ptr + i, 2 * x, mask=i < last)
    if FAULT == 2:
        # Every program adds to one place without an atomic, and takes its time in between.
        for _ in range(200):
            x = tl.sin(x) * 0.5
        tl.store(out_ptr + i, x, mask=i < last)
        tl.store(out_ptr + i, 2 * tl.load(x_ptr + i, mask=i < last), mask=i < last)
        tl.store(total_ptr, before + tl.sum((i < n).to(tl.float32), 0))
    else:
        tl.store(total_ptr, n.to(tl.float32))


@_kernel([RIGHT, WRONG_MASK, RACE, REFUSED], [256, 1024])
@triton.jit
def faulty(x_ptr, out_ptr, total_ptr, n, BLOCK: tl.constexpr, FAULT: tl.constexpr):
    _body(x_ptr, out_ptr, total_ptr, n, BLOCK, FAULT)


@_kernel([RIGHT, HANGS], [256])
@triton.jit
def hanging(x_ptr, out_ptr, total_ptr, n, BLOCK: tl.constexpr, FAULT: tl.constexpr):
    _body(x_ptr, out_ptr, total_ptr, n, BLOCK, FAULT)


@_kernel([RIGHT, CRASHES], [256, 1024])
@triton.jit
def crashing(x_ptr, out_ptr, total_ptr, n, BLOCK: tl.constexpr, FAULT: tl.constexpr):
    _body(x_ptr, out_ptr, total_ptr, n, BLOCK, FAULT)


@_kernel([RIGHT, BEYOND], [256])
@triton.jit
def beyond(x_ptr, out_ptr, total_ptr, n, BLOCK: tl.constexpr, FAULT: tl.constexpr):
    _body(x_ptr, out_ptr, total_ptr, n, BLOCK, FAULT)


@torch.kernels.kernel(space={"BLOCK": [64]})
@triton.jit
def undeclared(x_ptr, n, BLOCK: tl.constexpr):
    tl.store(x_ptr + tl.arange(0, BLOCK), 0.0, mask=tl.arange(0, BLOCK) < n)
