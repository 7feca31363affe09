"""Whether operations must give the same bits on every run.

On the CPU all of ours do, whatever the number of threads. On a GPU additions through an index are
atomic and their order varies; in this mode they are made in order instead. So no operation has to
refuse: nothing raises, and `warn_only` has nothing to warn of.
"""

from __future__ import annotations


class _State:
    """What was asked for; for the whole process, as in PyTorch."""

    __slots__ = ("enabled", "warn_only")

    def __init__(self) -> None:
        self.enabled = False
        self.warn_only = False


state = _State()


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same bits on every run.

    An operation that could not give them would raise RuntimeError (warn, with `warn_only`); each of
    ours can.
    """
    for name, value in (("mode", mode), ("warn_only", warn_only)):
        if not isinstance(value, bool):
            raise TypeError(
                f"use_deterministic_algorithms(): argument '{name}' must be bool, not "
                f"{type(value).__name__}"
            )
    state.enabled, state.warn_only = mode, warn_only


def are_deterministic_algorithms_enabled() -> bool:
    """Whether `use_deterministic_algorithms(True)` holds."""
    return state.enabled


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it was asked for with `warn_only=True`."""
    return state.warn_only


_DEBUG_MODES = {"default": 0, "warn": 1, "error": 2}


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """The same as a number or word: 0 "default", 1 "warn", 2 "error"."""
    if isinstance(debug_mode, str):
        if debug_mode not in _DEBUG_MODES:
            raise RuntimeError(
                "invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got "
                f"{debug_mode}"
            )
        debug_mode = _DEBUG_MODES[debug_mode]
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}"
        )
    use_deterministic_algorithms(debug_mode > 0, warn_only=debug_mode == 1)


def get_deterministic_debug_mode() -> int:
    """0: any order of operations will do, 1: warn, 2: raise."""
    return 0 if not state.enabled else 1 if state.warn_only else 2
