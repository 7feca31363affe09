"""Convolutions of pixels, as GPUs make them, on the simulated one against the CPU's of planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.devices.gpu_kernels import planning_gpu
from tritorch import triton_api
from tritorch.kernels.templates.convolution_pixels import divisor
from tritorch.runtime.cuda.target import CUDATarget

#: batch, channels, filters, height, width, kernel, stride, padding, dilation, transposed
CASES: tuple[tuple[Any, ...], ...] = (
    (2, 20, 16, 9, 8, (3, 3), 2, 1, 1, False),
    (1, 32, 16, 10, 11, (3, 2), (2, 3), (1, 2), (2, 1), False),
    (2, 16, 48, 5, 5, (1, 1), 1, 0, 1, False),
    (1, 16, 24, 5, 4, (3, 3), 2, 1, 1, True),
    (2, 3, 16, 9, 10, (5, 4), 2, 2, (2, 1), False),  # rows of taps together
)


def quarters(*shape: int) -> torch.Tensor:
    """Numbers whose products add up exactly."""
    numbers = np.random.default_rng(sum(shape)).integers(-3, 4, shape)
    return torch.from_numpy(numbers.astype(np.float32) / 4)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_of_pixels(gpu: CUDATarget, case: tuple[Any, ...], last: bool) -> None:
    n, c, o, height, width, kernel, stride, padding, dilation, transposed = case
    functional = torch.nn.functional
    convolve = functional.conv_transpose2d if transposed else functional.conv2d
    shape = (c, o, *kernel) if transposed else (o, c, *kernel)
    operands = quarters(n, c, height, width), quarters(*shape), quarters(o)
    found: list[list[torch.Tensor]] = []
    before = {k: k.launches for k in gpu.kernels()}
    for place in ("cpu", "cuda"):
        x, w, b = (t.to(place) for t in operands)
        if last:
            x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
        x, w, b = (t.detach().requires_grad_() for t in (x, w, b))
        y = convolve(x, w, b, stride=stride, padding=padding, dilation=dilation)
        upstream = quarters(*y.shape).to(place)
        gradients = torch.autograd.grad(y, (x, w, b), upstream, create_graph=True)
        again = torch.autograd.grad(gradients[1].sum(), x)
        found.append([y.detach(), *(t.detach() for t in (*gradients, *again))])
    for here, there in zip(*found):
        np.testing.assert_array_equal(there.cpu().numpy(), here.numpy())
    for i in (0, 1):  # the result and the input's gradient lie as on the CPU
        assert found[1][i].stride() == found[0][i].stride()
    names = {k.name for k in gpu.kernels() if k.launches > before.get(k, 0)}
    mine = {"matmul_tile"} if kernel == (1, 1) else {"convolution_pixels"}
    assert mine <= names and not names & {"convolution_tile", "convolution_weight_tile"}
    assert kernel == (1, 1) or "convolution_pixels_weight" in names


@pytest.mark.parametrize("size", [1, 2, 3, 7, 56, 641, 3136, 1 << 20, (1 << 31) - 1])
def test_division_by_multiplication(size: int) -> None:
    """As `divided` computes it, in 32 bits without a sign."""
    factor, shift = divisor(size)
    assert -(1 << 31) <= factor < 1 << 31
    most = (1 << 31) - 1
    numbers = {0, 1, size - 1, size, size * 5 - 1, size * 5, most - most % size - 1, most}
    for number in (n for n in numbers if 0 <= n <= most):
        product = (number * 2) * (factor % (1 << 32))
        assert (product >> 32) >> shift == number // size


def test_products_of_hopper_are_not_serialised() -> None:
    """Of a convolution and both gradients: warp groups wait for a block's products together."""
    with planning_gpu(90) as planner:
        x, w = (
            torch.empty(*shape, dtype=torch.bfloat16, device="cuda")
            .contiguous(memory_format=torch.channels_last)
            .requires_grad_()
            for shape in ((64, 128, 28, 28), (128, 128, 3, 3))
        )
        y = torch.nn.functional.conv2d(x, w, padding=1)
        torch.autograd.grad(y, (x, w), torch.empty_like(y))
    found = [k for k in planner.kernels if k.name.startswith("convolution_pixels")]
    kernels = {k.name: k for k in found if "BLOCK_M" in k.constants}
    assert set(kernels) == {"convolution_pixels", "convolution_pixels_weight"}
    for name, kernel in kernels.items():
        code = triton_api.compile_gpu(
            kernel.source, kernel.signature, kernel.constants, ("cuda", 90), kernel.options
        )
        text = triton_api.disassemble(code)
        products, waits = text.count("HGMMA."), text.count("WARPGROUP.DEPBAR")
        assert products >= 4 and waits * 2 <= products, f"{name}: {waits} waits, {products}"
