"""`Node`: one recorded operation, and `AccumulateGrad`, where the gradient of a leaf ends."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from sys import getrefcount
from typing import Any

from tritorch.autograd import hooks as _hooks
from tritorch.autograd.anomaly import anomaly, note_forward
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.hooks import NodeExtras, RemovableHandle
from tritorch.autograd.protocol import TensorLike, operations
from tritorch.autograd.saved import FREED, PackedTensor, SavedOutput, raise_modified

#: (the node that wants the gradient or None, which of its outputs it is of)
Edge = tuple["Node | None", int]
Gradients = tuple[TensorLike | None, ...]

NO_EDGE: Edge = (None, 0)

_next_sequence_nr: Callable[[], int] = itertools.count().__next__
# Leaves run as soon as they are ready, so that their gradients need not wait in memory.
_next_leaf_nr: Callable[[], int] = itertools.count(1 << 62).__next__


class RestrictedRuns:
    """How many runs of the engine are limited by `inputs=` at present, in all threads.

    While it is none, which is nearly always, a node need not ask whether an input is wanted.
    """

    __slots__ = ("count", "lock")

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()


restricted_runs = RestrictedRuns()


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

    def __init__(self, next_functions: tuple[Edge, ...], output_layouts: tuple[Any, ...]) -> None:
        self.next_functions = next_functions
        self.output_layouts = output_layouts
        self.sequence_nr = _next_sequence_nr()
        self._saved: tuple[Any, ...] | None = ()
        self._versions: tuple[int | None, ...] = ()
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
    def save(self, *tensors: TensorLike | None) -> None:
        """Keep inputs (or intermediate results) for `apply`, each with the version it has now."""
        if grad_mode_state.saved_tensor_hooks:
            self._saved = tuple([self._packed(tensor, False) for tensor in tensors])
            self._versions = (None,) * len(tensors)
        else:
            self._saved = tensors
            self._versions = tuple(
                [None if tensor is None else tensor._storage.version for tensor in tensors]
            )

    def save_outputs(self, *tensors: TensorLike) -> None:
        """Keep own outputs, after they were attached; `unpack` gives them after the inputs."""
        if grad_mode_state.saved_tensor_hooks:
            kept = tuple([self._packed(tensor, True) for tensor in tensors])
        else:
            kept = tuple([SavedOutput(tensor, self) for tensor in tensors])
        self._saved = (self._saved or ()) + kept
        self._versions += (None,) * len(kept)

    def _packed(self, tensor: TensorLike | None, is_output: bool) -> PackedTensor | None:
        return None if tensor is None else PackedTensor(tensor, self, is_output)

    def unpack(self) -> tuple[Any, ...]:
        """What was kept, inputs first; RuntimeError where one was written to or all were freed."""
        saved = self._saved
        if saved is None:
            raise RuntimeError(FREED)
        plain = True
        for tensor, version in zip(saved, self._versions):
            if version is None:
                plain = False
            elif tensor._storage.version != version:
                node, output_nr = tensor._grad_fn, tensor._output_nr
                raise_modified(tensor, node, output_nr, tensor._storage.version, version)
        if plain:
            return saved
        return tuple(
            [
                entry if entry is None or version is not None else entry.unpack(self)
                for entry, version in zip(saved, self._versions)
            ]
        )

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
        self._versions = ()
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
                elif layout.is_dense:
                    copy = operations.restride(gradient, layout.shape, layout.strides)
                    variable.grad = copy
                else:
                    variable.grad = operations.clone(gradient)
        hooks = variable._hooks
        if hooks is not None and hooks.post_accumulate:
            for hook in tuple(hooks.post_accumulate.values()):
                if hook(variable) is not None:
                    raise RuntimeError(
                        "hooks for register_post_accumulate_grad_hook must return None"
                    )
