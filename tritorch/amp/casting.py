"""What autocast does to the arguments of an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any

from tritorch import dtypes
from tritorch.amp.lists import FLOAT32, LOWER, REFUSED, WIDEST, policies
from tritorch.amp.state import autocast_state
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.dtypes import dtype as Dtype
from tritorch.ops.interception import AUTOCASTING, Interception
from tritorch.ops.loss import cross_entropy, widened_cross_entropy
from tritorch.ops.memory import to_dtype
from tritorch.tensor import Tensor

_NONE: dict[str, Dtype] = {}


class Autocasting:
    """Stands for one function while autocast listens.

    Args:
        original: does what the function does.
        by_device: policy by device type.
        widened: does the same in float32 with a first argument of lower precision.
    """

    __slots__ = ("by_device", "original", "widened")

    def __init__(
        self,
        original: FunctionType,
        by_device: dict[str, str],
        widened: Callable[..., Any] | None = None,
    ) -> None:
        self.original = original
        self.by_device = by_device
        self.widened = widened

    def __call__(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call the function with its arguments cast; operations within it are left alone."""
        state = autocast_state
        active = state.active
        if not active:
            return self.original(*args, **options)
        device_type = _device_type((*args, *options.values()))
        policy = self.by_device.get(device_type)
        lower = active.get(device_type)
        if policy is None or lower is None or options.get("out") is not None:
            return self.original(*args, **options)
        if policy == REFUSED:
            raise RuntimeError(
                "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to "
                "autocast. Many models use a sigmoid layer right before the binary cross entropy "
                "layer. In this case, combine the two layers using "
                "torch.nn.functional.binary_cross_entropy_with_logits or "
                "torch.nn.BCEWithLogitsLoss. binary_cross_entropy_with_logits and "
                "BCEWithLogitsLoss are safe to autocast."
            )
        kind = None
        if policy == LOWER:
            kind = lower
        elif policy == FLOAT32:
            kind = dtypes.float32
        elif policy == WIDEST:
            kind = _widest((*args, *options.values()), lower, device_type)
        state.active = _NONE
        try:
            if policy == FLOAT32 and self.widened is not None and _is_plain_loss(args):
                scores, classes, *rest = args
                wide = dtypes.float32
                rest = [_cast(value, wide, device_type) for value in rest]
                options = {n: _cast(value, wide, device_type) for n, value in options.items()}
                return self.widened(scores, classes, *rest, **options)
            if kind is not None:
                args = tuple([_cast(value, kind, device_type) for value in args])
                options = {n: _cast(value, kind, device_type) for n, value in options.items()}
            return self.original(*args, **options)
        finally:
            state.active = active


def _is_plain_loss(args: tuple[Any, ...]) -> bool:
    """Whether a loss is of scores in a lower precision and of classes, both given by place."""
    if len(args) < 2 or type(args[0]) is not Tensor or type(args[1]) is not Tensor:
        return False
    scores, classes = args[0]._layout.dtype, args[1]._layout.dtype
    return scores in (dtypes.bfloat16, dtypes.float16) and not classes.is_floating_point


def _device_type(values: tuple[Any, ...]) -> str:
    """Where the first tensor is; empty where there is none."""
    for value in values:
        if isinstance(value, Tensor):
            return str(value._layout.device.type)
        if isinstance(value, (list, tuple)) and (found := _device_type(tuple(value))):
            return found
    return ""


def _is_eligible(tensor: Tensor, device_type: str) -> bool:
    kind = tensor._layout.dtype
    return (
        kind.is_floating_point
        and kind is not dtypes.float64
        and tensor._layout.device.type == device_type
    )


def _widest(values: tuple[Any, ...], lower: Dtype, device_type: str) -> Dtype:
    """float32 if a tensor is of it, or of another type than the lower precision."""
    for value in values:
        if isinstance(value, Tensor):
            if _is_eligible(value, device_type) and value._layout.dtype is not lower:
                return dtypes.float32
        elif (
            isinstance(value, (list, tuple))
            and _widest(tuple(value), lower, device_type) is not lower
        ):
            return dtypes.float32
    return lower


def _cast(value: Any, kind: Dtype, device_type: str) -> Any:
    """A tensor in this dtype, or a list or tuple with its tensors in it; all else as it is."""
    if isinstance(value, Tensor):
        if value._layout.dtype is kind or not _is_eligible(value, device_type):
            return value
        return _cast_tensor(value, kind)
    if value.__class__ in (list, tuple):
        return value.__class__([_cast(each, kind, device_type) for each in value])
    return value


def _cast_tensor(tensor: Tensor, kind: Dtype) -> Tensor:
    state = autocast_state
    is_parameter = (
        tensor._requires_grad is True
        and tensor._grad_fn is None
        and tensor._view is None
        and tensor._layout.dtype is dtypes.float32
    )
    if not is_parameter or not state.cache_enabled or not state.nesting:
        return to_dtype(tensor, kind)
    key = (id(tensor), kind, grad_mode_state.enabled)
    known = state.casts.get(key)
    version = tensor._storage.version
    if known is not None and known[0] is tensor and known[1] == version:
        return known[2]
    made = to_dtype(tensor, kind)
    state.casts[key] = (tensor, version, made)
    return made


def interception(table: Mapping[FunctionType, dict[str, str]] | None = None) -> Interception:
    """All functions of the lists (or of a table like `policies()`), each with its handler."""
    made = Interception(AUTOCASTING)
    for function, by_device in (policies() if table is None else table).items():
        widened = widened_cross_entropy if function is cross_entropy else None
        made.add(function, partial(Autocasting, by_device=by_device, widened=widened))
    return made
