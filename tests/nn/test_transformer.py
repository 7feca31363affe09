"""Multi-head attention and transformer layers against NumPy, and against each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.autograd.gradcheck import gradcheck

BATCH, QUERIES, KEYS, WIDTH, HEADS = 3, 5, 7, 8, 2
PADDING = np.arange(KEYS) >= np.array([7, 4, 6])[:, None]
RANDOM = np.random.default_rng(7)
MASK = RANDOM.random((QUERIES, KEYS)) < 0.3
MASK[:, 0] = False


def tensor(*shape: int, dtype: Any = torch.float64) -> torch.Tensor:
    return torch.tensor(RANDOM.standard_normal(shape), dtype=dtype)


def parts(layer: nn.MultiheadAttention) -> list[np.ndarray]:
    """The projections of query, key and value."""
    if layer.in_proj_weight is not None:
        return np.split(layer.in_proj_weight.detach().numpy(), 3)
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    return [getattr(layer, name).detach().numpy() for name in names]


def reference(
    layer: nn.MultiheadAttention, query: np.ndarray, key: np.ndarray, value: np.ndarray,
    hidden: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Batch-first result and weights; hidden is (batch, heads, queries, keys)."""
    bias = np.zeros(3 * WIDTH)
    if layer.in_proj_bias is not None:
        bias = layer.in_proj_bias.detach().numpy()
    found = []
    for x, weight, own, learned in zip(
        (query, key, value), parts(layer), np.split(bias, 3), (None, layer.bias_k, layer.bias_v)
    ):
        y = x @ weight.T + own
        if learned is not None:
            y = np.concatenate([y, np.broadcast_to(learned.detach().numpy(), (BATCH, 1, WIDTH))], 1)
        y = y.reshape(*y.shape[:2], HEADS, -1).swapaxes(1, 2)
        if layer.add_zero_attn and x is not query:
            y = np.concatenate([y, np.zeros_like(y[:, :, :1])], 2)
        found.append(y)
    q, k, v = found
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(WIDTH // HEADS)
    more = np.zeros((*hidden.shape[:-1], scores.shape[-1] - hidden.shape[-1]), bool)
    scores = np.where(np.concatenate([hidden, more], -1), -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = weights / weights.sum(-1, keepdims=True)
    y = (weights @ v).swapaxes(1, 2).reshape(BATCH, -1, WIDTH)
    y = y @ layer.out_proj.weight.detach().numpy().T
    if layer.out_proj.bias is not None:
        y = y + layer.out_proj.bias.detach().numpy()
    return y, weights


OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"kdim": 6, "vdim": 3},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "add_bias_kv": True},
]


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_attention_of_several_heads(
    options: dict[str, Any], batch_first: bool, need_weights: bool
) -> None:
    layer = nn.MultiheadAttention(
        WIDTH, HEADS, batch_first=batch_first, dtype=torch.float64, **options
    )
    for bias in (layer.in_proj_bias, layer.out_proj.bias):
        if bias is not None:
            nn.init.normal_(bias)
    operands = (
        tensor(BATCH, QUERIES, WIDTH),
        tensor(BATCH, KEYS, options.get("kdim", WIDTH)),
        tensor(BATCH, KEYS, options.get("vdim", WIDTH)),
    )
    hidden = MASK | PADDING[:, None, None]
    hidden = np.broadcast_to(hidden, (BATCH, HEADS, QUERIES, KEYS))
    expected, shares = reference(layer, *(x.numpy() for x in operands), hidden)
    given = operands if batch_first else tuple(x.transpose(0, 1) for x in operands)
    added = torch.zeros(QUERIES, KEYS, dtype=torch.float64)
    added = added.masked_fill(torch.tensor(MASK), -math.inf)
    per_head = torch.tensor(np.broadcast_to(MASK, (BATCH * HEADS, QUERIES, KEYS)))
    for mask in (torch.tensor(MASK), added, per_head):
        found, weights = layer(
            *given, key_padding_mask=torch.tensor(PADDING), attn_mask=mask,
            need_weights=need_weights, average_attn_weights=False,
        )  # fmt: skip
        found = found if batch_first else found.transpose(0, 1)
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
        if need_weights:
            np.testing.assert_allclose(weights.detach().numpy(), shares, rtol=1e-9, atol=1e-12)
        else:
            assert weights is None


def test_gradients_reach_every_parameter() -> None:
    layer = nn.MultiheadAttention(4, 2, add_bias_kv=True, dtype=torch.float64)
    x = tensor(3, 2, 4).requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def run(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return layer(x, x, x, need_weights=False)[0]

    assert gradcheck(run, (x, *layer.parameters()))
    assert names == [
        "in_proj_weight", "in_proj_bias", "bias_k", "bias_v", "out_proj.weight", "out_proj.bias",
    ]  # fmt: skip


def test_without_batch_and_with_a_causal_hint() -> None:
    layer = nn.MultiheadAttention(WIDTH, HEADS, dtype=torch.float64)
    x = tensor(QUERIES, WIDTH)
    whole, shares = layer(x[:, None], x[:, None], x[:, None])
    found, alone = layer(x, x, x)
    assert found.shape == (QUERIES, WIDTH) and alone.shape == (QUERIES, QUERIES)
    assert torch.allclose(found, whole[:, 0]) and torch.allclose(alone, shares[0])
    mask = nn.Transformer.generate_square_subsequent_mask(QUERIES, dtype=torch.float64)
    hinted, _ = layer(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)
    assert torch.allclose(hinted, layer(x, x, x, attn_mask=mask)[0])
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        layer(x, x, x, is_causal=True)


def test_dropout_only_in_training() -> None:
    layer = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5)
    x = tensor(QUERIES, WIDTH, dtype=torch.float32)
    assert not torch.equal(*(layer(x, x, x, need_weights=False)[0] for _ in range(2)))
    layer.eval()
    assert torch.equal(*(layer(x, x, x, need_weights=False)[0] for _ in range(2)))


def test_refusals() -> None:
    with pytest.raises(AssertionError, match="divisible by num_heads"):
        nn.MultiheadAttention(7, 2)
    with pytest.raises(ValueError, match="must be greater than 0"):
        nn.MultiheadAttention(8, 0)
    layer, x = nn.MultiheadAttention(8, 2), torch.zeros(3, 2, 8)
    with pytest.raises(AssertionError, match="unbatched 2D or batched 3D"):
        layer(x[None], x, x)
    with pytest.raises(AssertionError, match="only bool and floating"):
        layer(x, x, x, attn_mask=torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="activation should be relu/gelu"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")
    model = nn.Transformer(8, 2, 1, 1, 16)
    with pytest.raises(RuntimeError, match="batch number of src and tgt"):
        model(x, torch.zeros(3, 1, 8))
    with pytest.raises(RuntimeError, match="feature number of src and tgt"):
        model(x[:, :, :4], x)


# ---- transformer layers


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["gelu", torch.tanh], ids=["gelu", "function"])
def test_encoder_layer_is_its_parts(norm_first: bool, activation: Any) -> None:
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 12, 0.1, activation, 1e-3, True, norm_first, dtype=torch.float64
    ).eval()
    x = tensor(BATCH, KEYS, WIDTH)
    padding = torch.tensor(PADDING)
    act = nn.functional.gelu if activation == "gelu" else activation

    def attended(y: torch.Tensor) -> torch.Tensor:
        return layer.self_attn(y, y, y, key_padding_mask=padding)[0]

    def network(y: torch.Tensor) -> torch.Tensor:
        return layer.linear2(act(layer.linear1(y)))

    if norm_first:
        y = x + attended(layer.norm1(x))
        expected = y + network(layer.norm2(y))
    else:
        y = layer.norm1(x + attended(x))
        expected = layer.norm2(y + network(y))
    assert torch.allclose(layer(x, src_key_padding_mask=padding), expected, atol=1e-12)


@pytest.mark.parametrize("batch_first", [True, False])
def test_decoder_sees_the_past_and_the_memory(batch_first: bool) -> None:
    """A later position of the target changes no earlier result; a padded one of the memory none."""
    model = nn.Transformer(
        WIDTH, HEADS, 1, 2, 12, batch_first=batch_first, dtype=torch.float64
    ).eval()
    source, target = tensor(BATCH, KEYS, WIDTH), tensor(BATCH, QUERIES, WIDTH)
    mask = model.generate_square_subsequent_mask(QUERIES, dtype=torch.float64)
    padding = torch.tensor(PADDING)

    def run(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not batch_first:
            source, target = source.transpose(0, 1), target.transpose(0, 1)
        found = model(
            source, target, tgt_mask=mask, src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )  # fmt: skip
        return found if batch_first else found.transpose(0, 1)

    before = run(source, target)
    target[:, 3] += 1.0
    after = run(source, target)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-12)
    assert not torch.allclose(before[:, 3:], after[:, 3:])
    source[1, 5] += 1.0  # padded
    assert torch.allclose(run(source, target), after, atol=1e-12)
    source[1, 2] += 1.0
    changed = run(source, target)
    assert torch.allclose(changed[0], after[0]) and not torch.allclose(changed[1], after[1])


def test_copies_share_nothing_and_train() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 12), 2)
    first, second = (layer.linear1.weight for layer in model.layers)
    assert torch.equal(first, second) and first is not second
    assert [*model.state_dict()][:4] == [
        "layers.0.self_attn.in_proj_weight", "layers.0.self_attn.in_proj_bias",
        "layers.0.self_attn.out_proj.weight", "layers.0.self_attn.out_proj.bias",
    ]  # fmt: skip
    x = tensor(KEYS, BATCH, WIDTH, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = (model(x) - x.flip(0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert not torch.equal(first, second)


def test_causal_mask_is_recognised() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, -math.inf, -math.inf], [0, 0, -math.inf], [0, 0, 0]]
    seen = []

    class Layer(nn.Module):
        def forward(self, x: Any, is_causal: bool = False, **_: Any) -> Any:
            seen.append(is_causal)
            return x

    encoder = nn.TransformerEncoder(Layer(), 1)
    x = torch.zeros(3, 1, 4)
    for given in (None, mask, mask + 1, mask == 0, mask[:2]):
        encoder(x, given)
    encoder(x, mask + 1, is_causal=True)
    assert seen == [False, True, False, False, False, True]
