"""Tensors in notebooks: a heading and the first values."""

from __future__ import annotations

import re

import tritorch as torch


def cells(page: str) -> list[str]:
    return re.findall(r"<td[^>]*>([^<]*)</td>", page)


def test_values() -> None:
    page = torch.tensor([[1.0, 2.5], [float("nan"), -3e9]])._repr_html_()
    assert cells(page) == ["1", "2.5", "nan", "-3e+09"]
    assert "<b>Tensor</b>" in page and "(2, 2) · float32 · cpu" in page
    assert cells(torch.tensor(True)._repr_html_()) == ["True"]
    assert cells(torch.tensor([3, 4])._repr_html_()) == ["3", "4"]
    assert cells(torch.empty(0, 3)._repr_html_()) == []


def test_large_ones_are_cut() -> None:
    page = torch.arange(2 * 20 * 30).reshape(2, 20, 30)._repr_html_()
    found = cells(page)
    assert len(found) == 7 * 9 and found[:2] == ["0", "1"] and found[8] == "…"
    assert set(found[-9:]) == {"…"} and "[0, :, :]" in page


def test_gradients() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert "<b>Parameter</b>" in weight._repr_html_() and "requires_grad" in weight._repr_html_()
    assert "grad_fn=MulBackward0" in (weight * 2)._repr_html_()
