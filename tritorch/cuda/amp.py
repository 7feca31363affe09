"""PyTorch's older names of `tritorch.amp` for GPUs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from tritorch import amp, dtypes
from tritorch.amp.grad_scaler import GradScaler as _GradScaler
from tritorch.dtypes import dtype as Dtype

__all__ = ["GradScaler", "amp_definitely_not_available", "autocast", "custom_bwd", "custom_fwd"]

#: decorators of custom Functions
custom_fwd: Callable[..., Any] = partial(amp.custom_fwd, device_type="cuda")
custom_bwd: Callable[..., Any] = partial(amp.custom_bwd, device_type="cuda")


def _warn(name: str) -> None:
    warnings.warn(
        f"`torch.cuda.amp.{name}(args...)` is deprecated. Please use `torch.amp.{name}('cuda', "
        "args...)` instead.",
        FutureWarning,
        stacklevel=3,
    )


def amp_definitely_not_available() -> bool:
    """Whether there is no GPU."""
    from tritorch import cuda

    return not cuda.is_available()


class autocast(amp.autocast):
    """`tritorch.amp.autocast("cuda", ...)`."""

    def __init__(
        self, enabled: bool = True, dtype: Dtype = dtypes.float16, cache_enabled: bool = True
    ) -> None:
        _warn("autocast")
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(_GradScaler):
    """`tritorch.amp.GradScaler("cuda", ...)`."""

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        _warn("GradScaler")
        super().__init__(
            "cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled
        )
