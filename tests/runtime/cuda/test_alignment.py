"""Kernels are promised aligned addresses; others are launched with a kernel that takes any."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch import triton_api
from tritorch.kernel_source import KernelSource
from tritorch.kernels.hints import hinted
from tritorch.runtime.cuda.launcher import aligned_places

SIGNATURE = {"y_ptr": "*fp16", "x_ptr": "*fp16", "seed": "i64", "n": "i32", "x_stride": "i32",
             "size1": "i32"}  # fmt: skip


@pytest.mark.parametrize(
    ("n", "stride", "kinds"),
    [(64, 48, ("i32:16", "i32:16")), (40, 12, ("i32:8", "i32:4")), (7, -16, ("i32", "i32:16"))],
)
def test_hints(n: int, stride: int, kinds: tuple[str, str]) -> None:
    found = hinted("cuda", SIGNATURE, [None, 24, None, n, stride, 32])
    assert list(found.values()) == ["*fp16:16", "*fp16", "i64", *kinds, "i32"]
    assert hinted("cpu", SIGNATURE, [None] * 6) == SIGNATURE
    assert aligned_places(found, [None, 24, None, n, stride, 32]) == [0]


def launched(name: str) -> dict[bool, int]:
    """Launches of a kernel: those that were promised aligned addresses, and the others."""
    from tritorch.runtime import get_target

    counts = {True: 0, False: 0}
    for kernel in get_target("cuda").kernels():
        if kernel.name.startswith(name):
            promised = any(":" in kind and kind[0] == "*" for kind in kernel.signature.values())
            counts[promised] += kernel.launches
    return counts


def test_addresses_that_are_not_aligned() -> None:
    with simulated_gpu():
        x = torch.arange(97.0, device="cuda")
        x[:96].neg()
        before = launched("neg_")
        whole, part, pair = x[:96].neg(), x[1:].neg(), x[4:].neg()
        after = launched("neg_")
        for found, first, last in ((whole, 0, 96), (part, 1, 97), (pair, 4, 97)):
            np.testing.assert_array_equal(found.cpu().numpy(), -np.arange(first, last))
        assert {kind: after[kind] - before[kind] for kind in after} == {True: 2, False: 1}


def test_the_wrong_arguments_of_the_other_kernel() -> None:
    """Errors of the launch that takes over are raised."""
    with simulated_gpu() as (target, _):
        source = KernelSource(
            "one", "@triton.jit\ndef one(x_ptr, n):\n    tl.store(x_ptr + n, 1.0)\n"
        )
        kernel = target.compile(source, {"x_ptr": "*fp32:16", "n": "i32"}, {})
        launch = target.bind(kernel, (1,), [None, None])
        with pytest.raises(OverflowError):
            launch(64, 1 << 40)
        asked = []
        launch = target.bind(kernel, (1,), [None, None], otherwise=lambda *v: asked.append(v))
        launch(68, 3)
        assert asked == [(68, 3)]


def test_accesses_are_of_sixteen_bytes() -> None:
    text = (
        "@triton.jit\ndef double(y_ptr, x_ptr, n):\n"
        "    at = tl.program_id(0) * 1024 + tl.arange(0, 1024)\n"
        "    tl.store(y_ptr + at, 2 * tl.load(x_ptr + at, at < n), at < n)\n"
    )
    plain = {"y_ptr": "*fp32", "x_ptr": "*fp32", "n": "i32"}
    signature = hinted("cuda", plain, [None, None, 4096])
    code = triton_api.compile_gpu(KernelSource("double", text), signature, {}, ("cuda", 90))
    assert "ld.global.v4.b32" in str(code.assembly["ptx"])
