"""`torch.compile` and `torch.compiler` for programs that call them: what they get runs eagerly.

Every operation is a compiled kernel already, but graphs of several are not fused into one, so
nothing is faster for being compiled. A program that asks is told once. For a step without Python's
part see `tritorch.accelerator.Graph`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from tritorch.nn.modules.module import Module
from tritorch.once import once

__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset",
]  # fmt: skip


class OptimizedModule(Module):
    """What `compile` makes of a module: calls go to it, and so do attributes.

    The names of its state begin with `_orig_mod.`, as in the checkpoints that PyTorch's programs
    write of compiled modules.
    """

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._orig_mod = module

    @property
    def training(self) -> bool:
        """The mode of the module within."""
        return self._orig_mod.training

    @training.setter
    def training(self, mode: bool) -> None:
        if "_orig_mod" in self.__dict__.get("_modules", ()):
            self._orig_mod.training = mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return super().__getattr__(name)
        return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        made = "_orig_mod" in self.__dict__.get("_modules", ())
        if made and name not in ("_orig_mod", "forward", "training"):
            setattr(self._orig_mod, name, value)
        else:
            super().__setattr__(name, value)


@once
def _tell() -> None:
    warnings.warn(
        "compile: the function or module runs as it is. Operations are compiled kernels already; "
        "graphs of them are not fused. Leave it out, or replay a step by accelerator.Graph.",
        UserWarning,
        stacklevel=4,
    )


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """A function as it is; a module within an `OptimizedModule`. Warns once that neither is faster.

    Args:
        model: what is called; without it the result is a decorator.
        fullgraph, dynamic, backend, mode, options: kept for PyTorch's sake.
        disable: give back what was given, without a word.
    Raises:
        RuntimeError: both mode and options are given.
        TypeError: what is given cannot be called.
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified.")
    if model is None:
        return partial(compile, mode=mode, options=options, disable=disable)
    if not callable(model):
        raise TypeError(f"compile: expected a function or a module, got {type(model).__name__}.")
    if disable:
        return model
    _tell()
    return OptimizedModule(model) if isinstance(model, Module) else model


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """What is given, which is not compiled anyway; a decorator without it."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    """What is given."""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """What is given."""
    return fn


def is_compiling() -> bool:
    """Whether a graph is being compiled: never."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def reset() -> None:
    """Forget compiled graphs: there are none."""


def cudagraph_mark_step_begin() -> None:
    """Say that a step begins: nothing depends on it."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """What compiles graphs: nothing."""
    return []
