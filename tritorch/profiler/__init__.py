"""Where a program's time goes, operation by operation: the interface of torch.profiler.

    with tritorch.profiler.profile() as prof:
        train_one_step()
    print(prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))
    prof.export_chrome_trace("trace.json")

| module | offers | imports from here |
|---|---|---|
| `events` | `FunctionEvent`, `EventList`: what happened, its averages, their table | |
| `recorder` | `Recorder`: operations, gradients, optimizers' steps, timed | `events` |
| `session` | `profile`, `schedule`, `record_function`: what programs call | both |

On the CPU an operation has finished when it returns, so its time is that of its kernels too. With
`ProfilerActivity.CUDA` events on the stream time what the GPU does. A program that is not profiled
runs the code it always runs.
"""

from __future__ import annotations

from tritorch.profiler.events import EventList, FunctionEvent, FunctionEventAvg
from tritorch.profiler.session import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "ProfilerAction", "ProfilerActivity",
    "profile", "record_function", "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip
