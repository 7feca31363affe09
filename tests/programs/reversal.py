"""A Transformer of encoder and decoder writes the words of Python's library backwards."""

from __future__ import annotations

import os
import re
from pathlib import Path

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

STEPS = 500
BATCH = 128
WIDTH = 64
LONGEST = 8
PAD, START, END = 0, 1, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words() -> list[str]:
    """The words of three to eight letters in the standard library, each once."""
    files = sorted(Path(os.__file__).parent.glob("*.py"))
    text = " ".join(path.read_text(errors="replace") for path in files)
    return sorted(set(re.findall(rf"(?<![a-z])[a-z]{{3,{LONGEST}}}(?![a-z])", text)))


def coded(words: list[str]) -> torch.Tensor:
    """Numbers of the letters between start and end, (N, LONGEST + 2)."""
    rows = [torch.tensor([START, *(LETTERS.index(c) + 3 for c in w), END]) for w in words]
    rows.append(torch.zeros(LONGEST + 2, dtype=torch.long))
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)[:-1]


def decoded(row: list[int]) -> str:
    """The letters up to the end."""
    return "".join(LETTERS[n - 3] for n in row[1 : row.index(END) if END in row else None] if n > 2)


class Reverser(nn.Module):
    """Words, and what is written so far, to logits of the letters to write, (N, T, letters)."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS) + 3, WIDTH, padding_idx=PAD)
        self.places = nn.Embedding(LONGEST + 2, WIDTH)
        self.transformer = nn.Transformer(
            WIDTH, nhead=4, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=128,
            dropout=0.0, batch_first=True, norm_first=True,
        )  # fmt: skip
        self.head = nn.Linear(WIDTH, len(LETTERS) + 3)

    def _embedded(self, text: torch.Tensor) -> torch.Tensor:
        return self.letters(text) + self.places(torch.arange(text.shape[1]))

    def forward(self, words: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(written.shape[1])
        found = self.transformer(
            self._embedded(words), self._embedded(written), tgt_mask=causal, tgt_is_causal=True,
            src_key_padding_mask=words == PAD, memory_key_padding_mask=words == PAD,
        )  # fmt: skip
        return self.head(found)

    @torch.no_grad()
    def write(self, words: torch.Tensor) -> torch.Tensor:
        """The likeliest letter, one after another."""
        written = torch.full((len(words), 1), START)
        for _ in range(LONGEST + 1):
            likeliest = self(words, written)[:, -1].argmax(dim=-1, keepdim=True)
            written = torch.cat((written, likeliest), dim=1)
        return written


def program(learning: Learning, seed: int = 0) -> None:
    """Every word kept for testing is written backwards without a mistake."""
    torch.manual_seed(seed)
    data = torch.utils.data
    known = words()
    train, test = data.random_split(known, [len(known) - 300, 300])
    pairs = data.TensorDataset(coded(list(train)), coded([word[::-1] for word in train]))
    test_words = coded(list(test))
    sampler = data.RandomSampler(pairs, replacement=True, num_samples=STEPS * BATCH)
    loader = data.DataLoader(pairs, BATCH, sampler=sampler)
    model = Reverser()
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=STEPS)

    def exact() -> float:
        """The share of words without a mistake."""
        model.eval()
        answers = [decoded(row) for row in model.write(test_words).tolist()]
        model.train()
        return sum(a == word[::-1] for a, word in zip(answers, test, strict=True)) / len(test)

    for step, (batch, wanted) in enumerate(learning.steps(loader, STEPS, "exact matches")):
        if step % (STEPS // 5) == 0:
            learning.point(step, exact())
        loss = criterion(model(batch, wanted[:, :-1]).transpose(1, 2), wanted[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
    learning.point(STEPS, exact())
    learning.figure("exact matches of 300 new words", exact(), at_least=1.0)


if __name__ == "__main__":
    run(program, __doc__)
