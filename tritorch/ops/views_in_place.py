"""Views that a tensor becomes itself: transpose_, squeeze_, unsqueeze_ and their kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritorch.autograd.edges import attach
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.inplace import check_inplace
from tritorch.ops.strided import as_strided
from tritorch.ops.views import squeeze, t, transpose, unsqueeze
from tritorch.tensor import Tensor


def _become(view: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    """The method that makes a tensor its own view."""

    def changed(input: Tensor, *arguments: Any, **options: Any) -> Tensor:
        check_inplace(input)
        made = view(input, *arguments, **options)
        node, output_nr, info = made._grad_fn, made._output_nr, made._view
        input._layout, input._address = made._layout, made._address
        if node is not None and mode.enabled:
            attach(input, node, output_nr)
        if input._view is not None:
            input._view = info
        input._storage.version += 1
        return input

    changed.__name__ = changed.__qualname__ = name
    changed.__doc__ = f"In-place version of `{name[:-1]}`: the tensor itself is seen so then."
    return changed


for _view, _names in (
    (transpose, "transpose_ swapaxes_ swapdims_"),
    (t, "t_"),
    (squeeze, "squeeze_"),
    (unsqueeze, "unsqueeze_"),
    (as_strided, "as_strided_"),
):
    for _name in _names.split():
        setattr(Tensor, _name, _become(_view, _name))
