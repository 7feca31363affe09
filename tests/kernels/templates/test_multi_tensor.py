"""Optimizer steps and clipping over many tensors, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritorch import devices, dtypes
from tritorch.kernels.templates import multi_tensor as multi

SIZES = (5, 40_000, 1, 16_384, 0, 33)
STEPS = 3


def make(rng: Any, n_columns: int, kind: str = "float32") -> list[list[Any]]:
    """Columns of tensors: parameters and gradients random, states zero."""
    numpy_kind = dtypes.BY_NAME[kind].numpy
    return [
        [(rng.standard_normal(n) * (c < 2)).astype(numpy_kind) for n in SIZES]
        for c in range(n_columns)
    ]


def table(columns: list[list[Any]]) -> multi.TensorTable:
    tensors = multi.TensorTable([x.size for x in columns[0]], len(columns), devices.cpu)
    for column, arrays in enumerate(columns):
        tensors.set(column, [x.ctypes.data for x in arrays])
    return tensors


def wide(columns: list[list[Any]]) -> list[Any]:
    return [np.concatenate(arrays).astype(np.float64) for arrays in columns]


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("maximize", [False, True])
def test_sgd(kind: str, maximize: bool, rng: Any, close: Any) -> None:
    columns = make(rng, 2, kind)
    p, g = wide(columns)
    tensors = table(columns)
    kinds = [dtypes.BY_NAME[kind]] * 2
    multi.sgd.plan(tensors, kinds, {"MAXIMIZE": maximize, "DECAY": True}).launch(
        *tensors.addresses(), 0.1, 0.01
    )
    p -= 0.1 * ((-g if maximize else g) + 0.01 * p)
    close(np.concatenate(columns[0]), p)
    np.testing.assert_array_equal(wide(columns)[1], g)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum(nesterov: bool, rng: Any, close: Any) -> None:
    columns = make(rng, 3)
    p, g, buffer = wide(columns)
    tensors = table(columns)
    flags = {"NESTEROV": nesterov, "MAXIMIZE": False, "DECAY": False}
    plan = multi.sgd_momentum.plan(tensors, [dtypes.float32] * 3, flags)
    for step in range(STEPS):
        kept, added = (0.9, 0.7) if step else (0.0, 1.0)
        plan.launch(*tensors.addresses(), 0.1, 0.0, 0.9, kept, added)
        buffer = kept * buffer + added * g
        p -= 0.1 * (g + 0.9 * buffer if nesterov else buffer)
    close(np.concatenate(columns[0]), p, 4)
    close(np.concatenate(columns[2]), buffer, 4)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_adam(amsgrad: bool, decoupled: bool, maximize: bool, rng: Any, close: Any) -> None:
    columns = make(rng, 5 if amsgrad else 4)
    p, g, m, v, *_ = wide(columns)
    largest = np.zeros_like(v)
    tensors = table(columns)
    update = multi.adam_amsgrad if amsgrad else multi.adam
    flags = {"MAXIMIZE": maximize, "DECAY": True, "DECOUPLED": decoupled}
    plan = update.plan(tensors, [dtypes.float32] * len(columns), flags)
    rate, beta1, beta2, eps, decay = 1e-2, 0.9, 0.999, 1e-8, 0.1
    sign = -1.0 if maximize else 1.0
    for step in range(1, STEPS + 1):
        scalars = multi.adam_scalars(rate, beta1, beta2, eps, decay, step, decoupled=decoupled)
        plan.launch(*tensors.addresses(), *scalars)
        total = sign * g + (0 if decoupled else decay * p)
        if decoupled:
            p = p * (1 - rate * decay)
        m = beta1 * m + (1 - beta1) * total
        v = beta2 * v + (1 - beta2) * total**2
        largest = np.maximum(largest, v)
        root = np.sqrt(largest if amsgrad else v) / np.sqrt(1 - beta2**step)
        p = p - rate / (1 - beta1**step) * m / (root + eps)
    close(np.concatenate(columns[0]), p, 16)
    close(np.concatenate(columns[2]), m, 4)
    close(np.concatenate(columns[3]), v, 4)


def test_adam_with_float32_states_of_bfloat16_parameters(rng: Any, close: Any) -> None:
    columns = make(rng, 2, "bfloat16") + make(rng, 4)[2:]
    p, g, *_ = wide(columns)
    tensors = table(columns)
    kinds = [dtypes.bfloat16, dtypes.bfloat16, dtypes.float32, dtypes.float32]
    flags = {"MAXIMIZE": False, "DECAY": False, "DECOUPLED": False}
    scalars = multi.adam_scalars(1e-2, 0.9, 0.999, 1e-8, 0.0, 1, decoupled=False)
    multi.adam.plan(tensors, kinds, flags).launch(*tensors.addresses(), *scalars)
    close(np.concatenate(columns[2]), 0.1 * g)
    close(np.concatenate(columns[0]), p - 1e-2 * g / (np.abs(g) + 1e-8))


def test_addresses_may_change_between_steps(rng: Any, close: Any) -> None:
    columns = make(rng, 2)
    p, g = wide(columns)
    tensors = table(columns)
    plan = multi.sgd.plan(tensors, [dtypes.float32] * 2, {"MAXIMIZE": False, "DECAY": False})
    plan.launch(*tensors.addresses(), 0.1, 0.0)
    moved = [2 * x for x in columns[1]]
    tensors.set(1, [x.ctypes.data for x in moved])
    plan.launch(*tensors.addresses(), 0.1, 0.0)
    close(np.concatenate(columns[0]), p - 0.3 * g, 4)
    with pytest.raises(ValueError, match="1 addresses for 6 tensors"):
        tensors.set(1, [0])


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_clipping(kind: str, norm_type: float, rng: Any, close: Any) -> None:
    columns = make(rng, 1, kind)
    (g,) = wide(columns)
    tensors = table(columns)
    compute = dtypes.BY_NAME[kind].compute
    partials = np.zeros(tensors.n_chunks, compute.numpy)
    assert tensors.n_chunks == multi.n_chunks(SIZES) == 7
    norm, factor = np.zeros((), compute.numpy), np.zeros((), compute.numpy)
    sums = multi.plan_partial_norms(tensors, 0, dtypes.BY_NAME[kind], norm_type)
    finish = multi.plan_clip_factor(tensors.n_chunks, compute, norm_type, devices.cpu)
    scale = multi.scale.plan(tensors, [dtypes.BY_NAME[kind]])
    expected = np.linalg.norm(g, norm_type)
    for max_norm in (float(expected) * 4, 1.5):
        sums.launch(partials.ctypes.data, *tensors.addresses())
        finish.launch(norm.ctypes.data, factor.ctypes.data, partials.ctypes.data, max_norm)
        close(norm, expected, 64)
        close(factor, min(1.0, max_norm / (expected + 1e-6)), 64)
        scale.launch(*tensors.addresses(), factor.ctypes.data)
    close(np.concatenate(columns[0]), g * (1.5 / (expected + 1e-6)), 64)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_the_norm_of_nan_is_nan(norm_type: float) -> None:
    g = np.ones(5000, np.float32)
    g[4321] = np.nan
    tensors = table([[g]])
    partials, norm = np.zeros(1, np.float32), np.zeros(2, np.float32)
    multi.plan_partial_norms(tensors, 0, dtypes.float32, norm_type).launch(
        partials.ctypes.data, *tensors.addresses()
    )
    multi.plan_clip_factor(1, dtypes.float32, norm_type, devices.cpu).launch(
        norm.ctypes.data, norm.ctypes.data + 4, partials.ctypes.data, 1.0
    )
    assert np.isnan(norm).all()


def test_no_tensors_launch_nothing() -> None:
    tensors = multi.TensorTable([], 2, devices.cpu)
    plan = multi.sgd.plan(tensors, [dtypes.float32] * 2, {"MAXIMIZE": False, "DECAY": False})
    assert plan.launch(*tensors.addresses(), 0.1, 0.0) is None
    assert plan.kernels == ()


def test_a_table_of_other_columns_is_refused(rng: Any) -> None:
    tensors = table(make(rng, 4))
    with pytest.raises(
        ValueError, match=r"sgd: works on 2 columns \(parameter, gradient\); got 2 dtypes"
    ):
        multi.sgd.plan(tensors, [dtypes.float32] * 2, {"MAXIMIZE": False, "DECAY": False})
