"""`profile`, `schedule`, `record_function`: what programs call to see where their time goes."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Any

from tritorch import cuda
from tritorch.profiler.events import EventList, FunctionEvent
from tritorch.profiler.recorder import Recorder, active
from tritorch.runtime import statistics


class ProfilerActivity(Enum):
    """Whose time is measured."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(Enum):
    """What a profile does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """Those that can be measured here."""
    found = {ProfilerActivity.CPU}
    return found | {ProfilerActivity.CUDA} if cuda.is_available() else found


def schedule(
    *,
    wait: int,
    warmup: int,
    active: int,
    repeat: int = 0,
    skip_first: int = 0,
    skip_first_wait: int = 0,
) -> Callable[[int], ProfilerAction]:
    """What to do in which step: skip the first, then again and again wait, warm up, record.

    Args:
        wait, warmup, active: steps of each, in turn.
        repeat: how often; 0: until the end.
        skip_first: steps left out before all others.
        skip_first_wait: 1 leaves out the first turn's waiting.
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise ValueError(
            "schedule: expected wait, warmup, repeat and skip_first of at least 0 and active of at "
            f"least 1, got wait={wait}, warmup={warmup}, active={active}, repeat={repeat}, "
            f"skip_first={skip_first}."
        )
    turn = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        if skip_first_wait:
            step += wait
        number, step = divmod(step, turn)
        if (repeat and number >= repeat) or step < wait:
            return ProfilerAction.NONE
        if step < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if step < turn - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """For `on_trace_ready`: writes each trace into a directory, which is made if need be."""

    def write(prof: profile) -> None:
        Path(dir_name).mkdir(parents=True, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        ending = ".pt.trace.json" + ".gz" * use_gzip
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}{ending}"))

    return write


class profile:
    """Time the operations of a block, or of the steps that a schedule chooses.

    Args:
        activities: `ProfilerActivity.CPU`, `.CUDA`; None: all that can be measured here.
        schedule: a function of the step's number, such as `schedule(...)` makes; the program calls
            `step()` after each. None: record all.
        on_trace_ready: called with this object when a recording has ended.
        record_shapes: events keep the shapes of what operations were called with.
        profile_memory: events keep how much of the CPU's memory they took.
        with_stack: events keep the lines of the program that called them.
    Raises:
        RuntimeError: another profile is under way; or CUDA is asked for, and there is none.

    The first calls of an operation compile its kernels: call once before, or look at
    `kernels()`, which tells what was generated meanwhile.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        **options: Any,
    ) -> None:
        for name, value in {
            "with_flops": with_flops,
            "with_modules": with_modules,
            **options,
        }.items():
            if value:
                warnings.warn(f"profile: {name} is not kept; it changes nothing.", stacklevel=2)
        self.activities = supported_activities() if activities is None else set(activities)
        if absent := self.activities - supported_activities():
            names = ", ".join(sorted(activity.name for activity in absent))
            raise RuntimeError(f"profile: {names} cannot be measured here. Leave it out.")
        self.schedule = schedule
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.step_num = 0
        self._events: list[FunctionEvent] = []
        self._recorder: Recorder | None = None
        self._before: Any = None
        self._done: Any = None
        self._step: FunctionEvent | None = None
        self._action = ProfilerAction.NONE

    # ---- begin, steps, end

    def start(self) -> None:
        """Begin."""
        if active() is not None:
            raise RuntimeError(
                "profile: a profile is under way already. End it before the next one begins."
            )
        self._action = self._planned()
        if self._is_recording():
            self._record()

    def step(self) -> None:
        """The next step begins, for the schedule and as an event of its own."""
        self._end_step()
        ready = self._action is ProfilerAction.RECORD_AND_SAVE
        if ready:
            self._finish()
        self.step_num += 1
        self._action = self._planned()
        if self._is_recording() and self._recorder is None:
            self._record()
        elif not self._is_recording() and self._recorder is not None:
            self._finish(ready=False)
        else:
            self._begin_step()

    def stop(self) -> None:
        """End."""
        self._end_step()
        if self._recorder is not None:
            self._finish()

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    def _planned(self) -> ProfilerAction:
        return ProfilerAction.RECORD if self.schedule is None else self.schedule(self.step_num)

    def _is_recording(self) -> bool:
        return self._action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def _record(self) -> None:
        recorder = Recorder(
            self.record_shapes, self.with_stack, self.profile_memory,
            ProfilerActivity.CUDA in self.activities,
        )  # fmt: skip
        recorder.start()
        self._recorder = recorder
        self._before = statistics.snapshot()
        self._begin_step()

    def _begin_step(self) -> None:
        if self.schedule is not None and self._recorder is not None:
            self._step = self._recorder.enter(f"ProfilerStep#{self.step_num}", "user_annotation")

    def _end_step(self) -> None:
        if self._step is not None and self._recorder is not None:
            self._recorder.leave(self._step)
        self._step = None

    def _finish(self, ready: bool = True) -> None:
        recorder, self._recorder = self._recorder, None
        assert recorder is not None
        recorder.stop()
        self._done = statistics.snapshot() - self._before
        self._events = recorder.events
        if ready and self.on_trace_ready is not None:
            self.on_trace_ready(self)

    # ---- what was found

    def events(self) -> EventList:
        """All events, in the order of their begin."""
        if self._recorder is not None:
            raise RuntimeError("profile: it is still under way. Ask when it has ended.")
        return EventList(
            self._events, with_memory=self.profile_memory,
            with_device=ProfilerActivity.CUDA in self.activities,
        )  # fmt: skip

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0
    ) -> EventList:
        """Averages of the events of one name; `print(prof.key_averages().table())`."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def kernels(self) -> statistics.Snapshot | None:
        """What the process generated, loaded and launched meanwhile, kernel by kernel; None before.

        Not in PyTorch.
        """
        found: statistics.Snapshot | None = self._done
        return found

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events for chrome://tracing or Perfetto."""
        self.events().export_chrome_trace(path)

    def __repr__(self) -> str:
        return f"<profile of {len(self._events)} events>"


class record_function:
    """A block, or a function that it decorates, as an event with a name of the user's.

    Args:
        name: of the event.
        args: kept for PyTorch's sake.
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self._open: list[tuple[Recorder, FunctionEvent]] = []

    def __enter__(self) -> record_function:
        if (recorder := active()) is not None:
            self._open.append((recorder, recorder.enter(self.name, "user_annotation")))
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._open:
            recorder, event = self._open.pop()
            recorder.leave(event)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            with record_function(self.name):
                return function(*args, **options)

        return timed
