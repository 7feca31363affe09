"""Mixed precision: `autocast` chooses the precision of operations, `GradScaler` scales losses."""

from typing import TYPE_CHECKING, Any

from tritorch.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available

if TYPE_CHECKING:
    from tritorch.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


def __getattr__(name: str) -> Any:
    """GradScaler is loaded when it is first asked for."""
    if name == "GradScaler":
        from tritorch.amp.grad_scaler import GradScaler

        return GradScaler
    raise AttributeError(f"module 'tritorch.amp' has no attribute {name!r}")
