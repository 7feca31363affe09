"""What the kernels did in this process, and how to see their sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritorch import runtime, triton_api
from tritorch.kernels.plan import Plan
from tritorch.runtime import Kernel, statistics


def stats() -> statistics.Snapshot:
    """Counts since the start or the last `reset_stats()`.

    Returns:
        a record with `generated` (compiled in this process), `loaded` (from the cache), `launches`,
        `compile_seconds` and `launches_by_kernel`.
    """
    return statistics.snapshot()


def reset_stats() -> None:
    """Count from zero again."""
    statistics.reset()


def launched(function: Callable[..., Any], *operands: Any, **options: Any) -> list[Kernel]:
    """The kernels that a call launches; the call is made (kernels of other threads count too)."""
    before = {id(kernel): kernel.launches for kernel in runtime.kernels()}
    function(*operands, **options)
    return [k for k in runtime.kernels() if k.launches > before.get(id(k), 0)]


def source(what: Any, *operands: Any, **options: Any) -> str:
    """The Triton source of a plan's kernels, a kernel, a KernelSource, or of a call.

    Of a function it is the source of all kernels that `what(*operands, **options)` launches.

    Example:
        >>> import tritorch as torch
        >>> print(torch.kernels.source(torch.exp, torch.ones(3)))  # doctest: +ELLIPSIS
        @triton.jit
        def exp_f32_1d(...
    """
    if isinstance(what, Plan):
        return "\n\n".join(dict.fromkeys(source(kernel) for kernel in what.kernels))
    if callable(what):
        kernels = launched(what, *operands, **options)
        return "\n\n".join(dict.fromkeys(source(kernel) for kernel in kernels))
    return triton_api.source_text(getattr(what, "source", what))
