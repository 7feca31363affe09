"""Every form of generated kernel compiles for GPUs; this needs neither a GPU nor a driver."""

import pytest

from tests.kernels.declarations import argmax, cumsum, var_mean
from tritorch import dtypes
from tritorch.devices import device
from tritorch.kernel_source import KernelSource
from tritorch.kernels import PointwiseKernel, random, trace
from tritorch.kernels import scalar as s
from tritorch.layout import Layout
from tritorch.triton_api import compile_gpu

CUDA = device("cuda")
FLOAT = dtypes.float32


class Recorder:
    """Stands for the CUDA target: remembers what is compiled, binds nothing."""

    def __init__(self) -> None:
        self.compiled: list[tuple[KernelSource, dict[str, str], dict[str, int], dict]] = []

    identity = "none"

    def compile(self, source, signature, constants, options=None):
        self.compiled.append((source, dict(signature), dict(constants), dict(options or {})))
        return source

    def bind(self, kernel, grid, values, *, work=None):
        signature = self.compiled[-1][1]
        assert len(values) == len(signature)
        assert all(size > 0 for size in grid)
        return None

    allocate = free = free_lists = None


def layout(*shape, dtype=FLOAT, strides=None):
    if strides is None:
        return Layout.contiguous(dtype, shape, CUDA)
    return Layout.of(dtype, shape, strides, CUDA)


def pointwise_plans():
    names = ["x", "y", "alpha"]
    body = trace(lambda x, y, a: s.where(x > 0, s.erf(x) * a, s.tanh(y) // 0.5) + x**1.5, names)
    kernel = PointwiseKernel("mixed", names, body)
    kernel.plan([layout(1000), layout(1000), float], [FLOAT] * 3, [dtypes.bfloat16])
    kernel.plan([layout(64, 300), layout(300), float], [FLOAT] * 3, [FLOAT])
    kernel.plan([layout(64, 64, strides=(1, 64)), layout(64, 64), float], [FLOAT] * 3, [FLOAT])
    kernel.plan(
        [layout(4, 5, 6, 7), layout(5, 1, 7), float], [dtypes.float64] * 3, [dtypes.float64]
    )
    integers = PointwiseKernel(
        "integers", ["x", "y"], trace(lambda x, y: (x // y, x % y, x << y, x**y), ["x", "y"])
    )
    for kind in (dtypes.int64, dtypes.uint8):
        integers.plan([layout(100, dtype=kind)] * 2, [kind] * 2, [kind] * 4)


def special_functions():
    every = [
        s.expm1,
        s.log1p,
        s.log10,
        s.tan,
        s.asin,
        s.acosh,
        s.erfinv,
        s.lgamma,
        s.round,
        s.trunc,
    ]
    body = trace(lambda x: tuple(f(x) for f in every), ["x"])
    for kind in (FLOAT, dtypes.float64):
        PointwiseKernel("special", ["x"], body).plan([layout(100, dtype=kind)], [kind], [kind] * 10)


def random_plans():
    kinds = [FLOAT, FLOAT, dtypes.int64, dtypes.int64]
    random.normal_kernel(FLOAT).plan(
        [float, float, int, int], kinds, [FLOAT], out_shape=(99,), device=CUDA
    )
    random.randint_kernel(0, 9).plan(
        [int] * 4, [dtypes.int64] * 4, [dtypes.int64], out_shape=(99,), device=CUDA
    )


def reduction_plans():
    for shape, dims in [((64, 1000), (1,)), ((64, 1000), (0,)), ((4096, 4096), ())]:
        var_mean.plan([layout(*shape)], dims, False, [FLOAT], [FLOAT] * 2, correction=1.0)
    half = dtypes.float16
    argmax.plan([layout(64, 1000, dtype=half)], (1,), False, [half], [half, dtypes.int64])


def scan_plans():
    cumsum.plan([layout(64, 1000)], 1, [FLOAT], [FLOAT])
    cumsum.plan([layout(64, 1000)], 0, [FLOAT], [FLOAT], reverse=True)


FAMILIES = [pointwise_plans, special_functions, random_plans, reduction_plans, scan_plans]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_kernels_compile_for_gpus(family, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("tritorch.runtime.get_target", lambda _device: recorder)
    family()
    assert recorder.compiled
    for position, (source, signature, constants, options) in enumerate(recorder.compiled):
        capability = (80, 90, 100)[position % 3]
        code = compile_gpu(source, signature, constants, ("cuda", capability), options)
        assert len(code.assembly["cubin"]) > 1000
        # one constant in float64 would make everything float64; sin and cos of huge numbers use it
        if "fp64" not in " ".join(signature.values()) and family not in (
            special_functions,
            random_plans,
        ):
            assert ".f64" not in code.assembly["ptx"], source.text
