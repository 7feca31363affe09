"""Tensors between devices: copies, pinned memory, use on other streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.devices import cpu
from tritorch.devices import device as Device
from tritorch.layout import Layout
from tritorch.ops.declare import method, takes
from tritorch.ops.memory import copy_into, dense, duplicate
from tritorch.runtime import Storage, get_target, recording
from tritorch.tensor import Tensor, empty, wrap


class ToDeviceBackward0(Node):
    """The gradient of a copy goes back to the device of the source."""

    __slots__ = ("_source",)

    def __init__(self, edges: Any, outputs: tuple[Layout, ...], source: Device) -> None:
        super().__init__(edges, outputs)
        self._source = source

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient, copied."""
        (gradient,) = grads
        return (None if gradient is None else moved(gradient, self._source, False),)


def on_device(layout: Layout, device: Device) -> Layout:
    """The same elements elsewhere."""
    return Layout.of(layout.dtype, layout.shape, layout.strides, device)


def moved(input: Tensor, device: Device, non_blocking: bool) -> Tensor:
    """A copy on another device, with the history.

    Args:
        non_blocking: return before pinned memory was read or written.
    """
    result = empty(on_device(dense(input._layout), device))
    copy_across(result, input, non_blocking)
    if input._requires_grad and mode.enabled and input._layout.dtype.is_floating_point:
        node = ToDeviceBackward0((edge(input),), (result._layout,), input._layout.device)
        result._grad_fn = node
        result._requires_grad = True
    return result


def copy_across(target: Tensor, source: Tensor, non_blocking: bool) -> None:
    """Write a source's values that are on another device, converted and broadcast; no history."""
    here, there = target._layout, source._layout
    if not here.numel or not there.numel:
        return
    if not there.is_dense:
        source = duplicate(source, dense(there))
        there = source._layout
    if here.dtype is there.dtype and here.is_dense and on_device(there, here.device) is here:
        _copy_bytes(target, source, non_blocking)
        return
    staged = empty(on_device(there, here.device))
    _copy_bytes(staged, source, non_blocking)
    copy_into(target, staged)


def _copy_bytes(target: Tensor, source: Tensor, non_blocking: bool) -> None:
    here, there = target._layout.device, source._layout.device
    to, at, nbytes = target._address, source._address, source._layout.nbytes
    if recording.device_graphs and not (here is there or _can_be_recorded(target, source)):
        raise RuntimeError(
            "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU "
            "tensor is pinned. Please use tensor.pin_memory() or allocate the tensor with "
            "pin_memory=True."
        )
    if there.type == "cpu":
        get_target(here).upload(to, at, nbytes, non_blocking)
    elif here.type == "cpu":
        get_target(there).download(to, at, nbytes, non_blocking)
    elif here is there:
        get_target(here).copy(to, at, nbytes)
    else:
        gpus: Any = get_target(here.type)
        gpus.copy_between((here.index, there.index), to, at, nbytes)


def _can_be_recorded(target: Tensor, source: Tensor) -> bool:
    """Whether a replay can copy: nothing is recorded here, or the host's memory is page-locked."""
    hosts = [tensor for tensor in (target, source) if tensor._layout.device is cpu]
    return not (recording.under_way() and hosts) or is_pinned(hosts[0])


@method("pin_memory")
@takes("all")
def pin_memory(input: Tensor, device: Any = None) -> Tensor:
    """A copy in page-locked host memory, which devices copy without waiting; `input` itself where
    it is there already.

    Raises:
        RuntimeError: it is not on the CPU, or there is no GPU.
    """
    layout = input._layout
    if layout.device is not cpu:
        raise RuntimeError(
            f"cannot pin 'torch.{layout.dtype.legacy_name}' of {layout.device}: only dense CPU "
            "tensors can be pinned."
        )
    if is_pinned(input):
        return input
    kept = dense(layout)
    block: Any = get_target("cuda").pin(max(kept.nbytes, 1))  # type: ignore[attr-defined]
    storage = Storage.borrow(block.address, kept.nbytes, block)
    result = wrap(storage, kept, storage.address)
    copy_into(result, input)
    return result


@method("is_pinned")
def is_pinned(input: Tensor, device: Any = None) -> bool:
    """Whether it is in page-locked memory."""
    from tritorch.runtime import started_target

    target: Any = started_target("cuda")
    return target is not None and input._layout.device is cpu and target.is_pinned(input._address)


@method("record_stream")
def record_stream(input: Tensor, stream: Any) -> None:
    """The tensor is used on `stream` too: its memory is not given away before that is over."""
    if input._layout.device.type != "cuda":
        raise RuntimeError(f"record_stream: expected a CUDA tensor, got one on {input.device}.")
    target: Any = get_target("cuda")
    target.record_stream(input._storage.address, stream.cuda_stream)
