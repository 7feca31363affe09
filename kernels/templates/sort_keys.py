"""Unsigned integers in the order of values, for what sorts by comparing or by digits.

The sign bit of a signed integer is flipped, a negative float has all its bits flipped, -0 counts as
0 and nan as the largest. Descending order takes the complement, so equal values keep their order,
as in PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.templates.rows import to_compute
from tritorch.kernels.templates.template import helper

if TYPE_CHECKING:
    import triton.language as tl


def key_dtype(kind: Dtype) -> Dtype:
    """The dtype of sort keys: 32 bits at least, for the shifts."""
    return dtypes.uint64 if kind.itemsize == 8 else dtypes.uint32


@helper
def sort_key(x, DESCENDING: tl.constexpr):
    """An unsigned integer of x's width with x's order."""
    WIDTH: tl.constexpr = x.dtype.primitive_bitwidth
    NARROW: tl.constexpr = tl.uint16 if WIDTH == 16 else tl.uint8
    NARROW_BITS: tl.constexpr = tl.int16 if WIDTH == 16 else tl.int8
    WORD: tl.constexpr = tl.uint64 if WIDTH == 64 else tl.uint32
    WORD_BITS: tl.constexpr = tl.int64 if WIDTH == 64 else tl.int32
    KEY: tl.constexpr = WORD if WIDTH >= 32 else NARROW
    BITS: tl.constexpr = WORD_BITS if WIDTH >= 32 else NARROW_BITS
    if x.dtype.is_floating():
        wide = to_compute(x)
        bits = tl.where(wide == 0, tl.full((), 0, BITS), x.to(BITS, bitcast=True))
        # The sign bit for positive numbers, all bits for negative ones.
        flip = (bits >> (WIDTH - 1)) | tl.full((), -(1 << (WIDTH - 1)), BITS)
        key = (bits ^ flip).to(KEY, bitcast=True)
        key = tl.where(wide == wide, key, tl.full((), (1 << WIDTH) - 1, KEY))
    elif x.dtype.is_int_signed() and WIDTH >= 8:
        key = (x ^ tl.full((), -(1 << (WIDTH - 1)), BITS)).to(KEY, bitcast=True)
    else:
        key = x.to(KEY)
    if DESCENDING:
        key = key ^ tl.full((), (1 << WIDTH) - 1 if WIDTH >= 8 else 255, KEY)
    return key


@helper
def keys_at(x_ptr, columns, stride, n_cols, SMALLEST: tl.constexpr, KEY: tl.constexpr):
    """The sort keys of some columns; 0, the least key, beyond the end."""
    inside = columns < n_cols
    key = sort_key(tl.load(x_ptr + columns * stride, mask=inside, other=0), SMALLEST).to(KEY)
    return tl.where(inside, key, tl.zeros((), dtype=KEY))


@helper
def collect(found_ptr, count, columns, chosen, ROOM: tl.constexpr):
    """Append the chosen columns to the candidates, as long as there is room; the new count."""
    place = count + tl.cumsum(chosen.to(tl.int32), 0) - 1
    tl.store(found_ptr + place, columns, mask=chosen & (place < ROOM))
    return count + tl.sum(chosen.to(tl.int32), 0)


@helper
def key_value(key, x_ptr, DESCENDING: tl.constexpr):
    """The value (of x's type, of at most 32 bits) that a key was made from, and whether it is one
    of several: the zeros, nan.
    """
    TYPE: tl.constexpr = x_ptr.dtype.element_ty
    WIDTH: tl.constexpr = TYPE.primitive_bitwidth if TYPE.primitive_bitwidth >= 8 else 8
    MASK: tl.constexpr = (1 << WIDTH) - 1
    SIGN: tl.constexpr = 1 << (WIDTH - 1)
    NARROW: tl.constexpr = tl.uint16 if WIDTH == 16 else tl.uint8
    KEY: tl.constexpr = tl.uint32 if WIDTH == 32 else NARROW
    if DESCENDING:
        key = key ^ tl.full((), MASK, tl.uint32)
    lost = key != key
    if TYPE.is_floating():
        positive = (key >> (WIDTH - 1)) != 0
        bits = key ^ tl.where(positive, tl.full((), SIGN, tl.uint32), tl.full((), MASK, tl.uint32))
        lost = (bits == 0) | (key == tl.full((), MASK, tl.uint32))
        value = bits.to(KEY).to(TYPE, bitcast=True)
    elif TYPE.is_int_signed() and TYPE.primitive_bitwidth >= 8:
        value = (key ^ tl.full((), SIGN, tl.uint32)).to(KEY).to(TYPE, bitcast=True)
    else:
        value = key.to(TYPE)
    return value, lost
