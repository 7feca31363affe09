"""Attention as GPUs make it: on the simulated one against the CPU, and its machine code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.devices.gpu_kernels import planning_gpu
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch import triton_api
from tritorch.runtime.cuda.target import CUDATarget

attend = torch.nn.functional.scaled_dot_product_attention


@pytest.fixture(scope="module")
def gpu() -> Iterator[CUDATarget]:
    with simulated_gpu() as (target, _):
        yield target


#: batch, heads of queries, of keys; queries, keys, depth; options
CASES: tuple[tuple[Any, ...], ...] = (
    (1, 2, 2, 256, 256, 16, {"is_causal": True}),  # whole blocks and the diagonal
    (1, 4, 2, 130, 200, 16, {"is_causal": True, "enable_gqa": True, "scale": -0.4}),
    (2, 1, 1, 70, 300, 20, {"masked": True}),
    (1, 1, 1, 190, 140, 16, {"scale": 0.0}),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_of_halves(gpu: CUDATarget, case: tuple[Any, ...]) -> None:
    batch, heads, shared, queries, keys, depth, given = case
    options = {name: value for name, value in given.items() if name != "masked"}
    numbers = np.random.default_rng(depth + keys)
    shapes = ((heads, queries), (shared, keys), (shared, keys), (heads, queries))
    q, k, v, g = (
        torch.from_numpy(numbers.standard_normal((batch, *s, depth)).astype(np.float32)).half()
        for s in shapes
    )
    mask = torch.from_numpy(numbers.random((queries, keys)) < 0.7) if "masked" in given else None
    before = {kernel: kernel.launches for kernel in gpu.kernels()}
    found: list[list[np.ndarray]] = []
    for place, dtype in (("cpu", torch.float32), ("cuda", torch.float16)):
        x = [t.to(place, dtype).requires_grad_() for t in (q, k, v)]
        y = attend(*x, None if mask is None else mask.to(place), **options)
        gradients = torch.autograd.grad(y, x, g.to(place, dtype))
        found.append([t.detach().cpu().float().numpy() for t in (y, *gradients)])
    for here, there in zip(*found):
        np.testing.assert_allclose(there, here, rtol=1e-2, atol=4e-3 * np.abs(here).max())
    launched = {k.name for k in gpu.kernels() if k.launches > before.get(k, 0)}
    assert {"attention_forward", "attention_gpu_queries", "attention_gpu_keys"} <= launched


@pytest.mark.parametrize("depth", [64, 128])
def test_products_of_hopper_are_not_serialised(depth: int) -> None:
    """Warp groups wait for several products together, and keep their sums in registers."""
    with planning_gpu(90) as planner:
        x = [
            torch.empty(4, 16, 1024, depth, dtype=torch.bfloat16, device="cuda").requires_grad_()
            for _ in range(3)
        ]
        y = attend(*x, is_causal=True)
        torch.autograd.grad(y, x, torch.empty_like(y))
    kernels = {k.name: k for k in planner.kernels if k.name.startswith("attention")}
    assert len(kernels) == 3
    for name, kernel in kernels.items():
        code = triton_api.compile_gpu(
            kernel.source, kernel.signature, kernel.constants, ("cuda", 90), kernel.options
        )
        text = triton_api.disassemble(code)
        products, waits = text.count("HGMMA."), text.count("WARPGROUP.DEPBAR")
        assert products >= 16 and " HMMA." not in text, name
        assert waits * 3 <= products, f"{name}: {waits} waits for {products} products"
