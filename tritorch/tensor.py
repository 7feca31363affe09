"""`Tensor`: an address in a storage, a layout, and a place in the graph of gradients.

Here is what needs no operation; `tritorch.ops` adds the rest of the methods.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd import edges
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.host import array_of_memory, number_at
from tritorch.layout import Layout, normalize_dim
from tritorch.printing import format_tensor
from tritorch.runtime import get_target, recording
from tritorch.runtime.storage import Storage

_new = object.__new__


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple that knows its number of elements."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        count = 1
        for size in self:
            count *= size
        return count

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self))

    def __mul__(self, count: Any) -> Size:
        return Size(tuple.__mul__(self, count))

    __rmul__ = __mul__


class Tensor:
    """A strided array on a device, with the history that gradients need.

    `Tensor(2, 3)` is an uninitialised float tensor and `Tensor([1, 2])` a float copy of data, as
    PyTorch's
    legacy constructor; prefer `tritorch.empty` and `tritorch.tensor`.
    """

    __slots__ = (
        "__dict__", "__weakref__", "_address", "_grad_fn", "_hooks", "_layout", "_output_nr",
        "_requires_grad", "_storage", "_view", "grad",
    )  # fmt: skip

    _storage: Storage
    _layout: Layout
    _address: int
    # what these six mean is written in tritorch/autograd/protocol.py
    _requires_grad: Any
    _grad_fn: Any
    _output_nr: int
    _view: Any
    _hooks: Any
    grad: Tensor | None
    __array_priority__ = 1000

    if TYPE_CHECKING:  # what the declared operations add
        __add__: Any
        __radd__: Any
        __sub__: Any
        __rsub__: Any
        __mul__: Any
        __rmul__: Any
        __truediv__: Any
        __rtruediv__: Any
        __floordiv__: Any
        __mod__: Any
        __pow__: Any
        __rpow__: Any
        __matmul__: Any
        __neg__: Any
        __invert__: Any
        __and__: Any
        __or__: Any
        __xor__: Any
        __lt__: Any
        __le__: Any
        __gt__: Any
        __ge__: Any
        __getitem__: Any
        __setitem__: Any
        __iter__: Any
        __dlpack__: Any
        __dlpack_device__: Any

        def __eq__(self, other: Any) -> Any: ...

        def __ne__(self, other: Any) -> Any: ...

        def __getattr__(self, name: str) -> Any: ...

    def __new__(cls, *args: Any, **options: Any) -> Tensor:
        from tritorch.ops import creation

        return creation.legacy_constructor(*args, **options)._as_subclass(cls)

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    # ---- what it is
    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return Size(self._layout.shape)

    @property
    def dtype(self) -> Dtype:
        """The type of the elements."""
        return self._layout.dtype

    @property
    def device(self) -> Device:
        """Where the elements are."""
        return self._layout.device

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._layout.ndim

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self._layout.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, as if dense."""
        return self._layout.nbytes

    @property
    def layout(self) -> str:
        """How elements are stored: always strided, `torch.strided`."""
        return "torch.strided"

    @property
    def is_cuda(self) -> bool:
        """Whether it is on a GPU."""
        return self._layout.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        """Whether it is in the host's memory."""
        return self._layout.device.type == "cpu"

    is_sparse = is_quantized = is_meta = is_mps = is_xpu = is_nested = False

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        return self._layout.shape[normalize_dim("size", dim, self._layout.ndim)]

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours in elements: of all dimensions or of one."""
        if dim is None:
            return self._layout.strides
        return self._layout.strides[normalize_dim("stride", dim, self._layout.ndim)]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._layout.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._layout.numel

    nelement = numel

    def element_size(self) -> int:
        """Bytes of an element."""
        return self._layout.dtype.itemsize

    def storage_offset(self) -> int:
        """Elements between the start of the storage and the first element."""
        return (self._address - self._storage.address) // self._layout.dtype.itemsize

    def untyped_storage(self) -> Storage:
        """The memory behind it, shared with its views."""
        return self._storage

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._address

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie without gaps in row-major order, or that of the format."""
        if memory_format is None:
            return self._layout.is_contiguous
        found: bool = memory_format.holds(self._layout)
        return found

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating-point one."""
        return self._layout.dtype.is_floating_point

    def is_complex(self) -> bool:
        """False: there are no complex dtypes."""
        return False

    def is_signed(self) -> bool:
        """Whether the dtype has negative values."""
        return self._layout.dtype.is_signed

    def get_device(self) -> int:
        """The index of the GPU, -1 on the CPU."""
        device = self._layout.device
        return -1 if device.type == "cpu" else device.index or 0

    def __len__(self) -> int:
        if not self._layout.ndim:
            raise TypeError("len() of a 0-d tensor. Use numel() for the number of elements.")
        return self._layout.shape[0]

    __hash__ = object.__hash__

    # ---- the graph of gradients
    @property
    def _version(self) -> int:
        return self._storage.version

    @property
    def _base(self) -> Tensor | None:
        """The tensor that this one is a view of, None for no view."""
        return None if self._view is None else self._view.base

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded."""
        return bool(self._requires_grad)

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether a leaf collects a gradient; returns the tensor."""
        if self.grad_fn is not None:
            if not requires_grad:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use "
                    "a computed variable in a subgraph that doesn't require differentiation use "
                    "var_no_grad = var.detach()."
                )
            return self
        if requires_grad:
            check_requires_grad(self)
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def grad_fn(self) -> Any:
        """The node of the graph that made it, None for a leaf."""
        return self._grad_fn if self._view is None else edges.grad_fn(self)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.grad_fn is None

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad()` was called on a tensor that is no leaf."""
        return edges.retains_grad(self)

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Accumulate the gradient of this tensor in the `grad` of the leaves it was computed from.

        Args:
            gradient: of the objective with respect to this tensor; may be left out for one element.
            retain_graph: keep what was saved, so that backward can run again.
            create_graph: record the backward pass itself, for gradients of gradients.
            inputs: accumulate in these leaves only.
        """
        from tritorch.autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> Any:
        """Call `hook(gradient)` when the gradient is computed; what it returns replaces it."""
        return edges.register_hook(self, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> Any:
        """Call `hook(tensor)` after `grad` of this leaf was accumulated."""
        return edges.register_post_accumulate_grad_hook(self, hook)

    def retain_grad(self) -> None:
        """Keep `grad` of a tensor that is no leaf."""
        edges.retain_grad(self)

    def detach(self) -> Tensor:
        """The same memory without history."""
        return wrap(self._storage, self._layout, self._address)

    def detach_(self) -> Tensor:
        """Forget the history in place."""
        if self._view is not None:
            raise RuntimeError("detach_: can't detach views in-place. Use detach() instead.")
        self._grad_fn = None
        self._output_nr = 0
        self._requires_grad = False
        return self

    @property
    def output_nr(self) -> int:
        """Which output of its `grad_fn` it is."""
        return self._output_nr

    @property
    def data(self) -> Tensor:
        """The same elements without history; what is written there is not seen by the graph."""
        storage = Storage.borrow(self._storage.address, self._storage.nbytes, self._storage)
        return wrap(storage, self._layout, self._address)

    @data.setter
    def data(self, value: Tensor) -> None:
        if self._requires_grad and not value._layout.dtype.is_floating_point:
            raise RuntimeError(
                f"data set to a tensor that requires gradients must be floating point, got "
                f"{value._layout.dtype}."
            )
        old, new = self._layout, value._layout
        if self._hooks is not None and (old.dtype is not new.dtype or old.device != new.device):
            self._hooks.accumulate_grad = None  # graphs from now on sum another kind of gradient
        self._storage = value._storage
        self._layout = new
        self._address = value._address

    # ---- to the host
    def _array(self) -> np.ndarray[Any, Any]:
        """A NumPy view of the elements, or a copy where they are not in the host's memory."""
        if recording.current is not None:
            recording.refuse(
                "reading a tensor (item, tolist, numpy, bool, print)",
                "Read it after the recording, or after a replay.",
            )
        here = self if self._layout.device.type == "cpu" else _to_host(self)
        layout = here._layout
        return array_of_memory(
            here._storage, here._address, layout.shape, layout.strides, layout.dtype
        )

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """A NumPy array on the same memory.

        Args:
            force: copy from another device and drop the history where needed.
        Raises:
            RuntimeError: it requires a gradient.
            TypeError: it is on a GPU.
        """
        if not force:
            if self._requires_grad:
                raise RuntimeError(
                    "Can't call numpy() on Tensor that requires grad. "
                    "Use tensor.detach().numpy() instead."
                )
            if self._layout.device.type != "cpu":
                raise TypeError(
                    f"can't convert {self._layout.device} device type tensor to numpy. Use "
                    "Tensor.cpu() to copy the tensor to host memory first."
                )
        return self._array()

    def item(self) -> Any:
        """The only element as a Python number."""
        layout = self._layout
        if layout.numel != 1:
            raise RuntimeError(
                f"a Tensor with {layout.numel} elements cannot be converted to Scalar. "
                "Use tolist(), or index it first."
            )
        number = number_at.get(layout.dtype)
        if number is not None and layout.device.type == "cpu" and recording.current is None:
            return number(self._address).value
        return self._array().item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers, or a number for a tensor of no dimensions."""
        return self._array().tolist()

    def __bool__(self) -> bool:
        if self._layout.numel != 1:
            many = "more than one value" if self._layout.numel else "no values"
            raise RuntimeError(
                f"Boolean value of Tensor with {many} is ambiguous. Use any() or all()."
            )
        return bool(self.item())

    def __float__(self) -> float:
        self._check_single()
        return float(self.item())

    def __int__(self) -> int:
        self._check_single()
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(float(self))

    def _check_single(self) -> None:
        if self._layout.numel != 1:
            raise ValueError(
                "only one element tensors can be converted to Python scalars, this one has "
                f"{self._layout.numel}. Use tolist(), or index it first."
            )

    def __index__(self) -> int:
        if self._layout.numel != 1 or self._layout.dtype.category == 2:
            raise TypeError(
                "only integer tensors of a single element can be converted to an index, got "
                f"{self._layout.dtype} of shape {self._layout.shape}."
            )
        return int(self.item())

    # ---- text
    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        return format_tensor("tensor(", self.detach()._array(), self._suffixes())

    def _repr_html_(self) -> str:
        from tritorch.notebook import tensor_html

        return tensor_html(self)

    def _suffixes(self) -> list[str]:
        layout = self._layout
        shown: list[str] = []
        if layout.device.type != "cpu":
            shown.append(f"device='{layout.device}'")
        default = dtypes.get_default_dtype()
        if not layout.numel:
            if layout.ndim != 1:
                shown.append(f"size={layout.shape}")
            if layout.dtype is not default:
                shown.append(f"dtype={layout.dtype}")
        elif layout.dtype not in (default, dtypes.int64, dtypes.bool):
            shown.append(f"dtype={layout.dtype}")
        grad_fn = self.grad_fn
        if grad_fn is not None:
            shown.append(f"grad_fn=<{type(grad_fn).__name__}>")
        elif self._requires_grad:
            shown.append("requires_grad=True")
        return shown

    def __format__(self, spec: str) -> str:
        if self._layout.ndim or type(self) is not Tensor:
            return object.__format__(self, spec)
        return format(self.item(), spec)

    # ---- copies
    def _as_subclass(self, cls: type[Tensor], requires_grad: bool = False) -> Tensor:
        """A leaf of another class on the same memory."""
        if requires_grad:
            check_requires_grad(self)
        made = wrap(self._storage, self._layout, self._address, cls)
        made._requires_grad = requires_grad
        return made

    def _storage_copied(self) -> Storage:
        target = get_target(self._layout.device)
        memory = Storage(self._storage.nbytes, target)
        target.copy(memory.address, self._storage.address, memory.nbytes)
        return memory

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._grad_fn is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol. Use detach().clone()."
            )
        known = memo.get(id(self))
        if known is None:
            memory = memo.get(id(self._storage))
            if memory is None:  # all of it: tensors that share it share the copy
                memory = memo[id(self._storage)] = self._storage_copied()
            address = memory.address + self._address - self._storage.address
            known = wrap(memory, self._layout, address, type(self))
            known._requires_grad = self._requires_grad
            memo[id(self)] = known
            if self.grad is not None:
                known.grad = self.grad.__deepcopy__(memo)
            known.__dict__.update({k: deepcopy(v, memo) for k, v in self.__dict__.items()})
        return known

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        recording.refuse("pickling a tensor", "Do it after the recording, or after a replay.")
        here = self if self._layout.device.type == "cpu" else _to_host(self)
        kept = here._layout
        memory = (kept.extent,) if kept.numel else (0,)
        raw = array_of_memory(here._storage, here._address, memory, (1,), kept.dtype).tobytes()
        layout = Layout.of(kept.dtype, kept.shape, kept.strides, self._layout.device)
        state = (layout.dtype, layout.shape, layout.strides, layout.device)
        return (_rebuilt, (raw, *state, self._requires_grad))


def wrap(storage: Storage, layout: Layout, address: int, cls: type[Tensor] = Tensor) -> Tensor:
    """A tensor without history on a piece of storage."""
    tensor = _new(cls)
    tensor._storage = storage
    tensor._layout = layout
    tensor._address = address
    tensor._requires_grad = False
    tensor._grad_fn = None
    tensor._output_nr = 0
    tensor._view = None
    tensor._hooks = None
    tensor.grad = None
    return tensor


def empty(layout: Layout) -> Tensor:
    """An uninitialised tensor; the layout must be dense."""
    storage = Storage(layout.nbytes, get_target(layout.device))
    return wrap(storage, layout, storage.address)


def check_requires_grad(tensor: Tensor) -> None:
    """Only floating-point tensors have gradients."""
    if not tensor._layout.dtype.is_floating_point:
        raise RuntimeError(
            "only Tensors of floating point dtype can require gradients, got "
            f"{tensor._layout.dtype}. Convert it with .float()."
        )


def from_array(array: np.ndarray[Any, Any], device: Device, share: bool = False) -> Tensor:
    """A tensor of the elements of a host array: a copy, or on its memory where `share` (CPU
    only).
    """
    kind = dtypes.from_numpy(array.dtype)
    if share:
        strides = tuple(step // kind.itemsize for step in array.strides)
        layout = Layout.of(kind, array.shape, strides, device)
        address = array.ctypes.data
        return wrap(Storage.borrow(address, layout.extent * kind.itemsize, array), layout, address)
    array = np.ascontiguousarray(array).reshape(array.shape)
    result = empty(Layout.contiguous(kind, array.shape, device))
    if array.size:
        get_target(device).upload(result._address, array.ctypes.data, array.nbytes)
    return result


def _to_host(tensor: Tensor) -> Tensor:
    """A copy in the host's memory."""
    dense = tensor.detach()
    if not dense._layout.is_dense:
        dense = dense.contiguous()
    here = dense._layout
    result = empty(Layout.of(here.dtype, here.shape, here.strides, Device("cpu")))
    get_target(dense._layout.device).download(result._address, dense._address, dense.nbytes)
    return result


def _rebuilt(
    raw: bytes, kind: Dtype, shape: tuple[int, ...], strides: tuple[int, ...], device: Device,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    """What pickle calls: the memory that a tensor spans, seen as the tensor saw it."""
    memory = from_array(np.frombuffer(raw, np.uint8).view(kind.numpy), device)
    layout = Layout.of(kind, shape, strides, device)
    made = wrap(memory._storage, layout, memory._address)
    return made._as_subclass(Tensor, requires_grad)
