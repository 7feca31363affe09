"""Which classes and functions of others `load` may use: an explicit list, empty at first."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

#: Never, even when they are listed: they reach the system itself.
BLOCKED_MODULES = frozenset({"nt", "os", "posix", "subprocess", "sys"})

_listed: dict[str, Any] = {}


def _named(entries: Iterable[Any]) -> dict[str, Any]:
    result = {}
    for entry in entries:
        if isinstance(entry, tuple):
            if len(entry) != 2 or not isinstance(entry[1], str):
                raise ValueError(
                    f"add_safe_globals: expected a class, a function, or a pair of one and the "
                    f"name it has in files, got {entry!r}."
                )
            result[entry[1]] = entry[0]
        else:
            result[f"{entry.__module__}.{entry.__qualname__}"] = entry
    return result


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Let `load` use these classes and functions where a file names them.

    Args:
        safe_globals: classes and functions; a pair (object, "module.name") gives the name in files.
    """
    _listed.update(_named(safe_globals))


def get_safe_globals() -> list[Any]:
    """What was added."""
    return [
        entry if f"{entry.__module__}.{entry.__qualname__}" == name else (entry, name)
        for name, entry in _listed.items()
    ]


def clear_safe_globals() -> None:
    """Forget all that was added."""
    _listed.clear()


class safe_globals:
    """A block in which `load` may use these classes and functions."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self._entries = _named(safe_globals)

    def __enter__(self) -> None:
        self._before = dict(_listed)
        _listed.update(self._entries)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in self._entries:
            if name in self._before:
                _listed[name] = self._before[name]
            else:
                _listed.pop(name, None)


def listed_globals() -> dict[str, Any]:
    """Name in files -> object."""
    return _listed
