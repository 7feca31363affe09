"""Hooks of optimizers: what is called before and after steps."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tritorch.autograd.hooks import RemovableHandle
from tritorch.errors import AcceleratorError
from tritorch.runtime import recording

if TYPE_CHECKING:
    from tritorch.optim.optimizer import Optimizer

Hook = Callable[..., Any]
Hooks = OrderedDict[int, Hook]

_global_pre_hooks: Hooks = OrderedDict()
_global_post_hooks: Hooks = OrderedDict()


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before every step of every optimizer.

    Where it returns a pair, that is what the step is called with.
    """
    return register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after every step of every optimizer."""
    return register(_global_post_hooks, hook)


def register(hooks: Hooks, hook: Hook, first: bool = False) -> RemovableHandle:
    """Add a hook, at the end or at the beginning."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if first:
        hooks.move_to_end(handle.id, last=False)
    return handle


def check_recorded(optimizer: Optimizer) -> None:
    """RuntimeError where a graph is recorded and a replay would repeat the numbers of this step."""
    if optimizer._replayable or not recording.under_way():
        return
    if not all(group.get("capturable", False) for group in optimizer.param_groups):
        raise AcceleratorError(
            "Attempting graph capture of step() for an instance of "
            f"{type(optimizer).__name__} but param_groups' capturable is False. Make the optimizer "
            "with capturable=True where it has that option; others can only step outside the "
            "recording."
        )


def with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that calls the hooks; one that it calls of its base class does not call them again."""

    @functools.wraps(step)
    def hooked(self: Optimizer, *args: Any, **options: Any) -> Any:
        if recording.current is not None or recording.device_captures:
            check_recorded(self)
        if not (
            self._step_pre_hooks or self._step_post_hooks or _global_pre_hooks or _global_post_hooks
        ):
            return step(self, *args, **options)
        if self._in_step:
            return step(self, *args, **options)
        self._in_step = True
        try:
            for hook in (*_global_pre_hooks.values(), *self._step_pre_hooks.values()):
                changed = hook(self, args, options)
                if changed is None:
                    continue
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError(
                        f"{hook} must return None or a tuple of (new_args, new_kwargs), but got "
                        f"{changed}."
                    )
                args, options = changed
            result = step(self, *args, **options)
            for hook in (*self._step_post_hooks.values(), *_global_post_hooks.values()):
                hook(self, args, options)
        finally:
            self._in_step = False
        return result

    hooked._calls_hooks = True  # type: ignore[attr-defined]
    return hooked
