"""Special functions: Bessel's of the first kind of imaginary argument, gamma's family, normal's.

The Chebyshev series were computed with 50 digits (mpmath) for the functions named beside them; cut
where terms fall below a third of float64's resolution.
"""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np

from tritorch.kernels import scalar as s
from tritorch.ops.declare import in_place, method, pointwise, writes
from tritorch.tensor import Tensor


def _series(coefficients: tuple[float, ...], t: Any) -> Any:
    """A Chebyshev series at t in [-1, 1], by Clenshaw's recurrence."""
    ahead: Any = 0.0
    further: Any = 0.0
    for c in reversed(coefficients[1:]):
        ahead, further = 2.0 * t * ahead - further + c, ahead
    return t * ahead - further + coefficients[0]


# ---- modified Bessel functions of the first kind

# exp(-x) I0(x) on [0, 8], sqrt(x) exp(-x) I0(x) beyond; the same of I1, divided by x on [0, 8].
_I0_NEAR = (
    0.3383976372047380425, -0.30468267234319839868, 0.17162090152220877535,
    -0.094901097048047644421, 0.049305284239670708488, -0.023737414805899468816,
    0.010546460394594998318, -0.0043243099950505759443, 0.0016394756169413357984,
    -0.00057637557453858236588, 0.00018850288509584165573, -0.00005754195010082103704,
    0.000016448448070728897089, -4.4167383584587505636e-6, 1.1173875391201037182e-6,
    -2.6707938539406117339e-7, 6.0469950225419189493e-8, -1.3000250099862480421e-8,
    2.6598237246823866503e-9, -5.1897956016352629067e-10, 9.6758090353732369122e-11,
    -1.7268262914415557072e-11, 2.9550526631296398346e-12, -4.8564467831119294609e-13,
    7.6761854986049356169e-14, -1.1685332877993451681e-14, 1.7153912855551330306e-15,
    -2.4312798465479546936e-16, 3.3307945188222380978e-17, -4.4153416464793393795e-18,
)  # fmt: skip
_I0_FAR = (
    0.4022452055070544158, 0.0033691164782556940899, 0.000068897583469168239843,
    2.891370520834756483e-6, 2.0489185894690637418e-7, 2.2666689904981780646e-8,
    3.3962320257083863452e-9, 4.9406023882249695891e-10, 1.1889147107846438342e-11,
    -3.1499165279632413645e-11, -1.3215811840447713119e-11, -1.7941785315068061178e-12,
    7.1801244513836662337e-13, 3.8527783827421427011e-13, 1.5400862175214098269e-14,
    -4.1505693472872220866e-14, -9.5548466988283076487e-15, 3.8116806693526224207e-15,
    1.7725601330565263836e-15, -3.4254856196772191346e-16, -2.8276239805165834849e-16,
    3.4612228676974610931e-17, 4.465621420296759999e-17, -4.8305044859441820713e-18,
    -7.2331804878747539546e-18,
)  # fmt: skip
_I1_NEAR = (
    0.12629359322181682741, -0.17641651835783405515, 0.10264365868984709538,
    -0.052945981208094991427, 0.024726449030626516828, -0.010564084894626198156,
    0.0041564229443128881567, -0.001513572450631253149, 0.0005122859561685757729,
    -0.00016176081582589674559, 0.000047815651075500542264, -0.000013273163656039435828,
    3.4702513081376784767e-6, -8.5687202646954547407e-7, 2.0032947535521352623e-7,
    -4.4450591287963280807e-8, 9.3815373864957717839e-9, -1.8872497517228292879e-9,
    3.625590281552117037e-10, -6.6634897235020277422e-11, 1.1736186298890901631e-11,
    -1.9839743977649437152e-12, 3.2237933659455747098e-13, -5.0421855047279116871e-14,
    7.6006842947354069341e-15, -1.105596947735386308e-15, 1.5536319577362004689e-16,
    -2.1114212143581660782e-17, 2.7779141127610463705e-18,
)  # fmt: skip
_I1_FAR = (
    0.38928811750914006024, -0.0097610974913614684078, -0.00011058893876262371629,
    -3.8825648088776903935e-6, -2.5122362378702089253e-7, -2.6314688468895195068e-8,
    -3.835380385964237022e-9, -5.5897434621965838069e-10, -1.8974958123505412345e-11,
    3.2526035830154882386e-11, 1.4125807436613781332e-11, 2.0356285441470895072e-12,
    -7.1985517762459085121e-13, -4.0835511110921973182e-13, -2.101541842772664313e-14,
    4.2724400167119513543e-14, 1.0420276984128802764e-14, -3.8144030724370078048e-15,
    -1.8803547755107824485e-15, 3.3082023109209282827e-16, 2.9626289976459501391e-16,
    -3.2095259219934239588e-17, -4.6503053684893583256e-17, 4.4143483230717079499e-18,
    7.5172963108421048054e-18, -9.3141788673268833757e-19, -1.2421932751948909561e-18,
)  # fmt: skip


def _scaled_bessel(near: tuple[float, ...], far: tuple[float, ...], size: Any) -> Any:
    close = _series(near, s.minimum(size, 8.0) * 0.25 - 1.0)
    large = s.maximum(size, 8.0)
    return close, _series(far, 16.0 / large - 1.0) / s.sqrt(large)


def _i0e(x: Any) -> Any:
    size = s.abs(x)
    close, distant = _scaled_bessel(_I0_NEAR, _I0_FAR, size)
    return s.where(size <= 8.0, close, distant)


def _i1e(x: Any) -> Any:
    size = s.abs(x)
    close, distant = _scaled_bessel(_I1_NEAR, _I1_FAR, size)
    return s.where(size <= 8.0, close * x, s.copysign(distant, x))


def _quotient(y: Any, x: Any) -> Any:
    """y / x for an odd function y with slope 1/2 at 0."""
    return s.where(x == 0, 0.5, y / s.where(x == 0, 1.0, x))


def _bessel(order: int, scaled: bool) -> Any:
    """The integral over a circle, which the trapezoidal rule gives to the last digit."""
    angles = (np.arange(256) + 0.5) * np.pi / 256

    def reference(x: Any) -> Any:
        x = np.asarray(x)[..., None]
        size = np.abs(x)
        with np.errstate(all="ignore"):
            value = (np.exp(x * np.cos(angles) - size) * np.cos(order * angles)).mean(-1)
            # Beyond what exp holds; at infinity itself 0 * inf, as in PyTorch.
            at_infinity = 0.0 if scaled else np.sign(x[..., 0]) ** order * (1e308 * size[..., 0])
            at_infinity = np.where(np.isinf(size[..., 0]) & (not scaled), np.nan, at_infinity)
            value = value if scaled else value * np.exp(size[..., 0])
        return np.where(size[..., 0] > 1e4, at_infinity, value)

    return reference


@pointwise(
    promote="float", inplace=True, numpy=_bessel(0, False), samples=(20.0, -20.0, 8.0),
    grad=lambda g, input: g * _i1e(input) * s.exp(s.abs(input)),
)  # fmt: skip
def i0(input):
    """The modified Bessel function of the first kind of order 0."""
    return _i0e(input) * s.exp(s.abs(input))


@pointwise(
    promote="float", method=False, numpy=_bessel(0, True), samples=(20.0, -20.0, 8.0),
    grad=lambda g, input: g * (_i1e(input) - s.sign(input) * _i0e(input)),
)  # fmt: skip
def i0e(input):
    """exp(-|x|) i0(x)."""
    return _i0e(input)


@pointwise(
    promote="float", method=False, numpy=_bessel(1, False), samples=(20.0, -20.0, 8.0),
    grad=lambda g, input: (
        g * (_i0e(input) - _quotient(_i1e(input), input)) * s.exp(s.abs(input))
    ),
)  # fmt: skip
def i1(input):
    """The modified Bessel function of the first kind of order 1."""
    return _i1e(input) * s.exp(s.abs(input))


@pointwise(
    promote="float", method=False, numpy=_bessel(1, True), samples=(20.0, -20.0, 8.0),
    grad=lambda g, input: (
        g * (_i0e(input) - s.sign(input) * _i1e(input) - _quotient(_i1e(input), input))
    ),
)  # fmt: skip
def i1e(input):
    """exp(-|x|) i1(x)."""
    return _i1e(input)


# ---- the gamma function's family

# B_2k / (2k)!: the weights of Euler's and Maclaurin's sum
_BERNOULLI = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600, -3617 / 10670622842880000,
)  # fmt: skip
_TERMS = 10


def _zeta(x: Any, q: Any) -> Any:
    """Hurwitz' zeta function for x > 1: ten terms, the integral over the rest, corrections."""
    total: Any = 0.0
    for k in range(_TERMS):
        total = total + s.pow(q + float(k), -x)
    a = q + float(_TERMS)
    last = s.pow(a, -x)
    total = total + s.pow(a, 1.0 - x) / (x - 1.0) + 0.5 * last
    factor = last * x / a
    for k, weight in enumerate(_BERNOULLI):
        total = total + weight * factor
        rise = x + float(2 * k + 1)
        factor = factor * (rise / a) * ((rise + 1.0) / a)
    total = s.where(x > 1.0, total, s.where(x == 1.0, math.inf, math.nan))
    # Poles at 0, -1, -2, ...; between them only for whole x.
    pole = (q <= 0) & (q == s.floor(q))
    undefined = (q < 0) & (x != s.floor(x))
    return s.where(pole, math.inf, s.where(undefined, math.nan, total))


@pointwise(
    promote="float", method=False, numpy=None, low=1.5, high=6.0,
    grad=lambda g, input, other: (
        s.where(other == other, math.nan, 0.0), -g * input * _zeta(input + 1.0, other)
    ),
)  # fmt: skip
def zeta(input, other):
    """Hurwitz' zeta function: the sum of (k + other) ** -input over k = 0, 1, ...

    The derivative by the first argument is not known here; it is nan.
    """
    return _zeta(input, other)


def trigamma(x: Any) -> Any:
    """The derivative of digamma, by reflection for negative x."""
    inner = s.where(x < 0.5, 1.0 - x, x)
    value = _zeta(2.0, inner)
    sine = s.sin(math.pi * (x - s.floor(x + 0.5)))  # the sign does not matter
    reflected = math.pi * math.pi / (sine * sine) - value
    return s.where(x < 0.5, reflected, value)


@pointwise(
    promote="float", method=False, inplace=True, low=0.2, high=8.0, out=True,
    numpy=None, calls=({"n": 1}, {"n": 2}, {"n": 4}), node="PolygammaBackward0",
    grad=lambda g, input, n: g * _polygamma(input, n + 1),
)  # fmt: skip
def _polygamma_of(input, n: int):
    return _polygamma(input, n)


def _polygamma(x: Any, n: Any) -> Any:
    order = n * 1.0
    sign = 2.0 * s.remainder(order, 2.0) - 1.0
    general = sign * s.exp(s.lgamma(order + 1.0)) * _zeta(order + 1.0, x)
    return s.where(order == 1.0, trigamma(x), general)


# ---- the normal distribution

# (1 + 2 x) erfcx(x) by t = (x - 4) / (x + 4)
_ERFCX = (
    1.1774832005374486986, -0.0072607966203019004784, -0.081265123236184997858,
    0.060092128041222249997, -0.028753935580276660271, 0.010595663363472860014,
    -0.0031369272945542642383, 0.00074564943725361840431, -0.00013696965030100540681,
    0.000017183861600300937113, -7.1583646234503468633e-7, -2.4261399442449532014e-7,
    5.5765709395703564039e-8, -2.1057869513809494813e-9, -1.1717889351884956849e-9,
    1.909835517245668792e-10, 1.4088717642088129665e-11, -6.9011083204808149553e-12,
    9.1679583641112932862e-14, 2.1454508286554552991e-13, -1.4716575027010624224e-14,
    -6.6686751187704079242e-15, 7.5045985098800830254e-16, 2.2200930066663200355e-16,
    -3.1704898956330888357e-17, -8.1935703098843323334e-18,
)  # fmt: skip


def _erfcx(x: Any) -> Any:
    size = s.abs(x)
    size = s.minimum(size, 1e30)  # infinity over infinity is nan
    positive = _series(_ERFCX, (size - 4.0) / (size + 4.0)) / (1.0 + 2.0 * size)
    return s.where(x < 0, 2.0 * s.exp(x * x) - positive, positive)


def _ndtr(x: Any) -> Any:
    return 0.5 * s.erfc(x * -(0.5**0.5))


@partial(np.vectorize, otypes=[np.float64])
def _erfcx_reference(x: float) -> float:
    if not x < 20:
        return (
            math.nan
            if math.isnan(x)
            else (
                1 / (x * math.pi**0.5) * (1 - 0.5 / x**2 + 0.75 / x**4 - 1.875 / x**6)
                if x < 1e100
                else 0.0
            )
        )
    return math.exp(min(x * x, 709.0)) * math.erfc(x) if x * x < 700 else math.inf


@pointwise(
    promote="float", method=False, numpy=_erfcx_reference, samples=(15.0, 19.0, -5.0),
    grad=lambda g, input, result: g * (2.0 * input * result - 2.0 / math.sqrt(math.pi)),
)  # fmt: skip
def erfcx(input):
    """exp(x²) erfc(x), without overflow for large x."""
    return _erfcx(input)


@pointwise(
    promote="float", method=False,
    numpy=np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), otypes=[np.float64]),
    grad=lambda g, input: g * (s.exp(-0.5 * input * input) / math.sqrt(2 * math.pi)),
)  # fmt: skip
def ndtr(input):
    """The normal distribution's area to the left."""
    return _ndtr(input)


@partial(np.vectorize, otypes=[np.float64])
def _log_ndtr_reference(x: float) -> float:
    if x < -30:
        return (
            -0.5 * x * x
            - math.log(-x)
            - 0.5 * math.log(2 * math.pi)
            + math.log1p(-1 / x**2 + 3 / x**4 - 15 / x**6)
            if x > -1e100
            else -math.inf
        )
    return math.log(0.5 * math.erfc(-x / math.sqrt(2))) if x == x else math.nan


@pointwise(
    promote="float", method=False, numpy=_log_ndtr_reference, samples=(-20.0, -35.0, 10.0),
    grad=lambda g, input: (
        g * (2.0 / math.sqrt(2 * math.pi)) * s.where(
            input < 5.0,
            1.0 / _erfcx(s.minimum(input, 5.0) * -(0.5**0.5)),
            0.5 * s.exp(-0.5 * input * input) / _ndtr(input),
        )
    ),
)  # fmt: skip
def log_ndtr(input):
    """The logarithm of `ndtr`, exact in the left tail."""
    t = input * 0.5**0.5
    left = s.log(0.5 * _erfcx(s.maximum(-t, -1.0))) - t * t
    return s.where(input < -1.0, left, s.log1p(-0.5 * s.erfc(t)))


# P. Acklam's rational approximation (relative error 1.15e-9), then one step of Halley's method.
_MIDDLE = (
    -3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02, 1.383577518672690e02,
    -3.066479806614716e01, 2.506628277459239e00,
)  # fmt: skip
_MIDDLE_BELOW = (
    -5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02, 6.680131188771972e01,
    -1.328068155288572e01, 1.0,
)  # fmt: skip
_TAIL = (
    -7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e00,
    -2.549732539343734e00, 4.374664141464968e00, 2.938163982698783e00,
)  # fmt: skip
_TAIL_BELOW = (
    7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00, 1.0,
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    result: Any = coefficients[0]
    for c in coefficients[1:]:
        result = result * x + c
    return result


def _ndtri(p: Any) -> Any:
    low = s.minimum(p, 1.0 - p)
    inside = s.clamp(p - 0.5, -0.48, 0.48)
    r = inside * inside
    middle = inside * _polynomial(_MIDDLE, r) / _polynomial(_MIDDLE_BELOW, r)
    root = s.sqrt(-2.0 * s.log(s.clamp(low, 0.0, 0.4)))
    tail = _polynomial(_TAIL, root) / _polynomial(_TAIL_BELOW, root)
    # Of the smaller side, so that nothing is lost near 1.
    x = s.where(low < 0.02425, tail, s.where(p < 0.5, middle, -middle))
    error = (_ndtr(x) - low) * s.exp(0.5 * x * x) * math.sqrt(2 * math.pi)
    better = x - error / (1.0 + 0.5 * x * error)
    value = s.where(low > 0, s.where(p < 0.5, better, -better), math.nan)
    return s.where(p == 0, -math.inf, s.where(p == 1, math.inf, value))


def _ndtri_reference(p: Any) -> Any:
    normal = NormalDist()

    def one(value: float) -> float:
        if not 0 < value < 1:
            return -math.inf if value == 0 else math.inf if value == 1 else math.nan
        return normal.inv_cdf(value)

    return np.vectorize(one, otypes=[np.float64])(p)


@pointwise(
    promote="float", method=False, numpy=_ndtri_reference, low=0.02, high=0.98,
    samples=(0.0, 1.0, 0.001, 0.999),
    grad=lambda g, result: g * math.sqrt(2 * math.pi) * s.exp(0.5 * result * result),
)  # fmt: skip
def ndtri(input):
    """Where the normal distribution's area to the left is the input."""
    return _ndtri(input)


# ---- entropies


@pointwise(
    promote="float", method=False, low=0.05, high=3.0, samples=(0.0, -1.0),
    numpy=lambda x: np.where(x > 0, -x * np.log(np.where(x > 0, x, 1)),
                             np.where(x == 0, 0.0, np.where(np.isnan(x), np.nan, -np.inf))),
    grad=lambda g, input: g * (-1.0 - s.log(input)),
)  # fmt: skip
def entr(input):
    """-x log(x); 0 at 0, minus infinity below."""
    inside = -input * s.log(s.where(input > 0, input, 1.0))
    outside = s.where(input == 0, 0.0, -math.inf)
    return s.where(s.isnan(input), input, s.where(input > 0, inside, outside))


@pointwise(
    promote="float", method=False, low=-0.9, high=3.0, samples=(0.0,),
    numpy=lambda x, y: np.where(np.isnan(y), np.nan, np.where(x == 0, 0.0, x * np.log1p(y))),
    grad=lambda g, input, other: (
        g * s.where((input == 0) & (other <= -1.0), 0.0, s.log1p(other)),
        g * input / (other + 1.0),
    ),
)  # fmt: skip
def xlog1py(input, other):
    """input log1p(other); 0 where the input is 0."""
    value = s.where(input == 0, 0.0, input * s.log1p(other))
    return s.where(s.isnan(other), math.nan, value)


# ---- names


@method("polygamma")
@writes
def _polygamma_method(input: Any, n: Any = None) -> Tensor:
    """The n-th derivative of digamma: `polygamma(n, x)`, or the method `x.polygamma(n)`."""
    from tritorch.ops.elementary import digamma

    if isinstance(n, Tensor):
        input, n = n, input
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    result: Tensor = digamma(input) if n == 0 else _polygamma_of(input, n)
    return result


polygamma = _polygamma_method


@method("mvlgamma")
@in_place
@writes
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p."""
    from tritorch.ops.creation import arange
    from tritorch.ops.elementary import lgamma

    if p < 1:
        raise RuntimeError("mvlgamma: p has to be greater than or equal to 1")
    dtype = input.dtype if input.is_floating_point() else None
    offsets = arange(0, -p, -1, dtype=dtype or input.float().dtype, device=input.device) * 0.5
    total: Tensor = lgamma(input.unsqueeze(-1) + offsets).sum(-1)
    return total + p * (p - 1) / 4 * math.log(math.pi)
