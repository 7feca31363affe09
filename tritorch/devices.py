"""`device`: where a tensor lives. Values are interned, so they compare by identity as well as by
value.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

_PATTERN = re.compile(r"(cpu|cuda)(?::(0|[1-9]\d*))?")


class device:
    """A device such as `device("cpu")`, `device("cuda:1")` or `device("cuda", 1)`.

    In `with device(...):` new tensors that are given no `device=` are made there.

    Raises:
        RuntimeError: the text is not `cpu`, `cuda` or either with an index.
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None
    _known: ClassVar[dict[tuple[str, int | None], device]] = {}

    def __new__(cls, type: str | device | int, index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            index = type
            type = "cuda"
        if not isinstance(type, str):
            raise TypeError(f"device: expected a str, an int or a device, got {type!r}.")
        match = _PATTERN.fullmatch(type)
        if match is None:
            raise RuntimeError(
                f"device: expected one of cpu, cuda, cuda:N as device string, got {type!r}."
            )
        if match[2] is not None:
            if index is not None:
                raise RuntimeError(f"device: {type!r} has an index already; got index={index} too.")
            index = int(match[2])
        key = (match[1], index)
        known = cls._known.get(key)
        if known is None:
            known = object.__new__(cls)
            known.type = match[1]
            known.index = index
            cls._known[key] = known
        return known

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __enter__(self) -> device:
        from tritorch.ops.placement import enter_default_device

        enter_default_device(self)
        return self

    def __exit__(self, *error: object) -> None:
        from tritorch.ops.placement import leave_default_device

        leave_default_device()

    def __reduce__(self) -> tuple[Any, ...]:
        return (device, (self.type, self.index))


cpu = device("cpu")
