"""Device functions that the spellings of some primitives call; their text is put before the
kernels that do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_LIBDEVICE: Final = "from triton.language.extra import libdevice\n"

HELPERS: Final[dict[str, str]] = {
    # Division by 0, and of the lowest number by -1, trap on CPUs even in masked lanes: divide by 1
    # there instead.
    "safe_divisor": """
@triton.jit
def safe_divisor(y, SIGNED: tl.constexpr):
    one = tl.full((), 1, y.dtype)
    if SIGNED:
        return tl.where((y == 0) | (y + 1 == 0), one, y)
    else:
        return tl.where(y == 0, one, y)
""",
    "truncate_divide": """
@triton.jit
def truncate_divide(x, y, SIGNED: tl.constexpr):
    quotient = x // safe_divisor(y, SIGNED)
    if SIGNED:
        quotient = tl.where(y + 1 == 0, -quotient, quotient)
    return quotient
""",
    "truncate_remainder": """
@triton.jit
def truncate_remainder(x, y, SIGNED: tl.constexpr):
    return x % safe_divisor(y, SIGNED)
""",
    "floor_remainder": """
@triton.jit
def floor_remainder(x, y, SIGNED: tl.constexpr):
    rest = x % safe_divisor(y, SIGNED)
    if SIGNED:
        rest = tl.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)
    return rest
""",
    "floor_divide": """
@triton.jit
def floor_divide(x, y, SIGNED: tl.constexpr):
    divisor = safe_divisor(y, SIGNED)
    quotient = x // divisor
    if SIGNED:
        rest = x - quotient * divisor
        quotient = tl.where((rest != 0) & ((rest < 0) != (y < 0)), quotient - 1, quotient)
        quotient = tl.where(y + 1 == 0, -x, quotient)
    return quotient
""",
    "float_remainder": """
@triton.jit
def float_remainder(x, y):
    rest = libdevice.fmod(x, y)
    return tl.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)
""",
    # CPython's algorithm: exact where x / y would round up to the next whole number.
    "float_floor_divide": """
@triton.jit
def float_floor_divide(x, y):
    rest = libdevice.fmod(x, y)
    quotient = (x - rest) / y
    quotient = tl.where((rest != 0) & ((rest < 0) != (y < 0)), quotient - 1, quotient)
    whole = tl.floor(quotient)
    whole = tl.where(quotient - whole > 0.5, whole + 1, whole)
    whole = tl.where(quotient == 0, libdevice.copysign(quotient * 0, x / y), whole)
    return tl.where(y == 0, x / y, whole)
""",
    # By repeated squaring, until no exponent has bits left; a negative one leaves 0, but for a
    # base of 1 or -1.
    "integer_power": """
@triton.jit
def integer_power(x, y, SIGNED: tl.constexpr):
    one = tl.full((), 1, x.dtype)
    zero = tl.full((), 0, x.dtype)
    exponent = y
    if SIGNED:
        exponent = tl.where(y < 0, zero - y, y)
    base = x + exponent * zero
    result = tl.where((exponent & 1) != 0, base, one)
    exponent = exponent >> 1
    while (tl.max(exponent) if exponent.type.is_block() else exponent) > 0:
        base = base * base
        result = tl.where((exponent & 1) != 0, result * base, result)
        exponent = exponent >> 1
    if SIGNED:
        kept = tl.where((x == 1) | (x + 1 == 0), result, zero)
        result = tl.where(y < 0, kept, result)
    return result
""",
    # Euclid's algorithm, until no remainder is left anywhere.
    "common_divisor": """
@triton.jit
def common_divisor(x, y, SIGNED: tl.constexpr):
    zero = tl.full((), 0, x.dtype)
    a = x + y * zero
    b = y + x * zero
    if SIGNED:
        a = tl.where(a < 0, zero - a, a)
        b = tl.where(b < 0, zero - b, b)
    while (tl.max((b != 0).to(tl.int32)) if b.type.is_block() else (b != 0).to(tl.int32)) > 0:
        rest = tl.where(b == 0, zero, a % safe_divisor(b, SIGNED))
        a = tl.where(b == 0, a, b)
        b = rest
    if SIGNED:  # the lowest number has no positive one
        a = tl.where(a < 0, zero - a, a)
    return a
""",
    # The sum of x^n / (a (a + 1) ... (a + n)), until no term counts anywhere; for x < a + 1.
    "gamma_series": """
@triton.jit
def gamma_series(a, x, BITS: tl.constexpr):
    least: tl.constexpr = 1e-17 if BITS == 64 else 1e-8
    n = a + x * 0.0
    term = 1.0 / n
    total = term
    more = (term > total * least).to(tl.int32)
    while (tl.max(more) if more.type.is_block() else more) > 0:
        n = n + 1.0
        term = term * (x / n)
        total = total + term
        more = (term > total * least).to(tl.int32)
    return total
""",
    # 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / ...)) by Lentz' method; for x >= a + 1.
    "gamma_fraction": """
@triton.jit
def gamma_fraction(a, x, BITS: tl.constexpr):
    least: tl.constexpr = 2e-15 if BITS == 64 else 1e-6
    i = a * 0.0 + x * 0.0
    b = x + 1.0 - a
    c = i + 1e30
    d = 1.0 / b
    h = d
    more = (h == h).to(tl.int32)
    while (tl.max(more) if more.type.is_block() else more) > 0:
        i = i + 1.0
        numerator = i * (a - i)
        b = b + 2.0
        d = 1.0 / (numerator * d + b)
        c = b + numerator / c
        change = c * d
        h = tl.where(more > 0, h * change, h)  # what is done stays
        more = ((more > 0) & (tl.abs(change - 1.0) > least) & (i < 5000.0)).to(tl.int32)
    return h
""",
    # The derivative of y, the logarithm of a gamma variable, by its shape a, where the mass below
    # it stays: -dP/da / (x p(x)), x = exp(y). dP/da is the integral of p(t) (log t - digamma(a)) up
    # to x, or minus the one beyond; t = x exp(-w) makes p(t) / p(x) = exp(-a w + x (1 - exp(-w))).
    # For a and x below 1 what the first term of exp(-x exp(-w)) gives is known: (y - digamma(a +
    # 1)) / a. The rest by the trapezoidal rule over s, w = scale * exp(s - exp(-s)); psi is
    # digamma(a + 1). Sources: Figurnov et al., Implicit reparameterization gradients, 2018;
    # Takahasi and Mori, Double exponential formulas for numerical integration, 1974.
    "gamma_slope": """
@triton.jit
def gamma_slope(a, y, psi):
    kind = a.dtype
    a = a.to(tl.float64)
    y = y.to(tl.float64)
    psi = psi.to(tl.float64)
    x = tl.exp(y)
    within = (a < 1.0) & (x <= 1.0)
    beyond = (x > a) & (~within)
    away = tl.where(beyond, x - a, a - x)
    scale = tl.where(within, 1.0, 1.0 / (away + tl.sqrt(x)))
    sign = tl.where(beyond, -1.0, 1.0)
    first = (y - psi) / a
    total = tl.where(within, first, 0.0)
    for k in range(104):
        s = 0.078125 * k - 3.25
        shrink = tl.exp(a * 0.0 - s)
        w = scale * tl.exp(s - shrink)
        step = w * (1.0 + shrink) * 0.078125
        w = w * sign
        ratio = libdevice.expm1(tl.minimum(-w, 700.0))
        plain = tl.exp(-a * w - x * ratio) * sign
        rest = tl.exp(-a * w) * libdevice.expm1(-x * (1.0 + ratio))
        total += step * (y - w - psi + 1.0 / a) * tl.where(within, rest, plain)
    total = tl.where(within, total * tl.exp(tl.minimum(x, 1.0)), total)
    return (-total).to(kind)
""",
    # The logarithm of a gamma variable of shape a >= 0, whose random numbers belong to a key of two
    # 32-bit words. A cube of a normal number is taken or refused; below 1, the shape is raised by 1
    # and the result lowered by a power of a uniform number. Of 200 numbers one is always taken.
    # Source: Marsaglia and Tsang, A simple method for generating gamma variables, 2000.
    "gamma_logarithm": """
@triton.jit
def gamma_logarithm(a, first, second):
    kind = a.dtype
    a = a.to(tl.float64)
    key = (first.to(tl.int64) << 32) | second.to(tl.int64)
    position = key - key
    small = a < 1.0
    d = tl.where(small, a + 1.0, a) - 0.3333333333333333
    c = 1.0 / tl.sqrt(9.0 * d)
    result = tl.log(d)
    lowered = tl.log(1.0 - philox_uniform64(key, position)) / tl.where(a > 0.0, a, 1.0)
    lowered = tl.where(a > 0.0, lowered, -float("inf"))
    more = (a >= 0.0).to(tl.int32) + position.to(tl.int32)
    while (tl.max(more) if more.type.is_block() else more) > 0:
        z = philox_normal64(key, position + 1)
        u = philox_uniform64(key, position + 2)
        position += 2
        root = 1.0 + c * z
        positive = root > 0.0
        root = tl.where(positive, root, 1.0)
        power = tl.log(root) * 3.0
        limit = 0.5 * z * z + d - d * root * root * root + d * power
        taken = (positive & (tl.log(1.0 - u) < limit)) | (position >= 400)
        result = tl.where((more > 0) & taken, tl.log(d) + power, result)
        more = tl.where(taken, 0, more)
    result = tl.where(small, result + lowered, result)
    return tl.where(a >= 0.0, result, float("nan")).to(kind)
""",
    "wide_shift_left": """
@triton.jit
def wide_shift_left(x, y, BITS: tl.constexpr):
    fits = (y >= 0) & (y < BITS)
    zero = tl.full((), 0, x.dtype)
    return tl.where(fits, x << tl.where(fits, y, zero), zero)
""",
    "wide_shift_right": """
@triton.jit
def wide_shift_right(x, y, BITS: tl.constexpr, SIGNED: tl.constexpr):
    fits = (y >= 0) & (y < BITS)
    most = tl.full((), BITS - 1, x.dtype)
    shifted = x >> tl.where(fits, y, most)
    if SIGNED:
        return shifted
    else:
        return tl.where(fits, shifted, tl.full((), 0, x.dtype))
""",
    # The upper and the lower half of the product of two 32-bit words.
    "halves_of_product": """
@triton.jit
def halves_of_product(x, y):
    return tl.umulhi(x, y), x * y
""",
    # Philox-4x32-10; the counter is the 64-bit position.
    "philox": """
@triton.jit
def philox(seed, position):
    first = tl.full((), 0xD2511F53, tl.uint32)
    second = tl.full((), 0xCD9E8D57, tl.uint32)
    k0 = seed.to(tl.uint32)
    k1 = (seed >> 32).to(tl.uint32)
    c0 = position.to(tl.uint32)
    c1 = (position >> 32).to(tl.uint32)
    c2 = c0 ^ c0
    c3 = c2
    for _ in tl.static_range(10):
        high0, low0 = halves_of_product(c0, first)
        high2, low2 = halves_of_product(c2, second)
        c0 = high2 ^ c1 ^ k0
        c1 = low2
        c2 = high0 ^ c3 ^ k1
        c3 = low0
        k0 = k0 + tl.full((), 0x9E3779B9, tl.uint32)
        k1 = k1 + tl.full((), 0xBB67AE85, tl.uint32)
    return c0, c1, c2, c3
""",
    "philox_word": """
@triton.jit
def philox_word(seed, position):
    c0, c1, c2, c3 = philox(seed, position)
    return c0.to(tl.int64)
""",
    "philox_second_word": """
@triton.jit
def philox_second_word(seed, position):
    c0, c1, c2, c3 = philox(seed, position)
    return c1.to(tl.int64)
""",
    # Of 24 bits, as a float32: four neighbours have the four words of one position.
    "philox_quarter": """
@triton.jit
def philox_quarter(seed, offset, index):
    c0, c1, c2, c3 = philox(seed, offset + (index >> 2))
    place = index.to(tl.int32)
    odd = (place & 1) > 0
    word = tl.where((place & 2) > 0, tl.where(odd, c3, c2), tl.where(odd, c1, c0))
    return (word >> 8).to(tl.int32).to(tl.float32)
""",
    "philox_uniform": """
@triton.jit
def philox_uniform(seed, position):
    c0, c1, c2, c3 = philox(seed, position)
    return (c0 >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08
""",
    "philox_uniform64": """
@triton.jit
def philox_uniform64(seed, position):
    c0, c1, c2, c3 = philox(seed, position)
    bits = ((c0 >> 5).to(tl.int64) << 26) + (c1 >> 6).to(tl.int64)
    return bits.to(tl.float64) * tl.full((), 1.1102230246251565e-16, tl.float64)
""",
    # The radius needs a number in (0, 1]: 1 - u. The cosine is that of 2 pi v = sin(2 pi s), s in
    # [-1/4, 1/4]: sin(2 pi s) / s as a minimax polynomial of s^2, relative error 2^-35.
    "philox_normal": """
@triton.jit
def philox_normal(seed, position):
    c0, c1, c2, c3 = philox(seed, position)
    u = 1.0 - (c0 >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08
    v = (c1 >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08
    s = tl.abs(v - 0.5) - 0.25
    z = s * s
    p = z * -14.381390571594238 + 42.00779724121094
    p = p * z - 76.70417022705078
    p = p * z + 81.605224609375
    p = p * z - 41.34170150756836
    p = p * z + 6.2831854820251465
    return tl.sqrt_rn(-2.0 * tl.log(u)) * (s * p)
""",
    "philox_normal64": """
@triton.jit
def philox_normal64(seed, position):
    c0, c1, c2, c3 = philox(seed, position)
    scale = tl.full((), 1.1102230246251565e-16, tl.float64)
    u = 1.0 - (((c0 >> 5).to(tl.int64) << 26) + (c1 >> 6).to(tl.int64)).to(tl.float64) * scale
    v = (((c2 >> 5).to(tl.int64) << 26) + (c3 >> 6).to(tl.int64)).to(tl.float64) * scale
    turn = tl.full((), 6.283185307179586, tl.float64) * v
    return tl.sqrt(-2.0 * tl.log(u)) * tl.cos(turn)
""",
}

#: helpers that a helper calls
NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "truncate_divide": ("safe_divisor",),
    "truncate_remainder": ("safe_divisor",),
    "floor_remainder": ("safe_divisor",),
    "floor_divide": ("safe_divisor",),
    "common_divisor": ("safe_divisor",),
    "philox": ("halves_of_product",),
    "philox_word": ("philox",),
    "philox_quarter": ("philox",),
    "tanh_in_parts": ("one_plus_tanh",),
    "philox_second_word": ("philox",),
    "philox_uniform": ("philox",),
    "philox_uniform64": ("philox",),
    "philox_normal": ("philox",),
    "philox_normal64": ("philox",),
    "gamma_logarithm": ("philox_normal64", "philox_uniform64"),
}


def prelude(names: set[str], body: str, others: Mapping[str, str] = MappingProxyType({})) -> str:
    """The text that goes before `body`: imports and the helpers of these names, in a fixed
    order; `others` are texts instead of those here, or more of them.
    """
    wanted, missing = set(names), list(names)
    while missing:
        needed = set(NEEDS.get(missing.pop(), ())) - wanted
        wanted |= needed
        missing.extend(needed)
    texts = HELPERS | dict(others)
    functions = "".join(
        text.lstrip("\n") + "\n\n" for name, text in texts.items() if name in wanted
    )
    imports = _LIBDEVICE + "\n\n" if "libdevice." in functions + body else ""
    return imports + functions
