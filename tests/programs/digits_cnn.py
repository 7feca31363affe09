"""A convolutional network reads handwritten digits: 1,797 scans of 8 x 8 pixels."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sklearn.datasets import load_digits

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

EPOCHS = 20
BATCH = 64


class Network(nn.Module):
    """Two blocks of convolutions, then two linear layers: (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )

        self.features = nn.Sequential(block(1, width), block(width, 2 * width))
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * width * 4, 128), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images))


class Digits(torch.utils.data.Dataset):
    """The scans, with mean 0 and deviation 1; shifted by up to a pixel while training."""

    def __init__(self, shift: bool) -> None:
        raw = load_digits()
        images = torch.from_numpy(raw.images).float().unsqueeze(1)
        self.images = functional.pad((images - images.mean()) / images.std(), (1, 1, 1, 1))
        self.labels = torch.from_numpy(raw.target)
        self.shift = shift

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        down, right = torch.randint(0, 3, (2,)).tolist() if self.shift else (1, 1)
        image = self.images[index, :, down : down + 8, right : right + 8]
        return image, self.labels[index]


@torch.no_grad()
def accuracy(model: nn.Module, loader: torch.utils.data.DataLoader) -> float:
    """The share of right answers."""
    model.eval()
    right = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def program(learning: Learning, seed: int = 0) -> None:
    """Train on four fifths, test on the rest; the checkpoint gives the same answers."""
    torch.manual_seed(seed)
    data = torch.utils.data
    split = data.random_split(range(1797), [0.8, 0.2])
    train = data.DataLoader(
        data.Subset(Digits(shift=True), split[0].indices), batch_size=BATCH, shuffle=True,
        drop_last=True, num_workers=2, persistent_workers=True,
    )  # fmt: skip
    test = data.DataLoader(data.Subset(Digits(shift=False), split[1].indices), batch_size=256)
    model = Network()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=8e-3, epochs=EPOCHS, steps_per_epoch=len(train)
    )
    for epoch in learning.steps(range(EPOCHS), EPOCHS, "test accuracy"):
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
        learning.point(epoch + 1, accuracy(model, test))
    learning.figure("test accuracy", accuracy(model, test), at_least=0.98)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.pt"
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        checkpoint = torch.load(path)
        loaded = Network()
        loaded.load_state_dict(checkpoint["model"])
    difference = accuracy(loaded, test) - accuracy(model, test)
    learning.figure("accuracy that the checkpoint loses", abs(difference), at_most=0.0)


if __name__ == "__main__":
    run(program, __doc__)
