"""Rows that one program of a GPU would not get through: sorted, searched and added up by many.

They run on the simulated GPU; that they compile for real ones is `tests/kernels/templates`' part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.kernels import scan_parts
from tritorch.kernels.templates.shuffle_gpu import plan_shuffle
from tritorch.runtime.cuda.target import CUDATarget

FEW = {"int64": [-(1 << 40), -3, 0, 2, (1 << 40) + 1], "int32": [-70_000, -3, 0, 2, 3]}


def few_values(shape: tuple[int, ...], kind: str) -> torch.Tensor:
    """So few distinct ones that stability shows; both zeros, infinities and nan among floats."""
    rng = np.random.default_rng(sum(shape))
    dtype = getattr(torch, kind)
    if not dtype.is_floating_point:
        few = FEW.get(kind, [0, 1])
    else:
        few = [0.0, -0.0, np.inf, -np.inf, np.nan, *np.round(rng.standard_normal(40) * 100)]
    return torch.tensor(np.array(few)[rng.integers(0, len(few), shape)], dtype=dtype)


def launched(target: CUDATarget, name: str) -> int:
    return sum(kernel.launches for kernel in target.kernels() if kernel.name == name)


def signs(x: torch.Tensor) -> np.ndarray:
    numbers = x.double().numpy() if x.is_floating_point() else x.numpy()
    return np.copysign(1, numbers)


@pytest.mark.parametrize(
    ("kind", "shape", "dim", "descending"),
    [
        ("float32", (2, 5000), 1, False),
        ("float32", (70_000,), 0, True),
        ("bfloat16", (4500, 2), 0, True),
        ("int64", (2, 4500), 1, True),
        ("int64", (70_000,), 0, False),
        ("int32", (2, 4500), 1, True),
        ("int32", (70_000,), 0, False),
        ("bool", (4500,), 0, False),
        ("uint8", (4500,), 0, True),
    ],
)
def test_sort(
    gpu: CUDATarget, kind: str, shape: tuple[int, ...], dim: int, descending: bool
) -> None:
    x = few_values(shape, kind)
    expected = torch.sort(x, dim, descending=descending)
    before = launched(gpu, "radix_scatter"), launched(gpu, "radix_offsets")
    found = torch.sort(x.cuda(), dim, descending=descending)
    bits = {"bool": 4, "uint8": 8, "bfloat16": 16, "int64": 64}.get(kind, 32)
    passes = launched(gpu, "radix_scatter") - before[0]
    assert passes == bits // 4
    assert launched(gpu, "radix_offsets") - before[1] == (passes if shape[0] == 70_000 else 0)
    np.testing.assert_array_equal(found.indices.cpu().numpy(), expected.indices.numpy())
    values = found.values.cpu()
    np.testing.assert_array_equal(signs(values), signs(expected.values))
    values, wanted = (v.float() if v.is_floating_point() else v for v in (values, expected.values))
    np.testing.assert_array_equal(values.numpy(), wanted.numpy())


def test_sort_of_the_farthest_integers(gpu: CUDATarget) -> None:
    values = np.random.default_rng(8).integers(-(1 << 63), 1 << 63, 4100)
    values[:2] = -(1 << 63), (1 << 63) - 1
    for descending in (False, True):
        x = torch.tensor(values)
        expected, found = (torch.sort(t, 0, descending) for t in (x, x.cuda()))
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(b.cpu().numpy(), a.numpy())


def test_shuffles(gpu: CUDATarget) -> None:
    found = []
    for place in ("cpu", "cuda"):
        torch.manual_seed(5)
        found.append(torch.randperm(9001, device=place).cpu().numpy())
    assert launched(gpu, "radix_settle")
    np.testing.assert_array_equal(found[1], found[0])
    rng = np.random.default_rng(6)  # many equal upper bits, equal keys, full words
    keys = (rng.integers(0, 400, 5000) << 53) | rng.integers(0, 3, 5000)
    keys[-3:] = (1 << 62) - 1
    there = torch.tensor(keys).cuda()
    plan = plan_shuffle(there._layout)
    order = torch.empty_like(there)
    plan.launch(order.data_ptr(), there.data_ptr())
    np.testing.assert_array_equal(order.cpu().numpy(), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize(
    ("kind", "shape", "dim", "k", "parts"),
    [
        ("float32", (3, 5000), 1, 50, 1),
        ("float32", (40_000,), 0, 20, 2),  # more equal ones than there is room for
        ("int64", (700, 2), 0, 9, 1),
    ],
)
def test_topk(
    gpu: CUDATarget, kind: str, shape: tuple[int, ...], dim: int, k: int, parts: int
) -> None:
    x = few_values(shape, kind)
    if parts == 1 and kind == "float32":
        x += torch.from_numpy(np.random.default_rng(1).standard_normal(shape).astype(np.float32))
    for largest in (True, False):
        before = launched(gpu, "topk_part")
        found = torch.topk(x.cuda(), k, dim, largest)
        assert launched(gpu, "topk_part") - before == parts
        expected = torch.topk(x, k, dim, largest)
        np.testing.assert_array_equal(found.indices.cpu().numpy(), expected.indices.numpy())
        np.testing.assert_array_equal(found.values.cpu().numpy(), expected.values.numpy())


@pytest.mark.parametrize(("shape", "dim"), [((2, 33_000), 1), ((30_000, 3), 0)])
def test_scans_of_parts(gpu: CUDATarget, shape: tuple[int, ...], dim: int) -> None:
    rng = np.random.default_rng(3)
    numbers = rng.integers(-3, 4, shape).astype(np.float32) / 4  # sums are exact
    before = {k: k.launches for k in gpu.kernels()}
    x = torch.from_numpy(numbers)
    there = x.cuda().requires_grad_()
    sums = there.cumsum(dim)
    np.testing.assert_array_equal(sums.detach().cpu().numpy(), numbers.cumsum(dim))
    (back,) = torch.autograd.grad(sums, there, there.detach())
    expected = np.flip(np.flip(numbers, dim).cumsum(dim), dim)
    np.testing.assert_array_equal(back.cpu().numpy(), expected)
    numbers.swapaxes(0, dim)[20_000:20_003] = np.nan
    greatest = np.maximum.accumulate(numbers, dim)
    here = (numbers == greatest) | (np.isnan(numbers) & np.isnan(greatest))
    last = np.maximum.accumulate(np.where(here, np.indices(shape)[dim], -1), dim)
    for place in ("cpu", "cuda"):  # blocks are combined in any order, the later of equal ones wins
        found = torch.from_numpy(numbers).to(place).cummax(dim)
        np.testing.assert_array_equal(found.values.cpu().numpy(), greatest)
        np.testing.assert_array_equal(found.indices.cpu().numpy(), last)
    names = {k.name for k in gpu.kernels() if k.launches > before.get(k, 0)}
    form = "row" if dim else "column"
    assert any("_of_parts_reverse" in name and form in name for name in names)
    assert any("cummax" in name and "_of_parts" in name and form in name for name in names)


def test_scans_of_chunks(gpu: CUDATarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_parts, "_CHUNK", 1 << 17)
    monkeypatch.setattr(scan_parts, "_PART", 2048)
    rng = np.random.default_rng(5)
    numbers = rng.integers(-3, 4, (2, 50_001)).astype(np.float32) / 4
    before = {k: k.launches for k in gpu.kernels()}
    x = torch.from_numpy(numbers).cuda().requires_grad_()
    sums = x.cumsum(1)
    (back,) = torch.autograd.grad(sums, x, x.detach())
    np.testing.assert_array_equal(sums.detach().cpu().numpy(), numbers.cumsum(1))
    expected = np.flip(np.flip(numbers, 1).cumsum(1), 1)
    np.testing.assert_array_equal(back.cpu().numpy(), expected)
    launches = [(k.name, k.launches - before.get(k, 0)) for k in gpu.kernels()]
    for suffix, chunks in (("_of_parts", 4), ("_of_parts_reverse", 4), ("_part", 8)):
        assert sum(n for name, n in launches if name.endswith(suffix)) == chunks


def test_rows_that_begin_between_multiples_of_16_bytes(gpu: CUDATarget) -> None:
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.standard_normal((5, 9001)).astype(np.float32))
    target = torch.tensor([0, 9000, 7, -100, 4500])
    before = {k: k.launches for k in gpu.kernels()}
    found = []
    for place in ("cpu", "cuda"):
        logits = x.to(place).requires_grad_()
        loss = torch.nn.functional.cross_entropy(logits, target.to(place))
        (gradient,) = torch.autograd.grad(loss, logits)
        found.append((loss.item(), gradient.cpu().numpy()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-5, atol=1e-9)
    used = {k.name: k.constants for k in gpu.kernels() if k.launches > before.get(k, 0)}
    assert all(used[f"cross_entropy_rows{part}"]["ODD"] for part in ("", "_backward"))


@pytest.mark.parametrize(
    ("kind", "shape", "dim"),
    [("float32", (3, 100), 1), ("bfloat16", (700, 2), 0), ("int64", (2, 3, 300), -1)],
)
def test_selections(gpu: CUDATarget, kind: str, shape: tuple[int, ...], dim: int) -> None:
    x = few_values(shape, kind)
    if x.is_floating_point():
        x.nan_to_num_(nan=5.0)
        x.view(-1)[1] = torch.nan
    n = shape[dim]
    programs: dict[str, Any] = {
        "least": lambda t: t.kthvalue(1, dim),
        "some": lambda t: t.kthvalue(n // 3, dim, keepdim=True),
        "greatest": lambda t: t.kthvalue(n, dim),
        "median": lambda t: t.median(dim),
        "nanmedian": lambda t: t.nanmedian(dim, keepdim=True),
    }
    for name, program in programs.items():
        before = launched(gpu, "select_rows")
        expected, found = program(x), program(x.cuda())
        assert launched(gpu, "select_rows") - before == 1
        np.testing.assert_array_equal(found[1].cpu().numpy(), expected[1].numpy(), err_msg=name)
        for a, b in zip(expected[:1], found[:1], strict=True):
            np.testing.assert_array_equal(signs(b.cpu()), signs(a), err_msg=name)
            a, b = (v.float() if v.is_floating_point() else v for v in (a, b.cpu()))
            np.testing.assert_array_equal(b.numpy(), a.numpy(), err_msg=name)
    if kind == "float32":
        gradients = []
        for place in ("cpu", "cuda"):
            there = x.to(place).requires_grad_()
            gradients.append(torch.autograd.grad(there.kthvalue(9, dim).values.sum(), there)[0])
        np.testing.assert_array_equal(gradients[1].cpu().numpy(), gradients[0].numpy())


@pytest.mark.parametrize(("n", "bound", "minlength"), [(9000, 40, 50), (5000, 3000, 0), (3, 1, 0)])
def test_counts(gpu: CUDATarget, n: int, bound: int, minlength: int) -> None:
    values = np.random.default_rng(n).integers(0, bound, 2 * n)
    before = launched(gpu, "count_values")
    found = torch.tensor(values).cuda()[::2].bincount(minlength=minlength)
    assert launched(gpu, "count_values") - before == 1
    expected = np.bincount(values[::2], minlength=minlength)
    np.testing.assert_array_equal(found.cpu().numpy(), expected)
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.tensor([3, -1]).cuda().bincount()


def test_what_rests_on_sorting_takes_long_rows(gpu: CUDATarget) -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 300, 6001).astype(np.float32))
    programs: dict[str, Any] = {
        "topk of many": lambda t: t.topk(2000, largest=False),
        "median": lambda t: t.median(0),
        "mode": lambda t: t.mode(),
        "unique": lambda t: t.unique(return_inverse=True, return_counts=True),
    }
    for name, program in programs.items():
        expected, found = program(x), program(x.cuda())
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(b.cpu().numpy(), a.numpy(), err_msg=name)
