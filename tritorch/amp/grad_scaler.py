"""`GradScaler`: losses are scaled so that gradients in float16 do not vanish.

Source: Micikevicius et al., Mixed Precision Training, 2018; the interface is torch.amp's.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from enum import Enum
from functools import cache
from typing import Any, cast

from tritorch import cuda, dtypes
from tritorch.autograd.grad_mode import no_grad
from tritorch.devices import device as Device
from tritorch.kernels.templates.loss_scaling import plan_unscale, plan_update_scale
from tritorch.kernels.templates.multi_tensor import TensorTable
from tritorch.ops.creation import full, zeros
from tritorch.ops.joining import stack
from tritorch.tensor import Tensor

__all__ = ["GradScaler", "OptState"]


class OptState(Enum):
    """How far an optimizer is since the last `update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _Progress:
    """An optimizer since the last `update`: its stage, and by device whether it met an infinity."""

    def __init__(self) -> None:
        self.stage = OptState.READY
        self.found: dict[Device, Tensor] = {}


@cache
def _update_of(device: Device) -> Any:
    return plan_update_scale(device).launch


class GradScaler:
    """Scales losses; skips steps whose gradients are not finite and takes a smaller scale then.

    Args:
        device: type of the device of the losses.
        init_scale: the first scale.
        growth_factor: of the scale after `growth_interval` steps without infinities.
        backoff_factor: of the scale after a step with one.
        growth_interval: steps.
        enabled: False makes all methods do nothing but step.

    Example:
        >>> import tritorch as torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> optimizer = torch.optim.SGD([w], lr=0.5)
        >>> scaler = torch.amp.GradScaler("cpu")
        >>> scaler.scale(w * 3).backward()
        >>> scaler.step(optimizer)
        >>> scaler.update()
        >>> w
        tensor([-0.5000], requires_grad=True)
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        if enabled and device == "cuda" and not cuda.is_available():
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        if enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = float(init_scale)
        self._init_growth_tracker = 0
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self._progress: defaultdict[int, _Progress] = defaultdict(_Progress)
        #: layouts of gradients -> their table and the launch that unscales them
        self._tables: dict[Any, tuple[TensorTable, Any]] = {}

    def scale(self, outputs: Any) -> Any:
        """A tensor, or every one in a list or tuple, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale_on(outputs.device)
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(each) for each in outputs])
        try:
            return map(self.scale, outputs)
        except TypeError:
            raise ValueError("outputs must be a Tensor or an iterable of Tensors") from None

    def _scale_on(self, device: Any) -> Tensor:
        if self._scale is None:
            self._scale = full((), self._init_scale, device=device, dtype=dtypes.float32)
            self._growth_tracker = full(
                (), self._init_growth_tracker, device=device, dtype=dtypes.int32
            )
        return self._scale.to(device)

    def _checked(self, what: str) -> tuple[Tensor, Tensor]:
        if self._scale is None or self._growth_tracker is None:
            raise AssertionError(
                f"Attempted {what} but _scale is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        return self._scale, self._growth_tracker

    def unscale_(self, optimizer: Any) -> None:
        """Divide the optimizer's gradients by the scale, all of a dtype in one launch.

        Once between two calls of `update`, after all gradients are there; `step` does it otherwise.

        Raises:
            RuntimeError: it was done already, or the step was.
            ValueError: a gradient is in float16.
        """
        if not self._enabled:
            return
        scale, _ = self._checked("unscale_")
        progress = self._progress[id(optimizer)]
        if progress.stage is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if progress.stage is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        gradients: defaultdict[Any, list[Tensor]] = defaultdict(list)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    layout = parameter.grad._layout
                    if layout.dtype is dtypes.float16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    gradients[layout.device, layout.dtype].append(parameter.grad)
        with no_grad():
            factor = scale.double().reciprocal().float()
            for (device, _), tensors in gradients.items():
                if device not in progress.found:
                    progress.found[device] = zeros((), device=device)
                self._unscale(tensors, factor.to(device), progress.found[device])
        progress.stage = OptState.UNSCALED

    def _unscale(self, tensors: list[Tensor], factor: Tensor, found: Tensor) -> None:
        # One with gaps is unscaled in a copy.
        dense = [t if t._layout.is_dense else t.contiguous() for t in tensors]
        layouts = tuple(tensor._layout for tensor in dense)
        known = self._tables.get(layouts)
        if known is None:
            table = TensorTable([layout.numel for layout in layouts], 1, layouts[0].device)
            known = table, plan_unscale(table, layouts[0].dtype).launch
            self._tables = {layouts: known, **dict(list(self._tables.items())[:15])}
        table, launch = known
        table.set(0, [tensor._address for tensor in dense])
        launch(found._address, *table.addresses(), factor._address)
        for tensor, used in zip(tensors, dense, strict=True):
            tensor._storage.version += 1
            if used is not tensor:
                tensor.copy_(used)

    def step(self, optimizer: Any, *args: Any, **options: Any) -> Any:
        """Unscale if that was not done, then step if all gradients are finite.

        Returns:
            what the optimizer's step returned; None if it was skipped.
        """
        if not self._enabled:
            return optimizer.step(*args, **options)
        if "closure" in options:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._checked("step")
        progress = self._progress[id(optimizer)]
        if progress.stage is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if progress.stage is OptState.READY:
            self.unscale_(optimizer)
        if not progress.found:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None
        if not any(found.item() for found in progress.found.values()):
            result = optimizer.step(*args, **options)
        progress.stage = OptState.STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Choose the scale of the next iteration, or set it; once, after all optimizers' steps."""
        if not self._enabled:
            return
        scale, growth = self._checked("update")
        if new_scale is not None:
            if isinstance(new_scale, Tensor):
                if new_scale.numel() != 1 or new_scale.requires_grad:
                    raise AssertionError(
                        "new_scale should be a float or a 1-element tensor with "
                        "requires_grad=False."
                    )
                scale.copy_(new_scale.reshape(()))
            else:
                scale.fill_(float(new_scale))
        else:
            found = [f.to(scale.device) for p in self._progress.values() for f in p.found.values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            total = found[0] if len(found) == 1 else stack(found).sum()
            _update_of(scale._layout.device)(
                scale._address,
                growth._address,
                total._address,
                self._growth_factor,
                self._backoff_factor,
                self._growth_interval,
            )
            scale._storage.version += 1
            growth._storage.version += 1
        self._progress.clear()

    def get_scale(self) -> float:
        """The scale; 1 where the scaler is not enabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else cast(float, self._scale.item())

    def get_growth_factor(self) -> float:
        """Of the scale after `growth_interval` good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Choose the factor of growth."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """Of the scale after an infinity."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Choose the factor after an infinity."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """Good steps until the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Choose after how many good steps the scale grows."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        tracker = self._growth_tracker
        return self._init_growth_tracker if tracker is None else int(tracker.item())

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors, interval and good steps so far; empty where it is not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            RuntimeError: it is empty, that is of a scaler that was not enabled.
        """
        if not self._enabled:
            return
        if len(state_dict) == 0:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._growth_tracker is not None:
            self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self) -> dict[str, Any]:
        if self._enabled and self._progress:
            raise AssertionError(
                "A GradScaler instance may only be pickled at the beginning of an iteration, or at "
                "the end after scaler.update()."
            )
        state = self.__dict__.copy()
        state["_init_scale"] = self.get_scale()
        state["_init_growth_tracker"] = self._get_growth_tracker()
        state.update(_scale=None, _growth_tracker=None, _tables={})
        return state
