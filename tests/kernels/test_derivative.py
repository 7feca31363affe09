"""Symbolic derivatives against central differences of the NumPy reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import evaluate
from tritorch import dtypes
from tritorch.kernels import scalar as s
from tritorch.kernels.derivative import derivative, gradient, zero_or
from tritorch.kernels.expression import PRIMITIVES, Expr, variable

x, y, g = variable("x"), variable("y"), variable("g")
ANY = np.array([-2.3, -0.7, -0.2, 0.3, 0.9, 1.7])
POSITIVE = np.array([0.2, 0.6, 1.3, 2.7])
UNIT = np.array([-0.9, -0.4, 0.1, 0.5, 0.8])

#: points for every differentiable function of one number
UNARY = {
    "exp": ANY, "exp2": ANY, "expm1": ANY, "log": POSITIVE, "log2": POSITIVE, "log10": POSITIVE,
    "log1p": POSITIVE, "sqrt": POSITIVE, "rsqrt": POSITIVE, "sin": ANY, "cos": ANY, "tan": UNIT,
    "asin": UNIT, "acos": UNIT, "atan": ANY, "sinh": ANY, "cosh": ANY, "tanh": ANY, "asinh": ANY,
    "acosh": POSITIVE + 1, "atanh": UNIT, "erf": ANY, "erfc": ANY, "erfinv": UNIT,
    "lgamma": POSITIVE,
    "abs": ANY, "neg": ANY, "sigmoid": ANY, "reciprocal": ANY, "square": ANY, "digamma": POSITIVE,
    "one_plus_erf": ANY, "one_plus_tanh": ANY,
}  # fmt: skip
FLAT = ["floor", "ceil", "trunc", "round", "sign", "isnan", "isinf", "isfinite", "logical_not"]
BINARY = {
    "add": (ANY, ANY), "sub": (ANY, ANY), "mul": (ANY, ANY), "div": (ANY, POSITIVE),
    "pow": (POSITIVE, ANY), "atan2": (ANY, ANY), "maximum": (ANY, ANY + 0.01),
    "minimum": (ANY, ANY + 0.01), "fmax": (ANY, ANY + 0.01), "fmin": (ANY, ANY + 0.01),
    "copysign": (ANY, ANY), "fmod": (ANY, POSITIVE + 2), "remainder": (ANY, POSITIVE + 2),
}  # fmt: skip


def number(tree: Expr, **inputs: float) -> float:
    return float(evaluate([tree], inputs)[0])


def difference(tree: Expr, name: str, inputs: dict[str, float], step: float = 1e-5) -> float:
    up = number(tree, **{**inputs, name: inputs[name] + step})
    down = number(tree, **{**inputs, name: inputs[name] - step})
    return (up - down) / (2 * step)


def check(tree: Expr, at: Expr, inputs: dict[str, float], rtol: float = 1e-5) -> None:
    slope = number(zero_or(derivative(tree, at)), **inputs)
    expected = difference(tree, at.value, inputs)
    assert slope == pytest.approx(expected, rel=rtol, abs=rtol), (tree, inputs)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    tree = getattr(s, name)(x)
    for point in UNARY[name]:
        check(tree, x, {"x": point})
        if name not in ("abs", "neg"):
            first = derivative(tree, x)
            assert first is not None
            check(first, x, {"x": point}, rtol=1e-4)  # second order


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    tree = getattr(s, name)(x, y)
    for a in BINARY[name][0]:
        for b in BINARY[name][1]:
            check(tree, x, {"x": a, "y": b})
            if name != "copysign":
                check(tree, y, {"x": a, "y": b})


def test_all_float_primitives_are_covered():
    ternary = {"where", "clamp", "fma", "gamma_slope"}
    for name, row in PRIMITIVES.items():
        has_slope = row.tangent is not None or any(row.partials or ())
        assert has_slope == (name in UNARY or name in BINARY or name in ternary), name


@pytest.mark.parametrize("name", FLAT)
def test_flat_functions_have_no_derivative(name):
    assert derivative(getattr(s, name)(x), x) is None


def test_ternary():
    points = {"x": 0.3, "y": 0.8, "z": -1.1}
    z = variable("z")
    for at in (x, y, z):
        check(s.fma(x, y, z), at, points)
    assert number(derivative(s.clamp(x, -1.0, 1.0), x), x=0.5) == 1
    assert number(derivative(s.clamp(x, -1.0, 1.0), x), x=1.0) == 1
    assert number(derivative(s.clamp(x, -1.0, 1.0), x), x=1.5) == 0
    clamped = s.clamp(x, y, z)
    assert number(derivative(clamped, y), x=-2.0, y=-1.0, z=1.0) == 1
    assert number(derivative(clamped, z), x=2.0, y=-1.0, z=1.0) == 1
    assert number(derivative(clamped, z), x=0.0, y=1.0, z=-1.0) == 1


def test_a_gamma_variables_slope():
    """By the variable's logarithm; by its shape it is not known."""
    slope = s.gamma_slope(x, y, s.digamma(x + 1.0))
    for a in (0.4, 1.0, 6.0):
        for logarithm in (-1.5, 0.2, 2.0):
            check(slope, y, {"x": a, "y": logarithm}, rtol=1e-4)
    assert math.isnan(number(derivative(slope, x), x=1.5, y=0.5))


def test_edges():
    assert number(derivative(abs(x), x), x=0.0) == 0
    tie = derivative(s.maximum(x, y), x)
    assert number(tie, x=1.0, y=1.0) == 0.5
    assert number(tie, x=math.nan, y=1.0) == 1
    assert number(tie, x=1.0, y=math.nan) == 1
    assert number(derivative(s.sqrt(x), x), x=0.0) == math.inf
    relu = s.where(x > 0, x, 0.0)
    assert number(derivative(relu, x), x=0.0) == 0
    power = s.pow(x, y)
    assert number(derivative(power, x), x=0.0, y=0.0) == 0
    assert number(derivative(power, y), x=0.0, y=2.0) == 0
    assert number(derivative(power, x), x=-2.0, y=3.0) == 12
    assert derivative(s.pow(x, 0), x) is None
    # a branch that is not taken leaks nothing, nor does an upstream nan
    guarded = s.where(x > 0, s.log(x), 0.0)
    assert number(derivative(guarded, x), x=0.0) == 0
    assert number(derivative(relu, x, g), x=-1.0, g=math.nan) == 0
    softplus = s.maximum(x, 0.0) + s.log1p(s.exp(-abs(x)))
    assert number(derivative(softplus, x), x=0.0) == 0.5
    assert number(derivative(softplus, x), x=1e4) == 1
    second = derivative(derivative(softplus, x), x)
    assert math.isfinite(number(second, x=100.0))


def test_gradient_sums_over_outputs_and_shares():
    h = variable("h")
    outputs = [s.exp(x) * y, x - y]
    dx, dy = gradient(outputs, [g, h], [x, y])
    values = {"x": 0.3, "y": 0.7, "g": 2.0, "h": 5.0}
    assert number(dx, **values) == pytest.approx(2 * math.exp(0.3) * 0.7 + 5)
    assert number(dy, **values) == pytest.approx(2 * math.exp(0.3) - 5)
    assert gradient([s.floor(x) + y], [g], [x]) == (None,)
    assert derivative(s.cast(x, dtypes.float16) * 2, x, g) is g * 2
    assert derivative(s.cast(x, dtypes.int32), x) is None


LEAVES = st.sampled_from([x, y, x * 0.5, y + 0.25])


def grow(children: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    unary = st.sampled_from([s.sin, s.cos, s.tanh, s.sigmoid, s.erf, s.atan, s.asinh, s.square])
    binary = st.sampled_from([s.add, s.sub, s.mul, s.atan2])
    return st.one_of(
        st.builds(lambda f, a: f(a), unary, children),
        st.builds(lambda f, a, b: f(a, b), binary, children, children),
        st.builds(lambda a, b: a / (1.0 + b * b), children, children),
        st.builds(lambda a, b: s.where(a > 0.1, s.exp(s.sin(b)), a * b), children, children),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.recursive(LEAVES, grow, max_leaves=8),
    st.floats(-1.5, 1.5),
    st.floats(-1.5, 1.5),
)
def test_random_trees(tree, a, b):
    inputs = {"x": a, "y": b}
    for at in (x, y):
        slope = number(zero_or(derivative(tree, at, g)), g=1.0, **inputs)
        step = 1e-6
        near = [difference(tree, at.value, inputs, h) for h in (step, step / 3)]
        if abs(near[0] - near[1]) > 1e-4 * (1 + abs(near[0])):
            continue  # a kink or a jump within the step
        assert slope == pytest.approx(near[0], rel=1e-4, abs=1e-4)
