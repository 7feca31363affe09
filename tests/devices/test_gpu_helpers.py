"""What GPUs compute in another way than CPUs (`kernels/gpu_helpers`), on a simulated one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch

PLACES = np.concatenate([
    np.linspace(-12, 12, 4001), np.logspace(-30, 30, 61), -np.logspace(-30, 30, 61), [0.0, -0.0],
]).astype(np.float32)  # fmt: skip
_INNER = math.sqrt(2 / math.pi)
_erfc = np.vectorize(math.erfc)


def _expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


#: function, the exact one, absolute and relative error for float32
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], float, float]] = {
    "gelu": (torch.nn.functional.gelu, lambda x: x * 0.5 * _erfc(-x * math.sqrt(0.5)), 2e-7, 3e-7),
    "gelu tanh": (
        lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        lambda x: x * _expit(2 * _INNER * (x + 0.044715 * x**3)), 5e-7, 5e-7,
    ),
    "tanh": (torch.tanh, np.tanh, 0.0, 3e-7),
    "sigmoid": (torch.sigmoid, _expit, 0.0, 2e-6),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, device_kind: str) -> None:
    function, exact, absolute, relative = FUNCTIONS[name]
    x = torch.from_numpy(PLACES).to("cuda")
    got = function(x).cpu().numpy().astype(np.float64)
    with np.errstate(over="ignore"):
        wanted = exact(PLACES.astype(np.float64))
    rare = np.abs(wanted) < 1e-36  # what is denormal may be 0
    wrong = np.abs(got - wanted) > absolute * np.maximum(np.abs(PLACES), 1) + relative * np.abs(
        wanted
    )
    assert not (wrong & ~rare).any(), (PLACES[wrong & ~rare][:5], got[wrong & ~rare][:5])
    assert np.abs(got[rare]).max() < 1e-35
    edges = torch.tensor([math.inf, -math.inf, math.nan]).to("cuda")
    here = function(torch.tensor([math.inf, -math.inf, math.nan]))
    assert np.array_equal(function(edges).cpu().numpy(), here.numpy(), equal_nan=True)


@pytest.mark.parametrize("shape", [(5,), (4099,), (37, 41), (3, 8, 5)])
def test_dropout_draws_the_same_numbers_on_both_sides(
    shape: tuple[int, ...], device_kind: str
) -> None:
    """Whole blocks share counters by four, tiles and CPUs do not: the numbers are the same."""
    kept = []
    for device in ("cpu", "cuda"):
        for turned in (False, True):
            torch.manual_seed(3)
            torch.rand(3)  # the offset is no multiple of 4
            x = torch.ones(shape[::-1] if turned else shape, device=device)
            x = x.permute(*range(len(shape))[::-1]) if turned else x
            kept.append(torch.nn.functional.dropout(x, 0.3).cpu().numpy())
    assert 0 < np.count_nonzero(kept[0]) < kept[0].size or shape == (5,)
    assert np.allclose(kept[0][kept[0] > 0], 1 / 0.7)
    for other in kept[1:]:
        assert np.array_equal(kept[0], other)


def test_dropout_drops_the_share_and_no_pattern(device_kind: str) -> None:
    torch.manual_seed(1)
    dropped = (torch.nn.functional.dropout(torch.ones(1 << 18), 0.25) == 0).numpy()
    quarters = dropped.reshape(-1, 4)
    error = 4 * math.sqrt(0.25 * 0.75 / len(quarters))
    assert np.abs(quarters.mean(0) - 0.25).max() < error
    together = np.corrcoef(quarters.astype(float).T) - np.eye(4)
    assert np.abs(together).max() < 4 / math.sqrt(len(quarters))


@pytest.mark.parametrize(
    ("shape", "dim", "kind"),
    [
        ((5, 4099), 1, "float32"), ((4099, 130), 0, "float32"), ((3, 70, 9), (0, 2), "float32"),
        ((1, 7), 0, "float32"), ((300, 257), None, "float64"), ((9, 3000), 1, "bfloat16"),
    ],
)  # fmt: skip
def test_variances_by_two_sums(
    shape: tuple[int, ...], dim: Any, kind: str, device_kind: str
) -> None:
    values = np.random.default_rng(2).random(shape).astype(np.float32) + 100 * (kind != "bfloat16")
    x = torch.from_numpy(values).to(getattr(torch, kind))
    values = x.double().numpy()
    found = torch.var_mean(x.to("cuda"), dim, correction=0)
    variance, mean = (part.cpu().double().numpy() for part in found)
    close = 0.01 if kind == "bfloat16" else 1e-4 if kind == "float32" else 1e-9
    assert variance == pytest.approx(values.var(dim), rel=close, abs=1e-12)
    assert mean == pytest.approx(values.mean(dim), rel=close / 100 if close < 0.01 else close)


@pytest.mark.parametrize("columns", [24, 1100])
def test_parameters_of_a_norm_from_many_groups(columns: int, device_kind: str) -> None:
    """More groups of rows than are added at a time, and columns beside a block of them."""
    rows = 2100 if columns == 24 else 150
    made = np.random.default_rng(4).standard_normal((2, rows, columns)).astype(np.float32)
    found = []
    for device in ("cpu", "cuda"):
        x, upstream = (torch.from_numpy(part).to(device) for part in made)
        weight, bias = (
            torch.linspace(-1, 2, columns, device=device).requires_grad_() for _ in range(2)
        )
        y = torch.nn.functional.layer_norm(x, (columns,), weight, bias)
        found.append([g.cpu().numpy() for g in torch.autograd.grad(y, (weight, bias), upstream)])
    for ours, theirs in zip(*found, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
