"""The source text of a kernel: what generators print and what hand-written templates become."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class KernelSource:
    """A module body of `@triton.jit` functions and the one to compile.

    `triton` and `tl` (triton.language) are predefined in the body. The text is the whole truth
    about the kernel: caches are keyed by its hash, so a process that finds its machine code there
    never imports Triton.
    """

    name: str
    text: str

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.name}\n{self.text}".encode()).hexdigest()
