"""RNN, LSTM and GRU."""

from __future__ import annotations

import math
import warnings
from typing import Any

import tritorch
from tritorch.nn import init
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter
from tritorch.nn.recurrent import State, Weights, layers
from tritorch.nn.utils.rnn import PackedSequence
from tritorch.tensor import Tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: weights, the shapes of sequences and states.

    Args:
        mode: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        input_size, hidden_size: features of the input and of the state.
        num_layers: layers on top of each other.
        bias: whether there are biases (two, as PyTorch's).
        batch_first: sequences are (batch, time, features), not (time, batch, features).
        dropout: probability, after each layer but the last.
        bidirectional: a second direction, from the last step to the first.
        proj_size: features to which an LSTM's hidden state is projected; 0 for none.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_options(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._all_weights: list[list[str]] = []
        rows, state = _GATES[mode] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            features = input_size if layer == 0 else state * (1 + bidirectional)
            for suffix in ("", "_reverse")[: 1 + bidirectional]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, features),
                    "weight_hh": (rows, state),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = []
                for kind, shape in shapes.items():
                    names.append(f"{kind}_l{layer}{suffix}")
                    made = tritorch.empty(*shape, device=device, dtype=dtype)
                    setattr(self, names[-1], Parameter(made))
                self._all_weights.append(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform on ±1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights of each direction of each layer."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [weight for weights in self.all_weights for weight in weights]

    def flatten_parameters(self) -> None:
        """Nothing: the weights are used where they are."""

    def _weights(self) -> list[list[Weights]]:
        kinds = {"ih": "input", "hh": "hidden", "hr": "projection"}
        made = []
        for names in self._all_weights:
            own = {}
            for name in names:
                kind, place = name.split("_")[:2]
                field = kinds[place] + ("_bias" if kind == "bias" else "")
                own[field] = getattr(self, name)
            made.append(Weights(**own))
        each = 1 + self.bidirectional
        return [made[i : i + each] for i in range(0, len(made), each)]

    def _check_input(self, input: Tensor, dim: int) -> None:
        weight = self.weight_ih_l0
        if input.dtype is not weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: "
                f"model.to({input.dtype})"
            )
        if input.ndim != dim:
            raise RuntimeError(f"input must have {dim} dimensions, got {input.ndim}")
        if self.input_size != input.shape[-1]:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.shape[-1]}"
            )

    def _state(self, given: State | None, batch: int, like: Tensor) -> State:
        """The state before the first step; zeros unless given, checked."""
        count = self.num_layers * (1 + self.bidirectional)
        sizes = [self.proj_size or self.hidden_size]
        sizes += [self.hidden_size] * (self.mode == "LSTM")
        shapes = [(count, batch, size) for size in sizes]
        if given is None:
            made = [tritorch.zeros(s, dtype=like.dtype, device=like.device) for s in shapes]
            return tuple(made)
        names = ["hidden[0]", "hidden[1]"] if self.mode == "LSTM" else ["hidden"]
        for name, tensor, shape in zip(names, given, shapes, strict=True):
            if tuple(tensor.shape) != shape:
                raise RuntimeError(f"Expected {name} size {shape}, got {list(tensor.shape)}")
        return given

    def _run(self, input: Any, given: State | None) -> tuple[Any, State]:
        """The outputs and the last state; sequences may be packed, batched or single."""
        dropout = self.dropout if self.training else 0.0
        if isinstance(input, PackedSequence):
            data, batch_sizes, order, back = input
            self._check_input(data, 2)
            sizes = batch_sizes.tolist()
            if given is not None:
                given = _permuted(given, order)
            start = self._state(given, sizes[0], data)
            found, end = layers(self.mode, data, sizes, start, self._weights(), dropout)
            return PackedSequence(found, batch_sizes, order, back), _permuted(end, back)
        name = "RNN" if self.mode.startswith("RNN") else self.mode
        if input.ndim not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        batched = input.ndim == 3
        for state in given or ():
            if state.ndim != input.ndim:
                raise RuntimeError(
                    f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx should also "
                    f"be {input.ndim}-D but got {state.ndim}-D tensor"
                )
        if not batched:
            input = input.unsqueeze(1)
            given = None if given is None else tuple([s.unsqueeze(1) for s in given])
        elif self.batch_first:
            input = input.transpose(0, 1)
        self._check_input(input, 3)
        steps, batch, features = input.shape
        if not steps:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        start = self._state(given, batch, input)
        rows = input.reshape(steps * batch, features)
        found, end = layers(self.mode, rows, [batch] * steps, start, self._weights(), dropout)
        found = found.unflatten(0, (steps, batch))
        if not batched:
            return found.squeeze(1), tuple([s.squeeze(1) for s in end])
        return found.transpose(0, 1) if self.batch_first else found, end

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Outputs of the last layer at all steps, and the last state of every layer."""
        output, (hidden,) = self._run(input, None if hx is None else (hx,))
        return output, hidden

    def extra_repr(self) -> str:
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False,
        }  # fmt: skip
        parts = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                parts.append(f"{name}={value}")
        return ", ".join(parts)


def _permuted(state: State, order: Tensor | None) -> State:
    if order is None:
        return state
    return tuple([tensor.index_select(1, order) for tensor in state])


def _check_options(
    input_size: Any,
    hidden_size: Any,
    num_layers: int,
    bias: Any,
    batch_first: Any,
    dropout: Any,
    proj_size: int,
) -> None:
    number = isinstance(dropout, (int, float)) and not isinstance(dropout, bool)
    if not number or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element "
            f"being zeroed, got {dropout!r}"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and "
            f"num_layers={num_layers}",
            stacklevel=4,
        )
    for name, value, kind in (
        ("bias", bias, bool),
        ("batch_first", batch_first, bool),
        ("input_size", input_size, int),
        ("hidden_size", hidden_size, int),
    ):
        if not isinstance(value, kind):
            raise TypeError(
                f"{name} should be of type {kind.__name__}, got: {type(value).__name__}"
            )
    for name, value in (
        ("input_size", input_size),
        ("hidden_size", hidden_size),
        ("num_layers", num_layers),
    ):
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


class RNN(RNNBase):
    """h ← tanh(W_ih x + b_ih + W_hh h + b_hh), or relu, at every step.

    Args:
        nonlinearity: "tanh" or "relu"; the others as of `RNNBase`.
    Shape:
        (time, batch, input_size) and a state (layers x directions, batch, hidden_size) give
        (time, batch, directions x hidden_size) and the last state; also packed or without batch.
    Source: Elman, 1990.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, device=device, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory: c ← f c + i g, h ← o tanh(c), four gates of x and h.

    Shape:
        (time, batch, input_size) and a state (h, c) give outputs and the last (h, c); as `RNN`.
    Source: Hochreiter and Schmidhuber, 1997; proj_size: Sak et al., 2014.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size, device, dtype,
        )  # fmt: skip

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Outputs of the last layer at all steps, and the last (h, c) of every layer."""
        return self._run(input, None if hx is None else tuple(hx))


class GRU(RNNBase):
    """Gated recurrent unit: h ← (1 - z) n + z h with gates of x and h.

    Shape: as `RNN`.
    Source: Cho et al., 2014.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
