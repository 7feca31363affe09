"""The public names that are held against PyTorch, each with programs of one expression.

`name | expression | expression ...`; a blank line or `#` starts a new part. The inputs that
expressions may use are those of `tests.oracle.inputs`; `torch`, `F` and `inf`, `nan` are there too.
Every expression runs with several dtypes and layouts of its inputs, see `tests.oracle.compare`.
"""

from __future__ import annotations

TABLES: dict[str, str] = {}

TABLES["creation"] = """
tensor | torch.tensor([[1, 2], [3, 4]]) | torch.tensor([1.5, 2]) | torch.tensor(True) | torch.tensor([]) | torch.tensor([1, 2.5, True]) | torch.tensor([[1], [2]], dtype=torch.float64)
as_tensor | torch.as_tensor([1, 2, 3]) | torch.as_tensor(x) | torch.as_tensor(2.5) | torch.as_tensor([[True]]) | torch.as_tensor([1, 2], dtype=torch.float16) | torch.as_tensor(x, dtype=torch.float64)
from_numpy | torch.from_numpy(x.detach().double().numpy()) | torch.from_numpy(array) | torch.from_numpy(array.T) | torch.from_numpy(array[::2]) | torch.from_numpy(array[:, 1:]) | torch.from_numpy(array > 0)
zeros | torch.zeros(3) | torch.zeros(2, 3) | torch.zeros((2, 3), dtype=torch.int64) | torch.zeros(0) | torch.zeros([]) | torch.zeros(2, 0, 3) | torch.zeros(size=(2,))
ones | torch.ones(3) | torch.ones(2, 3) | torch.ones((2, 3), dtype=torch.bool) | torch.ones(0) | torch.ones([]) | torch.ones(2, 0, 3, dtype=torch.float16)
full | torch.full((2, 3), 1.5) | torch.full((2,), 7) | torch.full((2,), True) | torch.full((), 3, dtype=torch.float32) | torch.full([0], 1) | torch.full((2, 2), float('nan'))
empty | torch.empty(2, 3).shape | torch.empty(0) | torch.empty((2, 3), dtype=torch.int8).dtype | torch.empty([]).shape | torch.empty(2).stride() | torch.empty(2, 3, 4, 5, memory_format=torch.channels_last).stride()
zeros_like | torch.zeros_like(x) | torch.zeros_like(x, dtype=torch.int32) | torch.zeros_like(t) | torch.zeros_like(m) | torch.zeros_like(x.t()) | torch.zeros_like(e)
ones_like | torch.ones_like(x) | torch.ones_like(x, dtype=torch.int32) | torch.ones_like(t) | torch.ones_like(m) | torch.ones_like(x.t()) | torch.ones_like(e)
full_like | torch.full_like(x, 2) | torch.full_like(x, 2, dtype=torch.int32) | torch.full_like(t, 1.5) | torch.full_like(m, True) | torch.full_like(x.t(), 3) | torch.full_like(e, 1)
empty_like | torch.empty_like(x).shape | torch.empty_like(x).stride() | torch.empty_like(x.t()).stride() | torch.empty_like(x, dtype=torch.int32).dtype | torch.empty_like(t[:, ::2]).stride() | torch.empty_like(e)
new_zeros | x.new_zeros(2, 3) | x.new_zeros((2,)) | x.new_zeros(2, dtype=torch.int32) | i.new_zeros(3) | x.new_zeros([]) | x.new_zeros(0)
new_ones | x.new_ones(2, 3) | x.new_ones((2,)) | x.new_ones(2, dtype=torch.int32) | i.new_ones(3) | x.new_ones([]) | x.new_ones(0)
new_full | x.new_full((2, 3), 4) | i.new_full((2,), 4) | x.new_full((2,), 4, dtype=torch.int32) | x.new_full([], 1) | m.new_full((2,), True) | x.new_full((0,), 4)
new_empty | x.new_empty(2, 3).shape | x.new_empty((2,)).dtype | x.new_empty(0) | i.new_empty(2).dtype | x.new_empty(2, dtype=torch.int8).dtype | x.new_empty([]).shape
new_tensor | x.new_tensor([1, 2]) | i.new_tensor([1.0, 2.0]) | x.new_tensor(3) | x.new_tensor([[1.5]]) | m.new_tensor([1, 0]) | x.new_tensor([1, 2], dtype=torch.int32)
arange | torch.arange(5) | torch.arange(1, 5) | torch.arange(0, 1, 0.25) | torch.arange(5, 0, -2) | torch.arange(5.0) | torch.arange(3, dtype=torch.float16) | torch.arange(0) | torch.arange(1, 2.5, 0.5, dtype=torch.float64)
linspace | torch.linspace(0, 1, 5) | torch.linspace(3, -2, 7) | torch.linspace(0, 1, 1) | torch.linspace(0, 1, 0) | torch.linspace(0, 10, 4, dtype=torch.int64) | torch.linspace(-1, 1, 6, dtype=torch.float64)
logspace | torch.logspace(0, 2, 5) | torch.logspace(0, 1, 3, base=2) | torch.logspace(0, 1, 1) | torch.logspace(-1, 1, 4, dtype=torch.float64) | torch.logspace(0, 1, 0) | torch.logspace(2, 0, 3)
eye | torch.eye(3) | torch.eye(2, 4) | torch.eye(3, dtype=torch.int64) | torch.eye(0) | torch.eye(4, 2) | torch.eye(2, dtype=torch.bool)
tril | torch.tril(x) | torch.tril(x, 1) | torch.tril(t, -1) | x.tril(-2) | torch.tril(sq) | torch.tril(i)
triu | torch.triu(x) | torch.triu(x, 1) | torch.triu(t, -1) | x.triu(-2) | torch.triu(sq) | torch.triu(i)
tril_indices | torch.tril_indices(3, 4) | torch.tril_indices(3, 3, -1) | torch.tril_indices(4, 2, 1) | torch.tril_indices(0, 3) | torch.tril_indices(2, 2) | torch.tril_indices(3, 5, 2)
triu_indices | torch.triu_indices(3, 4) | torch.triu_indices(3, 3, -1) | torch.triu_indices(4, 2, 1) | torch.triu_indices(0, 3) | torch.triu_indices(2, 2) | torch.triu_indices(3, 5, 2)
diag | torch.diag(v) | torch.diag(x) | torch.diag(v, 1) | torch.diag(x, -1) | x.diag(1) | torch.diag(sq)
diag_embed | torch.diag_embed(x) | torch.diag_embed(v, 1) | torch.diag_embed(t, -1) | torch.diag_embed(x, 0, 0, 2) | x.diag_embed() | torch.diag_embed(x, dim1=0, dim2=1)
diagflat | torch.diagflat(x) | torch.diagflat(v, 1) | torch.diagflat(v, -2) | x.diagflat() | torch.diagflat(s) | torch.diagflat(i)
meshgrid | torch.meshgrid(v, w, indexing='ij') | torch.meshgrid(v, w, indexing='xy') | torch.meshgrid([v, w, v], indexing='ij') | torch.meshgrid(v, indexing='ij') | torch.meshgrid(v, s, indexing='ij') | torch.meshgrid([v, w], indexing='xy')
one_hot | F.one_hot(i) | F.one_hot(i, 5) | F.one_hot(j, 4) | F.one_hot(i[0]) | F.one_hot(i[0, 0], 3) | F.one_hot(i.t())
vander | torch.vander(v) | torch.vander(v, 3) | torch.vander(v, increasing=True) | torch.vander(w, 2, increasing=True) | torch.vander(v, 1) | torch.vander(i[0])
complex_free_scalar_tensor | torch.scalar_tensor(2.5) | torch.scalar_tensor(3) | torch.scalar_tensor(2, dtype=torch.int32) | torch.scalar_tensor(True) | torch.scalar_tensor(1.0, dtype=torch.float64) | torch.scalar_tensor(-1)
cartesian_prod | torch.cartesian_prod(v, w) | torch.cartesian_prod(v) | torch.cartesian_prod(v, w, v) | torch.cartesian_prod(i[0], i[1]) | torch.cartesian_prod(v[:1], w) | torch.cartesian_prod(v[:0], w)
combinations | torch.combinations(v) | torch.combinations(v, 3) | torch.combinations(v, 2, with_replacement=True) | torch.combinations(v, 1) | torch.combinations(i[0]) | torch.combinations(v, 5)
block_diag | torch.block_diag(x, sq) | torch.block_diag(x) | torch.block_diag(v, x) | torch.block_diag(s, x) | torch.block_diag(x, y, x) | torch.block_diag(i, i)
"""

UNARY = [
    "abs",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sqrt",
    "rsqrt",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "sigmoid",
    "erf",
    "erfc",
    "erfinv",
    "lgamma",
    "digamma",
    "i0",
    "sinc",
    "floor",
    "ceil",
    "trunc",
    "frac",
    "round",
    "sign",
    "sgn",
    "neg",
    "reciprocal",
    "square",
    "isnan",
    "isinf",
    "isfinite",
    "isposinf",
    "isneginf",
    "isreal",
    "signbit",
    "logical_not",
    "bitwise_not",
    "positive",
    "deg2rad",
    "rad2deg",
    "relu",
    "absolute",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "negative",
    "fix",
    "nan_to_num",
    "logit",
]

_unary = []
for _name in UNARY:
    _forms = [f"torch.{_name}({_a})" for _a in ("x", "p", "u", "t", "n", "s", "e")]
    _forms.append(f"x.{_name}()")
    _unary.append(" | ".join([_name, *_forms]))
TABLES["pointwise, one operand"] = "\n".join(_unary)

INPLACE_UNARY = [
    n
    for n in UNARY
    if n
    not in ("isnan", "isinf", "isfinite", "isposinf", "isneginf", "isreal", "signbit", "positive")
]
TABLES["in place, one operand"] = "\n".join(
    f"{n}_ | x.clone().{n}_() | u.clone().{n}_() | p.clone().{n}_() | t.clone().{n}_() "
    f"| x.clone()[1:].{n}_() | n.clone().{n}_()"
    for n in INPLACE_UNARY
)

BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "true_divide",
    "floor_divide",
    "remainder",
    "fmod",
    "pow",
    "atan2",
    "arctan2",
    "hypot",
    "xlogy",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "not_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "copysign",
    "nextafter",
    "heaviside",
    "float_power",
    "logaddexp",
    "logaddexp2",
    "subtract",
    "multiply",
    "divide",
]
INTEGER_BINARY = [
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "gcd",
    "lcm",
]
TABLES["pointwise, two operands"] = "\n".join(
    [
        f"{n} | torch.{n}(x, y) | torch.{n}(x, v) | torch.{n}(t, x) | torch.{n}(p, y) | torch.{n}(n, q)"
        f" | torch.{n}(x, s) | torch.{n}(e, v) | x.{n}(y)"
        for n in BINARY
    ]
    + [
        f"{n} | torch.{n}(n, k) | torch.{n}(k, k[0]) | torch.{n}(n, k[:, :1]) | torch.{n}(n[0], k)"
        f" | n.{n}(k) | torch.{n}(n.int(), k) | torch.{n}(m, m.flip(0))"
        for n in INTEGER_BINARY
    ]
)
TABLES["in place, two operands"] = "\n".join(
    f"{n}_ | x.clone().{n}_(y) | x.clone().{n}_(v) | t.clone().{n}_(x) | p.clone().{n}_(p) | n.clone().{n}_(q)"
    f" | x.clone()[:, 1:].{n}_(y[:, 1:])"
    for n in BINARY
    if n not in ("maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2")
)
TABLES["operators"] = """
__add__ | x + y | x + 2 | 2 + x | x + 2.5 | n + 2.5 | m + 1 | x + s
__sub__ | x - y | x - 2 | 2 - x | n - 2.5 | 2.5 - n | x - s | n - True
__mul__ | x * y | x * 2 | 2 * x | n * 2.5 | m * 3 | x * s | m * m
__truediv__ | x / y | x / 2 | 2 / x | n / 2 | 1 / n | m / 2 | x / s
__floordiv__ | x // y | x // 2 | 2 // x | n // 3 | n // q | 7 // q | n // 2.5
__mod__ | x % y | x % 2 | 2 % y | n % 3 | n % q | 7 % q | n % -3
__pow__ | p ** y | x ** 2 | 2 ** x | n ** 2 | 2 ** k | x ** 0 | x ** 0.5 | p ** -1 | x ** 3
__matmul__ | x @ b | x @ v | v @ b | t @ b | sq @ sq | v @ w
__neg__ | -x | -n | -t | -x.t() | -s | -e
__abs__ | abs(x) | abs(n) | abs(t) | abs(s) | abs(x.t()) | abs(e)
__invert__ | ~m | ~n | ~k | ~m.t() | ~m[0] | ~(x > 0)
__and__ | m & m.flip(0) | n & k | n & 3 | m & True | (x > 0) & (y > 0) | 3 & n
__or__ | m | n.__or__(k) | n.__or__(3) | m.__or__(True) | (x > 0).__or__(y > 0) | n.__ror__(3)
__xor__ | m ^ m.flip(0) | n ^ k | n ^ 3 | m ^ True | (x > 0) ^ (y > 0) | 3 ^ n
__lshift__ | n << k | n << 2 | 2 << k | k << k | n.int() << 1 | n[0] << k
__rshift__ | n >> k | n >> 2 | 200 >> k | k >> k | n.int() >> 1 | n[0] >> k
__eq__ | x == y | x == 2 | n == q | m == True | x == s | n == 2.0
__lt__ | x < y | x < 0 | n < q | 0 < x | x < s | n < 2.5
__ge__ | x >= y | x >= 0 | n >= q | 0 >= x | x >= s | n >= 2.5
__len__ | len(x) | len(t) | len(v) | len(e) | len(x.t()) | len(x[0])
__iter__ | [r for r in x] | list(v) | [len(r) for r in t] | list(e) | [r.sum() for r in x] | list(x.t())
__contains__ | 2 in n | 77 in n | x[0, 0] in x | True in m | 1.5 in x | 0 in k
__bool__ | bool(s) | bool(x[0, 0] > 9) | bool(m[0, 0]) | bool(x[:1, :1]) | bool(x) | bool(e)
__float__ | float(s) | float(x[0, 0]) | int(n[0, 0]) | float(x[:1, :1]) | float(x) | int(s)
__index__ | [10, 11, 12, 13][i[0, 0]] | range(5)[i[0, 1]] | [1, 2][m[0, 0]] | 'abcd'[j[0]] | [1, 2][x[0, 0]] | [1][i]
"""

TABLES["pointwise, more"] = """
round_decimals | torch.round(x, decimals=1) | torch.round(x, decimals=-1) | torch.round(p, decimals=2) | torch.round(t, decimals=0) | x.round(decimals=1) | torch.round(n)
div_rounding | torch.div(x, y, rounding_mode='floor') | torch.div(x, y, rounding_mode='trunc') | torch.div(n, q, rounding_mode='floor') | torch.div(n, q, rounding_mode='trunc') | torch.div(x, 2, rounding_mode='floor') | torch.div(n, 2)
add_alpha | torch.add(x, y, alpha=2) | torch.add(n, q, alpha=3) | torch.sub(x, y, alpha=0.5) | torch.add(x, 2, alpha=3) | x.sub(y, alpha=2) | torch.add(n, q, alpha=-1)
rsub | torch.rsub(x, y) | torch.rsub(x, 2) | torch.rsub(n, q) | torch.rsub(x, y, alpha=2) | torch.rsub(x, v) | torch.rsub(t, x)
logit_eps | torch.logit(u, 0.1) | torch.logit(x, 0.2) | torch.special.logit(u) | u.logit(eps=1e-3) | torch.logit(u) | torch.logit(x, eps=0.3)
clamp | torch.clamp(x, -1, 1) | torch.clamp(x, min=0) | torch.clamp(x, max=0.5) | torch.clamp(x, y, y + 1) | torch.clamp(n, -2, 2) | x.clamp(max=v) | torch.clamp(x, min=v, max=v + 2) | torch.clamp(n, 0.5) | x.clamp(1, -1)
clip | torch.clip(x, -1, 1) | x.clip(min=0) | x.clip(max=0) | torch.clip(n, 0, 2) | torch.clip(x, y, p) | x.clone().clip_(-1, 1)
clamp_min | torch.clamp_min(x, 0) | torch.clamp_max(x, 0) | x.clamp_min(y) | x.clamp_max(v) | torch.clamp_min(n, 1) | x.clone().clamp_min_(0.5)
where | torch.where(m, x, y) | torch.where(m, x, 0) | torch.where(m, 1.0, x) | torch.where(x > 0, n, q) | torch.where(m[0], x, v) | torch.where(m) | torch.where(m, x, n) | x.where(m, y)
lerp | torch.lerp(x, y, 0.3) | torch.lerp(x, y, u) | torch.lerp(x, v, 2.0) | torch.lerp(x, y, x) | x.lerp(y, 0.5) | x.clone().lerp_(y, u)
addcmul | torch.addcmul(x, y, z) | torch.addcmul(x, y, v, value=2) | torch.addcmul(v, x, y) | x.addcmul(y, z, value=-1) | torch.addcmul(n, q, k) | x.clone().addcmul_(y, z, value=0.5)
addcdiv | torch.addcdiv(x, y, p) | torch.addcdiv(x, y, p, value=2) | torch.addcdiv(v, x, p) | x.addcdiv(y, p, value=-1) | x.clone().addcdiv_(y, p) | torch.addcdiv(x, v, p)
nan_to_num_values | torch.nan_to_num(x, 1.0) | torch.nan_to_num(x / 0 * (x > 0), nan=2, posinf=3, neginf=-3) | torch.nan_to_num(n) | torch.nan_to_num(x, posinf=9) | x.nan_to_num(neginf=-9) | torch.nan_to_num(p)
isclose | torch.isclose(x, y) | torch.isclose(x, x) | torch.isclose(x, x + 1e-9) | torch.isclose(n, q) | torch.isclose(x, x + 0.1, rtol=0.5) | torch.isclose(x * nan, x * nan, equal_nan=True)
allclose | torch.allclose(x, y) | torch.allclose(x, x) | torch.allclose(x, x + 1e-9) | x.allclose(x + 0.1, atol=1) | torch.allclose(n, n) | torch.allclose(x * nan, x * nan, equal_nan=True)
equal | torch.equal(x, y) | torch.equal(x, x) | torch.equal(x, x.clone()) | torch.equal(n, q) | torch.equal(x, v) | x.equal(x.t().t())
masked_fill | x.masked_fill(m, 2) | x.masked_fill(m, s.detach()) | x.masked_fill(m[0], -inf) | torch.masked_fill(t, m, 1) | n.masked_fill(m, 7) | x.clone().masked_fill_(m, 0)
threshold | F.threshold(x, 0.5, 2) | torch.threshold(x, 0, -1) | F.threshold(t, -1, 0) | F.threshold(n, 1, 0) | F.threshold(p, 1, 7) | F.threshold(x, 0.1, 20)
polygamma | torch.polygamma(0, p) | torch.polygamma(1, p) | torch.polygamma(2, p) | torch.polygamma(3, p) | torch.polygamma(1, u) | torch.special.polygamma(1, p)
mvlgamma | torch.mvlgamma(p + 2, 2) | torch.mvlgamma(p + 3, 3) | torch.special.multigammaln(p + 2, 2) | (p + 1).mvlgamma(1) | torch.mvlgamma(p + 5, 4) | torch.mvlgamma(u + 2, 2)
ldexp | torch.ldexp(x, k) | torch.ldexp(x, n) | torch.ldexp(x, k[0]) | torch.ldexp(p, k) | x.ldexp(k) | torch.ldexp(n, k)
frexp | torch.frexp(x) | torch.frexp(p) | torch.frexp(t) | x.frexp().mantissa | x.frexp().exponent | torch.frexp(u)
unary_plus | torch.positive(x) | +x | +n | x.positive() | torch.positive(t) | +s
fill | torch.fill(x, 2) | x.clone().fill_(3) | x.clone()[1:].fill_(3) | n.clone().fill_(2) | x.clone().zero_() | torch.fill(x, s)
"""

SPECIAL = [
    "bessel_j0",
    "bessel_j1",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "log_ndtr",
    "log1p",
    "logit",
    "ndtr",
    "ndtri",
    "psi",
    "round",
    "sinc",
    "modified_bessel_i0",
    "modified_bessel_i1",
    "bessel_y0",
    "bessel_y1",
    "modified_bessel_k0",
    "modified_bessel_k1",
    "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1",
    "spherical_bessel_j0",
    "airy_ai",
]
TABLES["special"] = (
    "\n".join(
        f"special.{n} | torch.special.{n}(x) | torch.special.{n}(p) | torch.special.{n}(u)"
        f" | torch.special.{n}(t) | torch.special.{n}(n) | torch.special.{n}(s)"
        for n in SPECIAL
    )
    + """
special.xlogy | torch.special.xlogy(x, p) | torch.special.xlogy(x, 2) | torch.special.xlogy(2, p) | torch.special.xlogy(p, p) | torch.special.xlogy(v, p) | torch.special.xlogy(n, q)
special.xlog1py | torch.special.xlog1py(x, p) | torch.special.xlog1py(x, 2) | torch.special.xlog1py(2, p) | torch.special.xlog1py(p, p) | torch.special.xlog1py(v, p) | torch.special.xlog1py(u, u)
special.zeta | torch.special.zeta(p + 1.5, p) | torch.special.zeta(p + 2, 1.0) | torch.special.zeta(2.0, p) | torch.special.zeta(p + 3, p) | torch.special.zeta(u + 1.1, p) | torch.special.zeta(k + 2, 1)
special.gammainc | torch.special.gammainc(p, p) | torch.special.gammainc(p, u) | torch.special.gammainc(u, p) | torch.special.gammaincc(p, p) | torch.special.gammaincc(u, p) | torch.special.gammaincc(p, u)
special.logsumexp | torch.special.logsumexp(x, 0) | torch.special.logsumexp(t, (0, 2)) | torch.special.softmax(x, 1) | torch.special.log_softmax(x, 0) | torch.special.logsumexp(x, 1, keepdim=True) | torch.special.log_softmax(t, -1)
"""
)

_DIMS = "{f}(x) | {f}(x, 0) | {f}(x, dim=1) | {f}(t, -2) | {f}(x, 1, keepdim=True) | {f}(n, 0) | {f}(s, 0) | x.{m}(0)"
_TUPLES = " | {f}(t, (0, 2)) | {f}(t, dim=(-1, 0), keepdim=True) | {f}(e) | {f}(e, 1)"


def _reductions(names: str, tuples: bool) -> str:
    form = _DIMS + (_TUPLES if tuples else "")
    return "\n".join(
        f"{n} | " + form.replace("{f}", f"torch.{n}").replace("{m}", n) for n in names.split()
    )


TABLES["reductions"] = (
    _reductions("sum mean amax amin nansum nanmean var std count_nonzero", True)
    .replace("count_nonzero(x, 1, keepdim=True)", "count_nonzero(x, (0, 1))")
    .replace("count_nonzero(t, dim=(-1, 0), keepdim=True)", "count_nonzero(t, dim=(-1, 0))")
    + "\n"
    + _reductions("prod max min argmax argmin all any median nanmedian", False)
    + """
sum_options | torch.sum(x, dtype=torch.float64) | torch.sum(n, 0, dtype=torch.float32) | torch.sum(m) | torch.sum(m, 1) | x.sum((0, 1)) | torch.sum(t, [0], keepdim=True) | torch.sum(t, ())
mean_options | torch.mean(x, dtype=torch.float64) | torch.mean(n, dtype=torch.float32) | x.mean((0, 1)) | x.mean(-1, True) | torch.mean(t, [0, 1]) | torch.mean(x, 0, dtype=torch.float64)
prod_options | torch.prod(x, dtype=torch.float64) | torch.prod(n) | torch.prod(m) | torch.prod(x, 0, True) | torch.prod(x * (x > 0), 1) | torch.prod(e) | torch.prod(n, 0, dtype=torch.float32)
aminmax | torch.aminmax(x) | torch.aminmax(x, dim=0) | torch.aminmax(t, dim=-1, keepdim=True) | x.aminmax() | torch.aminmax(n) | torch.aminmax(x, dim=1)
max_pairs | torch.max(x, y) | torch.max(x, 1).values | torch.max(x, 1).indices | torch.min(x, y) | torch.min(t, 0)[1] | torch.max(n, q) | torch.max(x, v)
var_options | torch.var(x, correction=0) | torch.var(x, 0, correction=2) | torch.var(x, unbiased=False) | torch.std(x, 1, unbiased=False) | torch.var(t, (0, 1), correction=0, keepdim=True) | torch.std(x, dim=0, correction=0) | x.var(False) | x.std(1, True, True)
var_mean | torch.var_mean(x) | torch.var_mean(x, 0) | torch.std_mean(x, 1, keepdim=True) | torch.var_mean(t, (0, 2), correction=0) | torch.std_mean(x, unbiased=False) | torch.std_mean(t, dim=-1)
norm | torch.norm(x) | torch.norm(x, 1) | torch.norm(x, p=inf) | torch.norm(x, 2, 1) | x.norm(dim=0) | x.norm(3, 1, True) | torch.norm(x, 'fro') | torch.norm(x, p=0) | torch.norm(t, dim=(0, 1)) | torch.norm(x, p=-inf, dim=1)
linalg.vector_norm | torch.linalg.vector_norm(x) | torch.linalg.vector_norm(x, 1) | torch.linalg.vector_norm(x, inf, 0) | torch.linalg.vector_norm(x, 0, 1) | torch.linalg.vector_norm(t, 2.5, (0, 2)) | torch.linalg.vector_norm(x, -1, 1, keepdim=True) | torch.linalg.vector_norm(x, -inf) | torch.linalg.vector_norm(x, dtype=torch.float64)
logsumexp | torch.logsumexp(x, 0) | torch.logsumexp(x, (0, 1)) | torch.logsumexp(t, -1, keepdim=True) | x.logsumexp(1) | torch.logsumexp(n, 0) | torch.logsumexp(t, (0, 2), True) | torch.logsumexp(x * inf, 1)
softmax | torch.softmax(x, 0) | torch.softmax(x, -1) | F.softmax(t, dim=1) | x.softmax(1) | torch.softmax(n, 0, dtype=torch.float32) | F.softmax(x, 1, dtype=torch.float64) | F.softmax(v, 0) | F.softmax(s, 0)
log_softmax | torch.log_softmax(x, 0) | F.log_softmax(x, dim=-1) | F.log_softmax(t, dim=1) | x.log_softmax(1) | torch.log_softmax(n, 0, dtype=torch.float32) | F.log_softmax(v, 0)
softmin | F.softmin(x, 0) | F.softmin(x, dim=-1) | F.softmin(t, dim=1) | F.softmin(v, 0) | F.softmin(x, 1, dtype=torch.float64) | F.softmin(p, 0)
mode | torch.mode(n) | torch.mode(n, 0) | torch.mode(k, 1, True) | n.mode() | torch.mode(k.flatten()) | torch.mode(n, 0).values
quantile | torch.quantile(x, 0.3) | torch.quantile(x, 0.5, dim=1) | torch.quantile(x, u[0].detach(), dim=0) | torch.quantile(x, 0.25, dim=1, keepdim=True) | torch.quantile(x, 0.4, interpolation='nearest') | x.quantile(0.9, 0, interpolation='midpoint') | torch.quantile(x, 0.6, 0, interpolation='lower') | torch.quantile(x, 0.6, 0, interpolation='higher')
nanquantile | torch.nanquantile(x, 0.3) | torch.nanquantile(x, 0.5, dim=1) | torch.nanquantile(x, u[0].detach(), dim=0) | x.nanquantile(0.9, 0) | torch.nanquantile(x, 0.4, 1, True) | torch.nanquantile(x, 0.1, interpolation='higher')
cumsum | torch.cumsum(x, 0) | torch.cumsum(x, -1) | torch.cumsum(n, 0) | torch.cumsum(m, 1) | torch.cumsum(x, 0, dtype=torch.float64) | x.cumsum(1) | torch.cumsum(s, 0) | torch.cumsum(e, 0)
cumprod | torch.cumprod(x, 0) | torch.cumprod(x, -1) | torch.cumprod(n, 0) | torch.cumprod(m, 1) | torch.cumprod(x, 0, dtype=torch.float64) | x.cumprod(1) | torch.cumprod(x * (x > 0), 1)
cummax | torch.cummax(x, 0) | torch.cummax(x, -1) | torch.cummax(n, 0) | x.cummax(1).values | torch.cummax(t, 1).indices | torch.cummax(v, 0)
cummin | torch.cummin(x, 0) | torch.cummin(x, -1) | torch.cummin(n, 0) | x.cummin(1).values | torch.cummin(t, 1).indices | torch.cummin(v, 0)
logcumsumexp | torch.logcumsumexp(x, 0) | torch.logcumsumexp(x, 1) | torch.logcumsumexp(t, -2) | x.logcumsumexp(0) | torch.logcumsumexp(v, 0) | torch.logcumsumexp(x * 100, 1)
diff | torch.diff(x) | torch.diff(x, 2) | torch.diff(x, dim=0) | torch.diff(x, prepend=x[:, :1]) | torch.diff(x, append=y) | n.diff() | torch.diff(m) | torch.diff(v, n=3)
trapezoid | torch.trapezoid(x) | torch.trapezoid(x, dx=0.5) | torch.trapezoid(x, v) | torch.trapezoid(x, dim=0) | torch.trapz(x) | torch.trapezoid(t, dim=1)
cumulative_trapezoid | torch.cumulative_trapezoid(x) | torch.cumulative_trapezoid(x, dx=0.5) | torch.cumulative_trapezoid(x, v) | torch.cumulative_trapezoid(x, dim=0) | torch.cumulative_trapezoid(t, dim=1) | torch.cumulative_trapezoid(v)
bincount | torch.bincount(j) | torch.bincount(j, minlength=6) | torch.bincount(j, weights=f5) | torch.bincount(j[:0]) | i.flatten().bincount() | torch.bincount(k.flatten())
histc | torch.histc(x) | torch.histc(x, 5) | torch.histc(x, 4, -1, 1) | torch.histc(p, bins=3) | x.histc(6, min=-2, max=2) | torch.histc(v, 4)
histogram | torch.histogram(x, 5) | torch.histogram(x, 4, range=(-1., 1.)) | torch.histogram(p, 3) | torch.histogram(x, 4, density=True) | torch.histogram(v, 4) | torch.histogram(x, 3)
unique | torch.unique(n) | torch.unique(n, return_inverse=True) | torch.unique(n, return_counts=True) | torch.unique(n, dim=0) | torch.unique(m) | torch.unique(x) | torch.unique(n, return_inverse=True, return_counts=True, dim=1) | n.unique()
unique_consecutive | torch.unique_consecutive(k.flatten()) | torch.unique_consecutive(k) | torch.unique_consecutive(k.flatten(), return_inverse=True) | torch.unique_consecutive(k.flatten(), return_counts=True) | torch.unique_consecutive(m.flatten()) | torch.unique_consecutive(k, dim=0)
cov | torch.cov(x) | torch.cov(v) | torch.cov(x, correction=0) | torch.cov(x, fweights=k[0] + 1) | torch.cov(x, aweights=p[0].detach()) | torch.cov(n)
corrcoef | torch.corrcoef(x) | torch.corrcoef(v) | torch.corrcoef(y) | x.corrcoef() | torch.corrcoef(x.t()) | torch.corrcoef(t[0])
renorm | torch.renorm(x, 2, 0, 1.0) | torch.renorm(x, 1, 1, 2.0) | torch.renorm(t, 2, 1, 0.5) | x.renorm(2, 0, 100) | torch.renorm(x, 3, 0, 1) | x.clone().renorm_(2, 0, 1)
dist | torch.dist(x, y) | torch.dist(x, y, 1) | torch.dist(x, y, inf) | torch.dist(x, v) | x.dist(y, 3) | torch.dist(x, y, 0)
"""
)
