"""Every template compiles for NVIDIA GPUs, without one: plans of a device "cuda" are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import pytest

import tritorch.runtime
from tritorch import devices, dtypes, triton_api
from tritorch.kernels.templates import (
    attention,
    bags,
    batch_norm,
    concat,
    convolution,
    convolution_pixels,
    convolution_windows,
    count_gpu,
    cross_entropy,
    distance,
    embedding,
    factorization,
    frame,
    indexing,
    layer_norm,
    matmul,
    multi_tensor,
    pooling,
    resample,
    select_gpu,
    shuffle_gpu,
    softmax,
    sort,
    sort_gpu,
    topk,
)
from tritorch.layout import Layout

CUDA = devices.device("cuda")
ARCHITECTURES = [80, 90, 100]


class Asked(NamedTuple):
    """A kernel as a launch would have it."""

    source: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, Any]


class Recorder:
    """A target that remembers what it is asked to compile."""

    identity = "none"
    capability, multiprocessors = 80, 108

    def __init__(self) -> None:
        self.kernels: list[Asked] = []
        self.asked = Asked(None, {}, {}, {})
        self.free_lists: dict[int, list[int]] = {}

    def compile(
        self,
        source: Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        self.asked = Asked(source, dict(signature), dict(constants), dict(options or {}))
        if self.asked not in self.kernels:
            self.kernels.append(self.asked)
        return source

    def bind(
        self, kernel: Any, grid: Sequence[int], values: Sequence[Any], *, work: Any = None
    ) -> Callable[..., None]:
        assert len(values) == len(self.asked.signature)
        assert 0 < grid[0] < 2**31
        return lambda *_: None

    def allocate(self, nbytes: int) -> int:
        return 64

    def free(self, address: int, nbytes: int) -> None:
        pass

    def free_list(self, nbytes: int) -> list[int]:
        return self.free_lists.setdefault(nbytes, [])

    def copy(self, destination: int, source: int, nbytes: int) -> None:
        pass

    def upload(self, destination: int, source: int, nbytes: int) -> None:
        pass

    def error_cell(self, message: str) -> int:
        return 64


def layout(*shape: int, kind: str = "float32") -> Layout:
    return Layout.contiguous(dtypes.BY_NAME[kind], shape, CUDA)


def turned(*shape: int, kind: str = "float32") -> Layout:
    """The last two dimensions in the other order in memory."""
    base = layout(*shape[:-2], shape[-1], shape[-2], kind=kind)
    strides = (*base.strides[:-2], base.strides[-1], base.strides[-2])
    return Layout.of(base.dtype, shape, strides, CUDA)


def plan_softmax() -> None:
    for x in (layout(64, 1000), layout(4, 40_000), layout(8, 30, 20)):
        for log in (False, True):
            softmax.plan(x, 1, log=log)
            softmax.plan_backward(x, x, 1, log=log)
    softmax.plan(layout(8, 8, kind="float64"), 1)
    softmax.plan(layout(8, 8, kind="bfloat16"), 0)


def plan_matmul() -> None:
    relu = "def epilogue(x):\n    return tl.where(x > 0, x, 0.0)\n"
    for kind in ("float32", "float16", "bfloat16", "float64"):
        a, b = layout(200, 300, kind=kind), turned(300, 100, kind=kind)
        matmul.plan(a, b, layout(100, kind=kind), scaled=True, pasted_epilogue=relu)
    matmul.plan(layout(20, 30, kind="int64"), layout(30, 20, kind="int64"))
    matmul.plan(layout(200, 300), layout(300, 1))
    matmul.plan(turned(200, 300), layout(300, 1))
    matmul.plan(layout(2, 9000), layout(9000, 1))


def plan_layer_norm() -> None:
    w = layout(1000)
    for rms in (False, True):
        bias = None if rms else w
        kind = None if rms else dtypes.float32
        layer_norm.plan(layout(64, 1000), 1, w, bias, 1e-5, rms=rms)
        layer_norm.plan_backward(layout(64, 1000), layout(64, 1000), 1, w, kind, rms=rms)
    long, w = layout(8, 40_000, kind="float16"), layout(40_000, kind="float16")
    layer_norm.plan(long, 1, w, w, 1e-5)
    layer_norm.plan_backward(long, long, 1, w, dtypes.float16)


def plan_cross_entropy() -> None:
    target, g = layout(64, kind="int64"), layout()
    for n_classes, kind in ((1000, "float32"), (40_001, "bfloat16")):
        x, w = layout(64, n_classes, kind=kind), layout(n_classes, kind=kind)
        cross_entropy.plan(x, target, w, label_smoothing=0.1)
        cross_entropy.plan_backward(g, x, target, w, label_smoothing=0.1)
    cross_entropy.plan(x, target)
    cross_entropy.plan_backward(g, x, target)
    cross_entropy.plan_nll(x, target, w)
    cross_entropy.plan_nll_backward(g, x, target, w)


def plan_embedding() -> None:
    for columns, kind in ((64, "float32"), (3000, "float16")):
        w, index = layout(50, columns, kind=kind), layout(4, 5, kind="int64")
        embedding.plan(w, index)
        g = layout(4, 500, columns, kind=kind)
        embedding.plan_backward(g, layout(4, 500, kind="int64"), 50, ordered=columns == 64)


def plan_indexing() -> None:
    x, index = layout(5, 6, 70), layout(5, 6, 4, kind="int64")
    indexing.plan_gather(x, 2, index)
    for mode in indexing.MODES:
        indexing.plan_scatter(x, 2, index, layout(5, 6, 4), mode=mode)
    rows = layout(9, kind="int64")
    indexing.plan_index(x, [rows, rows])
    indexing.plan_index_put(x, [rows], layout(9, 6, 70), mode="add")
    indexing.plan_index_put(x, [rows], layout(9, 6, 70, kind="float16"), mode="add", ordered=True)
    indexing.plan_index_put(x, [rows, rows], layout(9, 70))


def plan_multi_tensor() -> None:
    counts = [5, 40_000]
    flags = {"MAXIMIZE": False, "DECAY": True, "DECOUPLED": True, "NESTEROV": True}
    updates = (
        multi_tensor.sgd,
        multi_tensor.sgd_momentum,
        multi_tensor.adam,
        multi_tensor.adam_amsgrad,
        multi_tensor.scale,
    )
    for update in updates:
        tensors = multi_tensor.TensorTable(counts, len(update.columns), CUDA)
        update.plan(tensors, [dtypes.bfloat16] * len(update.columns), flags)
    for order in (1.0, 2.0, 3.0, float("inf")):
        multi_tensor.plan_partial_norms(tensors, 0, dtypes.float32, order)
        multi_tensor.plan_clip_factor(4, dtypes.float32, order, CUDA)


def plan_concat() -> None:
    concat.plan_cat([layout(3, 4), turned(3, 5)], 1, dtypes.float16)


def plan_sort() -> None:
    fresh = copy(sort_gpu.value_range)  # what it compiled is not for others, nor theirs for it
    fresh._compiled, fresh._second = {}, None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sort_gpu, "value_range", fresh)
        for kind in ("float32", "float64", "bool"):
            sort.plan_sort(layout(4, 100, kind=kind), 1)
            sort.plan_sort(layout(4, 30, kind=kind), 1, descending=True)
        sort.plan_search(layout(100), layout(7, 8), right=True)
        sort.plan_sort(layout(4, 5000, kind="bfloat16"), 1)
        sort.plan_sort(layout(2, 100_000, kind="int64"), 1, descending=True)
        shuffle_gpu.plan_shuffle(layout(100_000, kind="int64"))


def plan_selections() -> None:
    select_gpu.plan_select(layout(4, 4096), 1, select_gpu.MIDDLE)
    select_gpu.plan_select(layout(4, 100, kind="int64"), 1, select_gpu.RANK, 7)
    for n_bins in (1000, 2000):
        count_gpu.plan_counts(layout(10_000, kind="int64"), n_bins)


def plan_attention() -> None:
    x = layout(2, 4, 300, 64, kind="float16")  # blocks of full size
    attention.plan(attention.Attention(x, x, x, None, True), sums=True)
    attention.plan_backward(attention.Attention(x, x, x, None, True), x)
    for kind in ("float16", "bfloat16", "float32", "float64"):
        q, k = layout(2, 4, 30, 16, kind=kind), turned(2, 2, 30, 16, kind=kind)
        of = {
            "float16": attention.Attention(q, k, k, layout(30, 30, kind="bool"), False, True),
            "bfloat16": attention.Attention(q, q, q, layout(4, 1, 30, kind="float32")),
            "float32": attention.Attention(q, q, q, None, True, False, True),
            "float64": attention.Attention(q, q, q, None, True),
        }[kind]
        attention.plan(of, sums=True)
        attention.plan_backward(of, q)
    with pytest.MonkeyPatch.context() as patch:  # made for CPUs, but a kernel like any other
        patch.setattr(attention._Backward, "_whole_heads", lambda _: True)
        attention.plan_backward(of, q)


def plan_convolution() -> None:
    for kind, channels, groups, taps, stride in (
        ("float32", 64, 1, 3, 1), ("float16", 64, 2, 1, 2), ("bfloat16", 8, 8, 3, 1),
        ("float64", 8, 1, 7, 1),
    ):  # fmt: skip
        size = (29 + 2 * (taps // 2) - taps) // stride + 1
        geometry = convolution.Geometry(
            (taps,) * 2, (stride,) * 2, (taps // 2,) * 2, (1, 1), groups, (29, 29), (size, size)
        )
        x = layout(2, channels, 29, 29, kind=kind)
        w = layout(channels, channels // groups, taps, taps, kind=kind)
        g = layout(2, channels, size, size, kind=kind)
        convolution.plan(x, w, layout(channels, kind=kind), geometry)
        convolution.plan_input(g, w, None, geometry)
        convolution.plan_weight(g, x, geometry)
    for kind, channels in (("bfloat16", 64), ("float32", 3)):
        x = convolution_pixels.last(layout(2, channels, 29, 29, kind=kind))
        w = convolution_pixels.last(layout(64, channels, 3, 3, kind=kind))
        g = convolution_pixels.last(layout(2, 64, 15, 15, kind=kind))
        geometry = convolution.Geometry((3, 3), (2, 2), (1, 1), (1, 1), 1, (29, 29), (15, 15))
        convolution_pixels.plan(x, w, layout(64, kind=kind), geometry)
        convolution_pixels.plan_weight(g, x, geometry)
    convolution_pixels.plan_input(g, w, None, geometry)
    geometry = convolution.Geometry((7, 7), (1, 1), (3, 3), (1, 1), 1, (29, 29), (29, 29))
    x = layout(2, 8, 29, 29, kind="float64")
    convolution_windows.plan_unfold(x, geometry)
    convolution_windows.plan_fold(layout(2, 8 * 49, 29 * 29), geometry)


def plan_batch_norm() -> None:
    vector = layout(70)
    last = Layout.of(dtypes.float16, (8, 70, 9, 9), (5670, 1, 630, 70), CUDA)
    for x in (layout(8, 70, 60, 60), last, layout(4, 200, 3, 3, kind="float64")):
        vector = layout(x.shape[1])
        batch_norm.plan(x, vector, vector, vector, vector, 1e-5)
        batch_norm.plan_given(x, vector, vector, vector, None, 1e-5)
        for training in (True, False):
            batch_norm.plan_backward(
                x, x, vector, vector, vector, dtypes.float32, 1e-5, training=training
            )


def plan_pooling() -> None:
    last = Layout.of(dtypes.bfloat16, (2, 7, 9, 9), (567, 1, 63, 7), CUDA)
    one, none = (1, 1, 1), (0, 0, 0)
    for x in (layout(2, 7, 9, 9), last, layout(2, 7, 9, 9, kind="int64")):
        for maximum in (True, False):
            kernel = (1, 3, 3)
            box = pooling.Window(2, maximum, kernel, (1, 2, 2), (0, 1, 1), one, (1, 5, 5))
            adaptive = pooling.Window(
                2, maximum, kernel, one, none, one, (1, 4, 4), adaptive=True, include_pad=False
            )
            for window in (box, adaptive):
                pooling.plan(x, window, pos=maximum, index=maximum)
                if x.dtype.is_floating_point:
                    g = window.result(x, x.dtype)
                    pooling.plan_backward(g, x, window)
                if maximum:
                    pooling.plan_take(x, window.result(x, window.pos_dtype), window)


def plan_resample() -> None:
    last = Layout.of(dtypes.bfloat16, (2, 7, 9, 9), (567, 1, 63, 7), CUDA)
    for x in (layout(2, 7, 9, 9), last, layout(2, 7, 9, 9, kind="float64")):
        resample.plan(x, 2, (1, 20, 5), (1, 2, 2))


def plan_factorization() -> None:
    for kind in ("float32", "float64"):
        a, tall = layout(3, 30, 30, kind=kind), layout(3, 100, 12, kind=kind)
        factorization.plan_cholesky(a)
        for upper in (False, True):
            factorization.plan_triangular(a, layout(3, 30, 100, kind=kind), upper, upper)
        factorization.plan_lu(tall)
        factorization.plan_qr(tall)
    factorization.plan_order(layout(3, 12, kind="int32"), 100)
    factorization.plan_jacobi(layout(3, 12, 20, kind="float64"), True)


def plan_frame() -> None:
    for mode in ("reflect", "replicate", "circular"):
        for x, pairs in ((layout(2, 8, 30, 20), ((1, 2), (3, -1))), (layout(4, 50), ((9, 0),))):
            y = frame.plan(x, pairs, mode).outputs[0]
            frame.plan_gradient(y, x.shape, pairs, mode)


def plan_bags() -> None:
    index, offsets = layout(50, kind="int64"), layout(9, kind="int32")
    for factors, mean, last in ((None, True, False), (layout(50), False, True)):
        bags.plan(layout(30, 40), index, offsets, factors, mean, last)


def plan_distance() -> None:
    x, y = layout(2, 100, 30), turned(2, 200, 30)
    for p in (0.0, 1.0, 2.0, 3.5, float("inf")):
        d = distance.plan_direct(x, y, p).outputs[0]
        if p not in (0, 2):
            distance.plan_gradient(d, x, y, p)
    distance.plan_by_products(x, y)


def plan_topk() -> None:
    for largest in (False, True):
        topk.plan_topk(layout(4, 3000), 1, 16, largest=largest)
    topk.plan_topk(layout(60_000, kind="int64"), 0, 16)


FAMILIES = [
    plan_factorization,
    plan_bags,
    plan_distance,
    plan_frame,
    plan_topk,
    plan_resample,
    plan_batch_norm,
    plan_pooling,
    plan_attention,
    plan_softmax,
    plan_matmul,
    plan_layer_norm,
    plan_cross_entropy,
    plan_embedding,
    plan_indexing,
    plan_multi_tensor,
    plan_concat,
    plan_convolution,
    plan_selections,
    plan_sort,
]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    found = Recorder()
    monkeypatch.setattr(tritorch.runtime, "get_target", lambda _: found)
    yield found


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__[5:])
def test_compiles_for_gpus(family: Callable[[], None], recorder: Recorder) -> None:
    """What is launched on each architecture: planned for it, with its warps and stages. Kernels of
    a family take turns, the first is compiled for all of them.
    """
    for place, architecture in enumerate(ARCHITECTURES):
        recorder.capability, recorder.kernels = architecture, []
        family()
        assert recorder.kernels
        for turn, (source, signature, constants, options) in enumerate(recorder.kernels):
            if turn == 0 or turn % len(ARCHITECTURES) == place:
                code = triton_api.compile_gpu(
                    source, signature, constants, ("cuda", architecture), options
                )
                assert code.assembly["cubin"], f"{source.name} sm_{architecture}"
                asked = options.get("num_warps", 4)
                assert code.metadata["num_warps"] == asked, source.name
