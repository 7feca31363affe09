"""Switches of PyTorch's back ends that programs set at their start.

But for `opt_einsum`, what they ask for holds here anyway or does not exist, and setting them has no
effect.
"""

from __future__ import annotations

from typing import Any


class _Backend:
    """Flags that can be set and read, and what the back end answers when it is not there."""

    def __init__(self, **flags: Any) -> None:
        self.__dict__.update(flags)

    def is_available(self) -> bool:
        """Whether tritorch computes with this library: with none of them."""
        return False

    def is_built(self) -> bool:
        """Whether it was built with this library: with none of them."""
        return False


#: every kernel of ours is deterministic, so `deterministic` and `benchmark` choose nothing
cudnn = _Backend(
    enabled=False, deterministic=True, benchmark=False, benchmark_limit=10, allow_tf32=False
)
cuda = _Backend(matmul=_Backend(allow_tf32=False))
mps = _Backend()
mkldnn = _Backend(enabled=False)
mkl = _Backend()
openmp = _Backend()


class _OptEinsum(_Backend):
    """How `einsum` orders the products of three operands or more."""

    enabled: bool
    strategy: str | None

    def is_available(self) -> bool:
        """Whether opt_einsum can be imported: always, it is a dependency."""
        return True


#: `enabled`: order products for the fewest operations, not from left to right; `strategy`: a word
#: of opt_einsum's `optimize=` ("auto", "greedy", "optimal", ...), None for "auto"
opt_einsum = _OptEinsum(enabled=True, strategy="auto")
