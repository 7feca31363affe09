"""Whole training steps."""

from __future__ import annotations

from typing import Any

from bench.cases.case import Run, op


def _mlp_step(batch: int) -> Any:
    def program(torch: Any) -> Run:
        nn = torch.nn
        model = nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        x, y = torch.randn(batch, 784), torch.randint(0, 10, (batch,))
        loss_fn = nn.CrossEntropyLoss()

        def step() -> None:
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return program


ROWS = [
    op("MLP 784-512-512-10 step, batch 32", _mlp_step(32), bar=0.9),
    op("MLP 784-512-512-10 step, batch 512", _mlp_step(512), bar=1.0),
]
