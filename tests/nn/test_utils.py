"""nn.utils and the small layers; the expected values are PyTorch 2.13's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tritorch as torch
from tritorch import nn


def with_gradients() -> list[torch.Tensor]:
    x = torch.tensor([3.0, 0.0], requires_grad=True)
    y = torch.tensor([[4.0]], requires_grad=True)
    ((x * x).sum() / 2 + (y * y).sum() / 2).backward()
    return [x, y, torch.ones(1, requires_grad=True)]


def test_clip_grad_norm() -> None:
    tensors = with_gradients()
    assert nn.utils.clip_grad_norm_(tensors, 1.0).item() == 5.0
    assert tensors[0].grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-6)
    assert tensors[1].grad.tolist() == [[pytest.approx(0.8, rel=1e-6)]]
    tensors = with_gradients()
    assert nn.utils.clip_grad_norm_(tensors, 9.0, norm_type=float("inf")).item() == 4.0
    assert tensors[0].grad.tolist() == [3.0, 0.0]
    assert nn.utils.clip_grad_norm_(torch.ones(1), 1.0).item() == 0.0


@pytest.mark.parametrize("count", [1, 40])
def test_clip_grad_norm_is_three_launches(count: int) -> None:
    tensors = [torch.ones(n + 1) for n in range(count)]
    for tensor in tensors:
        tensor.grad = torch.ones_like(tensor)
    nn.utils.clip_grad_norm_(tensors, 1.0)
    before = torch.kernels.stats().launches
    nn.utils.clip_grad_norm_(tensors, 0.5)
    assert torch.kernels.stats().launches - before == 3


def test_clip_grad_norm_of_infinite_gradients() -> None:
    x = torch.ones(1, requires_grad=True)
    (x * float("inf")).sum().backward()
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        nn.utils.clip_grad_norm_(x, 1.0, error_if_nonfinite=True)


def test_clip_grad_value() -> None:
    tensors = with_gradients()
    nn.utils.clip_grad_value_(tensors, 3.5)
    assert [t.grad.tolist() for t in tensors[:2]] == [[3.0, 0.0], [[3.5]]]


def test_parameters_as_a_vector() -> None:
    x, y, _ = with_gradients()
    assert nn.utils.parameters_to_vector([x, y]).tolist() == [3.0, 0.0, 4.0]
    nn.utils.vector_to_parameters(torch.tensor([1.0, 2.0, 5.0]), [x, y])
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [[5.0]])
    assert x.requires_grad


@pytest.mark.parametrize(
    ("layer", "text", "expected"),
    [
        (nn.SELU(), "SELU()", [-1.1113307, 0.0, 1.0507010, 2.1014020]),
        (nn.CELU(0.5), "CELU(alpha=0.5)", [-0.4323324, 0.0, 1.0, 2.0]),
        (nn.Hardswish(), "Hardswish()", [-0.3333333, 0.0, 0.6666667, 1.6666666]),
        (nn.Hardsigmoid(), "Hardsigmoid()", [0.3333333, 0.5, 0.6666667, 0.8333333]),
        (nn.LogSigmoid(), "LogSigmoid()", [-1.3132616, -0.6931472, -0.3132617, -0.1269280]),
        (nn.Softsign(), "Softsign()", [-0.5, 0.0, 0.5, 0.6666667]),
        (nn.PReLU(), "PReLU(num_parameters=1)", [-0.25, 0.0, 1.0, 2.0]),
        (nn.GLU(), "GLU(dim=-1)", [-0.7310586, 0.0]),
        (nn.Softmin(dim=0), "Softmin(dim=0)", [0.6439143, 0.2368828, 0.0871443, 0.0320586]),
        (nn.RMSNorm(4), "RMSNorm((4,), eps=None, elementwise_affine=True)",
         [-0.8164966, 0.0, 0.8164966, 1.6329931]),
    ],
)  # fmt: skip
def test_layer(layer: nn.Module, text: str, expected: list[float]) -> None:
    assert repr(layer) == text
    found: Any = layer(torch.tensor([-1.0, 0.0, 1.0, 2.0])).tolist()
    assert found == pytest.approx(expected, abs=2e-6)


def test_losses() -> None:
    x, y = torch.tensor([0.0, 1.0, 4.0]), torch.tensor([0.2, 0.5, 1.0])
    assert nn.HuberLoss(delta=0.5)(x, y).item() == pytest.approx(0.5066667, rel=1e-6)
    assert nn.KLDivLoss(reduction="sum")(x, y).item() == pytest.approx(-5.168461, rel=1e-6)
    assert nn.KLDivLoss(log_target=True)(x, y).item() == pytest.approx(-2.9116418, rel=1e-6)
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        nn.KLDivLoss(reduction="most")


def test_equal_neighbours_are_printed_once() -> None:
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
    assert repr(layers) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"
    assert repr(nn.ModuleList()) == "ModuleList()"
    assert "bias=False" in repr(nn.LayerNorm(3, bias=False))


def test_threads_clip_their_own_gradients() -> None:
    """Gradients of the same layouts in two threads, large enough for the threads to overlap."""
    size = 400_000

    def train(value: float) -> set[Any]:
        parameters = [torch.ones(size, requires_grad=True) for _ in range(2)]
        found = set()
        for _ in range(20):
            for parameter in parameters:
                parameter.grad = torch.full((size,), value)
            norm = torch.nn.utils.clip_grad_norm_(parameters, 1e9).item()
            torch.nn.utils.clip_grad_value_(parameters, value / 2)
            found.add((round(norm / value, 2), *(p.grad[-1].item() / value for p in parameters)))
        return found

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(train, [2.0, 8.0])) == [{(round((2 * size) ** 0.5, 2), 0.5, 0.5)}] * 2
