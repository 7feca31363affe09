"""One step of a recurrent layer: a matrix product, then all gates in one kernel.

The gradients of the gates are derived from these bodies, one kernel again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tritorch.kernels import scalar as s
from tritorch.ops.activation import relu
from tritorch.ops.declare import pointwise
from tritorch.ops.elementary import tanh
from tritorch.ops.linalg import addmm, linear
from tritorch.ops.pointwise import Pointwise
from tritorch.ops.views import chunk, t
from tritorch.tensor import Tensor


@pointwise(promote="float", method=False, out=False, integers=False, node="LstmGatesBackward0")
def lstm_gates(input, forget, candidate, output, cell):
    """The hidden and the cell state of an LSTM from its four gates and the cell state before.

    c' = sigmoid(forget) c + sigmoid(input) tanh(candidate); h' = sigmoid(output) tanh(c').
    Source: Hochreiter and Schmidhuber, 1997; Gers et al., 2000.
    """
    kept = s.sigmoid(forget) * cell + s.sigmoid(input) * s.tanh(candidate)
    return s.sigmoid(output) * s.tanh(kept), kept


@pointwise(promote="float", method=False, out=False, integers=False, node="GruGatesBackward0")
def gru_gates(
    input_reset, input_update, input_new, hidden_reset, hidden_update, hidden_new, hidden
):
    """The hidden state of a GRU from the projections of its input and of the state before.

    r, z = sigmoid of the sums; n = tanh(input_new + r hidden_new); h' = (1 - z) n + z h.
    Source: Cho et al., 2014, in PyTorch's form (r after the product).
    """
    reset = s.sigmoid(input_reset + hidden_reset)
    update = s.sigmoid(input_update + hidden_update)
    new = s.tanh(input_new + reset * hidden_new)
    return new + update * (hidden - new)


@dataclass(frozen=True)
class Cell:
    """A step of a recurrent layer: a product with the hidden state, then its gates.

    Attributes:
        gates: takes a piece of the product for each gate (and, `apart`, those of the projected
            input before them), then the state that it needs; gives the states.
        count: gates.
        states: what is carried from step to step, the hidden state first.
        apart: whether projected input and product are kept apart; else they are added up.
    """

    gates: Pointwise
    count: int
    states: int = 1
    apart: bool = False

    def step(
        self,
        projected: Tensor,
        states: tuple[Tensor, ...],
        turned: Tensor,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The states after a step.

        Args:
            projected: (batch, gates x hidden). turned: the weight, (hidden, gates x hidden).
            states: (batch, hidden) each.
            bias: of the product, for a cell with `apart`.
        """
        if self.apart:
            product = linear(states[0], t(turned), bias)
            pieces = (*chunk(projected, self.count, 1), *chunk(product, self.count, 1))
            found = self.gates.function(*pieces, states[0])
        else:
            product = addmm(projected, states[0], turned)
            pieces = chunk(product, self.count, 1) if self.count > 1 else (product,)
            found = self.gates.function(*pieces, *states[1:])
        return found if isinstance(found, tuple) else (found,)


CELLS = {
    "LSTM": Cell(lstm_gates.operation, 4, states=2),
    "GRU": Cell(gru_gates.operation, 3, apart=True),
    "RNN_TANH": Cell(tanh.operation, 1),
    "RNN_RELU": Cell(relu.operation, 1),
}
