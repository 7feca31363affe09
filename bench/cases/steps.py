"""Whole training steps."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.cases.case import Case, Program, Run, op


def _mlp_step(batch: int, **options: Any) -> Program:
    def program(torch: Any) -> Run:
        nn = torch.nn
        model = nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **options)
        x, y = torch.randn(batch, 784), torch.randint(0, 10, (batch,))
        loss_fn = nn.CrossEntropyLoss()

        def step() -> None:
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return program


def _gpt(torch: Any, layers: int, width: int, heads: int, length: int, vocabulary: int) -> Any:
    """A plain GPT of nn's layers, logits for every position."""
    nn, functional = torch.nn, torch.nn.functional

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            batch, rows, _ = x.shape
            q, k, v = (
                part.view(batch, rows, heads, width // heads).transpose(1, 2)
                for part in self.project(x).split(width, dim=2)
            )
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.merge(y.transpose(1, 2).contiguous().view(batch, rows, width))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.attention = nn.LayerNorm(width), Attention()
            self.norm2 = nn.LayerNorm(width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.places = nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, index: Any) -> Any:
            x = self.tokens(index) + self.places(torch.arange(index.shape[1]))
            return self.head(self.norm(self.blocks(x)))

    return GPT()


def _gpt_step(torch: Any, **options: Any) -> Run:
    vocabulary, batch, length = 256, 16, 128
    model = _gpt(torch, layers=4, width=128, heads=4, length=length, vocabulary=vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **options)
    text = torch.randint(0, vocabulary, (batch, length + 1))
    x, y = text[:, :-1], text[:, 1:]

    def step() -> None:
        logits = model(x)
        loss = torch.nn.functional.cross_entropy(logits.view(-1, vocabulary), y.reshape(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _cnn_step(torch: Any) -> Run:
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def _lstm_step(torch: Any) -> Run:
    nn = torch.nn
    model, head = nn.LSTM(32, 64, batch_first=True), nn.Linear(64, 10)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
    x, y = torch.randn(8, 32, 32), torch.randint(0, 10, (8,))

    def step() -> None:
        rows, _ = model(x)
        torch.nn.functional.cross_entropy(head(rows[:, -1]), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _replayed(name: str, program: Program, peer: Program, bar: float | None = None) -> Case:
    """Our step recorded once (after two others) and replayed, against the peer's step in Python."""

    def ours() -> Run:
        import tritorch

        step = program(tritorch)
        step()
        step()
        graph = tritorch.accelerator.Graph()
        with graph:
            step()
        return graph.replay

    return Case(name, ours, peer, bar=bar)


ROWS = [
    op("MLP 784-512-512-10 step, batch 32", _mlp_step(32), bar=0.9),
    op("MLP 784-512-512-10 step, batch 512", _mlp_step(512), bar=1.0),
    op("GPT step (4 layers, 128 wide, T 128, batch 16, AdamW)", _gpt_step, bar=1.0),
    op("CNN step (conv-bn-relu-pool twice, 32x3x32x32)", _cnn_step, bar=0.9),
    op("LSTM step (32 steps of 8x32, 64 wide, SGD)", _lstm_step),
    _replayed(
        "MLP 784-512-512-10 step, batch 32, replayed", _mlp_step(32, capturable=True), _mlp_step(32)
    ),
    _replayed("LSTM step (32 steps of 8x32, 64 wide, SGD), replayed", _lstm_step, _lstm_step),
    _replayed(
        "GPT step (4 layers, 128 wide, T 128, batch 16), replayed",
        partial(_gpt_step, capturable=True),
        _gpt_step,
    ),
]
