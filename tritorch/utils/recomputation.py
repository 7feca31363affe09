"""What a checkpoint keeps in place of tensors, and how they come back: saved-tensor hooks.

In the first run every tensor that the graph saves is replaced by an empty `Holder`. When the
backward pass unpacks the first of them, the function runs again; the k-th tensor that it saves goes
to the k-th holder, if that is still wanted. Each run of the engine recomputes for itself, so a
graph that is retained can be gone through again.

Source: the scheme is that of torch.utils.checkpoint (its "rules").
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.autograd.grad_mode import enable_grad, grad_mode_state
from tritorch.autograd.saved import PackedTensor, SavedInput, saved_tensors_hooks
from tritorch.tensor import Tensor

Metadata = Callable[[Tensor], Any]
DETERMINISM_CHECKS: dict[str, Metadata] = {
    "default": lambda tensor: {
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "device": tensor.device,
    },
    "none": lambda _: None,
}


class CheckpointError(RuntimeError):
    """Running a checkpointed function again did not give what the first run kept."""


class _Stop(Exception):
    """Everything that is needed was recomputed."""


class Holder:
    """Stands for one saved tensor; `found` has what the runs of the engine recomputed for it."""

    __slots__ = ("__weakref__", "found")

    def __init__(self) -> None:
        #: run -> tensor, or None once it was handed out
        self.found: weakref.WeakKeyDictionary[Any, Tensor | None] = weakref.WeakKeyDictionary()


class _Outside:
    """Takes the place of a run of the engine where there is none."""


class Frame:
    """One checkpoint: how to recompute, from what, and what the first run kept.

    Args:
        again: runs the function a second time, on the arguments.
        args: of the function; tensors are kept as the graph keeps them.
        early_stop: end the second run when all holders are served.
        metadata: what has to agree between a tensor and its recomputed self.
    """

    def __init__(
        self, again: Callable[..., None], args: Sequence[Any], early_stop: bool, metadata: Metadata
    ) -> None:
        self._again = again
        kept = PackedTensor if grad_mode_state.saved_tensor_hooks else SavedInput
        self._args = [
            (True, _keep(kept, arg)) if isinstance(arg, Tensor) else (False, arg) for arg in args
        ]
        self.early_stop = early_stop
        self.metadata = metadata
        self.holders: list[weakref.ref[Holder]] = []
        self.expected: list[Any] = []
        self.forward_completed = False
        #: runs of the engine that recomputed -> how many tensors the second run saved
        self._done: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def hold(self, tensor: Tensor) -> Holder:
        """Take note of a tensor that the first run saves."""
        holder = Holder()
        self.holders.append(weakref.ref(holder))
        self.expected.append(self.metadata(tensor))
        return holder

    def tensor_of(self, holder: Holder) -> Tensor:
        """The tensor that a holder stands for, recomputed if this run of the engine has not yet."""
        run = grad_mode_state.task
        if run is None:
            run = _Outside()
        if run not in self._done:
            self._recompute(run)
        tensor = holder.found.get(run)
        if tensor is None:
            raise CheckpointError(
                "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already "
                "unpacked once. If you are calling ctx.saved_tensors in backward, make sure to do "
                "so only once."
            )
        holder.found[run] = None
        return tensor

    def _recompute(self, run: Any) -> None:
        saving = _Saving(self, run)
        inputs = [arg.unpack(None) if kept else arg for kept, arg in self._args]
        try:
            with saved_tensors_hooks(saving, _unchanged), enable_grad():
                self._again(*inputs)
        except _Stop:
            pass
        self._done[run] = saving.count
        if not saving.ignore_mismatch:
            self._check(run, saving.count)

    def _check(self, run: Any, count: int) -> None:
        if count != len(self.holders):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the "
                "original forward and recomputation.\n"
                f"Number of tensors saved during forward: {len(self.holders)}\n"
                f"Number of tensors saved during recomputation: {count}."
            )
        different = []
        for position, (reference, expected) in enumerate(
            zip(self.holders, self.expected, strict=True)
        ):
            holder = reference()
            tensor = None if holder is None else holder.found.get(run)
            if tensor is not None and self.metadata(tensor) != expected:
                different.append(
                    f"tensor at position {position}:\nsaved metadata: {expected}\n"
                    f"recomputed metadata: {self.metadata(tensor)}"
                )
        if different:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have "
                "different metadata than during the forward pass.\n" + "\n".join(different)
            )


def _keep(kept: Any, tensor: Tensor) -> Any:
    return kept(tensor) if kept is SavedInput else kept(tensor, None, False)


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


class _Saving:
    """The pack hook of the second run: hands each tensor to its holder."""

    def __init__(self, frame: Frame, run: Any) -> None:
        self.frame = frame
        self.run = run
        self.count = 0
        #: the function itself ran a backward, so the two runs cannot be compared
        self.ignore_mismatch = False

    def __call__(self, tensor: Tensor) -> Tensor:
        frame, position = self.frame, self.count
        self.count += 1
        if position >= len(frame.holders):
            if frame.forward_completed:
                raise CheckpointError(
                    "torch.utils.checkpoint: trying to save more tensors during recomputation than "
                    "during the original forward pass."
                )
            self.ignore_mismatch = True
            return tensor
        holder = frame.holders[position]()
        if holder is not None:
            holder.found[self.run] = tensor
        if frame.early_stop and self.count == len(frame.holders):
            raise _Stop
        return tensor


class KeepHooks(saved_tensors_hooks):
    """The hooks of the first run: holders instead of tensors."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame.hold, frame.tensor_of)
