"""Index tables of convolutions: where the elements of X[k, p] lie (see `convolution_kernels`).

They follow from shapes and strides alone and belong to a plan. Those of the rows, (channel, tap),
are written by the host; a kernel writes those of the columns, which are as many as positions.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from tritorch.devices import device as Device
from tritorch.kernels.templates.rows import ceil_divide, next_power_of_2
from tritorch.kernels.templates.template import kernel
from tritorch.layout import Shape, contiguous_strides
from tritorch.runtime.storage import Storage

if TYPE_CHECKING:
    import triton.language as tl

_WORD = 32
#: spatial dimensions in kernels; absent ones have size 1
AXES = 3
#: rows are filled up to a multiple of this many
ROWS = 128


@dataclass(frozen=True)
class Axis:
    """One dimension of a correlation.

    Position o and tap t meet at input o * step + t * tap + first, if that is within the `size`
    elements of the input; the element lies at o * place_stride + tap_places[t]. Positions from
    `kept` on are holes, which only make the places of positions follow each other: they meet
    nothing, and have no output. Strides and places are in elements.
    """

    size: int
    positions: int
    kept: int
    taps: int
    step: int
    tap: int
    first: int
    place_stride: int
    tap_places: tuple[int, ...]
    output_stride: int

    @staticmethod
    def strided(
        size: int, positions: int, taps: int, step: int, tap: int, first: int, stride: int,
        output_stride: int,
    ) -> Axis:  # fmt: skip
        """Of an input with one stride."""
        places = tuple((t * tap + first) * stride for t in range(taps))
        return Axis(
            size, positions, positions, taps, step, tap, first, step * stride, places, output_stride
        )

    @property
    def reaches_out(self) -> bool:
        """Whether some position and tap meet outside of the input, or in a hole."""
        if not self.positions or not self.taps:
            return False
        ends = [
            o * self.step + t * self.tap + self.first
            for o in (0, self.positions - 1)
            for t in (0, self.taps - 1)
        ]
        return min(ends) < 0 or max(ends) >= self.size or self.has_holes

    @property
    def has_holes(self) -> bool:
        return self.kept < self.positions


NOTHING = Axis(1, 1, 1, 1, 0, 0, 0, 0, (0,), 0)


@dataclass(frozen=True)
class Batched:
    """Images that count as positions, where the images are small."""

    count: int
    input_stride: int
    output_stride: int


@kernel(default={"BLOCK": 256})
def convolution_columns(
    column_ptr, bits_ptr, out_column_ptr, n_columns, per_image, positions1, positions2,
    batch_stride, step_stride0, step_stride1, step_stride2,
    out_batch_stride, out_stride0, out_stride1, out_stride2,
    kept0, kept1, kept2, extent0, extent1, extent2, step0, step1, step2, first0, first1, first2,
    tap0, tap1, tap2, taps1, taps2, n_taps, word_stride,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program: the entries of BLOCK positions. Bit t of a position's words: tap t meets the
    input there.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_columns
    image = at // per_image
    position = at % per_image
    o2 = position % positions2
    o1 = (position // positions2) % positions1
    o0 = position // (positions2 * positions1)
    real = inside & (o0 < kept0) & (o1 < kept1) & (o2 < kept2)
    if column_ptr is not None:
        place = image * batch_stride + o0 * step_stride0 + o1 * step_stride1 + o2 * step_stride2
        tl.store(column_ptr + at, tl.where(inside, place, 0).to(column_ptr.dtype.element_ty))
    if out_column_ptr is not None:
        place = image * out_batch_stride + o0 * out_stride0 + o1 * out_stride1 + o2 * out_stride2
        tl.store(out_column_ptr + at, tl.where(real, place, -1).to(out_column_ptr.dtype.element_ty))
    if bits_ptr is not None:
        for start in range(0, n_taps, 32):
            bits = tl.zeros((BLOCK,), tl.int32)
            for tap in range(start, tl.minimum(start + 32, n_taps)):
                i0 = o0 * step0 + (tap // (taps1 * taps2)) * tap0 + first0
                i1 = o1 * step1 + ((tap // taps2) % taps1) * tap1 + first1
                i2 = o2 * step2 + (tap % taps2) * tap2 + first2
                met = real & (i0 >= 0) & (i0 < extent0) & (i1 >= 0) & (i1 < extent1)
                met = met & (i2 >= 0) & (i2 < extent2)
                bits |= tl.where(met, 1, 0) << (tap - start)
            tl.store(bits_ptr + (start // 32) * word_stride + at, bits)


class Tables:
    """The tables of one correlation in a target's memory; they live as long as this object.

    Attributes:
        values, types: kernel parameter -> address (None if there is no such table), Triton type.
        contiguous, out_contiguous: positions lie side by side in the input, in the output.
        masked: some positions meet the frame. words: a position has more than one word of bits.
        holes: some positions have no output (-1 in its table).
        row_table: the rows are more than the channels.
        word_stride: entries of a table of columns, a multiple of 512 and, up to 4096, of the next
            power of two.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        channels: int,
        channel_stride: int,
        device: Device,
        *,
        batched: Batched | None = None,
    ) -> None:
        axes = padded(axes)
        self.n_taps = prod(a.taps for a in axes)
        self.k = channels * self.n_taps
        per_image = prod(a.positions for a in axes)
        self.n_columns = per_image * (batched.count if batched else 1)
        self.masked = any(a.reaches_out for a in axes)
        self.words = self.masked and self.n_taps > _WORD
        self.holes = any(a.has_holes for a in axes)
        self.row_table = self.n_taps != 1 or self.masked or any(any(a.tap_places) for a in axes)
        multiple = max(512, min(next_power_of_2(self.n_columns), 4096))
        self.word_stride = ceil_divide(max(self.n_columns, 1), multiple) * multiple
        self._axes = axes
        self._memory = Memory(device)
        self.values: dict[str, int | None] = {}
        self.types: dict[str, str] = {}
        self._rows(channels, channel_stride)
        self._columns(per_image, batched or Batched(1, 0, 0), device)

    def _rows(self, channels: int, channel_stride: int) -> None:
        taps = [sum(places) for places in product(*(a.tap_places for a in self._axes))]
        rows = [c * channel_stride + tap for c in range(channels) for tap in taps]
        words = [tap // _WORD for tap in range(self.n_taps)] * channels
        bits = [_signed(1 << tap % _WORD) for tap in range(self.n_taps)] * channels
        filled = [0] * (-len(rows) % ROWS)
        for name, wanted, table in (
            ("row", True, rows),
            ("row_bits", self.masked, bits),
            ("row_word", self.words, words),
        ):
            self.values[f"{name}_ptr"] = None
            if wanted:
                narrow = max(map(abs, table), default=0) < 2**31 or name == "row_bits"
                self.values[f"{name}_ptr"] = self._memory.place(
                    array("i" if narrow else "q", table + filled)
                )
                self.types[f"{name}_ptr"] = "*i32" if narrow else "*i64"

    def _columns(self, per_image: int, batched: Batched, device: Device) -> None:
        axes = self._axes
        tight = (*contiguous_strides(tuple(a.positions for a in axes)), per_image)
        steps = [a.place_stride for a in axes]
        outs = [a.output_stride for a in axes]
        counts = [*(a.positions for a in axes), batched.count]
        self.contiguous = agree(counts, (*steps, batched.input_stride), tight)
        self.out_contiguous = not self.holes and agree(
            counts, (*outs, batched.output_stride), tight
        )
        operands: dict[str, str] = {}
        values: dict[str, Any] = {}
        for name, wanted, strides, rows in (
            ("column", not self.contiguous, (*steps, batched.input_stride), 1),
            ("out_column", not self.out_contiguous, (*outs, batched.output_stride), 1),
            ("column_bits", self.masked, (), ceil_divide(self.n_taps, _WORD)),
        ):
            self.values[f"{name}_ptr"] = None
            if wanted:
                reach = sum((n - 1) * abs(s) for n, s in zip(counts, strides))
                kind = "*i32" if reach < 2**31 else "*i64"
                size = rows * self.word_stride * (4 if kind == "*i32" else 8)
                address = self._memory.allocate(size)
                self.values[f"{name}_ptr"] = address
                self.types[f"{name}_ptr"] = kind
                parameter = "bits_ptr" if name == "column_bits" else f"{name}_ptr"
                operands[parameter], values[parameter] = kind, address
        if not operands:
            return
        values = {"column_ptr": None, "bits_ptr": None, "out_column_ptr": None} | values
        values |= {
            "n_columns": self.n_columns, "per_image": max(per_image, 1),
            "batch_stride": batched.input_stride, "out_batch_stride": batched.output_stride,
            "n_taps": self.n_taps, "word_stride": self.word_stride,
        }  # fmt: skip
        for d, axis in enumerate(axes):
            values |= {
                f"positions{d}": max(axis.positions, 1), f"kept{d}": axis.kept,
                f"extent{d}": axis.size,
                f"step_stride{d}": steps[d], f"out_stride{d}": outs[d], f"step{d}": axis.step,
                f"first{d}": axis.first, f"tap{d}": axis.tap, f"taps{d}": max(axis.taps, 1),
            }  # fmt: skip
        values |= convolution_columns.choose(device.type)
        values = {n: v for n, v in values.items() if n in convolution_columns.parameters}
        grid = (self.word_stride // values["BLOCK"],)
        launch, _ = convolution_columns.bind(device, grid, operands, values)
        launch()


def padded(axes: Sequence[Axis]) -> list[Axis]:
    """As many axes as kernels have, absent ones in front."""
    return [NOTHING] * (AXES - len(axes)) + list(axes)


def agree(counts: Sequence[int], strides: Sequence[int], tight: Sequence[int]) -> bool:
    """Whether strides are those, wherever there is more than one to count."""
    return all(n <= 1 or s == t for n, s, t in zip(counts, strides, tight))


def _signed(word: int) -> int:
    return word - 2**_WORD if word >= 2 ** (_WORD - 1) else word


class Memory:
    """Tables where a device's kernels find them, given back when this object goes."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._held: list[array[int] | Storage] = []

    def allocate(self, nbytes: int) -> int:
        """Memory for a table that a kernel writes."""
        from tritorch.runtime import get_target

        storage = Storage(nbytes, get_target(self.device))
        self._held.append(storage)
        return storage.address

    def place(self, table: array[int]) -> int:
        """A table that the host wrote."""
        address, count = table.buffer_info()
        self._held.append(table)
        if self.device.type == "cpu":
            return address
        from tritorch.runtime import get_target

        nbytes = count * table.itemsize
        place = self.allocate(nbytes)
        get_target(self.device).upload(place, address, nbytes)
        return place


def weight_columns(
    taps: Sequence[int], firsts: Sequence[int], steps: Sequence[int], strides: Shape, channels: int,
    channel_stride: int,
) -> array[int]:  # fmt: skip
    """Where the weights (channel, tap) of another convolution lie: tap u of a dimension is tap
    first + u * step.
    """
    dims = [
        [(first + u * step) * stride for u in range(n)]
        for n, first, step, stride in zip(taps, firsts, steps, strides)
    ]
    places = [sum(place) for place in product(*dims)]
    return array("q", [c * channel_stride + p for c in range(channels) for p in places])
