"""The parser of generic MLIR text: types, attributes, operations, regions, errors."""

from __future__ import annotations

import contextlib
import math
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritorch.errors import ParseError
from tritorch.triton_cpu.attributes import (
    float_from_bits,
    parse_attribute,
    parse_dictionary,
    parse_type,
    print_type,
    split_top_level,
)
from tritorch.triton_cpu.ir import Type
from tritorch.triton_cpu.parser import parse_module

ELEMENTS = st.sampled_from(["i1", "i8", "i32", "i64", "f16", "bf16", "f32", "f64", "f8E5M2"])
POINTEES = st.one_of(ELEMENTS, st.just("ptr"))


@st.composite
def types(draw: st.DrawFn) -> Type:
    shape = draw(st.none() | st.lists(st.integers(1, 4096), max_size=5).map(tuple))
    if draw(st.booleans()):
        return Type(shape, "ptr", draw(POINTEES))
    return Type(shape, draw(ELEMENTS))


@given(types())
def test_types_survive_printing_and_parsing(kind: Type) -> None:
    assert parse_type(print_type(kind)) == kind


@pytest.mark.parametrize(
    "text, shape, element, pointee",
    [
        ("i32", None, "i32", None),
        ("index", None, "index", None),
        ("tensor<4x8xf32>", (4, 8), "f32", None),
        ("tensor<f32>", (), "f32", None),
        ("!tt.ptr<f32>", None, "ptr", "f32"),
        ("!tt.ptr<f16, 3>", None, "ptr", "f16"),
        ("!tt.ptr<!tt.ptr<i8>>", None, "ptr", "ptr"),
        ("tensor<16x!tt.ptr<bf16>>", (16,), "ptr", "bf16"),
        ("tensor<16xf32, #ttg.blocked<{a = [1, 2]}>>", (16,), "f32", None),
        ("!tt.tensordesc<tensor<16x32xf32>>", None, "tensordesc", "tensor<16x32xf32>"),
    ],
)
def test_type_forms(text: str, shape: object, element: str, pointee: str | None) -> None:
    assert parse_type(text) == Type(shape, element, pointee)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "tensor<?xf32>", "tensor<4x>", "a b", "tensor<2xtensor<2xf32>>"]
)
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="parse: "):
        parse_type(text)


# ---- attributes


@given(st.integers(-(2**63), 2**64 - 1), st.sampled_from(["i8", "i32", "i64", "index"]))
def test_integers(value: int, kind: str) -> None:
    assert parse_attribute(f"{value} : {kind}") == value


@given(st.floats(allow_nan=False, width=32))
def test_floats_by_digits_and_by_bits(value: float) -> None:
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    parsed = parse_attribute(f"0x{bits:08X} : f32")
    assert parsed == value and math.copysign(1, parsed) == math.copysign(1, value)
    if not math.isinf(value):
        assert parse_attribute(f"{value:.17E} : f64") == value


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("f16", np.float16),
        ("bf16", ml_dtypes.bfloat16),
        ("f8E5M2", ml_dtypes.float8_e5m2),
        ("f8E4M3FN", ml_dtypes.float8_e4m3fn),
    ],
)
def test_every_bit_pattern_of_small_floats(kind: str, dtype: type) -> None:
    width = np.dtype(dtype).itemsize * 8
    patterns = np.arange(1 << width, dtype=f"u{width // 8}")
    with np.errstate(invalid="ignore"):  # signalling nans
        want = patterns.view(dtype).astype(np.float64)
    got = np.array([float_from_bits(int(bits), kind) for bits in patterns])
    np.testing.assert_array_equal(got, want)
    known = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(want[known]))


def escaped(text: str) -> str:
    out = []
    for byte in text.encode():
        character = chr(byte)
        if character in '"\\':
            out.append("\\" + character)
        elif 32 <= byte < 127:
            out.append(character)
        else:
            out.append(f"\\{byte:02X}")
    return '"' + "".join(out) + '"'


SCALARS = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.booleans(),
    st.text(max_size=12),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.from_regex(r"[a-z_]{1,5}(\.[a-z]{1,3})?", fullmatch=True), inner, max_size=3
        )
    ),
    max_leaves=12,
)


def printed(value: object) -> str:
    """A value as MLIR prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value} : i32"
    if isinstance(value, float):
        return f"{value:.17E} : f64"
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(printed, value)) + "]"
    assert isinstance(value, dict)
    return "{" + ", ".join(f"{name} = {printed(item)}" for name, item in value.items()) + "}"


@given(VALUES)
def test_nested_attributes_survive_printing_and_parsing(value: object) -> None:
    assert parse_attribute(printed(value)) == value


@given(st.text(alphabet='<>{}[]()"=,:#@!0123456789 -abfix\\', max_size=40))
def test_the_attribute_parser_raises_nothing_but_its_own_error(text: str) -> None:
    for parse in (parse_attribute, parse_dictionary, parse_type):
        with contextlib.suppress(ParseError, ValueError):
            parse(text)


@pytest.mark.parametrize(
    "text, value",
    [
        ("unit", True),
        ("@helper", "helper"),
        ("@outer::@inner", "inner"),
        ("array<i32: 1, 1, 0>", [1, 1, 0]),
        ("array<i1: true, false>", [True, False]),
        ("array<i64>", []),
        ("#arith.fastmath<none>", "#arith.fastmath<none>"),
        ("(i32, f32) -> tensor<4xf32>", "(i32, f32) -> tensor<4xf32>"),
        ("f32", "f32"),
        ("dense<0.000000e+00> : tensor<4x4xf32>", 0.0),
        ("dense<0xFF800000> : tensor<8xf32>", -math.inf),
        ("dense<true> : tensor<8xi1>", True),
        ("dense<-8192> : tensor<2xi32>", -8192),
        ("dense<[1, 2, -3]> : tensor<3xi32>", [1, 2, -3]),
        ("dense<[[1.0, 0x7F800000], [2.5, 3.0]]> : tensor<2x2xf32>", [1.0, math.inf, 2.5, 3.0]),
        ('dense<"0x01000000FFFFFFFF"> : tensor<2xi32>', [1, -1]),
        ('dense<"0x0000803F00000040"> : tensor<2xf32>', [1.0, 2.0]),
        ("[{tt.divisibility = 16 : i32}, {}]", [{"tt.divisibility": 16}, {}]),
    ],
)
def test_attribute_forms(text: str, value: object) -> None:
    parsed = parse_attribute(text)
    assert parsed == value and type(parsed) is type(value)


def test_an_attribute_without_value_is_true() -> None:
    assert parse_dictionary('a, b = "x, y = }", c = [1, 2]') == {
        "a": True,
        "b": "x, y = }",
        "c": [1, 2],
    }


def test_separators_inside_brackets_and_strings_do_not_count() -> None:
    assert split_top_level('a<b, c>, "d, e", (f) -> g, {h, i}') == [
        "a<b, c>", '"d, e"', "(f) -> g", "{h, i}",
    ]  # fmt: skip


# ---- operations


MODULE = """
"builtin.module"() ({
  "tt.func"() <{function_type = (i32) -> i32, sym_name = "helper", sym_visibility = "private"}> ({
  ^bb0(%arg0: i32):
    "tt.return"(%arg0) : (i32) -> ()
  }) {noinline = true} : () -> ()
  "tt.func"() <{function_type = (!tt.ptr<f32>, i1) -> (), sym_name = "main", sym_visibility = "public"}> ({
  ^bb0(%arg0: !tt.ptr<f32>, %arg1: i1):
    %0 = "arith.constant"() <{value = 1 : i32}> : () -> i32
    %1 = "tt.call"(%0) <{callee = @helper}> : (i32) -> i32
    "cf.cond_br"(%arg1, %0, %1, %0)[^bb1, ^bb2] <{operandSegmentSizes = array<i32: 1, 1, 2>}> : (i1, i32, i32, i32) -> ()
  ^bb1(%2: i32):  // pred: ^bb0
    %3:2 = "scf.if"(%arg1) ({
      "scf.yield"(%2, %0) : (i32, i32) -> ()
    }, {
      %9 = "arith.addi"(%2, %2) : (i32, i32) -> i32
      "scf.yield"(%9, %9) : (i32, i32) -> ()
    }) : (i1) -> (i32, i32)
    "cf.br"(%3#1, %3#0)[^bb2] : (i32, i32) -> ()
  ^bb2(%4: i32, %5: i32):  // 2 preds: ^bb0, ^bb1
    "scf.if"(%arg1) ({
      "scf.yield"() : () -> ()
    }, {
    }) : (i1) -> ()
    "tt.return"() : () -> ()
  }) {noinline = false} : () -> ()
}) {generic = 1 : i32} : () -> ()
"""  # noqa: E501 - as MLIR prints it


def test_functions_come_with_the_public_one_first() -> None:
    main, helper = parse_module(MODULE)
    assert [f.attributes["sym_name"] for f in (main, helper)] == ["main", "helper"]
    assert helper.attributes["noinline"] is True and main.attributes["noinline"] is False
    call = main.regions[0][0].operations[1]
    assert call.name == "tt.call" and call.attributes["callee"] == "helper"
    assert call.line == 10


def test_successors_have_their_arguments() -> None:
    main = parse_module(MODULE)[0]
    entry, first, second = main.regions[0]
    branch = entry.operations[-1]
    assert [(label, [v.name for v in values]) for label, values in branch.successors] == [
        ("bb1", ["%0"]),
        ("bb2", ["%1", "%0"]),
    ]
    assert [
        (label, [v.name for v in values]) for label, values in first.operations[-1].successors
    ] == [("bb2", ["%3#1", "%3#0"])]
    assert [argument.name for argument in second.arguments] == ["%4", "%5"]
    assert second.arguments[1].owner is second and second.arguments[1].operation is None


def test_regions_results_and_uses() -> None:
    block = parse_module(MODULE)[0].regions[0][1]
    branch = block.operations[0]
    assert [len(region) for region in branch.regions] == [1, 1]
    assert [value.type for value in branch.results] == [Type(None, "i32")] * 2
    add = branch.regions[1][0].operations[0]
    assert add.operands[0] is block.arguments[0] and add.block.parent is branch  # type: ignore[union-attr]
    assert block.arguments[0].uses == [branch.regions[0][0].operations[0], add, add]


def test_an_empty_region_has_no_blocks() -> None:
    last = parse_module(MODULE)[0].regions[0][2]
    assert last.operations[0].regions[1] == []


def test_a_value_may_be_used_before_the_line_that_defines_it() -> None:
    text = """
"tt.func"() <{sym_name = "f"}> ({
  "cf.br"()[^bb2] : () -> ()
^bb1:  // pred: ^bb2
  "test.use"(%5#1) : (i64) -> ()
  "tt.return"() : () -> ()
^bb2:  // pred: ^bb0
  %5:2 = "test.make"() : () -> (i32, i64)
  "cf.br"()[^bb1] : () -> ()
}) : () -> ()
"""
    _, user, maker = parse_module(text)[0].regions[0]
    value = user.operations[0].operands[0]
    assert value is maker.operations[0].results[1]
    assert value.type == Type(None, "i64") and value.index == 1


@pytest.mark.parametrize(
    "line, message",
    [
        ("%0 = arith.constant 1 : i32", "not an operation"),
        ('%0 = "arith.constant"() <{value = 1 : i32}>', "has no type"),
        ('%0:2 = "arith.constant"() <{value = 1 : i32}> : () -> i32', "2 results, 1 types"),
        ('%0 = "arith.constant"() <{value = dense<?>}> : () -> i32', r"no type|is not"),
        ('"test.use"(%7) : (i32) -> ()', r"%7 used and never defined"),
        ('%0 = "test.make"() <{a = "unfinished}> : () -> i32', "without end"),
        ("}, [", "not the end of a region"),
    ],
)
def test_errors_name_the_kernel_and_the_line(line: str, message: str) -> None:
    end = '"tt.return"() : () -> ()\n}) : () -> ()'
    text = f'"tt.func"() <{{sym_name = "f"}}> ({{\n  {line}\n{end}'
    with pytest.raises(ParseError, match=message) as caught:
        parse_module(text, "my_kernel")
    assert "my_kernel" in str(caught.value)
    if "never defined" not in message:
        assert "line 2" in str(caught.value) and line in str(caught.value)


def test_text_without_a_function_or_an_end_is_refused() -> None:
    with pytest.raises(ParseError, match=r"no tt\.func"):
        parse_module('"builtin.module"() ({\n}) : () -> ()')
    with pytest.raises(ParseError, match="ends inside a region"):
        parse_module(MODULE[: MODULE.index("  ^bb2")])


@given(st.integers(0, len(MODULE)), st.sampled_from(["", "}", "<{", '"', "%x", "\n"]))
def test_damaged_text_raises_only_parse_errors(position: int, insertion: str) -> None:
    damaged = MODULE[:position] + insertion + MODULE[position + 1 :]
    with contextlib.suppress(ParseError):
        parse_module(damaged)
