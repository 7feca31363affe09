"""`import torch` as tritorch, for programs that are not to be edited; never unless asked for.

    python -m tritorch.as_torch SCRIPT.py [ARGUMENTS]     (or: tritorch run SCRIPT.py)

    from tritorch import as_torch                         (in a notebook, before anything imports
    as_torch.install()                                     torch)

`torch` becomes a module of its own whose names are tritorch's; `torch.nn.functional` and its kin
are tritorch's modules themselves. What is missing raises AttributeError or ModuleNotFoundError that
names it. `torch.__version__` is the version whose names and semantics are followed.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import tritorch
from tritorch.errors import ConfigError

#: PyTorch's version that tritorch is checked against
TORCH_VERSION = "2.13.0"


class _Torch(ModuleType):
    """The module `torch`: tritorch's names, without being tritorch, so that a program may add to
    it.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(tritorch, name)
        except AttributeError:
            raise AttributeError(
                f"module 'torch' has no attribute {name!r}: tritorch, which stands in for it, "
                "lacks it."
            ) from None

    def __dir__(self) -> list[str]:
        return sorted(set(dir(tritorch)) | set(vars(self)))


class _Loader(importlib.abc.Loader):
    """Gives the module that stands in; it is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = getattr(module, "__spec__", None)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The import machinery wrote the alias's spec over the module's own.
        if not isinstance(module, _Torch):
            module.__spec__ = self._spec


class _Finder(importlib.abc.MetaPathFinder):
    """Resolves `torch` and `torch.anything`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        root, _, rest = fullname.partition(".")
        if root != "torch":
            return None
        if not rest:
            module: ModuleType = _Torch("torch", tritorch.__doc__)
            module.__path__ = []
            module.__version__ = f"{TORCH_VERSION}+tritorch{tritorch.__version__}"  # type: ignore[attr-defined]
        else:
            module = _counterpart(fullname, f"tritorch.{rest}")
        spec = importlib.machinery.ModuleSpec(
            fullname, _Loader(module), is_package=hasattr(module, "__path__")
        )
        return spec


def _counterpart(fullname: str, ours: str) -> ModuleType:
    try:
        return importlib.import_module(ours)
    except ModuleNotFoundError as error:
        if error.name is None or not (ours + ".").startswith(error.name + "."):
            raise
        raise ModuleNotFoundError(
            f"No module named {fullname!r}: tritorch, which stands in for torch, has no {ours}.",
            name=fullname,
        ) from None


_finder = _Finder()


def install() -> None:
    """Let `import torch` give tritorch in this process from now on; calling it again does nothing.

    Raises:
        ConfigError: PyTorch itself is imported already.
    """
    if _finder in sys.meta_path:
        return
    loaded = sys.modules.get("torch")
    if loaded is not None:
        raise ConfigError(
            f"as_torch: torch is imported already, from {getattr(loaded, '__file__', None)}. "
            "Call install() before anything imports it."
        )
    sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Let `import torch` find PyTorch again; names that programs hold stay tritorch's."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
        for name in [n for n in sys.modules if n == "torch" or n.startswith("torch.")]:
            del sys.modules[name]


def run(script: str, arguments: Sequence[str] = ()) -> None:
    """Run a program as `python SCRIPT ARGUMENTS` would, with tritorch as its torch.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not os.path.exists(script):
        raise FileNotFoundError(f"run: no such file: {script}. Give the path of a Python program.")
    install()
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tritorch.as_torch SCRIPT.py [ARGUMENTS]")
    # This file runs as __main__; the finder must be that of the module that others import.
    importlib.import_module("tritorch.as_torch").run(sys.argv[1], sys.argv[2:])
