"""The vector mathematics: error bounds, special values and symbols, from one table.

float32 is compared with float64 on every 65537th bit pattern and the edges; float64 with extended
precision (x86's 80 bits), on random patterns and moderate numbers.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import special

from tests.triton_cpu.emitted import TARGETS, load, target_named
from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu import math as vector_math
from tritorch.triton_cpu.codegen.builder import LLVM_TYPE, Builder

NUMPY = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "i32": np.int32, "i64": np.int64}
Reference = Callable[..., np.ndarray]
long = np.longdouble
needs_extended = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="float64 needs a longer reference; none here"
)


@dataclass(frozen=True)
class Case:
    """A function's reference and its largest error in units in the last place, on any target."""

    reference: Reference
    f32: float
    f64: float | None = None
    #: what the reference is for float64, if it cannot take extended precision itself
    reference64: Reference | None = None
    arity: int = 1


def lifted(function: Callable[[float], float]) -> Reference:
    """A function of the math module; nan where it raises ValueError, inf where it overflows."""

    def one(*x: float) -> float:
        try:
            return function(*x)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return np.vectorize(one, otypes=[np.float64])


def with_poles(function: Reference, at_poles: Callable[[np.ndarray], object]) -> Reference:
    """A gamma function with its values at 0, -1, -2, ..., which the references refuse."""

    def corrected(x: np.ndarray) -> np.ndarray:
        poles = (x <= 0) & (np.floor(x) == x) & np.isfinite(x)
        return np.where(poles, at_poles(x), function(np.where(poles, 0.5, x)))

    return corrected


def modified_bessel(order: int) -> Reference:
    """I0 or I1 from SciPy's scaled ones; extended precision, since exp(x) overflows too early."""

    def reference(x: np.ndarray) -> np.ndarray:
        size = np.minimum(np.abs(x), 1000).astype(np.float64)
        scaled = (special.i0e, special.i1e)[order](size).astype(long)
        grown = scaled * np.exp(size.astype(long))
        return np.copysign(grown, x) if order else np.where(np.isnan(x), x, grown)

    return reference


def erfcx(x: np.ndarray) -> np.ndarray:
    """SciPy's is imprecise for x << 0."""
    wide = x.astype(long)
    positive = special.erfcx(np.abs(x).astype(np.float64)).astype(long)
    return np.where(x < 0, 2 * np.exp(wide * wide) - positive, positive)


def gamma_at_poles(x: np.ndarray) -> np.ndarray:
    return np.where(x == 0, np.copysign(np.inf, x), np.nan)


@np.errstate(all="ignore")
def round_away(x: np.ndarray) -> np.ndarray:
    size = np.abs(x)
    return np.copysign(np.where(size < 2**52, np.floor(size.astype(long) + 0.5), size), x)


def erfinv(x: np.ndarray) -> np.ndarray:
    return np.copysign(special.erfinv(x), x)  # SciPy loses the sign of -0.0


def erfcinv(x: np.ndarray) -> np.ndarray:
    return special.erfcinv(x) + 0.0


TABLE: dict[str, Case] = {
    "exp": Case(np.exp, 1.2, 1.2),
    "exp2": Case(np.exp2, 1.1, 1.1),
    "exp10": Case(lambda x: long(10) ** x, 1.5, 1.6),
    "expm1": Case(np.expm1, 1.4, 2.0),
    "log": Case(np.log, 1.5, 1.2),
    "log2": Case(np.log2, 1.6, 1.7),
    "log10": Case(np.log10, 0.9, 1.0),
    "log1p": Case(np.log1p, 1.5, 1.5),
    "sin": Case(np.sin, 1.5, 0.9),
    "cos": Case(np.cos, 1.5, 0.9),
    "tan": Case(np.tan, 1.7, 2.0),
    "sinh": Case(np.sinh, 1.6, 1.7),
    "cosh": Case(np.cosh, 1.7, 1.7),
    "tanh": Case(np.tanh, 1.3, 1.5),
    "asin": Case(np.arcsin, 1.5, 1.8),
    "acos": Case(np.arccos, 1.2, 1.4),
    "atan": Case(np.arctan, 1.4, 1.8),
    "asinh": Case(np.arcsinh, 1.8, 2.1),
    "acosh": Case(np.arccosh, 1.8, 2.1),
    "atanh": Case(np.arctanh, 1.9, 2.0),
    "erf": Case(special.erf, 1.1, 2.0, lifted(math.erf)),
    "erfc": Case(special.erfc, 0.6, 5.0, lifted(math.erfc)),
    # float64: 5 ulp of ours (against 40 digits), the rest is the reference's
    "erfcx": Case(erfcx, 0.6, 12.0, erfcx),
    "erfinv": Case(erfinv, 1.7, 8.0, erfinv),
    "erfcinv": Case(erfcinv, 0.6, 8.0, erfcinv),
    "normcdf": Case(special.ndtr, 0.6),
    "normcdfinv": Case(special.ndtri, 0.6),
    "lgamma": Case(with_poles(lifted(math.lgamma), lambda x: np.inf), 0.6),
    "tgamma": Case(with_poles(lifted(math.gamma), gamma_at_poles), 0.6),
    "cyl_bessel_i0": Case(modified_bessel(0), 0.6, 12.0, modified_bessel(0)),
    "cyl_bessel_i1": Case(modified_bessel(1), 0.6, 12.0, modified_bessel(1)),
    "sqrt": Case(np.sqrt, 0.5, 0.5),
    "rsqrt": Case(lambda x: 1 / np.sqrt(x), 1.5, 1.5),
    "cbrt": Case(np.cbrt, 0.51, 0.51),
    "rcbrt": Case(lambda x: 1 / np.cbrt(x), 1.5, 1.5),
    "rint": Case(np.rint, 0, 0),
    "floor": Case(np.floor, 0, 0),
    "ceil": Case(np.ceil, 0, 0),
    "trunc": Case(np.trunc, 0, 0),
    "round": Case(round_away, 0, 0),
    "logb": Case(
        lambda x: np.where(x == 0, -np.inf, np.where(np.isfinite(x), np.frexp(x)[1] - 1, x * x)),
        0,
        0,
    ),
    "pow": Case(np.power, 0.6, 1.0, arity=2),
    "atan2": Case(np.arctan2, 1.4, 1.6, arity=2),
    "hypot": Case(np.hypot, 0.51, 1.0, arity=2),
    "rhypot": Case(lambda x, y: 1 / np.hypot(x, y), 0.51, 2.0, arity=2),
    "fmod": Case(np.fmod, 0, 0, np.fmod, arity=2),
    "remainder": Case(lifted(math.remainder), 0, 0, lifted(math.remainder), arity=2),
    "fdim": Case(lambda x, y: np.where(x <= y, 0, x - y), 0.5, 0.5, arity=2),
    "nextafter": Case(
        lambda x, y: np.nextafter(x.astype(np.float32), y.astype(np.float32)),
        0,
        0,
        np.nextafter,
        arity=2,
    ),
}

#: Arguments where every function must be right in sign, nan and inf, too.
EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, math.inf, -math.inf, math.nan,
    1e-45, -1e-45, 1e-40, 1.17549435e-38, 3.4028235e38, -3.4028235e38, 88.72284, 88.7229, -87.33655,
    -103.97208, -104.0, 127.99999, 128.0, -149.0, -150.0, 0.99999994, 1.0000001, -0.99999994,
    8388607.5, 8388608.0, 16777216.0, 2.0**31, 1e10, 1.5707964, 3.1415927, 100000.0, 1e30, 35.0,
    0.49999997, 0.6, 0.92773438, 1.0471976, 5.0, 8.0, 20.0, -170.5, -20.5,
]  # fmt: skip


@functools.cache
@np.errstate(all="ignore")
def arguments(element: str, arity: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(20)
    edges = np.array(EDGES).astype(NUMPY[element])
    if element == "f32":
        patterns = np.arange(0, 2**32, 65537, dtype=np.uint64).astype(np.uint32)
        common = [patterns.view(np.float32)]
    else:
        patterns = generator.integers(0, 2**64, 4000, dtype=np.uint64)
        common = [patterns.view(np.float64), generator.uniform(-750, 750, 2000)]
    if arity == 1:
        moderate = [generator.uniform(-r, r, 1500) for r in (1, 5, 40)]
        return (np.concatenate([edges, *common, *moderate]).astype(NUMPY[element]),)
    moderate = np.exp(generator.uniform(-5, 5, (2, 2000))) * generator.choice([-1, 1], (2, 2000))
    integers = generator.integers(-30, 30, (2, 1000))
    pattern = np.concatenate(common)
    other = generator.permutation(pattern)
    columns = zip(
        (np.repeat(edges, len(edges)), np.tile(edges, len(edges))),
        (pattern, other),
        moderate,
        integers,
    )
    return tuple(np.concatenate(column).astype(NUMPY[element]) for column in columns)


@functools.cache
@np.errstate(all="ignore")
def expected(name: str, element: str) -> np.ndarray:
    case = TABLE[name]
    x = arguments(element, case.arity)
    if element == "f32":
        return np.asarray(case.reference(*(v.astype(np.float64) for v in x))).astype(long)
    if case.reference64:
        return np.asarray(case.reference64(*x)).astype(long)
    return np.asarray(case.reference(*(v.astype(long) for v in x))).astype(long)


def emitted(
    name: str, elements: tuple[str, ...], level: str, lanes: int | None = None
) -> Callable[..., np.ndarray]:
    """The function over arrays, in strips of `lanes`."""
    target, builder = target_named(level), Builder()
    width = max(np.dtype(NUMPY[e]).itemsize for e in elements)
    lanes = lanes or target.strip_bytes // width
    builder.emit("br label %loop")
    builder.start("loop")
    builder.emit("%i = phi i64 [ 0, %entry ], [ %next, %latch ]")
    operands = []
    for position, element in enumerate(elements):
        place = builder.define(f"getelementptr {LLVM_TYPE[element]}, ptr %x{position}, i64 %i")
        kind = builder.type(element, lanes)
        operands.append((builder.define(f"load {kind}, ptr {place}, align 1"), element))
    register, found = vector_math.emit_typed(builder, name, operands, lanes, target)
    if found == "i1":
        kinds = builder.type("i1", lanes), builder.type("i32", lanes)
        register, found = builder.define(f"zext {kinds[0]} {register} to {kinds[1]}"), "i32"
    place = builder.define(f"getelementptr {LLVM_TYPE[found]}, ptr %y, i64 %i")
    builder.emit(f"store {builder.type(found, lanes)} {register}, ptr {place}, align 1")
    builder.emit("br label %latch")
    builder.start("latch")
    builder.emit(f"%next = add i64 %i, {lanes}")
    builder.emit("%more = icmp ult i64 %next, %n")
    builder.emit("br i1 %more, label %loop, label %exit")
    builder.start("exit")
    parameters = [("ptr", f"%x{position}") for position in range(len(elements))]
    run = load(builder, [*parameters, ("ptr", "%y"), ("i64", "%n")], target)

    def call(*arrays: np.ndarray) -> np.ndarray:
        count = len(arrays[0])
        padded = [np.concatenate([x, np.ones(-count % lanes, x.dtype)]) for x in arrays]
        result = np.empty(len(padded[0]), NUMPY[found])
        run(*(x.ctypes.data for x in padded), result.ctypes.data, len(result))
        return result[:count]

    return call


@np.errstate(all="ignore")
def ulps(result: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distances in units in the last place of the reference; inf where nan or inf differ."""
    kind = result.dtype.type
    rounded = exact.astype(kind)
    unit = np.spacing(np.maximum(np.abs(rounded), np.finfo(kind).tiny)).astype(long)
    distance = (np.abs(result.astype(long) - exact) / unit).astype(np.float64)
    # The rounding of the largest number and that of the result may disagree by a hair.
    infinite = np.isinf(rounded) | np.isinf(result)
    largest = np.abs(np.where(np.isinf(result), exact, result).astype(long)) > np.finfo(
        kind
    ).max * (1 - 4 * np.finfo(kind).eps)
    distance = np.where(infinite, np.where((result == rounded) | largest, 0, np.inf), distance)
    both = np.isnan(rounded) & np.isnan(result)
    return np.where(both, 0, np.where(np.isnan(rounded) != np.isnan(result), np.inf, distance))


def check(name: str, element: str, level: str, bound: float) -> None:
    x = arguments(element, TABLE[name].arity)
    exact = expected(name, element)
    result = emitted(name, (element,) * len(x), level)(*x)
    errors = ulps(result, exact)
    worst = int(errors.argmax())
    assert errors[worst] <= bound, (
        f"{name}({', '.join(repr(v[worst]) for v in x)}) = {result[worst]!r}, "
        f"expected {exact[worst]!r}: {errors[worst]:.3f} ulp, the bound is {bound}"
    )
    # No function loses the sign of a zero.
    zeros = (result == 0) & (exact == 0)
    signs = zeros & (np.signbit(result) != np.signbit(exact))
    assert not signs.any(), f"{name}: sign of zero at {[v[signs][:3] for v in x]}"


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("name", TABLE)
def test_float32(name: str, level: str) -> None:
    check(name, "f32", level, TABLE[name].f32)


@needs_extended
@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("name", [name for name, case in TABLE.items() if case.f64 is not None])
def test_float64(name: str, level: str) -> None:
    bound = TABLE[name].f64
    assert bound is not None
    check(name, "f64", level, bound)


@pytest.mark.skipif(sys.platform == "win32", reason="libm is not part of the process")
@pytest.mark.parametrize("name", ["lgamma", "tgamma", "remainder", "j0", "y1"])
def test_rare_functions_of_float64_are_libms(name: str) -> None:
    libm = getattr(ctypes.CDLL(None), name)
    arity = 2 if name == "remainder" else 1
    libm.argtypes, libm.restype = [ctypes.c_double] * arity, ctypes.c_double
    x = tuple(v[:200] for v in arguments("f64", arity))
    result = emitted(name, ("f64",) * arity, "x86-64")(*x)
    np.testing.assert_array_equal(result, [libm(*values) for values in zip(*x)])


HUGE = [1e5, 1e8, 2.0**60, 3.4e38, -3.4e38, 16367173 * 2.0**72, math.inf]


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize(("name", "reference"), [("sin", np.sin), ("cos", np.cos), ("tan", np.tan)])
def test_huge_angles(name: str, reference: Reference, level: str) -> None:
    """16367173 2^72 is the float32 closest to a multiple of pi/2."""
    for element in ("f32", "f64"):
        x = np.array(HUGE * 4, NUMPY[element])
        result = emitted(name, (element,), level)(x)
        with np.errstate(invalid="ignore"):
            exact = reference(x.astype(np.float64)).astype(long)
        assert ulps(result, exact).max() <= (1.7 if element == "f32" else 2.0)


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("name", ["exp", "log", "sin", "pow", "erf", "fmod", "lgamma", "ldexp"])
def test_lanes(name: str, element: str, level: str) -> None:
    """Scalars, short vectors and wide strips give the same bits."""
    other = {"pow": element, "fmod": element, "ldexp": "i32"}.get(name)
    elements = (element,) if other is None else (element, other)
    x = [np.array([0.5, 1.25, -3.0, 700.0, 1e7, -0.0, 2.5, 88.0], NUMPY[element])]
    if other is not None:
        x.append(np.array([3, -2, 5, 2, 100, 7, -1, 4], NUMPY[other]))
    results = [emitted(name, elements, level, lanes)(*x) for lanes in (1, 2, 8, 64)]
    for result in results[1:]:
        np.testing.assert_array_equal(result.view(np.uint8), results[0].view(np.uint8))


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_ldexp(element: str, level: str) -> None:
    generator = np.random.default_rng(1)
    most = 300 if element == "f32" else 2200
    n = generator.integers(-most, most, 3000).astype(np.int32)
    x = (10.0 ** generator.uniform(-30, 30, 3000)).astype(NUMPY[element])
    with np.errstate(all="ignore"):
        expected_values = np.ldexp(x, n)
    result = emitted("ldexp", (element, "i32"), level)(x, n)
    np.testing.assert_array_equal(result, expected_values)


@pytest.mark.parametrize("level", TARGETS)
def test_classes(level: str) -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-45], np.float32)
    for name, reference in (
        ("isnan", np.isnan), ("isinf", np.isinf), ("finite", np.isfinite), ("signbit", np.signbit)
    ):  # fmt: skip
        result = emitted(name, ("f32",), level)(x)
        np.testing.assert_array_equal(result, reference(x), err_msg=name)


INTEGERS: dict[str, Callable[..., int]] = {
    "popc": lambda x: (x & 0xFFFFFFFF).bit_count(),
    "clz": lambda x: 32 - (x & 0xFFFFFFFF).bit_length(),
    "ffs": lambda x: (x & -x).bit_length(),
    "brev": lambda x: int(f"{x & 0xFFFFFFFF:032b}"[::-1], 2),
    "abs": abs,
    "mulhi": lambda x, y: (x * y) >> 32,
    "umulhi": lambda x, y: ((x & 0xFFFFFFFF) * (y & 0xFFFFFFFF)) >> 32,
    "hadd": lambda x, y: (x + y) >> 1,
    "urhadd": lambda x, y: ((x & 0xFFFFFFFF) + (y & 0xFFFFFFFF) + 1) >> 1,
    "umul24": lambda x, y: (x & 0xFFFFFF) * (y & 0xFFFFFF),
    "sad": lambda x, y, z: abs(x - y) + z,
    "byte_perm": lambda x, y, s: sum(
        (((y & 0xFFFFFFFF) << 32 | x & 0xFFFFFFFF) >> 8 * (s >> 4 * i & 7) & 255) << 8 * i
        for i in range(4)
    ),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name: str) -> None:
    arity = INTEGERS[name].__code__.co_argcount if name != "abs" else 1
    generator = np.random.default_rng(2)
    edges = [0, 1, -1, 2**31 - 1, -(2**31), 0x12345678]
    x = [
        np.array(
            [*generator.permutation(edges), *generator.integers(-(2**31), 2**31, 60)], np.int32
        )
        for _ in range(arity)
    ]
    result = emitted(name, ("i32",) * arity, "x86-64")(*x)
    wanted = [INTEGERS[name](*map(int, values)) & 0xFFFFFFFF for values in zip(*x)]
    np.testing.assert_array_equal(result.view(np.uint32), np.array(wanted, np.uint32))


def test_high_products_of_64_bits() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.integers(-(2**63), 2**63, (2, 64), dtype=np.int64)
    signed = [(int(a) * int(b)) >> 64 for a, b in zip(x, y)]
    np.testing.assert_array_equal(emitted("mulhi", ("i64", "i64"), "x86-64")(x, y), signed)
    mask = 2**64 - 1
    unsigned = np.array(
        [((int(a) & mask) * (int(b) & mask)) >> 64 for a, b in zip(x, y)], np.uint64
    )
    result = emitted("umulhi", ("i64", "i64"), "x86-64")(x, y)
    np.testing.assert_array_equal(result.view(np.uint64), unsigned)


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("mode", ["rd", "ru", "rz"])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "sqrt", "rcp"])
def test_directed_rounding(name: str, mode: str, level: str) -> None:
    generator = np.random.default_rng(4)
    x, y = (generator.standard_normal((2, 500)) * 100).astype(np.float32)
    if name == "sqrt":
        x = np.abs(x)
    operation: Reference = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
        "sqrt": np.sqrt, "rcp": np.reciprocal,
    }[name]  # fmt: skip
    operands = (x,) if name in ("sqrt", "rcp") else (x, y)
    exact = operation(*(v.astype(long) for v in operands))
    nearest = exact.astype(np.float32)
    down = np.where(nearest > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    up = np.where(nearest < exact, np.nextafter(nearest, np.float32(np.inf)), nearest)
    wanted = {"rd": down, "ru": up, "rz": np.where(exact > 0, down, up)}[mode]
    result = emitted(f"{name}_{mode}", ("f32",) * len(operands), level)(*operands)
    np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("level", TARGETS)
def test_conversions(level: str) -> None:
    x = np.array([0.5, 1.5, -1.5, 2.7, -2.7, 1e10, -1e10, math.nan, math.inf], np.float32)
    for mode, rounding in (("rn", np.rint), ("rd", np.floor), ("ru", np.ceil), ("rz", np.trunc)):
        bounded = np.clip(np.nan_to_num(rounding(x).astype(np.float64), nan=0), -(2**31), 2**31 - 1)
        result = emitted(f"float2int_{mode}", ("f32",), level)(x)
        np.testing.assert_array_equal(result, bounded.astype(np.int32))
    n = np.array([2**24 + 1, -(2**24) - 1, 2**31 - 1, 7], np.int32)
    result = emitted("int2float_ru", ("i32",), level)(n)
    np.testing.assert_array_equal(result, [2**24 + 2, -(2**24), 2**31, 7])


def test_half_precision_is_rounded_once() -> None:
    x = np.array([0.1, 1.0, -2.0, 10.0], np.float16)
    result = emitted("exp", ("f16",), "avx2", lanes=4)(x)
    np.testing.assert_array_equal(result, np.exp(x.astype(np.float32)).astype(np.float16))


# ---- names

#: Symbols of libdevice that CPUs lack, with the reason.
MISSING = {"rcp64h"}  # an approximation in hardware


def test_libdevice_symbols() -> None:
    spec = importlib.util.find_spec("triton")
    assert spec is not None and spec.submodule_search_locations
    path = spec.submodule_search_locations[0] + "/language/extra/cuda/libdevice.py"
    with open(path) as file:
        symbols = set(re.findall(r"__nv_\w+", file.read()))
    assert len(symbols) > 300
    unknown = set()
    for symbol in symbols:
        try:
            assert vector_math.lookup(symbol) in vector_math.FUNCTIONS
        except UnsupportedOperation:
            unknown.add(symbol.removeprefix("__nv_"))
    assert unknown == MISSING


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnsupportedOperation, match="__nv_frobnicate"):
        vector_math.lookup("__nv_frobnicate")
    with pytest.raises(UnsupportedOperation, match="no function 'frobnicate'"):
        vector_math.emit(Builder(), "frobnicate", ["%x"], "f32", 4, target_named("x86-64"))


def test_helpers_are_emitted_once() -> None:
    builder = Builder()
    for _ in range(3):
        vector_math.emit(builder, "sin", ["%x"], "f32", 16, target_named("x86-64"))
    assert len([name for name in builder.helpers if "sin" in name]) == 1


def test_masked_lanes_make_no_denormals() -> None:
    """exp(-inf) must not run through denormals: each costs a trap of 150 cycles."""
    for name in ("exp", "exp2"):
        x = np.full(1 << 14, -np.inf, np.float32)
        run = emitted(name, ("f32",), "x86-64")
        assert (run(x) == 0).all()
        assert not np.signbit(run(x)).any()
