"""A step size along a direction that meets the strong Wolfe conditions, by cubic interpolation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from tritorch.tensor import Tensor


@dataclass(frozen=True)
class Point:
    """What is known at a step size: loss, gradient, slope along the direction."""

    step: float
    loss: float
    gradient: Tensor
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with their slopes is least, within the bounds.

    Source: Nocedal and Wright, Numerical Optimization, 2006, equation 3.59.
    """
    low, high = bounds or (min(a.step, b.step), max(a.step, b.step))
    first = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = first * first - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    root = sqrt(square)
    left, right = (a, b) if a.step <= b.step else (b, a)
    share = (right.slope + root - first) / (right.slope - left.slope + 2 * root)
    return min(max(right.step - (right.step - left.step) * share, low), high)


def strong_wolfe(
    evaluate: Callable[[float], Point],
    start: Point,
    step: float,
    size: float,
    *,
    decrease: float = 1e-4,
    curvature: float = 0.9,
    tolerance_change: float = 1e-9,
    most: int = 25,
) -> tuple[Point, int]:
    """A point with enough decrease and a flat enough slope, and how often `evaluate` was called.

    Args:
        evaluate: the point at a step size.
        start: the point at 0.
        step: the first step size to try.
        size: the largest element of the direction.
    Source: Nocedal and Wright, 2006, algorithms 3.5 and 3.6.
    """

    def too_high(point: Point) -> bool:
        return point.loss > start.loss + decrease * point.step * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -curvature * start.slope

    previous, point = start, evaluate(step)
    calls, bracket = 1, None
    while calls <= most:
        if too_high(point) or (calls > 2 and point.loss >= previous.loss):
            bracket = [previous, point]
            break
        if flat(point):
            return point, calls
        if point.slope >= 0:
            bracket = [previous, point]
            break
        bounds = (point.step + 0.01 * (point.step - previous.step), point.step * 10)
        step = cubic_minimum(previous, point, bounds)
        previous, point = point, evaluate(step)
        calls += 1
    if bracket is None:
        bracket = [start, point]
    return _zoom(evaluate, bracket, calls, too_high, flat, size, tolerance_change, most)


def _zoom(
    evaluate: Callable[[float], Point],
    bracket: list[Point],
    calls: int,
    too_high: Callable[[Point], bool],
    flat: Callable[[Point], bool],
    size: float,
    tolerance_change: float,
    most: int,
) -> tuple[Point, int]:
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    stuck = done = False
    while not done and calls <= most:
        left, right = sorted((bracket[0].step, bracket[1].step))
        if (right - left) * size < tolerance_change:
            break
        step = cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - step, step - left) < margin:
            # Twice next to an end, or at it: go a tenth of the bracket away from it.
            if stuck or step >= right or step <= left:
                step = right - margin if abs(step - right) < abs(step - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = evaluate(step)
        calls += 1
        if too_high(point) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if flat(point):
            done = True
        elif point.slope * (bracket[high].step - bracket[low].step) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low], calls
