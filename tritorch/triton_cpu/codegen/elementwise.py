"""Element by element operations on emitted vectors: one TTIR op -> a few LLVM instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.codegen.builder import BITS
from tritorch.triton_cpu.codegen.constants import FLOATS, literal
from tritorch.triton_cpu.codegen.convert import chop_float, convert_float, float_to_integer
from tritorch.triton_cpu.codegen.division import emit_division
from tritorch.triton_cpu.ir import Operation

if TYPE_CHECKING:
    from tritorch.triton_cpu.codegen.generator import Generator

#: (generator, operation, operand registers, lanes, result element) -> register
Emitter = Callable[["Generator", Operation, list[str], int, str], str]

INTEGER_COMPARE = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
FLOAT_COMPARE = (
    "false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord",
    "ueq", "ugt", "uge", "ult", "ule", "une", "uno", "true",
)  # fmt: skip

_FLOAT_BINARY = {
    "arith.addf": "fadd contract",
    "arith.subf": "fsub contract",
    "arith.mulf": "fmul contract",
    "arith.divf": "fdiv",
    "arith.remf": "frem",
    "tt.precise_divf": "fdiv",
}
_INTEGER_BINARY = {
    "arith.addi": "add",
    "arith.subi": "sub",
    "arith.muli": "mul",
    "arith.andi": "and",
    "arith.ori": "or",
    "arith.xori": "xor",
}
_FLOAT_INTRINSICS = {
    "arith.maxnumf": "maxnum",
    "arith.minnumf": "minnum",
    "arith.maximumf": "maximum",
    "arith.minimumf": "minimum",
    "math.absf": "fabs",
    "math.ceil": "ceil",
    "math.copysign": "copysign",
    "math.floor": "floor",
    "math.fma": "fma",
    "math.round": "round",
    "math.roundeven": "roundeven",
    "math.sqrt": "sqrt",
    "math.trunc": "trunc",
    "tt.precise_sqrt": "sqrt",
}
_INTEGER_INTRINSICS = {
    "arith.maxsi": "smax",
    "arith.minsi": "smin",
    "arith.maxui": "umax",
    "arith.minui": "umin",
    "math.ctpop": "ctpop",
}
#: MLIR's math dialect -> names of tritorch.triton_cpu.math
_MATH = frozenset(
    {
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "erf", "sin", "cos", "tan",
        "sinh", "cosh", "tanh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "atan2",
        "powf", "cbrt", "erfc",
    }
)  # fmt: skip
_DIVISIONS = {
    "arith.divsi": "sdiv",
    "arith.remsi": "srem",
    "arith.divui": "udiv",
    "arith.remui": "urem",
}
_SHIFTS = {"arith.shli": "shl", "arith.shrui": "lshr", "arith.shrsi": "ashr"}


def emit_elementwise(
    generator: Generator, operation: Operation, registers: list[str], lanes: int, element: str
) -> str:
    """Emit one op on vectors of `lanes`; `element` is its result's."""
    emitter = _EMITTERS.get(operation.name)
    if emitter is None:
        raise unknown_operation(generator.name, operation)
    return emitter(generator, operation, registers, lanes, element)


def unknown_operation(kernel: str, operation: Operation) -> UnsupportedOperation:
    return UnsupportedOperation(
        f"{kernel}: the CPU target does not know {operation.name} (line {operation.line} of the"
        " Triton IR). Write it with other tl functions, or run it on a GPU."
    )


def _operand(operation: Operation, number: int = 0) -> str:
    return operation.operands[number].type.element


def needs_float32(generator: Generator, element: str) -> bool:
    """Whether arithmetic of this float type is done in float32 and rounded after every
    operation.
    """
    return element == "bf16" or (element == "f16" and not generator.target.avx512fp16)


def _rounded(
    generator: Generator,
    registers: list[str],
    element: str,
    lanes: int,
    compute: Callable[[list[str], str], str],
) -> str:
    """Run `compute(registers, element)`, in float32 where the CPU has no arithmetic of this
    width.
    """
    if not needs_float32(generator, element):
        return compute(registers, element)
    builder, cpu = generator.builder, generator.target
    wide = [convert_float(builder, r, element, "f32", lanes, cpu) for r in registers]
    return convert_float(builder, compute(wide, "f32"), "f32", element, lanes, cpu)


def _float_binary(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    def compute(registers: list[str], kind: str) -> str:
        return g.builder.define(
            f"{_FLOAT_BINARY[op.name]} {g.builder.type(kind, lanes)} {', '.join(registers)}"
        )

    return _rounded(g, args, element, lanes, compute)


def _float_intrinsic(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    return _rounded(
        g,
        args,
        element,
        lanes,
        lambda r, kind: g.builder.intrinsic(_FLOAT_INTRINSICS[op.name], kind, lanes, *r),
    )


def _product(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    """Where the upper halves were asked for, the lower ones are there: vpmulld takes two turns."""
    found = g.products.get(tuple(args)) if element == "i32" and lanes > 1 else None
    if found is None:
        return _integer_binary(g, op, args, lanes, element)
    builder, half = g.builder, lanes // 2
    kind = builder.type("i64", half)
    even = builder.define(f"and {kind} {found[0]}, {builder.splat(str(2**32 - 1), 'i64', half)}")
    odd = builder.define(f"shl {kind} {found[1]}, {builder.splat('32', 'i64', half)}")
    both = builder.define(f"or {kind} {even}, {odd}")
    return builder.define(f"bitcast {kind} {both} to {builder.type(element, lanes)}")


def _integer_binary(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    kind = g.builder.type(element, lanes)
    return g.builder.define(f"{_INTEGER_BINARY[op.name]} {kind} {args[0]}, {args[1]}")


def _integer_intrinsic(
    g: Generator, op: Operation, args: list[str], lanes: int, element: str
) -> str:
    return g.builder.intrinsic(_INTEGER_INTRINSICS[op.name], element, lanes, *args)


def _count_zeros(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    kind = g.builder.type(element, lanes)
    name = f"llvm.{op.name.removeprefix('math.')}.{g.builder.suffix(element, lanes)}"
    return g.builder.call(name, kind, (kind, args[0]), ("i1", "false"))


def _absolute(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    kind = g.builder.type(element, lanes)
    name = f"llvm.abs.{g.builder.suffix(element, lanes)}"
    return g.builder.call(name, kind, (kind, args[0]), ("i1", "false"))


def _division(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    """Integer division that cannot trap: lanes that nobody reads may divide by zero."""
    return emit_division(g.builder, _DIVISIONS[op.name], args[0], args[1], element, lanes)


def _shift(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    """Shifts by the width or more give what is left when every bit is shifted out."""
    builder, bits = g.builder, BITS[element]
    kind, name = builder.type(element, lanes), _SHIFTS[op.name]
    amount = args[1]
    if not amount.startswith(("%", "<")):
        return builder.define(f"{name} {kind} {args[0]}, {amount}")
    last = builder.splat(str(bits - 1), element, lanes)
    clamped = builder.intrinsic("umin", element, lanes, amount, last)
    result = builder.define(f"{name} {kind} {args[0]}, {clamped}")
    if name == "ashr":
        return result
    inside = builder.define(f"icmp ule {kind} {amount}, {last}")
    zero = builder.splat("0", element, lanes)
    return builder.define(
        f"select {builder.type('i1', lanes)} {inside}, {kind} {result}, {kind} {zero}"
    )


def _negate(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    builder = g.builder
    if not needs_float32(g, element):
        return builder.define(f"fneg {builder.type(element, lanes)} {args[0]}")
    floats, words = builder.type(element, lanes), builder.type("i16", lanes)
    bits = builder.define(f"bitcast {floats} {args[0]} to {words}")
    bits = builder.define(f"xor {words} {bits}, {builder.splat('-32768', 'i16', lanes)}")
    return builder.define(f"bitcast {words} {bits} to {floats}")


def _compare_integers(
    g: Generator, op: Operation, args: list[str], lanes: int, element: str
) -> str:
    predicate = INTEGER_COMPARE[op.attributes["predicate"]]
    kind = g.builder.type(_operand(op), lanes)
    return g.builder.define(f"icmp {predicate} {kind} {args[0]}, {args[1]}")


def _compare_floats(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    predicate = FLOAT_COMPARE[op.attributes["predicate"]]
    source = _operand(op)
    if needs_float32(g, source):
        args = [convert_float(g.builder, r, source, "f32", lanes, g.target) for r in args]
        source = "f32"
    kind = g.builder.type(source, lanes)
    return g.builder.define(f"fcmp {predicate} {kind} {args[0]}, {args[1]}")


def _select(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    condition, kind = g.builder.type("i1", lanes), g.builder.type(element, lanes)
    return g.builder.define(f"select {condition} {args[0]}, {kind} {args[1]}, {kind} {args[2]}")


def _cast(name: str) -> Emitter:
    def emit(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
        source, target = g.builder.type(_operand(op), lanes), g.builder.type(element, lanes)
        if source == target:
            return args[0]
        return g.builder.define(f"{name} {source} {args[0]} to {target}")

    return emit


def _index_cast(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    source = _operand(op)
    if BITS[source] == BITS[element]:
        return args[0]
    name = "sext" if BITS[source] < BITS[element] else "trunc"
    return _cast(name)(g, op, args, lanes, element)


def _convert(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    return convert_float(g.builder, args[0], _operand(op), element, lanes, g.target)


_TOWARD_ZERO = 0


def _convert_rounded(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    convert = chop_float if op.attributes.get("rounding") == _TOWARD_ZERO else convert_float
    return convert(g.builder, args[0], _operand(op), element, lanes, g.target)


def _to_float(name: str) -> Emitter:
    def emit(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
        wide = "f32" if needs_float32(g, element) else element
        kind = g.builder.type(wide, lanes)
        source = g.builder.type(_operand(op), lanes)
        register = g.builder.define(f"{name} {source} {args[0]} to {kind}")
        return convert_float(g.builder, register, wide, element, lanes, g.target)

    return emit


def _to_integer(signed: bool) -> Emitter:
    """Float to integer, see `float_to_integer`; narrow results are cut from 32 bits."""

    def emit(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
        builder, source = g.builder, _operand(op)
        register = args[0]
        if source in ("f16", "bf16"):
            register = convert_float(builder, register, source, "f32", lanes, g.target)
            source = "f32"
        through = "i32" if BITS[element] < 32 else element
        is_signed = signed or BITS[element] < 32
        register = float_to_integer(builder, register, source, through, lanes, is_signed)
        if through == element:
            return register
        kinds = builder.type(through, lanes), builder.type(element, lanes)
        return builder.define(f"trunc {kinds[0]} {register} to {kinds[1]}")

    return emit


def _high_product(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    builder, bits = g.builder, BITS[element]
    narrow = builder.type(element, lanes)
    if bits == 64:
        return _high_product_64(g, args, lanes)
    if bits == 32 and lanes > 1 and g.target.is_x86:
        return _high_product_by_parity(g, args, lanes)
    wide_element = f"i{2 * bits}"
    wide = builder.type(wide_element, lanes)
    a = builder.define(f"zext {narrow} {args[0]} to {wide}")
    b = builder.define(f"zext {narrow} {args[1]} to {wide}")
    product = builder.define(f"mul {wide} {a}, {b}")
    shift = builder.splat(str(bits), wide_element, lanes)
    high = builder.define(f"lshr {wide} {product}, {shift}")
    return builder.define(f"trunc {wide} {high} to {narrow}")


def _high_product_by_parity(g: Generator, args: list[str], lanes: int) -> str:
    """The 32-bit lanes in pairs: x86 multiplies the even ones of a register, and no lane moves."""
    builder, half = g.builder, lanes // 2
    narrow, kind = builder.type("i32", lanes), builder.type("i64", half)
    bits = builder.splat("32", "i64", half)
    low_mask = builder.splat(str(2**32 - 1), "i64", half)
    high_mask = builder.splat(str(-(2**32)), "i64", half)

    def op(name: str, a: str, b: str) -> str:
        return builder.define(f"{name} {kind} {a}, {b}")

    pairs = [builder.define(f"bitcast {narrow} {register} to {kind}") for register in args]
    even = op("mul", *[op("and", pair, low_mask) for pair in pairs])
    odd = op("mul", *[op("lshr", pair, bits) for pair in pairs])
    g.products[tuple(args)] = even, odd
    both = op("or", op("lshr", even, bits), op("and", odd, high_mask))
    return builder.define(f"bitcast {kind} {both} to {narrow}")


def _high_product_64(g: Generator, args: list[str], lanes: int) -> str:
    """Schoolbook multiplication of 32-bit halves: no vector unit multiplies 64 x 64 -> 128."""
    builder = g.builder
    kind = builder.type("i64", lanes)
    half, low_mask = builder.splat("32", "i64", lanes), builder.splat(str(2**32 - 1), "i64", lanes)

    def op(name: str, a: str, b: str) -> str:
        return builder.define(f"{name} {kind} {a}, {b}")

    a_low, b_low = op("and", args[0], low_mask), op("and", args[1], low_mask)
    a_high, b_high = op("lshr", args[0], half), op("lshr", args[1], half)
    low = op("lshr", op("mul", a_low, b_low), half)
    middle = op("add", op("mul", a_high, b_low), low)
    cross = op("add", op("mul", a_low, b_high), op("and", middle, low_mask))
    high = op("add", op("mul", a_high, b_high), op("lshr", middle, half))
    return op("add", high, op("lshr", cross, half))


def _clamp(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    propagate = op.attributes.get("propagateNan", 0) != 0
    low, high = ("maximum", "minimum") if propagate else ("maxnum", "minnum")

    def compute(registers: list[str], kind: str) -> str:
        bounded = g.builder.intrinsic(low, kind, lanes, registers[0], registers[1])
        return g.builder.intrinsic(high, kind, lanes, bounded, registers[2])

    return _rounded(g, args, element, lanes, compute)


def _mathematics(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    return emit_math(g, op.name.removeprefix("math."), args, element, lanes)


def emit_math(g: Generator, name: str, args: list[str], element: str, lanes: int) -> str:
    """A mathematical function by name, in float32 for narrower types."""
    from tritorch.triton_cpu import math

    def compute(registers: list[str], kind: str) -> str:
        return str(math.emit(g.builder, name, registers, kind, lanes, g.target))

    if element not in ("f16", "bf16"):
        return compute(args, element)
    wide = [convert_float(g.builder, r, element, "f32", lanes, g.target) for r in args]
    return convert_float(g.builder, compute(wide, "f32"), "f32", element, lanes, g.target)


def _library_function(
    g: Generator, op: Operation, args: list[str], lanes: int, element: str
) -> str:
    """`tt.extern_elementwise`: a function of libdevice."""
    from tritorch.triton_cpu import math

    name = math.lookup(op.attributes["symbol"])
    typed = [(register, operand.type.element) for register, operand in zip(args, op.operands)]
    register, found = math.emit_typed(g.builder, name, typed, lanes, g.target)
    if found == element:
        return register
    kinds = g.builder.type(found, lanes), g.builder.type(element, lanes)
    cast = "zext" if found == "i1" else "sext" if BITS[found] < BITS[element] else "trunc"
    return g.builder.define(f"{cast} {kinds[0]} {register} to {kinds[1]}")


def _reciprocal_root(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    def compute(registers: list[str], kind: str) -> str:
        root = g.builder.intrinsic("sqrt", kind, lanes, *registers)
        one = g.builder.splat(literal(1.0, kind), kind, lanes)
        return g.builder.define(f"fdiv {g.builder.type(kind, lanes)} {one}, {root}")

    return _rounded(g, args, element, lanes, compute)


def _constant(g: Generator, op: Operation, args: list[str], lanes: int, element: str) -> str:
    return g.builder.splat(literal(op.attributes["value"], element), element, lanes)


_EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(_FLOAT_BINARY, _float_binary),
    **dict.fromkeys(_FLOAT_INTRINSICS, _float_intrinsic),
    **dict.fromkeys(_INTEGER_BINARY, _integer_binary),
    "arith.muli": _product,
    **dict.fromkeys(_INTEGER_INTRINSICS, _integer_intrinsic),
    **dict.fromkeys(_DIVISIONS, _division),
    **dict.fromkeys(_SHIFTS, _shift),
    **{f"math.{name}": _mathematics for name in sorted(_MATH)},
    "arith.bitcast": _cast("bitcast"),
    "arith.cmpf": _compare_floats,
    "arith.cmpi": _compare_integers,
    "arith.constant": _constant,
    "arith.extf": _convert,
    "arith.extsi": _cast("sext"),
    "arith.extui": _cast("zext"),
    "arith.fptosi": _to_integer(signed=True),
    "arith.fptoui": _to_integer(signed=False),
    "arith.index_cast": _index_cast,
    "arith.negf": _negate,
    "arith.select": _select,
    "arith.sitofp": _to_float("sitofp"),
    "arith.truncf": _convert,
    "arith.trunci": _cast("trunc"),
    "arith.uitofp": _to_float("uitofp"),
    "math.absi": _absolute,
    "math.rsqrt": _reciprocal_root,
    "math.ctlz": _count_zeros,
    "math.cttz": _count_zeros,
    "tt.bitcast": _cast("bitcast"),
    "tt.clampf": _clamp,
    "tt.extern_elementwise": _library_function,
    "tt.fp_to_fp": _convert_rounded,
    "tt.int_to_ptr": _cast("inttoptr"),
    "tt.mulhiui": _high_product,
    "tt.ptr_to_int": _cast("ptrtoint"),
}

ELEMENTWISE = frozenset(_EMITTERS)

__all__ = ["ELEMENTWISE", "FLOATS", "emit_elementwise", "emit_math", "needs_float32"]
