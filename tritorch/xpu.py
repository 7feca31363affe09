"""`torch.xpu`: Intel's GPUs, of which there are none here; programs ask before they use them."""

from tritorch.absent_device import (
    device_count,
    empty_cache,
    is_available,
    manual_seed,
    synchronize,
)

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "synchronize"]
