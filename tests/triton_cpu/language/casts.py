"""Casts among all pairs of dtypes, with both rounding modes, and bitcasts."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np

from tests.triton_cpu.language.dtypes import (
    FLOATS,
    FP8,
    INTEGERS,
    NUMBERS,
    TRITON,
    N,
    cast,
    numpy_dtype,
    values,
)
from tests.triton_cpu.language.harness import Case, group

_CAST = """
i = tl.arange(0, {n})
result = {expression}
tl.static_assert(result.dtype == {dtype})
tl.store(o + i, result)
"""


def _case(name: str, source: np.ndarray, target: str, want: np.ndarray, expression: str) -> Case:
    expression = expression.replace("{x}", "tl.load(x + i)").replace("{to}", TRITON[target])
    body = _CAST.format(n=len(source), expression=expression, dtype=TRITON[target])
    return Case(name, body, {"x": source}, {"o": want})


def every_fp8(name: str) -> np.ndarray:
    """All 256 of them."""
    return np.arange(256, dtype=np.uint8).view(numpy_dtype(name))


def saturated(x: np.ndarray, name: str) -> np.ndarray:
    """To 8-bit floats as GPUs convert: what is too large becomes the largest finite number."""
    kind = numpy_dtype(name)
    largest = float(ml_dtypes.finfo(kind).max)
    wide = x.astype(np.float64)
    return np.where(np.isnan(wide), wide, np.clip(wide, -largest, largest)).astype(kind)


@group("casts", *NUMBERS, "bool")
def casts(source: str) -> Iterator[Case]:
    x = values(source)
    for target in (*NUMBERS, "bool"):
        if target != source:
            yield _case(f"{source} to {target}", x, target, cast(x, target), "{x}.to({to})")
    yield _case(f"tl.cast {source}", x, "float64", cast(x, "float64"), "tl.cast({x}, {to})")


@group("casts", *FP8)
def casts_of_fp8(name: str) -> Iterator[Case]:
    bits = every_fp8(name)
    for target in FLOATS:
        with np.errstate(all="ignore"):
            want = bits.astype(np.float64).astype(numpy_dtype(target))
        yield _case(f"{name} to {target}", bits, target, want, "{x}.to({to})")
        x = np.concatenate([values(target, seed) for seed in range(4)])
        yield _case(f"{target} to {name}", x, name, saturated(x, name), "{x}.to({to})")
        near = _midpoints(name).astype(numpy_dtype(target))
        yield _case(f"{target} to {name}, ties", near, name, saturated(near, name), "{x}.to({to})")
    (other,) = set(FP8) - {name}
    finite = bits.astype(np.float32)
    yield _case(f"{name} to {other}", bits, other, saturated(finite, other), "{x}.to({to})")
    yield _case(
        f"{name} + {name}",
        bits[:128],
        "float32",
        bits[:128].astype(np.float32) * 2,
        "({x}.to(tl.float32) + {x}.to(tl.float32))",
    )


def _midpoints(name: str) -> np.ndarray:
    """Halfway between neighbouring 8-bit floats: exact in every wider type."""
    found = every_fp8(name)[:0x7B].astype(np.float64)
    middle = (found[1:] + found[:-1]) / 2
    return np.resize(np.concatenate([middle, -middle]), 256)


@group("casts")
def toward_zero() -> Iterator[Case]:
    pairs = [
        ("float64", "float32"),
        ("float64", "float16"),
        ("float64", "bfloat16"),
        ("float32", "float16"),
        ("float32", "bfloat16"),
        *((wide, name) for wide in ("float32", "float16", "bfloat16") for name in FP8),
    ]
    for source, target in pairs:
        x = np.concatenate([values(source, seed) for seed in range(4)])
        text = "{x}.to({to}, fp_downcast_rounding='MODE')"
        nearest = saturated(x, target) if target in FP8 else cast(x, target)
        yield _case(f"{source} to {target} rtne", x, target, nearest, text.replace("MODE", "rtne"))
        yield _case(
            f"{source} to {target} rtz",
            x,
            target,
            _chopped(x, nearest),
            text.replace("MODE", "rtz"),
        )


def _chopped(x: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """The nearest numbers, moved towards zero where they are too large."""
    bits = nearest.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[nearest.itemsize]).copy()
    with np.errstate(invalid="ignore"):
        bits -= np.abs(nearest.astype(np.float64)) > np.abs(x.astype(np.float64))
    return bits.view(nearest.dtype)


@group("casts")
def bitcasts() -> Iterator[Case]:
    names = [*INTEGERS, *FLOATS, *FP8]
    for source in names:
        x = every_fp8(source)[:N] if source in FP8 else values(source)
        for target in names:
            kind = numpy_dtype(target)
            if source != target and kind.itemsize == x.itemsize:
                # nan keeps its bits; compare them as integers
                integer = f"int{8 * kind.itemsize}"
                text = "{x}.to(" + TRITON[target] + ", bitcast=True).to({to}, bitcast=True)"
                yield _case(f"bits of {source} as {target}", x, integer, x.view(integer), text)


@group("casts")
def scalars() -> Iterator[Case]:
    for source, target in (
        ("float32", "int32"),
        ("int64", "float32"),
        ("uint8", "float64"),
        ("float64", "bfloat16"),
        ("float32", "float16"),
        ("int32", "int8"),
    ):
        x = values(source)[:8]
        body = "for k in tl.static_range(8):\n"
        body += f"    tl.store(o + k, tl.load(x + k).to({TRITON[target]}))"
        yield Case(f"scalar {source} to {target}", body, {"x": x}, {"o": cast(x, target)})


@group("casts")
def stored_as_the_pointers_type() -> Iterator[Case]:
    body = "i = tl.arange(0, 128)\ntl.store(o + i, tl.load(x + i))"
    for source, target in (
        ("float32", "float16"),
        ("int32", "int8"),
        ("float64", "int32"),
        ("int64", "float32"),
        ("float32", "bfloat16"),
        ("int8", "bool"),
    ):
        x = values(source)
        yield Case(f"store {source} as {target}", body, {"x": x}, {"o": cast(x, target)})
