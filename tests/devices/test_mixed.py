"""Tensors of two devices in one operation: an error that names both, or a number of the CPU."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch

#: `c` is on the CPU, `g` on the device; `ci`, `gi` are integers, `cb`, `gb` masks, `z` a number
REFUSED = """
c + g;  g < c;  g.clone().add_(c);  torch.add(g, g, out=c.clone());  torch.where(gb, c, g);  c + g[0, 0]
z.clone().add_(g[0, 0]);  torch.clamp(g, c, g);  c @ g.T;  torch.mv(g, c[0]);  torch.addmm(c[:, :2], g, g.T)
torch.einsum("ij,kj->ik", c, g);  F.linear(g, c);  F.linear(g, g, c[:, 0]);  torch.nn.Linear(3, 2)(g)
F.conv2d(g[None, None], c[None, None, :1, :1]);  torch.cat([c, g]);  torch.stack([z, g[0, 0]])
torch.gather(g, 0, ci[:, None]);  torch.scatter_add(g, 0, gi[:, None], c);  torch.index_select(g, 0, ci)
torch.index_select(g, 0, ci[0]);  torch.index_add(g, 0, gi, c);  torch.take(g, ci);  g.clone().index_put_((gi,), c)
c[gi];  g.clone().__setitem__(gi, c);  torch.masked_select(g, cb);  g.masked_fill(cb, 1.0);  F.embedding(ci, g)
F.embedding(gi, c);  F.layer_norm(g, (3,), c[0]);  F.rms_norm(g, (3,), c[0]);  F.group_norm(g, 3, c[0])
F.batch_norm(g, c[0], c[0]);  F.cross_entropy(g, ci);  F.nll_loss(g, ci);  F.mse_loss(g, c)
F.scaled_dot_product_attention(c[None], g[None], g[None]);  torch.searchsorted(c[0], g[0])
torch.cdist(c, g);  torch.linalg.solve(c[:, :2], g[:, :2]);  torch.bincount(gi, c[0, :2])
torch.repeat_interleave(g, ci, 0);  torch.scatter_reduce(g, 0, gi[:, None], c, "sum");  torch.nn.GRUCell(3, 2)(g)
"""  # noqa: E501
REFUSED_ONES = [one.strip() for one in REFUSED.replace("\n", ";").split(";") if one.strip()]


def places() -> dict[str, Any]:
    c, ci = torch.arange(6.0).reshape(2, 3), torch.tensor([0, 1])
    g, gi = c.to("cuda"), ci.to("cuda")
    return {
        "torch": torch, "F": torch.nn.functional, "c": c, "g": g, "ci": ci, "gi": gi, "cb": c > 2,
        "gb": g > 2, "z": torch.tensor(2.0),
    }  # fmt: skip


@pytest.mark.parametrize("expression", REFUSED_ONES)
def test_two_devices_are_refused(expression: str, device_kind: str) -> None:
    with pytest.raises(RuntimeError, match="device") as caught:
        eval(expression, places())
    assert "cuda:0" in str(caught.value) and "cpu" in str(caught.value)


def test_the_error_names_the_operation(device_kind: str) -> None:
    expected = (
        r"index_select: Expected all tensors to be on the same device, but found at least two "
    )
    with pytest.raises(RuntimeError, match=expected + "devices, cuda:0 and cpu! Move one"):
        eval("torch.index_select(g, 0, ci)", places())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("g[0] + z", [2.0, 3.0, 4.0]),
        ("z ** g[0]", [1.0, 2.0, 4.0]),
        ("torch.where(gb, z, g)[1]", [2.0, 2.0, 2.0]),
        ("g[0] + torch.tensor(1, dtype=torch.float64)", [1.0, 2.0, 3.0]),
        ("g[0].clone().mul_(z)", [0.0, 2.0, 4.0]),
        ("torch.sub(g[1], z, out=torch.empty(3, device='cuda'))", [1.0, 2.0, 3.0]),
        ("g.masked_fill(gb, z)[1]", [2.0, 2.0, 2.0]),
        ("torch.addcmul(g[0], g[0], z)", [0.0, 3.0, 6.0]),
        ("g[ci][1]", [3.0, 4.0, 5.0]),
        ("g[[1, 0]][0]", [3.0, 4.0, 5.0]),
        ("g[cb]", [3.0, 4.0, 5.0]),
        ("g[:, [2]][:, 0]", [2.0, 5.0]),
    ],
)
def test_numbers_and_indices_of_the_cpu_are_taken_along(
    expression: str, expected: list[float], device_kind: str
) -> None:
    result = eval(expression, places())
    assert result.is_cuda and result.dtype is torch.float32
    assert result.tolist() == expected


def test_writing_with_numbers_and_indices_of_the_cpu(device_kind: str) -> None:
    g = torch.zeros(4, device="cuda")
    g[torch.tensor([1, 3])] = torch.tensor(5.0)
    g[[0]] = 2
    g[2:3] = torch.tensor([7.0])
    assert g.tolist() == [2.0, 5.0, 7.0, 5.0]


def test_the_gradient_of_a_number_goes_back(device_kind: str) -> None:
    g = torch.tensor([1.0, 2.0, 3.0], device="cuda", requires_grad=True)
    z = torch.tensor(2.0, requires_grad=True)
    (z * g).sum().backward()
    assert not z.grad.is_cuda and z.grad.item() == 6.0
    assert g.grad.tolist() == [2.0, 2.0, 2.0]
