"""Generated sources against golden copies, so that a change in code generation shows in review.

After a change that is meant: `python -m tests.kernels.test_golden` writes them anew.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from tests.kernels.declarations import argmax, cumsum, mean
from tritorch import dtypes
from tritorch.kernels import Plan, PointwiseKernel, source, trace
from tritorch.kernels import scalar as s
from tritorch.layout import Layout

FOLDER = Path(__file__).parent / "golden"
FLOAT = dtypes.float32


def layout(*shape: int, dtype: dtypes.dtype = FLOAT) -> Layout:
    return Layout.contiguous(dtype, shape)


def softplus() -> Plan:
    body = trace(lambda x: s.maximum(x, 0.0) + s.log1p(s.exp(-abs(x))), ["x"])
    return PointwiseKernel("softplus", ["x"], body).plan(
        [layout(1000, dtype=dtypes.bfloat16)], [dtypes.bfloat16], [dtypes.bfloat16]
    )


def scale_shift() -> Plan:
    names = ["x", "weight", "bias", "alpha"]
    kernel = PointwiseKernel("scale_shift", names, trace(lambda x, w, b, a: x * w + a * b, names))
    operands = [layout(8, 3, 100), layout(3, 1), layout(100), float]
    return kernel.plan(operands, [FLOAT] * 4, [FLOAT])


def transposed_difference() -> Plan:
    kernel = PointwiseKernel("sub", ["x", "y"], trace(lambda x, y: x - y, ["x", "y"]))
    turned = Layout.of(FLOAT, (64, 64), (1, 64))
    return kernel.plan([layout(64, 64), turned], [FLOAT] * 2, [FLOAT])


def known_steps() -> Plan:
    kernel = PointwiseKernel("sub", ["x", "y"], trace(lambda x, y: x - y, ["x", "y"]))
    second = Layout.of(FLOAT, (8, 100), (200, 2))
    backwards = Layout.of(FLOAT, (8, 100), (100, -1))
    return kernel.plan([second, backwards], [FLOAT] * 2, [FLOAT])


def mean_of_columns() -> Plan:
    return mean.plan([layout(5000, 64)], (0,), False, [FLOAT], [FLOAT])


def argmax_of_rows() -> Plan:
    return argmax.plan([layout(64, 500)], (1,), False, [FLOAT], [FLOAT, dtypes.int64])


def reverse_cumsum() -> Plan:
    return cumsum.plan([layout(64, 500)], 1, [FLOAT], [FLOAT], reverse=True)


PLANS = [
    softplus,
    scale_shift,
    transposed_difference,
    known_steps,
    mean_of_columns,
    argmax_of_rows,
    reverse_cumsum,
]


@pytest.mark.parametrize("make", PLANS, ids=lambda f: f.__name__)
def test_source_is_the_golden_one(make):
    path = FOLDER / f"{make.__name__}.txt"
    expected, found = path.read_text(), source(make()) + "\n"
    difference = "\n".join(
        difflib.unified_diff(expected.split("\n"), found.split("\n"), lineterm="")
    )
    assert found == expected, f"{path.name} differs:\n{difference}"


if __name__ == "__main__":
    for plan in PLANS:
        (FOLDER / f"{plan.__name__}.txt").write_text(source(plan()) + "\n")
