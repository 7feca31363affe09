"""Frames of images, sampling at places of a grid."""

from __future__ import annotations

from typing import Any

from bench.cases.case import Case, Run, op


def _pad(mode: str, *shape: int, gradient: bool = False) -> Case:
    def program(torch: Any) -> Run:
        x = torch.randn(*shape, requires_grad=gradient)
        amounts = (3,) * (2 * (len(shape) - 2))
        pad = torch.nn.functional.pad
        if not gradient:
            return lambda: pad(x, amounts, mode)
        g = torch.randn(*pad(x, amounts, mode).shape)
        return lambda: torch.autograd.grad(pad(x, amounts, mode), x, g)

    suffix = ", with gradient" if gradient else ""
    return op(f"pad {mode}, {'x'.join(map(str, shape))}{suffix}", program)


def _grid_sample(gradient: bool, shape: tuple[int, ...], **options: Any) -> Case:
    def program(torch: Any) -> Run:
        x = torch.randn(*shape, requires_grad=gradient)
        grid = (torch.rand(shape[0], *shape[2:], len(shape) - 2) * 2.2 - 1.1).requires_grad_(
            gradient
        )
        sample = torch.nn.functional.grid_sample

        def run() -> Any:
            return sample(x, grid, align_corners=False, **options)

        if not gradient:
            return run
        g = torch.randn(*shape)
        return lambda: torch.autograd.grad(run(), (x, grid), g)

    words = [*map(str, options.values()), "x".join(map(str, shape))]
    return op(f"grid_sample {' '.join(words)}{', with gradients' * gradient}", program)


IMAGE, SERIES, VOLUME = (16, 32, 56, 56), (32, 64, 1000), (2, 8, 24, 24, 24)


ROWS: list[Case] = [
    *(_pad(mode, *shape) for mode in ("constant", "reflect", "replicate", "circular")
      for shape in (IMAGE, SERIES, VOLUME)),
    *(_pad(mode, *IMAGE, gradient=True) for mode in ("reflect", "replicate", "circular")),
    *(_grid_sample(False, IMAGE, mode=mode, padding_mode="zeros")
      for mode in ("bilinear", "nearest", "bicubic")),
    _grid_sample(False, IMAGE, mode="bilinear", padding_mode="border"),
    _grid_sample(False, IMAGE, mode="bilinear", padding_mode="reflection"),
    _grid_sample(False, VOLUME, mode="bilinear", padding_mode="zeros"),
    _grid_sample(True, IMAGE, mode="bilinear", padding_mode="zeros"),
]  # fmt: skip
