"""`Parameter` and `Buffer`: tensors that a Module takes as its own when they are assigned to it.

The uninitialised kinds stand for tensors whose shape is not known yet; a lazy module gives them
memory when it sees its first input (`nn.modules.lazy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tritorch
from tritorch.tensor import Tensor


class Parameter(Tensor):
    """A tensor to be trained; `requires_grad` is True unless asked otherwise.

    Args:
        data: the values, shared, not copied.
        requires_grad: whether gradients are collected.

    Example:
        >>> import tritorch as torch
        >>> torch.nn.Parameter(torch.ones(2))
        Parameter containing:
        tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = tritorch.empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected a Tensor, got {type(data).__name__}.")
        return data.detach()._as_subclass(cls, requires_grad)  # type: ignore[return-value]

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        known = memo.get(id(self))
        if known is None:
            known = memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return known

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return (type(self), (self.detach(), self.requires_grad))


class _BufferKind(type):
    """`isinstance(x, Buffer)`: whether the tensor was made by `Buffer`, which leaves its class."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.__dict__.get("_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferKind):
    """A tensor that a Module registers as a buffer when it is assigned as an attribute.

    Args:
        data: the values, shared, not copied.
        persistent: whether the buffer is part of the module's state_dict.
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = tritorch.empty(0)
        made: Any = data.detach().requires_grad_(data.requires_grad)
        made.persistent = persistent
        made._is_buffer = True
        return made


class UninitializedTensorMixin:
    """A tensor without shape or memory; it knows its dtype and device only.

    Any operation on it is a ValueError, its shape a RuntimeError, until `materialize`.
    """

    __slots__ = ()

    cls_to_become: type[Tensor]

    def materialize(self, shape: Sequence[int], device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary tensor of this shape; the values are not initialised.

        Args:
            shape: sizes of the dimensions.
            device, dtype: instead of those given when it was made.
        """
        blank = self.__dict__.pop("_blank")
        made = tritorch.empty(
            tuple(shape), device=device or blank.device, dtype=dtype or blank.dtype
        )
        own: Any = self
        own.__class__ = self.cls_to_become
        own._layout = made._layout
        own.data = made

    @property
    def data(self) -> Tensor:
        """An empty tensor of its dtype and device."""
        blank: Tensor = self.__dict__["_blank"]
        return blank

    @data.setter
    def data(self, value: Tensor) -> None:
        self.__dict__["_blank"] = value

    @property
    def dtype(self) -> Any:
        """The dtype that `materialize` gives."""
        return self.data.dtype

    @property
    def device(self) -> Any:
        """The device that `materialize` allocates on."""
        return self.data.device

    @property
    def shape(self) -> Any:
        """RuntimeError: there is none yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."
        )

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating-point one."""
        return self.data.is_floating_point()

    def detach(self) -> Any:
        """Itself: there is no history."""
        return self

    def __getattr__(self, name: str) -> Any:
        # The slots of memory and layout are empty, so whatever computes comes by here.
        if name in ("_layout", "_storage", "_address"):
            raise ValueError(
                f"Attempted to use an uninitialized parameter ({type(self).__name__}). Call "
                "`forward` of the lazy module with a batch before using its parameters."
            )
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        known = memo.get(id(self))
        if known is None:
            rebuild, arguments = self.__reduce_ex__(4)
            known = memo[id(self)] = rebuild(*arguments)
        return known

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        requires_grad = self._requires_grad
        return (type(self), (requires_grad, self.device, self.dtype))


def _blank(cls: Any, requires_grad: bool, device: Any, dtype: Any) -> Any:
    made = object.__new__(cls)
    made._grad_fn = made._hooks = made._view = made.grad = None
    made._output_nr = 0
    made._requires_grad = requires_grad
    made.__dict__["_blank"] = tritorch.empty(0, device=device, dtype=dtype)
    return made


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A Parameter whose shape is not known yet.

    Args:
        requires_grad: whether gradients will be collected.
        device, dtype: of the Parameter that it becomes.
    """

    __slots__ = ()

    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        found: UninitializedParameter = _blank(cls, requires_grad, device, dtype)
        return found

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc]
    """A buffer whose shape is not known yet.

    Args:
        requires_grad: whether gradients will be collected.
        device, dtype: of the Tensor that it becomes.
        persistent: whether the buffer is part of the module's state_dict.
    """

    __slots__ = ()

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> UninitializedBuffer:  # fmt: skip
        found: Any = _blank(cls, requires_grad, device, dtype)
        found.persistent = persistent
        found._is_buffer = True
        result: UninitializedBuffer = found
        return result

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> None:  # fmt: skip
        pass

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        kind, arguments = super().__reduce_ex__(protocol)
        return kind, (*arguments, self.__dict__["persistent"])


def is_lazy(param: Any) -> bool:
    """Whether it is an UninitializedParameter or UninitializedBuffer."""
    return isinstance(param, UninitializedTensorMixin)


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments of a module that go to functions like `empty`: device, dtype, memory_format.

    Args:
        kwargs: what the module's `**kwargs` caught; `factory_kwargs` in it holds more of them.
    Raises:
        TypeError: others are there, or one is there twice.
    """
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    if others := kwargs.keys() - simple - {"factory_kwargs"}:
        raise TypeError(f"unexpected kwargs {others}")
    found = dict(kwargs.get("factory_kwargs", {}))
    for name in simple & kwargs.keys():
        if name in found:
            raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
        found[name] = kwargs[name]
    return found
