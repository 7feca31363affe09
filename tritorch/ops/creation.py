"""New tensors: from data, filled, ranges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tritorch import devices, dtypes
from tritorch.dtypes import dtype as Dtype
from tritorch.host import array_from_data
from tritorch.kernels import copy as kernels
from tritorch.layout import Layout, contiguous_strides
from tritorch.ops.declare import method, takes, without_gradient, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import dense, fill, to
from tritorch.ops.placement import resolve_device, resolve_dtype, shape_of
from tritorch.tensor import Tensor, check_requires_grad, from_array
from tritorch.tensor import empty as _empty


def _finished(result: Tensor, requires_grad: bool) -> Tensor:
    if requires_grad:
        check_requires_grad(result)
        result._requires_grad = True
    return result


# ---- from data


def tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested sequences of them, an array.

    Example:
        >>> import tritorch as torch
        >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        tensor([[1., 2.],
                [3., 4.]])
    """
    if isinstance(data, Tensor):
        result = to(data.detach(), resolve_device(device or data.device), dtype or data.dtype)
        result = result.clone() if result._storage is data._storage else result
    else:
        kind = None if dtype is None else resolve_dtype(dtype, "tensor")
        result = from_array(array_from_data(data, kind), resolve_device(device))
    return _finished(_pinned(result) if pin_memory else result, requires_grad)


def _pinned(made: Tensor) -> Tensor:
    """A new tensor in page-locked memory."""
    found: Tensor = made.detach().pin_memory()
    found._requires_grad = made._requires_grad
    return found


def as_tensor(data: Tensor | Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of `data`, sharing memory with a tensor or array where nothing has to change."""
    if isinstance(data, Tensor):
        kind = None if dtype is None else resolve_dtype(dtype, "as_tensor")
        return to(data, None if device is None else resolve_device(device), kind)
    if hasattr(data, "__cuda_array_interface__"):
        from tritorch.ops.interchange import from_cuda_array

        return to(
            from_cuda_array(data),
            None if device is None else resolve_device(device),
            None if dtype is None else resolve_dtype(dtype, "as_tensor"),
        )
    if (
        isinstance(data, np.ndarray)
        and data.flags.writeable
        and resolve_device(device) is devices.cpu
    ):
        shared = from_numpy(data)
        return shared if dtype is None else to(shared, resolve_dtype(dtype, "as_tensor"))
    return tensor(data, dtype=dtype, device=device)


def asarray(
    obj: Tensor | Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None
) -> Tensor:
    """`as_tensor`, or a copy in any case with `copy=True`."""
    if copy:
        return tensor(obj, dtype=dtype, device=device)
    return as_tensor(obj, dtype, device)


def from_numpy(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """A tensor on the memory of an array; writing to one changes the other."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if not ndarray.dtype.isnative:
        raise ValueError(
            "from_numpy: given numpy array has byte order different from the native byte order. "
            "Convert it: array.astype(array.dtype.newbyteorder('='))."
        )
    if any(step < 0 for step in ndarray.strides):
        raise ValueError(
            "from_numpy: At least one stride in the given numpy array is negative, and tensors "
            "with "
            "negative strides are not supported. Copy it first: array.copy()."
        )
    if any(step % ndarray.itemsize for step in ndarray.strides):
        raise ValueError("from_numpy: strides must be multiples of the item size. Copy it first.")
    return from_array(ndarray, devices.cpu, share=True)


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor on the memory of a buffer."""
    kind = resolve_dtype(dtype, "frombuffer")
    array = np.frombuffer(buffer, kind.numpy, count, offset)
    return _finished(from_array(array, devices.cpu, share=True), requires_grad)


def legacy_constructor(*args: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """What `Tensor(...)` makes: an empty tensor of these sizes, or a float copy of data."""
    kind = resolve_dtype(dtype, "Tensor")
    if len(args) == 1 and not hasattr(args[0], "__index__"):
        return tensor(args[0], dtype=kind, device=device)
    if len(args) == 1 and getattr(args[0], "ndim", None):
        return tensor(args[0], dtype=kind, device=device)
    return empty(*(args or (0,)), dtype=kind, device=device)


# ---- filled


def _new(
    name: str, sizes: tuple[Any, ...], dtype: Any, device: Any, fallback: Dtype | None = None
) -> Tensor:
    kind = resolve_dtype(dtype, name, fallback)
    place = resolve_device(device)
    return _empty(Layout.contiguous(kind, shape_of(name, sizes), place))


def _sizes(size: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Sizes also come as `size=`; `pin_memory` is for `_pinned`, `layout` means nothing here."""
    given = options.pop("size", None)
    for name in options:
        if name not in ("layout", "pin_memory", "memory_format"):
            raise TypeError(f"a new tensor got an unexpected keyword argument {name!r}.")
    return size if given is None else (given,)


def empty(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    out: Tensor | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """An uninitialised tensor."""
    memory_format = options.pop("memory_format", None)
    if out is not None:
        return out.resize_(*_sizes(size, options))
    kind, place = resolve_dtype(dtype, "empty"), resolve_device(device)
    layout = Layout.contiguous(kind, shape_of("empty", _sizes(size, options)), place)
    if memory_format is not None:
        layout = dense(layout, None, memory_format, "empty")
    made = _finished(_empty(layout), requires_grad)
    return _pinned(made) if options.get("pin_memory") else made


def empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """An uninitialised tensor with these strides."""
    from tritorch.runtime import Storage, get_target
    from tritorch.tensor import wrap

    kind, place = resolve_dtype(dtype, "empty_strided"), resolve_device(device)
    layout = Layout.of(kind, shape_of("empty_strided", (size,)), tuple(stride), place)
    storage = Storage(layout.extent * kind.itemsize, get_target(place))
    return _finished(wrap(storage, layout, storage.address), requires_grad)


def _filled(
    name: str, sizes: tuple[Any, ...], value: Any, dtype: Any, device: Any, requires_grad: bool,
    out: Tensor | None = None, fallback: Dtype | None = None,
) -> Tensor:  # fmt: skip
    if out is not None:
        out.resize_(*sizes).fill_(value)
        return out
    result = _new(name, sizes, dtype, device, fallback)
    fill(result, value)
    return _finished(result, requires_grad)


@takes("all")
def zeros(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    out: Tensor | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """A tensor of zeros."""
    made = _filled("zeros", _sizes(size, options), 0, dtype, device, requires_grad, out)
    return _pinned(made) if options.get("pin_memory") else made


@takes("all")
def ones(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    out: Tensor | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """A tensor of ones."""
    made = _filled("ones", _sizes(size, options), 1, dtype, device, requires_grad, out)
    return _pinned(made) if options.get("pin_memory") else made


def _dtype_of_number(value: Any) -> Dtype:
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, bool | np.bool_):
        return dtypes.bool
    return dtypes.int64 if isinstance(value, int | np.integer) else dtypes.get_default_dtype()


@takes("all")
def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, out: Tensor | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """A tensor of one number everywhere; its dtype is the number's unless given."""
    _sizes((), options)
    if isinstance(fill_value, Tensor):
        dtype, fill_value = dtype or fill_value.dtype, fill_value.item()
    kind = resolve_dtype(dtype, "full", _dtype_of_number(fill_value))
    made = _filled("full", (size,), fill_value, kind, device, requires_grad, out)
    return _pinned(made) if options.get("pin_memory") else made


def _like(
    name: str, input: Tensor, dtype: Any, device: Any, value: Any, requires_grad: bool,
    memory_format: Any = None,
) -> Tensor:  # fmt: skip
    kind = resolve_dtype(dtype, name, input._layout.dtype)
    layout = dense(input._layout, kind, memory_format, name)
    place = input._layout.device if device is None else resolve_device(device)
    if place is not layout.device:
        layout = Layout.of(layout.dtype, layout.shape, layout.strides, place)
    result = _empty(layout)
    if value is not None:
        fill(result, value)
    return _finished(result, requires_grad)


@takes("all")
def empty_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, **options: Any,
) -> Tensor:  # fmt: skip
    """An uninitialised tensor of the same shape, dtype and device."""
    _sizes((), options)
    made = _like("empty_like", input, dtype, device, None, requires_grad, memory_format)
    return _pinned(made) if options.get("pin_memory") else made


@takes("all")
def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, **options: Any,
) -> Tensor:  # fmt: skip
    """Zeros of the same shape, dtype and device."""
    _sizes((), options)
    made = _like("zeros_like", input, dtype, device, 0, requires_grad, memory_format)
    return _pinned(made) if options.get("pin_memory") else made


@takes("all")
def ones_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, **options: Any,
) -> Tensor:  # fmt: skip
    """Ones of the same shape, dtype and device."""
    _sizes((), options)
    made = _like("ones_like", input, dtype, device, 1, requires_grad, memory_format)
    return _pinned(made) if options.get("pin_memory") else made


@takes("all")
def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, memory_format: Any = None, **options: Any,
) -> Tensor:  # fmt: skip
    """One number everywhere, of the same shape, dtype and device."""
    _sizes((), options)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    made = _like("full_like", input, dtype, device, fill_value, requires_grad, memory_format)
    return _pinned(made) if options.get("pin_memory") else made


@method("new_tensor")
@without_gradient
def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of data with this one's dtype and device."""
    return tensor(
        data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad
    )


def _new_methods() -> None:
    def like(factory: Any) -> Any:
        @takes("all")
        def function(
            self: Tensor, *size: Any, dtype: Any = None, device: Any = None, **options: Any
        ) -> Tensor:
            return factory(
                *size, dtype=dtype or self.dtype, device=device or self.device, **options
            )

        function.__name__ = function.__qualname__ = f"new_{factory.__name__}"
        function.__doc__ = f"`{factory.__name__}` with this tensor's dtype and device."
        return function

    for factory in (empty, zeros, ones, full):
        made = like(factory)
        setattr(Tensor, made.__name__, made)


_new_methods()

# ---- ranges


def _range_plan(key: tuple[Any, Layout, int, Dtype]) -> Any:
    """The launch: (address, numbers)."""
    kernel, layout, count, compute = key
    number = float if compute.is_floating_point else int
    return kernel.plan(
        [number] * count, [compute] * count, [layout.dtype], out_layouts=[layout],
        device=layout.device,
    ).launch  # fmt: skip


_ranges = Plans(_range_plan)


def _generated(
    kernel: Any, layout: Layout, operands: tuple[Any, ...], compute: Dtype, requires_grad: bool
) -> Tensor:
    result = _empty(layout)
    number = float if compute.is_floating_point else int
    _ranges[kernel, layout, len(operands), compute](result._address, *map(number, operands))
    return _finished(result, requires_grad)


@takes("all")
def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, out: Tensor | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """Numbers from `start` (0) to `end`, which is excluded, in steps."""
    if end is None:
        start, end = 0, start
    start, end, step = (
        v.item() if isinstance(v, Tensor | np.generic) else v for v in (start, end, step)
    )
    if step == 0:
        raise RuntimeError("arange: step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"arange: upper bound and lower bound inconsistent with step sign, got start={start}, "
            f"end={end}, step={step}."
        )
    whole = all(isinstance(value, int) for value in (start, end, step))
    kind = resolve_dtype(dtype, "arange", dtypes.int64 if whole else None)
    count = -(-(end - start) // step) if whole else math.ceil((end - start) / step)
    layout = Layout.contiguous(kind, (int(count),), resolve_device(device))
    compute = dtypes.float64 if kind.is_floating_point else dtypes.int64
    result = _generated(kernels.arange, layout, (start, step), compute, requires_grad)
    return result if out is None else out.resize_(*result.shape).copy_(result)


def range(start: Any, end: Any, step: Any = 1, **options: Any) -> Tensor:
    """Numbers from `start` to `end`, which is included."""
    options.setdefault("dtype", dtypes.get_default_dtype())
    return arange(start, end + step / 2, step, **options)


@writes
@takes("all")
def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    if steps < 0:
        raise RuntimeError(f"linspace: number of steps must be non-negative, got {steps}.")
    kind = resolve_dtype(dtype, "linspace")
    layout = Layout.contiguous(kind, (steps,), resolve_device(device))
    start, end = float(start), float(end)
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    operands = (start, end, step, max(steps // 2, 1), steps - 1)
    return _generated(kernels.linspace, layout, operands, dtypes.float64, requires_grad)


@writes
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, **options: Any) -> Tensor:
    """`base` to the powers from `start` to `end`."""
    from tritorch.ops.arithmetic import pow

    kind = resolve_dtype(options.pop("dtype", None), "logspace")
    powers = pow(float(base), linspace(start, end, steps, dtype=dtypes.float64, **options))
    return to(powers, kind)


@writes
@takes("all")
def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """A matrix with ones on the diagonal."""
    result = zeros(n, n if m is None else m, dtype=dtype, device=device)
    layout = result._layout
    strides = contiguous_strides(layout.shape)
    diagonal = Layout.of(
        layout.dtype, (min(layout.shape),), (strides[0] + strides[1],), layout.device
    )
    from tritorch.tensor import wrap

    fill(wrap(result._storage, diagonal, result._address), 1)
    return _finished(result, requires_grad)


def scalar_tensor(value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of no dimensions."""
    return full((), value, dtype=dtype or dtypes.get_default_dtype(), device=device)
