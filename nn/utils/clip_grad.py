"""Gradients kept within bounds: one launch for all of them, whatever their number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from threading import get_ident
from typing import Any

import tritorch
from tritorch import dtypes
from tritorch.kernels.plan import Plan
from tritorch.kernels.templates import multi_tensor as kernels
from tritorch.layout import Layout
from tritorch.tensor import Tensor


def _listed(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in _listed(parameters) if p.grad is not None]


def _groups(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """What one launch can take together."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(groups.values())


@dataclass(frozen=True)
class _Norms:
    """What computes the norm of tensors of certain layouts: their sums, then the root.

    Each thread has its own: a table is written to, and read while a kernel runs.
    """

    table: kernels.TensorTable
    sums: Plan
    root: Plan

    @staticmethod
    @lru_cache(maxsize=64)
    def of(layouts: tuple[Layout, ...], norm_type: float, thread: int) -> _Norms:
        """The plans, kept for the next step of a thread."""
        kind, device = layouts[0].dtype, layouts[0].device
        table = kernels.TensorTable([layout.numel for layout in layouts], 1, device)
        return _Norms(
            table,
            kernels.plan_partial_norms(table, 0, kind, norm_type),
            kernels.plan_clip_factor(table.n_chunks, kind.compute, norm_type, device),
        )


def _norm_and_factor(group: list[Tensor], norm_type: float, max_norm: float) -> Tensor:
    """[norm, min(1, max_norm / norm)] of tensors of one kind, in two launches."""
    dense = [t if t._layout.is_dense else t.contiguous() for t in group]
    norms = _Norms.of(tuple(t._layout for t in dense), norm_type, get_ident())
    kind, device = dense[0].dtype.compute, dense[0].device
    partials = tritorch.empty(max(norms.table.n_chunks, 1), dtype=kind, device=device)
    found = tritorch.empty(2, dtype=kind, device=device)
    norms.table.set(0, [t._address for t in dense])
    norms.sums.launch(partials._address, *norms.table.addresses())
    factor = found._address + kind.itemsize
    norms.root.launch(found._address, factor, partials._address, max_norm)
    return found


def _total(tensors: list[Tensor], norm_type: float, max_norm: float) -> tuple[Tensor, Any]:
    """The norm of all tensors, and the factor that clips it, where that is known already."""
    groups = _groups(tensors)
    fast = norm_type > 0 and all(t.dtype.compute in _COMPUTED for t in tensors)
    if len(groups) == 1 and fast:
        found = _norm_and_factor(groups[0], norm_type, max_norm)
        return found[0].to(groups[0][0].dtype), found[1]
    if fast:
        norms = [
            _norm_and_factor(group, norm_type, max_norm)[0].to(group[0].dtype) for group in groups
        ]
    else:
        norms = [tensor.norm(norm_type) for tensor in tensors]
    total: Tensor = tritorch.stack([norm.to(norms[0].device) for norm in norms]).norm(norm_type)
    return total, None


_COMPUTED = (dtypes.float32, dtypes.float64)


def _check_finite(total: Tensor, norm_type: float) -> None:
    if not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )


@tritorch.no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors as if they were one vector, in two launches.

    Args:
        foreach: kept for PyTorch's sake.
    Raises:
        RuntimeError: it is infinite or nan, and `error_if_nonfinite`.
    """
    listed = _listed(tensors)
    if not listed:
        return tritorch.tensor(0.0)
    total, _ = _total(listed, float(norm_type), 1.0)
    if error_if_nonfinite:
        _check_finite(total, float(norm_type))
    return total


def _scale(tensors: list[Tensor], factor: Tensor) -> None:
    """Multiply all by one number, in one launch for each dtype and device."""
    from tritorch.optim.multi_tensor import MultiTensor

    for group in _groups(tensors):
        kind = group[0].dtype.compute
        dense = [t for t in group if t._layout.is_dense]
        own = factor.to(dtype=kind, device=group[0].device)
        if dense and kind in _COMPUTED:
            _at_once(MultiTensor, get_ident())(kernels.scale, [dense], (own._address,), {})
        for other in group:
            if not other._layout.is_dense or kind not in _COMPUTED:
                other.mul_(own)


@lru_cache(maxsize=64)
def _at_once(kind: Any, thread: int) -> Any:
    """A thread's own, as `_Norms`."""
    return kind()


@tritorch.no_grad()
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale the gradients by max_norm / total_norm where that is below 1."""
    gradients = _gradients(parameters)
    if gradients:
        _scale(gradients, (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0))


@tritorch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients so that their common norm is at most `max_norm`; gives the norm before.

    Three launches for gradients of one dtype and device, however many: partial sums of all
    tensors, the root and the factor, the scaling of all tensors. The scaling cannot begin before
    the last sum is known, and programs of one launch cannot wait for each other on every target,
    so two are the least; the root is one of its own, a single program that adds the partial sums
    in a fixed order, so that the norm is the same for any number of threads.

    Source: Pascanu et al., On the difficulty of training recurrent neural networks, 2013.
    """
    gradients = _gradients(parameters)
    if not gradients:
        return tritorch.tensor(0.0)
    total, factor = _total(gradients, float(norm_type), float(max_norm))
    if error_if_nonfinite:
        _check_finite(total, float(norm_type))
    if factor is None:
        factor = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
    _scale(gradients, factor)
    return total


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The older name of `clip_grad_norm_`."""
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@tritorch.no_grad()
def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clamp every element of the gradients to [-clip_value, clip_value]."""
    from tritorch.optim.multi_tensor import MultiTensor

    bound = float(clip_value)
    for group in _groups(_gradients(parameters)):
        dense = [t for t in group if t._layout.is_dense]
        if dense and group[0].dtype.compute in _COMPUTED:
            _at_once(MultiTensor, get_ident())(kernels.clamp, [dense], (-bound, bound), {})
        for other in group:
            if not other._layout.is_dense or other.dtype.compute not in _COMPUTED:
                other.clamp_(-bound, bound)
