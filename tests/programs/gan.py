"""A generative adversarial network: two networks learn from each other what digits look like."""

from __future__ import annotations

from sklearn.datasets import load_digits

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

STEPS = 400
BATCH = 64
LATENT = 32


def generator() -> nn.Sequential:
    """Noise (N, LATENT) to images (N, 1, 8, 8) on ±1."""
    return nn.Sequential(
        nn.Linear(LATENT, 64 * 4, bias=False), nn.Unflatten(1, (64, 2, 2)),
        nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Sequential:
    """Images (N, 1, 8, 8) to logits of being real, (N,)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(64 * 4, 1), nn.Flatten(0),
    )  # fmt: skip


def program(learning: Learning, seed: int = 0) -> None:
    """The statistics of the pixels of made digits come close to those of real ones."""
    torch.manual_seed(seed)
    data = torch.utils.data
    real = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 8 - 1
    sampler = data.RandomSampler(real, replacement=True, num_samples=STEPS * BATCH)
    loader = data.DataLoader(data.TensorDataset(real), BATCH, sampler=sampler)
    make, judge = generator(), discriminator()
    criterion = nn.BCEWithLogitsLoss()
    makes = torch.optim.Adam(make.parameters(), lr=4e-3, betas=(0.5, 0.999))
    judges = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
    ones, zeros = torch.ones(BATCH), torch.zeros(BATCH)

    def off() -> float:
        """How far mean and deviation of the pixels are off, on the average."""
        make.eval()
        with torch.no_grad():
            made = make(torch.randn(500, LATENT))
        make.train()
        means = (made.mean(dim=0) - real.mean(dim=0)).abs().mean()
        return (means + (made.std(dim=0) - real.std(dim=0)).abs().mean()).item()

    for step, (images,) in enumerate(learning.steps(loader, STEPS, "pixels off by")):
        if step % 40 == 0:
            learning.point(step, off())
        made = make(torch.randn(BATCH, LATENT))
        judges.zero_grad()
        loss = criterion(judge(images), ones * 0.9) + criterion(judge(made.detach()), zeros)
        loss.backward()
        judges.step()

        judge.requires_grad_(False)
        makes.zero_grad()
        criterion(judge(made), ones).backward()
        makes.step()
        judge.requires_grad_(True)
    learning.point(STEPS, off())
    learning.figure("pixels off by", off(), at_most=0.45)
    made = make(torch.randn(500, LATENT))
    fooled = (judge(made) > 0).float().mean().item()
    learning.figure("share of made digits taken for real", fooled, at_least=0.01)


if __name__ == "__main__":
    run(program, __doc__)
