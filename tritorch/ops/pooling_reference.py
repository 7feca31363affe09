"""Pooling in NumPy, and the calls that tests make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.layout import Layout
from tritorch.ops.pooling_arguments import (
    window_of,
)


def boxes(x: Any, out: Sequence[int], bounds: Any) -> Any:
    """Index of each output and the slices of its window in x."""
    for index in np.ndindex(*out):
        yield index, tuple(slice(*bounds(axis, o)) for axis, o in enumerate(index))


def numpy_max(count: int) -> Any:
    def reference(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Any:  # fmt: skip
        layout = Layout.contiguous(dtypes.float64, x.shape)
        w = window_of(
            "max_pool", layout, count, kernel_size, stride, padding, dilation, ceil_mode, True
        )
        k, s, p, d = (v[3 - count :] for v in (w.kernel, w.stride, w.pad, w.dilation))
        padded = np.pad(
            x, [(0, 0)] * (x.ndim - count) + [(a, a + b * c) for a, b, c in zip(p, k, d)],
            constant_values=-np.inf,
        )  # fmt: skip
        out = w.out[3 - count :]
        result = np.empty((*x.shape[: x.ndim - count], *out))
        places = boxes(x, out, lambda a, o: (o * s[a], o * s[a] + k[a] * d[a], d[a]))
        for index, box in places:
            axes = tuple(range(-count, 0))
            result[(..., *index)] = padded[(..., *box)].max(axes)
        return result

    return reference


def numpy_average(count: int) -> Any:
    def reference(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        layout = Layout.contiguous(dtypes.float64, x.shape)
        w = window_of("avg_pool", layout, count, kernel_size, stride, padding, 1, ceil_mode, False)
        k, s, p = (v[3 - count :] for v in (w.kernel, w.stride, w.pad))
        lead = [(0, 0)] * (x.ndim - count)
        padded = np.pad(x, lead + [(a, a) for a in p])
        inside = np.pad(np.ones(x.shape[-count:]), [(a, a) for a in p])
        if count_include_pad:
            inside[...] = 1
        out = w.out[3 - count :]
        result = np.empty((*x.shape[: x.ndim - count], *out))
        for index, box in boxes(x, out, lambda a, o: (o * s[a], o * s[a] + k[a])):
            total = padded[(..., *box)].sum(tuple(range(-count, 0)))
            result[(..., *index)] = total / (divisor_override or inside[box].sum())
        return result

    return reference


def numpy_adaptive(count: int, reduce: Any) -> Any:
    def reference(x: Any, output_size: Any) -> Any:
        sizes = x.shape[-count:]
        given = (output_size,) * count if isinstance(output_size, int) else output_size
        out = [size if o is None else o for o, size in zip(given, sizes)]
        result = np.empty((*x.shape[: x.ndim - count], *out))

        def bounds(axis: int, o: int) -> tuple[int, int]:
            size, n = sizes[axis], out[axis]
            return o * size // n, -(-(o + 1) * size // n)

        for index, box in boxes(x, out, bounds):
            result[(..., *index)] = reduce(x[(..., *box)], axis=tuple(range(-count, 0)))
        return result

    return reference


def _distinct(make: Any, shape: tuple[int, ...]) -> Any:
    """Values far enough apart that a small step changes no maximum."""
    x = make(*shape)
    return (np.argsort(np.argsort(x.ravel())) / 4 - x.size / 8).reshape(shape)


def pooling_cases(shapes: Sequence[tuple[int, ...]], calls: Sequence[dict[str, Any]]) -> list[Any]:
    return [
        lambda make, n=n, o=o: ((_distinct(make, n),), o)
        for n, o in zip(
            [shapes[i % len(shapes)] for i in range(max(len(calls), len(shapes)))],
            [calls[i % len(calls)] for i in range(max(len(calls), len(shapes)))],
        )
    ]


SHAPES = {
    1: [(2, 3, 9), (3, 8), (1, 2, 17)],
    2: [(2, 2, 6, 7), (2, 5, 6), (1, 1, 9, 8)],
    3: [(1, 2, 4, 5, 4), (2, 4, 3, 5)],
}
_CALLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 1, "stride": 2},
]
MAX_CALLS = [*_CALLS, {"kernel_size": 2, "stride": 1, "dilation": 2, "padding": 1}]
AVERAGE_CALLS = [
    *_CALLS,
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": 3, "padding": 1, "ceil_mode": True, "count_include_pad": False},
]
DIVISOR_CALLS = [*AVERAGE_CALLS, {"kernel_size": 2, "stride": 1, "divisor_override": 3}]


def adaptive_cases(count: int) -> list[Any]:
    calls = [{"output_size": o} for o in (1, 2, 3, (4, 3, 2)[:count], (2, None, 1)[:count])]
    return pooling_cases(SHAPES[count], calls)
