"""`Node`: one recorded operation, and `AccumulateGrad`, where the gradient of a leaf ends."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from sys import getrefcount
from typing import Any, Final

from tritorch.autograd import hooks as _hooks
from tritorch.autograd.anomaly import anomaly, note_forward
from tritorch.autograd.grad_mode import Counter, grad_mode_state
from tritorch.autograd.hooks import NodeExtras, RemovableHandle
from tritorch.autograd.protocol import TensorLike, operations
from tritorch.autograd.saved import (
    FREED,
    PackedTensor,
    SavedInput,
    SavedOutput,
    check_version,
    packing,
)
from tritorch.layout import contiguous_strides

#: (the node that wants the gradient or None, which of its outputs it is of)
Edge = tuple["Node | None", int]
Gradients = tuple[TensorLike | None, ...]

NO_EDGE: Edge = (None, 0)

_next_sequence_nr: Callable[[], int] = itertools.count().__next__
# Leaves run as soon as they are ready, so that their gradients need not wait in memory; of several
# the first one first, as a rule PyTorch's order.
_next_leaf_nr: Callable[[], int] = itertools.count(1 << 62, -1).__next__


# Runs of the engine that are limited by `inputs=`: while there is none, which is nearly always, a
# node need not ask whether an input is wanted.
restricted_runs = Counter()

#: `_versions` of a node that keeps anything but plain tensors
SPECIAL: Final = -1
_MASK: Final = (1 << 32) - 1


def _versions_of(tensors: tuple[TensorLike, ...]) -> int:
    if len(tensors) == 1:
        return tensors[0]._storage.version
    if len(tensors) == 2:
        return tensors[0]._storage.version | tensors[1]._storage.version << 32
    versions = 0
    for tensor in reversed(tensors):
        versions = versions << 32 | tensor._storage.version
    return versions


class Node:
    """One recorded operation; subclasses define `apply`.

    Args:
        next_functions: for each input, the edge its gradient goes along (`edge(tensor)`).
        output_layouts: the layout of each output, which its gradient must match.
    """

    __slots__ = (
        "__weakref__", "_extras", "_saved", "_versions", "next_functions", "output_layouts",
        "sequence_nr",
    )  # fmt: skip

    #: `apply` is called even when no gradient arrived (custom functions materialise zeros)
    wants_undefined = False
    #: `apply` takes a gradient of a narrower floating type than the output's as it is, where it is
    #: the only one (after a cast to the narrower type)
    takes_narrow = False

    def __init__(self, next_functions: tuple[Edge, ...], output_layouts: tuple[Any, ...]) -> None:
        self.next_functions = next_functions
        self.output_layouts = output_layouts
        self.sequence_nr = _next_sequence_nr()
        self._saved: tuple[Any, ...] | None = ()
        self._versions = 0
        self._extras: NodeExtras | None = None
        if anomaly.enabled:
            note_forward(self)

    def apply(self, grads: Gradients) -> Gradients:
        """Gradients of the inputs from those of the outputs; None stands for zero on both sides."""
        raise NotImplementedError

    def needs(self, index: int) -> bool:
        """Whether the gradient of this input is wanted in the run that is under way."""
        following = self.next_functions[index][0]
        if following is None:
            return False
        if not restricted_runs.count:
            return True
        task = grad_mode_state.task
        return task is None or task.relevant is None or following in task.relevant

    # ---- what it keeps
    # While all are plain tensors, `_saved` has them and `_versions` packs the version of each into
    # 32 bits of one integer: nothing to allocate, one comparison to check. Else `_versions` is
    # SPECIAL and `_saved` has None or objects with `unpack(node)`.
    def save(self, *tensors: TensorLike | None) -> None:
        """Keep inputs (or intermediate results) for `apply`, each with the version it has now."""
        if packing.count and grad_mode_state.saved_tensor_hooks:
            self._keep([t if t is None else PackedTensor(t, self, False) for t in tensors])
            return
        try:
            if len(tensors) == 1:  # most often; a call less
                self._versions = tensors[0]._storage.version  # type: ignore[union-attr]
            else:
                self._versions = _versions_of(tensors)
            self._saved = tensors
        except AttributeError:
            self._keep([t if t is None else SavedInput(t) for t in tensors])

    def save_outputs(self, *tensors: TensorLike) -> None:
        """Keep own outputs, after they were attached; `unpack` gives them after the inputs."""
        saved: list[Any] = list(self._saved or ())
        if self._versions != SPECIAL:
            saved = [SavedInput(tensor) for tensor in saved]
        if packing.count and grad_mode_state.saved_tensor_hooks:
            self._keep(saved + [PackedTensor(tensor, self, True) for tensor in tensors])
        else:
            self._keep(saved + [SavedOutput(tensor, self) for tensor in tensors])

    def _keep(self, saved: list[Any]) -> None:
        self._saved = tuple(saved)
        self._versions = SPECIAL

    def unpack(self) -> tuple[Any, ...]:
        """What was kept, inputs first; RuntimeError where one was written to or all were freed."""
        saved = self._saved
        if saved is None:
            raise RuntimeError(FREED)
        versions = self._versions
        if versions == SPECIAL:
            return tuple([None if entry is None else entry.unpack(self) for entry in saved])
        if len(saved) == 1 and saved[0]._storage.version == versions:
            return saved
        if _versions_of(saved) != versions:
            for tensor in saved:
                check_version(tensor, tensor._grad_fn, tensor._output_nr, versions & _MASK)
                versions >>= 32
        return saved

    def release(self) -> None:
        """Let go of what is kept; a second backward is then an error. Subclasses may add to it."""
        if self._saved:
            self._saved = None

    # ---- what users see
    def name(self) -> str:
        """The name of the operation's backward, such as MulBackward0."""
        return type(self).__name__

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dictionary for the user's own notes."""
        extras = self.extras()
        if extras.metadata is None:
            extras.metadata = {}
        return extras.metadata

    def _sequence_nr(self) -> int:
        return self.sequence_nr

    def extras(self) -> NodeExtras:
        """The rarely used part, made when it is first needed."""
        extras = self._extras
        if extras is None:
            extras = self._extras = NodeExtras()
        return extras

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after the node; a result replaces grad_inputs."""
        return _hooks.register_post_hook(self, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(grad_outputs)` before the node; a result replaces them."""
        return _hooks.register_pre_hook(self, hook)

    def __call__(self, *grads: TensorLike | None) -> Any:
        """The gradients of the inputs: one tensor, or a tuple where there are several."""
        result = self.apply(grads)
        return result[0] if len(result) == 1 else result

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


class AccumulateGrad(Node):
    """Adds what arrives to the `grad` of a leaf.

    Args:
        variable: the leaf; it knows its AccumulateGrad weakly, edges keep it alive.
    """

    __slots__ = ("_lock", "variable")

    def __init__(self, variable: TensorLike) -> None:
        self.next_functions = ()
        self.output_layouts = (variable._layout,)
        self.sequence_nr = _next_leaf_nr()
        self._saved = ()
        self._versions = 0
        self._extras = None
        self.variable = variable
        # Two threads may run backward on graphs that share a leaf.
        self._lock = threading.Lock()

    def apply(self, grads: Gradients) -> Gradients:
        """Add the gradient; there is nothing to hand on."""
        self.accumulate(list(grads))
        return ()

    def accumulate(self, buffer: list[TensorLike | None]) -> None:
        """Add `buffer[0]` to the leaf's gradient, or make it the gradient where that is safe.

        It is safe when nobody else can see the tensor and its memory: the list holds the only
        reference to it, and it holds the only one to its storage.
        """
        gradient = buffer[0]
        variable = self.variable
        if gradient is None or not variable._requires_grad:
            return
        if variable._grad_fn is not None:
            raise RuntimeError("leaf variable has been moved into the graph interior")
        recording = grad_mode_state.enabled
        with self._lock:
            present = variable.grad
            if present is not None:
                if recording or not present._layout.is_dense:
                    variable.grad = operations.add(present, gradient)
                else:
                    operations.accumulate(present, gradient)
                    present._storage.version += 1
            else:
                layout = variable._layout
                fits = (
                    gradient._layout is layout
                    if layout.is_dense
                    else (gradient._layout.is_contiguous)
                )
                del present
                # References: `buffer`, `gradient`, the argument of getrefcount.
                if (
                    fits
                    and not recording
                    and getrefcount(gradient) == 3
                    and getrefcount(gradient._storage) == 2
                ):
                    variable.grad = (
                        operations.detach(gradient) if gradient._requires_grad else gradient
                    )
                else:
                    shape = layout.shape
                    strides = layout.strides if layout.is_dense else contiguous_strides(shape)
                    variable.grad = operations.restride(gradient, shape, strides)
        hooks = variable._hooks
        if hooks is not None and hooks.post_accumulate:
            for hook in tuple(hooks.post_accumulate.values()):
                if hook(variable) is not None:
                    raise RuntimeError(
                        "hooks for register_post_accumulate_grad_hook must return None"
                    )
