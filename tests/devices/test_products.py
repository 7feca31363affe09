"""Products as a Hopper GPU gets them: by descriptors, split along the inner dimension, or neither.

They run on the simulated GPU, and what they launch is compiled for real ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch import dtypes, triton_api
from tritorch.kernels import tuning
from tritorch.kernels.templates import matmul, matmul_gpu
from tritorch.kernels.templates.matmul_kernels import matmul_tile
from tritorch.layout import Layout
from tritorch.runtime.cuda import cubin
from tritorch.runtime.cuda.target import CUDATarget

RELU = "def epilogue(x):\n    return tl.where(x > 0, x, 0.0)\n"


def operand(*shape: int, turned: bool = False, dtype: Any = torch.float16) -> torch.Tensor:
    numbers = np.random.default_rng(sum(shape)).integers(-4, 5, shape).astype(np.float32) / 4
    if turned:
        return torch.tensor(numbers.swapaxes(-1, -2).copy(), dtype=dtype, device="cuda").mT
    return torch.tensor(numbers, dtype=dtype, device="cuda")


def run(a: torch.Tensor, b: torch.Tensor, *more: Any, **options: Any) -> tuple[Any, np.ndarray]:
    plan = matmul.plan(a._layout, b._layout, *(t._layout for t in more), **options)
    out = torch.empty(plan.outputs[0].shape, dtype=plan.outputs[0].dtype, device="cuda")
    numbers = (2.0, 3.0) if options.get("scaled") else ()
    plan.launch(*(t.data_ptr() for t in (out, a, b, *more)), *numbers)
    return plan, out.cpu().numpy().astype(np.float64)


def exact(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [t.cpu().double().numpy() for t in tensors]


@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_by_descriptors(gpu: CUDATarget, turned: str, batch: tuple[int, ...]) -> None:
    a = operand(*batch, 144, 72, turned="a" in turned)
    b = operand(*batch, 72, 208, turned="b" in turned)
    bias = operand(208) if batch else operand(144, 208)
    plan, found = run(a, b, bias, scaled=True, pasted_epilogue=RELU)
    (kernel,) = plan.kernels
    assert kernel.constants["COPIED"] and kernel.constants["BATCHED"] is bool(batch)
    assert kernel.constants["SAME_BIAS"] is bool(batch)
    x, y, z = exact(a, b, bias)
    np.testing.assert_allclose(found, np.maximum(2 * (x @ y) + 3 * z, 0), rtol=2e-3, atol=1e-3)


def plain_launches(gpu: CUDATarget) -> int:
    """Of products that read without descriptors."""
    found = [k for k in gpu.kernels() if k.name == "matmul_tile" and not k.constants["COPIED"]]
    return sum(kernel.launches for kernel in found)


def test_addresses_that_the_copy_engine_refuses(gpu: CUDATarget) -> None:
    rows = operand(145 * 72 + 8)
    a, b = rows[3 : 3 + 144 * 72].reshape(144, 72), operand(72, 208)
    before = plain_launches(gpu)
    plan, found = run(a, b)
    assert plan.kernels[0].constants["COPIED"]
    x, y = exact(a, b)
    np.testing.assert_allclose(found, x @ y, rtol=2e-3, atol=1e-3)
    assert plain_launches(gpu) == before + 1


@pytest.mark.parametrize(
    ("shape", "why"),
    [((144, 70, 208), "steps of 140 bytes"), ((144, 72, 203), "a result of 406 bytes a row")],
)
def test_steps_that_the_copy_engine_refuses(
    gpu: CUDATarget, shape: tuple[int, int, int], why: str
) -> None:
    m, k, n = shape
    plan, _ = run(operand(m, k), operand(k, n))
    assert not plan.kernels[0].constants["COPIED"], why


def test_few_tiles_are_split(gpu: CUDATarget) -> None:
    a, b, bias = operand(20, 9000), operand(9000, 32, turned=True), operand(20, 1)
    plan, found = run(a, b, bias, scaled=True, pasted_epilogue=RELU)
    tile, finish = plan.kernels
    assert tile.constants["SPLIT_K"] > 1 and finish.name == "matmul_finish"
    x, y, z = exact(a, b, bias)
    np.testing.assert_allclose(found, np.maximum(2 * (x @ y) + 3 * z, 0), rtol=2e-3, atol=1e-2)
    np.testing.assert_array_equal(found, run(a, b, bias, scaled=True, pasted_epilogue=RELU)[1])


@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_what_tensor_cores_want_side_by_side(gpu: CUDATarget, batch: tuple[int, ...]) -> None:
    """tf32 and bytes: an operand that many rows or columns multiply is copied turned."""
    a = operand(*batch, 300, 64, turned=True, dtype=torch.float32)
    b = operand(*batch, 64, 272, dtype=torch.float32)
    with torch.config(float32_matmul="high"):
        plan, found = run(a, b)
    first, second, product = plan.kernels
    assert first.name.startswith("copy") and second.name.startswith("copy")
    turned = product.constants["A_TURNED"], product.constants["B_TURNED"]
    assert turned == (False, True) and product.constants["COPIED"]
    x, y = exact(a, b)
    np.testing.assert_array_equal(found, x @ y)
    names = [k.name for k in run(a, b)[0].kernels]
    assert names == ["matmul_tile"], "exact products need no copies"


def layouts(kind: str, m: int, n: int, k: int, turned: bool) -> tuple[Layout, Layout]:
    place = torch.device("cuda")
    kinds = dtypes.BY_NAME[kind]
    b = Layout.of(kinds, (k, n), (1, k) if turned else (n, 1), place)
    return Layout.contiguous(kinds, (m, k), place), b


def planned(kind: str, precision: str, forced: dict[str, Any] | None = None) -> Any:
    """What the target is asked to compile for a large product."""
    asked: list[Any] = []
    if forced is not None:
        tuning.force({"matmul_tile": forced})
    try:
        with simulated_gpu() as (target, _), pytest.MonkeyPatch.context() as patch:
            noted = lambda *given: asked.append(given) or _Nothing()  # type: ignore # noqa: E731
            patch.setattr(target, "compile", noted)
            patch.setattr(target, "bind", lambda *given, **more: None)
            with torch.config(float32_matmul=precision):
                matmul.plan(*layouts(kind, 4096, 4096, 4096, True), out=None)
    finally:
        tuning.force({})
    return asked[0]


@pytest.mark.parametrize(
    ("kind", "precision", "instruction"),
    [
        ("bfloat16", "highest", "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16"),
        ("float32", "high", "wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32"),
        ("float8_e4m3fn", "highest", "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3"),
        ("float32", "highest", "fma.rn.f32"),
    ],
)
def test_instructions_of_hopper(kind: str, precision: str, instruction: str) -> None:
    """Large products: tensor cores, fed by the copy engine, no register spilled."""
    source, signature, constants, options = planned(kind, precision)
    code = triton_api.compile_gpu(source, signature, constants, ("cuda", 90), options)
    ptx = str(code.assembly["ptx"])
    assert instruction in ptx
    assert ("cp.async.bulk.tensor" in ptx) is (instruction[:5] == "wgmma")
    binary = code.assembly["cubin"]
    assert isinstance(binary, bytes)
    assert cubin.kernels(binary)["matmul_tile"].stack_bytes == 0
    assert code.metadata["shared"] <= 227 << 10


class _Nothing:
    name = "nothing"


def test_warps_that_only_copy() -> None:
    """Triton makes three groups of warps of four: one copies, two multiply."""
    chosen = {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "GROUP_M": 8, "COPIED": True,
              "SPECIALIZED": True, "SPLIT_K": 1, "num_warps": 4, "num_stages": 3}  # fmt: skip
    assert matmul_gpu.gpu_fits(**chosen, dtype="bfloat16")
    asked = planned("bfloat16", "highest", chosen)
    code = triton_api.compile_gpu(*asked[:3], ("cuda", 90), asked[3])
    assert code.metadata["num_warps"] == 12 and "setmaxnreg.dec" in str(code.assembly["ptx"])


def test_the_rule() -> None:
    def rule(m: int, n: int, k: int, dtype: str = "bfloat16", **changed: Any) -> dict[str, Any]:
        facts = {"multiprocessors": 132, "copies": True, "precision": "ieee"}
        return matmul_gpu.gpu_tile(m, n, k, 1, dtype, **{**facts, **changed})

    large = rule(8192, 8192, 8192)
    assert (large["BLOCK_M"], large["BLOCK_N"], large["COPIED"]) == (128, 256, True)
    assert not rule(8192, 8192, 8192, copies=False)["COPIED"]
    assert rule(64, 64, 16384)["SPLIT_K"] > 1
    most = rule(64, 64, 200_704)  # a tile, and a hundred thousand rows: every multiprocessor
    assert most["SPLIT_K"] >= 64
    row = rule(16, 8192, 8192, copies=True)
    waiting = 2 * (row["num_stages"] - 1) * (16 + row["BLOCK_N"]) * row["BLOCK_K"]
    assert waiting >= 40_000, "bytes a multiprocessor has under way, for 4.3 TB/s in all"
    assert rule(4096, 4096, 512)["SPLIT_K"] == 1
    for m, n, k in ((8192, 8192, 8192), (512, 512, 512), (16, 4096, 4096), (100, 30, 7)):
        for kind in ("bfloat16", "float32", "float64", "float8_e4m3fn"):
            for there in (True, False):
                chosen = rule(m, n, k, kind, copies=there and kind != "float64")
                assert matmul_gpu.gpu_fits(**chosen, dtype=kind), (m, n, k, kind, chosen)


def test_a_cpu_has_one_way() -> None:
    facts = {"m": 512, "n": 512, "k": 512, "batch": 1, "dtype": "float32",
             "a_turned": False, "b_turned": False}  # fmt: skip
    chosen = matmul_tile.tunable.default("cpu", facts)
    assert not chosen["COPIED"] and chosen["SPLIT_K"] == 1
    assert not any(c["COPIED"] for c in matmul_tile.tunable.candidates("cpu", facts))
    assert tuning.TUNABLES["matmul_tile"] is matmul_tile.tunable


def test_a_permission_to_round() -> None:
    """It reaches products that were planned before, on GPUs only."""
    a = torch.ones(128, 128)
    with simulated_gpu() as (target, _):
        x = a.cuda()

        def precisions() -> list[str]:
            before = {k: k.launches for k in target.kernels() if k.name == "matmul_tile"}
            x @ x
            a @ a
            return [
                k.constants["PRECISION"]
                for k in target.kernels()
                if k.name == "matmul_tile" and k.launches > before.get(k, 0)
            ]

        assert precisions() == ["ieee"] and not torch.backends.cuda.matmul.allow_tf32
        torch.set_float32_matmul_precision("high")
        try:
            assert precisions() == ["tf32"] and torch.backends.cuda.matmul.allow_tf32
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False
        assert precisions() == ["ieee"]
        assert torch.get_float32_matmul_precision() == "highest"
