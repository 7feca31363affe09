"""The two programs that PyTorch's introductions begin with, as printed there; only the import
differs.
"""

from __future__ import annotations

import re

import pytest


def test_tensors(capsys: pytest.CaptureFixture[str]) -> None:
    """Tensors on a device, arithmetic, reductions, indexing, printing."""
    # fmt: off
    import tritorch as torch

    device = torch.device("cpu")
    dtype = torch.float32
    torch.manual_seed(0)
    a = torch.randn(2, 3, device=device, dtype=dtype)
    b = torch.randn(2, 3, device=device, dtype=dtype)
    print(a)
    print(b)
    print(a * b)
    print(a.sum())
    print(a[1, 2])
    print(a.max())
    # fmt: on
    number = r"-?\d+\.\d{4}"
    row = rf"\[ ?{number}, +{number}, +{number}\]"
    matrix = rf"tensor\(\[{row},\n        {row}\]\)\n"
    scalar = rf"tensor\({number}\)\n"
    assert re.fullmatch(matrix * 3 + scalar * 3, capsys.readouterr().out)
    values = a.tolist()
    product = [[x * y for x, y in zip(r, s)] for r, s in zip(values, b.tolist())]
    flat = [x for r in values for x in r]
    assert [x for r in (a * b).tolist() for x in r] == pytest.approx(
        [x for r in product for x in r], rel=1e-6
    )
    assert a.sum().item() == pytest.approx(sum(flat), rel=1e-5)
    assert a[1, 2].item() == values[1][2]
    assert a.max().item() == max(flat)


def test_neural_network(capsys: pytest.CaptureFixture[str]) -> None:
    """The class as printed, its repr, logits, probabilities, a prediction, its parameters."""
    # fmt: off
    import tritorch as torch
    from tritorch import nn

    device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"  # noqa: E501
    print(f"Using {device} device")

    class NeuralNetwork(nn.Module):
        def __init__(self):
            super().__init__()
            self.flatten = nn.Flatten()
            self.linear_relu_stack = nn.Sequential(
                nn.Linear(28*28, 512),
                nn.ReLU(),
                nn.Linear(512, 512),
                nn.ReLU(),
                nn.Linear(512, 10),
            )

        def forward(self, x):
            x = self.flatten(x)
            logits = self.linear_relu_stack(x)
            return logits

    model = NeuralNetwork().to(device)
    print(model)

    X = torch.rand(1, 28, 28, device=device)
    logits = model(X)
    pred_probab = nn.Softmax(dim=1)(logits)
    y_pred = pred_probab.argmax(1)
    print(f"Predicted class: {y_pred}")

    for name, param in model.named_parameters():
        print(f"Layer: {name} | Size: {param.size()}")
    # fmt: on
    lines = capsys.readouterr().out
    predicted = re.search(r"Predicted class: tensor\(\[(\d)\]\)\n", lines)
    assert predicted is not None
    assert lines.replace(predicted[0], "") == (
        "Using cpu device\n"
        "NeuralNetwork(\n"
        "  (flatten): Flatten(start_dim=1, end_dim=-1)\n"
        "  (linear_relu_stack): Sequential(\n"
        "    (0): Linear(in_features=784, out_features=512, bias=True)\n"
        "    (1): ReLU()\n"
        "    (2): Linear(in_features=512, out_features=512, bias=True)\n"
        "    (3): ReLU()\n"
        "    (4): Linear(in_features=512, out_features=10, bias=True)\n"
        "  )\n"
        ")\n"
        "Layer: linear_relu_stack.0.weight | Size: torch.Size([512, 784])\n"
        "Layer: linear_relu_stack.0.bias | Size: torch.Size([512])\n"
        "Layer: linear_relu_stack.2.weight | Size: torch.Size([512, 512])\n"
        "Layer: linear_relu_stack.2.bias | Size: torch.Size([512])\n"
        "Layer: linear_relu_stack.4.weight | Size: torch.Size([10, 512])\n"
        "Layer: linear_relu_stack.4.bias | Size: torch.Size([10])\n"
    )
    assert pred_probab.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert int(predicted[1]) == pred_probab.tolist()[0].index(max(pred_probab.tolist()[0]))
    logits.sum().backward()
    assert all(p.grad.shape == p.shape for p in model.parameters())
