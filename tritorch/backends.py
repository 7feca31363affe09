"""Switches of PyTorch's back ends that programs set at their start.

But for `opt_einsum`, what they ask for holds here anyway or does not exist, and setting them has no
effect.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tritorch.config import config

#: `import tritorch.backends.cudnn` finds it among the loaded modules
__path__: list[str] = []


class _Backend(ModuleType):
    """Flags that can be set and read, and what the back end answers when it is not there.

    A module, since programs write `import torch.backends.cudnn as cudnn`.
    """

    def __init__(self, name: str, **flags: Any) -> None:
        super().__init__(f"tritorch.backends.{name}", type(self).__doc__)
        self.__dict__.update(flags)
        sys.modules[self.__name__] = self

    def is_available(self) -> bool:
        """Whether tritorch computes with this library: with none of them."""
        return False

    def is_built(self) -> bool:
        """Whether it was built with this library: with none of them."""
        return False

    def version(self) -> None:
        """Its version: none, it is not here."""

    @contextmanager
    def flags(self, **flags: Any) -> Iterator[None]:
        """Flags for a block."""
        before = dict(self.__dict__)
        self.__dict__.update(flags)
        try:
            yield
        finally:
            self.__dict__.clear()
            self.__dict__.update(before)


#: every kernel of ours is deterministic, so `deterministic` and `benchmark` choose nothing
cudnn = _Backend(
    "cudnn",
    enabled=False,
    deterministic=True,
    benchmark=False,
    benchmark_limit=10,
    allow_tf32=False,
)


class _Products(_Backend):
    """Products on GPUs."""

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 may be multiplied with the ten bits of tf32; see
        `set_float32_matmul_precision`."""
        return config.float32_matmul != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        config.float32_matmul = "high" if allowed else "highest"

    @property
    def fp32_precision(self) -> str:
        """The same in other words: `tf32`, or `ieee` for exact products."""
        return "tf32" if self.allow_tf32 else "ieee"

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        if precision not in ("ieee", "tf32", "none"):
            raise ValueError(
                f"fp32_precision: one of 'ieee', 'tf32', 'none' (as 'ieee'), got {precision!r}."
            )
        self.allow_tf32 = precision == "tf32"


class _Attention(_Backend):
    """What PyTorch's kernels for attention are chosen by; ours takes every mask and dtype."""

    def is_built(self) -> bool:
        """Whether kernels can be compiled for NVIDIA's GPUs: always, Triton does it."""
        return True

    @contextmanager
    def sdp_kernel(self, *kernels: bool, **named: bool) -> Iterator[None]:
        """Allow some of PyTorch's kernels for a block: nothing depends on it."""
        yield

    def preferred_linalg_library(self, backend: Any = None) -> str:
        """Which library computes: none of those that PyTorch chooses from."""
        return "triton"

    preferred_blas_library = preferred_linalg_library

    def enable_flash_sdp(self, enabled: bool) -> None:
        """Allow one of PyTorch's kernels: nothing depends on it."""

    enable_mem_efficient_sdp = enable_math_sdp = enable_cudnn_sdp = enable_flash_sdp

    def flash_sdp_enabled(self) -> bool:
        """Whether it is allowed: there is one kernel, of this kind."""
        return True

    def math_sdp_enabled(self) -> bool:
        """Whether attention may be computed in steps: it never is."""
        return False

    mem_efficient_sdp_enabled = cudnn_sdp_enabled = math_sdp_enabled


cuda = _Attention("cuda", matmul=_Products("cuda.matmul"))
mps = _Backend("mps")
mkldnn = _Backend("mkldnn", enabled=False)
mkl = _Backend("mkl")
openmp = _Backend("openmp")


class _OptEinsum(_Backend):
    """How `einsum` orders the products of three operands or more."""

    enabled: bool
    strategy: str | None

    def is_available(self) -> bool:
        """Whether opt_einsum can be imported: always, it is a dependency."""
        return True


#: `enabled`: order products for the fewest operations, not from left to right; `strategy`: a word
#: of opt_einsum's `optimize=` ("auto", "greedy", "optimal", ...), None for "auto"
opt_einsum = _OptEinsum("opt_einsum", enabled=True, strategy="auto")


_PRECISIONS = ("highest", "high", "medium")


def set_float32_matmul_precision(precision: str) -> None:
    """Permit GPUs to round the operands of float32 products to tf32, unless it is `highest`.

    Those made on CPUs are exact whatever is permitted.

    Raises:
        RuntimeError: none of `highest`, `high`, `medium`.
    """
    if precision not in _PRECISIONS:
        raise RuntimeError(
            f"set_float32_matmul_precision: one of {', '.join(_PRECISIONS)}, got {precision!r}."
        )
    config.float32_matmul = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told last; `highest` at first."""
    return config.float32_matmul
