"""Convolutions of 8 images of 56 x 56, forward and both gradients."""

from __future__ import annotations

from typing import Any

from bench.cases.case import Case, Run, op

#: name -> (in channels, out channels, kernel, stride, padding, groups)
SHAPES = {
    "3x3 64": (64, 64, 3, 1, 1, 1),
    "1x1 64": (64, 64, 1, 1, 0, 1),
    "1x1 256 to 64": (256, 64, 1, 1, 0, 1),
    "depthwise 3x3 64": (64, 64, 3, 1, 1, 64),
    "3x3 64 stride 2": (64, 64, 3, 2, 1, 1),
}
_IMAGES, _SIZE = 8, 56


def _convolution(shape: tuple[int, ...], gradients: tuple[bool, bool]) -> Any:
    """Forward without gradients, or the gradients of input and weights that are asked for."""
    inputs, outputs, kernel, stride, padding, groups = shape

    def program(torch: Any) -> Run:
        torch.manual_seed(0)
        x = torch.randn(_IMAGES, inputs, _SIZE, _SIZE, requires_grad=gradients[0])
        w = torch.randn(outputs, inputs // groups, kernel, kernel, requires_grad=gradients[1])

        def forward() -> Any:
            return torch.nn.functional.conv2d(x, w, None, stride, padding, 1, groups)

        if not any(gradients):
            return forward
        wanted = [t for t in (x, w) if t.requires_grad]
        y = forward()
        g = torch.randn(*y.shape)
        return lambda: torch.autograd.grad(y, wanted, g, retain_graph=True)

    return program


def _operations(shape: tuple[int, ...]) -> int:
    inputs, outputs, kernel, stride, _, groups = shape
    return 2 * _IMAGES * outputs * (_SIZE // stride) ** 2 * (inputs // groups) * kernel**2


ROWS: list[Case] = [
    op(
        f"conv2d {name}{suffix}",
        _convolution(shape, gradients),
        operations=_operations(shape) * max(1, sum(gradients)),
        bar=0.8,
    )
    for name, shape in SHAPES.items()
    for suffix, gradients in (
        ("", (False, False)),
        (", gradient of the input", (True, False)),
        (", gradient of the weights", (False, True)),
        (", both gradients", (True, True)),
    )
]
