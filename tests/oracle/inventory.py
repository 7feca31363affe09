"""`python -m tests.oracle.inventory`: names of torch.nn and torch.optim that are here, of all.

The lists are those of the installed PyTorch. What it has for itself (typing, code generation,
TorchScript, dispatch to subclasses) and quantised classes do not count.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any

#: namespaces, and how many of their names may be missing: what the test holds us to
NAMESPACES = {
    "nn": 0,
    "nn.functional": 4,  # scaled_mm, scaled_grouped_mm and their types: quantised
    "nn.init": 0,
    "nn.parameter": 0,
    "nn.modules.module": 0,
    "nn.utils": 0,
    "nn.utils.rnn": 0,
    "nn.utils.parametrize": 0,
    "nn.utils.parametrizations": 0,
    "nn.utils.prune": 0,
    "nn.utils.stateless": 0,
    "nn.utils.fusion": 0,
    "optim": 0,
    "optim.lr_scheduler": 0,
    "optim.swa_utils": 0,
}
#: names that are no part of the interface, by namespace
INTERNAL = {
    "nn.functional": {
        "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "DType",
        "GRID_SAMPLE_INTERPOLATION_MODES", "GRID_SAMPLE_PADDING_MODES", "TYPE_CHECKING",
        "assert_int_or_pair", "boolean_dispatch", "handle_torch_function", "has_torch_function",
        "has_torch_function_unary", "has_torch_function_variadic", "reproducibility_notes",
        "sparse_support_notes", "tf32_notes",
    },
    "nn.modules.module": {"is_traceable_wrapper_subclass", "BackwardHook"},
    "nn.utils.rnn": {"PackedSequence_", "bind", "copy_method_params"},
    "nn.utils.parametrize": {
        "OpaqueBase", "is_opaque_reference_type", "is_traceable_wrapper_subclass",
        "get_swap_module_params_on_conversion",
    },
    "nn.utils.stateless": {"NamedMemberAccessor"},
}  # fmt: skip


@dataclass
class Inventory:
    """What one namespace has of PyTorch's."""

    namespace: str
    names: list[str]
    classes: list[str]
    missing: list[str]
    #: missing names that are classes
    missing_classes: list[str]

    def __str__(self) -> str:
        have = len(self.names) - len(self.missing)
        classes = len(self.classes) - len(self.missing_classes)
        text = f"{self.namespace}: {have} of {len(self.names)} names"
        if self.classes:
            text += f", {classes} of {len(self.classes)} classes"
        return text + (f"; missing: {', '.join(self.missing)}" if self.missing else "")


def _own(module: Any, name: str) -> bool:
    """Whether a name of a PyTorch module is one that it offers."""
    value = getattr(module, name)
    if name.startswith("_") or inspect.ismodule(value):
        return False
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return name in listed
    home = getattr(value, "__module__", None) or ""
    return home.split(".")[0] in ("torch", "") or not hasattr(value, "__module__")


def inventory(namespace: str) -> Inventory:
    """Compare one namespace with the installed PyTorch's."""
    theirs: Any = import_module(f"torch.{namespace}")
    try:
        ours: Any = import_module(f"tritorch.{namespace}")
    except ImportError:
        ours = None
    internal = INTERNAL.get(namespace, set())
    names = sorted(name for name in dir(theirs) if _own(theirs, name) and name not in internal)
    classes = [name for name in names if inspect.isclass(getattr(theirs, name))]
    missing = [name for name in names if not hasattr(ours, name)]
    return Inventory(namespace, names, classes, missing, [n for n in classes if n in missing])


def main() -> None:
    """Print the figures."""
    for namespace in NAMESPACES:
        print(inventory(namespace))
    print(schedulers())


def schedulers() -> str:
    """The learning rate schedulers, which PyTorch does not list apart from their helpers."""
    found: Any = import_module("torch.optim.lr_scheduler")
    ours: Any = import_module("tritorch.optim.lr_scheduler")
    names = [
        name
        for name in found.__all__
        if inspect.isclass(getattr(found, name))
        and issubclass(getattr(found, name), found.LRScheduler)
    ]
    have = [name for name in names if hasattr(ours, name)]
    return f"schedulers: {len(have)} of {len(names)}"


if __name__ == "__main__":
    main()
