"""Recurrent layers over whole sequences: O(1) launches for all inputs, two for each step.

The projection of all steps' inputs is one product. A step is one product with the state (to which
the projection is added within the kernel) and one kernel with all gates, see
`tritorch.ops.recurrent_sequence`; in a `PackedSequence` each run of steps with as many rows is such
a sequence. Where states are projected, a step is three, see `tritorch.ops.recurrent_projected`.

A sequence is its steps' inputs in one tensor, (rows, features), and how many rows each step has:
always the batch, or ever fewer in a `PackedSequence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import tritorch
from tritorch.nn import functional
from tritorch.ops.pointwise import batched_operand
from tritorch.ops.recurrent import CELLS
from tritorch.ops.recurrent_projected import projected_sequence
from tritorch.ops.recurrent_sequence import sequence
from tritorch.tensor import Tensor

#: what a layer carries from step to step: (h,), or (h, c) for an LSTM
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Weights:
    """The weights of one direction of one layer, in PyTorch's layout."""

    input: Tensor
    hidden: Tensor
    input_bias: Tensor | None = None
    hidden_bias: Tensor | None = None
    projection: Tensor | None = None


def step(mode: str, projected: Tensor, state: State, weights: Weights, turned: Tensor) -> State:
    """The state after a step; `turned` is the hidden weight transposed."""
    bias = weights.hidden_bias if CELLS[mode].apart else None
    state = CELLS[mode].step(projected, state, turned, bias)
    if weights.projection is not None:
        return functional.linear(state[0], weights.projection), *state[1:]
    return state


def input_projection(mode: str, input: Tensor, weights: Weights) -> Tensor:
    """The products of all inputs with the input weights, and every bias that is only added."""
    bias = weights.input_bias
    if bias is not None and weights.hidden_bias is not None and not CELLS[mode].apart:
        bias = bias + weights.hidden_bias
    return functional.linear(input, weights.input, bias)


def one_direction(
    mode: str,
    input: Tensor,
    sizes: Sequence[int],
    state: State,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """The hidden states of all steps, in the order of time, and the last state of each sequence.

    Args:
        mode: a key of `CELLS`.
        input: (rows, features).
        sizes: rows of each step, never growing.
        state: before the first step, for all sequences.
        reverse: from the last step to the first.
    """
    projected = input_projection(mode, input, weights)
    fused = _fits(projected, state, weights)
    runs = [(size, len(list(equal))) for size, equal in groupby(sizes)]
    parts = projected.split([size * steps for size, steps in runs])
    if reverse:
        return _backward_in_time(mode, parts, [size for size, _ in runs], state, weights, fused)
    outputs: list[Tensor] = []
    finished: list[State] = []
    for part, (size, _), (more, _) in zip(parts, runs, (*runs[1:], (0, 0))):
        output, state = _equal_steps(mode, part, size, state, weights, fused)
        outputs.append(output)
        if not more:
            finished.append(state)
        else:
            cuts = [s.split([more, size - more]) for s in state]
            finished.append(tuple([cut[1] for cut in cuts]))
            state = tuple([cut[0] for cut in cuts])
    return _whole(outputs), _joined(finished[::-1])


def _equal_steps(
    mode: str,
    projected: Tensor,
    size: int,
    state: State,
    weights: Weights,
    fused: bool,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Steps that all have `size` rows: their hidden states in the order of time, the last state."""
    if fused and weights.projection is not None:
        output, *end = projected_sequence(
            projected, weights.hidden, weights.projection, (state[0], state[1]), size, reverse
        )
        return output, tuple(end)
    if fused:
        bias = weights.hidden_bias if CELLS[mode].apart else None
        output, *end = sequence(mode, projected, weights.hidden, bias, state, size, reverse)
        return output, tuple(end)
    turned = weights.hidden.t()
    outputs = []
    parts = projected.split(size)
    for part in reversed(parts) if reverse else parts:
        state = step(mode, part, state, weights, turned)
        outputs.append(state[0])
    return _whole(outputs[::-1] if reverse else outputs), state


def _fits(projected: Tensor, state: State, weights: Weights) -> bool:
    """Whether `sequence` can do it: plain tensors of one type, and something in them."""
    used = [projected, *state, weights.hidden]
    if weights.projection is not None:
        used.append(weights.projection)
    return (
        projected.numel() > 0
        and batched_operand(used) is None
        and all(x.dtype is projected.dtype for x in used)
    )


def _backward_in_time(
    mode: str,
    parts: Sequence[Tensor],
    sizes: Sequence[int],
    state: State,
    weights: Weights,
    fused: bool,
) -> tuple[Tensor, State]:
    """Runs of equal steps from the last to the first: shorter sequences join in at their last
    step.
    """
    outputs: list[Tensor] = []
    current: State = ()
    started = 0
    for part, size in zip(parts[::-1], sizes[::-1]):
        joining = tuple([s[started:size] for s in state])
        current = _joined([current, joining]) if started else joining
        started = size
        output, current = _equal_steps(mode, part, size, current, weights, fused, True)
        outputs.append(output)
    return _whole(outputs[::-1]), current


def _whole(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else tritorch.cat(list(parts))


def _joined(states: Sequence[State]) -> State:
    if len(states) == 1:
        return states[0]
    return tuple([tritorch.cat(list(parts)) for parts in zip(*states, strict=True)])


def layers(
    mode: str,
    input: Tensor,
    sizes: Sequence[int],
    state: State,
    weights: Sequence[Sequence[Weights]],
    dropout: float = 0.0,
) -> tuple[Tensor, State]:
    """Layers on top of each other, with dropout between them.

    Args:
        input: (rows, features); sizes: rows of each step.
        state: (layers x directions, batch, features) each.
        weights: of each layer, of each of its directions.
    Returns:
        the hidden states of the last layer, (rows, directions x features); the last states.
    """
    starts = list(zip(*[s.unbind() for s in state], strict=True))
    ends: list[State] = []
    for number, directions in enumerate(weights):
        if number and dropout:
            input = functional.dropout(input, dropout, True)
        found = []
        for reverse, own in enumerate(directions):
            start = starts[number * len(directions) + reverse]
            output, end = one_direction(mode, input, sizes, start, own, bool(reverse))
            found.append(output)
            ends.append(end)
        input = found[0] if len(found) == 1 else tritorch.cat(found, 1)
    return input, tuple([tritorch.stack(list(parts)) for parts in zip(*ends, strict=True)])
