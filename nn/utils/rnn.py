"""Sequences of different lengths: packed step by step, or padded to one length.

Packing and padding are one gather each: which row goes where is known on the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import tritorch
from tritorch.tensor import Tensor


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """The steps of a batch of sequences, one after the other, the longest sequence first.

    Made by `pack_padded_sequence` and `pack_sequence`.

    Attributes:
        data: (sum of lengths, *), all sequences' first steps, then all second steps, ...
        batch_sizes: how many sequences have each step; an integer tensor on the host.
        sorted_indices, unsorted_indices: the order by length, and back; None if sorted before.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Make a PackedSequence with pack_sequence or "
                "pack_padded_sequence."
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data converted, the indices moved along; itself where nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        moved = [None if t is None else t.to(data.device) for t in self[2:]]
        return type(self)(data, self.batch_sizes, *moved)

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """On the GPU."""
        return self.to(*args, **{"device": "cuda", **kwargs})

    def cpu(self) -> PackedSequence:
        """On the host."""
        return self.to(device="cpu")

    def double(self) -> PackedSequence:
        """As float64."""
        return self.to(dtype=tritorch.float64)

    def float(self) -> PackedSequence:
        """As float32."""
        return self.to(dtype=tritorch.float32)

    def half(self) -> PackedSequence:
        """As float16."""
        return self.to(dtype=tritorch.float16)

    def long(self) -> PackedSequence:
        """As int64."""
        return self.to(dtype=tritorch.int64)

    def int(self) -> PackedSequence:
        """As int32."""
        return self.to(dtype=tritorch.int32)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes this one."""
    if permutation is None:
        return None
    inverse = [0] * permutation.numel()
    for place, index in enumerate(permutation.tolist()):
        inverse[index] = place
    return tritorch.tensor(inverse, device=permutation.device)


def _lengths(lengths: Any) -> list[int]:
    values = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    return [int(value) for value in values]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack padded sequences.

    Args:
        input: (time, batch, *), or (batch, time, *) with `batch_first`.
        lengths: of each sequence.
        enforce_sorted: the lengths must never grow; otherwise they are sorted here.
    Raises:
        RuntimeError: a length is not positive, not sorted, or there are too few or too many.
    """
    time, batch = (0, 1) if not batch_first else (1, 0)
    steps, count = input.shape[time], input.shape[batch]
    known = _lengths(lengths)
    if len(known) != count:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(known)} "
            f"(batch_size={count})"
        )
    if min(known, default=0) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    order = list(range(count))
    if not enforce_sorted:
        order.sort(key=lambda place: -known[place])
    elif any(a < b for a, b in pairwise(known)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement."
        )
    longest = known[order[0]]
    if longest > steps:
        raise RuntimeError(
            f"pack_padded_sequence: a length is {longest}, but the input has only {steps} steps."
        )
    sizes = [sum(length > t for length in known) for t in range(longest)]
    apart, between = (1, count) if not batch_first else (steps, 1)
    rows = [b * apart + t * between for t, size in enumerate(sizes) for b in order[:size]]
    flat = input.reshape(steps * count, *input.shape[2:])
    data = flat.index_select(0, tritorch.tensor(rows, device=input.device))
    sorted_indices = None if enforce_sorted else tritorch.tensor(order, device=input.device)
    return PackedSequence(data, tritorch.tensor(sizes), sorted_indices)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`: the padded sequences and their lengths, in the first order.

    Raises:
        ValueError: `total_length` is less than the longest sequence.
    """
    sizes = _lengths(sequence.batch_sizes)
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in "
                f"input, but got total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    count = sizes[0]
    places = sequence.unsorted_indices
    order = list(range(count)) if places is None else _lengths(places)
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    rows = [
        [starts[t] + b if t < len(sizes) and b < sizes[t] else None for b in order]
        for t in range(steps)
    ]
    lengths = [sum(size > b for size in sizes) for b in order]
    padded = _gathered(sequence.data, rows, padding_value, batch_first)
    return padded, tritorch.tensor(lengths)


def _gathered(
    data: Tensor, rows: Sequence[Sequence[int | None]], padding_value: float, turned: bool
) -> Tensor:
    """data[rows], the padding where a row is None; `turned` swaps the two dimensions of rows."""
    steps, count = len(rows), len(rows[0])
    swapped = zip(*rows, strict=True) if turned else rows
    listed = [place for row in swapped for place in row]
    length = data.shape[0]
    if any(row is None for row in listed):
        last = tritorch.full(
            (1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device
        )
        data = tritorch.cat([data, last])
    index = [length if row is None else row for row in listed]
    shape = (count, steps) if turned else (steps, count)
    found = data.index_select(0, tritorch.tensor(index, device=data.device))
    return found.reshape(*shape, *data.shape[1:])


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (length, *) of different lengths in one tensor, (longest, batch, *).

    Args:
        batch_first: (batch, longest, *) instead.
        padding_side: where the padding goes, "right" or "left".
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    if padding_side not in ("right", "left"):
        raise ValueError(
            f"pad_sequence: padding_side must be 'right' or 'left', got {padding_side!r}."
        )
    parts = list(sequences)
    if not parts:
        raise RuntimeError("pad_sequence: received an empty list of sequences.")
    lengths = [part.shape[0] for part in parts]
    longest, start = max(lengths), 0
    columns: list[list[int | None]] = []
    for length in lengths:
        own: list[int | None] = list(range(start, start + length))
        padding: list[int | None] = [None] * (longest - length)
        columns.append(own + padding if padding_side == "right" else padding + own)
        start += length
    return _gathered(tritorch.cat(parts), columns, padding_value, not batch_first)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The sequences without padding, as views."""
    batch = 0 if batch_first else 1
    parts = padded_sequences.unbind(batch)
    return [part[:length] for part, length in zip(parts, _lengths(lengths), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (length, *) of different lengths."""
    lengths = [sequence.shape[0] for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
