"""A GPT of four layers learns the text of Python's standard library, a byte at a time."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

STEPS = 360
BATCH, LENGTH = 16, 64
LAYERS, WIDTH, HEADS = 4, 128, 4


class Attention(nn.Module):
    """Causal self-attention of several heads: (N, T, width) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.merge = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        parts = self.project(x).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.merge(found.transpose(1, 2).reshape(batch, length, WIDTH))


class Block(nn.Module):
    """Attention and a perceptron, each beside its input."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.norm = nn.LayerNorm(WIDTH)
        self.perceptron = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.perceptron(self.norm(x))


class GPT(nn.Module):
    """Bytes (N, T) to logits of the next ones, (N, T, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(256, WIDTH)
        self.places = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        self.nearest = nn.Conv1d(WIDTH, WIDTH, kernel_size=4)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 256)
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, Block):
            nn.init.zeros_(module.attention.merge.weight)
            nn.init.zeros_(module.perceptron[-1].weight)
        elif isinstance(module, GPT):
            nn.init.zeros_(module.head.weight)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        x = self.tokens(text)
        before = functional.pad(x.transpose(1, 2), (3, 0))  # a byte sees three before it
        x = x + self.nearest(before).transpose(1, 2) + self.places[: text.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    @torch.inference_mode()
    def sample(self, start: bytes, texts: int, count: int, temperature: float = 0.7) -> list[bytes]:
        """Texts that begin with `start`, a byte drawn at a time."""
        text = torch.tensor([list(start)]).repeat(texts, 1)
        for _ in range(count):
            logits = self(text[:, -LENGTH:])[:, -1] / temperature
            best, _ = logits.topk(20)
            logits[logits < best[:, -1:]] = -math.inf
            drawn = torch.multinomial(logits.softmax(dim=-1), num_samples=1)
            text = torch.cat([text, drawn], dim=1)
        return [bytes(row) for row in text.tolist()]


def library() -> torch.Tensor:
    """The modules of the standard library in one row of bytes."""
    files = sorted(Path(os.__file__).parent.glob("*.py"))
    text = b"\n".join(path.read_bytes() for path in files)
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def unigram_bits(train: torch.Tensor, test: torch.Tensor) -> float:
    """Bits a byte of a model that knows how often each byte occurs, and nothing else."""
    counts = torch.bincount(train, minlength=256) + 1
    return -(counts / counts.sum()).log2()[test].mean().item()


def program(learning: Learning, seed: int = 0) -> None:
    """Train on nine tenths, test on the rest, then write some Python."""
    torch.manual_seed(seed)
    text = library()
    cut = len(text) * 9 // 10
    train, test = text[:cut], text[cut:]
    span = torch.arange(LENGTH + 1)
    model = GPT()
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not m for m in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.01, ns_steps=4),
        torch.optim.AdamW(others, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, 1.5 * (1 - step / STEPS)))
        for o in optimizers
    ]

    def bits() -> float:
        """Bits a byte on 64 pieces of the text kept for testing."""
        model.eval()
        starts = torch.linspace(0, len(test) - LENGTH - 1, 64).long()
        pieces = test[starts[:, None] + span]
        with torch.no_grad():
            logits = model(pieces[:, :-1])
            loss = functional.cross_entropy(logits.flatten(0, 1), pieces[:, 1:].flatten())
        model.train()
        return loss.item() / math.log(2)

    for step in learning.steps(range(STEPS), STEPS, "test bits a byte"):
        if step % (STEPS // 10) == 0:
            learning.point(step, bits())
        starts = torch.randint(0, len(train) - LENGTH, (BATCH, 1))
        pieces = train[starts + span]
        logits = model(pieces[:, :-1])
        loss = functional.cross_entropy(logits.view(-1, 256), pieces[:, 1:].reshape(-1))
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
    learning.point(STEPS, bits())
    baseline = unigram_bits(train, test)
    learning.figure("bits a byte below unigrams", baseline - bits(), at_least=2.0)

    start = b"import os\n\ndef "
    written = model.sample(start, texts=8, count=120)
    if not learning.quiet:
        print(*[text.decode(errors="replace") for text in written], sep="\n" + "-" * 80 + "\n")
    known = set(re.findall(rb"[a-z]{2,}", bytes(train.to(torch.uint8).numpy())))
    words = [word for text in written for word in re.findall(rb"[a-z]{2,}", text[len(start) :])]
    learning.figure("words of the samples", len(words), at_least=30)
    share = sum(word in known for word in words) / max(len(words), 1)
    learning.figure("share of them known to the library", share, at_least=0.45)


if __name__ == "__main__":
    run(program, __doc__)
