"""`torch.version`: what this build is made for; CUDA is found when asked for, not built in."""

from __future__ import annotations

from tritorch import __version__

cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version = "unknown"
debug = False

__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "xpu"]
