"""What works along dimensions: reductions, scans, sorting, normalisation. `dim` counts one more.

These rules follow from an operation's kind and its parameters' names; none needs a line of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from tritorch.func.batched import Level
from tritorch.func.dispatch import ORIGINALS, RULES, Rule, at, front, rewrapped
from tritorch.func.rules.declaring import behind, with_line, without_line
from tritorch.layout import normalize_dim
from tritorch.ops import extrema, normalization, reduction, scan, sorting, views
from tritorch.tensor import Tensor

#: where no `dim` means all of them, and one `dim` is all that is accepted
_FLATTENING = frozenset(
    {"argmax", "argmin", "max", "min", "median", "nanmedian", "prod", "quantile", "nanquantile"}
)


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(ORIGINALS.get(function, function))


def _bound(
    function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> inspect.BoundArguments:
    renamed = {{"axis": "dim", "keepdims": "keepdim"}.get(k, k): v for k, v in options.items()}
    bound = _signature(function).bind(*args, **renamed)
    bound.apply_defaults()
    return bound


def reduced(
    level: Level, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Over `dim`, over all dimensions of a sample where it is None."""
    bound = _bound(function, args, options)
    given = bound.arguments
    name, input = next(iter(given.items()))
    if (
        not at(input, level)
        or given.get("out") is not None
        or given.get("other") is not None
        or isinstance(given["dim"], Tensor)
        or any(at(value, level) for key, value in given.items() if key != name)
    ):
        return NotImplemented
    value, ndim, dim = front(input, level), input._layout.ndim, given["dim"]
    if isinstance(dim, bool):  # var(x, False) means unbiased=False
        if "unbiased" not in given:
            return NotImplemented
        given["unbiased"], dim = dim, None
    line = not ndim
    if line:
        if "keepdim" in given:
            given["keepdim"] = False
        value, ndim = views.unsqueeze(value, -1), 1
    whole = dim is None or (not isinstance(dim, int) and not len(dim))
    if whole and not line and function.__name__ in _FLATTENING:
        return _flattened(level, function, bound, name, value, ndim)
    if whole:
        given["dim"] = 1 if line else tuple(range(1, ndim + 1))
    elif isinstance(dim, int):
        given["dim"] = _shifted(dim, ndim)
    else:
        given["dim"] = tuple(_shifted(d, ndim) for d in dim)
    given[name] = value
    result = function(*bound.args, **bound.kwargs)
    if whole and function.__name__ in ("max", "min", "median", "nanmedian"):
        result = result[0]
    return rewrapped(result, level)


def _shifted(dim: int, ndim: int) -> int:
    return normalize_dim("vmap", dim, ndim) + 1


def _flattened(
    level: Level, function: Callable[..., Any], bound: inspect.BoundArguments, name: str,
    value: Tensor, ndim: int,
) -> Any:  # fmt: skip
    given = bound.arguments
    keepdim = bool(given.get("keepdim"))
    given[name] = views.reshape(value, level.size, -1)
    given["dim"] = 1 if given[name]._layout.ndim > 1 else 0
    if "keepdim" in given:
        given["keepdim"] = False
    result = function(*bound.args, **bound.kwargs)
    if function.__name__ in ("max", "min", "median", "nanmedian"):
        result = result[0]
    if keepdim:
        result = views.reshape(result, *result._layout.shape, *(1,) * ndim)
    return rewrapped(result, level)


def along(
    level: Level, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Along `dim`, which stays; every tensor has a sample of the same number of dimensions."""
    bound = _bound(function, args, options)
    given = bound.arguments
    name, input = next(iter(given.items()))
    if not at(input, level) or given.get("out") is not None or given.get("dim", 0) is None:
        return NotImplemented
    if any(at(value, level) for key, value in given.items() if key != name):
        return NotImplemented
    given[name], line = with_line(input, level)
    given["dim"] = _shifted(given["dim"], 1) if line else behind(given["dim"], input)
    return rewrapped(without_line(function(*bound.args, **bound.kwargs), line), level)


def rows(
    level: Level, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Over the last dimensions, or along `dim`, of any number of rows."""
    if "dim" in _signature(function).parameters:
        return along(level, function, args, options)
    return NotImplemented


#: the rule of a kind of declared operations
DERIVED: dict[str, Rule] = {"reduction": reduced, "scan": along, "rows": rows}

for _function in (
    extrema.max, extrema.min, extrema.aminmax, extrema.vector_norm, extrema.norm,
    reduction.std_mean, reduction.var_mean, reduction.count_nonzero,
    sorting.median, sorting.nanmedian,
):  # fmt: skip
    RULES[_function] = reduced
for _function in (
    scan.logcumsumexp, scan._cumsum, scan._logcumsumexp, scan.cummax, scan.cummin,
    sorting.sort, sorting.argsort, normalization.softmax, normalization.log_softmax,
):  # fmt: skip
    RULES[_function] = along


def _counted(
    level: Level, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """A sample of no dimensions stays with the loop."""
    if not args or not args[0]._layout.ndim:
        return NotImplemented
    return along(level, function, args, options)


for _function in (sorting.topk, sorting.kthvalue, sorting.mode_):
    RULES[_function] = _counted
