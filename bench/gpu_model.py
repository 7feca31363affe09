"""GPT-2 as a program that runs on both libraries, for `bench.gpu_rows`.

Source: Radford et al., Language Models are Unsupervised Multitask Learners (2019); the layout of
the module is that of nanoGPT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Of a GPT-2; the defaults are the one of 124 million parameters."""

    vocabulary: int = 50_257
    length: int = 1024
    batch: int = 16
    layers: int = 12
    heads: int = 12
    width: int = 768


TINY = Sizes(vocabulary=67, length=16, batch=2, layers=1, heads=2, width=32)


def gpt2(torch: Any, sizes: Sizes) -> Any:
    """The model: tokens (B, T) and targets (B, T) -> the mean cross entropy."""
    nn, functional = torch.nn, torch.nn.functional
    width = sizes.width

    class Attention(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            parts = self.qkv(x).split(width, dim=2)
            q, k, v = (
                part.view(batch, length, sizes.heads, width // sizes.heads).transpose(1, 2)
                for part in parts
            )
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).contiguous().view(batch, length, width))

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention = Attention()
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.first(x))
            return x + self.down(functional.gelu(self.up(self.second(x)), approximate="tanh"))

    class GPT(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(sizes.vocabulary, width)
            self.places = nn.Embedding(sizes.length, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(sizes.layers)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, sizes.vocabulary, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, tokens: Any, targets: Any) -> Any:
            places = torch.arange(tokens.shape[1], device=tokens.device)
            x = self.blocks(self.tokens(tokens) + self.places(places))
            scores = self.head(self.norm(x))
            return functional.cross_entropy(scores.view(-1, sizes.vocabulary), targets.view(-1))

    return GPT()


def training_step(
    torch: Any, device: str, sizes: Sizes, capturable: bool = False
) -> Callable[[], Any]:
    """Forward and backward in bfloat16's autocast, then AdamW; returns the loss.

    Args:
        capturable: a graph may take the whole step.
    """
    torch.manual_seed(0)
    model = gpt2(torch, sizes).to(device)
    options = {} if torch.__name__ == "tritorch" else {"fused": True}
    options["capturable"] = capturable
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1, **options)
    shape = sizes.batch, sizes.length
    tokens = torch.randint(0, sizes.vocabulary, shape, device=device)
    targets = torch.randint(0, sizes.vocabulary, shape, device=device)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(tokens, targets)
        loss.backward()
        optimizer.step()
        return loss

    return step
