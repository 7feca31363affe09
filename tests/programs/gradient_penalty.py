"""A critic with a gradient penalty tells digits from noise: training by second derivatives.

Source: Gulrajani et al., 2017.
"""

from __future__ import annotations

from sklearn.datasets import load_digits

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

STEPS = 200
BATCH = 64


class Critic(nn.Module):
    """Images (N, 1, 8, 8) to how real they look, (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.GroupNorm(4, 16), nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(32 * 4, 64), nn.Softplus(), nn.Linear(64, 1),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).squeeze(1)


def slopes(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Norms of the critic's gradients between real and fake images, differentiable, (N,)."""
    share = torch.rand(len(real), 1, 1, 1, dtype=real.dtype)
    mixed = torch.lerp(fake, real, share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return gradient.flatten(1).norm(dim=1)


def penalty_is_differentiated_rightly(critic: nn.Module, images: torch.Tensor) -> float:
    """How far the penalty's derivative along a direction is off, from differences in float64."""
    critic, images = critic.double(), images.double()
    weight = critic.layers[0].weight
    direction = torch.randn_like(weight)

    def penalty() -> torch.Tensor:
        torch.manual_seed(0)
        return (slopes(critic, images, -images) - 1).square().mean()

    critic.zero_grad()
    penalty().backward()
    found = (weight.grad * direction).sum()
    values = []
    for way in (1, -1):
        with torch.no_grad():
            weight += way * 1e-5 * direction
        values.append(penalty().detach())
        with torch.no_grad():
            weight -= way * 1e-5 * direction
    return abs((values[0] - values[1]) / 2e-5 / found - 1).item()


def program(learning: Learning, seed: int = 0) -> None:
    """The critic's slopes become 1, and it tells real images from shuffled ones."""
    torch.manual_seed(seed)
    images = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 8 - 1
    critic = Critic()
    optimizer = torch.optim.AdamW(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    clock = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in learning.steps(range(STEPS), STEPS, "slopes off 1 by"):
        real = images[torch.randint(0, len(images), (BATCH,))]
        fake = real.flatten(1)[:, torch.randperm(64)].view_as(real)
        slope = slopes(critic, real, fake)
        distance = critic(real).mean() - critic(fake).mean()
        loss = 10 * (slope - 1).square().mean() - distance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clock.step()
        if step % 20 == 0 or step == STEPS - 1:
            learning.point(step, (slope - 1).abs().mean().item())
    learning.figure("slopes off 1 by", learning.curve[-1][1], at_most=0.45)
    learning.figure("distance of noise from digits", distance.item(), at_least=2.0)
    with torch.no_grad():
        scores = critic(images), critic(images.flatten(1)[:, torch.randperm(64)].view_as(images))
        right = (scores[0] > scores[1]).float().mean().item()
    learning.figure("pairs told apart", right, at_least=0.97)
    off = penalty_is_differentiated_rightly(critic, images[:16])
    learning.figure("second derivatives off by", off, at_most=1e-4)


if __name__ == "__main__":
    run(program, __doc__)
