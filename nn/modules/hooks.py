"""Hooks of modules: how they are kept, and a module called with them.

A hook belongs to one module (`Module.register_*_hook`) or to all (`register_module_*`). Gradient
hooks see the gradients through two identities, one around the inputs, one around the outputs.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tritorch.autograd import Function, is_grad_enabled
from tritorch.autograd.hooks import RemovableHandle
from tritorch.tensor import Tensor

Hooks = OrderedDict[int, Any]

#: hooks of all modules, by what they wait for
EVERYWHERE: dict[str, Hooks] = {
    kind: OrderedDict()
    for kind in (
        "forward_pre", "forward", "backward_pre", "backward",
        "buffer", "parameter", "module",
    )
}  # fmt: skip
FORWARD_PRE, FORWARD = EVERYWHERE["forward_pre"], EVERYWHERE["forward"]
BACKWARD_PRE, BACKWARD = EVERYWHERE["backward_pre"], EVERYWHERE["backward"]
#: those of FORWARD that take keyword arguments too, and those that are called whatever happens
FORWARD_WITH_KWARGS: dict[int, bool] = {}
FORWARD_ALWAYS: dict[int, bool] = {}


def added(hooks: Hooks, hook: Any, prepend: bool = False) -> RemovableHandle:
    """Put a hook into a dictionary, at its end or start."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """`hook(module, args)` before each forward of every module; may return other arguments."""
    return added(FORWARD_PRE, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """`hook(module, args, output)` after each forward of every module; may return another output.

    Args:
        with_kwargs: the hook is `hook(module, args, kwargs, output)`.
        always_call: also when forward raised.
    """
    handle = added(FORWARD, hook)
    if with_kwargs:
        FORWARD_WITH_KWARGS[handle.id] = True
    if always_call:
        FORWARD_ALWAYS[handle.id] = True
    return handle


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """`hook(module, grad_output)` before the gradients of every module are computed."""
    return added(BACKWARD_PRE, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """`hook(module, grad_input, grad_output)` when the gradients of a module's inputs are known."""
    return added(BACKWARD, hook)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """The older name of `register_module_full_backward_hook`, which it behaves as."""
    return register_module_full_backward_hook(hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """`hook(module, name, buffer)` whenever a buffer is registered; may return another one."""
    return added(EVERYWHERE["buffer"], hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """`hook(module, name, param)` whenever a parameter is registered; may return another one."""
    return added(EVERYWHERE["parameter"], hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """`hook(module, name, submodule)` whenever a child is registered; may return another one."""
    return added(EVERYWHERE["module"], hook)


def registered(kind: str, module: Any, name: str, value: Any) -> Any:
    """What the registration hooks of this kind make of a value."""
    for hook in EVERYWHERE[kind].values():
        other = hook(module, name, value)
        value = value if other is None else other
    return value


class _Identity(Function):
    """Its inputs as they are: a place in the graph where all their gradients meet."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        return tuple([t.view_as(t) for t in tensors])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients


def _watched(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int], Any]:
    """The values with their tensors sent through an identity, the tensors' places, its node.

    The node is None where nothing requires a gradient.
    """
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not is_grad_enabled() or not any(values[i].requires_grad for i in places):
        return values, [], None
    found = list(values)
    node = None
    for i, tensor in zip(places, _Identity.apply(*[values[i] for i in places]), strict=True):
        found[i] = tensor
        node = node or tensor.grad_fn
    kind = type(values)
    return (kind(found) if kind is tuple else kind(*found)), places, node


def _changed(hook_result: Any, current: tuple[Any, ...], kind: str, what: str) -> tuple[Any, ...]:
    if hook_result is None:
        return current
    other = hook_result if isinstance(hook_result, tuple | list) else (hook_result,)
    if len(other) != len(current):
        raise RuntimeError(
            f"Backward {kind} returned an invalid number of {what}, got {len(other)}, but expected "
            f"{len(current)}"
        )
    return tuple(other)


class GradientHooks:
    """One call's gradient hooks: around its inputs, then around its outputs."""

    def __init__(self, module: Any, before: list[Any], after: list[Any]) -> None:
        self.module = module
        self.before = before
        self.after = after
        self.grad_output: tuple[Any, ...] | None = None
        self.inputs: list[int] = []
        self.n_inputs = 0

    def around_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments to call forward with."""
        self.n_inputs = len(args)
        args, self.inputs, node = _watched(args)
        if node is not None:
            node.register_hook(self._on_inputs)
        return args

    def around_outputs(self, output: Any) -> Any:
        """The output to give to the caller."""
        single = not isinstance(output, tuple)
        found, places, node = _watched((output,) if single else output)
        if node is not None:
            length = len(found)
            node.register_prehook(lambda gradients: self._on_outputs(gradients, places, length))
        return found[0] if single else found

    def _on_outputs(self, gradients: Any, places: list[int], length: int) -> Any:
        spread: list[Any] = [None] * length
        for place, gradient in zip(places, gradients, strict=True):
            spread[place] = gradient
        grad_output = tuple(spread)
        for hook in self.before:
            found = hook(self.module, grad_output)
            grad_output = _changed(found, grad_output, "pre hook", "grad_output")
        self.grad_output = grad_output
        if not self.inputs:
            nothing = (None,) * self.n_inputs
            for hook in self.after:
                hook(self.module, nothing, grad_output)
            self.grad_output = None
        return tuple([grad_output[place] for place in places])

    def _on_inputs(self, gradients: Any, _: Any) -> Any:
        if self.grad_output is None:
            return None  # a gradient that did not come through the output, as in a double backward
        spread: list[Any] = [None] * self.n_inputs
        for place, gradient in zip(self.inputs, gradients, strict=True):
            spread[place] = gradient
        grad_input = tuple(spread)
        for hook in self.after:
            found = hook(self.module, grad_input, self.grad_output)
            grad_input = _changed(found, grad_input, "hook", "grad_input")
        self.grad_output = None
        return tuple([grad_input[place] for place in self.inputs])


def call_with_hooks(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward(*args, **kwargs)` with every hook that watches it."""
    done: set[int] = set()
    try:
        return _call(module, args, kwargs, done)
    except Exception:
        always = {**FORWARD_ALWAYS, **module._forward_hooks_always_called}
        for key, hook in (*FORWARD.items(), *module._forward_hooks.items()):
            if key in always and key not in done:
                _call_despite_error(hook, _takes_kwargs(key, module), module, args, kwargs)
        raise


def _takes_kwargs(key: int, module: Any) -> bool:
    return key in module._forward_hooks_with_kwargs or key in FORWARD_WITH_KWARGS


def _call(module: Any, args: Any, kwargs: dict[str, Any], done: set[int]) -> Any:
    for key, hook in (*FORWARD_PRE.items(), *module._forward_pre_hooks.items()):
        if key in module._forward_pre_hooks_with_kwargs:
            found = hook(module, args, kwargs)
            if found is not None:
                if not (isinstance(found, tuple) and len(found) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                        f"but got {found}."
                    )
                args, kwargs = found
        else:
            found = hook(module, args)
            if found is not None:
                args = found if isinstance(found, tuple) else (found,)
    before = [*BACKWARD_PRE.values(), *module._backward_pre_hooks.values()]
    after = [*BACKWARD.values(), *module._backward_hooks.values()]
    gradients = GradientHooks(module, before, after) if before or after else None
    if gradients is not None:
        args = gradients.around_inputs(args)
    output = module.forward(*args, **kwargs)
    for key, hook in (*FORWARD.items(), *module._forward_hooks.items()):
        done.add(key)
        if _takes_kwargs(key, module):
            found = hook(module, args, kwargs, output)
        else:
            found = hook(module, args, output)
        output = output if found is None else found
    if gradients is not None:
        if not isinstance(output, Tensor | tuple):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of "
                f"Tensors but received {type(output)}",
                stacklevel=4,
            )
        output = gradients.around_outputs(output)
    return output


def _call_despite_error(
    hook: Any, with_kwargs: bool, module: Any, args: Any, kwargs: dict[str, Any]
) -> None:
    try:
        if with_kwargs:
            hook(module, args, kwargs, None)
        else:
            hook(module, args, None)
    except Exception as error:
        warnings.warn(
            "module forward hook with ``always_call=True`` raised an exception that was silenced "
            f"as another error was raised in forward: {error}",
            stacklevel=4,
        )
