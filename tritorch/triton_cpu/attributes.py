"""Types and attributes of MLIR's text form as Python values.

Numbers, booleans, strings, lists and dictionaries become Python's. A symbol `@f` becomes `"f"`. A
dense attribute becomes one number where all elements are equal (MLIR prints it so), else the flat
list of its elements in row-major order. What has no counterpart (`#arith.fastmath<none>`, types)
stays text.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Any

from tritorch.errors import ParseError
from tritorch.triton_cpu.ir import Type

_SHAPE = re.compile(r"((?:\d+x)*)(.*)", re.DOTALL)
_NUMBER = re.compile(
    r"-?(?:0x[0-9A-Fa-f]+|\d+\.\d*(?:[eE][-+]?\d+)?|\d+(?:[eE][-+]?\d+)?|inf|nan)(?![\w.])"
)
_WORD = re.compile(r"[A-Za-z_][\w.$-]*")
_ESCAPE = re.compile(r"\\(?:([0-9A-Fa-f]{2})|(.))")
_NAMED_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_NESTING = re.compile(r'[<({["]')
_OPEN, _CLOSE = "<({[", ">)}]"


@lru_cache(maxsize=4096)
def parse_type(text: str) -> Type:
    """`tensor<4x!tt.ptr<f32>>` -> Type((4,), "ptr", "f32")."""
    text = text.strip()
    if text.startswith("tensor<") and text.endswith(">"):
        match = _SHAPE.fullmatch(split_top_level(text[7:-1])[0])
        if match is None or match[2][:1] in ("", "?", "*"):
            raise ParseError(f"parse: tensor type {text!r} has no fixed shape and element.")
        element = parse_type(match[2])
        if element.shape is not None:
            raise ParseError(f"parse: tensor type {text!r} has a tensor as its element.")
        return Type(
            tuple(map(int, match[1].split("x")[:-1])),
            element.element,
            element.pointee,
        )
    if text.startswith("!tt.ptr<") and text.endswith(">"):
        pointee = split_top_level(text[8:-1])[0]
        return Type(None, "ptr", "ptr" if pointee.startswith("!tt.ptr<") else pointee)
    if text.startswith("!tt.tensordesc<"):
        return Type(None, "tensordesc", text[15:-1])
    if not text or (text[0] not in "!(" and not re.fullmatch(r"[\w.]+", text)):
        raise ParseError(f"parse: {text!r} is not a type.")
    return Type(None, text)


def print_type(kind: Type) -> str:
    """The inverse of `parse_type`."""
    element = kind.element
    if element == "ptr":
        pointee = "!tt.ptr<i8>" if kind.pointee == "ptr" else kind.pointee
        element = f"!tt.ptr<{pointee}>"
    elif element == "tensordesc":
        element = f"!tt.tensordesc<{kind.pointee}>"
    if kind.shape is None:
        return element
    return f"tensor<{''.join(f'{size}x' for size in kind.shape)}{element}>"


def split_top_level(text: str, separator: str = ",") -> list[str]:
    """The parts of `text` between separators that stand outside brackets and strings."""
    if not _NESTING.search(text):
        return [part.strip() for part in text.split(separator)] if text.strip() else []
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        character = text[i]
        if character == '"':
            i = end_of_string(text, i)
            continue
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE and not (character == ">" and text[i - 1] == "-"):
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
        i += 1
    if text[start:].strip():
        parts.append(text[start:].strip())
    return parts


def end_of_string(text: str, start: int) -> int:
    """The index after the string literal that begins at `start`."""
    i = start + 1
    while i < len(text) and text[i] != '"':
        i += 2 if text[i] == "\\" else 1
    if i >= len(text):
        raise ParseError(f"parse: string without end: {text[start:]!r}.")
    return i + 1


def end_of_bracket(text: str, start: int) -> int:
    """The index after the bracket that closes the one at `start`."""
    depth, i = 0, start
    while i < len(text):
        character = text[i]
        if character == '"':
            i = end_of_string(text, i)
            continue
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE and not (character == ">" and text[i - 1] == "-"):
            depth -= 1
            if depth == 0:
                return i + 1
        i += 1
    raise ParseError(f"parse: bracket without end: {text[start:]!r}.")


@lru_cache(maxsize=4096)
def parse_dictionary(text: str) -> dict[str, Any]:
    """`a = 1 : i32, b` (without braces) -> {"a": 1, "b": True}; shared, so do not change it."""
    result = {}
    for part in split_top_level(text):
        name, equals, value = part.partition("=")
        name = name.strip()
        if name.startswith('"'):
            name = _unescape(name[1:-1])
        result[name] = parse_attribute(value) if equals else True
    return result


def parse_attribute(text: str) -> Any:
    """One attribute, as the module's docstring says."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    if text == "unit":
        return True
    first = text[:1]
    if first == '"':
        end = end_of_string(text, 0)
        if end == len(text):
            return _unescape(text[1:-1])
    elif first == "[":
        return [parse_attribute(part) for part in split_top_level(_inside(text, "[", "]"))]
    elif first == "{":
        return dict(parse_dictionary(_inside(text, "{", "}")))
    elif first == "@":
        return text.rpartition("@")[2].strip('"')
    elif text.startswith("array<"):
        return _array(_inside(text[5:], "<", ">"))
    elif text.startswith("dense<"):
        return _dense(text)
    match = _NUMBER.match(text)
    if match:
        rest = text[match.end() :].strip()
        if not rest or rest[0] == ":":
            return _number(match[0], rest[1:].strip() or _default_kind(match[0]))
    if first and (first in "#!(" or _WORD.match(text)):
        return text
    raise ParseError(f"parse: attribute {text!r} is not understood.")


def _inside(text: str, opening: str, closing: str) -> str:
    if text[:1] != opening or text[-1:] != closing or end_of_bracket(text, 0) != len(text):
        raise ParseError(f"parse: attribute {text!r} has no matching {closing!r}.")
    return text[1:-1]


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return _NAMED_ESCAPES.get(match[2], match[2])

    raw = _ESCAPE.sub(replace, text)
    try:  # bytes beyond ASCII are printed one by one
        return raw.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return raw


def _default_kind(literal: str) -> str:
    return "i64" if re.fullmatch(r"-?(0x[0-9A-Fa-f]+|\d+)", literal) else "f64"


def _is_float(kind: str) -> bool:
    return kind[:1] == "f" or kind.startswith("bf")


def _number(literal: str, kind: str) -> int | float | bool:
    if _is_float(kind):
        if "0x" in literal:
            return float_from_bits(int(literal, 16), kind)
        return float(literal)
    if literal in ("true", "false"):
        return literal == "true"
    try:
        return int(literal, 0) if "0x" in literal else int(literal)
    except ValueError:
        raise ParseError(f"parse: {literal!r} is not a number of type {kind}.") from None


def float_from_bits(bits: int, kind: str) -> float:
    """The value of a float type's bit pattern (exact: every such value is a double)."""
    if kind == "f64":
        return float(struct.unpack("<d", struct.pack("<Q", bits))[0])
    if kind == "f32":
        return float(struct.unpack("<f", struct.pack("<I", bits))[0])
    if kind == "bf16":
        return float(struct.unpack("<f", struct.pack("<I", bits << 16))[0])
    if kind == "f16":
        return float(struct.unpack("<e", struct.pack("<H", bits))[0])
    if kind == "f8E5M2":
        return float(struct.unpack("<e", struct.pack("<H", bits << 8))[0])
    if kind == "f8E4M3FN":
        sign, exponent, mantissa = bits >> 7, (bits >> 3) & 15, bits & 7
        if exponent == 15 and mantissa == 7:
            return float("nan")
        size = mantissa * 2.0**-9 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        return -size if sign else size
    raise ParseError(f"parse: constants of type {kind} are not understood.")


def _array(body: str) -> list[Any]:
    kind, _, elements = body.partition(":")
    return [_number(part, kind.strip()) for part in split_top_level(elements)]


def _dense(text: str) -> Any:
    end = end_of_bracket(text, 5)
    colon = text.find(":", end)
    if colon < 0:
        raise ParseError(f"parse: dense attribute {text!r} has no type.")
    body, kind = text[6 : end - 1].strip(), parse_type(text[colon + 1 :])
    if body.startswith('"0x'):
        return _unpack(bytes.fromhex(body[3:-1]), kind)
    if body.startswith("["):
        return [_number(item, kind.element) for item in re.split(r"[\[\],\s]+", body) if item]
    return _number(body, kind.element) if body else []


def _unpack(data: bytes, kind: Type) -> list[Any]:
    """Elements of a dense attribute printed as its bytes (little-endian)."""
    count, element = kind.numel, kind.element
    if element == "i1":
        if len(data) == count:
            return [bool(byte) for byte in data]
        return [bool(data[i >> 3] >> (i & 7) & 1) for i in range(count)]
    width = len(data) // count if count else 0
    if width * count != len(data):
        raise ParseError(f"parse: {len(data)} bytes do not fill {kind!r}.")
    words = [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]
    if _is_float(element):
        return [float_from_bits(word, element) for word in words]
    half, full = 1 << (8 * width - 1), 1 << (8 * width)
    return [word - full if word >= half else word for word in words]
