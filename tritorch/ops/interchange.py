"""Tensors among other libraries: DLPack, CUDA's array interface, the array API standard.

The structures are loaded when they are first needed: few programs do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tritorch import dtypes
from tritorch.devices import cpu
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.layout import Layout
from tritorch.ops.declare import method
from tritorch.ops.memory import to
from tritorch.ops.placement import resolve_device
from tritorch.runtime import get_target
from tritorch.runtime.storage import Storage
from tritorch.tensor import Tensor, from_array, wrap

if TYPE_CHECKING:
    from tritorch.dlpack import Imported


@method("__dlpack_device__")
def dlpack_device(self: Tensor) -> tuple[int, int]:
    """DLPack's kind of device (1 CPU, 2 CUDA) and its number."""
    from tritorch import dlpack

    device = self._layout.device
    return (dlpack.CPU, 0) if device.type == "cpu" else (dlpack.CUDA, device.index or 0)


@method("__dlpack__")
def to_capsule(
    self: Tensor,
    *,
    stream: int | None = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule on the memory of the tensor.

    Args:
        stream: the consumer's CUDA stream, for which the elements shall be ready; None on the CPU.
        max_version: the newest version that the consumer reads; None: capsules without version.
        dl_device: where the elements shall be: the tensor's device, or the CPU (a copy).
        copy: True: fresh memory; False: never.
    Raises:
        BufferError: it requires a gradient, or cannot be there without a copy.
    """
    from tritorch import dlpack

    if self._requires_grad:
        raise BufferError(
            "__dlpack__: Can't export tensors that require gradient, use tensor.detach()."
        )
    here = self.__dlpack_device__()
    if here[0] == dlpack.CPU and stream is not None:
        raise AssertionError(f"__dlpack__: stream should be None on cpu, got {stream!r}.")
    exported = self
    if dl_device is not None and tuple(map(int, dl_device)) != here:
        if int(dl_device[0]) != dlpack.CPU:
            raise BufferError(
                f"__dlpack__: this tensor is on DLPack's device {here}, {tuple(dl_device)} was "
                "asked for. Move it there with to()."
            )
        if copy is False:
            raise BufferError("__dlpack__: only a copy can be on the CPU. Pass copy=None.")
        exported = to(self, Device("cpu"), None)
    if copy and exported is self:
        exported = self.clone()
    layout = exported._layout
    if here[0] != dlpack.CPU and exported.__dlpack_device__() == here:
        _hand_over(exported, stream)
    return dlpack.export(
        exported._storage, exported._address, layout.shape, layout.strides, layout.dtype,
        exported.__dlpack_device__(), max_version is not None and max_version[0] >= 1,
        exported is not self,
    )  # fmt: skip


#: CUDA's numbers of the default streams in DLPack and in the array interface
_LEGACY_STREAM, _PER_THREAD_STREAM = 1, 2


def _hand_over(tensor: Tensor, stream: int | None) -> None:
    """Let the consumer's stream wait for the elements, and their memory for the consumer."""
    if stream == -1:
        return
    if stream == 0:
        raise BufferError(
            "__dlpack__: stream=0 may be either default stream. Pass 1 (legacy) or 2 (per thread)."
        )
    target: Any = get_target("cuda")
    consumer = 0 if stream in (None, _LEGACY_STREAM) else stream
    device = tensor._layout.device.index
    target.order(target.current.stream_of(device)[0], consumer, (device, device))
    target.record_stream(tensor._storage.address, consumer)


def _our_stream(device: int | None) -> int:
    """This thread's current stream on a device, as other libraries number it."""
    target: Any = get_target("cuda")
    return target.current.stream_of(device)[0] or _LEGACY_STREAM


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of an object with `__dlpack__` (NumPy, PyTorch, CuPy, JAX, ...).

    Args:
        ext_tensor: that object, or a capsule that its `__dlpack__()` gave.
        device: where the tensor shall be; None leaves the elements where they are.
        copy: True: fresh memory; False: an error where a copy is needed. None copies what is on
            another device, or must not be written to.
    Raises:
        BufferError: a dtype or strides that no tensor has, or a copy is needed and forbidden.
        TypeError: it exports nothing.

    Example:
        >>> import numpy as np
        >>> array = np.zeros(3)
        >>> torch.from_dlpack(array).add_(1)
        tensor([1., 1., 1.], dtype=torch.float64)
        >>> array
        array([1., 1., 1.])
    """
    from tritorch import dlpack

    capsule = ext_tensor
    if hasattr(ext_tensor, "__dlpack__"):
        capsule = _capsule(ext_tensor)
    imported = dlpack.Imported(capsule)
    found = _as_tensor(imported)
    wanted = found._layout.device if device is None else resolve_device(device)
    if wanted is not found._layout.device:
        if copy is False:
            raise BufferError(
                f"from_dlpack: the elements are on {found._layout.device}, so a tensor on "
                f"{wanted} needs a copy, and copy=False forbids it."
            )
        return to(found, wanted, None)
    if imported.read_only and copy is False:
        raise BufferError(
            "from_dlpack: the source must not be written to, which tensors cannot promise, and "
            "copy=False forbids a copy. Pass copy=None or a source that is writable."
        )
    return found.clone() if copy or imported.read_only else found


def _capsule(source: Any) -> Any:
    """What it exports, in the newest form that it knows."""
    from tritorch import dlpack

    options: dict[str, Any] = {}
    kind, number = source.__dlpack_device__() if hasattr(source, "__dlpack_device__") else (0, 0)
    if kind == dlpack.CUDA:
        options["stream"] = _our_stream(number)
    try:
        return source.__dlpack__(max_version=dlpack.VERSION, **options)
    except TypeError:  # from the time before versions
        return source.__dlpack__(**options)


def _as_tensor(imported: Imported) -> Tensor:
    from tritorch import dlpack

    kind, number = imported.device
    if kind in dlpack.HOST_READABLE:
        device = Device("cpu")
    elif kind == dlpack.CUDA:
        device = Device("cuda", number)
        get_target("cuda")  # says so where there is none
    else:
        raise BufferError(
            f"from_dlpack: elements on a device of DLPack's kind {kind} cannot be used. Copy them "
            "to the CPU (1) or a CUDA device (2) in the source."
        )
    layout = Layout.of(imported.dtype, imported.shape, imported.strides, device)
    storage = Storage.borrow(imported.address, layout.extent * layout.dtype.itemsize, imported)
    return wrap(storage, layout, imported.address)


def _cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """What CUDA libraries (Numba, CuPy) read: address, shape, strides in bytes, type.

    Raises:
        AttributeError: it is not on a GPU. RuntimeError: it requires a gradient.
    """
    layout = self._layout
    if layout.device.type != "cuda":
        raise AttributeError(
            "Can't get __cuda_array_interface__ on non-CUDA tensor type: "
            f"torch.{layout.dtype.legacy_name}. If CUDA data is required use tensor.cuda() to copy "
            "tensor to device memory."
        )
    if self._requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients "
            "aren't required, use var.detach() to get Variable that doesn't require grad."
        )
    kind = layout.dtype
    steps = tuple(step * kind.itemsize for step in layout.strides)
    return {
        "typestr": kind.numpy.str if kind.numpy.isbuiltin == 1 else f"<V{kind.itemsize}",
        "shape": layout.shape,
        "strides": None if layout.is_contiguous else steps,
        "data": (self._address if layout.numel else 0, False),
        "version": 3,
        "stream": _our_stream(layout.device.index),
    }


def from_cuda_array(source: Any) -> Tensor:
    """A tensor on the memory of an object with `__cuda_array_interface__` (Numba, CuPy, PyTorch).

    The tensor is on the device that the memory is on. Work that was asked of the source's stream is
    waited for by this thread's current one there.

    Raises:
        TypeError: a type, byte order or mask that tensors do not have.
        ValueError: strides that are no multiples of the element size, or negative; a stream 0, or
            an address that the driver does not know.
    """
    facts = source.__cuda_array_interface__
    if facts.get("mask") is not None:
        raise TypeError("as_tensor: masked arrays are not supported. Fill the mask first.")
    kind = _element_type(facts["typestr"])
    shape = tuple(facts["shape"])
    steps = facts.get("strides")
    if steps is None:
        strides = Layout.contiguous(kind, shape).strides
    else:
        if any(step < 0 or step % kind.itemsize for step in steps):
            raise ValueError(
                f"as_tensor: strides {tuple(steps)} must be non-negative multiples of "
                f"{kind.itemsize} bytes. Copy the array first."
            )
        strides = tuple(step // kind.itemsize for step in steps)
    target: Any = get_target("cuda")
    stream, address = facts.get("stream"), facts["data"][0] or 0
    if stream == 0:
        raise ValueError(
            "as_tensor: stream 0 in __cuda_array_interface__ may be either default stream. The "
            "source must say 1 (legacy) or 2 (per thread)."
        )
    device = Device("cuda", target.device_of(address)) if address else resolve_device("cuda")
    if stream is not None and address:
        here = target.current.stream_of(device.index)[0]
        theirs = 0 if stream == _LEGACY_STREAM else stream
        target.order(theirs, here, (device.index, device.index))
    layout = Layout.of(kind, shape, strides, device)
    found = wrap(Storage.borrow(address, layout.extent * kind.itemsize, source), layout, address)
    return found.clone() if facts["data"][1] else found  # read-only: tensors cannot promise that


def _element_type(code: str) -> Dtype:
    for kind in dtypes.ALL:
        if kind.numpy.isbuiltin == 1 and kind.numpy.str == code:
            return kind
    raise TypeError(
        f"as_tensor: elements of type {code!r} cannot be those of a tensor. Convert them in the "
        "source (to little-endian numbers)."
    )


setattr(Tensor, "__cuda_array_interface__", property(_cuda_array_interface))  # noqa: B010


@method("__array__")
def to_array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
    """What `numpy.asarray` asks for: the elements where they are, or in another dtype a copy.

    Raises:
        ValueError: copy=False, and the dtype is another one.
    """
    array = self.numpy()
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError(
                f"__array__: {array.dtype} cannot become {np.dtype(dtype)} without a copy. "
                "Use copy=None."
            )
        return array.astype(dtype)
    return array.copy() if copy else array


@method("__array_wrap__")
def array_wrap(
    self: Tensor, array: Any, context: Any = None, return_scalar: bool = False
) -> Tensor:
    """What NumPy's functions of tensors give: tensors on the results' memory.

    Truth values stay such; PyTorch makes uint8 of them.
    """
    return from_array(np.asarray(array), cpu, share=True)


#: versions of the array API standard that programs may ask for; each one extends those before
_STANDARDS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")


@method("__array_namespace__")
def array_namespace(self: Tensor, *, api_version: str | None = None) -> Any:
    """The module `tritorch.array_api`, which follows the Python array API standard.

    Raises:
        ValueError: a version of the standard that does not exist or is too new.
    """
    if api_version is not None and api_version not in _STANDARDS:
        raise ValueError(
            f"__array_namespace__: no version {api_version!r} of the array API standard. Use one "
            f"of {', '.join(_STANDARDS)}, or None."
        )
    from tritorch import array_api

    return array_api


@method("to_device")
def to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The tensor on a device, as `to(device)`; the array API standard's name.

    Raises:
        ValueError: `stream` is given.
    """
    if stream is not None:
        raise ValueError(f"to_device: stream must be None, got {stream!r}.")
    return to(self, resolve_device(device), None)
