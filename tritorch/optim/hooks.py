"""Hooks of optimizers: what is called before and after steps."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tritorch.autograd.hooks import RemovableHandle

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


def with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that calls the hooks; one that it calls of its base class does not call them again."""

    @functools.wraps(step)
    def hooked(self: Optimizer, *args: Any, **options: Any) -> Any:
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
