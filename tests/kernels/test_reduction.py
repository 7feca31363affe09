import numpy as np
import pytest
from scipy import special

from tests.kernels.declarations import (
    any_of,
    argmax,
    dot,
    largest,
    logsumexp,
    mean,
    power_sum,
    product,
    total,
    var_mean,
)
from tests.kernels.launching import kinds_of, launch
from tritorch import dtypes
from tritorch.kernels import ReductionKernel, source
from tritorch.layout import Layout

RANDOM = np.random.default_rng(1)
FLOAT = dtypes.float32


def floats(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


CUBE = floats(6, 40, 50)
#: (array, dims): every form, with and without parts, contiguous and not
CASES = {
    "inner": (CUBE, (2,)),
    "middle": (CUBE, (1,)),
    "outer": (CUBE, (0,)),
    "two_outer": (CUBE, (0, 1)),
    "two_inner": (CUBE, (1, 2)),
    "around": (CUBE, (0, 2)),
    "every": (CUBE, (0, 1, 2)),
    "all": (CUBE, ()),
    "transposed": (CUBE.transpose(2, 0, 1), (1,)),
    "strided": (CUBE[:, ::2, ::3], (1,)),
    "strided_inner": (CUBE[:, ::2, ::3], (2,)),
    "expanded": (np.broadcast_to(floats(40, 1), (40, 70)), (1,)),
    "expanded_kept": (np.broadcast_to(floats(1, 70), (40, 70)), (1,)),
    "short": (floats(3000, 5), (1,)),
    "few_columns": (floats(5000, 3), (0,)),
    "column_parts": (floats(4096, 70), (0,)),
    "column_parts_3d": (floats(2, 4000, 33), (1,)),
    "row_parts": (floats(2, 300_001), (1,)),
    "all_parts": (floats(777, 1001), ()),
    "parts_of_two": (floats(300, 4, 500), (0, 2)),
    "zero_dims": (np.array(3.0, np.float32), ()),
    "ones": (floats(1, 1), (0,)),
    "long_5d": (floats(3, 4, 5, 6, 7), (1, 3)),
}


def run(kernel, operands, dims, computes, out_dtypes, keepdim=False, **scalars):
    plan = kernel.plan(kinds_of(operands), dims, keepdim, computes, out_dtypes, **scalars)
    return launch(plan, operands)


@pytest.mark.parametrize("case", CASES)
def test_forms(case):
    x, dims = CASES[case]
    axes = tuple(dims) or None
    wide = x.astype(np.float64)
    (out,) = run(total, [x], dims, [FLOAT], [FLOAT])
    np.testing.assert_allclose(out, wide.sum(axes), rtol=1e-5, atol=1e-4)
    (out,) = run(mean, [x], dims, [FLOAT], [FLOAT], keepdim=True)
    np.testing.assert_allclose(out, wide.mean(axes, keepdims=True), rtol=1e-5, atol=1e-6)
    (out,) = run(largest, [x], dims, [FLOAT], [FLOAT])
    np.testing.assert_array_equal(out, x.max(axes))
    variance, average = run(var_mean, [x], dims, [FLOAT], [FLOAT] * 2, correction=0.0)
    np.testing.assert_allclose(variance, wide.var(axes), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(average, wide.mean(axes), rtol=1e-5, atol=1e-6)
    (out,) = run(logsumexp, [x], dims, [FLOAT], [FLOAT])
    np.testing.assert_allclose(out, special.logsumexp(wide, axes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [c for c in CASES if len(CASES[c][1]) < 2])
def test_arg_pairs(case):
    x, dims = CASES[case]
    x = np.asarray(np.round(x * 3))  # ties
    axis = dims[0] if dims else None
    value, position = run(argmax, [x], dims, [FLOAT], [FLOAT, dtypes.int64])
    np.testing.assert_array_equal(value, x.max(axis))
    np.testing.assert_array_equal(position, x.argmax(axis))


def test_nan_and_infinities():
    x = np.array([[3, np.nan, 5, np.nan], [1, np.inf, np.inf, 0], [-np.inf] * 4], np.float32)
    value, position = run(argmax, [x], (1,), [FLOAT], [FLOAT, dtypes.int64])
    np.testing.assert_array_equal(value, [np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(position, [1, 1, 0])
    (out,) = run(largest, [x], (1,), [FLOAT], [FLOAT])
    np.testing.assert_array_equal(out, [np.nan, np.inf, -np.inf])
    (out,) = run(logsumexp, [x], (1,), [FLOAT], [FLOAT])
    np.testing.assert_array_equal(out[0], np.nan)


def test_nothing_to_reduce():
    (out,) = run(total, [floats(0, 4)], (0,), [FLOAT], [FLOAT])
    np.testing.assert_array_equal(out, np.zeros(4))
    (out,) = run(mean, [floats(4, 0)], (1,), [FLOAT], [FLOAT])
    assert np.isnan(out).all() and out.shape == (4,)
    plan = total.plan([Layout.contiguous(FLOAT, (0, 4))], (1,), True, [FLOAT], [FLOAT])
    assert plan.outputs[0].shape == (0, 1) and plan.kernels == ()


def test_accuracy_of_long_sums():
    ones = np.ones(1 << 24, np.float32)
    (out,) = run(total, [ones], (), [FLOAT], [FLOAT])
    assert out == 1 << 24
    (out,) = run(total, [ones.reshape(1 << 12, 1 << 12)], (0,), [FLOAT], [FLOAT])
    assert (out == 1 << 12).all()
    (out,) = run(total, [ones.reshape(1 << 22, 4)], (0,), [FLOAT], [FLOAT])
    assert (out == 1 << 22).all()
    uniform = RANDOM.random(1 << 22).astype(np.float32)
    (out,) = run(total, [uniform], (), [FLOAT], [FLOAT])
    assert abs(float(out) / uniform.sum(dtype=np.float64) - 1) < 1e-6
    variance, _ = run(var_mean, [uniform + 1000], (), [FLOAT], [FLOAT] * 2, correction=1.0)
    assert abs(float(variance) / (uniform + 1000).astype(np.float64).var(ddof=1) - 1) < 1e-4


@pytest.mark.parametrize(
    "of, compute, to",
    [
        (dtypes.int8, dtypes.int64, dtypes.int64),
        (dtypes.int32, dtypes.int64, dtypes.int64),
        (dtypes.uint8, dtypes.int64, dtypes.int64),
        (dtypes.bool, dtypes.int64, dtypes.int64),
        (dtypes.float16, dtypes.float16, dtypes.float16),
        (dtypes.bfloat16, dtypes.bfloat16, dtypes.float32),
        (dtypes.float64, dtypes.float64, dtypes.float64),
    ],
    ids=lambda d: d.name,
)
def test_dtypes(of, compute, to):
    x = RANDOM.integers(-20, 20, (33, 70)).astype(of.numpy)
    for dim in (0, 1):
        (out,) = run(total, [x], (dim,), [compute], [to])
        expected = x.astype(np.float64).sum(dim).astype(to.numpy)
        assert out.dtype == expected.dtype
        np.testing.assert_array_equal(out.astype(np.float64), expected.astype(np.float64))
        (out,) = run(largest, [x], (dim,), [of], [of])
        np.testing.assert_array_equal(out.astype(np.float64), x.astype(np.float64).max(dim))


def test_lowest_of_integers_and_bools():
    x = np.full((3, 5), np.iinfo(np.int64).min)
    (out,) = run(largest, [x], (1,), [dtypes.int64], [dtypes.int64])
    np.testing.assert_array_equal(out, x[:, 0])
    flags = np.array([[0, 0, 2], [0, 0, 0]], np.float32)
    (out,) = run(any_of, [flags], (1,), [FLOAT], [dtypes.bool])
    np.testing.assert_array_equal(out, [True, False])


def test_several_inputs_and_host_numbers():
    x, y = floats(6, 40, 50), floats(50)
    (out,) = run(dot, [x, y], (0, 1), [FLOAT] * 2, [FLOAT])
    np.testing.assert_allclose(out, (x * y).sum((0, 1), dtype=np.float64), rtol=1e-4, atol=1e-3)
    (out,) = run(dot, [x, y], (2,), [FLOAT] * 2, [FLOAT])
    np.testing.assert_allclose(out, (x * y).sum(2, dtype=np.float64), rtol=1e-4, atol=1e-4)
    plans = [power_sum.plan(kinds_of([x]), (2,), False, [FLOAT], [FLOAT], p=p) for p in (1.0, 3.0)]
    assert source(plans[0]) == source(plans[1])
    for plan, p in zip(plans, (1.0, 3.0)):
        (out,) = launch(plan, [x])
        np.testing.assert_allclose(out, (np.abs(x) ** p).sum(2), rtol=1e-4)
    with pytest.raises(TypeError, match="expected the numbers"):
        power_sum.plan(kinds_of([x]), (2,), False, [FLOAT], [FLOAT])


def test_results_do_not_depend_on_threads():
    from tritorch.runtime import get_num_threads, set_num_threads

    x = floats(1001, 999)
    before = get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            set_num_threads(threads)
            results.append([run(total, [x], d, [FLOAT], [FLOAT])[0] for d in ((), (0,), (1,))])
    finally:
        set_num_threads(before)
    for one, two in zip(*results):
        np.testing.assert_array_equal(one, two)


def test_more_than_two_to_the_31_elements():
    x = np.broadcast_to(np.ones(1, np.int8), (2**31 + 100,))
    (out,) = run(total, [x], (), [dtypes.int64], [dtypes.int64])
    assert out == 2**31 + 100


def test_new_shapes_use_the_same_kernel():
    digests = set()
    for n in (2, 3, 100, 5000):
        plan = product.plan([Layout.contiguous(FLOAT, (n, 33))], (1,), False, [FLOAT], [FLOAT])
        digests |= {k.source.digest for k in plan.kernels}
    assert len(digests) == 1


def test_declarations_are_checked():
    with pytest.raises(TypeError, match="map gives 2 accumulators, identity has 1"):
        ReductionKernel("bad", ["x"], lambda x: (x, x), (0,), lambda a, b: a)
