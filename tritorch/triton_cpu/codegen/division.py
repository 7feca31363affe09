"""Integer division of vectors: no CPU divides integer lanes, and the scalar instruction traps."""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import BITS, Builder


def emit_division(builder: Builder, name: str, a: str, b: str, element: str, lanes: int) -> str:
    """`name` is sdiv, udiv, srem or urem. Division by zero and overflow give some number, never a trap."""
    if _is_safe_literal(b):
        return builder.define(f"{name} {builder.type(element, lanes)} {a}, {b}")
    if lanes > 1 and BITS[element] <= 32:
        return _through_double(builder, name, a, b, element, lanes)
    return builder.define(
        f"{name} {builder.type(element, lanes)} {a}, {_guarded(builder, name, a, b, element, lanes)}"
    )


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
    """Quotients of 32-bit integers are exact in float64 once truncated."""
    kind, wide = builder.type(element, lanes), builder.type("f64", lanes)
    signed = name[0] == "s"
    to_float = "sitofp" if signed else "uitofp"
    through = "i64" if BITS[element] == 32 and not signed else "i32"
    x = builder.define(f"{to_float} {kind} {a} to {wide}")
    y = builder.define(f"{to_float} {kind} {b} to {wide}")
    quotient = builder.define(f"fdiv {wide} {x}, {y}")
    suffix = f"{builder.suffix(through, lanes)}.{builder.suffix('f64', lanes)}"
    whole = builder.call(
        f"llvm.fptosi.sat.{suffix}", builder.type(through, lanes), (wide, quotient)
    )
    result = whole
    if through != element:
        result = builder.define(f"trunc {builder.type(through, lanes)} {whole} to {kind}")
    if name.endswith("div"):
        return result
    product = builder.define(f"mul {kind} {result}, {b}")
    return builder.define(f"sub {kind} {a}, {product}")
