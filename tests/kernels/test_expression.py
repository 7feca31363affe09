import math

import pytest

from tritorch import dtypes
from tritorch.kernels.expression import (
    PRIMITIVES,
    constant,
    input_names,
    substitute,
    topological,
    trace,
    variable,
)
from tritorch.kernels.scalar import cast, digamma, exp, floor, log, maximum, pow, sqrt, where

x, y = variable("x"), variable("y")


def test_equal_trees_are_one_object():
    assert exp(x) * y is exp(variable("x")) * y
    assert x + y is not y + x
    assert constant(1) is not constant(1.0)
    assert constant(1) is not constant(True)
    assert constant(0.0) is not constant(-0.0)


@pytest.mark.parametrize(
    "tree, simpler",
    [
        (x * 1, x),
        (1 * x, x),
        (x + 0, x),
        (0 + x, x),
        (x - 0, x),
        (0 - x, -x),
        (-(0 - x), x),
        (x + -y, x - y),
        ((-x) * (-y), x * y),
        (pow(x, 2), x * x),
        (pow(x, 1), x),
        (pow(x, 0.5), sqrt(x)),
        (constant(2) * 3, constant(6)),
        (exp(constant(0.0)), constant(1.0)),
        (where(x > 0, y, y), y),
        (where(constant(True), x, y), x),
    ],
)
def test_simplification(tree, simpler):
    assert tree is simpler


def test_what_would_change_a_value_stays():
    # x * 0 is nan for inf; x * 1.0 makes integers floats; 1 / 0 is for the kernel to answer
    assert (x * 0).op == "mul"
    assert (x * 1.0).op == "mul"
    assert (constant(1.0) / 0.0).op == "div"
    assert log(constant(-1.0)).op == "log"


def test_an_expression_has_no_truth_value():
    with pytest.raises(TypeError, match="Use where"):
        if x > 0:
            pass
    with pytest.raises(TypeError, match="expected an expression or a Python number, got str"):
        x + "1"


def test_substitute_composes_and_shares():
    inner = exp(x)
    (fused,) = substitute([x * y + x], {"x": inner})
    assert fused is inner * y + inner
    assert input_names([fused]) == ["x", "y"]
    assert [n.op for n in topological([fused])].count("exp") == 1
    (rounded,) = substitute([cast(x, dtypes.float16)], {"x": y})
    assert rounded is cast(y, dtypes.float16)


def test_deep_and_shared_trees():
    tree = x
    for _ in range(5000):
        tree = tree * tree + y
    assert len(topological([tree])) == 2 + 2 * 5000
    assert len(repr(tree)) < 2000
    assert len(repr(digamma(x))) < 5000


def test_trace():
    first, second = trace(lambda a, b: (a + b, 3.0), ["a", "b"])
    assert first is variable("a") + variable("b")
    assert second is constant(3.0)


def test_every_primitive_has_all_its_spellings():
    for name, row in PRIMITIVES.items():
        assert row.numpy, name
        spellings = [row.floating, row.integer, row.boolean]
        assert any(spellings), name
        for spelling in filter(None, [*spellings, row.numpy]):
            for position in range(row.arity):
                assert f"{{{position}}}" in spelling, (name, spelling)
        assert row.partials is None or len(row.partials) == row.arity, name


def test_folding_agrees_with_python():
    assert (constant(7) // 2) is constant(3)
    assert maximum(x, 0.0).args[1] is constant(0.0)
    assert sqrt(constant(2.0)).value == math.sqrt(2)
    assert floor(constant(1.5)).op == "floor"
