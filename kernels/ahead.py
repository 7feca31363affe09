"""Compiling a program's kernels before it runs, several at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tritorch import runtime
from tritorch.kernel_source import KernelSource

_PLAIN = (bool, int, float, str, type(None))


def needed() -> list[dict[str, Any]]:
    """What to compile for a program like this process so far: plain data, ready for JSON.

    Example:
        >>> import json, tritorch as torch
        >>> _ = torch.exp(torch.ones(3))
        >>> text = json.dumps(torch.kernels.needed()[-1:])  # then in another process:
        >>> _ = torch.kernels.compile_all(json.loads(text))
    """
    return [
        {
            "name": kernel.name,
            "text": kernel.source.text,
            "signature": kernel.signature,
            "constants": kernel.constants,
        }
        for kernel in runtime.kernels()
        if isinstance(kernel.source, KernelSource)
        and all(isinstance(value, _PLAIN) for value in kernel.constants.values())
    ]


def compile_all(kernels: Iterable[Mapping[str, Any]], processes: int | None = None) -> int:
    """Compile what the cache lacks of such a list, in several processes.

    Of use where the cache is empty: in an image, on a new machine, after an upgrade.

    Args:
        kernels: as `needed()` gives it.
        processes: how many work at once, this one included; None: as many as pay for their start,
            and no more than `get_num_threads()`.
    Returns:
        the number of kernels compiled.
    Raises:
        CompileError: a kernel does not compile, or the cache is off.
    """
    from tritorch.triton_cpu.workers import Request, compile_many

    requests = [
        Request(KernelSource(k["name"], k["text"]), k["signature"], k["constants"], {})
        for k in kernels
    ]
    return compile_many(requests, processes)
