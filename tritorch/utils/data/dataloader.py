"""PyTorch's place of `DataLoader` and of what programs import beside it."""

from tritorch.utils.data.collate import default_collate, default_convert
from tritorch.utils.data.loader import DataLoader
from tritorch.utils.data.worker import get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]
