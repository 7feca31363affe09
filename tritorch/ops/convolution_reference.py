"""Convolutions in NumPy: the declared references, one term of the sum after the other."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def _each(value: Any, rank: int) -> tuple[int, ...]:
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * rank if len(given) == 1 else given


def numpy_convolution(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """conv1d to conv3d."""
    rank = w.ndim - 2
    if x.ndim == rank + 1:
        return numpy_convolution(x[None], w, b, stride, padding, dilation, groups)[0]
    stride, dilation = _each(stride, rank), _each(dilation, rank)
    reach = [d * (k - 1) for d, k in zip(dilation, w.shape[2:])]
    if isinstance(padding, str):
        frame = [(r // 2, r - r // 2) if padding == "same" else (0, 0) for r in reach]
    else:
        frame = [(p, p) for p in _each(padding, rank)]
    padded = np.pad(x, [(0, 0), (0, 0), *frame])
    sizes = [(n - r - 1) // s + 1 for n, r, s in zip(padded.shape[2:], reach, stride)]
    grouped = w.reshape(groups, -1, *w.shape[1:])
    out = np.zeros((x.shape[0], groups, grouped.shape[1], *sizes), np.result_type(x, w))
    for tap in itertools.product(*map(range, w.shape[2:])):
        part = padded[(slice(None), slice(None), *_meets(tap, stride, dilation, sizes))]
        part = part.reshape(x.shape[0], groups, -1, *sizes)
        out += np.einsum("ngc...,gmc->ngm...", part, grouped[(..., *tap)])
    out = out.reshape(x.shape[0], w.shape[0], *sizes)
    return out if b is None else out + b.reshape(-1, *[1] * rank)


def numpy_transposed(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """conv_transpose1d to conv_transpose3d."""
    rank = w.ndim - 2
    if x.ndim == rank + 1:
        return numpy_transposed(
            x[None], w, b, stride, padding, output_padding, groups, dilation
        )[0]  # fmt: skip
    stride, dilation = _each(stride, rank), _each(dilation, rank)
    padding, extra = _each(padding, rank), _each(output_padding, rank)
    sizes = x.shape[2:]
    grouped = w.reshape(groups, -1, *w.shape[1:])
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(sizes, stride, dilation, w.shape[2:], extra)
    ]
    out = np.zeros((x.shape[0], groups, w.shape[1], *full), np.result_type(x, w))
    parts = x.reshape(x.shape[0], groups, -1, *sizes)
    for tap in itertools.product(*map(range, w.shape[2:])):
        place = (slice(None), slice(None), slice(None), *_meets(tap, stride, dilation, sizes))
        out[place] += np.einsum("ngm...,gmc->ngc...", parts, grouped[(..., *tap)])
    kept = tuple(slice(p, n - p) for p, n in zip(padding, full))
    out = out.reshape(x.shape[0], -1, *full)[(slice(None), slice(None), *kept)]
    return out if b is None else out + b.reshape(-1, *[1] * rank)


def _meets(tap: Any, stride: Any, dilation: Any, sizes: Any) -> tuple[slice, ...]:
    """The positions that a tap meets."""
    return tuple(
        slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, stride, sizes)
    )
