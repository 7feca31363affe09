"""A network of the shape of ResNet-18 takes a few steps on pictures of handwritten digits.

Source: He et al., 2015.
"""

from __future__ import annotations

from sklearn.datasets import load_digits

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

STEPS = 4
BATCH = 8
SIZE = 64


def convolution(before: int, after: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of a picture, but for its stride."""
    return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions beside their input."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(before, after, 3, stride), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = convolution(after, after, 3), nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                convolution(before, after, 1, stride), nn.BatchNorm2d(after)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += beside
        return self.relu(x)


class ResNet18(nn.Module):
    """Pictures (N, 3, H, W) to logits (N, 1000), with torchvision's names of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 64, 7, 2), nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        widths = (64, 64, 128, 256, 512)
        for number in range(1, 5):
            before, after, stride = widths[number - 1], widths[number], 1 if number == 1 else 2
            blocks = BasicBlock(before, after, stride), BasicBlock(after, after, 1)
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(512, 1000)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def program(learning: Learning, seed: int = 0) -> None:
    """Each step on a batch lowers its loss; the last is under autocast."""
    torch.manual_seed(seed)
    raw = load_digits()
    scans = torch.from_numpy(raw.images[:BATCH]).float().unsqueeze(1) / 8 - 1
    images = functional.interpolate(scans, size=(SIZE, SIZE), mode="bilinear").repeat(1, 3, 1, 1)
    labels = torch.from_numpy(raw.target[:BATCH])
    model = ResNet18()
    parameters = sum(p.numel() for p in model.parameters())
    learning.figure("parameters", parameters, at_least=11_689_512, at_most=11_689_512)
    learning.figure("entries of its state", len(model.state_dict()), at_least=122, at_most=122)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    for step in learning.steps(range(STEPS), STEPS, "loss"):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=step == STEPS - 1):
            loss = functional.cross_entropy(model(images), labels)
        learning.point(step, loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    losses = [value for _, value in learning.curve]
    learning.figure("loss after a step, of the first", losses[1] / losses[0], at_most=0.9)
    learning.figure("loss after three, of the first", losses[3] / losses[0], at_most=0.3)
    learning.figure("batches seen", model.bn1.num_batches_tracked.item(), at_least=4, at_most=4)
    model.eval()
    with torch.no_grad():
        alone, together = model(images[:1]), model(images)[:1]
    learning.figure("a batch changes logits by", (alone - together).abs().max(), at_most=1e-3)


if __name__ == "__main__":
    run(program, __doc__)
