"""Modules whose parameters are allocated and not initialised."""

from __future__ import annotations

import inspect
from typing import Any

from tritorch.nn import init
from tritorch.nn.modules.module import Module


def skip_init(module_cls: type, *args: Any, **kwargs: Any) -> Any:
    """`module_cls(*args, **kwargs)` without initialising its parameters and buffers.

    Raises:
        RuntimeError: it is no Module class, or takes no `device`.
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    with init.skipped():
        return module_cls(*args, **kwargs)
