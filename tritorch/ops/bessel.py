"""Bessel's functions of the first and second kind, modified ones of the second, Airy's function.

The Chebyshev series were computed with 40 digits (mpmath): functions of x² near 0, modulus and
phase of the oscillations (or what is left of the exponential) in powers of 1/x beyond.
"""

# The decorated functions are written in the scalar language, whose operands have no annotations.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tritorch.kernels import scalar as s
from tritorch.ops.declare import pointwise
from tritorch.ops.special import _i0e, _i1e, _series

# ---- coefficients: on [0, 8] in x² (of J1 and Y1 divided by x, Y without its logarithm), beyond in
# (8 / x)²; on [0, 2] and beyond for K; Airy's in x on [-2, 2], beyond in 1 / (2/3 |x|^1.5)

_J0_NEAR = (
    0.15772797147489012, -0.00872344235285222129, 0.26517861320333681, -0.370094993872649779,
    0.158067102332097261, -0.0348937694114088852, 0.0048191800694676045,
    -0.000460626166206275048, 0.0000324603288210050808, -1.76194690776215075e-6,
    7.60816359241878187e-8, -2.6792535305576729e-9, 7.84869631447946442e-11,
    -1.94383468673701657e-12, 4.12532059563437393e-14, -7.58850812544754634e-16,
    1.2218515873961411e-17,
)  # fmt: skip
_J1_NEAR = (
    0.0810448463256581151, -0.148975145067652109, 0.160999262357209703, -0.0826804917668179066,
    0.0222136396549660354, -0.00364694060076927596, 0.000405033772835482183,
    -0.0000325555486685725852, 1.98587740499151674e-6, -9.52198475675043618e-8,
    3.68713375909714824e-9, -1.17802662269588484e-10, 3.16015458034800332e-12,
    -7.22175523965177343e-14, 1.42321440035139423e-15, -2.44419729161904639e-17,
)  # fmt: skip
_Y0_NEAR = (
    0.0364546980911604436, -0.278323709407582483, 0.296049999020714817, 0.0982550840818786406,
    -0.107551552806277835, 0.0317990740844145154, -0.00516139710581071495,
    0.000549852532003901154, -0.0000419969831494201307, 2.4290361107923794e-6,
    -1.10499697934729561e-7, 4.06651736597911049e-9, -1.23741488982898525e-10,
    3.16857255289459444e-12, -6.92695603243100108e-14, 1.3086308625876684e-15,
    -2.15862019869144832e-17,
)  # fmt: skip
_Y1_NEAR = (
    0.0383007698524237788, -0.0818256141273282641, -0.0248677076121964005,
    0.0479674527527469829, -0.0185258845108980222, 0.0036806076878235111,
    -0.000462725406029336872, 0.0000406940026958086987, -2.66176951252956262e-6,
    1.3506026913254338e-7, -5.48352411033627658e-9, 1.82450868412290077e-10,
    -5.07066663659112913e-12, 1.1956162517587949e-13, -2.42316244271247323e-15,
    4.26812651307296236e-17,
)  # fmt: skip
_P0_FAR = (
    0.999460349347518665, -0.000536522046813211742, 3.07518478751947462e-6,
    -5.1705945376060977e-8, 1.63064646351513831e-9, -7.86409137723707e-11,
    5.16826238734919246e-12, -4.30457886992539122e-13, 4.32659574315494056e-14,
    -5.06903409593523608e-15, 6.7480722157338737e-16, -1.00115137234677858e-16,
)  # fmt: skip
_Q0_FAR = (
    -0.0155558546053370091, 0.000068385199426116496, -7.41449841106064726e-7,
    1.79724572479689918e-8, -7.27191593686631998e-10, 4.22012190466873844e-11,
    -3.20674742099663474e-12, 3.00614512535170631e-13, -3.336328185322427e-14,
    4.25522504024546112e-15, -6.09993013164005001e-16, 9.66212897030325674e-17,
    -1.66860652143781463e-17, 3.10824404867381443e-18, -6.19111578735814493e-19,
)  # fmt: skip
_P1_FAR = (
    1.0009030408600137, 0.000898989833085940856, -3.98728430048890852e-6,
    6.17763396064429853e-8, -1.87189074910630661e-9, 8.8168986595823389e-11,
    -5.7048636403956447e-12, 4.69919551523054238e-13, -4.68422378399048922e-14,
    5.45267489604471717e-15, -7.22118084227401792e-16, 1.06676891143354125e-16,
)  # fmt: skip
_Q1_FAR = (
    0.0467777870695353252, -0.0000962772354915707932, 9.13861525795545412e-7,
    -2.09597813840834225e-8, 8.22919332765055413e-10, -4.68636368817694523e-11,
    3.51521879496860809e-12, -3.26431567432789993e-13, 3.59677658291652919e-14,
    -4.56125239507729719e-15, 6.50828295778338395e-16, -1.02691475318232429e-16,
    1.76763554877647916e-17, -3.28345198729816146e-18,
)  # fmt: skip
_K0_NEAR = (
    -0.267663696616951384, 0.344289899924628487, 0.0359799365153615016, 0.00126461541144692592,
    0.0000228621210311945179, 2.53479107902614946e-7, 1.90451637722020886e-9,
    1.03496952576336246e-11, 4.25981614279108258e-14, 1.3744654358807509e-16,
)  # fmt: skip
_K1_NEAR = (
    0.762650113669473885, -0.353155960776544876, -0.122611180822657148, -0.00697572385963986435,
    -0.000173028895751305206, -2.43340614156596823e-6, -2.21338763073472586e-8,
    -1.41148839263352776e-10, -6.66690169419932901e-13, -2.42744985051936593e-15,
)  # fmt: skip
_K0_FAR = (
    1.22015154103297773, -0.0314481013119645005, 0.00156988388573005337,
    -0.000128495495816278026, 0.0000139498137188764994, -1.83175552271911948e-6,
    2.76681363944501508e-7, -4.66048989768794767e-8, 8.57403401741422609e-9,
    -1.69753450938906152e-9, 3.57739728140032845e-10, -7.95748924447739704e-11,
    1.85594911495492655e-11, -4.51459788337451918e-12, 1.14034058820734423e-12,
    -2.98009692314817835e-13, 8.03289077506837437e-14, -2.22751332674629636e-14,
    6.34007647627664597e-15, -1.84859337792090717e-15, 5.51205599940433336e-16,
    -1.67823112575490064e-16, 5.21039177764355411e-17,
)  # fmt: skip
_K1_FAR = (
    1.36031309524222133, 0.103923736576817238, -0.00285781685962277939, 0.000195215518471351631,
    -0.0000193619797416608296, 2.40648494783721712e-6, -3.50196060308781254e-7,
    5.74108412545004929e-8, -1.0345762465678097e-8, 2.01504975519703462e-9,
    -4.19035475934192558e-10, 9.21831518760531413e-11, -2.12996783842779102e-11,
    5.13963967348234354e-12, -1.28917396094982294e-12, 3.34841966605224312e-13,
    -8.97670518201014607e-14, 2.47715442421959868e-14, -7.01983708921476885e-15,
    2.03870316623986088e-15, -6.05704727064301782e-16, 1.83809357524304543e-16,
    -5.68946284919364837e-17,
)  # fmt: skip
_AI_NEAR = (
    0.263817981914400155, -0.191767457750773528, -0.11544587863809751, 0.10129229869705276,
    -0.0206342253634419985, -0.00526346023587972434, 0.003521327342050992,
    -0.000552212713630869323, -0.0000872234696109754543, 0.000049972155304858787,
    -6.58209616965937974e-6, -7.46594098066580766e-7, 3.83710050501151454e-7,
    -4.42772620251887547e-8, -3.90152067611403316e-9, 1.84438288652927353e-9,
    -1.91214269391917184e-10, -1.37413709318268636e-11, 6.06949600490307851e-12,
    -5.74979914348976085e-13, -3.48308971341774806e-14, 1.4529660977306212e-14,
    -1.27312017115982435e-15, -6.65818146986444385e-17, 2.64367996302964194e-17,
)  # fmt: skip
_AI_RIGHT = (
    0.984405304917155196, -0.0147927848501041987, 0.000732717746542671434,
    -0.0000612595423417824993, 6.83476697557269029e-6, -9.23722973540398155e-7,
    1.4362253404380519e-7, -2.48931942232209598e-8, 4.7097934400543278e-9,
    -9.58386370811273208e-10, 2.07458554836775917e-10, -4.73726733219227696e-11,
    1.13360998082242348e-11, -2.82770678231935085e-12, 7.32071209512559757e-13,
    -1.95997939110897221e-13, 5.41011625706839221e-14, -1.53564668022238356e-14,
    4.47234039330002478e-15, -1.33380946747566825e-15, 4.06658204645623099e-16,
    -1.26558322564528899e-16, 4.0151263340158711e-17,
)  # fmt: skip
_AI_P = (
    0.995741071472116159, -0.00401003510964677496, 0.000217497978502210771,
    -0.0000255970736799195299, 4.44623650687023362e-6, -9.82156105511675343e-7,
    2.56080326317348612e-7, -7.54823420309078435e-8, 2.44721348245911989e-8,
    -8.56547575518528816e-9, 3.19367525949986149e-9, -1.25598702139450385e-9,
    5.17055083625224678e-10, -2.21490509740123075e-10, 9.82567476023679285e-11,
    -4.49637849851078515e-11, 2.11568852716181433e-11, -1.02082206466885693e-11,
    5.03914936896783127e-12, -2.53989412974783014e-12, 1.30491897025163448e-12,
    -6.82361699277273606e-13, 3.62695004932379569e-13, -1.95732621972947379e-13,
    1.07135733400816653e-13, -5.94233798752457625e-14, 3.33714737747176742e-14,
    -1.89612430498717046e-14, 1.08928239116121201e-14, -6.32312743963867868e-15,
    3.70680749611981924e-15, -2.19343226131332086e-15, 1.30948997529133676e-15,
    -7.88402016187124721e-16, 4.78507932790687153e-16, -2.92662860382376578e-16,
    1.80316690449784662e-16, -1.1188125444498048e-16, 6.98883033663822484e-17,
    -4.39398615772723164e-17,
)  # fmt: skip
_AI_Q = (
    0.0348431686284764397, -0.00178570892814980608, 0.000166092320527723157,
    -0.0000260364214538950651, 5.46974666826912325e-6, -1.39089838380974727e-6,
    4.05322482804937225e-7, -1.30950070590931039e-7, 4.58964810990894926e-8,
    -1.71893729703225702e-8, 6.80415101951065632e-9, -2.82308749148019954e-9,
    1.21989877802768497e-9, -5.46212446197009022e-10, 2.52377229667464234e-10,
    -1.1992791277877844e-10, 5.84449772578518553e-11, -2.91405352080818339e-11,
    1.48350816680892978e-11, -7.69778379046625878e-12, 4.06505225119787915e-12,
    -2.18180067580544113e-12, 1.18879011959597901e-12, -6.56881434229625534e-13,
    3.67756218429328272e-13, -2.08432641624211573e-13, 1.19503755222272695e-13,
    -6.92653574030824491e-14, 4.05606601414500872e-14, -2.39832353568768593e-14,
    1.43121406611904563e-14, -8.61577104825956772e-15, 5.22987616609455313e-15,
    -3.19982235171592221e-15, 1.97260451575604599e-15, -1.22486436774181687e-15,
    7.65833579671627189e-16, -4.82006940258117035e-16, 3.05300328443640096e-16,
    -1.94556936995336445e-16, 1.24712239579939313e-16, -8.03929990666655385e-17,
    5.21055462768181048e-17, -3.39485651992130903e-17, 2.22305791343041721e-17,
    -1.46283960065249706e-17, 9.67137276489681599e-18, -6.42329409056868044e-18,
    4.28491432385777616e-18, -2.87065396096798472e-18, 1.93115315033899203e-18,
    -1.30435390143007436e-18,
)  # fmt: skip


# ---- J and Y


def _wave(order: int, x: Any) -> tuple[Any, Any]:
    """(J, Y) of x >= 8, by sqrt(2 / (pi x)) times the cosine and sine of the phase."""
    w = 8.0 / x
    p_series, q_series = ((_P0_FAR, _Q0_FAR), (_P1_FAR, _Q1_FAR))[order]
    p = _series(p_series, 2.0 * w * w - 1.0)
    q = _series(q_series, 2.0 * w * w - 1.0) * w
    phase = x - (2 * order + 1) * math.pi / 4
    size = s.sqrt(2.0 / (math.pi * x))
    cosine, sine = s.cos(phase), s.sin(phase)
    return size * (p * cosine - q * sine), size * (p * sine + q * cosine)


def _near(x: Any) -> Any:
    close = s.minimum(s.abs(x), 8.0)
    return close * close * (1 / 32) - 1.0


def _j0(x: Any) -> Any:
    size = s.abs(x)
    return s.where(size <= 8.0, _series(_J0_NEAR, _near(x)), _wave(0, s.maximum(size, 8.0))[0])


def _j1(x: Any) -> Any:
    size = s.abs(x)
    far = _wave(1, s.maximum(size, 8.0))[0]
    return s.where(size <= 8.0, _series(_J1_NEAR, _near(x)) * x, s.where(x < 0, -far, far))


def _j1_slope(x: Any) -> Any:
    """J1' = J0 - J1 / x."""
    return _j0(x) - s.where(x == 0, 0.5, _j1(x) / s.where(x == 0, 1.0, x))


def _second_kind(x: Any, near: Any, far: Any, at_zero: float) -> Any:
    """Y or K: an infinity at 0, undefined below."""
    value = s.where(x <= 8.0, near, far)
    return s.where(x == 0, at_zero, s.where(x < 0, math.nan, value))


def _y0(x: Any) -> Any:
    logarithm = 2 / math.pi * s.log(s.where(x > 0, x, 1.0) * 0.5)
    near = _series(_Y0_NEAR, _near(x)) + logarithm * _series(_J0_NEAR, _near(x))
    return _second_kind(x, near, _wave(0, s.maximum(x, 8.0))[1], -math.inf)


def _y1(x: Any) -> Any:
    safe = s.where(x > 0, x, 1.0)
    logarithm = s.log(safe * 0.5) * safe * _series(_J1_NEAR, _near(x))
    near = _series(_Y1_NEAR, _near(x)) * x + 2 / math.pi * (logarithm - 1.0 / safe)
    return _second_kind(x, near, _wave(1, s.maximum(x, 8.0))[1], -math.inf)


def _first_kind_reference(order: int) -> Any:
    angles = (np.arange(400) + 0.5) * np.pi / 400

    def reference(x: Any) -> Any:
        x = np.asarray(x)
        inside = np.where(np.abs(x) < 100, x, 0)[..., None]
        value = np.cos(order * angles - inside * np.sin(angles)).mean(-1)
        # At what is large: the first term of the expansion.
        with np.errstate(all="ignore"):
            size = np.abs(x)
            far = np.sqrt(2 / np.pi / size) * np.cos(size - (2 * order + 1) * np.pi / 4)
        return np.where(np.abs(x) < 100, value, far * np.sign(x) ** order)

    return reference


@pointwise(
    promote="float", method=False, numpy=_first_kind_reference(0), samples=(8.0, -8.0, 20.0, 7.9),
    grad=lambda g, input: -g * _j1(input),
)  # fmt: skip
def bessel_j0(input):
    """Bessel's function of the first kind of order 0."""
    return _j0(input)


@pointwise(
    promote="float", method=False, numpy=_first_kind_reference(1), samples=(8.0, -8.0, 20.0, 7.9),
    grad=lambda g, input: g * _j1_slope(input),
)  # fmt: skip
def bessel_j1(input):
    """Bessel's function of the first kind of order 1."""
    return _j1(input)


@pointwise(
    promote="float", method=False, numpy=None, low=0.2, high=12.0,
    grad=lambda g, input: -g * _y1(input),
)  # fmt: skip
def bessel_y0(input):
    """Bessel's function of the second kind of order 0; nan below 0."""
    return _y0(input)


@pointwise(
    promote="float", method=False, numpy=None, low=0.2, high=12.0,
    grad=lambda g, input: g * (_y0(input) - _y1(input) / input),
)  # fmt: skip
def bessel_y1(input):
    """Bessel's function of the second kind of order 1; nan below 0."""
    return _y1(input)


# ---- K


def _scaled_k(order: int, x: Any) -> Any:
    """exp(x) K(x)."""
    safe = s.where(x > 0, x, 1.0)
    close = s.minimum(safe, 2.0)
    t = close * close * 0.5 - 1.0
    logarithm = s.log(close * 0.5)
    if order:
        near = logarithm * _i1e(close) * s.exp(close) + _series(_K1_NEAR, t) / close
    else:
        near = _series(_K0_NEAR, t) - logarithm * _i0e(close) * s.exp(close)
    large = s.maximum(safe, 2.0)
    far = _series(_K1_FAR if order else _K0_FAR, 4.0 / large - 1.0) / s.sqrt(large)
    value = s.where(x <= 2.0, near * s.exp(close), far)
    return s.where(x == 0, math.inf, s.where(x < 0, math.nan, s.where(s.isnan(x), x, value)))


def _k(order: int, x: Any) -> Any:
    return _scaled_k(order, x) * s.exp(-x)


def _k_reference(order: int, scaled: bool) -> Any:
    def reference(x: Any) -> Any:
        x = np.asarray(x)
        good = (x > 0) & (x < 600)
        inside = np.where(good, x, 1.0)[..., None]
        # The trapezoidal rule is exact to the last digit, for the integrand dies out so fast.
        steps = np.arange(1, 2001) * (np.arccosh(1 + 60 / inside) / 2000)
        width = steps[..., :1]
        terms = np.exp(-inside * (np.cosh(steps) - 1)) * np.cosh(order * steps)
        value = (terms.sum(-1) + 0.5) * width[..., 0]
        value = value if scaled else value * np.exp(-inside[..., 0])
        with np.errstate(all="ignore"):
            tiny = np.sqrt(np.pi / 2 / x) if scaled else 0.0 * x
        tiny = np.where(np.isinf(x), 0.0, tiny)
        return np.where(good, value, np.where(x == 0, np.inf, np.where(x > 0, tiny, np.nan)))

    return reference


_POSITIVE: Any = {"promote": "float", "method": False, "low": 0.1, "high": 5.0}


@pointwise(
    **_POSITIVE, numpy=_k_reference(0, False), samples=(2.0, 20.0),
    grad=lambda g, input: -g * _k(1, input),
)  # fmt: skip
def modified_bessel_k0(input):
    """The modified Bessel function of the second kind of order 0; nan below 0."""
    return _k(0, input)


@pointwise(
    **_POSITIVE, numpy=_k_reference(1, False), samples=(2.0, 20.0),
    grad=lambda g, input: -g * (_k(0, input) + _k(1, input) / input),
)  # fmt: skip
def modified_bessel_k1(input):
    """The modified Bessel function of the second kind of order 1; nan below 0."""
    return _k(1, input)


@pointwise(
    **_POSITIVE, numpy=_k_reference(0, True), samples=(2.0, 20.0),
    grad=lambda g, input: g * (_scaled_k(0, input) - _scaled_k(1, input)),
)  # fmt: skip
def scaled_modified_bessel_k0(input):
    """exp(x) times `modified_bessel_k0`."""
    return _scaled_k(0, input)


@pointwise(
    **_POSITIVE, numpy=_k_reference(1, True), samples=(2.0, 20.0),
    grad=lambda g, input: (
        g * (_scaled_k(1, input) * (1.0 - 1.0 / input) - _scaled_k(0, input))
    ),
)  # fmt: skip
def scaled_modified_bessel_k1(input):
    """exp(x) times `modified_bessel_k1`."""
    return _scaled_k(1, input)


# ---- relatives


@pointwise(
    promote="float", method=False, numpy=lambda x: np.sinc(x / np.pi), low=0.2,
    differentiable=False,
)  # fmt: skip
def spherical_bessel_j0(input):
    """sin(x) / x, 1 at 0."""
    value = s.sin(input) / s.where(input == 0, 1.0, input)
    return s.where(s.isinf(input), 0.0, s.where(input == 0, 1.0, value))


_ZETA = 2 / 3 * 2**1.5


@pointwise(promote="float", method=False, numpy=None, differentiable=False)
def airy_ai(input):
    """Airy's function: the solution of y'' = x y that vanishes at infinity."""
    near = _series(_AI_NEAR, s.clamp(input, -2.0, 2.0) * 0.5)
    size = s.clamp(s.abs(input), 2.0, 1e200)
    zeta = 2 / 3 * size * s.sqrt(size)
    root = s.sqrt(s.sqrt(size))
    w = _ZETA / zeta
    right = _series(_AI_RIGHT, 2.0 * w - 1.0) * s.exp(-zeta) / (2.0 * math.sqrt(math.pi) * root)
    p, q = _series(_AI_P, 2.0 * w * w - 1.0), _series(_AI_Q, 2.0 * w * w - 1.0) * w
    phase = zeta + math.pi / 4
    left = (p * s.sin(phase) - q * s.cos(phase)) / (math.sqrt(math.pi) * root)
    value = s.where(input > 2.0, right, s.where(input < -2.0, left, near))
    return s.where(s.isinf(input) | s.isnan(input), math.nan, value)
