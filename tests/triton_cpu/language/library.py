"""libdevice: every function of Triton's table with every signature, from a kernel.

What arithmetic makes exact is compared with Fractions rounded as the name says; the transcendental
functions with the references and bounds of `test_math`, which knows their edges.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import special

from tests.triton_cpu.language.dtypes import N, finite, values
from tests.triton_cpu.language.harness import Case, group
from tests.triton_cpu.test_math import TABLE

Signature = tuple[tuple[str, ...], str]
_NUMPY = {"fp32": "float32", "fp64": "float64", "fp16": "float16"}
#: approximations of the GPU's hardware, with no value of their own
WITHOUT_REFERENCE = {"rcp64h"}


@functools.cache
def signatures() -> dict[str, list[Signature]]:
    """Function of libdevice -> (element types of the operands, of the result)."""
    from triton.language.extra.cuda import libdevice

    found: dict[str, list[Signature]] = {}
    text = inspect.getsource(libdevice)
    for match in re.finditer(r"def (\w+)\([^)]*\).*?\{(.*?)\}, is_pure", text, re.DOTALL):
        entries = re.finditer(
            r"\(((?:[^()]|\([^()]*\))*)\):\s*\(\"\w+\",\s*core\.dtype\(\"(\w+)\"\)\)", match[2]
        )
        for entry in entries:
            kinds = re.findall(r'core\.dtype\("(\w+)"\)', entry[1])
            numpy = tuple(_NUMPY.get(kind, kind) for kind in kinds)
            found.setdefault(match[1], []).append((numpy, _NUMPY.get(entry[2], entry[2])))
    return found


# ---- exact references


def rounded(exact: Fraction, kind: type, mode: str) -> Any:
    """A number as a float: to nearest (rn), down, up or towards zero."""
    nearest = kind(float(exact))
    found = Fraction(float(nearest))
    below = nearest if found <= exact else np.nextafter(nearest, kind(-np.inf))
    above = nearest if found >= exact else np.nextafter(nearest, kind(np.inf))
    if mode == "rz":
        mode = "rd" if exact > 0 else "ru"
    if mode == "rn":
        low, high = exact - Fraction(float(below)), Fraction(float(above)) - exact
        if low == high:  # float() has rounded to even unless this is the narrower type
            even = int(np.asarray(below).view(f"u{np.dtype(kind).itemsize}")) % 2 == 0
            return below if even else above
        return below if low < high else above
    return below if mode == "rd" else above


def exactly(function: Callable[..., Fraction], mode: str, result: str) -> Callable[..., np.ndarray]:
    kind = np.dtype(result).type

    def reference(*arrays: np.ndarray) -> np.ndarray:
        found = []
        for numbers in zip(*(x.tolist() for x in arrays)):
            found.append(rounded(function(*map(Fraction, numbers)), kind, mode))
        return np.array(found, result)

    return reference


def root(mode: str, result: str) -> Callable[..., np.ndarray]:
    kind = np.dtype(result).type

    def one(x: Any) -> Any:
        nearest = np.sqrt(x)
        square = Fraction(float(nearest)) ** 2
        if mode == "rn" or square == Fraction(float(x)):
            return nearest
        if mode in ("rd", "rz"):
            return nearest if square < Fraction(float(x)) else np.nextafter(nearest, kind(0))
        return nearest if square > Fraction(float(x)) else np.nextafter(nearest, kind(np.inf))

    return lambda x: np.array([one(v) for v in x], result)


_ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "rn": round,
    "rd": math.floor,
    "ru": math.ceil,
    "rz": math.trunc,
}


def to_integer(mode: str, result: str, signed: bool) -> Callable[..., np.ndarray]:
    """Saturated; libdevice gives unsigned results as the signed type of their width."""
    kind = result if signed else "u" + result.lstrip("u")
    limits = np.iinfo(np.dtype(kind))

    def reference(x: np.ndarray) -> np.ndarray:
        whole = [_ROUNDINGS[mode](Fraction(v)) for v in x.tolist()]
        found = np.array([min(max(v, limits.min), limits.max) for v in whole], kind)
        return found.view(result)

    return reference


_ARITHMETIC: dict[str, Callable[..., Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "rcp": lambda a: 1 / a,
    "fma": lambda a, b, c: a * b + c,
}
_TO_INTEGER = re.compile(r"(?:float|double)2(int|uint|ll|ull)_(r[nduz])")
_TO_FLOAT = re.compile(r"(?:int|uint|ll|ull|double)2(?:float|double)_(r[nduz])")


def _u32(x: int) -> int:
    return x & 0xFFFFFFFF


def _mulhi(a: int, b: int, bits: int) -> int:
    return a * b >> bits


def _each(function: Callable[..., int], result: str) -> Callable[..., np.ndarray]:
    """An integer function of Python ints, cut to the result's width."""
    bits = 8 * np.dtype(result).itemsize

    def reference(*arrays: np.ndarray) -> np.ndarray:
        found = [function(*map(int, v)) & ((1 << bits) - 1) for v in zip(*arrays)]
        return np.array(found, f"uint{bits}").view(result)

    return reference


def _signed24(x: int) -> int:
    return ((x & 0xFFFFFF) ^ 0x800000) - 0x800000


def _integers(name: str, kinds: tuple[str, ...], result: str) -> Callable[..., np.ndarray] | None:
    bits = 8 * np.dtype(kinds[0]).itemsize
    mask = (1 << bits) - 1
    table: dict[str, Callable[..., int]] = {
        "clz": lambda x: bits - (x & mask).bit_length(),
        "popc": lambda x: (x & mask).bit_count(),
        "ffs": lambda x: (x & -x).bit_length(),
        "brev": lambda x: int(f"{x & mask:0{bits}b}"[::-1], 2),
        "mulhi": lambda a, b: _mulhi(a, b, bits),
        "mul24": lambda a, b: (
            _signed24(a) * _signed24(b) if kinds[0][0] == "i" else (a & 0xFFFFFF) * (b & 0xFFFFFF)
        ),
        "hadd": lambda a, b: (a + b) >> 1,
        "rhadd": lambda a, b: (a + b + 1) >> 1,
        "sad": lambda a, b, c: abs(a - b) + c,
        "abs": abs,
        "byte_perm": lambda x, y, s: sum(
            ((((_u32(y) << 32) | _u32(x)) >> 8 * ((s >> 4 * i) & 7)) & 255) << 8 * i
            for i in range(4)
        ),
    }
    return _each(table[name], result) if name in table else None


_FLOATS: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.abs,
    "copysign": np.copysign,
    "nearbyint": np.rint,
    "saturatef": lambda x: np.clip(x, 0, 1),
    "isnan": np.isnan,
    "isinf": np.isinf,
    "finitef": np.isfinite,
    "isfinited": np.isfinite,
    "signbit": np.signbit,
    "ldexp": np.ldexp,
    "scalbn": np.ldexp,
    "llrint": lambda x: np.rint(x).astype(np.int64),
    "llround": lambda x: np.trunc(x + np.copysign(0.5, x)).astype(np.int64),
    "ilogb": lambda x: np.frexp(x)[1] - 1,
}
#: references in extended precision, with a bound in ulp
_NEAR: dict[str, tuple[Callable[..., np.ndarray], float]] = {
    "norm3d": (lambda a, b, c: np.sqrt(a * a + b * b + c * c), 2),
    "norm4d": (lambda a, b, c, d: np.sqrt(a * a + b * b + c * c + d * d), 2),
    "rnorm3d": (lambda a, b, c: 1 / np.sqrt(a * a + b * b + c * c), 2),
    "rnorm4d": (lambda a, b, c, d: 1 / np.sqrt(a * a + b * b + c * c + d * d), 2),
    "fast_dividef": (lambda a, b: a / b, 2),
    "rsqrt_rn": (lambda x: 1 / np.sqrt(x), 0.6),
}
_BESSEL: dict[str, Callable[..., np.ndarray]] = {
    "j0": special.j0,
    "j1": special.j1,
    "y0": special.y0,
    "y1": special.y1,
    "jn": lambda n, x: special.jv(n.astype(float), x.astype(float)),
    "yn": lambda n, x: special.yn(n, x.astype(float)),
}
_DOMAIN = {
    **dict.fromkeys(
        ("sqrt", "rsqrt", "rsqrt_rn", "log", "log2", "log10", "y0", "y1", "yn", "tgamma", "lgamma",
         "sqrt_rn", "sqrt_rd", "sqrt_ru", "sqrt_rz"),
        (0.01, 20),
    ),
    **dict.fromkeys(("asin", "acos", "atanh", "erfinv"), (-0.999, 0.999)),
    "log1p": (-0.99, 20),
    "acosh": (1, 20),
    "erfcinv": (0.01, 1.99),
    "normcdfinv": (0.01, 0.99),
}  # fmt: skip


def operands(name: str, kinds: tuple[str, ...]) -> list[np.ndarray]:
    """Numbers in the function's domain; zeros are replaced where something divides."""
    rng = np.random.default_rng(13)
    found = []
    base = name.removeprefix("fast_").removesuffix("f") if name.startswith("fast_") else name
    for position, kind in enumerate(kinds):
        if kind[0] in "iu":
            x = values(kind, position)
            if name in ("ldexp", "scalbn", "jn", "yn"):
                x = rng.integers(0, 6, N).astype(kind)
            elif name == "pow":
                x = rng.integers(-4, 5, N).astype(kind)
        elif base in _DOMAIN:
            x = rng.uniform(*_DOMAIN[base], N).astype(kind)
        elif base == "pow" and position == 0:
            x = rng.uniform(0.1, 8, N).astype(kind)
        elif name in ("isnan", "isinf", "finitef", "isfinited", "signbit"):
            x = values(kind)
        elif name.startswith(("float2", "double2")):
            x = (rng.standard_normal(N) * np.exp2(rng.integers(-3, 60, N))).astype(kind)
            x[:8] = [0.5, 1.5, 2.5, -0.5, -1.5, 3.25, -3.75, 1e10]
        else:
            x = finite(kind, position)
        found.append(x)
    return found


def reference(
    name: str, kinds: tuple[str, ...], result: str
) -> tuple[Callable[..., np.ndarray], float] | None:
    """(function of arrays, largest error in ulp); None if we have none."""
    arithmetic = re.fullmatch(r"(add|sub|mul|div|rcp|fma)_(r[nduz])", name)
    if arithmetic:
        return exactly(_ARITHMETIC[arithmetic[1]], arithmetic[2], result), 0
    if name == "fma":
        return exactly(_ARITHMETIC["fma"], "rn", result), 0
    if re.fullmatch(r"sqrt_r[nduz]", name):
        return root(name[-2:], result), 0
    if match := _TO_INTEGER.fullmatch(name):
        return to_integer(match[2], result, match[1][0] != "u"), 0
    if match := _TO_FLOAT.fullmatch(name):
        return exactly(lambda x: x, match[1], result), 0
    if kinds[0][0] in "iu" and name not in ("jn", "yn"):
        found = _integers(name, kinds, result)
        if found is not None:
            return found, 0
    bits = _bits(name, result)
    if bits is not None:
        return bits, 0
    return _floating(name, kinds[-1])


def _bits(name: str, result: str) -> Callable[..., np.ndarray] | None:
    if re.fullmatch(r"\w+_as_\w+", name):
        return lambda x: x.view(result)
    if name == "double2hiint":
        return lambda x: (x.view(np.int64) >> 32).astype(np.int32)
    if name == "double2loint":
        return lambda x: x.view(np.int64).astype(np.int32)
    if name == "hiloint2double":
        return lambda h, low: (
            (h.astype(np.int64) << 32) | low.view(np.uint32).astype(np.int64)
        ).view(np.float64)
    return None


#: ulp; the tail of normcdf multiplies the rounding of x / sqrt(2) by its square
_WITHOUT_BOUND = 512


def _floating(name: str, kind: str) -> tuple[Callable[..., np.ndarray], float] | None:
    if name in _FLOATS:
        return _FLOATS[name], 0
    if name in ("sinpi", "cospi"):  # of exact quarters and of others, reduced exactly
        return functools.partial(_of_turns, cosine=name == "cospi"), 2
    if name in _NEAR:
        return _NEAR[name]
    if name in _BESSEL:
        return _BESSEL[name], 64
    base = name
    if name.startswith("fast_"):
        base = name.removeprefix("fast_").removesuffix("f")
    case = TABLE.get(base)
    if case is None:
        return None
    if name == "nextafter":
        return np.nextafter, 0
    # what has no bound of its own in float64 is the C library's or a composition, and its
    # reference is no better
    bound = case.f32 if kind == "float32" else _WITHOUT_BOUND if case.f64 is None else case.f64
    return (case.reference64 or case.reference), max(bound, 0.6)


def _of_turns(x: np.ndarray, cosine: bool) -> np.ndarray:
    rest = np.fmod(x.astype(np.longdouble), 2)
    angle = rest * (np.longdouble(4) * np.arctan(np.longdouble(1)))
    return np.cos(angle) if cosine else np.sin(angle)


_BODY = """
i = tl.arange(0, 128)
result = libdevice.{name}({loads})
tl.store(o + i, result)
"""


@group("libdevice", "a-e", "f", "g-o", "p-z")
def functions(letters: str) -> Iterator[Case]:
    first, last = letters[0], letters[-1]
    for name, known in signatures().items():
        if not first <= name[0] <= last or name in WITHOUT_REFERENCE:
            continue
        for kinds, result in known:
            if "float16" in kinds:
                continue
            found = reference(name, kinds, result)
            if found is None:
                raise LookupError(f"libdevice.{name}: the tests have no reference for it.")
            function, ulp = found
            arrays = operands(name, kinds)
            with np.errstate(all="ignore"):
                wide = [
                    x.astype(np.float64) if x.dtype == np.float32 and ulp else x for x in arrays
                ]
                want = np.asarray(function(*wide)).astype(result)
            arguments = dict(zip("abcd", arrays))
            loads = ", ".join(f"tl.load({key} + i)" for key in arguments)
            text = _BODY.format(name=name, loads=loads)
            absolute = 1e-6 if name in _BESSEL else 1e-14 if name == "lgamma" else 0
            near = ulp + 0.5 if ulp else 0  # the expected value is rounded, too
            yield Case(f"{name}({', '.join(kinds)})", text, arguments, {"o": want}, near, absolute)
