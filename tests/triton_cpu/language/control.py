"""Control flow, calls, constants of compile time, tuples and aggregates, programs of a grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import triton.language as tl

from tests.triton_cpu.language.dtypes import N, finite
from tests.triton_cpu.language.harness import Case, group

_HELPERS = """
@triton.jit
def halve(x):
    return x * 0.5


@triton.jit
def sort_two(a, b):
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def early(x, flag):
    if flag > 2:
        return x * 3
    if flag == 1:
        return x + 100
    return x


@triton.jit(noinline=True)
def distant(x, y):
    return x * y + 1.0


@triton.jit
def choose(x, WHICH: tl.constexpr):
    if WHICH == "double":
        return x * 2
    elif WHICH == "square":
        return x * x
    else:
        return -x


@triton.jit
def apply(function: tl.constexpr, x):
    return function(x)


@triton.jit
def with_default(x, factor=3.0, shift: tl.constexpr = 1):
    return x * factor + shift


@triton.jit
def factorial(n: tl.constexpr):
    if n <= 1:
        return 1
    else:
        return n * factorial(n - 1)
"""

_X = finite("float32")
_I = np.arange(N)
_LOAD = "i = tl.arange(0, 128)\nx = tl.load(x + i)\n"


def _case(name: str, text: str, want: np.ndarray, ulp: float = 0, **arguments: object) -> Case:
    return Case(
        name,
        _LOAD + text,
        {"x": _X, **arguments},
        {"o": np.asarray(want)},
        ulp,
        helpers=_HELPERS,
    )


@group("control")
def branches() -> Iterator[Case]:
    text = """
y = x
s = 1.0
if n > 3:
    y = x * 2
    s = 5.0
elif n > 1:
    y = x + 1
else:
    s = 7.0
tl.store(o + i, y * s)
"""
    one = np.float32(1)
    for n, want in ((5, _X * 2 * np.float32(5)), (2, _X + one), (0, _X * np.float32(7))):
        yield _case(f"if, elif, else {n}", text, want, n=n)
    text = """
if n > 0:
    if n > 10:
        x = x * 2
    else:
        x = x * 3
        if n == 7:
            tl.store(p, 1)
else:
    x = -x
tl.store(o + i, x)
"""
    for n, want, p in ((12, _X * 2, 0), (7, _X * 3, 1), (-1, -_X, 0)):
        case = _case(f"nested {n}", text, want, n=n)
        yield Case(case.name, case.body, case.arguments, {"o": want, "p": np.array([p], np.int32)})
    yield _case("ternary", "y = x * (2.0 if n > 3 else 0.5)\ntl.store(o + i, y)", _X * 2, n=4)
    yield _case(
        "and, or, not",
        "a = n > 1 and n < 9\nb = n > 100 or not a\ny = tl.where(a, x, 0.0)\n"
        "if not b:\n    y = y * 2\ntl.store(o + i, y)",
        _X * 2,
        n=4,
    )
    text = "if n > 3:\n    tl.store(o + i, x)\n    return\ntl.store(o + i, -x)"
    yield Case("early return, taken", _LOAD + text, {"x": _X, "n": 5}, {"o": _X}, alone=True)
    yield Case("early return, not taken", _LOAD + text, {"x": _X, "n": 1}, {"o": -_X}, alone=True)


@group("control")
def loops() -> Iterator[Case]:
    wide = _X.astype(np.float64)
    yield _case(
        "carried tensors and scalars",
        "a = tl.zeros([128], tl.float32)\nk = 0\nfor j in range(n):\n    a += x * j\n    k += j\n"
        "tl.store(o + i, a + k)",
        (wide * 10 + 10).astype("f4"),
        4,
        n=5,
    )
    yield _case(
        "start, stop, step",
        "a = tl.zeros([128], tl.int32)\nfor j in range(n, 20, 3):\n    a = a * 2 + j\n"
        "tl.store(o + i, a)",
        np.full(N, _fold(range(5, 20, 3)), np.int32),
        n=5,
    )
    yield _case(
        "downwards",
        "a = tl.zeros([128], tl.int32)\nfor j in range(10, n, -2):\n    a = a * 2 + j\n"
        "tl.store(o + i, a)",
        np.full(N, _fold(range(10, 1, -2)), np.int32),
        n=1,
    )
    yield _case(
        "none at all",
        "for j in range(n, 3):\n    x = x * 0\ntl.store(o + i, x)",
        _X,
        n=5,
    )
    yield _case(
        "tl.range with hints",
        "a = tl.zeros([128], tl.float32)\n"
        "for j in tl.range(0, n, num_stages=2, loop_unroll_factor=2):\n    a += j\n"
        "for j in tl.range(n, disallow_acc_multi_buffer=True, flatten=True):\n    a += j\n"
        "tl.store(o + i, a)",
        np.full(N, 42, np.float32),
        n=7,
    )
    yield _case(
        "static_range",
        "for j in tl.static_range(4):\n    x = x + j\n"
        "for j in tl.static_range(1, 7, 2):\n    tl.static_assert(j % 2 == 1)\n    x = x + j\n"
        "tl.store(o + i, x)",
        (wide + 15).astype("f4"),
        4,
    )
    yield _case(
        "while",
        "k = 0\ntotal = 0\nwhile total < n:\n    k += 1\n    total += k\n"
        "tl.store(o + i, i * 0 + k * 1000 + total)",
        np.full(N, 5015, np.int32),
        n=11,
    )
    yield _case(
        "while with a tensor, and tl.condition",
        "steps = 0\nwhile tl.max(tl.abs(x)) > 0.5:\n    x = x * 0.5\n    steps += 1\n"
        "while tl.condition(steps > 3):\n    steps -= 3\n"
        "tl.store(o + i, x + steps)"
        if hasattr(tl, "condition")
        else "tl.store(o + i, x)",
        *_halved(wide),
    )
    yield _case(
        "nested, carried through both",
        "a = x\nb = x * 2\nfor j in range(3):\n    for k in range(j, n):\n        a, b = b, a + k\n"
        "    if j == 1:\n        a = a - b\n"
        "tl.store(o + i, a + b)",
        _swapped_sums(wide, 4),
        8,
        n=4,
    )
    yield _case(
        "pointers advance",
        "p = xp + i\na = tl.zeros([128], tl.float32)\nfor j in range(4):\n    a += tl.load(p)\n"
        "    p += 128\ntl.store(o + i, a)",
        np.arange(512, dtype=np.float32).reshape(4, 128).sum(0),
        xp=np.arange(512, dtype=np.float32),
    )
    yield _case(
        "if in a loop with tensors of both branches",
        "a = x\nfor j in range(6):\n    if j % 2 == 0:\n        a = a + j\n    else:\n"
        "        a = a * 2\ntl.store(o + i, a)",
        ((((wide * 2) + 2) * 2 + 4) * 2).astype("f4"),
        8,
    )
    yield _case(
        "a loop in an if",
        "if n > 2:\n    for j in range(n):\n        x = x + 1\nelse:\n    x = x * 0\n"
        "tl.store(o + i, x)",
        (wide + 3).astype("f4"),
        4,
        n=3,
    )
    yield _case(
        "types of carried values",
        "a = n.to(tl.int8)\nb = n.to(tl.float64)\nc = n > 0\nd = i.to(tl.int64)\n"
        "for j in range(3):\n    a = (a * 2).to(tl.int8)\n    b = b / 3\n    c = not c\n"
        "    d = d * 3 + j\n"
        "tl.store(o + i, a + d + c.to(tl.int64) + (b * 27).to(tl.int64))",
        _I * 27 + 5 + 40 + 5,
        n=5,
    )


def _fold(numbers: range) -> int:
    total = 0
    for j in numbers:
        total = total * 2 + j
    return total


def _halved(x: np.ndarray) -> tuple[np.ndarray, float]:
    steps = 0
    while abs(x).max() > 0.5:
        x, steps = x / 2, steps + 1
    while steps > 3:
        steps -= 3
    return (x + steps).astype("f4"), 1


def _swapped_sums(x: np.ndarray, n: int) -> np.ndarray:
    a, b = x, x * 2
    for j in range(3):
        for k in range(j, n):
            a, b = b, a + k
        if j == 1:
            a = a - b
    return (a + b).astype("f4")


@group("control")
def calls() -> Iterator[Case]:
    wide = _X.astype(np.float64)
    total = wide.sum()
    for name, text, want, ulp in (
        ("inline", "tl.store(o + i, halve(halve(x)))", _X / 4, 0),
        ("two results", "a, b = sort_two(x, -x)\ntl.store(o + i, b - a)", np.abs(_X) * 2, 0),
        ("early 5", "tl.store(o + i, early(x, n))", _X * 3, 0),
        ("noinline", "s = tl.sum(x, 0)\ntl.store(o + i, x * 0 + distant(s, 2.0))",
         np.full(N, total * 2 + 1, np.float32), 64),
        ("constexpr strings", 'tl.store(o + i, choose(x, "double") + choose(x, "square"))',
         (wide * 2 + wide * wide).astype("f4"), 64),
        ("a function passed", "tl.store(o + i, apply(halve, x))", _X / 2, 0),
        ("defaults and keywords",
         "tl.store(o + i, with_default(x) + with_default(x, shift=2, factor=1.0))",
         (wide * 4 + 3).astype("f4"), 16),
        ("constexpr recursion", "tl.store(o + i, x * 0 + factorial(5))",
         np.full(N, 120, np.float32), 0),
    ):  # fmt: skip
        size = 1e-4 if ulp else 0
        case = _case(name, text, want, ulp, n=5)
        yield Case(
            name, case.body, case.arguments, case.expected, ulp, size, helpers=_HELPERS,
            alone="noinline" in name,
        )  # fmt: skip


@group("control")
def compile_time() -> Iterator[Case]:
    yield _case(
        "constexpr arithmetic",
        "A: tl.constexpr = 3\nB: tl.constexpr = A * 2 + 1\n"
        "tl.static_assert(B == 7, 'arithmetic')\n"
        "C: tl.constexpr = B // 2 if A > 1 else 0\n"
        "if C == 3:\n    x = x + B\nelse:\n    x = undefined_name\n"
        "tl.static_print('B is', B)\ntl.store(o + i, x)",
        _X + np.float32(7),
    )
    yield _case(
        "shapes and types are constants",
        "tl.static_assert(x.shape[0] == 128)\ntl.static_assert(x.dtype == tl.float32)\n"
        "tl.static_assert(tl.float32.primitive_bitwidth == 32)\n"
        "tl.static_assert(tl.constexpr(5).value == 5)\n"
        "tl.static_assert(x.type.is_block())\n"
        "tl.static_assert(tl.int8.is_int() and tl.uint8.is_int_unsigned())\n"
        "y = tl.zeros(x.shape, x.dtype) + 1\ntl.store(o + i, x * y)",
        _X,
    )
    yield _case(
        "cdiv, next power of two, min and max of constants",
        "A: tl.constexpr = tl.cdiv(100, 8)\ntl.static_assert(A == 13)\n"
        "B: tl.constexpr = triton.next_power_of_2(A)\ntl.static_assert(B == 16)\n"
        "tl.static_assert(min(A, B) == 13 and max(3, 2) == 3)\n"
        "tl.static_assert(len((1, 2, 3)) == 3)\n"
        "tl.store(o + i, x + tl.cdiv(n, 4))",
        _X + np.float32(3),
        n=9,
    )


@group("control")
def tuples() -> Iterator[Case]:
    wide = _X.astype(np.float64)
    yield _case(
        "tuples",
        "t = (x, x * 2, 3)\na, b, c = t\nu = t[1] + t[0] * t[2]\n"
        "tl.static_assert(len(t) == 3)\n"
        "v = tl.tuple((a, b))\n"
        "tl.store(o + i, a + b + c + u + v[0] * 0)",
        (wide * 3 + 3 + wide * 5).astype("f4"),
        32,
    )
    yield _case(
        "tuples in loops",
        "t = (x, x * 0)\nfor j in range(4):\n    t = (t[0] + 1, t[1] + t[0])\n"
        "tl.store(o + i, t[1])",
        (4 * wide + 6).astype("f4"),
        64,
    )
    yield _case(
        "static_range over tuples",
        "t = (1.0, 2.0, 3.0)\nfor j in tl.static_range(3):\n    x = x * t[j]\ntl.store(o + i, x)",
        (wide * 6).astype("f4"),
        4,
    )


@group("control")
def grids() -> Iterator[Case]:
    text = """
a, b, c = tl.program_id(0), tl.program_id(1), tl.program_id(axis=2)
at = (c * tl.num_programs(1) + b) * tl.num_programs(0) + a
tl.store(o + at, a + 10 * b + 100 * c + 1000 * tl.num_programs(axis=2))
"""
    z, y, x = np.indices((4, 3, 5))
    want = (x + 10 * y + 100 * z + 4000).astype(np.int32)
    yield Case("program_id, num_programs", text, {}, {"o": want}, grid=(5, 3, 4))
    text = "tl.store(o + tl.program_id(0), tl.program_id(0).to(tl.int64) * tl.program_id(0))"
    count = np.arange(1000)
    yield Case("a thousand programs", text, {}, {"o": count * count}, grid=(1000,))


@group("control")
def mapped() -> Iterator[Case]:
    """tl.map_elementwise: scalar functions with branches and loops, lane by lane."""
    helpers = """
@triton.jit
def collatz(n):
    steps = 0
    while n > 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


@triton.jit
def divide(a, b):
    quotient = 0
    if b != 0:
        quotient = a // b
        a = a % b
    return quotient, a
"""
    n = (_I + 1).astype(np.int32)
    body = "i = tl.arange(0, 128)\ntl.store(o + i, tl.map_elementwise(collatz, tl.load(n + i)))"

    def steps(k: int) -> int:
        count = 0
        while k > 1:
            k, count = (k // 2 if k % 2 == 0 else 3 * k + 1), count + 1
        return count

    want = np.array([steps(int(k)) for k in n], np.int32)
    yield Case("one result", body, {"n": n}, {"o": want}, helpers=helpers)
    m = (_I % 7).astype(np.int32)
    body = "i = tl.arange(0, 128)\n"
    body += "q, r = tl.map_elementwise(divide, tl.load(n + i), tl.load(m + i))\n"
    body += "tl.store(o + i, q)\ntl.store(p + i, r)"
    safe = np.where(m == 0, 1, m)
    yield Case(
        "two results",
        body,
        {"n": n, "m": m},
        {"o": np.where(m == 0, 0, n // safe), "p": np.where(m == 0, n, n % safe)},
        helpers=helpers,
    )
