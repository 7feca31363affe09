"""`autocast`: operations in the block run in the precision that suits them.

Source: Micikevicius et al., Mixed Precision Training, 2018; the interface is torch.amp's.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Self

from tritorch import dtypes
from tritorch.amp.state import (
    DEVICE_TYPES,
    apply_settings,
    autocast_decrement_nesting,
    autocast_increment_nesting,
    autocast_state,
    clear_autocast_cache,
    is_autocast_available,
)
from tritorch.dtypes import dtype as Dtype
from tritorch.tensor import Tensor

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

_LOWER = (dtypes.bfloat16, dtypes.float16)


class autocast:
    """Run products in a lower precision, what needs range or digits in float32.

    A context manager and a decorator; contexts nest, `enabled=False` turns it off within. Which
    operations are minded says `tritorch.amp.lists`; all others take their arguments as they come.
    Parameters stay as they are and get gradients in their own dtype; each is cast once within the
    outermost context.

    Args:
        device_type: "cpu" or "cuda".
        dtype: the lower precision, float16 or bfloat16; by default bfloat16 on the CPU, float16 on
            GPUs (or what `set_autocast_dtype` set).
        enabled: False turns autocast off in the block.
        cache_enabled: remember parameters that were cast; by default as outside.
    Raises:
        RuntimeError: for another type of device.

    Example:
        >>> import tritorch as torch
        >>> layer = torch.nn.Linear(3, 2)
        >>> with torch.autocast("cpu"):
        ...     y = layer(torch.ones(1, 3))
        >>> y.dtype
        torch.bfloat16
    """

    def __init__(
        self,
        device_type: str,
        dtype: Dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if device_type not in DEVICE_TYPES:
            raise RuntimeError(
                f"User specified an unsupported autocast device_type '{device_type}'. It must be "
                "'cpu' or 'cuda'."
            )
        state = autocast_state
        self.device = device_type
        self.fast_dtype = state.dtypes[device_type] if dtype is None else dtype
        self._cache_enabled = state.cache_enabled if cache_enabled is None else cache_enabled
        self._enabled = enabled and self._is_usable()
        self._previous: list[tuple[Any, ...]] = []

    def _is_usable(self) -> bool:
        if self.device == "cuda":
            from tritorch import cuda

            if not cuda.is_available():
                warnings.warn("CUDA is not available. Disabling autocast.", stacklevel=4)
                return False
        if self.fast_dtype not in _LOWER:
            name = self.device.upper()
            warnings.warn(
                f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{name} Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=4,
            )
            return False
        return True

    def __enter__(self) -> Self:
        state, device = autocast_state, self.device
        before = (state.enabled[device], state.dtypes[device], state.cache_enabled)
        self._previous.append(before)
        state.enabled[device], state.dtypes[device] = self._enabled, self.fast_dtype
        state.cache_enabled = self._cache_enabled
        autocast_increment_nesting()
        apply_settings()
        return self

    def __exit__(self, *exception: Any) -> None:
        state, device = autocast_state, self.device
        if autocast_decrement_nesting() == 0:
            clear_autocast_cache()
        state.enabled[device], state.dtypes[device], state.cache_enabled = self._previous.pop()
        apply_settings()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, run in such a block."""
        if not callable(function):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(function).__name__}. Did you "
                "mean to use autocast as a context manager?"
            )

        @functools.wraps(function)
        def decorated(*args: Any, **options: Any) -> Any:
            with self:
                return function(*args, **options)

        return decorated


def settings(device_type: str) -> dict[str, Any]:
    """Keyword arguments of an `autocast` as it is set now."""
    state = autocast_state
    return {
        "device_type": device_type,
        "enabled": state.enabled[device_type],
        "dtype": state.dtypes[device_type],
        "cache_enabled": state.cache_enabled,
    }


def _cast(value: Any, device_type: str, kind: Dtype) -> Any:
    """The tensors of a type of device within any containers, cast."""
    if isinstance(value, Tensor):
        layout = value._layout
        is_eligible = (
            layout.dtype.is_floating_point
            and layout.device.type == device_type
            and layout.dtype is not dtypes.float64
        )
        return value.to(kind) if is_eligible else value
    if isinstance(value, Mapping):
        return {
            _cast(name, device_type, kind): _cast(each, device_type, kind)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)([_cast(each, device_type, kind) for each in value])
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None,
    *,
    device_type: str,
    cast_inputs: Dtype | None = None,
) -> Callable[..., Any]:
    """Decorates the `forward` of a custom Function for use under autocast.

    Args:
        fwd: the forward.
        device_type: "cpu" or "cuda".
        cast_inputs: cast the floating-point arguments to this, and run with autocast off; None runs
            with autocast as it is. Without effect where autocast is off.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(ctx: Any, *args: Any, **options: Any) -> Any:
        enabled = autocast_state.enabled[device_type]
        ctx._dtype = autocast_state.dtypes[device_type]
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return fwd(ctx, *args, **options)
        with autocast(device_type, enabled=False):
            return fwd(
                ctx,
                *_cast(args, device_type, cast_inputs),
                **_cast(options, device_type, cast_inputs),
            )

    return decorated


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorates the `backward` of a custom Function: autocast is as it was in `forward`.

    Args:
        bwd: the backward.
        device_type: "cpu" or "cuda".
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(ctx: Any, *args: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args)

    return decorated
