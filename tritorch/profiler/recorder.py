"""`Recorder`: calls of operations and of nodes of the backward pass, timed while it is on.

Functions are given other code for the time (`tritorch.ops.interception`), so nothing is asked for
where nobody profiles. A recorder belongs to the whole process; events know their thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from time import perf_counter_ns
from types import FunctionType
from typing import Any

from tritorch import cuda, linalg, namespace, runtime, special
from tritorch.autograd.node import Node
from tritorch.nn import functional
from tritorch.ops.interception import PROFILING, Interception
from tritorch.profiler.events import FunctionEvent, Interval
from tritorch.runtime import recording
from tritorch.tensor import Tensor

#: functions of the rooms of operations that look at tensors only, or at none
_LOOKS = frozenset({
    "numel", "result_type", "promote_types", "can_cast", "broadcast_shapes", "manual_seed", "seed",
    "initial_seed", "get_rng_state", "set_rng_state", "fork_rng", "get_default_device", "refuse",
    "set_default_device", "takes", "typename", "reduction_of", "to_capsule", "record_stream",
    "set_", "__array_namespace__", "__array_wrap__", "__dlpack_device__", "__contains__",
})  # fmt: skip
_STACK_LINES = 8
#: in the place of names: events have that of the class
_GRADIENT, _STEP = "the gradient of a node", "the step of an optimizer"


class Recorder:
    """What happens between `start` and `stop`.

    Args:
        shapes, stack, memory: what events hold besides their times.
        device: whether events on the GPU's stream time its work.
    """

    def __init__(self, shapes: bool, stack: bool, memory: bool, device: bool) -> None:
        self.shapes, self.stack, self.memory, self.device = shapes, stack, memory, device
        self.events: list[FunctionEvent] = []
        self._lock = threading.Lock()
        self._threads = threading.local()
        self._began = 0

    def start(self) -> None:
        """Record from now on.

        Raises:
            RuntimeError: another recorder is on.
        """
        global _active
        with _switching:
            if _active is not None:
                raise RuntimeError(
                    "profile: a profile is under way already. End it before the next one begins."
                )
            interception = _interception()
            for function, name in dict(_found_since(interception)).items():
                interception.add(function, partial(_Timed, name=name))
            self._began = perf_counter_ns()
            _active = self
            interception.start()

    def stop(self) -> None:
        """Record no more."""
        global _active
        with _switching:
            if _active is not self:
                return
            _interception().stop()
            _active = None
        marked = [event for event in self.events if event.device_marks is not None]
        if marked:
            cuda.synchronize()
        for event in marked:
            (begin, end), event.device_marks = event.device_marks, None
            if event.time_range.end:  # else it has not ended
                event.device_time_total = begin.elapsed_time(end) * 1e3

    def enter(self, name: str, kind: str, args: tuple[Any, ...] = ()) -> FunctionEvent:
        """The begin of a call."""
        threads = self._threads
        parent = getattr(threads, "innermost", None)
        event = FunctionEvent(name, kind, threading.get_ident(), parent)
        if self.shapes and kind == "operation":
            event.input_shapes = [list(a.shape) if isinstance(a, Tensor) else [] for a in args]
        if self.stack:
            event.stack = _callers()
        if self.memory:
            event.cpu_memory_usage = -_allocated()
        if self.device and not recording.under_way():
            begin = cuda.Event(enable_timing=True)
            begin.record()
            event.device_marks = begin, cuda.Event(enable_timing=True)
        threads.innermost = event
        with self._lock:
            self.events.append(event)
        event.time_range = Interval((perf_counter_ns() - self._began) / 1e3, 0.0)
        return event

    def leave(self, event: FunctionEvent) -> None:
        """Its end."""
        end = (perf_counter_ns() - self._began) / 1e3
        event.time_range = Interval(event.time_range.start, end)
        self._threads.innermost = event.cpu_parent
        if self.memory:
            event.cpu_memory_usage += _allocated()
        if event.device_marks is not None:
            event.device_marks[1].record()


_active: Recorder | None = None
_switching = threading.Lock()


def active() -> Recorder | None:
    """The one that is on."""
    return _active


def _allocated() -> int:
    target: Any = runtime.get_target("cpu")
    return int(target.memory_statistics().allocated)


def _callers() -> list[str]:
    """Where the call came from, innermost first, outside of this package."""
    lines: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(lines) < _STACK_LINES:
        module = str(frame.f_globals.get("__name__", ""))
        if not (module == "tritorch" or module.startswith("tritorch.")):
            code = frame.f_code
            lines.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return lines


class _Timed:
    """Handler of a function: the function as it is, between two looks at the clock."""

    def __init__(self, below: Callable[..., Any], name: str) -> None:
        self.below = below
        self.name = name

    def __call__(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        recorder = _active
        if recorder is None:
            return self.below(*args, **options)
        kind, name = "operation", self.name
        if name is _GRADIENT:
            kind, name = "gradient", type(args[0]).__name__
        elif name is _STEP:
            kind, name = "user_annotation", f"Optimizer.step#{type(args[0]).__name__}.step"
        event = recorder.enter(name, kind, args)
        try:
            return self.below(*args, **options)
        finally:
            recorder.leave(event)


def _operations() -> Iterator[tuple[FunctionType, str]]:
    """Public functions and methods of the rooms of operations, each once."""
    places = [dict(vars(module)) for module in (namespace, functional, linalg, special, Tensor)]
    seen = set()
    for place in places:
        for key, found in place.items():
            name = key[2:-2] if key.startswith("__") and key.endswith("__") else key
            if not isinstance(found, FunctionType) or found in seen or key in _LOOKS:
                continue
            if name.startswith(("_", "is_")):
                continue
            module = found.__module__ or ""
            inside = module.startswith(("tritorch.ops.", "tritorch.nn."))
            if inside or found.__code__.co_filename == _GENERATED:
                seen.add(found)
                yield found, name


_GENERATED = "<tritorch operation>"


@cache
def _interception() -> Interception:
    made = Interception(PROFILING)
    for function, name in _operations():
        made.add(function, partial(_Timed, name=name))
    return made


def _found_since(interception: Interception) -> Iterator[tuple[FunctionType, str]]:
    """How nodes compute gradients, and optimizers step: classes come into being as programs run."""
    optimizers = sys.modules.get("tritorch.optim.optimizer")
    families = [(Node, "apply", _GRADIENT)]
    if optimizers is not None:
        families.append((optimizers.Optimizer, "step", _STEP))
    for base, method, name in families:
        kinds: list[type] = [base]
        while kinds:
            kind = kinds.pop()
            kinds.extend(kind.__subclasses__())
            function = vars(kind).get(method)
            if isinstance(function, FunctionType) and function not in interception:
                yield function, name
