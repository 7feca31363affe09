"""Modules on several devices at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tritorch
from tritorch.nn.modules.module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """A module whose batch is shared out among devices; with one device it is called as it is.

    Args:
        module: what is called.
        device_ids: GPUs; all of them unless given.
        output_device, dim: kept for PyTorch's sake.
    Raises:
        NotImplementedError: there is more than one device.
    """

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None,
        dim: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if device_ids is None:
            device_ids = range(tritorch.cuda.device_count())
        if len(device_ids) > 1:
            raise NotImplementedError(
                f"DataParallel: got {len(device_ids)} devices; batches are not shared out among "
                "several. Give one with device_ids=[0]."
            )
        self.dim = dim
        self.module = module
        self.device_ids = list(device_ids)
        self.output_device = output_device
        if self.device_ids:
            self.module.to(tritorch.device("cuda", int(self.device_ids[0])))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)
