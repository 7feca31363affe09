"""A bidirectional LSTM reads lines of Python and says of each character what it belongs to."""

from __future__ import annotations

import io
import keyword
import os
import tokenize
from pathlib import Path

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional
rnn = nn.utils.rnn

EPOCHS = 2
BATCH = 64
FILES = ("ast", "textwrap", "random", "statistics", "shlex", "copy", "calendar", "string")
TAGS = ("space", "keyword", "name", "number", "string", "comment", "operator")
IGNORED = -1

Line = tuple[torch.Tensor, torch.Tensor]


def tagged_lines(source: str) -> list[Line]:
    """Characters and tags of each line, as Python's own tokenizer sees them."""
    kinds = {
        tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.COMMENT: "comment",
        tokenize.OP: "operator",
    }  # fmt: skip
    lines = source.splitlines()
    tags = [[0] * len(line) for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = kinds.get(token.type)
        if token.type == tokenize.NAME:
            kind = "keyword" if keyword.iskeyword(token.string) else "name"
        if kind is None or token.start[0] != token.end[0]:  # a text of several lines stays out
            kind = kind and "space"
        if kind:
            row, end = token.start[0] - 1, token.end[1]
            tags[row][token.start[1] : end] = [TAGS.index(kind)] * (end - token.start[1])
    texts = {
        row
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.STRING and token.start[0] != token.end[0]
        for row in range(token.start[0] - 1, token.end[0])
    }
    return [
        (torch.tensor([min(ord(c), 127) for c in line]), torch.tensor(tags[row]))
        for row, line in enumerate(lines)
        if line and row not in texts and len(line) <= 80
    ]


class Tagger(nn.Module):
    """Characters of lines of many lengths to logits of tags, (N, T, tags)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.characters = nn.Embedding(128, 32)
        self.lstm = nn.LSTM(32, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.1)
        self.tags = nn.Linear(2 * width, len(TAGS))

    def forward(self, lines: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = rnn.pack_padded_sequence(
            self.characters(lines), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.tags(self.dropout(states))


def together(lines: list[Line]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch: characters and tags, filled up to the longest line, and the lines' lengths."""
    characters, tags = zip(*lines, strict=True)
    return (
        rnn.pad_sequence(characters, batch_first=True),
        rnn.pad_sequence(tags, batch_first=True, padding_value=IGNORED),
        torch.tensor([len(line) for line in characters]),
    )


@torch.no_grad()
def accuracy(model: Tagger, loader: torch.utils.data.DataLoader) -> float:
    """The share of characters with the right tag."""
    model.eval()
    right = total = 0
    for characters, tags, lengths in loader:
        counted = tags != IGNORED
        right += (model(characters, lengths).argmax(-1) == tags)[counted].sum().item()
        total += counted.sum().item()
    model.train()
    return right / total


def program(learning: Learning, seed: int = 0) -> None:
    """Train on lines of a few modules, test on a sixth of them kept aside."""
    torch.manual_seed(seed)
    library = Path(os.__file__).parent
    lines = [line for name in FILES for line in tagged_lines((library / f"{name}.py").read_text())]
    data = torch.utils.data
    train, test = data.random_split(lines, [5 / 6, 1 / 6])
    loader = data.DataLoader(train, BATCH, shuffle=True, collate_fn=together, drop_last=True)
    test_loader = data.DataLoader(test, 256, collate_fn=together)
    model = Tagger()
    criterion = nn.CrossEntropyLoss(ignore_index=IGNORED)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))

    learning.point(0, accuracy(model, test_loader))
    step = 0
    for _ in range(EPOCHS):
        for characters, tags, lengths in learning.steps(loader, len(loader), "test accuracy"):
            logits = model(characters, lengths)
            loss = criterion(logits.flatten(0, 1), tags.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            step += 1
            if step % 15 == 0:
                learning.point(step, accuracy(model, test_loader))
    learning.figure("test accuracy", accuracy(model, test_loader), at_least=0.97)

    every = torch.cat([tags for _, tags in test])
    share = torch.bincount(every).max().item() / len(every)
    learning.figure("share of the commonest tag", share, at_most=0.6)


if __name__ == "__main__":
    run(program, __doc__)
