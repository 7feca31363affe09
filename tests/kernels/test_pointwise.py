"""Generated pointwise kernels against the NumPy reading of the same trees."""

import math

import numpy as np
import pytest

from tests.kernels.launching import kinds_of, launch, layout_of
from tests.reference import evaluate
from tritorch import dtypes
from tritorch.kernels import PointwiseKernel, source, trace
from tritorch.kernels import scalar as s
from tritorch.kernels.copy import arange, copy, fill, linspace
from tritorch.kernels.expression import PRIMITIVES
from tritorch.kernels.strides import dense_like
from tritorch.layout import Layout

RANDOM = np.random.default_rng(0)
EDGES = [
    0.0,
    -0.0,
    math.inf,
    -math.inf,
    math.nan,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    1e-30,
    3e38,
]
AXPY = PointwiseKernel(
    "axpy", ["x", "y", "alpha"], trace(lambda x, y, alpha: x + alpha * y, ["x", "y", "alpha"])
)


def run(kernel, operands, computes, out_dtypes, **options):
    plan = kernel.plan(kinds_of(operands), computes, out_dtypes, **options)
    return launch(plan, operands)


def check_axpy(x, y):
    (out,) = run(AXPY, [x, y, 2.5], [dtypes.float32] * 3, [dtypes.float32])
    expected = x + np.float32(2.5) * y
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    return out


def floats(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "shape_x, shape_y",
    [
        ((1000,), (1000,)),
        ((4097,), (4097,)),
        ((50, 70), (70,)),
        ((50, 1), (1, 70)),
        ((3, 4, 5), (4, 1)),
        ((), ()),
        ((7,), ()),
        ((2, 3, 4, 5), (2, 1, 4, 1)),
        ((2, 3, 4, 5, 6), (1, 3, 1, 5, 1)),
        ((1, 1), (1,)),
        ((3, 2000), (3, 1)),
        ((5000, 3), (3,)),
    ],
)
def test_broadcasting(shape_x, shape_y):
    check_axpy(floats(*shape_x), floats(*shape_y))


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::2],
        lambda a: a[:, ::3],
        lambda a: a[:, 1::2],
        lambda a: a[:, ::-1],
        lambda a: a[:, :, None].transpose(2, 1, 0),
        lambda a: a.reshape(40, 5, 10).transpose(1, 2, 0),
        lambda a: a.reshape(2, 20, 5, 10)[:, ::2].transpose(3, 1, 0, 2),
    ],
)
def test_strides(view):
    x, y = view(floats(40, 50)), view(floats(40, 50))
    check_axpy(x, y)
    check_axpy(np.ascontiguousarray(x), y)
    check_axpy(x, np.ascontiguousarray(y))
    check_axpy(x, y[..., :1])


def test_empty_launches_nothing():
    plan = AXPY.plan(
        kinds_of([floats(0, 3), floats(3), 1.0]), [dtypes.float32] * 3, [dtypes.float32]
    )
    assert plan.outputs[0].shape == (0, 3) and plan.kernels == ()
    plan.launch(0, 0, 0, 1.0)


def test_new_shapes_and_numbers_use_the_same_kernel():
    kernels = {
        AXPY.plan(
            kinds_of([floats(n, 70), floats(70), 1.0]), [dtypes.float32] * 3, [dtypes.float32]
        )
        .kernels[0]
        .source.digest
        for n in (2, 3, 100, 999)
    }
    assert len(kernels) == 1


def test_in_place_and_several_outputs():
    kernel = PointwiseKernel("both", ["x", "y"], trace(lambda x, y: (x + y, x - y), ["x", "y"]))
    x, y = floats(30, 40), floats(40)
    total, difference = run(kernel, [x, y], [dtypes.float32] * 2, [dtypes.float32, dtypes.float64])
    assert difference.dtype == np.float64
    np.testing.assert_array_equal(total, x + y)
    np.testing.assert_array_equal(difference, x - y)
    expected = x + np.float32(3) * y
    plan = AXPY.plan(
        kinds_of([x, y, 3.0]), [dtypes.float32] * 3, [dtypes.float32], out_layouts=[layout_of(x)]
    )
    plan.launch(x.ctypes.data, x.ctypes.data, y.ctypes.data, 3.0)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "shape, operands, expected",
    [
        ((3, 4), [(4, 1)], (4, 1)),
        ((3, 4), [(1, 3)], (1, 3)),
        ((3, 4), [(1, 3), (4, 1)], (1, 3)),
        ((3, 4), [(0, 1), (1, 3)], (1, 3)),
        ((3, 4), [(0, 1), (4, 1)], (4, 1)),
        ((2, 3, 4, 5), [(60, 1, 15, 3)], (60, 1, 15, 3)),
        ((2, 3, 4, 5), [(0, 1, 0, 0), (60, 20, 5, 1)], (60, 20, 5, 1)),
        ((3, 4), [(8, 2)], (4, 1)),
        ((3, 4), [(2, 8)], (1, 3)),
        ((1, 4), [(1, 1), (7, 2)], (1, 1)),
        ((4, 1, 3), [(1, 12, 4)], (1, 12, 4)),
    ],
)
def test_output_layout_follows_the_operands(shape, operands, expected):
    # expected: what PyTorch 2.13 gives
    assert (
        dense_like(dtypes.float32, shape, operands, layout_of(floats(1)).device).strides == expected
    )


# The neighbours of float32 and float64 differ: tests/ops/test_number_parts.py.
FLOAT_ROWS = [
    n
    for n, row in PRIMITIVES.items()
    if row.floating and not n.startswith("random") and n != "nextafter"
]
#: where a row is defined, if not everywhere
DOMAINS = {
    "ilogb": lambda x: np.isfinite(x) & (x != 0),
    "ldexp": lambda x, n: np.abs(n) < 1000,
    "gamma_series": lambda a, x: (a > 0.01) & (a < 100) & (x > 0.01) & (x < a + 1),
    "gamma_fraction": lambda a, x: (a > 0.01) & (x >= a + 1) & (x < 100),
    "gamma_slope": lambda a, y, psi: (a > 0.01) & (a < 100) & (np.abs(y) < 4) & (psi == 0.5),
}
NEAR = {"lgamma": 3e-4, "erfinv": 1e-4, "tan": 1e-3, "pow": 1e-4}


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", FLOAT_ROWS)
def test_float_primitives(name, dtype):
    row = PRIMITIVES[name]
    names = ["x", "y", "z"][: row.arity]
    values = np.array(EDGES + list(RANDOM.normal(size=40) * 3), dtype.numpy)
    grids = np.meshgrid(*([values] if row.arity == 1 else [values[:24]] * row.arity))
    operands = [np.ascontiguousarray(g.reshape(-1)) for g in grids]
    computes = [dtype] * row.arity
    if row.kind == "select":
        operands[0], computes[0] = operands[0] > 0, dtypes.bool
    if name in DOMAINS:
        inside = DOMAINS[name](*operands)
        operands = [o[inside] for o in operands]
    trees = trace(lambda *xs: s.apply(name, *xs), names)
    kernel = PointwiseKernel(name, names, trees)
    result = dtypes.bool if row.kind == "bool" else dtype
    (out,) = run(kernel, operands, computes, [result])
    wide = [o.astype(np.float64) if o.dtype.kind == "f" else o for o in operands]
    (expected,) = evaluate(trees, dict(zip(names, wide)))
    with np.errstate(over="ignore"):
        expected = expected.astype(out.dtype)
    rtol = NEAR.get(name, 2e-5) if dtype is dtypes.float32 else 1e-9
    if name in ("fmod", "remainder", "floor_div", "trunc_div"):
        # 3e38 / 0.1 rounds in float64 already; NumPy itself differs there
        small = np.abs(wide[0]) < 1e6
        out, expected = out[small | ~np.isfinite(wide[0])], expected[small | ~np.isfinite(wide[0])]
    np.testing.assert_allclose(
        out, expected, rtol=rtol, atol=1e-6 if dtype is dtypes.float32 else 1e-11
    )
    if name in ("neg", "copysign", "abs", "mul", "trunc", "ceil"):
        np.testing.assert_array_equal(
            np.signbit(out[~np.isnan(out)]), np.signbit(expected[~np.isnan(out)])
        )


INTEGER_ROWS = [n for n, row in PRIMITIVES.items() if row.integer and not n.startswith("random")]


@pytest.mark.parametrize(
    "dtype", [dtypes.int8, dtypes.int32, dtypes.int64, dtypes.uint8], ids=lambda d: d.name
)
@pytest.mark.parametrize("name", INTEGER_ROWS)
def test_integer_primitives(name, dtype):
    row = PRIMITIVES[name]
    names = ["x", "y", "z"][: row.arity]
    limits = np.iinfo(dtype.numpy)
    values = np.array(
        [0, 1, 2, 3, 7, 8, 63, 64, 100, limits.max, limits.min, limits.min + 1], dtype.numpy
    )
    if dtype.is_signed:
        values = np.concatenate([values, -values[1:9]])
    operands = [np.ascontiguousarray(g.reshape(-1)) for g in np.meshgrid(*[values] * row.arity)]
    computes = [dtype] * row.arity
    if row.kind == "select":
        operands[0], computes[0] = operands[0] > 0, dtypes.bool
    if name in ("floor_div", "trunc_div", "remainder", "fmod"):
        keep = operands[1] != 0  # 0 gives some number; that it does not trap is the next test
        if name == "trunc_div":
            keep &= ~((operands[0] == limits.min) & (operands[1] + 1 == 0))
        operands = [o[keep] for o in operands]
    if name.startswith("shift"):
        keep = (operands[1] >= 0) & (operands[1] < dtype.itemsize * 8)
        operands = [o[keep] for o in operands]
    if name == "pow":
        keep = (operands[1] >= 0) & (operands[1] < 100)
        operands = [o[keep] for o in operands]
    trees = trace(lambda *xs: s.apply(name, *xs), names)
    result = dtypes.bool if row.kind == "bool" else dtype
    (out,) = run(PointwiseKernel(name, names, trees), operands, computes, [result])
    if name == "trunc_div":
        wide = [o.astype(object) for o in operands]
        expected = np.array(
            [abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in zip(*wide)]
        )
    elif name in ("floor", "ceil", "trunc", "round"):
        expected = operands[0]
    else:
        (expected,) = evaluate(trees, dict(zip(names, operands)))
    np.testing.assert_array_equal(out, expected.astype(out.dtype))


@pytest.mark.parametrize("name", ["floor_div", "trunc_div", "remainder", "fmod"])
def test_integer_division_never_traps(name):
    kernel = PointwiseKernel(name, ["x", "y"], trace(lambda x, y: s.apply(name, x, y), ["x", "y"]))
    x = np.array([5, -5, np.iinfo(np.int32).min] * 7, np.int32)
    y = np.array([0, 0, -1] * 7, np.int32)
    (out,) = run(kernel, [x, y], [dtypes.int32] * 2, [dtypes.int32])
    assert out[2] in ((np.iinfo(np.int32).min,) if "div" in name else (0,))


def test_bool_operands():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    for name, expected in [
        ("add", a | b),
        ("mul", a & b),
        ("bitwise_xor", a ^ b),
        ("maximum", a | b),
        ("minimum", a & b),
        ("lt", a < b),
        ("ge", a >= b),
        ("eq", a == b),
        ("logical_and", a & b),
    ]:
        kernel = PointwiseKernel(
            name, ["x", "y"], trace(lambda x, y, n=name: s.apply(n, x, y), ["x", "y"])
        )
        (out,) = run(kernel, [a, b], [dtypes.bool] * 2, [dtypes.bool])
        np.testing.assert_array_equal(out, expected, err_msg=name)
    kernel = PointwiseKernel("not", ["x"], trace(s.logical_not, ["x"]))
    (out,) = run(
        kernel, [np.array([0.0, 2.5, math.nan], np.float32)], [dtypes.float32], [dtypes.bool]
    )
    np.testing.assert_array_equal(out, [True, False, False])


@pytest.mark.parametrize(
    "dtype",
    [dtypes.float16, dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2],
    ids=lambda d: d.name,
)
def test_small_floats_compute_in_float32(dtype):
    kernel = PointwiseKernel("fma", ["x", "y"], trace(lambda x, y: x * y + 1.0, ["x", "y"]))
    x, y = (RANDOM.normal(size=300).astype(dtype.numpy) for _ in range(2))
    (out,) = run(kernel, [x, y], [dtype] * 2, [dtype])
    expected = (x.astype(np.float32) * y.astype(np.float32) + 1).astype(dtype.numpy)
    assert out.dtype == dtype.numpy
    same = out.view(f"u{dtype.itemsize}") == expected.view(f"u{dtype.itemsize}")
    assert same.mean() > 0.99  # a fused multiply-add may round the other way


CASTS = [
    dtypes.float32,
    dtypes.float64,
    dtypes.float16,
    dtypes.int8,
    dtypes.int32,
    dtypes.int64,
    dtypes.uint8,
    dtypes.bool,
]


@pytest.mark.parametrize("to", CASTS, ids=lambda d: d.name)
@pytest.mark.parametrize("of", CASTS, ids=lambda d: d.name)
def test_copy_converts(of, to):
    values = np.array([0, 1, 2, 3, 100, 127, 5, 64] * 3)
    if of.is_floating_point:
        values = np.concatenate([values + 0.75, [0.0, 0.5, 1.0]])
    if of.is_signed and (to.is_signed or not of.is_floating_point):
        values = np.concatenate([values, -values])
    x = values.astype(of.numpy)
    (out,) = run(copy, [x], [of], [to])
    np.testing.assert_array_equal(out, x.astype(to.numpy))


def test_floats_wrap_in_narrow_integers():
    x = np.array([-1.0, -2.7, 300.0, 3.9], np.float32)
    (out,) = run(copy, [x], [dtypes.float32], [dtypes.uint8])
    np.testing.assert_array_equal(out, [255, 254, 44, 3])
    (out,) = run(copy, [x], [dtypes.float32], [dtypes.int8])
    np.testing.assert_array_equal(out, [-1, -2, 44, 3])


def test_copy_into_a_layout():
    x = floats(70, 130)
    out = np.zeros((130, 70), np.float32).T
    plan = copy.plan(
        [layout_of(x)], [dtypes.float32], [dtypes.float32], out_layouts=[layout_of(out)]
    )
    plan.launch(out.ctypes.data, x.ctypes.data)
    np.testing.assert_array_equal(out, x)


def test_fill_arange_linspace():
    (out,) = run(fill, [7], [dtypes.int64], [dtypes.int16], out_shape=(3, 5))
    assert out.dtype == np.int16 and (out == 7).all() and out.shape == (3, 5)
    (out,) = run(arange, [3, -2], [dtypes.int64] * 2, [dtypes.int64], out_shape=(10000,))
    np.testing.assert_array_equal(out, 3 - 2 * np.arange(10000))
    (out,) = run(arange, [0.0, 0.1], [dtypes.float64] * 2, [dtypes.float32], out_shape=(1000,))
    np.testing.assert_array_equal(out, (np.arange(1000) * 0.1).astype(np.float32))
    operands = [1.0, 2.0, 1.0 / 10, 5.0, 10.0]
    (out,) = run(linspace, operands, [dtypes.float64] * 5, [dtypes.float64], out_shape=(11,))
    np.testing.assert_allclose(out, np.linspace(1, 2, 11), rtol=1e-15)
    assert out[-1] == 2


def test_index_is_the_logical_position():
    kernel = PointwiseKernel("position", ["x"], trace(lambda x: s.index() + 0 * x, ["x"]))
    x = np.zeros((6, 5, 4), np.int64).transpose(2, 0, 1)
    (out,) = run(kernel, [x], [dtypes.int64], [dtypes.int64])
    np.testing.assert_array_equal(out, np.arange(120).reshape(4, 6, 5))


def test_scalars_of_every_kind():
    kernel = PointwiseKernel("add", ["x", "y"], trace(lambda x, y: x + y, ["x", "y"]))
    for dtype, number in [
        (dtypes.float32, 0.1), (dtypes.float64, 0.1), (dtypes.float16, 0.5), (dtypes.int8, -3),
        (dtypes.int64, 2**40), (dtypes.uint8, 200), (dtypes.bool, True),
    ]:  # fmt: skip
        x = np.arange(5).astype(dtype.numpy)
        (out,) = run(kernel, [x, number], [dtype] * 2, [dtype])
        np.testing.assert_array_equal(
            out, x + np.array(number).astype(dtype.numpy), err_msg=dtype.name
        )


def test_names_that_the_generated_text_uses():
    names = ["n", "out", "mask", "lambda"]
    kernel = PointwiseKernel("sum4", names, trace(lambda a, b, c, d: a + b + c + d, names))
    operands = [floats(9), floats(9), floats(9), 1.0]
    (out,) = run(kernel, operands, [dtypes.float32] * 4, [dtypes.float32])
    np.testing.assert_allclose(
        out, operands[0] + operands[1] + operands[2] + 1, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("body", "dtype"),
    [
        (lambda x, y: s.sigmoid(x + y) * x, dtypes.float32),
        (lambda x, y: s.sigmoid(x - y), dtypes.float64),
        (lambda x, y: s.trunc_div(x + y, y - 0.5), dtypes.float64),
        (lambda x, y: s.floor(x + y) * 2, dtypes.int64),
    ],
    ids=["sigmoid", "sigmoid of doubles", "trunc_div", "floor of integers"],
)
def test_operators_inside_a_spelling_take_whole_operands(body, dtype):
    trees = trace(body, ["x", "y"])
    kernel = PointwiseKernel("whole", ["x", "y"], trees)
    x, y = (np.round(floats(9) * 5).astype(dtype.numpy) for _ in range(2))
    (out,) = run(kernel, [x, y], [dtype] * 2, [dtype])
    (expected,) = evaluate(trees, {"x": x, "y": y})
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_wide_indices_give_the_same():
    # the extent of this layout is above 2**31 although it touches few elements; nothing is read
    # beyond x
    kernel = PointwiseKernel("double", ["x"], trace(lambda x: x * 2, ["x"]))
    shape, strides = (1, 3), (1 << 32, 1)
    plan = kernel.plan(
        [Layout.of(dtypes.float32, shape, strides)], [dtypes.float32], [dtypes.float32]
    )
    assert "int64" not in source(plan)
    plan = kernel.plan(
        [Layout.of(dtypes.float32, (2, 3), (0, 1))],
        [dtypes.float32],
        [dtypes.float32],
        out_layouts=[Layout.of(dtypes.float32, (2, 3), (1 << 29, 1))],
    )
    assert "int64" not in source(plan)
    plan = kernel.plan(
        [Layout.of(dtypes.float32, (2, 3), (0, 1))],
        [dtypes.float32],
        [dtypes.float32],
        out_layouts=[Layout.of(dtypes.float32, (2, 3), (1 << 32, 1))],
    )
    assert "tl.program_id(0).to(tl.int64)" in source(plan)


def test_unknown_inputs_are_an_error():
    with pytest.raises(TypeError, match="the trees read y, which are no inputs"):
        PointwiseKernel("bad", ["x"], trace(lambda x, y: x + y, ["x", "y"]))
    with pytest.raises(RuntimeError, match=r"axpy: cannot broadcast \(3, 4\) with \(5,\)"):
        AXPY.plan(kinds_of([floats(3, 4), floats(5), 1.0]), [dtypes.float32] * 3, [dtypes.float32])
