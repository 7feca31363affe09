"""An LSTM layer with projected states over a whole sequence: three launches a step, both ways.

A step is the product with the projected state, one kernel with all gates, and the product that
projects what they give. Its gradient is a product with the projection, one kernel with the
gradients of all gates, and a product with the hidden weight, to which the gradient from outside is
added within the kernel. All else is done for all steps at once, see `recurrent_sequence`.

Source: Sak, Senior and Beaufays, Long short-term memory based recurrent neural network
architectures for large vocabulary speech recognition, 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from tritorch.autograd.edges import attach, edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import NO_EDGE, Node
from tritorch.kernels import PointwiseKernel
from tritorch.kernels.templates import matmul as products
from tritorch.layout import Layout
from tritorch.ops.dispatch import Plans
from tritorch.ops.joining import cat
from tritorch.ops.linalg import linear, matmul
from tritorch.ops.memory import contiguous
from tritorch.ops.recipe import gradient_trees, upstream_names
from tritorch.ops.recurrent import CELLS
from tritorch.ops.recurrent_sequence import COPIED_FROM, Sizes, gradients_written_out, zeros_of
from tritorch.ops.views import t
from tritorch.tensor import Tensor, empty, wrap

_LSTM = CELLS["LSTM"]


class _Projected(Sizes):
    """The layouts of a step whose hidden state has fewer elements than its cell state."""

    def __init__(self, projected: Layout, batch: int, weight: Layout) -> None:
        super().__init__(_LSTM, projected, batch, weight)
        size = weight.shape[1]
        self.short = Layout.contiguous(self.dtype, (batch, size), self.device)
        self.every_short = Layout.contiguous(self.dtype, (self.rows, size), self.device)
        self.short_slots = Layout.contiguous(self.dtype, (self.rows + batch, size), self.device)


class _Forward(_Projected):
    """The three launches of a step."""

    def __init__(self, key: tuple[Layout, int, Layout, Layout]) -> None:
        projected, batch, weight, projection = key
        super().__init__(projected, batch, weight)
        self.copied = self.steps >= COPIED_FROM
        self.multiply = products.plan(self.short, self._turned(weight), self.gates).launch
        gates = self.cell.gates
        computes, results = gates.rule(gates, self.operands)
        self.step = gates.kernel.plan(
            self.operands, computes, results, [self.state] * self.cell.states
        ).launch
        self.project = products.plan(self.state, self._turned(projection), None).launch

    def _turned(self, weight: Layout) -> Layout:
        strides = (weight.shape[0], 1) if self.copied else weight.strides[::-1]
        return Layout.of(self.dtype, weight.shape[::-1], strides, self.device)


class _Backward(_Projected):
    """The three launches of a step's gradient."""

    def __init__(self, key: tuple[Layout, int, Layout, Layout]) -> None:
        projected, batch, weight, projection = key
        super().__init__(projected, batch, weight)
        self.unproject = products.plan(self.short, projection, None).launch
        gates = self.cell.gates
        trees = gradient_trees(
            gates.names, gates.outputs, gates.names, (True,) * 2, gates.grad, False
        )
        names = [*upstream_names(2), *gates.names]
        kernel = PointwiseKernel(f"{gates.name}_projected_backward", names, trees)
        operands = [self.state, self.state, *self.operands]
        results = [self.dtype] * len(trees)
        self.step = kernel.plan(
            operands, [self.dtype] * len(operands), results, self.operands
        ).launch
        self.multiply = products.plan(self.gates, weight, self.short).launch


_forwards = Plans(_Forward)
_backwards = Plans(_Backward)


class ProjectedRecurrentBackward0(Node):
    """The gradients of projected inputs, hidden weight, projection and first states."""

    __slots__ = ("batch", "reverse")
    batch: int
    reverse: bool

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """From those of all outputs and of the last states."""
        saved = self.unpack()
        projected, weight, projection = saved[:3]
        if mode.enabled:
            return gradients_written_out(self, grads, saved[:5], self._in_operations)
        shorts, product, cells, outputs = saved[5:]
        reverse, batch = self.reverse, self.batch
        run = _backwards[projected._layout, batch, weight._layout, projection._layout]
        small, wide, short = run.state.nbytes, run.gates.nbytes, run.short.nbytes

        # what comes from outside to each state; nothing to the first one
        nothing = zeros_of(run.short)
        outer = zeros_of(run.every_short) if grads[0] is None else grads[0]
        outer = cat([outer, nothing] if reverse else [nothing, outer])
        whole = empty(run.short_slots)
        before, after = (short, 0) if reverse else (0, short)
        last = 0 if reverse else run.steps * short
        ending = wrap(outer._storage, run.short, outer._address + last)
        ending = ending if grads[1] is None else ending + grads[1]
        wrap(whole._storage, run.short, whole._address + last).copy_(ending)
        of_cell = contiguous(zeros_of(run.state) if grads[2] is None else grads[2].clone())
        of_output, of_product = empty(run.state), empty(run.every_gate)

        back = not reverse
        unprojected = (
            repeat(of_output._address),
            run.walk(whole._address + after, short, back),
            repeat(projection._address),
        )
        previous = small if reverse else 0
        places = [*run.gate_walks(of_product._address, wide, back), repeat(of_cell._address)]
        places += [repeat(of_output._address), repeat(of_cell._address)]
        places += run.gate_walks(product._address, wide, back)
        places.append(run.walk(cells._address + previous, small, back))
        factors = (
            run.walk(whole._address + before, short, back),
            run.walk(of_product._address, wide, back),
            repeat(weight._address),
            run.walk(outer._address + before, short, back),
        )
        for first, second, third in zip(zip(*unprojected), zip(*places), zip(*factors)):
            run.unproject(*first)
            run.step(*second)
            run.multiply(*third)

        own = of_projection = None
        if self.needs(1):
            states = wrap(shorts._storage, run.every_short, shorts._address + before)
            own = matmul(t(of_product), states)
        if self.needs(2):
            of_states = wrap(whole._storage, run.every_short, whole._address + after)
            of_projection = matmul(t(of_states), outputs)
        start = run.steps * short if reverse else 0
        of_first = wrap(whole._storage, run.short, whole._address + start).clone()
        return of_product, own, of_projection, of_first, of_cell

    def _in_operations(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        projected, weight, projection, hidden, cell = given
        states = hidden, cell
        return in_operations(projected, weight, projection, states, self.batch, self.reverse)


def in_operations(
    projected: Tensor,
    weight: Tensor,
    projection: Tensor,
    states: tuple[Tensor, Tensor],
    batch: int,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """What `projected_sequence` gives, an operation after another."""
    turned, parts, outputs = t(weight), projected.split(batch), []
    hidden, cell = states
    for part in reversed(parts) if reverse else parts:
        found, cell = _LSTM.step(part, (hidden, cell), turned)
        hidden = linear(found, projection)
        outputs.append(hidden)
    return cat(outputs[::-1] if reverse else outputs), hidden, cell


def projected_sequence(
    projected: Tensor,
    weight: Tensor,
    projection: Tensor,
    states: tuple[Tensor, Tensor],
    batch: int,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The projected hidden state after every step, and the last states.

    Args:
        projected: (steps x batch, 4 x hidden), the inputs' products, with their biases.
        weight: (4 x hidden, size). projection: (size, hidden).
        states: before the first step, (batch, size) and (batch, hidden).
        batch: rows of a step.
        reverse: from the last step to the first.
    Returns:
        (steps x batch, size), (batch, size) and (batch, hidden).
    """
    projected = contiguous(projected)
    inputs = [projected, weight, projection, *states]
    recording = mode.enabled and any(x._requires_grad for x in inputs)
    run = _forwards[projected._layout, batch, weight._layout, projection._layout]
    small, wide, short = run.state.nbytes, run.gates.nbytes, run.short.nbytes

    shorts, cells = empty(run.short_slots), empty(run.slots)
    starts = ((shorts, run.short, short, states[0]), (cells, run.state, small, states[1]))
    for buffer, layout, each, state in starts:
        first = run.steps * each if reverse else 0
        wrap(buffer._storage, layout, buffer._address + first).copy_(state.detach())
    # Without gradients a step's gates and outputs are written over those of the step before.
    product = empty(run.every_gate if recording else run.gates)
    outputs = empty(run.every_state if recording else run.state)
    stride, step = (wide, small) if recording else (0, 0)
    weights = [contiguous(t(w.detach())) if run.copied else w for w in (weight, projection)]

    factors = (
        run.walk(product._address, stride, reverse),
        run.walk(shorts._address + (short if reverse else 0), short, reverse),
        repeat(weights[0]._address),
        run.walk(projected._address, wide, reverse),
    )
    places = [run.walk(outputs._address, step, reverse)]
    places.append(run.walk(cells._address + (0 if reverse else small), small, reverse))
    places += run.gate_walks(product._address, stride, reverse)
    places.append(run.walk(cells._address + (small if reverse else 0), small, reverse))
    after = 0 if reverse else short
    ends = (
        run.walk(shorts._address + after, short, reverse),
        run.walk(outputs._address, step, reverse),
        repeat(weights[1]._address),
    )
    for factor, place, end in zip(zip(*factors), zip(*places), zip(*ends)):
        run.multiply(*factor)
        run.step(*place)
        run.project(*end)

    last = 0 if reverse else run.steps
    results = (
        wrap(shorts._storage, run.every_short, shorts._address + after),
        wrap(shorts._storage, run.short, shorts._address + last * short),
        wrap(cells._storage, run.state, cells._address + last * small),
    )
    if recording:
        edges = tuple([edge(x) if x._requires_grad else NO_EDGE for x in inputs])
        node = ProjectedRecurrentBackward0(edges, tuple([r._layout for r in results]))
        node.batch, node.reverse = batch, reverse
        node.save(*inputs, shorts, product, cells, outputs)
        for number, result in enumerate(results):
            attach(result, node, number)
    return results
