"""Tensors kept for the backward pass: version checks, own outputs, hooks that pack and unpack.

The common case, an input kept as it is, needs no object: a node keeps the tensor and the version
number it had. The classes here are the rest.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

from tritorch.autograd.grad_mode import Counter, grad_mode_state
from tritorch.autograd.protocol import TensorLike, operations

PackHook = Callable[[TensorLike], Any]
UnpackHook = Callable[[Any], TensorLike]

# Blocks of `saved_tensors_hooks`: while there is none a node need not look for hooks.
packing = Counter()

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you "
    "call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward "
    "through the graph a second time or if you need to access saved tensors after calling "
    "backward."
)


def forward_name(node: Any) -> str:
    """The operation a node is the backward of: Mul for MulBackward0."""
    return re.sub(r"Backward\d*$", "", node.name())


def check_version(tensor: TensorLike, node: Any, output_nr: int, expected: int) -> None:
    """PyTorch's error if a saved tensor was written to since.

    Args:
        tensor: that was saved.
        node: that made it, for the message; None for a leaf.
        output_nr: which output of that it is.
        expected: the version it had.
    """
    version = tensor._storage.version
    if version == expected:
        return
    layout = tensor._layout
    cuda = "cuda." if layout.device.type == "cuda" else ""
    message = (
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [torch.{cuda}{layout.dtype.legacy_name} "
        f"{', '.join(map(str, layout.shape)).join('[]')}]"
    )
    if node is not None:
        message += f", which is output {output_nr} of {forward_name(node)},"
    message += f" is at version {version}; expected version {expected} instead. Hint: "
    from tritorch.autograd.anomaly import anomaly

    if anomaly.enabled:
        message += (
            "the backtrace further above shows the operation that failed to compute its gradient."
            " The variable in question was changed in there or anywhere later. Good luck!"
        )
    else:
        message += (
            "enable anomaly detection to find the operation that failed to compute its gradient, "
            "with torch.autograd.set_detect_anomaly(True, check_nan=False)."
        )
    raise RuntimeError(message)


class SavedInput:
    """A tensor kept as it is, where its neighbours are not."""

    __slots__ = ("expected", "tensor")

    def __init__(self, tensor: TensorLike) -> None:
        self.tensor = tensor
        self.expected = tensor._storage.version

    def unpack(self, node: Any) -> TensorLike:
        """The tensor."""
        tensor = self.tensor
        check_version(tensor, tensor._grad_fn, tensor._output_nr, self.expected)
        return tensor


class SavedOutput:
    """A node's own output: kept without its history, because output -> node -> output is a circle.

    Args:
        tensor: the output, already attached to the graph.
        node: that keeps it.
    """

    __slots__ = ("alias", "expected", "output_nr", "owner")

    def __init__(self, tensor: TensorLike, node: Any) -> None:
        self.alias = operations.detach(tensor)
        self.expected = tensor._storage.version
        self.output_nr = tensor._output_nr
        made_by = tensor._grad_fn
        # A view that was written in place has a grad_fn of its own, beyond the node.
        self.owner = None if made_by is node or made_by is None else weakref.ref(made_by)

    def unpack(self, node: Any) -> TensorLike:
        """The output, with its history while operations are recorded."""
        owner = self.owner() if self.owner else node
        check_version(self.alias, owner, self.output_nr, self.expected)
        return self.with_history(node) if grad_mode_state.enabled else self.alias

    def with_history(self, node: Any) -> TensorLike:
        """The output as an output of the node."""
        owner = self.owner() if self.owner else node
        return self.alias if owner is None else _with_history(self.alias, owner, self.output_nr)


class PackedTensor:
    """A tensor given to the pack hook of `saved_tensors_hooks`.

    Args:
        tensor: to keep.
        node: that keeps it.
        is_output: the tensor is an output of the node.
    """

    __slots__ = ("accumulate_grad", "is_output", "made_by", "output_nr", "packed", "unpack_hook")

    def __init__(self, tensor: TensorLike, node: Any, is_output: bool) -> None:
        pack, self.unpack_hook = grad_mode_state.saved_tensor_hooks[-1]
        self.is_output = is_output
        self.output_nr = tensor._output_nr
        self.accumulate_grad: Any = None
        self.made_by: Any = None
        if not is_output:
            self.made_by = tensor._grad_fn
            if self.made_by is None and tensor._requires_grad:
                from tritorch.autograd.edges import edge

                self.accumulate_grad = edge(tensor)[0]
        alias = operations.detach(tensor)
        version = alias._storage.version
        previous, grad_mode_state.enabled = grad_mode_state.enabled, False
        try:
            self.packed = pack(alias)
        finally:
            grad_mode_state.enabled = previous
        if alias._storage.version != version:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                "input to pack hook can not be modified by in-place operations as this can lead "
                "to unexpected side-effects. Please open an issue if you need to perform in-place "
                "operations on the input to a pack hook."
            )

    def unpack(self, node: Any) -> TensorLike:
        """What the unpack hook returns, with the history of the tensor that was kept."""
        tensor = self.unpack_hook(self.packed)
        if not isinstance(tensor, operations.tensor_type):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(tensor).__name__}"
            )
        owner = node if self.is_output else self.made_by
        if owner is not None:
            return _with_history(tensor, owner, self.output_nr)
        fresh = operations.detach(tensor)
        if self.accumulate_grad is not None:
            from tritorch.autograd.hooks import hooks_of

            fresh._requires_grad = True
            hooks_of(fresh).accumulate_grad = weakref.ref(self.accumulate_grad)
        return fresh


def _with_history(tensor: TensorLike, node: Any, output_nr: int) -> TensorLike:
    fresh = operations.detach(tensor)
    fresh._grad_fn = node
    fresh._output_nr = output_nr
    fresh._requires_grad = True
    return fresh


class saved_tensors_hooks:
    """Pack what the graph keeps: `pack(tensor)` when it is saved, `unpack(packed)` in the backward.

    Args:
        pack_hook: gets a detached tensor, must not write to it; its result is kept instead.
        unpack_hook: gets that result, returns a tensor of the same content.
    """

    def __init__(self, pack_hook: PackHook, unpack_hook: UnpackHook) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> Any:
        state = grad_mode_state
        if state.saved_tensor_hooks_disabled is not None:
            raise RuntimeError(state.saved_tensor_hooks_disabled)
        state.saved_tensor_hooks += ((self.pack_hook, self.unpack_hook),)
        packing.__enter__()

    def __exit__(self, *exception: Any) -> None:
        packing.__exit__()
        grad_mode_state.saved_tensor_hooks = grad_mode_state.saved_tensor_hooks[:-1]


class disable_saved_tensors_hooks:
    """`saved_tensors_hooks` inside is an error with this message.

    Args:
        error_message: of the RuntimeError.
    """

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        state = grad_mode_state
        if state.saved_tensor_hooks:
            raise RuntimeError(self.error_message)
        self._previous = state.saved_tensor_hooks_disabled
        state.saved_tensor_hooks_disabled = self.error_message

    def __exit__(self, *exception: Any) -> None:
        grad_mode_state.saved_tensor_hooks_disabled = self._previous


class allow_mutation_on_saved_tensors(saved_tensors_hooks):
    """What the graph saves in the block may be written to later: the graph keeps copies.

    PyTorch copies when the first write comes; here every tensor is copied when it is saved, each
    once however many operations save it, so a block takes the memory of what it saves.

    Example:
        >>> import tritorch as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
        ...     y = x.clone()
        ...     z = (y * y).sum()
        ...     _ = y.zero_()
        >>> z.backward()
        >>> x.grad
        tensor([2., 2.])
    """

    def __init__(self) -> None:
        #: storage -> its version, layout and place, and the copy
        self._copies: weakref.WeakKeyDictionary[Any, tuple[Any, TensorLike]] = (
            weakref.WeakKeyDictionary()
        )
        super().__init__(self._copy, lambda packed: packed)

    def _copy(self, tensor: TensorLike) -> TensorLike:
        storage = tensor._storage
        state = (storage.version, tensor._layout, tensor.storage_offset())
        known = self._copies.get(storage)
        if known is not None and known[0] == state:
            return known[1]
        copy = operations.clone(tensor)
        self._copies[storage] = (state, copy)
        return copy

    def clear(self) -> None:
        """Forget the copies; what the graph has of them it keeps."""
        self._copies.clear()

    def __enter__(self) -> allow_mutation_on_saved_tensors:
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self.clear()


class save_on_cpu(saved_tensors_hooks):
    """Keep what the graph saves in the host's memory and bring it back when it is needed.

    Args:
        pin_memory: accepted for compatibility.
        device_type: accepted for compatibility.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(tensor: TensorLike) -> tuple[Any, TensorLike]:
            return tensor.device, tensor.cpu()

        def unpack(packed: tuple[Any, TensorLike]) -> TensorLike:
            device, tensor = packed
            return tensor.to(device)

        super().__init__(pack, unpack)
