"""What the namespace can do, for programs that ask: `__array_namespace_info__()`."""

from __future__ import annotations

from typing import Any

from tritorch import dtypes as _dtypes
from tritorch.array_api.creation import default_device as _default_device
from tritorch.array_api.data_types import KINDS
from tritorch.devices import cpu
from tritorch.dtypes import dtype as Dtype
from tritorch.ops.placement import resolve_device


class __array_namespace_info__:
    """Capabilities, devices and dtypes."""

    def capabilities(self) -> dict[str, Any]:
        """The standard's three answers, and two more: no complex dtypes, no `fft` extension."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": None,
            "complex dtypes": False,
            "fft": False,
        }

    def default_device(self) -> Any:
        """Where new tensors are."""
        return _default_device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, Dtype]:
        """The dtypes of Python numbers and of indices; none for complex numbers."""
        resolve_device(device)
        return {
            "real floating": _dtypes.get_default_dtype(),
            "integral": _dtypes.int64,
            "indexing": _dtypes.int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Dtype]:
        """The standard's dtypes that exist, by name: all, those of a kind, or of several."""
        resolve_device(device)
        if isinstance(kind, tuple):
            return {name: one for entry in kind for name, one in self.dtypes(kind=entry).items()}
        if kind is None:
            return self.dtypes(kind=("bool", "numeric"))
        found = KINDS.get(kind)
        if found is None:
            raise ValueError(
                f"dtypes: unknown kind {kind!r}. Use None, one of {', '.join(KINDS)}, or a tuple."
            )
        return {one.name: one for one in found}

    def devices(self) -> tuple[Any, ...]:
        """The devices that tensors can be on."""
        from tritorch import cuda
        from tritorch.devices import device

        return (cpu, *(device("cuda", index) for index in range(cuda.device_count())))
