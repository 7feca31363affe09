"""Parameters computed from others whenever they are read.

A parametrized module has a class of its own, `Parametrized<name>`, on which the parameter is a
property; what it is computed from is in `module.parametrizations`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tritorch.autograd import no_grad
from tritorch.nn.modules.container import ModuleDict, ModuleList
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter
from tritorch.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_depth = 0
_values: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Within it each parametrized tensor is computed once, when it is first read."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _values.clear()


def _register(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _take(own: Tensor, value: Tensor) -> None:
    """Let a tensor have another's memory; who holds it, such as an optimizer, still does."""
    own.data = value.detach()


def _same(what: str, ours: Any, theirs: Any, name: str, found: str) -> None:
    if ours != theirs:
        raise ValueError(
            f"Registering a parametrization may not change the {what} of the tensor, unless "
            f"`unsafe` flag is enabled.\n{name}.{what}: {ours}\n{found}.{what}: {theirs}"
        )


def _check_like(own: Tensor, value: Any, name: str, found: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
    _same("dtype", own.dtype, value.dtype, name, found)
    _same("shape", own.shape, value.shape, name, found)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, one after the other, and what the first is applied to.

    That is `original`, or `original0`, `original1`, ... where the first `right_inverse` gives
    several tensors.

    Args:
        modules: the parametrizations, in the order they are applied in.
        original: the tensor to be parametrized.
        unsafe: shape and dtype may change.
    Raises:
        ValueError: no parametrization is given, or the results do not fit.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):  # as if there were none
                        new = module.right_inverse(new)
        if not isinstance(new, Tensor | Sequence):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if isinstance(new, Tensor):
            for what in ("dtype", "device"):
                if getattr(original, what) != getattr(new, what):
                    raise ValueError(
                        f"When `right_inverse` outputs one tensor, it may not change the {what}.\n"
                        f"original.{what}: {getattr(original, what)}\n"
                        f"right_inverse(original).{what}: {getattr(new, what)}"
                    )
            if new is not original:
                _take(original, new)
            _register(self, "original", original)
        else:
            for place, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                        f"tuple...). Got element {place} of the sequence with type "
                        f"{type(part).__name__}."
                    )
                if isinstance(original, Parameter):
                    part = Parameter(part, original.requires_grad)
                part.requires_grad_(original.requires_grad)
                _register(self, f"original{place}", part)
        if not unsafe:
            value = self()
            if not isinstance(value, Tensor):
                raise ValueError(
                    f"A parametrization must return a tensor. Got {type(value).__name__}."
                )
            _same("dtype", dtype, value.dtype, "unparametrized", "parametrized")
            _same("shape", shape, value.shape, "unparametrized", "parametrized")

    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{place}") for place in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the tensor becomes `value`, or what is nearest."""
        found: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                found = module.right_inverse(found)
            if self.is_tensor and not isinstance(found, Tensor):
                raise ValueError(
                    f"`right_inverse` should return a tensor. Got {type(found).__name__}"
                )
            parts = [found] if self.is_tensor else list(found)
            if len(parts) != self.ntensors:
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors of length "
                    f"{self.ntensors}. Got a sequence of length {len(parts)}."
                )
            for own, part in zip(self._originals(), parts, strict=True):
                if not isinstance(part, Tensor) or own.dtype != part.dtype:
                    kind = getattr(part, "dtype", type(part).__name__)
                    raise ValueError(
                        f"The tensor returned by `right_inverse` has dtype {kind} while `original` "
                        f"has dtype {own.dtype}"
                    )
                _take(own, part)

    def forward(self) -> Any:
        """The tensor."""
        first, *others = list(self)
        value = first(*self._originals())
        for module in others:
            value = module(value)
        return value


def _property(name: str) -> property:
    def read(self: Any) -> Any:
        parametrization = self.parametrizations[name]
        if not _depth:
            return parametrization()
        key = (id(self), name)
        value = _values.get(key)
        if value is None:
            value = _values[key] = parametrization()
        return value

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def _not_picklable(self: Any) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(). Save that, "
        "and parametrize a new module before loading it."
    )


def _set_class(module: Any, names: Sequence[str]) -> None:
    """Give a module the class on which these names are parametrized.

    It is a new one each time: copies of a module do not share it for long.
    """
    base = type_before_parametrizations(module)
    if not names:
        module.__class__ = base
        return
    body: dict[str, Any] = {name: _property(name) for name in names}
    body |= {"__getstate__": _not_picklable, "_parametrized": True, "__doc__": base.__doc__}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), body)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let `module.<tensor_name>` be computed by `parametrization` whenever it is read.

    Assigning to it calls the parametrization's `right_inverse`, where it has one. Several are
    applied in the order of their registration.

    Args:
        module: what the parameter or buffer belongs to.
        tensor_name: its name.
        parametrization: its forward takes the original tensor, or all of them.
        unsafe: shape and dtype may change; nothing is checked.
    Returns:
        the module.
    Raises:
        ValueError: there is no such tensor, or the parametrization does not fit it.
    """
    parametrization.train(module.training)
    holder: Any = module
    if is_parametrized(module, tensor_name):
        if not unsafe:
            own = getattr(module, tensor_name)
            value = parametrization(own)
            _check_like(
                own, value, f"module.{tensor_name}", f"parametrization(module.{tensor_name})"
            )
            if hasattr(parametrization, "right_inverse"):
                try:
                    back = parametrization.right_inverse(value)
                except NotImplementedError:
                    pass  # there is no way back, which is allowed
                else:
                    _check_like(own, back, f"module.{tensor_name}", "returned")
        holder.parametrizations[tensor_name].append(parametrization)
        holder.parametrizations[tensor_name].unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    found = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        holder.parametrizations = ModuleDict()
    _set_class(module, [*holder.parametrizations, tensor_name])
    holder.parametrizations[tensor_name] = found
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the tensor of that name, or any, is parametrized."""
    found = module._modules.get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a parametrized tensor an ordinary one again.

    Args:
        leave_parametrized: with its present value; otherwise as the original tensor is.
    Returns:
        the module.
    Raises:
        ValueError: it is not parametrized, or has several originals of which none can stay.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    holder: Any = module
    found = holder.parametrizations[tensor_name]
    if found.is_tensor:
        original = found.original
        if leave_parametrized:
            with no_grad():
                _take(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    del holder.parametrizations[tensor_name]
    left = list(holder.parametrizations)
    _set_class(module, left)
    _register(module, tensor_name, original)
    if not left:
        delattr(module, "parametrizations")
    return module


def type_before_parametrizations(module: Module) -> type[Module]:
    """The module's class without parametrizations."""
    kind = type(module)
    return kind.__bases__[0] if kind.__dict__.get("_parametrized") else kind


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Parametrize another module as this one is, with the same originals.

    Args:
        tensor_name: this tensor only; all parametrized ones unless given.
    Returns:
        the other module.
    """
    if not is_parametrized(from_module):
        return to_module
    source: Any = from_module
    target: Any = to_module
    names = list(source.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in source.parametrizations[name]:
            register_parametrization(to_module, name, parametrization)
        given, own = source.parametrizations[name], target.parametrizations[name]
        for original in (*given._parameters, *given._buffers):
            setattr(own, original, getattr(given, original))
    return to_module
