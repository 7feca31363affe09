import numpy as np
import pytest
from scipy import stats

from tests import reference
from tests.kernels.launching import kinds_of, launch
from tritorch import dtypes
from tritorch.kernels import PointwiseKernel, gradient, random, source, trace, variable
from tritorch.kernels.scalar import index

WORD = dtypes.int64
SEED, OFFSET, COUNT = 0x1234_5678_9ABC_DEF0, (1 << 32) - 1000, 50_000


def draw(kernel, numbers, dtype, count=COUNT, seed=SEED, offset=OFFSET, compute=None):
    operands = [*numbers, seed, offset]
    computes = [compute or dtype] * len(numbers) + [WORD] * 2
    plan = kernel.plan(kinds_of(operands), computes, [dtype], out_shape=(count,))
    return launch(plan, operands)[0]


def test_philox_known_answers():
    # Random123's kat_vectors, philox4x32 with 10 rounds: all zeros; and all ones in key and low
    # counter
    assert [int(w) for w in reference.philox(0, 0)] == [
        0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8,
    ]  # fmt: skip


def test_words_equal_the_reference():
    kernel = PointwiseKernel(
        "words",
        ["seed", "offset"],
        trace(
            lambda seed, offset: (
                random.random_word(seed, offset + index()),
                random.random_second_word(seed, offset + index()),
            ),
            ["seed", "offset"],
        ),
    )
    plan = kernel.plan([int, int], [WORD] * 2, [WORD] * 2, out_shape=(COUNT,))
    first, second = launch(plan, [SEED, OFFSET])  # the low counter word wraps on the way
    words = reference.philox(SEED, OFFSET + np.arange(COUNT))
    np.testing.assert_array_equal(first, words[0].astype(np.int64))
    np.testing.assert_array_equal(second, words[1].astype(np.int64))


def test_uniform():
    positions = OFFSET + np.arange(COUNT)
    out = draw(random.uniform_kernel(dtypes.float32), [0.0, 1.0], dtypes.float32)
    np.testing.assert_array_equal(out, reference.philox_uniform(SEED, positions))
    wide = draw(random.uniform_kernel(dtypes.float64), [0.0, 1.0], dtypes.float64)
    np.testing.assert_array_equal(wide, reference.philox_uniform64(SEED, positions))
    shifted = draw(
        random.uniform_kernel(dtypes.float32), [0.0, 1.0], dtypes.float32, offset=OFFSET + 5
    )
    np.testing.assert_array_equal(shifted[:-5], out[5:])
    assert stats.kstest(wide, "uniform").pvalue > 1e-3
    between = draw(random.uniform_kernel(dtypes.float32), [-3.0, 5.0], dtypes.float32)
    assert between.min() >= -3 and between.max() < 5 and abs(between.mean() - 1) < 0.05


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=lambda d: d.name)
def test_uniform_never_rounds_up_to_one(dtype):
    out = draw(random.uniform_kernel(dtype), [0.0, 1.0], dtype).astype(np.float64)
    assert out.min() >= 0 and 0.99 < out.max() < 1


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=lambda d: d.name)
def test_normal(dtype):
    out = draw(random.normal_kernel(dtype), [0.0, 1.0], dtype)
    expected = reference.philox_normal if dtype is dtypes.float32 else reference.philox_normal64
    expected = expected(SEED, OFFSET + np.arange(COUNT))
    rtol = 1e-4 if dtype is dtypes.float32 else 1e-9
    np.testing.assert_allclose(out, expected, rtol=rtol, atol=1e-5 if rtol > 1e-6 else 1e-9)
    assert stats.kstest(out, "norm").pvalue > 1e-3
    moved = draw(random.normal_kernel(dtype), [3.0, 2.0], dtype)
    np.testing.assert_allclose(moved, out * 2 + 3, rtol=1e-4, atol=1e-5)


def test_randint():
    for low, high in [(-3, 5), (0, 1), (10, 10 + 2**31), (0, 2**40), (-(2**61), 2**61)]:
        out = draw(random.randint_kernel(low, high), [low, high], WORD)
        assert low <= out.min() and out.max() < high
        assert abs(out.mean() - (low + high - 1) / 2) < 0.02 * (high - low) + 1e-9
    counts = np.bincount(draw(random.randint_kernel(0, 8), [0, 8], WORD))
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.05, 1.0, 40.0])
def test_gamma(shape):
    """Logarithms, since variables of small shapes are too small themselves."""
    shapes = np.full(20_000, shape)
    operands = [shapes, SEED, OFFSET]
    plan = random.gamma.plan(kinds_of(operands), [dtypes.float64, WORD, WORD], [dtypes.float64])
    (out,) = launch(plan, operands)
    some = np.arange(200) * 100
    words = [f(SEED, OFFSET + some) for f in (reference.philox_word, reference.philox_second_word)]
    wanted = reference.gamma_logarithm(shapes[some], *words)
    np.testing.assert_allclose(out[some], wanted, rtol=1e-9, atol=1e-9)
    assert stats.kstest(out, stats.loggamma(shape).cdf).pvalue > 1e-3


def test_bernoulli_exponential_dropout():
    out = draw(random.bernoulli, [0.3], dtypes.bool, compute=dtypes.float32)
    assert abs(out.mean() - 0.3) < 0.01
    out = draw(random.exponential, [2.0], dtypes.float32)
    assert stats.kstest(out, "expon", args=(0, 0.5)).pvalue > 1e-3 and np.isfinite(out).all()
    x = np.full(COUNT, 3.0, np.float32)
    operands = [x, 0.25, 4 / 3, SEED, OFFSET]
    plan = random.dropout.plan(
        kinds_of(operands), [dtypes.float32] * 3 + [WORD] * 2, [dtypes.float32]
    )
    (out,) = launch(plan, operands)
    kept = out != 0
    np.testing.assert_allclose(out[kept], 4.0, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 0.01
    (again,) = launch(plan, operands)
    np.testing.assert_array_equal(out, again)


def test_dropout_is_its_own_backward():
    (slope,) = gradient(random.dropout.outputs, [variable("g")], [variable("x")])
    forward = random.dropout.outputs[0]
    assert slope.op == forward.op == "where" and slope.args[0] is forward.args[0]


def test_seeds_are_arguments():
    kernel = random.uniform_kernel(dtypes.float32)
    plans = [
        kernel.plan(
            [float, float, int, int],
            [dtypes.float32] * 2 + [WORD] * 2,
            [dtypes.float32],
            out_shape=(n,),
        )
        for n in (10, 20)
    ]
    assert source(plans[0]) == source(plans[1])
    one = draw(kernel, [0.0, 1.0], dtypes.float32, seed=1)
    other = draw(kernel, [0.0, 1.0], dtypes.float32, seed=1 + (1 << 32))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
