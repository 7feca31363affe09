"""What all tests share: kernels run with their own rules, not with what this machine has tuned."""

from __future__ import annotations

import os

# Set before tritorch reads its settings, and for the processes that tests start.
os.environ.setdefault("TRITORCH_TUNE_DB", os.path.join(os.sep, "nonexistent", "tune.sqlite"))
