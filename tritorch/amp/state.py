"""What autocast is set to in each thread, and the functions that ask and set it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tritorch import dtypes
from tritorch.dtypes import dtype as Dtype

if TYPE_CHECKING:
    from tritorch.ops.interception import Interception

DEVICE_TYPES = ("cpu", "cuda")


class AutocastState(threading.local):
    """The settings of a thread."""

    #: enclosing contexts
    nesting: int = 0
    cache_enabled: bool = True
    #: operations of this thread are being intercepted
    listening: bool = False

    def __init__(self) -> None:
        self.enabled = dict.fromkeys(DEVICE_TYPES, False)
        self.dtypes: dict[str, Dtype] = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}
        #: device type -> the lower precision, where it is in force just now
        self.active: Mapping[str, Dtype] = {}
        #: (identity of a parameter, dtype, recorded) -> parameter, its version, the parameter cast
        self.casts: dict[Any, Any] = {}


autocast_state = AutocastState()
_interception: Interception | None = None
_making = threading.Lock()


def _after_fork_in_child() -> None:
    global _making
    _making = threading.Lock()  # a thread that is no more may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def _installed() -> Interception:
    global _interception
    with _making:
        if _interception is None:
            from tritorch.amp.casting import interception

            _interception = interception()
    return _interception


def apply_settings() -> None:
    """Listen to operations if anything is enabled in this thread."""
    state = autocast_state
    state.active = {name: state.dtypes[name] for name, on in state.enabled.items() if on}
    listening = bool(state.active)
    if listening != state.listening:
        state.listening = listening
        if listening:
            _installed().start()
        else:
            _installed().stop()


def _known(device_type: str) -> str:
    if device_type not in DEVICE_TYPES:
        raise RuntimeError(
            f"unsupported autocast device_type {device_type!r}. It must be one of "
            f"{', '.join(map(repr, DEVICE_TYPES))}."
        )
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether there is autocast for a type of device."""
    return device_type in DEVICE_TYPES


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a type of device in this thread."""
    return autocast_state.enabled[_known(device_type)]


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Turn autocast on or off for a type of device ("cuda" where only a flag is given)."""
    if enabled is None:
        device_type, enabled = "cuda", device_type
    autocast_state.enabled[_known(device_type)] = bool(enabled)
    apply_settings()


def get_autocast_dtype(device_type: str) -> Dtype:
    """The lower precision of a type of device."""
    return autocast_state.dtypes[_known(device_type)]


def set_autocast_dtype(device_type: str, dtype: Dtype) -> None:
    """Choose the lower precision of a type of device."""
    autocast_state.dtypes[_known(device_type)] = dtype
    apply_settings()


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on for the CPU in this thread."""
    return autocast_state.enabled["cpu"]


def get_autocast_cpu_dtype() -> Dtype:
    """The lower precision of the CPU."""
    return autocast_state.dtypes["cpu"]


def get_autocast_gpu_dtype() -> Dtype:
    """The lower precision of GPUs."""
    return autocast_state.dtypes["cuda"]


def is_autocast_cache_enabled() -> bool:
    """Whether parameters that were cast are remembered until the outermost context ends."""
    return autocast_state.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Remember or do not remember parameters that were cast."""
    autocast_state.cache_enabled = bool(enabled)


def clear_autocast_cache() -> None:
    """Forget the parameters that were cast in this thread."""
    autocast_state.casts.clear()


def autocast_increment_nesting() -> int:
    """Note the beginning of a context; how many there are now."""
    autocast_state.nesting += 1
    return autocast_state.nesting


def autocast_decrement_nesting() -> int:
    """Note the end of a context; how many there are left."""
    autocast_state.nesting -= 1
    return autocast_state.nesting
