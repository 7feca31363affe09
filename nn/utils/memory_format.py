"""Weights of convolutions in another order of dimensions in memory."""

from __future__ import annotations

from typing import Any

from tritorch.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d


def _convert(module: Any, kinds: tuple[type[Any], ...], memory_format: Any) -> Any:
    for found in module.modules():
        if isinstance(found, kinds):
            weight = found.weight
            weight.data = weight.detach().clone(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """The weights of all 2-dimensional convolutions in this memory format; gives the module."""
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """The weights of all 3-dimensional convolutions in this memory format; gives the module."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)
