import numpy as np
import pytest

from tests.kernels.declarations import cummax, cumprod, cumsum, logcumsumexp
from tests.kernels.launching import kinds_of, launch
from tritorch import dtypes

RANDOM = np.random.default_rng(2)
FLOAT = dtypes.float32
CUBE = RANDOM.normal(size=(6, 40, 50)).astype(np.float32)
CASES = {
    "inner": (CUBE, 2),
    "middle": (CUBE, 1),
    "outer": (CUBE, 0),
    "transposed": (CUBE.transpose(2, 0, 1), 1),
    "strided": (CUBE[:, ::2, ::3], 2),
    "long": (RANDOM.normal(size=(3, 10_000)).astype(np.float32), 1),
    "long_outer": (RANDOM.normal(size=(10_000, 3)).astype(np.float32), 0),
    "vector": (RANDOM.normal(size=100).astype(np.float32), 0),
    "zero_dims": (np.array(2.0, np.float32), 0),
    "one": (CUBE[:, :1], 1),
}


def run(kernel, x, dim, compute, out_dtypes, **options):
    return launch(kernel.plan(kinds_of([x]), dim, [compute], out_dtypes, **options), [x])


def flipped(x, dim, function):
    return np.flip(function(np.flip(x, dim)), dim)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_running_sums(case, reverse):
    x, dim = CASES[case]
    (out,) = run(cumsum, x, dim, FLOAT, [FLOAT], reverse=reverse)
    wide = x.astype(np.float64)
    if x.ndim == 0:
        expected = wide
    elif reverse:
        expected = flipped(wide, dim, lambda a: a.cumsum(dim))
    else:
        expected = wide.cumsum(dim)
    assert out.shape == x.shape and out.flags.c_contiguous
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("case", ["inner", "middle", "long", "long_outer"])
def test_several_accumulators(case):
    x, dim = CASES[case]
    x = np.round(x)
    value, position = run(cummax, x, dim, FLOAT, [FLOAT, dtypes.int64])
    np.testing.assert_array_equal(value, np.maximum.accumulate(x, dim))
    np.testing.assert_array_equal(np.take_along_axis(x, position, dim), value)
    # the last of equal ones, as in PyTorch
    last = np.where(x == value, np.indices(x.shape)[dim], -1)
    np.testing.assert_array_equal(position, np.maximum.accumulate(last, dim))
    (out,) = run(logcumsumexp, x, dim, FLOAT, [FLOAT])
    expected = np.logaddexp.accumulate(x.astype(np.float64), dim)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_dtypes_and_products():
    x = RANDOM.integers(0, 3, (5, 300))
    (out,) = run(cumsum, x.astype(np.int8), 1, dtypes.int64, [dtypes.int64])
    np.testing.assert_array_equal(out, x.cumsum(1))
    (out,) = run(cumprod, x.astype(np.float64) - 0.5, 1, dtypes.float64, [dtypes.float64])
    np.testing.assert_allclose(out, (x - 0.5).cumprod(1), rtol=1e-12)
    (out,) = run(cumsum, x.astype(np.float16), 1, dtypes.float16, [dtypes.float16])
    np.testing.assert_array_equal(out, x.cumsum(1).astype(np.float16))


def test_empty():
    plan = cumsum.plan(kinds_of([np.zeros((0, 3), np.float32)]), 1, [FLOAT], [FLOAT])
    assert plan.outputs[0].shape == (0, 3) and plan.kernels == ()
