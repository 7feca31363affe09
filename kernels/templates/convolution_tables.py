"""Index tables of convolutions: where the elements of X[k, p] lie (see `convolution_kernels`).

Host metadata, computed once per plan from shapes and strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from tritorch.devices import device as Device
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.layout import Shape

_WORD = 32
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Axis:
    """One dimension of a correlation: position o and tap t meet at input o * step + t * tap +
    first, if that is within the `size` elements of the input.
    """

    size: int
    positions: int
    taps: int
    step: int
    tap: int
    first: int
    #: strides in elements
    input_stride: int
    output_stride: int


@dataclass(frozen=True)
class Batched:
    """Images that count as positions, where the images are small."""

    count: int
    input_stride: int
    output_stride: int


class Tables:
    """The tables of one correlation in a target's memory; they live as long as this object.

    Attributes:
        values: kernel parameter -> address (or None) of each table.
        contiguous, out_contiguous: positions lie side by side in the input (from `base` on), in the
            output.
        masked: some positions meet the frame. words: a position has more than one word of bits.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        channels: int,
        channel_stride: int,
        device: Device,
        *,
        batched: Batched | None = None,
        row_padding: int,
    ) -> None:
        self.n_taps = int(np.prod([axis.taps for axis in axes], dtype=np.int64))
        self.k = channels * self.n_taps
        columns = _outer([np.arange(a.positions) * (a.step * a.input_stride) for a in axes])
        outputs = _outer([np.arange(a.positions) * a.output_stride for a in axes])
        taps = _outer([np.arange(a.taps) * (a.tap * a.input_stride) for a in axes])
        self.base = sum(a.first * a.input_stride for a in axes)
        rows = (np.arange(channels)[:, None] * channel_stride + taps).ravel()
        valid = [
            (place >= 0) & (place < a.size)
            for a in axes
            for place in [
                np.arange(a.positions)[:, None] * a.step + np.arange(a.taps) * a.tap + a.first
            ]
        ]
        self.masked = not all(bool(v.all()) for v in valid)
        bits, row_bits, row_words = _bits(valid, self.n_taps, channels)
        if batched is not None:
            images = np.arange(batched.count)[:, None]
            columns = (images * batched.input_stride + columns).ravel()
            outputs = (images * batched.output_stride + outputs).ravel()
            bits = np.tile(bits, (1, batched.count))
        self.n_columns = columns.size
        self.contiguous = bool((columns == np.arange(columns.size)).all())
        self.out_contiguous = bool((outputs == np.arange(outputs.size)).all())
        self.words = self.masked and len(bits) > 1
        # One tap: the rows are the channels.
        self.row_table = self.n_taps > 1 or self.masked
        multiple = max(512, min(next_power_of_2(self.n_columns), 4096))
        self.word_stride = ceil_divide(self.n_columns, multiple) * multiple
        n_rows = ceil_divide(self.k, row_padding) * row_padding
        tables: dict[str, tuple[Array, int] | None] = {
            "row": (rows, n_rows),
            "row_bits": (row_bits, n_rows) if self.masked else None,
            "row_word": (row_words, n_rows) if self.words else None,
            "column": None if self.contiguous else (columns, self.word_stride),
            "column_bits": (bits, self.word_stride) if self.masked else None,
            "out_column": None if self.out_contiguous else (outputs, self.word_stride),
        }
        self._memory = _Memory(device)
        self.values: dict[str, int | None] = {}
        self.types: dict[str, str] = {}
        for name, entry in tables.items():
            self.values[f"{name}_ptr"] = None
            if entry is None:
                continue
            table = _padded(*entry)
            self.values[f"{name}_ptr"] = self._memory.place(table)
            self.types[f"{name}_ptr"] = "*i32" if table.dtype == np.int32 else "*i64"


def _outer(parts: Sequence[Array]) -> Array:
    """All sums of one number of each part, the last part varying fastest."""
    return reduce(lambda a, b: (a[:, None] + b).ravel(), parts, np.zeros(1, np.int64))


def _bits(valid: Sequence[Array], n_taps: int, channels: int) -> tuple[Array, Array, Array]:
    """For every position the words of bits of the taps that meet the image there; for every row its
    bit, and its word.
    """
    met = reduce(
        lambda a, b: (a[:, None, :, None] & b[None, :, None, :]).reshape(
            a.shape[0] * b.shape[0], a.shape[1] * b.shape[1]
        ),
        valid,
        np.ones((1, 1), bool),
    )
    tap = np.arange(n_taps)
    bit = (np.uint32(1) << (tap % _WORD).astype(np.uint32)).astype(np.uint32)
    words = [
        np.bitwise_or.reduce(
            np.where(met[:, first : first + _WORD], bit[first : first + _WORD], np.uint32(0)),
            axis=1,
            initial=np.uint32(0),
        )
        for first in range(0, max(n_taps, 1), _WORD)
    ]
    return (
        np.stack(words).astype(np.uint32).view(np.int32),
        np.tile(bit.view(np.int32), channels),
        np.tile((tap // _WORD).astype(np.int32), channels),
    )


def _padded(table: Array, size: int) -> Array:
    """Rows of `size` numbers, filled up with zeros; 32 bits wide if the numbers allow it."""
    narrow = not table.size or max(abs(int(table.min())), abs(int(table.max()))) < 2**31
    if table.dtype != np.int32:
        table = table.astype(np.int32 if narrow else np.int64)
    table = np.atleast_2d(table)
    result = np.zeros((len(table), size), table.dtype)
    result[:, : table.shape[1]] = table
    return result


class _Memory:
    """Arrays where a device's kernels find them."""

    def __init__(self, device: Device) -> None:
        self.on_host = device.type == "cpu"
        self.device = device
        self.held: list[Array] = []
        self.allocated: list[tuple[int, int]] = []

    def place(self, table: Array) -> int:
        self.held.append(table)
        address = table.ctypes.data
        if not self.on_host:
            from tritorch.runtime import get_target

            target = get_target(self.device.type)
            place = target.allocate(table.nbytes)
            self.allocated.append((place, table.nbytes))
            if hasattr(target, "copy"):
                target.copy(place, address, table.nbytes)
            return place
        return int(address)

    def __del__(self) -> None:
        if self.allocated:
            from tritorch.runtime import get_target

            target = get_target(self.device.type)
            for address, nbytes in self.allocated:
                target.free(address, nbytes)


def weight_columns(
    taps: Sequence[int], firsts: Sequence[int], steps: Sequence[int], strides: Shape, channels: int,
    channel_stride: int,
) -> Array:  # fmt: skip
    """Where the weights (channel, tap) of another convolution lie: tap u of a dimension is tap
    first + u * step.
    """
    places = _outer(
        [(f + np.arange(n) * s) * stride for n, f, s, stride in zip(taps, firsts, steps, strides)]
    )
    return (np.arange(channels)[:, None] * channel_stride + places).ravel().astype(np.int64)
