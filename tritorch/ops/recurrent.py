"""One step of a recurrent layer after its matrix products: all gates in one kernel.

The gradients of the gates are derived from these bodies, one kernel again.
"""

from __future__ import annotations

from tritorch.kernels import scalar as s
from tritorch.ops.declare import pointwise


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
