"""Memory formats: the order in which dimensions lie in memory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import tritorch as torch
from tritorch.nn import functional as F


def image() -> torch.Tensor:
    return torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).float()


def test_channels_last_keeps_the_values_and_turns_the_strides() -> None:
    x = image()
    y = x.contiguous(memory_format=torch.channels_last)
    assert y.stride() == (60, 1, 15, 3)
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert not y.is_contiguous()
    assert not x.is_contiguous(memory_format=torch.channels_last)
    assert y.contiguous(memory_format=torch.channels_last) is y
    assert x.to(memory_format=torch.channels_last).stride() == y.stride()


def test_operations_stay_in_the_format() -> None:
    y = image().contiguous(memory_format=torch.channels_last)
    for result in (y + 1, y * y, y.exp(), y.clone(), torch.zeros_like(y), y.double()):
        assert result.is_contiguous(memory_format=torch.channels_last)
    assert y.clone(memory_format=torch.contiguous_format).is_contiguous()
    assert torch.zeros_like(y, memory_format=torch.contiguous_format).is_contiguous()
    assert torch.empty(1, 2, 3, 4, 5, memory_format=torch.channels_last_3d).stride() == (
        120, 1, 40, 10, 2,
    )  # fmt: skip


IMAGES = {
    "conv2d": lambda x: F.conv2d(x, torch.ones(5, 3, 3, 3), torch.ones(5), padding=1),
    "conv2d in groups": lambda x: F.conv2d(x, torch.ones(3, 1, 2, 2), groups=3, stride=2),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, torch.ones(3, 2, 2, 2)),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 2),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "relu": F.relu,
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(3, 7), mode="bilinear"),
    "pad": lambda x: F.pad(x, (1, 1, 2, 0)),
    "cat": lambda x: torch.cat([x, x + 1], 1),
    "flip": lambda x: x.flip(2),
    "reflect": lambda x: F.pad(x, (1, 2, 2, 1), "reflect"),
    "replicate": lambda x: F.pad(x, (1, 1, 0, 2), "replicate"),
    "group_norm": lambda x: F.group_norm(x, 3),
    "max_unpool2d": lambda x: F.max_unpool2d(*F.max_pool2d(x[..., :4], 2, return_indices=True), 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 3),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[..., :4], 2),
    "roll": lambda x: x.roll(1, 3),
    "stack": lambda x: torch.stack([x, x])[0],
    "with one channel": lambda x: torch.cat([x[:, :1], x], 1),
}

#: results that are row-major in PyTorch, whatever the strides of what they are made from
ROW_MAJOR = {
    "masked_fill": lambda x: x.masked_fill(x > 0, 1.0),
    "tril": torch.tril,
    "triu": lambda x: x.triu(1),
    "logsigmoid": F.logsigmoid,
    "scatter": lambda x: x.scatter(0, torch.zeros(1, 2, dtype=torch.int64), 1.0),
    "scatter_add": lambda x: x.scatter_add(0, torch.zeros(1, 2, dtype=torch.int64), x),
    "index_add": lambda x: x.index_add(0, torch.tensor([0]), x[:1]),
    "index_copy": lambda x: x.index_copy(0, torch.tensor([0]), x[:1]),
    "renorm": lambda x: x.renorm(2, 0, 1.0),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "normal": lambda x: torch.normal(x, x.abs()),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "diag_embed": lambda x: torch.diag_embed(x, 0, 0, 1),
    "one_hot": lambda x: F.one_hot((x > 0).long()),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
}


@pytest.mark.parametrize("name", ROW_MAJOR)
def test_results_that_are_row_major(name: str) -> None:
    """So `view` works on them; the values are those of a row-major operand."""
    x = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, 6.0]])
    torch.manual_seed(3)
    expected = ROW_MAJOR[name](x)
    torch.manual_seed(3)
    result = ROW_MAJOR[name](x.t().contiguous().t())
    assert result.is_contiguous()
    assert torch.allclose(result.view(-1).float(), expected.view(-1).float())


@pytest.mark.parametrize("name", IMAGES)
def test_images_stay_in_the_format(name: str) -> None:
    """Results and gradients of networks, which have the same values in both formats."""
    plain, last = image(), image().contiguous(memory_format=torch.channels_last)
    expected, result = (IMAGES[name](x.requires_grad_()) for x in (plain, last))
    assert expected.is_contiguous()
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result, expected, rtol=1e-5, atol=1e-5)
    for y in (expected, result):
        (y * y).sum().backward()
    assert plain.grad is not None
    assert last.grad is not None
    assert last.grad.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(last.grad, plain.grad, rtol=1e-5, atol=1e-5)


def test_the_format_of_weights_and_volumes_counts_too() -> None:
    weight = torch.ones(5, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    x = image().requires_grad_()
    y = F.conv2d(x, weight)
    assert y.is_contiguous(memory_format=torch.channels_last)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert grad.is_contiguous(memory_format=torch.channels_last)
    volume = torch.ones(1, 2, 3, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    for result in (F.conv3d(volume, torch.ones(2, 2, 2, 2, 2)), F.max_pool3d(volume, 2)):
        assert result.is_contiguous(memory_format=torch.channels_last_3d)


def test_gradients_come_back_in_any_format() -> None:
    x = image().requires_grad_()
    weight = image().flip(0)
    (x.contiguous(memory_format=torch.channels_last) * weight).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), weight.numpy())


def test_a_module_turns_what_has_four_dimensions() -> None:
    layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert layer.bias is not None
    assert layer.bias.is_contiguous()


def test_formats_print_and_pickle_and_refuse() -> None:
    assert repr(torch.channels_last) == "torch.channels_last"
    assert pickle.loads(pickle.dumps(torch.channels_last)) is torch.channels_last
    assert isinstance(torch.channels_last, torch.memory_format)
    with pytest.raises(RuntimeError, match="required rank 4 tensor"):
        torch.zeros(2, 3).contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="preserve memory format"):
        torch.zeros(2, 3).contiguous(memory_format=torch.preserve_format)
