"""Filling, copying and casting: the operations that only move values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritorch import dtypes
from tritorch.autograd import inplace
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import copy as kernels
from tritorch.kernels.strides import dense_like, keeps_channels_last
from tritorch.layout import (
    Layout,
    MemoryFormat,
    broadcast_shapes,
    channels_last,
    channels_last_3d,
    contiguous_format,
    preserve_format,
)
from tritorch.ops.declare import method, operation, takes
from tritorch.ops.dispatch import Plans
from tritorch.ops.overlap import meets
from tritorch.ops.placement import resolve_device, resolve_dtype
from tritorch.ops.promotion import NUMBERS
from tritorch.runtime import Storage, get_target
from tritorch.tensor import Tensor, empty, wrap

# ---- plans: launch(target address, source address or value)


def _copy_plan(key: tuple[Layout, Layout]) -> Any:
    target, source = key
    if broadcast_shapes("copy_", target.shape, source.shape) != target.shape:
        raise RuntimeError(
            f"copy_: output with shape {list(target.shape)} doesn't match the broadcast shape of "
            f"{list(source.shape)}. Expand the target first."
        )
    compute = source.dtype
    return kernels.copy.plan(
        [source], [compute], [target.dtype], out_layouts=[target], device=target.device
    ).launch


def _fill_plan(key: tuple[Layout, type]) -> Any:
    layout, kind = key
    compute = layout.dtype.compute
    if layout.dtype is dtypes.bool or (kind is float and not compute.is_floating_point):
        compute = dtypes.int64
    return kernels.fill.plan(
        [kind], [compute], [layout.dtype], out_layouts=[layout], device=layout.device
    ).launch


_copies = Plans(_copy_plan)
_fills = Plans(_fill_plan)


def fill(tensor: Tensor, value: Any) -> None:
    """Write a number everywhere; no history, no checks."""
    if tensor._layout.dtype is dtypes.bool:
        value = bool(value)
    elif not tensor._layout.dtype.is_floating_point:
        value = int(value)
    _fills[tensor._layout, value.__class__](tensor._address, value)


def copy_into(target: Tensor, source: Tensor, non_blocking: bool = False) -> None:
    """Write the source's values, converted and broadcast; no history, no checks."""
    here, there = target._layout, source._layout
    if here.device is there.device:
        if here is there and here.is_dense:
            if here.nbytes:
                get_target(here.device).copy(target._address, source._address, here.nbytes)
        else:
            _copies[here, there](target._address, source._address)
        return
    from tritorch.ops.transfer import copy_across

    copy_across(target, source, non_blocking)


def dense(
    layout: Layout, dtype: Dtype | None = None, memory_format: MemoryFormat | None = None,
    name: str = "empty_like",
) -> Layout:  # fmt: skip
    """The same shape without gaps, its dimensions in the same order (or that of a format)."""
    kind = dtype or layout.dtype
    if memory_format is not None and memory_format is not preserve_format:
        strides = memory_format.strides(name, layout.shape)
        return Layout.of(kind, layout.shape, strides, layout.device)
    if layout.is_dense:
        return layout if kind is layout.dtype else layout.with_dtype(kind)
    return dense_like(kind, layout.shape, [layout.strides], layout.device)


def duplicate(source: Tensor, layout: Layout) -> Tensor:
    """A copy in a new buffer of a dense layout; no history."""
    result = empty(layout)
    copy_into(result, source)
    return result


# ---- differentiable copies


class CloneBackward0(Node):
    """The gradient of a copy passes."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """One gradient; the engine casts it."""
        return (grads[0],)


class ToCopyBackward0(CloneBackward0):
    """The gradient of a cast is cast back by the engine."""

    __slots__ = ()


class CopyBackwards(Node):
    """In-place copy: nothing passes to what was overwritten."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Zeros for the target, the gradient for the source."""
        (gradient,) = grads
        return (zeros_like(gradient) if self.needs(0) else None, gradient)


class FillBackward0(Node):
    """Nothing passes to what was overwritten."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Zeros."""
        return (zeros_like(grads[0]),)


def zeros_like(tensor: Tensor) -> Tensor:
    """Zeros of the same kind; no history."""
    result = empty(dense(tensor._layout))
    fill(result, 0)
    return result


def _recorded(result: Tensor, node: type[Node], source: Tensor) -> Tensor:
    if source._requires_grad and mode.enabled and result._layout.dtype.is_floating_point:
        result._grad_fn = node((edge(source),), (result._layout,))
        result._requires_grad = True
    return result


@operation("unary", register=False)
@takes("all")
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in its own memory, with the history; its dimensions stay in order unless given."""
    layout = dense(input._layout, None, memory_format, "clone")
    return _recorded(duplicate(input, layout), CloneBackward0, input)


@method("contiguous")
@takes("all")
def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if it is row-major (or in the given format), else such a copy."""
    layout = input._layout
    if memory_format is None:
        if layout.is_contiguous:
            return input
        memory_format = contiguous_format
    if memory_format is preserve_format:
        raise RuntimeError("contiguous: preserve memory format is unsupported by it. Use clone.")
    if memory_format.holds(layout):
        return input
    dense_layout = dense(layout, None, memory_format, "contiguous")
    return _recorded(duplicate(input, dense_layout), CloneBackward0, input)


def formatted(result: Tensor, *operands: Tensor | None) -> Tensor:
    """The result with its channels side by side if an operand's are, as in PyTorch, else row-major.

    For what writes planes: copying those takes less time than writing with gaps does.
    """
    if any(x is not None and keeps_channels_last(x._layout) for x in operands):
        return contiguous(result, channels_last if result._layout.ndim == 4 else channels_last_3d)
    return contiguous(result)


def restride(input: Tensor, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """A copy in a new buffer with these strides, gaps included, with the history."""
    layout = Layout.of(input._layout.dtype, shape, strides, input._layout.device)
    result = spacious(layout)
    copy_into(result, input)
    return _recorded(result, CloneBackward0, input)


def spacious(layout: Layout) -> Tensor:
    """An uninitialised tensor of any layout, gaps included; no history."""
    if layout.is_dense:
        return empty(layout)
    storage = Storage(layout.extent * layout.dtype.itemsize, get_target(layout.device))
    return wrap(storage, layout, storage.address)


def to_dtype(input: Tensor, dtype: Dtype) -> Tensor:
    """Cast, with the history."""
    if input._layout.dtype is dtype:
        return input
    return _recorded(duplicate(input, dense(input._layout, dtype)), ToCopyBackward0, input)


def to_device(input: Tensor, device: Device, non_blocking: bool = False) -> Tensor:
    """Copy to a device, with the history."""
    if input._layout.device is device:
        return input
    from tritorch.ops.transfer import moved

    return moved(input, device, non_blocking)


def parse_to(*args: Any, **options: Any) -> tuple[Device | None, Dtype | None, bool, bool]:
    """The arguments of `to`: (device or None, dtype or None, non_blocking, copy)."""
    device, dtype = options.pop("device", None), options.pop("dtype", None)
    other = options.pop("other", None)
    non_blocking, copy = options.pop("non_blocking", False), options.pop("copy", False)
    if options:
        raise TypeError(f"to() got an unexpected keyword argument {next(iter(options))!r}.")
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    elif rest and (rest[0] is None or isinstance(rest[0], str | Device | int)):
        device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], Dtype)):
            dtype = rest.pop(0)
    elif rest:
        dtype = rest.pop(0)
    if rest:
        non_blocking = rest.pop(0)
    if rest:
        copy = rest.pop(0)
    if other is not None:
        device, dtype = other.device, other.dtype
    return (
        None if device is None else resolve_device(device),
        None if dtype is None else resolve_dtype(dtype, "to"),
        bool(non_blocking),
        bool(copy),
    )


@method("to")
@takes("all")
def to(input: Tensor, *args: Any, **options: Any) -> Tensor:
    """`to(dtype)`, `to(device, dtype)` or `to(other)`; the tensor itself where nothing changes.

    Args:
        copy: copy in any case.
    """
    memory_format = options.pop("memory_format", None)
    device, dtype, non_blocking, copy = parse_to(*args, **options)
    result = input
    if device is not None:
        result = to_device(result, device, non_blocking)
    if dtype is not None:
        result = to_dtype(result, dtype)
    if memory_format is not None and memory_format is not preserve_format:
        result = contiguous(result, memory_format)
    return clone(result) if copy and result is input else result


@method("type")
@takes("all")
def type_(input: Tensor, dtype: Any = None) -> Any:
    """Cast to a dtype, or the name of the tensor's type, such as `torch.FloatTensor`."""
    if dtype is None:
        place = "cuda." if input._layout.device.type == "cuda" else ""
        return f"torch.{place}{input._layout.dtype.legacy_name}"
    if isinstance(dtype, str):
        place, _, name = dtype.rpartition(".")
        if place.endswith("cuda"):
            input = to(input, "cuda")
        dtype = next((kind for kind in dtypes.ALL if kind.legacy_name == name), dtype)
    elif isinstance(dtype, type) and isinstance(
        kind := getattr(dtype, "dtype", None), dtypes.dtype
    ):
        if dtype.place != "cpu":  # type: ignore[attr-defined]
            input = to(input, dtype.place)  # type: ignore[attr-defined]
        dtype = kind  # of FloatTensor and its kin
    return to_dtype(input, resolve_dtype(dtype, "type"))


@method("type_as")
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """Cast and move to what another tensor is."""
    return to(input, other)


def _cast(name: str, kind: Dtype) -> None:
    @takes("all")
    def function(input: Tensor, memory_format: Any = None) -> Tensor:
        return to_dtype(input, kind)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Cast to {kind.name}."
    setattr(Tensor, name, function)


for _name, _kind in (
    ("float", dtypes.float32), ("double", dtypes.float64), ("half", dtypes.float16),
    ("bfloat16", dtypes.bfloat16), ("int", dtypes.int32), ("long", dtypes.int64),
    ("short", dtypes.int16), ("char", dtypes.int8), ("byte", dtypes.uint8), ("bool", dtypes.bool),
):  # fmt: skip
    _cast(_name, _kind)


@method("cpu")
@takes("all")
def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor in the host's memory."""
    return to_device(input, resolve_device("cpu"))


@method("cuda")
@takes("all")
def cuda(input: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """The tensor on a GPU."""
    return to_device(input, resolve_device("cuda" if device is None else device), non_blocking)


# ---- in place


def _check_written(name: str, target: Tensor) -> None:
    layout = target._layout
    if not layout.is_dense and any(
        stride == 0 and size > 1 for size, stride in zip(layout.shape, layout.strides)
    ):
        raise RuntimeError(
            f"{name}: unsupported operation: more than one element of the written-to tensor refers "
            "to a single memory location. Please clone() the tensor before performing the "
            "operation."
        )


@method("copy_")
@takes("all")
def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write the values of another tensor into this one, converted and broadcast."""
    if src.__class__ in NUMBERS:
        return fill_(input, src)
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' must be Tensor, not {type(src).__name__}.")
    _check_written("copy_", input)
    wanted = src._requires_grad
    inplace.check_inplace(input, bool(wanted))
    node = None
    if (wanted or input._requires_grad) and mode.enabled:
        node = CopyBackwards((edge(input), edge(src)), (input._layout,))
    if meets(input, src):
        src = duplicate(src, dense(src._layout))
    copy_into(input, src, non_blocking)
    input._storage.version += 1
    if node is not None and input._layout.dtype.is_floating_point:
        inplace.rebase_history(input, node)
    return input


@method("fill_")
def fill_(input: Tensor, value: Any) -> Tensor:
    """Write a number everywhere."""
    if value.__class__ not in NUMBERS:
        if isinstance(value, Tensor):
            if value._layout.ndim:
                raise RuntimeError(
                    "fill_ only supports 0-dimension value tensor but got tensor with "
                    f"{value._layout.ndim} dimensions. Use copy_."
                )
            return copy_(input, value)
        value = value.item() if hasattr(value, "item") else float(value)
    if input._requires_grad or input._view is not None:
        inplace.check_inplace(input)
    node = None
    if input._requires_grad and mode.enabled:
        node = FillBackward0((edge(input),), (input._layout,))
    fill(input, value)
    input._storage.version += 1
    if node is not None:
        inplace.rebase_history(input, node)
    return input


@method("zero_")
@takes("all")
def zero_(input: Tensor) -> Tensor:
    """Write zeros everywhere."""
    return fill_(input, 0)


@method("resize_")
@takes("all")
def resize_(input: Tensor, *sizes: Any) -> Tensor:
    """Another shape, row-major; new memory where the old is too small. Contents are not kept
    then.
    """
    from tritorch.ops.placement import shape_of

    if input._requires_grad:
        raise RuntimeError("cannot resize variables that require grad. Use detach() first.")
    layout = Layout.contiguous(
        input._layout.dtype, shape_of("resize_", sizes), input._layout.device
    )
    room = input._storage.address + input._storage.nbytes - input._address
    if layout.nbytes > room:
        fresh = empty(layout)
        input._storage, input._address = fresh._storage, fresh._address
    input._layout = layout
    return input


@method("set_")
def set_(input: Tensor, source: Tensor) -> Tensor:
    """Share the memory and shape of another tensor from now on."""
    input._storage, input._layout, input._address = source._storage, source._layout, source._address
    return input


def alias(tensor: Tensor) -> Tensor:
    """A fresh leaf on the same storage."""
    return wrap(tensor._storage, tensor._layout, tensor._address)
