"""Recurrent layers against their formulas in NumPy; packing; how many kernels they launch."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.nn.utils import rnn
from tritorch.ops import recurrent_projected, recurrent_sequence
from tritorch.ops.recurrent import CELLS, gru_gates, lstm_gates
from tritorch.runtime.statistics import snapshot

LAYERS: dict[str, Any] = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def step(kind: str, x: np.ndarray, state: tuple[np.ndarray, ...], w: list[np.ndarray]) -> Any:
    """One step of one sequence; w: input and hidden weights, input and hidden biases."""
    a, b = w[0] @ x + w[2], w[1] @ state[0] + w[3]
    if kind == "RNN":
        return (np.tanh(a + b),)
    if kind == "LSTM":
        i, f, g, o = np.split(a + b, 4)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    (xr, xz, xn), (hr, hz, hn) = np.split(a, 3), np.split(b, 3)
    z = sigmoid(xz + hz)
    return ((1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * state[0],)


def reference(layer: Any, kind: str, sequence: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """Outputs and the last states of one sequence (time, features), from zeros."""
    ends = []
    parts = [[w.detach().numpy() for w in weights] for weights in layer.all_weights]
    each = 1 + layer.bidirectional
    for number in range(layer.num_layers):
        outputs = []
        for direction in range(each):
            state = (np.zeros(layer.hidden_size),) * (2 if kind == "LSTM" else 1)
            found = []
            for x in sequence[:: -1 if direction else 1]:
                state = step(kind, x, state, parts[number * each + direction])
                found.append(state[0])
            outputs.append(np.stack(found[:: -1 if direction else 1]))
            ends.append(state)
        sequence = np.concatenate(outputs, -1)
    return sequence, ends


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_padded_and_single_sequences(kind: str, bidirectional: bool) -> None:
    """Each sequence of a batch of different lengths as if it were alone."""
    layer = LAYERS[kind](3, 4, num_layers=2, bidirectional=bidirectional, dtype=torch.float64)
    sequences = [torch.randn(length, 3, dtype=torch.float64) for length in (2, 5, 5, 3)]
    output, last = layer(rnn.pack_sequence(sequences, enforce_sorted=False))
    padded, lengths = rnn.pad_packed_sequence(output, padding_value=7.0)
    assert lengths.tolist() == [2, 5, 5, 3]
    assert tuple(padded.shape) == (5, 4, 8 if bidirectional else 4)
    states = last if kind == "LSTM" else (last,)
    for place, sequence in enumerate(sequences):
        expected, ends = reference(layer, kind, sequence.numpy())
        length = len(expected)
        np.testing.assert_allclose(padded[:length, place].detach().numpy(), expected, rtol=1e-9)
        assert (padded[length:, place] == 7.0).all()
        for number, state in enumerate(states):
            wanted = np.stack([end[number] for end in ends])
            np.testing.assert_allclose(state[:, place].detach().numpy(), wanted, rtol=1e-9)
        alone, _ = layer(sequence)
        np.testing.assert_allclose(alone.detach().numpy(), expected, rtol=1e-9)
    batch = torch.stack([sequences[1], sequences[2]])
    layer.batch_first = True
    first, _ = layer(batch)
    np.testing.assert_allclose(first[0].detach().numpy(), padded[:, 1].detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_input_and_state(kind: str) -> None:
    layer = LAYERS[kind](2, 3, bidirectional=True, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    h = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Any, h: Any) -> Any:
        output, last = layer(x, (h, h * 0.5) if kind == "LSTM" else h)
        return output, *(last if kind == "LSTM" else (last,))

    assert gradcheck(run, [x, h])


def test_gates_have_gradients_of_second_order() -> None:
    values = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(7)]
    for function, operands in ((lstm_gates, values[:5]), (gru_gates, values)):
        assert gradcheck(function, operands, fast_mode=False)
        assert gradgradcheck(function, operands)


@pytest.mark.parametrize("kind", CELLS)
def test_long_sequences(kind: str) -> None:
    """So many steps that the weight is copied: the values of an operation after another."""
    cell, steps = CELLS[kind], recurrent_sequence.COPIED_FROM
    projected = torch.randn(2 * steps, 3 * cell.count, dtype=torch.float64)
    weight = torch.randn(3 * cell.count, 3, dtype=torch.float64)
    bias = torch.randn(3 * cell.count, dtype=torch.float64) if cell.apart else None
    states = tuple(torch.randn(2, 3, dtype=torch.float64) for _ in range(cell.states))
    for reverse in (False, True):
        given = (kind, projected, weight, bias, states, 2, reverse)
        expected = recurrent_sequence.in_operations(*given)
        for a, b in zip(recurrent_sequence.sequence(*given), expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "size"), [*[(kind, 0) for kind in LAYERS], ("LSTM", 3)])
def test_launches_of_a_step(kind: str, size: int) -> None:
    """One product, one kernel of gates, and a product that projects; as many backward."""
    layer = LAYERS[kind](4, 8, **({"proj_size": size} if size else {}))

    def launches(steps: int, train: bool) -> int:
        x = torch.randn(steps, 2, 4)
        for _ in range(2):
            before = snapshot().launches
            output, _ = layer(x)
            if train:
                output.sum().backward()
        return snapshot().launches - before

    each = 3 if size else 2
    assert launches(9, False) - launches(4, False) == 5 * each
    assert launches(9, True) - launches(4, True) == 5 * 2 * each


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_sequences(kind: str, reverse: bool) -> None:
    """In one go and an operation after another: values, gradients, gradients of gradients."""
    cell, whole = CELLS[kind], recurrent_sequence.sequence
    shapes = [(6, 2 * cell.count), (2 * cell.count, 2), *[(2, 2)] * cell.states]
    shapes += [(2 * cell.count,)] * cell.apart
    values = [torch.randn(*n, dtype=torch.float64, requires_grad=True) for n in shapes]

    def run(function: Any, projected: Any, weight: Any, *rest: Any) -> Any:
        bias = rest[cell.states] if cell.apart else None
        return function(kind, projected, weight, bias, rest[: cell.states], 2, reverse)

    results = [run(function, *values) for function in (whole, recurrent_sequence.in_operations)]
    factors = [torch.randn(*r.shape, dtype=torch.float64) for r in results[0]]
    for chosen in ([0], [1], range(len(factors))):  # which results are used
        found = [
            torch.autograd.grad(
                sum((r[i] * factors[i]).sum() for i in chosen), values, retain_graph=True,
                allow_unused=True, materialize_grads=True,
            )
            for r in results
        ]  # fmt: skip
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)
    assert gradgradcheck(lambda *given: run(whole, *given), values, fast_mode=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [3, recurrent_projected.COPIED_FROM])
def test_projected_sequences(steps: int, reverse: bool) -> None:
    """In one go and an operation after another: values, gradients, gradients of gradients."""
    whole = recurrent_projected.projected_sequence
    shapes = [(2 * steps, 12), (12, 2), (2, 3), (2, 2), (2, 3)]
    values = [torch.randn(*n, dtype=torch.float64, requires_grad=True) for n in shapes]

    def run(function: Any, *given: Any) -> Any:
        return function(*given[:3], given[3:], 2, reverse)

    results = [run(function, *values) for function in (whole, recurrent_projected.in_operations)]
    with torch.no_grad():
        results.append(run(whole, *values))
    for one in results[1:]:
        for a, b in zip(results[0], one, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9)
    factors = [torch.randn(*r.shape, dtype=torch.float64) for r in results[0]]
    for chosen in ([0], [1], [2], range(3)):  # which results are used
        found = [
            torch.autograd.grad(
                sum((r[i] * factors[i]).sum() for i in chosen), values, retain_graph=True,
                allow_unused=True, materialize_grads=True,
            )
            for r in results[:2]
        ]  # fmt: skip
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)
    if steps == 3:
        assert gradgradcheck(lambda *given: run(whole, *given), values, fast_mode=True)


def test_a_later_piece_knows_the_weight_too() -> None:
    """Second derivatives where the first state depends on the weight itself."""
    layer = nn.LSTM(2, 3, dtype=torch.float64)
    x = torch.randn(4, 2, 2, dtype=torch.float64)

    def penalty(pieces: int) -> Any:
        state, outputs = None, []
        for piece in x.chunk(pieces):
            output, state = layer(piece, state)
            outputs.append(output)
        loss = torch.cat(outputs).square().sum()
        gradients = torch.autograd.grad(loss, list(layer.parameters()), create_graph=True)
        total = sum(g.square().sum() for g in gradients)
        return torch.autograd.grad(total, list(layer.parameters()))

    for a, b in zip(penalty(1), penalty(2), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9)


def test_outputs_that_are_written_to_have_no_gradient() -> None:
    output, _ = nn.GRU(2, 3)(torch.randn(4, 1, 2))
    (output * 2).sum().backward(retain_graph=True)
    output += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_projection_and_dropout() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, proj_size=2, dropout=1.0)
    assert tuple(layer.weight_hr_l1.shape) == (2, 4)
    x = torch.randn(5, 2, 3)
    output, (h, c) = layer(x)
    assert tuple(output.shape) == (5, 2, 2)
    assert tuple(h.shape) == (2, 2, 2) and tuple(c.shape) == (2, 2, 4)
    other, _ = layer(x * 2)
    assert output.tolist() == other.tolist()  # the second layer sees zeros only
    layer.eval()
    assert layer(x)[0].tolist() != layer(x * 2)[0].tolist()


@pytest.mark.parametrize("kind", LAYERS)
def test_cells_are_steps(kind: str) -> None:
    layer = LAYERS[kind](3, 4)
    cell = getattr(nn, kind + "Cell")(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layer.state_dict().items()})
    x = torch.randn(3, 2, 3)
    output, last = layer(x)
    state = None
    for part in x:
        state = cell(part, state)
    hidden, ends = (state, last) if kind == "LSTM" else ((state,), (last,))
    np.testing.assert_allclose(
        hidden[0].detach().numpy(), output[-1].detach().numpy(), rtol=1e-5, atol=1e-6
    )
    assert all(a.shape == b[0].shape for a, b in zip(hidden, ends, strict=True))
    single = cell(x[0, 0])
    assert tuple((single[0] if kind == "LSTM" else single).shape) == (4,)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_empty_batch(kind: str, bidirectional: bool) -> None:
    output, last = LAYERS[kind](3, 4, bidirectional=bidirectional)(torch.randn(5, 0, 3))
    assert tuple(output.shape) == (5, 0, 8 if bidirectional else 4)
    hidden = last[0] if kind == "LSTM" else last
    assert tuple(hidden.shape) == (2 if bidirectional else 1, 0, 4)


def test_names_and_reprs() -> None:
    layer = nn.GRU(3, 4, num_layers=2, bias=False, bidirectional=True)
    assert list(layer.state_dict()) == [
        f"weight_{kind}_l{number}{suffix}"
        for number in (0, 1)
        for suffix in ("", "_reverse")
        for kind in ("ih", "hh")
    ]
    assert repr(layer) == "GRU(3, 4, num_layers=2, bias=False, bidirectional=True)"
    assert repr(nn.LSTM(3, 4, dropout=0.5, num_layers=3, proj_size=2, batch_first=True)) == (
        "LSTM(3, 4, proj_size=2, num_layers=3, batch_first=True, dropout=0.5)"
    )
    assert repr(nn.RNNCell(3, 4, nonlinearity="relu")) == "RNNCell(3, 4, nonlinearity=relu)"
    copy = deepcopy(layer)
    x = torch.randn(2, 1, 3)
    assert copy(x)[0].tolist() == layer(x)[0].tolist()


def test_padding() -> None:
    a, b = torch.tensor([1, 2, 3]), torch.tensor([4])
    assert rnn.pad_sequence([a, b]).tolist() == [[1, 4], [2, 0], [3, 0]]
    assert rnn.pad_sequence([b, a], batch_first=True, padding_side="left").tolist() == [
        [0, 0, 4],
        [1, 2, 3],
    ]
    padded = rnn.pad_sequence([a, b], batch_first=True, padding_value=9)
    assert [t.tolist() for t in rnn.unpad_sequence(padded, [3, 1], True)] == [[1, 2, 3], [4]]
    packed = rnn.pack_sequence([b, a], enforce_sorted=False)
    assert packed.data.tolist() == [1, 4, 2, 3]
    assert packed.batch_sizes.tolist() == [2, 1, 1]
    assert packed.sorted_indices.tolist() == [1, 0]
    assert [t.tolist() for t in rnn.unpack_sequence(packed)] == [[4], [1, 2, 3]]
    assert packed.double().data.dtype is torch.float64


def test_errors() -> None:
    x = torch.randn(3, 2, 3)
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        rnn.pack_padded_sequence(x, [1, 3])
    with pytest.raises(RuntimeError, match="greater than 0"):
        rnn.pack_padded_sequence(x, [1, 0])
    with pytest.raises(RuntimeError, match="equal to batch_size"):
        rnn.pack_padded_sequence(x, [1])
    with pytest.raises(RuntimeError, match=r"Expected 3, got 2|Expected 4, got 3"):
        nn.LSTM(4, 5)(x)
    with pytest.raises(RuntimeError, match=r"Expected hidden\[1\] size \(1, 2, 5\), got"):
        nn.LSTM(3, 5)(x, (torch.zeros(1, 2, 5), torch.zeros(1, 1, 5)))
    with pytest.raises(ValueError, match="does not match weight dtype"):
        nn.GRU(3, 5)(x.double())
    with pytest.raises(RuntimeError, match="sequence length to be larger than 0"):
        nn.GRU(3, 5)(x[:0])
    with pytest.raises(ValueError, match="proj_size has to be smaller"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.warns(UserWarning, match="dropout option adds dropout"):
        nn.RNN(3, 4, dropout=0.5)


@pytest.mark.parametrize("kind", LAYERS)
def test_launches_of_a_step_of_packed_sequences(kind: str) -> None:
    """As of others: runs of steps with as many rows are sequences."""
    layer = LAYERS[kind](4, 8)

    def launches(more: int, train: bool) -> int:
        parts = [torch.randn(steps + more, 4) for steps in (6, 6, 3)]
        packed = torch.nn.utils.rnn.pack_sequence(parts)
        for _ in range(2):
            before = snapshot().launches
            output, _ = layer(packed)
            if train:
                output.data.sum().backward()
        return snapshot().launches - before

    assert launches(5, False) - launches(0, False) == 5 * 2
    assert launches(5, True) - launches(0, True) == 5 * 4


def test_launches_of_a_projected_step() -> None:
    """Product, gates, projection and its weight's copy; with the way back 17, gates still fused."""
    layer = torch.nn.LSTM(4, 8, proj_size=3)

    def launches(steps: int, train: bool) -> int:
        x = torch.randn(steps, 2, 4)
        for _ in range(2):
            before = snapshot().launches
            output, _ = layer(x)
            if train:
                output.sum().backward()
        return snapshot().launches - before

    assert launches(9, False) - launches(4, False) <= 5 * 4
    assert launches(9, True) - launches(4, True) <= 5 * 17
