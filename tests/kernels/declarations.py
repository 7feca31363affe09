"""Reductions and scans that the tests declare, one of each sort."""

from __future__ import annotations

from typing import Any

from tritorch.kernels import ReductionKernel, ScanKernel
from tritorch.kernels.scalar import Expr, exp, index, isnan, log, maximum, where

Pair = tuple[Expr, Expr]

total = ReductionKernel("sum", ["x"], lambda x: x, 0, lambda a, b: a + b)
mean = ReductionKernel("mean", ["x"], lambda x: x, 0, lambda a, b: a + b, lambda a, n: a / n)
largest = ReductionKernel("amax", ["x"], lambda x: x, "lowest", maximum)
product = ReductionKernel("prod", ["x"], lambda x: x, 1, lambda a, b: a * b)
any_of = ReductionKernel("any", ["x"], lambda x: x != 0, False, lambda a, b: a | b)
dot = ReductionKernel("dot", ["x", "y"], lambda x, y: x * y, 0, lambda a, b: a + b)
power_sum = ReductionKernel(
    "power_sum", ["x"], lambda x, p: abs(x) ** p, 0, lambda a, b: a + b, scalars=["p"]
)


def first_largest(a: Pair, b: Pair) -> Pair:
    """nan is the largest; among equals the first wins."""
    (x, i), (y, j) = a, b
    wins = where(isnan(x), ~isnan(y) | (i < j), ~isnan(y) & ((x > y) | ((x == y) & (i < j))))
    return where(wins, x, y), where(wins, i, j)


argmax = ReductionKernel(
    "argmax", ["x"], lambda x: (x, index()), ("lowest", "highest"), first_largest
)


def welford(a: Any, b: Any) -> Any:
    """Chan, Golub and LeVeque: merge (mean, sum of squared deviations, count)."""
    (mean_a, squares_a, n_a), (mean_b, squares_b, n_b) = a, b
    n = n_a + n_b
    share = where(n == 0, 0.0, n_b / n)
    delta = mean_b - mean_a
    return mean_a + delta * share, squares_a + squares_b + delta * delta * n_a * share, n


var_mean = ReductionKernel(
    "var_mean",
    ["x"],
    lambda x: (x, 0, 1),
    (0, 0, 0),
    welford,
    lambda mean, squares, count, n, correction: (squares / maximum(n - correction, 0), mean),
    scalars=["correction"],
)


def log_add(a: Pair, b: Pair) -> Pair:
    """Online log-sum-exp: (maximum, sum of exp(x - maximum))."""
    (m, s), (k, t) = a, b
    top = maximum(m, k)
    return top, where(m == top, s, s * exp(m - top)) + where(k == top, t, t * exp(k - top))


logsumexp = ReductionKernel(
    "logsumexp", ["x"], lambda x: (x, 1.0), ("lowest", 0), log_add, lambda m, s: m + log(s)
)

cumsum = ScanKernel("cumsum", ["x"], lambda x: x, 0, lambda a, b: a + b)
cumprod = ScanKernel("cumprod", ["x"], lambda x: x, 1, lambda a, b: a * b)
logcumsumexp = ScanKernel(
    "logcumsumexp", ["x"], lambda x: (x, 1.0), ("lowest", 0), log_add, lambda m, s: m + log(s)
)


def last_largest(a: Pair, b: Pair) -> Pair:
    (x, i), (y, j) = a, b
    wins = where(isnan(x), ~isnan(y) | (i > j), ~isnan(y) & ((x > y) | ((x == y) & (i > j))))
    return where(wins, x, y), where(wins, i, j)


cummax = ScanKernel("cummax", ["x"], lambda x: (x, index()), ("lowest", -1), last_largest)
