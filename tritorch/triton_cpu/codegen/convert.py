"""Conversions between float widths, in integer instructions where the CPU has none of its own.

LLVM would call compiler-rt functions there, one lane at a time, and they do not exist in our
process.
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import BITS, Builder, float_literal
from tritorch.triton_cpu.target import CPUTarget


def convert_float(
    builder: Builder, register: str, source: str, target_element: str, lanes: int, cpu: CPUTarget
) -> str:
    """A float of one width as another, rounded to nearest even. Overflow to 8 bits saturates, as
    GPUs do.
    """
    if source == target_element:
        return register
    narrow = {"f16", "bf16"}
    if source.startswith("f8"):
        register = _from_fp8(builder, register, source, lanes, cpu)
        return convert_float(builder, register, "f32", target_element, lanes, cpu)
    if target_element.startswith("f8"):
        register = convert_float(builder, register, source, "f32", lanes, cpu)
        return _to_fp8(builder, register, target_element, lanes)
    if source in narrow and target_element != "f32":
        register = convert_float(builder, register, source, "f32", lanes, cpu)
        return convert_float(builder, register, "f32", target_element, lanes, cpu)
    if target_element in narrow and source == "f64":
        register = _round_to_odd(builder, register, lanes)
        source = "f32"
    if source == "bf16":
        return _bits_shifted(builder, register, lanes)
    if target_element == "bf16" and not cpu.avx512bf16:
        return _to_bfloat(builder, register, lanes)
    if source == "f16" and not cpu.f16c:
        return _from_half(builder, register, lanes)
    if target_element == "f16" and not cpu.f16c:
        return _to_half(builder, register, lanes)
    op = "fpext" if BITS[source] < BITS[target_element] else "fptrunc"
    return builder.define(
        f"{op} {builder.type(source, lanes)} {register} to {builder.type(target_element, lanes)}"
    )


def chop_float(
    builder: Builder, register: str, source: str, target_element: str, lanes: int, cpu: CPUTarget
) -> str:
    """A float in a narrower type, rounded towards zero: the nearest one, or that below in size.

    Bits of floats are ordered as their sizes, so one is subtracted.
    """
    if BITS[source] < 32:
        register, source = convert_float(builder, register, source, "f32", lanes, cpu), "f32"
    nearest = convert_float(builder, register, source, target_element, lanes, cpu)
    back = convert_float(builder, nearest, target_element, source, lanes, cpu)
    kind = builder.type(source, lanes)
    size, original = (builder.intrinsic("fabs", source, lanes, r) for r in (back, register))
    too_large = builder.define(f"fcmp ogt {kind} {size}, {original}")
    bits = _Bits(builder, f"i{BITS[target_element]}", lanes)
    if target_element.startswith("f8"):
        return bits.op("sub", nearest, bits.cast("zext", too_large, "i1", bits.element))
    word = bits.cast("bitcast", nearest, target_element, bits.element)
    word = bits.op("sub", word, bits.cast("zext", too_large, "i1", bits.element))
    return bits.cast("bitcast", word, bits.element, target_element)


def float_to_integer(
    builder: Builder, register: str, source: str, element: str, lanes: int, is_signed: bool
) -> str:
    """Truncated; `source` is f32 or f64.

    What is outside the range of a signed type, or nan, gives its lowest number, as x86's own
    instructions do (and so PyTorch there); an unsigned type saturates and nan gives 0.
    """
    bits = BITS[element]
    floats, integers = builder.type(source, lanes), builder.type(element, lanes)
    inner = builder.define(
        f"{'fptosi' if is_signed else 'fptoui'} {floats} {register} to {integers}"
    )
    result = builder.define(f"freeze {integers} {inner}")
    tests: tuple[tuple[str, str, float, int], ...] = (
        ("ole", register, -1.0, 0),
        ("oge", register, 2.0**bits, -1),
        ("uno", register, 0.0, 0),
    )
    if is_signed:
        size = builder.intrinsic("fabs", source, lanes, register)
        tests = (("uge", size, 2.0 ** (bits - 1), -(1 << (bits - 1))),)
    for predicate, tested, bound, value in tests:
        limit = builder.splat(float_literal(bound, source), source, lanes)
        outside = builder.define(f"fcmp {predicate} {floats} {tested}, {limit}")
        chosen = builder.splat(str(value), element, lanes)
        result = builder.define(
            f"select {builder.type('i1', lanes)} {outside}, {integers} {chosen}, "
            f"{integers} {result}"
        )
    return result


class _Bits:
    """Integer instructions on vectors of one width, constants splatted."""

    def __init__(self, builder: Builder, element: str, lanes: int) -> None:
        self.builder = builder
        self.element = element
        self.lanes = lanes
        self.type = builder.type(element, lanes)

    def constant(self, value: int | str) -> str:
        text = str(value)
        return text if text[0] in "%<s" else self.builder.splat(text, self.element, self.lanes)

    def op(self, name: str, a: str, b: int | str) -> str:
        return self.builder.define(f"{name} {self.type} {a}, {self.constant(b)}")

    def compare(self, predicate: str, a: str, b: int | str) -> str:
        return self.op(f"icmp {predicate}", a, b)

    def select(self, condition: str, a: int | str, b: int | str) -> str:
        kind = self.builder.type("i1", self.lanes)
        return self.builder.define(
            f"select {kind} {condition}, {self.type} {self.constant(a)},"
            f" {self.type} {self.constant(b)}"
        )

    def cast(self, name: str, register: str, source: str, target: str) -> str:
        kinds = self.builder.type(source, self.lanes), self.builder.type(target, self.lanes)
        return self.builder.define(f"{name} {kinds[0]} {register} to {kinds[1]}")


def _bits_shifted(builder: Builder, register: str, lanes: int) -> str:
    """bfloat16 is the upper half of a float32."""
    bits = _Bits(builder, "i32", lanes)
    word = bits.cast("bitcast", register, "bf16", "i16")
    word = bits.cast("zext", word, "i16", "i32")
    return bits.cast("bitcast", bits.op("shl", word, 16), "i32", "f32")


def _to_bfloat(builder: Builder, register: str, lanes: int) -> str:
    bits = _Bits(builder, "i32", lanes)
    word = bits.cast("bitcast", register, "f32", "i32")
    odd = bits.op("and", bits.op("lshr", word, 16), 1)
    rounded = bits.op("add", bits.op("add", word, 0x7FFF), odd)
    kind = builder.type("f32", lanes)
    is_nan = builder.define(f"fcmp uno {kind} {register}, {register}")
    word = bits.select(is_nan, bits.op("or", word, 0x400000), rounded)
    word = bits.cast("trunc", bits.op("lshr", word, 16), "i32", "i16")
    return bits.cast("bitcast", word, "i16", "bf16")


def _round_to_odd(builder: Builder, register: str, lanes: int) -> str:
    """float64 to float32 such that rounding once more to a narrower width is exact."""
    wide, bits = _Bits(builder, "i64", lanes), _Bits(builder, "i32", lanes)
    narrow = bits.cast("fptrunc", register, "f64", "f32")
    back = bits.cast("fpext", narrow, "f32", "f64")
    word = bits.cast("bitcast", narrow, "f32", "i32")
    kind = builder.type("f64", lanes)
    inexact = builder.define(f"fcmp one {kind} {back}, {register}")
    magnitude = wide.op("and", bits.cast("bitcast", register, "f64", "i64"), (1 << 63) - 1)
    rounded = wide.op("and", bits.cast("bitcast", back, "f64", "i64"), (1 << 63) - 1)
    too_big = wide.compare("ugt", rounded, magnitude)
    toward_zero = bits.op("sub", word, bits.cast("zext", too_big, "i1", "i32"))
    odd = bits.op("or", toward_zero, 1)
    word = bits.select(inexact, odd, word)
    return bits.cast("bitcast", word, "i32", "f32")


def _from_half(builder: Builder, register: str, lanes: int) -> str:
    bits = _Bits(builder, "i32", lanes)
    word = bits.cast("bitcast", register, "f16", "i16")
    word = bits.cast("zext", word, "i16", "i32")
    return _widen_bits(bits, word, exponent_bits=5, mantissa_bits=10)


def _widen_bits(bits: _Bits, word: str, exponent_bits: int, mantissa_bits: int) -> str:
    """IEEE-like bits of a narrow float as float32: shift into place, then correct the exponent's
    bias.
    """
    builder, lanes = bits.builder, bits.lanes
    width = exponent_bits + mantissa_bits
    bias = (1 << (exponent_bits - 1)) - 1
    magnitude = bits.op("shl", bits.op("and", word, (1 << width) - 1), 23 - mantissa_bits)
    kind = builder.type("f32", lanes)
    # multiplying by a power of two also normalises denormals
    scale = builder.splat(f"0x{(1023 + 127 - bias) << 52:016X}", "f32", lanes)
    number = bits.cast("bitcast", magnitude, "i32", "f32")
    number = builder.define(f"fmul {kind} {number}, {scale}")
    scaled = bits.cast("bitcast", number, "f32", "i32")
    top = ((1 << exponent_bits) - 1) << 23
    special = bits.op("or", magnitude, 0x7F800000)
    scaled = bits.select(bits.compare("uge", magnitude, top), special, scaled)
    sign = bits.op("shl", bits.op("lshr", word, width), 31)
    return bits.cast("bitcast", bits.op("or", scaled, sign), "i32", "f32")


def _narrow_bits(
    bits: _Bits, register: str, exponent_bits: int, mantissa_bits: int
) -> tuple[str, str, str]:
    """(sign at the narrow place, magnitude bits rounded to nearest even, float32 magnitude
    bits).
    """
    builder, lanes = bits.builder, bits.lanes
    bias = (1 << (exponent_bits - 1)) - 1
    shift = 23 - mantissa_bits
    word = bits.cast("bitcast", register, "f32", "i32")
    magnitude = bits.op("and", word, 0x7FFFFFFF)
    sign = bits.op("lshr", bits.op("and", word, 1 << 31), 31 - exponent_bits - mantissa_bits)
    # normal: change the bias, round in the integer
    odd = bits.op("and", bits.op("lshr", magnitude, shift), 1)
    moved = bits.op("add", magnitude, ((bias - 127) << 23) + (1 << (shift - 1)) - 1)
    normal = bits.op("lshr", bits.op("add", moved, odd), shift)
    # denormal: let the adder round by aligning with a number whose unit is the smallest denormal
    kind = builder.type("f32", lanes)
    magic_bits = (127 - bias + 1 + 23 - mantissa_bits) << 23
    magic = bits.cast("bitcast", bits.constant(magic_bits), "i32", "f32")
    number = bits.cast("bitcast", magnitude, "i32", "f32")
    total = bits.cast("bitcast", builder.define(f"fadd {kind} {number}, {magic}"), "f32", "i32")
    denormal = bits.op("sub", total, magic_bits)
    is_small = bits.compare("ult", magnitude, (127 - bias + 1) << 23)
    return sign, bits.select(is_small, denormal, normal), magnitude


def _to_half(builder: Builder, register: str, lanes: int) -> str:
    bits = _Bits(builder, "i32", lanes)
    sign, number, magnitude = _narrow_bits(bits, register, 5, 10)
    number = bits.select(bits.compare("uge", magnitude, 0x477FF000), 0x7C00, number)
    number = bits.select(bits.compare("ugt", magnitude, 0x7F800000), 0x7E00, number)
    word = bits.cast("trunc", bits.op("or", number, sign), "i32", "i16")
    return bits.cast("bitcast", word, "i16", "f16")


def _from_fp8(builder: Builder, register: str, source: str, lanes: int, cpu: CPUTarget) -> str:
    bits = _Bits(builder, "i32", lanes)
    word = bits.cast("zext", register, "i8", "i32")
    if source == "f8E5M2":
        return _widen_bits(bits, word, exponent_bits=5, mantissa_bits=2)
    # E4M3FN has no infinity: its largest exponent is ordinary, only 0x7F is nan
    magnitude = bits.op("shl", bits.op("and", word, 0x7F), 20)
    kind = builder.type("f32", lanes)
    scale = builder.splat(f"0x{(1023 + 120) << 52:016X}", "f32", lanes)
    number = bits.cast("bitcast", magnitude, "i32", "f32")
    number = bits.cast("bitcast", builder.define(f"fmul {kind} {number}, {scale}"), "f32", "i32")
    number = bits.select(bits.compare("eq", magnitude, 0x7F << 20), 0x7FC00000, number)
    sign = bits.op("shl", bits.op("lshr", word, 7), 31)
    return bits.cast("bitcast", bits.op("or", number, sign), "i32", "f32")


def _to_fp8(builder: Builder, register: str, element: str, lanes: int) -> str:
    bits = _Bits(builder, "i32", lanes)
    if element == "f8E5M2":
        sign, number, magnitude = _narrow_bits(bits, register, 5, 2)
        largest, nan = 0x7B, 0x7F
    else:
        sign, number, magnitude = _narrow_bits(bits, register, 4, 3)
        largest, nan = 0x7E, 0x7F
    number = bits.select(bits.compare("ugt", number, largest), largest, number)
    # far above the range the rebiased exponent wraps: compare the original
    number = bits.select(bits.compare("ugt", magnitude, 0x47800000), largest, number)
    number = bits.select(bits.compare("ugt", magnitude, 0x7F800000), nan, number)
    return bits.cast("trunc", bits.op("or", number, sign), "i32", "i8")
