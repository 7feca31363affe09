"""`torch.jit` as PyTorch has it with PYTORCH_JIT=0: functions and modules stay Python.

What is scripted or traced is given back as it is, so programs that decorate their functions run.
There is no TorchScript: nothing can be saved as it or loaded from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tritorch.nn.modules.module import Module

__all__ = [
    "Final", "ScriptModule", "annotate", "export", "freeze", "ignore", "is_scripting", "is_tracing",
    "isinstance", "optimize_for_inference", "script", "script_if_tracing", "script_method", "trace",
    "unused",
]  # fmt: skip

_isinstance = isinstance


class ScriptModule(Module):
    """A module whose methods would be scripted; they stay Python."""


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """The function, class or module as it is."""
    return obj


def trace(func: Any, *args: Any, **kwargs: Any) -> Any:
    """The function or module as it is; the example inputs are not looked at."""
    return func


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """`@ignore` and `@ignore(...)`: the function as it is."""
    return drop if callable(drop) else (lambda function: function)


def unused(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it is."""
    return fn


export = script_method = script_if_tracing = unused


def freeze(mod: Any, preserved_attrs: Any = None, optimize_numerics: bool = True) -> Any:
    """The module as it is."""
    return mod


def optimize_for_inference(mod: Any, other_methods: Any = None) -> Any:
    """The module as it is."""
    return mod


def is_scripting() -> bool:
    """Whether TorchScript runs this: never."""
    return False


def is_tracing() -> bool:
    """Whether a trace is being recorded: never."""
    return False


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value; its type is for TorchScript."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Python's `isinstance`, where a list or dictionary of a type is one of its container."""
    return _isinstance(obj, getattr(target_type, "__origin__", target_type))
