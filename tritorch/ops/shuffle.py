"""Channels to space and back: pixel shuffle, its inverse, and the shuffle of channel groups."""

from __future__ import annotations

from typing import Any

from tritorch.ops.declare import operation, takes
from tritorch.ops.memory import formatted
from tritorch.ops.views import permute, reshape
from tritorch.tensor import Tensor


def _check(name: str, input: Tensor, label: str, factor: int) -> None:
    if input._layout.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with "
            f"{input._layout.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive {label}, but got {factor}")


def _shuffle_axes(lead: int, order: tuple[int, ...]) -> tuple[int, ...]:
    return (*range(lead), *[lead + axis for axis in order])


def _numpy_pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    c, h, w = x.shape[-3:]
    r = upscale_factor
    parts = x.reshape(*x.shape[:-3], c // r**2, r, r, h, w)
    lead = x.ndim - 3
    turned = parts.transpose(_shuffle_axes(lead, (0, 3, 1, 4, 2)))
    return turned.reshape(*x.shape[:-3], c // r**2, h * r, w * r)


def _numpy_pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    c, h, w = x.shape[-3:]
    r = downscale_factor
    parts = x.reshape(*x.shape[:-3], c, h // r, r, w // r, r)
    turned = parts.transpose(_shuffle_axes(x.ndim - 3, (0, 2, 4, 1, 3)))
    return turned.reshape(*x.shape[:-3], c * r**2, h // r, w // r)


def _numpy_channel_shuffle(x: Any, groups: int) -> Any:
    parts = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    return parts.swapaxes(1, 2).reshape(x.shape)


@operation(
    "pooling",
    method=False,
    numpy=_numpy_pixel_shuffle,
    cases=[
        lambda make: ((make(2, 8, 2, 3), 2), {}),
        lambda make: ((make(9, 2, 2), 3), {}),
        lambda make: ((make(2, 1, 4, 3, 1), 2), {}),
    ],
)
@takes("all")
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels become space: (*, C r², H, W) to (*, C, H r, W r).

    Source: Shi et al., Real-Time Single Image and Video Super-Resolution, 2016.
    """
    _check("pixel_shuffle", input, "upscale_factor", upscale_factor)
    *lead, c, h, w = input._layout.shape
    r = upscale_factor
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    parts = reshape(input, *lead, c // (r * r), r, r, h, w)
    turned = permute(parts, *_shuffle_axes(len(lead), (0, 3, 1, 4, 2)))
    result: Tensor = reshape(turned, *lead, c // (r * r), h * r, w * r)
    return formatted(result, input)


@operation(
    "pooling",
    method=False,
    numpy=_numpy_pixel_unshuffle,
    cases=[
        lambda make: ((make(2, 2, 4, 6), 2), {}),
        lambda make: ((make(1, 3, 6), 3), {}),
        lambda make: ((make(2, 1, 1, 4, 2), 2), {}),
    ],
)
@takes("all")
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Space becomes channels: (*, C, H r, W r) to (*, C r², H, W)."""
    _check("pixel_unshuffle", input, "downscale_factor", downscale_factor)
    *lead, c, h, w = input._layout.shape
    r = downscale_factor
    for label, axis, size in (("height", -2, h), ("width", -1, w)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {label} to be divisible by downscale_factor, but "
                f"input.size({axis})={size} is not divisible by {r}"
            )
    parts = reshape(input, *lead, c, h // r, r, w // r, r)
    turned = permute(parts, *_shuffle_axes(len(lead), (0, 2, 4, 1, 3)))
    result: Tensor = reshape(turned, *lead, c * r * r, h // r, w // r)
    return formatted(result, input)


@operation(
    "pooling",
    method=False,
    numpy=_numpy_channel_shuffle,
    cases=[lambda make: ((make(2, 6, 3), 2), {}), lambda make: ((make(1, 6, 2, 2), 3), {})],
)
@takes("all")
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of `groups` groups in turn: (g, C / g) is transposed.

    Source: Zhang et al., ShuffleNet, 2017.
    """
    if input._layout.ndim < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got {input._layout.ndim}"
        )
    n, c, *rest = input._layout.shape
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if c % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups."
        )
    parts = reshape(input, n, groups, c // groups, *rest)
    order = (0, 2, 1, *range(3, len(rest) + 3))
    result: Tensor = reshape(permute(parts, *order), n, c, *rest)
    return formatted(result, input)
