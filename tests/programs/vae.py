"""A variational auto-encoder of handwritten digits in black and white."""

from __future__ import annotations

from sklearn.datasets import load_digits

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

EPOCHS = 25
LATENT = 8


class Autoencoder(nn.Module):
    """Images (N, 64) to logits of their pixels, and mean and log variance of the latent."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, 2 * LATENT),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, 64),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(images).chunk(2, dim=-1)
        drawn = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder(drawn), mean, log_variance


def negative_bound(
    logits: torch.Tensor, images: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
) -> torch.Tensor:
    """Reconstruction plus divergence from the prior, in nats an image."""
    pixels = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return (pixels + divergence) / len(images)


def program(learning: Learning, seed: int = 0) -> None:
    """Train on 1,500 scans, test on the others; new digits look like old ones on the average."""
    torch.manual_seed(seed)
    data = torch.utils.data
    images = (torch.from_numpy(load_digits().data) >= 8).float()
    train, test = data.random_split(data.TensorDataset(images), [1500, 297])
    loader = data.DataLoader(train, batch_size=50, shuffle=True)
    held_out = images[test.indices]
    model = Autoencoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, EPOCHS)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )

    def nats() -> float:
        average.eval()
        with torch.no_grad():
            logits, mean, log_variance = average(held_out)
            return negative_bound(logits, held_out, mean, log_variance).item()

    for epoch in learning.steps(range(EPOCHS), EPOCHS, "test nats an image"):
        model.train()
        for (batch,) in loader:
            logits, mean, log_variance = model(batch)
            loss = negative_bound(logits, batch, mean, log_variance)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 5.0)
            optimizer.step()
            average.update_parameters(model)
        scheduler.step()
        learning.point(epoch + 1, nats())

    likely = images[train.indices].mean(dim=0).clamp(0.01, 0.99).expand_as(held_out)
    independent = functional.binary_cross_entropy(likely, held_out, reduction="sum") / len(held_out)
    learning.figure("nats below independent pixels", independent.item() - nats(), at_least=5.0)
    with torch.no_grad():
        new = torch.sigmoid(average.module.decoder(torch.randn(500, LATENT)))
    off = (new.mean(dim=0) - images.mean(dim=0)).abs().mean().item()
    learning.figure("mean pixel of new digits off by", off, at_most=0.06)
    spread = (new.std(dim=0).mean() / images.std(dim=0).mean()).item()
    learning.figure("spread of new digits over the real one", spread, at_least=0.5)


if __name__ == "__main__":
    run(program, __doc__)
