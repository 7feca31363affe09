"""Integer division of vectors: no CPU divides integer lanes, and the scalar instruction traps."""

from __future__ import annotations

from collections.abc import Callable

from tritorch.triton_cpu.codegen.builder import BITS, Builder, float_literal

#: Integers below this in magnitude are exact in float64, and so are their truncated quotients.
EXACT = 1 << 52


def emit_division(builder: Builder, name: str, a: str, b: str, element: str, lanes: int) -> str:
    """`name` is sdiv, udiv, srem or urem. Division by zero and overflow give some number, never a
    trap.
    """
    kind = builder.type(element, lanes)
    if _is_safe_literal(b):
        return builder.define(f"{name} {kind} {a}, {b}")
    if lanes == 1:
        return builder.define(f"{name} {kind} {a}, {_guarded(builder, name, a, b, element, 1)}")
    if BITS[element] <= 32:
        return _through_double(builder, name, a, b, element, lanes)
    helper = _wide_helper(builder, name, lanes)
    return builder.define(f"call {kind} @{helper}({kind} {a}, {kind} {b})")


def _is_safe_literal(b: str) -> bool:
    """A constant divisor that is neither 0 nor -1: LLVM multiplies by its reciprocal."""
    digits = b.removeprefix("splat (").removesuffix(")").split(" ")[-1]
    return not b.startswith(("%", "<")) and digits not in ("0", "-1", "zeroinitializer")


def _guarded(builder: Builder, name: str, a: str, b: str, element: str, lanes: int) -> str:
    """The divisor, 1 where it would trap."""
    kind, mask = builder.type(element, lanes), builder.type("i1", lanes)

    def splat(value: int) -> str:
        return builder.splat(str(value), element, lanes)

    traps = builder.define(f"icmp eq {kind} {b}, {splat(0)}")
    if name[0] == "s":
        minus = builder.define(f"icmp eq {kind} {b}, {splat(-1)}")
        lowest = builder.define(f"icmp eq {kind} {a}, {splat(-(2 ** (BITS[element] - 1)))}")
        overflow = builder.define(f"and {mask} {minus}, {lowest}")
        traps = builder.define(f"or {mask} {traps}, {overflow}")
    return builder.define(f"select {mask} {traps}, {kind} {splat(1)}, {kind} {b}")


def _through_double(builder: Builder, name: str, a: str, b: str, element: str, lanes: int) -> str:
    """Quotients of integers below `EXACT` are exact in float64 once truncated."""
    kind, wide = builder.type(element, lanes), builder.type("f64", lanes)
    signed = name[0] == "s"
    to_float = "sitofp" if signed else "uitofp"
    through = "i32" if BITS[element] < 32 or (BITS[element] == 32 and signed) else "i64"
    x = builder.define(f"{to_float} {kind} {a} to {wide}")
    y = builder.define(f"{to_float} {kind} {b} to {wide}")
    quotient = builder.define(f"fdiv {wide} {x}, {y}")
    through_type = builder.type(through, lanes)
    whole = builder.define(f"fptosi {wide} {quotient} to {through_type}")
    result = builder.define(f"freeze {through_type} {whole}")  # any number where b is 0
    if through != element:
        result = builder.define(f"trunc {builder.type(through, lanes)} {result} to {kind}")
    return result if name.endswith("div") else _remainder(builder, a, b, result, kind)


def _remainder(builder: Builder, a: str, b: str, quotient: str, kind: str) -> str:
    product = builder.define(f"mul {kind} {quotient}, {b}")
    return builder.define(f"sub {kind} {a}, {product}")


def _wide_helper(builder: Builder, name: str, lanes: int) -> str:
    """64-bit lanes in a shared function: in float64 if all are small enough, else one by one."""
    helper = f"divide_{name}_i64_{lanes}"
    if helper in builder.helpers:
        return helper
    inner = builder.child()
    kind = inner.type("i64", lanes)
    offset = inner.splat(str(EXACT if name[0] == "s" else 0), "i64", lanes)
    limit = inner.splat(str(2 * EXACT if name[0] == "s" else EXACT), "i64", lanes)
    small = ""
    for register in ("%a", "%b"):
        moved = inner.define(f"add {kind} {register}, {offset}")
        inside = inner.define(f"icmp ult <{lanes} x i64> {moved}, {limit}")
        small = inside if not small else inner.define(f"and <{lanes} x i1> {small}, {inside}")
    every = inner.call(f"llvm.vector.reduce.and.v{lanes}i1", "i1", (f"<{lanes} x i1>", small))
    inner.emit(f"br i1 {every}, label %small, label %large")
    inner.start("small")
    inner.emit(f"ret {kind} {_through_double(inner, name, '%a', '%b', 'i64', lanes)}")
    inner.start("large")
    safe = _guarded(inner, name, "%a", "%b", "i64", lanes)
    inner.emit(f"ret {kind} {inner.define(f'{name} {kind} %a, {safe}')}")
    parameters = [(kind, "%a"), (kind, "%b")]
    builder.helpers[helper] = inner.function(helper, kind, parameters, "noinline nounwind")
    return helper


# ---- consecutive numbers divided by one number


def divide_consecutive(
    builder: Builder,
    first: str,
    divisor: str,
    element: str,
    lanes: int,
    general: Callable[[], tuple[str, str]],
) -> tuple[str, str]:
    """Quotients and remainders of first, first + 1, ... by one divisor: one scalar division for
    the whole strip.

    `general` emits the same for any lanes; it serves negative numbers.
    """
    kind, scalar = builder.type(element, lanes), builder.type(element, 1)
    one_way, many, usual, join = (
        builder.label(hint) for hint in ("once", "many", "any", "divided")
    )
    positive = builder.define(f"icmp sge {scalar} {first}, 0")
    sensible = builder.define(f"icmp sgt {scalar} {divisor}, 0")
    both = builder.define(f"and i1 {positive}, {sensible}")
    simple = builder.label("simple")
    builder.emit(f"br i1 {both}, label %{simple}, label %{usual}")
    builder.start(simple)
    quotient = builder.define(f"sdiv {scalar} {first}, {divisor}")
    product = builder.define(f"mul {scalar} {quotient}, {divisor}")
    rest = builder.define(f"sub {scalar} {first}, {product}")
    numbers = builder.define(
        f"add {kind} {builder.splat(rest, element, lanes)}, {builder.lane_numbers(element, lanes)}"
    )
    quotients = builder.splat(quotient, element, lanes)
    divisors = builder.splat(divisor, element, lanes)
    wide = builder.define(f"icmp sge {scalar} {divisor}, {lanes}")
    builder.emit(f"br i1 {wide}, label %{one_way}, label %{many}")

    builder.start(one_way)  # at most one multiple of the divisor lies inside the strip
    beyond = builder.define(f"icmp sge {kind} {numbers}, {divisors}")
    carry = builder.define(f"zext {builder.type('i1', lanes)} {beyond} to {kind}")
    first_quotients = builder.define(f"add {kind} {quotients}, {carry}")
    less = builder.define(f"sub {kind} {numbers}, {divisors}")
    first_rests = builder.define(
        f"select {builder.type('i1', lanes)} {beyond}, {kind} {less}, {kind} {numbers}"
    )
    builder.emit(f"br label %{join}")

    builder.start(many)  # numbers and divisor are below 2 x lanes: exact in float32
    floats = builder.type("f32", lanes)
    inverse = builder.define(f"sitofp {scalar} {divisor} to float")
    inverse = builder.define(f"fdiv float {float_literal(1.0, 'f32')}, {inverse}")
    number = builder.define(f"sitofp {kind} {numbers} to {floats}")
    half = builder.splat(float_literal(0.5, "f32"), "f32", lanes)
    number = builder.define(f"fadd {floats} {number}, {half}")
    ratio = builder.define(f"fmul {floats} {number}, {builder.splat(inverse, 'f32', lanes)}")
    more = builder.define(f"fptosi {floats} {ratio} to {kind}")
    second_quotients = builder.define(f"add {kind} {quotients}, {more}")
    second_rests = _remainder(builder, numbers, divisors, more, kind)
    builder.emit(f"br label %{join}")

    builder.start(usual)
    third_quotients, third_rests = general()
    third = builder.block
    builder.emit(f"br label %{join}")

    builder.start(join)
    result = []
    for a, b, c in (
        (first_quotients, second_quotients, third_quotients),
        (first_rests, second_rests, third_rests),
    ):
        result.append(
            builder.define(f"phi {kind} [{a}, %{one_way}], [{b}, %{many}], [{c}, %{third}]")
        )
    return result[0], result[1]
