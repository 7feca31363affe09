"""Which names of a pickled module `load(weights_only=False)` knows without being told.

They are tritorch.nn's own classes, under their names in PyTorch's files and in ours, and the
functions of nn.functional that modules keep as attributes. What is known here is named, or made
without arguments and given its attributes; it is never called while a file is read, so a file runs
nothing and takes no memory beyond its own size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_PACKAGES = (
    "torch.nn.modules.", "torch.nn.parallel.", "tritorch.nn.modules.", "tritorch.nn.parallel.",
)  # fmt: skip
_FUNCTIONS = ("torch.nn.functional.", "torch._C._nn.", "tritorch.nn.functional.", "tritorch.ops.")


def known_part(name: str) -> Any:
    """The class or function that "module.name" stands for, None where it is not known."""
    last = name.rpartition(".")[2]
    if name.startswith(_PACKAGES):
        return _classes().get(last)
    if name.startswith(_FUNCTIONS):
        return _functions().get(last)
    return None


def is_module_class(kind: Any) -> bool:
    """Whether it is one of the classes that are known."""
    return isinstance(kind, type) and _classes().get(kind.__name__) is kind


@cache
def _classes() -> dict[str, type]:
    from tritorch import nn

    return {
        name: kind
        for package in (nn, nn.modules)
        for name, kind in vars(package).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module)
    }


@cache
def _functions() -> dict[str, Any]:
    from tritorch.nn import functional

    found = {name: getattr(functional, name) for name in functional.__all__}
    return {name: function for name, function in found.items() if callable(function)}
