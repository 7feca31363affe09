"""Whether operations are recorded: `no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`.

The switch belongs to the thread. The cheapest way to read it is `grad_mode_state.enabled`, and it
is cheaper still to ask first whether any input wants a gradient:
`if x._requires_grad and grad_mode_state.enabled:`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from typing import Any, Self


class GradModeState(threading.local):
    """What the graph keeps for each thread; the class attributes are the defaults of a new one."""

    #: operations are recorded
    enabled: bool = True
    #: inside `inference_mode()`; nothing is recorded there whatever else is set
    inference: bool = False
    #: (pack, unpack) of `saved_tensors_hooks`, innermost last
    saved_tensor_hooks: tuple[Any, ...] = ()
    #: the message of `disable_saved_tensors_hooks`, or None
    saved_tensor_hooks_disabled: str | None = None
    #: the engine's run that is under way here, and how many enclose one another
    task: Any = None
    depth: int = 0
    #: the node that is being evaluated (anomaly mode names it as the parent of what it records)
    node: Any = None


grad_mode_state = GradModeState()


class Counter:
    """How often something rare is under way in all threads together; a cheap first question."""

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *exception: Any) -> None:
        with self._lock:
            self.count -= 1


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded."""
    return grad_mode_state.enabled


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode()`."""
    return grad_mode_state.inference


class _ContextDecorator:
    """A context manager that also decorates functions and generators."""

    def clone(self) -> _ContextDecorator:
        """A fresh context manager of the same meaning, one per call of what is decorated."""
        return type(self)()

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *exception: Any) -> None:
        raise NotImplementedError

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isclass(function):
            warnings.warn(
                "Decorating classes is deprecated and will be disabled in future versions. You "
                "should only decorate functions or methods. To preserve the current behavior of "
                "class decoration, you can directly decorate the `__init__` method and nothing "
                "else.",
                FutureWarning,
                stacklevel=2,
            )

            def construct(*args: Any, **options: Any) -> Any:
                with self.clone():
                    return function(*args, **options)

            return construct
        if inspect.isgeneratorfunction(function):
            return _decorate_generator(self.clone, function)

        @functools.wraps(function)
        def decorated(*args: Any, **options: Any) -> Any:
            with self.clone():
                return function(*args, **options)

        return decorated


def _decorate_generator(
    context: Callable[[], Any], function: Callable[..., Any]
) -> Callable[..., Generator[Any, Any, Any]]:
    """Run only the generator's own steps inside the context, never the code between them."""

    @functools.wraps(function)
    def decorated(*args: Any, **options: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **options)
        try:
            with context():
                response = generator.send(None)
            while True:
                try:
                    request = yield response
                except GeneratorExit:
                    with context():
                        generator.close()
                    raise
                except BaseException:
                    with context():
                        response = generator.throw(sys.exc_info()[1])
                else:
                    with context():
                        response = generator.send(request)
        except StopIteration as stop:
            return stop.value

    return decorated


class _BareDecorator(_ContextDecorator):
    """`@no_grad` means `@no_grad()`."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        if function is None:
            return super().__new__(cls)
        return cls()(function)


class no_grad(_BareDecorator):
    """Nothing is recorded inside: `with no_grad():` or `@no_grad()`.

    Example:
        >>> import tritorch
        >>> x = tritorch.ones(2, requires_grad=True)
        >>> with tritorch.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    def __enter__(self) -> None:
        state = grad_mode_state
        self._previous = state.enabled
        state.enabled = False

    def __exit__(self, *exception: Any) -> None:
        grad_mode_state.enabled = self._previous


class enable_grad(_BareDecorator):
    """Operations are recorded inside, also within `no_grad` (but not within `inference_mode`)."""

    def __enter__(self) -> None:
        state = grad_mode_state
        self._previous = state.enabled
        state.enabled = not state.inference

    def __exit__(self, *exception: Any) -> None:
        grad_mode_state.enabled = self._previous


class set_grad_enabled(_ContextDecorator):
    """Record or do not record from here on; as a context manager, until its end.

    Args:
        mode: whether operations are recorded.
    """

    def __init__(self, mode: bool) -> None:
        state = grad_mode_state
        self._previous = state.enabled
        self.mode = bool(mode)
        state.enabled = self.mode and not state.inference

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # Used as a decorator it must not act on what follows the decorated function.
        grad_mode_state.enabled = self._previous
        return super().__call__(function)

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        state = grad_mode_state
        state.enabled = self.mode and not state.inference

    def __exit__(self, *exception: Any) -> None:
        grad_mode_state.enabled = self._previous

    def __str__(self) -> str:
        return f"torch.set_grad_enabled(mode={self.mode})"


class inference_mode(_ContextDecorator):
    """As `no_grad`, and `enable_grad` inside changes nothing.

    Args:
        mode: False leaves inference mode (and records again) for the extent of the block.
    """

    def __new__(cls, mode: Any = True) -> Any:
        if isinstance(mode, bool):
            return super().__new__(cls)
        return cls()(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode

    def clone(self) -> inference_mode:
        return type(self)(self.mode)

    def __enter__(self) -> Self:
        state = grad_mode_state
        self._previous = (state.enabled, state.inference)
        state.enabled, state.inference = not self.mode, self.mode
        return self

    def __exit__(self, *exception: Any) -> None:
        grad_mode_state.enabled, grad_mode_state.inference = self._previous
