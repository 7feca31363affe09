"""Convolutions and both gradients against NumPy in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tritorch import dtypes
from tritorch.config import config
from tritorch.kernels.templates import convolution, convolution_arrange
from tritorch.kernels.templates.convolution import Geometry
from tritorch.layout import Layout
from tritorch.ops.convolution_reference import numpy_convolution

Array = np.ndarray[Any, np.dtype[Any]]

#: batch, in channels, out channels, input, kernel, stride, padding, dilation, groups
Call = tuple[int, int, int, tuple[int, ...], tuple[int, ...], Any, Any, Any, int]
CALLS: dict[str, Call] = {
    "plain": (2, 4, 8, (9, 11), (3, 3), (1, 1), (0, 0), (1, 1), 1),
    "padded": (2, 4, 8, (9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "channels fill tiles": (2, 70, 66, (13, 17), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "stride, dilation, groups": (2, 4, 8, (9, 11), (3, 2), (2, 1), (1, 0), (1, 2), 2),
    "stride and dilation share a factor": (1, 4, 4, (17, 13), (3, 3), (4, 6), (2, 3), (2, 4), 1),
    "stride beyond the kernel": (2, 2, 6, (14, 11), (3, 2), (5, 4), (2, 1), (1, 1), 1),
    "depthwise": (2, 6, 6, (20, 21), (3, 3), (1, 1), (1, 1), (1, 1), 6),
    "depthwise, many outputs": (2, 3, 12, (8, 9), (3, 3), (2, 2), (1, 1), (1, 1), 3),
    "few channels in groups": (2, 6, 4, (8, 9), (5, 5), (1, 1), (2, 2), (1, 1), 2),
    "stem, more taps than a word has bits": (2, 3, 16, (23, 22), (7, 7), (2, 2), (3, 3), (1, 1), 1),
    "depthwise of many taps": (1, 4, 4, (12, 13), (7, 7), (1, 1), (3, 3), (1, 1), 4),
    "pointwise": (3, 16, 20, (5, 7), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "pointwise with stride": (2, 4, 6, (9, 9), (1, 1), (2, 2), (0, 0), (1, 1), 1),
    "pointwise with padding": (2, 4, 6, (5, 9), (1, 1), (1, 1), (2, 1), (1, 1), 1),
    "large image": (1, 2, 5, (70, 90), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "one dimension": (2, 3, 16, (50,), (7,), (3,), (2,), (1,), 1),
    "three dimensions": (2, 3, 5, (5, 6, 7), (2, 3, 3), (1, 2, 2), (1, 1, 0), (2, 1, 1), 1),
    "nothing to see": (1, 2, 4, (1, 1), (3, 3), (1, 1), (1, 1), (1, 1), 1),
}


def operands(call: Call, normal: Any, kind: str) -> tuple[Geometry, Array, Array, Array, Array]:
    batch, channels, outputs, sizes, kernel, stride, padding, dilation, groups = call
    out = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation)
    )
    geometry = Geometry(kernel, stride, padding, dilation, groups, sizes, out)
    x, w = normal(batch, channels, *sizes, kind=kind), None
    w = normal(outputs, channels // groups, *kernel, kind=kind)
    return geometry, x, w, normal(batch, outputs, *out, kind=kind), normal(outputs, kind=kind)


def forward(geometry: Geometry, x: Array, w: Array, b: Array | None = None) -> Array:
    return numpy_convolution(
        x, w, b, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    )


def gradients(geometry: Geometry, g: Array, x: Array, w: Array) -> tuple[Array, Array]:
    """Of input and weights: each tap adds what it was multiplied with."""
    g, x, w = (a.astype(np.float64) for a in (g, x, w))
    frame = [
        (p, (o - 1) * s + d * (k - 1) + 1)
        for p, o, s, d, k in zip(
            geometry.padding, geometry.output, geometry.stride, geometry.dilation, geometry.kernel
        )
    ]
    padded = np.pad(x, [(0, 0), (0, 0), *frame])
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    rows, columns = w.shape[0] // geometry.groups, w.shape[1]
    for tap in itertools.product(*map(range, geometry.kernel)):
        meets = tuple(
            slice(t * d, t * d + s * (o - 1) + 1, s)
            for t, d, s, o in zip(tap, geometry.dilation, geometry.stride, geometry.output)
        )
        for group in range(geometry.groups):
            own = slice(group * rows, (group + 1) * rows)
            place = (slice(None), slice(group * columns, (group + 1) * columns), *meets)
            dx[place] += np.einsum("nm...,mc->nc...", g[:, own], w[(own, slice(None), *tap)])
            part = padded[place]
            dw[(own, slice(None), *tap)] = np.einsum(
                "nmp,ncp->mc", g[:, own].reshape(*g[:, own].shape[:2], -1),
                part.reshape(*part.shape[:2], -1),
            )  # fmt: skip
    kept = tuple(slice(p, p + n) for p, n in zip(geometry.padding, geometry.input))
    return dx[(slice(None), slice(None), *kept)], dw


@pytest.mark.parametrize("name", CALLS)
def test_values(name: str, normal: Any, layout: Any, run: Any, close: Any) -> None:
    for kind in ("float32", "float64"):
        geometry, x, w, g, b = operands(CALLS[name], normal, kind)
        wide = [a.astype(np.float64) for a in (x, w, b)]
        terms = w[0].size
        (y,) = run(convolution.plan(layout(x), layout(w), layout(b), geometry), x, w, b)
        close(y, forward(geometry, *wide), terms, f"{kind} forward")
        (y,) = run(convolution.plan(layout(x), layout(w), None, geometry), x, w)
        close(y, forward(geometry, *wide[:2]), terms, f"{kind} without bias")
        dx, dw = gradients(geometry, g, x, w)
        (found,) = run(convolution.plan_input(layout(g), layout(w), None, geometry), g, w)
        close(found, dx, w.size // w.shape[1], f"{kind} gradient of the input")
        (found,) = run(convolution.plan_weight(layout(g), layout(x), geometry), g, x)
        close(found, dw, g.size // g.shape[1], f"{kind} gradient of the weights")


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_narrow_dtypes_are_summed_in_float32(
    kind: str, normal: Any, layout: Any, run: Any, close: Any
) -> None:
    for name in ("padded", "depthwise"):
        geometry, x, w, g, _ = operands(CALLS[name], normal, kind)
        (y,) = run(convolution.plan(layout(x), layout(w), None, geometry), x, w)
        assert y.dtype == dtypes.BY_NAME[kind].numpy
        close(y, forward(geometry, x.astype(np.float64), w.astype(np.float64)))
        dx, dw = gradients(geometry, g, x, w)
        (found,) = run(convolution.plan_input(layout(g), layout(w), None, geometry), g, w)
        close(found, dx)
        (found,) = run(convolution.plan_weight(layout(g), layout(x), geometry), g, x)
        close(found, dw)


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (3, 2, 1, 0)])
def test_strides_are_read_as_they_are(
    order: tuple[int, ...], normal: Any, layout: Any, run: Any, close: Any
) -> None:
    """Channels last, everything reversed, slices."""
    call = (2, 5, 8, (9, 11), (3, 3), (2, 1), (1, 1), (1, 1), 1)
    geometry, x, w, g, _ = operands(call, normal, "float32")
    x, w, g = (np.transpose(a.transpose(order).copy(), np.argsort(order)) for a in (x, w, g))
    big = normal(4, 12, 20, 24)
    for image in (x, big[::2, 2:7, ::-1][:, :, 3:12, 4:15]):
        (y,) = run(convolution.plan(layout(image), layout(w), None, geometry), image, w)
        close(y, forward(geometry, image.astype(np.float64), w.astype(np.float64)), w[0].size)
        dx, dw = gradients(geometry, g, image, w)
        (found,) = run(convolution.plan_weight(layout(g), layout(image), geometry), g, image)
        close(found, dw, g.size // g.shape[1])
    (found,) = run(convolution.plan_input(layout(g), layout(w), None, geometry), g, w)
    close(found, dx, w.size // w.shape[1])


def test_nothing_to_compute(normal: Any, layout: Any, run: Any) -> None:
    empty = (0, 4, 8, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1), 1)
    geometry, x, w, g, b = operands(empty, normal, "float32")
    assert run(convolution.plan(layout(x), layout(w), layout(b), geometry), x, w, b)[0].size == 0
    (found,) = run(convolution.plan_weight(layout(g), layout(x), geometry), g, x)
    np.testing.assert_array_equal(found, np.zeros(w.shape))


def test_infinity_and_nan_stay_where_they_are_seen(normal: Any, layout: Any, run: Any) -> None:
    """The frame of zeros multiplies nothing with them."""
    geometry, x, w, _, _ = operands(CALLS["padded"], normal, "float32")
    x[0, 0, 0, 0], x[1, 2, 8, 10] = np.inf, np.nan
    (y,) = run(convolution.plan(layout(x), layout(w), None, geometry), x, w)
    assert not np.isfinite(y[0, :, :2, :2]).any() and np.isfinite(y[0, :, 2:]).all()
    assert np.isnan(y[1, :, 7:, 9:]).all() and np.isfinite(y[1, :, :7]).all()


def test_the_number_of_threads_changes_no_bit(normal: Any, layout: Any, run: Any) -> None:
    call = (5, 20, 40, (30, 31), (3, 3), (1, 1), (1, 1), (1, 1), 1)
    geometry, x, w, g, _ = operands(call, normal, "float32")
    results = []
    for threads in (1, 2, 16):
        with config(num_threads=threads):
            plans: list[Any] = [
                (convolution.plan(layout(x), layout(w), None, geometry), x, w),
                (convolution.plan_input(layout(g), layout(w), None, geometry), g, w),
                (convolution.plan_weight(layout(g), layout(x), geometry), g, x),
            ]
            results.append([run(*plan)[0] for plan in plans])
    for found in results[1:]:
        for a, b in zip(found, results[0]):
            np.testing.assert_array_equal(a, b)


def test_errors(layout: Any) -> None:
    geometry = Geometry((1,), (1,), (0,), (1,), 1, (4,), (4,))
    x, w = np.zeros((1, 2, 4), np.float32), np.zeros((2, 2, 1), np.float64)
    with pytest.raises(RuntimeError, match="convolution: expected operands of one floating"):
        convolution.plan(layout(x), layout(w), None, geometry)
    whole = Layout.of(dtypes.int64, (1, 2, 4), (8, 4, 1))
    with pytest.raises(RuntimeError, match="Cast them"):
        convolution.plan_weight(whole, whole, geometry)


@pytest.mark.parametrize("name", ["plain", "stride, dilation, groups", "depthwise"])
def test_gathering_gives_the_same(
    name: str, normal: Any, layout: Any, run: Any, close: Any, monkeypatch: Any
) -> None:
    """Without copies that put positions side by side: what GPUs do."""
    monkeypatch.setattr(convolution_arrange, "_MOST", 0.0)
    geometry, x, w, g, _ = operands(CALLS[name], normal, "float32")
    (y,) = run(convolution.plan(layout(x), layout(w), None, geometry), x, w)
    close(y, forward(geometry, x.astype(np.float64), w.astype(np.float64)), w[0].size)
    dx, dw = gradients(geometry, g, x, w)
    (found,) = run(convolution.plan_input(layout(g), layout(w), None, geometry), g, w)
    close(found, dx, w.size // w.shape[1])
    (found,) = run(convolution.plan_weight(layout(g), layout(x), geometry), g, x)
    close(found, dw, g.size // g.shape[1])
