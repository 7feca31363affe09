"""What a view remembers of its base, so that in-place operations reach the gradients of both."""

from __future__ import annotations

from typing import Final, NoReturn

from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.protocol import TensorLike
from tritorch.autograd.saved import forward_name

# How a view came to be; every one but DEFAULT forbids recorded in-place operations on it.
DEFAULT: Final = 0
IN_CUSTOM_FUNCTION: Final = 1
MULTI_OUTPUT: Final = 2
NO_GRAD_MODE: Final = 3
INFERENCE_MODE: Final = 4

_REASONS: Final = {
    IN_CUSTOM_FUNCTION: (
        "This view was created inside a custom Function (or because an input was returned as-is) "
        "and the autograd logic to handle view+inplace would override the custom backward "
        "associated with the custom Function, leading to incorrect gradients. This behavior is "
        "forbidden. You can fix this by cloning the output of the custom Function."
    ),
    MULTI_OUTPUT: (
        "This view is the output of a function that returns multiple views. Such functions do not "
        "allow the output views to be modified inplace. You should replace the inplace operation "
        "by an out-of-place one."
    ),
}
_AMBIGUOUS: Final = (
    "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your "
    "code by moving both the view and the inplace either both inside the {block} block (if you "
    "don't want the inplace to be tracked) or both outside (if you want the inplace to be tracked)."
)


class ViewInfo:
    """The base of a view (never itself a view), the version its grad_fn is of, how it was made.

    Its truth value is whether the base requires a gradient: it stands in the view's
    `_requires_grad` until the view has a history of its own.
    """

    __slots__ = ("base", "creation", "version")

    def __init__(self, base: TensorLike, version: int, creation: int) -> None:
        self.base = base
        self.version = version
        self.creation = creation

    def __bool__(self) -> bool:
        return bool(self.base._requires_grad)


def as_view(view: TensorLike, source: TensorLike, creation: int = DEFAULT) -> TensorLike:
    """Note that `view`, a fresh tensor on the storage of `source`, is a differentiable view of it.

    Args:
        view: attached to the graph already or later.
        source: what it was taken of; a view's base is its base's base.
        creation: MULTI_OUTPUT for views that come several from one call; a view made while
            nothing is recorded notes that by itself.
    Returns:
        the view.
    """
    state = grad_mode_state
    if not state.enabled:
        creation = INFERENCE_MODE if state.inference else NO_GRAD_MODE
    info = source._view
    if info is None:
        base = source
    else:
        base = info.base
        creation = creation or info.creation
    view._view = made = ViewInfo(base, view._storage.version, creation)
    if not view._requires_grad:
        view._requires_grad = made
    return view


def raise_forbidden(view: TensorLike, indirect: bool) -> NoReturn:
    """PyTorch's error for an in-place operation that a view does not allow.

    Args:
        view: with a `creation` other than DEFAULT.
        indirect: its base or another view was written to, and now the view is used.
    """
    creation = view._view.creation
    change = "its base or another view of its base has been" if indirect else "is being"
    node = view._grad_fn
    if node is not None:
        name = forward_name(node)
        start = f"Output {view._output_nr} of {name} is a view and {change} modified inplace."
    elif creation == INFERENCE_MODE:
        start = (
            f"A view was created in inference mode and {change} modified inplace in normal mode."
        )
    else:
        start = (
            f"A view was created in no_grad mode and {change} modified inplace with grad mode "
            "enabled."
        )
    block = "inference_mode" if creation == INFERENCE_MODE else "no_grad"
    reason = _REASONS.get(creation) or _AMBIGUOUS.format(block=block)
    raise RuntimeError(f"{start} {reason}")
