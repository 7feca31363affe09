"""Train a small network to read real handwritten digits: `python -m tritorch.examples.digits`.

The network is the one of PyTorch's introduction. The 1,797 scans of 8 x 8 pixels come with
scikit-learn (UCI Optical Recognition of Handwritten Digits); a fifth of them is kept for testing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import tritorch as torch
from tritorch import nn
from tritorch.utils.data import DataLoader, TensorDataset


class NeuralNetwork(nn.Module):
    """Three linear layers with ReLU between them.

    Args:
        in_features: pixels of an image.
    Shape:
        images (N, ...) of in_features pixels each give logits (N, 10).
    """

    def __init__(self, in_features: int = 8 * 8) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(in_features, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.flatten(x)
        logits = self.linear_relu_stack(x)
        return logits


@dataclass
class Result:
    """What a run reached: accuracy as a fraction, times in seconds, loss after each batch."""

    accuracy: float
    samples: int
    training_seconds: float
    losses: list[float] = field(repr=False)
    model: NeuralNetwork = field(repr=False)
    test_images: torch.Tensor = field(repr=False)
    predictions: list[int] = field(repr=False)
    labels: list[int] = field(repr=False)


def load_digits(test_fraction: float = 0.2) -> tuple[TensorDataset, torch.Tensor, torch.Tensor]:
    """The scans, split by class with a fixed seed: training set, test images, test labels.

    Images are (N, 1, 8, 8) float32 with mean 0 and standard deviation 1.
    """
    try:
        from sklearn import datasets, model_selection
    except ImportError as error:
        raise SystemExit(
            "digits: the scans come with scikit-learn, which is not installed. "
            'Run pip install "tritorch[examples]".'
        ) from error
    raw = datasets.load_digits()
    kept, held_out = model_selection.train_test_split(
        range(len(raw.target)), test_size=test_fraction, random_state=0, stratify=raw.target
    )
    images = torch.from_numpy(raw.images).float().unsqueeze(1)
    images = (images - images.mean()) / images.std()
    labels = torch.from_numpy(raw.target).long()
    return TensorDataset(images[kept], labels[kept]), images[held_out], labels[held_out]


def train(epochs: int = 20, batch_size: int = 64, seed: int = 0, quiet: bool = False) -> Result:
    """Train from scratch with AdamW, its rate falling to zero; test on the scans held out."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    torch.manual_seed(seed)
    training, test_images, test_labels = load_digits()
    loader = DataLoader(training, batch_size=batch_size, shuffle=True)
    model = NeuralNetwork()
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)

    losses: list[float] = []
    start = time.perf_counter()
    columns = (
        TextColumn("epoch {task.fields[epoch]:>2}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task(
            "", total=epochs * len(loader), epoch=0, epochs=epochs, loss=float("nan")
        )
        for epoch in range(1, epochs + 1):
            model.train()
            for images, labels in loader:
                optimizer.param_groups[0]["lr"] = 2e-3 * (1 - len(losses) / (epochs * len(loader)))
                loss = loss_fn(model(images), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                progress.update(task, advance=1, epoch=epoch, loss=losses[-1])
    seconds = time.perf_counter() - start

    model.eval()
    with torch.no_grad():
        predicted = model(test_images).argmax(1)
        accuracy = (predicted == test_labels).float().mean().item()
    return Result(
        accuracy=accuracy,
        samples=epochs * len(training),
        training_seconds=seconds,
        losses=losses,
        model=model,
        test_images=test_images,
        predictions=predicted.tolist(),
        labels=test_labels.tolist(),
    )


def draw(result: Result, path: Path) -> None:
    """Save the loss curve and 24 test scans with their predictions (red where wrong)."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit(
            "digits: the picture needs matplotlib, which is not installed. "
            'Run pip install "tritorch[examples]", or pass --no-picture.'
        ) from error
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))  # type: ignore[misc]
    axes = left.subplots()
    axes.plot(result.losses, color="#9aa5b1", linewidth=0.8, label="batch")
    window = max(len(result.losses) // 40, 1)
    smooth = [
        sum(result.losses[max(0, i - window) : i + 1])
        / len(result.losses[max(0, i - window) : i + 1])
        for i in range(len(result.losses))
    ]
    axes.plot(smooth, color="#1f6feb", linewidth=1.8, label=f"mean of {window + 1}")
    axes.set(xlabel="batch", ylabel="cross entropy", yscale="log", title="training loss")
    axes.legend(frameon=False)
    right.suptitle(f"test scans and predictions: {result.accuracy:.1%} right")
    wrong = [i for i, (p, t) in enumerate(zip(result.predictions, result.labels)) if p != t]
    shown = sorted((wrong[:4] + [i for i in range(len(result.labels)) if i not in wrong])[:24])
    pixels = result.test_images.numpy()
    for axes, index in zip(right.subplots(4, 6).flat, shown):
        axes.imshow(pixels[index, 0], cmap="gray_r", interpolation="nearest")
        right_answer = result.predictions[index] == result.labels[index]
        truth = "" if right_answer else f" (is {result.labels[index]})"
        axes.set_title(
            f"{result.predictions[index]}{truth}",
            color="#1a7f37" if right_answer else "#cf222e",
            fontsize=10,
            pad=2,
        )
        axes.axis("off")
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Train, report, save the picture and the checkpoint."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(
        prog="python -m tritorch.examples.digits",
        description="Train a network on real handwritten digits, through Triton kernels only.",
    )
    parser.add_argument("--epochs", type=int, default=20, help="passes over the data (default 20)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and order (default 0)")
    parser.add_argument(
        "--output", type=Path, default=Path("."), help="directory for picture and checkpoint"
    )
    parser.add_argument("--no-picture", action="store_true", help="do not draw the picture")
    options = parser.parse_args(arguments)
    for name in ("epochs", "batch_size"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    options.output.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    result = train(options.epochs, options.batch_size, options.seed)
    total = time.perf_counter() - start
    checkpoint = options.output / "digits.pt"
    torch.save(result.model.state_dict(), checkpoint)
    picture = options.output / "digits.png"
    if not options.no_picture:
        draw(result, picture)

    stats = torch.kernels.stats()
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("test accuracy", f"{result.accuracy:.2%}"),
        ("samples/s", f"{result.samples / result.training_seconds:,.0f} while training"),
        ("wall time", f"{total:.1f} s with all compilation"),
        (
            "kernels",
            f"{stats.generated} generated, {stats.loaded} loaded from the cache, "
            f"{stats.launches:,} launches",
        ),
        ("compile time", f"{stats.compile_seconds:.2f} s"),
        ("kernel cache", str(torch.config.cache_dir)),
        ("checkpoint", str(checkpoint)),
        *([] if options.no_picture else [("picture", str(picture))]),
    ):
        table.add_row(name, value)
    Console().print(table)


if __name__ == "__main__":
    main()
