"""What differed from PyTorch 2.13 once: the expected values are PyTorch's own, as literals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch.tensor import Tensor


def grid() -> Tensor:
    """0..11 in three rows."""
    return torch.arange(12.0).reshape(3, 4)


# ---- indexing


def test_a_list_of_lists_is_a_tuple_of_indices() -> None:
    x = grid()
    with pytest.warns(UserWarning, match="use x\\[tuple\\(seq\\)\\]"):
        assert x[[[0, 1], [1, 2]]].tolist() == [1.0, 6.0]
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        assert x[[torch.tensor(1), torch.tensor(2)]].item() == 6.0
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        x[[[0, 1], [1, 2]]] = -1
    assert x[0].tolist() == [0.0, -1.0, 2.0, 3.0]
    assert grid()[[0, 2]].shape == (2, 4)


def test_numpy_arrays_and_several_ellipses_index() -> None:
    assert grid()[np.array([0, 2])].tolist() == grid()[[0, 2]].tolist()
    assert grid()[np.int64(1)].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert grid()[..., ...].shape == (3, 4)


@pytest.mark.parametrize(
    ("where", "strides"),
    [((None,), (12, 4, 1)), ((..., None), (4, 1, 1)), ((1, None), (4, 1)), ((None, 1), (12, 1))],
)
def test_strides_of_new_dimensions(where: Any, strides: tuple[int, ...]) -> None:
    assert grid()[where].stride() == strides


def test_items_cannot_be_deleted() -> None:
    x = grid()
    with pytest.raises(TypeError, match="does not support deleting items"):
        del x[0]


# ---- promotion and numbers


@pytest.mark.parametrize(
    "subtract",
    [
        lambda: torch.tensor([1]) - torch.tensor([True]),
        lambda: torch.tensor([1.0]) - True,
        lambda: 1 - torch.tensor([True]),
    ],
)
def test_no_bool_is_subtracted(subtract: Any) -> None:
    with pytest.raises(RuntimeError, match="with a bool tensor is not supported"):
        subtract()


def test_dtypes_of_results() -> None:
    assert torch.square(torch.tensor([True, False])).dtype is torch.int64
    truth = torch.tensor([0, 2], dtype=torch.uint8)
    assert truth.any().dtype is torch.uint8
    assert truth.any().item() == 1
    assert truth.all().dtype is torch.uint8
    assert torch.zeros(2, dtype=float).dtype is torch.float64
    assert torch.nanmean(torch.tensor([1.0, math.nan]), dtype=torch.float64).dtype is torch.float64


def test_unary_plus() -> None:
    assert (+torch.tensor([1.0, -2.0])).tolist() == [1.0, -2.0]
    with pytest.raises(RuntimeError, match="on a bool tensor is not supported"):
        +torch.tensor([True])


def test_a_fraction_filled_into_integers_is_cut_off() -> None:
    x = torch.tensor([3, 4])
    assert x.masked_fill(x > 3, 0.5).tolist() == [3, 0]


def test_several_elements_are_no_number() -> None:
    with pytest.raises(ValueError, match="only one element tensors can be converted"):
        float(torch.tensor([1, 2]))


def test_softmax_computes_in_the_dtype_asked_for() -> None:
    found = torch.softmax(torch.tensor([0.1, 0.2, 0.7]), 0, dtype=torch.float64)
    expected = [0.25462852946674486, 0.28140804609834513, 0.46396342443491]
    assert found.tolist() == pytest.approx(expected, rel=1e-14)


# ---- names, errors, memory


def test_numpy_names_of_arguments() -> None:
    x = grid()
    assert x.sum(axis=0).tolist() == [12.0, 15.0, 18.0, 21.0]
    assert x.mean(axis=-1, keepdims=True).tolist() == [[1.5], [5.5], [9.5]]
    assert x.max(axis=1).indices.tolist() == [3, 3, 3]
    assert x.sort(axis=0, descending=True).values[0].tolist() == [8.0, 9.0, 10.0, 11.0]
    assert torch.concat([x, x], axis=1).shape == (3, 8)
    assert torch.stack([x, x], axis=-1).shape == (3, 4, 2)


def test_dimensions_of_scalars_are_checked() -> None:
    with pytest.raises(IndexError, match=r"expected to be in range of \[-1, 0\], but got 5"):
        torch.tensor(1.5).sum(5)
    with pytest.raises(RuntimeError, match=r"zero-dimensional tensor .* cannot be concatenated"):
        torch.cat([torch.tensor(1.0)])
    with pytest.raises(IndexError, match="Expected reduction dim to be specified"):
        torch.zeros(0, 3).argmax()


def test_expanded_tensors_can_be_filled() -> None:
    x = torch.ones(2, 1).expand(2, 3)
    x.zero_()
    assert x.tolist() == [[0.0] * 3] * 2


def test_contiguous_clone() -> None:
    assert grid().t().clone().stride() == (1, 4)
    copy = grid().t().clone(memory_format=torch.contiguous_format)
    assert copy.stride() == (3, 1)
    assert copy.tolist() == grid().t().tolist()


def test_modules_that_programs_use_without_importing_them() -> None:
    assert torch.utils.data.DataLoader(torch.utils.data.TensorDataset(grid()), 2)
    torch.backends.cudnn.benchmark = True
    assert torch.backends.mps.is_available() is False
    assert grid().layout == torch.strided


def test_reprs_of_limits() -> None:
    assert str(torch.finfo(torch.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, "
        "smallest_normal=1.17549e-38, tiny=1.17549e-38, dtype=float32)"
    )
    assert str(torch.iinfo(torch.int32)) == "iinfo(min=-2.14748e+09, max=2.14748e+09, dtype=int32)"


# ---- padding


@pytest.mark.parametrize(
    ("amounts", "options", "expected", "gradient"),
    [
        ((1, 2), {}, [[0, 1, 2, 3, 0, 0], [0, 4, 5, 6, 0, 0]], [[2, 3, 4], [8, 9, 10]]),
        ((-1, 1), {"value": 9}, [[2, 3, 9], [5, 6, 9]], [[0, 1, 2], [0, 4, 5]]),
        (
            (0, 1, 1, 0),
            {"value": 7.0},
            [[7, 7, 7, 7], [1, 2, 3, 7], [4, 5, 6, 7]],
            [[5, 6, 7], [9, 10, 11]],
        ),
        ((1, 1), {"mode": "reflect"}, [[2, 1, 2, 3, 2], [5, 4, 5, 6, 5]], [[2, 9, 4], [7, 24, 9]]),
        ((2, 0), {"mode": "replicate"}, [[1, 1, 1, 2, 3], [4, 4, 4, 5, 6]],
         [[6, 4, 5], [21, 9, 10]]),
        ((1, 2), {"mode": "circular"}, [[3, 1, 2, 3, 1, 2], [6, 4, 5, 6, 4, 5]],
         [[7, 9, 5], [19, 21, 17]]),
    ],
)  # fmt: skip
def test_pad(amounts: Any, options: Any, expected: Any, gradient: Any) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    found = torch.nn.functional.pad(x, amounts, **options)
    assert found.tolist() == expected
    (found * torch.arange(1.0, found.numel() + 1).reshape(found.shape)).sum().backward()
    assert x.grad.tolist() == gradient


def test_pad_says_what_is_wrong() -> None:
    pad = torch.nn.functional.pad
    with pytest.raises(RuntimeError, match="must be divisible by 2"):
        pad(grid(), (1,))
    with pytest.raises(RuntimeError, match="less than or equal to two times the input dimension"):
        pad(grid(), (1,) * 6)
    with pytest.raises(RuntimeError, match="should be less than the corresponding input dimension"):
        pad(grid(), (4, 0), mode="reflect")
    with pytest.raises(NotImplementedError, match="Unrecognised padding mode nearest"):
        pad(grid(), (1, 1), mode="nearest")


# ---- attention


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2.40111208, 1.99302030]),
        ({"is_causal": True}, [1.0, 1.33023834]),
        ({"attn_mask": [[True, False, True], [False, False, False]]}, [2.5, 0.0]),
        ({"attn_mask": [[0.0, -math.inf, 0.0], [-math.inf] * 3]}, [2.5, 0.0]),
        ({"scale": 1.0}, [2.42231894, 1.84776628]),
    ],
)
def test_attention(options: dict[str, Any], expected: list[float]) -> None:
    query = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], requires_grad=True)
    key = torch.tensor([[[1.0, 2.0], [0.0, 1.0], [1.0, 1.0]]])
    value = torch.tensor([[[1.0], [2.0], [4.0]]])
    if "attn_mask" in options:
        options = {"attn_mask": torch.tensor(options["attn_mask"])}
    attend = torch.nn.functional.scaled_dot_product_attention
    found = attend(query, key, value, **options)
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    found.sum().backward()
    assert bool(query.grad.isfinite().all())


def test_attention_with_shared_heads() -> None:
    query, key = torch.randn(2, 4, 3, 5), torch.randn(2, 2, 6, 5)
    attend = torch.nn.functional.scaled_dot_product_attention
    found = attend(query, key, key, enable_gqa=True)
    for head in range(4):
        one = attend(query[:, head], key[:, head // 2], key[:, head // 2])
        assert torch.allclose(found[:, head], one, atol=1e-6)
    with pytest.raises(RuntimeError, match="attn_mask should not be set when is_causal"):
        attend(query, query, query, torch.ones(3, 3).bool(), is_causal=True)


def test_norms() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    assert torch.linalg.norm(x, dim=1).tolist() == [5.0, 5.0]
    assert torch.linalg.norm(x).item() == pytest.approx(math.sqrt(50), rel=1e-6)
    assert torch.linalg.vector_norm(x, 1, dim=(0, 1), keepdim=True).tolist() == [[12.0]]
    assert torch.linalg.norm(x[0], math.inf).item() == 4.0
    with pytest.raises(RuntimeError, match="Expected a floating point or complex tensor"):
        torch.tensor([1, 2]).norm()
