"""A recurrent layer over a whole sequence: two launches a step, forward and backward.

A step is one product with the state and one kernel with all gates; its gradient one kernel with
the gradients of all gates, derived from the declaration of the gates, and one product. What does
not depend on the step before is done for all steps at once: the products with the inputs before
this, the gradient of the hidden weight after it. States and gates of all steps are in buffers
in which a step is a piece, so every argument of a launch is an address that walks through memory.

Under `create_graph=True` the backward is written in operations, which have gradients of any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

from tritorch.autograd.edges import attach, edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import NO_EDGE, Node
from tritorch.kernels import PointwiseKernel
from tritorch.kernels.expression import substitute, variable
from tritorch.kernels.templates import matmul as products
from tritorch.layout import Layout
from tritorch.ops.dispatch import Plans
from tritorch.ops.joining import cat
from tritorch.ops.linalg import matmul
from tritorch.ops.memory import contiguous, fill
from tritorch.ops.recipe import gradient_trees, upstream_names
from tritorch.ops.recurrent import CELLS, Cell
from tritorch.ops.reduction import sum
from tritorch.ops.views import t
from tritorch.tensor import Tensor, empty, wrap

#: From so many steps on, a copy of the transposed weight pays: a product reads it along its rows.
COPIED_FROM = 16


class Sizes:
    """The layouts of one step of a cell, and how many bytes they take.

    Args:
        projected: (steps x batch, gates x hidden), dense.
        weight: (gates x hidden, size of the hidden state).
    """

    def __init__(self, cell: Cell, projected: Layout, batch: int, weight: Layout) -> None:
        self.cell, self.batch, self.hidden = cell, batch, projected.shape[1] // cell.count
        self.dtype, self.device, self.weight = projected.dtype, projected.device, weight
        self.rows = projected.shape[0]
        self.steps = self.rows // batch
        width = cell.count * self.hidden
        self.state = Layout.contiguous(self.dtype, (batch, self.hidden), self.device)
        self.gates = Layout.contiguous(self.dtype, (batch, width), self.device)
        self.gate = Layout.of(self.dtype, (batch, self.hidden), (width, 1), self.device)
        self.every_state = Layout.contiguous(self.dtype, (self.rows, self.hidden), self.device)
        self.slots = Layout.contiguous(self.dtype, (self.rows + batch, self.hidden), self.device)
        self.every_gate = Layout.contiguous(self.dtype, (self.rows, width), self.device)
        #: of all operands of the gates
        self.operands = [self.gate] * (cell.count * (1 + cell.apart))
        self.operands += [self.state] * (len(cell.gates.names) - len(self.operands))

    def walk(self, address: int, step: int, reverse: bool) -> Iterable[int]:
        """The address at each step, `step` bytes after the one before; in the order of running."""
        if not step:
            return repeat(address)
        places = range(address, address + step * self.steps, step)
        return places[::-1] if reverse else places

    def gate_walks(self, address: int, step: int, reverse: bool) -> list[Iterable[int]]:
        """For each gate of a buffer."""
        each = self.hidden * self.dtype.itemsize
        return [self.walk(address + i * each, step, reverse) for i in range(self.cell.count)]


class _Forward(Sizes):
    """The two launches of a step."""

    def __init__(self, key: tuple[Any, ...]) -> None:
        name, projected, batch, weight, bias = key
        super().__init__(CELLS[name], projected, batch, weight)
        self.copied = self.steps >= COPIED_FROM
        strides = (weight.shape[0], 1) if self.copied else weight.strides[::-1]
        turned = Layout.of(self.dtype, weight.shape[::-1], strides, self.device)
        added = bias if self.cell.apart else self.gates
        self.multiply = products.plan(self.state, turned, added).launch
        gates = self.cell.gates
        computes, results = gates.rule(gates, self.operands)
        states = [self.state] * self.cell.states
        self.step = gates.kernel.plan(self.operands, computes, results, states).launch


class _Backward(Sizes):
    """The two launches of a step's gradient.

    The gradient of the hidden state is a sum: what comes from outside, of any strides, and what
    comes from the step after.
    """

    def __init__(self, key: tuple[Any, ...]) -> None:
        name, projected, batch, weight, outer = key
        super().__init__(CELLS[name], projected, batch, weight)
        gates, cell = self.cell.gates, self.cell
        upstreams = upstream_names(cell.states)
        trees = gradient_trees(
            gates.names, gates.outputs, gates.names, (True,) * cell.states, gates.grad, False
        )
        both = {upstreams[0]: variable("outer") + variable("later")}
        names = ["outer", "later", *upstreams[1:], *gates.names]
        kernel = PointwiseKernel(f"{gates.name}_step_backward", names, substitute(trees, both))
        operands = [outer, *[self.state] * cell.states, *self.operands]
        kinds = [self.dtype] * len(operands)
        results = [self.dtype] * len(trees)
        self.step = kernel.plan(operands, kinds, results, self.operands).launch
        added = self.state if cell.apart else None
        self.multiply = products.plan(self.gates, weight, added).launch


_forwards = Plans(_Forward)
_backwards = Plans(_Backward)


class RecurrentBackward0(Node):
    """The gradients of projected inputs, hidden weight, bias and first states."""

    __slots__ = ("batch", "has_bias", "kind", "reverse")
    kind: str
    batch: int
    has_bias: bool
    reverse: bool

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """From those of all outputs and of the last states."""
        cell = CELLS[self.kind]
        projected, weight, *rest = self.unpack()
        bias = rest.pop(0) if self.has_bias else None
        first, (slots, product, *cells) = rest[: cell.states], rest[cell.states :]
        if mode.enabled:
            given = [projected, weight, *([] if bias is None else [bias]), *first]
            return gradients_written_out(self, grads, given, self._in_operations)
        outer = grads[0]
        if outer is None:
            outer = zeros_of(Layout.contiguous(projected.dtype, (1, 1), weight.device))
            outer = outer.expand(projected.shape[0], weight.shape[1])
        kind = outer._layout
        item, batch, reverse = kind.dtype.itemsize, self.batch, self.reverse
        of_step = Layout.of(kind.dtype, (batch, kind.shape[1]), kind.strides, kind.device)
        run = _backwards[self.kind, projected._layout, batch, weight._layout, of_step]
        small, wide = run.state.nbytes, run.gates.nbytes

        # the gradients of the states: of those before a step, written over those after it
        later = [zeros_of(run.state) if g is None else g.clone() for g in grads[1:]]
        later = [contiguous(g) for g in later]
        beside = empty(run.state) if cell.apart else None
        of_projected, of_product = empty(run.every_gate), empty(run.every_gate)
        kept = [of_projected, of_product] if cell.apart else [of_product]

        back = not reverse
        outs = [walk for g in kept for walk in run.gate_walks(g._address, wide, back)]
        outs += [repeat(s._address) for s in ([beside] if beside is not None else later[1:])]
        before = small if reverse else 0
        ins = [run.walk(outer._address, batch * kind.strides[0] * item, back)]
        ins += [repeat(g._address) for g in later]
        read = [projected, product] if cell.apart else [product]
        ins += [walk for g in read for walk in run.gate_walks(g._address, wide, back)]
        ins += [
            run.walk(s._address + before, small, back) for s in ([slots] if cell.apart else cells)
        ]
        factors = [
            repeat(later[0]._address),
            run.walk(of_product._address, wide, back),
            repeat(weight._address),
        ]
        if beside is not None:
            factors.append(repeat(beside._address))
        step, multiply = run.step, run.multiply
        for places, factor in zip(zip(*outs, *ins), zip(*factors)):
            step(*places)
            multiply(*factor)

        own = None
        if self.needs(1):
            previous = wrap(slots._storage, run.every_state, slots._address + before)
            own = matmul(t(of_product), previous)
        found = [of_projected if cell.apart else of_product, own]
        if self.has_bias:
            found.append(sum(of_product, 0))
        return *found, *later

    def _in_operations(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        bias = given[2] if self.has_bias else None
        first = tuple(given[-CELLS[self.kind].states :])
        return in_operations(self.kind, given[0], given[1], bias, first, self.batch, self.reverse)


def gradients_written_out(
    node: Node,
    grads: Sequence[Any],
    given: Sequence[Tensor],
    run: Callable[[Sequence[Tensor]], Sequence[Tensor]],
) -> tuple[Any, ...]:
    """The gradients of a node whose steps `run` does in operations, from the same inputs."""
    from tritorch.autograd import grad

    # Views, so that what the inputs themselves depend on is not counted.
    cut = [x.view_as(x) if x._requires_grad else x for x in given]
    pairs = [(r, g) for r, g in zip(run(cut), grads, strict=True) if g is not None]
    wanted = [i for i in range(len(given)) if node.needs(i)]
    made = grad(
        [r for r, _ in pairs], [cut[i] for i in wanted], [g for _, g in pairs],
        create_graph=True, allow_unused=True,
    )  # fmt: skip
    found = dict(zip(wanted, made, strict=True))
    return tuple([found.get(i) for i in range(len(given))])


def zeros_of(layout: Layout) -> Tensor:
    """A tensor of zeros."""
    made = empty(layout)
    fill(made, 0)
    return made


def in_operations(
    kind: str,
    projected: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    states: tuple[Tensor, ...],
    batch: int,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """What `sequence` gives, an operation after another."""
    cell, turned = CELLS[kind], t(weight)
    parts = projected.split(batch)
    outputs = []
    for part in reversed(parts) if reverse else parts:
        states = cell.step(part, states, turned, bias)
        outputs.append(states[0])
    return cat(outputs[::-1] if reverse else outputs), *states


def sequence(
    kind: str,
    projected: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    states: tuple[Tensor, ...],
    batch: int,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """The hidden state after every step, and the last states.

    Args:
        kind: a key of `CELLS`.
        projected: (steps x batch, gates x hidden), the inputs' products, with their biases.
        weight: (gates x hidden, hidden).
        bias: (gates x hidden,), for a cell whose products are kept apart.
        states: before the first step, (batch, hidden) each.
        batch: rows of a step.
        reverse: from the last step to the first.
    Returns:
        (steps x batch, hidden), then (batch, hidden) for each state.
    """
    projected = contiguous(projected)
    cell = CELLS[kind]
    bias_layout = None if bias is None else bias._layout
    run = _forwards[kind, projected._layout, batch, weight._layout, bias_layout]
    small, wide = run.state.nbytes, run.gates.nbytes
    inputs = [projected, weight, *([] if bias is None else [bias]), *states]
    recording = mode.enabled and any(x._requires_grad for x in inputs)

    slots = [empty(run.slots) for _ in states]
    first, after = (run.steps * small, 0) if reverse else (0, small)
    for buffer, state in zip(slots, states, strict=True):
        wrap(buffer._storage, run.state, buffer._address + first).copy_(state.detach())
    # Without gradients a step's gates are written over those of the step before.
    product = empty(run.every_gate if recording else run.gates)
    stride = wide if recording else 0
    factor = contiguous(t(weight.detach())) if run.copied else weight

    before = small - after
    outs = [run.walk(s._address + after, small, reverse) for s in slots]
    read = [(projected, wide)] if cell.apart else []
    ins = [
        walk
        for g, each in [*read, (product, stride)]
        for walk in run.gate_walks(g._address, each, reverse)
    ]
    kept = slots if cell.apart else slots[1:]
    ins += [run.walk(s._address + before, small, reverse) for s in kept]
    factors = [
        run.walk(product._address, stride, reverse),
        run.walk(slots[0]._address + before, small, reverse),
        repeat(factor._address),
    ]
    if not cell.apart:
        factors.append(run.walk(projected._address, wide, reverse))
    elif bias is not None:
        factors.append(repeat(bias._address))
    step, multiply = run.step, run.multiply
    for taken, places in zip(zip(*factors), zip(*outs, *ins)):
        multiply(*taken)
        step(*places)

    hidden = slots[0]
    results = [wrap(hidden._storage, run.every_state, hidden._address + after)]
    last = 0 if reverse else run.steps * small
    results += [wrap(s._storage, run.state, s._address + last) for s in slots]
    if recording:
        edges = tuple([edge(x) if x._requires_grad else NO_EDGE for x in inputs])
        node = RecurrentBackward0(edges, tuple([r._layout for r in results]))
        node.kind, node.batch, node.reverse = kind, batch, reverse
        node.has_bias = bias is not None
        node.save(*inputs, hidden, product, *slots[1:])
        for number, result in enumerate(results):
            attach(result, node, number)
    return tuple(results)
